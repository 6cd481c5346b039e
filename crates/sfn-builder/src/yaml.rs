//! YAML in: a definition or a template as JSON, with the place of every value; and out.
//!
//! It is read by events, so that places and CloudFormation's short forms (`!Sub`) survive, and a number that is wanted as text
//! (`1.10`, a substitution's value) keeps the digits that were written.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_json::{Map, Number, Value};

use crate::finding::{Code, Finding, push};
use crate::source::{MAX_DEPTH, Place, Places, Position};

/// Aliases are copied when read, so a small text could become a huge tree; a larger one is refused.
const MAX_NODES: usize = 500_000;

/// What a YAML text holds.
pub(crate) struct Yaml {
    pub(crate) root: Value,
    pub(crate) places: Places,
    /// The digits of numbers, as they were written, by pointer.
    pub(crate) written: HashMap<String, String>,
    /// Where the lines of a text that stands as a block begin, by pointer: the position of its first character.
    pub(crate) blocks: HashMap<String, Position>,
    /// The short forms of functions, with their places.
    pub(crate) tags: Vec<(String, String)>,
    /// Keys that come twice.
    pub(crate) found: Vec<Finding>,
}

/// Reads the one document of a text.
///
/// The numbers of the core schema are numbers, but those that would lose something as JSON's: what begins with a zero, as
/// account ids do, stays text.
pub(crate) fn read(text: &str) -> Result<Yaml, Finding> {
    let mut reader = Reader {
        lines: text.lines().collect(),
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        yaml: Yaml {
            root: Value::Null,
            places: Places::new(),
            written: HashMap::new(),
            blocks: HashMap::new(),
            tags: Vec::new(),
            found: Vec::new(),
        },
    };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_), _) => {}
            (Event::StreamEnd, span) => return Err(error(&span, "the text is empty")),
            (event, span) => {
                let node = reader.node(event, &span, 0)?;
                match reader.next()? {
                    (Event::DocumentEnd, _) => {}
                    (_, span) => return Err(error(&span, "there is more than one value")),
                }
                let (Event::StreamEnd, _) = reader.next()? else {
                    return Err(error(&span, "there is more than one document"));
                };
                reader.yaml.root = reader.place(&node, "", None);
                return Ok(reader.yaml);
            }
        }
    }
}

/// A node with what JSON does not hold.
#[derive(Clone)]
struct Node {
    at: Position,
    tag: Option<String>,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Scalar {
        text: String,
        plain: bool,
        /// Where the first character stands of a text written as a block.
        block: Option<Position>,
    },
    Items(Vec<Node>),
    Fields(Vec<(String, Position, Node)>),
}

