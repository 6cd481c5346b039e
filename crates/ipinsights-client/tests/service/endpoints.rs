use std::time::Duration;

use expect_test::expect;
use ipinsights_client::{
    Capacity, Client, Deadline, DeployError, Deployment, Endpoint, EndpointChange, EndpointConfig,
    EndpointConfigName, EndpointName, EndpointStatus, Error, Model, Shift, UpdateOptions,
    endpoint_parameters,
};
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::support::{
    Service, answer, could_not_find, empty, endpoint, failed_endpoint, impatient, patient, refusal,
};

fn name() -> EndpointName {
    "e".parse().unwrap()
}

fn config(name: &str) -> EndpointConfigName {
    name.parse().unwrap()
}

fn busy(status: &str, config: &str, pending: &str) -> ResponseTemplate {
    answer(json!({
        "EndpointName": "e", "EndpointArn": "arn", "EndpointStatus": status, "EndpointConfigName": config,
        "PendingDeploymentSummary": {"EndpointConfigName": pending},
    }))
}

async fn create_or_update(client: &Client) -> Result<EndpointChange, Error> {
    client
        .create_or_update_endpoint(&name(), &config("new"), patient(), &mut |_| {})
        .await
}

async fn wait(client: &Client) -> Result<Endpoint, Error> {
    client
        .wait_in_service(&name(), &config("new"), patient(), &mut |_| {})
        .await
}

