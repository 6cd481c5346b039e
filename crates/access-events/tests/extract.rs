//! From inputs to pairs: files, order, damage, counts.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

mod support;

use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use access_events::extract::{ExtractError, OnError};
use access_events::format::CloudTrail;
use access_events::input::walk;
use access_events::{Dated, DropReason, Extract, Input, Summary};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use support::hostile;

const SAMPLE: &str = include_str!("samples/cloudtrail/records.json");

fn run(extract: &Extract, inputs: Vec<Input>) -> (Vec<String>, Result<Summary, ExtractError>) {
    let mut pairs = Vec::new();
    let result = extract.run(inputs, |Dated { event, .. }| {
        pairs.push(format!("{},{}", event.entity, event.ip));
        Ok(())
    });
    (pairs, result)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Counts the bytes that go through it.
struct Counting(Box<dyn Read + Send>, Arc<AtomicUsize>);

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.fetch_add(read, Ordering::Relaxed);
        Ok(read)
    }
}

/// A document with one record for each number, whose address tells the number.
fn numbered(numbers: std::ops::Range<u32>) -> String {
    let records: Vec<_> = numbers
        .map(|n| {
            let [_, a, b, c] = n.to_be_bytes();
            format!(r#"{{"eventVersion":"1.11","userIdentity":{{"principalId":"AIDA{n}"}},"sourceIPAddress":"8.{a}.{b}.{c}"}}"#)
        })
        .collect();
    format!("{{\"Records\":[{}]}}", records.join(","))
}

#[test]
fn a_log_file_gives_pairs_and_counts() {
    for bytes in [SAMPLE.as_bytes().to_vec(), gzip(SAMPLE.as_bytes())] {
        let (pairs, summary) = run(&Extract::guessing(), vec![Input::bytes("sample", bytes)]);
        assert_eq!(
            pairs,
            [
                "AROAIDPPEZS35WEXAMPLE,93.184.216.34",
                "AIDAJ45Q7YFFAREXAMPLE,8.8.4.4"
            ]
        );
        let summary = summary.unwrap();
        assert_eq!((summary.inputs, summary.records, summary.pairs), (1, 3, 2));
        assert_eq!(summary.bytes_read, SAMPLE.len() as u64);
        let drops: Vec<_> = summary
            .drops
            .iter()
            .map(|(reason, n)| format!("{reason} {n}"))
            .collect();
        assert_eq!(drops, ["service-caller 1"]);
    }
}

#[test]
fn the_formats_that_were_guessed_are_told() {
    let inputs = vec![
        Input::bytes("a", SAMPLE.into()),
        Input::bytes("nothing", Vec::new()),
        Input::bytes("b", gzip(SAMPLE.as_bytes())),
    ];
    let (_, summary) = run(&Extract::guessing(), inputs);
    let summary = summary.unwrap();
    assert_eq!(summary.inputs, 3);
    assert_eq!(
        summary.formats.into_iter().collect::<Vec<_>>(),
        [("cloudtrail", 2)]
    );
}

/// Gives its bytes one by one, as a slow pipe may, and an error in place of the end.
struct Slow(Vec<u8>, usize, Option<std::io::ErrorKind>);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.get(self.1) {
            Some(byte) if !buffer.is_empty() => {
                buffer[0] = *byte;
                self.1 += 1;
                Ok(1)
            }
            Some(_) => Ok(0),
            None => self.2.map_or(Ok(0), |kind| Err(kind.into())),
        }
    }
}

#[test]
fn what_an_input_is_does_not_depend_on_how_fast_it_comes() {
    let slow = |bytes: Vec<u8>, end| Input::new("slow", move || Ok(Box::new(Slow(bytes, 0, end)) as _));
    for bytes in [SAMPLE.as_bytes().to_vec(), gzip(SAMPLE.as_bytes())] {
        let (pairs, summary) = run(&Extract::guessing(), vec![slow(bytes, None)]);
        assert_eq!((pairs.len(), summary.unwrap().records), (2, 3));
    }
    // An archive is known by what is in the middle of its first block.
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let (_, error) = run(&Extract::of(CloudTrail::new()), vec![slow(tar, None)]);
    assert!(error.unwrap_err().to_string().contains("a tar archive"));
    // The failure is told when its turn comes, after what came before it.
    let reset = Some(std::io::ErrorKind::ConnectionReset);
    let first = SAMPLE.as_bytes()[..1300].to_vec();
    let (pairs, error) = run(&Extract::guessing(), vec![slow(first, reset)]);
    assert_eq!(pairs, ["AROAIDPPEZS35WEXAMPLE,93.184.216.34"]);
    assert_eq!(
        error.unwrap_err().to_string(),
        "could not read `slow` on after record 1"
    );
    for bytes in [&b""[..], b"{", b"\x1f", b"\x1f\x8b"] {
        let (_, error) = run(&Extract::guessing(), vec![slow(bytes.to_vec(), reset)]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "could not read `slow` on after record 0"
        );
    }
}

