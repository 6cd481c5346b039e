//! Files that hold definitions: JSON or YAML, by themselves or in a CloudFormation or SAM template.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::asl::Document;
use crate::cloudformation::{Definition, Substitution, Template};
use crate::finding::{Code, Finding, Severity};
use crate::source::{Place, Places, Position};
use crate::yaml::{self, Yaml};

/// The definitions of a text, whatever its form.
///
/// The form is seen from the text: what begins with `{` is JSON, anything else YAML; what has `Resources` and no `States` is a
/// template, whose state machines (`AWS::StepFunctions::StateMachine` and `AWS::Serverless::StateMachine`) hold a definition
/// as an object (`Definition`) or as text (`DefinitionString`).
///
/// ```
/// let file = sfn_builder::File::read(
///     "StartAt: Train\nStates:\n  Train:\n    Type: Pass\n    Next: Scor\n  Score:\n    Type: Succeed\n",
/// );
/// let finding = &file.findings()[0];
/// assert_eq!(finding.pointer, "/States/Train/Next");
/// assert_eq!(finding.position.unwrap().to_string(), "5:11");
/// ```
#[derive(Debug, Clone)]
pub struct File {
    definitions: Vec<FileDefinition>,
    findings: Vec<Finding>,
}

/// One definition of a [`File`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FileDefinition {
    /// The logical id in the template.
    pub name: Option<String>,
    /// Where it stands in the file: a JSON pointer, empty for the whole file.
    pub pointer: String,
    /// The definition, with a template's functions and substitutions replaced.
    pub document: Document,
}

impl File {
    /// Reads a text. It never fails: what could not be read is among the [`findings`](Self::findings).
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut file = Self {
            definitions: Vec::new(),
            findings: Vec::new(),
        };
        if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
            match Document::parse(text.trim_start_matches('\u{feff}')) {
                Ok(document) => file.document(document, &HashMap::new(), &HashMap::new()),
                Err(error) => file.findings = error.findings().to_vec(),
            }
            return file;
        }
        match yaml::read(text) {
            Err(finding) => file.findings.push(finding),
            Ok(yaml) => {
                let Yaml {
                    root,
                    places,
                    written,
                    blocks,
                    tags,
                    found,
                } = yaml;
                let template = Template::new(&root, &written).is_some();
                if !template {
                    for (pointer, tag) in tags {
                        let message = format!("the tag `!{tag}` means nothing outside a template");
                        file.findings
                            .push(Finding::new(Code::InvalidYaml, pointer, message));
                    }
                }
                let size = if template { 0 } else { root.to_string().len() };
                let mut document = Document::with_places(root, places);
                document.found = found;
                document.found.extend(crate::asl::too_large(size));
                file.document(document, &written, &blocks);
            }
        }
        file
    }

    /// The definitions, in the order of the file.
    #[must_use]
    pub fn definitions(&self) -> &[FileDefinition] {
        &self.definitions
    }

    /// Everything there is to say of the file, in the order of its lines. Pointers count from the file's root; those into the
    /// text of a `DefinitionString` go on within that text.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether one of the findings is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity() == Severity::Error)
    }

    fn document(
        &mut self,
        document: Document,
        written: &HashMap<String, String>,
        blocks: &HashMap<String, Position>,
    ) {
        let whole = document.clone();
        match Template::new(whole.as_value(), written) {
            Some(template) => {
                self.findings.extend(document.found.iter().cloned());
                self.template(&template, blocks, &whole);
            }
            None => {
                self.findings.extend(document.findings());
                self.definitions.push(FileDefinition {
                    name: None,
                    pointer: String::new(),
                    document,
                });
            }
        }
        locate(&mut self.findings, &whole);
        self.findings.sort_by_key(|finding| finding.position);
    }

    fn template(&mut self, template: &Template<'_>, blocks: &HashMap<String, Position>, whole: &Document) {
        let machines = template.machines();
        if machines.is_empty() {
            let message = "the template has no resource of the type AWS::StepFunctions::StateMachine or \
                           AWS::Serverless::StateMachine";
            self.findings
                .push(Finding::new(Code::NoDefinition, "/Resources", message));
        }
        for machine in &machines {
            let values = template.substitutions(machine);
            let mut substitution = Substitution::new(&values);
            let (pointer, document, guessed, findings) = match &machine.definition {
                Definition::None => {
                    let message = format!("the definition of `{}` is not in the template", machine.name);
                    let finding = Finding::new(Code::NoDefinition, machine.pointer.as_str(), message)
                        .hint("only `Definition` and `DefinitionString` are read");
                    self.findings.push(finding);
                    continue;
                }
                Definition::Object(pointer, object) => {
                    let mut resolved = template.resolve(object);
                    let value = substitution.value(&resolved.value, "");
                    resolved.guessed.append(&mut substitution.guessed);
                    let size = value.to_string().len();
                    let mut document = Document::from(value);
                    document.found.extend(crate::asl::too_large(size));
                    let findings = document.findings();
                    (pointer, document, resolved.guessed, findings)
                }
                Definition::Text(pointer, value) => {
                    let resolved = template.resolve(value);
                    let Value::String(text) = &resolved.value else {
                        let message = "the definition is no text";
                        self.findings
                            .push(Finding::new(Code::WrongType, pointer.as_str(), message));
                        continue;
                    };
                    let filled = substitution.text(text, "");
                    let missing = std::mem::take(&mut substitution.findings);
                    self.findings.extend(missing.into_iter().map(|mut finding| {
                        finding.pointer.clone_from(pointer);
                        finding
                    }));
                    let place = TextPlace::new(value, pointer, blocks, whole);
                    match Document::parse(&filled) {
                        Err(error) => {
                            self.findings
                                .extend(error.findings().iter().cloned().map(|mut finding| {
                                    finding.position = place.position(finding.position);
                                    // Counted from the beginning of the text, not of the file.
                                    if let Some((message, _)) = finding.message.rsplit_once(" at line ") {
                                        finding.message = message.to_owned();
                                    }
                                    finding.pointer = format!("{pointer}{}", finding.pointer);
                                    finding
                                }));
                            continue;
                        }
                        Ok(document) => {
                            let mut findings = document.findings();
                            // Lines and columns are those of the text with its tokens still in it, where that is JSON too.
                            let original = place.places(&findings);
                            for finding in &mut findings {
                                let exact = original.get(&finding.pointer).map(|place| mark(finding, place));
                                finding.position = place.position(exact.or(finding.position));
                            }
                            // Which part of a text was guessed is not known; nothing of it is left out but doubtful resources.
                            let mut guessed = BTreeSet::new();
                            if !resolved.guessed.is_empty() || !substitution.guessed.is_empty() {
                                guessed = guesses(&document);
                            }
                            (pointer, document, guessed, findings)
                        }
                    }
                }
            };
            let (_, more) =
                substitution.end(&crate::finding::push(&machine.pointer, "DefinitionSubstitutions"));
            let doubtful =
                |finding: &Finding| guessed.contains(&finding.pointer) && finding.code != Code::UnknownField;
            let all = findings
                .into_iter()
                .filter(|finding| !doubtful(finding))
                .map(|mut finding| {
                    finding.pointer = format!("{pointer}{}", finding.pointer);
                    finding
                });
            self.findings.extend(all);
            self.findings.extend(more.into_iter().map(|mut finding| {
                if finding.code == Code::MissingSubstitution {
                    finding.pointer = format!("{pointer}{}", finding.pointer);
                }
                finding
            }));
            self.definitions.push(FileDefinition {
                name: Some(machine.name.to_owned()),
                pointer: pointer.clone(),
                document,
            });
        }
    }
}

