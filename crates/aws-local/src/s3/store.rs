//! Buckets and objects in a folder.
//!
//! ```text
//! buckets/<bucket>/bucket.json        when it was made
//! buckets/<bucket>/<sha256 of key>.json   an object: its key, attributes, and the blob that holds its bytes
//! blobs/<uuid>                        bytes, written once and never changed
//! uploads/<uuid>/…                    multipart uploads that are not complete yet
//! ```
//!
//! No part of a key ever becomes part of a path, so no key can leave the folder. An object appears, or is replaced,
//! by the rename of its one description, so it is never half there. Blobs nobody describes are swept at start.
//! Files of other names are not the store's, and are left alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use s3s::crypto::{Checksum as _, Md5, Sha256};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    disk,
    time::{Seconds, now},
};

/// What a folder of buckets can do. Names and keys are taken as they come; the protocol has checked them.
pub(crate) struct ObjectStore {
    root: PathBuf,
    buckets: RwLock<BTreeMap<String, Bucket>>,
    uploads: RwLock<BTreeMap<String, Upload>>,
}

/// A bucket and its objects by key.
pub(crate) struct Bucket {
    pub(crate) created: Seconds,
    pub(crate) objects: BTreeMap<String, Object>,
}

/// An object, all but its bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) key: String,
    /// The file in `blobs`.
    blob: String,
    pub(crate) size: u64,
    /// Without its quotes.
    pub(crate) e_tag: String,
    pub(crate) modified: Seconds,
    pub(crate) attributes: Attributes,
    pub(crate) checksums: Checksums,
}

/// What a writer says about an object, given back to every reader.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Attributes {
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) expires: Option<String>,
    pub(crate) website_redirect_location: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// Checksums of the whole object, in base64; with `-n` at the end they are those of the checksums of n parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Checksums {
    pub(crate) crc32: Option<String>,
    pub(crate) crc32c: Option<String>,
    pub(crate) crc64nvme: Option<String>,
    pub(crate) sha1: Option<String>,
    pub(crate) sha256: Option<String>,
}

/// A multipart upload under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) id: String,
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) started: Seconds,
    pub(crate) attributes: Attributes,
    /// The checksum algorithm asked for, as the service names it.
    pub(crate) algorithm: Option<String>,
    /// Whether the object's checksum is that of its parts' checksums.
    #[serde(default)]
    pub(crate) composite: bool,
    #[serde(default)]
    pub(crate) parts: BTreeMap<i32, Part>,
}

/// A part that has arrived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    file: String,
    pub(crate) size: u64,
    pub(crate) e_tag: String,
    pub(crate) modified: Seconds,
    pub(crate) checksums: Checksums,
}

/// Bytes on their way in: a file without a name that anyone looks for. Dropped before it is committed, it is removed.
pub(crate) struct Staged {
    path: Option<PathBuf>,
}

/// Why the store said no.
#[derive(Debug)]
pub(crate) enum StoreError {
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    BucketNotEmpty,
    /// `If-Match` or `If-None-Match` does not hold.
    PreconditionFailed,
    Io(io::Error),
}

/// What has to hold of the present object for a write to go ahead.
#[derive(Clone, Debug, Default)]
pub(crate) struct Condition {
    /// `If-Match`: `Some(None)` stands for `*`.
    pub(crate) matches: Option<Option<String>>,
    /// `If-None-Match`, likewise.
    pub(crate) matches_not: Option<Option<String>>,
}

impl Condition {
    /// Whether it holds for `present`.
    pub(crate) fn holds(&self, present: Option<&Object>) -> bool {
        let same = |wanted: &Option<String>| match (present, wanted) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(object), Some(e_tag)) => object.e_tag == *e_tag,
        };
        self.matches.as_ref().is_none_or(same) && !self.matches_not.as_ref().is_some_and(same)
    }
}

/// Everything about an object to be but its name.
pub(crate) struct NewObject {
    pub(crate) size: u64,
    pub(crate) e_tag: String,
    pub(crate) attributes: Attributes,
    pub(crate) checksums: Checksums,
}

