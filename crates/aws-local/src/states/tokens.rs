//! Task tokens: who waits for them, and SendTaskSuccess, SendTaskFailure, SendTaskHeartbeat.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::Engine as _;
use serde_json::{Value, json};
use sfn_local::{TaskFailure, TaskProgress};
use tokio::sync::oneshot;

use super::{MAX_DATA, States, parse_json};
use crate::api::{ApiError, ApiResult, Check, Form, TEXT};

type Answer = Result<Value, TaskFailure>;

/// The tasks whose tokens are out.
#[derive(Clone, Default)]
pub(super) struct Tokens(Arc<Mutex<HashMap<String, Open>>>);

struct Open {
    answer: oneshot::Sender<Answer>,
    progress: TaskProgress,
}

/// A token that is waited for, until this is dropped.
pub(super) struct Waiting {
    pub(super) answer: oneshot::Receiver<Answer>,
    _entry: Entry,
}

struct Entry {
    tokens: Tokens,
    token: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.tokens.lock().remove(&self.token);
    }
}

impl Tokens {
    pub(super) fn wait_for(&self, token: String, progress: TaskProgress) -> Waiting {
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
            },
        }
    }

    pub(super) fn is_open(&self, token: &str) -> bool {
        self.lock().contains_key(token)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, token: &str, answer: Answer) -> ApiResult<Value> {
        let open = self.lock().remove(token).ok_or_else(|| unknown(token))?;
        match open.answer.send(answer) {
            Ok(()) => Ok(json!({})),
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

const TOKEN: Form = Form { max: 2048, ..TEXT };

impl States {
    pub(super) fn send_task_success(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let token = check.required("taskToken", TOKEN);
        let output = check.required("output", MAX_DATA);
        check.finish()?;
        let output = parse_json(output)
            .map_err(|reason| ApiError::new("InvalidOutput", format!("Invalid Output: '{reason}'")))?;
        self.tokens.answer(token, Ok(output))
    }

    pub(super) fn send_task_failure(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let token = check.required("taskToken", TOKEN);
        let error = check.text("error", Form { max: 256, ..TEXT }).unwrap_or_default();
        let cause = check
            .text("cause", Form { max: 32_768, ..TEXT })
            .unwrap_or_default();
        check.finish()?;
        self.tokens.answer(token, Err(TaskFailure::new(error, cause)))
    }

    pub(super) fn send_task_heartbeat(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let token = check.required("taskToken", TOKEN);
        check.finish()?;
        let open = self.tokens.lock();
        let open = open.get(token).ok_or_else(|| unknown(token))?;
        open.progress.heartbeat();
        Ok(json!({}))
    }
}
