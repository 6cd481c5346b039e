//! Step Functions: state machines and their executions, run by `sfn-local`.

mod activities;
mod answers;
mod arn;
mod earlier;
mod executions;
mod journal;
mod machines;
mod map_runs;
mod running;
mod tasks;
mod test_state;
mod tokens;
mod versions;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use sfn_builder::StateMachine;
use sfn_local::{Clock, MapRunSettings, TaskHandler, handlers::MockConfig};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ACCOUNT,
    api::{ApiError, ApiResult, Check, Form, TEXT},
    logs::Logs,
    s3::ObjectStore,
    sagemaker::SageMaker,
    store::{Collection, Database, Shelf},
    time::{Seconds, millis, seconds_of},
};

/// The service.
pub(crate) struct States {
    region: String,
    database: Arc<Database>,
    sagemaker: Arc<SageMaker>,
    objects: Arc<ObjectStore>,
    logs: Arc<Logs>,
    /// By ARN, as everything here but revisions.
    machines: Collection<machines::Machine>,
    revisions: Collection<machines::Revision>,
    versions: Collection<machines::Version>,
    aliases: Collection<versions::Alias>,
    tags: Collection<BTreeMap<String, String>>,
    /// Machines that are ready to run, by revision.
    parsed: Mutex<HashMap<String, Arc<StateMachine>>>,
    /// Held by whoever changes machines, versions or aliases, or starts an execution of what one names.
    change: Mutex<()>,
    activities: activities::Activities,
    tokens: tokens::Tokens,
    journal: journal::Journal,
    /// Executions that run.
    running: Mutex<HashMap<String, Arc<running::Control>>>,
    /// What map runs were told to keep to since they began.
    map_run_settings: Mutex<HashMap<String, MapRunSettings>>,
    /// Some map run was told to keep to something else.
    map_runs_updated: Notify,
    clock: Arc<dyn Clock>,
    wait_scale: f64,
    mocks: Option<MockConfig>,
    handlers: Handlers,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// How executions run.
pub(crate) struct Settings {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) wait_scale: f64,
    pub(crate) mocks: Option<MockConfig>,
    pub(crate) handlers: Handlers,
}

/// Who does tasks in place of the services, by the beginnings of their resources; the longest first.
#[derive(Clone, Default)]
pub(crate) struct Handlers(Vec<(String, Arc<dyn TaskHandler>)>);

impl Handlers {
    /// Adds one, in place of one of the same beginning.
    pub(crate) fn add(&mut self, resource: String, handler: Arc<dyn TaskHandler>) {
        self.0.retain(|(known, _)| *known != resource);
        self.0.push((resource, handler));
        self.0
            .sort_by_key(|(resource, _)| std::cmp::Reverse(resource.len()));
    }

    /// The one for a resource.
    fn of(&self, resource: &str) -> Option<&dyn TaskHandler> {
        let found = self
            .0
            .iter()
            .find(|(beginning, _)| resource.starts_with(beginning.as_str()));
        found.map(|(_, handler)| &**handler)
    }
}

/// Inputs, outputs and variables: 256 KiB.
const MAX_DATA: Form = Form { max: 262_144, ..TEXT };

