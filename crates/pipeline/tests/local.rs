//! The whole pipeline over the real SDK clients, against the services on loopback.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::future::pending;

use geodata::{Database, Sample, SampleSpec};
use ipinsights::Hyperparameters;
use pipeline::destroy::Logs;
use pipeline::names::PipelineName;
use pipeline::settings::Pace;
use pipeline::{Clients, Connection, Error, Event, Report, Settings, SettingsDraft};

const ROLE: &str = "arn:aws:iam::000000000000:role/test";

fn settings(hyperparameters: Hyperparameters) -> Settings {
    let draft = SettingsDraft {
        target: "local".into(),
        workflow_execution_role: Some(ROLE.into()),
        estimator_role: Some(ROLE.into()),
        pace: Pace::brisk(),
        ..Default::default()
    };
    draft.check(hyperparameters).unwrap()
}

fn quick() -> Hyperparameters {
    Hyperparameters::draft(100)
        .vector_dim(16)
        .epochs(5)
        .mini_batch_size(50)
        .learning_rate(0.01)
        .check()
        .unwrap()
}

fn sample() -> Sample {
    let database = Database::from_bytes(geodata_sample::DATABASE).unwrap();
    let spec = SampleSpec::default().evaluation_outliers(20).check().unwrap();
    geodata::sample(&database, &spec, 1).unwrap()
}

struct Place {
    server: aws_local::Server,
    clients: Clients,
    _folder: tempfile::TempDir,
}

async fn open() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let server = aws_local::Server::builder(folder.path()).start().await.unwrap();
    let clients = Connection::to_url(server.url(), aws_local::REGION)
        .clients()
        .await
        .unwrap();
    Place {
        server,
        clients,
        _folder: folder,
    }
}

async fn run(place: &Place, settings: &Settings, events: &mut Vec<Event>) -> Result<Report, Error> {
    let now = jiff::Timestamp::now();
    pipeline::run(
        &place.clients,
        settings,
        &sample().into(),
        now,
        pending(),
        &mut |event| events.push(event),
    )
    .await
    .map_err(|failed| failed.error)
}

#[tokio::test(flavor = "multi_thread")]
async fn from_sample_to_verdict_twice_and_down_again() {
    let place = open().await;
    let settings = settings(quick());
    let mut events = Vec::new();
    let first = run(&place, &settings, &mut events).await.unwrap();
    assert_eq!(
        (&*first.execution.status, &*first.endpoint.status),
        ("SUCCEEDED", "InService")
    );
    assert_eq!(
        (first.rows.len(), first.held_out.rows, first.evaluation.rows),
        (5, 250, 20)
    );
    assert!(first.rows.iter().all(|row| row.score.is_finite()));
    // The threshold was calibrated on these rows: it flags at most the stated share of them.
    assert!(first.held_out.flagged <= 12, "{}", first.held_out.flagged);
    assert!(
        first
            .training
            .metrics
            .contains_key("validation:discriminator_auc"),
        "{:?}",
        first.training.metrics
    );
    let states: Vec<&str> = first.execution.states.iter().map(|visit| &*visit.name).collect();
    assert_eq!(
        states[..5],
        [
            "Training Model",
            "Saving model",
            "Creating Endpoint Config",
            "Looking for Endpoint",
            "Is Endpoint Missing?"
        ]
    );
    assert!(states.contains(&"Creating Endpoint"), "{states:?}");

    events.clear();
    let second = run(&place, &settings, &mut events).await.unwrap();
    let states: Vec<&str> = second.execution.states.iter().map(|visit| &*visit.name).collect();
    assert!(states.contains(&"Updating Endpoint"), "{states:?}");
    assert_eq!(second.endpoint.name, first.endpoint.name);
    assert_ne!(second.endpoint.config, first.endpoint.config);
    let replaced = Event::Deleted {
        resource: format!("model `{}`", first.endpoint.config),
    };
    assert!(events.contains(&replaced), "{events:?}");
    // The same rows and settings train the same model.
    assert_eq!(second.rows, first.rows);

    let name = PipelineName::default();
    let teardown = pipeline::destroy(&place.clients, &name, Logs::Keep)
        .await
        .unwrap();
    let mut kinds: Vec<&str> = teardown.deleted.iter().map(|resource| resource.kind).collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        ["endpoint", "endpoint configuration", "model", "state machine"]
    );
    let mut left: Vec<&str> = teardown.left.iter().map(|left| left.kind).collect();
    left.sort_unstable();
    assert_eq!(
        left,
        [
            "log group",
            "log group",
            "objects",
            "training job",
            "training job"
        ]
    );
    let again = pipeline::destroy(&place.clients, &name, Logs::Keep)
        .await
        .unwrap();
    assert!(again.deleted.is_empty(), "{again:?}");
    let logs = pipeline::destroy(&place.clients, &name, Logs::Delete)
        .await
        .unwrap();
    let kinds: Vec<&str> = logs.deleted.iter().map(|resource| resource.kind).collect();
    assert_eq!(kinds, ["log group", "log stream", "log stream"]);
    assert!(
        logs.left.iter().all(|left| !left.kind.starts_with("log")),
        "{logs:?}"
    );
    place.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_job_that_fails_is_told_by_its_reason_and_leaves_no_model() {
    let place = open().await;
    // A rate at which the weights overflow.
    let wild = Hyperparameters::draft(100)
        .vector_dim(128)
        .epochs(100)
        .mini_batch_size(50)
        .learning_rate(10.0)
        .num_ip_encoder_layers(20)
        .check()
        .unwrap();
    let mut sample = sample();
    sample.train.clear();
    let now = jiff::Timestamp::now();
    let result = pipeline::run(
        &place.clients,
        &settings(wild),
        &sample.into(),
        now,
        pending(),
        &mut |_| {},
    )
    .await;
    let failed = result.unwrap_err();
    let Error::Execution {
        status,
        state,
        reason,
        ..
    } = failed.error
    else {
        panic!("{failed:?}")
    };
    assert_eq!((&*status, &*state), ("FAILED", "Pipeline Failed"));
    assert!(!reason.is_empty());
    let teardown = pipeline::destroy(&place.clients, &PipelineName::default(), Logs::Keep)
        .await
        .unwrap();
    let kinds: Vec<&str> = teardown.deleted.iter().map(|resource| resource.kind).collect();
    assert_eq!(kinds, ["state machine"]);
    place.server.shutdown().await;
}

