use std::time::Duration;

use expect_test::expect;
use ipinsights::Hyperparameters;
use ipinsights_client::{
    Error, KmsKey, Network, S3Uri, TrainingJob, TrainingJobDraft, TrainingState, image_uri,
};
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::support::{Service, answer, empty, impatient, patient, refusal};

fn draft() -> TrainingJobDraft {
    TrainingJob::draft("job-1".parse().unwrap())
        .image(image_uri("us-east-1").unwrap())
        .role("arn:aws:iam::123456789012:role/SageMaker".parse().unwrap())
        .hyperparameters(Hyperparameters::draft(20).vector_dim(16).check().unwrap())
        .train("s3://b/train.csv".parse().unwrap())
        .output("s3://b/models".parse().unwrap())
}

fn status(status: &str, secondary: &str) -> ResponseTemplate {
    described(json!({
        "TrainingJobStatus": status,
        "SecondaryStatus": secondary,
        "SecondaryStatusTransitions": [
            {"Status": "Starting", "StartTime": 1.0, "StatusMessage": "Starting the training job"},
            {"Status": secondary, "StartTime": 2.5, "StatusMessage": format!("{secondary} now")},
        ],
    }))
}

fn described(members: serde_json::Value) -> ResponseTemplate {
    let mut all = json!({
        "TrainingJobName": "job-1", "TrainingJobArn": "arn", "CreationTime": 1.0,
        "ModelArtifacts": {"S3ModelArtifacts": "s3://b/models/job-1/output/model.tar.gz"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 1},
    });
    all.as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    answer(all)
}

