//! The states that hold machines: Parallel and Map.

use serde_json::{Map as Object, Number, Value};

use super::{Fragment, State, expression};
use crate::checked::{ExecutionType, QueryLanguage};
use crate::finding::Finding;

/// A Parallel state: runs branches at once; the result is the array of theirs.
///
/// States Language, section "Parallel State".
///
/// ```
/// use sfn_builder::{Parallel, Pass, StateMachine};
///
/// let both = Parallel::new()
///     .branch(Pass::new().named("Left"))
///     .branch(Pass::new().named("Right").then(Pass::new().named("More")));
/// let machine = both.named("Both").into_machine().build()?;
/// assert_eq!(machine.all_states().len(), 4);
/// # Ok::<(), sfn_builder::InvalidDefinition>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Parallel(State);

shared!(Parallel: data, assign, parameters, arguments, result_path, result_selector, errors, transition);

impl Parallel {
    /// A state without any branch yet.
    pub fn new() -> Self {
        Self(State::of_type("Parallel")).set("Branches", Vec::<Value>::new())
    }

    /// Adds a branch; its open ends end it.
    ///
    /// States Language, section "Parallel State".
    pub fn branch(mut self, branch: impl Into<Fragment>) -> Self {
        let index = match self.0.fields.get("Branches") {
            Some(Value::Array(list)) => list.len(),
            _ => 0,
        };
        let (machine, found) = branch.into().into_json();
        self.0.found.extend(below(&format!("/Branches/{index}"), found));
        Self(self.0.append("Branches", machine))
    }
}

impl Default for Parallel {
    fn default() -> Self {
        Self::new()
    }
}

/// A Map state: runs a machine for each item.
///
/// States Language, section "Map State".
///
/// ```
/// use serde_json::json;
/// use sfn_builder::checked::ExecutionType;
/// use sfn_builder::{ItemBatcher, ItemReader, MapState, Pass};
///
/// let map = MapState::distributed(Pass::new().named("Count"), ExecutionType::Express)
///     .item_reader(
///         ItemReader::get_object(json!({ "Bucket": "logs", "Key": "lines.csv" })).csv_with_header_row(),
///     )
///     .item_batcher(ItemBatcher::new().max_items(100))
///     .tolerated_failure_percentage(5.0)
///     .max_concurrency(50);
/// map.named("Each").into_machine().build()?;
/// # Ok::<(), sfn_builder::InvalidDefinition>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Map(State);

shared!(Map: data, assign, result_path, result_selector, errors, transition);

impl Map {
    /// Runs the items as part of the execution, at most 40 at once.
    ///
    /// States Language, section "Map State".
    pub fn inline(processor: impl Into<Fragment>) -> Self {
        Self::with_config(processor.into(), [("Mode".to_owned(), "INLINE".into())])
    }

    /// Runs the items as executions of their own.
    ///
    /// States Language, section "Map State".
    pub fn distributed(processor: impl Into<Fragment>, children: ExecutionType) -> Self {
        let children = match children {
            ExecutionType::Standard => "STANDARD",
            ExecutionType::Express => "EXPRESS",
        };
        let config = [
            ("Mode".to_owned(), "DISTRIBUTED".into()),
            ("ExecutionType".to_owned(), children.into()),
        ];
        Self::with_config(processor.into(), config)
    }

    fn with_config(processor: Fragment, config: impl IntoIterator<Item = (String, Value)>) -> Self {
        let (machine, found) = processor.into_json();
        let mut inner = Object::from_iter([("ProcessorConfig".to_owned(), Object::from_iter(config).into())]);
        if let Value::Object(machine) = machine {
            inner.extend(machine);
        }
        let mut map = Self(State::of_type("Map")).set("ItemProcessor", inner);
        map.0.found.extend(below("/ItemProcessor", found));
        map
    }

