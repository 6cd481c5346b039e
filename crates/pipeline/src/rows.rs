//! The rows of a run: drawn from a country database, or somebody's own.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use access_events::AccessEvent;
use geodata::Sample;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::hex::hex;
use crate::report::Difference;

/// What a run trains on, and what it judges the model by.
#[derive(Debug, Clone)]
pub enum Rows {
    /// Drawn from a country database.
    Sample(Box<Sample>),
    /// Somebody's own.
    Own(Box<OwnRows>),
}

impl From<Sample> for Rows {
    fn from(sample: Sample) -> Self {
        Self::Sample(Box::new(sample))
    }
}

impl From<OwnRows> for Rows {
    fn from(rows: OwnRows) -> Self {
        Self::Own(Box::new(rows))
    }
}

impl Rows {
    /// Rows to train on.
    pub fn train(&self) -> &[AccessEvent] {
        match self {
            Self::Sample(sample) => &sample.train,
            Self::Own(rows) => &rows.train,
        }
    }

    /// Normal rows that are held out of the training: the threshold is calibrated on them.
    pub fn validation(&self) -> &[AccessEvent] {
        match self {
            Self::Sample(sample) => &sample.validation,
            Self::Own(rows) => &rows.validation,
        }
    }

    /// Further normal rows, on which nothing was calibrated.
    pub fn control(&self) -> &[AccessEvent] {
        match self {
            Self::Sample(sample) => &sample.control,
            Self::Own(_) => &[],
        }
    }

    /// Rows to judge.
    pub fn test(&self) -> &[AccessEvent] {
        match self {
            Self::Sample(sample) => &sample.test,
            Self::Own(rows) => &rows.test,
        }
    }

    /// Rows that are not normal, to measure with.
    pub fn evaluation(&self) -> &[AccessEvent] {
        match self {
            Self::Sample(sample) => &sample.evaluation,
            Self::Own(rows) => &rows.evaluation,
        }
    }

    /// The seed that they were drawn, or split, with.
    pub fn seed(&self) -> u64 {
        match self {
            Self::Sample(sample) => sample.manifest.seed,
            Self::Own(rows) => rows.manifest.seed,
        }
    }

    /// How many entities there are to train on, by the manifest.
    pub fn entities(&self) -> usize {
        match self {
            Self::Sample(sample) => sample.manifest.countries.len(),
            Self::Own(rows) => rows.manifest.entities,
        }
    }

    /// `train.csv`, `validation.csv` and what else there is, `manifest.json` last.
    ///
    /// # Errors
    ///
    /// [`Error::Sample`] and [`Error::Rows`] for rows that no CSV can hold, and none of a reader's are such.
    pub fn files(&self) -> Result<Vec<RowFile>, Error> {
        match self {
            Self::Sample(sample) => Ok(sample
                .files()?
                .into_iter()
                .map(|file| RowFile {
                    name: file.name,
                    bytes: file.bytes,
                })
                .collect()),
            Self::Own(rows) => rows.files(),
        }
    }
}

/// A file of a run's rows, in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFile {
    /// Its name, without a folder.
    pub name: &'static str,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Rows as somebody gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Where they come from, as that was written.
    pub path: String,
    /// The rows.
    pub rows: Vec<AccessEvent>,
    /// SHA-256 of what they were read from, hex.
    pub sha256: String,
}

/// Own rows, before they are split and looked over.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnRowsDraft {
    /// Normal rows to train on, and to hold some of out where there is no `validation`.
    pub train: Given,
    /// Normal rows to hold out.
    pub validation: Option<Given>,
    /// Rows to judge.
    pub test: Option<Given>,
    /// Rows that are known not to be normal, to measure with. Where there are none, held-out addresses are given to other entities.
    pub anomalous: Option<Given>,
    /// The share of `train` to hold out where there is no `validation`: above 0, below 1.
    pub held_out: f64,
    /// Decides which rows are held out, and who gets whose address.
    pub seed: u64,
}

