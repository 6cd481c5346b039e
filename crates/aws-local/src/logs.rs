//! CloudWatch Logs: what training jobs and endpoints say, in groups and streams.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::PathBuf,
    sync::{Mutex, RwLock, RwLockReadGuard},
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
    /// Held by whoever adds lines, to memory and then to the file.
    writing: Mutex<()>,
}

/// A line and when it was written, in milliseconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    at: u64,
    text: String,
}

/// The group of all training jobs.
pub(crate) const TRAINING_JOBS: &str = "/aws/sagemaker/TrainingJobs";

/// The group of all transform jobs.
pub(crate) const TRANSFORM_JOBS: &str = "/aws/sagemaker/TransformJobs";

/// The group of an endpoint.
pub(crate) fn endpoint_group(name: &str) -> String {
    format!("/aws/sagemaker/Endpoints/{name}")
}

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
            writing: Mutex::default(),
        })
    }

    /// Adds a line to a stream, which begins with its first line. What cannot be written to disk is still in memory.
    pub(crate) fn add(&self, group: &str, stream: &str, text: impl Into<String>) {
        self.add_all(group, stream, &[text.into()]);
    }

    /// The same for several lines at once.
    pub(crate) fn add_all(&self, group: &str, stream: &str, texts: &[String]) {
        let name = format!("{group}:{stream}");
        // What is written is in order; whoever reads does not wait for the disk.
        let _writing = self.writing.lock().unwrap_or_else(|e| e.into_inner());
        let mut streams = self.streams.write().unwrap_or_else(|e| e.into_inner());
        let lines = streams.entry(name.clone()).or_default();
        let mut json = Vec::new();
        for text in texts {
            let text = match lines.len() {
                ..MAX_LINES => text.clone(),
                MAX_LINES => format!("Further lines are left out: a stream holds {MAX_LINES}."),
                _ => break,
            };
            // Never before the line above it, even if the clock was set back.
            let at = millis(now()).max(lines.last().map_or(0, |line| line.at));
            let line = Line { at, text };
            if serde_json::to_writer(&mut json, &line).is_ok() {
                json.push(b'\n');
            }
            lines.push(line);
        }
        drop(streams);
        if json.is_empty() {
            return;
        }
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(file_in(&self.folder, &name, "jsonl"));
        if let Ok(mut file) = file {
            let _ = file.write_all(&json);
        }
    }

    /// Shows a stream's lines and their moments, in milliseconds.
    pub(crate) fn each_line(&self, group: &str, stream: &str, look: &mut dyn FnMut(u64, &str)) {
        if let Some(lines) = self.read().get(&format!("{group}:{stream}")) {
            lines.iter().for_each(|line| look(line.at, &line.text));
        }
    }

    /// The streams of a group whose names begin so.
    pub(crate) fn streams(&self, group: &str, prefix: &str) -> Vec<String> {
        let group = format!("{group}:");
        let streams = self.read();
        let names = streams.keys().filter_map(|name| name.strip_prefix(&group));
        names
            .filter(|name| name.starts_with(prefix))
            .map(str::to_owned)
            .collect()
    }

    /// Answers an operation of the service.
    pub(crate) fn call(&self, operation: &str, input: &Value) -> ApiResult {
        match operation {
            "DescribeLogGroups" => self.describe_log_groups(input),
            "DescribeLogStreams" => self.describe_log_streams(input),
            "GetLogEvents" => self.get_log_events(input),
            "FilterLogEvents" => self.filter_log_events(input),
            "DeleteLogGroup" => self.delete_log_group(input),
            "DeleteLogStream" => self.delete_log_stream(input),
            _ => Err(ApiError::unknown_operation("CloudWatch Logs", operation)),
        }
    }

    fn delete_log_group(&self, input: &Value) -> ApiResult {
        let mut check = Check::new(input);
        let prefix = format!("{}:", check.required("logGroupName", TEXT));
        check.finish()?;
        match self.delete(|name| name.starts_with(&prefix))? {
            0 => Err(no_group()),
            _ => Ok(None),
        }
    }

    fn delete_log_stream(&self, input: &Value) -> ApiResult {
        let mut check = Check::new(input);
        let group = check.required("logGroupName", TEXT);
        let stream = check.required("logStreamName", TEXT);
        check.finish()?;
        let stream = format!("{group}:{stream}");
        match self.delete(|name| name == stream)? {
            0 => Err(no_stream()),
            _ => Ok(None),
        }
    }

    /// Deletes streams, and says how many. One that is still written to begins anew.
    fn delete(&self, is_meant: impl Fn(&str) -> bool) -> Result<usize, ApiError> {
        let _writing = self.writing.lock().unwrap_or_else(|e| e.into_inner());
        let meant: Vec<String> = self
            .read()
            .keys()
            .filter(|name| is_meant(name))
            .cloned()
            .collect();
        for name in &meant {
            match fs::remove_file(file_in(&self.folder, name, "jsonl")) {
                // What could not be written is in memory alone.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => self
                    .streams
                    .write()
                    .unwrap_or_else(|e| e.into_inner())
                    .remove(name),
            };
        }
        Ok(meant.len())
    }

    fn describe_log_groups(&self, input: &Value) -> ApiResult {
        let mut check = Check::new(input);
        let prefix = check.text("logGroupNamePrefix", TEXT).unwrap_or_default();
        let pattern = check.text("logGroupNamePattern", TEXT).unwrap_or_default();
        let after = check.text("nextToken", TEXT).unwrap_or_default();
        let limit = check.integer("limit", 1, 50).unwrap_or(50) as usize;
        check.finish()?;
        let streams = self.read();
        let mut groups = BTreeMap::<&str, u64>::new();
        for (name, lines) in streams.iter() {
            let (Some((group, _)), Some(first)) = (name.split_once(':'), lines.first()) else {
                continue;
            };
            let created = groups.entry(group).or_insert(first.at);
            *created = first.at.min(*created);
        }
        let matches = |group: &&str| group.starts_with(prefix) && group.contains(pattern) && *group > after;
        let mut found = groups.into_iter().filter(|(group, _)| matches(group));
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let described = page.iter().map(|(group, created)| {
            let arn = format!("{}:{ACCOUNT}:log-group:{group}", self.arn_prefix());
            json!({
                "logGroupName": group,
                "creationTime": created,
                "metricFilterCount": 0,
                "arn": format!("{arn}:*"),
                "logGroupArn": arn,
                "storedBytes": 0,
                "logGroupClass": "STANDARD",
            })
        });
        let mut answer = json!({"logGroups": described.collect::<Vec<_>>()});
        if let (Some(_), Some((last, _))) = (found.next(), page.last()) {
            answer["nextToken"] = (*last).into();
        }
        Ok(Some(answer))
    }

    fn arn_prefix(&self) -> String {
        format!("arn:{}:logs:{}", crate::partition(&self.region), self.region)
    }

    fn describe_log_streams(&self, input: &Value) -> ApiResult {
        let mut check = Check::new(input);
        let group = check.required("logGroupName", TEXT);
        let prefix = check.text("logStreamNamePrefix", TEXT).unwrap_or_default();
        let by_time = check.choice("orderBy", &["LogStreamName", "LastEventTime"]) == Some("LastEventTime");
        let descending = check.flag("descending");
        let after = check.text("nextToken", TEXT);
        let limit = check.integer("limit", 1, 50).unwrap_or(50) as usize;
        check.finish()?;
        if by_time && !prefix.is_empty() {
            return Err(ApiError::new(
                "InvalidParameterException",
                "Cannot order by LastEventTime with a logStreamNamePrefix.",
            ));
        }
        let streams = self.read();
        let group_prefix = format!("{group}:");
        if !streams.keys().any(|name| name.starts_with(&group_prefix)) {
            return Err(no_group());
        }
        let mut found: Vec<_> = streams
            .iter()
            .filter_map(|(name, lines)| Some((name.strip_prefix(&group_prefix)?, lines)))
            .filter(|(name, _)| name.starts_with(prefix))
            .collect();
        if by_time {
            found.sort_by_key(|(_, lines)| lines.last().map(|line| line.at));
        }
        if descending {
            found.reverse();
        }
        if let Some(after) = after {
            let at = found
                .iter()
                .position(|(name, _)| *name == after)
                .ok_or_else(no_token)?;
            found.drain(..=at);
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let described = found.iter().map(|(name, lines)| {
            let (first, last) = (lines.first().map(|l| l.at), lines.last().map(|l| l.at));
            json!({
                "logStreamName": name,
                "creationTime": first,
                "firstEventTimestamp": first,
                "lastEventTimestamp": last,
                "lastIngestionTime": last,
                "arn": format!("{}:{ACCOUNT}:log-group:{group}:log-stream:{name}", self.arn_prefix()),
                "storedBytes": 0,
            })
        });
        let mut answer = json!({"logStreams": described.collect::<Vec<_>>()});
        // Clients go on as long as there is a token, so the last page must have none.
        if let (true, Some((last, _))) = (more, found.last()) {
            answer["nextToken"] = (*last).into();
        }
        Ok(Some(answer))
    }

    fn filter_log_events(&self, input: &Value) -> ApiResult {
        let mut check = Check::new(input);
        let group = check.required("logGroupName", TEXT);
        let prefix = check.text("logStreamNamePrefix", TEXT).unwrap_or_default();
        let named = check.list("logStreamNames", 0, 100);
        let start = check.integer("startTime", 0, i64::MAX).unwrap_or(0) as u64;
        let end = check
            .integer("endTime", 0, i64::MAX)
            .map_or(u64::MAX, |end| end as u64);
        let limit = check.integer("limit", 1, PAGE as i64).unwrap_or(PAGE as i64) as usize;
        let pattern = check.text("filterPattern", TEXT).unwrap_or_default();
        let token = check.text("nextToken", TEXT);
        check.finish()?;
        let skip = match token {
            None => 0,
            Some(token) => token.parse::<usize>().map_err(|_| no_token())?,
        };
        let pattern = Pattern::parse(pattern)?;
        let streams = self.read();
        let group_prefix = format!("{group}:");
        if !streams.keys().any(|name| name.starts_with(&group_prefix)) {
            return Err(no_group());
        }
        let mut events: Vec<_> = streams
            .iter()
            .filter_map(|(name, lines)| Some((name.strip_prefix(&group_prefix)?, lines)))
            .filter(|(name, _)| {
                name.starts_with(prefix)
                    && (named.is_empty() || named.iter().any(|n| n.as_str() == Some(name)))
            })
            .flat_map(|(name, lines)| {
                lines
                    .iter()
                    .enumerate()
                    .map(move |(number, line)| (line, name, number))
            })
            .filter(|(line, ..)| line.at >= start && line.at <= end && pattern.matches(&line.text))
            .collect();
        // By time; of one moment by stream and line.
        events.sort_by_key(|(line, name, number)| (line.at, *name, *number));
        let more = events.len() > skip.saturating_add(limit);
        let page = events.iter().skip(skip).take(limit).map(|(line, name, number)| {
            json!({
                "logStreamName": name,
                "timestamp": line.at,
                "message": line.text,
                "ingestionTime": line.at,
                "eventId": format!("{:020}{number:036}", line.at),
            })
        });
        let mut answer = json!({"events": page.collect::<Vec<_>>(), "searchedLogStreams": []});
        if more {
            answer["nextToken"] = (skip + limit).to_string().into();
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
        let lines = streams.get(&format!("{group}:{stream}")).ok_or_else(no_stream)?;
        let position = |prefix: &str| token.and_then(|t| t.strip_prefix(prefix)?.parse::<usize>().ok());
        // A stream's lines are in the order of their moments. Those that are asked for:
        let from = lines.partition_point(|line| line.at < start);
        let to = lines.partition_point(|line| line.at < end).max(from);
        let (first, last) = match (position("f/"), position("b/")) {
            (Some(first), _) => {
                let first = first.clamp(from, to);
                (first, to.min(first.saturating_add(limit)))
            }
            (_, Some(last)) => {
                let last = last.clamp(from, to);
                (last.saturating_sub(limit).max(from), last)
            }
            (None, None) if token.is_some() => {
                return Err(no_token());
            }
            // From there on a token counts lines.
            _ if from_head => (from, to.min(from + limit)),
            _ => (to.saturating_sub(limit).max(from), to),
        };
        let events = lines[first..last]
            .iter()
            .map(|line| json!({"timestamp": line.at, "message": line.text, "ingestionTime": line.at}));
        Ok(Some(json!({
            "events": events.collect::<Vec<_>>(),
            "nextForwardToken": format!("f/{last}"),
            "nextBackwardToken": format!("b/{first}"),
        })))
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Vec<Line>>> {
        self.streams.read().unwrap_or_else(|e| e.into_inner())
    }
}

fn no_group() -> ApiError {
    ApiError::new(
        "ResourceNotFoundException",
        "The specified log group does not exist.",
    )
}

fn no_stream() -> ApiError {
    ApiError::new(
        "ResourceNotFoundException",
        "The specified log stream does not exist.",
    )
}

fn no_token() -> ApiError {
    ApiError::new("InvalidParameterException", "The specified nextToken is invalid.")
}

/// A filter pattern of terms: `a b` asks for both, `?a ?b` for one of them, `-a` for its absence; `"a b"` is one term.
#[derive(Debug, Default, PartialEq)]
struct Pattern {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Pattern {
    fn parse(text: &str) -> ApiResult<Self> {
        let text = text.trim();
        if text.starts_with(['{', '[', '%']) {
            return Err(ApiError::new(
                "InvalidParameterException",
                "Filter patterns other than terms are not implemented by aws-local.",
            ));
        }
        let mut pattern = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (list, term) = match rest.strip_prefix(['?', '-']) {
                Some(term) if rest.starts_with('?') => (&mut pattern.any, term),
                Some(term) => (&mut pattern.none, term),
                None => (&mut pattern.all, rest),
            };
            let (term, after) = match term.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) {
                Some(quoted) => quoted,
                None => term.split_once(char::is_whitespace).unwrap_or((term, "")),
            };
            list.push(term.to_owned());
            rest = after.trim_start();
        }
        Ok(pattern)
    }

    fn matches(&self, text: &str) -> bool {
        let has = |term: &String| text.contains(term.as_str());
        self.all.iter().all(has)
            && (self.any.is_empty() || self.any.iter().any(has))
            && !self.none.iter().any(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages of a stream hold what lies between the two moments, in both directions.
    #[test]
    fn pages_between_two_moments() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::open(folder.path().to_owned(), "us-east-1").unwrap();
        let lines = (0..10).map(|at| Line {
            at,
            text: format!("line {at}"),
        });
        logs.streams
            .write()
            .unwrap()
            .insert("g:s".to_owned(), lines.collect());
        let get = |more: Value| {
            let mut input =
                json!({"logGroupName": "g", "logStreamName": "s", "startTime": 2, "endTime": 8, "limit": 4});
            input
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let page = logs.call("GetLogEvents", &input).unwrap().unwrap();
            let events = page["events"].as_array().unwrap().iter();
            let times: Vec<_> = events.map(|event| event["timestamp"].as_u64().unwrap()).collect();
            let token = |member: &str| page[member].as_str().unwrap().to_owned();
            (times, token("nextForwardToken"), token("nextBackwardToken"))
        };
        let (times, next, _) = get(json!({"startFromHead": true}));
        assert_eq!(times, [2, 3, 4, 5]);
        let (times, last, _) = get(json!({"nextToken": next}));
        assert_eq!(times, [6, 7]);
        let (times, again, _) = get(json!({"nextToken": last}));
        assert_eq!((times.len(), again), (0, last));
        // From the end, unless asked otherwise.
        let (times, _, before) = get(json!({}));
        assert_eq!(times, [4, 5, 6, 7]);
        let (times, _, before) = get(json!({"nextToken": before}));
        assert_eq!(times, [2, 3]);
        assert_eq!(get(json!({"nextToken": before})).0.len(), 0);
    }

    #[test]
    fn patterns() {
        for (pattern, text, found) in [
            ("", "anything", true),
            ("auc", "discriminator_auc <score>=1", true),
            ("auc loss", "discriminator_auc <score>=1", false),
            ("?auc ?loss", "discriminator_auc <score>=1", true),
            ("auc -score", "discriminator_auc <score>=1", false),
            ("\"auc <score>\"", "discriminator_auc <score>=1", true),
            ("\"auc  <score>\"", "discriminator_auc <score>=1", false),
            ("AUC", "auc", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(text), found, "{pattern}");
        }
        assert!(Pattern::parse("{ $.a = 1 }").is_err());
    }
}