#[tokio::test]
async fn what_is_sent_is_what_the_parameters_say() {
    let full = draft()
        .validation("s3://b/validation.csv".parse::<S3Uri>().unwrap())
        .instance_type("ml.p3.2xlarge".parse().unwrap())
        .instance_count(2)
        .volume_gb(30)
        .max_runtime(Duration::from_secs(300))
        .spot(Duration::from_millis(360_900))
        .tag("team", "fraud")
        .tag("empty", "");
    let guarded = draft()
        .network(Network {
            subnets: vec!["subnet-1".parse().unwrap(), "subnet-2".parse().unwrap()],
            security_groups: vec!["sg-1".parse().unwrap()],
        })
        .output_key("alias/models".parse::<KmsKey>().unwrap())
        .volume_key("alias/disks".parse::<KmsKey>().unwrap())
        .checkpoints("s3://b/checkpoints".parse::<S3Uri>().unwrap())
        .isolated(true)
        .encrypted_traffic(true)
        .max_runtime(Duration::from_secs(7200))
        .spot(Duration::from_secs(7200));
    let sent = guarded.clone().check().unwrap().to_parameters();
    expect![[r#"{"SecurityGroupIds":["sg-1"],"Subnets":["subnet-1","subnet-2"]}"#]]
        .assert_eq(&sent["VpcConfig"].to_string());
    assert_eq!(sent["CheckpointConfig"], json!({"S3Uri": "s3://b/checkpoints"}));
    assert_eq!(sent["OutputDataConfig"]["KmsKeyId"], "alias/models");
    for job in [draft(), full, guarded] {
        let job = job.check().unwrap();
        let service = Service::start().await;
        service.on(
            "CreateTrainingJob",
            [answer(json!({"TrainingJobArn": "arn:job-1"}))],
        );
        assert_eq!(service.client().start_training(&job).await.unwrap(), "arn:job-1");
        assert_eq!(service.json_of("CreateTrainingJob"), job.to_parameters());
        assert!(service.calls()[0].signed);
    }
}

#[test]
fn parameters_of_a_plain_job() {
    expect![[r#"
        {
          "TrainingJobName": "job-1",
          "RoleArn": "arn:aws:iam::123456789012:role/SageMaker",
          "AlgorithmSpecification": {
            "TrainingImage": "382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1",
            "TrainingInputMode": "File"
          },
          "HyperParameters": {
            "batch_metrics_publish_interval": "1000",
            "epochs": "10",
            "learning_rate": "0.001",
            "mini_batch_size": "10000",
            "num_entity_vectors": "20",
            "num_ip_encoder_layers": "1",
            "random_negative_sampling_rate": "1",
            "shuffled_negative_sampling_rate": "1",
            "vector_dim": "16",
            "weight_decay": "0.00001"
          },
          "InputDataConfig": [
            {
              "ChannelName": "train",
              "ContentType": "text/csv",
              "DataSource": {
                "S3DataSource": {
                  "S3DataType": "S3Prefix",
                  "S3Uri": "s3://b/train.csv",
                  "S3DataDistributionType": "FullyReplicated"
                }
              }
            }
          ],
          "OutputDataConfig": {
            "S3OutputPath": "s3://b/models"
          },
          "ResourceConfig": {
            "InstanceType": "ml.m5.large",
            "InstanceCount": 1,
            "VolumeSizeInGB": 10
          },
          "StoppingCondition": {
            "MaxRuntimeInSeconds": 86400
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&draft().check().unwrap().to_parameters()).unwrap());
}

#[test]
fn a_draft_reports_all_its_problems() {
    let check = |draft: TrainingJobDraft, expected: expect_test::Expect| {
        expected.assert_eq(&draft.check().unwrap_err().to_string());
    };
    check(
        TrainingJob::draft("job-1".parse().unwrap()),
        expect![
            "training job `job-1`: a role must be set; hyperparameters must be set; training data must be set; an output path must be set; an image must be set"
        ],
    );
    check(
        draft()
            .image("")
            .instance_count(0)
            .volume_gb(0)
            .max_runtime(Duration::from_millis(999)),
        expect![
            "training job `job-1`: an image has 1 to 255 characters; the instance count must be at least 1; the volume must have at least 1 GB; the longest running time must lie between 1 second and 28 days"
        ],
    );
    check(
        draft()
            .max_runtime(Duration::from_secs(600))
            .spot(Duration::from_secs(599)),
        expect![
            "training job `job-1`: the longest wait for spot capacity includes the running time and cannot be shorter"
        ],
    );
    check(
        draft()
            .max_runtime(Duration::from_secs(28 * 24 * 3600 + 1))
            .spot(Duration::from_secs(u64::MAX))
            .tag("", "v")
            .tag("k", "v".repeat(257)),
        expect![
            "training job `job-1`: the longest running time must lie between 1 second and 28 days; the longest wait for spot capacity is an hour, since the algorithm keeps no checkpoints; tag ``: a key has 1 to 128 characters and a value at most 256; tag `k`: a key has 1 to 128 characters and a value at most 256"
        ],
    );
    let tagged = (0..51).fold(draft(), |draft, i| draft.tag(i.to_string(), ""));
    check(
        tagged,
        expect!["training job `job-1`: at most 50 tags are allowed, got 51"],
    );
}

#[tokio::test]
async fn waiting_ends_with_the_model_and_its_metrics() {
    let service = Service::start().await;
    service.on(
        "DescribeTrainingJob",
        [
            status("InProgress", "Starting"),
            status("InProgress", "Training"),
            refusal(503, "ServiceUnavailable", "busy"),
            refusal(503, "ServiceUnavailable", "busy"),
            described(json!({
                "TrainingJobStatus": "Completed",
                "SecondaryStatus": "Completed",
                "FinalMetricDataList": [
                    {"MetricName": "validation:discriminator_auc", "Value": 0.75, "Timestamp": 3.0},
                ],
                "TrainingTimeInSeconds": 100,
                "BillableTimeInSeconds": 40,
            })),
        ],
    );
    let mut seen = Vec::new();
    let model = service
        .client()
        .wait_for_training(&"job-1".parse().unwrap(), patient(), &mut |status| {
            seen.push(status.clone())
        })
        .await
        .unwrap();
    assert_eq!(
        model.artifacts.as_str(),
        "s3://b/models/job-1/output/model.tar.gz"
    );
    assert_eq!(
        model.metrics,
        [("validation:discriminator_auc".to_owned(), 0.75)].into()
    );
    let texts: Vec<_> = seen.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["InProgress (Starting)", "InProgress (Training)", "Completed"]
    );
    assert_eq!(seen[1].message.as_deref(), Some("Training now"));
    assert_eq!(
        (seen[2].training_seconds, seen[2].billable_seconds),
        (Some(100), Some(40))
    );
    assert!(
        service
            .calls()
            .iter()
            .all(|call| call.json == json!({"TrainingJobName": "job-1"}))
    );
}

#[tokio::test]
async fn a_failed_job_says_why() {
    let service = Service::start().await;
    service.on(
        "DescribeTrainingJob",
        [
            status("InProgress", "Training"),
            described(json!({
                "TrainingJobStatus": "Failed",
                "SecondaryStatus": "Failed",
                "FailureReason": "AlgorithmError: bad row",
            })),
        ],
    );
    let error = service
        .client()
        .wait_for_training(&"job-1".parse().unwrap(), patient(), &mut |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TrainingFailed { .. }));
    assert_eq!(
        error.to_string(),
        "training job `job-1` failed: AlgorithmError: bad row"
    );
}

#[tokio::test]
async fn a_stopped_job_says_what_stopped_it() {
    let service = Service::start().await;
    service.on(
        "DescribeTrainingJob",
        [
            status("Stopping", "Stopping"),
            status("Stopped", "MaxRuntimeExceeded"),
        ],
    );
    let error = service
        .client()
        .wait_for_training(&"job-1".parse().unwrap(), patient(), &mut |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TrainingStopped { .. }));
    assert_eq!(
        error.to_string(),
        "training job `job-1` was stopped (MaxRuntimeExceeded)"
    );
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_left_alone() {
    let service = Service::start().await;
    service.on("DescribeTrainingJob", [status("InProgress", "Training")]);
    let mut looks = 0;
    let error = service
        .client()
        .wait_for_training(&"job-1".parse().unwrap(), impatient(), &mut |_| looks += 1)
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
    assert_eq!(
        (what.as_str(), last.as_str()),
        ("training job `job-1`", "InProgress (Training)")
    );
    assert_eq!(reason.as_deref(), Some("Training now"));
    assert!(waited >= impatient().timeout);
    assert!(looks >= 2, "{looks} looks");
}

#[tokio::test]
async fn odd_answers_are_errors() {
    for (members, want) in [
        (
            json!({"TrainingJobStatus": "Sleeping", "SecondaryStatus": "Training"}),
            "status `Sleeping`",
        ),
        (
            json!({
                "TrainingJobStatus": "Completed", "SecondaryStatus": "Completed",
                "ModelArtifacts": {"S3ModelArtifacts": ""},
            }),
            "model artifacts ``",
        ),
    ] {
        let service = Service::start().await;
        service.on("DescribeTrainingJob", [described(members)]);
        let error = service
            .client()
            .describe_training(&"job-1".parse().unwrap())
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the answer to `DescribeTrainingJob` is not as documented: {want}")
        );
    }
}

#[tokio::test]
async fn a_failed_job_without_a_reason_says_so() {
    let service = Service::start().await;
    service.on("DescribeTrainingJob", [status("Failed", "Failed")]);
    let status = service
        .client()
        .describe_training(&"job-1".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(
        status.state,
        TrainingState::Failed {
            reason: "the service gives no reason".to_owned()
        }
    );
}

#[tokio::test]
async fn stopping() {
    let service = Service::start().await;
    service.on(
        "StopTrainingJob",
        [
            empty(),
            refusal(400, "ValidationException", "Requested resource not found."),
        ],
    );
    let (client, job) = (service.client(), "job-1".parse().unwrap());
    client.stop_training(&job).await.unwrap();
    assert!(matches!(
        client.stop_training(&job).await,
        Err(Error::NotFound(_))
    ));
}
