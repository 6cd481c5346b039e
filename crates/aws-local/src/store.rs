//! Named records, in memory for reading and in a database for the next start.
//!
//! One SQLite file holds all of them. It is in WAL mode: a change is one transaction, and a process that is killed at any
//! moment leaves every transaction whole or undone.

use std::{
    collections::{BTreeMap, btree_map::Values},
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::{Connection, Transaction, params};
use serde::{Serialize, de::DeserializeOwned};

use crate::disk;

/// The database's file in the data folder.
const FILE: &str = "records.sqlite3";
/// What `user_version` says of a database of this form. Whoever has a table in it brings that into this form.
const VERSION: i64 = 2;

/// The database of a data folder.
pub(crate) struct Database {
    connection: Mutex<Connection>,
}

impl Database {
    /// Opens the database of a folder, which is made if it is not there.
    pub(crate) fn open(folder: &Path) -> io::Result<Arc<Self>> {
        let path = folder.join(FILE);
        let open = || {
            let connection = Connection::open(&path).map_err(failed)?;
            connection.set_prepared_statement_cache_capacity(64);
            connection
                .pragma_update(None, "journal_mode", "WAL")
                .and_then(|()| connection.pragma_update(None, "synchronous", "NORMAL"))
                .map_err(failed)?;
            let version: i64 = connection
                .pragma_query_value(None, "user_version", |row| row.get(0))
                .map_err(failed)?;
            if version > VERSION {
                return Err(io::Error::other(format!(
                    "the database is of form {version}, this program knows {VERSION}; use a newer one, or another folder"
                )));
            }
            connection
                .execute_batch(
                    "CREATE TABLE IF NOT EXISTS records (
                         collection TEXT NOT NULL,
                         name TEXT NOT NULL,
                         record TEXT NOT NULL,
                         PRIMARY KEY (collection, name)
                     ) WITHOUT ROWID",
                )
                .and_then(|()| connection.pragma_update(None, "user_version", VERSION))
                .map_err(failed)?;
            Ok(connection)
        };
        let told = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
        Ok(Arc::new(Self {
            connection: Mutex::new(open().map_err(told)?),
        }))
    }

    /// Reads, or makes a change that is one statement.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> io::Result<R> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        act(&connection).map_err(failed)
    }

    /// Makes changes of which all happen, or none.
    pub(crate) fn transaction<R>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<R>,
    ) -> io::Result<R> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = connection.transaction().and_then(|transaction| {
            let outcome = act(&transaction)?;
            transaction.commit()?;
            Ok(outcome)
        });
        changed.map_err(failed)
    }
}

impl Database {
    /// Until what was changed is on the disk: a power cut takes nothing of it.
    ///
    /// # Errors
    ///
    /// The database cannot be written, or another program keeps it from being, and has not let go after some seconds.
    pub(crate) fn settle(&self) -> io::Result<()> {
        let checkpoint = |connection: &Connection| {
            connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| row.get::<_, bool>(0))
        };
        if self.with(checkpoint)? {
            let message = format!("another program uses `{FILE}`: close it, and start again");
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
        }
        Ok(())
    }
}

fn failed(error: rusqlite::Error) -> io::Error {
    io::Error::other(error)
}

/// A place for collections: part of the database, named as a folder is. The folder itself is where an earlier form of the
/// data folder kept the records.
#[derive(Clone)]
pub(crate) struct Shelf {
    database: Arc<Database>,
    name: String,
    folder: PathBuf,
}

impl Shelf {
    /// The whole of a data folder.
    pub(crate) fn new(database: Arc<Database>, folder: &Path) -> Self {
        Self {
            database,
            name: String::new(),
            folder: folder.to_owned(),
        }
    }

    /// A part of it.
    pub(crate) fn join(&self, name: &str) -> Self {
        Self {
            database: self.database.clone(),
            name: format!("{}/{name}", self.name),
            folder: self.folder.join(name),
        }
    }

    /// The database that it is in.
    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.database
    }
}

/// A set of records of one kind. Every change is in the database before the call returns.
pub(crate) struct Collection<T> {
    shelf: Shelf,
    records: RwLock<BTreeMap<String, T>>,
}

/// Characters that stay as they are in a file name.
const FILE_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

