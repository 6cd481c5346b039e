//! The Map state.

use serde_json::Value;

use super::at::At;
use super::data::Available;
use super::fields::{Fields, exactly_one, kind_of, out_of, show};
use super::{Checker, Outer};
use crate::checked::{
    CsvDelimiter, CsvHeader, Dynamic, ExecutionType, InputType, ItemBatcher, ItemReader, Items, Machine,
    ManifestType, Map, Mode, OutputType, QueryLanguage, ReaderConfig, ReaderTransformation, Resource,
    ResultWriter, StateKind, WriterConfig, WriterTransformation,
};
use crate::finding::{Code, Finding};
use crate::jsonata::Jsonata;
use crate::path::Root;
use crate::template::{Expression, Template};

/// The most bytes that a batch can have: the quota of a child execution's input.
const MAX_BATCH_BYTES: u64 = 262_144;
/// The longest label, in characters.
const MAX_LABEL: usize = 40;
/// The most items that a reader can be told to read.
const MAX_ITEMS: u64 = 100_000_000;

/// Fields that only a distributed Map state has.
const DISTRIBUTED: [&str; 8] = [
    "ItemReader",
    "ItemBatcher",
    "ResultWriter",
    "ToleratedFailurePercentage",
    "ToleratedFailurePercentagePath",
    "ToleratedFailureCount",
    "ToleratedFailureCountPath",
    "Label",
];

impl<'d> Checker<'d> {
    pub(super) fn map(&mut self, fields: &mut Fields<'d, '_>, outer: QueryLanguage) -> Option<StateKind> {
        let items = self.items(fields);
        let item_reader = self.item_reader(fields);
        let item_selector = self.item_selector(fields);
        let item_batcher = self.item_batcher(fields);
        let result_writer = self.result_writer(fields);
        let (mode, processor) = self.processor(fields, outer);
        if mode == Some(Mode::Inline) {
            for field in DISTRIBUTED.into_iter().filter(|field| fields.has(field)) {
                let message = format!("an inline Map state has no `{field}`");
                let finding = Finding::new(Code::DistributedOnly, fields.at(field), message);
                self.findings
                    .push(finding.hint("set `Mode` in `ProcessorConfig` to `DISTRIBUTED`"));
            }
        }
        let max_concurrency = self.count(fields, "MaxConcurrency", "MaxConcurrencyPath", u64::MAX);
        let percentage = self.dynamic(
            fields,
            "ToleratedFailurePercentage",
            "ToleratedFailurePercentagePath",
            |checker, pointer, value| checker.percentage(pointer, value),
        );
        let percentage = self.without_context(fields, "ToleratedFailurePercentagePath", percentage);
        let count = self.count(
            fields,
            "ToleratedFailureCount",
            "ToleratedFailureCountPath",
            u64::MAX,
        );
        let label = self.label(fields);
        let retry = self.retry(fields);
        let catch = self.catch(fields);
        let transition = self.transition(fields);
        Some(StateKind::Map(Box::new(Map {
            items,
            item_reader,
            item_selector,
            item_batcher,
            result_writer,
            mode: mode?,
            processor: processor?,
            max_concurrency: max_concurrency.unwrap_or(Dynamic::Fixed(0)),
            tolerated_failure_percentage: percentage,
            tolerated_failure_count: count,
            label,
            retry,
            catch,
            transition: transition?,
        })))
    }

    /// A whole number from 0 on, fixed or computed.
    fn count(
        &mut self,
        fields: &mut Fields<'d, '_>,
        field: &'static str,
        path: &'static str,
        max: u64,
    ) -> Option<Dynamic<u64>> {
        let number = self.dynamic_integer(fields, field, path, 0..=max);
        self.without_context(fields, path, number)
    }

