//! What `Resource` may name.

use std::borrow::Cow;

use super::Checker;
use super::at::At;
use crate::checked::{Integration, Pattern, Resource};
use crate::finding::{Code, Finding, nearest};
use crate::service;

impl Checker<'_> {
    /// `Resource` of a Task.
    pub(super) fn resource(&mut self, pointer: At<'_>, arn: &str) -> Option<Resource> {
        let integration = parse(arn).map_err(|problem| Problem {
            said: problem.said.or(Some(NO_ARN.into())),
            ..problem
        });
        self.judged(pointer, arn, integration)
    }

    /// `Resource` of an `ItemReader` or a `ResultWriter`, which is one of these actions of S3.
    pub(super) fn s3_resource(&mut self, pointer: At<'_>, arn: &str, actions: &[&str]) -> Option<Resource> {
        let action = arn.split_once(":states:::s3:").map(|(_, action)| action);
        let integration = match action.filter(|action| actions.contains(action)) {
            Some(action) => parts(arn).map(|_| Integration::Service {
                resource_type: "s3".to_owned(),
                resource: action.to_owned(),
                action: action.to_owned(),
                pattern: Pattern::RequestResponse,
            }),
            None => {
                let names: Vec<String> = actions.iter().map(|action| format!("`s3:{action}`")).collect();
                let near = nearest(action.unwrap_or_default(), actions.iter().copied());
                Err(Problem {
                    nearest: near.map(|action| format!("arn:aws:states:::s3:{action}")),
                    said: Some("The field 'Resource' does not match any of the allowed values".into()),
                    ..invalid(format!("`{arn}` cannot stand here: {} can", names.join(" or ")))
                })
            }
        };
        self.judged(pointer, arn, integration)
    }

    /// A role that is taken for a call.
    pub(super) fn role(&mut self, pointer: At<'_>, arn: &str) {
        match parts(arn) {
            Ok([_, "iam", "", account, role]) if is_account(account) && role.starts_with("role/") => {}
            Ok(_) => {
                let message = format!("`{arn}` is no role: `arn:aws:iam::123456789012:role/name` is wanted");
                self.problem(pointer, invalid(message));
            }
            Err(problem) => self.problem(pointer, problem),
        }
    }

    fn judged(
        &mut self,
        pointer: At<'_>,
        arn: &str,
        integration: Result<Integration, Problem>,
    ) -> Option<Resource> {
        match integration {
            Ok(integration) => Some(Resource {
                arn: arn.to_owned(),
                integration,
            }),
            Err(problem) => {
                self.problem(pointer, problem);
                None
            }
        }
    }

    fn problem(&mut self, pointer: At<'_>, problem: Problem) {
        let mut finding = Finding::new(problem.code, pointer, problem.message);
        (finding.hint, finding.said) = (problem.hint, problem.said.map(Box::new));
        self.findings.push(finding.near(problem.nearest));
    }
}

struct Problem {
    code: Code,
    message: String,
    hint: Option<String>,
    nearest: Option<String>,
    /// What the service says of it.
    said: Option<Cow<'static, str>>,
}

const NO_ARN: &str = "Value is not a valid resource ARN";

fn invalid(message: String) -> Problem {
    Problem {
        code: Code::InvalidResource,
        message,
        hint: None,
        nearest: None,
        said: None,
    }
}

fn no_pattern(message: String) -> Problem {
    Problem {
        code: Code::UnsupportedPattern,
        message,
        hint: None,
        nearest: None,
        said: None,
    }
}

/// The partitions, each with what its regions begin with.
///
/// AWS General Reference, "AWS Regions".
const PARTITIONS: [(&str, &str); 8] = [
    ("aws-cn", "cn-"),
    ("aws-us-gov", "us-gov-"),
    ("aws-iso", "us-iso-"),
    ("aws-iso-b", "us-isob-"),
    ("aws-iso-e", "eu-isoe-"),
    ("aws-iso-f", "us-isof-"),
    ("aws-eusc", "eusc-"),
    // All other regions.
    ("aws", ""),
];

/// The parts of an ARN after `arn`, the first of which is a partition that there is.
fn parts(arn: &str) -> Result<[&str; 5], Problem> {
    let mut rest = arn;
    let mut parts = [""; 5];
    for part in &mut parts {
        let Some((first, others)) = rest.split_once(':') else {
            return Err(invalid(format!("`{arn}` is not an ARN")));
        };
        (*part, rest) = (first, others);
    }
    let [prefix, partition, service, region, account] = parts;
    if prefix != "arn" {
        return Err(invalid(format!(
            "`{arn}` is not an ARN: it does not start with `arn:`"
        )));
    }
    if PARTITIONS.iter().any(|(known, _)| *known == partition) {
        return Ok([partition, service, region, account, rest]);
    }
    Err(Problem {
        nearest: nearest(partition, ["aws", "aws-cn", "aws-us-gov"]),
        ..invalid(format!(
            "`{arn}` names the partition `{partition}`, which does not exist"
        ))
    })
}

fn is_account(account: &str) -> bool {
    account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit())
}

