//! Files of tensors in the format of `safetensors`, written and read one tensor at a time: nothing is held twice.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Read};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

/// More than a hundred layers' names and shapes take.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// A tensor to be written.
pub(crate) struct Tensor<'a> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Data<'a>,
}

/// Its numbers.
#[derive(Clone, Copy)]
pub(crate) enum Data<'a> {
    U32(&'a [u32]),
    F32(&'a [f32]),
}

impl<'a> Data<'a> {
    pub(crate) fn dtype(self) -> Dtype {
        match self {
            Self::U32(_) => Dtype::U32,
            Self::F32(_) => Dtype::F32,
        }
    }

    pub(crate) fn len(self) -> usize {
        match self {
            Self::U32(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    /// The numbers in little-endian order.
    pub(crate) fn bytes(self) -> Cow<'a, [u8]> {
        if cfg!(target_endian = "little") {
            return Cow::Borrowed(match self {
                Self::U32(values) => bytemuck::cast_slice(values),
                Self::F32(values) => bytemuck::cast_slice(values),
            });
        }
        Cow::Owned(match self {
            Self::U32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        })
    }
}

/// A file of tensors whose size is known before it is written.
pub(crate) struct TensorFile<'a> {
    header: Vec<u8>,
    tensors: Vec<Tensor<'a>>,
}

impl<'a> TensorFile<'a> {
    /// Tensors come in the order of the format: by type, then by name. `note` is kept in the header, under `note`.
    pub(crate) fn new(mut tensors: Vec<Tensor<'a>>, note: Option<String>) -> io::Result<Self> {
        tensors.sort_by(|a, b| {
            let by_type = b.data.dtype().cmp(&a.data.dtype());
            by_type.then_with(|| a.name.cmp(&b.name))
        });
        let mut end = 0;
        let infos = tensors.iter().map(|tensor| {
            let start = end;
            end += tensor.data.len() * 4;
            let info = TensorInfo {
                dtype: tensor.data.dtype(),
                shape: tensor.shape.clone(),
                data_offsets: (start, end),
            };
            (tensor.name.clone(), info)
        });
        let note = note.map(|note| HashMap::from([("note".to_owned(), note)]));
        let metadata = Metadata::new(note, infos.collect()).map_err(io::Error::other)?;
        let mut json = serde_json::to_vec(&metadata)?;
        json.resize(json.len().next_multiple_of(8), b' ');
        let mut header = (json.len() as u64).to_le_bytes().to_vec();
        header.append(&mut json);
        Ok(Self { header, tensors })
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> u64 {
        let data: u64 = self.tensors.iter().map(|t| t.data.len() as u64 * 4).sum();
        self.header.len() as u64 + data
    }

    /// The file's bytes.
    pub(crate) fn reader(&self) -> TensorFileReader<'_> {
        TensorFileReader {
            file: self,
            next: 0,
            part: Cow::Borrowed(&self.header),
            position: 0,
        }
    }
}

/// The bytes of a file of tensors, which are where they were.
pub(crate) struct TensorFileReader<'a> {
    file: &'a TensorFile<'a>,
    /// The tensor after the current part.
    next: usize,
    part: Cow<'a, [u8]>,
    position: usize,
}

impl Read for TensorFileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.part.len() {
            let Some(tensor) = self.file.tensors.get(self.next) else {
                return Ok(0);
            };
            self.part = tensor.data.bytes();
            (self.next, self.position) = (self.next + 1, 0);
        }
        let n = buffer.len().min(self.part.len() - self.position);
        buffer[..n].copy_from_slice(&self.part[self.position..][..n]);
        self.position += n;
        Ok(n)
    }
}

/// Reads the header; what follows are the tensors' bytes in the order of their offsets.
pub(crate) fn read_header(r: &mut impl Read) -> io::Result<Metadata> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut length = [0; 8];
    r.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(invalid(format!("a header of {length} bytes")));
    }
    let mut json = Vec::new();
    if r.take(length).read_to_end(&mut json)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&json).map_err(|e| invalid(e.to_string()))
}

/// Fills `values` with the bytes that come next.
pub(crate) fn read_values(r: &mut impl Read, values: &mut [f32]) -> io::Result<()> {
    r.read_exact(bytemuck::cast_slice_mut(values))?;
    if cfg!(target_endian = "big") {
        for value in values {
            *value = f32::from_bits(value.to_bits().swap_bytes());
        }
    }
    Ok(())
}
