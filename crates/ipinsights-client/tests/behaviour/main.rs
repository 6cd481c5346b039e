//! What the client relies on, asked of something that answers by itself: `aws-local`, and the same of an account, or of moto.
//!
//! - By default of `aws-local`, in this process.
//! - With `IPINSIGHTS_TEST_PROFILE`, the name of a profile, of its account. That trains a small model and serves it for some minutes,
//!   which costs some cents. `IPINSIGHTS_TEST_BUCKET` is a bucket that is there, `IPINSIGHTS_TEST_ROLE` the ARN of a role that
//!   SageMaker may take and that reads and writes it. Objects go under `ipinsights-tests/`, and are left there.
//! - With `IPINSIGHTS_TEST_URL` of another server, such as moto's. What that does not do is in [`world::Kind::lacks`].

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests are tests"
)]

mod world;

use access_events::AccessEvent;
use ipinsights::Hyperparameters;
use ipinsights_client::{
    AsyncRequest, Asynchronous, EndpointConfig, EndpointConfigName, EndpointName, Error, Model, ModelName,
    TrainingJob, TrainingJobName, TransformJob, TransformJobName, TransformState,
};

use crate::world::World;

fn job(world: &World, name: TrainingJobName) -> TrainingJob {
    TrainingJob::draft(name)
        .image(&world.image)
        .role(world.role.clone())
        .hyperparameters(
            Hyperparameters::draft(20)
                .vector_dim(8)
                .mini_batch_size(50)
                .epochs(2)
                .check()
                .unwrap(),
        )
        .train(world.uri("train.csv"))
        .output(world.uri("models"))
        .max_runtime(std::time::Duration::from_secs(1800))
        .check()
        .unwrap()
}

/// What was never there is not found, by whatever operation.
#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let world = World::new().await;
    let client = &world.client;
    let training = client.describe_training(&world.name()).await.map(drop);
    let endpoint: EndpointName = world.name();
    let described = client.describe_endpoint(&endpoint).await.map(drop);
    let mut found = vec![("DescribeTrainingJob", training), ("DescribeEndpoint", described)];
    if !world.lacks("transform jobs") {
        let transform: TransformJobName = world.name();
        found.push((
            "DescribeTransformJob",
            client.describe_transform(&transform).await.map(drop),
        ));
    }
    if !world.lacks("answers of endpoints") {
        let scored = client
            .score(&endpoint, &[AccessEvent::new("France", 1.into())])
            .await;
        found.push(("InvokeEndpoint", scored.map(drop)));
    }
    for (operation, outcome) in found {
        let error = outcome.expect_err(operation);
        assert!(matches!(error, Error::NotFound(_)), "{operation}: {error}");
    }
}

/// What the service looks at before it takes anything is told at once.
#[tokio::test]
async fn what_is_wrong_is_told_at_once() {
    let world = World::new().await;
    if world.lacks("checks") {
        return;
    }
    let client = &world.client;
    let mut nowhere = TrainingJob::draft(world.name())
        .image(&world.image)
        .role(world.role.clone())
        .hyperparameters(Hyperparameters::draft(20).check().unwrap())
        .train(world.uri("no-such-rows/"))
        .output(world.uri("models"));
    nowhere = nowhere.max_runtime(std::time::Duration::from_secs(600));
    let error = client
        .start_training(&nowhere.check().unwrap())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");

    let model = Model {
        name: world.name(),
        image: world.image.clone(),
        artifacts: world.uri("no-such-model.tar.gz"),
        role: world.role.clone(),
        tags: Default::default(),
    };
    let error = client.create_model(&model).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");

    let config = EndpointConfig::new(world.name(), world.name());
    let error = client.create_endpoint_config(&config).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_) | Error::NotFound(_)), "{error}");
}

/// More machines than the account may have are refused with the quota, where there is one so small.
#[tokio::test]
async fn a_quota_says_which_and_how_much() {
    let world = World::new().await;
    if world.lacks("quotas") {
        return;
    }
    world.rows().await;
    let many = TrainingJob::draft(world.name())
        .image(&world.image)
        .role(world.role.clone())
        .hyperparameters(Hyperparameters::draft(20).check().unwrap())
        .train(world.uri("train.csv"))
        .output(world.uri("models"))
        .instance_count(10_000);
    let error = world
        .client
        .start_training(&many.check().unwrap())
        .await
        .unwrap_err();
    let Error::LimitExceeded(refusal) = &error else {
        panic!("{error}");
    };
    let quota = refusal.quota().unwrap();
    assert!(quota.name.contains("ml.m5.large"), "{quota:?}");
    assert!(quota.limit < 10_000 && quota.asked == 10_000, "{quota:?}");
}

