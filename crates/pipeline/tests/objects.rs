//! Objects as readers: against S3 on loopback, and against a server that misbehaves as networks do.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use pipeline::objects::{AHEAD, Object, S3Prefix, objects};
use pipeline::{Clients, Connection, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn place(text: &str) -> S3Prefix {
    text.parse().unwrap()
}

async fn clients(url: &str) -> Clients {
    let connection = Connection {
        initial_backoff: Some(Duration::from_millis(1)),
        ..Connection::to_url(url, "us-east-1")
    };
    connection.clients().await.unwrap()
}

/// What reading an object to its end gives.
type Content = Result<Vec<u8>, Error>;

fn content(object: &mut Object) -> Content {
    object.body.wait()?;
    let mut bytes = Vec::new();
    match object.body.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(*error.into_inner().unwrap().downcast::<Error>().unwrap()),
    }
}

/// Reads everything there is at a place, as a caller does: on a thread of its own.
async fn read(clients: &Clients, at: &str) -> Result<Vec<(String, Content)>, Error> {
    let objects = objects(clients, &place(at), AHEAD).await?;
    let read = move || {
        objects
            .map(|object| {
                object.map(|mut object| {
                    let content = content(&mut object);
                    (object.uri, content)
                })
            })
            .collect()
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

/// S3 on loopback with a bucket `logs`.
struct Local {
    _server: aws_local::Server,
    clients: Clients,
    s3: aws_sdk_s3::Client,
    _folder: tempfile::TempDir,
}

impl Local {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = aws_local::Server::builder(folder.path()).start().await.unwrap();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version_latest()
            .endpoint_url(server.url())
            .region(aws_sdk_s3::config::Region::new(aws_local::REGION))
            .credentials_provider(aws_sdk_s3::config::Credentials::new("a", "b", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .force_path_style(true)
            .build();
        let s3 = aws_sdk_s3::Client::from_conf(config);
        s3.create_bucket().bucket("logs").send().await.unwrap();
        Self {
            clients: clients(server.url()).await,
            _server: server,
            s3,
            _folder: folder,
        }
    }

    async fn put(&self, key: &str, body: &[u8]) {
        let put = self.s3.put_object().bucket("logs").key(key);
        put.body(ByteStream::from(body.to_vec())).send().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_are_read_in_order() {
    const OBJECTS: usize = 2_105;
    let local = Local::open().await;
    let local = Arc::new(local);
    let puts = (0..8).map(|part| {
        let local = Arc::clone(&local);
        tokio::spawn(async move {
            for number in (part..OBJECTS).step_by(8) {
                let key = format!("day/{number:05}.json");
                local.put(&key, format!("object {number}").as_bytes()).await;
            }
        })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap();
    }
    local.put("day/", b"").await; // as a console makes a folder
    local.put("daylight.json", b"").await;
    let read = read(&local.clients, "s3://logs/day/").await.unwrap();
    assert_eq!(read.len(), OBJECTS);
    for (number, (uri, content)) in read.into_iter().enumerate() {
        assert_eq!(uri, format!("s3://logs/day/{number:05}.json"));
        assert_eq!(content.unwrap(), format!("object {number}").as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_hold_anything() {
    let local = Local::open().await;
    let mut keys = [
        "/begins/with/a/slash",
        "a//b",
        "a///b",
        "a/../b",
        "a/./b",
        "..",
        "blank and+plus%20and%percent",
        "quote\"<tag>&amp;'",
        "query?x=1&y=2#fragment",
        "tab\tline\nescape\u{1b}[31m\u{1}",
        "straße/日本/🦀",
        "dot.",
        "~back\\slash*",
    ];
    keys.sort_unstable();
    for key in keys {
        local.put(key, key.as_bytes()).await;
    }
    let found = read(&local.clients, "s3://logs").await.unwrap();
    let contents: Vec<String> = found
        .iter()
        .map(|(_, content)| String::from_utf8(content.as_ref().unwrap().clone()).unwrap())
        .collect();
    assert_eq!(contents, keys);
    for (uri, _) in &found {
        assert!(!uri.contains(char::is_control), "{uri:?} on a terminal");
    }
    for (prefix, count) in [
        ("s3://logs//", 1),
        ("s3://logs/a//", 2),
        ("s3://logs/straße", 1),
        ("s3://logs/blank and+", 1),
    ] {
        assert_eq!(
            read(&local.clients, prefix).await.unwrap().len(),
            count,
            "{prefix}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_key_names_one_object() {
    let local = Local::open().await;
    for key in ["a.json", "a.json.gz", "a.json/b"] {
        local.put(key, b"x").await;
    }
    let found = |at: &'static str| async { read(&local.clients, at).await.unwrap().len() };
    assert_eq!(found("s3://logs/a.json").await, 1);
    assert_eq!(found("s3://logs/a.json/").await, 1);
    assert_eq!(found("s3://logs/a.js").await, 3);
    assert_eq!(found("s3://logs/b").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_goes_away_after_the_listing_is_told() {
    let local = Local::open().await;
    for number in 0..20 {
        local.put(&format!("{number:02}"), b"x").await;
    }
    let mut listed = objects(&local.clients, &place("s3://logs/"), 1).await.unwrap();
    let delete = local.s3.delete_object().bucket("logs").key("15");
    delete.send().await.unwrap();
    let read = move || -> Vec<_> {
        let contents = listed.by_ref().map(|object| content(&mut object.unwrap()));
        contents.collect()
    };
    let read = tokio::task::spawn_blocking(read).await.unwrap();
    assert_eq!(read.len(), 20);
    for (number, content) in read.into_iter().enumerate() {
        match content {
            Ok(bytes) => assert_eq!((number == 15, bytes), (false, b"x".to_vec())),
            Err(error) => assert_eq!(
                (number, error.to_string().as_str()),
                (15, "`s3://logs/15` was listed, and is gone")
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_told_at_once() {
    let local = Local::open().await;
    let error = objects(&local.clients, &place("s3://none"), AHEAD)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "there is no bucket `none`");
}

/// A request, as far as the tests care.
#[derive(Debug, Clone)]
struct Request {
    /// Path and query.
    target: String,
    /// The header lines in lower case.
    head: String,
}

impl Request {
    fn is_listing(&self) -> bool {
        self.target.contains("list-type=2")
    }

    /// Where a range begins.
    fn from(&self) -> Option<usize> {
        let (_, range) = self.head.split_once("range: bytes=")?;
        range.split('-').next()?.parse().ok()
    }
}

/// An answer, which may end before it has come to its end.
#[derive(Clone)]
struct Answer {
    head: String,
    body: Vec<u8>,
    /// The connection is closed after so many bytes of the body.
    cut: Option<usize>,
}

fn answer(status: &str, headers: &str, body: impl Into<Vec<u8>>) -> Answer {
    let body = body.into();
    Answer {
        head: format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        ),
        body,
        cut: None,
    }
}

fn listing(keys: &[(&str, usize)], next: Option<&str>) -> Answer {
    let contents: String = keys
        .iter()
        .map(|(key, size)| format!("<Contents><Key>{key}</Key><Size>{size}</Size></Contents>"))
        .collect();
    let next = match next {
        Some(token) => {
            format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>")
        }
        None => "<IsTruncated>false</IsTruncated>".to_owned(),
    };
    answer(
        "200 OK",
        "content-type: application/xml\r\n",
        format!("<ListBucketResult>{contents}{next}</ListBucketResult>"),
    )
}

fn refusal(status: &str, headers: &str, code: &str) -> Answer {
    let body = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
    answer(
        status,
        &format!("content-type: application/xml\r\n{headers}"),
        body,
    )
}

/// A server on loopback that answers as a function says, and the bytes of bodies that it got rid of.
struct Odd {
    url: String,
    sent: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Odd {
    async fn serve(answers: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sent, asked) = (
            Arc::<AtomicUsize>::default(),
            Arc::<Mutex<Vec<Request>>>::default(),
        );
        let answers = Arc::new(answers);
        let (count, requests) = (Arc::clone(&sent), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answers, count, requests) =
                    (Arc::clone(&answers), Arc::clone(&count), Arc::clone(&requests));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while let Ok(byte) = stream.read_u8().await {
                        head.push(byte);
                        if !head.ends_with(b"\r\n\r\n") {
                            continue;
                        }
                        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                        let (first, rest) = text.split_once("\r\n").unwrap();
                        let request = Request {
                            target: first.split(' ').nth(1).unwrap().to_owned(),
                            head: rest.to_lowercase(),
                        };
                        let answer = answers(&request);
                        requests.lock().unwrap().push(request);
                        let body = &answer.body[..answer.cut.unwrap_or(answer.body.len())];
                        if stream.write_all(answer.head.as_bytes()).await.is_err() {
                            return;
                        }
                        for piece in body.chunks(16 * 1024) {
                            if stream.write_all(piece).await.is_err() {
                                return;
                            }
                            count.fetch_add(piece.len(), Ordering::Relaxed);
                        }
                        if answer.cut.is_some() {
                            return;
                        }
                    }
                });
            }
        });
        Self { url, sent, asked }
    }

    async fn read(&self, at: &str) -> Result<Vec<(String, Content)>, Error> {
        read(&clients(&self.url).await, at).await
    }

    /// The requests for objects.
    fn gets(&self) -> Vec<Request> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|request| !request.is_listing())
            .cloned()
            .collect()
    }
}

/// Bytes that differ from place to place.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// The part of the whole that was asked for.
fn part(whole: &[u8], request: &Request) -> Answer {
    let e_tag = "etag: \"v1\"\r\n";
    match request.from() {
        None => answer("200 OK", e_tag, whole),
        Some(from) => {
            let range = format!(
                "content-range: bytes {from}-{}/{}\r\n{e_tag}",
                whole.len() - 1,
                whole.len()
            );
            answer("206 Partial Content", &range, &whole[from..])
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_resumed_where_it_did() {
    const SIZE: usize = 300_000;
    let whole = bytes(SIZE);
    let server = Odd::serve(|request| {
        if request.is_listing() {
            return listing(&[("a", SIZE)], None);
        }
        // Every answer ends after 100,000 bytes.
        Answer {
            cut: Some(100_000),
            ..part(&bytes(SIZE), request)
        }
    });
    let server = server.await;
    let read = server.read("s3://logs/a").await.unwrap();
    assert!(
        read[0].1.as_ref().unwrap() == &whole,
        "not the bytes that were sent"
    );
    let gets = server.gets();
    let from: Vec<Option<usize>> = gets.iter().map(Request::from).collect();
    assert_eq!(from[0], None);
    assert!(
        from.len() >= 3 && from[1..].iter().all(Option::is_some),
        "{from:?}"
    );
    assert!(gets[1..].iter().all(|get| get.head.contains("if-match: \"v1\"")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_well_is_an_error_and_never_a_short_object() {
    type Case = (fn(&Request) -> Answer, &'static str);
    let cases: [Case; 5] = [
        (
            |request| Answer {
                cut: Some(if request.from().is_some() { 0 } else { 60 }),
                ..part(&bytes(100), request)
            },
            "`s3://logs/a` could not be read to its end: 60 of 100 bytes came",
        ),
        (
            |request| match request.from() {
                None => Answer {
                    cut: Some(60),
                    ..part(&bytes(100), request)
                },
                Some(_) => refusal("412 Precondition Failed", "", "PreconditionFailed"),
            },
            "`s3://logs/a` was replaced while it was read",
        ),
        (
            // A server that knows no ranges begins anew.
            |request| Answer {
                cut: request.from().is_none().then_some(60),
                ..answer("200 OK", "", bytes(100))
            },
            "the rest of `s3://logs/a` was asked for, and something else came",
        ),
        (
            // All of it comes, and is not what it should be.
            |_| answer("200 OK", "x-amz-checksum-crc32: AAAAAA==\r\n", bytes(100)),
            "`s3://logs/a` could not be read to its end: 100 of 100 bytes came",
        ),
        (
            |_| refusal("403 Forbidden", "", "InvalidObjectState"),
            "`s3://logs/a` is archived: restore it first, or leave it out",
        ),
    ];
    for (get, said) in cases {
        let server = Odd::serve(move |request| {
            if request.is_listing() {
                listing(&[("a", 100), ("b", 100)], None)
            } else if request.target.starts_with("/logs/b") {
                part(&bytes(100), request)
            } else {
                get(request)
            }
        });
        let read = server.await.read("s3://logs/").await.unwrap();
        assert_eq!(read[0].1.as_ref().unwrap_err().to_string(), said);
        assert!(read[1].1.is_ok(), "one object's trouble is not the next one's");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_fails_on_a_later_page_is_not_taken_for_a_short_one() {
    let server = Odd::serve(|request| {
        if !request.is_listing() {
            part(b"x", request)
        } else if request.target.contains("continuation-token=") {
            refusal("403 Forbidden", "", "AccessDenied")
        } else {
            listing(&[("a", 1), ("b", 1)], Some("more"))
        }
    });
    let server = server.await;
    let listed = objects(&clients(&server.url).await, &place("s3://logs/"), AHEAD)
        .await
        .unwrap();
    let items = tokio::task::spawn_blocking(|| listed.collect::<Vec<_>>())
        .await
        .unwrap();
    assert_eq!(items.len(), 3);
    assert!(items[..2].iter().all(Result::is_ok));
    let error = items[2].as_ref().unwrap_err();
    assert_eq!(error.to_string(), "`s3://logs/` could not be read");
    let Error::S3 { source, .. } = error else {
        panic!("{error:?}");
    };
    assert!(matches!(**source, ipinsights_client::Error::AccessDenied(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_another_region_says_where_it_is() {
    let server = Odd::serve(|_| {
        refusal(
            "301 Moved Permanently",
            "x-amz-bucket-region: eu-west-1\r\n",
            "PermanentRedirect",
        )
    });
    let error = server.await.read("s3://logs/").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "bucket `logs` is in `eu-west-1`: pass --region eu-west-1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_does_not_pile_up() {
    const SIZE: usize = 64 * 1024 * 1024;
    let server = Odd::serve(|request| {
        if request.is_listing() {
            listing(&[("a", SIZE)], None)
        } else {
            part(&bytes(SIZE), request)
        }
    });
    let server = server.await;
    let listed = objects(&clients(&server.url).await, &place("s3://logs/"), 1)
        .await
        .unwrap();
    let mut before = usize::MAX;
    // Until nothing more goes out.
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let sent = server.sent.load(Ordering::Relaxed);
        if sent > 0 && sent == before {
            break;
        }
        before = sent;
    }
    // The rest is what the system's sockets take.
    assert!(before < SIZE / 2, "{before} bytes went out unread");
    drop(listed);
}
