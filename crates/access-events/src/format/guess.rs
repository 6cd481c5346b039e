//! What an input is, by its first bytes, where they leave no doubt.

use std::sync::Arc;

use super::json::{Cursor, Stuck};
use super::{CloudTrail, FlowLog, Format, GuardDuty, Ocsf, WebLog, flow_log, web_log};
use crate::report::DropReason;

/// What the input is when no format can read it, whatever format it is said to have: compressed otherwise than by gzip, a
/// binary file, or text in another encoding.
pub(crate) fn foreign(first: &[u8]) -> Option<&'static str> {
    let begins = |magic: &[u8]| first.starts_with(magic);
    // Text may hold these words, but not the bytes around them.
    if first.get(257..262) == Some(b"ustar") && first[..257].contains(&0) {
        return Some("a tar archive; unpack it first");
    }
    if begins(b"PAR1") && first.iter().skip(4).take(16).any(|byte| is_no_text(*byte)) {
        return Some("a Parquet file; have it delivered or converted as text");
    }
    if begins(b"BZh") && first.get(4..10) == Some(b"\x31\x41\x59\x26\x53\x59") {
        return Some("compressed by bzip2; decompress it first");
    }
    Some(match first {
        _ if begins(b"PK\x03\x04") || begins(b"PK\x05\x06") => "a zip archive; unpack it first",
        _ if begins(b"\xfd7zXZ\0") => "compressed by xz; decompress it first",
        _ if begins(b"\x28\xb5\x2f\xfd") => "compressed by Zstandard; decompress it first",
        _ if begins(b"\x04\x22\x4d\x18") => "compressed by LZ4; decompress it first",
        _ if begins(b"\xff\x06\0\0sNaPpY") => "compressed by Snappy; decompress it first",
        _ if begins(b"7z\xbc\xaf\x27\x1c") => "a 7z archive; unpack it first",
        _ if begins(b"Obj\x01") => "an Avro file; convert it to JSON Lines first",
        _ if begins(b"ORC\x08") || begins(b"ORC\x0a") => "an ORC file; convert it to CSV or JSON Lines first",
        _ if begins(b"SQLite format 3\0") => "an SQLite database; export the table as CSV first",
        _ if begins(b"\xd4\xc3\xb2\xa1") || begins(b"\xa1\xb2\xc3\xd4") || begins(b"\x0a\x0d\x0d\x0a") => {
            "a capture of packets and no log"
        }
        _ if begins(b"\xff\xfe") || begins(b"\xfe\xff") => "text in UTF-16; convert it to UTF-8 first",
        _ => return None,
    })
}

/// Whether no text has the byte, in whichever of the encodings that ASCII is part of.
fn is_no_text(byte: u8) -> bool {
    byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r')
}

/// What the input is when it is a kind of log that is known and not read; nothing also where it may be read as a table.
pub(crate) fn unread(first: &[u8]) -> Option<&'static str> {
    let line = first_line(first);
    if ["#Version: ", "#Fields: ", "#Software: "]
        .iter()
        .any(|text| line.starts_with(text.as_bytes()))
    {
        return Some("a log in the W3C extended format, as CloudFront and IIS write it, which is not read");
    }
    let mut fields = line.split(|byte| *byte == b' ');
    (fields.next() == Some(b"6") && fields.next() == Some(b"TransitGateway"))
        .then_some("a flow log of a transit gateway, which is not read")
}

/// Why an input of an unknown format is left out for its name alone: what lies beside the logs in the folders of a trail.
pub(crate) fn leaves_out(name: &str) -> Option<DropReason> {
    CloudTrail::new().leaves_out(name)
}

/// The format of lines that the input begins with.
pub(crate) fn line_format(first: &[u8]) -> Option<Arc<dyn Format>> {
    let line = first_line(first);
    // A document of JSON is one long line.
    if line.starts_with(b"{") {
        return None;
    }
    if flow_log::is_certain(line) {
        return Some(Arc::new(FlowLog::new()));
    }
    web_log::is_certain(line).then(|| Arc::new(WebLog::new()) as _)
}

/// The format whose records have the members that the first one has.
pub(crate) fn json_format(first: &[u8]) -> Option<Arc<dyn Format>> {
    let mut marks = Marks::default();
    let mut cursor = Cursor::new(without_mark(first), &[]);
    let looked = if cursor.begins(b'[').ok()? {
        marks.look_at_first_of(&mut cursor)
    } else {
        marks.look(&mut cursor)
    };
    // The first record may go on where these bytes end.
    if !matches!(looked, Ok(()) | Err(Stuck::End)) {
        return None;
    }
    let found: [Option<Arc<dyn Format>>; 3] = [
        marks.is_cloudtrail().then(|| Arc::new(CloudTrail::new()) as _),
        marks.guardduty.then(|| Arc::new(GuardDuty::new()) as _),
        marks.is_ocsf().then(|| Arc::new(Ocsf::new()) as _),
    ];
    let mut found = found.into_iter().flatten();
    found.next().filter(|_| found.next().is_none())
}

