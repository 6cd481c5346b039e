//! Versions and aliases of state machines.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    States, arn,
    arn::MachineArn,
    by_time, labelled,
    machines::{DESCRIPTION, Machine, Version},
    missing_machine, page,
};
use crate::{
    api::{ApiError, ApiResult, Check, Form, TEXT},
    store::Changes,
    time::Seconds,
};

/// A name for one version, or for two between which executions are shared.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Alias {
    pub(super) arn: String,
    pub(super) name: String,
    pub(super) machine_arn: String,
    #[serde(default)]
    description: Option<String>,
    /// ARNs of versions, and weights that add up to 100.
    routing: Vec<(String, u64)>,
    created: Seconds,
    updated: Seconds,
}

/// How many versions, and aliases, a machine has at most.
const MAX_VERSIONS: usize = 1000;
const MAX_ALIASES: usize = 100;

/// Names of aliases.
const ALIAS_NAME: Form = Form {
    pattern: "^(?=.*[a-zA-Z_\\-\\.])[a-zA-Z0-9_\\-\\.]+$",
    matches: |s| {
        s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
            && s.bytes().any(|b| !b.is_ascii_digit())
    },
    max: 80,
};

impl States {
    pub(super) fn publish_version(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("stateMachineArn", TEXT);
        let revision = check.text("revisionId", TEXT);
        let description = check.text("description", DESCRIPTION);
        check.finish()?;
        let arn = self.unqualified(arn)?.base;
        let _changing = self.changing();
        let machine = self.machine(&arn)?.not_deleting()?;
        let current = machine.revision_id.as_deref().unwrap_or("INITIAL");
        if let Some(asked) = revision.filter(|asked| *asked != current) {
            let message = format!(
                "Failed to publish the State Machine version for revision {asked}. The current State Machine \
                 revision is {current}."
            );
            return Err(conflict(message));
        }
        let mut changes = Changes::default();
        let version = match self.version_of_revision(&machine) {
            Some(version) => version,
            None => self.publish(&mut changes, machine, description)?,
        };
        changes.commit(&self.database)?;
        Ok(json!({"creationDate": version.created, "stateMachineVersionArn": version.arn}))
    }

