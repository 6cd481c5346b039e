//! The order of a search: which trial is trained next, and how far. No threads, no files, no training.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::space::Space;
use super::strategy::{self, Observation};
use crate::hyperparameters::Hyperparameters;

/// How points of the space are chosen, and how far each is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Strategy {
    /// Points at random, each trained to the end. A search of more trials begins with the trials of a smaller one.
    Random {
        /// How many.
        trials: u32,
    },
    /// Every combination of the values; all ranges must be lists.
    Grid,
    /// Points at random, trained a little; the best of them trained on, and so forth.
    Halving(Halving),
    /// The tree-structured Parzen estimator of Bergstra et al. (2011): points that are likelier among the good trials so far
    /// than among the others, each trained to the end.
    Bayesian {
        /// How many.
        trials: u32,
        /// How many of them are drawn at random first.
        startup: u32,
    },
}

/// Successive halving: of `trials` trials the best `1 / eta` go on to the next rung, at which each is trained `eta` times as
/// many epochs, up to the `epochs` of the space's base.
///
/// Jamieson, Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016; asynchronous: Li et
/// al.: A System for Massively Parallel Hyperparameter Tuning, 2020 (ASHA; Hyperband with one bracket that waits for nobody).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halving {
    /// Trials at the lowest rung.
    pub trials: u32,
    /// Epochs of the lowest rung.
    pub min_epochs: u32,
    /// One of so many goes on, at least 2.
    pub eta: u32,
    /// Whether a trial goes on as soon as it is among the best of those that came as far, instead of when all have come.
    pub asynchronous: bool,
}

/// Whether trials that do worse than others did are stopped before their last epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopping {
    /// No.
    #[default]
    Off,
    /// A trial stops after an epoch at which its objective is below the median of the running means that earlier trials had
    /// at that epoch, once three of them came as far: the rule that the service states for its tuning jobs (`Auto`).
    Median,
}

/// What decides a search, beside its space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How points are chosen.
    pub strategy: Strategy,
    /// Decides all that is drawn, and the training of every trial.
    pub seed: u64,
    /// Trials that run side by side, at least 1. What is known when a trial is chosen depends on it, and so does the result;
    /// on the threads that carry the trials out it does not.
    pub parallel: u32,
    /// Whether hopeless trials are stopped.
    pub stopping: Stopping,
}

/// Why settings and space give no search: every problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("; "))]
pub struct InvalidSettings {
    problems: Vec<String>,
}

/// The name of a job: which trial, trained up to which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId {
    /// The trial, counted from 0 in the order in which they were chosen.
    pub trial: u32,
    /// Epochs that the trial has behind it when the job is done.
    pub epochs: u32,
}

/// "trial 3 to epoch 9", for messages.
impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trial {} to epoch {}", self.trial, self.epochs)
    }
}

/// Something to train.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// What to train with. `epochs` is all that the trial may come to; this job ends at those of its name.
    pub hyperparameters: Hyperparameters,
    /// Epochs the trial has behind it already.
    pub from_epochs: u32,
    /// The least objective to go on with after the first, second, … epoch.
    floor: Vec<f64>,
}

impl Job {
    /// Whether training should stop after so many epochs, since others did better at that point.
    ///
    /// ```
    /// # use ipinsights::tuning::*;
    /// # let base = ipinsights::Hyperparameters::draft(100).check()?;
    /// # let space = SpaceDraft::documented(&[]).check(&base)?;
    /// # let strategy = Strategy::Random { trials: 1 };
    /// # let settings = Settings { strategy, seed: 0, parallel: 1, stopping: Stopping::Median };
    /// # let mut search = Search::new(space, settings)?;
    /// let Step::Start(job) = search.step() else { unreachable!() };
    /// // The first trial has nobody to be compared with.
    /// assert!(!job.is_hopeless(1, 0.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_hopeless(&self, epochs: u32, objective: f64) -> bool {
        let floor = epochs.checked_sub(1).and_then(|i| self.floor.get(i as usize));
        floor.is_some_and(|floor| objective < *floor)
    }
}

