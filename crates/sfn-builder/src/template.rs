//! Values with something to compute in them: payload templates, whose keys ending in `.$` are computed, and values of a
//! JSONata state, whose texts in `{% %}` are.
//!
//! States Language, sections "Payload Template" and "Intrinsic Functions".

use serde_json::{Number, Value};

use crate::finding::nearest;
use crate::jsonata::Jsonata;
use crate::path::{Path, PathError, Root};

/// A value with something to compute in it, ready to be filled.
///
/// States Language, section "Payload Template"; developer guide, "Transforming data with JSONata in Step Functions".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Template {
    /// A value without anything to compute in it.
    Literal(Value),
    /// An array, some item of which is computed.
    Array(Vec<Template>),
    /// An object, some field of which is computed; in the order in which it was written.
    Object(Vec<(String, Template)>),
    /// A computed value.
    Computed {
        /// What errors call it: of a payload template the key as it was written, with its `.$`; in a JSONata state the
        /// way to it from the state on, such as `Output/result`, `Arguments/list[0]` or `Choices[1]/Output`.
        field: String,
        /// What to compute.
        expression: Expression,
    },
}

impl Template {
    /// Every expression in it, in the order in which they were written.
    #[must_use]
    pub fn expressions(&self) -> Vec<&Expression> {
        let mut found = Vec::new();
        self.each(&mut |expression| found.push(expression));
        found
    }

    pub(crate) fn each<'a>(&'a self, visit: &mut impl FnMut(&'a Expression)) {
        match self {
            Self::Literal(_) => {}
            Self::Array(items) => items.iter().for_each(|item| item.each(visit)),
            Self::Object(entries) => entries.iter().for_each(|(_, value)| value.each(visit)),
            Self::Computed { expression, .. } => visit(expression),
        }
    }
}

/// What is computed while a machine runs.
///
/// States Language, sections "Paths" and "Intrinsic Functions".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Expression {
    /// A JSONPath.
    Path(Path),
    /// An intrinsic function.
    Call(Box<Call>),
    /// A JSONata expression.
    Jsonata(Jsonata),
}

impl Expression {
    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Path(path) => path.as_str(),
            Self::Call(call) => &call.text,
            Self::Jsonata(jsonata) => jsonata.as_str(),
        }
    }

    /// The variables that it reads, without their `$`; a name may come twice.
    #[must_use]
    pub fn variables(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.each_variable(&mut |name| names.push(name));
        names
    }

    pub(crate) fn each_variable<'a>(&'a self, visit: &mut impl FnMut(&'a str)) {
        match self {
            Self::Path(path) => path_variable(path).into_iter().for_each(visit),
            Self::Call(call) => {
                call.each_path(&mut |path| path_variable(path).into_iter().for_each(&mut *visit))
            }
            Self::Jsonata(jsonata) => jsonata.references().variables.iter().for_each(|name| visit(name)),
        }
    }

    /// Visits every path in it.
    pub(crate) fn each_path<'a>(&'a self, visit: &mut impl FnMut(&'a Path)) {
        match self {
            Self::Path(path) => visit(path),
            Self::Call(call) => call.each_path(visit),
            Self::Jsonata(_) => {}
        }
    }

    /// Whether a text looks as if it were to be computed: a path below `$` or `$$`, or a call of an intrinsic function.
    pub(crate) fn is_meant(text: &str) -> bool {
        let path = ["$.", "$[", "$$.", "$$["];
        (path.iter().any(|start| text.starts_with(start)) || text.starts_with("States."))
            && Self::parse(text).is_ok()
    }

    /// Parses a path (starting with `$`) or a call (`States.…(…)`).
    ///
    /// # Errors
    ///
    /// Says what does not parse, or which function does not exist.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.starts_with('$') {
            return text.parse().map(Self::Path).map_err(ExpressionError::from);
        }
        let mut parser = Parser {
            text,
            at: 0,
            depth: 0,
        };
        let call = parser.call()?;
        // The service takes blanks behind a call, not in front of it.
        parser.blanks();
        if parser.at != text.len() {
            return Err(parser.error("more text after the call"));
        }
        Ok(Self::Call(Box::new(call)))
    }
}

