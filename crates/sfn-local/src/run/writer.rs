//! Writing the results of a distributed Map state, through the task handler.
//!
//! Developer guide, "ResultWriter (Map)".

use serde_json::{Value, json};
use sfn_builder::checked::{OutputType, ResultWriter, WriterTransformation};

use super::Runner;
use super::map_run::{Child, described, shaped};
use crate::engine::MapRun;
use crate::execution::Outcome;
use crate::handler::TaskFailure;

const PUT: &str = "arn:aws:states:::s3:putObject";

impl Runner<'_> {
    /// Writes a file of the executions that have ended well, one of those that have not, and a manifest of both.
    pub(super) async fn write_results(
        &self,
        run: &MapRun<'_>,
        writer: &ResultWriter,
        request: &Value,
        children: &[Child],
    ) -> Result<Value, TaskFailure> {
        let config = writer.config.unwrap_or_default();
        let bucket = request["Bucket"].as_str().unwrap_or_default();
        let prefix = request["Prefix"]
            .as_str()
            .unwrap_or_default()
            .trim_end_matches('/');
        let run_id = run.map_run_arn().rsplit(':').next().unwrap_or_default();
        let folder = if prefix.is_empty() {
            run_id.to_owned()
        } else {
            format!("{prefix}/{run_id}")
        };
        let lines = config.output_type == Some(OutputType::JsonLines);
        let extension = if lines { "jsonl" } else { "json" };
        let transformation = config.transformation.unwrap_or(WriterTransformation::None);
        let succeeded = |child: &&Child| matches!(child.outcome, Outcome::Succeeded { .. });
        let good = shaped(children.iter().filter(succeeded), transformation);
        let bad: Value = children
            .iter()
            .filter(|child| !succeeded(child))
            .map(described)
            .collect();
        let mut files = json!({"FAILED": [], "PENDING": [], "SUCCEEDED": []});
        for (status, results) in [("SUCCEEDED", good), ("FAILED", bad)] {
            let rows = results.as_array().map(Vec::as_slice).unwrap_or_default();
            if rows.is_empty() {
                continue;
            }
            let body = if lines {
                rows.iter().map(|row| format!("{row}\n")).collect()
            } else {
                results.to_string()
            };
            let key = format!("{folder}/{status}_0.{extension}");
            files[status] = json!([{"Key": key, "Size": body.len()}]);
            self.put(run, bucket, &key, body).await?;
        }
        let key = format!("{folder}/manifest.json");
        let manifest = json!({
            "DestinationBucket": bucket,
            "MapRunArn": run.map_run_arn(),
            "ResultFiles": files,
        });
        self.put(run, bucket, &key, manifest.to_string()).await?;
        Ok(json!({
            "MapRunArn": run.map_run_arn(),
            "ResultWriterDetails": {"Bucket": bucket, "Key": key},
        }))
    }

    async fn put(&self, run: &MapRun<'_>, bucket: &str, key: &str, body: String) -> Result<(), TaskFailure> {
        let request = json!({"Bucket": bucket, "Key": key, "Body": body});
        match self.s3(run, PUT, request).await {
            Ok(_) => Ok(()),
            Err(failure) => {
                let cause = format!("{}: {}", failure.error, failure.cause);
                Err(TaskFailure::new("States.ResultWriterFailed", cause))
            }
        }
    }
}
