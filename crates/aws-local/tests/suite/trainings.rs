//! Training jobs and models.

use aws_sdk_sagemaker::types::{OrderKey, OutputDataConfig, SortBy, StoppingCondition, Tag};
use expect_test::expect;
use serde_json::{Value, json};

use crate::{
    common::{IMAGE, ROLE, World, channel, eventually, told},
    refusals::call,
};

/// A request as it is on the wire; it is right as it stands.
fn request(name: &str) -> Value {
    let channel = |name: &str| {
        let source = json!({
            "S3DataType": "S3Prefix", "S3Uri": "s3://data/train/", "S3DataDistributionType": "FullyReplicated",
        });
        json!({"ChannelName": name, "DataSource": {"S3DataSource": source}})
    };
    json!({
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "HyperParameters": {
            "num_entity_vectors": "20", "vector_dim": "8", "mini_batch_size": "50", "epochs": "1",
        },
        "InputDataConfig": [channel("train"), channel("validation")],
        "OutputDataConfig": {"S3OutputPath": "s3://data/models"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 300},
    })
}

/// Puts a member into the structure that holds it.
fn set(request: &mut Value, pointer: &str, value: Value) {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    request.pointer_mut(parent).unwrap()[member] = value;
}

#[tokio::test]
async fn what_would_not_happen_is_refused_by_name() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let cases = [
        ("/InputDataConfig/0/RecordWrapperType", json!("RecordIO")),
        ("/InputDataConfig/0/InputMode", json!("Pipe")),
        ("/InputDataConfig/0/ShuffleConfig", json!({"Seed": 1})),
        (
            "/InputDataConfig/0/DataSource/S3DataSource/AttributeNames",
            json!(["a"]),
        ),
        ("/AlgorithmSpecification/ContainerEntrypoint", json!(["sh"])),
        ("/ModelPackageConfig", json!({})),
        (
            "/VpcConfig",
            json!({"Subnets": ["subnet_1"], "SecurityGroupIds": []}),
        ),
        ("/OutputDataConfig/KmsKeyId", json!("a key")),
        ("/EnableNetworkIsolation", json!("yes")),
        ("/InputDataConfig/1/ChannelName", json!("train")),
        ("/OutputDataConfig/CompressionType", json!("NONE")),
        ("/ResourceConfig/InstanceCount", json!(0)),
        ("/ResourceConfig/InstanceType", json!("m5.large")),
        ("/ResourceConfig/VolumeSizeInGB", Value::Null),
        ("/StoppingCondition/MaxRuntimeInSeconds", json!(2_419_201)),
        ("/CheckpointConfig", json!({"LocalPath": "/opt/ml/checkpoints"})),
        ("/HyperParameters/epochs", json!(3)),
        (
            "/AlgorithmSpecification/MetricDefinitions",
            json!([{"Name": "n", "Regex": "r"}]),
        ),
    ];
    let mut answers = Vec::new();
    for (pointer, value) in cases {
        let mut request = request("job");
        set(&mut request, pointer, value);
        let (status, error) = call(&world, "SageMaker.CreateTrainingJob", &request.to_string()).await;
        answers.push(format!(
            "{status} {}: {}",
            error["__type"].as_str().unwrap_or("-"),
            error["message"].as_str().unwrap_or("-")
        ));
    }
    expect![[r#"
        400 ValidationException: RecordWrapperType RecordIO is not implemented by aws-local.
        400 ValidationException: InputMode Pipe of a channel is not implemented by aws-local.
        400 ValidationException: ShuffleConfig is not implemented by aws-local.
        400 ValidationException: S3DataSource.AttributeNames is not implemented by aws-local.
        400 ValidationException: AlgorithmSpecification.ContainerEntrypoint is not implemented by aws-local.
        400 ValidationException: ModelPackageConfig is not implemented by aws-local.
        400 ValidationException: 2 validation errors detected: Value '[]' at 'vpcConfig.securityGroupIds' failed to satisfy constraint: Member must have length greater than or equal to 1; Value 'subnet_1' at 'vpcConfig.subnets.1.member' failed to satisfy constraint: Member must satisfy regular expression pattern: [-0-9a-zA-Z]+
        400 ValidationException: 1 validation error detected: Value 'a key' at 'outputDataConfig.kmsKeyId' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9:/_-]*
        400 SerializationException: STRING_VALUE at 'enableNetworkIsolation' can not be converted to a Boolean
        400 ValidationException: 1 validation error detected: Value 'train' at 'inputDataConfig.2.member.channelName' failed to satisfy constraint: Channel names must be unique
        400 ValidationException: OutputDataConfig.CompressionType NONE is not implemented by aws-local.
        400 ValidationException: 1 validation error detected: Value '0' at 'resourceConfig.instanceCount' failed to satisfy constraint: Member must have value greater than or equal to 1
        400 ValidationException: 1 validation error detected: Value 'm5.large' at 'resourceConfig.instanceType' failed to satisfy constraint: Member must satisfy regular expression pattern: ml\.[a-z0-9-]+\.[a-z0-9-]+
        400 ValidationException: 1 validation error detected: Value null at 'resourceConfig.volumeSizeInGB' failed to satisfy constraint: Member must not be null
        400 ValidationException: 1 validation error detected: Value '2419201' at 'stoppingCondition.maxRuntimeInSeconds' failed to satisfy constraint: Member must have value less than or equal to 2419200
        400 ValidationException: 1 validation error detected: Value null at 'checkpointConfig.s3Uri' failed to satisfy constraint: Member must not be null
        400 SerializationException: NUMBER_VALUE at 'hyperParameters' can not be converted to a String
        400 ValidationException: You can't override the metric definitions for Amazon SageMaker algorithms. Please retry the request without specifying metric definitions."#]].assert_eq(&answers.join("\n"));
}