/// The region, account and name of a resource of one's own; the name stands after its kind, such as `function:`.
fn own(arn: &str, partition: &str, region: &str, account: &str, rest: &str) -> Result<(), Problem> {
    if region.is_empty() {
        return Err(invalid(format!("`{arn}` has no region")));
    }
    let theirs = PARTITIONS.iter().find(|(_, begin)| region.starts_with(begin));
    if let Some((theirs, _)) = theirs.filter(|(theirs, _)| *theirs != partition) {
        return Err(Problem {
            nearest: Some(arn.replacen(partition, theirs, 1)),
            ..invalid(format!(
                "the region `{region}` belongs to the partition `{theirs}`, not to `{partition}`"
            ))
        });
    }
    let is_region = region.split('-').count() >= 3
        && region
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && region.ends_with(|c: char| c.is_ascii_digit());
    if !is_region {
        return Err(invalid(format!("`{region}` in `{arn}` is no region")));
    }
    if !is_account(account) {
        return Err(invalid(format!(
            "`{account}` in `{arn}` is no account, which has 12 digits"
        )));
    }
    let name = rest.split(':').nth(1).unwrap_or_default();
    if name.is_empty() {
        return Err(invalid(format!("`{arn}` has no name at its end")));
    }
    Ok(())
}

fn parse(arn: &str) -> Result<Integration, Problem> {
    let [partition, service, region, account, rest] = parts(arn)?;
    match service {
        "lambda" if rest.starts_with("function:") => {
            own(arn, partition, region, account, rest).map(|()| Integration::Lambda)
        }
        "states" if rest.starts_with("activity:") => {
            own(arn, partition, region, account, rest).map(|()| Integration::Activity)
        }
        "states" if region.is_empty() && account.is_empty() => integration(arn, rest).map_err(|problem| Problem {
            said: Some(
                format!(
                    "The resource provided {arn} is not recognized. The value is not a valid resource ARN, or the \
                     resource is not available in this region."
                )
                .into(),
            ),
            ..problem
        }),
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
    match service.strip_prefix("aws-sdk:") {
        Some(sdk_service) => sdk(arn, sdk_service, action, pattern)?,
        None if service.contains(':') => {
            return Err(invalid(format!("`{arn}` names nothing that a Task can call")));
        }
        None => optimized(service, action, pattern)?,
    }
    Ok(Integration::Service {
        resource_type: service.to_owned(),
        resource: call.to_owned(),
        action: action.to_owned(),
        pattern,
    })
}

/// Names that other tools have for services, and those of the AWS SDK integrations.
///
/// Developer guide, "Supported AWS SDK service integrations".
const SDK_NAMES: [(&str, &str); 17] = [
    ("states", "sfn"),
    ("stepfunctions", "sfn"),
    ("events", "eventbridge"),
    ("cloudwatchevents", "eventbridge"),
    ("logs", "cloudwatchlogs"),
    ("monitoring", "cloudwatch"),
    ("elasticmapreduce", "emr"),
    ("elb", "elasticloadbalancing"),
    ("elbv2", "elasticloadbalancingv2"),
    ("ce", "costexplorer"),
    ("cur", "costandusagereport"),
    ("dms", "databasemigration"),
    ("ds", "directory"),
    ("es", "elasticsearch"),
    ("cognito-idp", "cognitoidentityprovider"),
    ("cognito-identity", "cognitoidentity"),
    ("sagemaker-runtime", "sagemakerruntime"),
];

/// An action of the AWS SDK. There are too many to know them all; how they are written is known.
fn sdk(arn: &str, service: &str, action: &str, pattern: Pattern) -> Result<(), Problem> {
    if pattern.is_sync() {
        let message = format!("AWS SDK integrations have no `.sync`: `{service}:{action}` returns at once");
        return Err(Problem {
            nearest: arn.split_once(".sync").map(|(plain, _)| plain.to_owned()),
            ..no_pattern(message)
        });
    }
    let alias = SDK_NAMES.iter().find(|(other, _)| *other == service);
    let written = service
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if alias.is_some() || !written {
        let near = alias.map_or_else(
            || service.to_lowercase().replace(['-', '_', ' '], ""),
            |(_, name)| (*name).to_owned(),
        );
        return Err(Problem {
            nearest: Some(format!("aws-sdk:{near}:{action}")),
            ..invalid(format!("there is no AWS SDK integration of the name `{service}`"))
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
    Ok(())
}

/// Step Functions' own integrations: by the table that the builder's typed calls are made of.
fn optimized(service: &str, action: &str, pattern: Pattern) -> Result<(), Problem> {
    let known = service::action(service, action);
    if known.is_some_and(|known| known.patterns.contains(&pattern)) {
        return Ok(());
    }
    let actions = service::actions(service);
    if service == "s3" {
        return Err(Problem {
            nearest: Some(format!("arn:aws:states:::aws-sdk:s3:{action}")),
            ..invalid(format!(
                "`s3:{action}` is for `ItemReader` and `ResultWriter`; a Task calls S3 by the AWS SDK"
            ))
        });
    }
    if actions.clone().next().is_none() {
        return Err(Problem {
            nearest: nearest(service, service::services()),
            hint: Some(format!(
                "Step Functions has integrations of its own for {} services; any other is called as \
                 `arn:aws:states:::aws-sdk:service:action`",
                service::services().count()
            )),
            ..invalid(format!(
                "Step Functions has no integration `{service}` of its own"
            ))
        });
    }
    if known.is_none() {
        return Err(Problem {
            nearest: nearest(action, actions.map(|known| known.name)),
            ..invalid(format!(
                "Step Functions' own integration `{service}` has no action `{action}`; any other is \
                 `arn:aws:states:::aws-sdk:{}:{action}`",
                sdk_name(service)
            ))
        });
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

/// What the AWS SDK calls one of the services with an integration of its own.
fn sdk_name(service: &str) -> &str {
    match service {
        "bedrock" => "bedrockruntime",
        "emr-containers" => "emrcontainers",
        "emr-serverless" => "emrserverless",
        other => SDK_NAMES
            .iter()
            .find(|(name, _)| *name == other)
            .map_or(other, |(_, sdk)| sdk),
    }
}
