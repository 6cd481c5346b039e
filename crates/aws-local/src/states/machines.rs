//! State machines: definitions that have passed the checks, their revisions, versions and aliases.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sfn_builder::{
    ServiceDiagnostic, Severity, StateMachine,
    checked::{Integration, Mode, Pattern, StateKind},
};
use uuid::Uuid;

use super::{
    States, arn, arn::MachineArn, check_name, encryption, labelled, missing_machine, page,
    parse_json_with_place, set_default, tags,
};
use crate::{
    api::{ApiError, ApiResult, Check, Form, ROLE, TEXT},
    store::Changes,
    time::Seconds,
};

/// A state machine.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) kind: Kind,
    pub(super) created: Seconds,
    /// The name of the revision in force.
    pub(super) revision: String,
    /// The revision as the API names it; none before the first update.
    #[serde(default)]
    pub(super) revision_id: Option<String>,
    /// How many versions were published.
    #[serde(default)]
    pub(super) versions: u64,
    /// It goes when the last of its executions has ended.
    #[serde(default)]
    pub(super) deleting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Kind {
    Standard,
    Express,
}

impl Machine {
    /// Itself, unless it is to go.
    pub(super) fn not_deleting(self) -> ApiResult<Self> {
        if self.deleting {
            let message = format!("State Machine is being deleted: '{}'", self.arn);
            return Err(ApiError::new("StateMachineDeleting", message));
        }
        Ok(self)
    }
}

/// How many machines are kept ready to run.
const MAX_PARSED: usize = 1000;

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::Express => "EXPRESS",
        }
    }
}

/// What a machine is from one update to the next. Executions and versions keep theirs.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Revision {
    /// As it was sent.
    pub(super) definition: String,
    pub(super) role_arn: String,
    #[serde(default)]
    pub(super) logging: Value,
    #[serde(default)]
    pub(super) tracing: Value,
    #[serde(default)]
    pub(super) encryption: Value,
    pub(super) updated: Seconds,
    #[serde(default)]
    pub(super) revision_id: Option<String>,
}

/// A published revision.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) arn: String,
    pub(super) machine_arn: String,
    pub(super) number: u64,
    pub(super) revision: String,
    #[serde(default)]
    pub(super) description: Option<String>,
    pub(super) created: Seconds,
}

const DEFINITION: Form = Form {
    max: 1_048_576,
    ..TEXT
};
pub(super) const DESCRIPTION: Form = Form { max: 256, ..TEXT };

