//! Executions, their histories and map runs, in the database.
//!
//! An execution is its history: what it has done is in its events, and a start of the server goes on from the last of them.
//! Events are written before anything of what they say has an effect outside.

use std::{collections::HashMap, io, sync::Arc};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params, types::Type};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sfn_local::{Event, HistoryEvent};

use crate::{
    store::Database,
    time::{Seconds, millis, seconds_of},
};

/// An execution, all but its history.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Execution {
    pub(super) arn: String,
    pub(super) name: String,
    /// The machine's ARN, without a qualifier.
    pub(super) machine_arn: String,
    /// What it runs, whatever becomes of the machine.
    pub(super) revision: String,
    #[serde(default)]
    pub(super) version_arn: Option<String>,
    #[serde(default)]
    pub(super) alias_arn: Option<String>,
    /// The map run that has started it.
    #[serde(default)]
    pub(super) map_run_arn: Option<String>,
    pub(super) status: String,
    /// As it was sent.
    pub(super) input: String,
    #[serde(default)]
    pub(super) output: Option<String>,
    #[serde(default)]
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) cause: Option<String>,
    pub(super) started: Seconds,
    #[serde(default)]
    pub(super) stopped: Option<Seconds>,
    #[serde(default)]
    pub(super) seed: u64,
    /// The test case of the mock file.
    #[serde(default)]
    pub(super) test_case: Option<String>,
    #[serde(default)]
    pub(super) trace_header: Option<String>,
    #[serde(default)]
    pub(super) redrives: u64,
    #[serde(default)]
    pub(super) redriven: Option<Seconds>,
    /// The tokens of the requests that have redriven it, with their moments.
    #[serde(default)]
    pub(super) redrive_tokens: Vec<(String, Seconds)>,
}

pub(super) const RUNNING: &str = "RUNNING";

/// A map run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MapRun {
    pub(super) arn: String,
    pub(super) execution_arn: String,
    pub(super) machine_arn: String,
    pub(super) status: String,
    pub(super) started: Seconds,
    #[serde(default)]
    pub(super) stopped: Option<Seconds>,
    pub(super) max_concurrency: u64,
    pub(super) tolerated_failure_count: u64,
    pub(super) tolerated_failure_percentage: f64,
    #[serde(default)]
    pub(super) redrives: u64,
    #[serde(default)]
    pub(super) redriven: Option<Seconds>,
    pub(super) counts: Counts,
    /// Items for each child execution, on average more than one when they come in batches.
    pub(super) items: u64,
    /// What it keeps to is not what its state says.
    #[serde(default)]
    pub(super) updated: bool,
}

/// Child executions by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) total: u64,
    pub(super) pending: u64,
    pub(super) running: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) timed_out: u64,
    pub(super) aborted: u64,
    pub(super) written: u64,
    #[serde(default)]
    pub(super) pending_redrive: u64,
}

/// A redrive is possible for 14 days after the end, and a year after the beginning.
const REDRIVABLE: Seconds = 14.0 * 86_400.0;
const MAX_TIME: Seconds = 365.0 * 86_400.0;
/// A redrive has to have room for more than its own event.
const MAX_EVENTS: u64 = 24_999;

/// The status of a child execution that waits to be redriven with its map run.
const PENDING_REDRIVE: &str = "PENDING_REDRIVE";