impl States {
    /// Opens the records, and goes on with the executions that a server before this one left running.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the server")]
    pub(crate) fn open(
        shelf: &Shelf,
        folder: &Path,
        region: &str,
        sagemaker: Arc<SageMaker>,
        objects: Arc<ObjectStore>,
        logs: Arc<Logs>,
        settings: Settings,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> io::Result<Arc<Self>> {
        let tokens = tokens::Tokens::default();
        let this = Arc::new(Self {
            region: region.to_owned(),
            database: shelf.database().clone(),
            sagemaker,
            objects,
            logs,
            machines: Collection::open(shelf.join("state-machines"))?,
            revisions: Collection::open(shelf.join("revisions"))?,
            versions: Collection::open(shelf.join("versions"))?,
            aliases: Collection::open(shelf.join("aliases"))?,
            tags: Collection::open(shelf.join("tags"))?,
            parsed: Mutex::default(),
            change: Mutex::default(),
            activities: activities::Activities::open(shelf.join("activities"), tokens.clone())?,
            tokens,
            journal: journal::Journal::open(shelf.database().clone())?,
            running: Mutex::default(),
            map_run_settings: Mutex::default(),
            map_runs_updated: Notify::new(),
            clock: settings.clock,
            wait_scale: settings.wait_scale,
            mocks: settings.mocks,
            handlers: settings.handlers,
            stop,
            tasks,
        });
        earlier::move_in(&this, folder)?;
        for run in this.journal.updated_map_runs()? {
            this.map_run_settings().insert(run.arn.clone(), run.settings());
        }
        for machine in this.machines.select(|machine| machine.deleting) {
            this.finish_deletion(&machine.arn)
                .map_err(|error| io::Error::other(error.message))?;
        }
        this.resume_executions()?;
        Ok(this)
    }

    /// Answers an operation.
    pub(crate) async fn call(self: &Arc<Self>, operation: &str, input: &Value) -> ApiResult {
        let answer = match operation {
            "CreateStateMachine" => self.create_state_machine(input),
            "UpdateStateMachine" => self.update_state_machine(input),
            "DescribeStateMachine" => self.describe_state_machine(input),
            "ListStateMachines" => self.list_state_machines(input),
            "DeleteStateMachine" => self.delete_state_machine(input),
            "ValidateStateMachineDefinition" => machines::validate_definition(input),
            "PublishStateMachineVersion" => self.publish_version(input),
            "ListStateMachineVersions" => self.list_versions(input),
            "DeleteStateMachineVersion" => self.delete_version(input),
            "CreateStateMachineAlias" => self.create_alias(input),
            "UpdateStateMachineAlias" => self.update_alias(input),
            "DescribeStateMachineAlias" => self.describe_alias(input),
            "ListStateMachineAliases" => self.list_aliases(input),
            "DeleteStateMachineAlias" => self.delete_alias(input),
            "StartExecution" => self.start_execution(input),
            "StartSyncExecution" => self.start_sync_execution(input).await,
            "StopExecution" => self.stop_execution(input).await,
            "RedriveExecution" => self.redrive_execution(input),
            "DescribeExecution" => self.describe_execution(input),
            "DescribeStateMachineForExecution" => self.describe_machine_of_execution(input),
            "ListExecutions" => self.list_executions(input),
            "GetExecutionHistory" => self.execution_history(input),
            "DescribeMapRun" => self.describe_map_run(input),
            "ListMapRuns" => self.list_map_runs(input),
            "UpdateMapRun" => self.update_map_run(input),
            "CreateActivity" => self.create_activity(input),
            "DescribeActivity" => self.describe_activity(input),
            "ListActivities" => self.list_activities(input),
            "DeleteActivity" => self.delete_activity(input),
            "GetActivityTask" => self.get_activity_task(input).await,
            "SendTaskSuccess" => self.send_task_success(input).await,
            "SendTaskFailure" => self.send_task_failure(input).await,
            "SendTaskHeartbeat" => self.send_task_heartbeat(input).await,
            "TestState" => self.test_state(input).await,
            "TagResource" => self.tag(input),
            "UntagResource" => self.untag(input),
            "ListTagsForResource" => self.list_tags(input),
            _ => Err(ApiError::unknown_operation("Step Functions", operation)),
        };
        answer.map(Some)
    }

    fn now(&self) -> Seconds {
        seconds_of(self.clock.now())
    }

    fn machine_arn(&self, name: &str) -> String {
        format!("arn:aws:states:{}:{ACCOUNT}:stateMachine:{name}", self.region)
    }

    fn tag(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("resourceArn", TEXT);
        let new = tags(&mut check);
        check.finish()?;
        // What is tagged stays there until it is.
        let _changing = self.changing();
        self.require(arn)?;
        self.tags.change(arn, |there| {
            let mut tags = there.cloned().unwrap_or_default();
            tags.extend(new);
            if tags.len() > MAX_TAGS {
                let message = format!("Number of tags exceeds the limit of {MAX_TAGS}: '{arn}'");
                return Err(ApiError::new("TooManyTags", message));
            }
            Ok(Some(tags).filter(|tags| !tags.is_empty()))
        })??;
        Ok(json!({}))
    }

    fn untag(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("resourceArn", TEXT);
        let keys = check.list("tagKeys", 0, 50);
        check.finish()?;
        let _changing = self.changing();
        self.require(arn)?;
        self.tags.change(arn, |there| {
            let mut tags = there.cloned().unwrap_or_default();
            tags.retain(|key, _| !keys.iter().any(|k| k.as_str() == Some(key)));
            Ok::<_, ApiError>(Some(tags).filter(|tags| !tags.is_empty()))
        })??;
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

    fn require(&self, arn: &str) -> ApiResult<()> {
        if self.machines.contains(arn) || self.activities.contains(arn) {
            return Ok(());
        }
        Err(ApiError::new(
            "ResourceNotFound",
            format!("Resource not found: '{arn}'"),
        ))
    }
}

/// How many tags a resource has at most.
const MAX_TAGS: usize = 50;

/// The tags of a request.
fn tags(check: &mut Check<'_>) -> BTreeMap<String, String> {
    let count = check.list("tags", 0, MAX_TAGS).len();
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

/// `encryptionConfiguration`: it is kept and told back; nothing is encrypted.
fn encryption(check: &mut Check<'_>) -> ApiResult<Value> {
    let kind = check.choice(
        "encryptionConfiguration.type",
        &["AWS_OWNED_KEY", "CUSTOMER_MANAGED_KMS_KEY"],
    );
    let key = check.text("encryptionConfiguration.kmsKeyId", Form { max: 2048, ..TEXT });
    let period = check.integer("encryptionConfiguration.kmsDataKeyReusePeriodSeconds", 60, 900);
    let Some(configuration) = check.get("encryptionConfiguration") else {
        return Ok(Value::Null);
    };
    let invalid = |what: &str| {
        let message = format!("Invalid Encryption Configuration: '{what}'");
        Err(ApiError::new("InvalidEncryptionConfiguration", message))
    };
    match kind {
        Some("CUSTOMER_MANAGED_KMS_KEY") if key.is_none() => {
            invalid("kmsKeyId must be specified for CUSTOMER_MANAGED_KMS_KEY")
        }
        Some("AWS_OWNED_KEY") if key.is_some() || period.is_some() => {
            invalid("kmsKeyId and kmsDataKeyReusePeriodSeconds must not be specified for AWS_OWNED_KEY")
        }
        _ => Ok(configuration.clone()),
    }
}

/// Adds a member that was asked for, and leaves it out otherwise.
fn set_default(answer: &mut Value, member: &str, value: &Value) {
    if !value.is_null() {
        answer[member] = value.clone();
    }
}

/// A name as the service allows it.
fn check_name(name: &str) -> ApiResult<()> {
    let allowed = |c: char| {
        !c.is_whitespace()
            && !c.is_control()
            && !"<>{}[]?*\"#%\\^|~`$&,;:/".contains(c)
            && !matches!(c, '\u{FFFE}' | '\u{FFFF}' | '\u{10FFFF}')
    };
    let length = name.chars().count();
    if (1..=80).contains(&length) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(ApiError::new("InvalidName", format!("Invalid Name: '{name}'")))
}

/// Reads JSON; what is wrong with it is told as the service's parser tells it, but for the place.
fn parse_json(text: &str) -> Result<Value, String> {
    parse_json_with_place(text).map_err(|(reason, _)| reason)
}

/// The same, and where, as the parser tells that: behind what it has read.
fn parse_json_with_place(text: &str) -> Result<Value, (String, String)> {
    /// Of a longer text the parser shows the beginning.
    const SHOWN: usize = 500;
    serde_json::from_str(text).map_err(|error| {
        let (reason, column) = json_problem(text, &error);
        let shown = match text.char_indices().nth(SHOWN) {
            Some((at, _)) => {
                let left_out = text.chars().count() - SHOWN;
                format!("\"{}\"[truncated {left_out} chars]", &text[..at])
            }
            None => format!("\"{text}\""),
        };
        let line = error.line().max(1);
        (
            reason,
            format!("[Source: (String){shown}; line: {line}, column: {column}]"),
        )
    })
}

/// What is wrong with a text that is no JSON, and the column behind it.
fn json_problem(text: &str, error: &serde_json::Error) -> (String, usize) {
    let behind = error.column() + 1;
    if error.is_eof() {
        return ("Unexpected end-of-input".to_owned(), behind);
    }
    // The column counts bytes from 1.
    let line = text
        .lines()
        .nth(error.line().saturating_sub(1))
        .unwrap_or_default();
    let at = error.column().saturating_sub(1);
    let told = error.to_string();
    let wanted = match told.as_str() {
        told if told.starts_with("key must be a string") || told.starts_with("trailing comma") => {
            "was expecting double-quote to start field name"
        }
        told if told.starts_with("expected `,` or `}`") => "was expecting comma to separate Object entries",
        told if told.starts_with("expected `,` or `]`") => "was expecting comma to separate Array entries",
        told if told.starts_with("expected `:`") => "was expecting a colon to separate field name and value",
        _ => {
            let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
            let before = line.get(..at).unwrap_or_default();
            let begin = before.rfind(|c| !is_word(c)).map_or(0, |i| i + 1);
            let rest = line.get(begin..).unwrap_or_default();
            let token: String = rest.chars().take_while(|c| is_word(*c)).collect();
            if token.chars().next().is_some_and(|c| !c.is_ascii_digit()) {
                let reason = format!(
                    "Unrecognized token '{token}': was expecting (JSON String, Number, Array, Object or token \
                         'null', 'true' or 'false')"
                );
                return (reason, begin + token.len() + 1);
            }
            "expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
        }
    };
    let reason = match line.get(at..).and_then(|rest| rest.chars().next()) {
        Some(c) => format!("Unexpected character ('{c}' (code {})): {wanted}", u32::from(c)),
        None => told,
    };
    (reason, behind)
}

fn missing_machine(arn: &str) -> ApiError {
    ApiError::new(
        "StateMachineDoesNotExist",
        format!("State Machine Does Not Exist: '{arn}'"),
    )
}

/// The service's answer to an operation that knows no distributed Map states.
fn labelled(arn: &str) -> ApiError {
    ApiError::validation(format!("This operation does not support labeled ARNs: '{arn}'"))
}

/// A page of a list in the order of its keys, of which no two are the same. The token is the last key of the page before it, so
/// that no entry is left out or told twice when others come or go meanwhile. Nothing is copied but what is on the page.
fn page<'r, T: Clone + 'r, K: Ord + AsRef<str>>(
    check: &mut Check<'_>,
    entries: impl Iterator<Item = &'r T>,
    default: usize,
    key: impl Fn(&'r T) -> K,
) -> ApiResult<(Vec<T>, Option<String>)> {
    let max = page_size(check, default);
    let after = page_token(check, |token| {
        String::from_utf8(BASE64_STANDARD.decode(token).ok()?).ok()
    })?;
    let is_after = |key: &K| after.as_deref().is_none_or(|after| key.as_ref() > after);
    let mut found: Vec<(K, &T)> = entries
        .map(|entry| (key(entry), entry))
        .filter(|(key, _)| is_after(key))
        .collect();
    let more = found.len() > max;
    if more {
        found.select_nth_unstable_by(max - 1, |(a, _), (b, _)| a.cmp(b));
        found.truncate(max);
    }
    found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let next = found.last().filter(|_| more);
    let next = next.map(|(key, _)| BASE64_STANDARD.encode(key.as_ref()));
    Ok((found.into_iter().map(|(_, entry)| entry.clone()).collect(), next))
}

/// Keys in the order of moments, then of names.
fn by_time(moment: Seconds, name: &str) -> String {
    format!("{:016} {name}", millis(moment))
}

fn page_size(check: &mut Check<'_>, default: usize) -> usize {
    let max = check.integer("maxResults", 0, 1000).unwrap_or(0);
    usize::try_from(max)
        .ok()
        .filter(|max| *max > 0)
        .unwrap_or(default)
}

/// `nextToken`, as `read` reads it.
fn page_token<T>(check: &mut Check<'_>, read: impl Fn(&str) -> Option<T>) -> ApiResult<Option<T>> {
    long_page_token(check, 1024, read)
}

/// The same, of up to that many characters.
fn long_page_token<T>(
    check: &mut Check<'_>,
    max: usize,
    read: impl Fn(&str) -> Option<T>,
) -> ApiResult<Option<T>> {
    let Some(token) = check.text("nextToken", Form { max, ..TEXT }) else {
        return Ok(None);
    };
    if token.chars().count() > max {
        return Ok(None); // the check has noticed
    }
    let invalid = || ApiError::new("InvalidToken", format!("Invalid Token: '{token}'"));
    read(token).map(Some).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static COPIES: Cell<usize> = const { Cell::new(0) };
    }

    struct Named(String);

    impl Clone for Named {
        fn clone(&self) -> Self {
            COPIES.set(COPIES.get() + 1);
            Self(self.0.clone())
        }
    }

    #[test]
    fn a_page_copies_what_is_on_it() {
        // In another order than that of their names.
        let all: Vec<_> = (0..1000).map(|i| Named(format!("{:03}", i * 7 % 1000))).collect();
        let mut input = json!({"maxResults": 30});
        let mut seen = Vec::new();
        loop {
            let mut check = Check::new(&input);
            COPIES.set(0);
            let (page, next) = page(&mut check, all.iter(), 100, |named| named.0.as_str()).unwrap();
            assert_eq!(COPIES.get(), page.len());
            seen.extend(page.into_iter().map(|named| named.0));
            match next {
                Some(next) => input["nextToken"] = next.into(),
                None => break,
            }
        }
        let names: Vec<_> = (0..1000).map(|i| format!("{i:03}")).collect();
        assert_eq!(seen, names);
    }

    #[test]
    fn what_is_wrong_with_json() {
        const VALUE: &str = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')";
        for (text, expected) in [
            ("nope", format!("Unrecognized token 'nope': was expecting {VALUE}")),
            ("{\"a\": tru}", format!("Unrecognized token 'tru': was expecting {VALUE}")),
            ("{\"a\": ?}", format!("Unexpected character ('?' (code 63)): expected a valid value {VALUE}")),
            ("{a", "Unexpected character ('a' (code 97)): was expecting double-quote to start field name".into()),
            (
                "{\"a\": \"\"\", \"b\": 1}",
                "Unexpected character ('\"' (code 34)): was expecting comma to separate Object entries".into(),
            ),
            ("[1 2]", "Unexpected character ('2' (code 50)): was expecting comma to separate Array entries".into()),
            (
                "{\"a\" 1}",
                "Unexpected character ('1' (code 49)): was expecting a colon to separate field name and value".into(),
            ),
            ("{", "Unexpected end-of-input".into()),
        ] {
            assert_eq!(parse_json(text).unwrap_err(), expected, "{text}");
        }
        assert_eq!(parse_json(" [1] "), Ok(json!([1])));
    }
}
