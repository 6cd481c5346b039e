//! Carrying a search out: jobs on threads, what comes of them into the journal, the best model kept.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Instant;

use super::journal::{Journal, JournalError};
use super::search::{Best, Job, JobId, Outcome, Search, Status, Step, Trial};

/// Trains trials. What a job gives may depend on nothing but the job.
pub trait Runner: Sync {
    /// What training gives.
    type Model: Send;
    /// Why the whole search has to end.
    type Error: Send;

    /// Trains a trial up to the epoch of the job's name, from the beginning or from where an earlier job of it ended.
    ///
    /// After each epoch of the job, `epoch` is given the objective; when it breaks, training ends with [`Ended::Broken`].
    ///
    /// # Errors
    ///
    /// What will befall the other jobs as well. A trial that failed by itself is [`Ended::Failed`].
    fn train(
        &self,
        job: &Job,
        epoch: &mut dyn FnMut(f64) -> ControlFlow<()>,
    ) -> Result<Ended<Self::Model>, Self::Error>;

    /// This trial will not be trained on: what was kept for that can go.
    fn forget(&self, trial: u32) {
        let _ = trial;
    }
}

/// How a job ended.
#[derive(Debug)]
pub enum Ended<M> {
    /// With a model of this objective.
    Model {
        /// Greater is better.
        objective: f64,
        /// What was trained.
        model: M,
    },
    /// By the callback's wish.
    Broken,
    /// These hyperparameters give no model.
    Failed(String),
}

/// What a search tells while it runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum News<'a, M> {
    /// A job begins.
    Started(&'a Job),
    /// An epoch of a job is done.
    Epoch {
        /// Which.
        job: JobId,
        /// Epochs of the trial so far.
        epochs: u32,
        /// After this epoch.
        objective: f64,
    },
    /// A job is done, or was found in the journal; in the order in which the search takes note of them.
    Ended {
        /// Which.
        job: JobId,
        /// What became of it.
        outcome: &'a Outcome,
        /// Whether it was found in the journal.
        recorded: bool,
    },
    /// A model is the best so far. Not told where only its record is left.
    Best {
        /// Which.
        best: Best,
        /// It.
        model: &'a M,
    },
    /// The best model is only on record: it is trained again.
    Again(&'a Job),
}

/// What a search found.
#[derive(Debug)]
pub struct Tuned<M> {
    /// Every trial, by number.
    pub trials: Vec<Trial>,
    /// The best job.
    pub best: Best,
    /// Its model.
    pub model: M,
}

/// Why a search has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError<E> {
    /// The callback asked to stop. What is done is in the journal.
    #[error("tuning was cancelled")]
    Cancelled,
    /// No trial gave a model.
    #[error("none of {trials} trials gave a model; the first: {first}")]
    NoModel {
        /// How many.
        trials: usize,
        /// Why the first failed.
        first: String,
    },
    /// The journal could not be read, written, or is another search's.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The best model was trained again and is not what the journal says.
    #[error(
        "{job} had the objective {recorded} by the journal and has {now} when trained again: the journal is of another \
         version or of other rows; begin a new one"
    )]
    Differs {
        /// Which.
        job: JobId,
        /// By the journal.
        recorded: f64,
        /// Now.
        now: f64,
    },
    /// What the runner says.
    #[error("{job} could not be trained")]
    Runner {
        /// Which.
        job: JobId,
        /// Why.
        source: E,
    },
}

enum Message<M, E> {
    Epoch(JobId, u32, f64),
    Ended(Job, Result<(Outcome, Option<M>), E>),
}

