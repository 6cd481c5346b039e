//! A definition as it was written: any JSON, key order kept, which keys came twice, and where everything lies.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::finding::{Code, Finding, InvalidDefinition, Severity, push};
use crate::source::{Places, Reader, Visit, nests_deeper, position_of_byte, positions};

/// The service's limit for the text of a definition, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// A definition before it is checked: JSON of any shape, keys in the order in which they were written.
///
/// [`check`](Self::check) (or [`StateMachine::from_json`](crate::StateMachine::from_json) at once) makes a
/// [`StateMachine`](crate::StateMachine) of it; [`findings`](Self::findings) says what that would say and keeps it.
///
/// States Language, section "Structure of a State Machine".
///
/// ```
/// let text = r#"{"StartAt":"A","States":{"A":{"Type":"Succeed"}},"Comment":"last"}"#;
/// let document = sfn_builder::Document::parse(text)?;
/// assert_eq!(document.to_string(), text);
/// # Ok::<(), sfn_builder::InvalidDefinition>(())
/// ```
#[derive(Debug, Clone)]
pub struct Document {
    root: Value,
    origin: Origin,
    // Found while reading: a `Value` cannot hold a key twice.
    pub(crate) found: Vec<Finding>,
}

/// What places are looked up in.
#[derive(Debug, Clone)]
enum Origin {
    /// It was built.
    None,
    /// The JSON text. Places are searched when there is something to say of them, which is seldom.
    Json(Arc<str>),
    /// Another form, whose reader knew them.
    Places(Arc<Places>),
}

impl Document {
    /// Reads JSON.
    ///
    /// # Errors
    ///
    /// The text is not JSON (or nests deeper than 127 levels); the finding says at which line and column.
    pub fn parse(text: &str) -> Result<Self, InvalidDefinition> {
        let mut notes = Notes {
            text,
            way: Vec::new(),
            again: Vec::new(),
        };
        let mut reader = Reader::new(text);
        let Ok(root) = reader.document(&mut notes) else {
            let finding = match reader.too_deep() {
                Some(offset) => too_deep(text, offset),
                None => not_json(text),
            };
            return Err(InvalidDefinition::new(vec![finding]));
        };
        let mut found = Vec::new();
        found.extend(too_large(text.len()));
        if !notes.again.is_empty() {
            notes.again.sort_by_key(|(_, offset)| *offset);
            let positions = positions(text, notes.again.iter().map(|(_, offset)| *offset).collect());
            found.extend(notes.again.into_iter().map(|(pointer, offset)| {
                let key = Reader::key_at(text, offset);
                let message = format!("the key `{key}` comes twice in one object");
                let finding = Finding::new(Code::DuplicateKey, pointer, message);
                match positions.get(&offset) {
                    Some(position) => finding.at(*position),
                    None => finding,
                }
            }));
        }
        Ok(Self {
            root,
            origin: Origin::Json(text.into()),
            found,
        })
    }

    /// A document that was read from another form than JSON, with the places in that text.
    #[must_use]
    pub fn with_places(root: Value, places: Places) -> Self {
        Self {
            root,
            origin: Origin::Places(Arc::new(places)),
            found: Vec::new(),
        }
    }

    /// Another value in the same places.
    pub(crate) fn with_value(&self, root: Value) -> Self {
        Self {
            root,
            origin: self.origin.clone(),
            found: self.found.clone(),
        }
    }

    /// The JSON of it.
    #[must_use]
    pub fn as_value(&self) -> &Value {
        &self.root
    }

