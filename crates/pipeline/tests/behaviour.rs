//! What the pipeline relies on, asked of something that answers by itself: `aws-local`, or, with `IPINSIGHTS_TEST_URL`, another server such
//! as moto's. An account is not asked: the behaviours of `ipinsights-client` ask it.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_sfn::types::ExecutionStatus;
use geodata::{Database, Sample, SampleSpec};
use ipinsights::Hyperparameters;
use ipinsights_client::{Deadline, EndpointConfig, Model, S3Uri, TrainingJob, TrainingJobName};
use pipeline::definition::definition;
use pipeline::destroy::Logs;
use pipeline::names::PipelineName;
use pipeline::settings::Pace;
use pipeline::{Clients, Error, Event, Settings, SettingsDraft};
use tokio::sync::Notify;

const REGION: &str = "us-east-1";
const ROLE: &str = "arn:aws:iam::123456789012:role/tests";

/// Somebody who answers.
struct World {
    config: SdkConfig,
    clients: Clients,
    server: Option<aws_local::Server>,
}

async fn world() -> World {
    let url = std::env::var("IPINSIGHTS_TEST_URL").unwrap_or_default();
    let (config, server) = if url.is_empty() {
        let server = aws_local::Server::ephemeral().start().await.unwrap();
        (server.sdk_config(), Some(server))
    } else {
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .region(Region::from_static(REGION))
            .credentials_provider(Credentials::from_keys("test", "test", None))
            .endpoint_url(url);
        (loader.load().await, None)
    };
    World {
        clients: Clients::new(&config, true),
        config,
        server,
    }
}

fn settings(name: &PipelineName, endpoint_wait: u32) -> Settings {
    let draft = SettingsDraft {
        name: name.to_string(),
        workflow_execution_role: Some(ROLE.into()),
        estimator_role: Some(ROLE.into()),
        pace: Pace {
            endpoint_wait,
            ..Pace::brisk()
        },
        ..Default::default()
    };
    draft
        .check(Hyperparameters::draft(100).vector_dim(16).check().unwrap())
        .unwrap()
}

fn sample() -> Sample {
    let database = Database::from_bytes(geodata_sample::DATABASE).unwrap();
    let spec = SampleSpec::default().evaluation_outliers(20).check().unwrap();
    geodata::sample(&database, &spec, 1).unwrap()
}

/// Runs the pipeline until its execution has been started: the ARNs of machine and execution, and whether the machine was made.
async fn begin(clients: &Clients, settings: &Settings) -> (String, String, bool) {
    let (mut machine, mut execution) = (None, None);
    let begun = Notify::new();
    let started = jiff::Timestamp::now();
    let mut observe = |event| match event {
        Event::StateMachine { arn, created } => machine = Some((arn, created)),
        Event::ExecutionStarted { arn } => {
            execution = Some(arn);
            begun.notify_one();
        }
        _ => {}
    };
    let rows = sample().into();
    let run = pipeline::run(clients, settings, &rows, started, begun.notified(), &mut observe);
    let run = tokio::time::timeout(Duration::from_secs(120), run).await.unwrap();
    let error = run.unwrap_err().error;
    assert!(matches!(error, Error::Interrupted), "{error:?}");
    let (machine, created) = machine.unwrap();
    (machine, execution.unwrap(), created)
}