impl<T: Serialize + DeserializeOwned + Clone> Collection<T> {
    /// Reads what the shelf holds. Records in files, of an earlier form of the data folder, move into the database.
    pub(crate) fn open(shelf: Shelf) -> io::Result<Self> {
        move_files::<T>(&shelf)?;
        let rows = shelf.database.with(|connection| {
            connection
                .prepare("SELECT name, record FROM records WHERE collection = ?1")?
                .query_map([&shelf.name], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let mut records = BTreeMap::new();
        for (name, text) in rows {
            let record = serde_json::from_str(&text).map_err(|error| {
                let what = format!("the record `{}/{name}` in `{FILE}`: {error}", shelf.name);
                io::Error::new(io::ErrorKind::InvalidData, what)
            })?;
            records.insert(name, record);
        }
        Ok(Self {
            shelf,
            records: RwLock::new(records),
        })
    }

    /// A copy of the record of that name.
    pub(crate) fn get(&self, name: &str) -> Option<T> {
        self.read().get(name).cloned()
    }

    /// What `look` sees in the record of that name, which is not copied.
    pub(crate) fn look<R>(&self, name: &str, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.read().get(name).map(look)
    }

    /// Whether there is a record of that name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.read().contains_key(name)
    }

    /// Copies of all records, by name.
    pub(crate) fn all(&self) -> Vec<T> {
        self.read().values().cloned().collect()
    }

    /// What `look` sees in all records, by name, which are not copied.
    pub(crate) fn look_at_all<R>(&self, look: impl FnOnce(Values<'_, String, T>) -> R) -> R {
        look(self.read().values())
    }

    /// Names with copies of their records, by name.
    pub(crate) fn named(&self) -> Vec<(String, T)> {
        let records = self.read();
        records
            .iter()
            .map(|(name, record)| (name.clone(), record.clone()))
            .collect()
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

    /// Makes of a record, or of none, what `change` says; nothing comes between.
    pub(crate) fn change<E>(
        &self,
        name: &str,
        change: impl FnOnce(Option<&T>) -> Result<Option<T>, E>,
    ) -> io::Result<Result<(), E>> {
        let mut records = self.write();
        match change(records.get(name)) {
            Err(error) => return Ok(Err(error)),
            Ok(Some(changed)) => {
                self.save(name, &changed)?;
                records.insert(name.to_owned(), changed);
            }
            Ok(None) if records.contains_key(name) => {
                self.delete(name)?;
                records.remove(name);
            }
            Ok(None) => {}
        }
        Ok(Ok(()))
    }

    /// Removes a record and gives it back; `None` if there is no such record.
    pub(crate) fn remove(&self, name: &str) -> io::Result<Option<T>> {
        let mut records = self.write();
        if !records.contains_key(name) {
            return Ok(None);
        }
        self.delete(name)?;
        Ok(records.remove(name))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.shelf
            .database
            .with(|connection| put(connection, &self.shelf.name, name, None))
    }

    fn save(&self, name: &str, record: &T) -> io::Result<()> {
        let text = serde_json::to_string(record)?;
        self.shelf
            .database
            .with(|connection| put(connection, &self.shelf.name, name, Some(&text)))
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, T>> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, T>> {
        self.records.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a record, or removes it.
fn put(connection: &Connection, collection: &str, name: &str, record: Option<&str>) -> rusqlite::Result<()> {
    match record {
        Some(record) => connection
            .prepare_cached("INSERT OR REPLACE INTO records (collection, name, record) VALUES (?1, ?2, ?3)")?
            .execute([collection, name, record])?,
        None => connection
            .prepare_cached("DELETE FROM records WHERE collection = ?1 AND name = ?2")?
            .execute([collection, name])?,
    };
    Ok(())
}

/// Changes of several collections of one database, of which all happen, or none. Whoever makes them keeps others from changing
/// the same records.
#[derive(Default)]
pub(crate) struct Changes<'c> {
    /// Collections, names, and records, or none for what is removed.
    writes: Vec<(&'c str, String, Option<String>)>,
    /// What the collections have in memory changes when the database has.
    then: Vec<Box<dyn FnOnce() + 'c>>,
}

impl<'c> Changes<'c> {
    /// Writes a record over the one that is there, if any.
    pub(crate) fn put<T>(&mut self, collection: &'c Collection<T>, name: &str, record: T) -> io::Result<()>
    where
        T: Serialize + DeserializeOwned + Clone + 'c,
    {
        let (text, name) = (serde_json::to_string(&record)?, name.to_owned());
        self.writes
            .push((&collection.shelf.name, name.clone(), Some(text)));
        self.then.push(Box::new(move || {
            collection.write().insert(name, record);
        }));
        Ok(())
    }

    /// Removes a record, if it is there.
    pub(crate) fn remove<T>(&mut self, collection: &'c Collection<T>, name: &str)
    where
        T: Serialize + DeserializeOwned + Clone + 'c,
    {
        let name = name.to_owned();
        self.writes.push((&collection.shelf.name, name.clone(), None));
        self.then.push(Box::new(move || {
            collection.write().remove(&name);
        }));
    }

    /// Makes the changes.
    pub(crate) fn commit(self, database: &Database) -> io::Result<()> {
        database.transaction(|transaction| {
            for (collection, name, record) in &self.writes {
                put(transaction, collection, name, record.as_deref())?;
            }
            Ok(())
        })?;
        self.then.into_iter().for_each(|change| change());
        Ok(())
    }
}

/// Moves records out of files, one JSON text each, into the database. Other files are left alone.
fn move_files<T: Serialize + DeserializeOwned>(shelf: &Shelf) -> io::Result<()> {
    let files = match fs::read_dir(&shelf.folder) {
        Ok(files) => files,
        Err(error) if disk::is_absent(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut moved = Vec::new();
    for file in files {
        let path = file?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.ends_with(disk::TEMPORARY) {
            disk::remove(&path)?;
        } else if let Some(name) = name.strip_suffix(".json") {
            let record: T = disk::read_json(&path)?;
            let name = percent_encoding::percent_decode_str(name)
                .decode_utf8_lossy()
                .into_owned();
            moved.push((name, serde_json::to_string(&record)?, path));
        }
    }
    shelf.database.transaction(|transaction| {
        // What is in the database already is from a start that was cut off after this step.
        let mut insert = transaction
            .prepare("INSERT OR IGNORE INTO records (collection, name, record) VALUES (?1, ?2, ?3)")?;
        for (name, record, _) in &moved {
            insert.execute(params![shelf.name, name, record])?;
        }
        Ok(())
    })?;
    if !moved.is_empty() {
        shelf.database.settle()?;
    }
    for (_, _, path) in &moved {
        disk::remove(path)?;
    }
    let _ = fs::remove_dir(&shelf.folder); // not when files of others are in it
    Ok(())
}

/// The file for something of that name; no name leads out of the folder.
pub(crate) fn file_in(folder: &Path, name: &str, extension: &str) -> PathBuf {
    folder.join(format!("{}.{extension}", utf8_percent_encode(name, FILE_NAME)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn no_change_is_lost_among_others() {
        let folder = TempDir::new().unwrap();
        let shelf = Shelf::new(Database::open(folder.path()).unwrap(), folder.path());
        let tags: Collection<Vec<u32>> = Collection::open(shelf.join("tags")).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let tags = &tags;
                scope.spawn(move || {
                    for number in 0..25 {
                        let add = |there: Option<&Vec<u32>>| {
                            let mut numbers = there.cloned().unwrap_or_default();
                            numbers.push(thread * 100 + number);
                            Ok::<_, Infallible>(Some(numbers))
                        };
                        let Ok(()) = tags.change("a", add).unwrap();
                    }
                });
            }
        });
        assert_eq!(tags.get("a").unwrap().len(), 200);
        let again: Collection<Vec<u32>> = Collection::open(shelf.join("tags")).unwrap();
        assert_eq!(again.get("a"), tags.get("a"));
    }

    #[test]
    fn a_reader_that_holds_on_to_what_was_keeps_the_database_from_settling() {
        let folder = TempDir::new().unwrap();
        let database = Database::open(folder.path()).unwrap();
        database
            .with(|connection| connection.busy_timeout(Duration::ZERO))
            .unwrap();
        let shelf = Shelf::new(database.clone(), folder.path());
        let records: Collection<u32> = Collection::open(shelf).unwrap();
        let reader = Connection::open(folder.path().join(FILE)).unwrap();
        reader
            .execute_batch("BEGIN; SELECT * FROM records LIMIT 1")
            .unwrap();
        records.insert_new("a", 1).unwrap().unwrap();
        let error = database.settle().unwrap_err();
        assert_eq!(
            error.to_string(),
            "another program uses `records.sqlite3`: close it, and start again"
        );
        reader.execute_batch("COMMIT").unwrap();
        database.settle().unwrap();
    }

    #[test]
    fn changes_of_several_collections_happen_together() {
        let folder = TempDir::new().unwrap();
        let database = Database::open(folder.path()).unwrap();
        let shelf = Shelf::new(database.clone(), folder.path());
        let one: Collection<u32> = Collection::open(shelf.join("one")).unwrap();
        let two: Collection<String> = Collection::open(shelf.join("two")).unwrap();
        one.insert_new("a", 1).unwrap().unwrap();
        let change = |to: u32| {
            let mut changes = Changes::default();
            changes.remove(&one, "a");
            changes.put(&one, "b", to)?;
            changes.put(&two, "c", "text".to_owned())?;
            changes.commit(&database)
        };
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON records WHEN NEW.collection = '/two'
            BEGIN SELECT RAISE(ABORT, 'refused'); END";
        database
            .with(|connection| connection.execute_batch(refuse))
            .unwrap();
        change(2).unwrap_err();
        assert_eq!((one.get("a"), one.get("b"), two.get("c")), (Some(1), None, None));
        database
            .with(|connection| connection.execute_batch("DROP TRIGGER refuse"))
            .unwrap();
        change(3).unwrap();
        let again: Collection<u32> = Collection::open(shelf.join("one")).unwrap();
        for one in [&one, &again] {
            assert_eq!((one.get("a"), one.get("b")), (None, Some(3)));
        }
        assert_eq!(two.get("c").as_deref(), Some("text"));
    }
}