fn path_variable(path: &Path) -> Option<&str> {
    match path.root() {
        Root::Variable(name) => Some(name),
        Root::Data | Root::Context => None,
    }
}

/// A call of an intrinsic function.
///
/// States Language, section "Intrinsic Functions".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Call {
    /// The text as it was written.
    pub text: String,
    /// Which function.
    pub function: Function,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// The first argument of `States.Format`, when it is a literal: escapes tell its braces from its places.
    pub template: Option<Vec<Piece>>,
}

/// The intrinsic functions.
///
/// States Language, Appendix B, "List of Intrinsic Functions".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Function {
    /// `States.Format('… {} …', value, …)`.
    Format,
    /// `States.StringToJson(text)`.
    StringToJson,
    /// `States.JsonToString(value)`.
    JsonToString,
    /// `States.Array(value, …)`.
    Array,
    /// `States.ArrayPartition(array, size)`.
    ArrayPartition,
    /// `States.ArrayContains(array, value)`.
    ArrayContains,
    /// `States.ArrayRange(first, last, step)`.
    ArrayRange,
    /// `States.ArrayGetItem(array, index)`.
    ArrayGetItem,
    /// `States.ArrayLength(array)`.
    ArrayLength,
    /// `States.ArrayUnique(array)`.
    ArrayUnique,
    /// `States.Base64Encode(text)`.
    Base64Encode,
    /// `States.Base64Decode(text)`.
    Base64Decode,
    /// `States.Hash(value, algorithm)`.
    Hash,
    /// `States.JsonMerge(first, second, false)`.
    JsonMerge,
    /// `States.MathRandom(first, end)` or `States.MathRandom(first, end, seed)`.
    MathRandom,
    /// `States.MathAdd(a, b)`.
    MathAdd,
    /// `States.StringSplit(text, delimiters)`.
    StringSplit,
    /// `States.UUID()`.
    Uuid,
}

impl Function {
    /// Every function with its name and how many arguments it takes, at least and at most.
    const ALL: [(Self, &'static str, usize, usize); 18] = [
        (Self::Format, "States.Format", 1, usize::MAX),
        (Self::StringToJson, "States.StringToJson", 1, 1),
        (Self::JsonToString, "States.JsonToString", 1, 1),
        (Self::Array, "States.Array", 0, usize::MAX),
        (Self::ArrayPartition, "States.ArrayPartition", 2, 2),
        (Self::ArrayContains, "States.ArrayContains", 2, 2),
        (Self::ArrayRange, "States.ArrayRange", 3, 3),
        (Self::ArrayGetItem, "States.ArrayGetItem", 2, 2),
        (Self::ArrayLength, "States.ArrayLength", 1, 1),
        (Self::ArrayUnique, "States.ArrayUnique", 1, 1),
        (Self::Base64Encode, "States.Base64Encode", 1, 1),
        (Self::Base64Decode, "States.Base64Decode", 1, 1),
        (Self::Hash, "States.Hash", 2, 2),
        (Self::JsonMerge, "States.JsonMerge", 3, 3),
        (Self::MathRandom, "States.MathRandom", 2, 3),
        (Self::MathAdd, "States.MathAdd", 2, 2),
        (Self::StringSplit, "States.StringSplit", 2, 2),
        (Self::Uuid, "States.UUID", 0, 0),
    ];

    fn entry(self) -> (&'static str, usize, usize) {
        Self::ALL
            .iter()
            .find(|(function, ..)| *function == self)
            .map_or(("", 0, 0), |(_, name, least, most)| (name, *least, *most))
    }

    /// Its name, such as `States.Format`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().0
    }

    /// Whether it always yields a text.
    #[must_use]
    pub fn yields_text(self) -> bool {
        matches!(
            self,
            Self::Format
                | Self::JsonToString
                | Self::Base64Encode
                | Self::Base64Decode
                | Self::Hash
                | Self::Uuid
        )
    }
}

/// A part of a literal template of `States.Format`.
///
/// States Language, Appendix B, "Intrinsic Functions", States.Format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text that stands for itself; may be empty.
    Text(String),
    /// `{}`: the next value.
    Place,
}

