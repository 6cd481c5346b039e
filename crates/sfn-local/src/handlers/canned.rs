//! Results that are written down.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use futures::future::{BoxFuture, ready};
use serde_json::Value;

use crate::handler::{TaskCall, TaskFailure, TaskHandler};

type Answer = Result<Value, TaskFailure>;

/// Answers each state's calls in the order in which the answers were given; the last one stays.
///
/// ```
/// use serde_json::json;
/// use sfn_builder::{StateMachine, Task};
/// use sfn_local::{Execution, Outcome, VirtualClock, handlers::Canned, run};
///
/// let machine = StateMachine::builder("Train").state("Train", Task::create_training_job_sync().end()).build()?;
/// let tasks = Canned::new().result("Train", json!({"TrainingJobStatus": "Completed"}));
/// let clock = VirtualClock::new("2026-01-31T12:00:00Z".parse()?);
/// let execution = Execution::new("arn:aws:states:us-east-1:000000000000:stateMachine:m", "e", json!({}));
/// let outcome = clock.block_on(run(&machine, &execution, &tasks, &clock, &mut |_| {}));
/// assert_eq!(outcome, Outcome::Succeeded { output: json!({"TrainingJobStatus": "Completed"}) });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A state without an answer fails with `States.Runtime`.
#[derive(Debug, Default)]
pub struct Canned {
    answers: Mutex<HashMap<String, VecDeque<Answer>>>,
}

impl Canned {
    /// Without answers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a result for a state.
    #[must_use]
    pub fn result(self, state: impl Into<String>, result: Value) -> Self {
        self.answer(state.into(), Ok(result))
    }

    /// Adds a failure for a state.
    #[must_use]
    pub fn failure(
        self,
        state: impl Into<String>,
        error: impl Into<String>,
        cause: impl Into<String>,
    ) -> Self {
        self.answer(state.into(), Err(TaskFailure::new(error, cause)))
    }

    fn answer(self, state: String, answer: Answer) -> Self {
        self.answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(state)
            .or_default()
            .push_back(answer);
        self
    }
}

impl TaskHandler for Canned {
    fn call(&self, task: TaskCall) -> BoxFuture<'_, Answer> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match answers.get_mut(&task.state) {
            Some(queue) if queue.len() > 1 => queue.pop_front(),
            Some(queue) => queue.front().cloned(),
            None => None,
        };
        let answer = answer.unwrap_or_else(|| {
            let cause = format!("no result is written down for the state '{}'", task.state);
            Err(TaskFailure::new("States.Runtime", cause))
        });
        if answer.is_ok() && task.token.is_some() {
            task.progress.started(None);
        }
        if let (Ok(result), true) = (&answer, task.is_sync() || task.is_wait_for_task_token()) {
            task.submitted.report(result.clone());
        }
        Box::pin(ready(answer))
    }
}
