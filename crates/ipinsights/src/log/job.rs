//! The whole log of a training job, line by line.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use super::lines;
use crate::hyperparameters::Hyperparameters;
use crate::progress::Progress;

/// A line of a job's log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Line {
    /// As it is: what the container's shell says, and the `#metrics` documents.
    Plain(String),
    /// With a time stamp, as information.
    Info(String),
    /// With a time stamp, as a warning.
    Warning(String),
    /// With a time stamp, as an error.
    Error(String),
}

impl Line {
    /// What is printed. `stamp` is the moment, as `MM/DD/YYYY HH:MM:SS`.
    ///
    /// ```
    /// use ipinsights::log::Line;
    ///
    /// let line = Line::Info("Process 1 is a worker.".to_owned());
    /// assert_eq!(
    ///     line.at("11/14/2018 09:30:00").to_string(),
    ///     "[11/14/2018 09:30:00 INFO 1] Process 1 is a worker."
    /// );
    /// ```
    pub fn at<'a>(&'a self, stamp: &'a str) -> impl fmt::Display + 'a {
        Stamped { line: self, stamp }
    }
}

struct Stamped<'a> {
    line: &'a Line,
    stamp: &'a str,
}

impl fmt::Display for Stamped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stamp = self.stamp;
        match self.line {
            Line::Plain(text) => f.write_str(text),
            // The service prints the number of a thread, of which there is one that speaks.
            Line::Info(text) => write!(f, "[{stamp} INFO 1] {text}"),
            Line::Warning(text) => write!(f, "[{stamp} WARNING 1] {text}"),
            Line::Error(text) => write!(f, "[{stamp} ERROR 1] {text}"),
        }
    }
}

/// Writes the log of one training job: what the service's container prints, in its order, with its `#metrics` documents.
///
/// Every method is told the moment, in seconds since 1970, and returns the lines that are due.
///
/// ```
/// use ipinsights::{Hyperparameters, Progress, log::{JobLog, Line}};
///
/// let given = [("num_entity_vectors".to_owned(), "100".to_owned())].into();
/// let (mut log, lines) = JobLog::begin("algo-1", 0.0);
/// assert_eq!(lines[0], Line::Plain("Docker entrypoint called with argument(s): train".to_owned()));
///
/// let params = Hyperparameters::draft(100).check()?;
/// let lines = log.configured(&given, &[], &params, 0.5);
/// assert!(lines.contains(&Line::Info("nvidia-smi identified 0 GPUs.".to_owned())));
///
/// let started = Progress::Started { rows: 10, entities: 2, weights: 9, epochs: 5, batches: 1, threads: 1 };
/// log.news(&started, &params, 1.0);
/// let lines = log.end(2.0);
/// assert!(matches!(&lines[0], Line::Plain(text) if text.starts_with("#metrics ")));
/// # Ok::<(), ipinsights::InvalidHyperparameters>(())
/// ```
#[derive(Debug, Clone)]
pub struct JobLog {
    host: String,
    begun: f64,
    started: f64,
    /// When the epoch began that is under way.
    epoch_began: f64,
    /// What the iterator over the training rows has counted.
    batches: Count,
    records: Count,
    resets: u64,
}

/// Of batches or records.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    total: u64,
    since_reset: u64,
    most_between_resets: u64,
}

impl Count {
    fn reset(&mut self) {
        self.most_between_resets = self.most_between_resets.max(self.since_reset);
        self.since_reset = 0;
    }

    fn add(&mut self, n: u64) {
        self.total += n;
        self.since_reset += n;
        self.most_between_resets = self.most_between_resets.max(self.since_reset);
    }
}

impl JobLog {
    /// The first lines. `host` is `algo-1` for the first machine.
    pub fn begin(host: &str, now: f64) -> (Self, Vec<Line>) {
        let log = Self {
            host: host.to_owned(),
            begun: now,
            started: now,
            epoch_began: now,
            batches: Count::default(),
            records: Count::default(),
            resets: 0,
        };
        let lines = [
            "Docker entrypoint called with argument(s): train",
            "Running default environment configuration script",
        ];
        (log, lines.map(|line| Line::Plain(line.to_owned())).to_vec())
    }