/// An argument of a call.
///
/// States Language, section "Intrinsic Functions".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Argument {
    /// A literal in single quotes, without its escapes.
    Text(String),
    /// A number.
    Number(Number),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// A JSONPath.
    Path(Path),
    /// Another call.
    Call(Box<Call>),
}

impl Call {
    fn each_path<'a>(&'a self, visit: &mut dyn FnMut(&'a Path)) {
        for argument in &self.arguments {
            match argument {
                Argument::Path(path) => visit(path),
                Argument::Call(inner) => inner.each_path(visit),
                _ => {}
            }
        }
    }
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    message: String,
    pub(crate) nearest: Option<String>,
    // Whether it is a path that does not parse, rather than a call.
    pub(crate) is_path: bool,
}

impl From<PathError> for ExpressionError {
    fn from(error: PathError) -> Self {
        Self {
            message: error.to_string(),
            nearest: None,
            is_path: true,
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// How many calls are open.
    depth: usize,
}

/// How deep calls may stand in calls: the service's limit, and what keeps a hostile text from using up the stack.
const MAX_NESTING: usize = 10;

impl<'a> Parser<'a> {
    fn call(&mut self) -> Result<Call, ExpressionError> {
        let start = self.at;
        let name = self.take_while(|c| c.is_alphanumeric() || c == '.' || c == '_');
        if name.is_empty() || !self.rest().starts_with('(') {
            self.at = start;
            return Err(self.error("expected a path (`$…`) or an intrinsic function (`States.…(…)`)"));
        }
        let function = match Function::ALL.iter().find(|(_, known, ..)| *known == name) {
            Some((function, ..)) => *function,
            None => return Err(unknown_function(name)),
        };
        if self.depth == MAX_NESTING {
            self.at = start;
            return Err(self.error(&format!("intrinsic functions nest deeper than {MAX_NESTING}")));
        }
        self.depth += 1;
        self.at += 1;
        let mut arguments = Vec::new();
        let mut template = None;
        self.blanks();
        if !self.eat(')') {
            loop {
                self.blanks();
                if self.rest().starts_with('\'') {
                    let (text, pieces) = self.quoted()?;
                    if arguments.is_empty() && function == Function::Format {
                        template = Some(pieces);
                    }
                    arguments.push(Argument::Text(text));
                } else {
                    arguments.push(self.argument()?);
                }
                self.blanks();
                if self.eat(')') {
                    break;
                }
                if !self.eat(',') {
                    return Err(self.error("expected `,` or `)`"));
                }
            }
        }
        let call = Call {
            text: self.text[start..self.at].to_owned(),
            function,
            arguments,
            template,
        };
        self.depth -= 1;
        check_arguments(&call)?;
        Ok(call)
    }

    fn argument(&mut self) -> Result<Argument, ExpressionError> {
        match self.rest().chars().next() {
            Some('$') => {
                let text = self.path_text()?;
                Ok(Argument::Path(text.parse()?))
            }
            Some(c) if c == '-' || c.is_ascii_digit() => {
                let text = self.take_while(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
                match serde_json::from_str(text) {
                    Ok(number) => Ok(Argument::Number(number)),
                    Err(_) => Err(self.error(&format!("`{text}` is not a number"))),
                }
            }
            _ => {
                for (word, argument) in [
                    ("true", Argument::Bool(true)),
                    ("false", Argument::Bool(false)),
                    ("null", Argument::Null),
                ] {
                    if self.rest().starts_with(word) {
                        self.at += word.len();
                        return Ok(argument);
                    }
                }
                self.call().map(|call| Argument::Call(Box::new(call)))
            }
        }
    }

    /// A literal: its text, and the same as a template of `States.Format`.
    fn quoted(&mut self) -> Result<(String, Vec<Piece>), ExpressionError> {
        self.at += 1;
        let mut text = String::new();
        let mut pieces = Vec::new();
        // Where the text begins that is not yet in a piece.
        let mut begin = 0;
        let mut chars = self.rest().char_indices().peekable();
        while let Some((offset, c)) = chars.next() {
            match c {
                '\'' => {
                    self.at += offset + 1;
                    pieces.push(Piece::Text(text[begin..].to_owned()));
                    return Ok((text, pieces));
                }
                '\\' => match chars.next() {
                    Some((_, c @ ('\'' | '\\' | '{' | '}'))) => text.push(c),
                    _ => return Err(self.error("a backslash stands before `'`, `{`, `}` or itself")),
                },
                '{' if matches!(chars.peek(), Some((_, '}'))) => {
                    chars.next();
                    pieces.extend([Piece::Text(text[begin..].to_owned()), Piece::Place]);
                    text.push_str("{}");
                    begin = text.len();
                }
                c => text.push(c),
            }
        }
        Err(self.error("the quote is not closed"))
    }

    /// A path up to the `,` or `)` that ends the argument.
    fn path_text(&mut self) -> Result<&'a str, ExpressionError> {
        let rest = self.rest();
        let mut quote = None;
        let mut brackets = 0_usize;
        // Of a function at the end of the path.
        let mut parentheses = 0_usize;
        let mut end = rest.len();
        let mut escaped = false;
        for (offset, c) in rest.char_indices() {
            match (quote, c) {
                _ if escaped => escaped = false,
                (Some(_), '\\') => escaped = true,
                (Some(open), c) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') if brackets > 0 => quote = Some(c),
                (None, '[') => brackets += 1,
                (None, ']') => brackets = brackets.saturating_sub(1),
                (None, '(') if brackets == 0 => parentheses += 1,
                (None, ')') if brackets == 0 && parentheses > 0 => parentheses -= 1,
                (None, ',' | ')') if brackets == 0 => {
                    end = offset;
                    break;
                }
                _ => {}
            }
        }
        self.at += end;
        Ok(rest[..end].trim_end())
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn blanks(&mut self) {
        self.take_while(char::is_whitespace);
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.rest().starts_with(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    fn error(&self, message: &str) -> ExpressionError {
        let position = self.text[..self.at].chars().count() + 1;
        ExpressionError {
            message: format!("`{}`, character {position}: {message}", self.text),
            nearest: None,
            is_path: false,
        }
    }
}

fn unknown_function(name: &str) -> ExpressionError {
    ExpressionError {
        message: format!("there is no intrinsic function `{name}`"),
        nearest: nearest(name, Function::ALL.iter().map(|(_, known, ..)| *known)),
        is_path: false,
    }
}

/// Counts and literal types; what comes from data is judged when it is there.
fn check_arguments(call: &Call) -> Result<(), ExpressionError> {
    let (name, least, most) = call.function.entry();
    let fail = |message: String| {
        Err(ExpressionError {
            message,
            nearest: None,
            is_path: false,
        })
    };
    let given = call.arguments.len();
    if given < least || given > most {
        return fail(match (call.function, least == most) {
            (Function::Format, _) => format!("`{name}` needs a template"),
            (_, true) => format!("`{name}` takes {least} argument(s), not {given}"),
            (_, false) => format!("`{name}` takes {least} to {most} arguments, not {given}"),
        });
    }
    match (call.function, call.arguments.first()) {
        (Function::Format, Some(Argument::Text(_))) => {
            let pieces = call.template.iter().flatten();
            let places = pieces.filter(|piece| **piece == Piece::Place).count();
            if places != given - 1 {
                return fail(format!(
                    "the template of `{name}` has {places} times `{{}}`, but {} values follow",
                    given - 1
                ));
            }
        }
        (Function::Format, Some(Argument::Number(_) | Argument::Bool(_) | Argument::Null)) => {
            return fail(format!("the template of `{name}` must be a text"));
        }
        _ => {}
    }
    let numbers = matches!(
        call.function,
        Function::MathAdd | Function::MathRandom | Function::ArrayRange
    );
    for argument in &call.arguments {
        let wrong = match argument {
            Argument::Text(_) | Argument::Bool(_) | Argument::Null => numbers,
            Argument::Number(_) => call.function == Function::StringToJson,
            _ => false,
        };
        if wrong {
            return fail(format!("an argument of `{name}` has the wrong type"));
        }
    }
    Ok(())
}