/// How a trial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It came as far as it was to.
    Completed,
    /// It was stopped before, by a rule; its objective counts.
    Stopped,
    /// It gave no model.
    Failed,
}

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// The objective of the model that it gave; greater is better. None when it failed.
    pub objective: Option<f64>,
    /// The objective after each epoch of this job.
    pub curve: Vec<f64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<String>,
    /// How long it took; nothing depends on it.
    pub seconds: f64,
}

/// One trial of a search, as data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// Counted from 0 in the order in which they were chosen.
    pub trial: u32,
    /// All ten, by SageMaker's names.
    pub hyperparameters: BTreeMap<String, String>,
    /// Epochs trained.
    pub epochs: u32,
    /// How its last job ended; none while the first is running.
    pub status: Option<Status>,
    /// That of its last job.
    pub objective: Option<f64>,
    /// The objective after each epoch.
    pub curve: Vec<f64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Seconds of training, all its jobs together.
    pub seconds: f64,
    #[serde(skip)]
    point: Vec<f64>,
    #[serde(skip)]
    checked: Hyperparameters,
}

/// The best job of a search so far: the first of those with the greatest objective.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Best {
    /// Its name.
    #[serde(flatten)]
    pub job: JobId,
    /// Its objective.
    pub objective: f64,
}

/// What a search wants next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Begin with this; it may run beside those begun before.
    Start(Job),
    /// [Tell](Search::tell) what became of this one; the order of the questions makes a search repeatable.
    Wait(JobId),
    /// Nothing is left to do.
    Done,
}

/// A search under way: it says what to train, and is told what came of it.
///
/// Jobs that run side by side end in the order of a clock on which an epoch takes one tick whatever the machine does. What
/// the search knows when it chooses is what had ended on that clock, so the same seed makes the same choices on any number of
/// threads, however long each job really takes.
///
/// ```
/// use ipinsights::Hyperparameters;
/// use ipinsights::tuning::*;
///
/// // The tuner of the service's tutorial: four trials, two at a time.
/// let base = Hyperparameters::draft(20_000).epochs(5).learning_rate(0.01).check()?;
/// let space = SpaceDraft::new().range("vector_dim", Range::between(64.0, 1024.0)).check(&base)?;
/// let settings = Settings {
///     strategy: Strategy::Random { trials: 4 },
///     seed: 0,
///     parallel: 2,
///     stopping: Stopping::Off,
/// };
/// let mut search = Search::new(space, settings)?;
/// loop {
///     match search.step() {
///         Step::Start(job) => assert!((64..=1024).contains(&job.hyperparameters.vector_dim())),
///         Step::Wait(job) => {
///             let objective = Some(0.99 - f64::from(job.trial) / 100.0);
///             let (status, curve) = (Status::Completed, Vec::new());
///             search.tell(job, Outcome { status, objective, curve, failure: None, seconds: 1.0 });
///         }
///         Step::Done => break,
///     }
/// }
/// assert_eq!(search.best().map(|best| best.job.trial), Some(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Search {
    space: Space,
    settings: Settings,
    trials: Vec<Trial>,
    running: Vec<Running>,
    /// Ticks of the clock.
    now: u64,
    started: u64,
    best: Option<Best>,
    rungs: Vec<Rung>,
    /// Points of other searches, with their objectives.
    known: Vec<(Vec<f64>, f64)>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    job: JobId,
    end: u64,
    number: u64,
}

/// A rung of successive halving.
#[derive(Debug, Clone, Default)]
struct Rung {
    epochs: u32,
    /// Trials that were begun on it.
    begun: Vec<u32>,
    /// Trials that have come this far, with their objective.
    done: Vec<(u32, Option<f64>)>,
}

impl Rung {
    /// The best `count` of those that have come this far and did not fail, best first.
    fn best(&self, count: usize) -> Vec<u32> {
        let mut ranked: Vec<(u32, f64)> = self
            .done
            .iter()
            .filter_map(|(trial, objective)| Some((*trial, (*objective)?)))
            .collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked.truncate(count);
        ranked.into_iter().map(|(trial, _)| trial).collect()
    }
}

