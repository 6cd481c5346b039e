//! CloudTrail, GuardDuty and OCSF: one sample for each kind of document, and hostile ones.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

mod support;

use std::fmt::Write as _;

use access_events::extract::OnError;
use access_events::format::{CloudTrail, Format, GuardDuty, Ocsf};
use access_events::policy::{PrincipalRule, SpecialRule};
use access_events::{Dated, DropReason, Extract, Input, Policy, Summary};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};

use support::{check, check_names, ends, hostile, names, notes, sample};

/// The pairs and the drops of samples under a policy.
fn pairs(format: impl Format + 'static, rule: PrincipalRule, samples: &[&str]) -> String {
    let policy = Policy::draft().principal(rule).check().unwrap();
    let inputs: Vec<_> = samples
        .iter()
        .map(|name| Input::bytes(*name, sample(name)))
        .collect();
    let mut text = String::new();
    let summary = Extract::of(format)
        .policy(policy)
        .run(inputs, |Dated { event, .. }| {
            writeln!(text, "{},{}", event.entity, event.ip)?;
            Ok(())
        })
        .unwrap();
    for (reason, count) in &summary.drops {
        writeln!(text, "{count} {reason}").unwrap();
    }
    assert_eq!(summary.malformed, 0);
    text
}

fn extracted(format: impl Format + 'static, on_error: OnError, text: &str) -> (Vec<String>, Summary) {
    let mut pairs = Vec::new();
    let summary = Extract::of(format)
        .on_error(on_error)
        .run([Input::bytes("log", text.into())], |dated| {
            pairs.push(dated.event.entity);
            Ok(())
        })
        .unwrap();
    (pairs, summary)
}

mod cloudtrail {
    use super::*;

    fn log() -> CloudTrail {
        CloudTrail::new()
    }

