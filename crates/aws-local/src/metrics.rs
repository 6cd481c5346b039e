//! CloudWatch metrics, as far as clients of SageMaker read them: the curves of training jobs, read out of their logs by the
//! algorithm's metric definitions, as the service does it.
//!
//! Clients speak three protocols: JSON, the older query form with XML, and CBOR. All are turned into one JSON document and
//! back.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::{
    api::{ApiError, ApiResult, Check, TEXT},
    logs::{Logs, TRAINING_JOBS},
    time::{self, Seconds},
};

/// What the service reads out of the log of a training job, and how.
pub(crate) const METRICS: [(&str, &str); 7] = [
    ("train:progress", r"#progress_metric: host=\S+, completed (\S+) %"),
    (
        "train:throughput",
        r"#throughput_metric: host=\S+, train throughput=(\S+) records/second",
    ),
    (
        "train:binary_classification_accuracy",
        r"#quality_metric: host=\S+, epoch=\S+, batch=\S+ train binary_classification_accuracy <score>=(\S+)",
    ),
    (
        "train:binary_classification_cross_entropy",
        r"#quality_metric: host=\S+, epoch=\S+, batch=\S+ train binary_classification_cross_entropy <loss>=(\S+)",
    ),
    (
        "train:binary_classification_accuracy:epoch",
        r"#quality_metric: host=\S+, epoch=\S+, train binary_classification_accuracy <score>=(\S+)",
    ),
    (
        "train:binary_classification_cross_entropy:epoch",
        r"#quality_metric: host=\S+, epoch=\S+, train binary_classification_cross_entropy <loss>=(\S+)",
    ),
    (
        "validation:discriminator_auc",
        r"#quality_metric: host=\S+, epoch=\S+, validation discriminator_auc <score>=(\S+)",
    ),
];

/// The same, ready for use.
static READERS: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    METRICS
        .iter()
        .filter_map(|(name, regex)| Some((*name, Regex::new(regex).ok()?)))
        .collect()
});

/// The service's name where requests are told apart by a target or a path.
pub(crate) const SERVICE: &str = "GraniteServiceVersion20100801";
/// The version that query requests carry.
pub(crate) const VERSION: &str = "2010-08-01";

const NAMESPACE: &str = "/aws/sagemaker/TrainingJobs";
const DIMENSION: &str = "TrainingJobName";

/// The tuning objective by epoch, in the log of a training job's first machine.
pub(crate) fn objectives(logs: &Logs, stream: &str) -> BTreeMap<u32, f64> {
    const EPOCH: &str = ", epoch=";
    const VALUE: &str = ", validation discriminator_auc <score>=";
    let mut found = BTreeMap::new();
    logs.each_line(TRAINING_JOBS, stream, &mut |_, text| {
        let point = text.split_once(EPOCH).and_then(|(_, rest)| {
            let (epoch, value) = rest.split_once(VALUE)?;
            Some((epoch.parse::<u32>().ok()?, value.parse::<f64>().ok()?))
        });
        found.extend(point);
    });
    found
}

/// The values of a metric in the log of a training job's first machine, with their moments in milliseconds.
pub(crate) fn of_stream(logs: &Logs, stream: &str, metric: &str) -> Vec<(u64, f64)> {
    let Some((_, regex)) = READERS.iter().find(|(name, _)| *name == metric) else {
        return Vec::new();
    };
    let mut points = Vec::new();
    logs.each_line(TRAINING_JOBS, stream, &mut |at, text| {
        let value = regex.captures(text).and_then(|found| found[1].parse().ok());
        points.extend(value.map(|value: f64| (at, value)));
    });
    points
}

/// Answers an operation.
pub(crate) fn call(logs: &Logs, operation: &str, input: &Value) -> ApiResult<Value> {
    match operation {
        "GetMetricStatistics" => statistics(logs, input),
        "GetMetricData" => data(logs, input),
        "ListMetrics" => list(logs, input),
        _ => Err(ApiError::unknown_operation("CloudWatch", operation)),
    }
}