    /// Publishes a machine's revision, and writes the machine. The caller keeps others from changing it.
    pub(super) fn publish<'c>(
        &'c self,
        changes: &mut Changes<'c>,
        mut machine: Machine,
        description: Option<&str>,
    ) -> ApiResult<Version> {
        if self
            .versions
            .select(|version| version.machine_arn == machine.arn)
            .len()
            >= MAX_VERSIONS
        {
            let message = format!("The state machine has {MAX_VERSIONS} versions already.");
            return Err(ApiError::new("ServiceQuotaExceededException", message));
        }
        machine.versions += 1;
        let number = machine.versions;
        let version = Version {
            arn: format!("{}:{number}", machine.arn),
            machine_arn: machine.arn.clone(),
            number,
            revision: machine.revision.clone(),
            description: description.map(str::to_owned),
            created: self.now(),
        };
        changes.put(&self.versions, &version.arn, version.clone())?;
        let arn = machine.arn.clone();
        changes.put(&self.machines, &arn, machine)?;
        Ok(version)
    }

    /// The version that was published of the revision in force.
    pub(super) fn version_of_revision(&self, machine: &Machine) -> Option<Version> {
        let mut found = self
            .versions
            .select(|version| version.machine_arn == machine.arn && version.revision == machine.revision);
        found.sort_by_key(|version| version.number);
        found.pop()
    }

    /// The version that an ARN names, itself or by an alias that has one.
    pub(super) fn version(&self, named: &MachineArn) -> ApiResult<Version> {
        let arn = named.qualified();
        let arn = match named.alias() {
            None => arn,
            Some(_) => {
                let alias = self.aliases.get(&arn).ok_or_else(|| missing_machine(&arn))?;
                alias
                    .routing
                    .first()
                    .map(|(version, _)| version.clone())
                    .unwrap_or(arn)
            }
        };
        self.versions.get(&arn).ok_or_else(|| missing_machine(&arn))
    }

    /// The version to which an alias sends an execution of that name: the same name always goes to the same version.
    pub(super) fn routed(&self, alias: &Alias, execution: &str) -> Option<Version> {
        let mut hash = Sha256::new();
        hash.update(alias.arn.as_bytes());
        hash.update([0]);
        hash.update(execution.as_bytes());
        let digest = hash.finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        let mut ball = u64::from_le_bytes(first) % 100;
        for (version, weight) in &alias.routing {
            if ball < *weight {
                return self.versions.get(version);
            }
            ball -= weight;
        }
        None
    }

    pub(super) fn list_versions(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("stateMachineArn", TEXT);
        let named = arn::machine(arn)?;
        let (versions, next) = self.versions.look_at_all(|all| {
            let own = all.filter(|version| version.machine_arn == named.base);
            let newest_first = |version: &Version| format!("{:020}", u64::MAX - version.number);
            page(&mut check, own, 100, newest_first)
        })?;
        check.finish()?;
        if named.label.is_some() {
            return Err(labelled(arn));
        }
        self.machine(&named.base)?;
        let versions: Vec<_> = versions
            .iter()
            .map(|version| json!({"stateMachineVersionArn": version.arn, "creationDate": version.created}))
            .collect();
        let mut answer = json!({"stateMachineVersions": versions});
        if let Some(next) = next {
            answer["nextToken"] = next.into();
        }
        Ok(answer)
    }

    /// One that is not there is deleted already.
    pub(super) fn delete_version(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("stateMachineVersionArn", Form { max: 2000, ..TEXT });
        check.finish()?;
        let named = arn::machine(arn)?;
        if named.label.is_some() {
            return Err(labelled(arn));
        }
        if named.version().is_none() {
            let message = format!("Invalid Arn: 'The ARN does not name a version: {arn}'");
            return Err(ApiError::new("InvalidArn", message));
        }
        let _changing = self.changing();
        let mut aliases: Vec<_> = self
            .aliases
            .select(|alias| alias.routing.iter().any(|(version, _)| version == arn))
            .into_iter()
            .map(|alias| alias.name)
            .collect();
        if !aliases.is_empty() {
            aliases.sort();
            let message = format!(
                "Version to be deleted must not be referenced by an alias. Current list of aliases referencing this \
                 version: [{}]",
                aliases.join(", ")
            );
            return Err(conflict(message));
        }
        if let Some(version) = self.versions.get(arn) {
            let mut changes = Changes::default();
            changes.remove(&self.versions, arn);
            let in_force = self.machines.look(&version.machine_arn, |machine| {
                machine.revision == version.revision
            });
            if in_force != Some(true) {
                self.forget_revision(&mut changes, &version.revision, Some(arn))?;
            }
            changes.commit(&self.database)?;
        }
        Ok(json!({}))
    }

    pub(super) fn create_alias(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let name = check.required("name", ALIAS_NAME);
        let description = check.text("description", DESCRIPTION).map(str::to_owned);
        let routing = routing(&mut check, 1);
        check.finish()?;
        let _changing = self.changing();
        let (machine_arn, routing) = self.checked_routing(routing)?;
        self.machine(&machine_arn)?.not_deleting()?;
        let arn = format!("{machine_arn}:{name}");
        if let Some(there) = self.aliases.get(&arn) {
            if there.routing == routing && there.description == description {
                return Ok(json!({"stateMachineAliasArn": arn, "creationDate": there.created}));
            }
            let message = "Failed to create alias because an alias with the same name and a different routing \
                           configuration already exists.";
            return Err(conflict(message));
        }
        if self
            .aliases
            .select(|alias| alias.machine_arn == machine_arn)
            .len()
            >= MAX_ALIASES
        {
            let message = format!("The state machine has {MAX_ALIASES} aliases already.");
            return Err(ApiError::new("ServiceQuotaExceededException", message));
        }
        let now = self.now();
        let alias = Alias {
            arn: arn.clone(),
            name: name.to_owned(),
            machine_arn,
            description,
            routing,
            created: now,
            updated: now,
        };
        let _ = self.aliases.insert_new(&arn, alias)?;
        Ok(json!({"stateMachineAliasArn": arn, "creationDate": now}))
    }

    pub(super) fn update_alias(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("stateMachineAliasArn", TEXT);
        let description = check.text("description", DESCRIPTION).map(str::to_owned);
        let routing = check
            .get("routingConfiguration")
            .is_some()
            .then(|| routing(&mut check, 1));
        check.finish()?;
        let _changing = self.changing();
        let alias = self.alias(arn)?;
        if description.is_none() && routing.is_none() {
            return Err(ApiError::validation(
                "Either the description or the routing configuration must be specified",
            ));
        }
        let routing = match routing {
            Some(routing) => {
                let (machine_arn, routing) = self.checked_routing(routing)?;
                if machine_arn != alias.machine_arn {
                    return Err(ApiError::validation(
                        "Routing configuration must contain versions of the alias's state machine.",
                    ));
                }
                Some(routing)
            }
            None => None,
        };
        let now = self.now();
        self.aliases.update(arn, |alias| {
            if description.is_some() {
                alias.description = description;
            }
            if let Some(routing) = routing {
                alias.routing = routing;
            }
            alias.updated = now;
        })?;
        Ok(json!({"updateDate": now}))
    }

    pub(super) fn describe_alias(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("stateMachineAliasArn", TEXT);
        check.finish()?;
        let alias = self.alias(arn)?;
        let routing: Vec<_> = alias
            .routing
            .iter()
            .map(|(version, weight)| json!({"stateMachineVersionArn": version, "weight": weight}))
            .collect();
        let mut answer = json!({
            "stateMachineAliasArn": alias.arn,
            "name": alias.name,
            "routingConfiguration": routing,
            "creationDate": alias.created,
            "updateDate": alias.updated,
        });
        if let Some(description) = alias.description {
            answer["description"] = description.into();
        }
        Ok(answer)
    }

    pub(super) fn list_aliases(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("stateMachineArn", TEXT);
        let named = arn::machine(arn)?;
        let version = named.version().map(|_| named.qualified());
        let (aliases, next) = self.aliases.look_at_all(|all| {
            let own = all.filter(|alias| {
                let routed = |version: &String| alias.routing.iter().any(|(v, _)| v == version);
                alias.machine_arn == named.base && version.as_ref().is_none_or(routed)
            });
            page(&mut check, own, 100, |alias| by_time(alias.created, &alias.name))
        })?;
        check.finish()?;
        self.machine(&named.base)?;
        let aliases: Vec<_> = aliases
            .iter()
            .map(|alias| json!({"stateMachineAliasArn": alias.arn, "creationDate": alias.created}))
            .collect();
        let mut answer = json!({"stateMachineAliases": aliases});
        if let Some(next) = next {
            answer["nextToken"] = next.into();
        }
        Ok(answer)
    }

    /// One that is not there is deleted already.
    pub(super) fn delete_alias(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let arn = check.required("stateMachineAliasArn", TEXT);
        check.finish()?;
        let _changing = self.changing();
        arn::machine(arn)?;
        self.aliases.remove(arn)?;
        Ok(json!({}))
    }

    fn alias(&self, arn: &str) -> ApiResult<Alias> {
        arn::machine(arn)?;
        let missing = || {
            ApiError::new(
                "ResourceNotFound",
                "Request references a resource that does not exist.",
            )
        };
        self.aliases.get(arn).ok_or_else(missing)
    }

    /// The machine whose versions are routed to, and the routing.
    fn checked_routing(&self, routing: Vec<(String, u64)>) -> ApiResult<(String, Vec<(String, u64)>)> {
        let arns: Vec<&str> = routing.iter().map(|(arn, _)| arn.as_str()).collect();
        let list = |arns: &[&str]| format!("[{}]", arns.join(", "));
        let mut machines = Vec::new();
        for version in &arns {
            let named = arn::machine(version)?;
            if named.version().is_none() {
                return Err(ApiError::validation(format!(
                    "Routing configuration must contain state machine version ARNs. Received: {}",
                    list(&arns)
                )));
            }
            machines.push(named.base);
        }
        if arns.first() == arns.get(1) && arns.len() == 2 {
            return Err(ApiError::validation(format!(
                "Routing configuration must contain distinct state machine version ARNs. Received: {}",
                list(&arns)
            )));
        }
        let weights: Vec<u64> = routing.iter().map(|(_, weight)| *weight).collect();
        if weights.iter().sum::<u64>() != 100 {
            return Err(ApiError::validation(format!(
                "Sum of routing configuration weights must equal 100. Received: {}",
                json!(weights)
            )));
        }
        machines.dedup();
        let [machine] = machines.as_slice() else {
            return Err(ApiError::validation(format!(
                "Routing configuration must contain versions of the same state machine. Received: {}",
                list(&arns)
            )));
        };
        for version in &arns {
            if !self.versions.contains(version) {
                return Err(ApiError::new(
                    "ResourceNotFound",
                    "Request references a resource that does not exist.",
                ));
            }
        }
        Ok((machine.clone(), routing))
    }
}

fn routing(check: &mut Check<'_>, least: usize) -> Vec<(String, u64)> {
    let count = check.list("routingConfiguration", least, 2).len();
    (0..count)
        .map(|i| {
            let version = check.required(&format!("routingConfiguration.{i}.stateMachineVersionArn"), TEXT);
            let weight = check.integer(&format!("routingConfiguration.{i}.weight"), 0, 100);
            (version.to_owned(), weight.unwrap_or(0).unsigned_abs())
        })
        .collect()
}

fn conflict(message: impl Into<String>) -> ApiError {
    let mut error = ApiError::new("ConflictException", message);
    error.status = http::StatusCode::CONFLICT;
    error
}