#[test]
fn bytes_can_be_looked_at_on_their_way() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = |input: Input| {
        let seen = Arc::clone(&seen);
        input.through(move |bytes| Box::new(Counting(bytes, seen)))
    };
    let inputs = vec![
        count(Input::bytes("a", SAMPLE.into())),
        count(Input::left_out(".b", DropReason::HiddenFile)),
    ];
    let (pairs, summary) = run(&Extract::guessing(), inputs);
    assert_eq!(
        (
            pairs.len(),
            summary.unwrap().inputs_left_out[&DropReason::HiddenFile]
        ),
        (2, 1)
    );
    assert_eq!(seen.load(Ordering::Relaxed), SAMPLE.len());
}

#[test]
fn the_order_is_that_of_the_inputs_on_any_number_of_threads() {
    let inputs = || {
        let files = [
            0..3,
            3..1_600,
            1_600..1_601,
            1_601..1_601,
            1_601..3_000,
            3_000..3_007,
        ];
        let files = files.into_iter().cycle().take(60).enumerate();
        files
            .map(|(i, range)| Input::bytes(format!("{i}"), gzip(numbered(range).as_bytes())))
            .collect::<Vec<_>>()
    };
    let on = |threads| {
        let extract = Extract::of(CloudTrail::new()).threads(NonZeroUsize::new(threads).unwrap());
        run(&extract, inputs()).0
    };
    let one = on(1);
    assert_eq!(one.len(), 10 * 3_007);
    assert_eq!(one[..2], ["AIDA0,8.0.0.0", "AIDA1,8.0.0.1"]);
    for threads in [2, 3, 8] {
        assert!(on(threads) == one, "{threads} threads");
    }
}

/// The pairs of a folder, and what was left out there.
fn of_folder(extract: &Extract, folder: &Path) -> (Vec<String>, Vec<String>, Summary) {
    let (pairs, summary) = run(extract, walk(folder).collect());
    let summary = summary.unwrap();
    let left_out = summary.inputs_left_out.iter();
    let left_out = left_out.map(|(reason, n)| format!("{reason} {n}")).collect();
    (pairs, left_out, summary)
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_folder_of_a_trail_is_read_with_and_without_its_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join("AWSLogs/123456789012").join(name);
    let day = "us-east-2/2025/03/04/123456789012";
    let digest = include_bytes!("samples/cloudtrail/digest.json");
    let insight = include_bytes!("samples/cloudtrail/insight.json");
    for (name, bytes) in [
        (
            format!("CloudTrail/{day}_CloudTrail_us-east-2_20250304T0910Z_b.json.gz"),
            gzip(numbered(2..4).as_bytes()),
        ),
        (
            format!("CloudTrail/{day}_CloudTrail_us-east-2_20250304T0905Z_a.json.gz"),
            gzip(numbered(0..2).as_bytes()),
        ),
        (
            format!("CloudTrail/{day}_CloudTrail_us-east-2_20250304T0915Z_c.json.gz"),
            gzip(numbered(0..0).as_bytes()),
        ),
        (
            format!("CloudTrail-Digest/{day}_CloudTrail-Digest_us-east-2_t_us-east-2_2025.json.gz"),
            gzip(digest),
        ),
        (
            format!("CloudTrail-Insight/{day}_CloudTrail-Insight_us-east-2_2025_x.json.gz"),
            gzip(insight),
        ),
        ("CloudTrail/renamed-digest.json".to_owned(), digest.to_vec()),
        ("CloudTrail/renamed-insight.json".to_owned(), insight.to_vec()),
        ("CloudTrail/.partial".to_owned(), b"?".to_vec()),
        ("CloudTrail/empty".to_owned(), Vec::new()),
    ] {
        write(&path(&name), &bytes);
    }
    for extract in [Extract::of(CloudTrail::new()), Extract::guessing()] {
        let (pairs, left_out, summary) = of_folder(&extract, folder.path());
        assert_eq!(
            pairs,
            ["AIDA0,8.0.0.0", "AIDA1,8.0.0.1", "AIDA2,8.0.0.2", "AIDA3,8.0.0.3"]
        );
        assert_eq!(left_out, ["insight-event 1", "digest-file 1", "hidden-file 1"]);
        assert_eq!((summary.inputs, summary.records), (6, 6));
        assert_eq!(summary.drops[&DropReason::DigestFile], 1);
        assert_eq!(summary.drops[&DropReason::InsightEvent], 1);
    }
}

