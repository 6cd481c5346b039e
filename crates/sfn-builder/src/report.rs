//! Findings of several files as text, JSON and SARIF.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::finding::{Code, Finding, Severity};

/// The findings of files, in the order in which they were added.
///
/// ```
/// use sfn_builder::{File, Report};
///
/// let mut report = Report::new();
/// report.add("machine.asl.json", File::read("{\"StartAt\": \"A\"}").findings());
/// assert_eq!(
///     report.to_text(),
///     "machine.asl.json:1:1: error MISSING_FIELD: the field `States` is missing\n"
/// );
/// assert_eq!(report.to_json()[0]["line"], 1);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    findings: Vec<(String, Finding)>,
}

impl Report {
    /// No findings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the findings of a file. Its name is a path with forward slashes, or whatever else names it.
    pub fn add(&mut self, file: impl Into<String>, findings: &[Finding]) {
        let file = file.into();
        self.findings
            .extend(findings.iter().map(|finding| (file.clone(), finding.clone())));
    }

    /// How many findings of this severity there are.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        let of = |finding: &Finding| finding.severity() == severity;
        self.findings.iter().filter(|(_, finding)| of(finding)).count()
    }

    /// A line for each finding, `FILE:LINE:COLUMN: SEVERITY CODE: MESSAGE`, and one more for its hint.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (file, finding) in &self.findings {
            text.push_str(file);
            if let Some(at) = finding.position {
                let _ = write!(text, ":{at}");
            }
            let _ = write!(
                text,
                ": {} {}: {}",
                finding.severity(),
                finding.code,
                finding.message
            );
            text.push('\n');
            if let Some(hint) = hint(finding) {
                let _ = writeln!(text, "    {hint}");
            }
        }
        text
    }

    /// A list of `{file, code, severity, pointer, line, column, message, hint}`; `line`, `column` (both one-based, in
    /// characters) and `hint` may be null.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.findings
            .iter()
            .map(|(file, finding)| {
                json!({
                    "file": file,
                    "code": finding.code.as_str(),
                    "severity": finding.severity().to_string(),
                    "pointer": finding.pointer,
                    "line": finding.position.map(|at| at.line),
                    "column": finding.position.map(|at| at.column),
                    "message": finding.message,
                    "hint": hint(finding),
                })
            })
            .collect()
    }

    /// A SARIF log, for code scanning and editors.
    ///
    /// SARIF version 2.1.0, OASIS standard.
    #[must_use]
    pub fn to_sarif(&self) -> Value {
        let mut codes: Vec<Code> = self.findings.iter().map(|(_, finding)| finding.code).collect();
        codes.sort_unstable();
        codes.dedup();
        let rules: Vec<Value> = codes
            .iter()
            .map(|code| {
                json!({
                    "id": code.as_str(),
                    "shortDescription": {"text": code.explanation()},
                    "defaultConfiguration": {"level": code.severity().to_string()},
                })
            })
            .collect();
        let results: Vec<Value> = self
            .findings
            .iter()
            .map(|(file, finding)| {
                let mut message = finding.message.clone();
                if let Some(hint) = hint(finding) {
                    let _ = write!(message, "; {hint}");
                }
                let mut physical = json!({"artifactLocation": {"uri": uri(file)}});
                if let Some(at) = finding.position {
                    physical["region"] = json!({"startLine": at.line, "startColumn": at.column});
                }
                json!({
                    "ruleId": finding.code.as_str(),
                    "ruleIndex": codes.binary_search(&finding.code).unwrap_or_default(),
                    "level": finding.severity().to_string(),
                    "message": {"text": message},
                    "locations": [{
                        "physicalLocation": physical,
                        "logicalLocations": [{"fullyQualifiedName": finding.pointer, "kind": "value"}],
                    }],
                })
            })
            .collect();
        json!({
            "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {
                    "name": "sfn-builder",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                }},
                "columnKind": "unicodeCodePoints",
                "results": results,
            }],
        })
    }
}

/// What helps: the hint, and the nearest name.
fn hint(finding: &Finding) -> Option<String> {
    let nearest = finding
        .nearest
        .as_ref()
        .map(|nearest| format!("did you mean `{nearest}`?"));
    match (&finding.hint, nearest) {
        (Some(hint), Some(nearest)) => Some(format!("{hint}; {nearest}")),
        (Some(hint), None) => Some(hint.clone()),
        (None, nearest) => nearest,
    }
}

/// A path as a relative URI reference (RFC 3986, section 4.2).
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    // A colon in the first segment would make a scheme of it.
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte))
            }
            b'\\' => uri.push('/'),
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
}
