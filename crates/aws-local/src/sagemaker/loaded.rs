//! Models in memory: whoever serves the same archive shares one.

use std::{
    collections::HashMap,
    io::BufReader,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use ipinsights::Model;

use super::work::chain;
use crate::s3::{self, ObjectStore, StoreError};

/// Models by the bytes that they were read from, for as long as someone serves them.
#[derive(Default)]
pub(super) struct LoadedModels {
    by_blob: Mutex<HashMap<String, Arc<Mutex<Weak<Model>>>>>,
}

impl LoadedModels {
    /// The model of an archive in S3, as it is now. It is read unless it is in memory, once by however many ask for it.
    pub(super) fn of(&self, s3: &ObjectStore, url: &str) -> Result<Arc<Model>, String> {
        let (bucket, key) = s3::parse_url(url).ok_or_else(|| format!("{url} is no address in S3"))?;
        let (object, file) = s3.open_object(bucket, key).map_err(|error| match error {
            StoreError::Io(error) => format!("{url} could not be read: {error}"),
            _ => format!("there is no model data at {url}"),
        })?;
        let place = lock(&self.by_blob)
            .entry(object.blob().to_owned())
            .or_default()
            .clone();
        let mut held = lock(&place);
        if let Some(model) = held.upgrade() {
            return Ok(model);
        }
        let read = Model::read_archive(BufReader::new(file)).map(Arc::new);
        if let Ok(model) = &read {
            *held = Arc::downgrade(model);
        }
        drop(held);
        drop(place);
        self.forget();
        read.map_err(|error| format!("{url}: {}", chain(&error)))
    }

    /// Leaves out what nobody serves any more, and nobody is reading.
    fn forget(&self) {
        let is_held =
            |place: &Arc<Mutex<Weak<Model>>>| Arc::strong_count(place) > 1 || lock(place).strong_count() > 0;
        lock(&self.by_blob).retain(|_, place| is_held(place));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{io, ops::ControlFlow};

    use access_events::AccessEvent;
    use ipinsights::{Hyperparameters, TrainOptions};

    use super::*;

    fn archive() -> Vec<u8> {
        let rows: Vec<_> = (0..20)
            .map(|i| AccessEvent::new("ana", [192, 0, 2, i].into()))
            .collect();
        let params = Hyperparameters::draft(20)
            .vector_dim(4)
            .epochs(1)
            .check()
            .unwrap();
        let model = ipinsights::train(&params, &rows, None, &TrainOptions::default(), &mut |_| {
            ControlFlow::Continue(())
        });
        let mut archive = Vec::new();
        model.unwrap().write_archive(&mut archive).unwrap();
        archive
    }

    #[test]
    fn an_archive_is_in_memory_once_and_for_as_long_as_it_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let s3 = ObjectStore::open(folder.path().to_owned()).unwrap();
        s3.create_bucket("data").unwrap();
        let archive = archive();
        let put = |key: &str, bytes: &[u8]| {
            let write = |to: &mut dyn io::Write| Ok::<_, StoreError>(to.write_all(bytes)?);
            s3.put_with("data", key, "application/x-tar", write).unwrap();
        };
        put("model", &archive);
        let models = LoadedModels::default();
        let of = |key: &str| models.of(&s3, &format!("s3://data/{key}"));
        let (one, same) = (of("model").unwrap(), of("model").unwrap());
        assert!(Arc::ptr_eq(&one, &same));
        // The same name may stand for other bytes by now.
        put("model", &archive);
        let other = of("model").unwrap();
        assert!(!Arc::ptr_eq(&one, &other));
        assert_eq!(lock(&models.by_blob).len(), 2);
        drop((one, same));
        put("broken", b"no archive");
        assert!(of("broken").unwrap_err().starts_with("s3://data/broken: "));
        assert_eq!(
            of("none").unwrap_err(),
            "there is no model data at s3://data/none"
        );
        assert_eq!(lock(&models.by_blob).len(), 1, "what nobody serves is forgotten");
    }
}