#[cfg(unix)]
#[test]
fn a_folder_is_read_once_and_what_is_no_file_in_it_is_left_out() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write(&path("b/1.json"), numbered(0..1).as_bytes());
    write(&path("b/c/2.json"), numbered(1..2).as_bytes());
    symlink("c", path("b/to-c")).unwrap();
    symlink("b", path("to-b")).unwrap();
    symlink("..", path("b/c/up")).unwrap();
    symlink(".", path("loop")).unwrap();
    symlink("b/1.json", path("z-link.json")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("b/socket")).unwrap();
    let pipe = std::process::Command::new("mkfifo")
        .arg(path("pipe"))
        .status()
        .unwrap();
    assert!(pipe.success());
    let (pairs, left_out, _) = of_folder(&Extract::of(CloudTrail::new()), folder.path());
    assert_eq!(pairs, ["AIDA0,8.0.0.0", "AIDA1,8.0.0.1", "AIDA0,8.0.0.0"]);
    assert_eq!(left_out, ["not-a-file 2", "folder-again 4"]);

    // Whoever names a pipe means it.
    let writer = std::thread::spawn({
        let pipe = path("pipe");
        move || std::fs::write(pipe, numbered(7..8)).unwrap()
    });
    let (pairs, left_out, _) = of_folder(&Extract::of(CloudTrail::new()), &path("pipe"));
    writer.join().unwrap();
    assert_eq!(pairs, ["AIDA7,8.0.0.7"]);
    assert!(left_out.is_empty());
}

/// What another reader of gzip gets of a stream before it fails.
fn readable(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    let mut bytes = flate2::read::GzDecoder::new(bytes);
    let mut buffer = [0; 100];
    while let Ok(read @ 1..) = bytes.read(&mut buffer) {
        text.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn a_truncated_gzip_keeps_what_was_whole() {
    let mut bytes = gzip(numbered(0..10_000).as_bytes());
    bytes.truncate(bytes.len() / 2);
    // The first of two braces closes the identity, the second one the record.
    let whole = readable(&bytes).matches("\"}").count() / 2;
    let (pairs, summary) = run(
        &Extract::of(CloudTrail::new()),
        vec![Input::bytes("half.json.gz", bytes)],
    );
    let summary = summary.unwrap();
    assert!(pairs.len() > 1_000 && pairs.len() < 9_000, "{}", pairs.len());
    assert_eq!(pairs.len(), whole);
    assert_eq!(
        pairs.last().unwrap().split(',').next().unwrap(),
        format!("AIDA{}", whole - 1)
    );
    assert_eq!(summary.cut_short, 1);
    assert_eq!(
        summary.cut_short_examples[0].to_string(),
        format!(
            "`half.json.gz` after record {}: the gzip stream ends too early",
            pairs.len()
        ),
    );
}

/// A reader that is interrupted before every byte.
struct Interrupted(std::io::Cursor<Vec<u8>>, bool);

impl Read for Interrupted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let bytes = buffer.len().min(1);
        self.0.read(&mut buffer[..bytes])
    }
}

#[test]
fn an_interrupted_gzip_is_read_to_its_end() {
    let text = numbered(0..100);
    let members = text.as_bytes().chunks(1 + text.len() / 3).map(|part| {
        let header = flate2::GzBuilder::new()
            .filename("log")
            .comment("part")
            .extra("more");
        let mut encoder = header.write(Vec::new(), Compression::fast());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap()
    });
    let bytes = members.collect::<Vec<_>>().join(&[0; 3][..]);
    let input = Input::new("log.gz", move || {
        Ok(Box::new(Interrupted(std::io::Cursor::new(bytes), false)) as _)
    });
    let (pairs, summary) = run(&Extract::of(CloudTrail::new()), vec![input]);
    let summary = summary.unwrap();
    assert_eq!((pairs.len(), summary.cut_short), (100, 0));
    assert_eq!(summary.bytes_read, text.len() as u64);
}

