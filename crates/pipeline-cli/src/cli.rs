//! The arguments.

use std::path::PathBuf;

use access_events::format::TimeFormat;
use access_events::policy::{ForwardedRule, Ipv6Rule, PrincipalRule, SpecialRule};
use clap::{Args, Parser, Subcommand, ValueEnum};
use geodata::CountrySource;

use ipnet::Ipv4Net;
use jiff::Timestamp;

use crate::commands::calibrate::CalibrateArgs;
use crate::commands::evaluate::EvaluateArgs;
use crate::commands::score::Judging;
use crate::exit;
use crate::output::{Color, Format};

mod tuning;

pub use tuning::{AdviseArgs, LogStyle, TrainArgs, TuneArgs, TuneStrategy};

/// Finds logins and API calls from IP addresses that do not fit: trains IP Insights on (entity, IPv4) pairs, serves the
/// model, scores new pairs. On this machine by default, or in an AWS account with --target aws.
#[derive(Debug, Parser)]
#[command(name = "ipinsights", version, after_help = exit::HELP)]
pub struct Cli {
    /// For every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Arguments of every command.
#[derive(Debug, Args)]
pub struct Common {
    /// How results are printed on stdout
    #[arg(long, global = true, value_parser = Format::among(&[Format::Text, Format::Json]), default_value = "text", display_order = 900)]
    pub format: Format,
    /// When to colour
    #[arg(long, global = true, value_enum, default_value = "auto", display_order = 901)]
    pub color: Color,
    /// No progress on stderr
    #[arg(long, short, global = true, display_order = 902)]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sample, upload, train, deploy, wait until InService, score, judge
    Run(Box<RunArgs>),
    /// Draw training, held-out and outlier rows from a country database
    Sample(SampleArgs),
    /// List the networks of a country
    List(ListArgs),
    /// Say in which network and country addresses are
    Lookup(LookupArgs),
    /// Read a whole database and report every defect; or repeat the run or the evaluation of a report and compare
    Verify(VerifyArgs),
    /// Download GeoLite2 and GeoIP2 databases from MaxMind, each release once
    Fetch(FetchArgs),
    /// Turn logs (CloudTrail, GuardDuty, flow logs, web logs, OCSF, tables, JSON) into `entity,ip` rows
    Extract(Box<ExtractArgs>),
    /// Train a model on a CSV of `entity,ip` rows, here and now
    Train(Box<TrainArgs>),
    /// Search for better hyperparameters, and keep the best model
    Tune(Box<TuneArgs>),
    /// Say which hyperparameters suit a CSV of `entity,ip` rows, and why
    Advise(AdviseArgs),
    /// Score `entity,ip` rows with a model file or through an endpoint
    Score(Box<ScoreArgs>),
    /// Answer `POST /score` on 127.0.0.1, as the Lambda function of score-lambda does
    ScoreServer(ScoreServerArgs),
    /// Follow a growing log or a folder, score what comes in, and tell of what does not fit
    Watch(Box<WatchArgs>),
    /// Put a threshold for a stated rate of false alarms into a model file
    Calibrate(CalibrateArgs),
    /// Say how well a model tells normal rows from others: figures, JSON, pictures
    Evaluate(EvaluateArgs),
    /// Serve S3, SageMaker, its runtime and Step Functions on 127.0.0.1
    Serve(ServeArgs),
    /// Train or serve as SageMaker calls a container: files under /opt/ml, port 8080
    #[command(subcommand)]
    Container(ipinsights_container::Command),
    /// Print or draw the state machine
    Definition(Box<DefinitionArgs>),
    /// Check definitions of state machines: Amazon States Language as JSON or YAML, CloudFormation and SAM templates
    Validate(ValidateArgs),
    /// Draw a state machine from its definition, with what an execution did in it
    Graph(GraphArgs),
    /// Say what differs between two definitions, state by state
    Diff(DiffArgs),
    /// Run a state machine, or one state of it, without an account
    #[command(subcommand)]
    States(StatesCommand),
    /// Delete endpoint, configurations, models and state machine of a pipeline, and say what is left
    Destroy(DestroyArgs),
    /// Print the JSON Schema of a report.json
    Schema(SchemaArgs),
    /// Print what completes this command's words in a shell
    Completions(CompletionsArgs),
    /// Write the man pages, one for each command
    Man(ManArgs),
}

/// Where the services are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// In this process, on 127.0.0.1: no account, no network.
    Local,
    /// The AWS account that the environment or profile gives.
    Aws,
}

impl Target {
    /// As the arguments and the report spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Aws => "aws",
        }
    }
}

