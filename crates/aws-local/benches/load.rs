//! How many requests a server answers, with the client on the same machine, in four parts: `invoke` (InvokeEndpoint with one pair each
//! and with many, and while the model is replaced), `executions` (of three Pass states, with their histories), `objects` (one of 1 GiB up
//! and down), `endpoints` (in pages). Where Python has `moto`, its server is asked the same right after.
//!
//! `cargo bench -p aws-local --bench load`; after `--` a number is the seconds for each rate (default 5), and words are the parts to
//! measure (default all). `MOTO_PYTHON` names the Python that has moto.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark fails loudly")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{
    io::Write as _,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aws_local::Server;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

const ROLE: &str = "arn:aws:iam::000000000000:role/bench";
const IMAGE: &str = "382416733822.dkr.ecr.us-east-1.amazonaws.com/ipinsights:1";
/// What the clients of Step Functions call it.
const STATES: &str = "AWSStepFunctions";
/// Clients that ask at the same time.
const CLIENTS: usize = 8;
const GIB: usize = 1 << 30;

/// A connection that is kept for as long as the server keeps it.
struct Client {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
    is_closed: bool,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            address,
            stream: BufReader::with_capacity(1 << 20, stream),
            is_closed: false,
        }
    }

    /// Sends a request and reads the answer; its status and body.
    async fn ask(&mut self, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
        if self.is_closed {
            *self = Self::connect(self.address).await;
        }
        let head = format!(
            "{head}\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut request = head.into_bytes();
        if body.len() < 1 << 16 {
            request.extend_from_slice(body);
            self.stream.write_all(&request).await.unwrap();
        } else {
            self.stream.write_all(&request).await.unwrap();
            self.stream.write_all(body).await.unwrap();
        }
        let (mut status, mut length, mut chunked) = (0, 0, false);
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.stream.read_line(&mut line).await.unwrap();
            assert!(read > 0, "the server closed the connection before it answered");
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if let Some(rest) = text.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some((name, value)) = text.split_once(':') {
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().unwrap(),
                    "transfer-encoding" => chunked = true,
                    "connection" => self.is_closed = value.trim().eq_ignore_ascii_case("close"),
                    _ => {}
                }
            }
        }
        assert!(!chunked, "answers say how long they are");
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await.unwrap();
        (status, answer)
    }

    /// Calls an operation of SageMaker.
    async fn call(&mut self, operation: &str, input: &Value) -> Value {
        self.call_of("SageMaker", operation, input).await
    }

    /// Calls an operation of a service by what its clients call it.
    async fn call_of(&mut self, service: &str, operation: &str, input: &Value) -> Value {
        let name = if service == "SageMaker" {
            "sagemaker"
        } else {
            "states"
        };
        let head = format!(
            "POST / HTTP/1.1\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: {service}.{operation}{}",
            signed_for(name)
        );
        let (status, body) = self.ask(&head, input.to_string().as_bytes()).await;
        assert_eq!(status, 200, "{operation}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap_or_default()
    }
}

/// The header by which moto tells services apart; any signature will do, there and here.
fn signed_for(service: &str) -> String {
    format!(
        "\r\nAuthorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, \
         Signature=0"
    )
}

