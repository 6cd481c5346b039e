//! Who may speak to a server, and one that keeps nothing.

use std::net::Ipv4Addr;

use aws_local::{Error, Server};
use expect_test::expect;
use tempfile::TempDir;

use crate::{
    common::{World, told},
    refusals::{call, raw_to},
};

async fn get(server: &Server, line: &str) -> String {
    raw_to(
        server.address(),
        &format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"),
    )
    .await
}

#[tokio::test]
async fn an_ephemeral_server_forgets() {
    let server = Server::ephemeral().start().await.unwrap();
    let folder = TempDir::new().unwrap();
    let world = World::with_server(server, folder);
    world.endpoint().await;
    let health = get(&world.server, "GET /_health").await;
    assert!(
        health.starts_with("HTTP/1.1 200") && health.contains("\"status\":\"ok\""),
        "{health}"
    );
    let reset = get(&world.server, "POST /_reset").await;
    assert!(reset.starts_with("HTTP/1.1 200"), "{reset}");
    assert_eq!(world.s3.list_buckets().send().await.unwrap().buckets().len(), 0);
    let (_, jobs) = call(&world, "SageMaker.ListTrainingJobs", "{}").await;
    assert_eq!(jobs["TrainingJobSummaries"].as_array().unwrap().len(), 0);
    // It is as good as new.
    world.endpoint().await;
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_server_with_a_folder_cannot_be_reset() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let reset = get(&world.server, "POST /_reset").await;
    assert!(reset.starts_with("HTTP/1.1 409"), "{reset}");
    let foreign = "POST /_reset HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n";
    assert!(
        raw_to(world.server.address(), foreign)
            .await
            .starts_with("HTTP/1.1 403")
    );
    assert_eq!(world.s3.list_buckets().send().await.unwrap().buckets().len(), 1);
}