/// Which services, and where.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Where to run
    #[arg(long, value_enum, default_value = "local")]
    pub target: Target,
    /// Folder of the local services' objects and resources [env: IPINSIGHTS_DATA_DIR; default: .ipinsights]
    #[arg(long, value_name = "DIR", conflicts_with = "endpoint_url")]
    pub data_dir: Option<PathBuf>,
    /// Use the services at this URL, such as a running `ipinsights serve`, instead of starting any
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// AWS region [env: REGION or AWS_REGION; local default: us-east-1]
    #[arg(long)]
    pub region: Option<String>,
}

/// Which country database, and how it is read.
#[derive(Debug, Clone, Args)]
pub struct Source {
    /// GeoLite2-Country or -City database: .mmdb, .tar.gz, the .zip of its CSV files, or a folder [default: the built-in
    /// sample]
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// How the database is read.
    #[command(flatten)]
    pub reading: Reading,
}

/// How a database is read.
#[derive(Debug, Clone, Args)]
pub struct Reading {
    /// Which countries of a record count, the first that it has: located, registered, represented
    #[arg(
        long,
        value_name = "SOURCE,...",
        value_delimiter = ',',
        default_value = "located,registered"
    )]
    pub country_source: Vec<CountrySource>,
    /// Language of the countries' names, such as de or pt-BR [default: en]
    #[arg(long, value_name = "LANGUAGE")]
    pub language: Option<String>,
}

/// What to sample.
#[derive(Debug, Clone, Args)]
pub struct Sampling {
    /// Which database.
    #[command(flatten)]
    pub source: Source,
    /// Countries of the training rows, by ISO code or English name; or `top:N`, those with most networks
    #[arg(
        long,
        value_name = "CC,...",
        value_delimiter = ',',
        default_value = "US,GB,FR,DE,CA"
    )]
    pub countries: Vec<String>,
    /// Training rows per country
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub per_country: usize,
    /// Held-out rows per country
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub held_out: usize,
    /// Further in-country rows per country, to measure false alarms with: control.csv
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub control: usize,
    /// Country of the outliers, by ISO code or English name
    #[arg(long, value_name = "CC", default_value = "SG")]
    pub outlier_country: String,
    /// Outliers, each tagged with one of the countries in turn [default: 5]
    #[arg(long, value_name = "N")]
    pub outliers: Option<usize>,
    /// Further outliers, for an AUC that five rows cannot give
    #[arg(long, value_name = "N", default_value_t = 250)]
    pub evaluation_outliers: usize,
    /// What is as likely as the other: a country's networks, or its addresses
    #[arg(long, value_enum, default_value = "network")]
    pub by: DrawBy,
    /// Which address of a network stands for it
    #[arg(long, value_enum, default_value = "first")]
    pub address: RowAddress,
    /// No two parts of the sample share a block of addresses of this prefix length, such as 16
    #[arg(long, value_name = "LENGTH")]
    pub disjoint: Option<u8>,
    /// A country with too few networks gives those it has, and the manifest counts what is missing
    #[arg(long)]
    pub allow_fewer: bool,
    /// Seed of the sample: the same seed and database give the same bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// The outlier rows: drawn from the database, or the five of the published experiment
    #[arg(long, value_enum, default_value = "sampled")]
    pub test_rows: TestRows,
}

/// What is as likely as the other in a draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DrawBy {
    /// Each network, be it a /8 or a /32.
    Network,
    /// Each address: larger networks are likelier.
    Address,
}

/// Which address stands for a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RowAddress {
    /// The first.
    First,
    /// Any; the seed decides.
    Random,
}

/// Which outlier rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TestRows {
    /// Drawn from the database.
    Sampled,
    /// The five rows of the published experiment.
    Published,
}

/// How to train.
#[derive(Debug, Clone, Args)]
pub struct Training {
    /// Train as the published experiment did (num_entity_vectors 10, vector_dim 128, all else default), instead of as
    /// suits the number of rows
    #[arg(long)]
    pub published_settings: bool,
    /// Set a hyperparameter by its documented name; may be repeated
    #[arg(long = "hyperparameter", short = 'p', value_name = "NAME=VALUE", value_parser = name_value)]
    pub hyperparameters: Vec<(String, String)>,
}

fn name_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("it takes NAME=VALUE, such as epochs=20".to_owned()),
    }
}

fn finite(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("it takes a finite number".to_owned()),
    }
}

