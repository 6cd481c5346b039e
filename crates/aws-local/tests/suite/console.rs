//! The console: its pages, what they refuse, and how they change; by plain requests, and in a browser where there is one.

use std::time::Duration;

use aws_local::Server;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    browser::Browser,
    common::{ROLE, World, eventually},
    refusals::raw_to,
};

/// What would run, load or break out if it were not escaped.
const EVIL: &str = "\"'><img src=x onerror=alert(1)></title></svg></style><script>alert(2)</script>&amp;";

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    /// The token of its forms.
    fn token(&self) -> &str {
        let (_, rest) = self.body.split_once("name=\"token\" value=\"").unwrap();
        rest.split('"').next().unwrap()
    }
}

async fn get_with(server: &Server, path: &str, headers: &str) -> Answer {
    let host = server.address();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    Answer::of(&raw_to(host, &request).await)
}

async fn get(server: &Server, path: &str) -> Answer {
    get_with(server, path, "").await
}

async fn post_with(server: &Server, path: &str, headers: &str, form: &str) -> Answer {
    let length = form.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\n{headers}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
    );
    Answer::of(&raw_to(server.address(), &request).await)
}

/// A form as a browser sends it from a page of the server.
async fn post(server: &Server, path: &str, form: &str) -> Answer {
    let host = server.address();
    let headers = format!("Host: {host}\r\nOrigin: http://{host}\r\nSec-Fetch-Site: same-origin\r\n");
    post_with(server, path, &headers, form).await
}

async fn ok(server: &Server, operation: &str, input: Value) -> Value {
    server.call(operation, &input).await.unwrap()
}

async fn machine(server: &Server, name: &str, definition: &Value) -> String {
    let input = json!({"name": name, "roleArn": ROLE, "definition": definition.to_string()});
    let created = ok(server, "AWSStepFunctions.CreateStateMachine", input).await;
    created["stateMachineArn"].as_str().unwrap().to_owned()
}

fn pass(name: &str) -> Value {
    json!({"StartAt": name, "States": {name: {"Type": "Pass", "Comment": name, "End": true}}})
}

/// A machine whose second state is done when a worker says so, and the worker's activity.
async fn waiting_machine(server: &Server) -> (String, String) {
    let activity = ok(server, "AWSStepFunctions.CreateActivity", json!({"name": "work"})).await;
    let activity = activity["activityArn"].as_str().unwrap().to_owned();
    let definition = json!({"StartAt": "Prepare", "States": {
        "Prepare": {"Type": "Pass", "Next": "Work"},
        "Work": {"Type": "Task", "Resource": activity, "Next": "Done"},
        "Done": {"Type": "Succeed"},
    }});
    (machine(server, "watched", &definition).await, activity)
}

/// A machine that runs each item of its input as an execution of its own.
async fn mapping_machine(server: &Server) -> String {
    let definition = json!({"StartAt": "M", "States": {"M": {
        "Type": "Map", "End": true,
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "P",
            "States": {"P": {"Type": "Pass", "End": true}}},
    }}});
    machine(server, "mapping", &definition).await
}

async fn start(server: &Server, machine: &str, input: &Value) -> String {
    let input = json!({"stateMachineArn": machine, "input": input.to_string()});
    let started = ok(server, "AWSStepFunctions.StartExecution", input).await;
    started["executionArn"].as_str().unwrap().to_owned()
}

async fn ended(server: &Server, execution: &str) {
    eventually(|| async {
        let input = json!({"executionArn": execution});
        let described = ok(server, "AWSStepFunctions.DescribeExecution", input).await;
        (described["status"] != "RUNNING").then_some(())
    })
    .await;
}

/// Does the work of [`waiting_machine`].
async fn work(server: &Server, activity: &str) {
    let task = ok(
        server,
        "AWSStepFunctions.GetActivityTask",
        json!({"activityArn": activity}),
    )
    .await;
    let done = json!({"taskToken": task["taskToken"], "output": "{\"done\": true}"});
    ok(server, "AWSStepFunctions.SendTaskSuccess", done).await;
}

fn page(page: &str, name: &str, value: &str) -> String {
    let encoded = percent(value);
    format!("/console/{page}?{name}={encoded}")
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// A server with something of everything in it, much of it hostile; and its pages.
async fn furnished() -> (World, Vec<String>) {
    let world = World::new().await;
    world.endpoint().await;
    let server = &world.server;
    let key = format!("folder{EVIL}/{EVIL}");
    world.put(&key, EVIL).await;
    world.put("page.html", "<script>alert(3)</script>").await;
    let arn = machine(server, "hostile", &pass("</svg><script>alert(4)</script>")).await;
    let execution = start(server, &arn, &json!({"text": EVIL})).await;
    ended(server, &execution).await;
    let failing = json!({"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": EVIL, "Cause": EVIL}}});
    let failing = machine(server, "failing", &failing).await;
    let failed = start(server, &failing, &json!({})).await;
    ended(server, &failed).await;
    ok(
        server,
        "SageMaker.CreateHyperParameterTuningJob",
        crate::jobs::tuning("search"),
    )
    .await;
    crate::jobs::ended(&world, "HyperParameterTuningJob", "search").await;
    let mapping = mapping_machine(server).await;
    let mapped = start(server, &mapping, &json!([1, EVIL])).await;
    ended(server, &mapped).await;
    let runs = ok(
        server,
        "AWSStepFunctions.ListMapRuns",
        json!({"executionArn": mapped}),
    )
    .await;
    let run = runs["mapRuns"][0]["mapRunArn"].as_str().unwrap();
    let mut pages: Vec<String> = ["", "/connect", "/machines", "/jobs", "/endpoints", "/buckets"]
        .map(|page| format!("/console{page}"))
        .into();
    pages.extend([
        page("machine", "arn", &arn),
        page("execution", "arn", &execution),
        page("execution", "arn", &failed),
        page("execution", "arn", &mapped),
        page("map-run", "arn", run),
        page("training-job", "name", "job"),
        page("tuning-job", "name", "search"),
        page("endpoint", "name", "scores"),
        page("bucket", "name", "data"),
        format!(
            "{}&prefix={}",
            page("bucket", "name", "data"),
            percent(key.split_once('/').unwrap().0) + "%2F"
        ),
        format!("{}&key={}", page("object", "bucket", "data"), percent(&key)),
    ]);
    (world, pages)
}

