//! What an input is, by its first bytes, where they leave no doubt.

use std::sync::Arc;

use super::{FlowLog, Format, WebLog, flow_log, web_log};

/// What the input is when no format can read it, whatever format it is said to have: compressed otherwise than by gzip, a
/// binary file, or text in another encoding.
pub(crate) fn foreign(first: &[u8]) -> Option<&'static str> {
    let begins = |magic: &[u8]| first.starts_with(magic);
    if first.get(257..262) == Some(b"ustar") {
        return Some("a tar archive; unpack it first");
    }
    if begins(b"BZh") && first.get(4..10) == Some(b"\x31\x41\x59\x26\x53\x59") {
        return Some("compressed by bzip2; decompress it first");
    }
    Some(match first {
        _ if begins(b"PAR1") => "a Parquet file; have it delivered or converted as text",
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

/// The format of lines that the input begins with.
pub(crate) fn line_format(first: &[u8]) -> Option<Arc<dyn Format>> {
    let line = first_line(first);
    if flow_log::is_certain(line) {
        return Some(Arc::new(FlowLog::new()));
    }
    web_log::is_certain(line).then(|| Arc::new(WebLog::new()) as _)
}

fn first_line(first: &[u8]) -> &[u8] {
    let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
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
    fn every_sample_of_lines_is_known_and_no_other() {
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
        ] {
            assert!(guess(text.as_bytes()).is_none(), "{text:?}");
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
        for (bytes, expected) in cases {
            assert!(foreign(bytes).unwrap().starts_with(expected), "{expected}");
            assert!(guess(bytes).is_none());
        }
        assert!(unread(b"#Version: 1.0\r\n#Fields: date time").is_some());
        assert!(unread(&sample("hostile/flow-log/transit-gateway.log")).is_some());
        assert_eq!(unread(&sample("flow-log/default-v2.log")), None);
    }
}
