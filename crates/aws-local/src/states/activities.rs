//! Activities: tasks that workers fetch.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    store::{Collection, Shelf},
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
        queue.lock().push_back(Task {
            token: task.token.clone().unwrap_or_default(),
            input: task.parameters.to_string(),
            progress: task.progress.clone(),
        });
        queue.arrived.notify_one();
        Ok(())
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
        let created = activity.created;
        let created = match self.activities.records.insert_new(&arn, activity)? {
            Ok(()) => {
                self.set_tags(&arn, tags)?;
                created
            }
            // It is there already; other tags are ignored.
            Err(there) if there.encryption == encryption => there.created,
            Err(_) => {
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
        let mut activities = self.activities.records.all();
        activities.sort_by(|a, b| a.name.cmp(&b.name));
        let (activities, next) = page(&mut check, activities, 100)?;
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
        self.activities.records.remove(arn)?;
        self.tags.remove(arn)?;
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
