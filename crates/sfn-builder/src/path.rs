//! JSONPath as the service reads it: below `$`, `$$` or a variable fields, indices, slices, wildcards, unions, recursive
//! descent, filters, and a function at the end.
//!
//! States Language, sections "Paths" and "Reference Paths". The service's dialect is that of the Java library Jayway
//! JsonPath.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value;

/// How deep the parentheses of a filter may nest, and filters in filters.
const MAX_DEPTH: usize = 16;

/// A JSONPath that parses, such as `$.a.b[0]`, `$['a b']`, `$$.Execution.Input['JobName']` or `$var.field`.
///
/// States Language, sections "Paths" and "Reference Paths".
///
/// ```
/// use sfn_builder::path::{Path, Root, Segment};
///
/// let path: Path = "$$.Execution.Input['JobName']".parse()?;
/// assert_eq!(path.root(), &Root::Context);
/// assert_eq!(path.segments()[2], Segment::Field("JobName".into()));
/// assert!("$.a[?(@.b > 1)]..c".parse::<Path>().is_ok_and(|path| !path.is_reference()));
/// # Ok::<(), sfn_builder::path::PathError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
// INVARIANT: `$` is nothing, so that the defaults of most fields take no memory.
pub struct Path(Option<Arc<Parsed>>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Parsed {
    text: String,
    root: Root,
    segments: Vec<Segment>,
}

/// What a path starts from.
///
/// States Language, section "Paths"; developer guide, "Accessing execution data from the Context object".
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Root {
    /// `$`: the input or result at hand.
    Data,
    /// `$$`: the context object of the execution.
    Context,
    /// `$name`: a variable, without its `$`.
    Variable(String),
}

/// One step of a path.
///
/// States Language, section "Paths".
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
    /// `..`: the step that follows applies to the value and everything in it.
    Descendants,
    /// `['a','b']`.
    Names(Vec<String>),
    /// `[0,2]`.
    Indices(Vec<i64>),
    /// `[?(…)]`: the items for which it holds.
    Filter(Box<Filter>),
    /// `.length()` and its kind; always the last step.
    Function(PathFunction),
}

/// A function at the end of a path.
///
/// States Language, section "Paths".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathFunction {
    /// `min()`: the smallest of some numbers.
    Min,
    /// `max()`: the largest of some numbers.
    Max,
    /// `avg()`: the mean of some numbers.
    Average,
    /// `stddev()`: the standard deviation of some numbers.
    StandardDeviation,
    /// `sum()`: the sum of some numbers.
    Sum,
    /// `length()`: how many items or fields there are.
    Length,
    /// `keys()`: the names of the fields.
    Keys,
    /// `first()`: the first item.
    First,
    /// `last()`: the last item.
    Last,
}

impl PathFunction {
    const ALL: [(&'static str, Self); 9] = [
        ("min", Self::Min),
        ("max", Self::Max),
        ("avg", Self::Average),
        ("stddev", Self::StandardDeviation),
        ("sum", Self::Sum),
        ("length", Self::Length),
        ("keys", Self::Keys),
        ("first", Self::First),
        ("last", Self::Last),
    ];

    /// Its name, without the parentheses.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, function)| *function == self)
            .map_or("", |(name, _)| name)
    }
}

/// What stands in `[?(…)]`.
///
/// States Language, section "Paths".
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Filter {
    /// `a && b`: all hold.
    And(Vec<Filter>),
    /// `a || b`: one holds.
    Or(Vec<Filter>),
    /// `!a`.
    Not(Box<Filter>),
    /// `@.a`: it is there.
    Exists(Operand),
    /// `@.a > 1`.
    Compare {
        /// The left-hand side.
        left: Operand,
        /// How they are compared.
        comparison: Comparison,
        /// The right-hand side.
        right: Operand,
    },
}