    /// The hyperparameters: the container's own, the given ones, what came of both, and what has no effect.
    pub fn configured(
        &mut self,
        given: &BTreeMap<String, String>,
        unknown: &[String],
        params: &Hyperparameters,
        now: f64,
    ) -> Vec<Line> {
        let mut lines = Self::merging(given);
        let mut used = own_defaults();
        used.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
        used.extend(params.to_map());
        for name in unknown {
            used.remove(name);
            lines.push(Line::Warning(format!(
                "The hyperparameter `{name}` is not known; it has no effect."
            )));
        }
        lines.push(Line::Info(format!("Final configuration: {}", object(&used))));
        if !given.contains_key("mini_batch_size") {
            lines.push(Line::Info(format!(
                "mini_batch_size is not given and is {}: the service's container has {} of its own, where its \
                 documentation says {}.",
                params.mini_batch_size(),
                Hyperparameters::CONTAINER_MINI_BATCH_SIZE,
                Hyperparameters::DOCUMENTED_MINI_BATCH_SIZE,
            )));
        }
        lines.push(Line::Info("nvidia-smi identified 0 GPUs.".to_owned()));
        self.started = now;
        lines
    }

    /// The lines about the hyperparameters that come before they are checked.
    pub fn merging(given: &BTreeMap<String, String>) -> Vec<Line> {
        vec![
            Line::Info(format!(
                "Reading default configuration from default-input.json: {}",
                object(&own_defaults())
            )),
            Line::Info(format!(
                "Merging with provided configuration from /opt/ml/input/config/hyperparameters.json: {}",
                object(given)
            )),
        ]
    }

    /// One piece of news.
    pub fn news(&mut self, progress: &Progress, params: &Hyperparameters, now: f64) -> Vec<Line> {
        let mut told: Vec<Line> = lines(progress, params)
            .into_iter()
            .map(|text| Line::Info(text.replacen("host=algo-1", &format!("host={}", self.host), 1)))
            .collect();
        match progress {
            Progress::Started { epochs, .. } => {
                let initialised = 1_000.0 * (now - self.begun);
                let metrics = [
                    ("initialize.time", value(initialised, 1)),
                    ("epochs", value(f64::from(*epochs), 1)),
                ];
                told.push(self.metrics(self.begun, now, None, &metrics));
                let counts = self.counts();
                told.push(self.metrics(now, now, Some(("init_train_data_iter", None)), &counts));
                self.reset();
                self.epoch_began = now;
            }
            Progress::Batch { .. } => self.batches.add(1),
            Progress::Epoch {
                epoch,
                seconds,
                records_per_second,
                ..
            } => {
                self.records.add((records_per_second * seconds).round() as u64);
                let update = [("update.time", value(1_000.0 * (now - self.epoch_began), 1))];
                let counts = self.counts();
                let end = told.len().saturating_sub(2);
                // Before the two lines on progress and throughput, as in the service's log.
                let of_iterator = self.metrics(
                    self.epoch_began,
                    now,
                    Some(("training_data_iter", Some(*epoch))),
                    &counts,
                );
                let update = self.metrics(self.epoch_began, now, None, &update);
                told.insert(end + 1, of_iterator);
                told.insert(end, update);
                self.reset();
                self.epoch_began = now;
            }
            _ => {}
        }
        told
    }

    /// The last lines, when the model is written. `finalize.time` begins with the last epoch's end.
    pub fn end(&self, now: f64) -> Vec<Line> {
        let finalised = [("finalize.time", value(1_000.0 * (now - self.epoch_began), 1))];
        let total = [
            ("setuptime", value(1_000.0 * (self.started - self.begun), 1)),
            ("totaltime", value(1_000.0 * (now - self.begun), 1)),
        ];
        vec![
            self.metrics(self.epoch_began, now, None, &finalised),
            Line::Info("Test data is not provided.".to_owned()),
            self.metrics(self.begun, now, None, &total),
        ]
    }

    fn reset(&mut self) {
        self.resets += 1;
        self.batches.reset();
        self.records.reset();
    }

