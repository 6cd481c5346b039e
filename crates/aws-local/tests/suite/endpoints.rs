//! Endpoints and what they answer.

use aws_sdk_sagemaker::types::DesiredWeightAndCapacity;
use aws_sdk_sagemakerruntime::primitives::Blob;
use expect_test::expect;
use serde_json::{Value, json};

use crate::common::{World, told};

const CSV: &str = "France, 10.1.0.1\nUnited Kingdom,10.1.0.1";

async fn invoke(world: &World, content_type: &str, accept: Option<&str>, body: &str) -> (String, String) {
    let invoke = world
        .runtime
        .invoke_endpoint()
        .endpoint_name("scores")
        .content_type(content_type);
    let answer = invoke
        .set_accept(accept.map(str::to_owned))
        .body(Blob::new(body))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.invoked_production_variant(), Some("AllTraffic"));
    let body = String::from_utf8(answer.body.unwrap().into_inner()).unwrap();
    (answer.content_type.unwrap(), body)
}

#[tokio::test]
async fn every_codec_gives_the_same_scores() {
    let world = World::new().await;
    world.endpoint().await;
    let (kind, csv) = invoke(&world, "text/csv", None, CSV).await;
    assert_eq!(kind, "application/json");
    let parsed: Value = serde_json::from_str(&csv).unwrap();
    let scores: Vec<_> = parsed["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["dot_product"].clone())
        .collect();
    assert_eq!(scores.len(), 2);
    assert!(scores.iter().all(Value::is_f64), "{scores:?}");

    let json = r#"{"instances":[{"data":{"features":{"values":["France","10.1.0.1"]}}},{"features":["United Kingdom","10.1.0.1"]}]}"#;
    assert_eq!(
        invoke(&world, "application/json", Some("application/json"), json).await,
        (kind.clone(), csv.clone())
    );
    assert_eq!(
        invoke(&world, "text/csv; charset=utf-8", Some("*/*"), CSV)
            .await
            .1,
        csv
    );

    let lines = "{\"features\":[\"France\",\"10.1.0.1\"]}\n{\"data\":{\"features\":{\"values\":[\"United Kingdom\",\"10.1.0.1\"]}}}";
    let (kind, answered) = invoke(
        &world,
        "application/jsonlines",
        Some("application/jsonlines"),
        lines,
    )
    .await;
    assert_eq!(kind, "application/jsonlines");
    let of_lines: Vec<Value> = answered
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap()["dot_product"].clone())
        .collect();
    assert_eq!(of_lines, scores);

    let (_, verbose) = invoke(&world, "text/csv", Some("application/json; verbose=True"), CSV).await;
    let verbose: Value = serde_json::from_str(&verbose).unwrap();
    let first = &verbose["predictions"][0];
    let vector = |name: &str| -> Vec<f64> {
        first[name]
            .as_array()
            .unwrap()
            .iter()
            .map(|x| x.as_f64().unwrap())
            .collect()
    };
    let (ip, entity) = (vector("ip_embedding"), vector("entity_embedding"));
    assert_eq!((ip.len(), entity.len()), (8, 8));
    let product: f64 = ip.iter().zip(&entity).map(|(a, b)| a * b).sum();
    assert!((product - scores[0].as_f64().unwrap()).abs() < 1e-4);
}

#[tokio::test]
async fn what_an_endpoint_refuses() {
    let world = World::new().await;
    world.endpoint().await;
    let send = |endpoint: &str, content_type: &str, body: &str| {
        let invoke = world
            .runtime
            .invoke_endpoint()
            .endpoint_name(endpoint)
            .content_type(content_type);
        invoke.body(Blob::new(body)).send()
    };
    let variant = world
        .runtime
        .invoke_endpoint()
        .endpoint_name("scores")
        .target_variant("Other");
    let answers = [
        told(send("missing", "text/csv", CSV).await),
        told(send("scores", "application/x-recordio-protobuf", CSV).await),
        told(send("scores", "text/csv", "France,10.1.0.1\nFrance,::1").await),
        told(send("scores", "application/json", "{").await),
        told(variant.content_type("text/csv").body(Blob::new(CSV)).send().await),
    ];
    expect![[r#"
        ValidationError: Endpoint missing of account 000000000000 not found.
        ModelError: Received client error (415) from primary with message "content type `application/x-recordio-protobuf` is not supported". See https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#logEventViewer:group=/aws/sagemaker/Endpoints/scores in account 000000000000 for more information.
        ModelError: Received client error (400) from primary with message "unable to evaluate payload provided: line 2: `::1` is an IPv6 address, and only IPv4 is known; leave the row out". See https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#logEventViewer:group=/aws/sagemaker/Endpoints/scores in account 000000000000 for more information.
        ModelError: Received client error (400) from primary with message "unable to evaluate payload provided: the body must be a JSON object with the list `instances`: EOF while parsing an object at line 1 column 1". See https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#logEventViewer:group=/aws/sagemaker/Endpoints/scores in account 000000000000 for more information.
        ValidationError: Variant Other of endpoint scores of account 000000000000 not found."#]].assert_eq(&answers.join("\n"));

    let error = send("scores", "text/csv", "nonsense").await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 424);
    let aws_sdk_sagemakerruntime::operation::invoke_endpoint::InvokeEndpointError::ModelError(error) =
        error.into_service_error()
    else {
        panic!("should be a ModelError")
    };
    assert_eq!(error.original_status_code(), Some(400));
    assert!(error.original_message().is_some() && error.log_stream_arn().is_some());

    let limit = 6 * 1024 * 1024;
    let large = "France,10.1.0.1\n".repeat(limit / 16 + 1);
    let error = send("scores", "text/csv", &large)
        .await
        .unwrap_err()
        .into_service_error();
    assert!(
        error.is_model_error() && format!("{error:?}").contains("413"),
        "{error:?}"
    );
    let most = "France,10.1.0.1\n".repeat(40_000);
    let answer = send("scores", "text/csv", &most).await.unwrap();
    let answer: Value = serde_json::from_slice(answer.body().unwrap().as_ref()).unwrap();
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 40_000);
}

