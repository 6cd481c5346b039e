//! `model.tar.gz`: how a model is kept.
//!
//! A gzip-compressed tar of these files, in this order:
//!
//! - `model.json`: the format version, the hyperparameters as SageMaker's map of strings, the encoder's constants, the
//!   seed and a few counts;
//! - `model.safetensors`: the tensors `entity.rows` (u32), `entity.vectors` (f32), for each prefix length `prefix.N.rows` and
//!   `prefix.N.vectors`, `output.weights`, `output.bias`, and for each residual layer `hidden.K.weights` and `hidden.K.bias`;
//! - optionally `entities.safetensors`, `calibration.safetensors` and `history.safetensors`: see [`crate::part`].
//!
//! The bytes are a function of the model alone: no times, no owners.
//!
//! Reading trusts nothing: sizes are checked against limits and against each other before memory is taken for them, and
//! whatever is not exactly as described is refused with an [`ArchiveError`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::{Compression, GzBuilder, bufread::GzDecoder};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::detector::Detector;
use crate::encoder::{PrefixIndex, Prefixes};
use crate::entities::KnownEntities;
use crate::history::History;
use crate::hyperparameters::{Draft, InvalidHyperparameters};
use crate::model::{Model, Parts, Provenance};
use crate::network::{Network, PREFIX_WIDTH, Shape};
use crate::part::{Part, PartError};
use crate::tensors::{Data, Tensor, TensorFile};
use crate::weights::{self, Weights};

mod folder;