#[tokio::test]
async fn every_page_is_there_and_holds_no_ones_markup() {
    let (world, pages) = furnished().await;
    let mut evil = 0;
    for page in &pages {
        let answer = get(&world.server, page).await;
        assert_eq!(answer.status, 200, "{page}: {}", answer.body);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 127.0.0.1:"),
            "{policy}"
        );
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        // One script, the console's own; nothing in attributes; nothing from elsewhere.
        assert_eq!(answer.body.matches("<script").count(), 1, "{page}");
        for markup in [
            "<img",
            "<style",
            " style=\"",
            " onerror=alert(1)>",
            "href=\"http",
            "src=\"http",
        ] {
            assert!(!answer.body.contains(markup), "{page}: {markup}");
        }
        evil += answer.body.matches("&lt;script&gt;alert(").count();
        for once in ["<main", "<h1", "<html lang=\"en\"", "aria-current="] {
            assert!(answer.body.contains(once), "{page}: {once}");
        }
    }
    assert!(evil > 10, "hostile names are shown, as text: {evil}");
    // Pages that are not there.
    for page in [
        "/console/nothing",
        "/console/endpoint?name=none",
        "/console/endpoint",
        "/console/machine?arn=arn%3Aaws%3Astates%3Aus-east-1%3A000000000000%3AstateMachine%3Anone",
        "/console/object?bucket=data&key=none",
        "/console/bucket?name=none",
        "/console/assets/../../secret",
    ] {
        assert_eq!(get(&world.server, page).await.status, 404, "{page}");
    }
    assert!(
        get(&world.server, "/console/execution?arn=%3Cscript%3E")
            .await
            .status
            >= 400
    );
}

/// What the disk has lost is no page that is not there.
#[tokio::test]
async fn an_object_without_its_bytes_is_a_failure() {
    let world = World::new().await;
    world.bucket_with_data().await;
    for blob in std::fs::read_dir(world.path().join("s3/blobs")).unwrap() {
        std::fs::remove_file(blob.unwrap().path()).unwrap();
    }
    for page in ["object", "download"] {
        let path = format!("/console/{page}?bucket=data&key=train%2Ftrain.csv");
        let answer = get(&world.server, &path).await;
        assert_eq!(answer.status, 500, "{page}");
        assert!(
            answer.body.contains("The data folder cannot be used"),
            "{}",
            answer.body
        );
    }
}

#[tokio::test]
async fn files_of_the_console_are_read_once() {
    let server = Server::ephemeral().start().await.unwrap();
    for (file, kind) in [
        ("console.css", "text/css"),
        ("console.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ] {
        let path = format!("/console/assets/{file}");
        let answer = get(&server, &path).await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").unwrap().starts_with(kind));
        let tag = answer.header("etag").unwrap();
        let again = get_with(&server, &path, &format!("If-None-Match: {tag}\r\n")).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""));
    }
}

#[tokio::test]
async fn an_object_is_kept_and_not_shown_as_a_page() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let html = "<script>fetch('/console')</script>";
    let put = world
        .s3
        .put_object()
        .bucket("data")
        .key("a \"b\".html")
        .content_type("text/html");
    put.body(html.as_bytes().to_vec().into()).send().await.unwrap();
    let kept = get(
        &world.server,
        "/console/download?bucket=data&key=a%20%22b%22.html",
    )
    .await;
    assert_eq!((kept.status, kept.body.as_str()), (200, html));
    assert_eq!(kept.header("content-type"), Some("application/octet-stream"));
    assert_eq!(
        kept.header("content-disposition"),
        Some("attachment; filename*=utf-8''a%20%22b%22.html")
    );
    // Opened from the bucket it is a page of its own, not one of this server, whatever type it is said to have.
    for kind in [
        "",
        "text/html",
        "text/plain",
        "*/*",
        "unknown/unknown",
        "application/unknown",
        "none",
        "multipart/x-mixed-replace;boundary=b",
        "image/svg+xml",
        "image/png",
    ] {
        let asked = format!("/data/a%20%22b%22.html?response-content-type={}", percent(kind));
        let opened = get(&world.server, &asked).await;
        assert_eq!(opened.status, 200, "{kind}: {}", opened.body);
        assert_eq!(opened.body, html);
        assert_set_apart(&opened);
    }
    for path in [
        "/",
        "/data",
        "/data?location",
        "/data/none",
        "/none/a",
        "/endpoints/none",
    ] {
        assert_set_apart(&get(&world.server, path).await);
    }
}

/// That a browser takes an answer for no page of the server.
fn assert_set_apart(answer: &Answer) {
    let policy = answer.header("content-security-policy").unwrap_or_default();
    let apart = policy.starts_with("sandbox ") && !policy.contains("allow-same-origin");
    assert!(apart, "{}", answer.head);
    assert_eq!(
        answer.header("x-content-type-options"),
        Some("nosniff"),
        "{}",
        answer.head
    );
}

