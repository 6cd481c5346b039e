//! Cuts a stream into lines, each in memory for a moment and none copied that need not be.

use std::io::{self, BufRead};

use super::{Malformed, Place, Problem, ReadError, Stopped};

/// Why a line was not told of.
pub(crate) enum Fault {
    Problem(Problem),
    /// The sink wants no more.
    Stopped,
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Stopped> for Fault {
    fn from(Stopped: Stopped) -> Self {
        Self::Stopped
    }
}

/// A line without its break, or how it failed.
pub(crate) type Line<'a> = Result<&'a [u8], Malformed>;

/// Gives each line to `take`, with its one-based number. Lines end at a line feed; a carriage return before it goes
/// with it, and so does a byte order mark at the start. A line over the limit is malformed and passed over. What is
/// before a failure of the input and has no line break yet is not given.
pub(crate) fn read_lines(
    input: &mut dyn BufRead,
    limit: usize,
    mut take: impl FnMut(u64, Line<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut number = 0;
    // The beginning of a line whose end is not in the buffer yet.
    let mut begun = Vec::new();
    let mut too_long = false;
    let mut give = |text: &[u8], too_long: bool| {
        number += 1;
        let too_long = too_long || text.len() > limit;
        let text = match number {
            1 => text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text),
            _ => text,
        };
        let line = if too_long {
            Err(Malformed {
                place: Place::Line(number),
                problem: Problem::TooLong { limit },
                rest_lost: false,
            })
        } else {
            Ok(text.strip_suffix(b"\r").unwrap_or(text))
        };
        take(number, line)
    };
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        if buffer.is_empty() {
            break;
        }
        let length = buffer.len();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', buffer) {
            let text = &buffer[start..end];
            start = end + 1;
            if begun.is_empty() && !too_long {
                give(text, false)?;
                continue;
            }
            if !too_long {
                begun.extend_from_slice(text);
            }
            give(&begun, too_long)?;
            begun.clear();
            too_long = false;
        }
        let rest = &buffer[start..];
        if begun.len() + rest.len() > limit {
            too_long = true;
            begun.clear();
        }
        if !too_long {
            begun.extend_from_slice(rest);
        }
        input.consume(length);
    }
    if too_long || !begun.is_empty() {
        give(&begun, too_long)?;
    }
    Ok(())
}

/// An IPv4 address in dotted decimal, as the standard library reads it: no leading zeros, nothing around it.
pub(crate) fn ipv4(text: &[u8]) -> Option<std::net::Ipv4Addr> {
    if !(7..=15).contains(&text.len()) {
        return None;
    }
    let mut octets = [0_u8; 4];
    let mut octet = 0;
    let mut value = 0_u32;
    let mut digits = 0;
    for byte in text {
        match byte {
            b'0'..=b'9' if digits < 3 && !(digits == 1 && value == 0) => {
                value = value * 10 + u32::from(byte - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && octet < 3 => {
                octets[octet] = u8::try_from(value).ok()?;
                octet += 1;
                (value, digits) = (0, 0);
            }
            _ => return None,
        }
    }
    if octet != 3 || digits == 0 {
        return None;
    }
    octets[3] = u8::try_from(value).ok()?;
    Some(octets.into())
}

/// A number in decimal digits alone.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn lines(input: impl Read, buffer: usize, limit: usize) -> (Vec<String>, Result<(), ReadError>) {
        let mut lines = Vec::new();
        let mut input = BufReader::with_capacity(buffer, input);
        let result = read_lines(&mut input, limit, |number, line| {
            let text = match line {
                Ok(text) => String::from_utf8_lossy(text).into_owned(),
                Err(fault) => format!("<{fault}>"),
            };
            lines.push(format!("{number}:{text}"));
            Ok(())
        });
        (lines, result)
    }

    #[test]
    fn lines_end_in_several_ways() {
        for buffer in [1, 2, 3, 7, 100] {
            let check = |text: &str, expected: &[&str]| {
                assert_eq!(
                    lines(text.as_bytes(), buffer, 8).0,
                    expected,
                    "{text:?} by {buffer}"
                );
            };
            check("", &[]);
            check("a", &["1:a"]);
            check("\u{feff}a\r\n\nbc\r\n", &["1:a", "2:", "3:bc"]);
            check("\n\n", &["1:", "2:"]);
            check(
                "12345678\n123456789\nabc",
                &["1:12345678", "2:<it is longer than 8 bytes>", "3:abc"],
            );
            check("a\n1234567890", &["1:a", "2:<it is longer than 8 bytes>"]);
        }
    }

    #[test]
    fn a_line_that_the_input_fails_in_is_not_given() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
        let (lines, result) = lines(b"whole\nbeg".chain(Failing), 100, 100);
        assert_eq!(lines, ["1:whole"]);
        assert!(matches!(result, Err(ReadError::Io(_))));
    }

    proptest! {
        #[test]
        fn buffers_make_no_difference(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            buffer in 1_usize..40,
            limit in 0_usize..60,
        ) {
            prop_assert_eq!(lines(&text[..], buffer, limit).0, lines(&text[..], 1000, limit).0);
        }

        #[test]
        fn addresses_are_those_of_the_standard_library(
            text in "[0-9]{1,4}(\\.[0-9]{1,4}){2,4}|[0-9.]{0,16}|\\PC{0,8}",
            ip in any::<Ipv4Addr>(),
        ) {
            prop_assert_eq!(ipv4(text.as_bytes()), text.parse().ok());
            prop_assert_eq!(ipv4(ip.to_string().as_bytes()), Some(ip));
        }

        #[test]
        fn numbers_are_those_of_the_standard_library(text in "[0-9]{0,21}|\\PC{0,3}", number in any::<u64>()) {
            prop_assert_eq!(decimal(text.as_bytes()), text.parse().ok().filter(|_| !text.starts_with('+')));
            prop_assert_eq!(decimal(number.to_string().as_bytes()), Some(number));
        }
    }
}