impl Search {
    /// A search that has not begun.
    ///
    /// # Errors
    ///
    /// Every reason why these settings and this space do not fit together.
    pub fn new(space: Space, settings: Settings) -> Result<Self, InvalidSettings> {
        let mut problems = Vec::new();
        let mut rungs = Vec::new();
        if settings.parallel == 0 {
            problems.push("at least one trial must run at a time".to_owned());
        }
        let trials = match settings.strategy {
            Strategy::Random { trials } | Strategy::Bayesian { trials, .. } => trials,
            Strategy::Grid => strategy::grid_size(&space).unwrap_or_else(|| {
                let ranges = space
                    .ranges()
                    .filter(|(_, range)| !matches!(range, super::Range::Among { .. }))
                    .map(|(name, range)| format!("{name} has {range}"))
                    .collect::<Vec<_>>();
                problems.push(if ranges.is_empty() {
                    "the grid has too many points".to_owned()
                } else {
                    format!(
                        "a grid needs lists of values, such as 32|64|128: {}",
                        ranges.join(", ")
                    )
                });
                1
            }),
            Strategy::Halving(halving) => {
                let most = space.base().epochs();
                if space.tunes("epochs") {
                    problems.push(
                        "successive halving has epochs as its budget, so they cannot be tuned: give the most as the value \
                         of epochs"
                            .to_owned(),
                    );
                }
                if halving.eta < 2 {
                    problems.push(format!("eta must be at least 2, got {}", halving.eta));
                }
                if !(1..=most).contains(&halving.min_epochs) {
                    problems.push(format!(
                        "the first rung must have 1 to {most} epochs (the value of epochs), got {}",
                        halving.min_epochs
                    ));
                }
                if settings.stopping != Stopping::Off {
                    problems.push(
                        "successive halving stops trials by its own rule: leave early stopping off"
                            .to_owned(),
                    );
                }
                if problems.is_empty() {
                    let mut epochs = halving.min_epochs;
                    while epochs < most {
                        rungs.push(epochs);
                        epochs = epochs.saturating_mul(halving.eta);
                    }
                    rungs.push(most);
                }
                halving.trials
            }
        };
        if trials == 0 {
            problems.push("there must be at least one trial".to_owned());
        }
        if !problems.is_empty() {
            return Err(InvalidSettings { problems });
        }
        let rung = |epochs| Rung {
            epochs,
            ..Rung::default()
        };
        Ok(Self {
            space,
            settings,
            trials: Vec::new(),
            running: Vec::new(),
            now: 0,
            started: 0,
            best: None,
            rungs: rungs.into_iter().map(rung).collect(),
            known: Vec::new(),
        })
    }

    /// The same search, knowing what came of trials of others: hyperparameters by SageMaker's names, and the objective. It counts
    /// for [`Strategy::Bayesian`], which draws so many fewer at random first; what lies outside the space does not count.
    /// Neither [`best`](Self::best) nor the number of trials changes.
    #[must_use]
    pub fn knowing(mut self, others: impl IntoIterator<Item = (BTreeMap<String, String>, f64)>) -> Self {
        let known = others.into_iter().filter(|(_, objective)| objective.is_finite());
        let known = known.filter_map(|(values, objective)| Some((self.space.point(&values)?, objective)));
        self.known = known.collect();
        self
    }

    /// What is searched.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// What decides the search.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The trials so far, by number.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// The best job so far.
    pub fn best(&self) -> Option<Best> {
        self.best
    }

    /// Trials in all; with successive halving, those of the lowest rung.
    pub fn planned(&self) -> u32 {
        match self.settings.strategy {
            Strategy::Random { trials } | Strategy::Bayesian { trials, .. } => trials,
            Strategy::Halving(halving) => halving.trials,
            // Checked when the search was made.
            Strategy::Grid => strategy::grid_size(&self.space).unwrap_or(0),
        }
    }