    /// A number that stands at a path in the state's input, or in a variable: the service takes no path of the context object
    /// for it.
    fn without_context<T>(
        &mut self,
        fields: &Fields<'d, '_>,
        field: &str,
        number: Option<Dynamic<T>>,
    ) -> Option<Dynamic<T>> {
        match number {
            Some(Dynamic::Computed(Expression::Path(path))) if *path.root() == Root::Context => {
                let message = format!("`{field}` cannot read the context object: `{path}`");
                let finding = Finding::new(Code::NotAReferencePath, fields.at(field), message);
                self.findings.push(
                    finding.hint("of the fields of a Map state only `ItemsPath` and `ItemSelector` do"),
                );
                None
            }
            number => number,
        }
    }

    fn items(&mut self, fields: &mut Fields<'d, '_>) -> Items {
        if fields.is_json_path() {
            let text = fields.text(self, "ItemsPath");
            let path = text.and_then(|text| self.reference(fields.at("ItemsPath"), text));
            return path.map_or(Items::Input, Items::Path);
        }
        let Some(value) = fields.peek("Items") else {
            fields.know("Items");
            return Items::Input;
        };
        if !value.is_array() && !value.is_object() && !value.as_str().is_some_and(Jsonata::is_meant) {
            let message = format!(
                "`Items` is an array, an object or a text in `{{% %}}`, not {}",
                show(value)
            );
            self.wrong_type(fields.at("Items"), message);
        }
        self.template_field(fields, "Items", Available::NOTHING)
            .map_or(Items::Input, Items::Template)
    }

    /// `ItemSelector`, or in a JSONPath state its old name `Parameters`.
    fn item_selector(&mut self, fields: &mut Fields<'d, '_>) -> Option<Template> {
        if fields.is_json_path() && fields.has("Parameters") {
            fields.exclusive(self, "ItemSelector", "Parameters");
            self.deprecated(fields, "Parameters", "ItemSelector");
            let old = self.template_field(fields, "Parameters", Available::NOTHING);
            return self
                .template_field(fields, "ItemSelector", Available::NOTHING)
                .or(old);
        }
        self.template_field(fields, "ItemSelector", Available::NOTHING)
    }

    fn deprecated(&mut self, fields: &Fields<'d, '_>, old: &str, new: &str) {
        let message = format!("`{old}` of a Map state is deprecated");
        let finding = Finding::new(Code::DeprecatedField, fields.at(old), message);
        self.findings
            .push(finding.hint(format!("`{new}` has taken its place")));
    }

    fn processor(
        &mut self,
        fields: &mut Fields<'d, '_>,
        outer: QueryLanguage,
    ) -> (Option<Mode>, Option<Machine>) {
        let old = fields.has("Iterator");
        if old {
            fields.exclusive(self, "ItemProcessor", "Iterator");
            self.deprecated(fields, "Iterator", "ItemProcessor");
        }
        let field = if old && !fields.has("ItemProcessor") {
            fields.know("ItemProcessor");
            "Iterator"
        } else {
            fields.know("Iterator");
            "ItemProcessor"
        };
        let Some(value) = fields.get(field) else {
            let finding = Finding::new(
                Code::MissingField,
                *fields.here,
                "the field `ItemProcessor` is missing",
            );
            self.findings
                .push(finding.said(exactly_one(&["ItemProcessor", "Iterator"])));
            return (None, None);
        };
        let pointer = fields.at(field);
        let Value::Object(map) = value else {
            self.wrong_type(pointer, format!("`{field}` is an object, not {}", kind_of(value)));
            return (None, None);
        };
        // The states inside follow the machine's language, not that of the state around them.
        let mut inner = Fields::new(&pointer, map, outer);
        let mode = self.mode(&mut inner);
        let inside = Outer {
            language: outer,
            what: "an item processor",
        };
        (mode, self.machine_fields(&mut inner, Some(inside)))
    }

