//! A YAML document as a tree that remembers what a typed reader forgets: the line of every node, its tag, and the text of
//! every scalar as it was written (`1.10` is not a number here, and a commit like `1e10` is not either).

use std::collections::HashMap;
use std::fmt;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// Deeper documents are refused; ours have about ten levels.
const MAX_DEPTH: usize = 64;
/// Aliases are copied when read, so a small text could become a huge tree; a larger one is refused.
const MAX_NODES: usize = 100_000;

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// One-based.
    pub(crate) line: usize,
    /// An application's own tag such as `!Sub`, without the `!`; the core schema's tags are not kept.
    pub(crate) tag: Option<String>,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Text as written; `plain` when it had no quotes, so that `yes` and `"yes"` can be told apart.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    /// In the order of the document; keys are distinct texts.
    Mapping(Vec<(String, Node)>),
}

/// Why a text is not a document of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Error {
    /// One-based; 0 when the text has no lines to point at.
    line: usize,
    message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for Error {}

impl Error {
    /// The line (one-based) and what is wrong there.
    pub(crate) fn into_parts(self) -> (usize, String) {
        (self.line, self.message)
    }
}

/// Reads the one document of a text.
pub(crate) fn parse(text: &str) -> Result<Node, Error> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
    };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_), _) => {}
            (Event::StreamEnd, span) => return Err(error(&span, "the document is empty")),
            (event, span) => {
                let node = reader.node(event, &span, 0)?;
                return match reader.next()? {
                    (Event::DocumentEnd, _) => reader.expect_end(node),
                    (_, span) => Err(error(&span, "more than one value")),
                };
            }
        }
    }
}

impl Node {
    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// The items of a sequence.
    pub(crate) fn items(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            Value::Scalar { .. } | Value::Mapping(_) => None,
        }
    }

    /// The entries of a mapping, in the document's order.
    pub(crate) fn entries(&self) -> Option<&[(String, Node)]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            Value::Scalar { .. } | Value::Sequence(_) => None,
        }
    }

    /// Whether nothing was written: `key:` or `key: null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if ["", "~", "null", "Null", "NULL"].contains(&text.as_str()))
    }

    /// What kind of value this is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "nothing",
            Value::Scalar { .. } => "a text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Error> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(cause)) => Err(Error {
                line: cause.marker().line(),
                message: cause.info().to_owned(),
            }),
            None => Err(Error {
                line: 0,
                message: "the document ends too early".to_owned(),
            }),
        }
    }

    fn expect_end(&mut self, node: Node) -> Result<Node, Error> {
        match self.next()? {
            (Event::StreamEnd, _) => Ok(node),
            (_, span) => Err(error(&span, "more than one document")),
        }
    }

    /// The node that begins with this event.
    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, Error> {
        if depth > MAX_DEPTH {
            return Err(error(span, &format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.count(1, span)?;
        let line = span.start.line();
        let (value, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => (
                Value::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                },
                anchor,
                tag,
            ),
            Event::SequenceStart(anchor, tag) => (Value::Sequence(self.sequence(depth)?), anchor, tag),
            Event::MappingStart(anchor, tag) => (Value::Mapping(self.mapping(depth)?), anchor, tag),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(error(span, "an alias within its own anchor"));
                };
                self.count(size(&node), span)?;
                return Ok(node);
            }
            _ => return Err(error(span, "a value is missing")),
        };
        let tag = tag
            .filter(|tag| !tag.is_yaml_core_schema())
            .map(|tag: std::borrow::Cow<'_, Tag>| tag.suffix.clone());
        let node = Node { line, tag, value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, Error> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, &span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<(String, Node)>, Error> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(entries);
            }
            let key = self.node(event, &span, depth + 1)?;
            let Some(key) = key.text() else {
                return Err(error(&span, "a key must be a text"));
            };
            if entries.iter().any(|(known, _)| known == key) {
                return Err(error(&span, &format!("the key `{key}` is there twice")));
            }
            let (event, value_span) = self.next()?;
            let mut value = self.node(event, &value_span, depth + 1)?;
            // A block begins on the line after its key; who reads a message looks for the key.
            value.line = span.start.line();
            entries.push((key.to_owned(), value));
        }
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), Error> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(error(span, &format!("more than {MAX_NODES} values")));
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar { .. } => 0,
        Value::Sequence(items) => items.iter().map(size).sum(),
        Value::Mapping(entries) => entries.iter().map(|(_, value)| 1 + size(value)).sum(),
    }
}

fn error(span: &Span, message: &str) -> Error {
    Error {
        line: span.start.line(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// One line per scalar: its line, its path with tags, its text.
    fn flatten(node: &Node, path: &str, out: &mut String) {
        let path = match &node.tag {
            Some(tag) => format!("{path}!{tag}"),
            None => path.to_owned(),
        };
        match &node.value {
            Value::Scalar { text, .. } => out.push_str(&format!("{} {path} = {text:?}\n", node.line)),
            Value::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    flatten(item, &format!("{path}[{index}]"), out);
                }
            }
            Value::Mapping(entries) => {
                for (key, value) in entries {
                    flatten(value, &format!("{path}.{key}"), out);
                }
            }
        }
    }

    fn check(text: &str, want: &Expect) {
        let mut got = String::new();
        match parse(text) {
            Ok(node) => flatten(&node, "", &mut got),
            Err(error) => got = error.to_string(),
        }
        want.assert_eq(&got);
    }

    #[test]
    fn scalars_keep_their_text_and_their_line() {
        check(
            "version: 1.10\nmode: 0644\nflag: yes\ntext: |\n  a\n  b\nempty:\nlist: [1, 'two']\n",
            &expect![[r#"
                1 .version = "1.10"
                2 .mode = "0644"
                3 .flag = "yes"
                4 .text = "a\nb\n"
                7 .empty = ""
                8 .list[0] = "1"
                8 .list[1] = "two"
            "#]],
        );
    }

    #[test]
    fn tags_of_cloudformation_survive() {
        check(
            "a: !Sub '${X}-y'\nb: !If [C, !Ref D, !Ref AWS::NoValue]\nc: !GetAtt\n  - E\n  - Arn\n",
            &expect![[r#"
                1 .a!Sub = "${X}-y"
                2 .b!If[0] = "C"
                2 .b!If[1]!Ref = "D"
                2 .b!If[2]!Ref = "AWS::NoValue"
                4 .c!GetAtt[0] = "E"
                5 .c!GetAtt[1] = "Arn"
            "#]],
        );
    }

    #[test]
    fn aliases_are_copies() {
        check(
            "a: &x [1, 2]\nb: *x\n",
            &expect![[r#"
                1 .a[0] = "1"
                1 .a[1] = "2"
                1 .b[0] = "1"
                1 .b[1] = "2"
            "#]],
        );
    }

    #[test]
    fn what_is_not_one_document_is_refused_with_its_line() {
        for (text, want) in [
            ("", "line 1: the document is empty"),
            ("a: 1\na: 2\n", "line 2: the key `a` is there twice"),
            ("a: 1\n---\nb: 2\n", "line 2: more than one document"),
            ("? [a]\n: 1\n", "line 1: a key must be a text"),
            ("a: *x\n", "line 1: while parsing node, found unknown anchor"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), want, "{text:?}");
        }
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert_eq!(
            parse(&deep).unwrap_err().to_string(),
            "line 1: nested deeper than 64 levels"
        );
    }

    #[test]
    fn aliases_cannot_blow_up_the_tree() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let alias = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", "));
        }
        let message = parse(&text).unwrap_err().to_string();
        assert!(message.ends_with("more than 100000 values"), "{message}");
    }
}