#[tokio::test]
async fn what_has_no_meaning_here_is_taken_and_what_is_not_done_is_logged() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let mut plain = request("plain");
    for (pointer, value) in [
        ("/InputDataConfig/0/RecordWrapperType", json!("None")),
        ("/InputDataConfig/0/InputMode", json!("File")),
        (
            "/InputDataConfig/0/DataSource/S3DataSource/S3DataDistributionType",
            json!("ShardedByS3Key"),
        ),
        ("/OutputDataConfig/KmsKeyId", json!("")),
        ("/OutputDataConfig/CompressionType", json!("GZIP")),
        ("/EnableManagedSpotTraining", json!(true)),
        ("/StoppingCondition/MaxWaitTimeInSeconds", json!(300)),
        ("/DebugHookConfig", json!({"S3OutputPath": "s3://data/"})),
        ("/ProfilerConfig", json!({"DisableProfiler": true})),
        ("/CheckpointConfig", Value::Null),
        ("/VpcConfig", Value::Null),
        ("/Environment", json!({"A": "b"})),
        ("/Tags", json!([{"Key": "a", "Value": "b"}])),
        // Each version of a client has some more members.
        ("/MemberOfALaterVersion", json!({"A": ["b"]})),
        ("/ResourceConfig/MemberOfALaterVersion", json!(1)),
    ] {
        set(&mut plain, pointer, value);
    }
    let mut guarded = request("guarded");
    for (pointer, value) in [
        ("/OutputDataConfig/KmsKeyId", json!("alias/models")),
        ("/ResourceConfig/VolumeKmsKeyId", json!("alias/volumes")),
        (
            "/VpcConfig",
            json!({"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}),
        ),
    ] {
        set(&mut guarded, pointer, value);
    }
    let (mut logged, mut notes) = (Vec::new(), Vec::new());
    for request in [plain, guarded] {
        let (status, answer) = call(&world, "SageMaker.CreateTrainingJob", &request.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        let name = request["TrainingJobName"].as_str().unwrap();
        let job = world.job_ended(name).await;
        assert_eq!(job.training_job_status().unwrap().as_str(), "Completed", "{name}");
        // Clients print what spot capacity has saved: 1 - billable / training.
        assert_eq!(job.enable_managed_spot_training(), Some(name == "plain"));
        let most = job.stopping_condition().unwrap().max_wait_time_in_seconds();
        assert_eq!(most, (name == "plain").then_some(300));
        assert!(job.training_time_in_seconds() >= Some(1) && job.billable_time_in_seconds() >= Some(1));
        let group = "/aws/sagemaker/TrainingJobs";
        let describe = json!({"logGroupName": group, "logStreamNamePrefix": format!("{name}/")});
        let (_, streams) = call(&world, "Logs_20140328.DescribeLogStreams", &describe.to_string()).await;
        let stream = &streams["logStreams"][0]["logStreamName"];
        let get = json!({"logGroupName": group, "logStreamName": stream, "startFromHead": true});
        let (_, page) = call(&world, "Logs_20140328.GetLogEvents", &get.to_string()).await;
        let events = page["events"].as_array().unwrap();
        let warnings = events.iter().filter_map(|event| {
            let (_, text) = event["message"].as_str()?.split_once(" WARNING 1] ")?;
            Some(format!("{name}: {text}"))
        });
        logged.extend(warnings);
        let noted = events.iter().filter_map(|event| {
            let (_, text) = event["message"].as_str()?.split_once(" INFO 1] ")?;
            text.contains(" has no effect: ").then(|| text.to_owned())
        });
        notes.extend(noted);
    }
    expect![[r#"
        EnableManagedSpotTraining has no effect: there is capacity at once, and nothing is interrupted.
        DebugHookConfig has no effect: the algorithm saves no tensors.
        ProfilerConfig has no effect: nothing is profiled.
        Environment has no effect: the algorithm reads no variables."#]]
    .assert_eq(&notes.join("\n"));
    expect![[r#"
        guarded: VpcConfig has no effect: the job runs on this machine's network.
        guarded: OutputDataConfig.KmsKeyId has no effect: the model is not encrypted.
        guarded: ResourceConfig.VolumeKmsKeyId has no effect: nothing on disk is encrypted."#]]
    .assert_eq(&logged.join("\n"));
}

#[tokio::test]
async fn a_job_trains_and_tells_everything() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let create = world
        .training("Job-1")
        .input_data_config(channel("validation", "s3://data/validation/validation.csv"))
        .hyper_parameters("epoch", "7") // misspelt, as in the published script
        .tags(Tag::builder().key("team").value("a").build());
    let created = create.send().await.unwrap();
    let arn = created.training_job_arn().unwrap();
    assert_eq!(arn, "arn:aws:sagemaker:us-east-1:000000000000:training-job/job-1");
    let job = world.job_ended("Job-1").await;
    assert_eq!(
        job.training_job_status().unwrap().as_str(),
        "Completed",
        "{:?}",
        job.failure_reason()
    );
    assert_eq!(job.training_job_name(), Some("Job-1"));
    let transitions: Vec<_> = job
        .secondary_status_transitions()
        .iter()
        .map(|t| format!("{}: {}", t.status().unwrap(), t.status_message().unwrap()))
        .collect();
    expect![[r#"
        Starting: Starting the training job
        Downloading: Downloading input data
        Training: Training image download completed. Training in progress.
        Uploading: Uploading generated training model
        Completed: Training job completed"#]]
    .assert_eq(&transitions.join("\n"));
    let archive = job.model_artifacts().unwrap().s3_model_artifacts().unwrap();
    assert_eq!(archive, "s3://data/models/Job-1/output/model.tar.gz");
    let stored = world
        .s3
        .head_object()
        .bucket("data")
        .key("models/Job-1/output/model.tar.gz")
        .send()
        .await
        .unwrap();
    assert!(stored.content_length().unwrap() > 0);
    assert_eq!(job.output_data_config().unwrap().kms_key_id(), Some(""));
    assert!(job.training_time_in_seconds().unwrap() >= 1);
    assert_eq!(job.billable_time_in_seconds(), job.training_time_in_seconds());
    assert_eq!(job.hyper_parameters().unwrap()["epoch"], "7");
    // What clients read of it when they attach to it, whether it was asked for or not.
    assert_eq!(job.enable_network_isolation(), Some(false));
    assert_eq!(job.enable_managed_spot_training(), Some(false));
    assert_eq!(job.role_arn(), Some(ROLE));
    assert_eq!(
        job.stopping_condition().unwrap().max_runtime_in_seconds(),
        Some(300)
    );
    let mut metrics: Vec<_> = job
        .final_metric_data_list()
        .iter()
        .map(|metric| metric.metric_name().unwrap().to_owned())
        .collect();
    metrics.sort_unstable();
    expect![[r#"
        train:binary_classification_accuracy
        train:binary_classification_accuracy:epoch
        train:binary_classification_cross_entropy
        train:binary_classification_cross_entropy:epoch
        train:progress
        train:throughput
        validation:discriminator_auc"#]]
    .assert_eq(&metrics.join("\n"));
    let tags = world
        .sagemaker
        .list_tags()
        .resource_arn(arn)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (tags.tags()[0].key(), tags.tags()[0].value()),
        (Some("team"), Some("a"))
    );

    // Made again, it is in use, whatever became of it.
    expect!["ResourceInUse: Training job names must be unique within an AWS account and region, and a training job with this name already exists (arn:aws:sagemaker:us-east-1:000000000000:training-job/job-1)"]
        .assert_eq(&told(world.training("Job-1").send().await));
}

/// Several instances train as one: the rows of all, however they were shared out, give the model that one instance gives.
#[tokio::test]
async fn several_instances_train_as_one() {
    let world = World::new().await;
    world.bucket_with_data().await;
    for (name, rows) in [("a", 50..60), ("b", 60..70), ("c", 70..80)] {
        world
            .put(&format!("train/{name}.csv"), crate::common::rows(rows))
            .await;
    }
    let mut archives = Vec::new();
    for (name, instances, distribution) in [
        ("one", 1, "FullyReplicated"),
        ("two-sharded", 2, "ShardedByS3Key"),
        ("three-replicated", 3, "FullyReplicated"),
    ] {
        let mut job = request(name);
        set(&mut job, "/ResourceConfig/InstanceCount", instances.into());
        let source = "/InputDataConfig/0/DataSource/S3DataSource/S3DataDistributionType";
        set(&mut job, source, distribution.into());
        let (status, answer) = call(&world, "SageMaker.CreateTrainingJob", &job.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        let job = world.job_ended(name).await;
        assert_eq!(job.training_job_status().unwrap().as_str(), "Completed", "{name}");
        assert_eq!(job.resource_config().unwrap().instance_count(), Some(instances));
        let streams =
            json!({"logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamNamePrefix": format!("{name}/")});
        let (_, streams) = call(&world, "Logs_20140328.DescribeLogStreams", &streams.to_string()).await;
        let streams = streams["logStreams"].as_array().unwrap().iter();
        let streams: Vec<_> = streams
            .map(|stream| stream["logStreamName"].as_str().unwrap())
            .collect();
        assert_eq!(streams.len(), instances as usize, "{streams:?}");
        for (at, stream) in streams.iter().enumerate() {
            assert!(
                stream.starts_with(&format!("{name}/algo-{}-", at + 1)),
                "{stream}"
            );
        }
        let get = world.s3.get_object().bucket("data");
        let archive = get
            .key(format!("models/{name}/output/model.tar.gz"))
            .send()
            .await
            .unwrap();
        archives.push(archive.body.collect().await.unwrap().to_vec());
    }
    assert!(
        archives[0] == archives[1] && archives[0] == archives[2],
        "the models differ"
    );
}

/// A job with the checkpoints of another that was stopped goes on from there, to the model of one that was not.
#[tokio::test]
async fn a_job_goes_on_from_the_checkpoints_of_another() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let train = |name: &str, checkpoints: Option<&str>| {
        let url = checkpoints.map(|url| {
            let config = aws_sdk_sagemaker::types::CheckpointConfig::builder().s3_uri(url);
            config.build()
        });
        let train = world.training(name).hyper_parameters("epochs", "1000");
        train.set_checkpoint_config(url).send()
    };
    let url = "s3://data/checkpoints/";
    train("stopped", Some(url)).await.unwrap();
    eventually(|| async {
        let list = world.s3.list_objects_v2().bucket("data").prefix("checkpoints/");
        (list.send().await.unwrap().key_count() == Some(1)).then_some(())
    })
    .await;
    let stop = world.sagemaker.stop_training_job().training_job_name("stopped");
    let _ = stop.send().await; // it may have ended by then
    world.job_ended("stopped").await;
    train("goes-on", Some(url)).await.unwrap();
    train("whole", None).await.unwrap();
    let mut archives = Vec::new();
    for name in ["goes-on", "whole"] {
        let job = world.job_ended(name).await;
        assert_eq!(job.training_job_status().unwrap().as_str(), "Completed", "{name}");
        let get = world.s3.get_object().bucket("data");
        let archive = get
            .key(format!("models/{name}/output/model.tar.gz"))
            .send()
            .await
            .unwrap();
        archives.push(archive.body.collect().await.unwrap().to_vec());
    }
    assert!(archives[0] == archives[1], "the models differ");
    let told = r#"{"logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamNamePrefix": "goes-on/", "filterPattern": "\"Going on from the checkpoint\""}"#;
    let (_, found) = call(&world, "Logs_20140328.FilterLogEvents", told).await;
    assert_eq!(found["events"].as_array().unwrap().len(), 1, "{found}");
}

#[tokio::test]
async fn a_prefix_means_every_object_under_it_and_slashes_stay() {
    let world = World::new().await;
    world.bucket_with_data().await;
    world.put("train/more.csv", "Canada, 1.2.3.4").await;
    world.put("train/folder/", "").await;
    // As the notebooks do, with an empty prefix before the path.
    let output = OutputDataConfig::builder()
        .s3_output_path("s3://data//output")
        .build();
    world
        .training("job")
        .output_data_config(output)
        .send()
        .await
        .unwrap();
    let job = world.job_ended("job").await;
    assert_eq!(
        job.model_artifacts().unwrap().s3_model_artifacts(),
        Some("s3://data//output/job/output/model.tar.gz")
    );
    world
        .s3
        .head_object()
        .bucket("data")
        .key("/output/job/output/model.tar.gz")
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_the_work_fails_the_job() {
    let world = World::new().await;
    world.bucket_with_data().await;
    world
        .put(
            "bad/rows.csv",
            "Canada,1.2.3.4\nFrance,5.6.7.8\nGermany,1.1.1.1,2.2.2.2\n",
        )
        .await;
    world.put("empty/rows.csv", "").await;
    world
        .training("parameters")
        .hyper_parameters("vector_dim", "3")
        .hyper_parameters("epochs", "x")
        .send()
        .await
        .unwrap();
    let rows = world
        .training("rows")
        .set_input_data_config(Some(vec![channel("train", "s3://data/bad/")]));
    rows.send().await.unwrap();
    let none = world
        .training("none")
        .set_input_data_config(Some(vec![channel("train", "s3://data/empty/")]));
    none.send().await.unwrap();
    let name = world
        .training("name")
        .set_input_data_config(Some(vec![channel("training", "s3://data/train/")]));
    name.send().await.unwrap();
    let output = OutputDataConfig::builder()
        .s3_output_path("s3://nowhere/models")
        .build();
    world
        .training("output")
        .output_data_config(output)
        .send()
        .await
        .unwrap();
    let mut reasons = Vec::new();
    for name in ["parameters", "rows", "none", "name", "output"] {
        let job = world.job_ended(name).await;
        assert_eq!(job.training_job_status().unwrap().as_str(), "Failed");
        assert_eq!(job.secondary_status().unwrap().as_str(), "Failed");
        // The member is mandatory, so the client makes up an empty one.
        assert_eq!(
            job.model_artifacts().and_then(|m| m.s3_model_artifacts()),
            Some("")
        );
        reasons.push(format!("{name}: {}", job.failure_reason().unwrap()));
    }
    expect![[r#"
        parameters: AlgorithmError: Customer Error: the hyperparameters are not valid under any of the given schemas: vector_dim must lie in 4..=4096, got 3; epochs must be a whole number, got `x` (caused by ValidationError)
        rows: AlgorithmError: Customer Error: Training Job failed reading dataset. Unable to parse entity or IP address correctly. See AWS Documentation to ensure data follows formatting guidelines. (caused by CParserError)

        Caused by: bad/rows.csv: line 3: expected an entity and an IPv4 address, found 3 fields in `Germany,1.1.1.1,2.2.2.2`; a value with a comma in it needs quotes
        none: AlgorithmError: there are no training rows
        name: AlgorithmError: Customer Error: the channel `train` is missing; it holds the rows to learn from (caused by ValidationError)
        output: ClientError: the output bucket of s3://nowhere/models does not exist"#]].assert_eq(&reasons.join("\n"));
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_told_at_once() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let image = |image: &str| {
        let algorithm = aws_sdk_sagemaker::types::AlgorithmSpecification::builder().training_image(image);
        algorithm
            .training_input_mode(aws_sdk_sagemaker::types::TrainingInputMode::File)
            .build()
    };
    let missing = || Some(vec![channel("train", "s3://data/nothing/here")]);
    let stop = StoppingCondition::builder()
        .max_runtime_in_seconds(60)
        .max_wait_time_in_seconds(30)
        .build();
    let answers = [
        told(world.training("bad_name").send().await),
        told(world.training("job").role_arn("me").send().await),
        told(
            world
                .training("job")
                .algorithm_specification(image("example.com/mine:1"))
                .send()
                .await,
        ),
        told(
            world
                .training("job")
                .set_input_data_config(missing())
                .send()
                .await,
        ),
        told(
            world
                .training("job")
                .enable_managed_spot_training(true)
                .stopping_condition(stop)
                .send()
                .await,
        ),
        told(
            world
                .sagemaker
                .describe_training_job()
                .training_job_name("job")
                .send()
                .await,
        ),
        told(
            world
                .sagemaker
                .stop_training_job()
                .training_job_name("job")
                .send()
                .await,
        ),
    ];
    expect![[r#"
        ValidationException: 1 validation error detected: Value 'bad_name' at 'trainingJobName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*
        ValidationException: 1 validation error detected: Value 'me' at 'roleArn' failed to satisfy constraint: Member must satisfy regular expression pattern: ^arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+$
        ValidationException: The image example.com/mine:1 cannot be run by aws-local, which runs the built-in algorithm only: <account>.dkr.ecr.<region>.amazonaws.com/ipinsights:1, or ipinsights-container of this project in place of it
        ValidationException: No S3 objects found under S3 URL "s3://data/nothing/here" given in input data source. Please ensure that the bucket exists in the selected region (us-east-1), that objects exist under that S3 prefix, and that the role "arn:aws:iam::000000000000:role/tests" has "s3:ListBucket" permissions on bucket "data".
        ValidationException: Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds
        ValidationException: Requested resource not found.
        ValidationException: Requested resource not found."#]].assert_eq(&answers.join("\n"));
}

#[tokio::test]
async fn a_job_can_be_stopped() {
    let world = World::new().await;
    world.bucket_with_data().await;
    world
        .training("long")
        .hyper_parameters("epochs", "100000000")
        .send()
        .await
        .unwrap();
    eventually(|| async {
        let job = world
            .sagemaker
            .describe_training_job()
            .training_job_name("long")
            .send()
            .await
            .unwrap();
        (job.secondary_status().unwrap().as_str() == "Training").then_some(())
    })
    .await;
    world
        .sagemaker
        .stop_training_job()
        .training_job_name("long")
        .send()
        .await
        .unwrap();
    let job = world.job_ended("long").await;
    assert_eq!(job.training_job_status().unwrap().as_str(), "Stopped");
    assert_eq!(job.secondary_status().unwrap().as_str(), "Stopped");
    world
        .sagemaker
        .delete_training_job()
        .training_job_name("long")
        .send()
        .await
        .unwrap();
    assert!(
        world
            .sagemaker
            .describe_training_job()
            .training_job_name("long")
            .send()
            .await
            .is_err()
    );
}

/// Whoever was told that a job stops finds it stopped, however near its end it was.
#[tokio::test]
async fn a_job_that_was_told_to_stop_has_stopped() {
    let world = World::new().await;
    world.bucket_with_data().await;
    for i in 0..6 {
        let name = format!("job-{i}");
        // The more entities, the longer the model takes to be written.
        let job = world
            .training(&name)
            .hyper_parameters("num_entity_vectors", "40000");
        job.send().await.unwrap();
        let input = json!({"TrainingJobName": &name});
        let described = loop {
            let job = world
                .server
                .call("SageMaker.DescribeTrainingJob", &input)
                .await
                .unwrap();
            let status = job["SecondaryStatus"].as_str().unwrap();
            if ["Uploading", "Completed"].contains(&status) {
                break job;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        };
        let stopped = world.server.call("SageMaker.StopTrainingJob", &input).await;
        let expected = if stopped.is_ok() { "Stopped" } else { "Completed" };
        let job = world.job_ended(&name).await;
        assert_eq!(
            job.training_job_status().unwrap().as_str(),
            expected,
            "{described}"
        );
        assert!(job.model_artifacts().is_some(), "the model is there all the same");
    }
}

/// Jobs take none of the threads that requests need.
#[test]
fn jobs_keep_nobody_waiting() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::new().await;
        world.bucket_with_data().await;
        for name in ["one", "two", "three"] {
            let job = world.training(name).hyper_parameters("epochs", "100000000");
            job.send().await.unwrap();
        }
        let put = world.put("another", vec![b'x'; 100_000]);
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), put).await;
        assert!(waited.is_ok(), "an object waits for the jobs to end");
        world.server.shutdown().await;
    });
}

#[tokio::test]
async fn a_job_ends_when_its_time_is_up() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let limit = StoppingCondition::builder().max_runtime_in_seconds(1).build();
    let long = world
        .training("long")
        .hyper_parameters("epochs", "100000000")
        .stopping_condition(limit);
    long.send().await.unwrap();
    let job = world.job_ended("long").await;
    assert_eq!(job.training_job_status().unwrap().as_str(), "Stopped");
    assert_eq!(job.secondary_status().unwrap().as_str(), "MaxRuntimeExceeded");
}

#[tokio::test]
async fn models_are_kept_listed_and_deleted() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let archive = world.trained("job").await;
    for name in ["one", "two", "three"] {
        world.model(name, &archive).await;
    }
    let container = |url: &str, image: &str| {
        aws_sdk_sagemaker::types::ContainerDefinition::builder()
            .image(image)
            .model_data_url(url)
            .build()
    };
    let create = |name: &str, url: &str, image: &str| {
        let create = world
            .sagemaker
            .create_model()
            .model_name(name)
            .execution_role_arn(ROLE);
        create.primary_container(container(url, image)).send()
    };
    let answers = [
        told(create("one", &archive, IMAGE).await),
        told(create("four", "s3://data/none/model.tar.gz", IMAGE).await),
        told(create("four", &archive, "example.com/mine:1").await),
        told(world.sagemaker.describe_model().model_name("four").send().await),
        told(world.sagemaker.delete_model().model_name("four").send().await),
    ];
    expect![[r#"
        ValidationException: Cannot create already existing model "arn:aws:sagemaker:us-east-1:000000000000:model/one".
        ValidationException: Could not find model data at s3://data/none/model.tar.gz.
        ValidationException: The image example.com/mine:1 cannot be run by aws-local, which runs the built-in algorithm only: <account>.dkr.ecr.<region>.amazonaws.com/ipinsights:1, or ipinsights-container of this project in place of it
        ValidationException: Could not find model "arn:aws:sagemaker:us-east-1:000000000000:model/four".
        ValidationException: Could not find model "arn:aws:sagemaker:us-east-1:000000000000:model/four"."#]].assert_eq(&answers.join("\n"));
    let described = world
        .sagemaker
        .describe_model()
        .model_name("one")
        .send()
        .await
        .unwrap();
    assert_eq!(
        described.primary_container().unwrap().model_data_url(),
        Some(archive.as_str())
    );
    let mut names = Vec::new();
    let pages = world
        .sagemaker
        .list_models()
        .sort_by(aws_sdk_sagemaker::types::ModelSortKey::Name);
    let mut pages = pages
        .sort_order(OrderKey::Ascending)
        .max_results(2)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        names.extend(
            page.unwrap()
                .models()
                .iter()
                .map(|m| m.model_name().unwrap().to_owned()),
        );
    }
    assert_eq!(names, ["one", "three", "two"]);
    world
        .sagemaker
        .delete_model()
        .model_name("one")
        .send()
        .await
        .unwrap();
    assert!(
        world
            .sagemaker
            .describe_model()
            .model_name("one")
            .send()
            .await
            .is_err()
    );
    let jobs = world
        .sagemaker
        .list_training_jobs()
        .sort_by(SortBy::CreationTime)
        .send()
        .await
        .unwrap();
    assert_eq!(jobs.training_job_summaries()[0].training_job_name(), Some("job"));
}

/// The image of this project trains and serves in place of the service's, and reads its own variables.
#[tokio::test]
async fn the_projects_own_image_runs_too() {
    const OWN: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/ipinsights-container:0.2.0";
    let world = World::new().await;
    world.bucket_with_data().await;
    let own = |name: &str, variables: Value| {
        let mut request = request(name);
        set(&mut request, "/AlgorithmSpecification/TrainingImage", json!(OWN));
        set(&mut request, "/Environment", variables);
        request
    };
    let mut archives = Vec::new();
    for (name, variables) in [
        ("plain", json!({})),
        ("zero", json!({"IPINSIGHTS_SEED": "0"})),
        ("seven", json!({"IPINSIGHTS_SEED": "7"})),
    ] {
        let request = own(name, variables);
        world
            .server
            .call("SageMaker.CreateTrainingJob", &request)
            .await
            .unwrap();
        let job = world.job_ended(name).await;
        assert_eq!(job.training_job_status().unwrap().as_str(), "Completed", "{name}");
        let key = format!("models/{name}/output/model.tar.gz");
        let object = world
            .s3
            .get_object()
            .bucket("data")
            .key(key)
            .send()
            .await
            .unwrap();
        archives.push(object.body.collect().await.unwrap().to_vec());
    }
    assert!(archives[0] == archives[1] && archives[1] != archives[2]);

    for (name, variable, value) in [
        ("soon", "IPINSIGHTS_EARLY_STOP", "soon"),
        ("at-once", "IPINSIGHTS_EARLY_STOP", "0"),
        ("any", "IPINSIGHTS_SEED", "any"),
    ] {
        let wrong = own(name, json!({variable: value}));
        world
            .server
            .call("SageMaker.CreateTrainingJob", &wrong)
            .await
            .unwrap();
        let expected = match variable {
            "IPINSIGHTS_SEED" => "a whole number below 2^64",
            _ => "a number of epochs, at least 1",
        };
        assert_eq!(
            world.job_ended(name).await.failure_reason(),
            Some(format!("AlgorithmError: {variable} must be {expected}, got `{value}`").as_str())
        );
    }
    // Without validation rows there is nothing to stop for; an empty variable is none.
    let variables = json!({"IPINSIGHTS_EARLY_STOP": "1", "IPINSIGHTS_SEED": ""});
    let mut unvalidated = own("unvalidated", variables);
    unvalidated["InputDataConfig"].as_array_mut().unwrap().pop();
    world
        .server
        .call("SageMaker.CreateTrainingJob", &unvalidated)
        .await
        .unwrap();
    let job = world.job_ended("unvalidated").await;
    assert_eq!(job.training_job_status().unwrap().as_str(), "Completed");
    let filter = json!({
        "logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamNamePrefix": "unvalidated",
        "filterPattern": "IPINSIGHTS_EARLY_STOP",
    });
    let (_, found) =
        crate::refusals::call(&world, "Logs_20140328.FilterLogEvents", &filter.to_string()).await;
    let told = found["events"][0]["message"].as_str().unwrap();
    assert!(
        told.ends_with("IPINSIGHTS_EARLY_STOP has no effect without validation rows."),
        "{told}"
    );
    let mut several = own("several", json!({}));
    set(&mut several, "/ResourceConfig/InstanceCount", json!(2));
    let refused = world
        .server
        .call("SageMaker.CreateTrainingJob", &several)
        .await
        .unwrap_err();
    assert!(refused.message.contains("trains on one machine"), "{refused}");

    let model = json!({
        "ModelName": "own",
        "ExecutionRoleArn": ROLE,
        "PrimaryContainer": {"Image": OWN, "ModelDataUrl": "s3://data/models/seven/output/model.tar.gz"},
    });
    world.server.call("SageMaker.CreateModel", &model).await.unwrap();
}
