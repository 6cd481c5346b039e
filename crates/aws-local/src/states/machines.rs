//! State machines: definitions that have passed the checks.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sfn_builder::{StateMachine, checked::StateKind};
use uuid::Uuid;

use super::{States, check_name, page, tags, tasks};
use crate::{
    api::{ApiError, ApiResult, Check, ROLE, TEXT},
    time::{Seconds, now},
};

/// A state machine.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) arn: String,
    /// As it was sent.
    pub(super) definition: String,
    pub(super) role_arn: String,
    created: Seconds,
    updated: Seconds,
    revision: String,
}

impl States {
    pub(super) fn create_state_machine(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let name = check.required("name", TEXT);
        let definition = check.required("definition", TEXT);
        let role_arn = check.required("roleArn", ROLE);
        let kind = check.choice("type", &["STANDARD", "EXPRESS"]);
        let tags = tags(&mut check);
        refuse_unsupported(&check)?;
        check.finish()?;
        check_name(name)?;
        if kind == Some("EXPRESS") {
            let message = "Express state machines are not implemented by aws-local.";
            return Err(ApiError::new("StateMachineTypeNotSupported", message));
        }
        parse(definition)?;
        let arn = self.machine_arn(name);
        let machine = Machine {
            name: name.to_owned(),
            arn: arn.clone(),
            definition: definition.to_owned(),
            role_arn: role_arn.to_owned(),
            created: now(),
            updated: now(),
            revision: Uuid::new_v4().to_string(),
        };
        // Made again with the same definition, it is there already; the service ignores another role or other tags.
        let created = match self.machines.insert_new(&arn, machine)? {
            Ok(()) => {
                self.set_tags(&arn, tags)?;
                self.machines
                    .get(&arn)
                    .map_or_else(now, |machine| machine.created)
            }
            Err(there) if there.definition == definition => there.created,
            Err(_) => {
                let message = format!("State Machine Already Exists: '{arn}'");
                return Err(ApiError::new("StateMachineAlreadyExists", message));
            }
        };
        Ok(json!({"stateMachineArn": arn, "creationDate": created}))
    }

    pub(super) fn update_state_machine(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("stateMachineArn", TEXT);
        let definition = check.text("definition", TEXT);
        let role_arn = check.text("roleArn", ROLE);
        refuse_unsupported(&check)?;
        check.finish()?;
        self.machine(arn)?;
        if definition.is_none() && role_arn.is_none() {
            let message = "Either the definition, the role ARN, the logging, tracing or encryption configuration must be specified";
            return Err(ApiError::new("MissingRequiredParameter", message));
        }
        definition.map(parse).transpose()?;
        let updated = self.machines.update(arn, |machine| {
            if let Some(definition) = definition {
                machine.definition = definition.to_owned();
            }
            if let Some(role_arn) = role_arn {
                machine.role_arn = role_arn.to_owned();
            }
            machine.updated = now();
            machine.revision = Uuid::new_v4().to_string();
            json!({"updateDate": machine.updated, "revisionId": machine.revision})
        })?;
        updated.ok_or_else(|| missing(arn))
    }

    pub(super) fn describe_state_machine(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("stateMachineArn", TEXT);
        check.finish()?;
        let machine = self.machine(arn)?;
        Ok(json!({
            "stateMachineArn": machine.arn,
            "name": machine.name,
            "status": "ACTIVE",
            "definition": machine.definition,
            "roleArn": machine.role_arn,
            "type": "STANDARD",
            "creationDate": machine.created,
            "loggingConfiguration": {"level": "OFF", "includeExecutionData": false},
            "tracingConfiguration": {"enabled": false},
            "revisionId": machine.revision,
        }))
    }

