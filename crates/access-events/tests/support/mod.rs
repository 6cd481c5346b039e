//! What the tests of formats share: a sink that writes down what it is told.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]
#![allow(dead_code, reason = "each program that shares this file uses a part of it")]

use std::collections::BTreeSet;
use std::path::Path;

use access_events::format::{Format, Malformed, Sink, Stopped};
use access_events::{DropReason, Sighting};
use expect_test::Expect;
use proptest::prelude::*;

/// Writes down what it is told.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) records: u64,
    pub(crate) text: String,
    pub(crate) stop_at_fault: bool,
    /// Whether all names of a principal are written, not the identifier alone.
    pub(crate) all_names: bool,
}

impl Notes {
    fn note(&mut self, text: std::fmt::Arguments<'_>) {
        let record = self.records;
        self.text.push_str(&format!("{record}: {text}\n"));
    }
}

impl Sink for Notes {
    fn record(&mut self) {
        self.records += 1;
    }

    fn sighting(&mut self, sighting: Sighting<'_>) -> Result<(), Stopped> {
        let principal = sighting.principal;
        let mut entity = principal.id.unwrap_or("nobody").to_owned();
        if self.all_names {
            for (name, value) in [("name", principal.user_name), ("arn", principal.arn)] {
                if let Some(value) = value {
                    entity.push_str(&format!(" ({name} {value})"));
                }
            }
        }
        let address = sighting.address;
        match sighting.time {
            Some(time) => self.note(format_args!("{entity} | {address} | {time}")),
            None => self.note(format_args!("{entity} | {address}")),
        }
        Ok(())
    }

    fn dropped(&mut self, reason: DropReason) {
        self.note(format_args!("({reason})"));
    }

    fn malformed(&mut self, fault: Malformed) -> Result<(), Stopped> {
        let rest = if fault.rest_lost { "; the rest is lost" } else { "" };
        self.note(format_args!("! {}: {fault}{rest}", fault.place));
        if self.stop_at_fault { Err(Stopped) } else { Ok(()) }
    }
}

/// What a format tells of some bytes.
pub(crate) fn notes(format: &dyn Format, mut bytes: &[u8]) -> String {
    let mut notes = Notes::default();
    format.read(&mut bytes, &mut notes).unwrap();
    notes.text
}

/// The same with all names of the principals.
pub(crate) fn names(format: &dyn Format, mut bytes: &[u8]) -> String {
    let mut notes = Notes {
        all_names: true,
        ..Notes::default()
    };
    format.read(&mut bytes, &mut notes).unwrap();
    notes.text
}

/// A file of the samples.
pub(crate) fn sample(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    std::fs::read(folder.join(name)).unwrap()
}

/// Reads a sample and compares what comes out.
pub(crate) fn check(format: &dyn Format, name: &str, expected: Expect) {
    expected.assert_eq(&notes(format, &sample(name)));
}

/// The same with all names of the principals.
pub(crate) fn check_names(format: &dyn Format, name: &str, expected: Expect) {
    expected.assert_eq(&names(format, &sample(name)));
}

/// Bytes with pieces in them that mean something.
pub(crate) fn hostile(pieces: &[&'static str]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
    let piece = prop_oneof![
        4 => proptest::sample::select(pieces),
        2 => Just(b"\n".to_vec()),
        1 => Just(b" ".to_vec()),
        2 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// The format comes to an end, told to stop or not, and every record is told of.
pub(crate) fn ends(format: &dyn Format, bytes: &[u8]) {
    for stop_at_fault in [false, true] {
        let mut notes = Notes {
            stop_at_fault,
            ..Notes::default()
        };
        let stopped = format.read(&mut &bytes[..], &mut notes).is_err();
        assert!(!stopped || stop_at_fault);
        let told: BTreeSet<_> = notes
            .text
            .lines()
            .filter_map(|line| line.split_once(':')?.0.parse::<u64>().ok())
            .collect();
        assert!(told.into_iter().eq(1..=notes.records), "{}", notes.text);
    }
}