struct Reader<'a> {
    lines: Vec<&'a str>,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    yaml: Yaml,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Finding> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(cause)) => {
                let marker = cause.marker();
                let at = position(marker.line(), marker.col());
                Err(Finding::new(Code::InvalidYaml, "", format!("not YAML: {}", cause.info())).at(at))
            }
            None => Err(Finding::new(
                Code::InvalidYaml,
                "",
                "not YAML: the text ends too early",
            )),
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, Finding> {
        if depth > MAX_DEPTH {
            return Err(error(
                span,
                &format!("values nest deeper than {MAX_DEPTH} levels"),
            ));
        }
        self.count(1, span)?;
        let at = start(span);
        let (content, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded)
                    .then(|| self.block(span))
                    .flatten();
                let content = Content::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                    block,
                };
                (content, anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => (self.items(depth)?, anchor, tag),
            Event::MappingStart(anchor, tag) => (self.fields(depth)?, anchor, tag),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(error(span, "an alias lies within its own anchor"));
                };
                self.count(size(&node), span)?;
                return Ok(Node { at, ..node });
            }
            _ => return Err(error(span, "a value is missing")),
        };
        let tag = tag.and_then(|tag: std::borrow::Cow<'_, Tag>| {
            let text = tag.is_yaml_core_schema() && tag.suffix == "str";
            let own = !tag.is_yaml_core_schema();
            (own || text).then(|| if own { tag.suffix.clone() } else { "str".to_owned() })
        });
        let node = Node { at, tag, content };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn items(&mut self, depth: usize) -> Result<Content, Finding> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Content::Items(items)),
                (event, span) => items.push(self.node(event, &span, depth + 1)?),
            }
        }
    }

    fn fields(&mut self, depth: usize) -> Result<Content, Finding> {
        let mut fields = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Content::Fields(fields));
            }
            let key = self.node(event, &span, depth + 1)?;
            let Content::Scalar { text, .. } = key.content else {
                return Err(error(&span, "a key must be a text"));
            };
            let (event, span) = self.next()?;
            let value = self.node(event, &span, depth + 1)?;
            fields.push((text, key.at, value));
        }
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), Finding> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(error(span, &format!("there are more than {MAX_NODES} values")));
        }
        Ok(())
    }

    /// Where the first line of a block scalar begins: on the first line with content below its header.
    fn block(&self, span: &Span) -> Option<Position> {
        let mut line = span.start.line();
        // The span may begin at the header or at the content.
        let header = |line: usize| {
            let text = self.lines.get(line - 1).copied().unwrap_or_default();
            let text = text.split(" #").next().unwrap_or_default().trim_end();
            let text = text.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-' || c == '+');
            text.ends_with('|') || text.ends_with('>')
        };
        if line > 0 && header(line) {
            line += 1;
        }
        let first = (line..=self.lines.len()).find(|line| !self.lines[line - 1].trim().is_empty())?;
        let indent = self.lines[first - 1].chars().take_while(|c| *c == ' ').count();
        // Blank lines in front belong to the text.
        Some(position(line, indent))
    }

    /// The JSON of a node; notes its places on the way.
    fn place(&mut self, node: &Node, pointer: &str, key: Option<Position>) -> Value {
        self.yaml.places.insert(pointer, Place { key, value: node.at });
        let (inner, function) = match node.tag.as_deref() {
            None | Some("str") => (pointer.to_owned(), None),
            Some(tag) => {
                self.yaml.tags.push((pointer.to_owned(), tag.to_owned()));
                let function = match tag {
                    "Ref" | "Condition" => tag.to_owned(),
                    tag => format!("Fn::{tag}"),
                };
                (push(pointer, &function), Some(function))
            }
        };
        if function.is_some() {
            self.yaml.places.insert(
                inner.as_str(),
                Place {
                    key: None,
                    value: node.at,
                },
            );
        }
        let value = match &node.content {
            Content::Scalar { text, plain, block } => {
                if let Some(block) = block {
                    self.yaml.blocks.insert(inner.clone(), *block);
                }
                if *plain && node.tag.is_none() {
                    let value = scalar(text);
                    if value.is_number() {
                        self.yaml.written.insert(inner, text.clone());
                    }
                    value
                } else if function.as_deref() == Some("Fn::GetAtt") {
                    let parts = text.split_once('.');
                    parts.map_or(Value::from(text.as_str()), |(resource, attribute)| {
                        vec![resource, attribute].into()
                    })
                } else {
                    Value::from(text.as_str())
                }
            }
            Content::Items(items) => items
                .iter()
                .enumerate()
                .map(|(at, item)| self.place(item, &format!("{inner}/{at}"), None))
                .collect(),
            Content::Fields(fields) => {
                let mut map = Map::new();
                for (name, at, value) in fields {
                    let pointer = push(&inner, name);
                    let value = self.place(value, &pointer, Some(*at));
                    if map.insert(name.clone(), value).is_some() {
                        let message = format!("the key `{name}` comes twice in one object");
                        self.yaml
                            .found
                            .push(Finding::new(Code::DuplicateKey, pointer, message).at(*at));
                    }
                }
                Value::Object(map)
            }
        };
        match function {
            None => value,
            Some(function) => Value::Object(Map::from_iter([(function, value)])),
        }
    }
}

/// A plain scalar by the core schema (YAML 1.2.2, section 10.3.2).
fn scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Value::from(text), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok().map(Number::from);
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(Number::from);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let shape = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+'));
    let zeros = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
    if !shape || zeros {
        return None;
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    if let Ok(whole) = digits.parse::<u64>()
        && !text.starts_with('-')
    {
        return Some(whole.into());
    }
    Number::from_f64(text.parse().ok()?)
}

