//! Histories: a row per event.

use std::{io, sync::Arc};

use rusqlite::params;
use serde_json::Value;

use crate::store::Database;

/// The histories of all executions, by ARN.
pub(super) struct Histories {
    database: Arc<Database>,
}

impl Histories {
    pub(super) fn open(database: Arc<Database>) -> io::Result<Self> {
        database.with(|connection| {
            connection.execute_batch(
                "CREATE TABLE IF NOT EXISTS events (
                     execution TEXT NOT NULL,
                     id INTEGER NOT NULL,
                     event TEXT NOT NULL,
                     PRIMARY KEY (execution, id)
                 ) WITHOUT ROWID",
            )
        })?;
        Ok(Self { database })
    }

    /// Adds an event.
    pub(super) fn add(&self, arn: &str, event: &Value) -> io::Result<()> {
        self.database.with(|connection| {
            connection
                .prepare_cached("INSERT INTO events (execution, id, event) VALUES (?1, ?2, ?3)")?
                .execute(params![arn, event["id"].as_i64(), event.to_string()])
        })?;
        Ok(())
    }

    /// All events so far.
    pub(super) fn get(&self, arn: &str) -> io::Result<Vec<Value>> {
        let texts = self.database.with(|connection| {
            connection
                .prepare_cached("SELECT event FROM events WHERE execution = ?1 ORDER BY id")?
                .query_map([arn], |row| row.get::<_, String>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        texts
            .iter()
            .map(|text| serde_json::from_str(text).map_err(io::Error::from))
            .collect()
    }
}
