//! Tables as text: any CSV, with a header or by column numbers.

use std::fmt;
use std::io::BufRead;
use std::str::FromStr;

use ::csv::ByteRecord;
use jiff::Timestamp;

use super::lines::Fault;
use super::{Format, LINE_LIMIT, Malformed, Place, Problem, ReadError, Sink, TimeFormat};
use crate::rows::{Row, RowError, Rows};
use crate::sighting::{Principal, Sighting};

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// By its name in the header.
    Name(String),
    /// By its number, one-based.
    Number(usize),
}

impl FromStr for Column {
    type Err = std::convert::Infallible;

    /// Digits alone are a number, everything else is a name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(text))
    }
}

impl From<&str> for Column {
    fn from(text: &str) -> Self {
        match text.parse() {
            Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Self::Number(number),
            _ => Self::Name(text.to_owned()),
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Number(number) => write!(f, "number {number}"),
        }
    }
}

/// Why settings for a table make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsvError {
    /// No column is the entity.
    #[error("no column is named for the entity")]
    NoEntity,
    /// A column is asked for by name and there is no header to look it up in.
    #[error("column `{name}` has no number, and without a header columns have no names")]
    NameWithoutHeader {
        /// The name.
        name: String,
    },
    /// Column numbers begin at one.
    #[error("there is no column 0; the first has number 1")]
    ColumnZero,
    /// The delimiter would be taken for something else.
    #[error("`{}` cannot be the delimiter", char::from(*delimiter).escape_debug())]
    Delimiter {
        /// The delimiter.
        delimiter: u8,
    },
}

/// Settings for a table as users write them; [`check`](Self::check) makes a [`Csv`] of them.
#[derive(Debug, Clone)]
#[must_use]
pub struct Draft {
    entity: Vec<Column>,
    separator: String,
    address: Column,
    time: Option<(Column, TimeFormat)>,
    header: bool,
    delimiter: u8,
    quoting: bool,
    limit: usize,
}

impl Draft {
    /// The entity: one column, or several whose fields are joined. The last call counts.
    pub fn entity(mut self, columns: impl IntoIterator<Item = impl Into<Column>>) -> Self {
        self.entity = columns.into_iter().map(Into::into).collect();
        self
    }

    /// What stands between the fields of an entity of several columns; `/` by default.
    pub fn separator(mut self, separator: impl Into<String>) -> Self {
        self.separator = separator.into();
        self
    }

    /// The time, and how it is written; none by default. An empty field is no time.
    pub fn time(mut self, column: impl Into<Column>, format: TimeFormat) -> Self {
        self.time = Some((column.into(), format));
        self
    }

    /// Whether the first row names the columns; so by default.
    pub fn header(mut self, header: bool) -> Self {
        self.header = header;
        self
    }

    /// What stands between fields: one ASCII character, a comma by default.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// Whether a field may be in double quotes, and hold delimiters and line breaks there; so by default.
    pub fn quoting(mut self, quoting: bool) -> Self {
        self.quoting = quoting;
        self
    }

    /// How long a row may be, in bytes; [`LINE_LIMIT`] by default.
    pub fn row_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// The reader, when the settings make sense.
    ///
    /// # Errors
    ///
    /// The first of [`CsvError`] that applies.
    pub fn check(self) -> Result<Csv, CsvError> {
        if self.entity.is_empty() {
            return Err(CsvError::NoEntity);
        }
        let time = self.time.as_ref().map(|(column, _)| column);
        for column in self.entity.iter().chain([&self.address]).chain(time) {
            match column {
                Column::Number(0) => return Err(CsvError::ColumnZero),
                Column::Name(name) if !self.header => {
                    return Err(CsvError::NameWithoutHeader { name: name.clone() });
                }
                _ => {}
            }
        }
        if matches!(self.delimiter, b'"' | b'\n' | b'\r') || !self.delimiter.is_ascii() {
            return Err(CsvError::Delimiter {
                delimiter: self.delimiter,
            });
        }
        Ok(Csv(self))
    }
}

/// A table as text, with delimiters between fields: entity, address and, when there is one, time by columns.
///
/// Every row has as many fields as the first one, or it is malformed: a list of addresses without quotes would otherwise
/// shift its columns unseen. The entity is kept as it is, blanks and all.
#[derive(Debug, Clone)]
pub struct Csv(Draft); // INVARIANT: there is an entity; columns have names only with a header, numbers from one on.

impl Csv {
    /// Settings with defaults, but for the columns of entity and address.
    pub fn draft(entity: impl Into<Column>, address: impl Into<Column>) -> Draft {
        Draft {
            entity: vec![entity.into()],
            separator: "/".to_owned(),
            address: address.into(),
            time: None,
            header: true,
            delimiter: b',',
            quoting: true,
            limit: LINE_LIMIT,
        }
    }
}