impl Object {
    /// What tells its bytes from all others that have been written.
    pub(crate) fn blob(&self) -> &str {
        &self.blob
    }
}

impl ObjectStore {
    /// Opens the store, reads every description, and sweeps what a killed process left behind.
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        for folder in ["buckets", "blobs", "uploads"] {
            fs::create_dir_all(root.join(folder))?;
        }
        let mut buckets = BTreeMap::new();
        let mut described = BTreeSet::new();
        for entry in fs::read_dir(root.join("buckets"))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let Some(bucket) = read_bucket(&entry.path())? else {
                continue;
            };
            described.extend(bucket.objects.values().map(|o| o.blob.clone()));
            buckets.insert(name, bucket);
        }
        for entry in fs::read_dir(root.join("blobs"))? {
            let entry = entry?;
            let name = entry.file_name();
            if name
                .to_str()
                .is_some_and(|name| is_hex(name, ID) && !described.contains(name))
            {
                disk::remove(&entry.path())?;
            }
        }
        let mut uploads = BTreeMap::new();
        for entry in fs::read_dir(root.join("uploads"))? {
            let entry = entry?;
            let ours = entry.file_name().to_str().is_some_and(|name| is_hex(name, ID));
            if !ours || !entry.file_type()?.is_dir() {
                continue;
            }
            let path = entry.path();
            match disk::read_json::<Upload>(&path.join(UPLOAD)) {
                // What a killed process left of deleting the bucket.
                Ok(upload) if !buckets.contains_key(&upload.bucket) => fs::remove_dir_all(&path)?,
                Ok(upload) => {
                    uploads.insert(upload.id.clone(), upload);
                }
                Err(error) if disk::is_absent(&error) => fs::remove_dir_all(&path)?,
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            root,
            buckets: RwLock::new(buckets),
            uploads: RwLock::new(uploads),
        })
    }

    /// Makes a bucket; says whether it is new.
    pub(crate) fn create_bucket(&self, name: &str) -> Result<bool, StoreError> {
        let mut buckets = self.write();
        if buckets.contains_key(name) {
            return Ok(false);
        }
        let bucket = Bucket {
            created: now(),
            objects: BTreeMap::new(),
        };
        let folder = self.bucket_folder(name);
        fs::create_dir_all(&folder)?;
        disk::write_atomically(&folder.join(BUCKET), &serde_json::to_vec(&bucket.created)?)?;
        buckets.insert(name.to_owned(), bucket);
        Ok(true)
    }

    /// Removes an empty bucket, and the uploads to it.
    pub(crate) fn delete_bucket(&self, name: &str) -> Result<(), StoreError> {
        let mut buckets = self.write();
        if !buckets
            .get(name)
            .ok_or(StoreError::NoSuchBucket)?
            .objects
            .is_empty()
        {
            return Err(StoreError::BucketNotEmpty);
        }
        let mut uploads = self.write_uploads();
        let ended = uploads.extract_if(.., |_, upload| upload.bucket == name);
        let folders: Vec<_> = ended.map(|(id, _)| self.upload_folder(&id)).collect();
        drop(uploads);
        for folder in folders {
            fs::remove_dir_all(folder)?;
        }
        fs::remove_dir_all(self.bucket_folder(name))?;
        buckets.remove(name);
        Ok(())
    }

    /// Names and times of all buckets.
    pub(crate) fn buckets(&self) -> Vec<(String, Seconds)> {
        self.read()
            .iter()
            .map(|(name, bucket)| (name.clone(), bucket.created))
            .collect()
    }

    /// Whether there is such a bucket.
    pub(crate) fn require_bucket(&self, name: &str) -> Result<(), StoreError> {
        if self.read().contains_key(name) {
            Ok(())
        } else {
            Err(StoreError::NoSuchBucket)
        }
    }

    /// An object, all but its bytes.
    pub(crate) fn object(&self, bucket: &str, key: &str) -> Result<Object, StoreError> {
        let buckets = self.read();
        let bucket = buckets.get(bucket).ok_or(StoreError::NoSuchBucket)?;
        bucket.objects.get(key).cloned().ok_or(StoreError::NoSuchKey)
    }

    /// An object with its bytes. The file stays readable even if the object is replaced meanwhile.
    pub(crate) fn open_object(&self, bucket: &str, key: &str) -> Result<(Object, fs::File), StoreError> {
        // Under the lock, so that no one removes the blob between finding and opening it.
        let buckets = self.read();
        let objects = &buckets.get(bucket).ok_or(StoreError::NoSuchBucket)?.objects;
        let object = objects.get(key).cloned().ok_or(StoreError::NoSuchKey)?;
        let file = fs::File::open(self.blob(&object.blob))?;
        Ok((object, file))
    }

    /// Calls `look` with every object whose key begins with `prefix`, in order of the keys' bytes, from `from` on,
    /// until it answers with a key to go on from (`Some(Some)`), or says that it has seen enough (`Some(None)`).
    pub(crate) fn scan(
        &self,
        bucket: &str,
        prefix: &str,
        from: Bound<String>,
        mut look: impl FnMut(&Object) -> Scan,
    ) -> Result<(), StoreError> {
        let buckets = self.read();
        let objects = &buckets.get(bucket).ok_or(StoreError::NoSuchBucket)?.objects;
        let at_prefix = Bound::Included(prefix.to_owned());
        let mut from = match &from {
            Bound::Included(key) | Bound::Excluded(key) if key.as_str() >= prefix => from,
            _ => at_prefix,
        };
        loop {
            let mut jump = None;
            for (key, object) in objects.range::<String, _>((from.as_ref(), Bound::Unbounded)) {
                if !key.starts_with(prefix) {
                    return Ok(());
                }
                match look(object) {
                    Scan::Next => {}
                    Scan::Skip(past) => {
                        jump = Some(past);
                        break;
                    }
                    Scan::Stop => return Ok(()),
                }
            }
            match jump.and_then(|past| after_prefix(&past)) {
                Some(next) => from = Bound::Included(next),
                None => return Ok(()),
            }
        }
    }

    /// A file to write an object's bytes to.
    pub(crate) fn stage(&self) -> Staged {
        Staged {
            path: Some(self.blob(&Uuid::new_v4().simple().to_string())),
        }
    }

    /// Makes staged bytes an object, if `condition` holds; one that had the key before is gone.
    pub(crate) fn commit(
        &self,
        bucket: &str,
        key: &str,
        staged: Staged,
        new: NewObject,
        condition: &Condition,
    ) -> Result<Object, StoreError> {
        let mut buckets = self.write();
        let objects = &mut buckets.get_mut(bucket).ok_or(StoreError::NoSuchBucket)?.objects;
        let present = objects.get(key);
        if condition.matches.is_some() && present.is_none() {
            return Err(StoreError::NoSuchKey);
        }
        if !condition.holds(present) {
            return Err(StoreError::PreconditionFailed);
        }
        let NewObject {
            size,
            e_tag,
            attributes,
            checksums,
        } = new;
        let blob = staged.name();
        let object = Object {
            key: key.to_owned(),
            blob,
            size,
            e_tag,
            modified: now(),
            attributes,
            checksums,
        };
        disk::write_atomically(&self.description(bucket, key), &serde_json::to_vec(&object)?)?;
        staged.keep();
        if let Some(old) = objects.insert(key.to_owned(), object.clone()) {
            let _ = disk::remove(&self.blob(&old.blob)); // if not now, then at the next start
        }
        Ok(object)
    }

    /// Replaces an object's tags.
    pub(crate) fn set_tags(
        &self,
        bucket: &str,
        key: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        let mut buckets = self.write();
        let objects = &mut buckets.get_mut(bucket).ok_or(StoreError::NoSuchBucket)?.objects;
        let object = objects.get_mut(key).ok_or(StoreError::NoSuchKey)?;
        let mut changed = object.clone();
        changed.attributes.tags = tags;
        disk::write_atomically(&self.description(bucket, key), &serde_json::to_vec(&changed)?)?;
        *object = changed;
        Ok(())
    }

    /// Removes an object; says whether there was one.
    pub(crate) fn delete(&self, bucket: &str, key: &str, condition: &Condition) -> Result<bool, StoreError> {
        let mut buckets = self.write();
        let objects = &mut buckets.get_mut(bucket).ok_or(StoreError::NoSuchBucket)?.objects;
        if !condition.holds(objects.get(key)) {
            return Err(StoreError::PreconditionFailed);
        }
        if !objects.contains_key(key) {
            return Ok(false);
        }
        disk::remove(&self.description(bucket, key))?;
        if let Some(old) = objects.remove(key) {
            let _ = disk::remove(&self.blob(&old.blob));
        }
        Ok(true)
    }

    /// Stores what `write` writes as an object, without holding it in memory.
    pub(crate) fn put_with<E: From<StoreError>>(
        &self,
        bucket: &str,
        key: &str,
        content_type: &str,
        write: impl FnOnce(&mut dyn io::Write) -> Result<(), E>,
    ) -> Result<Object, E> {
        let staged = self.stage();
        let mut sink = Hashing {
            inner: io::BufWriter::new(fs::File::create(staged.path()).map_err(StoreError::Io)?),
            md5: Md5::new(),
            size: 0,
        };
        write(&mut sink)?;
        io::Write::flush(&mut sink).map_err(StoreError::Io)?;
        let new = NewObject {
            size: sink.size,
            e_tag: hex(sink.md5.finalize()),
            attributes: Attributes {
                content_type: Some(content_type.to_owned()),
                ..Attributes::default()
            },
            checksums: Checksums::default(),
        };
        Ok(self.commit(bucket, key, staged, new, &Condition::default())?)
    }

    /// Begins a multipart upload.
    pub(crate) fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        attributes: Attributes,
        algorithm: Option<String>,
        composite: bool,
    ) -> Result<Upload, StoreError> {
        // Held, so that the bucket is not deleted meanwhile.
        let buckets = self.read();
        if !buckets.contains_key(bucket) {
            return Err(StoreError::NoSuchBucket);
        }
        let upload = Upload {
            id: Uuid::new_v4().simple().to_string(),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            started: now(),
            attributes,
            algorithm,
            composite,
            parts: BTreeMap::new(),
        };
        fs::create_dir_all(self.upload_folder(&upload.id))?;
        self.save_upload(&upload)?;
        self.write_uploads().insert(upload.id.clone(), upload.clone());
        Ok(upload)
    }

    /// The upload of that id, provided it is one for this object.
    pub(crate) fn upload(&self, id: &str, bucket: &str, key: &str) -> Result<Upload, StoreError> {
        let uploads = self.uploads.read().unwrap_or_else(|e| e.into_inner());
        let upload = uploads.get(id).filter(|u| u.bucket == bucket && u.key == key);
        upload.cloned().ok_or(StoreError::NoSuchUpload)
    }

    /// All uploads of a bucket, by key.
    pub(crate) fn uploads(&self, bucket: &str) -> Vec<Upload> {
        let uploads = self.uploads.read().unwrap_or_else(|e| e.into_inner());
        let mut found: Vec<_> = uploads.values().filter(|u| u.bucket == bucket).cloned().collect();
        found.sort_by(|a, b| a.key.cmp(&b.key).then(a.started.total_cmp(&b.started)));
        found
    }

    /// A file to write a part's bytes to.
    pub(crate) fn stage_part(&self, upload: &Upload) -> Staged {
        Staged {
            path: Some(
                self.upload_folder(&upload.id)
                    .join(Uuid::new_v4().simple().to_string()),
            ),
        }
    }

    /// Makes staged bytes a part; one that had the number before is gone.
    pub(crate) fn commit_part(
        &self,
        id: &str,
        number: i32,
        staged: Staged,
        size: u64,
        e_tag: String,
        checksums: Checksums,
    ) -> Result<(), StoreError> {
        let mut uploads = self.write_uploads();
        let upload = uploads.get_mut(id).ok_or(StoreError::NoSuchUpload)?;
        let part = Part {
            file: staged.name(),
            size,
            e_tag,
            modified: now(),
            checksums,
        };
        let mut changed = upload.clone();
        let old = changed.parts.insert(number, part);
        self.save_upload(&changed)?;
        staged.keep();
        *upload = changed;
        if let Some(old) = old {
            let _ = disk::remove(&self.upload_folder(id).join(old.file));
        }
        Ok(())
    }

    /// The bytes of a part.
    pub(crate) fn open_part(&self, id: &str, part: &Part) -> Result<fs::File, StoreError> {
        Ok(fs::File::open(self.upload_folder(id).join(&part.file))?)
    }

    /// Ends a multipart upload; its parts are gone.
    pub(crate) fn remove_upload(&self, id: &str) -> Result<(), StoreError> {
        self.write_uploads().remove(id).ok_or(StoreError::NoSuchUpload)?;
        fs::remove_dir_all(self.upload_folder(id))?;
        Ok(())
    }

    fn save_upload(&self, upload: &Upload) -> Result<(), StoreError> {
        disk::write_atomically(
            &self.upload_folder(&upload.id).join(UPLOAD),
            &serde_json::to_vec(upload)?,
        )?;
        Ok(())
    }

    fn bucket_folder(&self, bucket: &str) -> PathBuf {
        self.root.join("buckets").join(bucket)
    }

    fn upload_folder(&self, id: &str) -> PathBuf {
        self.root.join("uploads").join(id)
    }

    fn blob(&self, name: &str) -> PathBuf {
        self.root.join("blobs").join(name)
    }

    fn description(&self, bucket: &str, key: &str) -> PathBuf {
        self.bucket_folder(bucket)
            .join(format!("{}.json", hex(Sha256::checksum(key.as_bytes()))))
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.read().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.write().unwrap_or_else(|e| e.into_inner())
    }

    fn write_uploads(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Upload>> {
        self.uploads.write().unwrap_or_else(|e| e.into_inner())
    }
}

