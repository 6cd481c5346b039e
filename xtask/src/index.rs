//! The index of a registry: which versions of a crate it has. The Cargo Book, "Registry Index", its sparse protocol.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use aws_smithy_types::body::SdkBody;
use serde::Deserialize;

use crate::web;

/// That of crates.io.
const CRATES_IO: &str = "https://index.crates.io";

/// An index that is asked over HTTP.
pub(crate) struct Index {
    url: String,
    runtime: tokio::runtime::Runtime,
}

/// A line of a crate's file.
#[derive(Deserialize)]
struct Line {
    vers: String,
}

impl Index {
    /// The index of a registry of cargo's configuration, as it holds in a folder; that of crates.io without a name.
    pub(crate) fn find(folder: &Path, registry: Option<&str>) -> anyhow::Result<Self> {
        let url = match registry {
            None | Some("crates-io") => CRATES_IO.to_owned(),
            Some(name) => {
                let index = configured(folder, name)?;
                let Some(url) = index.strip_prefix("sparse+") else {
                    bail!(
                        "the index of the registry `{name}` is a git repository (`{index}`), which is not read here"
                    );
                };
                url.trim_end_matches('/').to_owned()
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        Ok(Self { url, runtime })
    }

    /// The versions that the registry has of a crate, yanked ones too; none of one that it does not know.
    pub(crate) fn versions(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let url = format!("{}/{}", self.url, place(name));
        let request = http::Request::get(&url)
            .header(
                "user-agent",
                concat!("ipinsights-xtask/", env!("CARGO_PKG_VERSION")),
            )
            .body(SdkBody::empty())
            .with_context(|| format!("`{url}` is not an address"))?;
        let (status, body) = self.runtime.block_on(web::send(request))?;
        match status {
            200 => body
                .lines()
                .map(|line| {
                    let line: Line = serde_json::from_str(line)
                        .with_context(|| format!("{url} is no file of an index"))?;
                    Ok(line.vers)
                })
                .collect(),
            404 | 410 | 451 => Ok(Vec::new()),
            _ => bail!("{url} answered with HTTP {status}"),
        }
    }
}

/// Where the index has the file of a crate.
fn place(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.len() {
        0..=2 => format!("{}/{name}", name.len()),
        3 => format!("3/{}/{name}", &name[..1]),
        _ => format!("{}/{}/{name}", &name[..2], &name[2..4]),
    }
}

/// The index of a registry in cargo's configuration: a variable, or the files in the folder and above it and in cargo's own folder.
fn configured(folder: &Path, name: &str) -> anyhow::Result<String> {
    let variable = format!("CARGO_REGISTRIES_{}_INDEX", name.to_uppercase().replace('-', "_"));
    if let Ok(index) = std::env::var(&variable) {
        return Ok(index);
    }
    let own = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let own = own.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let folders = folder.ancestors().map(|above| above.join(".cargo")).chain(own);
    for folder in folders {
        for file in ["config.toml", "config"].map(|file| folder.join(file)) {
            let Ok(text) = std::fs::read_to_string(&file) else {
                continue;
            };
            let document: toml_edit::DocumentMut = text
                .parse()
                .with_context(|| format!("`{}` cannot be read", file.display()))?;
            let registry = document.get("registries").and_then(|all| all.get(name));
            if let Some(index) = registry.and_then(|registry| registry.get("index")?.as_str()) {
                return Ok(index.to_owned());
            }
        }
    }
    bail!("cargo's configuration has no registry `{name}`: set `registries.{name}.index`, or {variable}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_have_their_places() {
        for (name, want) in [
            ("a", "1/a"),
            ("ab", "2/ab"),
            ("abc", "3/a/abc"),
            ("Geodata", "ge/od/geodata"),
        ] {
            assert_eq!(place(name), want);
        }
    }

    #[test]
    fn a_registry_is_found_as_cargo_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::create_dir(folder.path().join(".cargo")).unwrap();
        std::fs::write(
            folder.path().join(".cargo/config.toml"),
            "[registries]\nnear = { index = \"sparse+http://127.0.0.1:1/index/\" }\nold = { index = \"https://example.com/git\" }\n",
        )
        .unwrap();
        let find = |name: &str| Index::find(&below, Some(name)).map(|index| index.url);
        assert_eq!(find("near").unwrap(), "http://127.0.0.1:1/index");
        assert_eq!(find("crates-io").unwrap(), CRATES_IO);
        assert_eq!(
            find("old").unwrap_err().to_string(),
            "the index of the registry `old` is a git repository (`https://example.com/git`), which is not read here"
        );
        assert_eq!(
            find("x-y").unwrap_err().to_string(),
            "cargo's configuration has no registry `x-y`: set `registries.x-y.index`, or CARGO_REGISTRIES_X_Y_INDEX"
        );
    }
}
