//! Folders of version 0.1.0, which had a JSON file for each machine, execution and history, move into the database.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use sfn_local::HistoryEvent;
use uuid::Uuid;

use super::{
    States,
    journal::{Execution, RUNNING, Write},
    machines::{Kind, Machine, Revision},
};
use crate::{
    disk,
    store::{Changes, file_in},
    time::Seconds,
};

#[derive(Deserialize)]
struct EarlierMachine {
    name: String,
    arn: String,
    definition: String,
    role_arn: String,
    created: Seconds,
    updated: Seconds,
    revision: String,
}

#[derive(Deserialize)]
struct EarlierExecution {
    arn: String,
    name: String,
    machine_arn: String,
    definition: String,
    role_arn: String,
    status: String,
    input: String,
    output: Option<String>,
    error: Option<String>,
    cause: Option<String>,
    started: Seconds,
    stopped: Option<Seconds>,
}

const INTERRUPTED: &str = "the server was stopped while the execution was running";

/// Moves what is in the folder. What was moved by a start that was cut off is not moved twice.
pub(super) fn move_in(states: &States, folder: &Path) -> io::Result<()> {
    let mut moved = Vec::new();
    for (path, earlier) in read::<EarlierMachine>(&folder.join("machines"))? {
        let updated = (earlier.updated > earlier.created).then_some(earlier.revision);
        let revision = Revision {
            definition: earlier.definition,
            role_arn: earlier.role_arn,
            logging: Value::Null,
            tracing: Value::Null,
            encryption: Value::Null,
            updated: earlier.updated,
            revision_id: updated.clone(),
        };
        let key = Uuid::new_v4().to_string();
        let machine = Machine {
            name: earlier.name,
            arn: earlier.arn.clone(),
            kind: Kind::Standard,
            created: earlier.created,
            revision: key.clone(),
            revision_id: updated,
            versions: 0,
            deleting: false,
        };
        if !states.machines.contains(&earlier.arn) {
            let mut changes = Changes::default();
            changes.put(&states.revisions, &key, revision)?;
            changes.put(&states.machines, &earlier.arn, machine)?;
            changes.commit(&states.database)?;
        }
        moved.push(path);
    }
    let histories = folder.join("histories");
    for (path, earlier) in read::<EarlierExecution>(&folder.join("executions"))? {
        let name = earlier.arn.rsplitn(3, ':').take(2).collect::<Vec<_>>().join(":");
        let history = file_in(&histories, &name, "jsonl");
        move_execution(states, earlier, &history)?;
        moved.extend([history, path]);
    }
    // No file goes before what was in it is on the disk.
    if !moved.is_empty() {
        states.database.settle()?;
    }
    for path in &moved {
        disk::remove(path)?;
    }
    for empty in ["machines", "executions", "histories"] {
        let _ = fs::remove_dir(folder.join(empty)); // not when files of others are in it
    }
    Ok(())
}

fn move_execution(states: &States, earlier: EarlierExecution, history: &Path) -> io::Result<()> {
    let mut events = read_history(history)?;
    let revision = Revision {
        definition: earlier.definition,
        role_arn: earlier.role_arn,
        logging: Value::Null,
        tracing: Value::Null,
        encryption: Value::Null,
        updated: earlier.started,
        revision_id: None,
    };
    let key = Uuid::new_v4().to_string();
    let mut execution = Execution {
        arn: earlier.arn,
        name: earlier.name,
        machine_arn: earlier.machine_arn,
        revision: key.clone(),
        version_arn: None,
        alias_arn: None,
        map_run_arn: None,
        status: earlier.status,
        input: earlier.input,
        output: earlier.output,
        error: earlier.error,
        cause: earlier.cause,
        started: earlier.started,
        stopped: earlier.stopped,
        seed: 0,
        test_case: None,
        trace_header: None,
        redrives: 0,
        redriven: None,
        redrive_tokens: Vec::new(),
    };
    // Its seed is not known, so it cannot go on.
    if execution.status == RUNNING {
        let cause = Some(INTERRUPTED.to_owned());
        events.extend(sfn_local::abort(&events, states.clock.now(), None, cause.clone()));
        execution.status = "ABORTED".to_owned();
        execution.stopped = Some(states.now());
        execution.cause = cause;
    }
    if states.journal.get(&execution.arn)?.is_some() {
        return Ok(());
    }
    let _ = states.revisions.insert_new(&key, revision)?;
    let writes: Vec<Write> = std::iter::once(Write::ChildBegun(Box::new(execution.clone())))
        .chain(
            events
                .into_iter()
                .map(|event| Write::ChildEvent(execution.arn.clone(), event)),
        )
        .collect();
    states.journal.write(&writes)
}

/// The records of a folder, with their files.
fn read<T: DeserializeOwned>(folder: &Path) -> io::Result<Vec<(PathBuf, T)>> {
    let files = match fs::read_dir(folder) {
        Ok(files) => files,
        Err(error) if disk::is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut records = Vec::new();
    for file in files {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            records.push((path.clone(), disk::read_json(&path)?));
        }
    }
    Ok(records)
}

fn read_history(path: &Path) -> io::Result<Vec<HistoryEvent>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if disk::is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let told = |error: &dyn std::fmt::Display| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("`{}`: {error}", path.display()),
        )
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut events = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        match serde_json::from_str::<Value>(line) {
            Ok(record) => events.push(HistoryEvent::from_record(&record).map_err(|error| told(&error))?),
            // The last line may have been cut off in the writing.
            Err(_) if number + 1 == lines.len() => {}
            Err(error) => return Err(told(&error)),
        }
    }
    Ok(events)
}