/// What an account needs to know; the local target does without.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "For --target aws")]
pub struct Account {
    /// Role of the state machine [env: WORKFLOW_EXECUTION_ROLE]
    #[arg(long, value_name = "ARN")]
    pub workflow_execution_role: Option<String>,
    /// Role of training and serving [env: ESTIMATOR_ROLE]
    #[arg(long, value_name = "ARN")]
    pub estimator_role: Option<String>,
    /// Instance type that trains [env: TRAINING_INSTANCE; default: ml.m5.large]
    #[arg(long, value_name = "TYPE")]
    pub training_instance: Option<String>,
    /// Instance type that serves [env: HOSTING_INSTANCE; default: ml.m5.large]
    #[arg(long, value_name = "TYPE")]
    pub hosting_instance: Option<String>,
    /// Folder for rows [env: DATA_LOCATION; default: in a bucket of the account that the run creates]
    #[arg(long, value_name = "S3-URI")]
    pub data_location: Option<String>,
    /// Folder for models [env: ARTIFACT_LOCATION; default: in the same bucket]
    #[arg(long, value_name = "S3-URI")]
    pub artifact_location: Option<String>,
}

/// The pipeline's name.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Name of the pipeline: its endpoint, its state machine, and the beginning of every other name
    #[arg(long, default_value = "ipinsights")]
    pub name: String,
}

/// `ipinsights run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which services.
    #[command(flatten)]
    pub place: Place,
    /// The pipeline's name.
    #[command(flatten)]
    pub named: Named,
    /// What to sample.
    #[command(flatten)]
    pub sampling: Sampling,
    /// How to train.
    #[command(flatten)]
    pub training: Training,
    /// Share of normal rows, such as in-country ones, that may be flagged: the threshold is calibrated to it
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub false_positive_rate: f64,
    /// Folder for report.html, report.json, definition.asl.json, definition.svg and the files of the rows
    #[arg(long, value_name = "DIR", default_value = "ipinsights-report")]
    pub report: PathBuf,
    /// Write no report
    #[arg(long, conflicts_with = "report")]
    pub no_report: bool,
    /// Own rows. After what has no heading, which this one would reach on to.
    #[command(flatten)]
    pub own: OwnRows,
    /// For an account.
    #[command(flatten)]
    pub account: Account,
}

/// Rows that somebody has, in place of a sample.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Your own rows, in place of a sample")]
pub struct OwnRows {
    /// Train on these `entity,ip` rows, such as `ipinsights extract` writes; --seed decides which of them are held out
    #[arg(long, value_name = "FILE", conflicts_with_all = DRAWING, conflicts_with = "database")]
    pub rows: Option<PathBuf>,
    /// Held-out rows of the same entities, such as later ones [default: a share of --rows]
    #[arg(long, value_name = "FILE", requires = "rows")]
    pub validation: Option<PathBuf>,
    /// Share of --rows to hold out, by lot; never an entity's last row
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.2,
        requires = "rows",
        conflicts_with = "validation"
    )]
    pub held_out_share: f64,
    /// Rows to judge
    #[arg(long, value_name = "FILE", requires = "rows")]
    pub test: Option<PathBuf>,
    /// Rows known not to be normal, to measure with [default: held-out addresses, given to other entities]
    #[arg(long, value_name = "FILE", requires = "rows")]
    pub anomalous: Option<PathBuf>,
}

/// What says how a sample is drawn, the database and the seed aside.
const DRAWING: [&str; 14] = [
    "country_source",
    "language",
    "countries",
    "per_country",
    "held_out",
    "control",
    "outlier_country",
    "outliers",
    "evaluation_outliers",
    "by",
    "address",
    "disjoint",
    "allow_fewer",
    "test_rows",
];

/// `ipinsights sample`
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// What to sample.
    #[command(flatten)]
    pub sampling: Sampling,
    /// Draw the sample of this manifest again: the same bytes, or what differs and exit code 14
    #[arg(long, value_name = "FILE", conflicts_with_all = DRAWING, conflicts_with = "seed")]
    pub from_manifest: Option<PathBuf>,
    /// Folder for train.csv, validation.csv, test.csv, evaluation.csv and manifest.json
    #[arg(long, short, value_name = "DIR", default_value = "sample")]
    pub output: PathBuf,
}

/// `ipinsights list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Countries, by ISO code or name
    #[arg(long, value_name = "CC,...", value_delimiter = ',', required = true)]
    pub country: Vec<String>,
    /// Which database.
    #[command(flatten)]
    pub source: Source,
    /// GeoLite2-ASN database, for the number and organization of each network
    #[arg(long, value_name = "FILE")]
    pub asn: Option<PathBuf>,
    /// Join networks that together are one
    #[arg(long, conflicts_with = "asn")]
    pub aggregate: bool,
    /// How networks are printed
    #[arg(
        long,
        value_parser = Format::among(&[Format::Cidr, Format::Csv, Format::Jsonl]),
        default_value = "cidr"
    )]
    pub format: Format,
}

