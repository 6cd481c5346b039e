//! The files of the contract.

use std::path::{Path, PathBuf};

/// Where everything is: under `/opt/ml`, or another root in a test.
///
/// ```
/// use ipinsights_container::Layout;
///
/// let layout = Layout::default();
/// assert_eq!(layout.channel("train").to_str(), Some("/opt/ml/input/data/train"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Default for Layout {
    fn default() -> Self {
        Self::new("/opt/ml")
    }
}

impl Layout {
    /// Everything under this folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder that holds everything.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The hyperparameters: one flat object of strings.
    pub fn hyperparameters(&self) -> PathBuf {
        self.root.join("input/config/hyperparameters.json")
    }

    /// What is known of each channel.
    pub fn input_data_config(&self) -> PathBuf {
        self.root.join("input/config/inputdataconfig.json")
    }

    /// The machines of the job.
    pub fn resource_config(&self) -> PathBuf {
        self.root.join("input/config/resourceconfig.json")
    }

    /// The folder that holds the channels.
    pub fn data(&self) -> PathBuf {
        self.root.join("input/data")
    }

    /// The files of a channel.
    pub fn channel(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    /// What becomes `model.tar.gz` after training, and what that is unpacked to for serving.
    pub fn model(&self) -> PathBuf {
        self.root.join("model")
    }

    /// Where output goes; `data` in it becomes `output.tar.gz`.
    pub fn output(&self) -> PathBuf {
        self.root.join("output")
    }

    /// Why training failed.
    pub fn failure(&self) -> PathBuf {
        self.output().join("failure")
    }

    /// Kept in step with S3 where the job asks for it; it is there only then.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }
}
