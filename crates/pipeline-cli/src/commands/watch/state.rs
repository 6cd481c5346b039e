//! The file that keeps how far everything was read.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use access_events::follow::{Mark, Positions};
use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::files::Draft;

/// The positions, and the file that keeps them, where one was asked for.
pub(super) struct State {
    path: Option<PathBuf>,
    content: Content,
    is_kept: bool,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// Whose positions these are.
    source: PathBuf,
    positions: Positions,
}

const VERSION: u32 = 1;

impl State {
    /// Reads the file, if it is there.
    pub(super) fn open(path: Option<&Path>, source: &Path) -> anyhow::Result<Self> {
        let source =
            std::path::absolute(source).with_context(|| format!("`{}` cannot be read", source.display()))?;
        let mut content = Content {
            version: VERSION,
            source,
            positions: Positions::default(),
        };
        if let Some(path) = path {
            match std::fs::read(path) {
                Ok(bytes) => content = read(path, &bytes, content)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    // A place that cannot be written to is told at once.
                    Draft::at(path)?;
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("`{}` cannot be read", path.display()));
                }
            }
        }
        Ok(Self {
            path: path.map(Path::to_owned),
            content,
            is_kept: true,
        })
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(super) fn positions(&self) -> &Positions {
        &self.content.positions
    }

    pub(super) fn reach(&mut self, marks: Vec<Mark>) {
        self.is_kept &= marks.is_empty();
        self.content.positions.reach(marks);
    }

    /// Whether the file says all that there is to say.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept || self.path.is_none()
    }

    /// Writes the file, in one step.
    pub(super) fn keep(&mut self) -> anyhow::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let draft = Draft::at(path)?;
        let mut file = draft.writer()?;
        let written = serde_json::to_vec(&self.content)?;
        file.write_all(&written)
            .and_then(|()| file.sync_all())
            .with_context(|| format!("`{}` cannot be written", path.display()))?;
        draft.keep()?;
        self.is_kept = true;
        Ok(())
    }
}

fn read(path: &Path, bytes: &[u8], expected: Content) -> anyhow::Result<Content> {
    let content: Content = serde_json::from_slice(bytes).map_err(|error| Failure {
        source: Some(error.into()),
        ..Failure::data(format!(
            "`{}` holds no positions of `watch`: give another --state",
            path.display()
        ))
    })?;
    if content.version != expected.version {
        return Err(Failure::data(format!(
            "`{}` is of version {}, and {VERSION} is read",
            path.display(),
            content.version
        ))
        .into());
    }
    if content.source != expected.source {
        return Err(Failure::usage(format!(
            "`{}` has the positions of `{}`: give each source a --state of its own",
            path.display(),
            content.source.display()
        ))
        .into());
    }
    Ok(content)
}