/// The one version there is so far.
const FORMAT_VERSION: u32 = 1;
const FORMAT: &str = "ipinsights-model";
const DESCRIPTION: &str = "model.json";
const TENSORS: &str = "model.safetensors";
const ENTITY_HASH: &str = "fnv1a64-fmix64";
const PREFIX_HASH: &str = "fibonacci32";
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
    /// A file of a model's folder that is a link, a folder or a device.
    #[error("`{name}` of the model is no plain file")]
    NoPlainFile {
        /// The file.
        name: &'static str,
    },
    /// The archive ends before a file that belongs in it, or a folder lacks it.
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
    /// A part beside the weights is not what it should be.
    #[error("`{name}` in the model archive is malformed")]
    Part {
        /// The file.
        name: &'static str,
        /// What is wrong with it.
        source: PartError,
    },
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
    prefix_hash: String,
    prefix_lengths: Vec<u32>,
    prefix_table_bits: u32,
    prefix_whole_bits: u32,
    prefix_width: usize,
    activation: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    training_rows: u64,
    trained_entity_vectors: usize,
    trained_prefixes: usize,
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
        append(&mut tar, DESCRIPTION, &self.description()?).map_err(written)?;
        let tensors = self.tensors().map_err(written)?;
        append_from(&mut tar, TENSORS, tensors.len(), tensors.reader()).map_err(written)?;
        for (name, content) in self.part_files()? {
            if let Some(content) = content {
                append(&mut tar, name, &content).map_err(written)?;
            }
        }
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
        let files = unpack(r, limit)?;
        let model = build(&files[0].content, Bytes::Memory(&files[1].content))?;
        model.with_part_files(|name, _| {
            let file = files.iter().find(|file| file.name == name && file.there);
            Ok(file.map(|file| Cow::Borrowed(&file.content[..])))
        })
    }

    /// The files of all parts there can be, in their order, with the content of those that the model has.
    fn part_files(&self) -> Result<[PartFile; 3], ArchiveError> {
        let Parts {
            entities,
            detector,
            history,
        } = &self.parts;
        Ok([
            write_part(entities.as_ref())?,
            write_part(detector.as_ref())?,
            write_part(history.as_ref())?,
        ])
    }

    /// The model with the parts whose files `content` finds, by name and largest size.
    fn with_part_files<'a>(
        mut self,
        mut content: impl FnMut(&'static str, u64) -> Result<Option<Cow<'a, [u8]>>, ArchiveError>,
    ) -> Result<Self, ArchiveError> {
        self.parts = Parts {
            entities: read_part(&mut content)?,
            detector: read_part(&mut content)?,
            history: read_part(&mut content)?,
        };
        Ok(self)
    }

    /// `model.json`.
    fn description(&self) -> Result<Vec<u8>, ArchiveError> {
        let mut json = serde_json::to_vec_pretty(&self.describe())
            .map_err(|source| ArchiveError::Description { source })?;
        json.push(b'\n');
        Ok(json)
    }

    fn describe(&self) -> Description {
        let prefixes = &self.index.prefixes;
        Description {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            hyperparameters: self.params.to_map(),
            encoder: EncoderDescription {
                entity_hash: ENTITY_HASH.to_owned(),
                prefix_hash: PREFIX_HASH.to_owned(),
                prefix_lengths: prefixes.lengths.clone(),
                prefix_table_bits: prefixes.table_bits,
                prefix_whole_bits: prefixes.whole_bits,
                prefix_width: PREFIX_WIDTH,
                activation: ACTIVATION.to_owned(),
            },
            seed: self.provenance.seed.to_string(),
            counts: Counts {
                training_rows: self.provenance.training_rows,
                trained_entity_vectors: self.entity_rows.len(),
                trained_prefixes: self.index.rows.iter().map(Vec::len).sum(),
                weights: self.network.len(),
            },
        }
    }

    fn tensors(&self) -> io::Result<TensorFile<'_>> {
        let network = &self.network;
        let mut tensors: Vec<Tensor<'_>> = Vec::new();
        let mut add = |name: String, shape: Vec<usize>, data| tensors.push(Tensor { name, shape, data });
        let (width, prefixes) = (network.shape.prefix_width(), &self.index.prefixes);
        let entity = (
            "entity".to_owned(),
            &self.entity_rows,
            &network.entities,
            network.shape.dim,
        );
        let by_length = prefixes
            .lengths
            .iter()
            .zip(&self.index.rows)
            .zip(&network.prefixes);
        let tables =
            by_length.map(|((length, rows), values)| (format!("prefix.{length}"), rows, values, width));
        for (name, rows, values, width) in [entity].into_iter().chain(tables) {
            add(format!("{name}.rows"), vec![rows.len()], Data::U32(rows));
            add(
                format!("{name}.vectors"),
                vec![rows.len(), width],
                Data::F32(values),
            );
        }
        for (name, range, shape) in layers(network.shape) {
            add(name, shape, Data::F32(&network.dense[range]));
        }
        TensorFile::new(tensors, None)
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

fn append(tar: &mut tar::Builder<impl Write>, name: &str, data: &[u8]) -> io::Result<()> {
    append_from(tar, name, data.len() as u64, data)
}

fn append_from(tar: &mut tar::Builder<impl Write>, name: &str, size: u64, data: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    tar.append(&header, data)
}