    /// The JSON of it.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.root
    }

    /// Where the values at these JSON pointers lie in the text that the document was read from; empty when it was built.
    #[must_use]
    pub fn places<'p>(&self, pointers: impl IntoIterator<Item = &'p str>) -> Places {
        match &self.origin {
            Origin::None => Places::new(),
            Origin::Json(text) => Places::in_json(text, pointers),
            Origin::Places(places) => {
                let mut some = Places::new();
                for pointer in pointers {
                    if let Some(place) = places.get(pointer) {
                        some.insert(pointer, place);
                    }
                }
                some
            }
        }
    }

    /// Checks the definition.
    ///
    /// # Errors
    ///
    /// Every problem that was found, each with its place. Warnings alone are no error: they are in
    /// [`StateMachine::warnings`](crate::StateMachine::warnings).
    pub fn check(self) -> Result<crate::StateMachine, InvalidDefinition> {
        let (machine, findings) = self.judge();
        match machine {
            Some(machine) => Ok(crate::StateMachine::new(self, machine, findings)),
            None => Err(InvalidDefinition::new(findings)),
        }
    }

    /// Everything that [`check`](Self::check) has to say, errors and warnings.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.judge().1
    }

    fn judge(&self) -> (Option<crate::checked::Machine>, Vec<Finding>) {
        let (machine, mut findings) = crate::check::check(
            &self.root,
            self.found.clone(),
            !matches!(self.origin, Origin::Json(_)),
        );
        self.locate(&mut findings);
        let valid = !findings
            .iter()
            .any(|finding| finding.severity() == Severity::Error);
        (machine.filter(|_| valid), findings)
    }

    fn locate(&self, findings: &mut [Finding]) {
        let open = findings.iter().filter(|finding| finding.position.is_none());
        let pointers: Vec<String> = open.map(|finding| finding.pointer.clone()).collect();
        if pointers.is_empty() {
            return;
        }
        let places = self.places(pointers.iter().map(String::as_str));
        for finding in findings.iter_mut().filter(|finding| finding.position.is_none()) {
            finding.position = places.get(&finding.pointer).map(|place| {
                let key = place.key.filter(|_| finding.code.marks_key());
                key.unwrap_or(place.value)
            });
        }
    }
}

/// Two documents are equal when their JSON is, key order aside.
impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
    }
}

impl From<Value> for Document {
    fn from(root: Value) -> Self {
        Self {
            root,
            origin: Origin::None,
            found: Vec::new(),
        }
    }
}

/// Compact JSON.
impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.root, f)
    }
}

/// What is said of a definition of so many bytes.
pub(crate) fn too_large(bytes: usize) -> Option<Finding> {
    (bytes > MAX_BYTES).then(|| {
        let message = format!("the definition has {bytes} bytes, the service takes {MAX_BYTES}");
        Finding::new(Code::TooLarge, "", message)
    })
}

fn too_deep(text: &str, offset: usize) -> Finding {
    let finding = Finding::new(Code::TooDeeplyNested, "", nests_deeper());
    match positions(text, vec![offset]).get(&offset) {
        Some(position) => finding.at(*position),
        None => finding,
    }
}

fn not_json(text: &str) -> Finding {
    match serde_json::from_str::<Value>(text) {
        Err(error) => Finding::new(Code::InvalidJson, "", format!("not JSON: {error}")).at(position_of_byte(
            text,
            error.line(),
            error.column(),
        )),
        // The two readers are meant to agree.
        Ok(_) => Finding::new(Code::InvalidJson, "", "not JSON"),
    }
}

/// Notes keys that come twice.
struct Notes<'a> {
    text: &'a str,
    way: Vec<Step>,
    // Pointer and offset of keys that have stood in their object before.
    again: Vec<(String, usize)>,
}

#[derive(Clone, Copy)]
enum Step {
    // Where the key begins.
    Key(usize),
    Item(usize),
}

impl Visit for Notes<'_> {
    fn key(&mut self, _: &str, offset: usize) {
        self.way.push(Step::Key(offset));
    }

    fn again(&mut self, offset: usize) {
        let way = self.way.iter().copied().chain([Step::Key(offset)]);
        let pointer = way.fold(String::new(), |pointer, step| match step {
            Step::Key(offset) => push(&pointer, &Reader::key_at(self.text, offset)),
            Step::Item(index) => format!("{pointer}/{index}"),
        });
        self.again.push((pointer, offset));
    }

    fn item(&mut self, index: usize) {
        self.way.push(Step::Item(index));
    }

    fn value(&mut self, _: Option<usize>, _: usize) {}

    fn leave(&mut self) {
        self.way.pop();
    }
}
