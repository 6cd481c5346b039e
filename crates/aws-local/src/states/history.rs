//! Histories: one file per execution, a line per event.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use serde_json::Value;

use crate::store::file_in;

/// The histories of all executions, by ARN.
pub(super) struct Histories {
    folder: PathBuf,
    /// Those that have been asked for or written since the start.
    read: Mutex<HashMap<String, Arc<Mutex<Vec<Value>>>>>,
}

impl Histories {
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            read: Mutex::default(),
        })
    }

    /// Adds an event. What cannot be written to disk is still in memory.
    pub(super) fn add(&self, arn: &str, event: Value) {
        let events = self.events(arn);
        let mut events = events.lock().unwrap_or_else(|e| e.into_inner());
        let file = fs::File::options().create(true).append(true).open(self.file(arn));
        if let Ok(mut file) = file {
            let _ = file.write_all(format!("{event}\n").as_bytes());
        }
        events.push(event);
    }

    /// All events so far.
    pub(super) fn get(&self, arn: &str) -> Vec<Value> {
        self.events(arn).lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn events(&self, arn: &str) -> Arc<Mutex<Vec<Value>>> {
        let mut read = self.read.lock().unwrap_or_else(|e| e.into_inner());
        let events = read.entry(arn.to_owned()).or_insert_with(|| {
            let text = fs::read_to_string(self.file(arn)).unwrap_or_default();
            // A line that was cut off in the writing is left out.
            Arc::new(Mutex::new(
                text.lines()
                    .filter_map(|line| serde_json::from_str(line).ok())
                    .collect(),
            ))
        });
        events.clone()
    }

    fn file(&self, arn: &str) -> PathBuf {
        let name = arn.rsplitn(3, ':').take(2).collect::<Vec<_>>().join(":");
        file_in(&self.folder, &name, "jsonl")
    }
}
