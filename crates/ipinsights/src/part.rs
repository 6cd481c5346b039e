//! What goes with a model beside its weights, each thing a file of its own: in the model archive, and for some on the disk.
//!
//! Every part is a safetensors file. Its header has one metadata entry, `ipinsights`, which is a JSON object: the part's
//! format and version, and what it has beside its tensors. The bytes are a function of the content alone.
//!
//! Reading trusts nothing: whatever the writer would not have written is refused with a [`PartError`].

use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The metadata entry.
const ENTRY: &str = "ipinsights";

/// A thing that is kept as a file.
#[cfg_attr(
    not(feature = "engine"),
    expect(dead_code, reason = "archives are the engine's")
)]
pub(crate) trait Part: Sized {
    /// The file in the archive.
    const FILE: &'static str;
    /// What it may take there, in bytes.
    const MAX_BYTES: u64;

    fn to_bytes(&self) -> Result<Vec<u8>, PartError>;
    fn from_bytes(bytes: &[u8]) -> Result<Self, PartError>;
}

/// Why bytes are no such part of a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// It is no safetensors file.
    #[error("it is no file of tensors")]
    Tensors {
        /// What its reader says.
        source: safetensors::SafeTensorError,
    },
    /// The description in the header is missing or malformed.
    #[error("its description is malformed")]
    Description {
        /// What the JSON reader says.
        source: serde_json::Error,
    },
    /// A format this version does not know.
    #[error("it has format `{format}` version {version}, this program reads `{expected}` version 1")]
    UnknownFormat {
        /// The format's name.
        format: String,
        /// The format's version.
        version: u32,
        /// The format's name that it should be.
        expected: &'static str,
    },
    /// A tensor is missing, or is one too many, or has another type or shape than the rest asks for.
    #[error("its tensor `{name}` is {got}, expected {expected}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is there.
        got: String,
        /// What should be.
        expected: String,
    },
    /// The numbers do not fit together.
    #[error("its contents do not fit together: {problem}")]
    Contents {
        /// What does not.
        problem: String,
    },
    /// It is larger than it may be.
    #[error("it takes {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// What it takes.
        bytes: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The bytes could not be read or written.
    #[error("it cannot be {action}")]
    Io {
        /// `read` or `written`.
        action: &'static str,
        /// What the reader or writer says.
        source: std::io::Error,
    },
}

impl PartError {
    pub(crate) fn contents(problem: impl Into<String>) -> Self {
        Self::Contents {
            problem: problem.into(),
        }
    }
}

/// Numbers of a tensor.
pub(crate) trait Number: Copy {
    const DTYPE: Dtype;
    const BYTES: usize;
    fn push_le(self, bytes: &mut Vec<u8>);
    fn of_le(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($type:ty, $dtype:ident) => {
        impl Number for $type {
            const DTYPE: Dtype = Dtype::$dtype;
            const BYTES: usize = size_of::<Self>();

            fn push_le(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn of_le(bytes: &[u8]) -> Self {
                let mut array = [0; size_of::<Self>()];
                array.copy_from_slice(bytes);
                Self::from_le_bytes(array)
            }
        }
    };
}

number!(u8, U8);
number!(u32, U32);
number!(u64, U64);
number!(i64, I64);
number!(f32, F32);

/// Collects tensors, all of them lists.
#[derive(Default)]
pub(crate) struct PartWriter {
    tensors: Vec<(&'static str, Dtype, usize, Vec<u8>)>,
}

impl PartWriter {
    pub(crate) fn list<N: Number>(mut self, name: &'static str, values: impl IntoIterator<Item = N>) -> Self {
        let mut bytes = Vec::new();
        values.into_iter().for_each(|value| value.push_le(&mut bytes));
        self.tensors.push((name, N::DTYPE, bytes.len() / N::BYTES, bytes));
        self
    }

    pub(crate) fn finish(self, description: &impl Serialize) -> Result<Vec<u8>, PartError> {
        let wrong = |source| PartError::Tensors { source };
        let text = serde_json::to_string(description).map_err(|source| PartError::Description { source })?;
        let views = self.tensors.iter().map(|(name, dtype, length, bytes)| {
            TensorView::new(*dtype, vec![*length], bytes).map(|view| (*name, view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let metadata = HashMap::from([(ENTRY.to_owned(), text)]);
        safetensors::serialize(views, Some(metadata)).map_err(wrong)
    }
}

/// Takes lists by name, each with the type it must have.
pub(crate) struct PartReader<'a> {
    tensors: SafeTensors<'a>,
    taken: usize,
}

impl<'a> PartReader<'a> {
    pub(crate) fn new<D: DeserializeOwned>(bytes: &'a [u8]) -> Result<(Self, D), PartError> {
        let wrong = |source| PartError::Tensors { source };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(wrong)?;
        let text = header.metadata().as_ref().and_then(|map| map.get(ENTRY));
        let description = serde_json::from_str(text.map_or("", String::as_str))
            .map_err(|source| PartError::Description { source })?;
        let tensors = SafeTensors::deserialize(bytes).map_err(wrong)?;
        Ok((Self { tensors, taken: 0 }, description))
    }

    /// The list, which has `length` numbers where that is known.
    pub(crate) fn list<N: Number>(
        &mut self,
        name: &str,
        length: Option<usize>,
    ) -> Result<impl ExactSizeIterator<Item = N> + use<'a, N>, PartError> {
        let wrong = |got: String| PartError::Tensor {
            name: name.to_owned(),
            got,
            expected: match length {
                None => format!("a list of {:?}", N::DTYPE),
                Some(length) => format!("a list of {length} {:?}", N::DTYPE),
            },
        };
        let tensor = self
            .tensors
            .tensor(name)
            .map_err(|_| wrong("missing".to_owned()))?;
        let right = match tensor.shape() {
            [got] => length.is_none_or(|length| length == *got),
            _ => false,
        };
        if tensor.dtype() != N::DTYPE || !right {
            return Err(wrong(format!("{:?} {:?}", tensor.dtype(), tensor.shape())));
        }
        self.taken += 1;
        Ok(tensor.data().chunks_exact(N::BYTES).map(N::of_le))
    }

    /// Whether every tensor was asked for: names are unique, so counting is enough.
    pub(crate) fn finish(self) -> Result<(), PartError> {
        if self.tensors.len() == self.taken {
            return Ok(());
        }
        Err(PartError::Tensor {
            name: "(all)".to_owned(),
            got: format!("{} tensors", self.tensors.len()),
            expected: self.taken.to_string(),
        })
    }
}

/// Format and version, as the first members of every description.
pub(crate) fn check_format(format: String, version: u32, expected: &'static str) -> Result<(), PartError> {
    if format == expected && version == 1 {
        return Ok(());
    }
    Err(PartError::UnknownFormat {
        format,
        version,
        expected,
    })
}
