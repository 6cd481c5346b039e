//! Checkpoints: all that a training carries from batch to batch, in one file.
//!
//! The file has the format of `safetensors`; its header's `note` is a JSON document with the version, what the run is
//! ([`Identity`]), where it stands ([`Standing`]), and a checksum for each tensor. It is written beside the old one and takes
//! its place in one step, so that there is a whole one at any time.
//!
//! Reading trusts nothing: names, shapes and checksums have to be exactly those of the run that resumes, and every weight
//! finite. Tensors are read straight into the run's own memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};

use super::early_stop::{BestEpoch, EarlyStop};
use crate::atomic::AtomicFile;
use crate::tensors::{self, Data, Tensor, TensorFile};

const FORMAT: &str = "ipinsights-checkpoint";
/// Version 1 was of models by hashed prefixes.
const VERSION: u32 = 2;
const FILE: &str = "checkpoint.safetensors";

/// Where checkpoints are kept, and how often one is written.
///
/// One is written after every epoch or every so many, every so many mini-batches where that is asked for, after the last epoch,
/// and when the progress callback breaks off. A training whose folder has one goes on from there and ends with the same bytes as if it had never stopped;
/// it is refused when rows, hyperparameters, seed or any other setting that decides the model is not the same.
///
/// ```
/// use ipinsights::Checkpoints;
///
/// let checkpoints = Checkpoints::in_folder("/opt/ml/checkpoints").every_batches(1_000);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Checkpoints {
    pub(super) folder: PathBuf,
    pub(super) every_batches: Option<u64>,
    pub(super) every_epochs: u32,
    pub(super) resume: bool,
}

impl Checkpoints {
    /// Checkpoints in a folder, which is made when it is missing: one file, `checkpoint.safetensors`.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            every_batches: None,
            every_epochs: 1,
            resume: true,
        }
    }

    /// Writes one after so many mini-batches of an epoch, too. 0 means never, which is the default.
    pub const fn every_batches(mut self, batches: u64) -> Self {
        self.every_batches = if batches == 0 { None } else { Some(batches) };
        self
    }

    /// Writes one after so many epochs only, for epochs that take less time than writing does. Default 1; 0 counts as 1.
    pub const fn every_epochs(mut self, epochs: u32) -> Self {
        self.every_epochs = if epochs == 0 { 1 } else { epochs };
        self
    }

    /// Whether to go on from the checkpoint that is there; default true. Otherwise it is replaced.
    pub const fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }
}

/// Why a checkpoint could not be written, or not be resumed from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system says no, or the file ends early.
    #[error("the checkpoint `{}` cannot be {action}", path.display())]
    Io {
        /// `read` or `written`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is no checkpoint, or damaged, or of a version that this program does not know.
    #[error("`{}` cannot be resumed from: {problem}; remove it to begin anew", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is the checkpoint of another training.
    #[error(
        "`{}` is the checkpoint of another training: {what} is {theirs} there and {ours} here; remove it to begin anew",
        path.display()
    )]
    OtherTraining {
        /// The file.
        path: PathBuf,
        /// The first setting that differs.
        what: String,
        /// Its value in the checkpoint.
        theirs: String,
        /// Its value now.
        ours: String,
    },
}

/// What decides a model: a checkpoint belongs to the training of which all this is the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    /// The version of this crate: another one may compute otherwise.
    pub(super) program: String,
    pub(super) hyperparameters: BTreeMap<String, String>,
    pub(super) seed: u64,
    pub(super) train: Digest,
    pub(super) validation: Option<Digest>,
    /// SHA-256 of the model that training began with.
    pub(super) warm_start: Option<String>,
    pub(super) early_stop: Option<EarlyStop>,
}

/// What tells rows from other rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Digest {
    pub(super) rows: u64,
    /// Of the rows as they are kept, in their order.
    pub(super) sha256: String,
}

