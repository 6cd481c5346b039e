//! A registry of crates on loopback, in front of crates.io: what is published to it is served from memory, anything else is sent there.
//!
//! It speaks as much of cargo's protocols (sparse index, web API, downloads) as publishing and building take; The Cargo Book,
//! "Running a Registry".

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::workspace;

/// Where crates that nobody published here are.
const INDEX: &str = "https://index.crates.io";
const DOWNLOADS: &str = "https://static.crates.io/crates";
/// The name of crates.io in what cargo publishes; here it is this registry.
const CRATES_IO: &str = "https://github.com/rust-lang/crates.io-index";
/// crates.io takes packages of ten megabytes.
const MAX_PACKAGE_BYTES: usize = 10 << 20;

/// A registry that serves until the program ends.
pub(crate) struct Registry {
    address: String,
    published: Arc<Mutex<Published>>,
}

#[derive(Default)]
struct Published {
    /// Lines of the index and packages, by name and version.
    crates: BTreeMap<String, BTreeMap<String, (Value, Vec<u8>)>>,
    upstream: bool,
    /// How many requests to publish are answered with "too many" first.
    refusals: u32,
}

impl Registry {
    /// Listens on loopback. `upstream` says whether what was not published here is looked for at crates.io.
    pub(crate) fn start(upstream: bool) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
        let registry = Self {
            address: listener.local_addr()?.to_string(),
            published: Arc::new(Mutex::new(Published {
                upstream,
                ..Published::default()
            })),
        };
        let (address, published) = (registry.address.clone(), Arc::clone(&registry.published));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (address, published) = (address.clone(), Arc::clone(&published));
                std::thread::spawn(move || serve(stream, &address, &published));
            }
        });
        Ok(registry)
    }

    /// Writes the configuration by which cargo, in this folder and below, takes this registry for crates.io and knows it as `local`.
    pub(crate) fn configure(&self, folder: &Path) -> anyhow::Result<()> {
        let address = &self.address;
        let text = format!(
            "[source.crates-io]\nreplace-with = \"local-mirror\"\n\n[source.local-mirror]\nregistry = \
             \"sparse+http://{address}/index/\"\n\n[registries.local]\nindex = \"sparse+http://{address}/index/\"\ntoken = \"none\"\n"
        );
        let folder = folder.join(".cargo");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("config.toml"), text).context("cannot write cargo's configuration")
    }

    /// Answers so many requests to publish with "too many requests", as crates.io does to who publishes many new crates.
    #[cfg(test)]
    pub(crate) fn refuse(&self, times: u32) {
        self.published.lock().unwrap().refusals = times;
    }

    /// Has a version of a crate that was not published by way of this program.
    #[cfg(test)]
    pub(crate) fn add(&self, name: &str, version: &str) {
        let line =
            json!({"name": name, "vers": version, "deps": [], "cksum": "", "features": {}, "yanked": false});
        let mut published = self.published.lock().unwrap();
        let versions = published.crates.entry(name.to_owned()).or_default();
        versions.insert(version.to_owned(), (line, Vec::new()));
    }

    /// Names and versions of what was published.
    pub(crate) fn published(&self) -> Vec<(String, String)> {
        let published = self.published.lock().unwrap_or_else(|e| e.into_inner());
        published
            .crates
            .iter()
            .flat_map(|(name, versions)| {
                versions
                    .keys()
                    .map(move |version| (name.clone(), version.clone()))
            })
            .collect()
    }
}

/// An answer: the status and either a body or the place to look instead.
enum Answer {
    Body(u16, Vec<u8>),
    Elsewhere(String),
}

fn serve(stream: TcpStream, address: &str, published: &Mutex<Published>) {
    let Ok(output) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    // A connection may be used for several requests.
    while let Ok(Some((method, path, body))) = request(&mut reader) {
        let answer = answer(&method, &path, &body, address, published)
            .unwrap_or_else(|error| Answer::Body(400, refusal(&format!("{error:#}"))));
        if write_answer(&output, answer).is_err() {
            return;
        }
    }
}

fn refusal(detail: &str) -> Vec<u8> {
    json!({"errors": [{"detail": detail}]}).to_string().into_bytes()
}

fn write_answer(mut output: &TcpStream, answer: Answer) -> std::io::Result<()> {
    let (status, place, body) = match answer {
        Answer::Body(status, body) => (status, String::new(), body),
        Answer::Elsewhere(place) => (302, format!("location: {place}\r\n"), Vec::new()),
    };
    write!(
        output,
        "HTTP/1.1 {status} -\r\n{place}content-length: {}\r\n\r\n",
        body.len()
    )?;
    output.write_all(&body)
}