    /// A job that was started, as one that begins with the first epoch; `None` if there was none of this name.
    pub fn job(&self, id: JobId) -> Option<Job> {
        let trial = self.trials.get(id.trial as usize)?;
        Some(Job {
            id,
            hyperparameters: trial.checked.clone(),
            from_epochs: 0,
            floor: Vec::new(),
        })
    }

    /// Whether a trial may yet be trained on, so that what its training left is worth keeping.
    pub fn may_go_on(&self, trial: u32) -> bool {
        let Some(last) = self.rungs.len().checked_sub(1) else {
            return false;
        };
        let asynchronous = matches!(
            self.settings.strategy,
            Strategy::Halving(Halving {
                asynchronous: true,
                ..
            })
        );
        // The rung it has reached, or is on its way to.
        let Some(rung) = self.rungs.iter().rposition(|rung| rung.begun.contains(&trial)) else {
            return false;
        };
        let Some((_, objective)) = self.rungs[rung].done.iter().find(|(done, _)| *done == trial) else {
            return true;
        };
        if rung == last || objective.is_none() {
            return false;
        }
        asynchronous || self.rungs[rung + 1].begun.is_empty()
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        if self.running.len() < self.settings.parallel as usize
            && let Some(job) = self.propose()
        {
            let ticks = u64::from(job.id.epochs - job.from_epochs);
            self.running.push(Running {
                job: job.id,
                end: self.now + ticks,
                number: self.started,
            });
            self.started += 1;
            return Step::Start(job);
        }
        match self
            .running
            .iter()
            .min_by_key(|running| (running.end, running.number))
        {
            Some(running) => Step::Wait(running.job),
            None => Step::Done,
        }
    }

    /// What became of a job; of one that is not running nothing is noted.
    ///
    /// A job may be told before [`Step::Wait`] asks for it; the search is then only as repeatable as that order.
    pub fn tell(&mut self, id: JobId, outcome: Outcome) {
        let Some(index) = self.running.iter().position(|running| running.job == id) else {
            return;
        };
        let running = self.running.remove(index);
        self.now = self.now.max(running.end);
        // A number that is none is a failure, whatever else is said of it.
        let objective = outcome
            .objective
            .filter(|objective| objective.is_finite() && outcome.status != Status::Failed);
        let Some(trial) = self.trials.get_mut(id.trial as usize) else {
            return;
        };
        trial.epochs = match (outcome.status, outcome.curve.len()) {
            (Status::Completed, 0) => id.epochs,
            // Training may have ended before by a rule of its own.
            (_, ran) => trial
                .epochs
                .saturating_add(u32::try_from(ran).unwrap_or(u32::MAX))
                .min(id.epochs),
        };
        trial.status = Some(if objective.is_some() {
            outcome.status
        } else {
            Status::Failed
        });
        trial.objective = objective;
        trial.curve.extend(outcome.curve);
        trial.failure = outcome.failure;
        trial.seconds += outcome.seconds;
        if let Some(rung) = self.rungs.iter_mut().find(|rung| rung.epochs == id.epochs) {
            rung.done.push((id.trial, objective));
        }
        // What was stopped left no model.
        if let Some(objective) = objective.filter(|_| outcome.status == Status::Completed)
            && self.best.is_none_or(|best| objective > best.objective)
        {
            self.best = Some(Best { job: id, objective });
        }
    }

    fn propose(&mut self) -> Option<Job> {
        let planned = self.planned();
        match self.settings.strategy {
            Strategy::Halving(halving) if halving.asynchronous => self.promote(halving).or_else(|| {
                let fresh = (self.rungs.first()?.begun.len() as u32) < planned;
                fresh.then(|| self.fresh(planned)).flatten()
            }),
            Strategy::Halving(halving) => self.next_of_rung(halving),
            _ => self.fresh(planned),
        }
    }