/// Where a run stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Standing {
    pub(super) epoch: u32,
    /// The next mini-batch.
    pub(super) batch: u64,
    /// Of the epoch so far.
    pub(super) loss: f64,
    pub(super) correct: u64,
    pub(super) samples: u64,
    pub(super) best: Option<BestEpoch>,
    /// Epochs since the best one.
    pub(super) without_gain: u32,
    pub(super) stopped_early: bool,
    /// Numbers of the optimiser beside its tensors.
    pub(super) optimiser: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    format: String,
    format_version: u32,
    identity: Identity,
    standing: Standing,
    /// By tensor.
    crc32: BTreeMap<String, u32>,
}

/// Writes a checkpoint.
pub(super) fn write(
    path: &Path,
    identity: &Identity,
    standing: &Standing,
    tensors: Vec<(String, &[f32])>,
) -> Result<(), CheckpointError> {
    let written = |source| CheckpointError::Io {
        action: "written",
        path: path.to_owned(),
        source,
    };
    let run = || -> io::Result<()> {
        let crc32 = tensors
            .iter()
            .map(|(name, values)| (name.clone(), crc32fast::hash(&Data::F32(values).bytes())))
            .collect();
        let note = serde_json::to_string(&Note {
            format: FORMAT.to_owned(),
            format_version: VERSION,
            identity: identity.clone(),
            standing: standing.clone(),
            crc32,
        })?;
        let tensors = tensors.iter().map(|(name, values)| Tensor {
            name: name.clone(),
            shape: vec![values.len()],
            data: Data::F32(values),
        });
        let content = TensorFile::new(tensors.collect(), Some(note))?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = AtomicFile::new(path)?;
        let mut to = BufWriter::with_capacity(1 << 18, file.file());
        io::copy(&mut content.reader(), &mut to)?;
        to.flush()?;
        drop(to);
        file.finish().map(drop)
    };
    run().map_err(written)
}

/// A checkpoint that was opened, and whose tensors are still to be read.
pub(super) struct Opened {
    path: PathBuf,
    file: BufReader<File>,
    length: u64,
    metadata: safetensors::tensor::Metadata,
    note: Note,
}