/// The members that were seen in the first record.
#[derive(Debug, Default)]
struct Marks {
    event_version: bool,
    user_identity: bool,
    /// A record of CloudTrail as text.
    cloudtrail_event: bool,
    /// What CloudTrail writes beside its logs: a digest, an Insights event.
    beside_cloudtrail: bool,
    /// An array of records without any, as CloudTrail delivers it.
    no_records: bool,
    /// A service with the name of GuardDuty.
    guardduty: bool,
    class_uid: bool,
    /// Metadata with a product.
    product: bool,
}

impl Marks {
    fn is_cloudtrail(&self) -> bool {
        self.event_version && self.user_identity
            || self.cloudtrail_event
            || self.beside_cloudtrail
            || self.no_records
    }

    fn is_ocsf(&self) -> bool {
        self.class_uid && self.product
    }

    /// Looks at a record, or at what is around it.
    fn look(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stuck> {
        cursor.object("", |cursor, key| match key {
            b"Records" if cursor.begins(b'[')? => {
                self.look_at_first_of(cursor)?;
                self.no_records = true;
                Ok(())
            }
            b"Events" | b"findings" | b"Findings" if cursor.begins(b'[')? => self.look_at_first_of(cursor),
            b"detail" if cursor.begins(b'{')? => self.look(cursor),
            b"service" | b"Service" if cursor.begins(b'{')? => {
                let name = cursor.text_in("service", &["serviceName", "ServiceName"])?;
                self.guardduty |= name.is_some_and(|name| name.is("guardduty"));
                Ok(())
            }
            b"metadata" if cursor.begins(b'{')? => cursor.object("metadata", |cursor, key| {
                self.product |= key == b"product" && cursor.begins(b'{')?;
                cursor.skip()
            }),
            _ => {
                match key {
                    b"eventVersion" => self.event_version = cursor.begins(b'"')?,
                    b"userIdentity" => self.user_identity = cursor.begins(b'{')?,
                    b"CloudTrailEvent" => self.cloudtrail_event = cursor.begins(b'"')?,
                    b"digestS3Object" => self.beside_cloudtrail = cursor.begins(b'"')?,
                    b"insightDetails" => self.beside_cloudtrail = cursor.begins(b'{')?,
                    b"class_uid" => self.class_uid = true,
                    _ => {}
                }
                cursor.skip()
            }
        })
    }

    /// Looks at the first element and goes no further; over an array without any.
    fn look_at_first_of(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stuck> {
        cursor.array("", |cursor| {
            self.look(cursor)?;
            Err(Stuck::End) // that was enough
        })
    }
}

fn without_mark(first: &[u8]) -> &[u8] {
    first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first)
}

fn first_line(first: &[u8]) -> &[u8] {
    let text = without_mark(first);
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let line = &text[..end];
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::super::guess;
    use super::*;

    fn sample(name: &str) -> Vec<u8> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
        std::fs::read(folder.join(name)).unwrap()
    }

