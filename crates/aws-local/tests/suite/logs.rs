//! CloudWatch Logs, read as the SageMaker Python SDK reads them.

use expect_test::expect;
use serde_json::json;

use crate::{common::World, refusals::call};

#[tokio::test]
async fn the_log_of_a_job() {
    let world = World::new().await;
    let describe = json!({
        "logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamNamePrefix": "job/", "orderBy": "LogStreamName", "limit": 1,
    });
    let (status, none) = call(&world, "Logs_20140328.DescribeLogStreams", &describe.to_string()).await;
    assert_eq!(
        (status, &none["__type"]),
        (400, &json!("ResourceNotFoundException"))
    );

    world.bucket_with_data().await;
    world
        .training("job")
        .hyper_parameters("epoch", "7")
        .send()
        .await
        .unwrap();
    world.job_ended("job").await;
    let world = world.restart().await;
    let (_, streams) = call(&world, "Logs_20140328.DescribeLogStreams", &describe.to_string()).await;
    assert_eq!(streams["logStreams"].as_array().unwrap().len(), 1);
    assert!(
        streams.get("nextToken").is_none(),
        "the client would ask for ever"
    );
    let stream = streams["logStreams"][0]["logStreamName"].as_str().unwrap();
    assert!(stream.starts_with("job/algo-1-"), "{stream}");

    // Page after page with the token of the page before, until a page is empty.
    let mut get = json!({
        "logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamName": stream, "startTime": 0, "startFromHead": true,
        "limit": 5,
    });
    let mut lines = Vec::new();
    let mut last = 0;
    loop {
        let (_, page) = call(&world, "Logs_20140328.GetLogEvents", &get.to_string()).await;
        let events = page["events"].as_array().unwrap();
        let token = page["nextForwardToken"].clone();
        if events.is_empty() {
            assert_eq!(token, get["nextToken"], "past the end the token stays");
            break;
        }
        for event in events {
            let at = event["timestamp"].as_u64().unwrap();
            assert!(at >= last, "lines come in order of time");
            last = at;
            lines.push(event["message"].as_str().unwrap().to_owned());
        }
        get["nextToken"] = token;
    }
    let told: Vec<_> = lines
        .iter()
        .map(|line| redacted(line))
        .filter(|line| !line.contains('=') && !line.starts_with("#metrics "))
        .collect();
    expect![[r#"
        Docker entrypoint called with argument(s): train
        Running default environment configuration script
        [TIME INFO 1] Reading default configuration from default-input.json: {"_kvstore":"auto_gpu","_log_level":"info","_num_gpus":"auto","_num_kv_servers":"auto","_tuning_objective_metric":"","batch_metrics_publish_interval":"1000","epochs":"10","learning_rate":"0.001","mini_batch_size":"5000","num_entity_vectors":"100000","num_ip_encoder_layers":"1","random_negative_sampling_rate":"1","shuffled_negative_sampling_rate":"1","vector_dim":"128","weight_decay":"0.00001"}
        [TIME INFO 1] Merging with provided configuration from /opt/ml/input/config/hyperparameters.json: {"epoch":"7","epochs":"2","mini_batch_size":"50","num_entity_vectors":"20","vector_dim":"8"}
        [TIME WARNING 1] The hyperparameter `epoch` is not known; it has no effect.
        [TIME INFO 1] Final configuration: {"_kvstore":"auto_gpu","_log_level":"info","_num_gpus":"auto","_num_kv_servers":"auto","_tuning_objective_metric":"","batch_metrics_publish_interval":"1000","epochs":"2","learning_rate":"0.001","mini_batch_size":"50","num_entity_vectors":"20","num_ip_encoder_layers":"1","random_negative_sampling_rate":"1","shuffled_negative_sampling_rate":"1","vector_dim":"8","weight_decay":"0.00001"}
        [TIME INFO 1] nvidia-smi identified 0 GPUs.
        [TIME INFO 1] Checkpoint loading and saving are disabled.
        [TIME INFO 1] Process 1 is a worker.
        [TIME INFO 1] Number of GPUs being used: 0
        [TIME INFO 1] Create Store: local
        [TIME INFO 1] Test data is not provided."#]].assert_eq(&told.join("\n"));
    assert!(
        lines
            .iter()
            .any(|line| line.contains("#quality_metric: host=algo-1, epoch=1, train"))
    );

    // The next look begins with the time of the last event, which comes again.
    get["startTime"] = last.into();
    get.as_object_mut().unwrap().remove("nextToken");
    let (_, page) = call(&world, "Logs_20140328.GetLogEvents", &get.to_string()).await;
    let again = page["events"].as_array().unwrap();
    assert!(
        !again.is_empty() && again.iter().all(|event| event["timestamp"] == last),
        "{page}"
    );
}

#[tokio::test]
async fn groups_and_streams_are_deleted_for_good() {
    let world = World::new().await;
    world.bucket_with_data().await;
    for job in ["early", "late"] {
        world.training(job).send().await.unwrap();
        world.job_ended(job).await;
    }
    let group = json!({"logGroupName": "/aws/sagemaker/TrainingJobs"}).to_string();
    let streams = async |world: &World| {
        let (status, found) = call(world, "Logs_20140328.DescribeLogStreams", &group).await;
        let names = found["logStreams"].as_array().cloned().unwrap_or_default();
        let names = names
            .iter()
            .map(|stream| stream["logStreamName"].as_str().unwrap().to_owned());
        (status, names.collect::<Vec<_>>())
    };
    let (_, both) = streams(&world).await;
    assert_eq!(both.len(), 2);
    let early = json!({"logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamName": both[0]}).to_string();
    let delete = async |world: &World, what: &str, input: &str| {
        let (status, answer) = call(world, &format!("Logs_20140328.Delete{what}"), input).await;
        (status, answer["message"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(delete(&world, "LogStream", &early).await.0, 200);
    let world = world.restart().await;
    assert_eq!(streams(&world).await, (200, both[1..].to_vec()));
    let gone = (400, "The specified log stream does not exist.".to_owned());
    assert_eq!(delete(&world, "LogStream", &early).await, gone);
    // Not that of another one, whose name this one begins.
    let part = json!({"logGroupName": "/aws/sagemaker/Training"}).to_string();
    let gone = (400, "The specified log group does not exist.".to_owned());
    assert_eq!(delete(&world, "LogGroup", &part).await, gone);
    assert_eq!(delete(&world, "LogGroup", &group).await.0, 200);
    let world = world.restart().await;
    assert_eq!(streams(&world).await.0, 400);
    assert_eq!(delete(&world, "LogGroup", &group).await, gone);
}

/// Without the time of day.
fn redacted(line: &str) -> String {
    match line.split_once("] ") {
        Some((stamp, text)) => format!("[TIME {}] {text}", &stamp[21..]),
        None => line.to_owned(),
    }
}