/// Own rows: split, with the manifest that says how.
///
/// Every entity of the held-out rows and of those to measure with has rows to train on: what a model makes of strangers means nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnRows {
    train: Vec<AccessEvent>,
    validation: Vec<AccessEvent>,
    test: Vec<AccessEvent>,
    evaluation: Vec<AccessEvent>,
    manifest: OwnManifest,
}

/// Where own rows come from, and what became of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OwnManifest {
    /// [`OwnManifest::VERSION`].
    #[schemars(extend("const" = Self::VERSION))]
    pub version: u32,
    /// What tells it from the manifest of a sample.
    pub kind: OwnKind,
    /// The program that wrote it, such as `pipeline 0.1.0`.
    pub written_by: String,
    /// The seed of the split.
    pub seed: u64,
    /// What was given.
    pub inputs: Vec<InputFacts>,
    /// The share of the training rows that was held out; nothing where held-out rows were given.
    pub held_out: Option<f64>,
    /// What the rows to measure with are.
    pub evaluation: EvaluationRows,
    /// How many entities there are rows to train on of.
    pub entities: usize,
    /// What was left out, and why.
    pub skipped: Vec<SkippedRows>,
    /// The files of the run's rows, the manifest aside.
    pub files: Vec<FileFacts>,
}

/// The kind of a manifest of own rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OwnKind {
    /// The only one.
    #[default]
    Rows,
}

/// A file that was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputFacts {
    /// What for.
    pub part: Part,
    /// As it was written.
    pub path: String,
    /// How many rows it has.
    pub rows: usize,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
}

/// A part of a run's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// To train on.
    Train,
    /// Held out.
    Validation,
    /// To judge.
    Test,
    /// To measure with.
    Evaluation,
}

impl Part {
    /// The name of its file.
    pub fn file(self) -> &'static str {
        match self {
            Self::Train => "train.csv",
            Self::Validation => "validation.csv",
            Self::Test => "test.csv",
            Self::Evaluation => "evaluation.csv",
        }
    }
}

/// What the rows to measure with are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EvaluationRows {
    /// Rows that are known not to be normal.
    Given,
    /// Held-out addresses, each given to another entity that was not seen in the address's /24.
    Exchanged,
    /// There are none: with one entity there is nobody to exchange with.
    None,
}

/// Rows that were left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SkippedRows {
    /// Of this part.
    pub part: Part,
    /// Why.
    pub reason: SkipReason,
    /// How many.
    pub rows: usize,
}

/// Why rows were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SkipReason {
    /// Their entities have no rows to train on.
    UnknownEntity,
    /// Nobody was found who could be given the address: all that were tried had been seen in its /24.
    NobodyElse,
}

impl SkipReason {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownEntity => "of entities that have no rows to train on",
            Self::NobodyElse => "whose address fits everybody who was tried",
        }
    }
}

/// A file of a run's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileFacts {
    /// Its name, without a folder.
    pub name: String,
    /// How many rows it has.
    pub rows: usize,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
}

impl OwnManifest {
    /// The version of this form.
    pub const VERSION: u32 = 1;
}