/// `ipinsights lookup`
#[derive(Debug, Args)]
pub struct LookupArgs {
    /// IPv4 addresses; without any, they are read from stdin, one a line
    #[arg(value_name = "ADDRESS")]
    pub addresses: Vec<String>,
    /// Which database.
    #[command(flatten)]
    pub source: Source,
    /// GeoLite2-ASN database, for the number and organization of each network
    #[arg(long, value_name = "FILE")]
    pub asn: Option<PathBuf>,
}

/// `ipinsights verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Database in any form, of countries or of autonomous systems; or a report.json, whose run or evaluation is done again and
    /// compared [default: the built-in sample]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Language of the countries' names, such as de or pt-BR [default: en]
    #[arg(long, value_name = "LANGUAGE")]
    pub language: Option<String>,
    /// Tell every defect, a line each, rather than the first hundred
    #[arg(long)]
    pub all: bool,
    /// For a report of a sample: the database that it was drawn from [default: the built-in sample]
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// For a report of a run: where to run again; in the account the pipeline is called NAME-verify and deleted afterwards [default: local]
    #[arg(long, value_enum)]
    pub target: Option<Target>,
    /// For a report of the account: its region [default: the report's]
    #[arg(long)]
    pub region: Option<String>,
}

/// `ipinsights fetch`
#[derive(Debug, Args)]
#[command(
    after_help = "Account id and license key come from GEOIPUPDATE_ACCOUNT_ID and GEOIPUPDATE_LICENSE_KEY (or ..._FILE, which \
names a file with it), from the same with MAXMIND_ for GEOIPUPDATE_, or from a GeoIP.conf; an argument would be seen by others."
)]
pub struct FetchArgs {
    /// What to download, such as GeoLite2-Country or GeoLite2-City-CSV [env: GEOIPUPDATE_EDITION_IDS]
    #[arg(value_name = "EDITION")]
    pub editions: Vec<String>,
    /// Folder for the databases [env: GEOIPUPDATE_DB_DIR; default: the current one]
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Settings in the form of GeoIP.conf [env: GEOIPUPDATE_CONF_FILE]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Server [env: GEOIPUPDATE_HOST; default: download.maxmind.com]
    #[arg(long, value_name = "URL")]
    pub host: Option<String>,
    /// Keep the .tar.gz as it is downloaded, instead of the database in it
    #[arg(long)]
    pub archive: bool,
    /// Download nothing; end with 13 unless everything is there and the latest
    #[arg(long)]
    pub check: bool,
}

/// `ipinsights extract`
#[derive(Debug, Args)]
pub struct ExtractArgs {
    /// A file, a folder of any depth, `-` for stdin, or s3://bucket/prefix; plain or gzip
    #[arg(value_name = "SOURCE", required = true)]
    pub sources: Vec<String>,
    /// Kind of log [default: by each input's first bytes, where they leave no doubt]
    #[arg(long, value_enum, value_name = "KIND")]
    pub from: Option<LogKind>,
    /// Where the pairs go, as `entity,ip` rows [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Also write the counts to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Records that cannot be understood: stop at the first, or count them and go on
    #[arg(
        long,
        value_enum,
        default_value = "stop",
        value_name = "stop|skip",
        hide_possible_values = true
    )]
    pub on_error: OnError,
    /// Threads; 0 is one per core. The pairs do not depend on it
    #[arg(long, value_name = "N", default_value = "0", value_parser = threads)]
    pub threads: usize,
    /// Which services, for s3:// sources. Before those with a heading, which would reach on to it.
    #[command(flatten)]
    pub place: Place,
    /// Which uses count.
    #[command(flatten)]
    pub selection: Selection,
    /// What becomes of the pairs.
    #[command(flatten)]
    pub shaping: Shaping,
    /// What goes with some kinds of log.
    #[command(flatten)]
    pub kinds: KindArgs,
}

/// The kinds of log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogKind {
    /// AWS CloudTrail.
    Cloudtrail,
    /// Amazon GuardDuty findings.
    Guardduty,
    /// VPC flow logs, text.
    Flow,
    /// Apache and NGINX, common and combined.
    Web,
    /// OCSF events as JSON, as in Amazon Security Lake.
    Ocsf,
    /// Any table.
    Csv,
    /// Any JSON.
    Jsonl,
}

impl LogKind {
    /// All of them.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// As the arguments spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cloudtrail => "cloudtrail",
            Self::Guardduty => "guardduty",
            Self::Flow => "flow",
            Self::Web => "web",
            Self::Ocsf => "ocsf",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// What to do with a record that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// Stop.
    Stop,
    /// Count it and go on.
    Skip,
}

