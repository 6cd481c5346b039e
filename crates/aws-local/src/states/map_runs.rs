//! Map runs.

use serde_json::{Value, json};
use sfn_local::MapRunSettings;

use super::{
    States, arn, by_time,
    journal::{Counts, MapRun, RUNNING},
    page,
};
use crate::api::{ApiError, ApiResult, Check, Form, TEXT};

const LONG_ARN: Form = Form { max: 2000, ..TEXT };

impl States {
    pub(super) fn describe_map_run(&self, input: &Value) -> ApiResult<Value> {
        let run = self.map_run_of(input)?;
        // Batches are of one size but for the last.
        let per_child = if run.counts.total == 0 {
            1
        } else {
            run.items.div_ceil(run.counts.total).max(1)
        };
        let not_redrivable = self.journal.failures_not_redrivable(&run.arn, self.now())?;
        let executions = counts(&run.counts, not_redrivable);
        let items = counts(
            &run.counts.times(per_child, run.items),
            (not_redrivable * per_child).min(run.items),
        );
        let mut answer = json!({
            "mapRunArn": run.arn,
            "executionArn": run.execution_arn,
            "status": run.status,
            "startDate": run.started,
            "maxConcurrency": run.max_concurrency,
            "toleratedFailurePercentage": run.tolerated_failure_percentage,
            "toleratedFailureCount": run.tolerated_failure_count,
            "itemCounts": items,
            "executionCounts": executions,
            "redriveCount": run.redrives,
        });
        if let Some(stopped) = run.stopped {
            answer["stopDate"] = stopped.into();
        }
        if let Some(redriven) = run.redriven {
            answer["redriveDate"] = redriven.into();
        }
        Ok(answer)
    }

    pub(super) fn list_map_runs(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let execution = check.required("executionArn", TEXT);
        arn::execution(execution)?;
        self.execution(execution)?;
        let runs = self.journal.map_runs(execution)?;
        let (runs, next) = page(&mut check, runs.iter(), 100, |run| by_time(run.started, &run.arn))?;
        check.finish()?;
        let runs: Vec<_> = runs
            .into_iter()
            .map(|run| {
                let mut told = json!({
                    "executionArn": run.execution_arn,
                    "mapRunArn": run.arn,
                    "stateMachineArn": run.machine_arn,
                    "startDate": run.started,
                });
                if let Some(stopped) = run.stopped {
                    told["stopDate"] = stopped.into();
                }
                told
            })
            .collect();
        let mut answer = json!({"mapRuns": runs});
        if let Some(next) = next {
            answer["nextToken"] = next.into();
        }
        Ok(answer)
    }

    pub(super) fn update_map_run(&self, input: &Value) -> ApiResult<Value> {
        let mut check = Check::new(input);
        let concurrency = check.integer("maxConcurrency", 0, i64::from(i32::MAX));
        let count = check.integer("toleratedFailureCount", 0, i64::MAX);
        let percentage = check.amount("toleratedFailurePercentage");
        if let Some(percentage) = percentage.filter(|percentage| *percentage > 100.0) {
            check.problem(
                Some(&percentage.to_string()),
                "toleratedFailurePercentage",
                "Member must have value less than or equal to 100",
            );
        }
        check.finish()?;
        let arn = self.map_run_of(input)?.arn;
        // The run itself writes what it finds here.
        let mut all_settings = self.map_run_settings();
        let changed = self.journal.change_map_run(&arn, |run| {
            if run.status != RUNNING {
                let message = "Cannot update a Map Run that has completed.";
                return Err(ApiError::validation(message));
            }
            if concurrency.is_none() && count.is_none() && percentage.is_none() {
                let message = "At least one of maxConcurrency, toleratedFailureCount and \
                               toleratedFailurePercentage must be specified";
                return Err(ApiError::validation(message));
            }
            if let Some(concurrency) = concurrency {
                run.max_concurrency = concurrency.unsigned_abs();
            }
            if let Some(count) = count {
                run.tolerated_failure_count = count.unsigned_abs();
            }
            if let Some(percentage) = percentage {
                run.tolerated_failure_percentage = percentage;
            }
            run.updated = true;
            Ok(run.settings())
        })?;
        if let Some(settings) = changed.transpose()? {
            all_settings.insert(arn, settings);
        }
        drop(all_settings);
        self.map_runs_updated.notify_waiters();
        Ok(json!({}))
    }

    fn map_run_of(&self, input: &Value) -> ApiResult<MapRun> {
        let mut check = Check::new(input);
        let arn = check.required("mapRunArn", LONG_ARN);
        check.finish()?;
        arn::map_run(arn)?;
        let missing = || ApiError::new("ResourceNotFound", format!("Resource not found: '{arn}'"));
        self.journal.map_run(arn)?.ok_or_else(missing)
    }
}

impl MapRun {
    /// What it keeps to.
    pub(super) fn settings(&self) -> MapRunSettings {
        MapRunSettings {
            max_concurrency: self.max_concurrency,
            tolerated_failure_count: Some(self.tolerated_failure_count).filter(|count| *count > 0),
            tolerated_failure_percentage: Some(self.tolerated_failure_percentage).filter(|p| *p > 0.0),
        }
    }
}

impl Counts {
    /// Counts of items, of which there are `total`, in batches of this size.
    fn times(&self, size: u64, total: u64) -> Self {
        let items = |children: u64| (children * size).min(total);
        Self {
            total,
            pending: items(self.pending),
            running: items(self.running),
            succeeded: items(self.succeeded),
            failed: items(self.failed),
            timed_out: items(self.timed_out),
            aborted: items(self.aborted),
            written: items(self.written),
            pending_redrive: items(self.pending_redrive),
        }
    }
}

fn counts(counts: &Counts, failures_not_redrivable: u64) -> Value {
    json!({
        "pending": counts.pending,
        "running": counts.running,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "timedOut": counts.timed_out,
        "aborted": counts.aborted,
        "total": counts.total,
        "resultsWritten": counts.written,
        "failuresNotRedrivable": failures_not_redrivable,
        "pendingRedrive": counts.pending_redrive,
    })
}
