//! The arguments of `train`, `tune` and `advise`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Training;

/// `ipinsights train`
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Training rows: `entity,ip` without a header
    #[arg(long, short, value_name = "FILE")]
    pub data: PathBuf,
    /// Rows to compute the AUC on after each epoch
    #[arg(long, value_name = "FILE")]
    pub validation: Option<PathBuf>,
    /// Where the model goes
    #[arg(long, short, value_name = "FILE", default_value = "model.tar.gz")]
    pub output: PathBuf,
    /// How to train.
    #[command(flatten)]
    pub training: Training,
    /// Seed: the same seed, rows and hyperparameters give the same model
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Threads; 0 is one per core. The model does not depend on it
    #[arg(long, value_name = "N", default_value = "0", value_parser = super::threads)]
    pub threads: usize,
    /// Begin with this model's weights; num_entity_vectors, vector_dim and num_ip_encoder_layers are then its own
    #[arg(long, value_name = "FILE")]
    pub warm_start: Option<PathBuf>,
    /// End when the validation AUC has not risen for so many epochs, with the best epoch's model
    #[arg(long, value_name = "EPOCHS", requires = "validation")]
    pub early_stop: Option<u32>,
    /// What an epoch must bring to count as better
    #[arg(long, value_name = "AUC", default_value_t = 0.0, requires = "early_stop")]
    pub min_delta: f64,
    /// Write a checkpoint to this folder after each epoch and at Ctrl-C, and go on from the one that is there
    #[arg(long, value_name = "DIR")]
    pub checkpoints: Option<PathBuf>,
    /// Write one after so many mini-batches, too
    #[arg(long, value_name = "BATCHES", requires = "checkpoints")]
    pub checkpoint_every: Option<u64>,
    /// Begin anew, whatever checkpoint is there
    #[arg(long, requires = "checkpoints")]
    pub restart: bool,
    /// How training is told on stderr
    #[arg(long, value_enum, default_value = "progress")]
    pub log: LogStyle,
}

/// How training is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogStyle {
    /// An epoch a line, for people.
    Progress,
    /// The service's own log lines, for tools that read them.
    Service,
}

/// `ipinsights tune`
#[derive(Debug, Args)]
#[command(
    after_help = "Ranges are 64..1024, 0.0001..0.1:log (or :linear, :reverse-log), or lists such as 32|64|128. An interrupted \
search goes on with the same arguments and --resume; --trials may then be larger."
)]
pub struct TuneArgs {
    /// Training rows: `entity,ip` without a header
    #[arg(long, short, value_name = "FILE")]
    pub data: PathBuf,
    /// Rows to compute the objective on, validation:discriminator_auc
    #[arg(long, value_name = "FILE")]
    pub validation: PathBuf,
    /// Where the best model goes, each time there is a better one
    #[arg(long, short, value_name = "FILE", default_value = "model.tar.gz")]
    pub output: PathBuf,
    /// Tune a hyperparameter over a range, or over its documented one; may be repeated [default: the documented ranges of all but
    /// num_entity_vectors and epochs]
    #[arg(long = "range", short, value_name = "NAME[=RANGE]")]
    pub ranges: Vec<String>,
    /// How trials are chosen
    #[arg(long, value_enum, default_value = "random")]
    pub strategy: TuneStrategy,
    /// Trials [default: 20; of a grid, every combination]
    #[arg(long, value_name = "N")]
    pub trials: Option<u32>,
    /// Trials at a time; what is chosen next depends on it
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub parallel: u32,
    /// halving: epochs of the first rung
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub min_epochs: u32,
    /// halving: one of so many goes on to the next rung, with so many times the epochs
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub eta: u32,
    /// bayesian: trials that are drawn at random first [default: a third, from 2 to 10]
    #[arg(long, value_name = "N")]
    pub startup: Option<u32>,
    /// Stop a trial after an epoch that is worse than the median of those before it
    #[arg(long)]
    pub stop_hopeless: bool,
    /// The values of what is not tuned.
    #[command(flatten)]
    pub training: Training,
    /// Seed: the same seed, rows and settings give the same trials and the same model
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Threads, all trials together; 0 is one per core. The result does not depend on it
    #[arg(long, value_name = "N", default_value = "0", value_parser = super::threads)]
    pub threads: usize,
    /// Where every trial is written down, as JSON lines
    #[arg(long, value_name = "FILE", default_value = "tuning.jsonl")]
    pub journal: PathBuf,
    /// Go on with the search of the journal
    #[arg(long)]
    pub resume: bool,
}

/// How trials are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TuneStrategy {
    /// At random.
    Random,
    /// Every combination of lists of values.
    Grid,
    /// At random; the best are trained on, rung by rung.
    Halving,
    /// The same, without waiting for a rung to be full.
    AsyncHalving,
    /// Where the good ones are likely to be, by a tree-structured Parzen estimator.
    Bayesian,
}

/// `ipinsights advise`
#[derive(Debug, Args)]
pub struct AdviseArgs {
    /// Training rows: `entity,ip` without a header
    #[arg(value_name = "FILE")]
    pub data: PathBuf,
}
