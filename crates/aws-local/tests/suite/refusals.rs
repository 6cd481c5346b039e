//! What no client sends.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::common::World;

/// Sends bytes as they are and reads the answer to its end.
pub(crate) async fn raw(world: &World, request: &str) -> String {
    raw_to(world.server.address(), request).await
}

/// The same, by address.
pub(crate) async fn raw_to(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = request.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn strange_requests_are_answered_in_kind() {
    let world = World::new().await;
    let json = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n";
    let form = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    for (request, status, text) in [
        // A page that made its own name point here, and a page that asks directly.
        (
            "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
            "403",
            "127.0.0.1",
        ),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n".to_owned(),
            "403",
            "web pages",
        ),
        (
            "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            "403",
            "127.0.0.1",
        ),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "403", "127.0.0.1"),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            "200",
            "ListAllMyBucketsResult",
        ),
        (
            format!("{json}X-Amz-Target: SageMaker.ListModels\r\nContent-Length: 2\r\n\r\n[]"),
            "400",
            "SerializationException",
        ),
        (
            format!("{json}X-Amz-Target: SageMaker.ListModels\r\nContent-Length: 1\r\n\r\n{{"),
            "400",
            "SerializationException",
        ),
        (
            format!("{json}X-Amz-Target: SageMaker.ListModels\r\nContent-Length: 0\r\n\r\n"),
            "200",
            "{\"Models\":[]}",
        ),
        (
            format!(
                "{json}X-Amz-Target: SageMaker.ListModels\r\nContent-Length: 33\r\n\r\n{{\"CreationTimeAfter\":\"yesterday\"}}"
            ),
            "400",
            "STRING_VALUE at 'creationTimeAfter' can not be converted to a Float",
        ),
        (
            format!("{json}X-Amz-Target: SageMaker.CreateCluster\r\nContent-Length: 2\r\n\r\n{{}}"),
            "400",
            "The operation CreateCluster of SageMaker is not implemented by aws-local.",
        ),
        (
            format!("{json}X-Amz-Target: DynamoDB_20120810.GetItem\r\nContent-Length: 2\r\n\r\n{{}}"),
            "400",
            "GetItem of DynamoDB_20120810",
        ),
        (
            format!("{json}X-Amz-Target: SageMaker.ListModels\r\nContent-Length: 99999999\r\n\r\n"),
            "413",
            "too large",
        ),
        (
            format!("{form}Content-Length: 14\r\n\r\nAction=Nothing"),
            "400",
            "InvalidAction",
        ),
        (
            format!("{form}Content-Length: 35\r\n\r\nAction=GetRole&RoleName=Some-Role.1"),
            "200",
            "<Arn>arn:aws:iam::000000000000:role/Some-Role.1</Arn>",
        ),
        (
            format!("{form}Content-Length: 30\r\n\r\nAction=GetRole&RoleName=%3Cx%3E"),
            "400",
            "ValidationError",
        ),
        (
            "GET /Bad_Bucket HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            "400",
            "InvalidBucketName",
        ),
    ] {
        let answer = raw(&world, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}"))
                || answer.starts_with(&format!("HTTP/1.0 {status}")),
            "{request}\n{answer}"
        );
        assert!(answer.contains(text), "{request}\n{answer}");
        assert!(answer.contains("x-amzn-requestid: "), "{request}\n{answer}");
    }
}

#[tokio::test]
async fn a_bucket_by_name_of_host() {
    let world = World::new().await;
    world.s3.create_bucket().bucket("data").send().await.unwrap();
    world.put("k", "here").await;
    for host in ["data.localhost", "data.s3.localhost:4566"] {
        let answer = raw(&world, &format!("GET /k HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert!(answer.ends_with("here"), "{answer}");
    }
}

#[tokio::test]
async fn bodies_are_asked_for() {
    let world = World::new().await;
    world.s3.create_bucket().bucket("data").send().await.unwrap();
    let mut stream = TcpStream::connect(world.server.address()).await.unwrap();
    let head = "PUT /data/k HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hi").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn who_am_i() {
    let world = World::new().await;
    let me = world.sts.get_caller_identity().send().await.unwrap();
    assert_eq!(me.account(), Some("000000000000"));
    assert_eq!(
        me.arn(),
        Some("arn:aws:sts::000000000000:assumed-role/ipinsights-local/session")
    );
    // Clients make the role's ARN of that, and ask for the role by its name.
    let form = "Action=GetRole&Version=2010-05-08&RoleName=ipinsights-local";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let role = raw(&world, &request).await;
    assert!(role.starts_with("HTTP/1.1 200"), "{role}");
    assert!(
        role.contains("<Arn>arn:aws:iam::000000000000:role/ipinsights-local</Arn>"),
        "{role}"
    );
}

/// Calls an operation of a JSON service.
pub(crate) async fn call(world: &World, target: &str, body: &str) -> (u16, serde_json::Value) {
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: {target}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let answer = raw(world, &request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head[9..12].parse().unwrap(),
        serde_json::from_str(body).unwrap_or_default(),
    )
}
