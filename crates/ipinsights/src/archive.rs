//! `model.tar.gz`: how a model is kept.
//!
//! A gzip-compressed tar of these files, in this order:
//!
//! - `model.json`: the format version, the hyperparameters as SageMaker's map of strings, the encoder's constants, the
//!   seed and a few counts;
//! - `model.safetensors`: the tensors `entity.rows` (u32), `entity.vectors` (f32), `entity.common`, for each cut of the address
//!   space `range.N.starts` (u32, the first addresses of its ranges), `range.N.rows` (u32, the row of each, 4,294,967,295 for none) and
//!   `range.N.vectors`, `output.weights`, `output.bias`, and for each residual layer `hidden.K.weights` and `hidden.K.bias`;
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
use crate::encoder::{Cut, NOTHING, RangeIndex};
use crate::entities::KnownEntities;
use crate::history::History;
use crate::hyperparameters::{Draft, InvalidHyperparameters};
use crate::model::{Model, Parts, Provenance};
use crate::network::{Network, RANGE_WIDTH, Shape};
use crate::part::{Part, PartError};
use crate::tensors::{Data, Tensor, TensorFile};
use crate::weights::{self, Weights};

mod folder;

/// Version 1 had embeddings of hashed prefixes; version 2 has ranges that follow the data.
const FORMAT_VERSION: u32 = 2;
const FORMAT: &str = "ipinsights-model";
const DESCRIPTION: &str = "model.json";
const TENSORS: &str = "model.safetensors";
const ENTITY_HASH: &str = "fnv1a64-fmix64";
const ACTIVATION: &str = "tanh";

/// More cuts of the address space than any model has.
const MAX_LEVELS: usize = 32;
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
    /// The ranges of the address space that it describes would take too much memory.
    #[error(
        "looking up addresses in the ranges of the model archive would take {bytes} bytes of memory, more than the limit of {limit}"
    )]
    TooManyRanges {
        /// What it may take.
        bytes: u64,
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
        "the model archive has format `{format}` version {version}, this program reads `{FORMAT}` version {FORMAT_VERSION}: \
         train the model again"
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
    /// Row numbers, or first addresses of ranges, that do not ascend or do not fit their table.
    #[error("tensor `{name}` of the model archive does not hold ascending numbers below {rows}")]
    Rows {
        /// Its name.
        name: String,
        /// Rows of the table, or addresses.
        rows: u64,
    },
    /// Ranges of addresses that leave out the first.
    #[error("tensor `{name}` of the model archive does not begin with the first address, 0")]
    Ranges {
        /// Its name.
        name: String,
    },
    /// Ranges with rows that their table cannot have.
    #[error(
        "tensor `{name}` of the model archive holds a row that is not below {ranges}, the number of its ranges"
    )]
    RangeRows {
        /// Its name.
        name: String,
        /// Ranges of the level.
        ranges: usize,
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

/// What every version's description has.
#[derive(Debug, Deserialize)]
struct Version {
    format: String,
    format_version: u32,
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

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    training_rows: u64,
    trained_entity_vectors: usize,
    range_vectors: usize,
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

    /// Reads `model.tar.gz` whose tensors take at most `limit` bytes, unpacked, and what is made of them for looking up addresses as
    /// many again: for archives from strangers.
    ///
    /// # Errors
    ///
    /// As [`read_archive`](Self::read_archive).
    pub fn read_archive_limited(r: impl Read, limit: u64) -> Result<Self, ArchiveError> {
        let files = unpack(r, limit)?;
        let model = build(&files[0].content, Bytes::Memory(&files[1].content), limit)?;
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
                range_vectors: self.index.tables().sum(),
                weights: self.network.len(),
            },
        }
    }

    fn tensors(&self) -> io::Result<TensorFile<'_>> {
        let network = &self.network;
        let mut tensors: Vec<Tensor<'_>> = Vec::new();
        let mut add = |name: String, shape: Vec<usize>, data| tensors.push(Tensor { name, shape, data });
        let (dim, width) = (network.shape.dim, network.shape.range_width());
        let rows = &self.entity_rows;
        add("entity.rows".to_owned(), vec![rows.len()], Data::U32(rows));
        add(
            "entity.vectors".to_owned(),
            vec![rows.len(), dim],
            Data::F32(&network.entities),
        );
        add("entity.common".to_owned(), vec![dim], Data::F32(&network.common));
        for (level, (cut, values)) in self.index.cuts().iter().zip(&network.ranges).enumerate() {
            for (name, numbers) in [("starts", &cut.starts), ("rows", &cut.rows)] {
                add(
                    format!("range.{level}.{name}"),
                    vec![numbers.len()],
                    Data::U32(numbers),
                );
            }
            add(
                format!("range.{level}.vectors"),
                vec![cut.table(), width],
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

fn build(description: &[u8], bytes: Bytes<'_>, limit: u64) -> Result<Model, ArchiveError> {
    let malformed = |source| ArchiveError::Description { source };
    // The version first: what follows may differ.
    let version: Version = serde_json::from_slice(description).map_err(malformed)?;
    if version.format != FORMAT || version.format_version != FORMAT_VERSION {
        return Err(ArchiveError::UnknownFormat {
            format: version.format,
            version: version.format_version,
        });
    }
    let description: Description = serde_json::from_slice(description).map_err(malformed)?;
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
    let tensors = SafeTensors::deserialize(bytes.all()).map_err(|source| ArchiveError::Tensors { source })?;
    let mut reader = TensorReader {
        bytes,
        tensors,
        taken: 0,
    };
    let entity_rows = reader.ascending("entity.rows", params.num_entity_vectors())?;
    let entities = reader.floats("entity.vectors", &[entity_rows.len(), shape.dim])?;
    let common = reader.floats("entity.common", &[shape.dim])?.to_vec();
    let (mut cuts, mut ranges) = (Vec::new(), Vec::new());
    for level in 0..shape.levels {
        let cut = reader.cut(&format!("range.{level}"))?;
        ranges.push(reader.floats(
            &format!("range.{level}.vectors"),
            &[cut.table(), shape.range_width()],
        )?);
        cuts.push(cut);
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
        common,
        ranges,
        dense,
    };
    let provenance = Provenance {
        seed,
        training_rows: description.counts.training_rows,
    };
    let bytes = RangeIndex::most_bytes(&cuts);
    if bytes > limit {
        return Err(ArchiveError::TooManyRanges { bytes, limit });
    }
    let index = RangeIndex::new(cuts);
    let model = Model::new(params, provenance, entity_rows, index, network);
    let counts = model.describe().counts;
    if counts != description.counts {
        let (got, expected) = (serde_json::json!(description.counts), serde_json::json!(counts));
        return Err(encoder_error(
            "list of counts",
            got.to_string(),
            format!("{expected} of its tensors"),
        ));
    }
    Ok(model)
}

fn encoder_error(what: &'static str, got: String, expected: impl ToString) -> ArchiveError {
    ArchiveError::Encoder {
        what,
        got,
        expected: expected.to_string(),
    }
}

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
            "number of levels",
            encoder.levels.to_string(),
            format!("1 to {MAX_LEVELS}"),
        ));
    }
    Ok(())
}

