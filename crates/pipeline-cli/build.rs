//! Which commit and which versions of other crates a released program is made of, for the record in its reports.
//!
//! Development builds leave the commit out: it would build this crate anew after every commit.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

fn main() {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    println!("cargo::rerun-if-changed=build.rs");
    // In a package there is one of its own; in the workspace, one for all.
    let locks = [package.join("Cargo.lock"), package.join("../../Cargo.lock")];
    if let Some((path, lock)) = locks
        .iter()
        .find_map(|path| Some((path, std::fs::read(path).ok()?)))
    {
        println!("cargo::rerun-if-changed={}", path.display());
        let mut hex = String::new();
        for byte in Sha256::digest(&lock) {
            let _ = write!(hex, "{byte:02x}");
        }
        println!("cargo::rustc-env=IPINSIGHTS_LOCK_SHA256={hex}");
    }
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release")
        && let Some(commit) = packaged(&package).or_else(|| checked_out(&package))
    {
        println!("cargo::rustc-env=IPINSIGHTS_COMMIT={commit}");
    }
}

/// The commit that cargo writes into a package.
fn packaged(package: &Path) -> Option<String> {
    let info = std::fs::read_to_string(package.join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = info.split_once("\"sha1\"")?;
    let commit = rest.split('"').nth(1)?;
    is_commit(commit).then(|| commit.to_owned())
}

/// The commit that is checked out, with `-dirty` where files of it are changed.
fn checked_out(package: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(package)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    // A package that was unpacked inside of another repository is not of that repository's commit.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    let commit = git(&["rev-parse", "HEAD"]).filter(|commit| is_commit(commit))?;
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={}", package.join(log).display());
    }
    // Whether files are changed is looked at anew when one is.
    for sources in ["..", "../../Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", package.join(sources).display());
    }
    let dirty =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|changes| !changes.is_empty());
    Some(if dirty { format!("{commit}-dirty") } else { commit })
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