/// The state machine is made, described, updated, run and taken away again, with the model and the endpoint that it serves.
#[tokio::test]
async fn a_state_machine_is_made_described_updated_and_deleted() {
    let world = world().await;
    let clients = &world.clients;
    let sfn = aws_sdk_sfn::Client::new(&world.config);
    let name: PipelineName = format!("t{}", std::process::id()).parse().unwrap();
    let image = ipinsights_client::image_uri(REGION).unwrap();
    let mut machine = None;
    for (number, wait) in [7, 8].into_iter().enumerate() {
        let settings = settings(&name, wait);
        let (arn, execution, created) = begin(clients, &settings).await;
        assert_eq!(created, number == 0);
        assert_eq!(machine.get_or_insert(arn.clone()), &arn);
        let described = sfn.describe_state_machine().state_machine_arn(&arn);
        let described = described.send().await.unwrap();
        assert_eq!((&*described.name, &*described.role_arn), (name.as_str(), ROLE));
        let wanted = definition(&settings, &image).unwrap().to_json_string();
        assert_eq!(described.definition, wanted);
        let ended = sfn.describe_execution().execution_arn(&execution);
        let ended = ended.send().await.unwrap();
        assert_eq!(ended.state_machine_arn, arn);
        // moto's interpreter fails at once at what it cannot call.
        let stopped = ended.status == ExecutionStatus::Aborted;
        assert!(
            stopped || (world.server.is_none() && ended.status == ExecutionStatus::Failed),
            "{ended:?}"
        );
        let input: serde_json::Value = serde_json::from_str(&ended.input.unwrap()).unwrap();
        assert_eq!(input["EndpointName"], name.as_str());
    }

    let teardown = serve_and_destroy(&world, &name, &image).await;
    let mut kinds: Vec<_> = teardown.deleted.iter().map(|resource| resource.kind).collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        ["endpoint", "endpoint configuration", "model", "state machine"],
        "{teardown:?}"
    );
    let gone = sfn.describe_state_machine().state_machine_arn(machine.unwrap());
    let gone = gone.send().await.unwrap_err();
    assert!(gone.into_service_error().is_state_machine_does_not_exist());
}

/// Makes a model and an endpoint as a run of the pipeline does, describes them, and takes everything down.
async fn serve_and_destroy(world: &World, name: &PipelineName, image: &str) -> pipeline::Teardown {
    let (sagemaker, runtime) = (
        aws_sdk_sagemaker::Client::new(&world.config),
        aws_sdk_sagemakerruntime::Client::new(&world.config),
    );
    let insights = ipinsights_client::Client::new(sagemaker, runtime);
    let names = name.run("2026-01-31T12:00:00Z".parse().unwrap(), "abcd");
    let model = Model {
        name: names.model(),
        image: image.to_owned(),
        artifacts: trained(world, &insights, names.training_job(), image).await,
        role: ROLE.parse().unwrap(),
        tags: Default::default(),
    };
    let config = EndpointConfig::new(names.config(), model.name.clone());
    insights.create_model(&model).await.unwrap();
    insights.create_endpoint_config(&config).await.unwrap();
    insights
        .create_endpoint(&name.endpoint(), &config.name)
        .await
        .unwrap();
    let described = insights.describe_endpoint(&name.endpoint()).await.unwrap();
    assert_eq!(described.config, config.name);
    let behind = insights.models_behind(&config.name).await.unwrap();
    assert_eq!(behind.into_iter().collect::<Vec<_>>(), [model.name]);
    pipeline::destroy(&world.clients, name, Logs::Keep).await.unwrap()
}

/// Trains a small model; where its archive lies.
async fn trained(
    world: &World,
    insights: &ipinsights_client::Client,
    job: TrainingJobName,
    image: &str,
) -> S3Uri {
    let s3 = aws_sdk_s3::config::Builder::from(&world.config)
        .force_path_style(true)
        .build();
    let s3 = aws_sdk_s3::Client::from_conf(s3);
    let bucket = format!("rows-{}", std::process::id());
    s3.create_bucket().bucket(&bucket).send().await.unwrap();
    let rows: String = (0..80).map(|i| format!("France,10.{i}.0.1\n")).collect();
    let put = s3.put_object().bucket(&bucket).key("train.csv");
    put.body(rows.into_bytes().into()).send().await.unwrap();
    let of = |key: &str| format!("s3://{bucket}/{key}").parse().unwrap();
    let job = TrainingJob::draft(job)
        .image(image)
        .role(ROLE.parse().unwrap())
        .hyperparameters(
            Hyperparameters::draft(20)
                .vector_dim(8)
                .epochs(1)
                .check()
                .unwrap(),
        )
        .train(of("train.csv"))
        .output(of("models"));
    let job = job.check().unwrap();
    insights.start_training(&job).await.unwrap();
    let deadline = Deadline::new(Duration::from_millis(5), Duration::from_secs(120));
    let trained = insights
        .wait_for_training(job.name(), deadline, &mut |_| {})
        .await;
    trained.unwrap().artifacts
}
