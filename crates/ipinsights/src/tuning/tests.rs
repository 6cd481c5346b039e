//! Searches over a made-up objective: no training.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Mutex;

use expect_test::expect;
use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::Hyperparameters;

/// Learns the better, the nearer `learning_rate` is to 0.01 and `vector_dim` to 64; the model is its job.
#[derive(Default)]
struct Hill {
    /// Jobs that were trained, in the order in which they ended.
    trained: Mutex<Vec<JobId>>,
    forgotten: Mutex<Vec<u32>>,
    /// A trial with this remainder by 3 fails.
    failing: Option<u32>,
    /// Some jobs take long, others none.
    uneven: bool,
}

impl Hill {
    fn objective(params: &Hyperparameters, epochs: u32) -> f64 {
        let rate = (params.learning_rate() / 0.01).ln().abs() / 5.0;
        let dim = (f64::from(params.vector_dim()) / 64.0).ln().abs() / 5.0;
        (1.0 - rate - dim) * (1.0 - 1.0 / f64::from(epochs + 1))
    }
}

impl Runner for Hill {
    type Model = JobId;
    type Error = Infallible;

    fn train(
        &self,
        job: &Job,
        epoch: &mut dyn FnMut(f64) -> ControlFlow<()>,
    ) -> Result<Ended<JobId>, Infallible> {
        if self.uneven {
            std::thread::sleep(std::time::Duration::from_millis(u64::from(job.id.trial * 7 % 5)));
        }
        if self.failing == Some(job.id.trial % 3) {
            return Ok(Ended::Failed("a stone in the way".to_owned()));
        }
        for done in job.from_epochs..job.id.epochs {
            if epoch(Self::objective(&job.hyperparameters, done + 1)).is_break() {
                return Ok(Ended::Broken);
            }
        }
        self.trained.lock().unwrap().push(job.id);
        let objective = Self::objective(&job.hyperparameters, job.id.epochs);
        Ok(Ended::Model {
            objective,
            model: job.id,
        })
    }

    fn forget(&self, trial: u32) {
        let mut forgotten = self.forgotten.lock().unwrap();
        if !forgotten.contains(&trial) {
            forgotten.push(trial);
        }
    }
}

fn space() -> Space {
    let base = Hyperparameters::draft(1_000).epochs(9).check().unwrap();
    SpaceDraft::new()
        .range("learning_rate", Range::between(1e-4, 0.1))
        .range("vector_dim", Range::between(8.0, 256.0))
        .check(&base)
        .unwrap()
}

fn search(strategy: Strategy, seed: u64, parallel: u32) -> Search {
    let settings = Settings {
        strategy,
        seed,
        parallel,
        stopping: Stopping::Off,
    };
    Search::new(space(), settings).unwrap()
}

fn halving(trials: u32, asynchronous: bool) -> Strategy {
    Strategy::Halving(Halving {
        trials,
        min_epochs: 1,
        eta: 3,
        asynchronous,
    })
}