    /// Sets `ItemsPath`: where in the input the items stand; the default is `$`.
    ///
    /// States Language, section "Map State".
    pub fn items_path(self, path: impl Into<String>) -> Self {
        self.set("ItemsPath", path.into())
    }

    /// Sets `Items` of a JSONata state: an array or object, or a text in `{% %}`.
    ///
    /// States Language, section "Map State".
    pub fn items(self, items: impl Into<Value>) -> Self {
        self.set("Items", items)
    }

    /// Sets `ItemSelector`: what each run gets in place of the bare item. `$$.Map.Item.Value` is the item.
    ///
    /// States Language, section "Map State".
    pub fn item_selector(self, template: impl Into<Value>) -> Self {
        self.set("ItemSelector", template)
    }

    /// Sets `ItemReader`, of a distributed state: items from elsewhere.
    ///
    /// States Language, section "Map State".
    pub fn item_reader(self, reader: ItemReader) -> Self {
        self.set("ItemReader", reader.0)
    }

    /// Sets `ItemBatcher`, of a distributed state: several items for each run.
    ///
    /// States Language, section "Map State".
    pub fn item_batcher(self, batcher: ItemBatcher) -> Self {
        self.set("ItemBatcher", batcher.0)
    }

    /// Sets `ResultWriter`, of a distributed state: results to elsewhere.
    ///
    /// States Language, section "Map State".
    pub fn result_writer(self, writer: ResultWriter) -> Self {
        self.set("ResultWriter", writer.0)
    }

    /// Sets `MaxConcurrency`: how many at once; 0, the default, is as many as can be.
    ///
    /// States Language, section "Map State".
    pub fn max_concurrency(self, runs: u64) -> Self {
        self.set("MaxConcurrency", runs)
    }

    /// Sets `MaxConcurrencyPath`: where in the input it stands.
    ///
    /// States Language, section "Map State".
    pub fn max_concurrency_path(self, path: impl Into<String>) -> Self {
        self.set("MaxConcurrencyPath", path.into())
    }

    /// Sets `MaxConcurrency` of a JSONata state to an expression; `{% %}` may be left out.
    ///
    /// States Language, section "Map State".
    pub fn max_concurrency_expression(self, text: impl Into<String>) -> Self {
        self.set("MaxConcurrency", expression(text))
    }

    /// Sets `ToleratedFailurePercentage`, 0 to 100, of a distributed state; the default is 0.
    ///
    /// States Language, section "Map State".
    pub fn tolerated_failure_percentage(self, percentage: f64) -> Self {
        self.set("ToleratedFailurePercentage", number(percentage))
    }

    /// Sets `ToleratedFailurePercentagePath`: where in the input it stands.
    ///
    /// States Language, section "Map State".
    pub fn tolerated_failure_percentage_path(self, path: impl Into<String>) -> Self {
        self.set("ToleratedFailurePercentagePath", path.into())
    }

    /// Sets `ToleratedFailurePercentage` of a JSONata state to an expression; `{% %}` may be left out.
    ///
    /// States Language, section "Map State".
    pub fn tolerated_failure_percentage_expression(self, text: impl Into<String>) -> Self {
        self.set("ToleratedFailurePercentage", expression(text))
    }

    /// Sets `ToleratedFailureCount`, of a distributed state; the default is 0.
    ///
    /// States Language, section "Map State".
    pub fn tolerated_failure_count(self, items: u64) -> Self {
        self.set("ToleratedFailureCount", items)
    }

    /// Sets `ToleratedFailureCountPath`: where in the input it stands.
    ///
    /// States Language, section "Map State".
    pub fn tolerated_failure_count_path(self, path: impl Into<String>) -> Self {
        self.set("ToleratedFailureCountPath", path.into())
    }

    /// Sets `ToleratedFailureCount` of a JSONata state to an expression; `{% %}` may be left out.
    ///
    /// States Language, section "Map State".
    pub fn tolerated_failure_count_expression(self, text: impl Into<String>) -> Self {
        self.set("ToleratedFailureCount", expression(text))
    }

