//! Transform jobs, tuning jobs, metrics and captured data.

use aws_local::Server;
use expect_test::expect;
use serde_json::{Value, json};

use crate::{
    common::{IMAGE, ROLE, World, eventually, rows},
    folder::edit,
    refusals::{call, raw},
};

/// Calls an operation of SageMaker that has to succeed.
async fn sagemaker(world: &World, operation: &str, input: Value) -> Value {
    let (status, answer) = call(world, &format!("SageMaker.{operation}"), &input.to_string()).await;
    assert_eq!(status, 200, "{operation}: {answer}");
    answer
}

/// What it answers to a request that it does not take.
async fn refusal(world: &World, operation: &str, input: Value) -> String {
    let (status, answer) = call(world, &format!("SageMaker.{operation}"), &input.to_string()).await;
    assert_eq!(status, 400, "{operation}: {answer}");
    format!(
        "{}: {}",
        answer["__type"].as_str().unwrap(),
        answer["message"].as_str().unwrap()
    )
}

fn at(mut request: Value, pointer: &str, value: Value) -> Value {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    request.pointer_mut(parent).unwrap()[member] = value;
    request
}

/// A world with a model `model`.
async fn with_model() -> World {
    let world = World::new().await;
    world.bucket_with_data().await;
    let archive = world.trained("job").await;
    world.model("model", &archive).await;
    world
}

pub(crate) fn transform(name: &str, input: &str) -> Value {
    let source = json!({"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": format!("s3://data/{input}")}});
    json!({
        "TransformJobName": name,
        "ModelName": "model",
        "TransformInput": {"DataSource": source, "ContentType": "text/csv", "SplitType": "Line"},
        "TransformOutput": {"S3OutputPath": format!("s3://data/out/{name}")},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    })
}

pub(crate) async fn ended(world: &World, kind: &str, name: &str) -> Value {
    let member = format!("{kind}Name");
    eventually(|| async {
        let described = sagemaker(world, &format!("Describe{kind}"), json!({&member: name})).await;
        let status = described[format!("{kind}Status")].as_str().unwrap().to_owned();
        (!["InProgress", "Stopping"].contains(&status.as_str())).then_some(described)
    })
    .await
}