async fn prepare(address: SocketAddr) {
    let mut client = Client::connect(address).await;
    bucket(address).await;
    let rows: String = (0..2_000)
        .map(|i| format!("user-{},10.{}.{}.7\n", i % 100, i % 100, i % 7))
        .collect();
    assert_eq!(
        client
            .ask(
                &format!("PUT /bench/train.csv HTTP/1.1{}", signed_for("s3")),
                rows.as_bytes()
            )
            .await
            .0,
        200
    );
    let source = json!({"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bench/train.csv"}});
    let job = json!({
        "TrainingJobName": "bench", "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "HyperParameters": {"num_entity_vectors": "20000", "vector_dim": "128", "epochs": "1"},
        "InputDataConfig": [{"ChannelName": "train", "DataSource": source}],
        "OutputDataConfig": {"S3OutputPath": "s3://bench/models"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    });
    client.call("CreateTrainingJob", &job).await;
    let described = loop {
        let described = client
            .call("DescribeTrainingJob", &json!({"TrainingJobName": "bench"}))
            .await;
        match described["TrainingJobStatus"].as_str().unwrap() {
            "InProgress" => tokio::time::sleep(Duration::from_millis(50)).await,
            "Completed" => break described,
            other => panic!("the training is {other}: {described}"),
        }
    };
    let archive = &described["ModelArtifacts"]["S3ModelArtifacts"];
    let model = json!({
        "ModelName": "bench", "ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": IMAGE, "ModelDataUrl": archive},
    });
    client.call("CreateModel", &model).await;
    for name in ["bench", "other"] {
        let variant = json!({
            "VariantName": "v", "ModelName": "bench", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large",
        });
        let config = json!({"EndpointConfigName": name, "ProductionVariants": [variant]});
        client.call("CreateEndpointConfig", &config).await;
    }
    client
        .call(
            "CreateEndpoint",
            &json!({"EndpointName": "bench", "EndpointConfigName": "bench"}),
        )
        .await;
    in_service(&mut client).await;
}

/// Makes the bucket `bench`.
async fn bucket(address: SocketAddr) {
    let mut client = Client::connect(address).await;
    let head = format!("PUT /bench HTTP/1.1{}", signed_for("s3"));
    assert_eq!(client.ask(&head, b"").await.0, 200);
}

