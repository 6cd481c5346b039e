//! Reading the items of a distributed Map state, through the task handler.
//!
//! Developer guide, "ItemReader (Map)".

use serde_json::{Map, Value, json};
use sfn_builder::checked::{
    CsvDelimiter, CsvHeader, InputType, ItemReader, ReaderConfig, ReaderTransformation,
};

use super::Runner;
use crate::data::context::Item;
use crate::engine::MapRun;
use crate::handler::{TaskCall, TaskFailure, TaskRequest};

const GET: &str = "arn:aws:states:::s3:getObject";

fn unreadable(cause: impl Into<String>) -> TaskFailure {
    TaskFailure::new("States.ItemReaderFailed", cause)
}

impl Runner<'_> {
    /// Calls S3 for a map run.
    pub(super) async fn s3(
        &self,
        run: &MapRun<'_>,
        resource: &str,
        parameters: Value,
    ) -> Result<Value, TaskFailure> {
        let request = TaskRequest {
            resource: resource.to_owned(),
            parameters,
            state: run.state.name.clone(),
            execution_arn: run.execution.arn.clone(),
            state_machine_arn: run.execution.state_machine_arn.clone(),
            retry_count: 0,
            timeout: None,
            heartbeat: None,
            token: None,
            role_arn: None,
        };
        let call = TaskCall::outside(request);
        self.handler.call(call).await
    }

    /// The items of a map run that has an `ItemReader`.
    pub(super) async fn read_items(&self, run: &MapRun<'_>) -> Result<Vec<Item>, TaskFailure> {
        let (Some(reader), Some(request)) = (&run.map.item_reader, &run.shape.reader) else {
            return Ok(Vec::new());
        };
        let max = run
            .shape
            .max_items
            .filter(|max| *max > 0)
            .and_then(|max| usize::try_from(max).ok())
            .unwrap_or(usize::MAX);
        let mut items = if reader.resource.arn.ends_with(":listObjectsV2") {
            let listed = self.list(run, reader, request, max).await?;
            match reader.config.transformation {
                Some(ReaderTransformation::LoadAndFlatten) => {
                    self.load(run, &reader.config, request, listed, max).await?
                }
                _ => listed,
            }
        } else {
            let source = format!("s3://{}/{}", text(request, "Bucket"), text(request, "Key"));
            let body = self.object(run, request.clone()).await?;
            parse(&body, &reader.config, &source, max)?
        };
        items.truncate(max);
        for (index, item) in items.iter_mut().enumerate() {
            item.index = index as u64;
        }
        Ok(items)
    }

    /// The text of an object.
    async fn object(&self, run: &MapRun<'_>, request: Value) -> Result<String, TaskFailure> {
        let answer = self
            .s3(run, GET, request)
            .await
            .map_err(|failure| unreadable(format!("{}: {}", failure.error, failure.cause)))?;
        match answer.get("Body") {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Ok(other.to_string()),
            None => Err(unreadable("The answer to GetObject has no Body.")),
        }
    }

    async fn list(
        &self,
        run: &MapRun<'_>,
        reader: &ItemReader,
        request: &Value,
        max: usize,
    ) -> Result<Vec<Item>, TaskFailure> {
        let mut request = request.clone();
        let mut items = Vec::new();
        loop {
            let answer = self
                .s3(run, &reader.resource.arn, request.clone())
                .await
                .map_err(|failure| unreadable(format!("{}: {}", failure.error, failure.cause)))?;
            let contents = answer.get("Contents").and_then(Value::as_array);
            let source = format!("s3://{}", text(&request, "Bucket"));
            items.extend(contents.into_iter().flatten().map(|object| Item {
                index: 0,
                key: None,
                value: object.clone(),
                source: Some(source.clone()),
            }));
            match answer.get("NextContinuationToken") {
                Some(Value::String(token)) if items.len() < max => {
                    request["ContinuationToken"] = token.as_str().into();
                }
                _ => return Ok(items),
            }
        }
    }

    /// The contents of listed objects.
    async fn load(
        &self,
        run: &MapRun<'_>,
        config: &ReaderConfig,
        request: &Value,
        listed: Vec<Item>,
        max: usize,
    ) -> Result<Vec<Item>, TaskFailure> {
        let bucket = text(request, "Bucket");
        let mut items = Vec::new();
        for object in listed {
            if items.len() >= max {
                break;
            }
            let key = text(&object.value, "Key");
            let source = format!("s3://{bucket}/{key}");
            let body = self.object(run, json!({"Bucket": bucket, "Key": key})).await?;
            items.extend(parse(&body, config, &source, max - items.len())?);
        }
        Ok(items)
    }
}