fn size(node: &Node) -> usize {
    1 + match &node.content {
        Content::Scalar { .. } => 0,
        Content::Items(items) => items.iter().map(size).sum(),
        Content::Fields(fields) => fields.iter().map(|(.., value)| 1 + size(value)).sum(),
    }
}

fn start(span: &Span) -> Position {
    position(span.start.line(), span.start.col())
}

/// From a one-based line and a zero-based column.
fn position(line: usize, column: usize) -> Position {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position {
        line: narrow(line.max(1)),
        column: narrow(column + 1),
    }
}

fn error(span: &Span, message: &str) -> Finding {
    Finding::new(Code::InvalidYaml, "", format!("not one YAML document: {message}")).at(start(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        match read(text) {
            Ok(yaml) => yaml.root.to_string(),
            Err(finding) => match finding.position {
                Some(at) => format!("{at}: {}", finding.message),
                None => finding.message,
            },
        }
    }

    #[test]
    fn scalars_are_those_of_the_core_schema() {
        for (text, want) in [
            ("1", "1"),
            ("-7", "-7"),
            ("18446744073709551615", "18446744073709551615"),
            ("1.10", "1.1"),
            ("1e3", "1000.0"),
            (".5", "0.5"),
            ("0x1F", "31"),
            ("0o17", "15"),
            ("012345678901", "\"012345678901\""),
            ("'1.10'", "\"1.10\""),
            ("!!str 1.10", "\"1.10\""),
            ("yes", "\"yes\""),
            ("True", "true"),
            ("~", "null"),
            ("2026-01-01", "\"2026-01-01\""),
            ("1.2.3", "\"1.2.3\""),
            (".inf", "\".inf\""),
            ("1-2", "\"1-2\""),
        ] {
            assert_eq!(json(text), want, "{text}");
        }
    }

    #[test]
    fn short_forms_become_long_ones() {
        assert_eq!(
            json("a: !Sub '${X}'\nb: !If [C, !Ref D, !GetAtt E.Arn]\nc: !GetAtt [E, Arn]\n"),
            r#"{"a":{"Fn::Sub":"${X}"},"b":{"Fn::If":["C",{"Ref":"D"},{"Fn::GetAtt":["E","Arn"]}]},"c":{"Fn::GetAtt":["E","Arn"]}}"#
        );
    }

    #[test]
    fn places_are_those_of_the_text() {
        let yaml = read("a:\n  b: [1, {c: 2}]\nd: |\n  text\n  more\n").unwrap();
        let place = |pointer: &str| {
            let place = yaml.places.get(pointer).unwrap();
            let key = place.key.map_or("-".to_owned(), |key| key.to_string());
            format!("{key} {}", place.value)
        };
        assert_eq!(place("/a/b"), "2:3 2:6");
        assert_eq!(place("/a/b/0"), "- 2:7");
        assert_eq!(place("/a/b/1/c"), "2:11 2:14");
        assert_eq!(yaml.blocks["/d"].to_string(), "4:3");
    }

    #[test]
    fn what_is_not_one_document_is_refused_with_its_place() {
        for (text, want) in [
            ("", "1:1: not one YAML document: the text is empty"),
            ("? [a]\n: 1\n", "1:3: not one YAML document: a key must be a text"),
            (
                "a: *x\n",
                "1:4: not YAML: while parsing node, found unknown anchor",
            ),
        ] {
            assert_eq!(json(text), want, "{text:?}");
        }
        assert!(json("a: 1\n---\nb: 2\n").contains("more than one document"));
        let deep = json(&("[".repeat(200) + &"]".repeat(200)));
        assert!(deep.contains("deeper than 127 levels"), "{deep}");
        let twice = read("a: 1\na: 2\n").unwrap();
        assert_eq!(
            twice.found[0].to_string(),
            "/a: the key `a` comes twice in one object"
        );
    }

    #[test]
    fn aliases_are_copies_and_cannot_blow_up_the_tree() {
        assert_eq!(json("a: &x [1, 2]\nb: *x\n"), r#"{"a":[1,2],"b":[1,2]}"#);
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let alias = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", "));
        }
        assert!(json(&text).ends_with("more than 500000 values"));
    }
}
