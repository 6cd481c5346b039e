//! What `Resource` may name.

use super::Checker;
use crate::checked::{Integration, Resource};
use crate::finding::{Code, Finding, nearest};

/// The actions that Step Functions' own SageMaker integration has, and which of them can be waited for.
const SAGEMAKER: [(&str, bool); 9] = [
    ("createTrainingJob", true),
    ("createTransformJob", true),
    ("createHyperParameterTuningJob", true),
    ("createLabelingJob", true),
    ("createProcessingJob", true),
    ("createModel", false),
    ("createEndpointConfig", false),
    ("createEndpoint", false),
    ("updateEndpoint", false),
];

impl Checker {
    pub(super) fn resource(&mut self, pointer: &str, arn: &str) -> Option<Resource> {
        match parse(arn) {
            Ok(integration) => Some(Resource {
                arn: arn.to_owned(),
                integration,
            }),
            Err(problem) => {
                let finding = Finding::new(problem.code, pointer, problem.message);
                self.findings.push(finding.suggest(problem.suggestion));
                None
            }
        }
    }
}

struct Problem {
    code: Code,
    message: String,
    suggestion: Option<String>,
}

fn invalid(message: String) -> Problem {
    Problem {
        code: Code::InvalidResource,
        message,
        suggestion: None,
    }
}

fn unsupported(message: String) -> Problem {
    Problem {
        code: Code::Unsupported,
        message,
        suggestion: None,
    }
}

fn parse(arn: &str) -> Result<Integration, Problem> {
    // arn:partition:service:region:account:rest
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let &[prefix, partition, service, region, account, rest] = parts.as_slice() else {
        return Err(invalid(format!("`{arn}` is not an ARN")));
    };
    if prefix != "arn" {
        return Err(invalid(format!(
            "`{arn}` is not an ARN: it does not start with `arn:`"
        )));
    }
    if !matches!(
        partition,
        "aws" | "aws-cn" | "aws-us-gov" | "aws-iso" | "aws-iso-b" | "aws-iso-e" | "aws-iso-f" | "aws-eusc"
    ) {
        return Err(Problem {
            suggestion: nearest(partition, ["aws", "aws-cn", "aws-us-gov"]),
            ..invalid(format!(
                "`{arn}` names the partition `{partition}`, which does not exist"
            ))
        });
    }
    match service {
        "lambda" if rest.starts_with("function:") => Ok(Integration::Lambda),
        "states" if rest.starts_with("activity:") => {
            Err(unsupported(format!("activities are not supported: `{arn}`")))
        }
        "states" if region.is_empty() && account.is_empty() => integration(arn, rest),
        _ => Err(invalid(format!("`{arn}` names nothing that a Task can call"))),
    }
}

/// `service:action` or `aws-sdk:service:action`, with a pattern after a dot.
fn integration(arn: &str, rest: &str) -> Result<Integration, Problem> {
    let Some((service, call)) = rest
        .rsplit_once(':')
        .map(|(service, call)| match call.parse::<u8>() {
            // `startExecution.sync:2`
            Ok(_) => rest.split_once(':').unwrap_or((service, call)),
            Err(_) => (service, call),
        })
    else {
        return Err(invalid(format!(
            "`{arn}` has no action: `arn:aws:states:::service:action` is wanted"
        )));
    };
    let (action, pattern) = match call.split_once('.') {
        Some((action, pattern)) => (action, Some(pattern)),
        None => (call, None),
    };
    if service.is_empty() || action.is_empty() {
        return Err(invalid(format!(
            "`{arn}` has no action: `arn:aws:states:::service:action` is wanted"
        )));
    }
    let sync = match pattern {
        None => false,
        Some("sync" | "sync:2") => true,
        Some("waitForTaskToken") => {
            return Err(unsupported(format!(
                "the pattern `.waitForTaskToken` is not supported: `{arn}`"
            )));
        }
        Some(other) => {
            return Err(Problem {
                suggestion: nearest(other, ["sync", "waitForTaskToken"]),
                ..invalid(format!("there is no integration pattern `.{other}`"))
            });
        }
    };
    if service == "sagemaker" {
        sagemaker(action, pattern)?;
    }
    if let Some(sdk_service) = service.strip_prefix("aws-sdk:") {
        if sync {
            let message =
                format!("AWS SDK integrations have no `.sync`: `{sdk_service}:{action}` returns at once");
            return Err(Problem {
                suggestion: Some(arn.replace(".sync", "")),
                ..invalid(message)
            });
        }
        if !action.starts_with(|c: char| c.is_ascii_lowercase()) {
            let mut chars = action.chars();
            let camel: String = chars
                .next()
                .into_iter()
                .flat_map(char::to_lowercase)
                .chain(chars)
                .collect();
            return Err(Problem {
                suggestion: Some(camel),
                ..invalid(format!(
                    "the action `{action}` of an AWS SDK integration is written in camel case"
                ))
            });
        }
    } else if service.contains(':') {
        return Err(invalid(format!("`{arn}` names nothing that a Task can call")));
    }
    Ok(Integration::Service {
        resource_type: service.to_owned(),
        resource: call.to_owned(),
        sync,
    })
}

fn sagemaker(action: &str, pattern: Option<&str>) -> Result<(), Problem> {
    let Some((_, waits)) = SAGEMAKER.iter().find(|(known, _)| *known == action) else {
        let known = SAGEMAKER.iter().map(|(known, _)| *known);
        return Err(Problem {
            suggestion: nearest(action, known),
            ..invalid(format!(
                "the SageMaker integration has no action `{action}`; any other is `arn:aws:states:::aws-sdk:sagemaker:{action}`"
            ))
        });
    };
    match pattern {
        Some("sync") if !waits => Err(invalid(format!(
            "AWS has no `sagemaker:{action}.sync`: it can only be called as `sagemaker:{action}`, and what it makes be polled"
        ))),
        Some("sync:2") => Err(invalid(format!("AWS has no `sagemaker:{action}.sync:2`"))),
        _ => Ok(()),
    }
}