#[tokio::test]
async fn headers_go_through() {
    let world = World::new().await;
    world.endpoint().await;
    let invoke = world
        .runtime
        .invoke_endpoint()
        .endpoint_name("scores")
        .content_type("text/csv");
    let invoke = invoke
        .custom_attributes("trace=1")
        .inference_id("id-1")
        .target_variant("AllTraffic");
    let answer = invoke.body(Blob::new(CSV)).send().await.unwrap();
    assert_eq!(answer.custom_attributes(), Some("trace=1"));
}

#[tokio::test]
async fn an_endpoint_is_updated_while_it_answers() {
    let world = World::new().await;
    world.endpoint().await;
    world
        .training("second")
        .hyper_parameters("vector_dim", "16")
        .send()
        .await
        .unwrap();
    let archive = world
        .job_ended("second")
        .await
        .model_artifacts
        .unwrap()
        .s3_model_artifacts
        .unwrap();
    world.model("second", &archive).await;
    world.config("second", &[("AllTraffic", "second", 1.0)]).await;
    let before = invoke(&world, "text/csv", None, CSV).await;
    let update = || {
        world
            .sagemaker
            .update_endpoint()
            .endpoint_name("scores")
            .endpoint_config_name("second")
            .send()
    };
    update().await.unwrap();
    // At no moment is there no answer.
    let settled = tokio::spawn({
        let sagemaker = world.sagemaker.clone();
        async move {
            loop {
                let endpoint = sagemaker
                    .describe_endpoint()
                    .endpoint_name("scores")
                    .send()
                    .await
                    .unwrap();
                if endpoint.endpoint_status().unwrap().as_str() == "InService" {
                    return endpoint;
                }
            }
        }
    });
    while !settled.is_finished() {
        invoke(&world, "text/csv", None, CSV).await;
    }
    let endpoint = settled.await.unwrap();
    assert_eq!(endpoint.endpoint_config_name(), Some("second"));
    assert_ne!(invoke(&world, "text/csv", None, CSV).await, before);

    // What it serves does not need its configuration any more, nor its model's record.
    world
        .sagemaker
        .delete_endpoint_config()
        .endpoint_config_name("second")
        .send()
        .await
        .unwrap();
    world
        .sagemaker
        .delete_model()
        .model_name("second")
        .send()
        .await
        .unwrap();
    invoke(&world, "text/csv", None, CSV).await;
    expect![[r#"ValidationException: Could not find endpoint configuration "arn:aws:sagemaker:us-east-1:000000000000:endpoint-config/second"."#]]
        .assert_eq(&told(update().await));
}

#[tokio::test]
async fn a_failed_update_leaves_the_old_models_answering() {
    let world = World::new().await;
    world.endpoint().await;
    world.put("broken.tar.gz", "this is no archive").await;
    world.model("broken", "s3://data/broken.tar.gz").await;
    world.config("broken", &[("AllTraffic", "broken", 1.0)]).await;
    let before = invoke(&world, "text/csv", None, CSV).await;
    world
        .sagemaker
        .update_endpoint()
        .endpoint_name("scores")
        .endpoint_config_name("broken")
        .send()
        .await
        .unwrap();
    assert_eq!(world.endpoint_settled("scores").await, "InService");
    let endpoint = world
        .sagemaker
        .describe_endpoint()
        .endpoint_name("scores")
        .send()
        .await
        .unwrap();
    assert_eq!(endpoint.endpoint_config_name(), Some("config"));
    assert!(
        endpoint.failure_reason().unwrap().contains("broken.tar.gz"),
        "{:?}",
        endpoint.failure_reason()
    );
    assert_eq!(invoke(&world, "text/csv", None, CSV).await, before);

    // Without old models there is nothing to fall back to.
    let create = world
        .sagemaker
        .create_endpoint()
        .endpoint_name("new")
        .endpoint_config_name("broken");
    create.send().await.unwrap();
    assert_eq!(world.endpoint_settled("new").await, "Failed");
    let update = world
        .sagemaker
        .update_endpoint()
        .endpoint_name("new")
        .endpoint_config_name("config");
    assert!(told(update.send().await).contains("in status Failed"));
    world
        .sagemaker
        .delete_endpoint()
        .endpoint_name("new")
        .send()
        .await
        .unwrap();
    expect![[r#"ValidationException: Could not find endpoint "arn:aws:sagemaker:us-east-1:000000000000:endpoint/new"."#]]
        .assert_eq(&told(world.sagemaker.describe_endpoint().endpoint_name("new").send().await));
}

#[tokio::test]
async fn variants_share_requests_by_weight() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let archive = world.trained("job").await;
    world.model("model", &archive).await;
    world
        .config("two", &[("A", "model", 3.0), ("B", "model", 1.0)])
        .await;
    world
        .sagemaker
        .create_endpoint()
        .endpoint_name("scores")
        .endpoint_config_name("two")
        .send()
        .await
        .unwrap();
    assert_eq!(world.endpoint_settled("scores").await, "InService");
    let count = || async {
        let mut a = 0;
        for _ in 0..40 {
            let invoke = world
                .runtime
                .invoke_endpoint()
                .endpoint_name("scores")
                .content_type("text/csv");
            let answer = invoke.body(Blob::new(CSV)).send().await.unwrap();
            a += usize::from(answer.invoked_production_variant() == Some("A"));
        }
        a
    };
    let a = count().await;
    assert!((28..=32).contains(&a), "{a} of 40");
    let weight = |name: &str, weight: f32| {
        DesiredWeightAndCapacity::builder()
            .variant_name(name)
            .desired_weight(weight)
            .build()
    };
    let update = || {
        world
            .sagemaker
            .update_endpoint_weights_and_capacities()
            .endpoint_name("scores")
    };
    update()
        .desired_weights_and_capacities(weight("A", 0.0))
        .send()
        .await
        .unwrap();
    assert_eq!(count().await, 0);
    let capacity = DesiredWeightAndCapacity::builder()
        .variant_name("B")
        .desired_instance_count(3);
    update()
        .desired_weights_and_capacities(capacity.build())
        .send()
        .await
        .unwrap();
    let describe = world.sagemaker.describe_endpoint().endpoint_name("scores");
    let endpoint = describe.send().await.unwrap();
    let variants = endpoint.production_variants().iter();
    let told: Vec<_> = variants
        .map(|v| {
            (
                v.variant_name().unwrap(),
                v.desired_weight(),
                v.current_weight(),
                v.current_instance_count(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("A", Some(0.0), Some(0.0), Some(1)),
            ("B", Some(1.0), Some(1.0), Some(3))
        ]
    );
    assert_eq!(count().await, 0);
    assert!(
        update()
            .desired_weights_and_capacities(weight("C", 0.0))
            .send()
            .await
            .is_err()
    );
}

/// More machines than there may be are refused with the quota, whichever operation asks for them, and nothing changes.
#[tokio::test]
async fn no_endpoint_has_more_machines_than_its_quota() {
    let world = World::new().await;
    world.endpoint().await;
    let config = json!({
        "EndpointConfigName": "many",
        "ProductionVariants": [{
            "VariantName": "v", "ModelName": "model", "InitialInstanceCount": 21, "InstanceType": "ml.c5.xlarge",
        }],
    });
    sagemaker(&world, "CreateEndpointConfig", config).await;
    let refused = async |operation: &str, input: Value| {
        let refused = world.server.call(&format!("SageMaker.{operation}"), &input).await;
        let refused = refused.unwrap_err();
        let message = refused.message.split(" Please ").next().unwrap();
        format!("{}: {message}", refused.code)
    };
    let capacity = json!([{"VariantName": "AllTraffic", "DesiredInstanceCount": 1000}]);
    let told = [
        refused(
            "CreateEndpoint",
            json!({"EndpointName": "e", "EndpointConfigName": "many"}),
        )
        .await,
        refused(
            "UpdateEndpoint",
            json!({"EndpointName": "scores", "EndpointConfigName": "many"}),
        )
        .await,
        refused(
            "UpdateEndpointWeightsAndCapacities",
            json!({"EndpointName": "scores", "DesiredWeightsAndCapacities": capacity}),
        )
        .await,
    ];
    expect![[r#"
        ResourceLimitExceeded: The account-level service limit 'ml.c5.xlarge for endpoint usage' is 20 Instances, with current utilization of 0 Instances and a request delta of 21 Instances.
        ResourceLimitExceeded: The account-level service limit 'ml.c5.xlarge for endpoint usage' is 20 Instances, with current utilization of 0 Instances and a request delta of 21 Instances.
        ResourceLimitExceeded: The account-level service limit 'ml.t2.medium for endpoint usage' is 20 Instances, with current utilization of 0 Instances and a request delta of 1000 Instances."#]]
    .assert_eq(&told.join("\n"));
    let described = sagemaker(&world, "DescribeEndpoint", json!({"EndpointName": "scores"})).await;
    assert_eq!(described["EndpointStatus"], "InService");
    assert_eq!(described["EndpointConfigName"], "config");
    assert_eq!(described["ProductionVariants"][0]["DesiredInstanceCount"], 1);
}

/// However updates come together, the variants answer by the weights that are told of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_answers_is_what_is_told() {
    let world = World::new().await;
    world.endpoint().await;
    let variants = [("A", "model", 1.0), ("B", "model", 0.0)];
    world.config("two", &variants).await;
    sagemaker(
        &world,
        "CreateEndpoint",
        json!({"EndpointName": "both", "EndpointConfigName": "two"}),
    )
    .await;
    assert_eq!(world.endpoint_settled("both").await, "InService");
    for _ in 0..20 {
        let updates = [(1.0, 0.0), (0.0, 1.0)].map(|(a, b)| {
            let weight = |name: &str, weight: f32| {
                let weight = DesiredWeightAndCapacity::builder()
                    .variant_name(name)
                    .desired_weight(weight);
                weight.build()
            };
            let update = world
                .sagemaker
                .update_endpoint_weights_and_capacities()
                .endpoint_name("both");
            let update = update
                .desired_weights_and_capacities(weight("A", a))
                .desired_weights_and_capacities(weight("B", b));
            tokio::spawn(update.send())
        });
        for update in updates {
            update.await.unwrap().unwrap();
        }
        let describe = world.sagemaker.describe_endpoint().endpoint_name("both");
        let endpoint = describe.send().await.unwrap();
        let mut variants = endpoint.production_variants().iter();
        let told = variants
            .find(|variant| variant.current_weight() == Some(1.0))
            .unwrap();
        let invoke = world
            .runtime
            .invoke_endpoint()
            .endpoint_name("both")
            .content_type("text/csv");
        let answer = invoke.body(Blob::new(CSV)).send().await.unwrap();
        assert_eq!(answer.invoked_production_variant(), told.variant_name());
    }
}

#[tokio::test]
async fn names_that_are_taken_or_missing() {
    let world = World::new().await;
    world.endpoint().await;
    let create = |name: &str, config: &str| {
        world
            .sagemaker
            .create_endpoint()
            .endpoint_name(name)
            .endpoint_config_name(config)
            .send()
    };
    let config = || {
        world
            .sagemaker
            .create_endpoint_config()
            .endpoint_config_name("config")
    };
    let variant = |model: &str| {
        aws_sdk_sagemaker::types::ProductionVariant::builder()
            .variant_name("v")
            .model_name(model)
            .build()
    };
    let answers = [
        told(create("scores", "config").await),
        told(create("other", "none").await),
        told(config().production_variants(variant("model")).send().await),
        told(config().production_variants(variant("none")).send().await),
        told(config().set_production_variants(Some(vec![])).send().await),
        told(
            world
                .sagemaker
                .describe_endpoint_config()
                .endpoint_config_name("none")
                .send()
                .await,
        ),
        told(
            world
                .sagemaker
                .delete_endpoint()
                .endpoint_name("none")
                .send()
                .await,
        ),
        told(
            world
                .sagemaker
                .update_endpoint()
                .endpoint_name("none")
                .endpoint_config_name("config")
                .send()
                .await,
        ),
    ];
    expect![[r#"
        ValidationException: Cannot create already existing endpoint "arn:aws:sagemaker:us-east-1:000000000000:endpoint/scores".
        ValidationException: Could not find endpoint configuration "arn:aws:sagemaker:us-east-1:000000000000:endpoint-config/none".
        ValidationException: Cannot create already existing endpoint configuration "arn:aws:sagemaker:us-east-1:000000000000:endpoint-config/config".
        ValidationException: Could not find model "arn:aws:sagemaker:us-east-1:000000000000:model/none".
        ValidationException: 1 validation error detected: Value '[]' at 'productionVariants' failed to satisfy constraint: Member must have length greater than or equal to 1
        ValidationException: Could not find endpoint configuration "arn:aws:sagemaker:us-east-1:000000000000:endpoint-config/none".
        ValidationException: Could not find endpoint "arn:aws:sagemaker:us-east-1:000000000000:endpoint/none".
        ValidationException: Could not find endpoint "arn:aws:sagemaker:us-east-1:000000000000:endpoint/none"."#]].assert_eq(&answers.join("\n"));
    let described = world
        .sagemaker
        .describe_endpoint_config()
        .endpoint_config_name("config")
        .send()
        .await
        .unwrap();
    assert_eq!(described.production_variants()[0].model_name(), Some("model"));
    let listed = world
        .sagemaker
        .list_endpoints()
        .status_equals(aws_sdk_sagemaker::types::EndpointStatus::InService);
    assert_eq!(listed.send().await.unwrap().endpoints().len(), 1);
}

/// With embeddings, an answer can be hundreds of times its request: it is refused as the service refuses it, and a transform
/// job writes it as it comes.
#[tokio::test]
async fn answers_that_are_too_large_are_not_made() {
    let world = World::new().await;
    world.endpoint().await;
    let rows = "France,10.1.0.1\n".repeat(60_000);
    let invoke = world.runtime.invoke_endpoint().endpoint_name("scores");
    let invoke = invoke
        .content_type("text/csv")
        .accept("application/json; verbose=True")
        .body(rows.clone().into_bytes().into());
    let refused = invoke.send().await.unwrap_err().into_service_error();
    let aws_sdk_sagemakerruntime::operation::invoke_endpoint::InvokeEndpointError::ModelError(refused) =
        refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.original_status_code(), Some(413), "{refused:?}");

    world.put("in/rows.csv", rows).await;
    let job = json!({
        "TransformJobName": "t",
        "ModelName": "model",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/in/"}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        "TransformOutput": {
            "S3OutputPath": "s3://data/out",
            "Accept": "application/jsonlines; verbose=True",
            "AssembleWith": "Line",
        },
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    });
    world
        .server
        .call("SageMaker.CreateTransformJob", &job)
        .await
        .unwrap();
    let name = json!({"TransformJobName": "t"});
    let status = crate::common::eventually(|| async {
        let job = world
            .server
            .call("SageMaker.DescribeTransformJob", &name)
            .await
            .unwrap();
        let status = job["TransformJobStatus"].as_str().unwrap().to_owned();
        (status != "InProgress").then_some(status)
    })
    .await;
    assert_eq!(status, "Completed");
    let object = world
        .s3
        .get_object()
        .bucket("data")
        .key("out/rows.csv.out")
        .send()
        .await
        .unwrap();
    let bytes = object.body.collect().await.unwrap().to_vec();
    assert!(bytes.len() > ipinsights::inference::MAX_BODY_BYTES);
    assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 60_000);
}

/// Calls an operation of SageMaker.
async fn sagemaker(world: &World, operation: &str, input: serde_json::Value) -> serde_json::Value {
    let answer = world.server.call(&format!("SageMaker.{operation}"), &input).await;
    answer.unwrap_or_else(|error| panic!("{operation}: {error}"))
}

/// What an object holds, once it is there.
async fn stored(world: &World, url: &str) -> String {
    let (bucket, key) = url.strip_prefix("s3://").unwrap().split_once('/').unwrap();
    let object = crate::common::eventually(|| async {
        let object = world.s3.get_object().bucket(bucket).key(key).send().await;
        object.ok()
    })
    .await;
    String::from_utf8(object.body.collect().await.unwrap().to_vec()).unwrap()
}

/// An asynchronous endpoint `queued` that works on so many requests at a time and answers into that bucket; and its
/// configuration.
async fn queued(world: &World, bucket: &str, at_a_time: u32) -> Value {
    world.endpoint().await;
    let config = json!({
        "EndpointConfigName": "queued",
        "ProductionVariants": [{"VariantName": "v", "ModelName": "model", "InstanceType": "ml.m5.large"}],
        "AsyncInferenceConfig": {
            "OutputConfig": {
                "S3OutputPath": format!("s3://{bucket}/answers/"), "S3FailurePath": format!("s3://{bucket}/failures"),
            },
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": at_a_time},
        },
    });
    sagemaker(world, "CreateEndpointConfig", config.clone()).await;
    let create = json!({"EndpointName": "queued", "EndpointConfigName": "queued"});
    sagemaker(world, "CreateEndpoint", create).await;
    assert_eq!(world.endpoint_settled("queued").await, "InService");
    config
}

/// The lines of the log of `queued` that hold a text.
async fn logged(world: &World, text: &str) -> Vec<String> {
    let filter = json!({
        "logGroupName": "/aws/sagemaker/Endpoints/queued", "filterPattern": format!("\"{text}\""),
    });
    let found = world
        .server
        .call("Logs_20140328.FilterLogEvents", &filter)
        .await
        .unwrap();
    let events = found["events"].as_array().unwrap().iter();
    events
        .map(|event| event["message"].as_str().unwrap().to_owned())
        .collect()
}

/// Rows are read one after the other; a JSON document is not, and has a limit.
#[tokio::test]
async fn a_large_object_is_scored_row_by_row() {
    let world = World::new().await;
    queued(&world, "data", 1).await;
    // Not many rows, as each is long.
    let entity = "e".repeat(100_000);
    let rows = 700;
    world
        .put("asked/large.csv", format!("{entity},10.1.0.1\n").repeat(rows))
        .await;
    let invoke = world.runtime.invoke_endpoint_async().endpoint_name("queued");
    let ask = |content_type: &str| {
        let invoke = invoke.clone().content_type(content_type);
        invoke.input_location("s3://data/asked/large.csv").send()
    };
    let taken = ask("text/csv").await.unwrap();
    let answer: Value =
        serde_json::from_str(&stored(&world, taken.output_location().unwrap()).await).unwrap();
    assert_eq!(answer["predictions"].as_array().unwrap().len(), rows);
    let refused = ask("application/json").await.unwrap();
    assert_eq!(
        stored(&world, refused.failure_location().unwrap()).await,
        "the object is larger than 67108864 bytes, the most that aws-local takes as one JSON document; send \
         application/jsonlines or text/csv"
    );
}

/// An answer for which there is no room is stored when there is, and so is why there is none.
#[tokio::test]
async fn an_answer_waits_for_room() {
    let world = World::new().await;
    world.s3.create_bucket().bucket("out").send().await.unwrap();
    queued(&world, "out", 2).await;
    world.put("asked/good.csv", "France,10.1.0.1\n").await;
    world.put("asked/bad.csv", "France,nowhere\n").await;
    let (folder, away) = (world.path().join("s3/buckets/out"), world.path().join("away"));
    std::fs::rename(&folder, &away).unwrap();
    let ask = |key: &str| {
        let invoke = world.runtime.invoke_endpoint_async().endpoint_name("queued");
        let url = format!("s3://data/asked/{key}");
        invoke.content_type("text/csv").input_location(url).send()
    };
    let good = ask("good.csv").await.unwrap();
    let waits =
        "The answer to s3://data/asked/good.csv could not be saved, which is tried again until it is: ";
    crate::common::eventually(|| async { logged(&world, waits).await.pop() }).await;
    let bad = ask("bad.csv").await.unwrap();
    std::fs::rename(&away, &folder).unwrap();
    let answer: Value = serde_json::from_str(&stored(&world, good.output_location().unwrap()).await).unwrap();
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 1);
    let reason = stored(&world, bad.failure_location().unwrap()).await;
    assert!(
        reason.starts_with("unable to evaluate payload provided: "),
        "{reason}"
    );
}

/// The only file of an object that is put while `put` runs.
async fn file_of(world: &World, put: impl Future<Output = ()>) -> std::path::PathBuf {
    let files = || {
        let files = std::fs::read_dir(world.path().join("s3/blobs")).unwrap();
        files
            .map(|file| file.unwrap().path())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let before = files();
    put.await;
    let after = files();
    let mut new = after.difference(&before);
    let file = new.next().unwrap().clone();
    assert_eq!(new.next(), None);
    file
}

/// What is there and cannot be read is not lost: a folder in its place cannot be read as a file.
#[tokio::test]
async fn what_cannot_be_read_at_the_moment_is_scored_later() {
    let world = World::new().await;
    queued(&world, "data", 1).await;
    let file = file_of(&world, async {
        world.put("asked/good.csv", "France,10.1.0.1\n").await
    })
    .await;
    let away = world.path().join("away");
    std::fs::rename(&file, &away).unwrap();
    std::fs::create_dir(&file).unwrap();
    let invoke = world.runtime.invoke_endpoint_async().endpoint_name("queued");
    let invoke = invoke
        .content_type("text/csv")
        .input_location("s3://data/asked/good.csv");
    let taken = invoke.send().await.unwrap();
    let waits = "tried again until it is: s3://data/asked/good.csv could not be read: ";
    crate::common::eventually(|| async { logged(&world, waits).await.pop() }).await;
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&away, &file).unwrap();
    let answer: Value =
        serde_json::from_str(&stored(&world, taken.output_location().unwrap()).await).unwrap();
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 1);
}

/// Nor is a request tried for longer than it may wait: here 2 seconds, with what cannot be read.
#[tokio::test]
async fn a_request_is_tried_for_no_longer_than_it_may_wait() {
    let world = World::new().await;
    queued(&world, "data", 1).await;
    let file = file_of(&world, async {
        world.put("asked/good.csv", "France,10.1.0.1\n").await
    })
    .await;
    world.server.shutdown().await;
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let short = json!({
        "endpoint": "queued", "input": "s3://data/asked/good.csv", "content_type": "text/csv", "accept": null,
        "output": "s3://data/short.out", "failure": "s3://data/short-error.out", "variant": null,
        "asked": jiff::Timestamp::now().as_second(), "wait": 2, "limit": 60,
    });
    let world = with_request(world.folder, &short).await;
    assert_eq!(
        stored(&world, "s3://data/short-error.out").await,
        "the request waited longer than 2 seconds"
    );
}

/// A server that starts on a folder with such a request.
async fn with_request(folder: tempfile::TempDir, request: &Value) -> World {
    let database = rusqlite::Connection::open(folder.path().join("records.sqlite3")).unwrap();
    let insert =
        "INSERT INTO records (collection, name, record) VALUES ('/sagemaker/async-requests', '0', ?1)";
    database.execute(insert, [request.to_string()]).unwrap();
    drop(database);
    let server = aws_local::Server::builder(folder.path()).start().await.unwrap();
    World::with_server(server, folder)
}

/// Whatever becomes of one request, the next one is answered. This one cannot have been taken: no model has so little time.
#[tokio::test]
async fn a_request_at_which_the_model_fails_is_answered_so() {
    let world = World::new().await;
    queued(&world, "data", 1).await;
    world.put("asked/good.csv", "France,10.1.0.1\n").await;
    world.server.shutdown().await;
    let strange = json!({
        "endpoint": "queued", "input": "s3://data/asked/good.csv", "content_type": "text/csv", "accept": null,
        "output": "s3://data/strange.out", "failure": "s3://data/strange-error.out", "variant": null,
        "asked": jiff::Timestamp::now().as_second(), "wait": 21600, "limit": -1,
    });
    let world = with_request(world.folder, &strange).await;
    assert_eq!(
        stored(&world, "s3://data/strange-error.out").await,
        "the model failed"
    );
    let invoke = world.runtime.invoke_endpoint_async().endpoint_name("queued");
    let invoke = invoke
        .content_type("text/csv")
        .input_location("s3://data/asked/good.csv");
    let taken = invoke.send().await.unwrap();
    stored(&world, taken.output_location().unwrap()).await;
}

#[tokio::test]
async fn an_asynchronous_endpoint_answers_into_objects() {
    let world = World::new().await;
    let config = queued(&world, "data", 2).await;
    let described = sagemaker(&world, "DescribeEndpoint", json!({"EndpointName": "queued"})).await;
    assert_eq!(described["AsyncInferenceConfig"], config["AsyncInferenceConfig"]);

    world
        .put("asked/good.csv", "France,10.1.0.1\nFrance,10.2.0.1\n")
        .await;
    world.put("asked/bad.csv", "France,nowhere\n").await;
    let ask = |key: &str| {
        let invoke = world.runtime.invoke_endpoint_async().endpoint_name("queued");
        invoke
            .content_type("text/csv")
            .input_location(format!("s3://data/asked/{key}"))
    };
    let taken = ask("good.csv").inference_id("mine").send().await.unwrap();
    assert_eq!(taken.inference_id(), Some("mine"));
    let output = taken.output_location().unwrap();
    assert!(
        output.starts_with("s3://data/answers/") && output.ends_with(".out"),
        "{output}"
    );
    let answer: Value = serde_json::from_str(&stored(&world, output).await).unwrap();
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 2);
    let (_, direct) = invoke(&world, "text/csv", None, "France,10.1.0.1\nFrance,10.2.0.1").await;
    assert_eq!(serde_json::from_str::<Value>(&direct).unwrap(), answer);

    let named = ask("good.csv")
        .filename("here.json")
        .s3_output_path_extension("a/b");
    let named = named.accept("application/jsonlines").send().await.unwrap();
    assert_eq!(named.output_location(), Some("s3://data/answers/a/b/here.json"));
    assert_eq!(
        stored(&world, named.output_location().unwrap())
            .await
            .lines()
            .count(),
        2
    );

    let refused = ask("bad.csv").send().await.unwrap();
    let reason = stored(&world, refused.failure_location().unwrap()).await;
    expect!["unable to evaluate payload provided: line 1: `nowhere` is not an IPv4 address; the first line must not be a header: invalid IPv4 address syntax"]
        .assert_eq(&reason);
    let gone = ask("none.csv").send().await.unwrap();
    let reason = stored(&world, gone.failure_location().unwrap()).await;
    assert_eq!(reason, "there is no object at s3://data/asked/none.csv");
    // What the disk has lost is something else.
    let file = file_of(&world, async {
        world.put("asked/lost.csv", "France,10.1.0.1\n").await
    })
    .await;
    std::fs::remove_file(file).unwrap();
    let lost = ask("lost.csv").custom_attributes("trace").send().await.unwrap();
    let reason = stored(&world, lost.failure_location().unwrap()).await;
    assert!(
        reason.starts_with("s3://data/asked/lost.csv could not be read: "),
        "{reason}"
    );
    // Nor is anything dropped without a word.
    let noted = logged(&world, "CustomAttributes has no effect").await;
    assert_eq!(noted.len(), 1, "{noted:?}");

    let told = [
        told(ask("good.csv").request_ttl_seconds(59).send().await),
        told(ask("good.csv").endpoint_name("scores").send().await),
        told(ask("good.csv").endpoint_name("none").send().await),
        told(ask("good.csv").input_location("s3://data").send().await),
        told(
            world
                .runtime
                .invoke_endpoint()
                .endpoint_name("queued")
                .body(b"".to_vec().into())
                .send()
                .await,
        ),
    ];
    expect![[r#"
        ValidationError: RequestTTLSeconds has to be 60 to 21600 seconds.
        ValidationError: Endpoint scores is not asynchronous: ask it with InvokeEndpoint, or give its configuration an AsyncInferenceConfig.
        ValidationError: Endpoint none of account 000000000000 not found.
        ValidationError: InputLocation has to be an object in S3, s3://bucket/key, not `s3://data`.
        ValidationError: Endpoint queued is asynchronous: ask it with InvokeEndpointAsync."#]]
    .assert_eq(&told.join("\n"));

    // What was taken is answered, by the next server if need be.
    world
        .put("asked/long.csv", "France,10.1.0.1\n".repeat(200_000))
        .await;
    let mut outputs = Vec::new();
    for _ in 0..6 {
        let taken = ask("long.csv").send().await.unwrap();
        outputs.push(taken.output_location().unwrap().to_owned());
    }
    let world = world.restart().await;
    for output in outputs {
        let answer: Value = serde_json::from_str(&stored(&world, &output).await).unwrap();
        assert_eq!(answer["predictions"].as_array().unwrap().len(), 200_000);
    }

    let mut captured = config.clone();
    captured["EndpointConfigName"] = "captured".into();
    captured["DataCaptureConfig"] = json!({
        "InitialSamplingPercentage": 50, "DestinationS3Uri": "s3://data/captured/",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    });
    let both = world
        .server
        .call("SageMaker.CreateEndpointConfig", &captured)
        .await
        .unwrap_err();
    expect!["ValidationException: DataCaptureConfig together with AsyncInferenceConfig, whose requests and answers are objects in S3 already, is not implemented by aws-local."]
        .assert_eq(&format!("{}: {}", both.code, both.message));
    captured["DataCaptureConfig"]["EnableCapture"] = false.into();
    sagemaker(&world, "CreateEndpointConfig", captured).await;

    let mut serverless = config;
    serverless["EndpointConfigName"] = "both".into();
    serverless["ProductionVariants"][0]["ServerlessConfig"] =
        json!({"MemorySizeInMB": 1024, "MaxConcurrency": 1});
    let both = world
        .server
        .call("SageMaker.CreateEndpointConfig", &serverless)
        .await
        .unwrap_err();
    assert!(both.message.contains("cannot be asynchronous"), "{both}");
    serverless["AsyncInferenceConfig"]["OutputConfig"]["NotificationConfig"] =
        json!({"SuccessTopic": "arn:t"});
    let topic = world
        .server
        .call("SageMaker.CreateEndpointConfig", &serverless)
        .await
        .unwrap_err();
    assert!(
        topic.message.contains("SuccessTopic is not implemented"),
        "{topic}"
    );
}

/// How an update is to go about it is checked, told back, and what of it does not happen is in the log.
#[tokio::test]
async fn an_update_says_how_it_goes_about_it() {
    let world = World::new().await;
    world.endpoint().await;
    let routing = json!({
        "Type": "CANARY", "WaitIntervalInSeconds": 600, "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
    });
    let deployment = json!({
        "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": 60},
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
    });
    let mut update = json!({
        "EndpointName": "scores", "EndpointConfigName": "config", "DeploymentConfig": deployment.clone(),
    });
    sagemaker(&world, "UpdateEndpoint", update.clone()).await;
    assert_eq!(world.endpoint_settled("scores").await, "InService");
    let described = sagemaker(&world, "DescribeEndpoint", json!({"EndpointName": "scores"})).await;
    assert_eq!(described["LastDeploymentConfig"], deployment);
    let filter =
        json!({"logGroupName": "/aws/sagemaker/Endpoints/scores", "filterPattern": "DeploymentConfig"});
    let (_, found) =
        crate::refusals::call(&world, "Logs_20140328.FilterLogEvents", &filter.to_string()).await;
    let lines = found["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["message"].as_str().unwrap());
    expect![[r#"
        DeploymentConfig: the new models answer all requests at once, and no old instance is kept.
        DeploymentConfig.AutoRollbackConfiguration has no effect: no alarm is watched here."#]]
    .assert_eq(&lines.collect::<Vec<_>>().join("\n"));

    let size = "/DeploymentConfig/BlueGreenUpdatePolicy/TrafficRoutingConfiguration/CanarySize";
    *update.pointer_mut(size).unwrap() = json!({"Type": "INSTANCE_COUNT", "Value": 1});
    let refused = world
        .server
        .call("SageMaker.UpdateEndpoint", &update)
        .await
        .unwrap_err();
    expect!["ValidationException: DeploymentConfig.BlueGreenUpdatePolicy.TrafficRoutingConfiguration.CanarySize is 1 of 1 instances; it has to be 1% to 50% of the instances of every variant."]
        .assert_eq(&format!("{}: {}", refused.code, refused.message));
}
