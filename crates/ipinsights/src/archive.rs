//! `model.tar.gz`: how a model is kept.
//!
//! A gzip-compressed tar of two files, in this order:
//!
//! - `model.json`: the format version, the hyperparameters as SageMaker's map of strings, the encoder's constants, the
//!   seed and a few counts;
//! - `model.safetensors`: the tensors `entity.rows` (u32), `entity.vectors` (f32), `entity.common`, for each cut of the address space
//!   `range.N.starts` (u32, first addresses) and `range.N.vectors`, `output.weights`, `output.bias`, and for each residual layer `hidden.K.weights` and `hidden.K.bias`.
//!
//! The bytes are a function of the model alone: no times, no owners.
//!
//! Reading trusts nothing: sizes are checked against limits and against each other before memory is taken for them, and
//! whatever is not exactly as described is refused with an [`ArchiveError`].

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::{Compression, GzBuilder, bufread::GzDecoder};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::encoder::RangeIndex;
use crate::hyperparameters::{Draft, InvalidHyperparameters};
use crate::model::{Model, Provenance};
use crate::network::{Network, RANGE_WIDTH, Shape};

/// Version 1 had embeddings of hashed prefixes, version 2 has ranges that follow the data.
const FORMAT_VERSION: u32 = 2;
const FORMAT: &str = "ipinsights-model";
const DESCRIPTION: &str = "model.json";
const TENSORS: &str = "model.safetensors";
const ENTITY_HASH: &str = "fnv1a64-fmix64";
const ACTIVATION: &str = "tanh";

/// The service's own limit on a model.
const MAX_MODEL_BYTES: u64 = 8 << 30;
/// A description takes less than 2 KiB.
const MAX_DESCRIPTION_BYTES: u64 = 64 << 10;
/// After the last file: two blocks of zeros, padded to the tar's record of 20 blocks, and some more for other writers.
const MAX_PADDING_BYTES: u64 = 1 << 20;

/// Why an archive is no model, or could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The bytes could not be written, or not be read to their end: a broken compression, an early end, a failing disk.
    #[error("the model archive cannot be {action}")]
    Io {
        /// `read` or `written`.
        action: &'static str,
        /// What the reader, the writer or the decompression says.
        source: io::Error,
    },
    /// An entry that is no plain file: a link, a folder, a device, an extension header.
    #[error("entry {entry} of the model archive is no plain file")]
    NotAFile {
        /// One-based.
        entry: usize,
    },
    /// A file that does not belong there, or not a second time, or not in this place.
    #[error("entry {entry} of the model archive is `{name}`, expected `{expected}`")]
    UnexpectedFile {
        /// One-based.
        entry: usize,
        /// Its name, with what is not text replaced.
        name: String,
        /// The file whose turn it is.
        expected: &'static str,
    },
    /// The archive ends before a file that belongs in it.
    #[error("the model archive has no `{name}`; maybe it is the archive of another algorithm")]
    MissingFile {
        /// The file.
        name: &'static str,
    },
    /// A file claims more than the limit.
    #[error("`{name}` in the model archive claims {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The file.
        name: &'static str,
        /// What its header says.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// Something after the last file.
    #[error("the model archive goes on after its last file")]
    TrailingData,
    /// `model.json` is no such description.
    #[error("`model.json` in the model archive is malformed")]
    Description {
        /// What the JSON reader says.
        source: serde_json::Error,
    },
    /// A format this version does not know.
    #[error(
        "the model archive has format `{format}` version {version}, this program reads `{FORMAT}` version {FORMAT_VERSION}"
    )]
    UnknownFormat {
        /// The format's name.
        format: String,
        /// The format's version.
        version: u32,
    },
    /// Hyperparameters that could not have trained a model.
    #[error("the model archive has invalid hyperparameters")]
    Hyperparameters {
        /// All that is wrong with them.
        source: InvalidHyperparameters,
    },
    /// `model.json` describes an encoder that this version does not have.
    #[error("the model archive's {what} is {got}, this program reads {expected}")]
    Encoder {
        /// What differs.
        what: &'static str,
        /// Its value.
        got: String,
        /// The value, or values, that can be read.
        expected: String,
    },
    /// `model.safetensors` is no such file.
    #[error("`model.safetensors` in the model archive is malformed")]
    Tensors {
        /// What its reader says.
        source: safetensors::SafeTensorError,
    },
    /// A tensor is missing, or is one too many, or has another type or shape than the rest asks for.
    #[error("tensor `{name}` of the model archive is {got}, expected {expected}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is there.
        got: String,
        /// What should be.
        expected: String,
    },
    /// Row numbers that do not ascend or do not fit their table.
    #[error("tensor `{name}` of the model archive does not hold ascending row numbers below {rows}")]
    Rows {
        /// Its name.
        name: String,
        /// Rows of the table.
        rows: u64,
    },
    /// Ranges of addresses that leave out the first.
    #[error("the ranges of tensor `{name}.starts` of the model archive do not begin with the first address")]
    Ranges {
        /// The name of its level.
        name: String,
    },
    /// A weight is infinite or NaN.
    #[error("tensor `{name}` of the model archive holds a weight that is not finite")]
    NotFinite {
        /// Its name.
        name: String,
    },
}

