#![no_main]

#[path = "../uses.rs"]
mod uses;

use std::path::PathBuf;
use std::sync::LazyLock;

/// One for each process, in memory where there is such a place.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    let folder = parent.join(format!("geodata-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the files");
    folder
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| uses::csv_folder(bytes, &FOLDER));
