//! How an endpoint is to go from one set of models to another: held against the service's constraints, kept and told back. Here the
//! new models answer as soon as they are loaded, whatever steps were asked for.

use serde_json::Value;

use crate::api::{ApiError, ApiResult, Check, Form, TEXT};

const AT: &str = "DeploymentConfig";

/// Names of alarms.
const ALARM: Form = Form {
    pattern: "(?!\\s*$).+",
    matches: |name| !name.trim().is_empty(),
    max: 255,
};

/// The sizes of steps, and the part of an endpoint's instances that each may be, in percent.
const SIZES: [(&str, i64, i64); 4] = [
    (
        "BlueGreenUpdatePolicy.TrafficRoutingConfiguration.CanarySize",
        1,
        50,
    ),
    (
        "BlueGreenUpdatePolicy.TrafficRoutingConfiguration.LinearStepSize",
        10,
        50,
    ),
    ("RollingUpdatePolicy.MaximumBatchSize", 5, 50),
    ("RollingUpdatePolicy.RollbackMaximumBatchSize", 1, 100),
];

/// The member of a request, if it is there.
pub(super) fn of_request(check: &mut Check<'_>) -> Option<Value> {
    let config = check.get(AT)?.clone();
    let at = |member: &str| format!("{AT}.{member}");
    let (blue_green, rolling) = (at("BlueGreenUpdatePolicy"), at("RollingUpdatePolicy"));
    if check.get(&blue_green).is_some() {
        let routing = format!("{blue_green}.TrafficRoutingConfiguration");
        check.structure(&routing);
        let kind = format!("{routing}.Type");
        let chosen = check.choice(&kind, &["ALL_AT_ONCE", "CANARY", "LINEAR"]);
        if chosen.is_none() {
            check.required(&kind, TEXT);
        }
        check.required_integer(&format!("{routing}.WaitIntervalInSeconds"), 0, 3600);
        for (kind, size) in [("CANARY", "CanarySize"), ("LINEAR", "LinearStepSize")] {
            if chosen == Some(kind) {
                check.structure(&format!("{routing}.{size}"));
            }
        }
        check.integer(&format!("{blue_green}.TerminationWaitInSeconds"), 0, 3600);
        check.integer(
            &format!("{blue_green}.MaximumExecutionTimeoutInSeconds"),
            600,
            28_800,
        );
    }
    if check.get(&rolling).is_some() {
        check.structure(&format!("{rolling}.MaximumBatchSize"));
        check.required_integer(&format!("{rolling}.WaitIntervalInSeconds"), 0, 3600);
        check.integer(
            &format!("{rolling}.MaximumExecutionTimeoutInSeconds"),
            600,
            28_800,
        );
    }
    for (member, ..) in SIZES {
        let size = at(member);
        if check.get(&size).is_some() {
            let kind = format!("{size}.Type");
            if check
                .choice(&kind, &["INSTANCE_COUNT", "CAPACITY_PERCENT"])
                .is_none()
            {
                check.required(&kind, TEXT);
            }
            check.required_integer(&format!("{size}.Value"), 1, i64::from(i32::MAX));
        }
    }
    let alarms = at("AutoRollbackConfiguration.Alarms");
    for i in 0..check.list(&alarms, 0, 10).len() {
        check.text(&format!("{alarms}.{i}.AlarmName"), ALARM);
    }
    Some(config)
}

/// Refuses what contradicts itself, and steps that are too large or too small for the instances of an endpoint's variants.
pub(super) fn require_fits(config: Option<&Value>, instances: &[i64]) -> ApiResult<()> {
    let Some(config) = config else {
        return Ok(());
    };
    if config.get("BlueGreenUpdatePolicy").is_some() && config.get("RollingUpdatePolicy").is_some() {
        return Err(ApiError::validation(
            "Specify either BlueGreenUpdatePolicy or RollingUpdatePolicy in DeploymentConfig, not both.",
        ));
    }
    for (member, least, most) in SIZES {
        let size = config.pointer(&format!("/{}", member.replace('.', "/")));
        let Some(value) = size.and_then(|size| size["Value"].as_i64()) else {
            continue;
        };
        let is_percent = size.is_some_and(|size| size["Type"] == "CAPACITY_PERCENT");
        let (of_all, whole): (&[i64], _) = match is_percent {
            true => (&[100], "percent".to_owned()),
            false => (
                instances,
                format!("of {} instances", instances.iter().min().unwrap_or(&0)),
            ),
        };
        let fits = |all: &i64| {
            let part = i128::from(value) * 100;
            let all = i128::from(*all);
            part >= all * i128::from(least) && part <= all * i128::from(most)
        };
        if !of_all.iter().all(fits) {
            return Err(ApiError::validation(format!(
                "{AT}.{member} is {value} {whole}; it has to be {least}% to {most}% of the instances of every variant."
            )));
        }
    }
    Ok(())
}

