//! Transform jobs, tuning jobs and rows in streams.

use std::cell::Cell;
use std::io::{BufReader, Read};
use std::num::{NonZeroU32, NonZeroUsize};

use access_events::AccessEvent;
use expect_test::expect;
use ipinsights::Hyperparameters;
use ipinsights::inference::{
    InferenceError, PredictionRecord, RequestFormat, ResponseFormat, decode_request, encode_response,
};
use ipinsights::tuning::{Range, SpaceDraft};
use ipinsights_client::{
    Error, InvokeOptions, StreamError, StreamOptions, TrainingJob, TransformJob, TransformState, TuningJob,
    TuningStrategy,
};
use serde_json::{Value, json};

use crate::support::{Service, answer, empty, impatient, patient, refusal};

fn transform() -> TransformJob {
    TransformJob::new(
        "t".parse().unwrap(),
        "m".parse().unwrap(),
        "s3://b/rows/".parse().unwrap(),
        "s3://b/scores".parse().unwrap(),
    )
}

fn status(job: &str, status: &str, more: Value) -> wiremock::ResponseTemplate {
    let mut members = json!({
        format!("{job}Name"): "t", format!("{job}Arn"): "arn", format!("{job}Status"): status, "CreationTime": 1.5,
    });
    members
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    answer(members)
}

#[tokio::test]
async fn a_transform_job_is_sent_as_it_is_printed_and_waited_for() {
    let service = Service::start().await;
    service.on("CreateTransformJob", [answer(json!({"TransformJobArn": "arn"}))]);
    service.on(
        "DescribeTransformJob",
        [
            status("TransformJob", "InProgress", json!({})),
            status("TransformJob", "Completed", json!({})),
        ],
    );
    let client = service.client();
    let job = TransformJob {
        verbose: true,
        ..transform()
    };
    assert_eq!(client.start_transform(&job).await.unwrap(), "arn");
    assert_eq!(service.json_of("CreateTransformJob"), job.to_parameters());
    assert_eq!(
        job.to_parameters()["TransformOutput"]["Accept"],
        "application/jsonlines; verbose=True"
    );
    let mut seen = Vec::new();
    let observer = &mut |state: &TransformState| seen.push(state.to_string());
    client
        .wait_for_transform(&job.name, patient(), observer)
        .await
        .unwrap();
    assert_eq!(seen, ["InProgress", "Completed"]);
}

#[tokio::test]
async fn a_transform_job_that_does_not_end_well_says_why() {
    for (answered, more, told) in [
        (
            "Failed",
            json!({"FailureReason": "ClientError: See job logs"}),
            "transform job `t` failed: ClientError: See job logs",
        ),
        ("Stopped", json!({}), "transform job `t` was stopped"),
        (
            "InProgress",
            json!({}),
            "transform job `t` was still InProgress after ",
        ),
        (
            "Odd",
            json!({}),
            "the answer to `DescribeTransformJob` is not as documented: status `Odd`",
        ),
    ] {
        let service = Service::start().await;
        service.on("DescribeTransformJob", [status("TransformJob", answered, more)]);
        let name = "t".parse().unwrap();
        let error = service
            .client()
            .wait_for_transform(&name, impatient(), &mut |_| {})
            .await
            .unwrap_err();
        assert!(error.to_string().starts_with(told), "{error}");
    }
}

#[tokio::test]
async fn the_output_of_a_transform_job_is_read_in_order() {
    let text = b"{\"dot_product\":1.5}\n{\"dot_product\":-2}\n";
    let predictions: Result<Vec<_>, _> = transform().read_output(&text[..]).collect();
    let scores: Vec<_> = predictions.unwrap().iter().map(|p| p.dot_product).collect();
    assert_eq!(scores, [1.5, -2.0]);
    let mut cut_off = transform().read_output(&b"{\"dot_product\":1.5}\n\n{\"dot_"[..]);
    assert_eq!(cut_off.next().unwrap().unwrap().dot_product, 1.5);
    let error = cut_off.next().unwrap().unwrap_err();
    assert!(
        matches!(error, Error::Codec(InferenceError::Record { record: 2, .. })),
        "{error}"
    );
    assert!(cut_off.next().is_none(), "nothing comes after an error");
}