/// A form with a file, as browsers write it; names and values of fields, and last the file's name and content.
fn multipart(fields: &[(&str, &str)], file: (&str, &str)) -> String {
    let fields: String = fields
        .iter()
        .map(|(name, value)| {
            format!("--limit\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        })
        .collect();
    format!(
        "{fields}--limit\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\n\
         Content-Type: text/csv\r\n\r\n{}\r\n--limit--\r\n",
        file.0, file.1
    )
}

/// The request with such a form, from a page of the server.
fn multipart_request(server: &Server, path: &str, form: &str) -> String {
    let host = server.address();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\
         Content-Type: multipart/form-data; boundary=limit\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    )
}

#[tokio::test]
async fn a_file_is_stored_and_an_object_deleted() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let server = &world.server;
    let token = get(server, &page("bucket", "name", "data"))
        .await
        .token()
        .to_owned();
    let path = format!("{}&prefix=folder%2F", page("bucket/upload", "name", "data"));
    let send = async |path: &str, form: &str| {
        Answer::of(&raw_to(server.address(), &multipart_request(server, path, form)).await)
    };
    let keys = async || {
        let listed = world.s3.list_objects_v2().bucket("data").send().await.unwrap();
        let keys = listed
            .contents()
            .iter()
            .map(|object| object.key().unwrap().to_owned());
        keys.collect::<Vec<_>>()
    };
    let before = keys().await;
    let rows = "France,10.1.0.1\n";
    let good = multipart(&[("token", &token), ("key", "")], ("a%22b.csv", rows));
    for (path, form, status) in [
        (path.as_str(), multipart(&[], ("a.csv", rows)), 403),
        (&path, multipart(&[("token", "0")], ("a.csv", rows)), 403),
        // The token is not looked for behind the file.
        (
            &path,
            multipart(
                &[],
                (
                    "a.csv",
                    &format!(
                        "{rows}\r\n--limit\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n{token}"
                    ),
                ),
            ),
            403,
        ),
        (&path, multipart(&[("token", &token)], ("", "")), 400),
        (
            &path,
            multipart(&[("token", &token), ("key", &"k".repeat(1020))], ("a.csv", rows)),
            400,
        ),
        (&path, "--limit--\r\n".to_owned(), 400),
        (&path, "no form".to_owned(), 400),
        ("/console/bucket/upload?name=none", good.clone(), 404),
        // Other forms have no files.
        ("/console/bucket?name=data", good.clone(), 404),
        ("/console/bucket/delete?name=data", good.clone(), 404),
        ("/console/machine?arn=a", good.clone(), 404),
        ("/console/sign-in", good.clone(), 404),
        (
            "/console/object?bucket=data&key=train%2Ftrain.csv",
            good.clone(),
            404,
        ),
    ] {
        let answer = send(path, &form).await;
        assert_eq!(answer.status, status, "{path} {form}: {}", answer.body);
    }
    let foreign = multipart_request(server, &path, &good).replace("Origin: http://127", "Origin: http://10");
    assert_eq!(Answer::of(&raw_to(server.address(), &foreign).await).status, 403);
    // A file of which some is missing is none.
    let whole = multipart_request(server, &path, &good);
    let mut cut_off = TcpStream::connect(server.address()).await.unwrap();
    cut_off
        .write_all(&whole.as_bytes()[..whole.len() - 20])
        .await
        .unwrap();
    cut_off.shutdown().await.unwrap();
    cut_off.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(keys().await, before, "nothing is stored");
    assert_eq!(
        std::fs::read_dir(world.path().join("s3/blobs")).unwrap().count(),
        before.len()
    );

    // Nor is one for which there is no room, and why is told.
    let (blobs, away) = (world.path().join("s3/blobs"), world.path().join("away"));
    std::fs::rename(&blobs, &away).unwrap();
    std::fs::write(&blobs, "").unwrap();
    let refused = send(&path, &good).await;
    let reason = "The file was not stored: Not a directory";
    assert!(
        refused.status == 500 && refused.body.contains(reason),
        "{}",
        refused.body
    );
    std::fs::remove_file(&blobs).unwrap();
    std::fs::rename(&away, &blobs).unwrap();

    let stored = send(&path, &good).await;
    let object = "/console/object?bucket=data&key=folder%2fa%22b.csv";
    assert_eq!(
        (stored.status, stored.header("location")),
        (303, Some(object)),
        "{}",
        stored.body
    );
    let read = world
        .s3
        .get_object()
        .bucket("data")
        .key("folder/a\"b.csv")
        .send()
        .await
        .unwrap();
    assert_eq!(read.content_type(), Some("text/csv"));
    assert_eq!(read.body.collect().await.unwrap().to_vec(), rows.as_bytes());
    let named = multipart(&[("token", &token), ("key", "deeper/c")], ("a.csv", "anything"));
    assert_eq!(send(&path, &named).await.status, 303);
    assert!(keys().await.contains(&"folder/deeper/c".to_owned()));

    let object = "/console/object?bucket=data&key=folder%2Fdeeper%2Fc";
    assert_eq!(post(server, object, "").await.status, 403);
    let deleted = post(server, object, &format!("token={token}")).await;
    let folder = "/console/bucket?name=data&prefix=folder%2fdeeper%2f";
    assert_eq!((deleted.status, deleted.header("location")), (303, Some(folder)));
    assert!(!keys().await.contains(&"folder/deeper/c".to_owned()));
    assert_eq!(post(server, object, &format!("token={token}")).await.status, 404);

    let locked = Server::ephemeral()
        .credentials("id", "secret")
        .start()
        .await
        .unwrap();
    let form = multipart(&[("token", "0")], ("a.csv", rows));
    let refused = raw_to(
        locked.address(),
        &multipart_request(&locked, "/console/bucket/upload?name=data", &form),
    )
    .await;
    assert_eq!(Answer::of(&refused).status, 401);
}

#[tokio::test]
async fn buckets_are_made_and_deleted() {
    let world = World::new().await;
    let server = &world.server;
    let token = get(server, "/console/buckets").await.token().to_owned();
    let make = async |name: &str| {
        let form = format!("token={token}&bucket={}", percent(name));
        post(server, "/console/buckets", &form).await
    };
    for (name, reason) in [
        ("", "3 to 63 lower-case letters"),
        ("Data", "3 to 63 lower-case letters"),
        ("../a", "3 to 63 lower-case letters"),
    ] {
        let refused = make(name).await;
        assert_eq!(refused.status, 400, "{name}");
        assert!(refused.body.contains(reason) && refused.body.contains(&format!("value=\"{name}\"")));
    }
    let made = make(" data ").await;
    assert_eq!(
        (made.status, made.header("location")),
        (303, Some("/console/bucket?name=data"))
    );
    assert!(
        make("data")
            .await
            .body
            .contains("There is a bucket of that name already.")
    );
    world.put("a", "rows").await;
    let form = format!("token={token}");
    let delete = async || post(server, "/console/bucket/delete?name=data", &form).await;
    assert_eq!(delete().await.status, 400);
    // The page of a bucket and the form with a file delete nothing.
    for other in ["/console/bucket?name=data", "/console/bucket/upload?name=data"] {
        assert_eq!(post(server, other, &form).await.status, 404);
    }
    let shown = get(server, "/console/bucket?name=data").await.body;
    assert!(!shown.contains("Delete the bucket"), "it is not empty");
    post(
        server,
        "/console/object?bucket=data&key=a",
        &format!("token={token}"),
    )
    .await;
    let shown = get(server, "/console/bucket?name=data").await.body;
    assert!(shown.contains("Delete the bucket"));
    assert_eq!(
        post(server, "/console/bucket/delete?name=data", "").await.status,
        403
    );
    assert_eq!(delete().await.status, 303);
    assert_eq!(delete().await.status, 404);
    assert_eq!(world.s3.list_buckets().send().await.unwrap().buckets().len(), 0);
}

#[tokio::test]
async fn versions_and_aliases_are_shown() {
    let server = Server::ephemeral().start().await.unwrap();
    let arn = machine(&server, "versioned", &pass("P")).await;
    let shown = get(&server, &page("machine", "arn", &arn)).await.body;
    assert!(!shown.contains("Versions") && !shown.contains("Aliases"));
    let mut versions = Vec::new();
    for state in ["P", "Q"] {
        let update = json!({"stateMachineArn": arn, "definition": pass(state).to_string(), "publish": true});
        let updated = ok(&server, "AWSStepFunctions.UpdateStateMachine", update).await;
        versions.push(updated["stateMachineVersionArn"].as_str().unwrap().to_owned());
    }
    let routes: Vec<_> = versions
        .iter()
        .zip([25, 75])
        .map(|(version, weight)| json!({"stateMachineVersionArn": version, "weight": weight}))
        .collect();
    let alias = json!({"name": "live", "routingConfiguration": routes});
    ok(&server, "AWSStepFunctions.CreateStateMachineAlias", alias).await;
    let shown = get(&server, &page("machine", "arn", &arn)).await.body;
    for (number, version, weight) in [(1, &versions[0], 25), (2, &versions[1], 75)] {
        let link = format!("<a href=\"{}\">{number}</a>", page("machine", "arn", version));
        assert!(
            shown.contains(&format!("<th scope=\"row\">{link}</th>")),
            "{shown}"
        );
        assert!(shown.contains(&format!("version {link} ({weight} %)")), "{shown}");
    }
    let first = get(&server, &page("machine", "arn", &versions[0])).await;
    assert_eq!(first.status, 200, "{}", first.body);
    assert!(first.body.contains("<h1>versioned, version 1</h1>"));
    assert!(first.body.contains(&format!(
        "<a href=\"{}\">versioned</a>",
        page("machine", "arn", &arn)
    )));
    let started = post(
        &server,
        &page("machine", "arn", &versions[0]),
        &format!("token={}", first.token()),
    )
    .await;
    assert_eq!(started.status, 303, "{}", started.body);
}

#[tokio::test]
async fn who_opens_the_servers_address_is_led_to_the_console() {
    let server = Server::ephemeral().start().await.unwrap();
    assert!(server.console_url().ends_with("/console"));
    let led = get_with(
        &server,
        "/",
        "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n",
    )
    .await;
    assert_eq!((led.status, led.header("location")), (303, Some("/console")));
    let buckets = get_with(&server, "/", "Accept: */*\r\n").await;
    assert!(
        buckets.body.contains("ListAllMyBucketsResult"),
        "{}",
        buckets.body
    );
}

#[tokio::test]
async fn an_express_execution_is_waited_for() {
    let server = Server::ephemeral().start().await.unwrap();
    let input =
        json!({"name": "express", "roleArn": ROLE, "type": "EXPRESS", "definition": pass("P").to_string()});
    let created = ok(&server, "AWSStepFunctions.CreateStateMachine", input).await;
    let path = page("machine", "arn", created["stateMachineArn"].as_str().unwrap());
    let shown = get(&server, &path).await;
    let form = |input: &str| format!("token={}&input={}", shown.token(), percent(input));
    let ran = post(&server, &path, &form("{\"came\": \"through\"}")).await;
    assert_eq!(ran.status, 200, "{}", ran.body);
    assert!(
        ran.body.contains("What it came to")
            && ran
                .body
                .contains("&quot;came&quot;: &quot;through&quot;\n}</pre>")
    );
    assert_eq!(post(&server, &path, &form("{")).await.status, 400);
}

#[tokio::test]
async fn a_bucket_called_console_is_the_clients() {
    let world = World::new().await;
    world.s3.create_bucket().bucket("console").send().await.unwrap();
    let put = world.s3.put_object().bucket("console").key("machines");
    put.body(b"rows".to_vec().into()).send().await.unwrap();
    let read = world
        .s3
        .get_object()
        .bucket("console")
        .key("machines")
        .send()
        .await
        .unwrap();
    assert_eq!(read.body.collect().await.unwrap().to_vec(), b"rows");
    let listed = world.s3.list_objects_v2().bucket("console").send().await.unwrap();
    assert_eq!(listed.contents().len(), 1);
    // Without a signature it is the console; by the host's name it is the bucket.
    assert!(
        get(&world.server, "/console/machines")
            .await
            .body
            .contains("State machines")
    );
    let by_host = "GET /machines HTTP/1.1\r\nHost: console.localhost\r\n\r\n";
    assert!(raw_to(world.server.address(), by_host).await.ends_with("rows"));
}

#[tokio::test]
async fn forms_are_taken_from_the_servers_own_pages_only() {
    let world = World::new().await;
    let server = &world.server;
    let arn = machine(server, "m", &pass("P")).await;
    let path = page("machine", "arn", &arn);
    let shown = get(server, &path).await;
    let form = format!("token={}&name=one&input=%7B%7D", shown.token());
    let host = server.address();
    let own = format!("Host: {host}\r\n");
    for (headers, form) in [
        // No origin, another's, another port's, none that can be told.
        (own.clone(), form.clone()),
        (format!("{own}Origin: http://evil.example\r\n"), form.clone()),
        (format!("{own}Origin: http://127.0.0.1:1\r\n"), form.clone()),
        (format!("{own}Origin: null\r\n"), form.clone()),
        (
            format!("{own}Origin: http://localhost:{}\r\n", host.port()),
            form.clone(),
        ),
        (
            format!("{own}Origin: http://{host}\r\nSec-Fetch-Site: cross-site\r\n"),
            form.clone(),
        ),
        // A name that was made to point here, and one of another kind.
        (
            format!(
                "Host: evil.example:{0}\r\nOrigin: http://evil.example:{0}\r\n",
                host.port()
            ),
            form.clone(),
        ),
        (
            "Host: sync-localhost\r\nOrigin: http://sync-localhost\r\n".to_owned(),
            form.clone(),
        ),
        // Without the token, or with another's.
        (
            format!("{own}Origin: http://{host}\r\n"),
            "name=one&input=%7B%7D".to_owned(),
        ),
        (
            format!("{own}Origin: http://{host}\r\n"),
            "token=0&name=one&input=%7B%7D".to_owned(),
        ),
    ] {
        let answer = post_with(server, &path, &headers, &form).await;
        assert_eq!(answer.status, 403, "{headers}{form}\n{}", answer.body);
    }
    // What a form in JSON's clothes would be.
    let json = format!(
        "POST {path} HTTP/1.1\r\n{own}Origin: http://{host}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    assert_eq!(Answer::of(&raw_to(host, &json).await).status, 403);
    let none = ok(
        server,
        "AWSStepFunctions.ListExecutions",
        json!({"stateMachineArn": arn}),
    )
    .await;
    assert_eq!(none["executions"], json!([]), "nothing was started");
    // A page elsewhere may lead here, but load nothing.
    for (fetched, status) in [
        ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n", 200),
        ("Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n", 200),
        ("Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n", 200),
        ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\n", 403),
        ("Origin: http://evil.example\r\n", 403),
    ] {
        assert_eq!(
            get_with(server, "/console", fetched).await.status,
            status,
            "{fetched}"
        );
    }
    // Pages are not shown to names that could be another's, either.
    let by_name = format!(
        "GET /console HTTP/1.1\r\nHost: evil.example:{}\r\n\r\n",
        host.port()
    );
    assert_eq!(Answer::of(&raw_to(host, &by_name).await).status, 403);

    let answer = post(server, &path, &form).await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    let execution = arn.replace(":stateMachine:", ":execution:") + ":one";
    let to = page("execution", "arn", &execution).to_ascii_lowercase();
    assert_eq!(answer.header("location"), Some(to.as_str()));
    // What the service refuses comes back with what was filled in.
    let again = format!("token={}&name=one&input=%7B%22a%22", shown.token());
    let answer = post(server, &path, &again).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.contains("InvalidExecutionInput") && answer.body.contains("{&quot;a&quot;</textarea>")
    );
}

/// Other machines call a server by its address, and its pages there have forms as well.
#[tokio::test]
async fn forms_are_taken_by_address() {
    let world =
        World::built(|server| server.listen(std::net::Ipv4Addr::UNSPECIFIED).allow_remote(true)).await;
    let server = &world.server;
    let arn = machine(server, "m", &pass("P")).await;
    let path = page("machine", "arn", &arn);
    let here = (std::net::Ipv4Addr::LOCALHOST, server.address().port()).into();
    let asked = format!("GET {path} HTTP/1.1\r\nHost: 192.0.2.7:4566\r\n\r\n");
    let form = format!(
        "token={}&input=%7B%7D",
        Answer::of(&raw_to(here, &asked).await).token()
    );
    for (host, origin, status) in [
        ("192.0.2.7:4566", "http://192.0.2.7:4566", 303),
        ("[2001:db8::7]:4566", "http://[2001:DB8::7]:4566", 303),
        ("127.0.0.1:4566", "http://127.0.0.1:4566", 303),
        // Another machine's page, another port's, one without an origin, and names, which may be made to point here.
        ("192.0.2.7:4566", "http://192.0.2.8:4566", 403),
        ("192.0.2.7:4566", "http://192.0.2.7", 403),
        ("192.0.2.7:4566", "null", 403),
        ("192.0.2.7:4566", "http://evil.example:4566", 403),
        ("evil.example:4566", "http://evil.example:4566", 403),
        ("192.0.2.7.evil.example", "http://192.0.2.7.evil.example", 403),
    ] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        let answer = Answer::of(&raw_to(here, &request).await);
        assert_eq!(answer.status, status, "{host} {origin}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_console_behind_keys_is_signed_in_to() {
    let folder = TempDir::new().unwrap();
    let server = Server::builder(folder.path())
        .credentials("id", "the secret")
        .start()
        .await
        .unwrap();
    let arn = machine(&server, "private-machine", &pass("P")).await;
    for path in [
        "/console",
        "/console/machines",
        &page("machine", "arn", &arn),
        "/console/download?bucket=a&key=b",
    ] {
        let answer = get(&server, path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.body.contains("type=\"password\"") && !answer.body.contains("<table"));
    }
    assert_eq!(get(&server, "/console/live/machines").await.status, 403);
    let asked = get(&server, "/console/machines").await;
    let form = |secret: &str, next: &str| {
        format!(
            "token={}&id=id&secret={secret}&next={}",
            asked.token(),
            percent(next)
        )
    };
    let wrong = post(&server, "/console/sign-in", &form("The+secret", "/console")).await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (403, None));
    // The form alone changes nothing.
    let started = post(&server, &page("machine", "arn", &arn), &form("x", "/console")).await;
    assert_eq!(started.status, 401);
    let right = post(&server, "/console/sign-in", &form("the+secret", "//evil.example")).await;
    assert_eq!((right.status, right.header("location")), (303, Some("/console")));
    let cookie = right.header("set-cookie").unwrap();
    assert!(cookie.contains("; httponly; samesite=strict"), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let inside = get_with(&server, "/console/machines", &cookie).await;
    assert_eq!(inside.status, 200);
    assert!(inside.body.contains("private-machine") && inside.body.contains("Sign out"));
    assert!(
        !get_with(&server, "/console/connect", &cookie)
            .await
            .body
            .contains("the secret")
    );
    let host = server.address();
    // Who signs in on the page for that is not led back to it.
    for page in ["/console/sign-in", "/console/sign-out"] {
        let led = get_with(&server, page, &cookie).await;
        assert_eq!(
            (led.status, led.header("location")),
            (303, Some("/console")),
            "{page}"
        );
    }
    let headers = format!("Host: {host}\r\nOrigin: http://{host}\r\n{cookie}");
    let out = post_with(
        &server,
        "/console/sign-out",
        &headers,
        &format!("token={}", inside.token()),
    )
    .await;
    assert_eq!(out.status, 303);
    assert_eq!(get_with(&server, "/console/machines", &cookie).await.status, 401);
    // Over a network the secret would be read by others: there is no form at all.
    let from_afar = "GET /console HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n";
    assert_eq!(Answer::of(&raw_to(host, from_afar).await).status, 403);
    server.shutdown().await;
    let server = Server::builder(folder.path())
        .listen(std::net::Ipv4Addr::UNSPECIFIED)
        .allow_remote(true)
        .credentials("id", "the secret")
        .start()
        .await
        .unwrap();
    let here = (std::net::Ipv4Addr::LOCALHOST, server.address().port()).into();
    let refused = Answer::of(&raw_to(here, from_afar).await);
    assert_eq!(refused.status, 403);
    assert!(
        refused.body.contains("ssh -L") && !refused.body.contains("<form"),
        "{}",
        refused.body
    );
    server.shutdown().await;
}

/// A stream of events, read as it comes.
struct Stream {
    socket: TcpStream,
    read: String,
}

impl Stream {
    async fn open(server: &Server, path: &str) -> Self {
        let mut socket = TcpStream::connect(server.address()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
        socket.write_all(request.as_bytes()).await.unwrap();
        let read = String::new();
        Self { socket, read }
    }

    /// Reads on until this has come; or to the end, and says so.
    async fn until(&mut self, text: &str) -> bool {
        let mut block = vec![0; 1 << 16];
        while !self.read.contains(text) {
            let read = tokio::time::timeout(Duration::from_secs(60), self.socket.read(&mut block)).await;
            match read
                .unwrap_or_else(|_| panic!("`{text}` did not come: {}", self.read))
                .unwrap()
            {
                0 => return false,
                n => self.read.push_str(&String::from_utf8_lossy(&block[..n])),
            }
        }
        true
    }
}

#[tokio::test]
async fn a_stream_tells_how_an_execution_goes_on() {
    let world = World::new().await;
    let server = &world.server;
    let (arn, activity) = waiting_machine(server).await;
    let execution = start(server, &arn, &json!({"a": 1})).await;
    let path = page("live/execution", "arn", &execution);
    let mut stream = Stream::open(server, &path).await;
    assert!(stream.until("content-type: text/event-stream").await);
    // The whole page first, then what changes.
    for part in ["summary", "picture", "states", "data", "events"] {
        assert!(
            stream
                .until(&format!("event: part\ndata: {{\"part\":\"{part}\""))
                .await,
            "{part}"
        );
    }
    assert!(stream.until("box task in-progress").await);
    work(server, &activity).await;
    assert!(stream.until("box succeed succeeded").await);
    assert!(stream.until("event: end\n").await);
    assert!(stream.read.contains("TaskStateExited") || stream.read.contains("ActivitySucceeded"));
    // No more than so many are told of changes; what has ended makes room.
    let mut crowd = Vec::new();
    for _ in 0..64 {
        let mut one = Stream::open(server, "/console/live/machines").await;
        assert!(one.until("watched").await);
        crowd.push(one);
    }
    assert_eq!(get(server, "/console/live/machines").await.status, 503);
    drop(crowd);
    eventually(|| async {
        let mut one = Stream::open(server, "/console/live/machines").await;
        one.until("HTTP/1.1 ").await;
        one.read.contains("HTTP/1.1 200").then_some(())
    })
    .await;
    // Nothing hangs when the server stops, whoever is looking.
    let mut others = Stream::open(server, "/console/live/machines").await;
    assert!(others.until("watched").await);
    world.server.shutdown().await;
    assert!(!others.until("never").await);
}

#[tokio::test]
async fn pairs_are_scored_as_for_a_client() {
    let world = World::new().await;
    world.endpoint().await;
    let server = &world.server;
    let path = page("endpoint", "name", "scores");
    let token = get(server, &path).await.token().to_owned();
    let scored = post(
        server,
        &path,
        &format!("token={token}&pairs=France%2C10.1.0.1%0D%0ANobody%2C192.0.2.1"),
    )
    .await;
    assert_eq!(scored.status, 200, "{}", scored.body);
    for text in [
        "2 pairs scored",
        "AllTraffic",
        "Unknown",
        "was not in the training rows",
        "larger score is more normal",
    ] {
        assert!(scored.body.contains(text), "{text}: {}", scored.body);
    }
    let answer = world
        .runtime
        .invoke_endpoint()
        .endpoint_name("scores")
        .content_type("text/csv");
    let answer = answer
        .body(b"France,10.1.0.1".to_vec().into())
        .send()
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(answer.body().unwrap().as_ref()).unwrap();
    let score = answer["predictions"][0]["dot_product"].as_f64().unwrap();
    assert!(
        scored
            .body
            .contains(&format!("<td class=\"number\">{score:.4}</td>")),
        "{score}"
    );
    let refused = post(server, &path, &format!("token={token}&pairs=France%2Cnowhere")).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("role=\"alert\"") && refused.body.contains("France,nowhere</textarea>"));
}

#[tokio::test]
async fn reasons_and_verdicts_come_from_a_calibrated_model_with_a_history() {
    let world = World::new().await;
    world.endpoint().await;
    let archive = world
        .s3
        .get_object()
        .bucket("data")
        .key("models/job/output/model.tar.gz")
        .send()
        .await
        .unwrap();
    let archive = archive.body.collect().await.unwrap().to_vec();
    let mut model = ipinsights::Model::read_archive(&archive[..]).unwrap();
    let rows = access_events::read_csv(crate::common::rows(0..40).as_bytes()).unwrap();
    model.set_history(Some(ipinsights::HistoryBuilder::of_events(&rows).unwrap()));
    let scores: Vec<_> = rows.iter().map(|row| model.score(&row.entity, row.ip)).collect();
    model.set_detector(Some(ipinsights::Detector::calibrate(&scores, 0.05).unwrap()));
    let mut archive = Vec::new();
    model.write_archive(&mut archive).unwrap();
    world.put("calibrated.tar.gz", archive).await;
    world.model("calibrated", "s3://data/calibrated.tar.gz").await;
    world
        .config("calibrated", &[("Calibrated", "calibrated", 1.0)])
        .await;
    let update = world
        .sagemaker
        .update_endpoint()
        .endpoint_name("scores")
        .endpoint_config_name("calibrated");
    update.send().await.unwrap();
    assert_eq!(world.endpoint_settled("scores").await, "InService");
    let path = page("endpoint", "name", "scores");
    let token = get(&world.server, &path).await.token().to_owned();
    let scored = post(
        &world.server,
        &path,
        &format!("token={token}&pairs=France%2C10.1.0.1"),
    )
    .await
    .body;
    assert!(
        scored.contains("Verdict") && (scored.contains("Fits") || scored.contains("Anomalous")),
        "{scored}"
    );
    assert!(scored.contains("was seen once at 10.1.0.0/24"), "{scored}");
}

#[tokio::test]
async fn jobs_of_every_kind_have_pages() {
    let world = World::new().await;
    world.bucket_with_data().await;
    let server = &world.server;
    let archive = world.trained("job").await;
    world.model("model", &archive).await;
    let create = crate::jobs::transform("scoring", "train/");
    ok(server, "SageMaker.CreateTransformJob", create).await;
    ok(
        server,
        "SageMaker.CreateHyperParameterTuningJob",
        crate::jobs::tuning("search"),
    )
    .await;
    // A stream ends with the job that it tells of.
    let mut stream = Stream::open(server, "/console/live/tuning-job?name=search").await;
    assert!(stream.until("event: end\n").await);
    assert!(stream.read.contains("4 of at most 4 trials"));
    // A search of every combination has no other limit.
    let mut grid = crate::jobs::tuning("grid");
    let config = &mut grid["HyperParameterTuningJobConfig"];
    config["Strategy"] = "Grid".into();
    config["ParameterRanges"] =
        json!({"CategoricalParameterRanges": [{"Name": "vector_dim", "Values": ["4", "8"]}]});
    config["ResourceLimits"] = json!({"MaxParallelTrainingJobs": 2});
    ok(server, "SageMaker.CreateHyperParameterTuningJob", grid).await;
    for (kind, name) in [
        ("TransformJob", "scoring"),
        ("HyperParameterTuningJob", "search"),
        ("HyperParameterTuningJob", "grid"),
    ] {
        crate::jobs::ended(&world, kind, name).await;
    }
    let unlimited = get(server, "/console/tuning-job?name=grid").await.body;
    assert!(
        unlimited.contains("2 trials") && !unlimited.contains("null"),
        "{unlimited}"
    );
    let listed = get(server, "/console/jobs").await.body;
    for name in ["job", "scoring", "search"] {
        assert!(listed.contains(&format!("?name={name}\">{name}</a>")), "{name}");
    }
    let tuning = get(server, "/console/tuning-job?name=search").await.body;
    for text in [
        "4 of at most 4 trials",
        "Best so far",
        "Objective of each trial",
        "vector_dim",
        "Bayesian",
    ] {
        assert!(tuning.contains(text), "{text}: {tuning}");
    }
    assert_eq!(tuning.matches("<tr class=\"best\">").count(), 1);
    let (_, trial) = tuning.split_once("/console/training-job?name=").unwrap();
    let trial = get(
        server,
        &format!("/console/training-job?name={}", trial.split('"').next().unwrap()),
    )
    .await
    .body;
    for text in [
        "Tuning job search",
        "Validation AUC",
        "Training loss",
        "#quality_metric",
        "s3://data/train/",
    ] {
        assert!(trial.contains(text), "{text}: {trial}");
    }
    let transform = get(server, "/console/transform-job?name=scoring").await.body;
    assert!(
        transform.contains("Completed") && transform.contains("s3://data/out/scoring"),
        "{transform}"
    );
}

#[tokio::test]
async fn map_runs_have_pages_and_executions_are_stopped_and_redriven() {
    let world = World::new().await;
    let server = &world.server;
    let (arn, activity) = waiting_machine(server).await;
    let stopped = start(server, &arn, &json!({})).await;
    let path = page("execution", "arn", &stopped);
    let shown = get(server, &path).await;
    assert!(shown.body.contains("Stop the execution"));
    let form = format!("token={}&action=stop", shown.token());
    assert_eq!(post(server, &path, &form).await.status, 303);
    let shown = get(server, &path).await;
    assert!(
        shown.body.contains("Aborted") && shown.body.contains("Stopped in the console"),
        "{}",
        shown.body
    );
    let form = format!("token={}&action=redrive", shown.token());
    assert_eq!(post(server, &path, &form).await.status, 303);
    work(server, &activity).await;
    ended(server, &stopped).await;
    let shown = get(server, &path).await.body;
    assert!(
        shown.contains("Succeeded") && shown.contains("ExecutionRedriven") && !shown.contains("action=\""),
        "{shown}"
    );
    assert_eq!(post(server, &path, &form).await.status, 400, "it has succeeded");

    let arn = mapping_machine(server).await;
    let execution = start(server, &arn, &json!([1, 2, 3])).await;
    ended(server, &execution).await;
    let shown = get(server, &page("execution", "arn", &execution)).await.body;
    let (_, run) = shown.split_once("href=\"/console/map-run?arn=").unwrap();
    let run = get(
        server,
        &format!("/console/map-run?arn={}", run.split('"').next().unwrap()),
    )
    .await
    .body;
    let children = run.matches("href=\"/console/execution?arn=").count();
    assert_eq!(children, 4, "three, and the one that it belongs to: {run}");
    let (_, child) = run.rsplit_once("href=\"/console/execution?arn=").unwrap();
    let child = get(
        server,
        &format!("/console/execution?arn={}", child.split('"').next().unwrap()),
    )
    .await;
    assert_eq!(child.status, 200, "{}", child.body);
    assert!(child.body.contains("Map run"));
}

#[tokio::test]
async fn a_job_is_stopped_by_a_form() {
    let world = World::with_waiting_job().await;
    let path = page("training-job", "name", "job");
    let shown = get(&world.server, &path).await;
    assert!(shown.body.contains("Stop the job") && shown.body.contains("data-live="));
    let stopped = post(&world.server, &path, &format!("token={}", shown.token())).await;
    assert_eq!(stopped.status, 303, "{}", stopped.body);
    let job = world.job_ended("job").await;
    assert_eq!(job.training_job_status().unwrap().as_str(), "Stopped");
    let again = post(&world.server, &path, &format!("token={}", shown.token())).await;
    assert_eq!(again.status, 400);
    assert!(again.body.contains("in status Stopped"), "{}", again.body);
}

/// A browser; or says on the way out why there is none.
macro_rules! browser {
    () => {
        match Browser::start() {
            Ok(browser) => browser,
            Err(reason) => {
                println!("skipped: {reason}");
                return;
            }
        }
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_a_run_is_watched_from_start_to_green() {
    let mut browser = browser!();
    let world = World::new().await;
    let server = &world.server;
    let (arn, activity) = waiting_machine(server).await;
    browser.open(&format!("{}{}", server.url(), page("machine", "arn", &arn)));
    browser.picture("machine");
    // By the keyboard alone.
    browser.eval("document.querySelector('#input').focus(), document.querySelector('#input').select()");
    browser.write("{\"watched\": true}");
    browser.press("Tab");
    browser.write("by-keyboard");
    browser.press("Tab");
    browser.press("Enter");
    browser.until("location.pathname === '/console/execution' && document.readyState === 'complete'");
    assert_eq!(
        browser.text("document.querySelector('h1').innerText"),
        "by-keyboard"
    );
    browser.until("document.querySelector('#part-picture .box.task.in-progress')");
    browser.until("document.querySelector('#part-status').innerText.includes('Running in Work')");
    let picture = "getComputedStyle(document.querySelector('#part-picture .box.task .body')).fill";
    let (running, before) = (
        browser.text(picture),
        browser.number("document.querySelectorAll('#part-events tbody tr').length"),
    );
    browser.picture("execution-running");
    // What the reader has opened stays open, what has the focus keeps it.
    browser.eval("document.querySelector('#event-1 details').open = true");
    browser.eval("document.querySelector('#event-1 summary').focus()");
    work(server, &activity).await;
    browser.until("document.querySelector('#part-picture .box.succeed.succeeded')");
    browser.until("document.querySelector('#part-status').innerText.includes('Succeeded')");
    browser.until("document.querySelector('#connection').innerText.includes('has ended')");
    browser.until(&format!("{picture} !== {running:?}"));
    let after = browser.number("document.querySelectorAll('#part-events tbody tr').length");
    assert!(after > before, "{before} {after}");
    assert_eq!(
        browser.eval("document.querySelector('#event-1 details').open"),
        true
    );
    assert_eq!(
        browser.eval("document.activeElement === document.querySelector('#event-1 summary')"),
        true
    );
    assert!(
        browser
            .text("document.querySelector('#part-data').innerText")
            .contains("\"done\": true")
    );
    // A state in the picture leads to what it was given.
    browser.eval("document.querySelector('#part-picture .box.task .name').dispatchEvent(new MouseEvent('click', {bubbles: true}))");
    assert_eq!(
        browser.eval("document.activeElement.closest('tr').querySelector('details').open"),
        true
    );
    browser.picture("execution-green");
    assert_eq!(browser.complaints(), [] as [&str; 0]);
}

/// A row is known by what it is about, wherever it is by now.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_what_the_reader_is_at_stays_what_it_is() {
    let mut browser = browser!();
    let world = World::new().await;
    let server = &world.server;
    let activity = ok(server, "AWSStepFunctions.CreateActivity", json!({"name": "work"})).await;
    let activity = activity["activityArn"].as_str().unwrap();
    let each = |next: &str| {
        let processor = json!({"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}});
        json!({"Type": "Map", "ItemProcessor": processor, "ItemsPath": "$.items", "ResultPath": null, "Next": next})
    };
    let mut after = each("Done");
    after["ItemProcessor"]["States"] = json!({"Q": {"Type": "Pass", "End": true}});
    after["ItemProcessor"]["StartAt"] = "Q".into();
    let definition = json!({"StartAt": "Before", "States": {
        "Before": each("Work"),
        "Work": {"Type": "Task", "Resource": activity, "ResultPath": null, "Next": "After"},
        "After": after,
        "Done": {"Type": "Succeed"},
    }});
    let arn = machine(server, "long", &definition).await;
    let items: Vec<u32> = (0..40).collect();
    let execution = start(server, &arn, &json!({"items": items})).await;
    browser.open(&format!(
        "{}{}",
        server.url(),
        page("execution", "arn", &execution)
    ));
    browser.until("document.querySelector('#part-status').innerText.includes('Running in Work')");
    browser.until("document.querySelector('#connection').innerText.startsWith('Live')");
    let rows = "document.querySelectorAll('#part-events tbody tr').length";
    let before = browser.number(rows);
    assert!(before < 200, "{before}");
    let event = format!("#event-{before} details");
    browser.eval(&format!("document.querySelector('{event}').open = true"));
    browser.eval(&format!("document.querySelector('{event} summary').focus()"));
    let number = browser.text("document.activeElement.closest('tr').innerText");
    work(server, activity).await;
    // The last 200 of more: those before have gone, and a link to them has come.
    browser.until("document.querySelector('#connection').innerText.includes('has ended')");
    assert_eq!(browser.number(rows), 200);
    assert!(
        browser
            .text("document.querySelector('#part-events').innerText")
            .contains("Earlier events")
    );
    assert_eq!(
        browser.text("document.activeElement.closest('tr').innerText"),
        number
    );
    assert_eq!(
        browser.eval("document.activeElement.closest('details').open"),
        true
    );

    // Of rows without an id, it is where they lead.
    browser.open(&format!("{}{}", server.url(), page("machine", "arn", &arn)));
    browser.until("document.querySelector('#connection').innerText.startsWith('Live')");
    browser.eval("document.querySelector('#part-executions tbody a').focus()");
    let link = browser.text("document.activeElement.href");
    assert!(
        link.contains(&percent(execution.rsplit(':').next().unwrap())),
        "{link}"
    );
    let second = start(server, &arn, &json!({"items": []})).await;
    browser.until("document.querySelectorAll('#part-executions tbody tr').length === 2");
    assert_eq!(browser.text("document.activeElement.href"), link);
    let first = browser.text("document.querySelector('#part-executions tbody a').href");
    assert!(
        first.contains(&percent(second.rsplit(':').next().unwrap())),
        "the newest is above: {first}"
    );
    assert_eq!(browser.complaints(), [] as [&str; 0]);
}

/// A refusal is no end: the page asks again, as it says.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_a_page_that_was_refused_its_changes_asks_again() {
    let mut browser = browser!();
    let world = World::new().await;
    let server = &world.server;
    machine(server, "m", &pass("P")).await;
    let mut crowd = Vec::new();
    for _ in 0..64 {
        let mut one = Stream::open(server, "/console/live/machines").await;
        assert!(one.until("event: part").await);
        crowd.push(one);
    }
    browser.open(&format!("{}/console/machines", server.url()));
    browser.until("document.querySelector('#connection').innerText.includes('trying again')");
    drop(crowd);
    browser.until("document.querySelector('#connection').innerText.startsWith('Live')");
    machine(server, "another", &pass("P")).await;
    browser.until("document.querySelector('main').innerText.includes('another')");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_a_pair_is_scored() {
    let mut browser = browser!();
    let world = World::new().await;
    world.endpoint().await;
    // Without scripts, too.
    for scripts in [true, false] {
        browser.open(&format!(
            "{}{}",
            world.server.url(),
            page("endpoint", "name", "scores")
        ));
        browser.run_scripts(scripts);
        browser.eval("document.querySelector('#pairs').focus()");
        browser.write("France,10.1.0.1\nUnited Kingdom,10.1.0.1\nNobody,192.0.2.7");
        browser.press("Tab");
        browser.press("Enter");
        browser.until("document.querySelectorAll('#scores tbody tr').length === 3");
        let rows = browser.text("document.querySelector('#scores').innerText");
        assert!(
            rows.contains("3 pairs scored by the variant AllTraffic"),
            "{rows}"
        );
        assert!(rows.contains("was not in the training rows"), "{rows}");
        browser.picture(if scripts {
            "scored"
        } else {
            "scored-without-scripts"
        });
    }
    assert_eq!(browser.complaints(), [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_hostile_names_do_no_harm_and_every_page_can_be_used() {
    let mut browser = browser!();
    let (world, pages) = furnished().await;
    let url = world.server.url();
    for (number, page) in pages.iter().enumerate() {
        browser.open(&format!("{url}{page}"));
        // Had any of it become markup, it would be among these.
        let strange = "document.querySelectorAll('img, script:not([src=\"/console/assets/console.js\"]), style, iframe, [onerror]').length";
        assert_eq!(browser.eval(strange), 0, "{page}");
        assert_eq!(
            browser.eval("document.querySelectorAll('h1').length"),
            1,
            "{page}"
        );
        // The first stop of the keyboard leads past the navigation.
        browser.press("Tab");
        assert_eq!(
            browser.text("document.activeElement.textContent"),
            "Skip to the content",
            "{page}"
        );
        let told = browser.accessible();
        for landmark in ["banner", "navigation", "main", "contentinfo"] {
            assert!(
                told.iter().any(|(role, _)| role == landmark),
                "{page}: {landmark}"
            );
        }
        let asks = ["link", "button", "textbox", "table", "navigation", "region"];
        let nameless = told
            .iter()
            .find(|(role, name)| asks.contains(&role.as_str()) && name.trim().is_empty());
        assert_eq!(nameless, None, "{page}");
        let twice =
            "(ids => ids.length - new Set(ids).size)([...document.querySelectorAll('[id]')].map(e => e.id))";
        assert_eq!(browser.eval(twice), 0, "{page}: an id is there twice");
        for (width, dark) in [(1280, false), (1280, true), (360, false)] {
            browser.look_like(width, dark);
            let wide = browser.number("document.documentElement.scrollWidth");
            assert!(wide <= u64::from(width), "{page}: {wide} on {width}");
            browser.picture(&format!("{number:02}-{width}{}", if dark { "-dark" } else { "" }));
        }
        browser.look_like(1280, false);
    }
    assert_eq!(browser.complaints(), [] as [&str; 0]);
    // A page in a bucket is none of the server's: it cannot read the console, nor ask in its name.
    let page = "<script>fetch('/console').then(a => a.text()).then(t => document.title = 'read ' + t.length, () => document.title = 'kept out')</script>";
    let put = world
        .s3
        .put_object()
        .bucket("data")
        .key("evil.html")
        .content_type("text/html");
    put.body(page.as_bytes().to_vec().into()).send().await.unwrap();
    browser.open(&format!("{url}/data/evil.html"));
    browser.until("document.title === 'kept out'");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_a_file_is_stored_and_deleted() {
    let mut browser = browser!();
    let world = World::new().await;
    browser.open(&format!("{}/console/buckets", world.server.url()));
    browser.eval("document.querySelector('#bucket').focus()");
    browser.write("data");
    browser.press("Enter");
    browser.until("location.pathname === '/console/bucket' && document.readyState === 'complete'");
    let file = world.path().join("\u{fc}ber uns.csv");
    std::fs::write(&file, "France,10.1.0.1\n".repeat(100_000)).unwrap();
    let bucket = page("bucket", "name", "data");
    // Without scripts, too.
    for scripts in [true, false] {
        browser.open(&format!("{}{bucket}&prefix=folder%2F", world.server.url()));
        browser.run_scripts(scripts);
        browser.choose("#file", &file);
        browser.picture("upload");
        browser.click("#upload-form button");
        browser.until("location.pathname === '/console/object' && document.readyState === 'complete'");
        assert_eq!(
            browser.text("document.querySelector('h1').innerText"),
            "\u{fc}ber uns.csv"
        );
        let key = "folder/\u{fc}ber uns.csv";
        let object = world
            .s3
            .head_object()
            .bucket("data")
            .key(key)
            .send()
            .await
            .unwrap();
        assert_eq!(object.content_length(), Some(1_600_000));
        browser.click("#delete summary");
        browser.click("#delete button");
        browser.until("location.pathname === '/console/bucket' && document.readyState === 'complete'");
        browser.until("document.querySelector('#part-objects').innerText.includes('There is nothing here')");
    }
    browser.run_scripts(true);
    browser.open(&format!("{}{bucket}", world.server.url()));
    browser.click("#delete button");
    browser.until("location.pathname === '/console/buckets' && document.readyState === 'complete'");
    assert!(
        browser
            .text("document.querySelector('main').innerText")
            .contains("There is no bucket yet")
    );
    browser.picture("buckets");
    assert_eq!(browser.complaints(), [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_someone_signs_in() {
    let mut browser = browser!();
    let server = Server::ephemeral()
        .credentials("id", "the secret")
        .start()
        .await
        .unwrap();
    browser.open(&format!("{}/console/machines", server.url()));
    browser.picture("sign-in");
    browser.until("document.activeElement.id === 'id'");
    for (secret, next) in [
        (
            "not it",
            "document.activeElement.matches('[role=alert]') && document.querySelector('#id')",
        ),
        (
            "the secret",
            "location.pathname === '/console/machines' && document.querySelector('nav')",
        ),
    ] {
        browser.eval("document.querySelector('#id').value = '', document.querySelector('#id').focus()");
        browser.write("id");
        browser.press("Tab");
        browser.write(secret);
        browser.press("Enter");
        browser.until(next);
    }
    assert_eq!(browser.text("document.cookie"), "", "scripts do not see it");
    browser.until("document.querySelector('#connection').innerText.startsWith('Live')");
    browser.click(".out button");
    browser.until("document.querySelector('#secret')");
    // What the pages before were refused with is told as an error of the network.
    let strange = browser
        .complaints()
        .iter()
        .find(|said| !said.contains("status of 40"));
    assert_eq!(strange, None);
}