impl States {
    pub(super) fn create_state_machine(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let name = check.required("name", TEXT);
        let definition = check.required("definition", DEFINITION);
        let role_arn = check.required("roleArn", TEXT);
        let kind = check.choice("type", &["STANDARD", "EXPRESS"]);
        let tags = tags(&mut check);
        let (logging, tracing, encryption) = (logging(&mut check), tracing(&check), encryption(&mut check));
        let (publish, description) = publication(&mut check);
        check.finish()?;
        check_name(name)?;
        check_role(role_arn)?;
        check_publication(publish, description)?;
        let (logging, tracing, encryption) = (logging?, tracing?, encryption?);
        let kind = match kind {
            Some("EXPRESS") => Kind::Express,
            _ => Kind::Standard,
        };
        let parsed = parse(definition, kind)?;
        let arn = self.machine_arn(name);
        let now = self.now();
        let revision = Revision {
            definition: definition.to_owned(),
            role_arn: role_arn.to_owned(),
            logging,
            tracing,
            encryption,
            updated: now,
            revision_id: None,
        };
        let machine = Machine {
            name: name.to_owned(),
            arn: arn.clone(),
            kind,
            created: now,
            revision: Uuid::new_v4().to_string(),
            revision_id: None,
            versions: 0,
            deleting: false,
        };
        // One at a time, so that two requests for a name do not both find it free.
        let _changing = self.changing();
        let there = match self.machines.get(&arn) {
            None => {
                let mut answer = json!({"stateMachineArn": arn, "creationDate": machine.created});
                let mut changes = Changes::default();
                changes.put(&self.revisions, &machine.revision, revision)?;
                if !tags.is_empty() {
                    changes.put(&self.tags, &arn, tags)?;
                }
                let revision = machine.revision.clone();
                if publish {
                    let version = self.publish(&mut changes, machine, description)?;
                    answer["stateMachineVersionArn"] = version.arn.into();
                } else {
                    changes.put(&self.machines, &arn, machine)?;
                }
                changes.commit(&self.database)?;
                self.remember(&revision, parsed);
                return Ok(answer);
            }
            Some(there) => there.not_deleting()?,
        };
        // Made again just as it is, it is there already; another role or other tags are ignored.
        let same = there.kind == kind
            && self.revision(&there.revision).is_some_and(|old| {
                old.definition == revision.definition
                    && old.logging == revision.logging
                    && old.tracing == revision.tracing
                    && old.encryption == revision.encryption
            });
        let version = self.version_of_revision(&there);
        let same_version = match (&version, publish) {
            (Some(version), true) => version.description.as_deref() == description,
            (None, true) => false,
            (_, false) => true,
        };
        if !same || !same_version {
            let message = format!("State Machine Already Exists: '{arn}'");
            return Err(ApiError::new("StateMachineAlreadyExists", message));
        }
        let mut answer = json!({"stateMachineArn": arn, "creationDate": there.created});
        if let Some(version) = version.filter(|_| publish) {
            answer["stateMachineVersionArn"] = version.arn.into();
        }
        Ok(answer)
    }

    pub(super) fn update_state_machine(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("stateMachineArn", TEXT);
        let definition = check.text("definition", DEFINITION);
        let role_arn = check.text("roleArn", TEXT);
        let changes = [
            "loggingConfiguration",
            "tracingConfiguration",
            "encryptionConfiguration",
        ];
        let [has_logging, has_tracing, has_encryption] = changes.map(|member| check.get(member).is_some());
        let (logging, tracing, encryption) = (logging(&mut check), tracing(&check), encryption(&mut check));
        let (publish, description) = publication(&mut check);
        check.finish()?;
        let parsed_arn = self.unqualified(arn)?;
        let arn = &parsed_arn.base;
        let machine = self.machine(arn)?;
        check_publication(publish, description)?;
        let nothing =
            definition.is_none() && role_arn.is_none() && !has_logging && !has_tracing && !has_encryption;
        if nothing && !publish {
            let message = "Either the definition, the role ARN, the LoggingConfiguration, or the TracingConfiguration must be \
                           specified";
            return Err(ApiError::new("MissingRequiredParameter", message));
        }
        role_arn.map(check_role).transpose()?;
        let (logging, tracing, encryption) = (logging?, tracing?, encryption?);
        let parsed = definition
            .map(|definition| parse(definition, machine.kind))
            .transpose()?;
        let _changing = self.changing();
        let mut machine = self.machine(arn)?.not_deleting()?;
        let in_force = self
            .revision(&machine.revision)
            .ok_or_else(|| missing_machine(arn))?;
        let mut revision = in_force.clone();
        if let Some(definition) = definition {
            revision.definition = definition.to_owned();
        }
        if let Some(role_arn) = role_arn {
            revision.role_arn = role_arn.to_owned();
        }
        if has_logging {
            revision.logging = logging;
        }
        if has_tracing {
            revision.tracing = tracing;
        }
        if has_encryption {
            revision.encryption = encryption;
        }
        if revision == in_force {
            // Nothing changes: there is no new revision, and the one in force is published, unless it has been.
            let mut answer = json!({"updateDate": self.now()});
            if let Some(id) = &machine.revision_id {
                answer["revisionId"] = id.as_str().into();
            }
            if publish {
                let mut changes = Changes::default();
                let version = match self.version_of_revision(&machine) {
                    Some(version) => version,
                    None => self.publish(&mut changes, machine, description)?,
                };
                changes.commit(&self.database)?;
                answer["stateMachineVersionArn"] = version.arn.into();
            }
            return Ok(answer);
        }
        revision.updated = self.now();
        let id = Uuid::new_v4().to_string();
        revision.revision_id = Some(id.clone());
        let mut answer = json!({"updateDate": revision.updated, "revisionId": id});
        let key = Uuid::new_v4().to_string();
        let mut changes = Changes::default();
        changes.put(&self.revisions, &key, revision)?;
        let before = std::mem::replace(&mut machine.revision, key.clone());
        self.forget_revision(&mut changes, &before, None)?;
        machine.revision_id = Some(id);
        if publish {
            let version = self.publish(&mut changes, machine, description)?;
            answer["stateMachineVersionArn"] = version.arn.into();
        } else {
            changes.put(&self.machines, arn, machine)?;
        }
        changes.commit(&self.database)?;
        if let Some(parsed) = parsed {
            self.remember(&key, parsed);
        }
        Ok(answer)
    }

