//! Findings as text, JSON and SARIF; differences as text and JSON.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use sfn_builder::{Diff, Document, File, Report, Severity};

const TEXT: &str = "StartAt: A\nStates:\n  A:\n    Type: Choice\n    Choices:\n    - Variable: $.x\n      IsNull: true\n      Next: Dnoe\n  Done:\n    Type: Succeed\n";

fn report() -> Report {
    let mut report = Report::new();
    report.add("a b/machine.yaml", File::read(TEXT).findings());
    report.add("-", File::read("{").findings());
    report
}

#[test]
fn text() {
    expect![[r#"
        a b/machine.yaml:3:3: warning CHOICE_WITHOUT_DEFAULT: the Choice state has no `Default`
            when no rule matches, the execution fails
        a b/machine.yaml:8:13: error MISSING_TRANSITION_TARGET: `Next` names the state `Dnoe`, which does not exist
            did you mean `Done`?
        -:1:1: error INVALID_JSON: not JSON: EOF while parsing an object at line 1 column 1
    "#]].assert_eq(&report().to_text());
    assert_eq!(report().count(Severity::Warning), 1);
}

#[test]
fn json() {
    expect![[r#"
        [
          {
            "file": "a b/machine.yaml",
            "code": "CHOICE_WITHOUT_DEFAULT",
            "severity": "warning",
            "pointer": "/States/A",
            "line": 3,
            "column": 3,
            "message": "the Choice state has no `Default`",
            "hint": "when no rule matches, the execution fails"
          },
          {
            "file": "a b/machine.yaml",
            "code": "MISSING_TRANSITION_TARGET",
            "severity": "error",
            "pointer": "/States/A/Choices/0/Next",
            "line": 8,
            "column": 13,
            "message": "`Next` names the state `Dnoe`, which does not exist",
            "hint": "did you mean `Done`?"
          },
          {
            "file": "-",
            "code": "INVALID_JSON",
            "severity": "error",
            "pointer": "",
            "line": 1,
            "column": 1,
            "message": "not JSON: EOF while parsing an object at line 1 column 1",
            "hint": null
          }
        ]"#]]
    .assert_eq(&format!("{:#}", report().to_json()));
}

#[test]
fn sarif() {
    expect![[r#"
        {
          "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
          "version": "2.1.0",
          "runs": [
            {
              "tool": {
                "driver": {
                  "name": "sfn-builder",
                  "semanticVersion": "0.1.0",
                  "rules": [
                    {
                      "id": "INVALID_JSON",
                      "shortDescription": {
                        "text": "The text is not JSON."
                      },
                      "defaultConfiguration": {
                        "level": "error"
                      }
                    },
                    {
                      "id": "MISSING_TRANSITION_TARGET",
                      "shortDescription": {
                        "text": "`StartAt`, `Next`, `Default` or a catcher names a state that does not exist."
                      },
                      "defaultConfiguration": {
                        "level": "error"
                      }
                    },
                    {
                      "id": "CHOICE_WITHOUT_DEFAULT",
                      "shortDescription": {
                        "text": "A Choice state has no `Default`: the execution fails when no rule matches."
                      },
                      "defaultConfiguration": {
                        "level": "warning"
                      }
                    }
                  ]
                }
              },
              "columnKind": "unicodeCodePoints",
              "results": [
                {
                  "ruleId": "CHOICE_WITHOUT_DEFAULT",
                  "ruleIndex": 2,
                  "level": "warning",
                  "message": {
                    "text": "the Choice state has no `Default`; when no rule matches, the execution fails"
                  },
                  "locations": [
                    {
                      "physicalLocation": {
                        "artifactLocation": {
                          "uri": "a%20b/machine.yaml"
                        },
                        "region": {
                          "startLine": 3,
                          "startColumn": 3
                        }
                      },
                      "logicalLocations": [
                        {
                          "fullyQualifiedName": "/States/A",
                          "kind": "value"
                        }
                      ]
                    }
                  ]
                },
                {
                  "ruleId": "MISSING_TRANSITION_TARGET",
                  "ruleIndex": 1,
                  "level": "error",
                  "message": {
                    "text": "`Next` names the state `Dnoe`, which does not exist; did you mean `Done`?"
                  },
                  "locations": [
                    {
                      "physicalLocation": {
                        "artifactLocation": {
                          "uri": "a%20b/machine.yaml"
                        },
                        "region": {
                          "startLine": 8,
                          "startColumn": 13
                        }
                      },
                      "logicalLocations": [
                        {
                          "fullyQualifiedName": "/States/A/Choices/0/Next",
                          "kind": "value"
                        }
                      ]
                    }
                  ]
                },
                {
                  "ruleId": "INVALID_JSON",
                  "ruleIndex": 0,
                  "level": "error",
                  "message": {
                    "text": "not JSON: EOF while parsing an object at line 1 column 1"
                  },
                  "locations": [
                    {
                      "physicalLocation": {
                        "artifactLocation": {
                          "uri": "-"
                        },
                        "region": {
                          "startLine": 1,
                          "startColumn": 1
                        }
                      },
                      "logicalLocations": [
                        {
                          "fullyQualifiedName": "",
                          "kind": "value"
                        }
                      ]
                    }
                  ]
                }
              ]
            }
          ]
        }"#]].assert_eq(&format!("{:#}", report().to_sarif()));
}

/// What the standard requires of a log: the properties of its sections 3.13, 3.14, 3.18, 3.19, 3.27, 3.28, 3.29, 3.30 and 3.49
/// that must be there, and the values that they may have.
#[test]
fn sarif_has_what_the_standard_requires() {
    let levels = ["none", "note", "warning", "error"];
    for report in [report(), Report::new()] {
        let log = report.to_sarif();
        assert_eq!(log["version"], "2.1.0");
        let [run] = log["runs"].as_array().unwrap().as_slice() else {
            panic!("one run")
        };
        let driver = &run["tool"]["driver"];
        assert!(driver["name"].is_string());
        assert!(["utf16CodeUnits", "unicodeCodePoints"].contains(&run["columnKind"].as_str().unwrap()));
        let rules = driver["rules"].as_array().unwrap();
        for rule in rules {
            assert!(rule["id"].is_string());
            assert!(rule["shortDescription"]["text"].is_string());
            assert!(levels.contains(&rule["defaultConfiguration"]["level"].as_str().unwrap()));
        }
        for result in run["results"].as_array().unwrap() {
            assert!(levels.contains(&result["level"].as_str().unwrap()));
            assert!(!result["message"]["text"].as_str().unwrap().is_empty());
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
            for location in result["locations"].as_array().unwrap() {
                let physical = &location["physicalLocation"];
                let uri = physical["artifactLocation"]["uri"].as_str().unwrap();
                let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~/%".contains(c);
                assert!(uri.chars().all(allowed), "{uri}");
                if let Some(region) = physical.get("region") {
                    assert!(region["startLine"].as_u64().unwrap() >= 1);
                    assert!(region["startColumn"].as_u64().unwrap() >= 1);
                }
                assert!(location["logicalLocations"][0]["fullyQualifiedName"].is_string());
            }
        }
    }
}

fn check_diff(old: &Value, new: &Value, want: &Expect) {
    let diff = Diff::between(&Document::from(old.clone()), &Document::from(new.clone()));
    want.assert_eq(&format!("{diff}{:#}\n", diff.to_json()));
    assert_eq!(diff.is_empty(), diff.to_string().is_empty());
}

#[test]
fn states_are_added_removed_renamed_and_changed() {
    let old = json!({"StartAt": "Train", "Comment": "one", "States": {
        "Train": {"Type": "Task", "Resource": "r", "Parameters": {"a/b": 1, "gone": [1, 2]}, "Next": "Wait"},
        "Wait": {"Type": "Wait", "Seconds": 5, "Next": "Old"},
        "Old": {"Type": "Pass", "Next": "Done"},
        "Done": {"Type": "Succeed"}}});
    let new = json!({"States": {
        "Finished": {"Type": "Succeed"},
        "Extra": {"Type": "Fail"},
        "Wait a bit": {"Next": "Finished", "Type": "Wait", "Seconds": 5},
        "Train": {"Type": "Task", "Resource": "r", "Parameters": {"a/b": 2, "new": null}, "Next": "Wait a bit"}},
        "Comment": "two", "StartAt": "Train"});
    check_diff(
        &old,
        &new,
        &expect![[r#"
        changed machine
          /Comment: "one" -> "two"
        removed state `Wait`
        removed state `Old`
        added state `Extra`
        added state `Wait a bit`
        renamed state `Done` to `Finished`
        changed state `Train`
          /States/Train/Parameters/a~1b: 1 -> 2
          /States/Train/Parameters/gone: [1,2] -> (none)
          /States/Train/Parameters/new: (none) -> null
          /States/Train/Next: "Wait" -> "Wait a bit"
        {
          "version": 1,
          "machine": [
            {
              "pointer": "/Comment",
              "old": "one",
              "new": "two"
            }
          ],
          "states": [
            {
              "change": "removed",
              "name": "Wait",
              "pointer": "/States/Wait"
            },
            {
              "change": "removed",
              "name": "Old",
              "pointer": "/States/Old"
            },
            {
              "change": "added",
              "name": "Extra",
              "pointer": "/States/Extra"
            },
            {
              "change": "added",
              "name": "Wait a bit",
              "pointer": "/States/Wait a bit"
            },
            {
              "change": "renamed",
              "from": "Done",
              "name": "Finished",
              "pointer": "/States/Finished"
            },
            {
              "change": "changed",
              "name": "Train",
              "pointer": "/States/Train",
              "moved_from": null,
              "differences": [
                {
                  "pointer": "/States/Train/Parameters/a~1b",
                  "old": 1,
                  "new": 2
                },
                {
                  "pointer": "/States/Train/Parameters/gone",
                  "old": [
                    1,
                    2
                  ]
                },
                {
                  "pointer": "/States/Train/Parameters/new",
                  "new": null
                },
                {
                  "pointer": "/States/Train/Next",
                  "old": "Wait",
                  "new": "Wait a bit"
                }
              ]
            }
          ]
        }
    "#]],
    );
}

#[test]
fn the_same_is_no_difference() {
    let machine = json!({"StartAt": "A", "States": {"A": {"Type": "Wait", "Seconds": 1, "End": true}}});
    let other = json!({"States": {"A": {"End": true, "Seconds": 1, "Type": "Wait"}}, "StartAt": "A"});
    check_diff(
        &machine,
        &other,
        &expect![[r#"
        {
          "version": 1,
          "machine": [],
          "states": []
        }
    "#]],
    );
}

fn parallel(seconds: u64, names: [&str; 2]) -> Value {
    json!({"StartAt": "Both", "States": {"Both": {"Type": "Parallel", "End": true, "Branches": [
        {"StartAt": names[0], "States": {names[0]: {"Type": "Wait", "Seconds": seconds, "End": true}}},
        {"StartAt": names[1], "States": {names[1]: {"Type": "Pass", "End": true}}}]}}})
}

#[test]
fn states_inside_states_count_for_themselves() {
    check_diff(
        &parallel(1, ["A", "B"]),
        &parallel(2, ["A", "B"]),
        &expect![[r#"
        changed state `A`
          /States/Both/Branches/0/States/A/Seconds: 1 -> 2
        {
          "version": 1,
          "machine": [],
          "states": [
            {
              "change": "changed",
              "name": "A",
              "pointer": "/States/Both/Branches/0/States/A",
              "moved_from": null,
              "differences": [
                {
                  "pointer": "/States/Both/Branches/0/States/A/Seconds",
                  "old": 1,
                  "new": 2
                }
              ]
            }
          ]
        }
    "#]],
    );
}

#[test]
fn a_renamed_state_of_a_branch_leaves_the_state_around_it_unchanged() {
    check_diff(
        &parallel(1, ["A", "B"]),
        &parallel(1, ["A", "C"]),
        &expect![[r#"
        renamed state `B` to `C`
        {
          "version": 1,
          "machine": [],
          "states": [
            {
              "change": "renamed",
              "from": "B",
              "name": "C",
              "pointer": "/States/Both/Branches/1/States/C"
            }
          ]
        }
    "#]],
    );
}

/// As the service was seen to say it.
#[test]
fn the_service_says_what_is_wrong_with_an_expression() {
    for (expression, wanted) in [
        (
            "phone",
            "UNSUPPORTED_JSONATA_EXPRESSION: Reference to 'phone' at the top level is not supported.",
        ),
        ("a[1,2)", r#"INVALID_JSONATA_EXPRESSION: Expected "]", got ",""#),
        (
            r#""unterminated"#,
            "INVALID_JSONATA_EXPRESSION: String literal must be terminated by a matching quote",
        ),
        ("1 +", "INVALID_JSONATA_EXPRESSION: Unexpected end of expression"),
        (
            r#"{"a":}"#,
            r#"INVALID_JSONATA_EXPRESSION: The symbol "}" cannot be used as a unary operator"#,
        ),
    ] {
        let definition = serde_json::json!({"QueryLanguage": "JSONata", "StartAt": "E", "States": {
            "E": {"Type": "Pass", "Output": {"v": format!("{{% {expression} %}}")}, "End": true},
        }});
        let error = sfn_builder::StateMachine::from_json(&definition.to_string()).unwrap_err();
        assert_eq!(
            error.service_message(),
            format!("Invalid State Machine Definition: '{wanted} at /States/E/Output/v'")
        );
    }
}

#[test]
fn the_service_says_what_is_wrong_with_the_ways_after_what_is_wrong_in_the_states() {
    let said = |definition: serde_json::Value| {
        let error = sfn_builder::StateMachine::from_json(&definition.to_string()).unwrap_err();
        let message = error.service_message();
        message
            .strip_prefix("Invalid State Machine Definition: '")
            .and_then(|rest| rest.strip_suffix('\''))
            .unwrap()
            .to_owned()
    };
    // Where the way leads nowhere, and no state ends the machine.
    let nowhere = serde_json::json!({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "NOPE"}}});
    assert_eq!(
        said(nowhere),
        "MISSING_TRANSITION_TARGET: Missing 'Next' target: NOPE at /States/A/Next, \
         MISSING_END_STATE: Workflow has no terminal state at null"
    );
    // Of what cannot be reached nothing is said beside that.
    let round = serde_json::json!({"StartAt": "A", "States": {
        "A": {"Type": "Pass", "Next": "B"},
        "B": {"Type": "Pass", "Next": "A"},
        "C": {"Type": "Pass", "Next": "A"},
    }});
    assert_eq!(
        said(round),
        "MISSING_END_STATE: Workflow has no terminal state at null"
    );
    let left = serde_json::json!({"StartAt": "pass1", "States": {
        "pass1": {"Type": "Pass", "Next": "elsewhere"},
        "pass2": {"Type": "Pass", "End": true, "Retry": []},
    }});
    assert_eq!(
        said(left),
        "SCHEMA_VALIDATION_FAILED: Field 'Retry' is not supported at /States/pass2, \
         MISSING_TRANSITION_TARGET: Missing 'Next' target: elsewhere at /States/pass1/Next, \
         MISSING_TRANSITION_TARGET: State \"pass2\" is not reachable. at /States/pass2"
    );
    // A state that goes back to JSONPath is refused for that alone, and for what is wrong in any language.
    let back = serde_json::json!({"QueryLanguage": "JSONata", "StartAt": "M", "States": {
        "M": {"Type": "Map", "QueryLanguage": "JSONPath", "MaxConcurrency": -1, "Output": 1, "End": true,
            "ItemProcessor": {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}},
    }});
    assert_eq!(
        said(back),
        "SCHEMA_VALIDATION_FAILED: 'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine at \
         /States/M, SCHEMA_VALIDATION_FAILED: Minimum value is 0 at /States/M/MaxConcurrency"
    );
}