/// `model.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: String,
    format_version: u32,
    hyperparameters: BTreeMap<String, String>,
    encoder: EncoderDescription,
    /// Text, because JSON readers elsewhere round numbers beyond 2^53.
    seed: String,
    counts: Counts,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EncoderDescription {
    entity_hash: String,
    /// Cuts of the address space.
    levels: usize,
    range_width: usize,
    activation: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    training_rows: u64,
    trained_entity_vectors: usize,
    ranges: usize,
    weights: usize,
}

impl Model {
    /// Writes `model.tar.gz`. The same model gives the same bytes.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Io`] when `w` fails.
    pub fn write_archive(&self, w: impl Write) -> Result<(), ArchiveError> {
        let gzip = GzBuilder::new()
            .mtime(0)
            // "Unknown", whatever the machine.
            .operating_system(255)
            // Weights hardly compress; more effort costs time and saves little.
            .write(w, Compression::fast());
        let written = |source| ArchiveError::Io {
            action: "written",
            source,
        };
        let mut tar = tar::Builder::new(gzip);
        let mut description = serde_json::to_vec_pretty(&self.describe())
            .map_err(|source| ArchiveError::Description { source })?;
        description.push(b'\n');
        append(&mut tar, DESCRIPTION, &description).map_err(written)?;
        append(&mut tar, TENSORS, &self.tensors()?).map_err(written)?;
        let mut w = tar.into_inner().and_then(|gzip| gzip.finish()).map_err(written)?;
        w.flush().map_err(written)
    }

    /// Reads `model.tar.gz`, up to the service's limit of 8 GiB.
    ///
    /// # Errors
    ///
    /// Whatever [`write_archive`](Self::write_archive) would not have written is refused, see [`ArchiveError`].
    pub fn read_archive(r: impl Read) -> Result<Self, ArchiveError> {
        Self::read_archive_limited(r, MAX_MODEL_BYTES)
    }

    /// Reads `model.tar.gz` whose tensors take at most `limit` bytes, unpacked: for archives from strangers.
    ///
    /// # Errors
    ///
    /// As [`read_archive`](Self::read_archive).
    pub fn read_archive_limited(r: impl Read, limit: u64) -> Result<Self, ArchiveError> {
        let [description, tensors] = unpack(r, limit)?;
        let description: Description =
            serde_json::from_slice(&description).map_err(|source| ArchiveError::Description { source })?;
        build(description, &tensors)
    }