#[test]
fn an_input_with_two_faults_is_cut_short_once() {
    let text = "{\"Records\":[\n{\"x";
    let mut bytes = gzip(text.as_bytes());
    bytes.push(b'x');
    let extract = Extract::of(CloudTrail::new()).on_error(OnError::Skip);
    let (_, summary) = run(&extract, vec![Input::bytes("log.gz", bytes)]);
    let summary = summary.unwrap();
    assert_eq!((summary.malformed, summary.cut_short), (1, 1));
    let named: Vec<_> = summary
        .cut_short_examples
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(named.len(), 1, "{named:?}");
}

#[test]
fn all_members_of_a_gzip_are_read_and_what_comes_after_them_is_told() {
    let text = numbered(0..4_000);
    let text = text.as_bytes();
    let members: Vec<_> = text.chunks(1 + text.len() / 3).map(gzip).collect();
    assert_eq!(members.len(), 3);
    let followed =
        "`log.gz` after record 4000: what comes after the gzip stream is not gzip, and is not read";
    let zeros = vec![0; 200_000];
    for (parts, note) in [
        (members.clone(), None),
        (vec![members.concat(), zeros.clone()], None),
        (vec![members[0].clone(), vec![0; 3], members[1..].concat()], None),
        (vec![members.concat(), gzip(b"")], None),
        (vec![members.concat(), b"\n".to_vec()], Some(followed)),
        (vec![members.concat(), zeros, b"x".to_vec()], Some(followed)),
        (vec![members.concat(), b"\x1f".to_vec()], Some(followed)),
        (vec![members.concat(), b"\x1f\x1f\x8b".to_vec()], Some(followed)),
        (
            vec![members.concat(), b"\x1f\x8b\x08".to_vec()],
            Some("`log.gz` after record 4000: the gzip stream ends too early"),
        ),
    ] {
        let bytes = parts.concat();
        let slow = Input::new("log.gz", {
            let bytes = bytes.clone();
            move || Ok(Box::new(Slow(bytes, 0, None)) as _)
        });
        for input in [Input::bytes("log.gz", bytes), slow] {
            let (pairs, summary) = run(&Extract::of(CloudTrail::new()), vec![input]);
            let summary = summary.unwrap();
            assert_eq!(pairs.len(), 4_000);
            let notes: Vec<_> = summary
                .cut_short_examples
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(notes, Vec::from_iter(note.map(str::to_owned)));
            assert_eq!(summary.cut_short, notes.len() as u64);
            assert_eq!(summary.bytes_read, text.len() as u64);
        }
    }
}

#[test]
fn a_damaged_gzip_stops_or_keeps_what_was_whole() {
    let whole = gzip(numbered(0..10_000).as_bytes());
    let checksum = whole.len() - 8;
    for (at, kept) in [(checksum, 10_000), (checksum + 4, 10_000), (whole.len() / 2, 0)] {
        let mut bytes = whole.clone();
        if kept == 0 {
            // A block of a kind that there is not, once the decoder comes to it.
            bytes.splice(at..at + 64, [0xff; 64]);
        } else {
            bytes[at] ^= 1;
        }
        let input = || vec![Input::bytes("log.gz", bytes.clone())];
        let (stopped, error) = run(&Extract::of(CloudTrail::new()), input());
        let error = error.unwrap_err();
        let ExtractError::Read { record, source, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*record, stopped.len() as u64);
        assert!(
            source.to_string().starts_with("the gzip stream is damaged: "),
            "{source}"
        );

        let (pairs, summary) = run(&Extract::of(CloudTrail::new()).on_error(OnError::Skip), input());
        let summary = summary.unwrap();
        assert_eq!((pairs.len() as u64, &pairs), (*record, &stopped));
        assert_eq!(summary.cut_short, 1);
        assert!(
            summary.cut_short_examples[0]
                .problem
                .starts_with("the gzip stream is damaged: ")
        );
        if kept > 0 {
            assert_eq!(pairs.len(), kept);
        } else {
            assert!(pairs.len() > 1_000 && pairs.len() < 9_000, "{}", pairs.len());
        }
    }
    // No header at all, behind the two bytes by which gzip is known.
    let (pairs, error) = run(
        &Extract::of(CloudTrail::new()),
        vec![Input::bytes("log.gz", b"\x1f\x8bnothing of gzip".to_vec())],
    );
    assert!(pairs.is_empty());
    assert!(matches!(error, Err(ExtractError::Read { record: 0, .. })));
}