#[tokio::test]
async fn what_is_sent_is_what_the_parameters_say() {
    let tags = || [("team".to_owned(), "fraud".to_owned())].into();
    let model = Model {
        name: "m".parse().unwrap(),
        image: "image:1".to_owned(),
        artifacts: "s3://b//m.tar.gz".parse().unwrap(),
        role: "arn:aws:iam::123456789012:role/SageMaker".parse().unwrap(),
        tags: tags(),
    };
    let config = EndpointConfig {
        instance_type: "ml.c5.xlarge".parse().unwrap(),
        instance_count: 3.try_into().unwrap(),
        tags: tags(),
        ..EndpointConfig::new("c".parse().unwrap(), model.name.clone())
    };
    let service = Service::start().await;
    service
        .on("CreateModel", [answer(json!({"ModelArn": "arn:m"}))])
        .on(
            "CreateEndpointConfig",
            [answer(json!({"EndpointConfigArn": "arn:c"}))],
        )
        .on("CreateEndpoint", [answer(json!({"EndpointArn": "arn:e"}))])
        .on("UpdateEndpoint", [answer(json!({"EndpointArn": "arn:e"}))]);
    let client = service.client();
    assert_eq!(client.create_model(&model).await.unwrap(), "arn:m");
    assert_eq!(client.create_endpoint_config(&config).await.unwrap(), "arn:c");
    assert_eq!(
        client.create_endpoint(&name(), &config.name).await.unwrap(),
        "arn:e"
    );
    assert_eq!(
        client.update_endpoint(&name(), &config.name).await.unwrap(),
        "arn:e"
    );

    assert_eq!(service.json_of("CreateModel"), model.to_parameters());
    assert_eq!(service.json_of("CreateEndpointConfig"), config.to_parameters());
    assert_eq!(
        service.json_of("CreateEndpoint"),
        endpoint_parameters(&name(), &config.name)
    );
    assert_eq!(
        service.json_of("UpdateEndpoint"),
        endpoint_parameters(&name(), &config.name)
    );
    expect![[r#"{"ModelName":"m","PrimaryContainer":{"Image":"image:1","ModelDataUrl":"s3://b//m.tar.gz"},"ExecutionRoleArn":"arn:aws:iam::123456789012:role/SageMaker","Tags":[{"Key":"team","Value":"fraud"}]}"#]].assert_eq(&model.to_parameters().to_string());
    expect![[r#"{"EndpointConfigName":"c","ProductionVariants":[{"VariantName":"AllTraffic","ModelName":"m","InitialInstanceCount":3,"InstanceType":"ml.c5.xlarge"}],"Tags":[{"Key":"team","Value":"fraud"}]}"#]].assert_eq(&config.to_parameters().to_string());
    let plain = EndpointConfig::new(config.name.clone(), config.model.clone());
    expect![[r#"{"EndpointConfigName":"c","ProductionVariants":[{"VariantName":"AllTraffic","ModelName":"m","InitialInstanceCount":1,"InstanceType":"ml.m5.large"}]}"#]].assert_eq(&plain.to_parameters().to_string());
}

/// The answers to `DescribeEndpoint`, what is done about it, and which operations that takes.
async fn check_change<const N: usize>(
    answers: [ResponseTemplate; N],
    want: EndpointChange,
    operations: &[&str],
) {
    let service = Service::start().await;
    service
        .on("DescribeEndpoint", answers)
        .on("CreateEndpoint", [answer(json!({"EndpointArn": "arn"}))])
        .on("UpdateEndpoint", [answer(json!({"EndpointArn": "arn"}))])
        .on("DeleteEndpoint", [empty()]);
    assert_eq!(create_or_update(&service.client()).await.unwrap(), want);
    assert_eq!(service.operations(), operations);
    if let [.., last @ ("CreateEndpoint" | "UpdateEndpoint")] = operations {
        assert_eq!(
            service.json_of(last),
            json!({"EndpointName": "e", "EndpointConfigName": "new"})
        );
    }
}

#[tokio::test]
async fn an_absent_endpoint_is_created() {
    check_change(
        [could_not_find()],
        EndpointChange::Created,
        &["DescribeEndpoint", "CreateEndpoint"],
    )
    .await;
}

#[tokio::test]
async fn an_endpoint_in_service_is_updated() {
    check_change(
        [endpoint("InService", "old")],
        EndpointChange::Updated,
        &["DescribeEndpoint", "UpdateEndpoint"],
    )
    .await;
}

#[tokio::test]
async fn an_endpoint_that_serves_the_configuration_is_left_alone() {
    check_change(
        [endpoint("InService", "new")],
        EndpointChange::Unchanged,
        &["DescribeEndpoint"],
    )
    .await;
}

#[tokio::test]
async fn a_failed_endpoint_is_made_anew() {
    check_change(
        [
            failed_endpoint("Failed", "new", "no image"),
            endpoint("Deleting", "new"),
            endpoint("Deleting", "new"),
            could_not_find(),
        ],
        EndpointChange::Recreated,
        &[
            "DescribeEndpoint",
            "DeleteEndpoint",
            "DescribeEndpoint",
            "CreateEndpoint",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_busy_endpoint_is_waited_for() {
    for status in [
        "Creating",
        "Updating",
        "SystemUpdating",
        "RollingBack",
        "Invented",
    ] {
        check_change(
            [
                endpoint(status, "old"),
                endpoint(status, "old"),
                endpoint("InService", "old"),
            ],
            EndpointChange::Updated,
            &["DescribeEndpoint", "UpdateEndpoint"],
        )
        .await;
    }
}

#[tokio::test]
async fn an_endpoint_that_goes_away_is_created_again() {
    check_change(
        [endpoint("Deleting", "old"), could_not_find()],
        EndpointChange::Created,
        &["DescribeEndpoint", "CreateEndpoint"],
    )
    .await;
}

#[tokio::test]
async fn a_busy_endpoint_that_stays_busy_is_a_timeout() {
    let service = Service::start().await;
    service.on("DescribeEndpoint", [endpoint("Updating", "old")]);
    let mut looks = 0;
    let error = service
        .client()
        .create_or_update_endpoint(&name(), &config("new"), impatient(), &mut |_| looks += 1)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Timeout { last, .. } if last == "Updating"),
        "{error}"
    );
    assert!(looks >= 2, "{looks} looks");
    assert_eq!(service.operations(), ["DescribeEndpoint"]);
}

#[tokio::test]
async fn waiting_ends_in_service() {
    let service = Service::start().await;
    service.on(
        "DescribeEndpoint",
        [
            // The update does not show yet.
            endpoint("InService", "old"),
            busy("Updating", "old", "new"),
            refusal(400, "ThrottlingException", "Rate exceeded"),
            refusal(400, "ThrottlingException", "Rate exceeded"),
            endpoint("InService", "new"),
        ],
    );
    let mut seen = Vec::new();
    let found = service
        .client()
        .wait_in_service(&name(), &config("new"), patient(), &mut |endpoint| {
            seen.push(endpoint.clone())
        })
        .await
        .unwrap();
    assert_eq!(
        (found.status, found.config),
        (EndpointStatus::InService, config("new"))
    );
    let statuses: Vec<_> = seen.iter().map(|endpoint| endpoint.status.to_string()).collect();
    assert_eq!(statuses, ["InService", "Updating", "InService"]);
    assert_eq!(seen[1].pending_config, Some(config("new")));
}

#[tokio::test]
async fn an_endpoint_that_fails_says_why() {
    for status in ["Failed", "UpdateRollbackFailed", "OutOfService"] {
        let service = Service::start().await;
        service.on(
            "DescribeEndpoint",
            [
                endpoint("Creating", "new"),
                failed_endpoint(status, "new", "The image does not exist."),
            ],
        );
        let error = wait(&service.client()).await.unwrap_err();
        assert!(matches!(error, Error::EndpointFailed { .. }));
        assert_eq!(
            error.to_string(),
            format!("endpoint `e` is {status}: The image does not exist.")
        );
    }
}

#[tokio::test]
async fn a_rollback_is_not_taken_for_success() {
    let service = Service::start().await;
    service.on(
        "DescribeEndpoint",
        [
            endpoint("Updating", "old"),
            endpoint("RollingBack", "old"),
            failed_endpoint("InService", "old", "The container did not answer the ping."),
        ],
    );
    let error = wait(&service.client()).await.unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }));
    expect![
        "endpoint `e` was rolled back: it serves `old`, not `new`: The container did not answer the ping."
    ]
    .assert_eq(&error.to_string());
}

#[tokio::test]
async fn an_endpoint_that_never_comes_up_is_a_timeout() {
    let service = Service::start().await;
    service.on("DescribeEndpoint", [endpoint("Creating", "new")]);
    let client = service.client();
    let error = client
        .wait_in_service(&name(), &config("new"), impatient(), &mut |_| {})
        .await
        .unwrap_err();
    let Error::Timeout {
        what,
        last,
        reason,
        waited,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((what.as_str(), last.as_str()), ("endpoint `e`", "Creating"));
    assert_eq!(reason, None);
    assert!(waited >= impatient().timeout);
}

#[tokio::test]
async fn throttling_that_does_not_end_is_what_the_timeout_reports() {
    let service = Service::start().await;
    service.on(
        "DescribeEndpoint",
        [refusal(400, "ThrottlingException", "Rate exceeded")],
    );
    let client = service.client();
    let error = client
        .wait_in_service(&name(), &config("new"), impatient(), &mut |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Throttled(_)), "{error}");
}

#[tokio::test]
async fn throttling_is_not_borne_for_ever() {
    let service = Service::start().await;
    service.on(
        "DescribeEndpoint",
        [
            endpoint("Creating", "new"),
            refusal(400, "ThrottlingException", "Rate exceeded"),
        ],
    );
    let error = wait(&service.client()).await.unwrap_err();
    assert!(matches!(error, Error::Throttled(_)), "{error}");
    // Ten looks in a row, each tried twice.
    assert_eq!(service.calls().len(), 1 + 10 * 2);
}

#[tokio::test]
async fn every_wait_bears_a_little_throttling() {
    let throttled = || refusal(400, "ThrottlingException", "Rate exceeded");
    let service = Service::start().await;
    service
        .on(
            "DescribeEndpoint",
            [
                throttled(),
                throttled(),
                endpoint("Failed", "old"),
                throttled(),
                throttled(),
                endpoint("Deleting", "old"),
                could_not_find(),
            ],
        )
        .on("DeleteEndpoint", [empty()])
        .on("CreateEndpoint", [answer(json!({"EndpointArn": "arn"}))]);
    assert_eq!(
        create_or_update(&service.client()).await.unwrap(),
        EndpointChange::Recreated
    );
}

#[tokio::test]
async fn waiting_for_an_endpoint_that_is_not_there_ends_at_once() {
    let service = Service::start().await;
    service.on("DescribeEndpoint", [could_not_find()]);
    let error = wait(&service.client()).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    assert_eq!(service.calls().len(), 1);
}

#[tokio::test]
async fn capacity_by_the_request_and_answers_in_s3() {
    let service = Service::start().await;
    service.on(
        "CreateEndpointConfig",
        [answer(json!({"EndpointConfigArn": "arn"}))],
    );
    let config = EndpointConfig {
        serverless: Some(ipinsights_client::Serverless {
            memory_mb: 2048,
            max_concurrency: 5,
        }),
        asynchronous: Some(ipinsights_client::Asynchronous {
            output: "s3://b/answers".parse().unwrap(),
            failures: Some("s3://b/failures".parse().unwrap()),
            max_concurrency: Some(4),
        }),
        ..EndpointConfig::new("c".parse().unwrap(), "m".parse().unwrap())
    };
    service.client().create_endpoint_config(&config).await.unwrap();
    let sent = service.json_of("CreateEndpointConfig");
    assert_eq!(sent, config.to_parameters());
    expect![[r#"{"EndpointConfigName":"c","ProductionVariants":[{"VariantName":"AllTraffic","ModelName":"m","ServerlessConfig":{"MemorySizeInMB":2048,"MaxConcurrency":5}}],"AsyncInferenceConfig":{"OutputConfig":{"S3OutputPath":"s3://b/answers","S3FailurePath":"s3://b/failures"},"ClientConfig":{"MaxConcurrentInvocationsPerInstance":4}}}"#]]
        .assert_eq(&config.to_parameters().to_string());
}

/// How an update goes about it is sent as the parameters say, or not at all.
#[tokio::test]
async fn updates_step_by_step() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let canary = Deployment {
        shift: Shift::Canary {
            first: Capacity::Percent(10),
            wait: minutes(10),
        },
        keep_old: minutes(5),
        timeout: Some(minutes(60)),
        alarms: vec!["errors".to_owned(), "latency".to_owned()],
    };
    let linear = Deployment {
        shift: Shift::Linear {
            step: Capacity::Instances(2.try_into().unwrap()),
            wait: minutes(1),
        },
        ..Deployment::default()
    };
    let rolling = Deployment {
        shift: Shift::Rolling {
            step: Capacity::Percent(25),
            wait: minutes(2),
        },
        timeout: Some(minutes(30)),
        ..Deployment::default()
    };
    let mut sent = Vec::new();
    for deployment in [Deployment::default(), canary.clone(), linear, rolling.clone()] {
        let service = Service::start().await;
        service.on("UpdateEndpoint", [answer(json!({"EndpointArn": "arn:e"}))]);
        let options = UpdateOptions {
            retain_variants: true,
            deployment: Some(deployment.clone()),
        };
        let client = service.client();
        client
            .update_endpoint_with(&name(), &config("new"), &options)
            .await
            .unwrap();
        let mut expected = endpoint_parameters(&name(), &config("new"));
        expected["RetainAllVariantProperties"] = true.into();
        expected["DeploymentConfig"] = deployment.to_parameters().unwrap();
        assert_eq!(service.json_of("UpdateEndpoint"), expected);
        sent.push(expected["DeploymentConfig"].to_string());
    }
    expect![[r#"
        {"BlueGreenUpdatePolicy":{"TrafficRoutingConfiguration":{"Type":"ALL_AT_ONCE","WaitIntervalInSeconds":0},"TerminationWaitInSeconds":0}}
        {"BlueGreenUpdatePolicy":{"TrafficRoutingConfiguration":{"Type":"CANARY","WaitIntervalInSeconds":600,"CanarySize":{"Type":"CAPACITY_PERCENT","Value":10}},"TerminationWaitInSeconds":300,"MaximumExecutionTimeoutInSeconds":3600},"AutoRollbackConfiguration":{"Alarms":[{"AlarmName":"errors"},{"AlarmName":"latency"}]}}
        {"BlueGreenUpdatePolicy":{"TrafficRoutingConfiguration":{"Type":"LINEAR","WaitIntervalInSeconds":60,"LinearStepSize":{"Type":"INSTANCE_COUNT","Value":2}},"TerminationWaitInSeconds":0}}
        {"RollingUpdatePolicy":{"MaximumBatchSize":{"Type":"CAPACITY_PERCENT","Value":25},"WaitIntervalInSeconds":120,"MaximumExecutionTimeoutInSeconds":1800}}"#]]
    .assert_eq(&sent.join("\n"));

    let service = Service::start().await;
    let options = UpdateOptions {
        deployment: Some(Deployment {
            shift: Shift::Linear {
                step: Capacity::Percent(5),
                wait: minutes(61),
            },
            keep_old: minutes(61),
            timeout: Some(minutes(9)),
            alarms: vec![String::new(); 11],
        }),
        ..UpdateOptions::default()
    };
    let client = service.client();
    let refused = client
        .update_endpoint_with(&name(), &config("new"), &options)
        .await
        .unwrap_err();
    expect!["the deployment is not valid: a step must be 10 to 50 percent; the wait between two steps must be at most an hour; the old instances can be kept for at most an hour; the timeout must lie between 10 minutes and 8 hours; there can be at most 10 alarms; an alarm has a name of 1 to 255 characters"]
        .assert_eq(&refused.to_string());
    let kept = Deployment {
        keep_old: minutes(1),
        ..rolling
    };
    assert!(kept.check().is_err());
    assert!(service.calls().is_empty());
}

async fn deploy(service: &Service) -> Result<EndpointChange, DeployError> {
    deploy_within(service, patient()).await
}

async fn deploy_within(service: &Service, deadline: Deadline) -> Result<EndpointChange, DeployError> {
    let model = Model {
        name: "m".parse().unwrap(),
        image: "image:1".to_owned(),
        artifacts: "s3://b//m.tar.gz".parse().unwrap(),
        role: "arn:aws:iam::123456789012:role/SageMaker".parse().unwrap(),
        tags: Default::default(),
    };
    let config = EndpointConfig::new(config("new"), model.name.clone());
    let client = service.client();
    client
        .deploy(&name(), &model, &config, deadline, &mut |_| {})
        .await
}

/// A service that makes and deletes what it is told, and describes the endpoint so.
async fn willing(described: impl IntoIterator<Item = ResponseTemplate>) -> Service {
    make_willing(Service::start().await, described)
}

/// The same, beside the answers that it has already.
fn make_willing(service: Service, described: impl IntoIterator<Item = ResponseTemplate>) -> Service {
    service
        .on("CreateModel", [answer(json!({"ModelArn": "arn:m"}))])
        .on(
            "CreateEndpointConfig",
            [answer(json!({"EndpointConfigArn": "arn:c"}))],
        )
        .on("CreateEndpoint", [answer(json!({"EndpointArn": "arn:e"}))])
        .on("UpdateEndpoint", [answer(json!({"EndpointArn": "arn:e"}))])
        .on("DeleteEndpoint", [empty()])
        .on("DeleteEndpointConfig", [empty()])
        .on("DeleteModel", [empty()])
        .on("DescribeEndpoint", described);
    service
}

/// What a deployment that failed says, and what it has deleted.
fn told(outcome: Result<EndpointChange, DeployError>) -> String {
    let error = outcome.unwrap_err();
    let deleted: Vec<_> = error.undone.deleted.iter().map(ToString::to_string).collect();
    format!("{error}: {}\ndeleted: {}", error.source, deleted.join(", "))
}

#[tokio::test]
async fn a_model_goes_into_service() {
    let service = willing([
        could_not_find(),
        endpoint("Creating", "new"),
        endpoint("InService", "new"),
    ])
    .await;
    assert_eq!(deploy(&service).await.unwrap(), EndpointChange::Created);
    assert_eq!(
        service.operations(),
        [
            "CreateModel",
            "CreateEndpointConfig",
            "DescribeEndpoint",
            "CreateEndpoint",
            "DescribeEndpoint"
        ]
    );
}

#[tokio::test]
async fn what_does_not_go_into_service_is_undone() {
    // A new endpoint goes with what was made for it.
    let failed = failed_endpoint("Failed", "new", "no capacity");
    let service = willing([
        could_not_find(),
        endpoint("Creating", "new"),
        failed.clone(),
        failed.clone(),
        failed,
        could_not_find(),
    ])
    .await;
    expect![[r#"
        endpoint `e` does not serve what it was to: endpoint `e` is Failed: no capacity
        deleted: endpoint `e`, endpoint configuration `new`, model `m`"#]]
    .assert_eq(&told(deploy(&service).await));

    // One that was there goes on with what it served.
    let back = failed_endpoint("InService", "old", "the alarm went off");
    let service = willing([endpoint("InService", "old"), busy("Updating", "old", "new"), back]).await;
    expect![[r#"
        endpoint `e` does not serve what it was to: endpoint `e` was rolled back: it serves `old`, not `new`: the alarm went off
        deleted: endpoint configuration `new`, model `m`"#]]
    .assert_eq(&told(deploy(&service).await));
    assert!(!service.operations().contains(&"DeleteEndpoint".to_owned()));

    // The service does not begin.
    let limit = refusal(400, "ResourceLimitExceeded", "The limit is 0 Instances.");
    let service = Service::start().await;
    service
        .on("CreateModel", [answer(json!({"ModelArn": "arn:m"}))])
        .on(
            "CreateEndpointConfig",
            [answer(json!({"EndpointConfigArn": "arn:c"}))],
        )
        .on("CreateEndpoint", [limit])
        .on("DeleteEndpointConfig", [empty()])
        .on("DeleteModel", [empty()])
        .on("DescribeEndpoint", [could_not_find()]);
    let error = deploy(&service).await.unwrap_err();
    assert!(matches!(*error.source, Error::LimitExceeded(_)), "{error:?}");
    assert!(error.undone.deleted.len() == 2 && error.undone.is_complete());

    // A name is taken: what has it is not ours.
    let taken = refusal(
        400,
        "ValidationException",
        "Cannot create already existing endpoint configuration \"arn\".",
    );
    let service = Service::start().await;
    service
        .on("CreateModel", [answer(json!({"ModelArn": "arn:m"}))])
        .on("CreateEndpointConfig", [taken])
        .on("DeleteModel", [empty()]);
    let error = deploy(&service).await.unwrap_err();
    assert!(matches!(*error.source, Error::AlreadyExists(_)), "{error:?}");
    assert_eq!(
        service.operations(),
        ["CreateModel", "CreateEndpointConfig", "DeleteModel"]
    );
}

/// What an endpoint is still on its way to is left to it.
#[tokio::test]
async fn what_an_endpoint_may_need_is_not_undone() {
    let service = willing([
        endpoint("InService", "old"),
        busy("Updating", "old", "new"),
        refusal(400, "AccessDeniedException", "no"),
        busy("Updating", "old", "new"),
    ])
    .await;
    expect![[r#"
        endpoint `e` does not serve what it was to; still there: endpoint configuration `new`, model `m`: access was denied: `DescribeEndpoint` answered AccessDeniedException: no (request request-2)
        deleted: "#]]
    .assert_eq(&told(deploy(&service).await));
    assert!(
        !service
            .operations()
            .iter()
            .any(|operation| operation.starts_with("Delete"))
    );
}

/// What is left and why, and what of it costs money.
fn left(error: &DeployError) -> String {
    let left = error
        .undone
        .left
        .iter()
        .map(|(resource, why)| format!("{resource}: {why}"));
    let costs: Vec<_> = error.undone.still_costs().map(ToString::to_string).collect();
    format!(
        "{}\ncosts: {}",
        left.collect::<Vec<_>>().join("\n"),
        costs.join(", ")
    )
}

/// A new endpoint that comes up after the deadline has to be paid for.
#[tokio::test]
async fn a_new_endpoint_that_does_not_come_up_in_time_is_told_to_be_left() {
    let service = willing([could_not_find(), endpoint("Creating", "new")]).await;
    let error = deploy_within(&service, impatient()).await.unwrap_err();
    assert!(matches!(*error.source, Error::Timeout { .. }), "{error:?}");
    assert!(
        matches!(&error.undone.left[0].1, Error::Timeout { last, .. } if last == "Creating"),
        "{error:?}"
    );
    assert!(left(&error).ends_with(
        "endpoint configuration `new`: endpoint `e` is still there and may need it\n\
         model `m`: endpoint `e` is still there and may need it\n\
         costs: endpoint `e`"
    ));
    assert!(error.undone.deleted.is_empty());
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_looked_at_is_left_with_the_reason() {
    let service = willing([could_not_find(), refusal(400, "AccessDeniedException", "no")]).await;
    let error = deploy(&service).await.unwrap_err();
    expect![[r#"
        endpoint `e`: access was denied: `DescribeEndpoint` answered AccessDeniedException: no (request request-2)
        endpoint configuration `new`: endpoint `e` is still there and may need it
        model `m`: endpoint `e` is still there and may need it
        costs: endpoint `e`"#]]
    .assert_eq(&left(&error));
}

/// The service may have done what it gives no answer to.
#[tokio::test]
async fn what_may_have_been_made_is_undone() {
    let broken = || refusal(503, "ServiceUnavailable", "later");
    for (operation, deleted) in [
        ("CreateModel", vec!["model `m`"]),
        (
            "CreateEndpointConfig",
            vec!["endpoint configuration `new`", "model `m`"],
        ),
        (
            "CreateEndpoint",
            vec!["endpoint `e`", "endpoint configuration `new`", "model `m`"],
        ),
    ] {
        let failed = failed_endpoint("Failed", "new", "no capacity");
        let service = Service::start().await;
        service.on(operation, [broken(), broken()]); // the SDK asks twice
        let service = make_willing(
            service,
            [
                could_not_find(),
                failed.clone(),
                failed.clone(),
                failed,
                could_not_find(),
            ],
        );
        let error = deploy(&service).await.unwrap_err();
        assert!(matches!(*error.source, Error::Unavailable(_)), "{error:?}");
        let gone: Vec<_> = error.undone.deleted.iter().map(ToString::to_string).collect();
        assert_eq!(gone, deleted, "{operation}");
        assert!(error.undone.is_complete(), "{operation}");
    }
}