impl OwnRowsDraft {
    /// Splits, and leaves out what cannot be judged.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a share that is none, [`Error::Rows`] where there is nothing to train on or to hold out.
    pub fn check(self) -> Result<OwnRows, Error> {
        if !(self.held_out > 0.0 && self.held_out < 1.0) {
            return Err(Error::Setting {
                setting: "held-out share",
                value: self.held_out.to_string(),
                reason: "it lies above 0 and below 1".to_owned(),
            });
        }
        let given = [
            (Part::Train, Some(&self.train)),
            (Part::Validation, self.validation.as_ref()),
            (Part::Test, self.test.as_ref()),
            (Part::Evaluation, self.anomalous.as_ref()),
        ];
        let inputs = given
            .into_iter()
            .filter_map(|(part, given)| Some(InputFacts::of(part, given?)))
            .collect();
        let mut skipped = Skips::default();
        let held_out = self.validation.is_none().then_some(self.held_out);
        let (train, validation) = match self.validation {
            Some(given) => {
                let known = entities(&self.train.rows);
                let validation = skipped.strangers(Part::Validation, given.rows, &known);
                (self.train.rows, validation)
            }
            None => split(self.train.rows, self.held_out, self.seed),
        };
        if train.is_empty() {
            return Err(Error::Rows {
                what: format!("there are no rows to train on in `{}`", self.train.path),
            });
        }
        if validation.is_empty() {
            return Err(Error::Rows {
                what: "no row can be held out: each is the only one of its entity, or its entity has none to train on; give more \
                       rows, or held-out ones of the same entities"
                    .to_owned(),
            });
        }
        let known = entities(&train);
        let (evaluation, kind) = match self.anomalous {
            Some(given) => (
                skipped.strangers(Part::Evaluation, given.rows, &known),
                EvaluationRows::Given,
            ),
            None if known.len() < 2 => (Vec::new(), EvaluationRows::None),
            None => (
                exchanged(&train, &validation, self.seed, &mut skipped),
                EvaluationRows::Exchanged,
            ),
        };
        let entities = known.len();
        let mut rows = OwnRows {
            train,
            validation,
            test: self.test.map_or(Vec::new(), |given| given.rows),
            evaluation,
            manifest: OwnManifest {
                version: OwnManifest::VERSION,
                kind: OwnKind::Rows,
                written_by: concat!("pipeline ", env!("CARGO_PKG_VERSION")).to_owned(),
                seed: self.seed,
                inputs,
                held_out,
                evaluation: kind,
                entities,
                skipped: skipped.0,
                files: Vec::new(),
            },
        };
        rows.manifest.files = rows.row_files()?.into_iter().map(|(_, facts)| facts).collect();
        Ok(rows)
    }
}

impl InputFacts {
    fn of(part: Part, given: &Given) -> Self {
        Self {
            part,
            path: given.path.clone(),
            rows: given.rows.len(),
            sha256: given.sha256.clone(),
        }
    }
}

impl OwnRows {
    /// The manifest.
    pub fn manifest(&self) -> &OwnManifest {
        &self.manifest
    }

    /// The rows of a manifest, from the files that were written with it; or in what those are not the manifest's.
    ///
    /// `read` gives the content of a file by its name.
    ///
    /// # Errors
    ///
    /// Those of `read`, and [`Error::Rows`] for what is no CSV of rows.
    pub fn again<E: From<Error>>(
        manifest: &OwnManifest,
        mut read: impl FnMut(&str) -> Result<Vec<u8>, E>,
    ) -> Result<Result<Self, Vec<Difference>>, E> {
        let mut differences = Vec::new();
        let mut parts: HashMap<&str, Vec<AccessEvent>> = HashMap::new();
        for (index, facts) in manifest.files.iter().enumerate() {
            let bytes = read(&facts.name)?;
            let now = hex(&Sha256::digest(&bytes));
            if now != facts.sha256 {
                differences.push(Difference {
                    place: format!("/manifest/files/{index}/sha256"),
                    before: Some(facts.sha256.clone().into()),
                    now: Some(now.into()),
                });
                continue;
            }
            let rows = access_events::read_csv(bytes.as_slice()).map_err(|source| Error::RowFile {
                name: facts.name.clone(),
                source,
            })?;
            parts.insert(&facts.name, rows);
        }
        if !differences.is_empty() {
            return Ok(Err(differences));
        }
        let mut part = |part: Part| parts.remove(part.file()).unwrap_or_default();
        Ok(Ok(Self {
            train: part(Part::Train),
            validation: part(Part::Validation),
            test: part(Part::Test),
            evaluation: part(Part::Evaluation),
            manifest: manifest.clone(),
        }))
    }