/// Of an object of any size no more than a line is in memory, and a line has a bound.
#[test]
fn the_output_of_a_transform_job_takes_no_memory() {
    let line = b"{\"dot_product\":1.5}\n";
    let endless = BufReader::new(Cycle { line, at: 0 });
    assert_eq!(
        transform()
            .read_output(endless)
            .take(200_000)
            .filter(Result::is_ok)
            .count(),
        200_000
    );
    let endless = BufReader::new(Cycle { line: b"x", at: 0 });
    let error = transform().read_output(endless).next().unwrap().unwrap_err();
    assert!(error.to_string().contains("longer than 6291456 bytes"), "{error}");
}

/// The same bytes for ever.
struct Cycle {
    line: &'static [u8],
    at: usize,
}

impl Read for Cycle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        for byte in &mut *buffer {
            *byte = self.line[self.at];
            self.at = (self.at + 1) % self.line.len();
        }
        Ok(buffer.len())
    }
}

fn tuning(validation: bool) -> TuningJob {
    let base = Hyperparameters::draft(20_000).epochs(5).check().unwrap();
    let space = SpaceDraft::new()
        .range("vector_dim", Range::between(64.0, 1024.0))
        .range("learning_rate", Range::between(0.001, 0.1))
        .range("num_ip_encoder_layers", Range::among(["1", "3"]));
    let space = space.check(&base).unwrap();
    let training = TrainingJob::draft("template".parse().unwrap())
        .image("image")
        .role("arn:aws:iam::123456789012:role/r".parse().unwrap())
        .hyperparameters(base)
        .train("s3://b/train.csv".parse().unwrap())
        .validation(validation.then(|| "s3://b/validation.csv".parse().unwrap()))
        .output("s3://b/models".parse().unwrap())
        .tag("team", "a")
        .check()
        .unwrap();
    TuningJob::new("nightly".parse().unwrap(), training, space)
}

fn summary(name: &str, objective: f64) -> Value {
    json!({
        "TrainingJobName": name, "TrainingJobArn": "arn", "CreationTime": 1.5, "TrainingJobStatus": "Completed",
        "TunedHyperParameters": {"vector_dim": "128"},
        "FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "validation:discriminator_auc", "Value": objective},
    })
}