/// Which executions are listed.
pub(super) enum Of<'a> {
    Machine(&'a str),
    Version(&'a str),
    Alias(&'a str),
    MapRun(&'a str),
}

/// Where a list of executions goes on: after this moment and row.
pub(super) type After = Option<(i64, i64)>;

pub(super) struct Journal {
    database: Arc<Database>,
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS executions (
        id INTEGER PRIMARY KEY,
        arn TEXT NOT NULL UNIQUE,
        machine TEXT NOT NULL,
        version TEXT,
        alias TEXT,
        map_run TEXT,
        status TEXT NOT NULL,
        redrives INTEGER NOT NULL,
        started INTEGER NOT NULL,
        record TEXT NOT NULL,
        revision TEXT
    );
    CREATE INDEX IF NOT EXISTS executions_of_revision ON executions (revision) WHERE map_run IS NULL;
    CREATE INDEX IF NOT EXISTS executions_of_machine ON executions (machine, started DESC, id DESC);
    CREATE INDEX IF NOT EXISTS executions_of_map_run ON executions (map_run, started DESC, id DESC)
        WHERE map_run IS NOT NULL;
    CREATE INDEX IF NOT EXISTS executions_of_version ON executions (version, started DESC, id DESC)
        WHERE version IS NOT NULL;
    CREATE INDEX IF NOT EXISTS executions_of_alias ON executions (alias, started DESC, id DESC)
        WHERE alias IS NOT NULL;
    CREATE INDEX IF NOT EXISTS executions_running ON executions (id) WHERE status = 'RUNNING';
    CREATE TABLE IF NOT EXISTS events (
        execution INTEGER NOT NULL,
        id INTEGER NOT NULL,
        event TEXT NOT NULL,
        PRIMARY KEY (execution, id)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS map_runs (
        arn TEXT NOT NULL PRIMARY KEY,
        execution TEXT NOT NULL,
        started INTEGER NOT NULL,
        record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS express_children (
        map_run TEXT NOT NULL,
        arn TEXT NOT NULL,
        began INTEGER NOT NULL,
        ended TEXT NOT NULL,
        PRIMARY KEY (map_run, arn)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS tokens (
        token TEXT NOT NULL PRIMARY KEY,
        execution TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS tokens_of_execution ON tokens (execution);
    CREATE INDEX IF NOT EXISTS map_runs_of_execution ON map_runs (execution, started);
";

impl Journal {
    pub(super) fn open(database: Arc<Database>) -> io::Result<Self> {
        database.transaction(|transaction| {
            add_revisions(transaction)?;
            transaction.execute_batch(SCHEMA)
        })?;
        Ok(Self { database })
    }

    /// Adds an execution and gives its row; or the one that has its ARN.
    pub(super) fn insert(&self, execution: &Execution) -> io::Result<Result<i64, Execution>> {
        let record = serde_json::to_string(execution)?;
        let found = self.database.transaction(|transaction| {
            if let Some((_, there)) = find(transaction, &execution.arn)? {
                return Ok(Err(there));
            }
            insert(transaction, execution, &record).map(Ok)
        })?;
        match found {
            Ok(id) => Ok(Ok(id)),
            Err(text) => Ok(Err(serde_json::from_str(&text)?)),
        }
    }

    pub(super) fn get(&self, arn: &str) -> io::Result<Option<(i64, Execution)>> {
        match self.database.with(|connection| find(connection, arn))? {
            Some((id, text)) => Ok(Some((id, serde_json::from_str(&text)?))),
            None => Ok(None),
        }
    }

    /// The row of the execution of that ARN.
    pub(super) fn row(&self, arn: &str) -> io::Result<Option<i64>> {
        self.database.with(|connection| row_of(connection, arn))
    }

    /// Those that ran when the server before this one ended; not those that belong to a map run, which begin again with it.
    pub(super) fn running(&self) -> io::Result<Vec<(i64, Execution)>> {
        let rows = self.database.with(|connection| {
            connection
                .prepare("SELECT id, record FROM executions WHERE status = 'RUNNING' AND map_run IS NULL ORDER BY id")?
                .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter()
            .map(|(id, text)| Ok((id, serde_json::from_str(&text)?)))
            .collect()
    }

    /// Whether a task waits for that token, or will when its execution has been taken up again.
    pub(super) fn has_token(&self, token: &str) -> io::Result<bool> {
        self.database.with(|connection| {
            connection
                .prepare_cached("SELECT 1 FROM tokens WHERE token = ?1")?
                .exists([token])
        })
    }

    /// Whether an execution of that machine runs.
    pub(super) fn is_running(&self, machine: &str) -> io::Result<bool> {
        self.database.with(|connection| {
            connection
                .prepare_cached("SELECT 1 FROM executions WHERE status = 'RUNNING' AND machine = ?1 LIMIT 1")?
                .exists([machine])
        })
    }

    /// Whether an execution runs, or ran, that revision of its machine. Child executions have that of the one that started them.
    pub(super) fn has_revision(&self, revision: &str) -> io::Result<bool> {
        self.database.with(|connection| {
            connection
                .prepare_cached("SELECT 1 FROM executions WHERE revision = ?1 AND map_run IS NULL")?
                .exists([revision])
        })
    }

    /// A page, those that began last first; none that began before `since`.
    pub(super) fn list(
        &self,
        of: &Of<'_>,
        since: u64,
        status: Option<&str>,
        redriven: Option<bool>,
        after: After,
        max: usize,
    ) -> io::Result<(Vec<Execution>, After)> {
        let (column, arn) = match of {
            Of::Machine(arn) => ("machine", arn),
            Of::Version(arn) => ("version", arn),
            Of::Alias(arn) => ("alias", arn),
            Of::MapRun(arn) => ("map_run", arn),
        };
        let query = format!(
            "SELECT id, started, record FROM executions
             WHERE {column} = ?1 AND started >= ?7 AND (?2 IS NULL OR status = ?2) AND (?3 IS NULL OR (redrives > 0) = ?3)
               AND (?4 IS NULL OR (started, id) < (?4, ?5))
             ORDER BY started DESC, id DESC LIMIT ?6"
        );
        let mut rows = self.database.with(|connection| {
            let (started, id) = after.unzip();
            let limit = i64::try_from(max).unwrap_or(i64::MAX - 1) + 1;
            connection
                .prepare_cached(&query)?
                .query_map(params![arn, status, redriven, started, id, limit, since], |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, i64>(1)?,
                        row.get::<_, String>(2)?,
                    ))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let next = if rows.len() > max {
            rows.truncate(max);
            rows.last().map(|(id, started, _)| (*started, *id))
        } else {
            None
        };
        let executions = rows
            .into_iter()
            .map(|(_, _, text)| serde_json::from_str(&text))
            .collect::<Result<_, _>>()?;
        Ok((executions, next))
    }

    /// A part of a history: `max` events from the event `from` on, or back from it.
    pub(super) fn events(
        &self,
        id: i64,
        from: u64,
        reverse: bool,
        max: usize,
    ) -> io::Result<Vec<HistoryEvent>> {
        let query = if reverse {
            "SELECT event FROM events WHERE execution = ?1 AND id <= ?2 ORDER BY id DESC LIMIT ?3"
        } else {
            "SELECT event FROM events WHERE execution = ?1 AND id >= ?2 ORDER BY id LIMIT ?3"
        };
        let texts = self.database.with(|connection| {
            connection
                .prepare_cached(query)?
                .query_map(params![id, from, max], |row| row.get::<_, String>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        texts.iter().map(|text| read_event(text)).collect()
    }

    /// A whole history.
    pub(super) fn history(&self, id: i64) -> io::Result<Vec<HistoryEvent>> {
        self.events(id, 0, false, 1 << 20)
    }

    /// The last event's number; 0 when there is none.
    pub(super) fn last_event(&self, id: i64) -> io::Result<u64> {
        self.database.with(|connection| last_number(connection, id))
    }

    /// Why the execution in that row cannot be redriven, if it cannot be now.
    pub(super) fn not_redrivable(
        &self,
        id: i64,
        execution: &Execution,
        now: Seconds,
    ) -> io::Result<Option<String>> {
        self.database
            .with(|connection| not_redrivable(connection, id, execution, now))
    }

    /// How many child executions of a map run have not ended well and cannot be redriven now.
    pub(super) fn failures_not_redrivable(&self, map_run_arn: &str, now: Seconds) -> io::Result<u64> {
        self.database.with(|connection| {
            let mut count = 0;
            for id in children(connection, map_run_arn, ENDED_BADLY)? {
                count += u64::from(!child_redrivable(connection, id, now)?);
            }
            Ok(count)
        })
    }

    pub(super) fn map_run(&self, arn: &str) -> io::Result<Option<MapRun>> {
        self.database.with(|connection| map_run(connection, arn))
    }

    /// The first and the last event of a child execution of type `EXPRESS` that has ended; nothing of any other.
    pub(super) fn express_child(&self, map_run: &str, arn: &str) -> io::Result<Vec<HistoryEvent>> {
        let found = self.database.with(|connection| {
            connection
                .prepare_cached("SELECT began, ended FROM express_children WHERE map_run = ?1 AND arn = ?2")?
                .query_row([map_run, arn], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
                })
                .optional()
        })?;
        let Some((began, ended)) = found else {
            return Ok(Vec::new());
        };
        let first = HistoryEvent {
            id: 1,
            previous_event_id: 0,
            timestamp: Timestamp::from_millisecond(began).unwrap_or(Timestamp::UNIX_EPOCH),
            event: Event::ExecutionStarted {
                input: String::new(),
                role_arn: String::new(),
            },
        };
        Ok(vec![first, read_event(&ended)?])
    }

    /// The child executions that wait to be redriven with their map run, which was redriven so often by now: by ARN the status with
    /// which each has ended before. With a redrive that is new, now, all begin to wait that have not ended well and can be redriven.
    pub(super) fn children_to_redrive(
        &self,
        map_run_arn: &str,
        redrives: u64,
        now: Seconds,
    ) -> io::Result<HashMap<String, String>> {
        self.database.transaction(|transaction| {
            if map_run(transaction, map_run_arn)?.is_some_and(|run| run.redrives < redrives) {
                for id in children(transaction, map_run_arn, ENDED_BADLY)? {
                    if !child_redrivable(transaction, id, now)? {
                        continue;
                    }
                    change(transaction, id, |child| child.status = PENDING_REDRIVE.to_owned())?;
                }
            }
            let mut waiting = HashMap::new();
            for id in children(transaction, map_run_arn, "'PENDING_REDRIVE'")? {
                let arn = transaction
                    .prepare_cached("SELECT arn FROM executions WHERE id = ?1")?
                    .query_row([id], |row| row.get(0))?;
                waiting.insert(arn, status_before(transaction, id)?.to_owned());
            }
            let mut express =
                transaction.prepare_cached("SELECT arn, ended FROM express_children WHERE map_run = ?1")?;
            let mut rows = express.query([map_run_arn])?;
            while let Some(row) = rows.next()? {
                let ended = read_event(&row.get::<_, String>(1)?).ok();
                let status = ended.and_then(|ended| status_of(&ended.event));
                if let Some(status) = status.filter(|status| *status != "SUCCEEDED") {
                    waiting.insert(row.get(0)?, status.to_owned());
                }
            }
            Ok(waiting)
        })
    }

    /// The rows of the child executions of an execution, and of theirs.
    pub(super) fn descendants(&self, execution: &str) -> io::Result<Vec<i64>> {
        let query = format!("{RUNS} SELECT id FROM executions WHERE map_run IN (SELECT arn FROM runs)");
        self.database.with(|connection| {
            connection
                .prepare(&query)?
                .query_map([execution], |row| row.get(0))?
                .collect()
        })
    }

    /// Those that an execution has started, in that order.
    pub(super) fn map_runs(&self, execution: &str) -> io::Result<Vec<MapRun>> {
        let texts = self.database.with(|connection| {
            connection
                .prepare_cached("SELECT record FROM map_runs WHERE execution = ?1 ORDER BY started, arn")?
                .query_map([execution], |row| row.get::<_, String>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        texts
            .iter()
            .map(|text| serde_json::from_str(text).map_err(io::Error::from))
            .collect()
    }

    /// Those that run, and keep to something else than their states say.
    pub(super) fn updated_map_runs(&self) -> io::Result<Vec<MapRun>> {
        self.database.with(|connection| {
            connection
                .prepare(
                    "SELECT record FROM map_runs
                     WHERE json_extract(record, '$.updated') AND json_extract(record, '$.status') = 'RUNNING'",
                )?
                .query_map([], |row| map_run_of(&row.get::<_, String>(0)?))?
                .collect()
        })
    }

    /// Changes a map run's record, unless `change` fails; `None` if there is no such map run.
    pub(super) fn change_map_run<R, E>(
        &self,
        arn: &str,
        change: impl FnOnce(&mut MapRun) -> Result<R, E>,
    ) -> io::Result<Option<Result<R, E>>> {
        self.database.transaction(|transaction| {
            let Some(mut run) = map_run(transaction, arn)? else {
                return Ok(None);
            };
            let changed = change(&mut run);
            if changed.is_ok() {
                save_map_run(transaction, &run)?;
            }
            Ok(Some(changed))
        })
    }

    /// Writes an execution's record over the one that is there.
    pub(super) fn update(&self, id: i64, execution: &Execution) -> io::Result<()> {
        self.write(&[Write::Record(id, Box::new(execution.clone()))])
    }

    /// Makes all of these changes, or none.
    pub(super) fn write(&self, writes: &[Write]) -> io::Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        // What fails for another reason than the database's fails before it.
        let texts = writes
            .iter()
            .map(|write| match write {
                Write::Event(_, event)
                | Write::ChildEvent(_, event)
                | Write::ExpressChild(_, _, _, event) => Ok(event.to_record().to_string()),
                Write::Record(_, execution) | Write::ChildBegun(execution) => {
                    serde_json::to_string(execution)
                }
                Write::Stopped(..)
                | Write::ChildGoesOn(..)
                | Write::ChildEnded(..)
                | Write::ChildStopped(..)
                | Write::MapRun(_)
                | Write::ChildrenOver(..)
                | Write::RunsOver(..)
                | Write::TokenOpens(..)
                | Write::TokenCloses(_)
                | Write::TokensOver(_)
                | Write::ForgetExpress(_)
                | Write::ForgetExpressOf(_) => Ok(String::new()),
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.database.transaction(|transaction| {
            for (write, text) in writes.iter().zip(&texts) {
                match write {
                    Write::Event(id, event) => add_event(transaction, *id, event, text)?,
                    Write::Record(id, execution) => replace(transaction, *id, execution, text)?,
                    Write::Stopped(id, at, why) => close(transaction, *id, *at, why)?,
                    Write::ChildBegun(execution) => {
                        if let Some(id) = row_of(transaction, &execution.arn)? {
                            // The map run has begun again.
                            remove(transaction, id)?;
                        }
                        insert(transaction, execution, text)?;
                    }
                    Write::ChildGoesOn(arn, redrive) => {
                        if let Some(id) = row_of(transaction, arn)? {
                            change(transaction, id, |child| child.goes_on(*redrive))?;
                        }
                    }
                    Write::ChildEnded(arn, end) => {
                        if let Some(id) = row_of(transaction, arn)? {
                            change(transaction, id, |child| child.has_ended(end))?;
                        }
                    }
                    Write::ChildEvent(arn, event) => {
                        if let Some(id) = row_of(transaction, arn)? {
                            add_event(transaction, id, event, text)?;
                        }
                    }
                    Write::ExpressChild(map_run, arn, began, _) => {
                        transaction
                            .prepare_cached(
                                "INSERT OR REPLACE INTO express_children (map_run, arn, began, ended)
                                 VALUES (?1, ?2, ?3, ?4)",
                            )?
                            .execute(params![map_run, arn, began.as_millisecond(), text])?;
                    }
                    Write::ForgetExpress(map_run) => {
                        transaction
                            .prepare_cached("DELETE FROM express_children WHERE map_run = ?1")?
                            .execute([map_run])?;
                    }
                    Write::ForgetExpressOf(execution) => {
                        transaction
                            .prepare_cached(&format!(
                                "{RUNS} DELETE FROM express_children WHERE map_run IN (SELECT arn FROM runs)"
                            ))?
                            .execute([execution])?;
                    }
                    Write::MapRun(run) => put_map_run(transaction, run)?,
                    Write::ChildrenOver(map_run, at) => abort_children(transaction, map_run, *at)?,
                    Write::TokenOpens(token, execution) => {
                        transaction
                            .prepare_cached(
                                "INSERT OR REPLACE INTO tokens (token, execution) VALUES (?1, ?2)",
                            )?
                            .execute([token, execution])?;
                    }
                    Write::TokenCloses(token) => {
                        transaction
                            .prepare_cached("DELETE FROM tokens WHERE token = ?1")?
                            .execute([token])?;
                    }
                    Write::TokensOver(execution) => {
                        transaction
                            .prepare_cached("DELETE FROM tokens WHERE execution = ?1")?
                            .execute([execution])?;
                    }
                    Write::ChildStopped(arn, at, why) => {
                        if let Some(id) = row_of(transaction, arn)? {
                            abort_child(transaction, id, *at, why)?;
                        }
                    }
                    Write::RunsOver(execution, at) => abort_map_runs(transaction, execution, *at)?,
                }
            }
            Ok(())
        })
    }
}

/// A change.
#[derive(Debug)]
pub(super) enum Write {
    /// An event of the execution in that row.
    Event(i64, HistoryEvent),
    /// What has become of the execution in that row.
    Record(i64, Box<Execution>),
    /// The history of the execution in that row is closed: it was stopped.
    Stopped(i64, Timestamp, Why),
    /// A child execution of a map run has begun.
    ChildBegun(Box<Execution>),
    /// A child execution that has begun before goes on; how often it was redriven by now, and when, if it has just been.
    ChildGoesOn(String, Option<(u64, Seconds)>),
    /// What has become of a child execution.
    ChildEnded(String, Box<End>),
    /// An event of a child execution.
    ChildEvent(String, HistoryEvent),
    /// A child execution of type `EXPRESS` of that map run, its ARN and its beginning, has ended with this event.
    ExpressChild(String, String, Timestamp, HistoryEvent),
    /// Child executions of type `EXPRESS` of that map run are not asked for any more.
    ForgetExpress(String),
    /// The same of every map run of the execution of that ARN, and of its child executions.
    ForgetExpressOf(String),
    /// A map run has begun, or come further.
    MapRun(Box<MapRun>),
    /// A task of the execution of that ARN, or of a child of it, waits for a token.
    TokenOpens(String, String),
    /// Nothing waits for the token any more.
    TokenCloses(String),
    /// The execution of that ARN is over: nothing waits for its tokens.
    TokensOver(String),
    /// The child execution of that ARN was stopped.
    ChildStopped(String, Timestamp, Why),
    /// A map run is over: child executions of it that run still are stopped.
    ChildrenOver(String, Timestamp),
    /// The execution of that ARN is over: map runs of it that run still are stopped, and their child executions.
    RunsOver(String, Timestamp),
}

/// Adds the column `revision` to a database of form 1, which had it in the records only.
fn add_revisions(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let columns: Vec<String> = transaction
        .prepare("SELECT name FROM pragma_table_info('executions')")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if columns.is_empty() || columns.iter().any(|column| column == "revision") {
        return Ok(());
    }
    transaction.execute_batch(
        "ALTER TABLE executions ADD COLUMN revision TEXT;
         UPDATE executions SET revision = json_extract(record, '$.revision') WHERE json_valid(record);",
    )
}

/// The error and the cause of whoever has stopped an execution.
pub(super) type Why = (Option<String>, Option<String>);

/// How an execution has ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) status: &'static str,
    pub(super) stopped: Seconds,
    pub(super) output: Option<String>,
    pub(super) error: Option<String>,
    pub(super) cause: Option<String>,
}

impl Execution {
    fn goes_on(&mut self, redrive: Option<(u64, Seconds)>) {
        self.status = RUNNING.to_owned();
        (self.stopped, self.error, self.cause) = (None, None, None);
        if let Some((count, moment)) = redrive {
            self.redrives = count;
            self.redriven = Some(moment);
        }
    }

    fn has_ended(&mut self, end: &End) {
        self.status = end.status.to_owned();
        self.stopped = Some(end.stopped);
        self.output.clone_from(&end.output);
        self.error.clone_from(&end.error);
        self.cause.clone_from(&end.cause);
    }
}

/// The map runs of an execution, down to any depth, as a table `runs` of what comes behind.
const RUNS: &str = "
    WITH RECURSIVE runs (arn) AS (
        SELECT arn FROM map_runs WHERE execution = ?1
        UNION
        SELECT map_runs.arn FROM runs
            JOIN executions ON executions.map_run = runs.arn
            JOIN map_runs ON map_runs.execution = executions.arn
    )";

fn row_of(connection: &Connection, arn: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM executions WHERE arn = ?1")?
        .query_row([arn], |row| row.get(0))
        .optional()
}

/// Changes the record in a row, which is left as it is when it cannot be read: then there is no execution.
fn change(
    transaction: &Transaction<'_>,
    id: i64,
    change: impl FnOnce(&mut Execution),
) -> rusqlite::Result<Option<Execution>> {
    let record: String = transaction
        .prepare_cached("SELECT record FROM executions WHERE id = ?1")?
        .query_row([id], |row| row.get(0))?;
    let Ok(mut execution) = serde_json::from_str(&record) else {
        return Ok(None);
    };
    change(&mut execution);
    replace(transaction, id, &execution, &text_of(&execution)?)?;
    Ok(Some(execution))
}

/// Why the execution in that row cannot be redriven, if it cannot be now.
fn not_redrivable(
    connection: &Connection,
    id: i64,
    execution: &Execution,
    now: Seconds,
) -> rusqlite::Result<Option<String>> {
    let status = execution.status.as_str();
    if matches!(status, RUNNING | "SUCCEEDED") {
        return Ok(Some(format!("Execution is {status} and cannot be redriven")));
    }
    if now - execution.stopped.unwrap_or(execution.started) > REDRIVABLE {
        return Ok(Some("Execution redrivable period exceeded".to_owned()));
    }
    if now - execution.started > MAX_TIME {
        return Ok(Some("Execution has exceeded the max execution time".to_owned()));
    }
    let full = last_number(connection, id)? >= MAX_EVENTS;
    Ok(full.then(|| "Execution history event limit exceeded".to_owned()))
}

/// Whether the child execution in that row, which has not ended well, can be redriven; one whose record cannot be read cannot.
fn child_redrivable(connection: &Connection, id: i64, now: Seconds) -> rusqlite::Result<bool> {
    let record: String = connection
        .prepare_cached("SELECT record FROM executions WHERE id = ?1")?
        .query_row([id], |row| row.get(0))?;
    match serde_json::from_str(&record) {
        Ok(child) => Ok(not_redrivable(connection, id, &child, now)?.is_none()),
        Err(_) => Ok(false),
    }
}

/// The statuses of executions that have not ended well.
const ENDED_BADLY: &str = "'FAILED', 'TIMED_OUT', 'ABORTED'";

/// The rows of the child executions of a map run with one of these statuses.
fn children(connection: &Connection, map_run: &str, statuses: &str) -> rusqlite::Result<Vec<i64>> {
    let query = format!("SELECT id FROM executions WHERE map_run = ?1 AND status IN ({statuses})");
    connection
        .prepare_cached(&query)?
        .query_map([map_run], |row| row.get(0))?
        .collect()
}

/// The number of the last event of the execution in that row; 0 when there is none.
fn last_number(connection: &Connection, id: i64) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT COALESCE(MAX(id), 0) FROM events WHERE execution = ?1")?
        .query_row([id], |row| row.get(0))
}

/// The last event of the execution in that row: its number, and itself unless it is damaged.
fn last_event(connection: &Connection, id: i64) -> rusqlite::Result<(u64, Option<HistoryEvent>)> {
    let last = connection
        .prepare_cached("SELECT id, event FROM events WHERE execution = ?1 ORDER BY id DESC LIMIT 1")?
        .query_row([id], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)))
        .optional()?;
    Ok(match last {
        Some((number, text)) => (number, read_event(&text).ok()),
        None => (0, None),
    })
}

/// The status with which the execution in that row, which waits to be redriven, has ended before.
fn status_before(connection: &Connection, id: i64) -> rusqlite::Result<&'static str> {
    let (_, last) = last_event(connection, id)?;
    Ok(last.and_then(|last| status_of(&last.event)).unwrap_or("FAILED"))
}

/// The status of an execution whose last event this is; none while it runs.
fn status_of(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::ExecutionSucceeded { .. } => "SUCCEEDED",
        Event::ExecutionFailed { .. } => "FAILED",
        Event::ExecutionTimedOut { .. } => "TIMED_OUT",
        Event::ExecutionAborted { .. } => "ABORTED",
        _ => return None,
    })
}

fn find(connection: &Connection, arn: &str) -> rusqlite::Result<Option<(i64, String)>> {
    connection
        .prepare_cached("SELECT id, record FROM executions WHERE arn = ?1")?
        .query_row([arn], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

fn insert(transaction: &Transaction<'_>, execution: &Execution, record: &str) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "INSERT INTO executions (arn, machine, version, alias, map_run, status, redrives, started, record, revision)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            execution.arn,
            execution.machine_arn,
            execution.version_arn,
            execution.alias_arn,
            execution.map_run_arn,
            execution.status,
            execution.redrives,
            millis(execution.started),
            record,
            execution.revision,
        ])?;
    Ok(transaction.last_insert_rowid())
}

fn replace(
    transaction: &Transaction<'_>,
    id: i64,
    execution: &Execution,
    record: &str,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE executions SET status = ?2, redrives = ?3, record = ?4 WHERE id = ?1")?
        .execute(params![id, execution.status, execution.redrives, record])?;
    Ok(())
}

fn remove(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<()> {
    for statement in [
        "DELETE FROM events WHERE execution = ?1",
        "DELETE FROM executions WHERE id = ?1",
    ] {
        transaction.prepare_cached(statement)?.execute([id])?;
    }
    Ok(())
}

fn add_event(
    transaction: &Transaction<'_>,
    execution: i64,
    event: &HistoryEvent,
    text: &str,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO events (execution, id, event) VALUES (?1, ?2, ?3)")?
        .execute(params![execution, event.id, text])?;
    Ok(())
}

fn map_run(connection: &Connection, arn: &str) -> rusqlite::Result<Option<MapRun>> {
    connection
        .prepare_cached("SELECT record FROM map_runs WHERE arn = ?1")?
        .query_row([arn], |row| map_run_of(&row.get::<_, String>(0)?))
        .optional()
}

fn map_run_of(text: &str) -> rusqlite::Result<MapRun> {
    serde_json::from_str(text).map_err(unreadable)
}

/// The error for a text that is no record.
fn unreadable(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
}

fn text_of<T: Serialize>(record: &T) -> rusqlite::Result<String> {
    serde_json::to_string(record).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// Writes how far a map run is. One that goes on began when it first did, and one that ran keeps to what it was told meanwhile.
fn put_map_run(connection: &Connection, run: &MapRun) -> rusqlite::Result<()> {
    let mut run = run.clone();
    if let Some(there) = map_run(connection, &run.arn)? {
        run.started = there.started;
        if there.updated && there.status == RUNNING {
            run.updated = true;
            run.max_concurrency = there.max_concurrency;
            run.tolerated_failure_count = there.tolerated_failure_count;
            run.tolerated_failure_percentage = there.tolerated_failure_percentage;
        }
    }
    save_map_run(connection, &run)
}

fn save_map_run(connection: &Connection, run: &MapRun) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO map_runs (arn, execution, started, record) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            run.arn,
            run.execution_arn,
            millis(run.started),
            text_of(run)?
        ])?;
    Ok(())
}

/// Closes the history of an execution that is stopped. Its last event is all that is read of it, and may be damaged.
fn close(transaction: &Transaction<'_>, id: i64, at: Timestamp, why: &Why) -> rusqlite::Result<()> {
    let (number, last) = last_event(transaction, id)?;
    let (error, cause) = why.clone();
    for mut event in sfn_local::abort(last.as_slice(), at, error, cause) {
        event.id = number + 1;
        add_event(transaction, id, &event, &event.to_record().to_string())?;
    }
    Ok(())
}

/// Stops the child executions of a map run that run still. Those that wait to be redriven are what they were.
fn abort_children(transaction: &Transaction<'_>, map_run: &str, at: Timestamp) -> rusqlite::Result<()> {
    for id in children(transaction, map_run, "'RUNNING'")? {
        abort_child(transaction, id, at, &(None, None))?;
    }
    for id in children(transaction, map_run, "'PENDING_REDRIVE'")? {
        let before = status_before(transaction, id)?;
        change(transaction, id, |child| child.status = before.to_owned())?;
    }
    Ok(())
}

/// Stops the child execution in that row, whose record and history are left as they are when the record cannot be read.
fn abort_child(transaction: &Transaction<'_>, id: i64, at: Timestamp, why: &Why) -> rusqlite::Result<()> {
    let (error, cause) = why.clone();
    let end = End {
        status: "ABORTED",
        stopped: seconds_of(at),
        output: None,
        error,
        cause,
    };
    let Some(child) = change(transaction, id, |child| child.has_ended(&end))? else {
        return Ok(());
    };
    close(transaction, id, at, why)?;
    abort_map_runs(transaction, &child.arn, at)
}

impl Counts {
    /// Children that wait to be redriven count as what they were. Those of type `EXPRESS`, which have no rows, have failed.
    fn withdraw_redrives(&mut self, connection: &Connection, map_run: &str) -> rusqlite::Result<()> {
        for id in children(connection, map_run, "'PENDING_REDRIVE'")? {
            self.pending_redrive = self.pending_redrive.saturating_sub(1);
            match status_before(connection, id)? {
                "TIMED_OUT" => self.timed_out += 1,
                "ABORTED" => self.aborted += 1,
                _ => self.failed += 1,
            }
        }
        self.failed += std::mem::take(&mut self.pending_redrive);
        Ok(())
    }
}

/// Stops the map runs of an execution that run still.
fn abort_map_runs(transaction: &Transaction<'_>, execution: &str, at: Timestamp) -> rusqlite::Result<()> {
    let runs = transaction
        .prepare_cached("SELECT record FROM map_runs WHERE execution = ?1")?
        .query_map([execution], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let runs = runs.iter().filter_map(|text| map_run_of(text).ok());
    for mut run in runs.filter(|run| run.status == RUNNING) {
        run.status = "ABORTED".to_owned();
        run.stopped = Some(seconds_of(at));
        // Those that have not begun stay pending.
        run.counts.aborted += std::mem::take(&mut run.counts.running);
        run.counts.withdraw_redrives(transaction, &run.arn)?;
        save_map_run(transaction, &run)?;
        abort_children(transaction, &run.arn, at)?;
    }
    Ok(())
}

fn read_event(text: &str) -> io::Result<HistoryEvent> {
    let record: Value = serde_json::from_str(text)?;
    HistoryEvent::from_record(&record).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