/// Takes tensors by name, each with the type and shape it must have.
struct TensorReader<'a> {
    bytes: Bytes<'a>,
    tensors: SafeTensors<'a>,
    taken: usize,
}

impl<'a> TensorReader<'a> {
    /// A list of numbers that ascend and lie below `end`.
    fn ascending(&mut self, name: &str, end: u64) -> Result<Vec<u32>, ArchiveError> {
        let numbers = self.integers(name, |shape| shape.len() == 1, "a list of u32")?;
        let fit = numbers.last().is_none_or(|last| u64::from(*last) < end);
        if !fit || !numbers.is_sorted_by(|a, b| a < b) {
            return Err(ArchiveError::Rows {
                name: name.to_owned(),
                rows: end,
            });
        }
        Ok(numbers)
    }

    /// A cut of the address space.
    fn cut(&mut self, name: &str) -> Result<Cut, ArchiveError> {
        let starts_name = format!("{name}.starts");
        let starts = self.ascending(&starts_name, 1 << 32)?;
        if starts.first() != Some(&0) {
            return Err(ArchiveError::Ranges { name: starts_name });
        }
        let name = format!("{name}.rows");
        let rows = self.integers(
            &name,
            |shape| shape == [starts.len()],
            &format!("U32 [{}]", starts.len()),
        )?;
        // No row is further than there are ranges, so a table is no larger than the list.
        if rows
            .iter()
            .any(|row| *row != NOTHING && *row as usize >= starts.len())
        {
            return Err(ArchiveError::RangeRows {
                name,
                ranges: starts.len(),
            });
        }
        Ok(Cut::with_rows(starts, rows))
    }

    fn integers(
        &mut self,
        name: &str,
        right_shape: impl Fn(&[usize]) -> bool,
        expected: &str,
    ) -> Result<Vec<u32>, ArchiveError> {
        let (_, data) = self.take(name, Dtype::U32, right_shape, expected)?;
        Ok(data
            .as_chunks()
            .0
            .iter()
            .map(|b| u32::from_le_bytes(*b))
            .collect())
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