/// Which uses become pairs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Who, from where, when")]
pub struct Selection {
    /// Which name is the entity; role cuts AWS' principalId at the colon, so that all sessions of a role are one
    #[arg(long, default_value = "role", value_name = "role|full|user-name|arn")]
    pub principal: PrincipalRule,
    /// IPv6 addresses, which the algorithm does not know: count and leave out, or refuse the input
    #[arg(long, default_value = "skip", value_name = "skip|reject")]
    pub ipv6: Ipv6Rule,
    /// Private, loopback, documentation and other special-purpose addresses: count and leave out, or keep
    #[arg(long, default_value = "skip", value_name = "skip|keep")]
    pub special: SpecialRule,
    /// Which address of a list counts, as X-Forwarded-For has them
    #[arg(long, default_value = "first-public", value_name = "first|last|first-public")]
    pub forwarded: ForwardedRule,
    /// Only uses at this time or after it: 2025-03-01 (UTC) or 2025-03-01T12:00:00+01:00
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// Only uses before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Timestamp>,
    /// Only addresses of this network; may be repeated, and @FILE has one a line
    #[arg(long, value_name = "CIDR|@FILE")]
    pub allow: Vec<String>,
    /// No address of this network; goes before --allow
    #[arg(long, value_name = "CIDR|@FILE")]
    pub deny: Vec<String>,
    /// Only this entity; may be repeated, and @FILE has one a line
    #[arg(long, value_name = "ENTITY|@FILE")]
    pub allow_entity: Vec<String>,
    /// Not this entity; goes before --allow-entity
    #[arg(long, value_name = "ENTITY|@FILE")]
    pub deny_entity: Vec<String>,
}

/// What becomes of the pairs as a whole.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Which pairs, in which order")]
pub struct Shaping {
    /// Split by time: pairs before it go to --output, those at it or after to --later
    #[arg(long, value_name = "TIME", value_parser = time, requires_all = ["output", "later"])]
    pub train_until: Option<Timestamp>,
    /// Where the later pairs go
    #[arg(long, value_name = "FILE", requires = "train_until")]
    pub later: Option<PathBuf>,
    /// Each pair once, for scoring; training learns from repeats
    #[arg(long)]
    pub unique: bool,
    /// Leave out entities with fewer pairs than this, repeats counted; after a split, fewer in the earlier part
    #[arg(long, value_name = "N")]
    pub min_events: Option<u64>,
    /// Put the pairs in an order drawn from this seed, as training wants them
    #[arg(long, value_name = "SEED")]
    pub shuffle: Option<u64>,
    /// Memory for --unique, --min-events and --shuffle; what does not fit goes to temporary files
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub memory: usize,
    /// Folder for temporary files [default: the system's]
    #[arg(long, value_name = "DIR")]
    pub temp_dir: Option<PathBuf>,
}

/// What only some kinds of log have.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "For some kinds of log")]
pub struct KindArgs {
    /// csv, jsonl: column or path of the entity, joined with --separator when repeated; flow: interface-id and others
    #[arg(long, value_name = "FIELD")]
    pub entity: Vec<String>,
    /// csv, jsonl: column or path of the address
    #[arg(long, value_name = "FIELD")]
    pub address: Option<String>,
    /// csv, jsonl: column or path of the time
    #[arg(long, value_name = "FIELD")]
    pub time: Option<String>,
    /// csv, jsonl: how the time is written [default: rfc3339]
    #[arg(long, value_name = "rfc3339|seconds|millis")]
    pub time_format: Option<TimeFormat>,
    /// csv, jsonl: what stands between the parts of an entity [default: /]
    #[arg(long, value_name = "TEXT")]
    pub separator: Option<String>,
    /// csv: the first row is data; columns go by number, from 1
    #[arg(long)]
    pub no_header: bool,
    /// csv: what stands between fields [default: ,]
    #[arg(long, value_name = "CHAR")]
    pub delimiter: Option<String>,
    /// csv: quotes are ordinary characters
    #[arg(long)]
    pub no_quotes: bool,
    /// web: only requests that begin so, such as 'GET /login_success'; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub request_prefix: Vec<String>,
    /// web: only requests answered so; may be repeated
    #[arg(long, value_name = "CODE")]
    pub status: Vec<u16>,
    /// web: the address is the quoted X-Forwarded-For after referrer and user agent, as NGINX' format main has it
    #[arg(long)]
    pub forwarded_field: bool,
    /// flow: the columns of a log without a header line
    #[arg(long, value_name = "NAMES")]
    pub columns: Option<String>,
    /// flow: only flows to this port; may be repeated
    #[arg(long, value_name = "N")]
    pub port: Vec<u16>,
    /// flow: a public network that is the VPC's own, for logs without flow-direction; may be repeated
    #[arg(long, value_name = "CIDR")]
    pub own_network: Vec<Ipv4Net>,
    /// flow: the log has no column action, since only accepted flows are in it
    #[arg(long)]
    pub all_accepted: bool,
}