/// Reads a request; `None` at the end of the connection.
fn request(reader: &mut BufReader<TcpStream>) -> anyhow::Result<Option<(String, String, Vec<u8>)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        bail!("not a request: {line}");
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut length = 0;
    let mut expects = false;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        expects |= line == "expect: 100-continue";
    }
    // The package, and what cargo says of it.
    if length > MAX_PACKAGE_BYTES + (1 << 20) {
        bail!("a request of {length} bytes");
    }
    if expects {
        reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((method, path, body)))
}

fn answer(
    method: &str,
    path: &str,
    body: &[u8],
    address: &str,
    published: &Mutex<Published>,
) -> anyhow::Result<Answer> {
    let mut published = published.lock().unwrap_or_else(|e| e.into_inner());
    if (method, path) == ("GET", "/index/config.json") {
        let config = json!({
            "dl": format!("http://{address}/download/{{crate}}/{{version}}"),
            "api": format!("http://{address}"),
        });
        return Ok(Answer::Body(200, config.to_string().into_bytes()));
    }
    if let ("GET", Some(place)) = (method, path.strip_prefix("/index/")) {
        let name = place.rsplit('/').next().unwrap_or_default();
        return Ok(match published.crates.get(name) {
            Some(versions) => {
                let lines: Vec<String> = versions.values().map(|(line, _)| line.to_string()).collect();
                Answer::Body(200, (lines.join("\n") + "\n").into_bytes())
            }
            None if published.upstream => Answer::Elsewhere(format!("{INDEX}/{place}")),
            None => Answer::Body(404, refusal("there is no such crate")),
        });
    }
    if let ("GET", Some(place)) = (method, path.strip_prefix("/download/")) {
        let (name, version) = place.split_once('/').context("no version is asked for")?;
        let found = published
            .crates
            .get(name)
            .and_then(|versions| versions.get(version));
        return Ok(match found {
            Some((_, package)) => Answer::Body(200, package.clone()),
            None if !published.upstream => Answer::Body(404, refusal("there is no such crate")),
            None => Answer::Elsewhere(format!("{DOWNLOADS}/{name}/{version}/download")),
        });
    }
    if (method, path) == ("PUT", "/api/v1/crates/new") {
        if published.refusals > 0 {
            published.refusals -= 1;
            let detail = "You have published too many new crates. Please try again after Thu, 01 Jan 1970 00:00:00 GMT.";
            return Ok(Answer::Body(429, refusal(detail)));
        }
        return publish(body, &mut published);
    }
    Ok(Answer::Body(404, refusal("there is no such path")))
}

fn publish(body: &[u8], published: &mut Published) -> anyhow::Result<Answer> {
    let (metadata, rest) = part(body)?;
    let (package, _) = part(rest)?;
    let metadata: Value = serde_json::from_slice(metadata)?;
    let text = |key: &str| metadata[key].as_str().map(str::to_owned);
    let (name, version) = (
        text("name").context("no name")?,
        text("vers").context("no version")?,
    );
    for key in ["description", "license"] {
        if text(key).is_none_or(|text| text.trim().is_empty()) {
            bail!("missing or empty metadata fields: {key}");
        }
    }
    if package.len() > MAX_PACKAGE_BYTES {
        bail!("max upload size is: {MAX_PACKAGE_BYTES}");
    }
    let versions = published.crates.entry(name.clone()).or_default();
    if versions.contains_key(&version) {
        bail!("crate version `{version}` is already uploaded");
    }
    let line = json!({
        "name": name,
        "vers": version,
        "deps": metadata["deps"].as_array().map(|deps| deps.iter().map(dependency).collect::<Vec<_>>()),
        "cksum": workspace::sha256(package),
        "features": metadata["features"],
        "yanked": false,
        "links": metadata["links"],
        "rust_version": metadata["rust_version"],
    });
    versions.insert(version, (line, package.to_vec()));
    let warnings = json!({"warnings": {"invalid_categories": [], "invalid_badges": [], "other": []}});
    Ok(Answer::Body(200, warnings.to_string().into_bytes()))
}

/// A dependency as the index has it.
fn dependency(published: &Value) -> Value {
    let renamed = published["explicit_name_in_toml"].as_str();
    let registry = published["registry"].as_str().filter(|&url| url != CRATES_IO);
    json!({
        "name": renamed.or(published["name"].as_str()),
        "req": published["version_req"],
        "features": published["features"],
        "optional": published["optional"],
        "default_features": published["default_features"],
        "target": published["target"],
        "kind": published["kind"],
        "registry": registry,
        "package": renamed.and(published["name"].as_str()),
    })
}

/// A part of the body: its length in four bytes, the lowest first, and so many bytes.
fn part(body: &[u8]) -> anyhow::Result<(&[u8], &[u8])> {
    let (length, rest) = body.split_first_chunk::<4>().context("the body is cut short")?;
    let length = u32::from_le_bytes(*length) as usize;
    rest.split_at_checked(length).context("the body is cut short")
}
