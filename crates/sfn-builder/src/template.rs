//! Payload templates: `Parameters` and `ResultSelector`, whose keys ending in `.$` are computed.

use serde_json::{Number, Value};

use crate::finding::nearest;
use crate::path::Path;

/// A payload template, ready to be filled.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Template {
    /// A value without anything to compute in it.
    Literal(Value),
    /// An array, some item of which is computed.
    Array(Vec<Template>),
    /// An object, some field of which is computed; in the order in which it was written.
    Object(Vec<(String, Template)>),
    /// A computed field.
    Computed {
        /// The key as it was written, with its `.$`.
        field: String,
        /// What to compute.
        expression: Expression,
    },
}

/// What stands behind a key ending in `.$`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Expression {
    /// A JSONPath.
    Path(Path),
    /// An intrinsic function.
    Call(Call),
}

impl Expression {
    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Path(path) => path.as_str(),
            Self::Call(call) => &call.text,
        }
    }

    /// Parses a path (starting with `$`) or a call (`States.…(…)`).
    ///
    /// # Errors
    ///
    /// Says what does not parse, or which function is not supported.
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
        if parser.at != text.len() {
            return Err(parser.error("more text after the call"));
        }
        Ok(Self::Call(call))
    }
}

/// A call of an intrinsic function.
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

/// The intrinsic functions that are supported.
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
    /// `States.MathAdd(a, b)`.
    MathAdd,
    /// `States.UUID()`.
    Uuid,
}

impl Function {
    const SUPPORTED: [(&'static str, Self); 6] = [
        ("States.Format", Self::Format),
        ("States.StringToJson", Self::StringToJson),
        ("States.JsonToString", Self::JsonToString),
        ("States.Array", Self::Array),
        ("States.MathAdd", Self::MathAdd),
        ("States.UUID", Self::Uuid),
    ];

    const UNSUPPORTED: [&'static str; 12] = [
        "States.ArrayPartition",
        "States.ArrayContains",
        "States.ArrayRange",
        "States.ArrayGetItem",
        "States.ArrayLength",
        "States.ArrayUnique",
        "States.Base64Encode",
        "States.Base64Decode",
        "States.Hash",
        "States.JsonMerge",
        "States.MathRandom",
        "States.StringSplit",
    ];

    /// Its name, such as `States.Format`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Format => "States.Format",
            Self::StringToJson => "States.StringToJson",
            Self::JsonToString => "States.JsonToString",
            Self::Array => "States.Array",
            Self::MathAdd => "States.MathAdd",
            Self::Uuid => "States.UUID",
        }
    }
}

/// A part of a literal template of `States.Format`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text that stands for itself; may be empty.
    Text(String),
    /// `{}`: the next value.
    Place,
}

/// An argument of a call.
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

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    message: String,
    pub(crate) suggestion: Option<String>,
    pub(crate) unsupported: bool,
}

impl From<crate::path::PathError> for ExpressionError {
    fn from(error: crate::path::PathError) -> Self {
        Self {
            message: error.to_string(),
            suggestion: None,
            unsupported: error.unsupported,
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
        let function = match Function::SUPPORTED.iter().find(|(known, _)| *known == name) {
            Some((_, function)) => *function,
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
            suggestion: None,
            unsupported: false,
        }
    }
}

fn unknown_function(name: &str) -> ExpressionError {
    if Function::UNSUPPORTED.contains(&name) {
        return ExpressionError {
            message: format!("the intrinsic function `{name}` is not supported"),
            suggestion: None,
            unsupported: true,
        };
    }
    let known = Function::SUPPORTED
        .iter()
        .map(|(known, _)| *known)
        .chain(Function::UNSUPPORTED);
    ExpressionError {
        message: format!("there is no intrinsic function `{name}`"),
        suggestion: nearest(name, known),
        unsupported: false,
    }
}

/// Counts and literal types; what comes from data is judged when it is there.
fn check_arguments(call: &Call) -> Result<(), ExpressionError> {
    let name = call.function.name();
    let fail = |message: String| {
        Err(ExpressionError {
            message,
            suggestion: None,
            unsupported: false,
        })
    };
    let given = call.arguments.len();
    let expected = match call.function {
        Function::StringToJson | Function::JsonToString => 1,
        Function::MathAdd => 2,
        Function::Uuid => 0,
        Function::Array => return Ok(()),
        Function::Format => {
            return match call.arguments.first() {
                None => fail(format!("`{name}` needs a template")),
                Some(Argument::Text(_)) => {
                    let pieces = call.template.iter().flatten();
                    let places = pieces.filter(|piece| **piece == Piece::Place).count();
                    if places == given - 1 {
                        Ok(())
                    } else {
                        fail(format!(
                            "the template of `{name}` has {places} times `{{}}`, but {} values follow",
                            given - 1
                        ))
                    }
                }
                Some(Argument::Path(_) | Argument::Call(_)) => Ok(()),
                Some(_) => fail(format!("the template of `{name}` must be a text")),
            };
        }
    };
    if given != expected {
        return fail(format!("`{name}` takes {expected} argument(s), not {given}"));
    }
    let literal_number_wanted = call.function == Function::MathAdd;
    for argument in &call.arguments {
        let wrong = match argument {
            Argument::Text(_) | Argument::Bool(_) | Argument::Null => literal_number_wanted,
            Argument::Number(_) => call.function == Function::StringToJson,
            _ => false,
        };
        if wrong {
            return fail(format!("an argument of `{name}` has the wrong type"));
        }
    }
    Ok(())
}