/// What of it has no effect here, for the log of the endpoint.
pub(super) fn without_effect(config: &Value) -> Vec<&'static str> {
    let has = |member: &str| config.get(member).is_some_and(|value| !value.is_null());
    let mut notes = Vec::new();
    if has("BlueGreenUpdatePolicy") || has("RollingUpdatePolicy") {
        notes.push(
            "DeploymentConfig: the new models answer all requests at once, and no old instance is kept.",
        );
    }
    let alarms = config.pointer("/AutoRollbackConfiguration/Alarms");
    if alarms
        .and_then(Value::as_array)
        .is_some_and(|alarms| !alarms.is_empty())
    {
        notes.push("DeploymentConfig.AutoRollbackConfiguration has no effect: no alarm is watched here.");
    }
    notes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(config: Value, instances: &[i64]) -> Option<String> {
        let input = json!({"DeploymentConfig": config});
        let mut check = Check::new(&input);
        let config = of_request(&mut check);
        let checked = check
            .finish()
            .and_then(|()| require_fits(config.as_ref(), instances));
        checked.err().map(|error| error.message)
    }

    fn canary(kind: &str, value: i64) -> Value {
        let routing = json!({
            "Type": "CANARY", "WaitIntervalInSeconds": 600, "CanarySize": {"Type": kind, "Value": value},
        });
        json!({"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": 60}})
    }

    #[test]
    fn steps_are_parts_of_the_instances() {
        for (config, instances, fits) in [
            (canary("CAPACITY_PERCENT", 50), [1], true),
            (canary("CAPACITY_PERCENT", 51), [1], false),
            (canary("INSTANCE_COUNT", 1), [2], true),
            (canary("INSTANCE_COUNT", 1), [1], false),
            (canary("INSTANCE_COUNT", 3), [5], false),
            (canary("INSTANCE_COUNT", i64::from(i32::MAX)), [5], false),
        ] {
            let told = refusal(config.clone(), &instances);
            assert_eq!(told.is_none(), fits, "{config}: {told:?}");
        }
        let rolling = |percent| {
            let size = json!({"Type": "CAPACITY_PERCENT", "Value": percent});
            json!({"RollingUpdatePolicy": {"MaximumBatchSize": size, "WaitIntervalInSeconds": 0}})
        };
        assert_eq!(refusal(rolling(5), &[1]), None);
        assert!(refusal(rolling(4), &[1]).is_some());
        assert_eq!(
            refusal(canary("CAPACITY_PERCENT", 60), &[1]).unwrap(),
            "DeploymentConfig.BlueGreenUpdatePolicy.TrafficRoutingConfiguration.CanarySize is 60 percent; it has to be 1% to 50% \
             of the instances of every variant."
        );
    }

    #[test]
    fn members_have_their_bounds() {
        let mut both = canary("CAPACITY_PERCENT", 10);
        both["RollingUpdatePolicy"] = json!({
            "MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1}, "WaitIntervalInSeconds": 0,
        });
        assert!(refusal(both, &[4]).unwrap().contains("not both"));
        let wrong = json!({
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {"Type": "LINEAR", "WaitIntervalInSeconds": 3601},
                "TerminationWaitInSeconds": -1,
                "MaximumExecutionTimeoutInSeconds": 599,
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": " "}]},
        });
        let told = refusal(wrong, &[4]).unwrap();
        for part in [
            "5 validation errors",
            "waitIntervalInSeconds",
            "linearStepSize",
            "terminationWaitInSeconds",
            "maximumExecutionTimeoutInSeconds",
            "alarms.1.member.alarmName",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let of_itself = json!({"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}});
        assert_eq!(refusal(of_itself, &[1]), None);
    }
}