/// The name of a part's file, and its content where there is such a part.
type PartFile = (&'static str, Option<Vec<u8>>);

fn write_part<P: Part>(part: Option<&P>) -> Result<PartFile, ArchiveError> {
    let Some(part) = part else {
        return Ok((P::FILE, None));
    };
    let bytes = part.to_bytes().map_err(|source| ArchiveError::Part {
        name: P::FILE,
        source,
    })?;
    // What is written can be read back.
    if bytes.len() as u64 > P::MAX_BYTES {
        return Err(ArchiveError::TooLarge {
            name: P::FILE,
            size: bytes.len() as u64,
            limit: P::MAX_BYTES,
        });
    }
    Ok((P::FILE, Some(bytes)))
}

fn read_part<'a, P: Part>(
    content: &mut impl FnMut(&'static str, u64) -> Result<Option<Cow<'a, [u8]>>, ArchiveError>,
) -> Result<Option<P>, ArchiveError> {
    let Some(bytes) = content(P::FILE, P::MAX_BYTES)? else {
        return Ok(None);
    };
    P::from_bytes(&bytes)
        .map(Some)
        .map_err(|source| ArchiveError::Part {
            name: P::FILE,
            source,
        })
}

/// A file that may be in the archive.
struct PackedFile {
    name: &'static str,
    /// What it may take, in bytes.
    limit: u64,
    required: bool,
    there: bool,
    content: Vec<u8>,
}

/// All files there can be, in their order; of `limit` bytes where they are not smaller by nature.
fn files(limit: u64) -> Vec<PackedFile> {
    fn part<P: Part>(limit: u64) -> (&'static str, u64, bool) {
        (P::FILE, limit.min(P::MAX_BYTES), false)
    }
    let all = [
        (DESCRIPTION, MAX_DESCRIPTION_BYTES, true),
        (TENSORS, limit, true),
        part::<KnownEntities>(limit),
        part::<Detector>(limit),
        part::<History>(limit),
    ];
    let file = |(name, limit, required)| PackedFile {
        name,
        limit,
        required,
        there: false,
        content: Vec::new(),
    };
    all.map(file).into()
}

/// The contents of the files.
fn unpack(r: impl Read, limit: u64) -> Result<Vec<PackedFile>, ArchiveError> {
    let read = |source| ArchiveError::Io {
        action: "read",
        source,
    };
    let mut gzip = GzDecoder::new(BufReader::new(r));
    let mut files = files(limit);
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
            let Some(mut file) = wanted.next() else {
                return Err(ArchiveError::TrailingData);
            };
            let name = entry.path_bytes().into_owned();
            while name != file.name.as_bytes() {
                if file.required {
                    return Err(ArchiveError::UnexpectedFile {
                        entry: entry_number,
                        name: String::from_utf8_lossy(&name).into_owned(),
                        expected: file.name,
                    });
                }
                file = wanted.next().ok_or(ArchiveError::TrailingData)?;
            }
            file.there = true;
            let size = entry.size();
            if size > file.limit {
                return Err(ArchiveError::TooLarge {
                    name: file.name,
                    size,
                    limit: file.limit,
                });
            }
            // Grows with what really arrives, so that a claimed size alone takes no memory.
            let arrived = entry.read_to_end(&mut file.content).map_err(read)?;
            if arrived as u64 != size {
                return Err(read(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        if let Some(file) = wanted.find(|file| file.required) {
            return Err(ArchiveError::MissingFile { name: file.name });
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
    Ok(files)
}

/// The bytes of a file of tensors.
#[derive(Clone, Copy)]
enum Bytes<'a> {
    Memory(&'a [u8]),
    #[cfg(feature = "mmap")]
    Mapped(&'a std::sync::Arc<memmap2::Mmap>),
}

impl<'a> Bytes<'a> {
    fn all(self) -> &'a [u8] {
        match self {
            Self::Memory(bytes) => bytes,
            #[cfg(feature = "mmap")]
            Self::Mapped(map) => map,
        }
    }

    /// The numbers in a part of these bytes: where they are when they are mapped, else a copy.
    fn weights(self, part: &[u8]) -> Weights<f32> {
        #[cfg(feature = "mmap")]
        if let Self::Mapped(map) = self {
            let start = part.as_ptr() as usize - map.as_ptr() as usize;
            if let Some(numbers) = crate::map::Numbers::new(map, start..start + part.len()) {
                return Weights::Mapped(numbers);
            }
        }
        let numbers = part.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
        Weights::Memory(numbers.collect())
    }
}

fn build(description: &[u8], bytes: Bytes<'_>) -> Result<Model, ArchiveError> {
    let description: Description =
        serde_json::from_slice(description).map_err(|source| ArchiveError::Description { source })?;
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
    let prefixes = check_encoder(&description.encoder)?;
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
        levels: prefixes.lengths.len(),
    };
    let tensors = SafeTensors::deserialize(bytes.all()).map_err(|source| ArchiveError::Tensors { source })?;
    let mut reader = TensorReader {
        bytes,
        tensors,
        taken: 0,
    };
    let (entity_rows, entities) = reader.table("entity", shape.dim, params.num_entity_vectors())?;
    let (mut prefix_rows, mut prefix_values) = (Vec::new(), Vec::new());
    for (level, length) in prefixes.lengths.iter().enumerate() {
        let name = format!("prefix.{length}");
        let (rows, values) = reader.table(&name, shape.prefix_width(), prefixes.rows(level) as u64)?;
        prefix_rows.push(rows);
        prefix_values.push(values);
    }
    let mut dense = Vec::new();
    for (name, range, shape) in layers(shape) {
        // The tensors come in the order of the dense weights.
        debug_assert_eq!(range.start, dense.len());
        dense.extend_from_slice(&reader.floats(&name, &shape)?);
    }
    reader.finish()?;
    let network = Network {
        shape,
        entities,
        prefixes: prefix_values,
        dense,
    };
    let provenance = Provenance {
        seed,
        training_rows: description.counts.training_rows,
    };
    let index = PrefixIndex::new(prefixes, prefix_rows);
    Ok(Model::new(params, provenance, entity_rows, index, network))
}

fn encoder_error(what: &'static str, got: String, expected: impl ToString) -> ArchiveError {
    ArchiveError::Encoder {
        what,
        got,
        expected: expected.to_string(),
    }
}

fn check_encoder(encoder: &EncoderDescription) -> Result<Prefixes, ArchiveError> {
    for (what, got, expected) in [
        ("entity_hash", &encoder.entity_hash, ENTITY_HASH),
        ("prefix_hash", &encoder.prefix_hash, PREFIX_HASH),
        ("activation", &encoder.activation, ACTIVATION),
    ] {
        if got != expected {
            return Err(encoder_error(what, format!("`{got}`"), format!("`{expected}`")));
        }
    }
    if encoder.prefix_width != PREFIX_WIDTH {
        return Err(encoder_error(
            "prefix_width",
            encoder.prefix_width.to_string(),
            PREFIX_WIDTH,
        ));
    }
    if !(0..=32).contains(&encoder.prefix_whole_bits) {
        return Err(encoder_error(
            "prefix_whole_bits",
            encoder.prefix_whole_bits.to_string(),
            "0 to 32",
        ));
    }
    if !(1..=20).contains(&encoder.prefix_table_bits) {
        return Err(encoder_error(
            "prefix_table_bits",
            encoder.prefix_table_bits.to_string(),
            "1 to 20",
        ));
    }
    let lengths = &encoder.prefix_lengths;
    let valid = lengths.iter().all(|length| (1..=32).contains(length)) && lengths.is_sorted_by(|a, b| a < b);
    if lengths.is_empty() || !valid {
        return Err(encoder_error(
            "prefix_lengths",
            format!("{lengths:?}"),
            "ascending numbers from 1 to 32",
        ));
    }
    Ok(Prefixes {
        lengths: lengths.clone(),
        table_bits: encoder.prefix_table_bits,
        whole_bits: encoder.prefix_whole_bits,
    })
}

/// Takes tensors by name, each with the type and shape it must have.
struct TensorReader<'a> {
    bytes: Bytes<'a>,
    tensors: SafeTensors<'a>,
    taken: usize,
}

impl<'a> TensorReader<'a> {
    /// Rows of a sparse table with their vectors.
    fn table(
        &mut self,
        name: &str,
        width: usize,
        rows_of_table: u64,
    ) -> Result<(Vec<u32>, Weights<f32>), ArchiveError> {
        let rows_name = format!("{name}.rows");
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
        let values = self.floats(&format!("{name}.vectors"), &[shape[0], width])?;
        Ok((rows, values))
    }

    /// The weights of a tensor.
    fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Weights<f32>, ArchiveError> {
        let (_, data) = self.take(name, Dtype::F32, |got| got == shape, &format!("F32 {shape:?}"))?;
        let values = self.bytes.weights(data);
        if !weights::are_finite(&values) {
            return Err(ArchiveError::NotFinite {
                name: name.to_owned(),
            });
        }
        Ok(values)
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
