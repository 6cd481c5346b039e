//! Step Functions: state machines and their executions, run by `sfn-local`.

mod executions;
mod history;
mod machines;
mod tasks;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ACCOUNT,
    api::{ApiError, ApiResult, Check, Form, TEXT},
    sagemaker::SageMaker,
    store::{Collection, Shelf},
};

/// The service.
pub(crate) struct States {
    region: String,
    sagemaker: Arc<SageMaker>,
    /// By ARN, as everything here.
    machines: Collection<machines::Machine>,
    executions: Collection<executions::Execution>,
    tags: Collection<BTreeMap<String, String>>,
    histories: history::Histories,
    /// What is needed to stop an execution that runs.
    running: Mutex<HashMap<String, CancellationToken>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl States {
    /// Opens the records, and ends what a server before this one left running.
    pub(crate) fn open(
        shelf: &Shelf,
        region: &str,
        sagemaker: Arc<SageMaker>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> io::Result<Arc<Self>> {
        let this = Arc::new(Self {
            region: region.to_owned(),
            sagemaker,
            machines: Collection::open(shelf.join("machines"))?,
            executions: Collection::open(shelf.join("executions"))?,
            tags: Collection::open(shelf.join("tags"))?,
            histories: history::Histories::open(shelf.database().clone())?,
            running: Mutex::default(),
            stop,
            tasks,
        });
        this.end_interrupted_executions()?;
        Ok(this)
    }

    /// Answers an operation.
    pub(crate) fn call(self: &Arc<Self>, operation: &str, input: &Value) -> ApiResult {
        let answer = match operation {
            "CreateStateMachine" => self.create_state_machine(input),
            "UpdateStateMachine" => self.update_state_machine(input),
            "DescribeStateMachine" => self.describe_state_machine(input),
            "ListStateMachines" => self.list_state_machines(input),
            "DeleteStateMachine" => self.delete_state_machine(input),
            "ValidateStateMachineDefinition" => machines::validate_definition(input),
            "StartExecution" => self.start_execution(input),
            "DescribeExecution" => self.describe_execution(input),
            "ListExecutions" => self.list_executions(input),
            "StopExecution" => self.stop_execution(input),
            "GetExecutionHistory" => self.execution_history(input),
            "DescribeStateMachineForExecution" => self.describe_machine_of_execution(input),
            "TagResource" => self.tag(input),
            "UntagResource" => self.untag(input),
            "ListTagsForResource" => self.list_tags(input),
            _ => Err(ApiError::unknown_operation("Step Functions", operation)),
        };
        answer.map(Some)
    }

    fn machine_arn(&self, name: &str) -> String {
        format!("arn:aws:states:{}:{ACCOUNT}:stateMachine:{name}", self.region)
    }

    fn tag(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("resourceArn", TEXT);
        check.list("tags", 0, 50);
        let new = tags(&mut check);
        check.finish()?;
        self.require(arn)?;
        let mut tags = self.tags.get(arn).unwrap_or_default();
        tags.extend(new);
        self.set_tags(arn, tags)?;
        Ok(json!({}))
    }

    fn untag(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("resourceArn", TEXT);
        let keys = check.list("tagKeys", 0, 50);
        check.finish()?;
        self.require(arn)?;
        let mut tags = self.tags.get(arn).unwrap_or_default();
        tags.retain(|key, _| !keys.iter().any(|k| k.as_str() == Some(key)));
        self.set_tags(arn, tags)?;
        Ok(json!({}))
    }

    fn list_tags(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("resourceArn", TEXT);
        check.finish()?;
        self.require(arn)?;
        let tags = self.tags.get(arn).unwrap_or_default();
        let tags: Vec<_> = tags
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect();
        Ok(json!({"tags": tags}))
    }

    fn set_tags(&self, arn: &str, tags: BTreeMap<String, String>) -> ApiResult<()> {
        self.tags.remove(arn)?;
        if !tags.is_empty() {
            let _ = self.tags.insert_new(arn, tags)?;
        }
        Ok(())
    }

    fn require(&self, arn: &str) -> ApiResult<()> {
        if self.machines.contains(arn) {
            return Ok(());
        }
        Err(ApiError::new(
            "ResourceNotFound",
            format!("Resource not found: '{arn}'"),
        ))
    }
}

/// The tags of a request.
fn tags(check: &mut Check<'_>) -> BTreeMap<String, String> {
    let count = check.list("tags", 0, 50).len();
    let mut tags = BTreeMap::new();
    for i in 0..count {
        let key = check.required(&format!("tags.{i}.key"), Form { max: 128, ..TEXT });
        let value = check
            .text(&format!("tags.{i}.value"), Form { max: 256, ..TEXT })
            .unwrap_or_default();
        tags.insert(key.to_owned(), value.to_owned());
    }
    tags
}

/// A name as the service allows it, a little narrower: it becomes part of file names.
fn check_name(name: &str) -> ApiResult<()> {
    let good = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if good && (1..=80).contains(&name.len()) {
        return Ok(());
    }
    Err(ApiError::new("InvalidName", format!("Invalid Name: '{name}'")))
}

/// A page of a list that only grows or shrinks: the token is the first entry's number.
fn page<T>(check: &mut Check<'_>, entries: Vec<T>, default: usize) -> ApiResult<(Vec<T>, Option<String>)> {
    let max = check.integer("maxResults", 0, 1000).unwrap_or(0) as usize;
    let max = if max == 0 { default } else { max };
    let from = match check.text("nextToken", TEXT) {
        Some(token) => token
            .parse()
            .map_err(|_| ApiError::new("InvalidToken", format!("Invalid Token: '{token}'")))?,
        None => 0,
    };
    let more = entries.len() > max.saturating_add(from);
    let page: Vec<T> = entries.into_iter().skip(from).take(max).collect();
    let next = more.then(|| (from + page.len()).to_string());
    Ok((page, next))
}