    pub(super) fn describe_state_machine(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("stateMachineArn", TEXT);
        let included = included_data(&mut check);
        check.finish()?;
        let named = arn::machine(arn)?;
        // An update replaces machine and revision together.
        let changing = self.changing();
        let machine = self.machine(&machine_part(&named))?;
        let (revision, version) = match &named.qualifier {
            None => (machine.revision.clone(), None),
            Some(_) => {
                let version = self.version(&named)?;
                (version.revision.clone(), Some(version))
            }
        };
        let revision = self.revision(&revision).ok_or_else(|| missing_machine(arn))?;
        drop(changing);
        let mut definition = revision.definition.clone();
        let mut name = machine.name.clone();
        if let Some(label) = &named.label {
            definition = processor(&revision.definition, label).ok_or_else(|| missing_machine(arn))?;
            name = format!("{name}/{label}");
        }
        let mut answer = json!({
            "stateMachineArn": named.qualified(),
            "name": name,
            "status": if machine.deleting { "DELETING" } else { "ACTIVE" },
            "definition": definition,
            "roleArn": revision.role_arn,
            "type": machine.kind.as_str(),
            "creationDate": version.as_ref().map_or(machine.created, |version| version.created),
            "loggingConfiguration": logging_or_default(&revision.logging),
            "tracingConfiguration": tracing_or_default(&revision.tracing),
        });
        if let Some(label) = named.label {
            answer["label"] = label.into();
        }
        if let Some(id) = revision.revision_id {
            answer["revisionId"] = id.into();
        }
        if let Some(description) = version.and_then(|version| version.description) {
            answer["description"] = description.into();
        }
        set_default(&mut answer, "encryptionConfiguration", &revision.encryption);
        if included {
            let references = variable_references(&definition);
            if references
                .as_object()
                .is_some_and(|references| !references.is_empty())
            {
                answer["variableReferences"] = references;
            }
        } else {
            answer["definition"] = "{}".into();
        }
        Ok(answer)
    }

    pub(super) fn list_state_machines(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let (machines, next) = self
            .machines
            .look_at_all(|all| page(&mut check, all, 100, |machine| machine.name.as_str()))?;
        check.finish()?;
        let machines: Vec<_> = machines
            .iter()
            .map(|machine| {
                json!({
                    "stateMachineArn": machine.arn,
                    "name": machine.name,
                    "type": machine.kind.as_str(),
                    "creationDate": machine.created,
                })
            })
            .collect();
        let mut answer = json!({"stateMachines": machines});
        if let Some(next) = next {
            answer["nextToken"] = next.into();
        }
        Ok(answer)
    }

