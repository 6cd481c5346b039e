//! What is read of the result of a call whose result is known.

use serde_json::Value;

use super::Checker;
use super::at::At;
use super::fields::Fields;
use crate::checked::Data;
use crate::finding::{Code, Finding, nearest};
use crate::path::{Path, Root, Segment};
use crate::service;
use crate::template::Template;

/// The members that answers to requests have; those of other calls are not known here.
///
/// The API references of the services.
const ANSWERS: [(&str, &str, &[&str]); 14] = [
    ("sagemaker", "createTrainingJob", &["TrainingJobArn"]),
    ("sagemaker", "createTransformJob", &["TransformJobArn"]),
    (
        "sagemaker",
        "createHyperParameterTuningJob",
        &["HyperParameterTuningJobArn"],
    ),
    ("sagemaker", "createLabelingJob", &["LabelingJobArn"]),
    ("sagemaker", "createProcessingJob", &["ProcessingJobArn"]),
    ("sagemaker", "createModel", &["ModelArn"]),
    ("sagemaker", "createEndpointConfig", &["EndpointConfigArn"]),
    ("sagemaker", "createEndpoint", &["EndpointArn"]),
    ("sagemaker", "updateEndpoint", &["EndpointArn"]),
    ("batch", "submitJob", &["JobArn", "JobId", "JobName"]),
    ("glue", "startJobRun", &["JobRunId"]),
    ("athena", "startQueryExecution", &["QueryExecutionId"]),
    ("sns", "publish", &["MessageId", "SequenceNumber"]),
    ("states", "startExecution", &["ExecutionArn", "StartDate"]),
];

/// What Step Functions adds to answers.
const ADDED: [&str; 2] = ["SdkHttpMetadata", "SdkResponseMetadata"];

impl Checker<'_> {
    /// Looks at what a Task reads of its result, in `ResultSelector` or through `$states.result`.
    pub(super) fn result(&mut self, fields: &Fields<'_, '_>, data: &Data) {
        let (field, template) = match data {
            Data::JsonPath(data) => ("ResultSelector", &data.result_selector),
            Data::Jsonata(data) => ("Output", &data.output),
        };
        let resource = fields.peek("Resource").and_then(Value::as_str);
        if let Some(template) = template
            && let Some((_, call)) = resource.and_then(|arn| arn.split_once(":states:::"))
        {
            self.selected(call, fields.at(field), template);
        }
    }

    fn selected(&mut self, call: &str, at: At<'_>, template: &Template) {
        template.each(&mut |expression| {
            if let crate::template::Expression::Jsonata(jsonata) = expression {
                let fields = jsonata.references().result_fields.iter();
                for names in fields.filter(|names| !names.is_empty()) {
                    let names: Vec<&str> = names.split('.').collect();
                    self.read(call, at, &names);
                }
            }
            expression.each_path(&mut |path| {
                if *path.root() == Root::Data {
                    self.read(call, at, &names_of(path));
                }
            });
        });
    }

    /// `call` is such as `sagemaker:createTrainingJob`, `names` the first members that are read.
    fn read(&mut self, call: &str, at: At<'_>, names: &[&str]) {
        let Some(first) = names.first() else { return };
        if call == "states:startExecution.sync" && *first == "Output" && names.len() > 1 {
            let message = format!("`Output` is a text here, which has no `{}`", names[1]);
            let finding = Finding::new(Code::TextResult, at, message);
            self.findings
                .push(finding.hint("with `states:startExecution.sync:2` it is JSON"));
            return;
        }
        let answer = ANSWERS.iter().find(|(service, action, _)| {
            let rest = call.strip_prefix(service).and_then(|rest| rest.strip_prefix(':'));
            rest == Some(action)
        });
        let Some((service, action, members)) = answer else {
            return;
        };
        if members.contains(first) || ADDED.contains(first) {
            return;
        }
        let message = format!("the answer to `{service}:{action}` has no `{first}`");
        let finding = Finding::new(Code::UnknownResult, at, message);
        let job = service::actions(service)
            .any(|known| known.name == *action && known.patterns.iter().any(|pattern| pattern.is_sync()));
        self.findings.push(match nearest(first, members.iter().copied()) {
            Some(near) => finding.near(Some(near)),
            None if job => finding.hint(format!(
                "`{service}:{action}.sync` waits for the end and results in the description"
            )),
            None => finding,
        });
    }
}

/// The fields with which a path begins.
fn names_of(path: &Path) -> Vec<&str> {
    let names = path.segments().iter().map_while(|segment| match segment {
        Segment::Field(name) => Some(name.as_str()),
        _ => None,
    });
    names.collect()
}
