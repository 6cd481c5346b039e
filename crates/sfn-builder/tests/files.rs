//! Definitions in YAML and in templates: places, substitutions, functions; and YAML out.

use expect_test::{Expect, expect};
use sfn_builder::{Document, File, StateMachine};

fn check(text: &str, want: &Expect) {
    let file = File::read(text);
    let mut got = String::new();
    for definition in file.definitions() {
        let name = definition.name.as_deref().unwrap_or("-");
        got.push_str(&format!(
            "{name} at `{}`: {}\n",
            definition.pointer, definition.document
        ));
    }
    for finding in file.findings() {
        let at = finding.position.map_or("?".to_owned(), |at| at.to_string());
        got.push_str(&format!("{at} {} {finding}\n", finding.code));
    }
    want.assert_eq(&got);
}

#[test]
fn yaml_has_lines_and_columns() {
    check(
        "# A comment\nStartAt: Wait\nStates:\n  Wait:\n    Type: Wait\n    Seconds: 1.10\n    Nxt: Done\n  Done: {Type: Succeed}\n",
        &expect![[r#"
            - at ``: {"StartAt":"Wait","States":{"Wait":{"Type":"Wait","Seconds":1.1,"Nxt":"Done"},"Done":{"Type":"Succeed"}}}
            4:3 MISSING_FIELD /States/Wait: exactly one of `Next` and `End` is wanted, not none
            6:14 OUT_OF_RANGE /States/Wait/Seconds: `Seconds` is a whole number from 0 to 99999999, not `1.1`
            7:5 UNKNOWN_FIELD /States/Wait/Nxt: a Wait state has no field `Nxt` (did you mean `Next`?)
        "#]],
    );
}

#[test]
fn what_yaml_cannot_be_is_told() {
    check(
        "StartAt: [\n",
        &expect![[r#"
        2:1 INVALID_YAML /: not YAML: while parsing a node, did not find expected node content
    "#]],
    );
    check(
        "StartAt: !Sub '${A}'\nStates: {A: {Type: Succeed}}\n",
        &expect![[r#"
            - at ``: {"StartAt":{"Fn::Sub":"${A}"},"States":{"A":{"Type":"Succeed"}}}
            1:10 INVALID_YAML /StartAt: the tag `!Sub` means nothing outside a template
            1:10 WRONG_TYPE /StartAt: `StartAt` is a text, not an object
        "#]],
    );
    check(
        "- 1\n",
        &expect![[r#"
        - at ``: [1]
        1:1 WRONG_TYPE /: a definition is an object, not an array
    "#]],
    );
}

const OBJECT: &str = "\
AWSTemplateFormatVersion: 2010-09-09
Parameters:
  Pause:
    Type: Number
    Default: 30
Resources:
  Function:
    Type: AWS::Lambda::Function
  Machine:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      DefinitionSubstitutions:
        FunctionArn: !GetAtt Function.Arn
        Rate: 1.10
        Unused: x
      Definition:
        StartAt: Call
        States:
          Call:
            Type: Task
            Resource: ${FunctionArn}
            Comment: at ${Rate} a second, ${Nobody} asks
            Next: Pause
          Pause:
            Type: Wait
            Seconds: !Ref Pause
            Next: Publish
          Publish:
            Type: Task
            Resource: !Sub arn:${AWS::Partition}:states:::sns:publish
            Next: Missing
";

#[test]
fn a_template_with_an_object() {
    check(
        OBJECT,
        &expect![[r#"
        Machine at `/Resources/Machine/Properties/Definition`: {"StartAt":"Call","States":{"Call":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:Function","Comment":"at 1.10 a second, ${Nobody} asks","Next":"Pause"},"Pause":{"Type":"Wait","Seconds":30,"Next":"Publish"},"Publish":{"Type":"Task","Resource":"arn:aws:states:::sns:publish","Next":"Missing"}}}
        15:9 UNUSED_SUBSTITUTION /Resources/Machine/Properties/DefinitionSubstitutions/Unused: the definition has no token `${Unused}`
        18:9 NO_TERMINAL_STATE /Resources/Machine/Properties/Definition/States: no state ends the machine: one must have `"End": true` or be of type Succeed or Fail
        22:22 MISSING_SUBSTITUTION /Resources/Machine/Properties/Definition/States/Call/Comment: no substitution has the name of the token `${Nobody}`; it stays in the definition as it is
        31:19 MISSING_TRANSITION_TARGET /Resources/Machine/Properties/Definition/States/Publish/Next: `Next` names the state `Missing`, which does not exist
    "#]],
    );
}

#[test]
fn a_template_with_a_text() {
    check(
        r#"Resources:
  Machine:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      DefinitionString: !Sub
        - |
          {
            "StartAt": "Call",
            "States": {
              "Call": {
                "Type": "Task", "Resource": "${Function.Arn}",
                "TimeoutSeconds": ${Timeout},
                "Nxt": "Done"
              },
              "Done": {"Type": "Succeed"}
            }
          }
        - Timeout: 9
  Broken:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      DefinitionString: |
        {
          "StartAt": "A"
          "States": {}
        }
"#,
        &expect![[r#"
            Machine at `/Resources/Machine/Properties/DefinitionString`: {"StartAt":"Call","States":{"Call":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:Function","TimeoutSeconds":9,"Nxt":"Done"},"Done":{"Type":"Succeed"}}}
            10:15 MISSING_FIELD /Resources/Machine/Properties/DefinitionString/States/Call: exactly one of `Next` and `End` is wanted, not none
            13:17 UNKNOWN_FIELD /Resources/Machine/Properties/DefinitionString/States/Call/Nxt: a Task state has no field `Nxt` (did you mean `Next`?)
            25:11 INVALID_JSON /Resources/Broken/Properties/DefinitionString: not JSON: expected `,` or `}`
        "#]],
    );
}

#[test]
fn a_template_in_json() {
    check(
        r#"{
  "Resources": {
    "Machine": {
      "Type": "AWS::Serverless::StateMachine",
      "Properties": {
        "Definition": {
          "StartAt": "Call",
          "States": {
            "Call": {"Type": "Task", "Resource": {"Fn::GetAtt": ["F", "Arn"]}, "End": true, "Ned": 1}
          }
        }
      }
    },
    "Joined": {
      "Type": "AWS::StepFunctions::StateMachine",
      "Properties": {
        "DefinitionString": {"Fn::Join": ["", ["{\"StartAt\": \"A\", \"States\": {\"A\": {\"Type\": \"Task\", \"Resource\": \"", {"Ref": "Arn"}, "\", \"End\": true}}}"]]}
      }
    },
    "Elsewhere": {
      "Type": "AWS::Serverless::StateMachine",
      "Properties": {"DefinitionUri": "machine.asl.json"}
    }
  }
}"#,
        &expect![[r#"
            Machine at `/Resources/Machine/Properties/Definition`: {"StartAt":"Call","States":{"Call":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:F","End":true,"Ned":1}}}
            Joined at `/Resources/Joined/Properties/DefinitionString`: {"StartAt":"A","States":{"A":{"Type":"Task","Resource":"unknown","End":true}}}
            9:93 UNKNOWN_FIELD /Resources/Machine/Properties/Definition/States/Call/Ned: a Task state has no field `Ned`
            22:21 NO_DEFINITION /Resources/Elsewhere/Properties: the definition of `Elsewhere` is not in the template; only `Definition` and `DefinitionString` are read
        "#]],
    );
    check(
        r#"{"Resources": {"Bucket": {"Type": "AWS::S3::Bucket"}}}"#,
        &expect![[r#"
            1:15 NO_DEFINITION /Resources: the template has no resource of the type AWS::StepFunctions::StateMachine or AWS::Serverless::StateMachine
        "#]],
    );
}

#[test]
fn yaml_out_reads_back() {
    let json = r#"{"Version":"1.0","StartAt":"1","States":{"1":{"Type":"Pass","Comment":"yes: no # - ~\n 'q' \"d\"\ttab ${x}","Result":["true","null","0x1F",".5","","-"," a ","1.10",1.1,null,true,{},[]],"End":true}}}"#;
    let document = Document::parse(json).unwrap();
    let yaml = document.to_yaml_string();
    let back = Document::parse_yaml(&yaml).unwrap();
    assert_eq!(back.to_string(), json, "{yaml}");
    let machine = StateMachine::from_json(json).unwrap();
    assert_eq!(back.check().unwrap(), machine);
}