/// How a filter compares.
///
/// States Language, section "Paths".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Comparison {
    /// `==`.
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
    /// `=~`: the regular expression to the right matches.
    Matches,
    /// `in`: the array to the right has it.
    In,
    /// `nin`: the array to the right does not have it.
    NotIn,
    /// `subsetof`: the array to the right has all of it.
    SubsetOf,
    /// `anyof`: the array to the right has some of it.
    AnyOf,
    /// `noneof`: the array to the right has none of it.
    NoneOf,
    /// `size`: it has as many items or characters as the number to the right.
    Size,
    /// `empty`: whether it is empty is the boolean to the right.
    Empty,
    /// `contains`: it has the value to the right in it.
    Contains,
}

/// The comparisons as they are written; longer ones before their beginnings.
const COMPARISONS: [(&str, Comparison); 15] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("=~", Comparison::Matches),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("in", Comparison::In),
    ("nin", Comparison::NotIn),
    ("subsetof", Comparison::SubsetOf),
    ("anyof", Comparison::AnyOf),
    ("noneof", Comparison::NoneOf),
    ("size", Comparison::Size),
    ("empty", Comparison::Empty),
    ("contains", Comparison::Contains),
];

/// One side of a comparison in a filter.
///
/// States Language, section "Paths".
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operand {
    /// `@.a`: below the item at hand.
    Item(Vec<Segment>),
    /// `$.a`: below the root of the path.
    Root(Vec<Segment>),
    /// A text, number, boolean, null or array.
    Value(Value),
    /// `/…/i`.
    Regex {
        /// What stands between the slashes.
        pattern: String,
        /// What stands after them, such as `i`.
        flags: String,
    },
}

/// Why a text is no JSONPath.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`, character {position}: {message}")]
pub struct PathError {
    text: String,
    // One-based.
    position: usize,
    message: String,
}

impl Path {
    /// `$`.
    #[must_use]
    pub fn root_of_data() -> Self {
        Self(None)
    }

    fn new(text: &str, root: Root, segments: Vec<Segment>) -> Self {
        let parsed = Parsed {
            text: text.to_owned(),
            root,
            segments,
        };
        Self((text != "$").then(|| parsed.into()))
    }

    /// What it starts from.
    #[must_use]
    pub fn root(&self) -> &Root {
        self.0.as_ref().map_or(&Root::Data, |parsed| &parsed.root)
    }

    /// Its steps.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        self.0.as_ref().map_or(&[], |parsed| &parsed.segments)
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("$", |parsed| &parsed.text)
    }

    /// Whether it names exactly one place (a reference path): fields and indices from the front only.
    #[must_use]
    pub fn is_reference(&self) -> bool {
        self.segments().iter().all(|segment| match segment {
            Segment::Field(_) => true,
            Segment::Index(index) => *index >= 0,
            _ => false,
        })
    }

    /// Whether it yields one value rather than an array of matches.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        let single = |segment: &Segment| matches!(segment, Segment::Field(_) | Segment::Index(_));
        match self.segments().split_last() {
            Some((Segment::Function(_), _)) | None => true,
            _ => self.segments().iter().all(single),
        }
    }

    /// The path in the canonical form in which the service prints it: `$['a'][0]`, with `$` for any root. Filters are
    /// shortened to `[?]`, as it does.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = String::from("$");
        for segment in self.segments() {
            let bound = |bound: &Option<i64>| bound.map(|b| b.to_string()).unwrap_or_default();
            match segment {
                Segment::Field(name) => text.push_str(&format!("[{}]", quote(name))),
                Segment::Index(index) => text.push_str(&format!("[{index}]")),
                Segment::Slice { start, end } => {
                    text.push_str(&format!("[{}:{}]", bound(start), bound(end)));
                }
                Segment::Wildcard => text.push_str("[*]"),
                Segment::Descendants => text.push_str(".."),
                Segment::Names(names) => {
                    let names: Vec<String> = names.iter().map(|name| quote(name)).collect();
                    text.push_str(&format!("[{}]", names.join(",")));
                }
                Segment::Indices(indices) => {
                    let indices: Vec<String> = indices.iter().map(ToString::to_string).collect();
                    text.push_str(&format!("[{}]", indices.join(",")));
                }
                Segment::Filter(_) => text.push_str("[?]"),
                Segment::Function(function) => text.push_str(&format!(".{}()", function.name())),
            }
        }
        text
    }
}

