//! The Map state, inline and distributed.

use super::{Catcher, Dynamic, Machine, Resource, Retrier, Transition};
use crate::path::Path;
use crate::template::Template;

/// A Map state.
///
/// States Language, section "Map State".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Map {
    /// `ItemsPath` or `Items`: the items, where no `ItemReader` reads them.
    pub items: Items,
    /// `ItemReader`; distributed only.
    pub item_reader: Option<ItemReader>,
    /// `ItemSelector`, or the deprecated `Parameters`: what the processor gets instead of the bare item.
    pub item_selector: Option<Template>,
    /// `ItemBatcher`; distributed only.
    pub item_batcher: Option<ItemBatcher>,
    /// `ResultWriter`; distributed only.
    pub result_writer: Option<ResultWriter>,
    /// `Mode` and `ExecutionType` in `ProcessorConfig`.
    pub mode: Mode,
    /// `ItemProcessor`, or the deprecated `Iterator`.
    pub processor: Machine,
    /// `MaxConcurrency` or `MaxConcurrencyPath`: how many at once; 0, the default, is as many as can be.
    pub max_concurrency: Dynamic<u64>,
    /// `ToleratedFailurePercentage` or its path, 0 to 100; distributed only.
    pub tolerated_failure_percentage: Option<Dynamic<f64>>,
    /// `ToleratedFailureCount` or its path; distributed only.
    pub tolerated_failure_count: Option<Dynamic<u64>>,
    /// `Label`: the middle of the map run's ARN; distributed only. Without it the service makes one up.
    pub label: Option<String>,
    /// `Retry`.
    pub retry: Vec<Retrier>,
    /// `Catch`.
    pub catch: Vec<Catcher>,
    /// `Next` or `End`.
    pub transition: Transition,
}

/// Where a Map state's items come from.
///
/// States Language, section "Map State".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Items {
    /// They are the state's input, after `InputPath`.
    Input,
    /// `ItemsPath`.
    Path(Path),
    /// `Items` of a JSONata state: an array or object, or an expression that yields one.
    Template(Template),
}

/// How the processor of a Map state runs.
///
/// States Language, section "Map State".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// `INLINE`, the default: as part of the execution.
    Inline,
    /// `DISTRIBUTED`: as child executions of this type.
    Distributed(ExecutionType),
}

/// The type of child executions.
///
/// Developer guide, "Map state in distributed mode".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExecutionType {
    /// `STANDARD`.
    Standard,
    /// `EXPRESS`.
    Express,
}

/// Reads items from elsewhere.
///
/// States Language, section "ItemReader"; developer guide, "ItemReader (Map)".
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ItemReader {
    /// `Resource`: `s3:getObject` or `s3:listObjectsV2`.
    pub resource: Resource,
    /// `Parameters` or `Arguments`.
    pub parameters: Option<Template>,
    /// `ReaderConfig`.
    pub config: ReaderConfig,
}

/// `ReaderConfig` of an `ItemReader`.
///
/// Developer guide, "ItemReader (Map)".
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ReaderConfig {
    /// `InputType`; there is one unless a listing is read.
    pub input_type: Option<InputType>,
    /// `Transformation` of a listing.
    pub transformation: Option<ReaderTransformation>,
    /// `ManifestType`, when the input type is `MANIFEST`.
    pub manifest_type: Option<ManifestType>,
    /// `CSVDelimiter`; a comma when absent.
    pub csv_delimiter: Option<CsvDelimiter>,
    /// `CSVHeaderLocation` and `CSVHeaders`.
    pub csv_header: Option<CsvHeader>,
    /// `ItemsPointer`: a JSON pointer to the array or object in a JSON file.
    pub items_pointer: Option<String>,
    /// `MaxItems` or `MaxItemsPath`: how many items are read at most; 0 is as many as there are.
    pub max_items: Option<Dynamic<u64>>,
}

/// The form of what an `ItemReader` reads.
///
/// Developer guide, "ItemReader (Map)".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InputType {
    /// `CSV`.
    Csv,
    /// `JSON`.
    Json,
    /// `JSONL`: JSON Lines.
    JsonLines,
    /// `MANIFEST`: an inventory, or a list of data files.
    Manifest,
    /// `PARQUET`.
    Parquet,
}

/// What becomes of the objects of a listing.
///
/// Developer guide, "ItemReader (Map)".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReaderTransformation {
    /// `NONE`: their descriptions are the items.
    None,
    /// `LOAD_AND_FLATTEN`: their contents are read, and make the items.
    LoadAndFlatten,
}

/// The kinds of manifests.
///
/// Developer guide, "ItemReader (Map)".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ManifestType {
    /// `ATHENA_DATA`.
    AthenaData,
    /// `S3_INVENTORY`.
    S3Inventory,
}

/// What stands between the fields of a CSV file.
///
/// Developer guide, "ItemReader (Map)".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CsvDelimiter {
    /// `COMMA`.
    Comma,
    /// `PIPE`.
    Pipe,
    /// `SEMICOLON`.
    Semicolon,
    /// `SPACE`.
    Space,
    /// `TAB`.
    Tab,
}

/// Where the names of a CSV file's columns come from.
///
/// Developer guide, "ItemReader (Map)".
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CsvHeader {
    /// `FIRST_ROW`.
    FirstRow,
    /// `GIVEN`, with `CSVHeaders`.
    Given(Vec<String>),
}

/// Groups items, so that a child execution gets several.
///
/// States Language, section "ItemBatcher"; at least one of the two limits is there.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ItemBatcher {
    /// `MaxItemsPerBatch` or its path; 0 is no limit.
    pub max_items: Option<Dynamic<u64>>,
    /// `MaxInputBytesPerBatch` or its path, at most 262,144.
    pub max_input_bytes: Option<Dynamic<u64>>,
    /// `BatchInput`: goes with each batch.
    pub batch_input: Option<Template>,
}

/// Writes the results of child executions elsewhere.
///
/// States Language, section "ResultWriter"; a resource or a configuration is there, or both.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ResultWriter {
    /// `Resource`: `s3:putObject`.
    pub resource: Option<Resource>,
    /// `Parameters` or `Arguments`.
    pub parameters: Option<Template>,
    /// `WriterConfig`.
    pub config: Option<WriterConfig>,
}

/// `WriterConfig` of a `ResultWriter`.
///
/// Developer guide, "ResultWriter (Map)".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WriterConfig {
    /// `Transformation`.
    pub transformation: Option<WriterTransformation>,
    /// `OutputType`.
    pub output_type: Option<OutputType>,
}

/// What becomes of the results of child executions.
///
/// Developer guide, "ResultWriter (Map)".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WriterTransformation {
    /// `NONE`: outputs with the descriptions of the executions.
    None,
    /// `COMPACT`: outputs alone.
    Compact,
    /// `FLATTEN`: outputs alone, and arrays among them opened.
    Flatten,
}

/// The form in which results are written.
///
/// Developer guide, "ResultWriter (Map)".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputType {
    /// `JSON`: an array.
    Json,
    /// `JSONL`: JSON Lines.
    JsonLines,
}
