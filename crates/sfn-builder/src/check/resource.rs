//! What `Resource` may name.

use super::Checker;
use crate::checked::{Integration, Pattern, Resource};
use crate::finding::{Code, Finding, nearest};
use crate::service;

impl Checker<'_> {
    pub(super) fn resource(&mut self, pointer: &str, arn: &str) -> Option<Resource> {
        match parse(arn) {
            Ok(integration) => Some(Resource {
                arn: arn.to_owned(),
                integration,
            }),
            Err(problem) => {
                let mut finding = Finding::new(problem.code, pointer, problem.message);
                finding.hint = problem.hint;
                self.findings.push(finding.near(problem.nearest));
                None
            }
        }
    }
}

struct Problem {
    code: Code,
    message: String,
    hint: Option<String>,
    nearest: Option<String>,
}

fn invalid(message: String) -> Problem {
    Problem {
        code: Code::InvalidResource,
        message,
        hint: None,
        nearest: None,
    }
}

fn no_pattern(message: String) -> Problem {
    Problem {
        code: Code::UnsupportedPattern,
        message,
        hint: None,
        nearest: None,
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
            nearest: nearest(partition, ["aws", "aws-cn", "aws-us-gov"]),
            ..invalid(format!(
                "`{arn}` names the partition `{partition}`, which does not exist"
            ))
        });
    }
    match service {
        "lambda" if rest.starts_with("function:") => Ok(Integration::Lambda),
        "states" if rest.starts_with("activity:") => Ok(Integration::Activity),
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
    let pattern = match pattern {
        None => Pattern::RequestResponse,
        Some("sync") => Pattern::Sync,
        Some("sync:2") => Pattern::Sync2,
        Some("waitForTaskToken") => Pattern::WaitForTaskToken,
        Some(other) => {
            return Err(Problem {
                nearest: nearest(other, ["sync", "waitForTaskToken"]),
                ..no_pattern(format!("there is no integration pattern `.{other}`"))
            });
        }
    };
    optimized(service, action, pattern)?;
    if let Some(sdk_service) = service.strip_prefix("aws-sdk:") {
        if pattern.is_sync() {
            let message =
                format!("AWS SDK integrations have no `.sync`: `{sdk_service}:{action}` returns at once");
            return Err(Problem {
                nearest: arn.split_once(".sync").map(|(plain, _)| plain.to_owned()),
                ..no_pattern(message)
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
                nearest: Some(camel),
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
        action: action.to_owned(),
        pattern,
    })
}

/// Step Functions' own integrations: by the table that the builder's typed calls are made of.
fn optimized(service: &str, action: &str, pattern: Pattern) -> Result<(), Problem> {
    let actions = service::actions(service);
    if actions.clone().next().is_none() {
        return Ok(());
    }
    let Some(known) = actions.clone().find(|known| known.name == action) else {
        return Err(Problem {
            nearest: nearest(action, actions.map(|known| known.name)),
            ..invalid(format!(
                "Step Functions' own integration `{service}` has no action `{action}`; any other is \
                 `arn:aws:states:::aws-sdk:{}:{action}`",
                sdk_name(service)
            ))
        });
    };
    if known.patterns.contains(&pattern) {
        return Ok(());
    }
    let endpoint = service == "sagemaker" && matches!(action, "createEndpoint" | "updateEndpoint");
    Err(match pattern {
        Pattern::Sync if endpoint => Problem {
            hint: Some(
                "`EndpointDeployment` of the builder makes the states that create or update an endpoint and wait \
                 until it is in service"
                    .to_owned(),
            ),
            ..no_pattern(format!(
                "AWS has no `{service}:{action}.sync`: it can only be called as `{service}:{action}`, and what it makes be polled"
            ))
        },
        Pattern::Sync if service == "sagemaker" => no_pattern(format!(
            "AWS has no `{service}:{action}.sync`: it can only be called as `{service}:{action}`, and what it makes be polled"
        )),
        Pattern::Sync => no_pattern(format!("AWS has no `{service}:{action}.sync`")),
        Pattern::Sync2 => no_pattern(format!("AWS has no `{service}:{action}.sync:2`")),
        Pattern::WaitForTaskToken => no_pattern(format!("AWS has no `{service}:{action}.waitForTaskToken`")),
        Pattern::RequestResponse => no_pattern(format!("AWS has no plain `{service}:{action}`")),
    })
}

/// What the AWS SDK calls a service.
fn sdk_name(service: &str) -> &str {
    match service {
        "states" => "sfn",
        "events" => "eventbridge",
        other => other,
    }
}
