//! What this program is made of, as the build script found it.

use pipeline::report::Build;

/// For the record in a report.
pub fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("IPINSIGHTS_COMMIT").map(str::to_owned),
        lock_sha256: option_env!("IPINSIGHTS_LOCK_SHA256").map(str::to_owned),
    }
}