fn text(request: &Value, member: &str) -> String {
    request
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn parse(body: &str, config: &ReaderConfig, source: &str, max: usize) -> Result<Vec<Item>, TaskFailure> {
    let mut items = match config.input_type {
        Some(InputType::Json) => json_items(body, config)?,
        Some(InputType::JsonLines) => json_lines(body, max)?,
        Some(InputType::Csv) => csv_rows(body, config, max)?,
        other => {
            let what = match other {
                Some(InputType::Manifest) => "MANIFEST",
                Some(InputType::Parquet) => "PARQUET",
                _ => "this",
            };
            return Err(unreadable(format!("The input type {what} is not supported.")));
        }
    };
    for item in &mut items {
        item.source = Some(source.to_owned());
    }
    Ok(items)
}

fn plain(value: Value) -> Item {
    Item {
        index: 0,
        key: None,
        value,
        source: None,
    }
}

fn json_items(body: &str, config: &ReaderConfig) -> Result<Vec<Item>, TaskFailure> {
    let value: Value = serde_json::from_str(body)
        .map_err(|error| unreadable(format!("The object is not a JSON document: {error}")))?;
    let pointer = config.items_pointer.as_deref().unwrap_or_default();
    match value.pointer(pointer) {
        Some(Value::Array(items)) => Ok(items.iter().cloned().map(plain).collect()),
        Some(Value::Object(members)) => Ok(crate::engine::members_of(members.clone())),
        Some(_) => Err(unreadable("Attempting to map over non-iterable node.")),
        None => Err(unreadable(format!(
            "There is nothing at the ItemsPointer `{pointer}`."
        ))),
    }
}

fn json_lines(body: &str, max: usize) -> Result<Vec<Item>, TaskFailure> {
    let mut items = Vec::new();
    for (number, line) in body.lines().enumerate() {
        if items.len() >= max {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let value = serde_json::from_str(line)
            .map_err(|error| unreadable(format!("Line {} is not JSON: {error}", number + 1)))?;
        items.push(plain(value));
    }
    Ok(items)
}

/// Rows as objects of texts: what a row has not is empty, what it has too much is left out.
fn csv_rows(body: &str, config: &ReaderConfig, max: usize) -> Result<Vec<Item>, TaskFailure> {
    let delimiter = match config.csv_delimiter {
        None | Some(CsvDelimiter::Comma) => b',',
        Some(CsvDelimiter::Pipe) => b'|',
        Some(CsvDelimiter::Semicolon) => b';',
        Some(CsvDelimiter::Space) => b' ',
        Some(CsvDelimiter::Tab) => b'\t',
        Some(_) => return Err(unreadable("The CSVDelimiter is not supported.")),
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(body.as_bytes());
    let mut rows = reader.records();
    let broken = |error: csv::Error| unreadable(format!("The object is not CSV: {error}"));
    let names: Vec<String> = match &config.csv_header {
        Some(CsvHeader::Given(names)) => names.clone(),
        _ => match rows.next().transpose().map_err(broken)? {
            Some(row) => row.iter().map(str::to_owned).collect(),
            None => return Ok(Vec::new()),
        },
    };
    let mut items = Vec::new();
    for row in rows.take(max) {
        let row = row.map_err(broken)?;
        let members = names
            .iter()
            .enumerate()
            .map(|(column, name)| (name.clone(), row.get(column).unwrap_or_default().into()));
        items.push(plain(Value::Object(members.collect::<Map<_, _>>())));
    }
    Ok(items)
}