/// As many threads as a machine may have cores.
fn threads(text: &str) -> Result<usize, String> {
    const MOST: usize = 1024;
    let number = text.parse().ok().filter(|number| *number <= MOST);
    number.ok_or_else(|| format!("it takes a number from 0 to {MOST}"))
}

/// A moment, or the beginning of a day in UTC.
fn time(text: &str) -> Result<Timestamp, String> {
    let day = text
        .parse::<jiff::civil::Date>()
        .ok()
        .filter(|_| text.len() == "2025-03-01".len());
    let time = match day {
        Some(day) => day
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|day| day.timestamp()),
        None => text.parse().ok(),
    };
    time.ok_or_else(|| "write it as 2025-03-01 (UTC) or 2025-03-01T12:00:00Z".to_owned())
}

/// Who scores, and where the line is.
#[derive(Debug, Args)]
pub struct Scored {
    /// Score with this model file instead of an endpoint
    #[arg(
        long,
        short,
        value_name = "FILE",
        conflicts_with_all = ["endpoint", "target", "data_dir", "endpoint_url", "region"]
    )]
    pub model: Option<PathBuf>,
    /// Score through this endpoint
    #[arg(long, value_name = "NAME", default_value = "ipinsights")]
    pub endpoint: String,
    /// Flag scores below this one [default: the threshold a model file is calibrated for]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true, value_parser = finite)]
    pub threshold: Option<f32>,
    /// Which services.
    #[command(flatten)]
    pub place: Place,
}

/// `ipinsights score`
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// Rows as `entity,ip`; without any, and without --input, they are read from stdin
    #[arg(value_name = "ENTITY,IP")]
    pub rows: Vec<String>,
    /// Rows from a file
    #[arg(long, short, value_name = "FILE", conflicts_with = "rows")]
    pub input: Option<PathBuf>,
    /// Who scores. Before what has a heading, which would reach on to it.
    #[command(flatten)]
    pub scored: Scored,
    /// What a model file can say beside a score.
    #[command(flatten)]
    pub judging: Judging,
}

/// `ipinsights score-server`
#[derive(Debug, Args)]
pub struct ScoreServerArgs {
    /// Port; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port: u16,
    /// Who scores.
    #[command(flatten)]
    pub scored: Scored,
    /// Let the log on stderr name entities and addresses of anomalous rows
    #[arg(long)]
    pub log_identifiers: bool,
}

/// `ipinsights watch`
#[derive(Debug, Args)]
#[command(
    after_help = "Every event is scored at least once: positions are kept in --state after its alerts are written. The id of an alert is \
the same when it comes again."
)]
pub struct WatchArgs {
    /// A log that grows and is rotated, or a folder of any depth that gets files, plain or gzip; or the URL of an SQS queue that is
    /// told of new objects in S3
    #[arg(value_name = "SOURCE")]
    pub source: PathBuf,
    /// Kind of log [default: by each file's first bytes, where they leave no doubt]
    #[arg(long, value_enum, value_name = "KIND")]
    pub from: Option<LogKind>,
    /// Where to go on after a stop: this file keeps how far everything was read
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Process what is there, and end
    #[arg(long)]
    pub once: bool,
    /// Begin at the end of what is there, unless --state knows better
    #[arg(long)]
    pub only_new: bool,
    /// How often to look at files, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub interval: std::time::Duration,
    /// Records that cannot be understood: stop at the first, or count them and go on
    #[arg(
        long,
        value_enum,
        default_value = "skip",
        value_name = "stop|skip",
        hide_possible_values = true
    )]
    pub on_error: OnError,
    /// How alerts are written
    #[arg(
        long,
        value_parser = Format::among(&[Format::Jsonl, Format::Cef, Format::Ocsf]),
        default_value = "jsonl"
    )]
    pub format: Format,
    /// Add the alerts to this file [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Name of this machine in lines of syslog, which --format cef writes [default: the system's]
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Who scores. Before what has a heading, which would reach on to it.
    #[command(flatten)]
    pub scored: Scored,
    /// Which alerts.
    #[command(flatten)]
    pub alerting: Alerting,
    /// Which uses count.
    #[command(flatten)]
    pub selection: Selection,
    /// What goes with some kinds of log.
    #[command(flatten)]
    pub kinds: KindArgs,
}

