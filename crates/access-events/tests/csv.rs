//! The CSV as callers see it: what is read, what is refused and how it says so, and that writing and reading agree.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

use std::error::Error as _;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;

use access_events::{AccessEvent, Error, csv, read_csv, write_csv};
use expect_test::{Expect, expect};
use proptest::prelude::*;

/// Reads `input`, rows and errors alike, and compares what came of each row.
fn check(input: impl AsRef<[u8]>, expected: Expect) {
    let mut seen = String::new();
    for row in csv::Reader::new(input.as_ref()) {
        match row {
            Ok(event) => writeln!(seen, "{:?} {}", event.entity, event.ip).unwrap(),
            Err(error) => {
                write!(seen, "error: {error}").unwrap();
                if let Some(cause) = error.source() {
                    write!(seen, ": {cause}").unwrap();
                }
                seen.push('\n');
            }
        }
    }
    expected.assert_eq(&seen);
}

#[test]
fn plain_rows() {
    check(
        "a,1.2.3.4\nb,255.255.255.255\na,1.2.3.4\n",
        expect![[r#"
            "a" 1.2.3.4
            "b" 255.255.255.255
            "a" 1.2.3.4
        "#]],
    );
}

#[test]
fn blanks_around_the_address_go_those_around_the_entity_stay() {
    check(
        "a, 1.2.3.4\n b ,\t1.2.3.5 \n ,1.2.3.6\n",
        expect![[r#"
            "a" 1.2.3.4
            " b " 1.2.3.5
            " " 1.2.3.6
        "#]],
    );
}

#[test]
fn line_ends_of_every_kind() {
    check(
        "a,1.2.3.4\r\nb,1.2.3.5\r\n\r\n\nc,1.2.3.6",
        expect![[r#"
            "a" 1.2.3.4
            "b" 1.2.3.5
            "c" 1.2.3.6
        "#]],
    );
    check("", expect![[""]]);
    check("\n\n", expect![[""]]);
}

#[test]
fn byte_order_mark() {
    check(
        "\u{feff}a,1.2.3.4\n\u{feff}b,1.2.3.4\n",
        expect![[r#"
            "a" 1.2.3.4
            "\u{feff}b" 1.2.3.4
        "#]],
    );
    check(
        "\u{feff}\"a,b\",1.2.3.4\n",
        expect![[r#"
            "a,b" 1.2.3.4
        "#]],
    );
}

#[test]
fn quotes() {
    check(
        "\"a,b\",1.2.3.4\n\"say \"\"x\"\"\",\"1.2.3.5\"\n\"two\nlines\",1.2.3.6\nc,oops\n",
        expect![[r#"
            "a,b" 1.2.3.4
            "say \"x\"" 1.2.3.5
            "two\nlines" 1.2.3.6
            error: line 5: `oops` is not an IPv4 address: invalid IPv4 address syntax
        "#]],
    );
}

#[test]
fn wrong_field_counts() {
    check(
        "a\nb,1.2.3.4,\nc,1.2.3.4\nd,1.2.3.4, 1.2.3.5\n,\n",
        expect![[r#"
            error: line 1: expected an entity and an IPv4 address, found 1 field in `a`
            error: line 2: expected an entity and an IPv4 address, found 3 fields in `b,1.2.3.4,`; a value with a comma in it needs quotes
            "c" 1.2.3.4
            error: line 4: expected an entity and an IPv4 address, found 3 fields in `d,1.2.3.4, 1.2.3.5`; a value with a comma in it needs quotes
            error: line 5: the entity before `` is empty
        "#]],
    );
}

#[test]
fn lines_are_counted_over_empty_lines_and_line_breaks_in_quotes() {
    check(
        "\n\na,\r\nb,\r\nc,\n",
        expect![[r#"
            error: line 3: `` is not an IPv4 address: invalid IPv4 address syntax
            error: line 4: `` is not an IPv4 address: invalid IPv4 address syntax
            error: line 5: `` is not an IPv4 address: invalid IPv4 address syntax
        "#]],
    );
    check(
        "a\n\n\nb\n\"c\r\nd\"\ne\r\n\r\nf\n",
        expect![[r#"
            error: line 1: expected an entity and an IPv4 address, found 1 field in `a`
            error: line 4: expected an entity and an IPv4 address, found 1 field in `b`
            error: line 5: expected an entity and an IPv4 address, found 1 field in `c\r\nd`
            error: line 7: expected an entity and an IPv4 address, found 1 field in `e`
            error: line 9: expected an entity and an IPv4 address, found 1 field in `f`
        "#]],
    );
}

#[test]
fn bad_addresses() {
    check(
        "a,\na,localhost\na,1.2.3\na,1.2.3.256\na,1.2.3.04\na,1.2.3.4/32\na,1.2.3.4:80\na,\"1.2.3.4, 5.6.7.8\"\n",
        expect![[r#"
            error: line 1: `` is not an IPv4 address: invalid IPv4 address syntax
            error: line 2: `localhost` is not an IPv4 address: invalid IPv4 address syntax
            error: line 3: `1.2.3` is not an IPv4 address: invalid IPv4 address syntax
            error: line 4: `1.2.3.256` is not an IPv4 address: invalid IPv4 address syntax
            error: line 5: `1.2.3.04` is not an IPv4 address: invalid IPv4 address syntax
            error: line 6: `1.2.3.4/32` is not an IPv4 address: invalid IPv4 address syntax
            error: line 7: `1.2.3.4:80` is not an IPv4 address: invalid IPv4 address syntax
            error: line 8: `1.2.3.4, 5.6.7.8` is not an IPv4 address: invalid IPv4 address syntax
        "#]],
    );
}

#[test]
fn a_header() {
    check(
        "user,ip_address\na,1.2.3.4\nuser,ip_address\n",
        expect![[r#"
        error: line 1: `ip_address` is not an IPv4 address; the first line must not be a header: invalid IPv4 address syntax
        "a" 1.2.3.4
        error: line 3: `ip_address` is not an IPv4 address: invalid IPv4 address syntax
    "#]],
    );
}

#[test]
fn ipv6() {
    check(
        "a,2001:db8::1\na, ::ffff:1.2.3.4\n",
        expect![[r#"
            error: line 1: `2001:db8::1` is an IPv6 address, and only IPv4 is known; leave the row out
            error: line 2: `::ffff:1.2.3.4` is an IPv6 address, and only IPv4 is known; leave the row out
        "#]],
    );
}

#[test]
fn empty_entity() {
    check(
        ",1.2.3.4\n\"\",1.2.3.4\n",
        expect![[r#"
            error: line 1: the entity before `1.2.3.4` is empty
            error: line 2: the entity before `1.2.3.4` is empty
        "#]],
    );
}

#[test]
fn not_utf8() {
    check(
        b"a,1.2.3.4\n\xff\xfe,1.2.3.4\nb,1.2.3.\xe9\nc,1.2.3.4\n",
        expect![[r#"
            "a" 1.2.3.4
            error: line 2: `��,1.2.3.4` is not UTF-8; convert the file first: invalid utf-8 sequence of 1 bytes from index 0
            error: line 3: `b,1.2.3.�` is not UTF-8; convert the file first: incomplete utf-8 byte sequence from index 6
            "c" 1.2.3.4
        "#]],
    );
}

#[test]
fn a_quote_that_is_never_closed_is_shown_shortened() {
    check(
        format!("a,1.2.3.4\n\"b,1.2.3.4\n{}", "c,1.2.3.4\n".repeat(50)),
        expect![[r#"
            "a" 1.2.3.4
            error: line 2: the quote in `b,1.2.3.4\nc,1.2.3.4\nc,1.2.3.4\nc,1.2.3.4\nc,1.2.3.4\nc,1.2.3.4\nc,1.2.3.4\nc,1.2.3.4\n…` is never closed; a quote inside of quotes is written twice
        "#]],
    );
}

#[test]
fn a_quoted_address_and_a_line_break_at_the_very_end() {
    check(
        "a,\"1.2.3.4\"\r\nb,\"1.2.3.4\n\"",
        expect![[r#"
            "a" 1.2.3.4
            "b" 1.2.3.4
        "#]],
    );
    check(
        "\"a\",\"1.2.3.4",
        expect![[r#"
            error: line 1: the quote in `a,1.2.3.4` is never closed; a quote inside of quotes is written twice
        "#]],
    );
}

#[test]
fn a_failed_read_ends_the_iterator() {
    struct Torn(&'static [u8]);
    impl Read for Torn {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                Err(io::Error::other("the line went dead"))
            } else {
                self.0.read(buffer)
            }
        }
    }
    let mut rows = csv::Reader::new(Torn(b"a,1.2.3.4\nb,1.2"));
    assert!(rows.next().unwrap().is_ok());
    let error = rows.next().unwrap().unwrap_err();
    expect!["could not read on after line 1"].assert_eq(&error.to_string());
    assert_eq!(error.source().unwrap().to_string(), "the line went dead");
    assert_eq!(error.line(), None);
    assert!(rows.next().is_none());
}

/// Writes the entities, each with 1.2.3.4.
fn written(entities: &[&str]) -> String {
    let events: Vec<_> = entities
        .iter()
        .map(|entity| AccessEvent::new(*entity, [1, 2, 3, 4].into()))
        .collect();
    let mut bytes = Vec::new();
    write_csv(&mut bytes, &events).unwrap();
    String::from_utf8(bytes).unwrap().replace('\r', "␍")
}

#[test]
fn quotes_are_written_only_where_needed() {
    expect![[r#"
        a b,1.2.3.4
        "a,b",1.2.3.4
        "say ""x""",1.2.3.4
        "two
        lines",1.2.3.4
        "cr␍lf",1.2.3.4
         x ,1.2.3.4
        é,1.2.3.4
        #,1.2.3.4
        "﻿bom",1.2.3.4
    "#]]
    .assert_eq(&written(&[
        "a b",
        "a,b",
        "say \"x\"",
        "two\nlines",
        "cr\rlf",
        " x ",
        "é",
        "#",
        "\u{feff}bom",
    ]));
}

#[test]
fn an_empty_entity_is_not_written() {
    let mut writer = csv::Writer::new(Vec::new());
    writer
        .write(&AccessEvent::new("two\nlines", Ipv4Addr::LOCALHOST))
        .unwrap();
    let error = writer
        .write(&AccessEvent::new("", Ipv4Addr::LOCALHOST))
        .unwrap_err();
    assert!(matches!(error, Error::EmptyEntity { line: 3, .. }), "{error:?}");
    assert_eq!(writer.finish().unwrap(), b"\"two\nlines\",127.0.0.1\n");
}

#[test]
fn a_failed_write_is_an_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = write_csv(Full, &[AccessEvent::new("a", Ipv4Addr::LOCALHOST)]).unwrap_err();
    assert!(
        matches!(&error, Error::Write { source } if source.kind() == io::ErrorKind::StorageFull),
        "{error:?}"
    );
}

fn events() -> impl Strategy<Value = Vec<AccessEvent>> {
    let awkward = prop::string::string_regex("[ ,\"\r\n\ta\u{feff}é#']{1,6}").unwrap();
    let entity = prop_oneof![
        awkward,
        any::<String>().prop_filter("an entity is not empty", |s| !s.is_empty())
    ];
    prop::collection::vec(
        (entity, any::<u32>()).prop_map(|(e, ip)| AccessEvent::new(e, ip.into())),
        0..20,
    )
}

/// Gives one byte at a time, so that every boundary of a buffer is tried.
struct Dribble<'a>(&'a [u8]);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let one = buffer.len().min(1);
        self.0.read(&mut buffer[..one])
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(events in events()) {
        let mut bytes = Vec::new();
        write_csv(&mut bytes, &events).unwrap();
        prop_assert_eq!(&read_csv(bytes.as_slice()).unwrap(), &events);
        prop_assert_eq!(&read_csv(Dribble(&bytes)).unwrap(), &events);
    }

    #[test]
    fn an_error_names_the_line_of_the_row(before in events(), after in events()) {
        let mut bytes = Vec::new();
        write_csv(&mut bytes, &before).unwrap();
        let line = 1 + bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        bytes.extend_from_slice(b"a,not an address\n");
        write_csv(&mut bytes, &after).unwrap();
        prop_assert_eq!(read_csv(bytes.as_slice()).unwrap_err().line(), Some(line));
    }

    #[test]
    fn arbitrary_bytes_end_in_rows_or_errors(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for event in csv::Reader::new(bytes.as_slice()).flatten() {
            prop_assert!(!event.entity.is_empty());
        }
    }
}

#[test]
fn a_quote_without_end_does_not_take_the_whole_input_into_memory() {
    let endless = Read::chain(&b"a,1.2.3.4\n\"b"[..], io::repeat(b'b'));
    let mut rows = csv::Reader::new(endless);
    assert!(rows.next().unwrap().is_ok());
    let error = rows.next().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the row after line 1 is longer than 1048576 bytes; a quote may be open that nobody closes"
    );
    assert!(rows.next().is_none());
}

#[test]
fn a_line_that_is_too_long_takes_no_other_with_it() {
    let text = format!("a,1.2.3.4\n{},1.2.3.4\nb,1.2.3.4\n", "x".repeat(3 << 20));
    let rows: Vec<_> = csv::Reader::new(text.as_bytes()).collect();
    assert_eq!(rows.len(), 3);
    assert!(matches!(
        rows[1],
        Err(access_events::Error::TooLong { after: 1, .. })
    ));
    assert_eq!(rows[2].as_ref().unwrap().entity, "b");
}