    #[test]
    fn as_delivered() {
        check_names(
            &log(),
            "cloudtrail/records.json",
            expect![[r#"
            1: AROAIDPPEZS35WEXAMPLE:alice@example.com (name Developer) (arn arn:aws:sts::123456789012:assumed-role/Developer/alice@example.com) | 93.184.216.34 | 2025-03-04T09:12:44Z
            2: AIDAJ45Q7YFFAREXAMPLE (name Bob) (arn arn:aws:iam::123456789012:user/Bob) | 8.8.4.4 | 2025-03-04T09:13:02Z
            3: (service-caller)
        "#]],
        );
    }

    #[test]
    fn every_type_of_identity() {
        check_names(
            &log(),
            "cloudtrail/identities.json",
            expect![[r#"
            1: 123456789012 (arn arn:aws:iam::123456789012:root) | 93.184.216.34 | 2025-03-04T09:00:00Z
            2: AIDAJ45Q7YFFAREXAMPLE (name Alice) (arn arn:aws:iam::123456789012:user/Alice) | 93.184.216.35 | 2025-03-04T09:00:01Z
            3: AROAIDPPEZS35WEXAMPLE:i-0a1b2c3d4e5f60718 (name WebServer) (arn arn:aws:sts::123456789012:assumed-role/WebServer/i-0a1b2c3d4e5f60718) | 18.194.12.7 | 2025-03-04T09:00:02Z
            4: 123456789012:Bob (name Alice) (arn arn:aws:sts::123456789012:federated-user/Bob) | 93.184.216.36 | 2025-03-04T09:00:03Z
            5: AROAEXAMPLEOTHERACCNT:ci | 52.29.100.8 | 2025-03-04T09:00:04Z
            6: (service-caller)
            7: (service-caller)
            8: SAMPLEkX3JvoCu4QhhDd0g=:saml-user@example.com (name saml-user@example.com) | 93.184.216.37 | 2025-03-04T09:00:07Z
            9: accounts.google.com:1234567890.apps.googleusercontent.com:user-123 (name user-123) | 93.184.216.38 | 2025-03-04T09:00:08Z
            10: 544894e8-80c1-707f-60e3-3ba6510dfac1 | 93.184.216.39 | 2025-03-04T09:00:09Z
            11: nobody (name someone) | 93.184.216.40 | 2025-03-04T09:00:10Z
            12: (no-address)
            13: AIDACKCEVSQ6C2EXAMPLE (name Carol) (arn arn:aws:iam::123456789012:user/Carol) | 2001:db8:85a3::8a2e:370:7334 | 2025-03-04T09:00:12Z
            14: AROAIDPPEZS35WEXAMPLE:task (name Task) (arn arn:aws:sts::123456789012:assumed-role/Task/task) | 10.0.3.17 | 2025-03-04T09:00:13Z
            15: (service-caller)
        "#]],
        );
    }

    #[test]
    fn entities_by_every_rule() {
        let of = |rule| pairs(log(), rule, &["cloudtrail/identities.json"]);
        let rules: [(PrincipalRule, Expect); 4] = [
            (
                PrincipalRule::Role,
                expect![[r#"
                123456789012,93.184.216.34
                AIDAJ45Q7YFFAREXAMPLE,93.184.216.35
                AROAIDPPEZS35WEXAMPLE,18.194.12.7
                123456789012:Bob,93.184.216.36
                AROAEXAMPLEOTHERACCNT,52.29.100.8
                SAMPLEkX3JvoCu4QhhDd0g=:saml-user@example.com,93.184.216.37
                accounts.google.com:1234567890.apps.googleusercontent.com:user-123,93.184.216.38
                544894e8-80c1-707f-60e3-3ba6510dfac1,93.184.216.39
                1 no-principal
                1 no-address
                1 ipv6-address
                1 private-address
                3 service-caller
            "#]],
            ),
            (
                PrincipalRule::Full,
                expect![[r#"
                123456789012,93.184.216.34
                AIDAJ45Q7YFFAREXAMPLE,93.184.216.35
                AROAIDPPEZS35WEXAMPLE:i-0a1b2c3d4e5f60718,18.194.12.7
                123456789012:Bob,93.184.216.36
                AROAEXAMPLEOTHERACCNT:ci,52.29.100.8
                SAMPLEkX3JvoCu4QhhDd0g=:saml-user@example.com,93.184.216.37
                accounts.google.com:1234567890.apps.googleusercontent.com:user-123,93.184.216.38
                544894e8-80c1-707f-60e3-3ba6510dfac1,93.184.216.39
                1 no-principal
                1 no-address
                1 ipv6-address
                1 private-address
                3 service-caller
            "#]],
            ),
            (
                PrincipalRule::UserName,
                expect![[r#"
                Alice,93.184.216.35
                WebServer,18.194.12.7
                Alice,93.184.216.36
                saml-user@example.com,93.184.216.37
                user-123,93.184.216.38
                someone,93.184.216.40
                3 no-principal
                1 no-address
                1 ipv6-address
                1 private-address
                3 service-caller
            "#]],
            ),
            (
                PrincipalRule::Arn,
                expect![[r#"
                arn:aws:iam::123456789012:root,93.184.216.34
                arn:aws:iam::123456789012:user/Alice,93.184.216.35
                arn:aws:sts::123456789012:assumed-role/WebServer/i-0a1b2c3d4e5f60718,18.194.12.7
                arn:aws:sts::123456789012:federated-user/Bob,93.184.216.36
                5 no-principal
                1 no-address
                1 ipv6-address
                1 private-address
                3 service-caller
            "#]],
            ),
        ];
        for (rule, expected) in rules {
            expected.assert_eq(&of(rule));
        }
    }

    #[test]
    fn as_lookup_events_prints() {
        check_names(
            &log(),
            "cloudtrail/lookup-events.json",
            expect![[r#"
            1: AROAIDPPEZS35WEXAMPLE:alice@example.com (name Developer) (arn arn:aws:sts::123456789012:assumed-role/Developer/alice@example.com) | 93.184.216.34 | 2025-03-04T09:12:44Z
            2: AIDAJ45Q7YFFAREXAMPLE (name Zoë) (arn arn:aws:iam::123456789012:user/Zoë) | 93.184.216.35 | 2025-03-04T09:13:44Z
        "#]],
        );
    }

    #[test]
    fn as_eventbridge_sends() {
        check_names(
            &log(),
            "cloudtrail/eventbridge.json",
            expect![[r#"
            1: AROAIDPPEZS35WEXAMPLE:alice (name Developer) (arn arn:aws:sts::123456789012:assumed-role/Developer/alice) | 93.184.216.34 | 2025-03-04T09:12:44Z
        "#]],
        );
    }

    #[test]
    fn as_lake_answers() {
        check_names(
            &log(),
            "cloudtrail/lake.jsonl",
            expect![[r#"
            1: partner-4711 | 93.184.216.34 | 2025-03-04T09:12:44Z
            2: AIDAJ45Q7YFFAREXAMPLE (name Bob) | 8.8.4.4 | 2025-03-04T09:13:02Z
            3: AIDAJ45Q7YFFAREXAMPLE (name Bob) | 8.8.4.5 | 2025-03-04T09:13:03Z
        "#]],
        );
    }

    #[test]
    fn json_lines_and_arrays() {
        check(
            &log(),
            "cloudtrail/records.jsonl",
            expect![[r#"
            1: AIDAJ45Q7YFFAREXAMPLE | 8.8.4.4 | 2025-03-04T09:13:02Z
            2: AIDAJ45Q7YFFAREXAMPLE | 8.8.4.5 | 2025-03-04T09:13:03Z
        "#]],
        );
        check(
            &log(),
            "cloudtrail/array.json",
            expect![[r#"
            1: AIDAJ45Q7YFFAREXAMPLE | 8.8.4.4 | 2025-03-04T09:13:02Z
            2: AIDACKCEVSQ6C2EXAMPLE | 8.8.4.5 | 2025-03-04T09:13:03Z
        "#]],
        );
    }

    #[test]
    fn what_is_no_use_is_left_out_and_counted() {
        check(
            &log(),
            "cloudtrail/insight.json",
            expect![[r#"
            1: (insight-event)
        "#]],
        );
        check(
            &log(),
            "cloudtrail/digest.json",
            expect![[r#"
            1: (digest-file)
        "#]],
        );
        let digest = "AWSLogs/1/CloudTrail-Digest/us-east-2/2025/03/04/1_CloudTrail-Digest_us-east-2_t_us-east-2_2025.json.gz";
        let insight =
            "AWSLogs/1/CloudTrail-Insight/us-east-2/2025/03/04/1_CloudTrail-Insight_us-east-2_2025_x.json.gz";
        let log_file = "AWSLogs/1/CloudTrail/us-east-2/2025/03/04/1_CloudTrail_us-east-2_2025_x.json.gz";
        assert_eq!(log().leaves_out(digest), Some(DropReason::DigestFile));
        assert_eq!(log().leaves_out(insight), Some(DropReason::InsightEvent));
        assert_eq!(log().leaves_out(log_file), None);
    }

    #[test]
    fn values_at_fault() {
        check(
            &log(),
            "hostile/cloudtrail/values.jsonl",
            expect![[r#"
            1: AIDAGOOD1 | 8.8.4.4
            2: ! from byte 90: `userIdentity` is an array, not an object
            3: ! from byte 147: `userIdentity.principalId` is a number, not a string
            4: ! from byte 211: `sourceIPAddress` is an object, not a string
            5: ! from byte 287: `eventTime` is `yesterday`, which is no time
            6: ! from byte 380: `eventTime` is a number, not a string
            7: ! from byte 472: a string cannot be read: unexpected end of hex escape at line 1 column 12
            8: nobody | 8.8.4.4
            9: (no-address)
            10: AIDALAST | 8.8.4.4
            11: ! from byte 796: `userIdentity.sessionContext.sessionIssuer` is a string, not an object
            12: AIDAESCAPED | 8.8.4.4
            13: (no-address)
            14: AIDAINNER | 8.8.4.4
            15: ! from byte 1106: the record's text ends early
            16: ! from byte 1175: it is an array, not an object
            17: ! from byte 1200: the record's text goes on after the record
            18: ! from byte 1303: in the record's text: expected a value at byte 1
            19: AIDAGOOD2 | 8.8.4.5
        "#]],
        );
    }

    #[test]
    fn documents_at_fault() {
        for (name, expected) in [
            (
                "quote-missing.json",
                expect![[r#"
                    1: AIDAGOOD1 | 8.8.4.4
                    2: ! from byte 87: expected `,` or `}` at byte 127
                    3: AIDAGOOD2 | 8.8.4.4
                "#]],
            ),
            (
                "comma-missing.json",
                expect![[r#"
                    1: AIDAGOOD1 | 8.8.4.4
                    2: ! from byte 86: expected `,` or `]` after a record
                    3: AIDAX | 8.8.4.5
                "#]],
            ),
            (
                "cut.json",
                expect![[r#"
                1: AIDAGOOD1 | 8.8.4.4
                2: ! from byte 87: the input ends inside of it; the rest is lost
            "#]],
            ),
            (
                "records-no-array.json",
                expect![[r#"
                1: (no-address)
            "#]],
            ),
            (
                "deep.json",
                expect![[r#"
                1: ! from byte 13: it is nested deeper than 127 levels
                2: AIDAGOOD2 | 8.8.4.4
            "#]],
            ),
            (
                "not-utf-8.json",
                expect![[r#"
                1: ! from byte 13: it is not UTF-8
                2: AIDAGOOD2 | 8.8.4.4
            "#]],
            ),
            (
                "no-objects.json",
                expect![[r#"
                    1: ! from byte 0: expected a JSON object or array
                    2: ! from byte 9: expected a JSON object or array
                    3: AIDAGOOD1 | 8.8.4.4
                    4: ! from byte 85: expected a JSON object or array
                "#]],
            ),
        ] {
            check(&log(), &format!("hostile/cloudtrail/{name}"), expected);
        }
    }

    /// Records stand by their names; `{B!}` is one at fault, `{B"}` one with a quote that nobody closes, `{` a bracket that nobody does.
    fn after_faults(text: &str) -> String {
        let mut log = String::new();
        for part in text.split_inclusive('}') {
            let record = part.rfind('{').filter(|_| part.ends_with('}'));
            let Some((before, name)) = record.map(|at| part.split_at(at)) else {
                log.push_str(part);
                continue;
            };
            log.push_str(before);
            match name {
                "{B!}" => log.push_str(r#"{"userIdentity":{"principalId":"B"},"x":NaN}"#),
                "{B\"}" => log.push_str(r#"{"userIdentity":{"principalId":"B},"sourceIPAddress":"8.8.4.4"}"#),
                name if name.len() == 3 => {
                    let name = &name[1..2];
                    log.push_str(&format!(
                        r#"{{"userIdentity":{{"principalId":"{name}"}},"sourceIPAddress":"8.8.4.4"}}"#
                    ));
                }
                other => log.push_str(other),
            }
        }
        let told = notes(&super::cloudtrail::log(), log.as_bytes());
        let mut short = String::new();
        for line in told.lines() {
            let (_, line) = line.split_once(": ").unwrap();
            let lost = if line.ends_with("the rest is lost") {
                "…"
            } else {
                ""
            };
            match line.split_once(" | ") {
                Some((name, _)) => short.push_str(name),
                None => short.push_str(&format!("!{lost}")),
            }
        }
        short
    }

    #[test]
    fn what_comes_after_a_fault_is_told_or_the_loss_is() {
        for (text, expected) in [
            // Side by side on one line.
            ("{A}{B!}{C}{D}", "A!CD"),
            ("{A} {B!} {C}\n{D}", "A!CD"),
            ("{A}{B\"}{C}{D}\n{E}", "A!…E"),
            ("{A}{B\"}\n{C}", "A!C"),
            ("{A}{B\"}", "A!"),
            ("{A} text {C}\n{D}", "A!…D"),
            ("{A},\n{C},\n{D}", "A!C!D"),
            // Lines.
            ("{A}\n{B!}\n{C}", "A!C"),
            (
                "{\"x\":NaN,\"y\":\"in [brackets] or {so}\",\"z\":\"{\\\"a\\\":[1,{}]}\"}\n{C}",
                "!C",
            ),
            (
                "{\"x\":\"in [brackets] or {so}\",\"z\":\"{\\\"a\\\":[1,{}]}\n{C}",
                "!C",
            ),
            ("{A}\n{B\"}\n{C}", "A!C"),
            ("{A}\n{\n{C}", "A!C"),
            ("{B\"}\n{B!}\ntext\n17\n\n{B\"}\n{C}", "!!!!!C"),
            ("text {A}\ntext {C}\n{D}", "!!D"),
            // Indented lines; what is indented deeper is part of what is at fault.
            ("  {A}\n  {B\"}\n  {C}\n{D}", "A!CD"),
            (" {A}\n {B\"}\n  {C}\n {D}", "A!…D"),
            ("{A}\n{\n  \"x\": NaN,\n  \"y\": {\n  }\n}\n{C}", "A!C"),
            (
                "{A}\n{\n  \"x\": \"NaN,\n  \"y\": {\n  },\n  \"z\": 1\n}\n{C}",
                "A!C",
            ),
            // Inside of arrays.
            ("{\"Records\":[{A}{C},{D}]}\n{\"Records\":[{E}]}", "A!CDE"),
            ("{\"Records\":[{A},{B!},{C}]}{\"Records\":[{D}]}", "A!CD"),
            ("{\"Records\":[{A},NaN,{C}]}", "A!C"),
            ("{\"Records\":[{A},]}\n{C}", "A!C"),
            ("{\"Records\":[{A},{B\"},{C}]}\n{\"Records\":[{D}]}", "A!…D"),
            (
                "{\"Records\":[\n{A},\n{B\"},\n{C}\n]}\n{\"Records\":[{D}]}",
                "A!CD",
            ),
            ("{\"Records\":[\n  {A},\n  {B\"},\n  {C}\n]\n}\n{D}", "A!CD"),
            ("{\"Records\":[{A} text {C},{D}]}\n{E}", "A!…E"),
            ("[{A},{B!},{C}]", "A!C"),
            ("[{A},{B\"},{C}]", "A!…"),
            // Files that were cut, and others after them.
            ("{\"Records\":[{A},{\"x\":\n{\"Records\":[{C}]}\n{D}", "A!CD"),
            ("{\"Records\":[{A},\n{\"Records\":[{C}]}", "A!C"),
            ("{\"Records\":[{A}\n{\"Records\":[{C}]}", "A!C"),
            ("{\"Records\":[{A}\n{C}", "A!C"),
            ("{\"Records\":[{A},{C}", "AC!…"),
            // Arrays of documents.
            ("[{\"Records\":[{A}]},{\"Records\":[{C},{D}]}]\n{E}", "ACDE"),
            // Faults beside the records of a document.
            ("{\"x\":NaN,\"Records\":[{A}]}{C}", "!AC"),
            ("{\"Records\":[{A}],\"x\":NaN}{C}", "A!C"),
            ("{\"Records\":[{A}],\"x\":[},\"y\":[1,2]}{C}", "A!C"),
            ("{\"Records\":[{A}] \"x\":1}\n{C}", "A!C"),
            // A file begins with a byte order mark, wherever it stands.
            ("\u{feff}{A}\u{feff}{C}\n\u{feff}{\"Records\":[{D}]}\n", "ACD"),
            ("{A}\n{B\"}\n\u{feff}{C}", "A!C"),
        ] {
            assert_eq!(after_faults(text), expected, "{text}");
        }
    }

    #[test]
    fn a_record_that_is_too_long_does_not_take_the_next_with_it() {
        let record = |name: &str, pad: usize| {
            format!(
                r#"{{"userIdentity":{{"principalId":"{name}"}},"sourceIPAddress":"8.8.4.4","x":"{}"}}"#,
                "y".repeat(pad)
            )
        };
        let records = [record("AIDA1", 0), record("AIDAX", 5000), record("AIDA2", 0)];
        let log = log().record_limit(1000);
        for (before, text) in [
            (12, format!("{{\"Records\":[{}]}}", records.join(","))),
            (1, format!("[{}]", records.join(","))),
            (0, records.join("\n")),
        ] {
            let second = before + records[0].len() + 1;
            let told = format!(
                "1: AIDA1 | 8.8.4.4\n2: ! from byte {second}: it is longer than 1000 bytes\n3: AIDA2 | 8.8.4.4\n"
            );
            assert_eq!(notes(&log, text.as_bytes()), told);
        }
    }

    #[test]
    fn service_names_and_private_addresses_are_told_apart_from_users() {
        let policy = Policy::draft().special(SpecialRule::Keep).check().unwrap();
        let mut kept = Vec::new();
        let summary = Extract::of(log())
            .policy(policy)
            .run(
                [Input::bytes("log", sample("cloudtrail/identities.json"))],
                |dated| {
                    kept.push(dated.event.ip);
                    Ok(())
                },
            )
            .unwrap();
        assert!(kept.contains(&[10, 0, 3, 17].into()));
        assert_eq!(summary.drops[&DropReason::ServiceCaller], 3);
        assert_eq!(summary.records, summary.pairs + summary.dropped());
    }
}

mod guardduty {
    use super::*;

    fn log() -> GuardDuty {
        GuardDuty::new()
    }

    #[test]
    fn every_action_as_exported() {
        check_names(
            &log(),
            "guardduty/export.jsonl",
            expect![[r#"
            1: AROAIDPPEZS35WEXAMPLE:alice@example.com (name Developer) | 93.184.216.34 | 2025-03-06T07:39:01Z
            2: (service-caller)
            3: i-0a1b2c3d4e5f60718 | 185.220.101.4 | 2025-03-06T07:41:13Z
            4: i-0a1b2c3d4e5f60718 | 45.134.144.9 | 2025-03-06T07:42:13Z
            4: i-0a1b2c3d4e5f60718 | 45.134.144.10 | 2025-03-06T07:42:13Z
            4: i-0a1b2c3d4e5f60718 | 45.134.144.10 | 2025-03-06T07:42:13Z
            4: i-0a1b2c3d4e5f60718 | 2001:db8::53 | 2025-03-06T07:42:13Z
            4: (no-address)
            5: system:serviceaccount:default:builder (name system:serviceaccount:default:builder) | 62.138.7.40 | 2025-03-06T07:43:13Z
            6: reporting (name reporting) | 91.12.33.7 | 2025-03-06T07:44:13Z
            7: postgres (name postgres) | 91.12.33.8 | 2025-03-06T07:45:13Z
            7: admin (name admin) | 91.12.33.8 | 2025-03-06T07:45:13Z
            8: (no-address)
        "#]],
        );
    }

    #[test]
    fn an_array() {
        check_names(
            &log(),
            "guardduty/array.json",
            expect![[r#"
            1: AIDACKCEVSQ6C2EXAMPLE (name ben) | 185.220.101.4 | 2025-03-06T04:02:00Z
            2: i-0a1b2c3d4e5f60718 | 185.220.101.5 | 2025-03-06T04:03:00Z
        "#]],
        );
    }

    #[test]
    fn as_eventbridge_sends() {
        check_names(
            &log(),
            "guardduty/eventbridge.json",
            expect![[r#"
            1: AROAIDPPEZS35WEXAMPLE:i-0a1b2c3d4e5f60718 (name WebServer) | 45.134.144.9 | 2025-03-06T07:40:00Z
        "#]],
        );
    }

    #[test]
    fn as_the_service_and_the_command_line_answer() {
        check_names(
            &log(),
            "guardduty/api-findings.json",
            expect![[r#"
            1: AROAIDPPEZS35WEXAMPLE:chloe (name Support) | 62.138.7.40 | 2025-03-06T04:03:00Z
        "#]],
        );
        check_names(
            &log(),
            "guardduty/get-findings.json",
            expect![[r#"
            1: AROAIDPPEZS35WEXAMPLE:alice (name Developer) | 93.184.216.34 | 2025-03-06T07:39:01Z
            2: reporting (name reporting) | 91.12.33.7 | 2025-03-06T07:44:13Z
            3: i-0a1b2c3d4e5f60718 | 45.134.144.9 | 2025-03-06T07:44:14Z
            4: kubernetes-admin (name kubernetes-admin) | 62.138.7.40 | 2025-03-06T07:44:15Z
        "#]],
        );
    }

    #[test]
    fn findings_at_fault() {
        check(
            &log(),
            "hostile/guardduty/findings.jsonl",
            expect![[r#"
            1: AIDAGOOD1 | 8.8.4.4
            2: ! from byte 150: `resource` is a string, not an object
            3: ! from byte 263: `resource.accessKeyDetails.principalId` is an array, not a string
            4: ! from byte 411: `remoteIpDetails.ipAddressV4` is a number, not a string
            5: ! from byte 557: `remoteIpDetails` is an array, not an object
            6: ! from byte 689: `portProbeDetails` is an object, not an array
            7: ! from byte 855: `portProbeDetails` is a number, not an object
            8: (no-address)
            9: ! from byte 1149: `service.eventLastSeen` is `soon`, which is no time
            10: (no-address)
            11: nobody | 8.8.4.4
            12: ! from byte 1455: `detail` is an array, not an object
            13: (no-address)
            14: AIDAGOOD2 | 8.8.4.5
            15: ! from byte 1622: `remoteIpDetails` is a string, not an object
            16: (no-address)
        "#]],
        );
    }
}

mod ocsf {
    use super::*;

    fn log() -> Ocsf {
        Ocsf::new()
    }

    #[test]
    fn as_security_lake_wrote_it_first() {
        check_names(
            &log(),
            "ocsf/security-lake-1.0.jsonl",
            expect![[r#"
            1: AROAIDPPEZS35WEXAMPLE:alice@example.com (name Developer) (arn arn:aws:sts::123456789012:assumed-role/Developer/alice@example.com) | 93.184.216.34 | 2025-03-04T09:12:44Z
            2: AIDAJ45Q7YFFAREXAMPLE (name Bob) (arn arn:aws:iam::123456789012:user/Bob) | 8.8.4.4 | 2025-03-04T09:13:02Z
            3: (service-caller)
        "#]],
        );
    }

    #[test]
    fn as_security_lake_writes_it() {
        check_names(
            &log(),
            "ocsf/security-lake-1.1.jsonl",
            expect![[r#"
            1: AROAIDPPEZS35WEXAMPLE:alice@example.com (name Developer) (arn arn:aws:sts::123456789012:assumed-role/Developer/alice@example.com) | 93.184.216.34 | 2025-03-04T09:12:44Z
            2: AIDAJ45Q7YFFAREXAMPLE (name Bob) (arn arn:aws:iam::123456789012:user/Bob) | 8.8.4.4 | 2025-03-04T09:13:02Z
            3: AIDACKCEVSQ6C2EXAMPLE (name Carol) (arn arn:aws:iam::123456789012:user/Carol) | 8.8.4.5 | 2025-03-04T09:13:03Z
            4: i-0a1b2c3d4e5f60718 | 9.9.9.9 | 2025-03-04T09:13:04Z
            5: (no-address)
        "#]],
        );
    }

    #[test]
    fn of_other_products() {
        check_names(
            &log(),
            "ocsf/other-products.json",
            expect![[r#"
            1: 00u1example (name Jane Doe) | 93.184.216.34 | 2025-03-04T09:12:44Z
            2: john@example.com | 93.184.216.35 | 2025-03-04T09:12:45Z
            3: S-1-5-21:4711 (name jdoe) | 93.184.216.36 | 2025-03-04T09:12:46Z
        "#]],
        );
        // What is not of AWS is not cut at its colon.
        let all = pairs(log(), PrincipalRule::Role, &["ocsf/other-products.json"]);
        assert!(all.contains("S-1-5-21:4711,93.184.216.36\n"), "{all}");
    }

    #[test]
    fn network_activity_is_judged_as_flows_are() {
        for (members, expected) in [
            (
                r#""action":"Allowed","action_id":1,"disposition":"Allowed""#,
                "i-1 | 8.8.4.4",
            ),
            (
                r#""activity_id":6,"connection_info":{"direction_id":1,"tcp_flags":2}"#,
                "i-1 | 8.8.4.4",
            ),
            (
                r#""connection_info":{"direction":"-","direction_id":99,"tcp_flags":null}"#,
                "i-1 | 8.8.4.4",
            ),
            (r#""action_id":2"#, "(flow-rejected)"),
            (r#""action":"Denied""#, "(flow-rejected)"),
            (r#""action_id":0,"disposition_id":2"#, "(flow-rejected)"),
            (r#""disposition":"Blocked""#, "(flow-rejected)"),
            (r#""disposition_id":6"#, "(flow-rejected)"),
            (r#""activity_id":5,"activity_name":"Refuse""#, "(flow-rejected)"),
            (r#""activity_name":"Fail""#, "(flow-rejected)"),
            (r#""connection_info":{"direction_id":2}"#, "(flow-outbound)"),
            (
                r#""connection_info":{"direction":"Outbound"},"action":"Allowed""#,
                "(flow-outbound)",
            ),
            (
                r#""connection_info":{"direction":"Inbound","tcp_flags":19}"#,
                "(flow-answer)",
            ),
            (r#""action_id":"2""#, "(flow-rejected)"),
            (
                r#""action_id":2.5,"action":7,"activity_name":["Refuse"],"disposition_id":{}"#,
                "i-1 | 8.8.4.4",
            ),
            (
                r#""connection_info":[]"#,
                "! from byte 0: `connection_info` is an array, not an object",
            ),
        ] {
            let event = |class| {
                format!(
                    r#"{{"class_uid":{class},{members},"src_endpoint":{{"ip":"8.8.4.4"}},"dst_endpoint":{{"instance_uid":"i-1"}}}}"#
                )
            };
            let told = notes(&log(), event(4001).as_bytes());
            assert_eq!(told, format!("1: {expected}\n"), "{members}");
            // The numbers mean other things elsewhere.
            if !expected.starts_with('!') {
                assert_eq!(
                    notes(&log(), event(3002).as_bytes()),
                    "1: i-1 | 8.8.4.4\n",
                    "{members}"
                );
            }
        }
    }

    #[test]
    fn a_local_time_gives_way_to_the_one_since_1970() {
        let of = |times: &str| {
            notes(
                &log(),
                format!(r#"{{{times},"src_endpoint":{{"ip":"8.8.4.4"}}}}"#).as_bytes(),
            )
        };
        let time = "1: nobody | 8.8.4.4 | 2025-03-04T09:12:44Z\n";
        assert_eq!(
            of(r#""time_dt":"2025-03-04T10:12:44","time":1741079564000"#),
            time
        );
        assert_eq!(of(r#""time_dt":"2025-03-04T10:12:44+01:00","time":0"#), time);
        assert_eq!(of(r#""time_dt":null,"time":1741079564000"#), time);
        assert_eq!(
            of(r#""time_dt":"2025-03-04T10:12:44""#),
            "1: ! from byte 0: `time_dt` is `2025-03-04T10:12:44`, which is no time\n"
        );
        // What is no time at all is not passed over.
        for text in ["soon", "2025-03-04T25:12:44", "2025-03-04T10:12:44+0x", ""] {
            assert_eq!(
                of(&format!(r#""time_dt":"{text}","time":1741079564000"#)),
                format!("1: ! from byte 0: `time_dt` is `{text}`, which is no time\n")
            );
        }
    }

    #[test]
    fn events_at_fault() {
        check(
            &log(),
            "hostile/ocsf/events.jsonl",
            expect![[r#"
            1: GOOD1 | 8.8.4.4 | 2025-03-04T09:12:44Z
            2: ! from byte 88: `user.uid` is a number, not a string
            3: ! from byte 150: `actor` is a string, not an object
            4: ! from byte 199: `src_endpoint` is a string, not an object
            5: ! from byte 255: `time` is a string, not a whole number
            6: ! from byte 348: `time` is 1741079564.5, not a whole number
            7: ! from byte 431: `time` is 9223372036854775807, which is no time in milliseconds since 1970
            8: ! from byte 521: `time` is 99999999999999999999, not a whole number
            9: ! from byte 612: `time_dt` is `soon`, which is no time
            10: nobody | 8.8.4.4
            11: (no-address)
            12: (no-address)
            13: GOOD2 | 8.8.4.5
        "#]],
        );
    }
}

/// The workshop cut CloudTrail's principals at the colon and GuardDuty's not, so that no finding of a role ever matched.
#[test]
fn a_role_is_one_entity_in_every_source() {
    let trained = pairs(
        CloudTrail::new(),
        PrincipalRule::Role,
        &["cloudtrail/records.json"],
    );
    let found = pairs(GuardDuty::new(), PrincipalRule::Role, &["guardduty/export.jsonl"]);
    let lake = ["ocsf/security-lake-1.0.jsonl", "ocsf/security-lake-1.1.jsonl"];
    let lake = lake.map(|name| pairs(Ocsf::new(), PrincipalRule::Role, &[name]));
    for text in [&trained, &found, &lake[0], &lake[1]] {
        assert!(text.contains("AROAIDPPEZS35WEXAMPLE,93.184.216.34\n"), "{text}");
    }
    let [first, later] = lake;
    assert!(later.starts_with(first.split_inclusive('\n').take(2).collect::<String>().as_str()));
}

#[test]
fn malformed_records_are_counted_and_the_sum_is_right() {
    let samples: [(&dyn Fn() -> Extract, &str); 3] = [
        (
            &|| Extract::of(CloudTrail::new()),
            "hostile/cloudtrail/values.jsonl",
        ),
        (
            &|| Extract::of(GuardDuty::new()),
            "hostile/guardduty/findings.jsonl",
        ),
        (&|| Extract::of(Ocsf::new()), "hostile/ocsf/events.jsonl"),
    ];
    for (extract, name) in samples {
        let input = || [Input::bytes(name, sample(name))];
        let summary = extract()
            .on_error(OnError::Skip)
            .run(input(), |_| Ok(()))
            .unwrap();
        let lines = sample(name).split(|byte| *byte == b'\n').count() as u64 - 1;
        assert_eq!(summary.records, lines, "{name}");
        assert_eq!(
            summary.records,
            summary.pairs + summary.dropped() + summary.malformed,
            "{name}"
        );
        let error = extract().run(input(), |_| Ok(())).unwrap_err().to_string();
        assert!(
            error.contains(&format!("`{name}`: record 2 (from byte ")),
            "{error}"
        );
    }
}

/// A record as CloudTrail may have it: some members are missing, and there are others that nobody asked for.
fn record() -> impl Strategy<Value = (Value, Option<String>)> {
    let principal = "[A-Z]{4}[A-Z0-9]{1,8}(:[a-zé\"\\\\@.\n{}\\[\\]]{0,12})?";
    let other = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[\\PC\"\\\\]{0,30}".prop_map(Value::from),
        prop::collection::vec("\\PC{0,5}".prop_map(Value::from), 0..4).prop_map(Value::from),
    ];
    let others = prop::collection::btree_map("[a-z]{1,6}", other, 0..5);
    (principal, any::<[u8; 2]>(), others, any::<bool>(), any::<bool>()).prop_map(
        |(principal, [c, d], others, first, has_address)| {
            let mut record = serde_json::Map::new();
            let known = |record: &mut serde_json::Map<String, Value>| {
                record.insert(
                    "userIdentity".into(),
                    json!({ "x": others, "principalId": principal }),
                );
                if has_address {
                    record.insert("sourceIPAddress".into(), format!("8.8.{c}.{d}").into());
                }
            };
            if first {
                known(&mut record);
            }
            record.insert("requestParameters".into(), json!(others));
            if !first {
                known(&mut record);
            }
            let told = has_address.then(|| format!("{principal} | 8.8.{c}.{d}"));
            (Value::Object(record), told)
        },
    )
}

/// Records in each arrangement that a format knows.
fn printed(records: Vec<Value>, pretty: bool, holder: Option<&str>) -> Vec<String> {
    let print = |value: &Value| {
        if pretty {
            serde_json::to_string_pretty(value).unwrap()
        } else {
            value.to_string()
        }
    };
    let mut texts = vec![
        records.iter().map(print).collect::<Vec<_>>().join("\n"),
        records.iter().map(print).collect(),
    ];
    texts.extend(holder.map(|holder| print(&json!({ holder: records }))));
    texts.push(print(&Value::from(records)));
    texts
}

const NAME: &str = "[A-Za-z0-9][a-zé\"\\\\@.\n{}\\[\\]]{0,12}";

/// A finding, and what it tells: one use, or one for each probe of a port.
fn finding() -> impl Strategy<Value = (Value, Vec<String>)> {
    let seconds = 0_i64..4_000_000_000;
    (NAME, prop::collection::vec(any::<[u8; 2]>(), 1..4), 0..3, seconds).prop_map(|(name, addresses, action, seconds)| {
        let time = jiff::Timestamp::from_second(seconds).unwrap();
        let addresses: Vec<_> = addresses.iter().map(|[c, d]| format!("8.8.{c}.{d}")).collect();
        let remote = |address: &String| json!({ "country": {}, "ipAddressV4": address });
        let (action, told, resource) = match action {
            0 => (
                json!({ "awsApiCallAction": { "remoteIpDetails": remote(&addresses[0]) } }),
                &addresses[..1],
                json!({ "accessKeyDetails": { "principalId": name } }),
            ),
            1 => (
                json!({ "networkConnectionAction": { "connectionDirection": "INBOUND", "remoteIpDetails": remote(&addresses[0]) } }),
                &addresses[..1],
                json!({ "instanceDetails": { "instanceId": name } }),
            ),
            _ => {
                let probes: Vec<_> = addresses.iter().map(|address| json!({ "remoteIpDetails": remote(address) })).collect();
                (
                    json!({ "portProbeAction": { "blocked": false, "portProbeDetails": probes } }),
                    &addresses[..],
                    json!({ "instanceDetails": { "instanceId": name } }),
                )
            }
        };
        let finding = json!({
            "resource": resource,
            "service": { "serviceName": "guardduty", "eventLastSeen": time.to_string(), "action": action },
        });
        let told = told.iter().map(|address| format!("{name} | {address} | {time}")).collect();
        (finding, told)
    })
}

/// An event of OCSF, and what it tells.
fn event() -> impl Strategy<Value = (Value, String)> {
    let millis = 0_i64..4_000_000_000_000;
    (
        NAME,
        any::<[u8; 2]>(),
        0..3,
        prop::option::of(millis),
        any::<bool>(),
    )
        .prop_map(|(name, [c, d], who, millis, text)| {
            let address = format!("8.8.{c}.{d}");
            let mut event = json!({ "class_uid": 3002, "src_endpoint": { "ip": address, "port": 443 } });
            match who {
                0 => {
                    event["actor"] =
                        json!({ "user": { "uid": name, "type": "User" }, "session": { "uid": "x" } })
                }
                1 => event["user"] = json!({ "name": name }),
                _ => event["dst_endpoint"] = json!({ "instance_uid": name }),
            }
            let time = millis.map(|millis| jiff::Timestamp::from_millisecond(millis).unwrap());
            if let Some(time) = time {
                event["time"] = millis.into();
                if text {
                    event["time_dt"] = time.to_string().into();
                }
            }
            let time = time.map(|time| format!(" | {time}")).unwrap_or_default();
            (event, format!("{name} | {address}{time}"))
        })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_in_any_arrangement(records in prop::collection::vec(record(), 1..12), pretty in any::<bool>()) {
        let mut expected = String::new();
        for (number, (_, told)) in records.iter().enumerate() {
            let told = told.as_deref().unwrap_or("(no-address)");
            writeln!(expected, "{}: {told}", number + 1).unwrap();
        }
        let values: Vec<Value> = records.into_iter().map(|(record, _)| record).collect();
        let print = |value: &Value| if pretty {
            serde_json::to_string_pretty(value).unwrap()
        } else {
            value.to_string()
        };
        let lines = values.iter().map(print).collect::<Vec<_>>().join("\n");
        let enveloped = values.iter().map(|value| print(&json!({ "version": "0", "detail": value })));
        let texts = values.iter().map(|value| json!({ "EventId": "x", "CloudTrailEvent": value.to_string() }));
        for text in [
            print(&json!({ "Records": values })),
            print(&json!({ "before": { "Records": [{}] }, "Records": values, "after": [1] })),
            print(&json!(values)),
            enveloped.collect::<Vec<_>>().join("\n"),
            print(&json!({ "Events": texts.collect::<Vec<_>>() })),
            lines,
        ] {
            prop_assert_eq!(&names(&CloudTrail::new(), text.as_bytes()), &expected, "{}", text);
        }
    }

    #[test]
    fn findings_are_read_as_they_are_printed(findings in prop::collection::vec(finding(), 1..8), pretty in any::<bool>()) {
        let mut expected = String::new();
        for (number, (_, told)) in findings.iter().enumerate() {
            for told in told {
                writeln!(expected, "{}: {told}", number + 1).unwrap();
            }
        }
        let findings = findings.into_iter().map(|(finding, _)| finding).collect();
        for text in printed(findings, pretty, Some("findings")) {
            prop_assert_eq!(&notes(&GuardDuty::new(), text.as_bytes()), &expected, "{}", text);
        }
    }

    #[test]
    fn ocsf_is_read_as_it_is_printed(events in prop::collection::vec(event(), 1..8), pretty in any::<bool>()) {
        let mut expected = String::new();
        for (number, (_, told)) in events.iter().enumerate() {
            writeln!(expected, "{}: {told}", number + 1).unwrap();
        }
        let events = events.into_iter().map(|(event, _)| event).collect();
        for text in printed(events, pretty, None) {
            prop_assert_eq!(&notes(&Ocsf::new(), text.as_bytes()), &expected, "{}", text);
        }
    }

    /// Where text is spoilt, every record is told, or malformed, or the loss is told.
    #[test]
    fn no_record_disappears(
        count in 2_usize..6,
        separator in prop::sample::select(vec!["", " ", "\n", "\r\n  "]),
        around in prop::sample::select(vec![("", ""), ("[", "]"), ("{\"Records\":[", "]}"), ("{\"Records\": [\n", "\n]\n}")]),
        (at, how) in (any::<prop::sample::Index>(), 0..3),
    ) {
        let comma = if around.0.is_empty() { "" } else { "," };
        let record = |n| format!(r#"{{"userIdentity":{{"principalId":"AIDA{n}"}},"x":[{{"y":1}}],"sourceIPAddress":"8.8.4.4"}}"#);
        let records = (0..count).map(record).collect::<Vec<_>>().join(&format!("{comma}{separator}"));
        let mut bytes = format!("{}{records}{}", around.0, around.1).into_bytes();
        let at = at.index(bytes.len());
        match how {
            0 => drop(bytes.remove(at)),
            1 => bytes[at] = b'N',
            _ => bytes.insert(at, b'"'),
        }
        // With another key it is another document.
        if serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok() {
            return Ok(());
        }
        let text = notes(&CloudTrail::new(), &bytes);
        let told = text.lines().count();
        prop_assert!(told >= count || text.contains("the rest is lost"), "{}\n{text}", String::from_utf8_lossy(&bytes));
    }

    /// What a sloppy copy may do to a file: the records before the cut are there, and the loss is told.
    #[test]
    fn a_file_that_ends_early_gives_what_was_whole(count in 1_usize..6, cut in any::<prop::sample::Index>()) {
        let one = r#"{"userIdentity":{"principalId":"AIDA"},"sourceIPAddress":"8.8.4.4"}"#;
        let text = format!("{{\"Records\":[{}]}}", vec![one; count].join(","));
        let cut = cut.index(text.len());
        let (pairs, summary) = extracted(CloudTrail::new(), OnError::Skip, &text[..cut]);
        let whole = (cut.saturating_sub(12) + 1) / (one.len() + 1);
        prop_assert_eq!(pairs.len(), whole);
        prop_assert_eq!(summary.cut_short, u64::from(cut > 0));
    }

    #[test]
    fn any_bytes_end(bytes in hostile(&[
        "{\"Records\":[", "{\"findings\":[", "]}", "{", "}", "[", "]", ",", ":", "\"", "\\", "\\ud800", "null", "17", "-",
        "\"userIdentity\":{\"principalId\":\"A\"}", "\"sourceIPAddress\":\"8.8.4.4\"", "\"detail\":", "\"CloudTrailEvent\":\"",
        "{\"userIdentity\":{\"principalId\":\"A\"},\"sourceIPAddress\":\"8.8.4.4\"}", "\"eventTime\":\"2025-03-04T09:12:44Z\"",
        "\"service\":{\"action\":{\"portProbeAction\":{\"portProbeDetails\":[", "\"remoteIpDetails\":{\"ipAddressV4\":\"8.8.4.4\"}",
        "\"resource\":{\"accessKeyDetails\":{\"principalId\":\"A\"}}", "\"actor\":{\"user\":{\"uid\":\"A\"}}", "\"src_endpoint\":{\"ip\":\"8.8.4.4\"}",
    ])) {
        ends(&CloudTrail::new(), &bytes);
        ends(&GuardDuty::new(), &bytes);
        ends(&Ocsf::new(), &bytes);
        ends(&CloudTrail::new().record_limit(40), &bytes);
    }
}