/// Which of what is flagged becomes an alert.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Which alerts")]
pub struct Alerting {
    /// No alert for addresses of this network; may be repeated, and @FILE has one a line
    #[arg(long, value_name = "CIDR|@FILE")]
    pub trust: Vec<String>,
    /// No alert for this entity; may be repeated, and @FILE has one a line
    #[arg(long, value_name = "ENTITY|@FILE")]
    pub trust_entity: Vec<String>,
    /// At most so many alerts for an entity in s, m or h, such as 5/10m; the next one says how many were held back
    #[arg(long, value_name = "N/TIME", default_value = "10/1h", value_parser = crate::commands::watch::Limit::parse)]
    pub limit: crate::commands::watch::Limit,
    /// Entities that were not in the training rows of a model file: no alert, or one by their score
    #[arg(
        long,
        requires = "model",
        value_enum,
        default_value = "withhold",
        value_name = "score|withhold",
        hide_possible_values = true
    )]
    pub unknown_entity: UnknownEntity,
}

/// What to do with entities that the model does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnknownEntity {
    /// Judge them by their score.
    Score,
    /// Count them.
    Withhold,
}

fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (0.01..=86_400.0).contains(seconds));
    match seconds {
        Some(seconds) => Ok(std::time::Duration::from_secs_f64(seconds)),
        None => Err("it takes a number of seconds, from 0.01 to 86400".to_owned()),
    }
}

/// `ipinsights serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Port; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port: u16,
    /// Address to listen on; one that other machines can reach needs --allow-remote
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub listen: std::net::IpAddr,
    /// Answer other machines, too: whoever reaches the port can do everything, unless there are --credentials
    #[arg(long)]
    pub allow_remote: bool,
    /// Keep nothing, whatever --data-dir says: a temporary folder, which goes with the server; POST /_reset empties it
    #[arg(long)]
    pub ephemeral: bool,
    /// Let jobs and endpoints take about as long as the service takes to find machines for them
    #[arg(long)]
    pub realistic_timing: bool,
    /// Refuse requests that are not signed with a key of this file: one `KEY_ID SECRET` a line
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<PathBuf>,
    /// Folder of objects and resources
    #[arg(
        long,
        value_name = "DIR",
        env = "IPINSIGHTS_DATA_DIR",
        default_value = ".ipinsights"
    )]
    pub data_dir: PathBuf,
    /// Scale what Wait states of executions wait; 0.01 makes a minute of 100
    #[arg(long, value_name = "FACTOR", env = "WAIT_TIME_SCALE", default_value_t = 1.0)]
    pub wait_time_scale: f64,
    /// Results of tasks by test case, in the form of Step Functions Local
    #[arg(long, value_name = "FILE", env = "SFN_MOCK_CONFIG")]
    pub mock_config: Option<PathBuf>,
    /// Also print the lines that point AWS clients here, for `eval`; with --credentials without a key, which clients have
    #[arg(long)]
    pub print_env: bool,
}

/// `ipinsights definition`
#[derive(Debug, Args)]
pub struct DefinitionArgs {
    /// As what
    #[arg(long = "as", value_enum, default_value = "asl")]
    pub form: DefinitionForm,
    /// Which services the definition is for: an account gets its image and the pace of its instances
    #[arg(long, value_enum, default_value = "local")]
    pub target: Target,
    /// AWS region [env: REGION or AWS_REGION; default: us-east-1]
    #[arg(long)]
    pub region: Option<String>,
    /// The pipeline's name.
    #[command(flatten)]
    pub named: Named,
    /// How to train.
    #[command(flatten)]
    pub training: Training,
    /// For an account.
    #[command(flatten)]
    pub account: Account,
}

/// How the state machine is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DefinitionForm {
    /// Amazon States Language.
    Asl,
    /// A picture.
    Svg,
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
}

/// `ipinsights validate`
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 no errors (warnings aside), 1 errors, 2 a file could not be read.")]
pub struct ValidateArgs {
    /// Definitions or templates; `-` is stdin
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// How findings are printed
    #[arg(
        long,
        value_parser = Format::among(&[Format::Text, Format::Json, Format::Sarif]),
        default_value = "text"
    )]
    pub format: Format,
}

/// `ipinsights graph`
#[derive(Debug, Args)]
pub struct GraphArgs {
    /// Definition or template; `-` is stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// As what
    #[arg(
        long,
        value_parser = Format::among(&[Format::Svg, Format::Dot, Format::Mermaid]),
        default_value = "svg"
    )]
    pub format: Format,
    /// Events of an execution, as `aws stepfunctions get-execution-history` prints them: states get their outcome and
    /// duration
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Which state machine of a template, by its logical id [default: the only one]
    #[arg(long, value_name = "ID")]
    pub state_machine: Option<String>,
}

/// `ipinsights diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Definition or template; `-` is stdin
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The same, later
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Which state machine of a template, by its logical id [default: the only one]
    #[arg(long, value_name = "ID")]
    pub state_machine: Option<String>,
}

