//! Activities: tasks that workers fetch.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sfn_local::{TaskCall, TaskFailure, TaskProgress};
use tokio::sync::Notify;

use super::{States, arn, check_name, encryption, page, set_default, tags, tokens::Tokens};
use crate::{
    ACCOUNT,
    api::{ApiError, ApiResult, Check, Form, TEXT},
    store::{Changes, Collection, Shelf},
    time::Seconds,
};

/// An activity.
#[derive(Clone, Serialize, Deserialize)]
struct Activity {
    arn: String,
    name: String,
    created: Seconds,
    encryption: Value,
}

/// All activities, and their tasks that no worker has.
pub(super) struct Activities {
    records: Collection<Activity>,
    tokens: Tokens,
    queues: Mutex<HashMap<String, Arc<Queue>>>,
}

#[derive(Default)]
struct Queue {
    tasks: Mutex<VecDeque<Task>>,
    /// How many tasks there may be before those are dropped that nobody waits for.
    room: AtomicUsize,
    arrived: Notify,
}

struct Task {
    token: String,
    input: String,
    progress: TaskProgress,
}

/// How long a worker waits for a task.
const LONG_POLL: Duration = Duration::from_secs(60);

impl Activities {
    pub(super) fn open(shelf: Shelf, tokens: Tokens) -> std::io::Result<Self> {
        Ok(Self {
            records: Collection::open(shelf)?,
            tokens,
            queues: Mutex::default(),
        })
    }

    pub(super) fn contains(&self, arn: &str) -> bool {
        self.records.contains(arn)
    }

    /// Puts a task where workers find it.
    pub(super) async fn offer(&self, task: &TaskCall) -> Result<(), TaskFailure> {
        if !self.records.contains(&task.resource) {
            let cause = format!("Activity Does Not Exist: '{}'", task.resource);
            return Err(TaskFailure::new("States.Runtime", cause));
        }
        let queue = self.queue(&task.resource);
        let task = Task {
            token: task.token.clone().unwrap_or_default(),
            input: task.parameters.to_string(),
            progress: task.progress.clone(),
        };
        queue.add(task, &self.tokens);
        queue.arrived.notify_one();
        Ok(())
    }

    /// Nobody can fetch tasks of an activity that is gone.
    fn forget(&self, arn: &str) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.remove(arn);
    }

    fn queue(&self, arn: &str) -> Arc<Queue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.entry(arn.to_owned()).or_default().clone()
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, task: Task, tokens: &Tokens) {
        let mut tasks = self.lock();
        tasks.push_back(task);
        if tasks.len() > self.room.load(Ordering::Relaxed) {
            tasks.retain(|task| tokens.is_open(&task.token));
            self.room.store(2 * tasks.len() + 100, Ordering::Relaxed);
        }
    }

    /// The oldest task that is still waited for.
    fn take(&self, tokens: &Tokens) -> Option<Task> {
        let mut tasks = self.lock();
        loop {
            let task = tasks.pop_front()?;
            if tokens.is_open(&task.token) {
                return Some(task);
            }
        }
    }
}

const NAME: Form = Form { max: 80, ..TEXT };

impl States {
    pub(super) fn create_activity(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let name = check.required("name", TEXT);
        let tags = tags(&mut check);
        let encryption = encryption(&mut check);
        check.finish()?;
        let encryption = encryption?;
        check_name(name)?;
        let arn = format!("arn:aws:states:{}:{ACCOUNT}:activity:{name}", self.region);
        let activity = Activity {
            arn: arn.clone(),
            name: name.to_owned(),
            created: self.now(),
            encryption: encryption.clone(),
        };
        let _changing = self.changing();
        let created = match self.activities.records.get(&arn) {
            None => {
                let created = activity.created;
                let mut changes = Changes::default();
                changes.put(&self.activities.records, &arn, activity)?;
                if !tags.is_empty() {
                    changes.put(&self.tags, &arn, tags)?;
                }
                changes.commit(&self.database)?;
                created
            }
            // It is there already; other tags are ignored.
            Some(there) if there.encryption == encryption => there.created,
            Some(_) => {
                let message =
                    format!("Activity already exists. EncryptionConfiguration may not be updated: '{arn}'");
                return Err(ApiError::new("ActivityAlreadyExists", message));
            }
        };
        Ok(json!({"activityArn": arn, "creationDate": created}))
    }

    pub(super) fn describe_activity(&self, input: &Value) -> ApiResult<Value> {
        let activity = self.activity_of(input)?;
        let mut answer = json!({
            "activityArn": activity.arn,
            "name": activity.name,
            "creationDate": activity.created,
        });
        set_default(&mut answer, "encryptionConfiguration", &activity.encryption);
        Ok(answer)
    }

    pub(super) fn list_activities(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let (activities, next) = self
            .activities
            .records
            .look_at_all(|all| page(&mut check, all, 100, |activity| activity.name.as_str()))?;
        check.finish()?;
        let activities: Vec<_> = activities
            .into_iter()
            .map(|activity| {
                json!({
                    "activityArn": activity.arn,
                    "name": activity.name,
                    "creationDate": activity.created,
                })
            })
            .collect();
        let mut answer = json!({"activities": activities});
        if let Some(next) = next {
            answer["nextToken"] = next.into();
        }
        Ok(answer)
    }

    /// One that is not there is deleted already.
    pub(super) fn delete_activity(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("activityArn", TEXT);
        check.finish()?;
        arn::activity(arn)?;
        let _changing = self.changing();
        let mut changes = Changes::default();
        changes.remove(&self.activities.records, arn);
        changes.remove(&self.tags, arn);
        changes.commit(&self.database)?;
        self.activities.forget(arn);
        Ok(json!({}))
    }

    /// Waits for a task, for as long as the service does.
    pub(super) async fn get_activity_task(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let worker = check.text("workerName", NAME).map(str::to_owned);
        let activity = self.activity_of(input)?;
        check.finish()?;
        let queue = self.activities.queue(&activity.arn);
        let until = self.clock.sleep(LONG_POLL);
        tokio::pin!(until);
        loop {
            let arrived = queue.arrived.notified();
            if let Some(task) = queue.take(&self.activities.tokens) {
                task.progress.started(worker);
                // There may be more, and others who wait.
                queue.arrived.notify_one();
                return Ok(json!({"taskToken": task.token, "input": task.input}));
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(json!({})),
                () = arrived => {}
                () = &mut until => return Ok(json!({})),
            }
        }
    }

    fn activity_of(&self, input: &Value) -> ApiResult<Activity> {
        let mut check = Check::new(input);
        let arn = check.required("activityArn", TEXT);
        check.finish()?;
        arn::activity(arn)?;
        let missing = || {
            ApiError::new(
                "ActivityDoesNotExist",
                format!("Activity Does Not Exist: '{arn}'"),
            )
        };
        self.activities.records.get(arn).ok_or_else(missing)
    }
}