    /// Sets `Label`, of a distributed state: the middle of the map run's ARN, at most 40 characters.
    ///
    /// Developer guide, "Map state in distributed mode".
    pub fn label(self, label: impl Into<String>) -> Self {
        self.set("Label", label.into())
    }
}

/// `ItemReader` of a distributed Map state.
///
/// States Language, section "Map State", "ItemReader".
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct ItemReader(Object<String, Value>);

impl ItemReader {
    /// The objects of a bucket, by the parameters of `ListObjectsV2`: `Bucket` and `Prefix`. They are written as
    /// `Parameters`; in a JSONata state say [`jsonata`](Self::jsonata) too.
    ///
    /// Developer guide, "ItemReader (Map)".
    pub fn list_objects(parameters: impl Into<Value>) -> Self {
        Self::s3("listObjectsV2", parameters.into())
    }

    /// What one object holds, by the parameters of `GetObject`: `Bucket` and `Key`. One of the methods that name a form
    /// has to follow.
    ///
    /// Developer guide, "ItemReader (Map)".
    pub fn get_object(parameters: impl Into<Value>) -> Self {
        Self::s3("getObject", parameters.into())
    }

    fn s3(action: &str, parameters: Value) -> Self {
        Self(Object::from_iter([
            (
                "Resource".to_owned(),
                format!("arn:aws:states:::s3:{action}").into(),
            ),
            ("Parameters".to_owned(), parameters),
        ]))
    }

    /// For a JSONata state: the parameters are `Arguments`.
    pub fn jsonata(mut self) -> Self {
        arguments(&mut self.0);
        self
    }

    /// The object is a JSON array, or holds one at this JSON pointer (empty for all of it).
    ///
    /// Developer guide, "ItemReader (Map)".
    pub fn json(self, items_pointer: &str) -> Self {
        let reader = self.config("InputType", "JSON");
        if items_pointer.is_empty() {
            reader
        } else {
            reader.config("ItemsPointer", items_pointer)
        }
    }

    /// The object has one JSON value in each line.
    ///
    /// Developer guide, "ItemReader (Map)".
    pub fn json_lines(self) -> Self {
        self.config("InputType", "JSONL")
    }

    /// The object is a Parquet file.
    ///
    /// Developer guide, "ItemReader (Map)".
    pub fn parquet(self) -> Self {
        self.config("InputType", "PARQUET")
    }

    /// The object is CSV whose first row names the columns.
    ///
    /// Developer guide, "ItemReader (Map)".
    pub fn csv_with_header_row(self) -> Self {
        self.config("InputType", "CSV")
            .config("CSVHeaderLocation", "FIRST_ROW")
    }

    /// The object is CSV without a header, with columns of these names.
    ///
    /// Developer guide, "ItemReader (Map)".
    pub fn csv<N: Into<String>>(self, columns: impl IntoIterator<Item = N>) -> Self {
        let columns: Vec<Value> = columns
            .into_iter()
            .map(|name| Value::String(name.into()))
            .collect();
        self.config("InputType", "CSV")
            .config("CSVHeaderLocation", "GIVEN")
            .config("CSVHeaders", columns)
    }

    /// The object is the manifest of an S3 inventory.
    ///
    /// Developer guide, "ItemReader (Map)".
    pub fn inventory(self) -> Self {
        self.config("InputType", "MANIFEST")
    }

    /// Sets `MaxItems`: reads no more than so many.
    ///
    /// Developer guide, "ItemReader (Map)".
    pub fn max_items(self, items: u64) -> Self {
        self.config("MaxItems", items)
    }

    /// Sets `MaxItemsPath`: where in the input it stands.
    ///
    /// Developer guide, "ItemReader (Map)".
    pub fn max_items_path(self, path: impl Into<String>) -> Self {
        self.config("MaxItemsPath", path.into())
    }