/// `ipinsights completions`
#[derive(Debug, Args)]
#[command(after_help = "\
bash: ipinsights completions bash > ~/.local/share/bash-completion/completions/ipinsights
zsh:  ipinsights completions zsh > a folder of $fpath/_ipinsights
fish: ipinsights completions fish > ~/.config/fish/completions/ipinsights.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `ipinsights man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for the pages, such as ~/.local/share/man/man1; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}

/// `ipinsights states`
#[derive(Debug, Subcommand)]
pub enum StatesCommand {
    /// Run a machine to its end and print its output
    Run(StatesRunArgs),
    /// Run one state as TestState does and print what came of it
    Test(StatesTestArgs),
}

/// `ipinsights states run`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the execution has succeeded, 1 the definition or the mock file cannot be used, 2 a file \
could not be read, 5 the execution has not succeeded, 130 Ctrl-C has stopped it."
)]
pub struct StatesRunArgs {
    /// Definition or template; `-` is stdin
    #[arg(value_name = "DEFINITION")]
    pub definition: PathBuf,
    /// Input: JSON, or a file that holds it [default: {}]
    #[arg(long, value_name = "FILE|JSON")]
    pub input: Option<String>,
    /// Results of tasks, in the form of Step Functions Local (SFN_MOCK_CONFIG)
    #[arg(long, value_name = "FILE")]
    pub mock: Option<PathBuf>,
    /// Which test case of the mock file, as NAME or MACHINE#NAME [default: the only one]
    #[arg(long, value_name = "NAME", requires = "mock")]
    pub test_case: Option<String>,
    /// Print the events, too
    #[arg(long)]
    pub history: bool,
    /// Tell on stderr what happens while it happens
    #[arg(long)]
    pub follow: bool,
    /// Take no time for waiting: time moves on when nothing but it is waited for, and stands still during jobs
    #[arg(long)]
    pub virtual_time: bool,
    /// Scale what Wait states wait; 0.01 makes a minute of 100
    #[arg(long, value_name = "FACTOR", env = "WAIT_TIME_SCALE")]
    pub wait_time_scale: Option<f64>,
    /// Folder of objects and resources that tasks can use [default: an empty one, removed afterwards]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Which state machine of a template, by its logical id [default: the only one]
    #[arg(long, value_name = "ID")]
    pub state_machine: Option<String>,
}

/// `ipinsights states test`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the state has succeeded, is to be retried, or its error was caught; 1 the definition cannot be \
used, 2 a file could not be read, 5 the state has failed."
)]
pub struct StatesTestArgs {
    /// The state's definition, or with --name a machine's; `-` is stdin
    #[arg(value_name = "STATE")]
    pub state: PathBuf,
    /// Which state of a machine
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Which state machine of a template, by its logical id [default: the only one]
    #[arg(long, value_name = "ID", requires = "name")]
    pub state_machine: Option<String>,
    /// Input: JSON, or a file that holds it [default: {}]
    #[arg(long, value_name = "FILE|JSON")]
    pub input: Option<String>,
    /// Variables: a JSON object, or a file that holds it
    #[arg(long, value_name = "FILE|JSON")]
    pub variables: Option<String>,
    /// The context object: JSON, or a file that holds it
    #[arg(long, value_name = "FILE|JSON")]
    pub context: Option<String>,
    /// Result in place of the task's, or of what is inside of a Map or Parallel state
    #[arg(long, value_name = "FILE|JSON", conflicts_with = "error")]
    pub result: Option<String>,
    /// Error in place of the result
    #[arg(long, value_name = "NAME")]
    pub error: Option<String>,
    /// Cause of the error
    #[arg(long, value_name = "TEXT", requires = "error")]
    pub cause: Option<String>,
    /// How closely --result is held against what the task's API answers [default: strict]
    #[arg(long, value_name = "MODE", value_parser = ["strict", "present", "none"], requires = "result")]
    pub field_validation: Option<String>,
    /// How many retries there have been before
    #[arg(long, value_name = "N")]
    pub retry_count: Option<u32>,
    /// How much is told
    #[arg(long, value_parser = ["info", "debug", "trace"], default_value = "info")]
    pub level: String,
    /// Folder of objects and resources that the task can use [default: an empty one, removed afterwards]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// `ipinsights schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Of which report
    #[arg(value_enum, default_value = "run")]
    pub kind: ReportKind,
}

/// The kinds of report.json, by their member `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportKind {
    /// Of a run that ended well.
    Run,
    /// Of a run that failed.
    FailedRun,
    /// Of an evaluation.
    Evaluation,
}

/// `ipinsights destroy`
#[derive(Debug, Args)]
pub struct DestroyArgs {
    /// Delete the logs of the endpoint and of the training jobs in CloudWatch, too
    #[arg(long)]
    pub logs: bool,
    /// Which services.
    #[command(flatten)]
    pub place: Place,
    /// The pipeline's name.
    #[command(flatten)]
    pub named: Named,
}