/// The pointers of texts that hold a guess.
fn guesses(document: &Document) -> BTreeSet<String> {
    fn walk(value: &Value, pointer: &str, into: &mut BTreeSet<String>) {
        match value {
            Value::String(text) if text.contains("unknown") => {
                into.insert(pointer.to_owned());
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    walk(item, &format!("{pointer}/{at}"), into);
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    walk(value, &crate::finding::push(pointer, key), into);
                }
            }
            _ => {}
        }
    }
    let mut guesses = BTreeSet::new();
    walk(document.as_value(), "", &mut guesses);
    guesses
}

/// Where the text of a `DefinitionString` stands in its file.
struct TextPlace<'a> {
    /// The text as it was written, when it is there as a whole.
    text: Option<&'a str>,
    /// Where its first character stands, when its lines are lines of the file.
    block: Option<Position>,
    /// Where its value begins.
    start: Option<Position>,
}

impl<'a> TextPlace<'a> {
    fn new(value: &'a Value, pointer: &str, blocks: &HashMap<String, Position>, whole: &Document) -> Self {
        let (text, inner) = match value {
            Value::String(text) => (Some(text.as_str()), pointer.to_owned()),
            value => match value.get("Fn::Sub") {
                Some(Value::String(text)) => (Some(text.as_str()), format!("{pointer}/Fn::Sub")),
                Some(Value::Array(parts)) => (
                    parts.first().and_then(Value::as_str),
                    format!("{pointer}/Fn::Sub/0"),
                ),
                _ => (None, pointer.to_owned()),
            },
        };
        let places = whole.places([inner.as_str(), pointer]);
        let start = places.get(&inner).or_else(|| places.get(pointer));
        Self {
            text,
            block: blocks.get(&inner).copied(),
            start: start.map(|place| place.value),
        }
    }