    fn counts(&self) -> [(&'static str, Value); 7] {
        let count = |n: u64| value(n as f64, 1);
        [
            ("Total Records Seen", count(self.records.total)),
            ("Total Batches Seen", count(self.batches.total)),
            (
                "Max Records Seen Between Resets",
                count(self.records.most_between_resets),
            ),
            (
                "Max Batches Seen Between Resets",
                count(self.batches.most_between_resets),
            ),
            ("Reset Count", count(self.resets)),
            (
                "Number of Records Since Last Reset",
                count(self.records.since_reset),
            ),
            (
                "Number of Batches Since Last Reset",
                count(self.batches.since_reset),
            ),
        ]
    }

    /// A `#metrics` document, of the job or of the iterator over its rows.
    fn metrics(
        &self,
        start: f64,
        end: f64,
        of_iterator: Option<(&str, Option<u32>)>,
        metrics: &[(&str, Value)],
    ) -> Line {
        let mut dimensions = Map::new();
        dimensions.insert("Algorithm".to_owned(), "ipinsights".into());
        dimensions.insert("Host".to_owned(), self.host.clone().into());
        dimensions.insert("Operation".to_owned(), "training".into());
        if let Some((meta, epoch)) = of_iterator {
            if let Some(epoch) = epoch {
                dimensions.insert("epoch".to_owned(), epoch.into());
            }
            dimensions.insert("Meta".to_owned(), meta.into());
        }
        let metrics: Map<String, Value> = metrics
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let document = json!({
            "StartTime": start,
            "EndTime": end,
            "Dimensions": dimensions,
            "Metrics": metrics,
        });
        Line::Plain(format!("#metrics {document}"))
    }
}

fn value(sum: f64, count: u64) -> Value {
    json!({"sum": sum, "count": count, "min": sum, "max": sum})
}

fn object(map: &BTreeMap<String, String>) -> Value {
    Value::Object(
        map.iter()
            .map(|(k, v)| (k.clone(), Value::from(v.clone())))
            .collect(),
    )
}

/// What the service's container has in its own file of defaults, as its logs show it.
fn own_defaults() -> BTreeMap<String, String> {
    [
        ("_kvstore", "auto_gpu"),
        ("_log_level", "info"),
        ("_num_gpus", "auto"),
        ("_num_kv_servers", "auto"),
        ("_tuning_objective_metric", ""),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .chain(Hyperparameters::container_defaults())
    .collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::Draft;

    /// A whole job of two epochs, as it is printed.
    #[test]
    fn the_log_of_a_job() {
        let given: BTreeMap<String, String> = [
            ("num_entity_vectors", "100"),
            ("epochs", "2"),
            ("epoch", "7"),
            ("batch_metrics_publish_interval", "2"),
            ("_tuning_objective_metric", "validation:discriminator_auc"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let (draft, unknown) = Draft::from_map(&given);
        let params = draft.or_container_defaults().check().unwrap();
        let (mut log, mut all) = JobLog::begin("algo-1", 1_542_187_800.0);
        all.extend(log.configured(&given, &unknown, &params, 1_542_187_800.25));
        let started = Progress::Started {
            rows: 30,
            entities: 2,
            weights: 9,
            epochs: 2,
            batches: 3,
            threads: 1,
        };
        let mut now = 1_542_187_801.0;
        all.extend(log.news(&started, &params, now));
        for epoch in 0..2 {
            for batch in 0..3 {
                let news = Progress::Batch {
                    epoch,
                    batch,
                    loss: 0.5,
                    accuracy: 0.75,
                    records_per_second: 90.0,
                    rows_per_second: 30.0,
                };
                all.extend(log.news(&news, &params, now));
            }
            now += 1.5;
            let news = Progress::Epoch {
                epoch,
                epochs: 2,
                loss: 0.25,
                accuracy: 0.875,
                discriminator_auc: Some(0.5 + f64::from(epoch) / 4.0),
                seconds: 1.0,
                records_per_second: 90.0,
                rows_per_second: 30.0,
            };
            all.extend(log.news(&news, &params, now));
        }
        all.extend(log.end(now + 1.0));
        let text: Vec<String> = all
            .iter()
            .map(|line| line.at("11/14/2018 09:30:00").to_string())
            .collect();
        expect![[r#"
            Docker entrypoint called with argument(s): train
            Running default environment configuration script
            [11/14/2018 09:30:00 INFO 1] Reading default configuration from default-input.json: {"_kvstore":"auto_gpu","_log_level":"info","_num_gpus":"auto","_num_kv_servers":"auto","_tuning_objective_metric":"","batch_metrics_publish_interval":"1000","epochs":"10","learning_rate":"0.001","mini_batch_size":"5000","num_entity_vectors":"100000","num_ip_encoder_layers":"1","random_negative_sampling_rate":"1","shuffled_negative_sampling_rate":"1","vector_dim":"128","weight_decay":"0.00001"}
            [11/14/2018 09:30:00 INFO 1] Merging with provided configuration from /opt/ml/input/config/hyperparameters.json: {"_tuning_objective_metric":"validation:discriminator_auc","batch_metrics_publish_interval":"2","epoch":"7","epochs":"2","num_entity_vectors":"100"}
            [11/14/2018 09:30:00 WARNING 1] The hyperparameter `epoch` is not known; it has no effect.
            [11/14/2018 09:30:00 INFO 1] Final configuration: {"_kvstore":"auto_gpu","_log_level":"info","_num_gpus":"auto","_num_kv_servers":"auto","_tuning_objective_metric":"validation:discriminator_auc","batch_metrics_publish_interval":"2","epochs":"2","learning_rate":"0.001","mini_batch_size":"5000","num_entity_vectors":"100","num_ip_encoder_layers":"1","random_negative_sampling_rate":"1","shuffled_negative_sampling_rate":"1","vector_dim":"128","weight_decay":"0.00001"}
            [11/14/2018 09:30:00 INFO 1] mini_batch_size is not given and is 5000: the service's container has 5000 of its own, where its documentation says 10000.
            [11/14/2018 09:30:00 INFO 1] nvidia-smi identified 0 GPUs.
            [11/14/2018 09:30:00 INFO 1] Process 1 is a worker.
            [11/14/2018 09:30:00 INFO 1] Number of GPUs being used: 0
            [11/14/2018 09:30:00 INFO 1] Create Store: local
            #metrics {"StartTime":1542187800.0,"EndTime":1542187801.0,"Dimensions":{"Algorithm":"ipinsights","Host":"algo-1","Operation":"training"},"Metrics":{"initialize.time":{"sum":1000.0,"count":1,"min":1000.0,"max":1000.0},"epochs":{"sum":2.0,"count":1,"min":2.0,"max":2.0}}}
            #metrics {"StartTime":1542187801.0,"EndTime":1542187801.0,"Dimensions":{"Algorithm":"ipinsights","Host":"algo-1","Operation":"training","Meta":"init_train_data_iter"},"Metrics":{"Total Records Seen":{"sum":0.0,"count":1,"min":0.0,"max":0.0},"Total Batches Seen":{"sum":0.0,"count":1,"min":0.0,"max":0.0},"Max Records Seen Between Resets":{"sum":0.0,"count":1,"min":0.0,"max":0.0},"Max Batches Seen Between Resets":{"sum":0.0,"count":1,"min":0.0,"max":0.0},"Reset Count":{"sum":0.0,"count":1,"min":0.0,"max":0.0},"Number of Records Since Last Reset":{"sum":0.0,"count":1,"min":0.0,"max":0.0},"Number of Batches Since Last Reset":{"sum":0.0,"count":1,"min":0.0,"max":0.0}}}
            [11/14/2018 09:30:00 INFO 1] Epoch[0] Batch [2]	Speed: 90.00 samples/sec	binary_classification_accuracy=0.750000	binary_classification_cross_entropy=0.500000
            [11/14/2018 09:30:00 INFO 1] #quality_metric: host=algo-1, epoch=0, batch=2 train binary_classification_accuracy <score>=0.75
            [11/14/2018 09:30:00 INFO 1] #quality_metric: host=algo-1, epoch=0, batch=2 train binary_classification_cross_entropy <loss>=0.5
            [11/14/2018 09:30:00 INFO 1] Epoch[0] Train-binary_classification_accuracy=0.875000
            [11/14/2018 09:30:00 INFO 1] Epoch[0] Train-binary_classification_cross_entropy=0.250000
            [11/14/2018 09:30:00 INFO 1] Epoch[0] Time cost=1.000
            [11/14/2018 09:30:00 INFO 1] #quality_metric: host=algo-1, epoch=0, train binary_classification_accuracy <score>=0.875
            [11/14/2018 09:30:00 INFO 1] #quality_metric: host=algo-1, epoch=0, train binary_classification_cross_entropy <loss>=0.25
            [11/14/2018 09:30:00 INFO 1] #quality_metric: host=algo-1, epoch=0, validation discriminator_auc <score>=0.5
            #metrics {"StartTime":1542187801.0,"EndTime":1542187802.5,"Dimensions":{"Algorithm":"ipinsights","Host":"algo-1","Operation":"training"},"Metrics":{"update.time":{"sum":1500.0,"count":1,"min":1500.0,"max":1500.0}}}
            [11/14/2018 09:30:00 INFO 1] #progress_metric: host=algo-1, completed 50.0 % of epochs
            #metrics {"StartTime":1542187801.0,"EndTime":1542187802.5,"Dimensions":{"Algorithm":"ipinsights","Host":"algo-1","Operation":"training","epoch":0,"Meta":"training_data_iter"},"Metrics":{"Total Records Seen":{"sum":90.0,"count":1,"min":90.0,"max":90.0},"Total Batches Seen":{"sum":3.0,"count":1,"min":3.0,"max":3.0},"Max Records Seen Between Resets":{"sum":90.0,"count":1,"min":90.0,"max":90.0},"Max Batches Seen Between Resets":{"sum":3.0,"count":1,"min":3.0,"max":3.0},"Reset Count":{"sum":1.0,"count":1,"min":1.0,"max":1.0},"Number of Records Since Last Reset":{"sum":90.0,"count":1,"min":90.0,"max":90.0},"Number of Batches Since Last Reset":{"sum":3.0,"count":1,"min":3.0,"max":3.0}}}
            [11/14/2018 09:30:00 INFO 1] #throughput_metric: host=algo-1, train throughput=90 records/second
            [11/14/2018 09:30:00 INFO 1] Epoch[1] Batch [2]	Speed: 90.00 samples/sec	binary_classification_accuracy=0.750000	binary_classification_cross_entropy=0.500000
            [11/14/2018 09:30:00 INFO 1] #quality_metric: host=algo-1, epoch=1, batch=2 train binary_classification_accuracy <score>=0.75
            [11/14/2018 09:30:00 INFO 1] #quality_metric: host=algo-1, epoch=1, batch=2 train binary_classification_cross_entropy <loss>=0.5
            [11/14/2018 09:30:00 INFO 1] Epoch[1] Train-binary_classification_accuracy=0.875000
            [11/14/2018 09:30:00 INFO 1] Epoch[1] Train-binary_classification_cross_entropy=0.250000
            [11/14/2018 09:30:00 INFO 1] Epoch[1] Time cost=1.000
            [11/14/2018 09:30:00 INFO 1] #quality_metric: host=algo-1, epoch=1, train binary_classification_accuracy <score>=0.875
            [11/14/2018 09:30:00 INFO 1] #quality_metric: host=algo-1, epoch=1, train binary_classification_cross_entropy <loss>=0.25
            [11/14/2018 09:30:00 INFO 1] #quality_metric: host=algo-1, epoch=1, validation discriminator_auc <score>=0.75
            #metrics {"StartTime":1542187802.5,"EndTime":1542187804.0,"Dimensions":{"Algorithm":"ipinsights","Host":"algo-1","Operation":"training"},"Metrics":{"update.time":{"sum":1500.0,"count":1,"min":1500.0,"max":1500.0}}}
            [11/14/2018 09:30:00 INFO 1] #progress_metric: host=algo-1, completed 100.0 % of epochs
            #metrics {"StartTime":1542187802.5,"EndTime":1542187804.0,"Dimensions":{"Algorithm":"ipinsights","Host":"algo-1","Operation":"training","epoch":1,"Meta":"training_data_iter"},"Metrics":{"Total Records Seen":{"sum":180.0,"count":1,"min":180.0,"max":180.0},"Total Batches Seen":{"sum":6.0,"count":1,"min":6.0,"max":6.0},"Max Records Seen Between Resets":{"sum":90.0,"count":1,"min":90.0,"max":90.0},"Max Batches Seen Between Resets":{"sum":3.0,"count":1,"min":3.0,"max":3.0},"Reset Count":{"sum":2.0,"count":1,"min":2.0,"max":2.0},"Number of Records Since Last Reset":{"sum":90.0,"count":1,"min":90.0,"max":90.0},"Number of Batches Since Last Reset":{"sum":3.0,"count":1,"min":3.0,"max":3.0}}}
            [11/14/2018 09:30:00 INFO 1] #throughput_metric: host=algo-1, train throughput=90 records/second
            #metrics {"StartTime":1542187804.0,"EndTime":1542187805.0,"Dimensions":{"Algorithm":"ipinsights","Host":"algo-1","Operation":"training"},"Metrics":{"finalize.time":{"sum":1000.0,"count":1,"min":1000.0,"max":1000.0}}}
            [11/14/2018 09:30:00 INFO 1] Test data is not provided.
            #metrics {"StartTime":1542187800.0,"EndTime":1542187805.0,"Dimensions":{"Algorithm":"ipinsights","Host":"algo-1","Operation":"training"},"Metrics":{"setuptime":{"sum":250.0,"count":1,"min":250.0,"max":250.0},"totaltime":{"sum":5000.0,"count":1,"min":5000.0,"max":5000.0}}}"#]].assert_eq(&text.join("\n"));
    }
}
