//! Files that are mapped into memory: with `vector.rs`, all that is unsafe in this crate.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use memmap2::Mmap;

/// Maps a file, to be read only.
pub(crate) fn file(file: &File) -> io::Result<Arc<Mmap>> {
    #[expect(
        unsafe_code,
        reason = "a file that is changed while it is mapped changes under our hands; `Model::map_folder` says so"
    )]
    // SAFETY: the map is only read, and every read of it is checked against its length. That nobody changes the file
    // meanwhile is asked of those who call `Model::map_folder`.
    unsafe { Mmap::map(file) }.map(Arc::new)
}

/// Numbers in a mapped file.
// INVARIANT: the bytes of the range are whole, aligned numbers of four bytes.
#[derive(Debug, Clone)]
pub(crate) struct Numbers {
    map: Arc<Mmap>,
    bytes: Range<usize>,
}

impl Numbers {
    /// The numbers at these bytes of the map; `None` where they do not lie as this machine needs them.
    pub(crate) fn new(map: &Arc<Mmap>, bytes: Range<usize>) -> Option<Self> {
        let native = cfg!(target_endian = "little");
        let aligned = bytemuck::try_cast_slice::<u8, f32>(map.get(bytes.clone())?).is_ok();
        (native && aligned).then(|| Self {
            map: Arc::clone(map),
            bytes,
        })
    }

    pub(crate) fn as_slice<T: Pod>(&self) -> &[T] {
        // Only `f32` is ever mapped.
        bytemuck::try_cast_slice(&self.map[self.bytes.clone()]).unwrap_or_default()
    }
}