    /// A trial that was not there before.
    fn fresh(&mut self, planned: u32) -> Option<Job> {
        let number = u32::try_from(self.trials.len()).ok()?;
        if number >= planned {
            return None;
        }
        let seed = self.settings.seed;
        let point = match self.settings.strategy {
            Strategy::Grid => strategy::grid(&self.space, number),
            Strategy::Bayesian { startup, .. }
                if number as usize + self.known.len() >= startup.max(1) as usize =>
            {
                let others = self.known.iter().map(|(point, objective)| Observation {
                    point,
                    objective: Some(*objective),
                });
                let own = self.trials.iter().map(|trial| Observation {
                    point: &trial.point,
                    objective: trial.objective,
                });
                let known: Vec<Observation<'_>> = others.chain(own).collect();
                strategy::parzen(&self.space, seed, number, &known)
            }
            _ => strategy::random(&self.space, seed, number),
        };
        let checked = self.space.at(&point);
        let epochs = match self.rungs.first_mut() {
            Some(rung) => {
                rung.begun.push(number);
                rung.epochs
            }
            None => checked.epochs(),
        };
        self.trials.push(Trial {
            trial: number,
            hyperparameters: checked.to_map(),
            epochs: 0,
            status: None,
            objective: None,
            curve: Vec::new(),
            failure: None,
            seconds: 0.0,
            point,
            checked: checked.clone(),
        });
        Some(Job {
            id: JobId {
                trial: number,
                epochs,
            },
            hyperparameters: checked,
            from_epochs: 0,
            floor: self.floor(epochs),
        })
    }

    /// A trial that goes on, to this rung.
    fn go_on(&mut self, trial: u32, rung: usize) -> Option<Job> {
        let rung = self.rungs.get_mut(rung)?;
        rung.begun.push(trial);
        let state = self.trials.get(trial as usize)?;
        Some(Job {
            id: JobId {
                trial,
                epochs: rung.epochs,
            },
            hyperparameters: state.checked.clone(),
            from_epochs: state.epochs,
            floor: Vec::new(),
        })
    }

    /// Synchronous: the next of the rung that all are on.
    fn next_of_rung(&mut self, halving: Halving) -> Option<Job> {
        if self.rungs.first()?.begun.len() < halving.trials as usize {
            return self.fresh(halving.trials);
        }
        let mut members = halving.trials as usize;
        for rung in 0..self.rungs.len().saturating_sub(1) {
            // All of this rung have come so far?
            if self.rungs[rung].done.len() < members {
                return None;
            }
            members = (members / halving.eta as usize).max(1);
            let best = self.rungs[rung].best(members);
            members = best.len();
            let next = best
                .into_iter()
                .find(|trial| !self.rungs[rung + 1].begun.contains(trial));
            if let Some(trial) = next {
                return self.go_on(trial, rung + 1);
            }
        }
        None
    }

    /// Asynchronous: a trial among the best of its rung that has not gone on, from the highest rung that has one.
    fn promote(&mut self, halving: Halving) -> Option<Job> {
        for rung in (0..self.rungs.len().saturating_sub(1)).rev() {
            let done = &self.rungs[rung].done;
            let best = self.rungs[rung].best(done.len() / halving.eta as usize);
            let next = best
                .into_iter()
                .find(|trial| !self.rungs[rung + 1].begun.contains(trial));
            if let Some(trial) = next {
                return self.go_on(trial, rung + 1);
            }
        }
        None
    }

    /// The least objective to go on with after each epoch.
    fn floor(&self, epochs: u32) -> Vec<f64> {
        /// Fewer trials have no median worth the name.
        const ENOUGH: usize = 3;

        if self.settings.stopping == Stopping::Off {
            return Vec::new();
        }
        let mut sums = vec![0.0; self.trials.len()];
        let mut floor = Vec::new();
        for epoch in 0..epochs as usize {
            let mut means: Vec<f64> = self
                .trials
                .iter()
                .zip(&mut sums)
                .filter_map(|(trial, sum)| {
                    *sum += trial.curve.get(epoch)?;
                    Some(*sum / (epoch + 1) as f64)
                })
                .collect();
            if means.len() < ENOUGH {
                // Later epochs have no more trials than earlier ones.
                break;
            }
            means.sort_by(f64::total_cmp);
            let middle = means.len() / 2;
            floor.push(if means.len() % 2 == 1 {
                means[middle]
            } else {
                (means[middle - 1] + means[middle]) / 2.0
            });
        }
        floor
    }
}