/// Carries a search out on as many threads as asked for (0 counts as 1), but no more than trials run side by side.
///
/// The result depends on the search and the runner alone, not on the threads, nor on how often the search was interrupted and
/// resumed.
///
/// # Errors
///
/// [`TuneError::Cancelled`] when `news` breaks; the other cases as [`TuneError`] has them. What was done before is in the
/// journal in any case.
pub fn tune<R: Runner>(
    mut search: Search,
    runner: &R,
    journal: &mut Journal,
    threads: usize,
    news: &mut dyn FnMut(News<'_, R::Model>) -> ControlFlow<()>,
) -> Result<Tuned<R::Model>, TuneError<R::Error>> {
    let stop = AtomicBool::new(false);
    let (jobs, queue) = mpsc::channel::<Job>();
    let queue = Mutex::new(queue);
    let (sender, messages) = mpsc::channel();
    let threads = threads.clamp(1, search.settings().parallel.max(1) as usize);
    let best = std::thread::scope(|scope| {
        for _ in 0..threads {
            let (queue, stop, sender) = (&queue, &stop, sender.clone());
            scope.spawn(move || {
                loop {
                    // The lock is let go before the work begins.
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { break };
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let told = sender.clone();
                    let result = work(runner, &job, stop, &mut |epochs, objective| {
                        // Nobody listens any more when the search has ended.
                        let _ = told.send(Message::Epoch(job.id, epochs, objective));
                    });
                    if sender.send(Message::Ended(job, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let result = drive(&mut search, runner, journal, &jobs, &messages, news);
        // Whatever came of it, the threads come to an end.
        stop.store(true, Ordering::Relaxed);
        drop(jobs);
        result
    })?;
    let Some((best, model)) = best else {
        let first = search.trials().iter().find_map(|trial| trial.failure.clone());
        return Err(TuneError::NoModel {
            trials: search.trials().len(),
            first: first.unwrap_or_else(|| "no reason was given".to_owned()),
        });
    };
    let model = match model {
        Some(model) => model,
        None => again(&search, best, runner, news)?,
    };
    Ok(Tuned {
        trials: search.trials().to_vec(),
        best,
        model,
    })
}

type BestModel<M> = Option<(Best, Option<M>)>;

/// The search's side: hands out jobs, takes note of what came of them.
fn drive<R: Runner>(
    search: &mut Search,
    runner: &R,
    journal: &mut Journal,
    jobs: &mpsc::Sender<Job>,
    messages: &mpsc::Receiver<Message<R::Model, R::Error>>,
    news: &mut dyn FnMut(News<'_, R::Model>) -> ControlFlow<()>,
) -> Result<BestModel<R::Model>, TuneError<R::Error>> {
    let mut done: HashMap<JobId, (Outcome, Option<R::Model>, bool)> = HashMap::new();
    let mut best: BestModel<R::Model> = None;
    let mut tell = |event: News<'_, R::Model>| match news(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TuneError::Cancelled),
    };
    loop {
        match search.step() {
            Step::Start(job) => {
                if let Some(outcome) = journal.recorded(&job)? {
                    done.insert(job.id, (outcome.clone(), None, true));
                } else {
                    tell(News::Started(&job))?;
                    // The threads wait for jobs until this end is dropped.
                    jobs.send(job).map_err(|_| TuneError::Cancelled)?;
                }
            }
            Step::Wait(id) => {
                let (outcome, model, recorded) = loop {
                    if let Some(found) = done.remove(&id) {
                        break found;
                    }
                    match messages.recv().map_err(|_| TuneError::Cancelled)? {
                        Message::Epoch(job, epochs, objective) => tell(News::Epoch {
                            job,
                            epochs,
                            objective,
                        })?,
                        Message::Ended(job, result) => {
                            let (outcome, model) =
                                result.map_err(|source| TuneError::Runner { job: job.id, source })?;
                            journal.append(&job, &outcome)?;
                            done.insert(job.id, (outcome, model, false));
                        }
                    }
                };
                search.tell(id, outcome.clone());
                tell(News::Ended {
                    job: id,
                    outcome: &outcome,
                    recorded,
                })?;
                if let Some(now) = search.best().filter(|now| now.job == id) {
                    if let Some(model) = &model {
                        tell(News::Best { best: now, model })?;
                    }
                    best = Some((now, model));
                }
                for trial in search.trials() {
                    if trial.status.is_some() && !search.may_go_on(trial.trial) {
                        runner.forget(trial.trial);
                    }
                }
            }
            Step::Done => return Ok(best),
        }
    }
}

/// Trains one job, and gives what became of it.
fn work<R: Runner>(
    runner: &R,
    job: &Job,
    stop: &AtomicBool,
    told: &mut dyn FnMut(u32, f64),
) -> Result<(Outcome, Option<R::Model>), R::Error> {
    let began = Instant::now();
    let mut curve = Vec::new();
    let ended = runner.train(job, &mut |objective| {
        curve.push(objective);
        let epochs = job
            .from_epochs
            .saturating_add(u32::try_from(curve.len()).unwrap_or(u32::MAX));
        told(epochs, objective);
        if stop.load(Ordering::Relaxed) || job.is_hopeless(epochs, objective) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    let (status, objective, failure, model) = match ended {
        Ended::Model { objective, model } => (Status::Completed, Some(objective), None, Some(model)),
        Ended::Broken => (Status::Stopped, curve.last().copied(), None, None),
        Ended::Failed(why) => (Status::Failed, None, Some(why), None),
    };
    let outcome = Outcome {
        status,
        objective,
        curve,
        failure,
        seconds: began.elapsed().as_secs_f64(),
    };
    Ok((outcome, model))
}

/// Trains the best job again, whose model is not at hand.
fn again<R: Runner>(
    search: &Search,
    best: Best,
    runner: &R,
    news: &mut dyn FnMut(News<'_, R::Model>) -> ControlFlow<()>,
) -> Result<R::Model, TuneError<R::Error>> {
    let Some(job) = search.job(best.job) else {
        return Err(TuneError::Cancelled);
    };
    if news(News::Again(&job)).is_break() {
        return Err(TuneError::Cancelled);
    }
    let mut epochs = 0;
    let ended = runner.train(&job, &mut |objective| {
        epochs += 1;
        news(News::Epoch {
            job: job.id,
            epochs,
            objective,
        })
    });
    let differs = |now| TuneError::Differs {
        job: best.job,
        recorded: best.objective,
        now,
    };
    match ended.map_err(|source| TuneError::Runner {
        job: best.job,
        source,
    })? {
        Ended::Model { objective, model } if objective == best.objective => {
            if news(News::Best { best, model: &model }).is_break() {
                return Err(TuneError::Cancelled);
            }
            Ok(model)
        }
        Ended::Model { objective, .. } => Err(differs(objective)),
        Ended::Broken => Err(TuneError::Cancelled),
        Ended::Failed(_) => Err(differs(f64::NAN)),
    }
}