    fn files(&self) -> Result<Vec<RowFile>, Error> {
        let (mut files, facts): (Vec<_>, Vec<_>) = self.row_files()?.into_iter().unzip();
        let manifest = OwnManifest {
            files: facts,
            ..self.manifest.clone()
        };
        let mut bytes = serde_json::to_vec_pretty(&manifest).map_err(|source| Error::Json {
            what: "the manifest",
            source,
        })?;
        bytes.push(b'\n');
        files.push(RowFile {
            name: "manifest.json",
            bytes,
        });
        Ok(files)
    }

    /// The training needs the first two; others are written where there are such rows.
    fn row_files(&self) -> Result<Vec<(RowFile, FileFacts)>, Error> {
        let parts = [
            (Part::Train, &self.train),
            (Part::Validation, &self.validation),
            (Part::Test, &self.test),
            (Part::Evaluation, &self.evaluation),
        ];
        let mut files = Vec::new();
        for (part, rows) in parts {
            if rows.is_empty() && matches!(part, Part::Test | Part::Evaluation) {
                continue;
            }
            let name = part.file();
            let mut bytes = Vec::new();
            access_events::write_csv(&mut bytes, rows).map_err(|source| Error::RowFile {
                name: name.to_owned(),
                source,
            })?;
            let facts = FileFacts {
                name: name.to_owned(),
                rows: rows.len(),
                sha256: hex(&Sha256::digest(&bytes)),
            };
            files.push((RowFile { name, bytes }, facts));
        }
        Ok(files)
    }
}

/// The entities of rows.
pub(crate) fn entities(rows: &[AccessEvent]) -> HashSet<&str> {
    rows.iter().map(|row| row.entity.as_str()).collect()
}

/// What was left out.
#[derive(Default)]
struct Skips(Vec<SkippedRows>);

impl Skips {
    fn add(&mut self, part: Part, reason: SkipReason, rows: usize) {
        if rows > 0 {
            self.0.push(SkippedRows { part, reason, rows });
        }
    }

    /// Leaves out rows of entities that are not known.
    fn strangers(
        &mut self,
        part: Part,
        mut rows: Vec<AccessEvent>,
        known: &HashSet<&str>,
    ) -> Vec<AccessEvent> {
        let given = rows.len();
        rows.retain(|row| known.contains(row.entity.as_str()));
        self.add(part, SkipReason::UnknownEntity, given - rows.len());
        rows
    }
}

/// A number that depends on nothing but these three.
fn lot(seed: u64, what: &str, number: u64) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(what);
    hash.update(number.to_le_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_le_bytes(first)
}

/// Holds a share of the rows out, by lot, and never an entity's last one. Both parts stay in the order of the rows.
fn split(rows: Vec<AccessEvent>, share: f64, seed: u64) -> (Vec<AccessEvent>, Vec<AccessEvent>) {
    let mut left: HashMap<&str, usize> = HashMap::new();
    for row in &rows {
        *left.entry(&row.entity).or_default() += 1;
    }
    let mut order: Vec<(u64, usize)> = (0..rows.len())
        .map(|at| (lot(seed, "held out", at as u64), at))
        .collect();
    order.sort_unstable();
    let mut wanted = (share * rows.len() as f64).round() as usize;
    let mut is_held_out = vec![false; rows.len()];
    for (_, at) in order {
        if wanted == 0 {
            break;
        }
        if let Some(left) = left.get_mut(rows[at].entity.as_str()).filter(|left| **left > 1) {
            *left -= 1;
            wanted -= 1;
            is_held_out[at] = true;
        }
    }
    let mut parts = (Vec::new(), Vec::new());
    for (row, held_out) in rows.into_iter().zip(is_held_out) {
        if held_out {
            parts.1.push(row);
        } else {
            parts.0.push(row);
        }
    }
    parts
}

