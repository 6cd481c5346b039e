//! The body of a request as rows, each of which may be wrong for itself.

use std::net::Ipv4Addr;

use access_events::AccessEvent;
use serde::Deserialize;

use crate::answer::{RequestRow, RowCode, RowError};

/// How much of what somebody sent an error repeats, in characters.
const SHOWN: usize = 64;

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `{"rows": [{"entity": …, "ip": …}]}`
    Json,
    /// An object a line.
    JsonLines,
    /// `entity,ip` a line.
    Csv,
}

/// The media types, each with its form; the first of a form is the one that is documented.
pub(crate) const MEDIA_TYPES: [(&str, Form); 6] = [
    ("application/json", Form::Json),
    ("application/jsonlines", Form::JsonLines),
    ("application/jsonl", Form::JsonLines),
    ("application/x-jsonlines", Form::JsonLines),
    ("application/x-ndjson", Form::JsonLines),
    ("text/csv", Form::Csv),
];

impl Form {
    /// By the value of `Content-Type`.
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        MEDIA_TYPES
            .iter()
            .find(|(name, _)| essence.eq_ignore_ascii_case(name))
            .map(|(_, form)| *form)
    }
}

/// A row, or what is wrong with it.
pub(crate) type Row = Result<AccessEvent, RowError>;

/// Why a body has no rows.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It is not of its form as a whole.
    Json(serde_json::Error),
    /// It has more rows than that.
    TooMany,
}

/// Reads the rows of a body, `most` of them at the most.
pub(crate) fn read(form: Form, body: &[u8], most: usize) -> Result<Vec<Row>, Unreadable> {
    // A byte order mark, as tables are saved with.
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    let rows: Vec<Row> = match form {
        Form::Json => {
            /// A request whose rows may be anything.
            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            struct Request {
                rows: Vec<serde_json::Value>,
            }
            let request: Request = serde_json::from_slice(body).map_err(Unreadable::Json)?;
            if request.rows.len() > most {
                return Err(Unreadable::TooMany);
            }
            let rows = request.rows.into_iter();
            rows.map(|row| object(serde_json::from_value(row))).collect()
        }
        Form::JsonLines => {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            let lines = lines.filter(|line| !line.is_empty());
            lines
                .take(most + 1)
                .map(|line| object(serde_json::from_slice(line)))
                .collect()
        }
        Form::Csv => {
            let reader = csv::ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .from_reader(body);
            let records = reader.into_byte_records();
            // The name of each column is never an address, so such a line is a header.
            let records = records.enumerate().filter(|(at, record)| {
                let header = |record: &csv::ByteRecord| record.iter().eq([&b"entity"[..], b"ip"]);
                !(*at == 0 && record.as_ref().is_ok_and(header))
            });
            records
                .take(most + 1)
                .map(|(_, record)| table_row(record))
                .collect()
        }
    };
    if rows.len() > most {
        return Err(Unreadable::TooMany);
    }
    Ok(rows)
}

fn object(row: serde_json::Result<RequestRow>) -> Row {
    match row {
        Ok(RequestRow { entity, ip }) => checked(entity, &ip),
        Err(error) => Err(invalid(format!(
            "a row is an object with the texts `entity` and `ip`: {error}"
        ))),
    }
}

fn table_row(record: Result<csv::ByteRecord, csv::Error>) -> Row {
    // From memory and with any number of fields, a record cannot fail; if it does, it is one row.
    let record = record.map_err(|error| invalid(error.to_string()))?;
    let record = csv::StringRecord::from_byte_record(record)
        .map_err(|_| invalid("the line is not UTF-8".to_owned()))?;
    match (record.get(0), record.get(1), record.len()) {
        (Some(entity), Some(ip), 2) => checked(entity.to_owned(), ip.trim()),
        (.., found) => Err(invalid(format!(
            "a line has two fields, `entity,ip`, and this one has {found}"
        ))),
    }
}

fn invalid(message: String) -> RowError {
    RowError {
        code: RowCode::InvalidRow,
        message,
    }
}

fn checked(entity: String, ip: &str) -> Row {
    if entity.is_empty() {
        return Err(RowError {
            code: RowCode::EmptyEntity,
            message: "`entity` is empty".to_owned(),
        });
    }
    match ip.parse::<Ipv4Addr>() {
        Ok(ip) => Ok(AccessEvent::new(entity, ip)),
        Err(_) => {
            let shown: String = ip.chars().take(SHOWN).collect();
            Err(RowError {
                code: RowCode::InvalidAddress,
                message: format!("`ip` must be an IPv4 address in dotted form, got `{shown}`"),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(form: Form, body: &str) -> Vec<String> {
        let rows = read(form, body.as_bytes(), 10).unwrap();
        rows.iter()
            .map(|row| match row {
                Ok(event) => format!("{} {}", event.entity, event.ip),
                Err(error) => format!("{:?}: {}", error.code, error.message),
            })
            .collect()
    }

    #[test]
    fn a_wrong_row_leaves_the_others() {
        assert_eq!(
            shown(
                Form::Json,
                r#"{"rows": [{"entity": "a", "ip": "192.0.2.1"}, {"entity": "a"}, 7, {"entity": "", "ip": "192.0.2.1"}]}"#
            ),
            [
                "a 192.0.2.1",
                "InvalidRow: a row is an object with the texts `entity` and `ip`: missing field `ip`",
                "InvalidRow: a row is an object with the texts `entity` and `ip`: invalid type: integer `7`, expected an object",
                "EmptyEntity: `entity` is empty",
            ]
        );
        assert_eq!(
            shown(
                Form::JsonLines,
                "{\"entity\": \"a\", \"ip\": \"192.0.2.1\"}\r\n\n{\"entity\": \"a\", \"ip\": \"::1\"}\n{\n"
            )[..2],
            [
                "a 192.0.2.1",
                "InvalidAddress: `ip` must be an IPv4 address in dotted form, got `::1`",
            ]
        );
        assert_eq!(
            shown(
                Form::Csv,
                "\u{feff}entity,ip\n\"a, b\", 192.0.2.1\nalone\n\nx,1.2.3.4,y\n"
            ),
            [
                "a, b 192.0.2.1",
                "InvalidRow: a line has two fields, `entity,ip`, and this one has 1",
                "InvalidRow: a line has two fields, `entity,ip`, and this one has 3",
            ]
        );
    }

    #[test]
    fn rows_are_counted_in_every_form() {
        let line = |form: Form, count: usize| match form {
            Form::Json => format!(
                r#"{{"rows":[{}]}}"#,
                vec![r#"{"entity":"a","ip":"1.1.1.1"}"#; count].join(",")
            ),
            Form::JsonLines => "{\"entity\":\"a\",\"ip\":\"1.1.1.1\"}\n".repeat(count),
            Form::Csv => "a,1.1.1.1\n".repeat(count),
        };
        for form in [Form::Json, Form::JsonLines, Form::Csv] {
            assert_eq!(read(form, line(form, 3).as_bytes(), 3).unwrap().len(), 3);
            let more = read(form, line(form, 4).as_bytes(), 3);
            assert!(matches!(more, Err(Unreadable::TooMany)), "{form:?}");
        }
    }

    #[test]
    fn a_media_type_may_have_parameters_and_any_case() {
        assert_eq!(Form::of("Text/CSV; charset=utf-8"), Some(Form::Csv));
        assert_eq!(Form::of("application/x-ndjson"), Some(Form::JsonLines));
        assert_eq!(Form::of("text/plain"), None);
    }
}
