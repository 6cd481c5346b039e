//! Named records, in memory for reading and in a folder for the next start: one JSON file each.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};

use crate::disk;

/// A set of records of one kind. Every change is on disk before the call returns.
pub(crate) struct Collection<T> {
    folder: PathBuf,
    records: RwLock<BTreeMap<String, T>>,
}

/// Characters that stay as they are in a record's file name.
const FILE_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

impl<T: Serialize + DeserializeOwned + Clone> Collection<T> {
    /// Opens `folder`, which is made if it is not there, and reads what it holds.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
                continue;
            };
            if name.ends_with(disk::TEMPORARY) {
                disk::remove(&path)?;
            } else if let Some(name) = name.strip_suffix(".json") {
                let record = disk::read_json(&path)?;
                let name = percent_encoding::percent_decode_str(name)
                    .decode_utf8_lossy()
                    .into_owned();
                records.insert(name, record);
            }
        }
        Ok(Self {
            folder,
            records: RwLock::new(records),
        })
    }

    /// A copy of the record of that name.
    pub(crate) fn get(&self, name: &str) -> Option<T> {
        self.read().get(name).cloned()
    }

    /// Whether there is a record of that name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.read().contains_key(name)
    }

    /// Copies of all records, by name.
    pub(crate) fn all(&self) -> Vec<T> {
        self.read().values().cloned().collect()
    }

    /// Copies of the records `keep` wants.
    pub(crate) fn select(&self, keep: impl Fn(&T) -> bool) -> Vec<T> {
        self.read().values().filter(|r| keep(r)).cloned().collect()
    }

    /// Adds a record, unless the name is taken: then the record that has it comes back.
    pub(crate) fn insert_new(&self, name: &str, record: T) -> io::Result<Result<(), T>> {
        let mut records = self.write();
        if let Some(taken) = records.get(name) {
            return Ok(Err(taken.clone()));
        }
        self.save(name, &record)?;
        records.insert(name.to_owned(), record);
        Ok(Ok(()))
    }

    /// Changes a record in place and gives back what `change` says; `None` if there is no such record.
    pub(crate) fn update<R>(&self, name: &str, change: impl FnOnce(&mut T) -> R) -> io::Result<Option<R>> {
        let outcome = self.try_update(name, |record| Ok::<_, Infallible>(change(record)))?;
        Ok(outcome.map(|Ok(answer)| answer))
    }

    /// Like [`Self::update`], but the record stays as it is when `change` fails.
    pub(crate) fn try_update<R, E>(
        &self,
        name: &str,
        change: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> io::Result<Option<Result<R, E>>> {
        let mut records = self.write();
        let Some(record) = records.get_mut(name) else {
            return Ok(None);
        };
        let mut changed = record.clone();
        let outcome = change(&mut changed);
        if outcome.is_ok() {
            self.save(name, &changed)?;
            *record = changed;
        }
        Ok(Some(outcome))
    }

    /// Removes a record and gives it back; `None` if there is no such record.
    pub(crate) fn remove(&self, name: &str) -> io::Result<Option<T>> {
        let mut records = self.write();
        if !records.contains_key(name) {
            return Ok(None);
        }
        disk::remove(&self.path(name))?;
        Ok(records.remove(name))
    }

    fn save(&self, name: &str, record: &T) -> io::Result<()> {
        disk::write_atomically(&self.path(name), &serde_json::to_vec(record)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        file_in(&self.folder, name, "json")
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, T>> {
        self.records.read().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, T>> {
        self.records.write().unwrap_or_else(|e| e.into_inner())
    }
}

/// The file for a record of that name; no name leads out of the folder.
pub(crate) fn file_in(folder: &Path, name: &str, extension: &str) -> PathBuf {
    folder.join(format!("{}.{extension}", utf8_percent_encode(name, FILE_NAME)))
}