    /// The places within the text.
    fn places(&self, findings: &[Finding]) -> Places {
        match (self.text, self.block) {
            (Some(text), Some(_)) => {
                Places::in_json(text, findings.iter().map(|finding| finding.pointer.as_str()))
            }
            _ => Places::new(),
        }
    }

    /// The file's position of a position in the text.
    fn position(&self, at: Option<Position>) -> Option<Position> {
        match (at, self.block) {
            (Some(at), Some(block)) => Some(Position {
                line: block.line + at.line - 1,
                column: block.column + at.column - 1,
            }),
            _ => self.start,
        }
    }
}

/// Fills in the positions that are missing: of the value itself, or of what it stands in.
fn locate(findings: &mut [Finding], whole: &Document) {
    let open = || findings.iter().filter(|finding| finding.position.is_none());
    let pointers: BTreeSet<&str> = open().flat_map(|finding| ancestors(&finding.pointer)).collect();
    if pointers.is_empty() {
        return;
    }
    let places = whole.places(pointers);
    for finding in findings.iter_mut().filter(|finding| finding.position.is_none()) {
        finding.position = find(&places, &finding.pointer).map(|place| mark(finding, place));
    }
}

/// The place of a pointer, or of the nearest value around it.
fn find(places: &Places, pointer: &str) -> Option<Place> {
    ancestors(pointer).find_map(|pointer| places.get(pointer))
}

fn mark(finding: &Finding, place: Place) -> Position {
    let key = place.key.filter(|_| finding.code.marks_key());
    key.unwrap_or(place.value)
}

/// A pointer, and those of all values around its own.
fn ancestors(pointer: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(pointer), |pointer| {
        pointer.rfind('/').map(|at| &pointer[..at])
    })
}

impl Document {
    /// Reads YAML, with the places of its values. The file may not be a template: [`File`] reads those.
    ///
    /// # Errors
    ///
    /// The text is not one YAML document.
    pub fn parse_yaml(text: &str) -> Result<Self, crate::InvalidDefinition> {
        let yaml = yaml::read(text).map_err(|finding| crate::InvalidDefinition::new(vec![finding]))?;
        let size = yaml.root.to_string().len();
        let mut document = Self::with_places(yaml.root, yaml.places);
        document.found = yaml.found;
        document.found.extend(crate::asl::too_large(size));
        document.found.extend(yaml.tags.into_iter().map(|(pointer, tag)| {
            let message = format!("the tag `!{tag}` means nothing outside a template");
            Finding::new(Code::InvalidYaml, pointer, message)
        }));
        Ok(document)
    }

    /// The definition as YAML, keys in their order.
    ///
    /// ```
    /// let document = sfn_builder::Document::parse(r#"{"Version": "1.0", "StartAt": "A"}"#)?;
    /// assert_eq!(document.to_yaml_string(), "Version: \"1.0\"\nStartAt: A\n");
    /// # Ok::<(), sfn_builder::InvalidDefinition>(())
    /// ```
    #[must_use]
    pub fn to_yaml_string(&self) -> String {
        // JSON is YAML, should a value ever not be written otherwise.
        serde_saphyr::to_string(self.as_value()).unwrap_or_else(|_| format!("{:#}\n", self.as_value()))
    }

    /// Replaces each `${Token}` by its value, as CloudFormation's `DefinitionSubstitutions` do; tokens without a value, and
    /// values without a token, are among the [`findings`](Self::findings) of the result.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// let document = sfn_builder::Document::parse(
    ///     r#"{"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "${Function}", "End": true}}}"#,
    /// )?;
    /// let function = "arn:aws:lambda:eu-west-1:123456789012:function:score".to_owned();
    /// let filled = document.substitute(&BTreeMap::from([("Function".to_owned(), function)]));
    /// assert!(filled.check().is_ok());
    /// # Ok::<(), sfn_builder::InvalidDefinition>(())
    /// ```
    #[must_use]
    pub fn substitute(&self, values: &BTreeMap<String, String>) -> Self {
        let values = values
            .iter()
            .map(|(name, value)| (name.clone(), Some(value.clone())))
            .collect();
        let mut substitution = Substitution::new(&values);
        let value = substitution.value(self.as_value(), "");
        let (_, mut findings) = substitution.end("");
        for finding in &mut findings {
            if finding.code == Code::UnusedSubstitution {
                finding.pointer.clear();
            }
        }
        let mut document = self.with_value(value);
        document.found.extend(findings);
        document
    }
}
