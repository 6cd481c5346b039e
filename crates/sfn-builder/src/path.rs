//! JSONPath, as far as it is supported: fields, indices, slices and wildcards below `$` or `$$`.

use std::fmt;
use std::str::FromStr;

/// A JSONPath that parses, such as `$.a.b[0]`, `$['a b']` or `$$.Execution.Input['JobName']`.
///
/// ```
/// use sfn_builder::path::{Path, Root, Segment};
///
/// let path: Path = "$$.Execution.Input['JobName']".parse()?;
/// assert_eq!(path.root(), Root::Context);
/// assert_eq!(path.segments()[2], Segment::Field("JobName".into()));
/// assert!("$..name".parse::<Path>().is_err());
/// # Ok::<(), sfn_builder::path::PathError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    text: String,
    root: Root,
    segments: Vec<Segment>,
}

/// What a path starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Root {
    /// `$`: the input or result at hand.
    Data,
    /// `$$`: the context object of the execution.
    Context,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Segment {
    /// `.name` or `['name']`.
    Field(String),
    /// `[3]`, or from the end, `[-1]`.
    Index(i64),
    /// `[1:3]`, `[1:]`, `[:2]`, `[-2:]`.
    Slice {
        /// The first index; from the end when negative.
        start: Option<i64>,
        /// One past the last index; from the end when negative.
        end: Option<i64>,
    },
    /// `[*]` or `.*`.
    Wildcard,
}

/// Why a text is not a supported JSONPath.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`, character {position}: {message}")]
pub struct PathError {
    text: String,
    // One-based.
    position: usize,
    message: String,
    pub(crate) unsupported: bool,
}

impl Path {
    /// `$`.
    #[must_use]
    pub fn root_of_data() -> Self {
        Self {
            text: "$".into(),
            root: Root::Data,
            segments: Vec::new(),
        }
    }

    /// What it starts from.
    #[must_use]
    pub fn root(&self) -> Root {
        self.root
    }

    /// Its steps.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it names exactly one place (a reference path): fields and indices from the front only.
    #[must_use]
    pub fn is_reference(&self) -> bool {
        self.segments.iter().all(|segment| match segment {
            Segment::Field(_) => true,
            Segment::Index(index) => *index >= 0,
            _ => false,
        })
    }

    /// Whether it yields one value rather than an array of matches.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        self.segments
            .iter()
            .all(|segment| matches!(segment, Segment::Field(_) | Segment::Index(_)))
    }

    /// The path in the canonical form in which the service prints it: `$['a'][0]`, with `$` for either root.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = String::from("$");
        for segment in &self.segments {
            match segment {
                Segment::Field(name) => {
                    let name = name.replace('\\', "\\\\").replace('\'', "\\'");
                    text.push_str(&format!("['{name}']"));
                }
                Segment::Index(index) => text.push_str(&format!("[{index}]")),
                Segment::Slice { start, end } => {
                    let bound = |bound: &Option<i64>| bound.map(|b| b.to_string()).unwrap_or_default();
                    text.push_str(&format!("[{}:{}]", bound(start), bound(end)));
                }
                Segment::Wildcard => text.push_str("[*]"),
            }
        }
        text
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let chars: Vec<char> = text.chars().collect();
        let mut parser = Parser { text, chars, at: 0 };
        if !parser.eat('$') {
            return Err(parser.error("a path starts with `$`"));
        }
        let root = if parser.eat('$') {
            Root::Context
        } else {
            Root::Data
        };
        let mut segments = Vec::new();
        while parser.at < parser.chars.len() {
            segments.push(parser.segment()?);
        }
        Ok(Self {
            text: text.to_owned(),
            root,
            segments,
        })
    }
}

struct Parser<'a> {
    text: &'a str,
    chars: Vec<char>,
    at: usize,
}

impl Parser<'_> {
    fn segment(&mut self) -> Result<Segment, PathError> {
        if self.eat('.') {
            return match self.peek() {
                Some('.') => Err(self.unsupported("recursive descent (`..`)")),
                Some('*') => {
                    self.at += 1;
                    Ok(Segment::Wildcard)
                }
                Some('[') => Err(self.error("`.` before `[`")),
                _ => self.dotted(),
            };
        }
        if !self.eat('[') {
            return Err(self.error("expected `.` or `[`"));
        }
        let segment = match self.peek() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote)?,
            Some('*') => {
                self.at += 1;
                Segment::Wildcard
            }
            Some('?') => return Err(self.unsupported("a filter (`[?…]`)")),
            Some('(') => return Err(self.unsupported("a script (`[(…)]`)")),
            _ => self.numbers()?,
        };
        match self.peek() {
            Some(']') => {
                self.at += 1;
                Ok(segment)
            }
            Some(',') => Err(self.unsupported("a union (`[a,b]`)")),
            _ => Err(self.error("expected `]`")),
        }
    }

    fn dotted(&mut self) -> Result<Segment, PathError> {
        let start = self.at;
        while let Some(c) = self.peek() {
            match c {
                '.' | '[' => break,
                '(' => return Err(self.unsupported("a path function")),
                c if c.is_whitespace() => {
                    return Err(self.error("a blank in a name; write the name as `['…']`"));
                }
                ']' | ')' | '*' | '\'' | '"' | ',' => {
                    return Err(
                        self.error("a character that a plain name cannot have; write the name as `['…']`")
                    );
                }
                _ => self.at += 1,
            }
        }
        if self.at == start {
            return Err(self.error("a name is missing"));
        }
        Ok(Segment::Field(self.chars[start..self.at].iter().collect()))
    }

    fn quoted(&mut self, quote: char) -> Result<Segment, PathError> {
        self.at += 1;
        let mut name = String::new();
        loop {
            match self.next() {
                Some('\\') => match self.next() {
                    Some(c) => name.push(c),
                    None => return Err(self.error("the quote is not closed")),
                },
                Some(c) if c == quote => return Ok(Segment::Field(name)),
                Some(c) => name.push(c),
                None => return Err(self.error("the quote is not closed")),
            }
        }
    }

    fn numbers(&mut self) -> Result<Segment, PathError> {
        let start = self.number()?;
        if !self.eat(':') {
            return match start {
                Some(index) => Ok(Segment::Index(index)),
                None => Err(self.error("expected a number, a quoted name or `*`")),
            };
        }
        let end = self.number()?;
        if self.peek() == Some(':') {
            return Err(self.unsupported("a slice with a step"));
        }
        if start.is_none() && end.is_none() {
            return Err(self.error("a slice needs a bound"));
        }
        Ok(Segment::Slice { start, end })
    }

    fn number(&mut self) -> Result<Option<i64>, PathError> {
        let start = self.at;
        self.eat('-');
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            return Ok(None);
        }
        let digits: String = self.chars[start..self.at].iter().collect();
        // The service's indices are 32 bits wide.
        match digits.parse::<i32>() {
            Ok(number) => Ok(Some(number.into())),
            Err(_) => Err(self.error("not an index")),
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    fn error(&self, message: &str) -> PathError {
        PathError {
            text: self.text.to_owned(),
            position: self.at + 1,
            message: message.to_owned(),
            unsupported: false,
        }
    }

    fn unsupported(&self, what: &str) -> PathError {
        PathError {
            unsupported: true,
            ..self.error(&format!("{what} is not supported"))
        }
    }
}