/// Its machines take a minute to come.
#[tokio::test(flavor = "multi_thread")]
async fn a_training_job_that_runs_is_stopped_with_its_pipeline() {
    let server = aws_local::Server::ephemeral()
        .realistic_timing(true)
        .start()
        .await
        .unwrap();
    let clients = Connection::to_url(server.url(), aws_local::REGION)
        .clients()
        .await
        .unwrap();
    let config = server.sdk_config();
    let s3 = aws_sdk_s3::Client::new(&config);
    s3.create_bucket().bucket("data").send().await.unwrap();
    let rows = b"Canada,1.2.3.4\n".to_vec();
    let put = s3.put_object().bucket("data").key("train.csv").body(rows.into());
    put.send().await.unwrap();
    let sagemaker = aws_sdk_sagemaker::Client::new(&config);
    let insights =
        ipinsights_client::Client::new(sagemaker.clone(), aws_sdk_sagemakerruntime::Client::new(&config));
    let (own, other) = ("ipinsights-20260131-120000-000-abcd", "ipinsights-other");
    for job in [own, other] {
        let job = ipinsights_client::TrainingJob::draft(job.parse().unwrap())
            .image(ipinsights_client::image_uri(aws_local::REGION).unwrap())
            .role(ROLE.parse().unwrap())
            .hyperparameters(quick())
            .train("s3://data/train.csv".parse().unwrap())
            .output("s3://data/models".parse().unwrap());
        insights.start_training(&job.check().unwrap()).await.unwrap();
    }
    let teardown = pipeline::destroy(&clients, &PipelineName::default(), Logs::Keep)
        .await
        .unwrap();
    let left: Vec<_> = teardown
        .left
        .iter()
        .filter(|left| left.kind == "training job")
        .collect();
    assert!(
        left.len() == 1 && left[0].name == own && left[0].reason.contains("is stopped"),
        "{left:?}"
    );
    let status = async |job: &str| {
        let described = sagemaker.describe_training_job().training_job_name(job);
        let described = described.send().await.unwrap();
        described.training_job_status.unwrap().to_string()
    };
    assert!(["Stopping", "Stopped"].contains(&&*status(own).await));
    assert_eq!(status(other).await, "InProgress");
    server.shutdown().await;
}