    #[test]
    fn every_sample_is_known_where_there_is_no_doubt() {
        let cases = [
            ("flow-log/default-v2.log", "flow"),
            ("flow-log/cloudwatch.log", "flow"),
            ("flow-log/cloudwatch-export.log", "flow"),
            ("flow-log/all-v3.log", "flow"),
            ("flow-log/all-v4.log", "flow"),
            ("flow-log/all-v5.log", "flow"),
            ("flow-log/all-v10.log", "flow"),
            ("flow-log/custom-order.log", "flow"),
            ("web-log/apache-common.log", "web"),
            ("web-log/apache-combined.log", "web"),
            ("web-log/apache-vhost-combined.log", "web"),
            ("web-log/nginx-main.log", "web"),
            ("web-log/forwarded-host.log", "web"),
            ("web-log/tutorial.log", "web"),
            // Known to be a flow log, so that what is missing can be told.
            ("hostile/flow-log/two-columns-of-one-name.log", "flow"),
            ("hostile/flow-log/no-action.log", "flow"),
            ("hostile/flow-log/custom-without-header.log", "-"),
            ("hostile/flow-log/firehose.json", "-"),
            ("hostile/web-log/lines.log", "-"),
            ("csv/logins.csv", "-"),
            ("csv/logins.tsv", "-"),
            ("json-lines/logins.jsonl", "-"),
            ("json-lines/array.json", "-"),
            ("cloudtrail/records.json", "cloudtrail"),
            ("cloudtrail/identities.json", "cloudtrail"),
            ("cloudtrail/records.jsonl", "cloudtrail"),
            ("cloudtrail/array.json", "cloudtrail"),
            ("cloudtrail/lookup-events.json", "cloudtrail"),
            ("cloudtrail/eventbridge.json", "cloudtrail"),
            // What a user of Lake may have asked for has members of any name.
            ("cloudtrail/lake.jsonl", "-"),
            ("cloudtrail/insight.json", "cloudtrail"),
            ("cloudtrail/digest.json", "cloudtrail"),
            ("guardduty/export.jsonl", "guardduty"),
            ("guardduty/array.json", "guardduty"),
            ("guardduty/eventbridge.json", "guardduty"),
            ("guardduty/get-findings.json", "guardduty"),
            ("guardduty/api-findings.json", "guardduty"),
            ("ocsf/security-lake-1.0.jsonl", "ocsf"),
            ("ocsf/security-lake-1.1.jsonl", "ocsf"),
            ("ocsf/other-products.json", "ocsf"),
            ("hostile/cloudtrail/values.jsonl", "-"),
        ];
        for (name, expected) in cases {
            let found = guess(&sample(name)).map_or("-", |format| format.name());
            assert_eq!(found, expected, "{name}");
            assert_eq!(foreign(&sample(name)), None, "{name}");
        }
        for text in [
            "",
            "\n",
            "version type start end\n",
            "alice,192.0.2.1\n",
            "2 1 2 3\n",
            "[]",
            "{}",
            "17",
            "[[{",
            r#"{"Records":[{"eventVersion":"1.11"}]}"#,
            r#"{"Records":["#,
            r#"{"Records":["a"]}"#,
            // Members inside of others, or in texts, are no marks; neither is a document with marks of two formats.
            r#"{"requestParameters":{"eventVersion":"1.11","userIdentity":{}}}"#,
            r#"{"text":"\"eventVersion\":\"1.11\",\"userIdentity\":{}"}"#,
            r#"{"eventVersion":"1.11","userIdentity":{},"service":{"serviceName":"guardduty"}}"#,
            r#"{"eventVersion":"1.11","userIdentity":{},]"#,
        ] {
            assert!(guess(text.as_bytes()).is_none(), "{text:?}");
        }
    }

    #[test]
    fn what_a_trail_delivers_without_uses_in_it_is_known() {
        for text in [r#"{"Records":[]}"#, r#"{"Records": [ ] }"#] {
            assert_eq!(guess(text.as_bytes()).unwrap().name(), "cloudtrail");
        }
        for text in [
            r#"{"Events":[]}"#,
            r#"{"findings":[]}"#,
            r#"{"digestS3Object":1}"#,
        ] {
            assert!(guess(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn the_beginning_of_a_record_is_enough_where_its_marks_are_in_it() {
        for name in [
            "cloudtrail/records.json",
            "guardduty/export.jsonl",
            "ocsf/security-lake-1.1.jsonl",
        ] {
            let bytes = sample(name);
            let whole = guess(&bytes).unwrap().name();
            let known: Vec<bool> = (0..bytes.len())
                .map(|cut| match guess(&bytes[..cut]) {
                    Some(format) => {
                        assert_eq!(format.name(), whole);
                        true
                    }
                    None => false,
                })
                .collect();
            assert!(
                known.is_sorted() && known.iter().filter(|known| **known).count() > 100,
                "{name}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_has_a_name() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let cases: [(&[u8], &str); 9] = [
            (&sample("hostile/flow-log/parquet.parquet"), "a Parquet file"),
            (&tar, "a tar archive"),
            (b"PK\x03\x04\x14\0", "a zip archive"),
            (b"BZh91AY&SY", "compressed by bzip2"),
            (b"\xfd7zXZ\0", "compressed by xz"),
            (b"\x28\xb5\x2f\xfd", "compressed by Zstandard"),
            (b"Obj\x01", "an Avro file"),
            (b"\xff\xfea\0", "text in UTF-16"),
            (b"SQLite format 3\0", "an SQLite database"),
        ];
        let text = [&[b' '; 257][..], b"ustar 00"].concat();
        for text in [&b"PAR1"[..], b"PAR1,192.0.2.1\nPAR2,192.0.2.2\n", &text] {
            assert_eq!(foreign(text), None, "{text:?}");
        }
        for (bytes, expected) in cases {
            assert!(foreign(bytes).unwrap().starts_with(expected), "{expected}");
            assert!(guess(bytes).is_none());
        }
        assert!(unread(b"#Version: 1.0\r\n#Fields: date time").is_some());
        assert!(unread(&sample("hostile/flow-log/transit-gateway.log")).is_some());
        assert_eq!(unread(&sample("flow-log/default-v2.log")), None);
    }
}
