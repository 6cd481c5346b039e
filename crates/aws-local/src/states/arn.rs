//! Names of resources.

use crate::api::{ApiError, ApiResult};

/// What `stateMachineArn` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MachineArn {
    /// Without a qualifier.
    pub(super) base: String,
    pub(super) name: String,
    /// A version's number, or an alias's name.
    pub(super) qualifier: Option<String>,
    /// The label of a distributed Map state.
    pub(super) label: Option<String>,
    /// The test case of a mock file: what follows a `#`.
    pub(super) test_case: Option<String>,
}

impl MachineArn {
    /// With its qualifier, as the service names it.
    pub(super) fn qualified(&self) -> String {
        match &self.qualifier {
            Some(qualifier) => format!("{}:{qualifier}", self.base),
            None => self.base.clone(),
        }
    }

    /// The number of the version that it names.
    pub(super) fn version(&self) -> Option<u64> {
        self.qualifier.as_deref()?.parse().ok()
    }

    /// The alias that it names.
    pub(super) fn alias(&self) -> Option<&str> {
        self.qualifier
            .as_deref()
            .filter(|name| name.parse::<u64>().is_err())
    }
}

/// The parts of an ARN of Step Functions: what stands before the resource's name, the type, and the rest.
fn parts(arn: &str) -> ApiResult<(usize, &str, &str)> {
    let mut fields = arn.splitn(7, ':');
    if fields.next() != Some("arn") {
        return Err(invalid(&format!("Invalid ARN prefix: {arn}")));
    }
    let partition = fields.next().unwrap_or_default();
    let service = fields.next().unwrap_or_default();
    let (region, account) = (
        fields.next().unwrap_or_default(),
        fields.next().unwrap_or_default(),
    );
    let (kind, rest) = (
        fields.next().unwrap_or_default(),
        fields.next().unwrap_or_default(),
    );
    if !partition.starts_with("aws") || service != "states" || region.is_empty() || account.is_empty() {
        return Err(invalid(&format!("Invalid ARN prefix: {arn}")));
    }
    if rest.is_empty() {
        return Err(invalid(&format!("Invalid ARN: {arn}")));
    }
    Ok((arn.len() - rest.len(), kind, rest))
}

fn invalid(what: &str) -> ApiError {
    ApiError::new("InvalidArn", format!("Invalid Arn: '{what}'"))
}

fn wrong_type(kind: &str) -> ApiError {
    invalid(&format!("Resource type not valid in this context: {kind}"))
}

/// The ARN of a state machine, a version, an alias, or a distributed Map state.
pub(super) fn machine(arn: &str) -> ApiResult<MachineArn> {
    let (arn, test_case) = match arn.split_once('#') {
        Some((arn, case)) => (arn, Some(case.to_owned())),
        None => (arn, None),
    };
    let (before, kind, rest) = parts(arn)?;
    if kind != "stateMachine" {
        return Err(wrong_type(kind));
    }
    let (name, qualifier) = match rest.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier.to_owned())),
        None => (rest, None),
    };
    if qualifier
        .as_deref()
        .is_some_and(|qualifier| qualifier.is_empty() || qualifier.contains(':'))
    {
        return Err(invalid(&format!("Invalid ARN: {arn}")));
    }
    let base = format!("{}{name}", &arn[..before]);
    let (name, label) = match name.split_once('/') {
        Some((name, label)) => (name, Some(label.to_owned())),
        None => (name, None),
    };
    Ok(MachineArn {
        base,
        name: name.to_owned(),
        qualifier,
        label,
        test_case,
    })
}

/// The ARN of an execution whose history is kept.
pub(super) fn execution(arn: &str) -> ApiResult<()> {
    of_type(arn, "execution")
}

pub(super) fn map_run(arn: &str) -> ApiResult<()> {
    of_type(arn, "mapRun")
}

pub(super) fn activity(arn: &str) -> ApiResult<()> {
    of_type(arn, "activity")
}

fn of_type(arn: &str, wanted: &str) -> ApiResult<()> {
    match parts(arn)? {
        (_, kind, _) if kind == wanted => Ok(()),
        (_, kind, _) => Err(wrong_type(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines() {
        const BASE: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:m";
        let told = |arn: &str| match machine(arn) {
            Ok(arn) => format!(
                "{} {:?} {:?} {:?}",
                arn.name, arn.qualifier, arn.label, arn.test_case
            ),
            Err(error) => error.message,
        };
        assert_eq!(told(BASE), "m None None None");
        assert_eq!(told(&format!("{BASE}:3")), r#"m Some("3") None None"#);
        assert_eq!(
            told(&format!("{BASE}:PROD#Case")),
            r#"m Some("PROD") None Some("Case")"#
        );
        assert_eq!(told(&format!("{BASE}/label")), r#"m None Some("label") None"#);
        assert_eq!(told("m"), "Invalid Arn: 'Invalid ARN prefix: m'");
        assert_eq!(
            told("arn:aws:states:us-east-1:000000000000:execution:m:e"),
            "Invalid Arn: 'Resource type not valid in this context: execution'"
        );
        assert_eq!(machine(&format!("{BASE}:3")).unwrap().version(), Some(3));
        assert_eq!(machine(&format!("{BASE}:v")).unwrap().alias(), Some("v"));
        assert!(execution("arn:aws:states:us-east-1:000000000000:express:m:e:u").is_err());
    }
}