/// A name in single quotes, as in a bracket.
pub(crate) fn quote(name: &str) -> String {
    format!("'{}'", name.replace('\\', "\\\\").replace('\'', "\\'"))
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if let Some((root, segments)) = plain(text) {
            return Ok(Self::new(text, root, segments));
        }
        let mut parser = Parser {
            text,
            chars: text.chars().collect(),
            at: 0,
            depth: 0,
        };
        if !parser.eat('$') {
            return Err(parser.error("a path starts with `$`"));
        }
        let root = if parser.eat('$') {
            Root::Context
        } else {
            let name = parser.take_while(is_name);
            if name.is_empty() {
                Root::Data
            } else {
                Root::Variable(name)
            }
        };
        let segments = parser.segments()?;
        if parser.at < parser.chars.len() {
            return Err(parser.error("expected `.` or `[`"));
        }
        Ok(Self::new(text, root, segments))
    }
}

/// Reads what nearly every path is: a root, and names of ASCII letters, digits and `_` behind dots. `None` is for the parser.
fn plain(text: &str) -> Option<(Root, Vec<Segment>)> {
    let bytes = text.as_bytes();
    let name_end = |start: usize| {
        let more = bytes.get(start..).unwrap_or_default().iter();
        start
            + more
                .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
                .count()
    };
    if bytes.first() != Some(&b'$') {
        return None;
    }
    let (root, mut at) = if bytes.get(1) == Some(&b'$') {
        (Root::Context, 2)
    } else {
        match name_end(1) {
            1 => (Root::Data, 1),
            end => (Root::Variable(text[1..end].to_owned()), end),
        }
    };
    let mut segments = Vec::with_capacity(bytes[at..].iter().filter(|b| **b == b'.').count());
    while at < bytes.len() {
        let end = name_end(at + 1);
        if bytes[at] != b'.' || end == at + 1 {
            return None;
        }
        segments.push(Segment::Field(text[at + 1..end].to_owned()));
        at = end;
    }
    Some((root, segments))
}

/// A character of a variable's name.
fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

