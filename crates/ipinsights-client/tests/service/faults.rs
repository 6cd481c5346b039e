//! Connections that do not bring what they should.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use access_events::AccessEvent;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use ipinsights_client::{AsyncRequest, Client, EndpointName, Error, InvokeOptions, Retries};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::client_of;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// The connection is reset before the request is read.
    Reset,
    /// It is closed without an answer.
    Closed,
    /// The answer ends in the middle of its head.
    CutInHead,
    /// The answer ends in the middle of its body.
    CutInBody,
    /// The rest of the body does not come.
    Stalled,
    /// It is answered.
    Answered,
}

const ALL_BUT_SLOW: [Fate; 4] = [Fate::Reset, Fate::Closed, Fate::CutInHead, Fate::CutInBody];

/// A server on loopback, one request to a connection: each has the next fate, and the last one's is that of all after it.
struct Odd {
    client: Client,
    asked: Arc<Mutex<u32>>,
}

impl Odd {
    async fn serve(fates: &[Fate]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<u32>>::default();
        let (mut fates, count) = (VecDeque::from(fates.to_vec()), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().unwrap() += 1;
                let fate = match fates.len() {
                    1 => fates[0],
                    _ => fates.pop_front().unwrap(),
                };
                // The client may be the first to go.
                tokio::spawn(async move { drop(answer(stream, fate).await) });
            }
        });
        let credentials = SharedCredentialsProvider::new(Credentials::from_keys("id", "secret", None));
        Self {
            client: client_of(&url, Some(credentials)),
            asked,
        }
    }

    fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }
}

/// What each operation is answered.
fn body_of(request: &str) -> &'static str {
    match request {
        _ if request.ends_with("/async-invocations HTTP/1.1") => r#"{"InferenceId": "mine"}"#,
        _ if request.ends_with("/invocations HTTP/1.1") => r#"{"predictions": [{"dot_product": 1.5}]}"#,
        _ => {
            r#"{"EndpointName": "e", "EndpointArn": "arn", "EndpointStatus": "InService", "EndpointConfigName": "c",
                "CreationTime": 1.5, "LastModifiedTime": 1.5}"#
        }
    }
}

async fn answer(stream: TcpStream, fate: Fate) -> std::io::Result<()> {
    if fate == Fate::Reset {
        // What is closed with bytes that nobody has read is reset.
        return stream.readable().await;
    }
    let mut stream = BufReader::new(stream);
    let (mut request, mut length) = (String::new(), 0);
    stream.read_line(&mut request).await?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).await?;
    let body = body_of(request.trim_end());
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\
         x-amzn-sagemaker-outputlocation: s3://answers/1.out\r\n\r\n{body}",
        body.len()
    );
    let end = match fate {
        Fate::Reset | Fate::Closed => 0,
        Fate::CutInHead => 30,
        Fate::CutInBody | Fate::Stalled => answer.len() - 5,
        Fate::Answered => answer.len(),
    };
    stream.write_all(&answer.as_bytes()[..end]).await?;
    if fate == Fate::Stalled {
        // Until the client goes.
        let _ = stream.read_u8().await?;
    }
    stream.shutdown().await
}

fn name() -> EndpointName {
    "e".parse().unwrap()
}

fn events() -> [AccessEvent; 1] {
    [AccessEvent::new("France", 1.into())]
}

/// One attempt beside those of the SDK.
fn once() -> InvokeOptions {
    InvokeOptions {
        retries: Retries::none(),
        ..InvokeOptions::default()
    }
}

#[tokio::test]
async fn what_breaks_once_is_asked_again() {
    for fate in ALL_BUT_SLOW {
        let odd = Odd::serve(&[fate, Fate::Answered]).await;
        let described = odd.client.describe_endpoint(&name()).await;
        assert!(described.is_ok(), "{fate:?}: {described:?}");
        assert_eq!(odd.asked(), 2, "{fate:?}");

        let odd = Odd::serve(&[fate, Fate::Answered]).await;
        let invoked = odd.client.invoke(&name(), &events(), &once()).await.unwrap();
        assert_eq!((invoked.len(), odd.asked()), (1, 2), "{fate:?}");

        let odd = Odd::serve(&[fate, Fate::Answered]).await;
        let request = AsyncRequest::new("s3://rows/1.csv".parse().unwrap());
        let taken = odd.client.invoke_async(&name(), &request).await.unwrap();
        assert_eq!(
            (taken.inference_id.as_str(), odd.asked()),
            ("mine", 2),
            "{fate:?}"
        );
    }
}

/// Of an answer that does not come whole nothing is believed, and it passes: who waits goes on waiting.
#[tokio::test]
async fn what_breaks_again_and_again_is_not_reached() {
    for fate in ALL_BUT_SLOW {
        let odd = Odd::serve(&[fate]).await;
        let told = [
            odd.client.describe_endpoint(&name()).await.map(drop),
            odd.client.invoke(&name(), &events(), &once()).await.map(drop),
        ];
        for error in told.map(Result::unwrap_err) {
            assert!(matches!(error, Error::NotReached { .. }), "{fate:?}: {error:?}");
            assert!(error.is_transient());
        }
        assert_eq!(odd.asked(), 4, "{fate:?}: the SDK tries twice");
    }
    // More often than the SDK does by itself.
    for fate in ALL_BUT_SLOW {
        let odd = Odd::serve(&[fate, fate, fate, Fate::Answered]).await;
        let mut options = once();
        options.retries.attempts = 2.try_into().unwrap();
        options.retries.first = Duration::from_millis(1);
        let invoked = odd.client.invoke(&name(), &events(), &options).await.unwrap();
        assert_eq!((invoked.len(), odd.asked()), (1, 4), "{fate:?}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for_longer_than_told() {
    let odd = Odd::serve(&[Fate::Stalled]).await;
    let options = InvokeOptions {
        timeout: Some(Duration::from_millis(100)),
        ..once()
    };
    let error = odd.client.invoke(&name(), &events(), &options).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert_eq!(odd.asked(), 1);
}
