//! Ten million rows of CSV through an endpoint, in memory that does not grow with them. A program of its own, so that nothing else
//! is in its memory.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::io::{self, Read};

use access_events::AccessEvent;
use access_events::csv::Reader;
use aws_sdk_sagemakerruntime::config::{BehaviorVersion, Credentials, Region};
use ipinsights::inference::{PredictionRecord, ResponseFormat, encode_response};
use ipinsights_client::{Invoker, StreamOptions};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ROWS: u64 = 10_000_000;

/// The rows, made as they are read.
struct Csv {
    made: u64,
    line: io::Cursor<Vec<u8>>,
}

impl Read for Csv {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.line.position() == self.line.get_ref().len() as u64 && self.made < ROWS {
            let [_, a, b, c] = u32::try_from(self.made).unwrap().to_be_bytes();
            self.line = io::Cursor::new(format!("user {},10.{a}.{b}.{c}\n", self.made % 1000).into_bytes());
            self.made += 1;
        }
        Read::read(&mut self.line, to)
    }
}

/// Scores whatever comes, all rows the same.
async fn score(stream: TcpStream) -> io::Result<()> {
    let mut stream = tokio::io::BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let rows = body.iter().filter(|byte| **byte == b'\n').count() + usize::from(!body.ends_with(b"\n"));
        let body = encode_response(
            ResponseFormat::JSON,
            &vec![PredictionRecord::from_dot_product(0.5); rows],
        );
        let body = body.unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
    }
}

/// The most memory that the process ever had, in KiB; none where the system does not tell it so.
fn most_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let (_, most) = status.split_once("VmHWM:")?;
    most.split_whitespace().next()?.parse().ok()
}

#[tokio::test]
async fn ten_million_rows_take_no_more_memory_than_one_million() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The client may be the first to go.
            tokio::spawn(async move { drop(score(stream).await) });
        }
    });
    let config = aws_sdk_sagemakerruntime::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::from_keys("id", "secret", None))
        .endpoint_url(url)
        .http_client(aws_smithy_http_client::Builder::new().build_http());
    let invoker = Invoker::new(aws_sdk_sagemakerruntime::Client::from_conf(config.build()));
    let csv = Csv {
        made: 0,
        line: io::Cursor::default(),
    };
    let rows = Reader::new(csv);
    let (mut scored, mut after_a_million) = (0_u64, None);
    let sink = |_: &AccessEvent, prediction: &PredictionRecord| {
        assert!(prediction.dot_product == 0.5);
        scored += 1;
        if scored == ROWS / 10 {
            after_a_million = most_memory();
        }
        io::Result::Ok(())
    };
    let told = invoker
        .score_stream(&"e".parse().unwrap(), rows, &StreamOptions::default(), sink)
        .await
        .unwrap();
    assert_eq!((told, scored), (ROWS, ROWS));
    if let (Some(before), Some(after)) = (after_a_million, most_memory()) {
        // Nine million rows more would be hundreds of megabytes.
        assert!(after < before + 16 * 1024, "{before} KiB became {after} KiB");
    }
}