    /// Executions that run end before their next state, as with the service, and the machine goes with the last of them. One that
    /// is not there is deleted already.
    pub(super) fn delete_state_machine(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("stateMachineArn", TEXT);
        check.finish()?;
        let named = arn::machine(arn)?;
        if named.label.is_some() {
            return Err(labelled(arn));
        }
        if named.qualifier.is_some() {
            let message = format!("This operation does not support qualified ARNs: '{arn}'");
            return Err(ApiError::validation(message));
        }
        let arn = named.base;
        let _changing = self.changing();
        let Some(mut machine) = self.machines.get(&arn).filter(|machine| !machine.deleting) else {
            return Ok(json!({}));
        };
        // None is started meanwhile.
        let controls = self.controls();
        let mut changes = Changes::default();
        for alias in self.aliases.select(|alias| alias.machine_arn == arn) {
            changes.remove(&self.aliases, &alias.arn);
        }
        for version in self.versions.select(|version| version.machine_arn == arn) {
            changes.remove(&self.versions, &version.arn);
            if version.revision != machine.revision {
                self.forget_revision(&mut changes, &version.revision, Some(&version.arn))?;
            }
        }
        if self.journal.is_running(&arn)? {
            machine.deleting = true;
            changes.put(&self.machines, &arn, machine)?;
        } else {
            self.remove_machine(&mut changes, &machine)?;
        }
        changes.commit(&self.database)?;
        let executions = format!("{}:", arn.replacen(":stateMachine:", ":execution:", 1));
        for (execution, control) in controls.iter() {
            if execution.starts_with(&executions) {
                control.machine_deleted();
            }
        }
        Ok(json!({}))
    }