impl Format for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn read(&self, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), ReadError> {
        let Csv(settings) = self;
        let mut rows = Rows::new(input, settings.delimiter, settings.quoting, settings.limit);
        let mut columns = None;
        let mut entity = String::new();
        let mut last_line = 0;
        while let Some(row) = rows.next() {
            let row = match row {
                Ok(row) => row,
                Err(RowError::Io(error)) => return Err(error.into()),
                Err(RowError::TooLong) => {
                    sink.record();
                    let problem = Problem::Line(format!(
                        "the row after line {last_line} is longer than {} bytes; a quote may be open that nobody closes",
                        settings.limit
                    ));
                    sink.malformed(lost(last_line + 1, problem))?;
                    return Ok(());
                }
            };
            last_line = row.line;
            if row.is_cut {
                sink.record();
                sink.malformed(Malformed {
                    place: Place::Line(row.line),
                    problem: Problem::TooLong {
                        limit: settings.limit,
                    },
                    rest_lost: columns.is_none(),
                })?;
                if columns.is_none() {
                    return Ok(());
                }
                continue;
            }
            if columns.is_none() {
                match Columns::find(settings, row.fields) {
                    Ok(found) => columns = Some(found),
                    Err(problem) => {
                        sink.record();
                        sink.malformed(lost(row.line, Problem::Line(problem)))?;
                        return Ok(());
                    }
                }
                if settings.header {
                    continue;
                }
            }
            let Some(columns) = &columns else { continue };
            sink.record();
            match columns.tell(settings, row, &mut entity, sink) {
                Ok(()) => {}
                Err(Fault::Stopped) => return Err(ReadError::Stopped),
                Err(Fault::Problem(problem)) => sink.malformed(Malformed {
                    place: Place::Line(row.line),
                    problem,
                    // Whatever came after it is inside of the quote.
                    rest_lost: row.open_quote,
                })?,
            }
        }
        Ok(())
    }
}

fn lost(line: u64, problem: Problem) -> Malformed {
    Malformed {
        place: Place::Line(line),
        problem,
        rest_lost: true,
    }
}

/// Where the columns are, zero-based.
struct Columns {
    count: usize,
    entity: Vec<usize>,
    address: usize,
    time: Option<(usize, TimeFormat)>,
}

impl Columns {
    /// Finds the columns by the first row; says what is missing.
    fn find(settings: &Draft, first: &ByteRecord) -> Result<Self, String> {
        let names: Vec<_> = (0..first.len())
            .map(|index| String::from_utf8_lossy(field(first, index)))
            .collect();
        let index = |column: &Column| {
            let found = match column {
                Column::Number(number) => Some(number - 1).filter(|index| *index < names.len()),
                Column::Name(name) => {
                    let mut found = names.iter().enumerate().filter(|(_, found)| found.trim() == name);
                    let first = found.next().map(|(index, _)| index);
                    if found.next().is_some() {
                        return Err(format!(
                            "there are two columns {column}; name them by their numbers"
                        ));
                    }
                    first
                }
            };
            found.ok_or_else(|| {
                let names = super::json::shorten(&names.join(", "));
                format!("there is no column {column} in the first row, `{names}`")
            })
        };
        Ok(Self {
            count: first.len(),
            entity: settings.entity.iter().map(index).collect::<Result<_, _>>()?,
            address: index(&settings.address)?,
            time: match &settings.time {
                Some((column, format)) => Some((index(column)?, *format)),
                None => None,
            },
        })
    }

    fn tell(
        &self,
        settings: &Draft,
        row: Row<'_>,
        entity: &mut String,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        if row.open_quote {
            return Err(Problem::Line(
                "a quote is opened and never closed; a quote inside of quotes is written twice".to_owned(),
            )
            .into());
        }
        if row.fields.len() != self.count {
            return Err(Problem::Line(format!(
                "{} fields, where the first row has {}; a value with a delimiter in it needs quotes",
                row.fields.len(),
                self.count
            ))
            .into());
        }
        let text = |index: usize| std::str::from_utf8(field(row.fields, index)).map_err(|_| Problem::NotUtf8);
        let name = match &self.entity[..] {
            [only] => text(*only)?,
            several => {
                entity.clear();
                for (number, index) in several.iter().enumerate() {
                    let part = text(*index)?;
                    // Half a name would be another's.
                    if part.is_empty() {
                        entity.clear();
                        break;
                    }
                    if number > 0 {
                        entity.push_str(&settings.separator);
                    }
                    entity.push_str(part);
                }
                entity
            }
        };
        sink.sighting(Sighting {
            principal: Principal::named(name),
            address: text(self.address)?,
            time: match self.time {
                Some((index, format)) => moment(text(index)?.trim(), format)?,
                None => None,
            },
        })?;
        Ok(())
    }
}

fn moment(text: &str, format: TimeFormat) -> Result<Option<Timestamp>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let time = format
        .parse(text)
        .ok_or_else(|| Problem::Line(format!("`{}` is no time as {format}", super::json::shorten(text))))?;
    Ok(Some(time))
}

/// A field, the last one without the carriage return of its line's end.
fn field(row: &ByteRecord, index: usize) -> &[u8] {
    let field = &row[index];
    if index + 1 == row.len() {
        field.strip_suffix(b"\r").unwrap_or(field)
    } else {
        field
    }
}