    pub(super) fn list_state_machines(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let mut machines = self.machines.all();
        machines.sort_by(|a, b| a.created.total_cmp(&b.created).then_with(|| a.name.cmp(&b.name)));
        let (machines, next) = page(&mut check, machines, 100)?;
        check.finish()?;
        let machines: Vec<_> = machines
            .iter()
            .map(|machine| {
                json!({
                    "stateMachineArn": machine.arn,
                    "name": machine.name,
                    "type": "STANDARD",
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

    /// Executions that run go on, as with the service; one that is not there is deleted already.
    pub(super) fn delete_state_machine(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("stateMachineArn", TEXT);
        check.finish()?;
        self.machines.remove(arn)?;
        self.tags.remove(arn)?;
        Ok(json!({}))
    }

    /// The machine of that ARN.
    pub(super) fn machine(&self, arn: &str) -> ApiResult<Machine> {
        self.machines.get(arn).ok_or_else(|| missing(arn))
    }
}

/// Checks a definition without keeping it.
pub(super) fn validate_definition(input: &Value) -> ApiResult<Value> {
    let mut check = Check::new(input);
    let definition = check.required("definition", TEXT);
    check.finish()?;
    let mut diagnostics: Vec<_> = Vec::new();
    let mut add = |severity: &str, code: &str, message: &str, location: &str| {
        diagnostics
            .push(json!({"severity": severity, "code": code, "message": message, "location": location}));
    };
    // Warnings are not told: the API asks for errors unless `severity` says otherwise.
    let valid = match StateMachine::from_json(definition) {
        Ok(machine) => {
            let problems = problems(&machine);
            for (message, pointer) in &problems {
                add("ERROR", "SCHEMA_VALIDATION_FAILED", message, pointer);
            }
            problems.is_empty()
        }
        Err(invalid) => {
            for finding in invalid.errors() {
                add(
                    "ERROR",
                    finding.code.service_code(),
                    &finding.message,
                    &finding.pointer,
                );
            }
            false
        }
    };
    let result = if valid { "OK" } else { "FAIL" };
    Ok(json!({"result": result, "diagnostics": diagnostics, "truncated": false}))
}

/// Reads a definition; every task in it must be one that can be called here, and every state one that can be run.
pub(super) fn parse(definition: &str) -> ApiResult<StateMachine> {
    let invalid = |message: String| ApiError::new("InvalidDefinition", message);
    let machine = StateMachine::from_json(definition).map_err(|error| invalid(error.service_message()))?;
    let problems: Vec<_> = problems(&machine)
        .into_iter()
        .map(|(message, pointer)| format!("SCHEMA_VALIDATION_FAILED: {message} at {pointer}"))
        .collect();
    if problems.is_empty() {
        return Ok(machine);
    }
    Err(invalid(format!(
        "Invalid State Machine Definition: '{}'",
        problems.join(", ")
    )))
}

/// What of a valid machine cannot be run here: `(message, JSON pointer)`.
fn problems(machine: &StateMachine) -> Vec<(String, String)> {
    let mut problems: Vec<(String, String)> = Vec::new();
    for state in machine.all_states() {
        if let StateKind::Task(task) = &state.kind
            && !tasks::is_known(&task.resource.arn)
        {
            let arn = &task.resource.arn;
            problems.push((not_recognized(arn), format!("{}/Resource", state.pointer)));
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

fn not_recognized(arn: &str) -> String {
    format!(
        "The resource provided {arn} is not recognized. The value is not a valid resource ARN, or the resource is not \
         available in this region."
    )
}

fn refuse_unsupported(check: &Check<'_>) -> ApiResult<()> {
    if check.get("publish") == Some(&Value::Bool(true)) {
        return Err(ApiError::not_implemented("publish"));
    }
    if check.get("tracingConfiguration.enabled") == Some(&Value::Bool(true)) {
        return Err(ApiError::not_implemented("tracingConfiguration"));
    }
    if check
        .get("loggingConfiguration.level")
        .is_some_and(|level| level != "OFF")
    {
        return Err(ApiError::not_implemented("loggingConfiguration"));
    }
    if check
        .get("encryptionConfiguration.type")
        .is_some_and(|kind| kind != "AWS_OWNED_KEY")
    {
        return Err(ApiError::not_implemented("encryptionConfiguration"));
    }
    Ok(())
}

fn missing(arn: &str) -> ApiError {
    ApiError::new(
        "StateMachineDoesNotExist",
        format!("State Machine Does Not Exist: '{arn}'"),
    )
}