/// How a scan goes on after an object.
pub(crate) enum Scan {
    /// With the next one.
    Next,
    /// Past every key that begins with this.
    Skip(String),
    /// Not at all.
    Stop,
}

/// The least string above all that begin with `prefix`; none if there is no such string.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = ((last as u32 + 1)..=char::MAX as u32).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

const BUCKET: &str = "bucket.json";
const UPLOAD: &str = "upload.json";
/// How long the names of blobs and uploads are, and those of descriptions without their ending.
const ID: usize = 32;
const DIGEST: usize = 64;

/// Whether a file's name is of the store's own making.
fn is_hex(name: &str, length: usize) -> bool {
    name.len() == length && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn read_bucket(folder: &Path) -> io::Result<Option<Bucket>> {
    let created = match disk::read_json(&folder.join(BUCKET)) {
        Ok(created) => created,
        Err(error) if disk::is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bucket = Bucket {
        created,
        objects: BTreeMap::new(),
    };
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.ends_with(disk::TEMPORARY) {
            disk::remove(&path)?;
        } else if name
            .strip_suffix(".json")
            .is_some_and(|name| is_hex(name, DIGEST))
        {
            let object: Object = disk::read_json(&path)?;
            bucket.objects.insert(object.key.clone(), object);
        }
    }
    Ok(Some(bucket))
}

impl Staged {
    /// Where to write.
    pub(crate) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    fn name(&self) -> String {
        self.path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = disk::remove(path);
        }
    }
}

struct Hashing<W> {
    inner: W,
    md5: Md5,
    size: u64,
}

impl<W: io::Write> io::Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.md5.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Io(error.into())
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