    fn describe(&self) -> Description {
        Description {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            hyperparameters: self.params.to_map(),
            encoder: EncoderDescription {
                entity_hash: ENTITY_HASH.to_owned(),
                levels: self.index.levels(),
                range_width: RANGE_WIDTH,
                activation: ACTIVATION.to_owned(),
            },
            seed: self.provenance.seed.to_string(),
            counts: Counts {
                training_rows: self.provenance.training_rows,
                trained_entity_vectors: self.entity_rows.len(),
                ranges: self.index.starts().iter().map(Vec::len).sum(),
                weights: self.network.len(),
            },
        }
    }

    fn tensors(&self) -> Result<Vec<u8>, ArchiveError> {
        let network = &self.network;
        let mut parts: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        let table = |name: &str, of: &str, rows: &[u32], values: &[f32], width: usize| {
            let rows_bytes = rows.iter().flat_map(|r| r.to_le_bytes()).collect();
            [
                (format!("{name}.{of}"), Dtype::U32, vec![rows.len()], rows_bytes),
                (
                    format!("{name}.vectors"),
                    Dtype::F32,
                    vec![rows.len(), width],
                    bytes(values),
                ),
            ]
        };
        parts.extend(table(
            "entity",
            "rows",
            &self.entity_rows,
            &network.entities,
            network.shape.dim,
        ));
        let common = ("entity.common".to_owned(), Dtype::F32, vec![network.shape.dim]);
        parts.push((common.0, common.1, common.2, bytes(&network.common)));
        let width = network.shape.range_width();
        for (level, (starts, values)) in self.index.starts().iter().zip(&network.ranges).enumerate() {
            parts.extend(table(&format!("range.{level}"), "starts", starts, values, width));
        }
        for (name, range, shape) in layers(network.shape) {
            parts.push((name, Dtype::F32, shape, bytes(&network.dense[range])));
        }
        let wrong = |source| ArchiveError::Tensors { source };
        let views = parts
            .iter()
            .map(|(name, dtype, shape, data)| Ok((name, TensorView::new(*dtype, shape.clone(), data)?)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(wrong)?;
        safetensors::serialize(views, None).map_err(wrong)
    }
}

/// Name, place among the dense weights, and shape of every tensor of the layers.
fn layers(shape: Shape) -> Vec<(String, std::ops::Range<usize>, Vec<usize>)> {
    let (inputs, dim) = (shape.inputs(), shape.dim);
    let mut all = Vec::new();
    if shape.layers > 0 {
        all.push((
            "output.weights".to_owned(),
            shape.output_weights(),
            vec![inputs, dim],
        ));
    }
    all.push(("output.bias".to_owned(), shape.output_bias(), vec![dim]));
    for k in 0..shape.hidden() {
        all.push((
            format!("hidden.{k}.weights"),
            shape.hidden_weights(k),
            vec![inputs, inputs],
        ));
        all.push((format!("hidden.{k}.bias"), shape.hidden_bias(k), vec![inputs]));
    }
    all
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, data: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    tar.append(&header, data)
}

/// The contents of the two files.
fn unpack(r: impl Read, limit: u64) -> Result<[Vec<u8>; 2], ArchiveError> {
    let read = |source| ArchiveError::Io {
        action: "read",
        source,
    };
    let mut gzip = GzDecoder::new(BufReader::new(r));
    let mut files = [(DESCRIPTION, MAX_DESCRIPTION_BYTES), (TENSORS, limit)]
        .map(|(name, limit)| (name, limit, Vec::new()));
    {
        let mut tar = tar::Archive::new(&mut gzip);
        let mut wanted = files.iter_mut();
        // Raw: extension headers come as entries of their own and are refused like everything else unknown, before the
        // reader would collect a long name in memory.
        for (entry_number, entry) in (1..).zip(tar.entries().map_err(read)?.raw(true)) {
            let mut entry = entry.map_err(read)?;
            if entry.header().entry_type() != tar::EntryType::Regular {
                return Err(ArchiveError::NotAFile { entry: entry_number });
            }
            let Some((expected, limit, content)) = wanted.next() else {
                return Err(ArchiveError::TrailingData);
            };
            let name = entry.path_bytes();
            if *name != *expected.as_bytes() {
                return Err(ArchiveError::UnexpectedFile {
                    entry: entry_number,
                    name: String::from_utf8_lossy(&name).into_owned(),
                    expected,
                });
            }
            let size = entry.size();
            if size > *limit {
                return Err(ArchiveError::TooLarge {
                    name: expected,
                    size,
                    limit: *limit,
                });
            }
            // Grows with what really arrives, so that a claimed size alone takes no memory.
            let arrived = entry.read_to_end(content).map_err(read)?;
            if arrived as u64 != size {
                return Err(read(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        if let Some((name, ..)) = wanted.next() {
            return Err(ArchiveError::MissingFile { name });
        }
    }
    // To the end of the compressed stream, where its checksum is.
    let mut padding = Vec::new();
    (&mut gzip)
        .take(MAX_PADDING_BYTES + 1)
        .read_to_end(&mut padding)
        .map_err(read)?;
    if padding.len() as u64 > MAX_PADDING_BYTES || padding.iter().any(|b| *b != 0) {
        return Err(ArchiveError::TrailingData);
    }
    if !gzip.into_inner().fill_buf().map_err(read)?.is_empty() {
        return Err(ArchiveError::TrailingData);
    }
    Ok(files.map(|(.., content)| content))
}

fn build(description: Description, tensors: &[u8]) -> Result<Model, ArchiveError> {
    if description.format != FORMAT || description.format_version != FORMAT_VERSION {
        return Err(ArchiveError::UnknownFormat {
            format: description.format,
            version: description.format_version,
        });
    }
    let (draft, unknown) = Draft::from_map(&description.hyperparameters);
    let params = draft
        .check()
        .map_err(|source| ArchiveError::Hyperparameters { source })?;
    if let Some(name) = unknown.first() {
        return Err(encoder_error(
            "hyperparameter",
            format!("`{name}`"),
            "the documented names",
        ));
    }
    check_encoder(&description.encoder)?;
    let Ok(seed) = description.seed.parse() else {
        return Err(encoder_error(
            "seed",
            format!("`{}`", description.seed),
            "a whole number below 2^64",
        ));
    };
    let shape = Shape {
        dim: params.vector_dim() as usize,
        layers: params.num_ip_encoder_layers() as usize,
        levels: description.encoder.levels,
    };
    let tensors = SafeTensors::deserialize(tensors).map_err(|source| ArchiveError::Tensors { source })?;
    let mut reader = TensorReader { tensors, taken: 0 };
    let (entity_rows, entities) = reader.table("entity", "rows", shape.dim, params.num_entity_vectors())?;
    let mut common = Vec::new();
    reader.floats("entity.common", &[shape.dim], &mut common)?;
    let (mut starts, mut ranges) = (Vec::new(), Vec::new());
    for level in 0..shape.levels {
        let name = format!("range.{level}");
        let (level_starts, values) = reader.table(&name, "starts", shape.range_width(), 1 << 32)?;
        // The first range begins with the first address, so that every address lies in one.
        if level_starts.first() != Some(&0) {
            return Err(ArchiveError::Ranges { name });
        }
        starts.push(level_starts);
        ranges.push(values);
    }
    let mut dense = Vec::new();
    for (name, range, shape) in layers(shape) {
        // The tensors come in the order of the dense weights.
        debug_assert_eq!(range.start, dense.len());
        reader.floats(&name, &shape, &mut dense)?;
    }
    reader.finish()?;
    let network = Network {
        shape,
        entities,
        common,
        ranges,
        dense,
    };
    let provenance = Provenance {
        seed,
        training_rows: description.counts.training_rows,
    };
    let index = RangeIndex::new(starts);
    Ok(Model::new(params, provenance, entity_rows, index, network))
}

fn encoder_error(what: &'static str, got: String, expected: impl ToString) -> ArchiveError {
    ArchiveError::Encoder {
        what,
        got,
        expected: expected.to_string(),
    }
}

/// More cuts of the address space than any model has.
const MAX_LEVELS: usize = 64;

fn check_encoder(encoder: &EncoderDescription) -> Result<(), ArchiveError> {
    for (what, got, expected) in [
        ("entity_hash", &encoder.entity_hash, ENTITY_HASH),
        ("activation", &encoder.activation, ACTIVATION),
    ] {
        if got != expected {
            return Err(encoder_error(what, format!("`{got}`"), format!("`{expected}`")));
        }
    }
    if encoder.range_width != RANGE_WIDTH {
        return Err(encoder_error(
            "range_width",
            encoder.range_width.to_string(),
            RANGE_WIDTH,
        ));
    }
    if !(1..=MAX_LEVELS).contains(&encoder.levels) {
        return Err(encoder_error(
            "levels",
            encoder.levels.to_string(),
            format!("1 to {MAX_LEVELS}"),
        ));
    }
    Ok(())
}

/// Takes tensors by name, each with the type and shape it must have.
struct TensorReader<'a> {
    tensors: SafeTensors<'a>,
    taken: usize,
}

impl<'a> TensorReader<'a> {
    /// Rows of a sparse table with their vectors.
    fn table(
        &mut self,
        name: &str,
        of: &str,
        width: usize,
        rows_of_table: u64,
    ) -> Result<(Vec<u32>, Vec<f32>), ArchiveError> {
        let rows_name = format!("{name}.{of}");
        let (shape, data) = self.take(&rows_name, Dtype::U32, |shape| shape.len() == 1, "a list of u32")?;
        let rows: Vec<u32> = data
            .as_chunks()
            .0
            .iter()
            .map(|b| u32::from_le_bytes(*b))
            .collect();
        let fit = rows.last().is_none_or(|last| u64::from(*last) < rows_of_table);
        if !fit || !rows.is_sorted_by(|a, b| a < b) {
            return Err(ArchiveError::Rows {
                name: rows_name,
                rows: rows_of_table,
            });
        }
        let mut values = Vec::new();
        self.floats(&format!("{name}.vectors"), &[shape[0], width], &mut values)?;
        Ok((rows, values))
    }

    /// Appends the weights of a tensor.
    fn floats(&mut self, name: &str, shape: &[usize], out: &mut Vec<f32>) -> Result<(), ArchiveError> {
        let (_, data) = self.take(name, Dtype::F32, |got| got == shape, &format!("F32 {shape:?}"))?;
        let start = out.len();
        out.extend(data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)));
        if out[start..].iter().any(|w| !w.is_finite()) {
            return Err(ArchiveError::NotFinite {
                name: name.to_owned(),
            });
        }
        Ok(())
    }

    fn take(
        &mut self,
        name: &str,
        dtype: Dtype,
        right_shape: impl Fn(&[usize]) -> bool,
        expected: &str,
    ) -> Result<(Vec<usize>, &'a [u8]), ArchiveError> {
        let wrong = |got: String| ArchiveError::Tensor {
            name: name.to_owned(),
            got,
            expected: expected.to_owned(),
        };
        let tensor = self
            .tensors
            .tensor(name)
            .map_err(|_| wrong("missing".to_owned()))?;
        if tensor.dtype() != dtype || !right_shape(tensor.shape()) {
            return Err(wrong(format!("{:?} {:?}", tensor.dtype(), tensor.shape())));
        }
        self.taken += 1;
        Ok((tensor.shape().to_vec(), tensor.data()))
    }

    /// Whether every tensor was asked for: names are unique, so counting is enough.
    fn finish(self) -> Result<(), ArchiveError> {
        if self.tensors.len() == self.taken {
            return Ok(());
        }
        Err(ArchiveError::Tensor {
            name: "(all)".to_owned(),
            got: format!("{} tensors", self.tensors.len()),
            expected: self.taken.to_string(),
        })
    }
}
