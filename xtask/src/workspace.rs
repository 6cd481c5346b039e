//! Where the workspace is, and the tools around it.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The folder of the root `Cargo.toml`, whatever folder the task was started from.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The cargo that started us, so that a toolchain chosen by `cargo +toolchain xtask` stays chosen.
pub(crate) fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Whether a program of this name lies in a folder of `PATH`.
pub(crate) fn is_installed(program: &str) -> bool {
    find_program(program).is_some()
}

/// The program of this name that a folder of `PATH` has first.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let with_suffix = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path)
        .flat_map(|folder| [folder.join(name), folder.join(&with_suffix)])
        .find(|program| program.is_file())
}

/// SHA-256 of some bytes, as digests are written.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_has_the_workspace_manifest() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.starts_with("[workspace]"));
    }

    #[test]
    fn a_program_that_is_not_there_is_not_installed() {
        assert!(!is_installed("cargo-no-such-subcommand"));
    }
}
