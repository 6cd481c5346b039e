//! Task tokens: who waits for them, and SendTaskSuccess, SendTaskFailure, SendTaskHeartbeat.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::Engine as _;
use http::StatusCode;
use serde_json::{Value, json};
use sfn_local::{TaskFailure, TaskProgress};
use tokio::sync::oneshot;

use super::{MAX_DATA, States, parse_json, running::Recorder};
use crate::api::{ApiError, ApiResult, Check, Form, TEXT};

/// What has become of a task.
type Answer = Result<Value, TaskFailure>;

/// An answer, and who is told when it is written.
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) written: oneshot::Sender<()>,
}

/// The tasks whose tokens are out.
#[derive(Clone, Default)]
pub(super) struct Tokens(Arc<Mutex<HashMap<String, Open>>>);

struct Open {
    answer: oneshot::Sender<Answered>,
    progress: TaskProgress,
}

/// A token that is waited for, until this is dropped.
pub(super) struct Waiting {
    pub(super) answer: oneshot::Receiver<Answered>,
    _entry: Entry,
}

struct Entry {
    tokens: Tokens,
    token: String,
    recorder: Option<Arc<Recorder>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.tokens.lock().remove(&self.token);
        if let Some(recorder) = &self.recorder {
            recorder.token_closes(&self.token);
        }
    }
}

impl Tokens {
    pub(super) fn wait_for(
        &self,
        token: String,
        progress: TaskProgress,
        recorder: Option<Arc<Recorder>>,
    ) -> Waiting {
        let (sender, answer) = oneshot::channel();
        let open = Open {
            answer: sender,
            progress,
        };
        self.lock().insert(token.clone(), open);
        Waiting {
            answer,
            _entry: Entry {
                tokens: self.clone(),
                token,
                recorder,
            },
        }
    }

    pub(super) fn is_open(&self, token: &str) -> bool {
        self.lock().contains_key(token)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an answer on; what is given back ends when it is written.
    fn answer(&self, token: &str, answer: Answer) -> ApiResult<oneshot::Receiver<()>> {
        let open = self.lock().remove(token).ok_or_else(|| unknown(token))?;
        let (written, told) = oneshot::channel();
        match open.answer.send(Answered { answer, written }) {
            Ok(()) => Ok(told),
            Err(_) => Err(unknown(token)),
        }
    }
}

/// A token is 32 bytes in base64; what is not was never handed out.
fn unknown(token: &str) -> ApiError {
    let bytes = base64::prelude::BASE64_STANDARD.decode(token);
    if bytes.is_ok_and(|bytes| bytes.len() == 32) {
        let message = "Task Timed Out: 'Provided task does not exist anymore'";
        ApiError::new("TaskTimedOut", message)
    } else {
        ApiError::new("InvalidToken", "Invalid Token: 'Invalid token'")
    }
}

/// How often, and after which pause, a token is looked for.
const OPEN_TRIES: usize = 1000;
const OPEN_PAUSE: Duration = Duration::from_millis(20);

const TOKEN: Form = Form { max: 2048, ..TEXT };

impl States {
    pub(super) async fn send_task_success(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let token = check.required("taskToken", TOKEN);
        let output = check.required("output", MAX_DATA);
        check.finish()?;
        let output = parse_json(output)
            .map_err(|reason| ApiError::new("InvalidOutput", format!("Invalid Output: '{reason}'")))?;
        self.answer_task(token, Ok(output)).await
    }

    pub(super) async fn send_task_failure(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let token = check.required("taskToken", TOKEN);
        let error = check.text("error", Form { max: 256, ..TEXT }).unwrap_or_default();
        let cause = check
            .text("cause", Form { max: 32_768, ..TEXT })
            .unwrap_or_default();
        check.finish()?;
        self.answer_task(token, Err(TaskFailure::new(error, cause))).await
    }

    /// Answers a task, and waits until that is written: what was acknowledged outlives a kill.
    async fn answer_task(&self, token: &str, answer: Answer) -> ApiResult<Value> {
        self.opened(token).await?;
        let written = self.tokens.answer(token, answer)?;
        match written.await {
            Ok(()) => Ok(json!({})),
            Err(_) if self.stop.is_cancelled() => Err(ApiError {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                ..ApiError::new("InternalFailure", "the server stops; ask again")
            }),
            // The execution has ended otherwise.
            Err(_) => Err(unknown(token)),
        }
    }

    /// Until the task that waits for a token has been taken up again, after a restart.
    async fn opened(&self, token: &str) -> ApiResult<()> {
        for _ in 0..OPEN_TRIES {
            if self.tokens.is_open(token) || !self.journal.has_token(token)? || self.stop.is_cancelled() {
                break;
            }
            tokio::time::sleep(OPEN_PAUSE).await;
        }
        Ok(())
    }

    pub(super) async fn send_task_heartbeat(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let token = check.required("taskToken", TOKEN);
        check.finish()?;
        self.opened(token).await?;
        let open = self.tokens.lock();
        let open = open.get(token).ok_or_else(|| unknown(token))?;
        open.progress.heartbeat();
        Ok(json!({}))
    }
}