/// Gives each held-out address to another entity, by lot, that was never seen in its /24.
fn exchanged(
    train: &[AccessEvent],
    validation: &[AccessEvent],
    seed: u64,
    skipped: &mut Skips,
) -> Vec<AccessEvent> {
    /// Where so many entities are at home in a network, it tells nobody from anybody.
    const TRIES: u64 = 16;

    let network = |ip: Ipv4Addr| u32::from(ip) >> 8;
    let entities: Vec<&str> = entities(train)
        .into_iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let seen: HashSet<(&str, u32)> = train
        .iter()
        .chain(validation)
        .map(|row| (row.entity.as_str(), network(row.ip)))
        .collect();
    let rows: Vec<AccessEvent> = validation
        .iter()
        .enumerate()
        .filter_map(|(at, row)| {
            let mut drawn = (0..TRIES).map(|try_| {
                let lot = lot(seed, "exchanged", at as u64 * TRIES + try_);
                entities[(lot % entities.len() as u64) as usize]
            });
            let other = drawn.find(|other| !seen.contains(&(*other, network(row.ip))))?;
            Some(AccessEvent::new(other, row.ip))
        })
        .collect();
    skipped.add(
        Part::Evaluation,
        SkipReason::NobodyElse,
        validation.len() - rows.len(),
    );
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(path: &str, rows: Vec<AccessEvent>) -> Given {
        Given {
            path: path.to_owned(),
            rows,
            sha256: "00".to_owned(),
        }
    }

    /// Ana and ben, each in a network of their own, and somebody who was seen once.
    fn rows() -> Vec<AccessEvent> {
        let mut rows: Vec<AccessEvent> = (0..20)
            .flat_map(|host| {
                [
                    AccessEvent::new("ana", [20, 1, 2, host].into()),
                    AccessEvent::new("ben", [90, 7, 7, host].into()),
                ]
            })
            .collect();
        rows.push(AccessEvent::new("once", [8, 8, 8, 8].into()));
        rows
    }

    fn draft() -> OwnRowsDraft {
        OwnRowsDraft {
            train: given("own.csv", rows()),
            validation: None,
            test: None,
            anomalous: None,
            held_out: 0.25,
            seed: 7,
        }
    }

    #[test]
    fn a_share_is_held_out_and_nobodys_last_row() {
        let own = draft().check().unwrap();
        assert_eq!((own.train.len(), own.validation.len()), (31, 10));
        let mut all = [own.train.clone(), own.validation.clone()].concat();
        all.sort();
        let mut before = rows();
        before.sort();
        assert_eq!(all, before);
        assert_eq!(draft().check().unwrap(), own);
        let other = OwnRowsDraft { seed: 8, ..draft() };
        assert_ne!(other.check().unwrap().validation, own.validation);
        // As much as there is, and everybody stays.
        let most = OwnRowsDraft {
            held_out: 0.999,
            ..draft()
        };
        let most = most.check().unwrap();
        assert_eq!((most.train.len(), most.validation.len()), (3, 38));
        assert_eq!(entities(&most.train).len(), 3);
    }

    #[test]
    fn addresses_go_to_who_was_never_there() {
        let own = draft().check().unwrap();
        assert_eq!(own.manifest.evaluation, EvaluationRows::Exchanged);
        assert_eq!(own.evaluation.len(), own.validation.len());
        for (row, held_out) in own.evaluation.iter().zip(&own.validation) {
            assert_eq!(row.ip, held_out.ip);
            assert_ne!(row.entity, held_out.entity);
        }
        // All at one place: nobody else can be found.
        let crowd: Vec<AccessEvent> = (0..40_u8)
            .map(|at| AccessEvent::new(format!("e{}", at % 2), [20, 1, 2, at].into()))
            .collect();
        let crowd = OwnRowsDraft {
            train: given("own.csv", crowd),
            ..draft()
        };
        let crowd = crowd.check().unwrap();
        assert!(crowd.evaluation.is_empty());
        assert_eq!(
            crowd.manifest.skipped,
            [SkippedRows {
                part: Part::Evaluation,
                reason: SkipReason::NobodyElse,
                rows: 10
            }]
        );
        let alone: Vec<AccessEvent> = (0..40)
            .map(|at| AccessEvent::new("a", [1, 2, 3, at].into()))
            .collect();
        let alone = OwnRowsDraft {
            train: given("own.csv", alone),
            ..draft()
        };
        assert_eq!(alone.check().unwrap().manifest.evaluation, EvaluationRows::None);
    }

    #[test]
    fn strangers_are_counted() {
        let stranger = |ip| AccessEvent::new("mallory", ip);
        let own = OwnRowsDraft {
            validation: Some(given(
                "later.csv",
                vec![
                    AccessEvent::new("ana", [20, 1, 2, 99].into()),
                    stranger([1, 2, 3, 4].into()),
                ],
            )),
            anomalous: Some(given("bad.csv", vec![stranger([1, 2, 3, 4].into())])),
            test: Some(given("test.csv", vec![stranger([1, 2, 3, 5].into())])),
            ..draft()
        };
        let own = own.check().unwrap();
        assert_eq!((own.train.len(), own.validation.len()), (41, 1));
        // Who is to be judged gets an answer.
        assert_eq!((own.evaluation.len(), own.test.len()), (0, 1));
        let of = |part| SkippedRows {
            part,
            reason: SkipReason::UnknownEntity,
            rows: 1,
        };
        assert_eq!(own.manifest.skipped, [of(Part::Validation), of(Part::Evaluation)]);
        assert_eq!(own.manifest.held_out, None);
        let parts: Vec<Part> = own.manifest.inputs.iter().map(|input| input.part).collect();
        assert_eq!(
            parts,
            [Part::Train, Part::Validation, Part::Test, Part::Evaluation]
        );
    }

    #[test]
    fn what_was_written_is_read_again_and_changes_are_told() {
        let own = draft().check().unwrap();
        let files = Rows::from(own.clone()).files().unwrap();
        let names: Vec<&str> = files.iter().map(|file| file.name).collect();
        assert_eq!(
            names,
            ["train.csv", "validation.csv", "evaluation.csv", "manifest.json"]
        );
        let manifest: OwnManifest = serde_json::from_slice(&files[3].bytes).unwrap();
        let content = |name: &str| files.iter().find(|file| file.name == name).unwrap().bytes.clone();
        let again = OwnRows::again(&manifest, |name| Ok::<_, Error>(content(name))).unwrap();
        assert_eq!(again.unwrap(), own);
        let spoiled = OwnRows::again(&manifest, |name| {
            let mut bytes = content(name);
            if name == "validation.csv" {
                bytes.extend(b"ana,1.2.3.4\n");
            }
            Ok::<_, Error>(bytes)
        });
        let differences = spoiled.unwrap().unwrap_err();
        assert_eq!(differences.len(), 1);
        assert_eq!(differences[0].place, "/manifest/files/1/sha256");
    }

    #[test]
    fn what_cannot_be_split_is_refused() {
        let single: Vec<AccessEvent> = (0..9)
            .map(|at| AccessEvent::new(format!("e{at}"), [1, 2, 3, at].into()))
            .collect();
        let single = OwnRowsDraft {
            train: given("own.csv", single),
            ..draft()
        };
        let error = single.check().unwrap_err().to_string();
        assert!(error.contains("no row can be held out"), "{error}");
        let empty = OwnRowsDraft {
            train: given("own.csv", Vec::new()),
            ..draft()
        };
        let error = empty.check().unwrap_err().to_string();
        assert!(error.contains("no rows to train on in `own.csv`"), "{error}");
        for held_out in [0.0, 1.0, f64::NAN] {
            let draft = OwnRowsDraft { held_out, ..draft() };
            let error = draft.check().unwrap_err().to_string();
            assert!(error.contains("above 0 and below 1"), "{error}");
        }
    }
}