    /// Sets any field of `ReaderConfig`.
    pub fn config(mut self, field: &str, value: impl Into<Value>) -> Self {
        config(&mut self.0, "ReaderConfig", field, value.into());
        self
    }
}

/// `ItemBatcher` of a distributed Map state; it needs at least one limit.
///
/// States Language, section "Map State", "ItemBatcher".
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use]
pub struct ItemBatcher(Object<String, Value>);

impl ItemBatcher {
    /// A batcher without any limit yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `MaxItemsPerBatch`.
    ///
    /// Developer guide, "ItemBatcher (Map)".
    pub fn max_items(self, items: u64) -> Self {
        self.set("MaxItemsPerBatch", items)
    }

    /// Sets `MaxItemsPerBatchPath`: where in the input it stands.
    ///
    /// Developer guide, "ItemBatcher (Map)".
    pub fn max_items_path(self, path: impl Into<String>) -> Self {
        self.set("MaxItemsPerBatchPath", path.into())
    }

    /// Sets `MaxInputBytesPerBatch`, at most 262,144.
    ///
    /// Developer guide, "ItemBatcher (Map)".
    pub fn max_input_bytes(self, bytes: u64) -> Self {
        self.set("MaxInputBytesPerBatch", bytes)
    }

    /// Sets `MaxInputBytesPerBatchPath`: where in the input it stands.
    ///
    /// Developer guide, "ItemBatcher (Map)".
    pub fn max_input_bytes_path(self, path: impl Into<String>) -> Self {
        self.set("MaxInputBytesPerBatchPath", path.into())
    }

    /// Sets `BatchInput`: what every batch gets besides its items.
    ///
    /// Developer guide, "ItemBatcher (Map)".
    pub fn batch_input(self, template: impl Into<Value>) -> Self {
        self.set("BatchInput", template)
    }

    fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }
}

/// `ResultWriter` of a distributed Map state.
///
/// States Language, section "Map State", "ResultWriter".
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct ResultWriter(Object<String, Value>);

impl ResultWriter {
    /// Writes to a bucket, by the parameters `Bucket` and `Prefix`. They are written as `Parameters`; in a JSONata state
    /// say [`jsonata`](Self::jsonata) too.
    ///
    /// Developer guide, "ResultWriter (Map)".
    pub fn put_object(parameters: impl Into<Value>) -> Self {
        Self(Object::from_iter([
            ("Resource".to_owned(), "arn:aws:states:::s3:putObject".into()),
            ("Parameters".to_owned(), parameters.into()),
        ]))
    }

    /// For a JSONata state: the parameters are `Arguments`.
    pub fn jsonata(mut self) -> Self {
        arguments(&mut self.0);
        self
    }

    /// Sets any field of `WriterConfig`, such as `Transformation` or `OutputType`.
    pub fn config(mut self, field: &str, value: impl Into<Value>) -> Self {
        config(&mut self.0, "WriterConfig", field, value.into());
        self
    }
}

fn arguments(map: &mut Object<String, Value>) {
    if let Some(parameters) = map.shift_remove("Parameters") {
        map.insert("Arguments".to_owned(), parameters);
    }
}

fn config(map: &mut Object<String, Value>, name: &str, field: &str, value: Value) {
    match map.get_mut(name) {
        Some(Value::Object(config)) => {
            config.insert(field.to_owned(), value);
        }
        _ => {
            let config = Object::from_iter([(field.to_owned(), value)]);
            map.insert(name.to_owned(), config.into());
        }
    }
}

/// What is no number becomes null, which the build refuses.
fn number(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn below(pointer: &str, found: Vec<Finding>) -> impl Iterator<Item = Finding> {
    found.into_iter().map(move |mut finding| {
        finding.pointer = format!("{pointer}{}", finding.pointer);
        finding
    })
}
