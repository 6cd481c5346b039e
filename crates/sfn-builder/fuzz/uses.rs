//! What is done with a definition of any content, and with any text in one: everything. Used by the fuzz targets and by a test of
//! the crate, which runs the corpus and the seeds through it.

#![allow(dead_code, reason = "each target takes one of these")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise has to be heard"
)]

use sfn_builder::jsonata::Jsonata;
use sfn_builder::template::Expression;
use sfn_builder::{Document, Path, Severity, StateMachine};

/// The text of a definition.
pub(crate) fn definition(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let document = match Document::parse(&text) {
        Ok(document) => document,
        Err(error) => {
            assert!(!error.findings().is_empty(), "a refusal says why");
            return;
        }
    };
    let findings = document.findings();
    for finding in &findings {
        assert!(finding.position.is_some(), "it lies somewhere: {finding}");
    }
    let wrong = findings
        .iter()
        .any(|finding| finding.severity() == Severity::Error);
    match document.check() {
        Ok(machine) => {
            assert!(!wrong, "an error makes a definition invalid");
            let again = StateMachine::from_json(&machine.to_json_string()).expect("what it prints is valid");
            assert_eq!(again, machine, "what it prints is the same");
            let _ = (machine.to_mermaid(), machine.to_dot());
        }
        Err(error) => {
            assert!(wrong, "only an error makes a definition invalid");
            assert_eq!(error.findings(), findings);
            let _ = (error.to_string(), error.service_message());
        }
    }
}

/// A path, an intrinsic function or a JSONata expression.
pub(crate) fn expression(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(path) = text.parse::<Path>() {
        assert_eq!(path.as_str(), text);
        let _ = (path.canonical(), path.is_reference(), path.is_definite());
    }
    if let Ok(expression) = Expression::parse(&text) {
        assert_eq!(expression.as_str(), text);
        let _ = expression.variables();
    }
    if let Ok(jsonata) = Jsonata::parse(&text) {
        assert_eq!(jsonata.as_str(), text);
        let _ = jsonata.references();
    }
}