    fn mode(&mut self, fields: &mut Fields<'d, '_>) -> Option<Mode> {
        let Some(map) = fields.object(self, "ProcessorConfig") else {
            return (!fields.has("ProcessorConfig")).then_some(Mode::Inline);
        };
        let here = fields.at("ProcessorConfig");
        let mut config = Fields::new(&here, map, fields.language);
        let distributed = config.word(self, "Mode", &[("INLINE", false), ("DISTRIBUTED", true)]);
        let types = [
            ("STANDARD", ExecutionType::Standard),
            ("EXPRESS", ExecutionType::Express),
        ];
        let mode = match (distributed, config.has("Mode")) {
            (Some(true), _) => {
                config.required(self, "ExecutionType");
                config.word(self, "ExecutionType", &types).map(Mode::Distributed)
            }
            (None, true) => {
                config.know("ExecutionType");
                None
            }
            // An inline processor has no executions. The service takes the field all the same where the mode goes without saying.
            (None, false) => {
                config.word(self, "ExecutionType", &types);
                Some(Mode::Inline)
            }
            (Some(false), _) => {
                if config.get("ExecutionType").is_some() {
                    let message = "an inline item processor has no `ExecutionType`";
                    let finding = Finding::new(Code::MisplacedField, config.at("ExecutionType"), message);
                    self.findings
                        .push(finding.hint("the mode `DISTRIBUTED` has executions of its own"));
                }
                Some(Mode::Inline)
            }
        };
        config.finish(self, "`ProcessorConfig`");
        mode
    }

    fn item_reader(&mut self, fields: &mut Fields<'d, '_>) -> Option<ItemReader> {
        let map = fields.object(self, "ItemReader")?;
        let here = fields.at("ItemReader");
        let mut reader = Fields::new(&here, map, fields.language);
        let resource = self.s3_field(&mut reader, &["getObject", "listObjectsV2"]);
        let lists = resource
            .as_ref()
            .is_some_and(|resource| resource.arn.ends_with(":listObjectsV2"));
        let parameters = self.arguments(&mut reader);
        let config = match reader.object(self, "ReaderConfig") {
            Some(map) => {
                let here = reader.at("ReaderConfig");
                let mut config = Fields::new(&here, map, fields.language);
                self.reader_config(&mut config, lists)
            }
            None => {
                if !lists && resource.is_some() && !reader.has("ReaderConfig") {
                    let message =
                        "the field `ReaderConfig` is missing: it says with `InputType` what is read";
                    self.report(Code::MissingField, *reader.here, message);
                }
                ReaderConfig::default()
            }
        };
        reader.required(self, "Resource");
        reader.finish(self, "an `ItemReader`");
        Some(ItemReader {
            resource: resource?,
            parameters,
            config,
        })
    }

    fn s3_field(&mut self, fields: &mut Fields<'d, '_>, actions: &[&str]) -> Option<Resource> {
        let arn = fields.text(self, "Resource")?;
        self.s3_resource(fields.at("Resource"), arn, actions)
    }

    fn reader_config(&mut self, fields: &mut Fields<'d, '_>, lists: bool) -> ReaderConfig {
        if !lists {
            fields.required(self, "InputType");
        }
        let input_type = fields.word(
            self,
            "InputType",
            &[
                ("CSV", InputType::Csv),
                ("JSON", InputType::Json),
                ("JSONL", InputType::JsonLines),
                ("MANIFEST", InputType::Manifest),
                ("PARQUET", InputType::Parquet),
            ],
        );
        let transformation = fields.word(
            self,
            "Transformation",
            &[
                ("NONE", ReaderTransformation::None),
                ("LOAD_AND_FLATTEN", ReaderTransformation::LoadAndFlatten),
            ],
        );
        let manifest_type = fields.word(
            self,
            "ManifestType",
            &[
                ("ATHENA_DATA", ManifestType::AthenaData),
                ("S3_INVENTORY", ManifestType::S3Inventory),
            ],
        );
        let csv_delimiter = fields.word(
            self,
            "CSVDelimiter",
            &[
                ("COMMA", CsvDelimiter::Comma),
                ("PIPE", CsvDelimiter::Pipe),
                ("SEMICOLON", CsvDelimiter::Semicolon),
                ("SPACE", CsvDelimiter::Space),
                ("TAB", CsvDelimiter::Tab),
            ],
        );
        let csv_header = self.csv_header(fields, input_type);
        let items_pointer = fields.text(self, "ItemsPointer");
        if let Some(text) = items_pointer.filter(|text| !text.is_empty() && !text.starts_with('/')) {
            let message = format!("`ItemsPointer` is a JSON pointer such as `/a/b`, not `{text}`");
            self.report(Code::InvalidValue, fields.at("ItemsPointer"), message);
        }
        let max_items = self.count(fields, "MaxItems", "MaxItemsPath", MAX_ITEMS);
        fields.finish(self, "`ReaderConfig`");
        ReaderConfig {
            input_type,
            transformation,
            manifest_type,
            csv_delimiter,
            csv_header,
            items_pointer: items_pointer.map(str::to_owned),
            max_items,
        }
    }