impl Opened {
    /// The checkpoint of this training, or `None` where there is no file.
    pub(super) fn open(path: &Path, identity: &Identity) -> Result<Option<Self>, CheckpointError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(reading(path, source)),
        };
        let length = file.metadata().map_err(|e| reading(path, e))?.len();
        let mut file = BufReader::new(file);
        let metadata = tensors::read_header(&mut file).map_err(|e| reading(path, e))?;
        let note = metadata.metadata().as_ref().and_then(|m| m.get("note"));
        let Some(note) = note else {
            return Err(malformed(
                path,
                "it is a file of tensors, but no checkpoint".to_owned(),
            ));
        };
        // The version first: what follows may differ.
        let version: Version = serde_json::from_str(note)
            .map_err(|e| malformed(path, format!("its note is no description of a checkpoint ({e})")))?;
        if version.format != FORMAT || version.format_version != VERSION {
            let Version {
                format,
                format_version,
            } = version;
            return Err(malformed(
                path,
                format!(
                    "it has format `{format}` version {format_version}, this program reads `{FORMAT}` version {VERSION}"
                ),
            ));
        }
        let note: Note = serde_json::from_str(note)
            .map_err(|e| malformed(path, format!("its note is no description of a checkpoint ({e})")))?;
        if let Some((what, theirs, ours)) = difference(&note.identity, identity) {
            return Err(CheckpointError::OtherTraining {
                path: path.to_owned(),
                what,
                theirs,
                ours,
            });
        }
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            length,
            metadata,
            note,
        }))
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.note.standing
    }

    /// Reads the tensors into `into`, which names all that there has to be.
    pub(super) fn read(mut self, into: Vec<(String, &mut [f32])>) -> Result<(), CheckpointError> {
        let path = &self.path;
        let mut into: BTreeMap<String, &mut [f32]> = into.into_iter().collect();
        let names = self.metadata.offset_keys();
        let data = self.metadata.data_len() as u64;
        for name in &names {
            let (Some(info), Some(values)) = (self.metadata.info(name), into.remove(name)) else {
                return Err(malformed(path, format!("tensor `{name}` does not belong there")));
            };
            if info.dtype != Dtype::F32 || info.shape != [values.len()] {
                let problem = format!(
                    "tensor `{name}` is {:?} {:?}, expected F32 [{}]",
                    info.dtype,
                    info.shape,
                    values.len()
                );
                return Err(malformed(path, problem));
            }
            tensors::read_values(&mut self.file, values).map_err(|e| reading(path, e))?;
            if self.note.crc32.get(name) != Some(&crc32fast::hash(&Data::F32(values).bytes())) {
                return Err(malformed(path, format!("tensor `{name}` is damaged")));
            }
            if !values.iter().all(|v| v.is_finite()) {
                return Err(malformed(
                    path,
                    format!("tensor `{name}` holds a number that is not finite"),
                ));
            }
        }
        if let Some(name) = into.keys().next() {
            return Err(malformed(path, format!("tensor `{name}` is missing")));
        }
        let rest = (&mut self.file).take(1).read_to_end(&mut Vec::new());
        if rest.map_err(|e| reading(path, e))? != 0 {
            let problem = format!("its {} bytes are more than its {data} of tensors", self.length);
            return Err(malformed(path, problem));
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Version {
    format: String,
    format_version: u32,
}

fn reading(path: &Path, source: io::Error) -> CheckpointError {
    match source.kind() {
        io::ErrorKind::InvalidData => malformed(path, format!("its header is malformed ({source})")),
        io::ErrorKind::UnexpectedEof => malformed(path, "it ends early".to_owned()),
        _ => CheckpointError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        },
    }
}

pub(super) fn malformed(path: &Path, problem: String) -> CheckpointError {
    CheckpointError::Malformed {
        path: path.to_owned(),
        problem,
    }
}

/// The first thing in which two trainings differ, and its value in both.
fn difference(theirs: &Identity, ours: &Identity) -> Option<(String, String, String)> {
    for (name, our) in &ours.hyperparameters {
        let their = theirs.hyperparameters.get(name);
        if their != Some(our) {
            let their = their.map_or("not set", String::as_str);
            return Some((name.clone(), their.to_owned(), our.clone()));
        }
    }
    let rows = |digest: Option<&Digest>| match digest {
        None => "none".to_owned(),
        Some(digest) => format!(
            "{} rows ({})",
            digest.rows,
            digest.sha256.get(..8).unwrap_or_default()
        ),
    };
    let text = |value: Option<&String>| match value {
        None => "none".to_owned(),
        Some(text) => text.get(..8).unwrap_or_default().to_owned(),
    };
    let rule = |rule: Option<EarlyStop>| match rule {
        None => "none".to_owned(),
        Some(rule) => format!("after {} epochs within {}", rule.patience, rule.min_delta),
    };
    [
        ("the seed", theirs.seed.to_string(), ours.seed.to_string()),
        (
            "the training data",
            rows(Some(&theirs.train)),
            rows(Some(&ours.train)),
        ),
        (
            "the validation data",
            rows(theirs.validation.as_ref()),
            rows(ours.validation.as_ref()),
        ),
        (
            "the model to begin with",
            text(theirs.warm_start.as_ref()),
            text(ours.warm_start.as_ref()),
        ),
        ("the early stop", rule(theirs.early_stop), rule(ours.early_stop)),
        (
            "the program's version",
            theirs.program.clone(),
            ours.program.clone(),
        ),
    ]
    .into_iter()
    .find(|(_, theirs, ours)| theirs != ours)
    .map(|(what, theirs, ours)| (what.to_owned(), theirs, ours))
    // Whatever the texts above leave out.
    .or_else(|| (theirs != ours).then(|| ("a setting".to_owned(), "another".to_owned(), "not".to_owned())))
}