struct Parser<'a> {
    text: &'a str,
    chars: Vec<char>,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    /// Steps up to what can be none.
    fn segments(&mut self) -> Result<Vec<Segment>, PathError> {
        let mut segments = Vec::new();
        loop {
            if matches!(segments.last(), Some(Segment::Function(_))) {
                return Ok(segments);
            }
            match self.peek() {
                Some('.') => {
                    self.at += 1;
                    if self.eat('.') {
                        segments.push(Segment::Descendants);
                    }
                    // Jayway reads `$.[0]` as `$[0]`.
                    if self.peek() == Some('[') {
                        continue;
                    }
                    if self.eat('*') {
                        segments.push(Segment::Wildcard);
                    } else {
                        segments.push(self.dotted()?);
                    }
                }
                Some('[') => {
                    self.at += 1;
                    segments.push(self.bracketed()?);
                }
                _ => {
                    return if matches!(segments.last(), Some(Segment::Descendants)) {
                        Err(self.error("a name is missing"))
                    } else {
                        Ok(segments)
                    };
                }
            }
        }
    }

    fn bracketed(&mut self) -> Result<Segment, PathError> {
        self.blanks();
        let segment = match self.peek() {
            Some('\'' | '"') => {
                let mut names = vec![self.name()?];
                self.blanks();
                while self.eat(',') {
                    self.blanks();
                    names.push(self.name()?);
                    self.blanks();
                }
                match <[String; 1]>::try_from(names) {
                    Ok([name]) => Segment::Field(name),
                    Err(names) => Segment::Names(names),
                }
            }
            Some('*') => {
                self.at += 1;
                Segment::Wildcard
            }
            Some('?') => {
                self.at += 1;
                self.blanks();
                if !self.eat('(') {
                    return Err(self.error("expected `(` after `?`"));
                }
                let filter = self.or()?;
                if !self.eat(')') {
                    return Err(self.error("expected `)`"));
                }
                Segment::Filter(filter.into())
            }
            Some('(') => return Err(self.error("a script (`[(…)]`) is not part of the service's dialect")),
            _ => self.numbers()?,
        };
        self.blanks();
        if self.eat(']') {
            Ok(segment)
        } else {
            Err(self.error("expected `]`"))
        }
    }

    fn dotted(&mut self) -> Result<Segment, PathError> {
        let start = self.at;
        while let Some(c) = self.peek() {
            match c {
                '.' | '[' => break,
                '(' => return self.function(start),
                // The end of an operand in a filter.
                _ if self.depth > 0 && (c.is_whitespace() || ")=!<>&|,]".contains(c)) => break,
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

    fn function(&mut self, start: usize) -> Result<Segment, PathError> {
        let name: String = self.chars[start..self.at].iter().collect();
        let Some((_, function)) = PathFunction::ALL.iter().find(|(known, _)| *known == name) else {
            return Err(self.error(&format!("there is no path function `{name}`")));
        };
        self.at += 1;
        self.blanks();
        if !self.eat(')') {
            return Err(self.error("a path function has no arguments here: expected `)`"));
        }
        Ok(Segment::Function(*function))
    }

    /// A name in quotes.
    fn name(&mut self) -> Result<String, PathError> {
        let Some(quote @ ('\'' | '"')) = self.peek() else {
            return Err(self.error("expected a quoted name"));
        };
        self.at += 1;
        let mut name = String::new();
        loop {
            match self.next() {
                Some('\\') => match self.next() {
                    Some(c) => name.push(c),
                    None => return Err(self.error("the quote is not closed")),
                },
                Some(c) if c == quote => return Ok(name),
                Some(c) => name.push(c),
                None => return Err(self.error("the quote is not closed")),
            }
        }
    }

    fn numbers(&mut self) -> Result<Segment, PathError> {
        let start = self.integer()?;
        if self.eat(':') {
            let end = self.integer()?;
            if self.peek() == Some(':') {
                return Err(self.error("a slice has no step in the service's dialect"));
            }
            if start.is_none() && end.is_none() {
                return Err(self.error("a slice needs a bound"));
            }
            return Ok(Segment::Slice { start, end });
        }
        let Some(first) = start else {
            return Err(self.error("expected a number, a quoted name, `*` or `?(…)`"));
        };
        self.blanks();
        if self.peek() != Some(',') {
            return Ok(Segment::Index(first));
        }
        let mut indices = vec![first];
        while self.eat(',') {
            self.blanks();
            match self.integer()? {
                Some(index) => indices.push(index),
                None => return Err(self.error("expected a number")),
            }
            self.blanks();
        }
        Ok(Segment::Indices(indices))
    }

    fn integer(&mut self) -> Result<Option<i64>, PathError> {
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

    fn or(&mut self) -> Result<Filter, PathError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(&format!("a filter nests deeper than {MAX_DEPTH}")));
        }
        self.depth += 1;
        let mut any = vec![self.and()?];
        while self.eat_word("||") {
            any.push(self.and()?);
        }
        self.depth -= 1;
        Ok(match <[Filter; 1]>::try_from(any) {
            Ok([only]) => only,
            Err(any) => Filter::Or(any),
        })
    }

    fn and(&mut self) -> Result<Filter, PathError> {
        let mut all = vec![self.unary()?];
        while self.eat_word("&&") {
            all.push(self.unary()?);
        }
        Ok(match <[Filter; 1]>::try_from(all) {
            Ok([only]) => only,
            Err(all) => Filter::And(all),
        })
    }

    fn unary(&mut self) -> Result<Filter, PathError> {
        self.blanks();
        let mut negated = false;
        while self.eat('!') {
            negated = !negated;
            self.blanks();
        }
        let filter = if self.eat('(') {
            let inner = self.or()?;
            if !self.eat(')') {
                return Err(self.error("expected `)`"));
            }
            inner
        } else {
            let left = self.operand()?;
            self.blanks();
            match COMPARISONS.iter().find(|(sign, _)| self.at_word(sign)) {
                Some((sign, comparison)) => {
                    self.at += sign.len();
                    let right = self.operand()?;
                    Filter::Compare {
                        left,
                        comparison: *comparison,
                        right,
                    }
                }
                None => Filter::Exists(left),
            }
        };
        self.blanks();
        Ok(if negated {
            Filter::Not(Box::new(filter))
        } else {
            filter
        })
    }

    fn operand(&mut self) -> Result<Operand, PathError> {
        self.blanks();
        match self.peek() {
            Some('@') => {
                self.at += 1;
                self.segments().map(Operand::Item)
            }
            Some('$') => {
                self.at += 1;
                self.segments().map(Operand::Root)
            }
            Some('/') => {
                self.at += 1;
                let mut pattern = String::new();
                loop {
                    match self.next() {
                        Some('/') => break,
                        Some('\\') => {
                            pattern.push('\\');
                            pattern.extend(self.next());
                        }
                        Some(c) => pattern.push(c),
                        None => return Err(self.error("the regular expression is not closed")),
                    }
                }
                let flags = self.take_while(|c| c.is_ascii_alphabetic());
                Ok(Operand::Regex { pattern, flags })
            }
            _ => self.literal().map(Operand::Value),
        }
    }

    fn literal(&mut self) -> Result<Value, PathError> {
        self.blanks();
        match self.peek() {
            Some('\'' | '"') => self.name().map(Value::String),
            Some('[') => {
                if self.depth == MAX_DEPTH {
                    return Err(self.error(&format!("a filter nests deeper than {MAX_DEPTH}")));
                }
                self.depth += 1;
                self.at += 1;
                let mut items = Vec::new();
                self.blanks();
                while !self.eat(']') {
                    items.push(self.literal()?);
                    self.blanks();
                    if !self.eat(',') && self.peek() != Some(']') {
                        return Err(self.error("expected `,` or `]`"));
                    }
                    self.blanks();
                }
                self.depth -= 1;
                Ok(Value::Array(items))
            }
            _ => {
                let start = self.at;
                let word = self.take_while(|c| c.is_ascii_alphanumeric() || "+-._".contains(c));
                match serde_json::from_str::<Value>(&word) {
                    Ok(value) => Ok(value),
                    // The service takes a word without quotes for a text.
                    Err(_) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => Ok(Value::String(word)),
                    Err(_) => {
                        self.at = start;
                        Err(self.error("expected `@`, `$`, a text, a number, `true`, `false` or `null`"))
                    }
                }
            }
        }
    }

    /// Whether the text goes on with this sign, or with this word as a whole.
    fn at_word(&self, sign: &str) -> bool {
        let mut end = self.at;
        for c in sign.chars() {
            if self.chars.get(end) != Some(&c) {
                return false;
            }
            end += 1;
        }
        let is_word = sign.starts_with(|c: char| c.is_ascii_alphabetic());
        !is_word || !self.chars.get(end).copied().is_some_and(is_name)
    }

    fn eat_word(&mut self, sign: &str) -> bool {
        self.blanks();
        let found = self.at_word(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek().is_some_and(&accept) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
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
        }
    }
}