/// The whole way: train, serve, score, score in a batch, take it away.
#[tokio::test]
async fn from_rows_to_scores_and_back() {
    let world = World::new().await;
    world.rows().await;
    let client = &world.client;
    let job = job(&world, world.name());
    client.start_training(&job).await.unwrap();
    let mut statuses = Vec::new();
    let mut see = |status: &ipinsights_client::TrainingStatus| statuses.push(status.secondary.clone());
    let trained = client
        .wait_for_training(job.name(), world.deadline, &mut see)
        .await
        .unwrap();
    assert!(!statuses.is_empty());
    let again = client.start_training(&job).await;
    assert!(
        matches!(again, Err(Error::AlreadyExists(_))) || world.lacks("checks"),
        "{again:?}"
    );

    let model = Model {
        name: world.name::<ModelName>(),
        image: world.image.clone(),
        artifacts: trained.artifacts,
        role: world.role.clone(),
        tags: [("purpose".to_owned(), "tests".to_owned())].into(),
    };
    let config = EndpointConfig::new(world.name::<EndpointConfigName>(), model.name.clone());
    let endpoint: EndpointName = world.name();
    client.create_model(&model).await.unwrap();
    client.create_endpoint_config(&config).await.unwrap();
    client.create_endpoint(&endpoint, &config.name).await.unwrap();
    // Whatever comes of the rest, nothing is left that costs money.
    let used = use_endpoint(&world, &endpoint, &config, &model).await;
    let report = client
        .teardown(&endpoint, world.deadline, &mut |_| {})
        .await
        .unwrap();
    assert!(report.is_complete(), "{report:?}");
    if let Err(problem) = used {
        panic!("{problem}");
    }
    let gone = client.describe_endpoint(&endpoint).await.unwrap_err();
    assert!(matches!(gone, Error::NotFound(_)), "{gone}");
}