#[tokio::test]
async fn a_tuning_job_is_sent_as_it_is_printed_and_gives_its_best() {
    let service = Service::start().await;
    let arn = json!({"HyperParameterTuningJobArn": "arn"});
    service.on("CreateHyperParameterTuningJob", [answer(arn)]);
    let counters =
        json!({"Completed": 3, "InProgress": 1, "NonRetryableError": 1, "RetryableError": 0, "Stopped": 2});
    let more =
        json!({"TrainingJobStatusCounters": counters, "BestTrainingJob": summary("nightly-002", 0.75)});
    service.on(
        "DescribeHyperParameterTuningJob",
        [
            status("HyperParameterTuningJob", "InProgress", json!({})),
            status("HyperParameterTuningJob", "Completed", more),
        ],
    );
    let client = service.client();
    let mut job = tuning(true);
    job.seed = Some(7);
    job.early_stopping = true;
    client.start_tuning(&job).await.unwrap();
    let sent = service.json_of("CreateHyperParameterTuningJob");
    assert_eq!(sent, job.to_parameters());
    expect![[r#"{"Strategy":"Bayesian","ResourceLimits":{"MaxParallelTrainingJobs":1,"MaxNumberOfTrainingJobs":10},"HyperParameterTuningJobObjective":{"Type":"Maximize","MetricName":"validation:discriminator_auc"},"ParameterRanges":{"IntegerParameterRanges":[{"Name":"vector_dim","MinValue":"64","MaxValue":"1024","ScalingType":"Auto"}],"ContinuousParameterRanges":[{"Name":"learning_rate","MinValue":"0.001","MaxValue":"0.1","ScalingType":"Auto"}],"CategoricalParameterRanges":[{"Name":"num_ip_encoder_layers","Values":["1","3"]}]},"TrainingJobEarlyStoppingType":"Auto","RandomSeed":7}"#]]
        .assert_eq(&job.to_parameters()["HyperParameterTuningJobConfig"].to_string());
    let fixed = sent["TrainingJobDefinition"]["StaticHyperParameters"]
        .as_object()
        .unwrap();
    assert!(
        fixed.contains_key("epochs") && !fixed.contains_key("vector_dim"),
        "{fixed:?}"
    );
    assert_eq!(sent["Tags"], json!([{"Key": "team", "Value": "a"}]));

    let mut seen = Vec::new();
    let best = client
        .wait_for_tuning(&job.name, patient(), &mut |status| seen.push(status.clone()))
        .await
        .unwrap();
    assert_eq!((best.job.as_str(), best.objective), ("nightly-002", Some(0.75)));
    assert_eq!(best.hyperparameters["vector_dim"], "128");
    let last = seen.last().unwrap();
    assert_eq!(
        (last.completed, last.in_progress, last.failed, last.stopped),
        (3, 1, 1, 2)
    );
}

#[tokio::test]
async fn what_does_not_fit_together_is_not_sent() {
    let service = Service::start().await;
    let mut job = tuning(false);
    job.strategy = TuningStrategy::Grid;
    job.parallel = NonZeroU32::new(101).unwrap();
    let error = service.client().start_tuning(&job).await.unwrap_err();
    expect!["tuning job `nightly`: validation data must be set, which the objective is computed on; at most 100 training jobs run side by side; a grid needs a list of values for each hyperparameter"].assert_eq(&error.to_string());
    assert!(service.calls().is_empty());
}

#[tokio::test]
async fn trials_come_from_all_pages() {
    let service = Service::start().await;
    let page = |names: &[(&str, f64)], token: Option<&str>| {
        let summaries: Vec<_> = names.iter().map(|(name, value)| summary(name, *value)).collect();
        let mut page = json!({"TrainingJobSummaries": summaries});
        if let Some(token) = token {
            page["NextToken"] = token.into();
        }
        answer(page)
    };
    service.on(
        "ListTrainingJobsForHyperParameterTuningJob",
        [
            page(&[("a", 0.9), ("b", 0.8)], Some("more")),
            page(&[("c", 0.7)], None),
        ],
    );
    let trials = service
        .client()
        .trials(&"nightly".parse().unwrap())
        .await
        .unwrap();
    let names: Vec<_> = trials.iter().map(|trial| trial.job.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    service.on("StopHyperParameterTuningJob", [empty()]);
    service
        .client()
        .stop_tuning(&"nightly".parse().unwrap())
        .await
        .unwrap();
}

fn rows(count: u32) -> impl Iterator<Item = Result<AccessEvent, String>> {
    (0..count).map(|i| Ok(AccessEvent::new(format!("user {i}"), i.into())))
}

fn options(rows: usize, concurrency: usize) -> StreamOptions {
    StreamOptions {
        invoke: InvokeOptions {
            max_events: NonZeroUsize::new(rows),
            ..InvokeOptions::default()
        },
        concurrency: NonZeroUsize::new(concurrency).unwrap(),
    }
}

/// What an endpoint answers to a request of so many rows, whichever they are.
fn scores(rows: usize) -> wiremock::ResponseTemplate {
    let records: Vec<_> = (0..rows)
        .map(|i| PredictionRecord::from_dot_product(i as f32))
        .collect();
    let body = encode_response(ResponseFormat::JSON, &records).unwrap();
    wiremock::ResponseTemplate::new(200).set_body_raw(body, "application/json")
}

#[tokio::test]
async fn a_stream_is_scored_in_order_some_rows_at_a_time() {
    let service = Service::start().await;
    service.on("InvokeEndpoint", [scores(3)]);
    let endpoint = "e".parse().unwrap();
    let client = service.client();
    let mut seen = Vec::new();
    let scored = client
        .score_stream(&endpoint, rows(12), &options(3, 4), |event, prediction| {
            seen.push((event.entity.clone(), prediction.dot_product));
            Ok::<_, String>(())
        })
        .await
        .unwrap();
    assert_eq!(scored, 12);
    let expected: Vec<_> = (0..12).map(|i| (format!("user {i}"), (i % 3) as f32)).collect();
    assert_eq!(seen, expected);
    let sizes: Vec<_> = service
        .calls()
        .iter()
        .map(|call| decode_request(RequestFormat::Csv, &call.body).unwrap().len())
        .collect();
    assert_eq!(sizes, [3; 4]);
}

#[tokio::test]
async fn a_stream_ends_at_the_first_error_with_its_place() {
    let endpoint = "e".parse().unwrap();
    let service = Service::start().await;
    service.on("InvokeEndpoint", [scores(2)]);
    let client = service.client();
    let broken = rows(4).chain([Err("not a row".to_owned())]).chain(rows(4));
    let mut handed = 0;
    let ended = client
        .score_stream(&endpoint, broken, &options(2, 2), |_, _| {
            handed += 1;
            Ok::<_, String>(())
        })
        .await;
    assert!(matches!(ended, Err(StreamError::Row { row: 5, .. })));
    assert_eq!(handed, 4, "what came before is handed on");

    let full = client
        .score_stream(&endpoint, rows(4), &options(2, 1), |event, _| {
            if event.entity == "user 1" {
                Err("full")
            } else {
                Ok(())
            }
        })
        .await;
    assert!(matches!(
        full,
        Err(StreamError::Sink {
            row: 2,
            source: "full"
        })
    ));

    let service = Service::start().await;
    service.on(
        "InvokeEndpoint",
        [scores(2), refusal(400, "ValidationError", "no")],
    );
    let refused = service
        .client()
        .score_stream(&endpoint, rows(4), &options(2, 1), |_, _| Ok::<_, String>(()))
        .await;
    assert!(matches!(
        refused,
        Err(StreamError::Invoke {
            first: 3,
            last: 4,
            ..
        })
    ));
}

/// No more requests are under way than may be, so no more rows are in memory.
#[tokio::test]
async fn a_stream_reads_no_further_than_its_requests() {
    let service = Service::start().await;
    service.on("InvokeEndpoint", [scores(2)]);
    let (read, most) = (Cell::new(0_u64), Cell::new(0));
    let counted = rows(100).inspect(|_| read.set(read.get() + 1));
    let mut handed = 0;
    let scored = service
        .client()
        .score_stream(&"e".parse().unwrap(), counted, &options(2, 3), |_, _| {
            most.set(most.get().max(read.get() - handed));
            handed += 1;
            Ok::<_, String>(())
        })
        .await;
    assert_eq!(scored.unwrap(), 100);
    // Three requests of two rows, and the one whose scores are being handed on.
    assert!(most.get() <= 8, "{} rows at a time", most.get());
}

/// Answers with embeddings are large: fewer rows are asked for at a time, and what one request finds out holds for all.
#[tokio::test]
async fn a_stream_with_embeddings_takes_fewer_rows_at_a_time() {
    let verbose = ResponseFormat::JSON.verbose(true);
    let embedded = |rows: usize| {
        let record = |i| PredictionRecord {
            dot_product: i as f32,
            ip_embedding: Some(vec![0.5]),
            entity_embedding: Some(vec![1.5]),
        };
        let body = encode_response(verbose, &(0..rows).map(record).collect::<Vec<_>>()).unwrap();
        wiremock::ResponseTemplate::new(200).set_body_raw(body, "application/json")
    };
    let service = Service::start().await;
    let too_large = wiremock::ResponseTemplate::new(413);
    service.on(
        "InvokeEndpoint",
        [
            too_large,
            embedded(750),
            embedded(750),
            embedded(750),
            embedded(750),
            embedded(100),
        ],
    );
    let options = StreamOptions {
        invoke: InvokeOptions {
            response: verbose,
            ..InvokeOptions::default()
        },
        concurrency: NonZeroUsize::MIN,
    };
    let endpoint = "e".parse().unwrap();
    let scored = service
        .client()
        .score_stream(&endpoint, rows(3100), &options, |_, _| Ok::<_, String>(()))
        .await
        .unwrap();
    assert_eq!(scored, 3100);
    let sizes: Vec<_> = service
        .calls()
        .iter()
        .map(|call| decode_request(RequestFormat::Csv, &call.body).unwrap().len())
        .collect();
    assert_eq!(sizes, [1500, 750, 750, 750, 750, 100]);
}