/// A period's points, summed up.
struct Summary {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Summary {
    fn statistic(&self, name: &str) -> Option<f64> {
        match name {
            "SampleCount" => Some(self.count as f64),
            "Average" => Some(self.sum / self.count as f64),
            "Sum" => Some(self.sum),
            "Minimum" => Some(self.min),
            "Maximum" => Some(self.max),
            _ => None,
        }
    }
}

const STATISTICS: [&str; 5] = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"];

/// The points of a metric by periods of so many seconds; a period is named by its beginning.
fn summed(logs: &Logs, metric: &Value, from: Seconds, to: Seconds, period: u64) -> BTreeMap<u64, Summary> {
    let mut found = BTreeMap::<u64, Summary>::new();
    let job = metric["Dimensions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|dimension| dimension["Name"] == DIMENSION)
        .and_then(|dimension| dimension["Value"].as_str());
    let (Some(job), Some(name)) = (job, metric["MetricName"].as_str()) else {
        return found;
    };
    if metric["Namespace"] != NAMESPACE {
        return found;
    }
    // The service drops the seconds of the beginning.
    let from = (from / 60.0).floor() * 60_000.0;
    for stream in logs.streams(TRAINING_JOBS, &format!("{job}/")) {
        for (at, value) in of_stream(logs, &stream, name) {
            if (at as f64) < from || at as f64 >= to * 1000.0 {
                continue;
            }
            let bucket = at / 1000 / period * period;
            let summary = found.entry(bucket).or_insert(Summary {
                count: 0,
                sum: 0.0,
                min: f64::INFINITY,
                max: f64::NEG_INFINITY,
            });
            summary.count += 1;
            summary.sum += value;
            summary.min = summary.min.min(value);
            summary.max = summary.max.max(value);
        }
    }
    found
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterValue", message)
}

/// A number, or a text that is one: query requests have nothing but texts.
fn number(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn moment(value: Option<&Value>, name: &str) -> ApiResult<Seconds> {
    let time = value.and_then(|value| match value {
        Value::String(text) => {
            let time = text.parse::<jiff::Timestamp>().ok()?;
            Some(time.as_millisecond() as f64 / 1000.0)
        }
        value => value.as_f64(),
    });
    time.ok_or_else(|| {
        ApiError::new(
            "MissingParameter",
            format!("The parameter {name} is required and has to be a time."),
        )
    })
}

fn period(value: Option<&Value>) -> ApiResult<u64> {
    number(value)
        .filter(|period| matches!(period, 1 | 5 | 10 | 20 | 30) || (*period > 0 && period % 60 == 0))
        .ok_or_else(|| invalid("The parameter Period has to be 1, 5, 10, 20, 30 or a multiple of 60."))
}

fn statistics(logs: &Logs, input: &Value) -> ApiResult<Value> {
    let mut check = Check::new(input);
    check.required("Namespace", TEXT);
    check.required("MetricName", TEXT);
    check.finish()?;
    if input
        .get("ExtendedStatistics")
        .is_some_and(|list| list != &json!([]))
    {
        return Err(ApiError::not_implemented("ExtendedStatistics"));
    }
    let (from, to) = (
        moment(input.get("StartTime"), "StartTime")?,
        moment(input.get("EndTime"), "EndTime")?,
    );
    if from >= to {
        return Err(invalid(
            "The parameter StartTime must be less than the parameter EndTime.",
        ));
    }
    let period = period(input.get("Period"))?;
    let wanted: Vec<&str> = input["Statistics"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if wanted.is_empty() {
        return Err(ApiError::new(
            "MissingParameter",
            "Must specify either Statistics or ExtendedStatistics",
        ));
    }
    if let Some(unknown) = wanted.iter().find(|name| !STATISTICS.contains(name)) {
        return Err(invalid(format!(
            "The statistic {unknown} is not one of {}.",
            STATISTICS.join(", ")
        )));
    }
    let points = summed(logs, input, from, to, period)
        .into_iter()
        .map(|(at, summary)| {
            let mut point = Map::new();
            point.insert("Timestamp".into(), (at as f64).into());
            for name in &wanted {
                if let Some(value) = summary.statistic(name) {
                    point.insert((*name).into(), value.into());
                }
            }
            point.insert("Unit".into(), "None".into());
            Value::from(point)
        });
    Ok(json!({"Label": input["MetricName"], "Datapoints": points.collect::<Vec<_>>()}))
}

fn data(logs: &Logs, input: &Value) -> ApiResult<Value> {
    let (from, to) = (
        moment(input.get("StartTime"), "StartTime")?,
        moment(input.get("EndTime"), "EndTime")?,
    );
    let ascending = input["ScanBy"] == "TimestampAscending";
    let mut results = Vec::new();
    for query in input["MetricDataQueries"].as_array().into_iter().flatten() {
        if query.get("Expression").is_some_and(|e| !e.is_null()) {
            return Err(ApiError::not_implemented("Expression of a MetricDataQuery"));
        }
        if query["ReturnData"] == false || query["ReturnData"] == "false" {
            continue;
        }
        let stat = &query["MetricStat"];
        let statistic = stat["Stat"].as_str().unwrap_or_default();
        if !STATISTICS.contains(&statistic) {
            return Err(invalid(format!(
                "The Stat {statistic} is not one of {}.",
                STATISTICS.join(", ")
            )));
        }
        let period = period(stat.get("Period"))?;
        let mut points: Vec<_> = summed(logs, &stat["Metric"], from, to, period)
            .into_iter()
            .collect();
        if !ascending {
            points.reverse();
        }
        let label = query
            .get("Label")
            .filter(|l| l.is_string())
            .unwrap_or(&stat["Metric"]["MetricName"]);
        results.push(json!({
            "Id": query["Id"],
            "Label": label,
            "Timestamps": points.iter().map(|(at, _)| *at as f64).collect::<Vec<_>>(),
            "Values": points.iter().filter_map(|(_, s)| s.statistic(statistic)).collect::<Vec<_>>(),
            "StatusCode": "Complete",
        }));
    }
    Ok(json!({"MetricDataResults": results, "Messages": []}))
}

fn list(logs: &Logs, input: &Value) -> ApiResult<Value> {
    let wanted = |member: &str, value: &str| input[member].as_str().is_none_or(|wanted| wanted == value);
    // A token is the last metric of the page before: its stream and its place among those of a stream.
    let after = match &input["NextToken"] {
        Value::Null => None,
        token => {
            let parts = token.as_str().and_then(|token| token.split_once(' '));
            let parts = parts.and_then(|(place, stream)| Some((stream, place.parse::<usize>().ok()?)));
            Some(parts.ok_or_else(|| invalid("The parameter NextToken is not one of ListMetrics."))?)
        }
    };
    let mut metrics = Vec::new();
    let mut last = String::new();
    if wanted("Namespace", NAMESPACE) {
        for stream in logs.streams(TRAINING_JOBS, "") {
            let Some((job, machine)) = stream.split_once('/') else {
                continue;
            };
            if !machine.starts_with("algo-1-") {
                continue;
            }
            let dimensions = input["Dimensions"].as_array().into_iter().flatten();
            let of_others =
                |d: &Value| d["Name"] != DIMENSION || d["Value"].as_str().is_some_and(|value| value != job);
            if dimensions.clone().any(of_others) {
                continue;
            }
            for (place, (name, _)) in METRICS.iter().enumerate() {
                let seen = after.is_some_and(|after| (stream.as_str(), place) <= after);
                if seen || !wanted("MetricName", name) || of_stream(logs, &stream, name).is_empty() {
                    continue;
                }
                if metrics.len() == LISTED {
                    return Ok(json!({"Metrics": metrics, "NextToken": last}));
                }
                last = format!("{place} {stream}");
                metrics.push(json!({
                    "Namespace": NAMESPACE, "MetricName": name, "Dimensions": [{"Name": DIMENSION, "Value": job}],
                }));
            }
        }
    }
    Ok(json!({"Metrics": metrics}))
}

/// The most metrics of a page.
const LISTED: usize = 500;

/// Whether a member of an answer is a moment, or a list of them.
fn is_time(member: &str) -> bool {
    matches!(member, "Timestamp" | "Timestamps")
}

/// The members of a form such as `Dimensions.member.1.Name=n`, with lists where the form counts.
///
/// # Errors
///
/// When a name has more steps, or the lists more items, than those of a request.
pub(crate) fn from_form(pairs: impl IntoIterator<Item = (String, String)>) -> ApiResult<Value> {
    let refused = |path: &str, why: &str| {
        let path: String = path.chars().take(100).collect();
        ApiError::new(
            "MalformedQueryString",
            format!("The parameter {path} {why}; name it as the API does."),
        )
    };
    let mut root = Value::Object(Map::new());
    let mut items = 0;
    for (path, value) in pairs {
        let mut at = &mut root;
        let steps = path.split('.').filter(|step| *step != "member");
        for (depth, step) in steps.enumerate() {
            if depth == MAX_STEPS {
                return Err(refused(&path, "has more than 8 steps"));
            }
            at = match step.parse::<usize>() {
                // So many only as a request may have; the service takes 500.
                Ok(number) if (1..=500).contains(&number) => {
                    if !at.is_array() {
                        *at = json!([]);
                    }
                    let Value::Array(list) = at else { break };
                    items += number.saturating_sub(list.len());
                    if items > MAX_ITEMS {
                        return Err(refused(&path, "counts further than the form has parameters"));
                    }
                    if list.len() < number {
                        list.resize(number, Value::Null);
                    }
                    &mut list[number - 1]
                }
                Ok(_) => break,
                Err(_) => {
                    if !at.is_object() {
                        *at = json!({});
                    }
                    &mut at[step]
                }
            };
        }
        *at = value.into();
    }
    Ok(root)
}

/// The most steps of a parameter's name; `MetricDataQueries.1.MetricStat.Metric.Dimensions.1.Name` has 7.
const MAX_STEPS: usize = 8;
/// The most items of all lists of a form, which has fewer parameters than that.
const MAX_ITEMS: usize = 16 * 1024;

/// An answer as XML.
pub(crate) fn to_xml(operation: &str, answer: &Value, id: &str) -> String {
    let mut text = format!(
        "<{operation}Response xmlns=\"http://monitoring.amazonaws.com/doc/{VERSION}/\"><{operation}Result>"
    );
    write_xml("", answer, &mut text);
    text.push_str(&format!(
        "</{operation}Result><ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{operation}Response>"
    ));
    text
}

fn write_xml(name: &str, value: &Value, to: &mut String) {
    match value {
        Value::Object(map) => {
            for (member, value) in map {
                to.push_str(&format!("<{member}>"));
                write_xml(member, value, to);
                to.push_str(&format!("</{member}>"));
            }
        }
        Value::Array(list) => {
            for item in list {
                to.push_str("<member>");
                write_xml(name, item, to);
                to.push_str("</member>");
            }
        }
        Value::Number(number) if is_time(name) => {
            to.push_str(&time::iso(number.as_f64().unwrap_or_default()))
        }
        Value::String(text) => to.push_str(&crate::sts::escaped(text)),
        Value::Null => {}
        other => to.push_str(&other.to_string()),
    }
}

/// A request in CBOR. What JSON has no form for (bytes, other tags than that of a time) is refused.
pub(crate) fn from_cbor(body: &[u8]) -> ApiResult<Value> {
    let refused = |what: &str| {
        ApiError::new(
            "SerializationException",
            format!("the body is no request in CBOR: {what}"),
        )
    };
    if body.is_empty() {
        return Ok(json!({}));
    }
    let value: ciborium::Value = ciborium::from_reader(body).map_err(|error| refused(&error.to_string()))?;
    json_of(value).ok_or_else(|| refused("it has a value of a kind that requests do not have"))
}

fn json_of(value: ciborium::Value) -> Option<Value> {
    use ciborium::Value as Cbor;
    Some(match value {
        Cbor::Null => Value::Null,
        Cbor::Bool(flag) => flag.into(),
        Cbor::Text(text) => text.into(),
        Cbor::Float(number) => number.into(),
        Cbor::Integer(number) => i64::try_from(number).ok()?.into(),
        // Seconds since 1970.
        Cbor::Tag(1, time) => json_of(*time).filter(Value::is_number)?,
        Cbor::Array(list) => list.into_iter().map(json_of).collect::<Option<Vec<_>>>()?.into(),
        Cbor::Map(map) => {
            let members = map
                .into_iter()
                .map(|(name, value)| Some((name.into_text().ok()?, json_of(value)?)));
            members.collect::<Option<Map<_, _>>>()?.into()
        }
        _ => return None,
    })
}

/// An answer in CBOR.
pub(crate) fn to_cbor(answer: &Value) -> Vec<u8> {
    let mut body = Vec::new();
    let _ = ciborium::into_writer(&cbor_of("", answer), &mut body); // a vector takes everything
    body
}

fn cbor_of(name: &str, value: &Value) -> ciborium::Value {
    use ciborium::Value as Cbor;
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(flag) => Cbor::Bool(*flag),
        Value::String(text) => Cbor::Text(text.clone()),
        Value::Number(number) => match (is_time(name), number.as_i64()) {
            (true, _) => Cbor::Tag(1, Box::new(Cbor::Float(number.as_f64().unwrap_or_default()))),
            (false, Some(whole)) => Cbor::Integer(whole.into()),
            (false, None) => Cbor::Float(number.as_f64().unwrap_or_default()),
        },
        Value::Array(list) => Cbor::Array(list.iter().map(|item| cbor_of(name, item)).collect()),
        Value::Object(map) => {
            let members = map
                .iter()
                .map(|(name, value)| (Cbor::Text(name.clone()), cbor_of(name, value)));
            Cbor::Map(members.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_can_be_read() {
        assert_eq!(READERS.len(), METRICS.len());
    }

    #[test]
    fn forms() {
        let pair = |(path, value): (&str, &str)| (path.to_owned(), value.to_owned());
        let form = [
            ("Namespace", "n"),
            ("Dimensions.member.2.Name", "b"),
            ("Dimensions.member.1.Name", "a"),
            ("Statistics.member.1", "Average"),
            ("Bad.member.99999999.x", "y"),
        ];
        let read = from_form(form.map(pair)).unwrap();
        assert_eq!(
            read,
            json!({"Namespace": "n", "Dimensions": [{"Name": "a"}, {"Name": "b"}], "Statistics": ["Average"], "Bad": "y"})
        );
    }

    /// Each metric of each job stands on one page.
    #[test]
    fn metrics_in_pages() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::open(folder.path().to_owned(), "us-east-1").unwrap();
        let lines = [
            "#progress_metric: host=algo-1, completed 100.0 %".to_owned(),
            "#quality_metric: host=algo-1, epoch=0, validation discriminator_auc <score>=0.5".to_owned(),
        ];
        for job in 0..300 {
            logs.add_all(TRAINING_JOBS, &format!("job-{job}/algo-1-1"), &lines);
        }
        let (mut sizes, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
        let mut input = json!({});
        loop {
            let page = list(&logs, &input).unwrap();
            let metrics = page["Metrics"].as_array().unwrap();
            sizes.push(metrics.len());
            seen.extend(metrics.iter().map(Value::to_string));
            match page.get("NextToken") {
                Some(token) => input["NextToken"] = token.clone(),
                None => break,
            }
        }
        assert_eq!((sizes, seen.len()), (vec![500, 100], 600));
        assert!(list(&logs, &json!({"NextToken": "none"})).is_err());
    }

    /// Neither a deep name nor numbers that nothing stands between take more than a form is worth.
    #[test]
    fn forms_that_are_refused() {
        let read = |path: &str| from_form([(path.to_owned(), "v".to_owned())]);
        let deep = "MetricDataQueries.member.1.MetricStat.Metric.Dimensions.member.1.Name";
        assert!(read(deep).is_ok());
        assert!(read("a.b.c.d.e.f.g.h").is_ok());
        assert_eq!(
            read(&"a.".repeat(30_000)).unwrap_err().code,
            "MalformedQueryString"
        );
        let sparse = (0..200).map(|i| (format!("a.{i}x.500"), "v".to_owned()));
        let refused = from_form(sparse).unwrap_err();
        assert!(
            refused.message.contains("a.32x.500 counts further"),
            "{}",
            refused.message
        );
    }

    #[test]
    fn cbor_there_and_back() {
        let answer =
            json!({"Label": "l", "Datapoints": [{"Timestamp": 60.0, "Average": 0.5, "n": -3, "b": true}]});
        let bytes = to_cbor(&answer);
        assert_eq!(from_cbor(&bytes).unwrap(), answer);
        assert!(
            bytes
                .windows(2)
                .any(|pair| pair[0] == 0xc1 && (0xf9..=0xfb).contains(&pair[1])),
            "times have their tag"
        );
        for bad in [&b"\xff"[..], b"\x41a", b"\xa1\x01\x01"] {
            assert!(from_cbor(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn xml() {
        let answer = json!({"Label": "a<b", "Datapoints": [{"Timestamp": 60.0, "Average": 0.5}]});
        assert_eq!(
            to_xml("GetMetricStatistics", &answer, "1"),
            "<GetMetricStatisticsResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\">\
             <GetMetricStatisticsResult><Label>a&lt;b</Label><Datapoints><member>\
             <Timestamp>1970-01-01T00:01:00.000Z</Timestamp><Average>0.5</Average></member></Datapoints>\
             </GetMetricStatisticsResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>\
             </GetMetricStatisticsResponse>"
        );
    }
}
