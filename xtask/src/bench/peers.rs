//! Encoders in other libraries, trained by scripts on the same rows in the same run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use ipinsights::{Hyperparameters, Score};
use serde::Deserialize;

use super::train::{Figures, Quality, Speed};
use crate::tools;

/// A library, and the script that trains with it.
#[derive(Debug)]
pub(crate) struct Library {
    name: &'static str,
    /// What it is installed by.
    packages: &'static [&'static str],
    script: &'static str,
    /// What the script calls an encoder, and what the table does.
    encoders: &'static [(&'static str, &'static str)],
}

/// Several gigabytes, most of them for graphics processors.
pub(crate) const TORCH: Library = Library {
    name: "PyTorch",
    packages: &["torch==2.15.0", "numpy==2.4.6"],
    script: include_str!("peers/in_torch.py"),
    encoders: &[
        ("same", "the same encoder and loss"),
        ("prefixes", "hashed prefixes and one layer"),
        ("bits", "32 bits and two ReLU layers"),
    ],
};

/// Its last release, which later versions of NumPy break.
pub(crate) const MXNET: Library = Library {
    name: "MXNet",
    packages: &["mxnet==1.9.1", "numpy==1.23.5"],
    script: include_str!("peers/in_mxnet.py"),
    encoders: &[
        ("same", "the same encoder and loss"),
        ("prefixes", "hashed prefixes and one layer"),
    ],
};

const COMMON: &str = include_str!("peers/common.py");

/// How a script trains.
pub(crate) struct Settings<'a> {
    /// What `bench-data` wrote.
    pub(crate) data: &'a Path,
    pub(crate) params: &'a Hyperparameters,
    /// 0 means one for each core.
    pub(crate) threads: usize,
    pub(crate) seed: u64,
    /// Mini-batches to measure; 0 means the whole training, whose quality is told as well.
    pub(crate) batches: u64,
}

/// What a script prints.
#[derive(Debug, Deserialize)]
struct Measured {
    version: String,
    rows: u64,
    seconds: f64,
    processor_seconds: f64,
    memory: u64,
    weights: u64,
    #[serde(default)]
    pairs_per_second: Option<f64>,
}

/// Measures every encoder of a library, or says why none can be.
///
/// `python` has the library and NumPy; without one they are installed into a temporary folder.
pub(crate) fn measure(
    library: &Library,
    python: Option<&Path>,
    settings: &Settings<'_>,
) -> anyhow::Result<Vec<(String, Figures)>> {
    let name = library.name;
    let folder = tempfile::tempdir()?;
    let python = match python {
        Some(python) => python.to_owned(),
        None => match tools::from_pypi(folder.path(), library.packages) {
            Ok(programs) => programs.join("python"),
            Err(reason) => {
                println!("{name}: skipped, it cannot be installed: {reason:#}");
                return Ok(Vec::new());
            }
        },
    };
    std::fs::write(folder.path().join("common.py"), COMMON)?;
    std::fs::write(folder.path().join(SCRIPT), library.script)?;
    let mut columns = Vec::new();
    for (encoder, title) in library.encoders {
        let measured = run(&python, folder.path(), encoder, settings).with_context(|| name.to_owned())?;
        println!("{name} {}: {title}", measured.version);
        let quality = match settings.batches {
            0 => Some(quality(folder.path())?),
            _ => None,
        };
        columns.push((format!("{name}, {title}"), figures(&measured, quality)));
    }
    Ok(columns)
}

/// What the script is called in the folder.
const SCRIPT: &str = "train.py";

/// Runs the script, which leaves its scores in the folder.
fn run(python: &Path, folder: &Path, encoder: &str, settings: &Settings<'_>) -> anyhow::Result<Measured> {
    let mut json = serde_json::to_value(settings.params.to_map())?;
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    json["threads"] = match settings.threads {
        0 => cores(),
        threads => threads,
    }
    .into();
    json["seed"] = settings.seed.into();
    if settings.batches > 0 {
        json["batches"] = settings.batches.into();
    }
    let output = Command::new(python)
        .arg(folder.join(SCRIPT))
        .args([settings.data, folder])
        .args([encoder, &json.to_string()])
        .output()
        .with_context(|| format!("`{}` cannot be run", python.display()))?;
    ensure!(
        output.status.success(),
        "the script failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("the script does not say what it measured")
}

fn figures(measured: &Measured, quality: Option<Quality>) -> Figures {
    Figures {
        quality,
        speed: Some(Speed {
            rows: measured.rows as f64,
            seconds: measured.seconds,
            processor_seconds: measured.processor_seconds,
        }),
        pairs_per_second: measured.pairs_per_second,
        microseconds_a_pair: None,
        memory: Some(measured.memory),
        weights: measured.weights,
    }
}

/// From the scores that the script left.
fn quality(folder: &Path) -> anyhow::Result<Quality> {
    let [normal, attack, validation, random] =
        ["normal", "attack", "validation", "random"].map(|name| scores(&folder.join(name)));
    let auc = ipinsights::evaluation::auc(&validation?, &random?);
    Quality::of(&normal?, &attack?, auc)
}

/// Little-endian floats.
fn scores(path: &Path) -> anyhow::Result<Vec<Score>> {
    let bytes = std::fs::read(path).with_context(|| format!("could not read `{}`", path.display()))?;
    let (floats, rest) = bytes.as_chunks::<4>();
    ensure!(rest.is_empty(), "`{}` ends within a number", path.display());
    Ok(floats
        .iter()
        .map(|bytes| Score::new(f32::from_le_bytes(*bytes)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_read_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, numbers: &[f32]| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        write("normal", &[1.0, 2.0, -0.5, 3.0]);
        write("attack", &[-1.0, 0.5, -2.0, -3.0]);
        write("validation", &[1.0, 0.1]);
        write("random", &[0.1, -1.0]);
        let quality = quality(folder.path()).unwrap();
        // 15 of 16 pairs in order, and 3 with a tie of 4.
        assert_eq!(
            (quality.auc, quality.discriminator_auc),
            (15.0 / 16.0, Some(0.875))
        );
        // Three of four attacks are below 0, and one normal row.
        assert_eq!(quality.at_zero, [0.75, 0.75, 0.25]);
        std::fs::write(folder.path().join("normal"), [0; 5]).unwrap();
        assert!(scores(&folder.path().join("normal")).is_err());
    }

    #[test]
    fn what_the_script_prints_becomes_a_column() {
        let measured: Measured = serde_json::from_str(
            r#"{"version": "2.15.0", "rows": 14200, "seconds": 0.5, "processor_seconds": 1.0, "memory": 1048576, "weights": 7}"#,
        )
        .unwrap();
        let figures = figures(&measured, None);
        assert_eq!(figures.speed.unwrap().rows_per_second(), 28_400.0);
        assert_eq!((figures.weights, figures.memory), (7, Some(1 << 20)));
    }
}