async fn object(world: &World, key: &str) -> Option<String> {
    let object = world.s3.get_object().bucket("data").key(key).send().await.ok()?;
    Some(String::from_utf8(object.body.collect().await.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn a_transform_scores_every_object_in_order() {
    let world = with_model().await;
    world.put("in/a.csv", rows(0..30)).await;
    world.put("in/more/b.csv", "France, 10.1.0.1").await;
    sagemaker(&world, "CreateTransformJob", transform("lines", "in/")).await;
    let job = ended(&world, "TransformJob", "lines").await;
    assert_eq!(job["TransformJobStatus"], "Completed", "{job}");
    assert_eq!(job["TransformInput"]["CompressionType"], "None");
    assert!(job["TransformEndTime"].as_f64() >= job["TransformStartTime"].as_f64());
    let scores = |text: &str| -> Vec<f64> {
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["dot_product"].as_f64().unwrap()).collect()
    };
    let a = scores(&object(&world, "out/lines/a.csv.out").await.unwrap());
    assert_eq!(a.len(), 60);
    assert_eq!(
        scores(&object(&world, "out/lines/more/b.csv.out").await.unwrap()),
        [a[2]]
    );

    // A request for each row, as documents, gives the same scores in the same order.
    let single = transform("single", "in/a.csv");
    let single = at(single, "/BatchStrategy", json!("SingleRecord"));
    let single = at(single, "/TransformOutput/Accept", json!("application/json"));
    let single = at(single, "/TransformOutput/AssembleWith", json!("Line"));
    sagemaker(&world, "CreateTransformJob", single).await;
    ended(&world, "TransformJob", "single").await;
    let documents = object(&world, "out/single/a.csv.out").await.unwrap();
    let documents = documents
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let each: Vec<f64> = documents
        .map(|d| d["predictions"][0]["dot_product"].as_f64().unwrap())
        .collect();
    assert_eq!(each, a);

    let group = json!({"logGroupName": "/aws/sagemaker/TransformJobs", "logStreamNamePrefix": "lines/"});
    let (_, streams) = call(&world, "Logs_20140328.DescribeLogStreams", &group.to_string()).await;
    let names = streams["logStreams"].as_array().unwrap().iter();
    let names: Vec<_> = names
        .map(|stream| stream["logStreamName"].as_str().unwrap())
        .collect();
    assert!(
        names.len() == 2 && names[1] == format!("{}/data-log", names[0]),
        "{names:?}"
    );
    let listed = sagemaker(
        &world,
        "ListTransformJobs",
        json!({"StatusEquals": "Completed", "SortBy": "Name"}),
    )
    .await;
    assert_eq!(listed["TransformJobSummaries"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_bad_record_costs_its_file_alone() {
    let world = with_model().await;
    world.put("in/bad.csv", "France,10.1.0.1\nFrance,nowhere\n").await;
    world.put("in/good.csv", "France,10.1.0.1\n").await;
    sagemaker(&world, "CreateTransformJob", transform("mixed", "in")).await;
    let job = ended(&world, "TransformJob", "mixed").await;
    assert_eq!(job["TransformJobStatus"], "Failed");
    assert_eq!(
        job["FailureReason"],
        "ClientError: See job logs for more information"
    );
    assert!(object(&world, "out/mixed/good.csv.out").await.is_some());
    assert!(object(&world, "out/mixed/bad.csv.out").await.is_none());
    let filter = json!({"logGroupName": "/aws/sagemaker/TransformJobs", "filterPattern": "bad.csv"});
    let (_, found) = call(&world, "Logs_20140328.FilterLogEvents", &filter.to_string()).await;
    let lines = found["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["message"].as_str().unwrap());
    expect![[r#"
        data/in/bad.csv: Bad HTTP status received from algorithm: 400
        data/in/bad.csv: unable to evaluate payload provided: in the batch from line 1: line 2: `nowhere` is not an IPv4 address: invalid IPv4 address syntax"#]]
        .assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}

#[tokio::test]
async fn what_a_transform_is_refused_for() {
    let world = with_model().await;
    let good = || transform("t", "train/");
    let mut told = Vec::new();
    for request in [
        at(good(), "/TransformJobName", json!("a_b")),
        at(good(), "/ModelName", json!("none")),
        at(good(), "/TransformInput/SplitType", json!("RecordIO")),
        at(good(), "/TransformInput/SplitType", json!("Tab")),
        at(
            good(),
            "/TransformInput/DataSource/S3DataSource/S3Uri",
            json!("s3://data/none/"),
        ),
        at(good(), "/TransformOutput", json!({})),
        at(good(), "/TransformOutput/S3OutputPath", json!("s3://nowhere/out")),
        at(good(), "/TransformResources/InstanceCount", json!(0)),
        at(
            at(good(), "/MaxPayloadInMB", json!(50)),
            "/MaxConcurrentTransforms",
            json!(3),
        ),
        at(good(), "/MaxPayloadInMB", json!(0)),
        at(good(), "/DataProcessing", json!({"JoinSource": "Input"})),
        at(good(), "/Environment", json!({"A": 1})),
    ] {
        told.push(refusal(&world, "CreateTransformJob", request).await);
    }
    sagemaker(&world, "CreateTransformJob", good()).await;
    told.push(refusal(&world, "CreateTransformJob", good()).await);
    ended(&world, "TransformJob", "t").await;
    told.push(refusal(&world, "StopTransformJob", json!({"TransformJobName": "t"})).await);
    told.push(
        refusal(
            &world,
            "DescribeTransformJob",
            json!({"TransformJobName": "none"}),
        )
        .await,
    );
    expect![[r#"
        ValidationException: 1 validation error detected: Value 'a_b' at 'transformJobName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*
        ValidationException: Could not find model "arn:aws:sagemaker:us-east-1:000000000000:model/none".
        ValidationException: SplitType RecordIO is not implemented by aws-local.
        ValidationException: 1 validation error detected: Value 'Tab' at 'transformInput.splitType' failed to satisfy constraint: Member must satisfy enum value set: [None, Line, RecordIO, TFRecord]
        ValidationException: No S3 objects found under S3 URL "s3://data/none/" given in input data source. Please ensure that the bucket exists in the selected region (us-east-1), that objects exist under that S3 prefix, and that the role "arn:aws:iam::000000000000:role/tests" has "s3:ListBucket" permissions on bucket "data".
        ValidationException: 1 validation error detected: Value null at 'transformOutput.s3OutputPath' failed to satisfy constraint: Member must not be null
        ValidationException: The bucket of the output path s3://nowhere/out does not exist.
        ValidationException: 1 validation error detected: Value '0' at 'transformResources.instanceCount' failed to satisfy constraint: Member must have value greater than or equal to 1
        ValidationException: The product of MaxConcurrentTransforms (3) and MaxPayloadInMB (50) must not exceed 100.
        ValidationException: MaxPayloadInMB 0 streams the data, which built-in algorithms do not support.
        ValidationException: DataProcessing.JoinSource Input is not implemented by aws-local.
        SerializationException: NUMBER_VALUE at 'environment' can not be converted to a String
        ResourceInUse: Job name must be unique within an AWS account and region, and a job with this name already exists (arn:aws:sagemaker:us-east-1:000000000000:transform-job/t)
        ValidationException: The request was rejected because the transform job is in status Completed.
        ValidationException: Requested resource not found."#]].assert_eq(&told.join("\n"));
}

pub(crate) fn tuning(name: &str) -> Value {
    let channel = |name: &str| {
        let source = json!({
            "S3DataType": "S3Prefix", "S3Uri": format!("s3://data/{name}/"), "S3DataDistributionType": "FullyReplicated",
        });
        json!({"ChannelName": name, "DataSource": {"S3DataSource": source}})
    };
    json!({
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2},
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:discriminator_auc"},
            "ParameterRanges": {
                "IntegerParameterRanges": [
                    {"Name": "vector_dim", "MinValue": "4", "MaxValue": "16", "ScalingType": "Auto"},
                ],
            },
            "TrainingJobEarlyStoppingType": "Off",
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": {"num_entity_vectors": "20", "epochs": "3", "mini_batch_size": "50"},
            "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            "RoleArn": ROLE,
            "InputDataConfig": [channel("train"), channel("validation")],
            "OutputDataConfig": {"S3OutputPath": "s3://data/models"},
            "StoppingCondition": {"MaxRuntimeInSeconds": 300},
            "HyperParameterTuningResourceConfig": {
                "InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5,
            },
        },
        "Tags": [{"Key": "team", "Value": "a"}],
    })
}

async fn trials(world: &World, name: &str, more: Value) -> Vec<Value> {
    let mut input = json!({"HyperParameterTuningJobName": name, "MaxResults": 3});
    input
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let mut found = Vec::new();
    loop {
        let page = sagemaker(world, "ListTrainingJobsForHyperParameterTuningJob", input.clone()).await;
        found.extend(page["TrainingJobSummaries"].as_array().unwrap().clone());
        match page.get("NextToken") {
            Some(token) => input["NextToken"] = token.clone(),
            None => return found,
        }
    }
}

#[tokio::test]
async fn a_tuning_job_runs_training_jobs_and_finds_the_best() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let mut values = Vec::new();
    // The same request gives the same trials.
    for name in ["first", "again"] {
        sagemaker(&world, "CreateHyperParameterTuningJob", tuning(name)).await;
        let job = ended(&world, "HyperParameterTuningJob", name).await;
        assert_eq!(job["HyperParameterTuningJobStatus"], "Completed", "{job}");
        expect![[r#"{"Completed":4,"InProgress":0,"RetryableError":0,"NonRetryableError":0,"Stopped":0}"#]]
            .assert_eq(&job["TrainingJobStatusCounters"].to_string());
        let all = trials(&world, name, json!({})).await;
        assert_eq!(all.len(), 4);
        let objective = |trial: &Value| {
            trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
                .as_f64()
                .unwrap()
        };
        let sorted = trials(
            &world,
            name,
            json!({"SortBy": "FinalObjectiveMetricValue", "SortOrder": "Descending"}),
        )
        .await;
        assert!(sorted.is_sorted_by(|a, b| objective(a) >= objective(b)));
        // A token names a trial whatever has become of it since.
        let first = &all[0]["TrainingJobName"];
        let failed = json!({"StatusEquals": "Failed", "NextToken": first});
        assert_eq!(trials(&world, name, failed).await, Vec::<Value>::new());
        assert_eq!(objective(&job["BestTrainingJob"]), objective(&sorted[0]));
        values.push(
            all.iter()
                .map(|t| t["TunedHyperParameters"]["vector_dim"].clone())
                .collect::<Vec<_>>(),
        );

        let best = job["BestTrainingJob"]["TrainingJobName"].as_str().unwrap();
        assert!(best.starts_with(&format!("{name}-00")), "{best}");
        let best = sagemaker(&world, "DescribeTrainingJob", json!({"TrainingJobName": best})).await;
        assert_eq!(best["TuningJobArn"], job["HyperParameterTuningJobArn"]);
        assert_eq!(best["ResourceConfig"]["InstanceType"], "ml.m5.large");
        assert_eq!(
            best["HyperParameters"]["_tuning_objective_metric"],
            "validation:discriminator_auc"
        );
        let tags = sagemaker(&world, "ListTags", json!({"ResourceArn": best["TrainingJobArn"]})).await;
        assert_eq!(tags["Tags"], json!([{"Key": "team", "Value": "a"}]));
    }
    assert_eq!(values[0], values[1]);
    let listed = sagemaker(
        &world,
        "ListHyperParameterTuningJobs",
        json!({"NameContains": "AGAIN"}),
    )
    .await;
    assert_eq!(
        listed["HyperParameterTuningJobSummaries"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    sagemaker_empty(
        &world,
        "DeleteHyperParameterTuningJob",
        json!({"HyperParameterTuningJobName": "again"}),
    )
    .await;
}

/// Calls an operation whose answer is empty.
async fn sagemaker_empty(world: &World, operation: &str, input: Value) {
    let (status, answer) = call(world, &format!("SageMaker.{operation}"), &input.to_string()).await;
    assert_eq!((status, &answer), (200, &Value::Null), "{operation}");
}

#[tokio::test]
async fn every_strategy_of_tuning() {
    let world = World::new().await;
    world.bucket_with_data().await;
    const CONFIG: &str = "/HyperParameterTuningJobConfig";
    let random = at(tuning("random"), &format!("{CONFIG}/Strategy"), json!("Random"));
    let random = at(random, &format!("{CONFIG}/RandomSeed"), json!(7));
    let halving = at(
        tuning("halving"),
        &format!("{CONFIG}/Strategy"),
        json!("Hyperband"),
    );
    let halving = at(
        halving,
        &format!("{CONFIG}/StrategyConfig"),
        json!({"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 6}}),
    );
    // One at a time: of two side by side, the one that comes first to an epoch is the better one there.
    let halving = at(
        halving,
        &format!("{CONFIG}/ResourceLimits"),
        json!({"MaxNumberOfTrainingJobs": 8, "MaxParallelTrainingJobs": 1}),
    );
    let grid = at(tuning("grid"), &format!("{CONFIG}/Strategy"), json!("Grid"));
    let lists = json!({"CategoricalParameterRanges": [{"Name": "vector_dim", "Values": ["4", "8", "12"]}]});
    let grid = at(grid, &format!("{CONFIG}/ParameterRanges"), lists);
    let grid = at(
        grid,
        &format!("{CONFIG}/ResourceLimits"),
        json!({"MaxParallelTrainingJobs": 2}),
    );
    let early = at(
        tuning("early"),
        &format!("{CONFIG}/TrainingJobEarlyStoppingType"),
        json!("Auto"),
    );
    let target = at(
        tuning("target"),
        &format!("{CONFIG}/TuningJobCompletionCriteria"),
        json!({"TargetObjectiveMetricValue": 0.0}),
    );
    let mut counts = Vec::new();
    for request in [random, halving, grid, early, target] {
        let name = request["HyperParameterTuningJobName"]
            .as_str()
            .unwrap()
            .to_owned();
        sagemaker(&world, "CreateHyperParameterTuningJob", request).await;
        let job = ended(&world, "HyperParameterTuningJob", &name).await;
        assert_eq!(job["HyperParameterTuningJobStatus"], "Completed", "{job}");
        let count = &job["TrainingJobStatusCounters"];
        counts.push(format!(
            "{name}: {} completed, {} stopped",
            count["Completed"], count["Stopped"]
        ));
    }
    expect![[r#"
        random: 4 completed, 0 stopped
        halving: 4 completed, 4 stopped
        grid: 3 completed, 0 stopped
        early: 4 completed, 0 stopped
        target: 2 completed, 0 stopped"#]]
    .assert_eq(&counts.join("\n"));
    // The resource of Hyperband is what its trials train, whatever else the definition says.
    for trial in trials(&world, "halving", json!({})).await {
        let name = &trial["TrainingJobName"];
        let job = sagemaker(&world, "DescribeTrainingJob", json!({"TrainingJobName": name})).await;
        assert_eq!(job["HyperParameters"]["epochs"], "6", "{job}");
    }
}

/// A job has as many machines as a new account, and no log for each of more.
#[tokio::test]
async fn no_job_has_more_machines_than_its_quota() {
    let world = with_model().await;
    let source = json!({"S3DataType": "S3Prefix", "S3Uri": "s3://data/train/"});
    let training = json!({
        "TrainingJobName": "t",
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
        "OutputDataConfig": {"S3OutputPath": "s3://data/models"},
        "ResourceConfig": {"InstanceCount": i64::MAX, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 300},
    });
    let transform = at(
        transform("t", "train/"),
        "/TransformResources/InstanceCount",
        json!(21),
    );
    let count = "/TrainingJobDefinition/HyperParameterTuningResourceConfig/InstanceCount";
    let tuning = at(tuning("t"), count, json!(1_000_000));
    let answers = [
        refusal(&world, "CreateTrainingJob", training).await,
        refusal(&world, "CreateTransformJob", transform).await,
        refusal(&world, "CreateHyperParameterTuningJob", tuning).await,
    ];
    expect![[r#"
        ResourceLimitExceeded: The account-level service limit 'ml.m5.large for training job usage' is 20 Instances, with current utilization of 0 Instances and a request delta of 9223372036854775807 Instances. Please use AWS Service Quotas to request an increase for this quota. If AWS Service Quotas is not available, contact AWS support to request an increase for this quota.
        ResourceLimitExceeded: The account-level service limit 'ml.m5.large for transform job usage' is 20 Instances, with current utilization of 0 Instances and a request delta of 21 Instances. Please use AWS Service Quotas to request an increase for this quota. If AWS Service Quotas is not available, contact AWS support to request an increase for this quota.
        ResourceLimitExceeded: The account-level service limit 'ml.m5.large for training job usage' is 20 Instances, with current utilization of 0 Instances and a request delta of 1000000 Instances. Please use AWS Service Quotas to request an increase for this quota. If AWS Service Quotas is not available, contact AWS support to request an increase for this quota."#]].assert_eq(&answers.join("\n"));
}

/// A tuning job begins with what others found, after a restart as well, and tells the best of all.
#[tokio::test]
async fn a_tuning_job_begins_with_what_others_found() {
    let world = World::new().await;
    world.bucket_with_data().await;
    sagemaker(&world, "CreateHyperParameterTuningJob", tuning("parent")).await;
    let parent = ended(&world, "HyperParameterTuningJob", "parent").await;
    let warm = |name: &str, kind: &str| {
        let parents = json!([{"HyperParameterTuningJobName": "parent"}]);
        let config = json!({"ParentHyperParameterTuningJobs": parents, "WarmStartType": kind});
        at(tuning(name), "/WarmStartConfig", config)
    };
    let identical = "IdenticalDataAndAlgorithm";
    sagemaker(&world, "CreateHyperParameterTuningJob", warm("child", identical)).await;
    let child = ended(&world, "HyperParameterTuningJob", "child").await;
    assert_eq!(child["HyperParameterTuningJobStatus"], "Completed", "{child}");
    assert_eq!(child["WarmStartConfig"]["WarmStartType"], identical);
    let value = |job: &Value, member: &str| {
        job[member]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
            .as_f64()
            .unwrap()
    };
    let best = value(&parent, "BestTrainingJob").max(value(&child, "BestTrainingJob"));
    assert_eq!(value(&child, "OverallBestTrainingJob"), best);
    // It does not begin where a search begins that knows nothing.
    let values = |trials: Vec<Value>| -> Vec<Value> {
        trials
            .iter()
            .map(|t| t["TunedHyperParameters"]["vector_dim"].clone())
            .collect()
    };
    let (cold, warmed) = (
        values(trials(&world, "parent", json!({})).await),
        values(trials(&world, "child", json!({})).await),
    );
    assert_ne!(cold, warmed);

    // What it began with is its own: the parent may be deleted while it runs.
    let slow = "/TrainingJobDefinition/StaticHyperParameters/epochs";
    let mut transfer = at(warm("transfer", "TransferLearning"), slow, json!("200"));
    sagemaker(&world, "CreateHyperParameterTuningJob", transfer.clone()).await;
    let name = json!({"HyperParameterTuningJobName": "parent"});
    sagemaker_empty(&world, "DeleteHyperParameterTuningJob", name).await;
    let world = world.restart().await;
    let job = ended(&world, "HyperParameterTuningJob", "transfer").await;
    assert_eq!(job["TrainingJobStatusCounters"]["Completed"], 4, "{job}");

    transfer["HyperParameterTuningJobName"] = "orphan".into();
    let parents = |name: &str| json!([{"HyperParameterTuningJobName": name}]);
    let pointer = "/WarmStartConfig/ParentHyperParameterTuningJobs";
    let of_child = |request: Value| at(request, pointer, parents("child"));
    let rows = "/TrainingJobDefinition/InputDataConfig/0/DataSource/S3DataSource/S3Uri";
    let grid = "/HyperParameterTuningJobConfig/Strategy";
    let strategy_and_lists = |request: Value| {
        let lists =
            json!({"CategoricalParameterRanges": [{"Name": "vector_dim", "Values": ["4", "8", "12", "16"]}]});
        at(
            at(request, grid, json!("Grid")),
            "/HyperParameterTuningJobConfig/ParameterRanges",
            lists,
        )
    };
    let running = at(tuning("running"), slow, json!("100000000"));
    sagemaker(&world, "CreateHyperParameterTuningJob", running).await;
    let told = [
        refusal(&world, "CreateHyperParameterTuningJob", transfer).await,
        refusal(
            &world,
            "CreateHyperParameterTuningJob",
            at(warm("w", identical), pointer, parents("running")),
        )
        .await,
        refusal(
            &world,
            "CreateHyperParameterTuningJob",
            at(
                of_child(warm("w", identical)),
                rows,
                json!("s3://data/validation/"),
            ),
        )
        .await,
        refusal(
            &world,
            "CreateHyperParameterTuningJob",
            strategy_and_lists(of_child(warm("w", identical))),
        )
        .await,
    ];
    expect![[r#"
        ResourceNotFound: Amazon SageMaker can't find a tuning job with the name parent.
        ValidationException: The parent tuning job running has not ended: its status is InProgress.
        ValidationException: With the WarmStartType IdenticalDataAndAlgorithm, InputDataConfig of the TrainingJobDefinition has to be that of the parent tuning job child; use TransferLearning.
        ValidationException: WarmStartConfig needs the strategy Bayesian or Random, not Grid."#]]
    .assert_eq(&told.join("\n"));
}

#[tokio::test]
async fn what_a_tuning_job_is_refused_for() {
    let world = World::new().await;
    world.bucket_with_data().await;
    const CONFIG: &str = "/HyperParameterTuningJobConfig";
    const RANGE: &str = "/HyperParameterTuningJobConfig/ParameterRanges/IntegerParameterRanges/0";
    let set = |pointer: &str, value: Value| at(tuning("t"), pointer, value);
    let mut told = Vec::new();
    for request in [
        set("/HyperParameterTuningJobName", json!("a".repeat(33))),
        set(&format!("{CONFIG}/Strategy"), json!("Genetic")),
        set(&format!("{CONFIG}/Strategy"), json!("Grid")),
        set(
            &format!("{CONFIG}/ResourceLimits/MaxParallelTrainingJobs"),
            Value::Null,
        ),
        set(
            &format!("{CONFIG}/ResourceLimits/MaxParallelTrainingJobs"),
            json!(5),
        ),
        set(
            &format!("{CONFIG}/HyperParameterTuningJobObjective/Type"),
            json!("Minimize"),
        ),
        set(&format!("{RANGE}/MinValue"), json!("four")),
        set(&format!("{RANGE}/MinValue"), json!("2")),
        set(&format!("{RANGE}/Name"), json!("colour")),
        set(
            "/TrainingJobDefinition/StaticHyperParameters/vector_dim",
            json!("8"),
        ),
        set(
            "/TrainingJobDefinition/AlgorithmSpecification/TrainingImage",
            json!("example.com/mine:1"),
        ),
        set(
            "/TrainingJobDefinition/InputDataConfig/0/DataSource/S3DataSource/S3Uri",
            json!("s3://data/none/"),
        ),
        set("/WarmStartConfig", json!({"WarmStartType": "TransferLearning"})),
    ] {
        told.push(refusal(&world, "CreateHyperParameterTuningJob", request).await);
    }
    told.push(
        refusal(
            &world,
            "DescribeHyperParameterTuningJob",
            json!({"HyperParameterTuningJobName": "none"}),
        )
        .await,
    );
    expect![[r#"
        ValidationException: 1 validation error detected: Value 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' at 'hyperParameterTuningJobName' failed to satisfy constraint: Member must have length less than or equal to 32
        ValidationException: 1 validation error detected: Value 'Genetic' at 'hyperParameterTuningJobConfig.strategy' failed to satisfy constraint: Member must satisfy enum value set: [Bayesian, Random, Hyperband, Grid]
        ValidationException: The hyperparameter ranges of the tuning job are not valid: a grid needs lists of values, such as 32|64|128: vector_dim has 4..16.
        ValidationException: 1 validation error detected: Value null at 'hyperParameterTuningJobConfig.resourceLimits.maxParallelTrainingJobs' failed to satisfy constraint: Member must not be null
        ValidationException: MaxParallelTrainingJobs (5) must not be greater than MaxNumberOfTrainingJobs (4).
        ValidationException: The objective metric Minimize of validation:discriminator_auc is not one of the algorithm's: it has to be Maximize of validation:discriminator_auc.
        ValidationException: 1 validation error detected: Value 'four' at 'hyperParameterTuningJobConfig.parameterRanges.integerParameterRanges.1.member.minValue' failed to satisfy constraint: Member must be a whole number
        ValidationException: The hyperparameters of the tuning job are not valid: vector_dim must lie in 4..=4096, got 2.
        ValidationException: The hyperparameter ranges of the tuning job are not valid: `colour` cannot be tuned: num_entity_vectors, vector_dim, epochs, learning_rate, mini_batch_size, num_ip_encoder_layers, random_negative_sampling_rate, shuffled_negative_sampling_rate, weight_decay.
        ValidationException: The hyperparameter vector_dim is both static and tuned; it can be only one of them.
        ValidationException: The image example.com/mine:1 cannot be run by aws-local, which runs the built-in algorithm only: <account>.dkr.ecr.<region>.amazonaws.com/ipinsights:1, or ipinsights-container of this project in place of it
        ValidationException: No S3 objects found under S3 URL "s3://data/none/" given in input data source. Please ensure that the bucket exists in the selected region (us-east-1), that objects exist under that S3 prefix, and that the role "arn:aws:iam::000000000000:role/tests" has "s3:ListBucket" permissions on bucket "data".
        ValidationException: 1 validation error detected: Value null at 'warmStartConfig.parentHyperParameterTuningJobs' failed to satisfy constraint: Member must not be null
        ResourceNotFound: Amazon SageMaker can't find a tuning job with the name none."#]].assert_eq(&told.join("\n"));

    // Without validation rows there is no objective.
    let blind = at(
        tuning("blind"),
        "/TrainingJobDefinition/InputDataConfig/1/ChannelName",
        json!("other"),
    );
    sagemaker(&world, "CreateHyperParameterTuningJob", blind).await;
    let job = ended(&world, "HyperParameterTuningJob", "blind").await;
    assert_eq!(job["HyperParameterTuningJobStatus"], "Failed");
    assert!(job.get("BestTrainingJob").is_none());
    expect!["No objective metrics found after running 4 training jobs: validation:discriminator_auc is computed on the channel validation, which the training jobs did not have"].assert_eq(job["FailureReason"].as_str().unwrap());
}

#[tokio::test]
async fn a_tuning_job_can_be_stopped_and_goes_on_after_a_restart() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let static_epochs = "/TrainingJobDefinition/StaticHyperParameters/epochs";
    let long = at(tuning("long"), static_epochs, json!("100000000"));
    sagemaker(&world, "CreateHyperParameterTuningJob", long).await;
    eventually(|| async { (trials(&world, "long", json!({})).await.len() == 2).then_some(()) }).await;
    sagemaker_empty(
        &world,
        "StopHyperParameterTuningJob",
        json!({"HyperParameterTuningJobName": "long"}),
    )
    .await;
    let job = ended(&world, "HyperParameterTuningJob", "long").await;
    assert_eq!(job["HyperParameterTuningJobStatus"], "Stopped");
    assert_eq!(job["TrainingJobStatusCounters"]["Stopped"], 2);

    let slow = at(tuning("slow"), static_epochs, json!("200"));
    sagemaker(&world, "CreateHyperParameterTuningJob", slow.clone()).await;
    eventually(|| async { (!trials(&world, "slow", json!({})).await.is_empty()).then_some(()) }).await;
    let world = world.restart().await;
    let job = ended(&world, "HyperParameterTuningJob", "slow").await;
    assert_eq!(job["HyperParameterTuningJobStatus"], "Completed", "{job}");
    assert_eq!(job["TrainingJobStatusCounters"]["Completed"], 4);
}

/// A tuning job that a server was killed under leaves no trial that nothing runs, and none twice.
#[tokio::test]
async fn no_trial_outlives_its_tuning_job() {
    let world = World::new().await;
    world.bucket_with_data().await;
    for (name, epochs) in [("told", "100000000"), ("over", "100000000"), ("half", "100")] {
        let epochs_at = "/TrainingJobDefinition/StaticHyperParameters/epochs";
        let request = at(tuning(name), epochs_at, json!(epochs));
        sagemaker(&world, "CreateHyperParameterTuningJob", request).await;
        eventually(|| async { (trials(&world, name, json!({})).await.len() >= 2).then_some(()) }).await;
    }
    world.server.shutdown().await;
    let folder = world.folder;
    edit(folder.path(), "tuning-jobs", "told", |job| {
        job["status"] = "Stopping".into()
    });
    edit(folder.path(), "tuning-jobs", "over", |job| {
        job["status"] = "Failed".into();
        job["ended"] = job["modified"].clone();
    });
    // Killed before the record of a trial was there.
    let mut first = String::new();
    edit(folder.path(), "tuning-jobs", "half", |job| {
        job["status"] = "InProgress".into();
        job["ended"] = Value::Null;
        first = job["trials"][0].as_str().unwrap().to_owned();
    });
    let database = rusqlite::Connection::open(folder.path().join("records.sqlite3")).unwrap();
    let gone = "DELETE FROM records WHERE collection = '/sagemaker/training-jobs' AND name = ?1";
    assert_eq!(database.execute(gone, [first]).unwrap(), 1);
    drop(database);
    let world = World::with_server(Server::builder(folder.path()).start().await.unwrap(), folder);
    let told = ended(&world, "HyperParameterTuningJob", "told").await;
    assert_eq!(told["HyperParameterTuningJobStatus"], "Stopped");
    let half = ended(&world, "HyperParameterTuningJob", "half").await;
    assert_eq!(half["HyperParameterTuningJobStatus"], "Completed", "{half}");
    for (name, status, count) in [
        ("told", "Stopped", 2),
        ("over", "Stopped", 2),
        ("half", "Completed", 4),
    ] {
        eventually(|| async {
            let found = trials(&world, name, json!({})).await;
            assert_eq!(found.len(), count, "{name}: {found:?}");
            let over = found.iter().all(|trial| trial["TrainingJobStatus"] == status);
            over.then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn curves_of_a_training_job() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let validation = crate::common::channel("validation", "s3://data/validation/");
    world
        .training("job")
        .input_data_config(validation)
        .send()
        .await
        .unwrap();
    world.job_ended("job").await;
    let job = sagemaker(&world, "DescribeTrainingJob", json!({"TrainingJobName": "job"})).await;
    let (from, to) = (
        job["TrainingStartTime"].as_f64().unwrap(),
        job["TrainingEndTime"].as_f64().unwrap() + 60.0,
    );
    let metric = json!({
        "Namespace": "/aws/sagemaker/TrainingJobs",
        "MetricName": "validation:discriminator_auc",
        "Dimensions": [{"Name": "TrainingJobName", "Value": "job"}],
    });
    let mut statistics = metric.clone();
    for (member, value) in [
        ("StartTime", json!(from)),
        ("EndTime", json!(to)),
        ("Period", json!(3600)),
        ("Statistics", json!(["SampleCount", "Maximum"])),
    ] {
        statistics[member] = value;
    }
    const SERVICE: &str = "GraniteServiceVersion20100801";
    let (_, found) = call(
        &world,
        &format!("{SERVICE}.GetMetricStatistics"),
        &statistics.to_string(),
    )
    .await;
    let points = found["Datapoints"].as_array().unwrap();
    let samples: f64 = points
        .iter()
        .map(|point| point["SampleCount"].as_f64().unwrap())
        .sum();
    assert_eq!(samples, 2.0, "one for each epoch: {found}");
    let queries = json!({
        "StartTime": from, "EndTime": to,
        "MetricDataQueries": [{"Id": "a", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Average"}}],
    });
    let (_, data) = call(&world, &format!("{SERVICE}.GetMetricData"), &queries.to_string()).await;
    assert!(
        !data["MetricDataResults"][0]["Values"]
            .as_array()
            .unwrap()
            .is_empty(),
        "{data}"
    );

    // The older clients' form.
    let iso = |seconds: f64| jiff::Timestamp::from_second(seconds as i64).unwrap().to_string();
    let form = format!(
        "Action=GetMetricStatistics&Version=2010-08-01&Namespace=%2Faws%2Fsagemaker%2FTrainingJobs\
         &MetricName=validation%3Adiscriminator_auc&Dimensions.member.1.Name=TrainingJobName\
         &Dimensions.member.1.Value=job&StartTime={}&EndTime={}&Period=3600&Statistics.member.1=SampleCount",
        iso(from),
        iso(to + 1.0)
    );
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let answer = raw(&world, &request).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("<SampleCount>2.0</SampleCount>"),
        "{answer}"
    );
    let bad = at(json!({"r": statistics}), "/r/Statistics", json!(["Median"]))["r"].clone();
    let (status, error) = call(
        &world,
        &format!("{SERVICE}.GetMetricStatistics"),
        &bad.to_string(),
    )
    .await;
    assert_eq!((status, &error["__type"]), (400, &json!("InvalidParameterValue")));
}

#[tokio::test]
async fn what_an_endpoint_is_asked_is_captured() {
    let world = with_model().await;
    let elsewhere = json!({
        "EndpointConfigName": "elsewhere",
        "ProductionVariants": [{"VariantName": "v", "ModelName": "model"}],
        "DataCaptureConfig": {
            "EnableCapture": true,
            "InitialSamplingPercentage": 50,
            "DestinationS3Uri": "https://data.s3.amazonaws.com/captured/",
            "CaptureOptions": [{"CaptureMode": "Input"}],
        },
    });
    let mut keyed = elsewhere.clone();
    keyed["DataCaptureConfig"]["DestinationS3Uri"] = "s3://data/captured/".into();
    keyed["DataCaptureConfig"]["KmsKeyId"] = "a key".into();
    expect!["ValidationException: 1 validation error detected: Value 'a key' at 'dataCaptureConfig.kmsKeyId' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9:/_-]*"]
        .assert_eq(&refusal(&world, "CreateEndpointConfig", keyed).await);
    expect!["ValidationException: 1 validation error detected: Value 'https://data.s3.amazonaws.com/captured/' at 'dataCaptureConfig.destinationS3Uri' failed to satisfy constraint: Member must be an address in S3, s3://bucket/prefix"]
        .assert_eq(&refusal(&world, "CreateEndpointConfig", elsewhere).await);
    let variant = json!({
        "VariantName": "v", "ModelName": "model", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large",
    });
    // It is enabled unless it is said to be disabled.
    let capture = json!({
        "KmsKeyId": "alias/mine",
        "InitialSamplingPercentage": 50,
        "DestinationS3Uri": "s3://data/captured/",
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
    });
    let config =
        json!({"EndpointConfigName": "c", "ProductionVariants": [variant], "DataCaptureConfig": capture});
    sagemaker(&world, "CreateEndpointConfig", config).await;
    sagemaker(
        &world,
        "CreateEndpoint",
        json!({"EndpointName": "e", "EndpointConfigName": "c"}),
    )
    .await;
    assert_eq!(world.endpoint_settled("e").await, "InService");
    for i in 0..10 {
        let body = format!("France,10.1.0.{i}");
        let invoke = world
            .runtime
            .invoke_endpoint()
            .endpoint_name("e")
            .content_type("text/csv");
        let invoke = invoke
            .inference_id(format!("id-{i}"))
            .body(body.into_bytes().into());
        invoke.send().await.unwrap();
    }
    let described = sagemaker(&world, "DescribeEndpoint", json!({"EndpointName": "e"})).await;
    assert_eq!(described["DataCaptureConfig"]["CaptureStatus"], "Started");
    assert_eq!(described["DataCaptureConfig"]["KmsKeyId"], "alias/mine");
    let (_, found) = call(
        &world,
        "Logs_20140328.FilterLogEvents",
        r#"{"logGroupName": "/aws/sagemaker/Endpoints/e", "filterPattern": "KmsKeyId"}"#,
    )
    .await;
    assert_eq!(
        found["events"][0]["message"],
        "DataCaptureConfig.KmsKeyId has no effect: what is captured is not encrypted."
    );
    // What is gathered is written when the server stops.
    let world = world.restart().await;
    let listed = world
        .s3
        .list_objects_v2()
        .bucket("data")
        .prefix("captured/e/v/")
        .send()
        .await
        .unwrap();
    let mut records: Vec<Value> = Vec::new();
    for found in listed.contents() {
        let text = object(&world, found.key().unwrap()).await.unwrap();
        records.extend(
            text.lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()),
        );
    }
    assert!(
        (4..=6).contains(&records.len()),
        "half of ten, not {}",
        records.len()
    );
    let data = &records[0]["captureData"];
    assert_eq!(data["endpointInput"]["encoding"], "CSV");
    assert!(
        data["endpointInput"]["data"]
            .as_str()
            .unwrap()
            .starts_with("France,10.1.0.")
    );
    assert!(
        data["endpointOutput"]["data"]
            .as_str()
            .unwrap()
            .contains("dot_product")
    );
}

/// An endpoint `e` of which everything is captured there.
async fn capturing(world: &World, destination: &str) {
    let variant = json!({
        "VariantName": "v", "ModelName": "model", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large",
    });
    let capture = json!({
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": destination,
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
    });
    let config =
        json!({"EndpointConfigName": "c", "ProductionVariants": [variant], "DataCaptureConfig": capture});
    sagemaker(world, "CreateEndpointConfig", config).await;
    let create = json!({"EndpointName": "e", "EndpointConfigName": "c"});
    sagemaker(world, "CreateEndpoint", create).await;
    assert_eq!(world.endpoint_settled("e").await, "InService");
}

/// What is captured waits where it cannot be written, and what comes meanwhile is behind it.
#[tokio::test]
async fn what_is_captured_waits_for_room() {
    let world = with_model().await;
    world.s3.create_bucket().bucket("out").send().await.unwrap();
    capturing(&world, "s3://out/captured").await;
    let (folder, away) = (world.path().join("s3/buckets/out"), world.path().join("away"));
    std::fs::rename(&folder, &away).unwrap();
    let ask = |id: &str| {
        let invoke = world
            .runtime
            .invoke_endpoint()
            .endpoint_name("e")
            .content_type("text/csv");
        invoke
            .inference_id(id)
            .body(b"France,10.1.0.1".to_vec().into())
            .send()
    };
    ask("first").await.unwrap();
    let told = r#"{"logGroupName": "/aws/sagemaker/Endpoints/e", "filterPattern": "\"What was captured\""}"#;
    crate::common::eventually(|| async {
        let (_, found) = call(&world, "Logs_20140328.FilterLogEvents", told).await;
        (found["events"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    ask("second").await.unwrap();
    std::fs::rename(&away, &folder).unwrap();
    let ids = crate::common::eventually(|| async {
        let listed = world.s3.list_objects_v2().bucket("out").send().await.unwrap();
        let mut ids = Vec::new();
        for found in listed.contents() {
            let get = world.s3.get_object().bucket("out").key(found.key().unwrap());
            let body = get.send().await.unwrap().body.collect().await.unwrap().to_vec();
            for line in String::from_utf8(body).unwrap().lines() {
                let record: Value = serde_json::from_str(line).unwrap();
                ids.push(
                    record["eventMetadata"]["inferenceId"]
                        .as_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
        (ids.len() == 2).then_some(ids)
    });
    assert_eq!(ids.await, ["first", "second"]);
}

/// Whatever is captured under load is there once, and in the order of its times, in an object and from one object to the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_captured_is_complete_and_in_order() {
    const CALLERS: usize = 8;
    const REQUESTS: usize = 60;
    let world = with_model().await;
    capturing(&world, "s3://data/captured").await;
    // Long enough that they take several objects.
    let rows = "France,10.1.0.1\n".repeat(2000);
    let callers = (0..CALLERS).map(|caller| {
        let (runtime, rows) = (world.runtime.clone(), rows.clone());
        tokio::spawn(async move {
            for number in 0..REQUESTS {
                let invoke = runtime
                    .invoke_endpoint()
                    .endpoint_name("e")
                    .content_type("text/csv");
                let invoke = invoke.inference_id(format!("{caller}-{number}"));
                invoke
                    .body(rows.clone().into_bytes().into())
                    .send()
                    .await
                    .unwrap();
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let world = world.restart().await;
    let listed = world.s3.list_objects_v2().bucket("data").prefix("captured/");
    let listed = listed.send().await.unwrap();
    assert!(listed.contents().len() > 1, "{listed:?}");
    let (mut ids, mut times) = (Vec::new(), Vec::new());
    for found in listed.contents() {
        for line in object(&world, found.key().unwrap()).await.unwrap().lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let told = &record["eventMetadata"];
            ids.push(told["inferenceId"].as_str().unwrap().to_owned());
            times.push(told["inferenceTime"].as_str().unwrap().to_owned());
            assert_eq!(record["captureData"]["endpointInput"]["data"], *rows);
            let answer = record["captureData"]["endpointOutput"]["data"].as_str().unwrap();
            let answer: Value = serde_json::from_str(answer).unwrap();
            assert_eq!(answer["predictions"].as_array().unwrap().len(), 2000);
        }
    }
    assert!(times.is_sorted());
    // Each caller's in the order in which it asked.
    for caller in 0..CALLERS {
        let own = ids.iter().filter(|id| id.starts_with(&format!("{caller}-")));
        let want: Vec<_> = (0..REQUESTS).map(|number| format!("{caller}-{number}")).collect();
        assert_eq!(own.cloned().collect::<Vec<_>>(), want);
    }
    assert_eq!(ids.len(), CALLERS * REQUESTS);
}