async fn in_service(client: &mut Client) {
    loop {
        let input = json!({"EndpointName": "bench"});
        if client.call("DescribeEndpoint", &input).await["EndpointStatus"] == "InService" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How long each request took, in order of length, and how long all of them.
async fn rate(address: SocketAddr, body: Vec<u8>, time: Duration) -> (Vec<Duration>, Duration) {
    let body = Arc::new(body);
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|_| {
        let body = body.clone();
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            let mut taken = Vec::new();
            while began.elapsed() < time {
                let sent = Instant::now();
                let head = format!(
                    "POST /endpoints/bench/invocations HTTP/1.1\r\nContent-Type: text/csv{}",
                    signed_for("sagemaker")
                );
                let (status, answer) = client.ask(&head, &body).await;
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
                taken.push(sent.elapsed());
            }
            taken
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.await.unwrap());
    }
    all.sort_unstable();
    (all, began.elapsed())
}

fn at(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// `moto`'s server, where Python has it.
struct Moto(Child, SocketAddr);

impl Moto {
    fn start() -> Option<Self> {
        let python = std::env::var_os("MOTO_PYTHON").unwrap_or_else(|| "python3".into());
        let there = Command::new(&python)
            .args(["-c", "import moto.server"])
            .stderr(Stdio::null())
            .status();
        if !there.is_ok_and(|status| status.success()) {
            return None;
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let port = free.port().to_string();
        let child = Command::new(&python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        // Ended with this value, whatever happens.
        let moto = Self(child.unwrap(), free);
        for _ in 0..200 {
            if std::net::TcpStream::connect(free).is_ok() {
                return Some(moto);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("moto does not start");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has moto's executions run, and makes what is asked of it.
async fn prepare_moto(address: SocketAddr) {
    let mut client = Client::connect(address).await;
    let config = json!({"stepfunctions": {"execute_state_machine": true}}).to_string();
    let head = "POST /moto-api/config HTTP/1.1\r\nContent-Type: application/json";
    let (status, _) = client.ask(head, config.as_bytes()).await;
    assert!((200..300).contains(&status), "{status}");
    bucket(address).await;
    let model = json!({"ModelName": "bench", "ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": IMAGE}});
    client.call("CreateModel", &model).await;
    let variant = json!({"VariantName": "v", "ModelName": "bench", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"});
    let config = json!({"EndpointConfigName": "bench", "ProductionVariants": [variant]});
    client.call("CreateEndpointConfig", &config).await;
}

/// Executions of three Pass states that have ended well, per second; each has its history.
async fn executions(address: SocketAddr, time: Duration) -> f64 {
    let states = json!({"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "C"}, "C": {"Type": "Pass", "End": true}});
    let definition = json!({"StartAt": "A", "States": states}).to_string();
    let machine = json!({"name": "bench", "roleArn": ROLE, "definition": definition});
    let mut client = Client::connect(address).await;
    let machine = client.call_of(STATES, "CreateStateMachine", &machine).await;
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|number| {
        let machine = machine["stateMachineArn"].clone();
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            let (mut count, mut last) = (0_u32, Value::Null);
            while began.elapsed() < time {
                // moto does not make names up.
                let name = format!("{number}-{count}");
                let start = json!({"stateMachineArn": machine, "input": "{}", "name": name});
                let started = client.call_of(STATES, "StartExecution", &start).await;
                last = json!({"executionArn": started["executionArn"]});
                while client.call_of(STATES, "DescribeExecution", &last).await["status"] == "RUNNING" {
                    tokio::task::yield_now().await;
                }
                count += 1;
            }
            let history = client.call_of(STATES, "GetExecutionHistory", &last).await;
            assert_eq!(history["events"].as_array().unwrap().len(), 8, "{history}");
            count
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut all = 0;
    for client in clients {
        all += client.await.unwrap();
    }
    f64::from(all) / began.elapsed().as_secs_f64()
}

/// Seconds for an object up and down.
async fn object(address: SocketAddr, size: usize) -> (f64, f64) {
    let mut client = Client::connect(address).await;
    let bytes: Vec<u8> = (0..size).map(|i| (i % 253) as u8).collect();
    let head = |method: &str| format!("{method} /bench/large HTTP/1.1{}", signed_for("s3"));
    let began = Instant::now();
    let (status, _) = client.ask(&head("PUT"), &bytes).await;
    assert_eq!(status, 200);
    let up = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let (status, body) = client.ask(&head("GET"), b"").await;
    assert!(status == 200 && body.len() == size);
    (up, began.elapsed().as_secs_f64())
}

/// Seconds for the same bytes into a file, and out of it.
fn disk(folder: &std::path::Path, size: usize) -> (f64, f64) {
    let bytes: Vec<u8> = (0..size).map(|i| (i % 253) as u8).collect();
    let path = folder.join("plain");
    let began = Instant::now();
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&bytes).unwrap();
    let up = began.elapsed().as_secs_f64();
    let began = Instant::now();
    assert_eq!(std::fs::read(&path).unwrap().len(), size);
    (up, began.elapsed().as_secs_f64())
}

/// Seconds for so many endpoints to be created, and to be listed in pages of 100.
async fn endpoints(address: SocketAddr, count: usize) -> (f64, f64) {
    let mut client = Client::connect(address).await;
    let began = Instant::now();
    for i in 0..count {
        let input = json!({"EndpointName": format!("many-{i}"), "EndpointConfigName": "bench"});
        client.call("CreateEndpoint", &input).await;
    }
    let created = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let (mut found, mut token) = (0, Value::Null);
    loop {
        let mut input = json!({"NameContains": "many-", "MaxResults": 100});
        if !token.is_null() {
            input["NextToken"] = token;
        }
        let page = client.call("ListEndpoints", &input).await;
        found += page["Endpoints"].as_array().unwrap().len();
        match page.get("NextToken").filter(|next| !next.is_null()) {
            Some(next) => token = next.clone(),
            None => break,
        }
    }
    assert_eq!(found, count);
    (created, began.elapsed().as_secs_f64())
}

/// InvokeEndpoint, also while the endpoint is updated.
async fn invoke(ours: SocketAddr, moto: Option<SocketAddr>, time: Duration) {
    let one = b"user-1,10.1.1.7".to_vec();
    let (taken, all) = rate(ours, one.clone(), time).await;
    let of_ours = taken.len() as f64 / all.as_secs_f64();
    println!(
        "InvokeEndpoint, one pair each, {CLIENTS} clients: {of_ours:.0} requests/s; p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        at(&taken, 0.5).as_secs_f64() * 1e3,
        at(&taken, 0.99).as_secs_f64() * 1e3,
        at(&taken, 1.0).as_secs_f64() * 1e3,
    );
    if let Some(moto) = moto {
        let (taken, all) = rate(moto, one.clone(), time).await;
        let of_moto = taken.len() as f64 / all.as_secs_f64();
        println!(
            "  moto, whose answers are made up: {of_moto:.0} requests/s; p99 {:.2} ms; ours are {:.0} times as many",
            at(&taken, 0.99).as_secs_f64() * 1e3,
            of_ours / of_moto,
        );
    }

    let over = Arc::new(AtomicBool::new(false));
    let updates = {
        let over = over.clone();
        tokio::spawn(async move {
            let mut client = Client::connect(ours).await;
            let mut updates = 0;
            while !over.load(Ordering::Relaxed) {
                let config = ["other", "bench"][updates % 2];
                let update = json!({"EndpointName": "bench", "EndpointConfigName": config});
                client.call("UpdateEndpoint", &update).await;
                in_service(&mut client).await;
                updates += 1;
            }
            updates
        })
    };
    let (taken, all) = rate(ours, one, time).await;
    over.store(true, Ordering::Relaxed);
    println!(
        "the same while the endpoint is updated {} times: {:.0} requests/s, none failed; p99 {:.2} ms",
        updates.await.unwrap(),
        taken.len() as f64 / all.as_secs_f64(),
        at(&taken, 0.99).as_secs_f64() * 1e3,
    );

    const PAIRS: usize = 10_000;
    let batch: String = (0..PAIRS)
        .map(|i| format!("user-{},10.{}.{}.7\n", i % 100, i % 100, i % 7))
        .collect();
    let (taken, all) = rate(ours, batch.into_bytes(), time).await;
    println!(
        "InvokeEndpoint, {PAIRS} pairs each, {CLIENTS} clients: {:.0} pairs/s",
        (taken.len() * PAIRS) as f64 / all.as_secs_f64()
    );
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or(5);
    let time = Duration::from_secs(seconds);
    let parts = ["invoke", "executions", "objects", "endpoints"];
    let wanted: Vec<&str> = parts
        .into_iter()
        .filter(|part| arguments.iter().any(|argument| argument == part))
        .collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.contains(&part);
    let folder = tempfile::tempdir().unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    let ours = server.address();
    prepare(ours).await;
    let process = Moto::start();
    let moto = process.as_ref().map(|moto| moto.1);
    match moto {
        None => println!("moto: not there (MOTO_PYTHON names a Python that has it)"),
        Some(moto) => prepare_moto(moto).await,
    }

    if is_wanted("invoke") {
        invoke(ours, moto, time).await;
    }
    if is_wanted("executions") {
        let of_ours = executions(ours, time).await;
        println!("executions of three Pass states, {CLIENTS} clients: {of_ours:.0}/s");
        if let Some(moto) = moto {
            let of_moto = executions(moto, time).await;
            println!(
                "  moto: {of_moto:.0}/s; ours are {:.1} times as many",
                of_ours / of_moto
            );
        }
    }
    if is_wanted("objects") {
        let plain = disk(folder.path(), GIB);
        let (up, down) = object(ours, GIB).await;
        println!(
            "S3, 1 GiB: put {:.0} MiB/s ({:.2} of a plain file's {:.0}), get {:.0} MiB/s ({:.2} of {:.0})",
            1024.0 / up,
            plain.0 / up,
            1024.0 / plain.0,
            1024.0 / down,
            plain.1 / down,
            1024.0 / plain.1,
        );
        if let Some(moto) = moto {
            let (moto_up, moto_down) = object(moto, GIB / 4).await;
            println!(
                "  moto, 256 MiB: put {:.0} MiB/s, get {:.0} MiB/s; ours is {:.1} and {:.1} times as fast",
                256.0 / moto_up,
                256.0 / moto_down,
                4.0 * moto_up / up,
                4.0 * moto_down / down,
            );
        }
    }
    if is_wanted("endpoints") {
        let (created, listed) = endpoints(ours, 10_000).await;
        println!("10,000 endpoints created in {created:.2} s, listed in pages of 100 in {listed:.2} s");
        if let Some(moto) = moto {
            let (moto_created, moto_listed) = endpoints(moto, 1_000).await;
            println!(
                "  moto, 1,000: created in {moto_created:.2} s, listed in {moto_listed:.2} s; each of ours {:.1} and {:.1} times as fast",
                10.0 * moto_created / created,
                10.0 * moto_listed / listed,
            );
        }
    }
    server.shutdown().await;
}