#[test]
fn a_record_that_is_blown_up_by_gzip_is_too_long() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(b"{\"Records\":[{\"x\":\"").unwrap();
    for _ in 0..64 {
        encoder.write_all(&vec![b'x'; 1024 * 1024]).unwrap();
    }
    encoder.write_all(b"\"},").unwrap();
    encoder
        .write_all(&numbered(0..1).as_bytes()["{\"Records\":[".len()..])
        .unwrap();
    let bytes = encoder.finish().unwrap();
    assert!(bytes.len() < 200_000);
    let (pairs, summary) = run(
        &Extract::of(CloudTrail::new()).on_error(OnError::Skip),
        vec![Input::bytes("bomb.gz", bytes)],
    );
    let summary = summary.unwrap();
    assert_eq!(pairs, ["AIDA0,8.0.0.0"]);
    assert_eq!((summary.records, summary.malformed, summary.cut_short), (2, 1, 0));
    assert!(summary.bytes_read > 64 << 20);
}

/// The sample is `gzip -9n` of the other one.
#[test]
fn a_compressed_sample_gives_what_the_other_gives() {
    let packed = include_bytes!("samples/cloudtrail/records.json.gz");
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(&packed[..])
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, SAMPLE);
    let of = |bytes: &[u8]| run(&Extract::guessing(), vec![Input::bytes("sample", bytes.to_vec())]);
    let (packed, summary) = of(packed);
    assert_eq!(packed, of(SAMPLE.as_bytes()).0);
    assert_eq!(summary.unwrap().formats["cloudtrail"], 1);
}

#[test]
fn a_malformed_record_stops_or_is_counted() {
    let text = r#"{"Records":[
{"sourceIPAddress":"8.8.8.8","userIdentity":{"principalId":"A"}},
{"sourceIPAddress":8,"userIdentity":{"principalId":"B"}},
{"sourceIPAddress":"8.8.8.9","userIdentity":{"principalId":"C"}}]}"#;
    let inputs = || vec![Input::bytes("log.json", text.into())];
    let (pairs, error) = run(&Extract::of(CloudTrail::new()), inputs());
    assert_eq!(pairs, ["A,8.8.8.8"]);
    assert_eq!(
        error.unwrap_err().to_string(),
        "`log.json`: record 2 (from byte 79): `sourceIPAddress` is a number, not a string; \
         skip malformed records to go on without it",
    );
    let (pairs, summary) = run(&Extract::of(CloudTrail::new()).on_error(OnError::Skip), inputs());
    assert_eq!(pairs, ["A,8.8.8.8", "C,8.8.8.9"]);
    let summary = summary.unwrap();
    assert_eq!((summary.records, summary.malformed, summary.cut_short), (3, 1, 0));
}

proptest! {
    /// Whatever comes: gunzipped, guessed and judged, it ends, and the counts add up.
    #[test]
    fn any_input_ends_and_its_counts_add_up(
        text in hostile(&[
            SAMPLE, include_str!("samples/guardduty/export.jsonl"), include_str!("samples/ocsf/security-lake-1.1.jsonl"),
            include_str!("samples/flow-log/all-v5.log"), include_str!("samples/web-log/apache-combined.log"),
            "{\"Records\":[", "]}", "{", "}", "\"", ",", "\u{feff}", "PAR1", "\0", "\x1f",
        ]),
        packed in any::<bool>(),
        cut in 0_usize..40,
        on_error in prop::sample::select(vec![OnError::Stop, OnError::Skip]),
        piece in prop::sample::select(vec![1_usize, 1000]),
    ) {
        let mut bytes = if packed { gzip(&text) } else { text };
        bytes.truncate(bytes.len().saturating_sub(cut));
        let input = Input::new("input", move || Ok(Box::new(std::io::BufReader::with_capacity(piece, std::io::Cursor::new(bytes))) as _));
        let (pairs, result) = run(&Extract::guessing().on_error(on_error), vec![input]);
        match result {
            Ok(summary) => {
                prop_assert_eq!(summary.pairs, pairs.len() as u64);
                prop_assert_eq!(summary.uses, summary.pairs + summary.dropped());
                prop_assert_eq!(summary.records + summary.further_uses(), summary.uses + summary.malformed);
            }
            Err(error) => {
                let known = matches!(error, ExtractError::UnknownFormat { .. });
                prop_assert!(known || on_error == OnError::Stop, "{error:?}");
            }
        }
    }
}