fn run(search: Search, hill: &Hill, journal: &mut Journal, threads: usize) -> Tuned<JobId> {
    tune(search, hill, journal, threads, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// The trials without what depends on the clock.
fn timeless(tuned: &Tuned<JobId>) -> Vec<Trial> {
    let mut trials = tuned.trials.clone();
    for trial in &mut trials {
        trial.seconds = 0.0;
    }
    trials
}

const STRATEGIES: [fn() -> Strategy; 4] = [
    || Strategy::Random { trials: 20 },
    || halving(9, false),
    || halving(12, true),
    || Strategy::Bayesian {
        trials: 20,
        startup: 5,
    },
];

#[test]
fn the_result_does_not_depend_on_threads_or_speed() {
    for strategy in STRATEGIES {
        let one = run(
            search(strategy(), 5, 4),
            &Hill::default(),
            &mut Journal::none(),
            1,
        );
        for threads in [2, 4] {
            let uneven = Hill {
                uneven: true,
                ..Hill::default()
            };
            let many = run(search(strategy(), 5, 4), &uneven, &mut Journal::none(), threads);
            assert_eq!(timeless(&many), timeless(&one), "{:?}", strategy());
            assert_eq!((many.best, many.model), (one.best, one.model));
        }
        let other = run(
            search(strategy(), 6, 4),
            &Hill::default(),
            &mut Journal::none(),
            1,
        );
        assert_ne!(timeless(&other), timeless(&one));
    }
}

#[test]
fn the_best_of_all_is_kept() {
    for strategy in STRATEGIES {
        let tuned = run(
            search(strategy(), 1, 2),
            &Hill::default(),
            &mut Journal::none(),
            2,
        );
        let most = tuned
            .trials
            .iter()
            .filter_map(|trial| trial.objective)
            .fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(tuned.best.objective, most);
        assert_eq!(tuned.model, tuned.best.job);
    }
}

#[test]
fn synchronous_halving_trains_a_third_three_times_as_long() {
    let hill = Hill::default();
    let tuned = run(search(halving(9, false), 2, 3), &hill, &mut Journal::none(), 1);
    let mut epochs: Vec<u32> = tuned.trials.iter().map(|trial| trial.epochs).collect();
    epochs.sort_unstable();
    assert_eq!(epochs, [1, 1, 1, 1, 1, 1, 3, 3, 9]);
    // Those that went on were the best of their rung.
    let after = |epoch: usize| {
        let mut ranked: Vec<(u32, f64)> = tuned
            .trials
            .iter()
            .filter_map(|trial| Some((trial.trial, *trial.curve.get(epoch - 1)?)))
            .collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    };
    let on_to = |epochs: u32| -> Vec<u32> {
        let trials = tuned.trials.iter().filter(|trial| trial.epochs >= epochs);
        trials.map(|trial| trial.trial).collect()
    };
    let mut best: Vec<u32> = after(1)[..3].iter().map(|(trial, _)| *trial).collect();
    best.sort_unstable();
    assert_eq!(on_to(3), best);
    assert_eq!(on_to(9), [after(3)[0].0]);
    assert_eq!(hill.trained.lock().unwrap().len(), 9 + 3 + 1);
    // What a trial left is let go once it cannot go on.
    assert_eq!(hill.forgotten.lock().unwrap().len(), 9);
}

#[test]
fn asynchronous_halving_waits_for_nobody() {
    let hill = Hill::default();
    let tuned = run(search(halving(9, true), 2, 2), &hill, &mut Journal::none(), 1);
    let of = |epochs: u32| tuned.trials.iter().filter(|trial| trial.epochs == epochs).count();
    // Four went on, where waiting for all would have sent three: one that went on early was overtaken.
    assert_eq!((of(1), of(3), of(9)), (5, 3, 1));
    let trained = hill.trained.lock().unwrap();
    let first_to_go_on = trained.iter().position(|job| job.epochs == 3);
    assert!(first_to_go_on < Some(8), "{trained:?}");
}

/// Every job of a search, as it is started and asked for.
fn transcript(mut search: Search, objective: impl Fn(&Job) -> f64) -> String {
    let mut jobs = BTreeMap::new();
    let mut text = String::new();
    loop {
        match search.step() {
            Step::Start(job) => {
                text += &format!("start {} from {}\n", job.id, job.from_epochs);
                jobs.insert(job.id, job);
            }
            Step::Wait(id) => {
                let objective = objective(&jobs[&id]);
                text += &format!("end {id}: {objective:.2}\n");
                search.tell(
                    id,
                    Outcome {
                        status: Status::Completed,
                        objective: Some(objective),
                        curve: Vec::new(),
                        failure: None,
                        seconds: 0.0,
                    },
                );
            }
            Step::Done => return text,
        }
    }
}

#[test]
fn the_order_of_an_asynchronous_search() {
    let search = search(halving(4, true), 0, 2);
    let text = transcript(search, |job| f64::from(job.id.trial) / 10.0);
    expect![[r#"
        start trial 0 to epoch 1 from 0
        start trial 1 to epoch 1 from 0
        end trial 0 to epoch 1: 0.00
        start trial 2 to epoch 1 from 0
        end trial 1 to epoch 1: 0.10
        start trial 3 to epoch 1 from 0
        end trial 2 to epoch 1: 0.20
        start trial 2 to epoch 3 from 1
        end trial 3 to epoch 1: 0.30
        start trial 3 to epoch 3 from 1
        end trial 2 to epoch 3: 0.20
        end trial 3 to epoch 3: 0.30
    "#]]
    .assert_eq(&text);
}

#[test]
fn failed_trials_are_told_and_never_go_on() {
    for strategy in STRATEGIES {
        let hill = Hill {
            failing: Some(1),
            ..Hill::default()
        };
        let tuned = run(search(strategy(), 3, 2), &hill, &mut Journal::none(), 2);
        for trial in &tuned.trials {
            let failed = trial.trial % 3 == 1;
            assert_eq!(trial.status == Some(Status::Failed), failed);
            assert_eq!(trial.objective.is_none(), failed);
            assert_eq!(trial.failure.as_deref(), failed.then_some("a stone in the way"));
        }
    }
    let base = Hyperparameters::draft(10).check().unwrap();
    let space = SpaceDraft::new()
        .range("epochs", Range::among(["1"]))
        .check(&base)
        .unwrap();
    let settings = Settings {
        strategy: Strategy::Grid,
        seed: 0,
        parallel: 1,
        stopping: Stopping::Off,
    };
    let hill = Hill {
        failing: Some(0),
        ..Hill::default()
    };
    let all = tune(
        Search::new(space, settings).unwrap(),
        &hill,
        &mut Journal::none(),
        1,
        &mut |_| ControlFlow::Continue(()),
    );
    assert_eq!(
        all.unwrap_err().to_string(),
        "none of 1 trials gave a model; the first: a stone in the way"
    );
}

#[test]
fn the_median_rule_stops_what_others_left_behind() {
    let settings = Settings {
        strategy: Strategy::Random { trials: 20 },
        seed: 5,
        parallel: 2,
        stopping: Stopping::Median,
    };
    let mut stopped = 0;
    let search = Search::new(space(), settings).unwrap();
    let tuned = run(search, &Hill::default(), &mut Journal::none(), 2);
    let free = run(
        self::search(settings.strategy, 5, 2),
        &Hill::default(),
        &mut Journal::none(),
        2,
    );
    for trial in &tuned.trials {
        match trial.status.unwrap() {
            Status::Stopped => {
                stopped += 1;
                assert!(trial.epochs < 9 && trial.curve.len() == trial.epochs as usize);
                assert!(trial.objective.unwrap() < tuned.best.objective);
            }
            _ => assert_eq!(trial.epochs, 9),
        }
    }
    assert!((3..15).contains(&stopped), "{stopped}");
    // The first three have nothing to be compared with, and the best is found all the same.
    assert!(
        tuned.trials[..3]
            .iter()
            .all(|trial| trial.status == Some(Status::Completed))
    );
    assert_eq!(tuned.best, free.best);
}

#[test]
fn settings_that_do_not_fit_are_all_told() {
    let problems = |strategy, parallel, stopping| {
        let settings = Settings {
            strategy,
            seed: 0,
            parallel,
            stopping,
        };
        Search::new(space(), settings).unwrap_err().to_string()
    };
    let bad = Halving {
        trials: 0,
        min_epochs: 10,
        eta: 1,
        asynchronous: false,
    };
    let text = [
        problems(Strategy::Random { trials: 0 }, 0, Stopping::Off),
        problems(Strategy::Grid, 1, Stopping::Off),
        problems(Strategy::Halving(bad), 1, Stopping::Median),
    ]
    .join("\n");
    expect![[r#"
        at least one trial must run at a time; there must be at least one trial
        a grid needs lists of values, such as 32|64|128: learning_rate has 0.0001..0.1, vector_dim has 8..256
        eta must be at least 2, got 1; the first rung must have 1 to 9 epochs (the value of epochs), got 10; successive halving stops trials by its own rule: leave early stopping off; there must be at least one trial"#]].assert_eq(&text);
}

/// A search that is broken off after so many notes, resumed, broken off again, and so forth, comes to the same end, and trains
/// nothing twice.
#[test]
fn a_search_that_is_interrupted_comes_to_the_same_end() {
    for strategy in STRATEGIES {
        let whole = run(
            search(strategy(), 9, 3),
            &Hill::default(),
            &mut Journal::none(),
            2,
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuning.jsonl");
        let hill = Hill::default();
        let mut tries = 0;
        let tuned = loop {
            tries += 1;
            let search = search(strategy(), 9, 3);
            let mut journal = Journal::resume(&path, &search, "rows").unwrap();
            let mut notes = 0;
            let result = tune(search, &hill, &mut journal, 2, &mut |news| {
                if matches!(news, News::Ended { recorded: false, .. }) {
                    notes += 1;
                }
                if notes > 3 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            match result {
                Ok(tuned) => break tuned,
                Err(TuneError::Cancelled) => assert!(tries < 30),
                Err(error) => panic!("{error}"),
            }
        };
        assert!(tries > 2, "{tries}");
        assert_eq!(timeless(&tuned), timeless(&whole), "{:?}", strategy());
        assert_eq!((tuned.best, tuned.model), (whole.best, whole.model));

        // Of a search that has ended, only the best model is trained again.
        let before = hill.trained.lock().unwrap().len();
        let search = search(strategy(), 9, 3);
        let mut journal = Journal::resume(&path, &search, "rows").unwrap();
        let again = run(search, &hill, &mut journal, 2);
        assert_eq!((again.best, again.model), (whole.best, whole.model));
        assert_eq!(hill.trained.lock().unwrap()[before..], [whole.best.job]);
    }
}

/// A journal of a search of three trials, and its file.
fn written() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuning.jsonl");
    let search = search(Strategy::Random { trials: 3 }, 1, 1);
    let mut journal = Journal::create(&path, &search, "rows").unwrap();
    run(search, &Hill::default(), &mut journal, 1);
    (folder, path)
}

#[test]
fn a_line_that_was_cut_off_is_done_again() {
    let (_folder, path) = written();
    let whole = std::fs::read(&path).unwrap();
    let lines = whole.iter().filter(|b| **b == b'\n').count();
    assert_eq!(lines, 4);
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let search = search(Strategy::Random { trials: 3 }, 1, 1);
        let journal = Journal::resume(&path, &search, "rows").unwrap();
        let ended = whole[..cut].iter().filter(|b| **b == b'\n').count();
        assert_eq!(journal.len(), ended.saturating_sub(1), "cut at {cut}");
        assert_eq!(
            journal.was_cut(),
            cut > 0 && whole[cut - 1] != b'\n',
            "cut at {cut}"
        );
        drop(journal);
        let after = std::fs::read(&path).unwrap();
        assert!(
            after.ends_with(b"\n") && whole.starts_with(&after),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_larger_search_begins_with_what_a_smaller_one_found() {
    let (_folder, path) = written();
    let larger = || search(Strategy::Random { trials: 5 }, 1, 1);
    let mut journal = Journal::resume(&path, &larger(), "rows").unwrap();
    let hill = Hill::default();
    let tuned = run(larger(), &hill, &mut journal, 1);
    let afresh = run(larger(), &Hill::default(), &mut Journal::none(), 1);
    assert_eq!(timeless(&tuned), timeless(&afresh));
    let trained: Vec<u32> = hill.trained.lock().unwrap().iter().map(|job| job.trial).collect();
    assert_eq!(trained[..2], [3, 4]);
}

#[test]
fn journals_of_other_searches_are_refused() {
    let (_folder, path) = written();
    let three = Strategy::Random { trials: 3 };
    let refused = |search: &Search, data: &str| {
        let error = Journal::resume(&path, search, data).unwrap_err().to_string();
        let (_, differences) = error.split_once("another journal: ").unwrap_or(("", &error));
        differences.to_owned()
    };
    let base = Hyperparameters::draft(1_000).epochs(8).check().unwrap();
    let other = SpaceDraft::new()
        .range("learning_rate", Range::between(1e-3, 0.1))
        .check(&base)
        .unwrap();
    let settings = Settings {
        strategy: Strategy::Bayesian {
            trials: 3,
            startup: 1,
        },
        seed: 1,
        parallel: 1,
        stopping: Stopping::Median,
    };
    let text = [
        refused(&search(three, 2, 1), "rows"),
        refused(&search(three, 1, 2), "other rows"),
        refused(&Search::new(other, settings).unwrap(), "rows"),
    ]
    .join("\n");
    expect![[r#"
        seed is 1 there and 2 here
        data is "rows" there and "other rows" here; parallel is 1 there and 2 here
        strategy type is "random" there and "bayesian" here; strategy startup is not set there and 1 here; stopping is "off" there and "median" here; ranges learning_rate is "0.0001..0.1" there and "0.001..0.1" here; ranges vector_dim is "8..256" there and not set here; hyperparameters epochs is "9" there and "8" here; hyperparameters vector_dim is not set there and "128" here"#]].assert_eq(&text);
    let error = Journal::create(&path, &search(three, 1, 1), "rows")
        .unwrap_err()
        .to_string();
    assert_eq!(
        error.replace(path.to_str().unwrap(), "FILE"),
        "the journal `FILE` exists: resume its search, or remove the file"
    );
}

#[test]
fn a_journal_is_used_by_one_search_at_a_time() {
    let (_folder, path) = written();
    let search = search(Strategy::Random { trials: 3 }, 1, 1);
    let held = Journal::resume(&path, &search, "rows").unwrap();
    let error = Journal::resume(&path, &search, "rows").unwrap_err();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    drop(held);
    assert_eq!(Journal::resume(&path, &search, "rows").unwrap().len(), 3);
}

#[test]
fn damage_is_told_with_its_line() {
    let search = search(Strategy::Random { trials: 3 }, 1, 1);
    for (change, want) in [
        (
            (|text| text.replacen("ipinsights tuning", "diary", 1)) as fn(String) -> String,
            "damaged in line 1: it is no `ipinsights tuning` of version 1",
        ),
        (|text| format!("{text}{{}}\n"), "damaged in line 5: missing field"),
        (
            |text| {
                let last = text.lines().last().unwrap().to_owned();
                format!("{text}{last}\n")
            },
            "damaged in line 5: trial 2 to epoch 9 is there twice",
        ),
        (
            |text| text.replacen("\"trial\"", "\"trail\"", 1),
            "damaged in line 2: missing field `trial`",
        ),
    ] {
        let (_folder, path) = written();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(change(text).as_bytes()).unwrap();
        let error = Journal::resume(&path, &search, "rows").unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}

/// A record of another version of the search, which chose other hyperparameters for the same trial.
#[test]
fn records_with_other_hyperparameters_are_refused() {
    let (_folder, path) = written();
    let text = std::fs::read_to_string(&path).unwrap();
    let dims: Vec<&str> = text.matches("\"vector_dim\":\"").collect();
    assert_eq!(dims.len(), 4, "the range in the header, and three records");
    std::fs::write(&path, text.replace("\"vector_dim\":\"", "\"vector_dim\":\"1")).unwrap();
    let search = || search(Strategy::Random { trials: 3 }, 1, 1);
    // The header's range changed with it: put that right.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"18..256\"", "\"8..256\"", 1)).unwrap();
    let mut journal = Journal::resume(&path, &search(), "rows").unwrap();
    let error = tune(search(), &Hill::default(), &mut journal, 1, &mut |_| {
        ControlFlow::Continue(())
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("trial 0 to epoch 9: vector_dim is 1"), "{error}");
}

/// The model that is trained again must be the one on record.
#[test]
fn an_objective_that_changed_is_told() {
    let (_folder, path) = written();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"objective\":0.", "\"objective\":1.")).unwrap();
    let search = || search(Strategy::Random { trials: 3 }, 1, 1);
    let mut journal = Journal::resume(&path, &search(), "rows").unwrap();
    let error = tune(search(), &Hill::default(), &mut journal, 1, &mut |_| {
        ControlFlow::Continue(())
    });
    assert!(matches!(error, Err(TuneError::Differs { .. })));
}

proptest! {
    /// Whatever is tuned how, a search ends, starts no job twice, has no more running than it may, and asks only for what runs.
    #[test]
    fn searches_keep_their_rules(
        kind in 0..3,
        trials in 1_u32..30,
        eta in 2_u32..5,
        min_epochs in 1_u32..9,
        parallel in 1_u32..6,
        objectives in prop::collection::vec(prop::option::weighted(0.9, 0.0..1.0), 200),
    ) {
        let strategy = match kind {
            0 => Strategy::Bayesian { trials, startup: 3 },
            asynchronous => {
                let asynchronous = asynchronous == 1;
                Strategy::Halving(Halving { trials, min_epochs, eta, asynchronous })
            }
        };
        let mut search = search(strategy, 0, parallel);
        let mut running = Vec::new();
        let mut started = Vec::new();
        for number in 0.. {
            prop_assert!(number < 10_000);
            match search.step() {
                Step::Start(job) => {
                    prop_assert!(!started.contains(&job.id));
                    prop_assert!(job.from_epochs < job.id.epochs && job.id.epochs <= 9);
                    started.push(job.id);
                    running.push(job.id);
                    prop_assert!(running.len() <= parallel as usize);
                }
                Step::Wait(id) => {
                    prop_assert!(running.contains(&id));
                    running.retain(|job| *job != id);
                    let objective = objectives[(id.trial * 3 + id.epochs) as usize % objectives.len()];
                    let status = if objective.is_some() { Status::Completed } else { Status::Failed };
                    let outcome = Outcome { status, objective, curve: Vec::new(), failure: None, seconds: 0.0 };
                    search.tell(id, outcome);
                }
                Step::Done => break,
            }
        }
        prop_assert_eq!(search.trials().len(), trials as usize);
        prop_assert!(search.trials().iter().all(|trial| trial.status.is_some()));
        prop_assert!((0..trials).all(|trial| !search.may_go_on(trial) || kind == 1));
    }
}

/// What other searches found is where a new one begins.
#[test]
fn a_search_that_knows_of_others_begins_where_they_were_best() {
    let space = || {
        let base = Hyperparameters::draft(100).check().unwrap();
        let draft = SpaceDraft::new().range("vector_dim", Range::between(4.0, 4096.0));
        draft.check(&base).unwrap()
    };
    let settings = |seed| Settings {
        strategy: Strategy::Bayesian {
            trials: 4,
            startup: 3,
        },
        seed,
        parallel: 1,
        stopping: Stopping::Off,
    };
    let first = |search: &mut Search| match search.step() {
        Step::Start(job) => job.hyperparameters.vector_dim(),
        step => panic!("{step:?}"),
    };
    // The nearer to 1,024, the better.
    let others = [4, 16, 64, 256, 900, 1024, 1100, 4096].map(|dim: u32| {
        let values = [("vector_dim".to_owned(), dim.to_string())].into();
        (values, -f64::from(dim.ilog2().abs_diff(10)))
    });
    let mut near = (0, 0);
    for seed in 0..20 {
        let is_near = |dim: u32| u32::from((512..=2048).contains(&dim));
        near.0 += is_near(first(&mut Search::new(space(), settings(seed)).unwrap()));
        let mut knowing = Search::new(space(), settings(seed))
            .unwrap()
            .knowing(others.clone());
        near.1 += is_near(first(&mut knowing));
        assert_eq!((knowing.best(), knowing.planned()), (None, 4));
    }
    assert!(near.1 >= 15 && near.0 <= 8, "{near:?} of 20");
    // What is outside the space, or no number, is nothing that is known.
    let outside = [
        ([("vector_dim".to_owned(), "2".to_owned())].into(), 1.0),
        ([("epochs".to_owned(), "2".to_owned())].into(), 1.0),
        ([("vector_dim".to_owned(), "64".to_owned())].into(), f64::NAN),
    ];
    let mut search = Search::new(space(), settings(0)).unwrap().knowing(outside);
    assert_eq!(
        first(&mut search),
        first(&mut Search::new(space(), settings(0)).unwrap())
    );
}

proptest! {
    /// The values at a point lead back to a point with these values.
    #[test]
    fn values_have_a_point(at in prop::collection::vec(0.0..1.0, 5)) {
        let base = Hyperparameters::draft(100).check().unwrap();
        let space = SpaceDraft::new()
            .range("vector_dim", Range::between(4.0, 4096.0))
            .range("epochs", "1..9".parse().unwrap())
            .range("learning_rate", Range::between(0.000_001, 10.0))
            .range("weight_decay", Range::between(0.0, 10.0))
            .range("mini_batch_size", Range::among(["500", "1000", "5000"]));
        let space = space.check(&base).unwrap();
        let values = space.at(&at).to_map();
        let point = space.point(&values).unwrap();
        prop_assert!(point.iter().all(|at| (0.0..1.0).contains(at)));
        let again = space.at(&point).to_map();
        for (name, value) in &values {
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-4 * a.abs().max(b.abs());
            let (a, b) = (value.parse().unwrap(), again[name].parse().unwrap());
            prop_assert!(close(a, b), "{}: {} and {}", name, value, again[name]);
        }
    }
}