#[tokio::test]
async fn only_signed_requests_are_taken_where_there_are_keys() {
    // The clients of the tests sign with these.
    let world = World::built(|server| server.credentials("test", "test")).await;
    world.endpoint().await;
    world.put("//odd key+%", "x").await;
    let invoke = world
        .runtime
        .invoke_endpoint()
        .endpoint_name("scores")
        .content_type("text/csv");
    invoke
        .body(b"France,10.1.0.1".to_vec().into())
        .send()
        .await
        .unwrap();
    world.sts.get_caller_identity().send().await.unwrap();
    world.states.list_state_machines().send().await.unwrap();
    let listed = world
        .s3
        .list_objects_v2()
        .bucket("data")
        .prefix("//odd key")
        .send()
        .await
        .unwrap();
    assert_eq!(listed.contents().len(), 1);

    let (status, error) = call(&world, "SageMaker.ListModels", "{}").await;
    assert_eq!(
        (status, error["__type"].as_str()),
        (403, Some("MissingAuthenticationTokenException"))
    );
    for line in [
        "GET /",
        "GET /data/train/train.csv",
        "POST /_reset",
        "POST /endpoints/scores/invocations",
    ] {
        let answer = get(&world.server, line).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{line}: {answer}");
    }
    let other = World::built(|server| server.credentials("test", "another")).await;
    let answers = [
        told(other.s3.list_buckets().send().await),
        told(other.sagemaker.list_models().send().await),
        told(other.states.list_state_machines().send().await),
        told(other.sts.get_caller_identity().send().await),
    ];
    expect![[r#"
        SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.
        InvalidSignatureException: The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.
        InvalidSignatureException: The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.
        SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method."#]]
        .assert_eq(&answers.join("\n"));
}

#[tokio::test]
async fn a_job_waits_for_its_machines_where_timing_is_realistic() {
    let world = World::with_waiting_job().await;
    let describe = || {
        world
            .sagemaker
            .describe_training_job()
            .training_job_name("job")
            .send()
    };
    assert_eq!(
        describe().await.unwrap().secondary_status().unwrap().as_str(),
        "Starting"
    );
    // It can be stopped while it waits, and so can the server.
    world
        .sagemaker
        .stop_training_job()
        .training_job_name("job")
        .send()
        .await
        .unwrap();
    let job = world.job_ended("job").await;
    assert_eq!(job.training_job_status().unwrap().as_str(), "Stopped");
    world.training("another").send().await.unwrap();
    world.server.shutdown().await;
}

#[tokio::test]
async fn other_machines_are_answered_only_when_told() {
    let folder = TempDir::new().unwrap();
    let anywhere = || Server::builder(folder.path()).listen(Ipv4Addr::UNSPECIFIED);
    let refused = anywhere().start().await.unwrap_err();
    assert!(matches!(refused, Error::Remote { .. }), "{refused}");
    let server = anywhere().allow_remote(true).start().await.unwrap();
    let address = (Ipv4Addr::LOCALHOST, server.address().port()).into();
    let by_name = "GET /_health HTTP/1.1\r\nHost: machine.example\r\n\r\n";
    assert!(raw_to(address, by_name).await.starts_with("HTTP/1.1 200"));
    // Without keys, a page whose name was made to point here would be a client like any other.
    let asks = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let refused = raw_to(address, &asks("machine.example")).await;
    assert!(
        refused.starts_with("HTTP/1.1 403") && refused.contains("--credentials"),
        "{refused}"
    );
    for host in ["192.0.2.7:80", "[2001:db8::7]:80", "127.0.0.2", "localhost"] {
        let answer = raw_to(address, &asks(host)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
    }
    let from_a_page = "GET /_health HTTP/1.1\r\nHost: machine.example\r\nOrigin: http://evil.example\r\n\r\n";
    assert!(raw_to(address, from_a_page).await.starts_with("HTTP/1.1 403"));
    server.shutdown().await;
    // With keys, whoever calls it has to have one.
    let with_keys = anywhere().allow_remote(true).credentials("id", "secret");
    let server = with_keys.start().await.unwrap();
    let address = (Ipv4Addr::LOCALHOST, server.address().port()).into();
    let unsigned = raw_to(address, &asks("machine.example")).await;
    assert!(unsigned.contains("<Code>AccessDenied</Code>"), "{unsigned}");
    server.shutdown().await;
}

/// Passes on what a client sends, with some of it changed on the way, and the answer as it is. Gives its address.
async fn between(server: &Server, from: &'static str, to: &'static str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let (address, server) = (listener.local_addr().unwrap(), server.address());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(server).await.unwrap();
            let (mut answers, mut requests) = server.into_split();
            let (mut sent, mut answered) = client.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut answered).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(n @ 1..) = sent.read(&mut buffer).await {
                    // Small requests come in pieces that end where a head or a body does.
                    let text = String::from_utf8_lossy(&buffer[..n]).replace(from, to);
                    if requests.write_all(text.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

/// A request that someone changes on its way is not what was signed, wherever the change is.
#[tokio::test]
async fn what_was_changed_on_the_way_is_refused() {
    let world = World::built(|server| server.credentials("test", "test")).await;
    world.s3.create_bucket().bucket("data").send().await.unwrap();
    world.put("kept-1", "x").await;
    // Bodies that come as they are read are taken as well.
    let file = world.path().join("upload");
    std::fs::write(&file, vec![b'a'; 200_000]).unwrap();
    let body = aws_sdk_s3::primitives::ByteStream::from_path(&file)
        .await
        .unwrap();
    let put = world.s3.put_object().bucket("data").key("streamed").body(body);
    put.send().await.unwrap();

    let mut answers = Vec::new();
    for (from, to) in [
        ("honest", "forged"),
        ("x-amz-meta-a: 1", "x-amz-meta-a: 2"),
        ("x-amz-meta-a: 1", "x-amz-meta-a: 1\r\nx-amz-meta-b: 2"),
        ("<Key>gone-1<", "<Key>kept-1<"),
    ] {
        let config = world.s3.config().to_builder();
        let config = config.endpoint_url(between(&world.server, from, to).await);
        let s3 = aws_sdk_s3::Client::from_conf(config.build());
        let put = s3.put_object().bucket("data").key("gone-1").metadata("a", "1");
        let put = put.body(b"honest".to_vec().into()).send().await;
        let gone = aws_sdk_s3::types::ObjectIdentifier::builder()
            .key("gone-1")
            .build();
        let gone = aws_sdk_s3::types::Delete::builder()
            .objects(gone.unwrap())
            .build();
        let delete = s3
            .delete_objects()
            .bucket("data")
            .delete(gone.unwrap())
            .send()
            .await;
        answers.push(match put.is_err() {
            true => told(put),
            false => told(delete),
        });
    }
    expect![[r#"
        XAmzContentSHA256Mismatch: The provided 'x-amz-content-sha256' header does not match what was computed.
        SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.
        AccessDenied: There were headers present in the request which were not signed: x-amz-meta-b. Sign host and every x-amz- header.
        XAmzContentSHA256Mismatch: The provided 'x-amz-content-sha256' header does not match what was computed."#]]
        .assert_eq(&answers.join("\n"));
    let mut keys = Vec::new();
    for object in world
        .s3
        .list_objects_v2()
        .bucket("data")
        .send()
        .await
        .unwrap()
        .contents()
    {
        keys.push(object.key().unwrap().to_owned());
    }
    // The last put was what it was signed to be; only the request to delete was changed.
    assert_eq!(keys, ["gone-1", "kept-1", "streamed"]);
}

/// The paths of the server's own are keys like any others in a bucket by name of host.
#[tokio::test]
async fn a_bucket_may_have_a_key_of_the_servers_own() {
    let world = World::new().await;
    world.bucket_with_data().await;
    world.put("_health", "of the bucket").await;
    let request = "GET /_health HTTP/1.1\r\nHost: data.localhost\r\n\r\n";
    let answer = raw_to(world.server.address(), request).await;
    assert!(answer.ends_with("\r\n\r\nof the bucket"), "{answer}");
    let request = "POST /_reset HTTP/1.1\r\nHost: data.localhost\r\nContent-Length: 0\r\n\r\n";
    let answer = raw_to(world.server.address(), request).await;
    assert!(!answer.contains("only an ephemeral server"), "{answer}");
}

/// What is too large for an endpoint is told to those who signed it.
#[tokio::test]
async fn a_body_that_is_too_large_is_held_against_its_signature() {
    let world = World::built(|server| server.credentials("test", "test")).await;
    world.endpoint().await;
    let body = vec![b'x'; ipinsights::inference::MAX_BODY_BYTES + 1];
    let invoke = world.runtime.invoke_endpoint().endpoint_name("scores");
    let signed = told(invoke.body(body.into()).send().await);
    assert!(
        signed.starts_with("ModelError: Received client error (413)"),
        "{signed}"
    );
    let unsigned = format!(
        "POST /endpoints/scores/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7000000\r\n\r\n{}",
        "x".repeat(7_000_000)
    );
    let unsigned = raw_to(world.server.address(), &unsigned).await;
    assert!(unsigned.starts_with("HTTP/1.1 403"), "{unsigned}");
}

/// The ready configurations, through the port and without a socket: the same server, and the key that it takes.
#[tokio::test]
async fn ready_configurations_of_the_sdk() {
    let server = Server::ephemeral()
        .credentials("id", "a secret")
        .start()
        .await
        .unwrap();
    let body: Vec<u8> = (0..3 << 20).map(|i| (i % 251) as u8).collect();
    let (port, process) = (server.sdk_config(), server.sdk_config_in_process());
    let (through_port, in_process) = (aws_sdk_s3::Client::new(&port), aws_sdk_s3::Client::new(&process));
    in_process.create_bucket().bucket("data").send().await.unwrap();
    let put = in_process
        .put_object()
        .bucket("data")
        .key("a b/c")
        .body(body.clone().into());
    put.send().await.unwrap();
    for client in [&through_port, &in_process] {
        let read = client
            .get_object()
            .bucket("data")
            .key("a b/c")
            .send()
            .await
            .unwrap();
        assert!(read.body.collect().await.unwrap().to_vec() == body);
    }
    assert!(told(in_process.get_object().bucket("data").key("none").send().await).starts_with("NoSuchKey: "));
    let sagemaker = aws_sdk_sagemaker::Client::new(&process);
    assert_eq!(sagemaker.list_models().send().await.unwrap().models().len(), 0);
    server.shutdown().await;
    assert!(
        in_process.list_buckets().send().await.is_err(),
        "the folder is no longer the server's"
    );
}
