//! What of a page has changed, told as it changes: server-sent events.
//!
//! A stream makes the page anew, again and again, and sends the parts that are not as they were. So there is one way to make
//! a page, and whoever reloads sees the same. It rests so much longer than a page takes to make that a stream takes a small
//! part of one processor, whatever it shows.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use s3s::Body;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::{Desk, answer_with, machines, page::Problem, view};
use crate::server::Host;

/// How often it looks, at the most.
const PACE: Duration = Duration::from_millis(200);
/// How many times as long as it has worked it rests.
const REST: u32 = 20;
/// How long nothing is sent, before something is: so it is noticed that the reader has gone.
const SILENCE: Duration = Duration::from_secs(15);

struct Feed {
    host: Arc<Host>,
    desk: Desk,
    page: String,
    /// Of the request, with the cookie.
    headers: HeaderMap,
    hasher: RandomState,
    /// What was sent of each part.
    sent: HashMap<&'static str, u64>,
    pulse: Option<String>,
    waiting: VecDeque<Bytes>,
    spoke: Instant,
    over: bool,
    _leave: OwnedSemaphorePermit,
}

/// The changes of a page.
pub(super) fn stream(
    host: Arc<Host>,
    desk: Desk,
    page: String,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let leave = host.console.stream().ok_or_else(Problem::too_many)?;
    let feed = Feed {
        host,
        desk,
        page,
        headers,
        hasher: RandomState::new(),
        sent: HashMap::new(),
        pulse: None,
        // How long to wait before asking again.
        waiting: VecDeque::from([Bytes::from_static(b"retry: 1000\n\n")]),
        spoke: Instant::now(),
        over: false,
        _leave: leave,
    };
    let stream = stream::unfold(feed, |mut feed| async move {
        let next = feed.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(next)), feed))
    });
    let mut response = answer_with(StatusCode::OK, "text/event-stream", "");
    *response.body_mut() = Body::http_body_unsync(StreamBody::new(stream));
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

impl Feed {
    /// The next bytes; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.waiting.pop_front() {
                self.spoke = Instant::now();
                return Some(bytes);
            }
            if self.over {
                return None;
            }
            let begun = Instant::now();
            self.look().await;
            if !self.waiting.is_empty() {
                continue;
            }
            if self.spoke.elapsed() > SILENCE {
                self.waiting.push_back(Bytes::from_static(b": still here\n\n"));
                continue;
            }
            let rest = PACE.max(begun.elapsed() * REST);
            tokio::select! {
                () = self.host.stopped() => return None,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Makes the page anew, and keeps what is to be sent.
    async fn look(&mut self) {
        // After a reset there are other services.
        self.desk.app = self.host.app();
        let app = &self.desk.app;
        if !app.keys.is_empty() && !self.host.console.is_signed_in(&self.headers) {
            self.end("You are signed out.");
            return;
        }
        // Pages that are costly to make say in a word whether they are as they were.
        if self.page == "execution" {
            match machines::pulse(&self.desk).await {
                Some(pulse) if self.pulse.as_ref() == Some(&pulse) => return,
                pulse => self.pulse = pulse,
            }
        }
        let view = match view(&self.desk, &self.page).await {
            Ok(view) => view,
            Err(_) => {
                self.end("It is no longer there.");
                return;
            }
        };
        let last = !view.live;
        for (name, html) in view.changing() {
            let hash = self.hasher.hash_one(&html);
            if self.sent.insert(name, hash) != Some(hash) {
                let part = json!({"part": name, "html": html});
                self.waiting
                    .push_back(format!("event: part\ndata: {part}\n\n").into());
            }
        }
        if last {
            self.end("It has ended: nothing here changes any more.");
        }
    }

    fn end(&mut self, why: &str) {
        let end = json!({"say": why});
        self.waiting
            .push_back(format!("event: end\ndata: {end}\n\n").into());
        self.over = true;
    }
}