    fn remove_machine<'c>(&'c self, changes: &mut Changes<'c>, machine: &Machine) -> ApiResult<()> {
        changes.remove(&self.machines, &machine.arn);
        changes.remove(&self.tags, &machine.arn);
        self.forget_revision(changes, &machine.revision, None)
    }

    /// Removes a machine that is to go, unless something of it runs.
    pub(super) fn finish_deletion(&self, arn: &str) -> ApiResult<()> {
        if !self
            .machines
            .look(arn, |machine| machine.deleting)
            .unwrap_or(false)
        {
            return Ok(());
        }
        let _changing = self.changing();
        let Some(machine) = self.machines.get(arn).filter(|machine| machine.deleting) else {
            return Ok(());
        };
        if self.journal.is_running(arn)? {
            return Ok(());
        }
        let mut changes = Changes::default();
        self.remove_machine(&mut changes, &machine)?;
        changes.commit(&self.database)?;
        Ok(())
    }

    /// Removes a revision that is not in force any more, unless an execution or another version than that one has it.
    pub(super) fn forget_revision<'c>(
        &'c self,
        changes: &mut Changes<'c>,
        revision: &str,
        version: Option<&str>,
    ) -> ApiResult<()> {
        let others = self
            .versions
            .select(|other| other.revision == revision && Some(other.arn.as_str()) != version);
        if others.is_empty() && !self.journal.has_revision(revision)? {
            changes.remove(&self.revisions, revision);
            self.parsed().remove(revision);
        }
        Ok(())
    }

    /// The machine of that ARN, which has no qualifier.
    pub(super) fn machine(&self, arn: &str) -> ApiResult<Machine> {
        self.machines.get(arn).ok_or_else(|| missing_machine(arn))
    }

    pub(super) fn revision(&self, key: &str) -> Option<Revision> {
        self.revisions.get(key)
    }

    /// The machine of a revision, ready to run.
    pub(super) fn machine_of(&self, revision: &str) -> ApiResult<Arc<StateMachine>> {
        if let Some(parsed) = self.parsed().get(revision) {
            return Ok(parsed.clone());
        }
        let found = self.revision(revision).ok_or_else(|| missing_machine(revision))?;
        let machine = StateMachine::from_json(&found.definition)
            .map_err(|error| ApiError::new("InvalidDefinition", error.service_message()))?;
        Ok(self.remember(revision, machine))
    }

    fn remember(&self, revision: &str, machine: StateMachine) -> Arc<StateMachine> {
        let machine = Arc::new(machine);
        let mut parsed = self.parsed();
        // Each can be made again.
        if parsed.len() >= MAX_PARSED {
            parsed.clear();
        }
        parsed.insert(revision.to_owned(), machine.clone());
        machine
    }

    fn parsed(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<StateMachine>>> {
        self.parsed.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Keeps others from changing machines, versions and aliases, and from starting executions of them.
    pub(super) fn changing(&self) -> std::sync::MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// An ARN that has to be a machine's own.
    pub(super) fn unqualified(&self, arn: &str) -> ApiResult<MachineArn> {
        let named = arn::machine(arn)?;
        if named.label.is_some() {
            return Err(labelled(arn));
        }
        if named.qualifier.is_some() {
            return Err(missing_machine(arn));
        }
        Ok(named)
    }
}

/// The ARN of the whole machine, when a distributed Map state is named.
pub(super) fn machine_part(named: &MachineArn) -> String {
    match &named.label {
        Some(label) => named
            .base
            .strip_suffix(label.as_str())
            .and_then(|base| base.strip_suffix('/'))
            .unwrap_or(&named.base)
            .to_owned(),
        None => named.base.clone(),
    }
}

/// The item processor of the Map state with that label, as a definition of its own.
fn processor(definition: &str, label: &str) -> Option<String> {
    fn find(value: &Value, label: &str) -> Option<Value> {
        match value {
            Value::Object(map) => {
                if value["Type"] == "Map" && value["Label"] == label {
                    return map.get("ItemProcessor").or_else(|| map.get("Iterator")).cloned();
                }
                map.values().find_map(|value| find(value, label))
            }
            Value::Array(items) => items.iter().find_map(|item| find(item, label)),
            _ => None,
        }
    }
    let document: Value = serde_json::from_str(definition).ok()?;
    find(&document, label).map(|processor| processor.to_string())
}

/// By state, the variables that it reads.
fn variable_references(definition: &str) -> Value {
    let Ok(machine) = StateMachine::from_json(definition) else {
        return json!({});
    };
    let document: Value = serde_json::from_str(definition).unwrap_or_default();
    let mut references = serde_json::Map::new();
    for state in machine.all_states() {
        let Some(mut state_document) = document.pointer(&state.pointer).cloned() else {
            continue;
        };
        if let Some(members) = state_document.as_object_mut() {
            // What is inside of those are states of their own.
            for inner in ["Branches", "ItemProcessor", "Iterator"] {
                members.shift_remove(inner);
            }
        }
        let mut names = Vec::new();
        read_variables(&state_document, &mut names);
        if !names.is_empty() {
            references.insert(state.name.clone(), names.into());
        }
    }
    references.into()
}

fn read_variables(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.values().for_each(|value| read_variables(value, names)),
        Value::Array(items) => items.iter().for_each(|item| read_variables(item, names)),
        Value::String(text) => {
            let is_jsonata = text.starts_with("{%") && text.ends_with("%}");
            if !is_jsonata && !text.starts_with('$') && !text.starts_with("States.") {
                return;
            }
            for (at, _) in text.match_indices('$') {
                let name: String = text[at + 1..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let is_call = text[at + 1 + name.len()..].trim_start().starts_with('(');
                let is_name = name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
                let after_dollar = at > 0 && text.as_bytes()[at - 1] == b'$';
                if is_name && !is_call && !after_dollar && name != "states" && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        _ => {}
    }
}

/// Checks a definition without keeping it.
pub(super) fn validate_definition(input: &Value) -> ApiResult<Value> {
    let mut check = Check::new(input);
    let definition = check.required("definition", DEFINITION);
    let kind = check.choice("type", &["STANDARD", "EXPRESS"]);
    let severity = check.choice("severity", &["ERROR", "WARNING"]);
    let max = check.integer("maxResults", 0, 100).unwrap_or(0);
    check.finish()?;
    let max = if max == 0 { 100 } else { max as usize };
    let kind = match kind {
        Some("EXPRESS") => Kind::Express,
        _ => Kind::Standard,
    };
    let mut diagnostics: Vec<Value> = Vec::new();
    if let Some(diagnostic) = not_an_object(definition) {
        let answer = json!({"result": "FAIL", "diagnostics": [diagnostic], "truncated": false});
        return Ok(answer);
    }
    let (findings, problems) = match StateMachine::from_json(definition) {
        Ok(machine) => (machine.warnings().to_vec(), problems(&machine, kind)),
        Err(invalid) => (invalid.findings().to_vec(), Vec::new()),
    };
    for ServiceDiagnostic {
        severity,
        code,
        message,
        location,
        ..
    } in ServiceDiagnostic::of(&findings)
    {
        let severity = match severity {
            Severity::Error => "ERROR",
            Severity::Warning => "WARNING",
        };
        let mut diagnostic = json!({"severity": severity, "code": code, "message": message});
        if let Some(location) = location {
            diagnostic["location"] = location.into();
        }
        diagnostics.push(diagnostic);
    }
    for (message, location) in problems {
        diagnostics.push(json!({
            "severity": "ERROR",
            "code": "SCHEMA_VALIDATION_FAILED",
            "message": message,
            "location": location,
        }));
    }
    let failed = diagnostics
        .iter()
        .any(|diagnostic| diagnostic["severity"] == "ERROR");
    if severity != Some("WARNING") {
        diagnostics.retain(|diagnostic| diagnostic["severity"] == "ERROR");
    }
    // Errors come first.
    diagnostics.sort_by_key(|diagnostic| diagnostic["severity"] != "ERROR");
    let truncated = diagnostics.len() > max;
    diagnostics.truncate(max);
    let result = if failed { "FAIL" } else { "OK" };
    Ok(json!({"result": result, "diagnostics": diagnostics, "truncated": truncated}))
}

/// The diagnostic of a text that is no JSON object.
fn not_an_object(definition: &str) -> Option<Value> {
    let not_json = match parse_json_with_place(definition) {
        Ok(Value::Object(_)) => return None,
        Err((reason, place)) if !definition.trim().is_empty() => Some((reason, place)),
        _ => None,
    };
    Some(match not_json {
        Some((reason, place)) => json!({
            "severity": "ERROR",
            "code": "INVALID_JSON_DESCRIPTION",
            "message": format!("{reason}\n at {place}"),
            "location": place,
        }),
        None => json!({
            "severity": "ERROR",
            "code": "SCHEMA_VALIDATION_FAILED",
            "message": "Definition must be a valid JSON object",
        }),
    })
}

/// Reads a definition; every state in it must be one that can be run here.
pub(super) fn parse(definition: &str, kind: Kind) -> ApiResult<StateMachine> {
    let invalid = |message: String| ApiError::new("InvalidDefinition", message);
    if let Some(diagnostic) = not_an_object(definition) {
        let said = |member: &str| diagnostic[member].as_str().unwrap_or_default().to_owned();
        let message = format!(
            "Invalid State Machine Definition: '{}: {}'",
            said("code"),
            said("message")
        );
        return Err(invalid(message));
    }
    let machine = StateMachine::from_json(definition).map_err(|error| invalid(error.service_message()))?;
    let problems: Vec<_> = problems(&machine, kind)
        .into_iter()
        .map(|(message, location)| format!("SCHEMA_VALIDATION_FAILED: {message} at {location}"))
        .collect();
    if problems.is_empty() {
        return Ok(machine);
    }
    Err(invalid(format!(
        "Invalid State Machine Definition: '{}'",
        problems.join(", ")
    )))
}

/// What of a valid machine its type does not allow, or cannot be run here: message and location.
fn problems(machine: &StateMachine, kind: Kind) -> Vec<(String, String)> {
    let mut problems: Vec<(String, String)> = Vec::new();
    if kind == Kind::Express {
        for state in machine.all_states() {
            match &state.kind {
                StateKind::Task(task) => {
                    let what = match &task.resource.integration {
                        Integration::Activity => "Activity ARN".to_owned(),
                        Integration::Service { pattern, .. } => match pattern {
                            Pattern::Sync | Pattern::Sync2 => "'.sync' service integration".to_owned(),
                            // So the service has it, with a space at the end.
                            Pattern::WaitForTaskToken => {
                                "'.waitForTaskToken' service integration ".to_owned()
                            }
                            _ => continue,
                        },
                        _ => continue,
                    };
                    let message = format!("Express state machine does not support {what}");
                    problems.push((message, format!("{}/Resource", state.pointer)));
                }
                StateKind::Map(map) if map.mode != Mode::Inline => {
                    let message = "The field 'Mode' with value 'DISTRIBUTED' is not supported inside 'EXPRESS' state machines";
                    problems.push((
                        message.to_owned(),
                        format!("{}/ItemProcessor/ProcessorConfig/Mode", state.pointer),
                    ));
                }
                _ => {}
            }
        }
    }
    if let Err(unsupported) = sfn_local::check_supported(machine) {
        for part in unsupported.parts() {
            let message = format!("{} not supported by aws-local", part.what);
            problems.push((message, part.pointer.clone()));
        }
    }
    problems
}

fn check_role(role_arn: &str) -> ApiResult<()> {
    if (ROLE.matches)(role_arn) {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidArn",
        format!("Invalid Role Arn: '{role_arn}'"),
    ))
}

fn publication<'a>(check: &mut Check<'a>) -> (bool, Option<&'a str>) {
    let publish = check.flag("publish");
    (publish, check.text("versionDescription", DESCRIPTION))
}

fn check_publication(publish: bool, description: Option<&str>) -> ApiResult<()> {
    if description.is_some() && !publish {
        let message = "Version description can only be set when publish is true";
        return Err(ApiError::validation(message));
    }
    Ok(())
}

/// `includedData`: whether the data is to be told.
pub(super) fn included_data(check: &mut Check<'_>) -> bool {
    check.choice("includedData", &["ALL_DATA", "METADATA_ONLY"]) != Some("METADATA_ONLY")
}

/// `loggingConfiguration`: it is kept and told back; nothing is logged.
fn logging(check: &mut Check<'_>) -> ApiResult<Value> {
    let level = check.choice("loggingConfiguration.level", &["ALL", "ERROR", "FATAL", "OFF"]);
    let destinations = check.list("loggingConfiguration.destinations", 0, 100);
    let Some(configuration) = check.get("loggingConfiguration") else {
        return Ok(Value::Null);
    };
    let invalid = |what: &str| {
        ApiError::new(
            "InvalidLoggingConfiguration",
            format!("Invalid Logging Configuration: {what}"),
        )
    };
    if destinations.len() > 1 {
        return Err(invalid("Must specify exactly one Log Destination."));
    }
    if level.is_some_and(|level| level != "OFF") && destinations.is_empty() {
        return Err(invalid("Must specify exactly one Log Destination."));
    }
    for destination in destinations {
        let group = destination["cloudWatchLogsLogGroup"]["logGroupArn"]
            .as_str()
            .unwrap_or_default();
        if !group.starts_with("arn:") || !group.contains(":logs:") || !group.ends_with(":*") {
            return Err(invalid("Log Destination is not valid."));
        }
    }
    Ok(configuration.clone())
}

/// `tracingConfiguration`: it is kept and told back; nothing is traced.
fn tracing(check: &Check<'_>) -> ApiResult<Value> {
    match check.get("tracingConfiguration") {
        None => Ok(Value::Null),
        Some(configuration) if configuration["enabled"].is_boolean() => Ok(configuration.clone()),
        Some(_) => Err(ApiError::new(
            "InvalidTracingConfiguration",
            "Your tracingConfiguration key does not match, or enabled has not been set to true or false.",
        )),
    }
}

pub(super) fn logging_or_default(logging: &Value) -> Value {
    let mut told = json!({"level": "OFF", "includeExecutionData": false});
    for (member, value) in logging.as_object().into_iter().flatten() {
        told[member] = value.clone();
    }
    told
}

pub(super) fn tracing_or_default(tracing: &Value) -> Value {
    match tracing {
        Value::Null => json!({"enabled": false}),
        tracing => tracing.clone(),
    }
}