    fn csv_header(
        &mut self,
        fields: &mut Fields<'d, '_>,
        input_type: Option<InputType>,
    ) -> Option<CsvHeader> {
        let location = fields.at("CSVHeaderLocation");
        match (input_type, fields.has("CSVHeaderLocation")) {
            (Some(InputType::Csv), false) => {
                let message = "the field `CSVHeaderLocation` is missing";
                let finding = Finding::new(Code::MissingField, *fields.here, message);
                self.findings
                    .push(finding.said("The field 'CSVHeaderLocation' is required"));
            }
            (Some(InputType::Json), true) => {
                let message = "JSON has no `CSVHeaderLocation`";
                self.report(Code::MisplacedField, location, message);
            }
            _ => {}
        }
        let given = fields.word(
            self,
            "CSVHeaderLocation",
            &[("FIRST_ROW", false), ("GIVEN", true)],
        );
        let pointer = fields.at("CSVHeaders");
        let names = match fields.get("CSVHeaders") {
            None => None,
            Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
                let names = names.iter().filter_map(Value::as_str).map(str::to_owned);
                Some(names.collect::<Vec<_>>())
            }
            Some(other) => {
                let message = format!("`CSVHeaders` is an array of texts, not {}", show(other));
                self.wrong_type(pointer, message);
                None
            }
        };
        match given? {
            false => {
                if names.is_some() {
                    let message = "`CSVHeaders` does not stand beside the location `FIRST_ROW`";
                    self.report(Code::ConflictingFields, pointer, message);
                }
                Some(CsvHeader::FirstRow)
            }
            true => {
                if !fields.has("CSVHeaders") {
                    let message = "the field `CSVHeaders` is missing: the header's location is `GIVEN`";
                    let finding = Finding::new(Code::MissingField, *fields.here, message);
                    self.findings
                        .push(finding.said("These fields are required: [CSVHeaders]"));
                }
                names.map(CsvHeader::Given)
            }
        }
    }

    fn item_batcher(&mut self, fields: &mut Fields<'d, '_>) -> Option<ItemBatcher> {
        let map = fields.object(self, "ItemBatcher")?;
        let here = fields.at("ItemBatcher");
        let mut batcher = Fields::new(&here, map, fields.language);
        let max_items = self.count(&mut batcher, "MaxItemsPerBatch", "MaxItemsPerBatchPath", u64::MAX);
        let max_input_bytes = self.count(
            &mut batcher,
            "MaxInputBytesPerBatch",
            "MaxInputBytesPerBatchPath",
            MAX_BATCH_BYTES,
        );
        let limited = [
            "MaxItemsPerBatch",
            "MaxItemsPerBatchPath",
            "MaxInputBytesPerBatch",
            "MaxInputBytesPerBatchPath",
        ]
        .into_iter()
        .any(|field| batcher.has(field));
        if !limited {
            let message =
                "an `ItemBatcher` has `MaxItemsPerBatch`, `MaxInputBytesPerBatch` or both, not none";
            self.report(Code::MissingField, *batcher.here, message);
        }
        let batch_input = self.template_field(&mut batcher, "BatchInput", Available::NOTHING);
        batcher.finish(self, "an `ItemBatcher`");
        Some(ItemBatcher {
            max_items,
            max_input_bytes,
            batch_input,
        })
    }

    fn result_writer(&mut self, fields: &mut Fields<'d, '_>) -> Option<ResultWriter> {
        let map = fields.object(self, "ResultWriter")?;
        let here = fields.at("ResultWriter");
        let mut writer = Fields::new(&here, map, fields.language);
        let resource = self.s3_field(&mut writer, &["putObject"]);
        let parameters = self.arguments(&mut writer);
        let config = writer.object(self, "WriterConfig").map(|map| {
            let here = writer.at("WriterConfig");
            let mut config = Fields::new(&here, map, fields.language);
            let transformation = config.word(
                self,
                "Transformation",
                &[
                    ("NONE", WriterTransformation::None),
                    ("COMPACT", WriterTransformation::Compact),
                    ("FLATTEN", WriterTransformation::Flatten),
                ],
            );
            let output_type = config.word(
                self,
                "OutputType",
                &[("JSON", OutputType::Json), ("JSONL", OutputType::JsonLines)],
            );
            config.finish(self, "`WriterConfig`");
            WriterConfig {
                transformation,
                output_type,
            }
        });
        let arguments = if fields.is_json_path() {
            "Parameters"
        } else {
            "Arguments"
        };
        let missing = match (writer.has("Resource"), writer.has(arguments)) {
            (true, false) => Some(arguments),
            (false, true) => Some("Resource"),
            (false, false) if !writer.has("WriterConfig") && !map.is_empty() => Some("Resource"),
            _ => None,
        };
        if map.is_empty() {
            let message = "the `ResultWriter` is empty: the execution fails there";
            let finding = Finding::new(Code::EmptyResultWriter, *writer.here, message);
            self.findings.push(finding.hint(format!(
                "`Resource` and `{arguments}` say where the results go, `WriterConfig` in what form"
            )));
        }
        if let Some(field) = missing {
            let message = format!("the field `{field}` is missing");
            let finding = Finding::new(Code::MissingField, *writer.here, message);
            self.findings.push(finding.hint(format!(
                "a `ResultWriter` has `Resource` and `{arguments}`, `WriterConfig`, or all three"
            )));
        }
        writer.finish(self, "a `ResultWriter`");
        Some(ResultWriter {
            resource,
            parameters,
            config,
        })
    }

    fn percentage(&mut self, pointer: At<'_>, value: &Value) -> Option<f64> {
        let percentage = value.as_f64().filter(|number| (0.0..=100.0).contains(number));
        if percentage.is_none() {
            let code = if value.is_number() {
                Code::OutOfRange
            } else {
                Code::WrongType
            };
            let message = format!(
                "`ToleratedFailurePercentage` is a number from 0 to 100, not {}",
                show(value)
            );
            let mut finding = Finding::new(code, pointer, message);
            finding.said = out_of(value, 0, 100).map(|said| Box::new(said.into()));
            self.findings.push(finding);
        }
        percentage
    }

    fn label(&mut self, fields: &mut Fields<'d, '_>) -> Option<String> {
        let label = fields.text(self, "Label")?;
        let length = label.chars().count();
        if length > MAX_LABEL {
            let message = format!("a label has at most {MAX_LABEL} characters, this has {length}");
            self.report(Code::InvalidLabel, fields.at("Label"), message);
        }
        let wrong = |c: &char| c.is_whitespace() || c.is_control() || "?*<>{}[]:;,\\|^~$#%&`\"".contains(*c);
        if let Some(c) = label.chars().find(wrong) {
            let message = format!("a label cannot have the character `{}`", c.escape_default());
            self.report(Code::InvalidLabel, fields.at("Label"), message);
        }
        let here = fields.at("Label").pointer();
        if let Some(first) = self.labels.get(label) {
            let message = format!("there is a label `{label}` already, at `{first}`");
            let finding = Finding::new(Code::DuplicateLabel, here, message);
            self.findings
                .push(finding.said(format!("Duplicate Label name: {label}")));
        } else {
            self.labels.insert(label.to_owned(), here);
        }
        Some(label.to_owned())
    }
}