async fn use_endpoint(
    world: &World,
    endpoint: &EndpointName,
    config: &EndpointConfig,
    model: &Model,
) -> Result<(), String> {
    let client = &world.client;
    let told = |error: Error| error.to_string();
    let up = client
        .wait_in_service(endpoint, &config.name, world.deadline, &mut |_| {})
        .await;
    let up = up.map_err(told)?;
    if up.config != config.name {
        return Err(format!("it serves {}", up.config));
    }
    for taken in [
        client.create_model(model).await,
        client.create_endpoint_config(config).await,
        client.create_endpoint(endpoint, &config.name).await,
    ] {
        match taken {
            Err(Error::AlreadyExists(_)) => {}
            _ if world.lacks("checks") => {}
            other => return Err(format!("a taken name: {other:?}")),
        }
    }
    if world.lacks("answers of endpoints") {
        return Ok(());
    }
    // Those of the rows are more normal than the same entity from elsewhere, and each score is at its place.
    let event = |entity: &str, address: [u8; 4]| AccessEvent::new(entity, address.into());
    let events = [
        event("France", [10, 1, 0, 1]),
        event("United Kingdom", [192, 2, 7, 1]),
        event("France", [10, 1, 0, 1]),
    ];
    let scores = client.score(endpoint, &events).await.map_err(told)?;
    if scores.len() != 3 || scores[0] != scores[2] {
        return Err(format!("{scores:?}"));
    }

    let name: TransformJobName = world.name();
    let job = TransformJob::new(
        name,
        model.name.clone(),
        world.uri("train.csv"),
        world.uri("scores"),
    );
    client.start_transform(&job).await.map_err(told)?;
    let mut last = None;
    let mut see = |state: &TransformState| last = Some(state.clone());
    client
        .wait_for_transform(&job.name, world.deadline, &mut see)
        .await
        .map_err(told)?;
    let object = world.object("scores/train.csv.out").await;
    let predictions: Result<Vec<_>, _> = job.read_output(&object[..]).collect();
    match (predictions.map_err(told)?.len(), last) {
        (world::ROWS, Some(TransformState::Completed)) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// A deployment that the account has no machines for leaves nothing behind.
#[tokio::test]
async fn a_deployment_that_fails_is_undone() {
    let world = World::new().await;
    if world.lacks("quotas") {
        return;
    }
    world.rows().await;
    let client = &world.client;
    let job = job(&world, world.name());
    client.start_training(&job).await.unwrap();
    let trained = client
        .wait_for_training(job.name(), world.deadline, &mut |_| {})
        .await
        .unwrap();
    let model = Model {
        name: world.name(),
        image: world.image.clone(),
        artifacts: trained.artifacts,
        role: world.role.clone(),
        tags: Default::default(),
    };
    let config = EndpointConfig {
        instance_count: 10_000.try_into().unwrap(),
        ..EndpointConfig::new(world.name(), model.name.clone())
    };
    let endpoint: EndpointName = world.name();
    let error = client
        .deploy(&endpoint, &model, &config, world.deadline, &mut |_| {})
        .await
        .unwrap_err();
    let Error::LimitExceeded(refusal) = &*error.source else {
        panic!("{error}: {}", error.source);
    };
    let quota = refusal.quota().unwrap();
    assert!(
        quota.name.contains("endpoint usage") && quota.asked == 10_000,
        "{quota:?}"
    );
    assert!(error.undone.is_complete(), "{error}");
    let gone = client.models_behind(&config.name).await.unwrap_err();
    assert!(matches!(gone, Error::NotFound(_)), "{gone}");
    let gone = client.describe_endpoint(&endpoint).await.unwrap_err();
    assert!(matches!(gone, Error::NotFound(_)), "{gone}");
}

/// An asynchronous endpoint scores an object of rows, in their order, and says why it cannot.
#[tokio::test]
async fn an_asynchronous_endpoint_answers_into_objects() {
    let world = World::new().await;
    if world.lacks("answers of endpoints") {
        return;
    }
    world.rows().await;
    let client = &world.client;
    let job = job(&world, world.name());
    client.start_training(&job).await.unwrap();
    let trained = client
        .wait_for_training(job.name(), world.deadline, &mut |_| {})
        .await
        .unwrap();
    let model = Model {
        name: world.name(),
        image: world.image.clone(),
        artifacts: trained.artifacts,
        role: world.role.clone(),
        tags: Default::default(),
    };
    let config = EndpointConfig {
        asynchronous: Some(Asynchronous {
            output: world.uri("answers"),
            failures: Some(world.uri("failures")),
            max_concurrency: Some(1),
        }),
        ..EndpointConfig::new(world.name(), model.name.clone())
    };
    let endpoint: EndpointName = world.name();
    client.create_model(&model).await.unwrap();
    client.create_endpoint_config(&config).await.unwrap();
    client.create_endpoint(&endpoint, &config.name).await.unwrap();
    let asked = ask_asynchronously(&world, &endpoint, &config).await;
    let report = client
        .teardown(&endpoint, world.deadline, &mut |_| {})
        .await
        .unwrap();
    assert!(report.is_complete(), "{report:?}");
    if let Err(problem) = asked {
        panic!("{problem}");
    }
}

async fn ask_asynchronously(
    world: &World,
    endpoint: &EndpointName,
    config: &EndpointConfig,
) -> Result<(), String> {
    let client = &world.client;
    let told = |error: Error| error.to_string();
    client
        .wait_in_service(endpoint, &config.name, world.deadline, &mut |_| {})
        .await
        .map_err(told)?;
    let mut request = AsyncRequest::new(world.uri("train.csv"));
    request.inference_id = Some("mine".parse().unwrap());
    request.ttl = Some(std::time::Duration::from_secs(600));
    request.timeout = Some(std::time::Duration::from_secs(60));
    let taken = client.invoke_async(endpoint, &request).await.map_err(told)?;
    if taken.inference_id != "mine" || taken.failure.is_none() {
        return Err(format!("{taken:?}"));
    }
    let object = world.object_in_time(&taken.output).await;
    let predictions = request.read_output(&object).map_err(told)?;
    if predictions.len() != world::ROWS {
        return Err(format!("{} predictions", predictions.len()));
    }

    let nowhere = AsyncRequest::new(world.uri("no-such-rows.csv"));
    let taken = client.invoke_async(endpoint, &nowhere).await.map_err(told)?;
    let failure = taken.failure.ok_or("it has no place for failures")?;
    if world.object_in_time(&failure).await.is_empty() {
        return Err("it does not say why".to_owned());
    }
    let other: EndpointName = world.name();
    match client.invoke_async(&other, &request).await {
        Err(Error::NotFound(_)) => Ok(()),
        other => Err(format!("an endpoint that is not there: {other:?}")),
    }
}
