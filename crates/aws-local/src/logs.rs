//! CloudWatch Logs: what training jobs and endpoints say, in groups and streams.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::PathBuf,
    sync::{RwLock, RwLockReadGuard},
};

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    ACCOUNT,
    api::{ApiError, ApiResult, Check, TEXT},
    store::file_in,
    time::{millis, now},
};

/// All lines, in memory for reading and appended to a file per stream.
pub(crate) struct Logs {
    region: String,
    folder: PathBuf,
    streams: RwLock<BTreeMap<String, Vec<Line>>>,
}

/// A line and when it was written, in milliseconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    at: u64,
    text: String,
}

/// The group of all training jobs.
pub(crate) const TRAINING_JOBS: &str = "/aws/sagemaker/TrainingJobs";

/// The most events of one answer.
const PAGE: usize = 10_000;

/// The most lines of one stream: a job of a million epochs says enough with its first ones.
const MAX_LINES: usize = 50_000;

impl Logs {
    /// Opens the folder and reads what it holds; a line that was cut off in the writing is left out.
    pub(crate) fn open(folder: PathBuf, region: &str) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut streams = BTreeMap::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|n| n.to_str()?.strip_suffix(".jsonl")) else {
                continue;
            };
            let name = percent_decode_str(name).decode_utf8_lossy().into_owned();
            let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            streams.insert(
                name,
                text.lines()
                    .filter_map(|line| serde_json::from_str(line).ok())
                    .collect(),
            );
        }
        Ok(Self {
            region: region.to_owned(),
            folder,
            streams: RwLock::new(streams),
        })
    }

    /// Adds a line to a stream, which begins with its first line. What cannot be written to disk is still in memory.
    pub(crate) fn add(&self, group: &str, stream: &str, text: impl Into<String>) {
        let name = format!("{group}:{stream}");
        let mut streams = self.streams.write().unwrap_or_else(|e| e.into_inner());
        let lines = streams.entry(name.clone()).or_default();
        let text = match lines.len() {
            ..MAX_LINES => text.into(),
            MAX_LINES => format!("Further lines are left out: a stream holds {MAX_LINES}."),
            _ => return,
        };
        // Never before the line above it, even if the clock was set back.
        let at = millis(now()).max(lines.last().map_or(0, |line| line.at));
        let line = Line { at, text };
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(file_in(&self.folder, &name, "jsonl"));
        if let (Ok(mut file), Ok(mut json)) = (file, serde_json::to_vec(&line)) {
            json.push(b'\n');
            let _ = file.write_all(&json);
        }
        lines.push(line);
    }

    /// Answers an operation of the service.
    pub(crate) fn call(&self, operation: &str, input: &Value) -> ApiResult {
        match operation {
            "DescribeLogStreams" => self.describe_log_streams(input),
            "GetLogEvents" => self.get_log_events(input),
            _ => Err(ApiError::unknown_operation("CloudWatch Logs", operation)),
        }
    }

    fn describe_log_streams(&self, input: &Value) -> ApiResult {
        let mut check = Check::new(input);
        let group = check.required("logGroupName", TEXT);
        let prefix = check.text("logStreamNamePrefix", TEXT).unwrap_or_default();
        let after = check.text("nextToken", TEXT);
        let limit = check.integer("limit", 1, 50).unwrap_or(50);
        check.finish()?;
        let streams = self.read();
        let group_prefix = format!("{group}:");
        if !streams.keys().any(|name| name.starts_with(&group_prefix)) {
            return Err(ApiError::new(
                "ResourceNotFoundException",
                "The specified log group does not exist.",
            ));
        }
        let mut found = streams
            .iter()
            .filter_map(|(name, lines)| Some((name.strip_prefix(&group_prefix)?, lines)))
            .filter(|(name, _)| name.starts_with(prefix) && after.is_none_or(|after| *name > after));
        let page: Vec<_> = found.by_ref().take(limit as usize).collect();
        let last = page.last().map(|(name, _)| *name);
        let described = page.iter().map(|(name, lines)| {
            let (first, last) = (lines.first().map(|l| l.at), lines.last().map(|l| l.at));
            json!({
                "logStreamName": name,
                "creationTime": first,
                "firstEventTimestamp": first,
                "lastEventTimestamp": last,
                "lastIngestionTime": last,
                "arn": format!("arn:aws:logs:{}:{ACCOUNT}:log-group:{group}:log-stream:{name}", self.region),
                "storedBytes": 0,
            })
        });
        let mut answer = json!({"logStreams": described.collect::<Vec<_>>()});
        // Clients go on as long as there is a token, so the last page must have none.
        if let (Some(_), Some(last)) = (found.next(), last) {
            answer["nextToken"] = last.into();
        }
        Ok(Some(answer))
    }

    fn get_log_events(&self, input: &Value) -> ApiResult {
        let mut check = Check::new(input);
        let group = check.required("logGroupName", TEXT);
        let stream = check.required("logStreamName", TEXT);
        let start = check.integer("startTime", 0, i64::MAX).unwrap_or(0) as u64;
        let end = check
            .integer("endTime", 0, i64::MAX)
            .map_or(u64::MAX, |end| end as u64);
        let limit = check.integer("limit", 1, PAGE as i64).unwrap_or(PAGE as i64) as usize;
        let from_head = check.get("startFromHead") == Some(&Value::Bool(true));
        let token = check.text("nextToken", TEXT);
        check.finish()?;
        let streams = self.read();
        let lines = streams.get(&format!("{group}:{stream}")).ok_or_else(|| {
            ApiError::new(
                "ResourceNotFoundException",
                "The specified log stream does not exist.",
            )
        })?;
        let position = |prefix: &str| token.and_then(|t| t.strip_prefix(prefix)?.parse::<usize>().ok());
        let (first, last) = match (position("f/"), position("b/")) {
            (Some(first), _) => (
                first.min(lines.len()),
                lines.len().min(first.saturating_add(limit)),
            ),
            (_, Some(last)) => (last.min(lines.len()).saturating_sub(limit), last.min(lines.len())),
            (None, None) if token.is_some() => {
                return Err(ApiError::new(
                    "InvalidParameterException",
                    "The specified nextToken is invalid.",
                ));
            }
            // A time only says where to begin; from there on a token counts lines.
            _ if from_head => {
                let first = lines
                    .iter()
                    .position(|line| line.at >= start)
                    .unwrap_or(lines.len());
                (first, lines.len().min(first + limit))
            }
            _ => (lines.len().saturating_sub(limit), lines.len()),
        };
        let page = lines[first..last.max(first)]
            .iter()
            .filter(|line| line.at >= start && line.at < end);
        let events =
            page.map(|line| json!({"timestamp": line.at, "message": line.text, "ingestionTime": line.at}));
        Ok(Some(json!({
            "events": events.collect::<Vec<_>>(),
            "nextForwardToken": format!("f/{}", last.max(first)),
            "nextBackwardToken": format!("b/{first}"),
        })))
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Vec<Line>>> {
        self.streams.read().unwrap_or_else(|e| e.into_inner())
    }
}
