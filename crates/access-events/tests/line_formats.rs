//! Flow logs, web logs, tables and JSON of any shape: one sample for each variant, and hostile ones.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

mod support;

use std::io::Write as _;

use access_events::extract::OnError;
use access_events::format::flow_log::{FlowEntity, FlowLogError};
use access_events::format::{Csv, FlowLog, Format, JsonLines, TimeFormat, WebLog};
use access_events::{Dated, Extract, Input};
use expect_test::expect;
use proptest::prelude::*;

use support::{check, ends, hostile, notes};

mod flow_log {
    use super::*;

    fn log() -> FlowLog {
        FlowLog::new()
    }

    fn by(entity: FlowEntity) -> FlowLog {
        FlowLog::draft().entity(entity).check().unwrap()
    }

    #[test]
    fn the_default_format() {
        check(
            &log(),
            "flow-log/default-v2.log",
            expect![[r#"
            1: eni-0a1b2c3d4e5f60718 | 93.184.216.34 | 2024-05-01T10:00:00Z
            2: (flow-outbound)
            3: eni-0a1b2c3d4e5f60718 | 9.9.9.9 | 2024-05-01T10:00:12Z
            4: (flow-rejected)
            5: (flow-internal)
            6: (flow-no-data)
            7: (flow-skip-data)
            8: eni-0a1b2c3d4e5f60718 | 2001:db8:1234:a100:8d6e:3477:df66:f105 | 2024-05-01T10:00:20Z
            9: eni-0b1b2c3d4e5f60719 | 1.1.1.1 | 2024-05-01T10:00:21Z
        "#]],
        );
        check(
            &by(FlowEntity::Account),
            "flow-log/default-v2.log",
            expect![[r#"
            1: 123456789012 | 93.184.216.34 | 2024-05-01T10:00:00Z
            2: (flow-outbound)
            3: 123456789012 | 9.9.9.9 | 2024-05-01T10:00:12Z
            4: (flow-rejected)
            5: (flow-internal)
            6: (flow-no-data)
            7: (flow-skip-data)
            8: 123456789012 | 2001:db8:1234:a100:8d6e:3477:df66:f105 | 2024-05-01T10:00:20Z
            9: nobody | 1.1.1.1 | 2024-05-01T10:00:21Z
        "#]],
        );
    }

    #[test]
    fn lines_of_cloudwatch() {
        check(
            &log(),
            "flow-log/cloudwatch.log",
            expect![[r#"
            1: eni-0a1b2c3d4e5f60718 | 93.184.216.34 | 2024-05-01T10:00:00Z
            2: (flow-rejected)
        "#]],
        );
        check(
            &log(),
            "flow-log/cloudwatch-export.log",
            expect![[r#"
            1: eni-0a1b2c3d4e5f60718 | 93.184.216.34 | 2024-05-01T10:00:00Z
            2: (flow-rejected)
        "#]],
        );
    }

    #[test]
    fn version_3_tells_answers_from_uses() {
        check(
            &by(FlowEntity::Instance),
            "flow-log/all-v3.log",
            expect![[r#"
            1: i-0a1a2a3a4a5a6a7a8 | 52.213.180.42 | 2024-05-01T10:00:00Z
            2: (flow-outbound)
            3: (flow-answer)
            4: i-0b1a2a3a4a5a6a7a8 | 93.184.216.34 | 2024-05-01T10:00:05Z
            5: nobody | 9.9.9.9 | 2024-05-01T10:00:06Z
        "#]],
        );
    }

    #[test]
    fn version_4() {
        check(
            &by(FlowEntity::Subnet),
            "flow-log/all-v4.log",
            expect![[r#"
            1: subnet-0aaaaaaaa012345678 | 52.213.180.42 | 2024-05-01T10:00:00Z
        "#]],
        );
    }

    #[test]
    fn version_5_tells_the_direction() {
        check(
            &by(FlowEntity::Vpc),
            "flow-log/all-v5.log",
            expect![[r#"
            1: vpc-0abcdefab01234567 | 52.213.180.42 | 2024-05-01T10:00:00Z
            2: (flow-answer)
            3: (flow-outbound)
            4: vpc-0abcdefab01234567 | 198.41.0.4 | 2024-05-01T10:00:00Z
        "#]],
        );
    }

    #[test]
    fn version_10() {
        check(
            &log(),
            "flow-log/all-v10.log",
            expect![[r#"
            1: eni-0a1b2c3d4e5f60718 | 52.213.180.42 | 2024-05-01T10:00:00Z
            2: nobody | 9.9.9.9 | 2024-05-01T10:00:01Z
            3: (flow-rejected)
        "#]],
        );
        check(
            &by(FlowEntity::Resource),
            "flow-log/all-v10.log",
            expect![[r#"
            1: nobody | 52.213.180.42 | 2024-05-01T10:00:00Z
            2: nat-0123456789abcdef0 | 9.9.9.9 | 2024-05-01T10:00:01Z
            3: (flow-rejected)
        "#]],
        );
    }

    #[test]
    fn columns_in_any_order_and_new_ones() {
        check(
            &log(),
            "flow-log/custom-order.log",
            expect![[r#"
            1: eni-0a1b2c3d4e5f60718 | 93.184.216.34 | 2024-05-01T10:00:00Z
            2: eni-0d1b2c3d4e5f60718 | 93.184.216.34 | 2024-05-01T10:00:01Z
            3: (flow-outbound)
            4: (flow-no-data)
        "#]],
        );
    }

    #[test]
    fn columns_can_be_given() {
        let text = "eni-1 93.184.216.34 10.0.1.21 x ACCEPT\n2024-05-01T10:00:12.000Z eni-1 9.9.9.9 10.0.1.21 x REJECT\n";
        for columns in [
            "interface-id srcaddr dstaddr - action",
            "${interface-id} ${srcaddr} ${dstaddr} - ${action}",
            "interface_id,srcaddr,dstaddr,-,action",
        ] {
            let log = FlowLog::draft().columns(columns).check().unwrap();
            assert_eq!(
                notes(&log, text.as_bytes()),
                "1: eni-1 | 93.184.216.34\n2: (flow-rejected)\n"
            );
        }
        let draft = FlowLog::draft().columns("interface-id srcaddr dstaddr");
        assert!(draft.clone().check().is_err());
        let log = draft.all_accepted(true).check().unwrap();
        assert_eq!(
            notes(&log, b"eni-1 93.184.216.34 10.0.1.21\n"),
            "1: eni-1 | 93.184.216.34\n"
        );
    }

    #[test]
    fn a_header_in_the_middle_is_that_of_the_next_file() {
        let text = "interface-id srcaddr dstaddr action\neni-1 9.9.9.9 10.0.0.1 ACCEPT\n\
                    action dstaddr srcaddr interface-id\nREJECT 10.0.0.1 9.9.9.9 eni-2\n";
        assert_eq!(
            notes(&log(), text.as_bytes()),
            "1: eni-1 | 9.9.9.9\n2: (flow-rejected)\n"
        );
    }

    #[test]
    fn own_networks_tell_the_direction_too() {
        let line = |from, to| format!("2 1 eni-1 {from} {to} 1 443 6 1 1 1714557600 1714557660 ACCEPT OK\n");
        let text = [
            line("93.184.216.34", "198.51.100.20"),
            line("198.51.100.20", "93.184.216.34"),
            line("198.51.100.20", "10.0.0.1"),
        ];
        assert_eq!(
            notes(&log(), text.concat().as_bytes()),
            "1: (flow-direction-unknown)\n2: (flow-direction-unknown)\n3: eni-1 | 198.51.100.20 | 2024-05-01T10:00:00Z\n"
        );
        let own = FlowLog::draft()
            .own_networks(["198.51.100.0/24".parse().unwrap()])
            .check()
            .unwrap();
        assert_eq!(
            notes(&own, text.concat().as_bytes()),
            "1: eni-1 | 93.184.216.34 | 2024-05-01T10:00:00Z\n2: (flow-outbound)\n3: (flow-internal)\n"
        );
    }

    #[test]
    fn ports_can_be_chosen() {
        let log = FlowLog::draft().ports([22, 443]).check().unwrap();
        check(
            &log,
            "flow-log/all-v3.log",
            expect![[r#"
            1: (other-port)
            2: (flow-outbound)
            3: (flow-answer)
            4: (other-port)
            5: eni-0d1b2c3d4e5f60718 | 9.9.9.9 | 2024-05-01T10:00:06Z
        "#]],
        );
    }

    #[test]
    fn settings_that_make_no_sense() {
        let messages: Vec<_> = [
            FlowLog::draft().columns("interface-id srcadr dstaddr action"),
            FlowLog::draft().columns("interface-id action"),
            FlowLog::draft()
                .columns("interface-id srcaddr dstaddr action")
                .entity(FlowEntity::Vpc),
            FlowLog::draft()
                .columns("interface-id srcaddr dstaddr action")
                .ports([22]),
            FlowLog::draft().columns("version tgw-id srcaddr"),
        ]
        .into_iter()
        .map(|draft| draft.check().unwrap_err().to_string())
        .collect();
        expect![[r#"
            flow logs have no field `srcadr`; write `-` for a column that does not matter
            the flow log has no column `srcaddr` or `pkt-srcaddr`; no `flow-direction`, or `dstaddr` to tell it by
            the flow log has no column `vpc-id`, the entity
            the flow log has no column `dstport`, to choose ports by
            these are flow logs of a transit gateway, which are not read"#]].assert_eq(&messages.join("\n"));
        let error: FlowLogError = "instance".parse::<FlowEntity>().unwrap_err();
        expect!["`instance` is no entity of a flow; there are interface-id, instance-id, account-id, vpc-id, subnet-id, resource-id"].assert_eq(&error.to_string());
        for (name, entity) in FlowEntity::NAMES {
            assert_eq!(name.parse::<FlowEntity>().unwrap(), *entity);
        }
    }

    #[test]
    fn what_is_no_flow_log_is_refused_by_name() {
        check(
            &log(),
            "hostile/flow-log/parquet.parquet",
            expect![[r#"
                1: ! line 1: this is a Parquet file; have it delivered or converted as text; the rest is lost
            "#]],
        );
        check(
            &log(),
            "hostile/flow-log/transit-gateway.log",
            expect![[r#"
                1: ! line 1: this is a flow log of a transit gateway, which is not read; the rest is lost
            "#]],
        );
        check(
            &log(),
            "hostile/flow-log/transit-gateway-header.log",
            expect![[r#"
                1: ! line 2: these are flow logs of a transit gateway, which are not read; the rest is lost
            "#]],
        );
        check(
            &log(),
            "hostile/flow-log/firehose.json",
            expect![[r#"
            1: ! line 1: this is JSON and no flow log as text; take the message out of each event first; the rest is lost
        "#]],
        );
        check(
            &log(),
            "hostile/flow-log/no-action.log",
            expect![[r#"
            1: ! line 2: the flow log has no column `srcaddr` or `pkt-srcaddr`; no `flow-direction`, or `dstaddr` to tell it by; no `action`, to tell accepted flows by; the rest is lost
        "#]],
        );
        check(
            &log(),
            "hostile/flow-log/two-columns-of-one-name.log",
            expect![[r#"
                1: ! line 2: there are two columns `srcaddr`; the rest is lost
            "#]],
        );
    }

    #[test]
    fn lines_at_fault() {
        check(
            &log(),
            "hostile/flow-log/lines.log",
            expect![[r#"
                1: ! line 1: `ALLOW` is no `action`
                2: ! line 2: `FINE` is no `log-status`
                3: ! line 3: `noon` is no `start`
                4: ! line 5: 15 fields, where the default format has 14; a log of another format without a header line needs its columns named
                5: ! line 6: it is not UTF-8
                6: eni-0a1b2c3d4e5f60718 | here | 2024-05-01T10:00:00Z
                7: ! line 8: `99999999999999` is no `start`
                8: ! line 9: 1 field, where the default format has 14; a log of another format without a header line needs its columns named
                9: ! line 10: 10 fields, where the default format has 14; a log of another format without a header line needs its columns named
            "#]],
        );
        check(
            &log(),
            "hostile/flow-log/custom-without-header.log",
            expect![[r#"
                1: ! line 1: 4 fields, where the default format has 14; a log of another format without a header line needs its columns named
                2: ! line 2: `3` is not the version of the default format, 2; a log of another format without a header line needs its columns named
            "#]],
        );
    }

    #[test]
    fn an_extraction_counts_by_reason() {
        let sample = include_bytes!("samples/flow-log/default-v2.log");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(sample).unwrap();
        let mut pairs = Vec::new();
        let summary = Extract::of(log())
            .run(
                [Input::bytes("a.log.gz", encoder.finish().unwrap())],
                |Dated { event, .. }| {
                    pairs.push(format!("{},{}", event.entity, event.ip));
                    Ok(())
                },
            )
            .unwrap();
        assert_eq!(
            pairs,
            [
                "eni-0a1b2c3d4e5f60718,93.184.216.34",
                "eni-0a1b2c3d4e5f60718,9.9.9.9",
                "eni-0b1b2c3d4e5f60719,1.1.1.1"
            ]
        );
        assert_eq!((summary.records, summary.pairs, summary.dropped()), (9, 3, 6));
        let drops: Vec<_> = summary
            .drops
            .iter()
            .map(|(reason, n)| format!("{reason} {n}"))
            .collect();
        expect![[r#"
            ipv6-address 1
            flow-no-data 1
            flow-skip-data 1
            flow-rejected 1
            flow-outbound 1
            flow-internal 1"#]]
        .assert_eq(&drops.join("\n"));
    }

    /// A flow as AWS writes it in a layout, and what should come of it.
    fn flow() -> impl Strategy<Value = (Vec<(&'static str, String)>, String)> {
        let public = prop_oneof![
            Just("93.184.216.34"),
            Just("8.8.4.4"),
            Just("203.0.113.9"),
            Just("172.32.0.1")
        ];
        let private = prop_oneof![
            Just("10.0.0.1"),
            Just("172.31.255.255"),
            Just("192.168.7.7"),
            Just("100.64.0.9")
        ];
        (
            (public, private, "eni-[0-9a-f]{17}", 0_u32..4_000_000_000),
            any::<(bool, bool, bool, u16, u16)>(),
            prop_oneof![Just("2"), Just("3"), Just("18"), Just("19"), Just("0")],
        )
            .prop_map(
                |((public, private, eni, start), (inbound, accepted, told, from, to), flags)| {
                    let (source, target) = if inbound {
                        (public, private)
                    } else {
                        (private, public)
                    };
                    let direction = match (told, inbound) {
                        (false, _) => "-",
                        (true, true) => "ingress",
                        (true, false) => "egress",
                    };
                    let expected = if !accepted {
                        "(flow-rejected)".to_owned()
                    } else if !inbound {
                        "(flow-outbound)".to_owned()
                    } else if matches!(flags, "18" | "19") {
                        "(flow-answer)".to_owned()
                    } else {
                        let time = jiff::Timestamp::from_second(start.into()).unwrap();
                        format!("{eni} | {public} | {time}")
                    };
                    let fields = vec![
                        ("version", "5".to_owned()),
                        ("interface-id", eni),
                        ("srcaddr", source.to_owned()),
                        ("dstaddr", target.to_owned()),
                        ("srcport", from.to_string()),
                        ("dstport", to.to_string()),
                        ("start", start.to_string()),
                        ("end", (u64::from(start) + 60).to_string()),
                        ("action", if accepted { "ACCEPT" } else { "REJECT" }.to_owned()),
                        ("log-status", "OK".to_owned()),
                        ("tcp-flags", flags.to_owned()),
                        ("flow-direction", direction.to_owned()),
                        ("az-id", "use1-az4".to_owned()),
                    ];
                    (fields, expected)
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(
            flows in proptest::collection::vec(flow(), 1..20),
            order in Just((0..13).collect::<Vec<usize>>()).prop_shuffle(),
        ) {
            let join = |pick: &dyn Fn(usize) -> String| order.iter().map(|i| pick(*i)).collect::<Vec<_>>().join(" ");
            let mut text = join(&|i| flows[0].0[i].0.to_owned()) + "\n";
            let mut expected = String::new();
            for (number, (fields, told)) in flows.iter().enumerate() {
                text += &(join(&|i| fields[i].1.clone()) + "\n");
                expected += &format!("{}: {told}\n", number + 1);
            }
            prop_assert_eq!(notes(&log(), text.as_bytes()), expected);
        }

        #[test]
        fn any_bytes_end(bytes in hostile(&["2 1 eni-1 9.9.9.9 10.0.0.1 1 2 6 1 1 5 6 ACCEPT OK", "version srcaddr", "-"])) {
            ends(&log(), &bytes);
            ends(&FlowLog::draft().columns("interface-id srcaddr dstaddr action").check().unwrap(), &bytes);
        }
    }
}

mod web_log {
    use super::*;

    #[test]
    fn apache() {
        check(
            &WebLog::new(),
            "web-log/apache-common.log",
            expect![[r#"
            1: frank | 93.184.216.34 | 2000-10-10T20:55:36Z
            2: (no-principal)
            3: frank | client.example.net | 2000-10-10T20:55:38Z
            4: frank | 8.8.4.4 | 2000-10-10T20:55:39Z
            5: (no-principal)
        "#]],
        );
        check(
            &WebLog::new(),
            "web-log/apache-combined.log",
            expect![[r#"
            1: frank | 8.8.4.4 | 2024-03-01T00:00:00Z
            2: John Doe | 9.9.9.9 | 2024-05-01T06:30:01Z
            3: CORP\müller | 9.9.9.9 | 2024-05-01T06:30:02Z
            4: frank | 2001:db8::7 | 2024-05-01T06:30:03Z
        "#]],
        );
        check(
            &WebLog::new(),
            "web-log/apache-vhost-combined.log",
            expect![[r#"
            1: frank | 93.184.216.34 | 2024-05-01T12:00:00Z
            2: frank | client.example.net | 2024-05-01T12:00:01Z
            3: John Doe | 93.184.216.34 | 2024-05-01T12:00:02Z
            4: frank | 93.184.216.34 | 2024-05-01T12:00:03Z
            5: frank | 2001:db8::7 | 2024-05-01T12:00:04Z
        "#]],
        );
    }

    #[test]
    fn nginx() {
        check(
            &WebLog::new(),
            "web-log/nginx-main.log",
            expect![[r#"
            1: alice | 10.0.0.5 | 2024-05-01T12:00:00Z
            2: alice | 9.9.9.9 | 2024-05-01T12:00:01Z
            3: müller" | 10.0.0.5 | 2024-05-01T12:00:02Z
            4: (no-principal)
            5: bob | 10.0.0.5 | 2024-05-01T12:00:04Z
        "#]],
        );
        check(
            &WebLog::new().forwarded(true),
            "web-log/nginx-main.log",
            expect![[r#"
                1: alice | 93.184.216.34, 10.1.2.3 | 2024-05-01T12:00:00Z
                2: alice | 9.9.9.9 | 2024-05-01T12:00:01Z
                3: müller" | 8.8.4.4 | 2024-05-01T12:00:02Z
                4: (no-principal)
                5: bob | 1.1.1.1 | 2024-05-01T12:00:04Z
            "#]],
        );
        // Without the field that is asked for.
        check(
            &WebLog::new().forwarded(true),
            "web-log/tutorial.log",
            expect![[r#"
                1: ! line 1: no third quoted field, for the forwarded address, after the size
                2: ! line 2: no third quoted field, for the forwarded address, after the size
                3: ! line 3: no third quoted field, for the forwarded address, after the size
                4: ! line 4: no third quoted field, for the forwarded address, after the size
                5: ! line 5: no third quoted field, for the forwarded address, after the size
            "#]],
        );
    }

    #[test]
    fn a_list_in_place_of_the_host() {
        check(
            &WebLog::new(),
            "web-log/forwarded-host.log",
            expect![[r#"
            1: alice | 93.184.216.34, 10.1.2.3 | 2024-05-01T12:00:00Z
            2: alice | 10.7.7.7,93.184.216.34,10.1.2.3 | 2024-05-01T12:00:01Z
            3: alice | unknown, 8.8.4.4 | 2024-05-01T12:00:02Z
            4: alice | 93.184.216.34:50412 | 2024-05-01T12:00:03Z
            5: (no-address)
        "#]],
        );
    }

    #[test]
    fn successful_logins_as_in_the_tutorial() {
        let log = WebLog::new().request("GET /login_success").status(200);
        check(
            &log,
            "web-log/tutorial.log",
            expect![[r#"
            1: user_0 | 1.2.3.4 | 2018-11-11T00:00:07Z
            2: (other-request)
            3: (other-status)
            4: (other-request)
            5: user_1 | 1.2.3.8 | 2018-11-11T00:00:19Z
        "#]],
        );
        let log = WebLog::new()
            .request("POST /")
            .request("GET /login_f")
            .status(500)
            .status(200);
        check(
            &log,
            "web-log/tutorial.log",
            expect![[r#"
            1: (other-request)
            2: user_0 | 1.2.3.5 | 2018-11-11T00:00:09Z
            3: (other-request)
            4: user_1 | 1.2.3.7 | 2018-11-11T00:00:15Z
            5: (other-request)
        "#]],
        );
    }

    #[test]
    fn lines_at_fault() {
        check(
            &WebLog::new(),
            "hostile/web-log/lines.log",
            expect![[r#"
                1: ! line 1: no time in brackets with a request after it; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`
                2: ! line 2: no time in brackets with a request after it; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`
                3: ! line 3: the request's closing quote is missing
                4: ! line 4: the request's closing quote is missing
                5: ! line 5: no status of three digits after the request
                6: ! line 6: no status of three digits after the request
                7: ! line 7: no size after the status
                8: ! line 8: no size after the status
                9: ! line 9: `[31/Feb/2000:13:55:36 -0700]` is no time that exists
                10: ! line 10: `[10/Oct/2000:24:00:00 -0700]` is no time that exists
                11: ! line 11: no time in brackets with a request after it; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`
                12: ! line 12: no time in brackets with a request after it; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`
                13: ! line 13: fewer than three fields before the time; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`
                14: evil [10/Oct/2000:13:55:36 -0700] "GET /login_success HTTP/1.0" 200 1 | 93.184.216.34 | 2000-10-10T20:55:37Z
                15: a\x0ab | 93.184.216.34 | 2000-10-10T20:55:36Z
                16: M\xfcller | 93.184.216.34 | 2000-10-10T20:55:36Z
                17: tail\ | 93.184.216.34 | 2000-10-10T20:55:36Z
                18: ! line 18: fewer than three fields before the time; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`
                19: ! line 19: no time in brackets with a request after it; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`
                20: ! line 20: no time in brackets with a request after it; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`
                21: ! line 21: it is not UTF-8
                22: ! line 22: no time in brackets with a request after it; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`
                23: ! line 23: no time in brackets with a request after it; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`
                24: ! line 24: no time in brackets with a request after it; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`
            "#]],
        );
    }

    #[test]
    fn a_line_without_end() {
        let log = WebLog::new().line_limit(60);
        let mut text = b"9.9.9.9 - a [10/Oct/2000:13:55:36 -0700] \"G\" 200 1\n9.9.9.9 - a [10/Oct/2000:13:55:36 -0700] \"".to_vec();
        text.resize(1_000_000, b'x');
        assert_eq!(
            notes(&log, &text),
            "1: a | 9.9.9.9 | 2000-10-10T20:55:36Z\n2: ! line 2: it is longer than 60 bytes\n"
        );
    }

    /// As Apache writes it in its logs.
    fn escaped(text: &str) -> String {
        let escape = |byte: u8| match byte {
            b'"' => "\\\"".to_owned(),
            b'\\' => "\\\\".to_owned(),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        };
        text.bytes().map(escape).collect()
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(
            user in "[a-zA-Z\\PC][a-zA-Z0-9@._\\PC]{0,12}",
            ip in any::<std::net::Ipv4Addr>(),
            seconds in 0_i64..4_000_000_000,
            offset in -14_i64 * 60..=14 * 60,
            request in "(GET|POST) /\\PC{0,20} HTTP/1\\.1",
            status in 100_u16..600,
            agent in "\\PC{0,20}",
            combined in any::<bool>(),
        ) {
            prop_assume!(user != "-");
            let time = jiff::Timestamp::from_second(seconds).unwrap();
            let local = jiff::Timestamp::from_second(seconds + offset * 60).unwrap();
            let zone = format!("{}{:02}{:02}", if offset < 0 { '-' } else { '+' }, offset.abs() / 60, offset.abs() % 60);
            let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
            let local = jiff::tz::Offset::UTC.to_datetime(local);
            let stamp = format!(
                "{:02}/{}/{:04}:{:02}:{:02}:{:02} {zone}",
                local.day(), month[local.month() as usize - 1], local.year(), local.hour(), local.minute(), local.second(),
            );
            let tail = if combined { format!(" \"-\" \"{}\"", escaped(&agent)) } else { String::new() };
            let (name, path) = (escaped(&user), escaped(&request));
            let line = format!("{ip} - {name} [{stamp}] \"{path}\" {status} 17{tail}\n");
            let log = WebLog::new().status(status).request("GET /").request("POST /");
            prop_assert_eq!(notes(&log, line.as_bytes()), format!("1: {user} | {ip} | {time}\n"));
        }

        #[test]
        fn any_bytes_end(bytes in hostile(&[
            "9.9.9.9 - a [10/Oct/2000:13:55:36 -0700] \"GET /\" 200 1", " [10/Oct/2000:13:55:36 -0700] \"", "\\\"", "\"", "a:1 "
        ])) {
            ends(&WebLog::new(), &bytes);
            ends(&WebLog::new().forwarded(true), &bytes);
        }
    }
}

mod csv {
    use super::*;

    #[test]
    fn with_a_header() {
        let csv = Csv::draft("user", "client address")
            .time("time", TimeFormat::Rfc3339)
            .check()
            .unwrap();
        check(
            &csv,
            "csv/logins.csv",
            expect![[r#"
            1: alice | 93.184.216.34 | 2024-05-01T12:00:00Z
            2: Doe, "Jane" | 8.8.4.4 | 2024-05-01T12:00:01.5Z
            3: carol |  9.9.9.9 
        "#]],
        );
        let csv = Csv::draft("user", "4")
            .entity(["tenant", "user"])
            .separator(":")
            .check()
            .unwrap();
        check(
            &csv,
            "csv/logins.csv",
            expect![[r#"
            1: acme:alice | 93.184.216.34
            2: acme:Doe, "Jane" | 8.8.4.4
            3:  |  9.9.9.9 
        "#]],
        );
    }

    #[test]
    fn by_numbers() {
        let csv = Csv::draft("3", "4")
            .time("1", TimeFormat::Seconds)
            .header(false)
            .delimiter(b'\t')
            .check()
            .unwrap();
        check(
            &csv,
            "csv/logins.tsv",
            expect![[r#"
            1: alice | 93.184.216.34 | 2024-05-01T12:00:00Z
            2: bob | 2001:db8::1 | 2024-05-01T12:00:01.25Z
            3: carol | 8.8.4.4
        "#]],
        );
        let csv = Csv::draft("3", "4")
            .header(false)
            .delimiter(b'\t')
            .quoting(false)
            .check()
            .unwrap();
        check(
            &csv,
            "csv/logins.tsv",
            expect![[r#"
            1: alice | 93.184.216.34
            2: "bob" | 2001:db8::1
            3: carol | 8.8.4.4
        "#]],
        );
    }

    #[test]
    fn settings_that_make_no_sense() {
        let messages: Vec<_> = [
            Csv::draft("user", "2").header(false),
            Csv::draft("0", "2"),
            Csv::draft("1", "2").delimiter(b'"'),
            Csv::draft("1", "2").delimiter(b'\n'),
            Csv::draft("1", "2").entity(Vec::<&str>::new()),
        ]
        .into_iter()
        .map(|draft| draft.check().unwrap_err().to_string())
        .collect();
        expect![[r#"
            column `user` has no number, and without a header columns have no names
            there is no column 0; the first has number 1
            `\"` cannot be the delimiter
            `\n` cannot be the delimiter
            no column is named for the entity"#]]
        .assert_eq(&messages.join("\n"));
    }

    #[test]
    fn tables_at_fault() {
        let csv = Csv::draft("user", "address")
            .time("when", TimeFormat::Rfc3339)
            .check()
            .unwrap();
        check(
            &csv,
            "hostile/csv/lists-without-quotes.csv",
            expect![[r#"
            1: alice | 93.184.216.34 | 2024-05-01T12:00:00Z
            2: ! line 3: 4 fields, where the first row has 3; a value with a delimiter in it needs quotes
            3: carol | 93.184.216.34, 10.0.0.1 | 2024-05-01T12:00:00Z
        "#]],
        );
        check(
            &csv,
            "hostile/csv/rows.csv",
            expect![[r#"
                1: ! line 2: `noon` is no time as rfc3339
                2: ! line 3: it is not UTF-8
                3:  | 9.9.9.9
                4: bob | 
                5: ! line 6: a quote is opened and never closed; a quote inside of quotes is written twice; the rest is lost
            "#]],
        );
        check(
            &csv,
            "hostile/csv/columns.csv",
            expect![[r#"
            1: ! line 1: there is no column `address` in the first row, `user, ip, ip`; the rest is lost
        "#]],
        );
        let csv = Csv::draft("user", "ip").check().unwrap();
        check(
            &csv,
            "hostile/csv/columns.csv",
            expect![[r#"
                1: ! line 1: there are two columns `ip`; name them by their numbers; the rest is lost
            "#]],
        );
        let csv = Csv::draft("1", "4").check().unwrap();
        check(
            &csv,
            "hostile/csv/columns.csv",
            expect![[r#"
            1: ! line 1: there is no column number 4 in the first row, `user, ip, ip`; the rest is lost
        "#]],
        );
    }

    #[test]
    fn a_byte_order_mark_may_come_in_pieces() {
        let text = "\u{feff}user,ip\nalice,9.9.9.9\n";
        let csv = Csv::draft("user", "ip").check().unwrap();
        let (first, rest) = text.as_bytes().split_at(1);
        let mut notes = support::Notes::default();
        let mut pieces = std::io::BufReader::new(std::io::Read::chain(first, rest));
        Format::read(&csv, &mut pieces, &mut notes).unwrap();
        assert_eq!(notes.text, "1: alice | 9.9.9.9\n");
    }

    #[test]
    fn a_row_that_is_too_long_takes_no_other_with_it() {
        let csv = |quoting| {
            let csv = Csv::draft("1", "2").header(false).quoting(quoting);
            csv.row_limit(20_000).check().unwrap()
        };
        let long = "x".repeat(50_000);
        let quoted = r#""x","#.repeat(15_000);
        let told = "1: a | 9.9.9.9\n2: ! line 2: it is longer than 20000 bytes\n3: b | 9.9.9.9\n";
        for row in [
            long.clone(),
            format!("{long},9.9.9.9\r"),
            quoted.clone(),
            // The limit is reached inside of quotes.
            format!("\"{long}\",9.9.9.9"),
            format!("x,\"{long}\"\"{long}\"\r"),
        ] {
            let text = format!("a,9.9.9.9\n{row}\nb,9.9.9.9\n");
            assert_eq!(notes(&csv(true), text.as_bytes()), told);
            let two = format!("a,9.9.9.9\n{row}\n\n{row}\nb,9.9.9.9\n");
            let of_two = "1: a | 9.9.9.9\n2: ! line 2: it is longer than 20000 bytes\n\
                3: ! line 4: it is longer than 20000 bytes\n4: b | 9.9.9.9\n";
            assert_eq!(notes(&csv(true), two.as_bytes()), of_two);
        }
        // Without quoting a quote is a character like others.
        let text = format!("a,9.9.9.9\n\"{long}\nb,9.9.9.9\n");
        assert_eq!(notes(&csv(false), text.as_bytes()), told);
        // Where a quote is open, or was before, nobody knows where the next row begins.
        for row in [
            format!("\"{long}"),
            format!("\"x\n{long}"),
            format!("\"x\n{long}\",9.9.9.9"),
        ] {
            let text = format!("a,9.9.9.9\n{row}\nb,9.9.9.9\n");
            let told = notes(&csv(true), text.as_bytes());
            assert!(told.starts_with("1: a | 9.9.9.9\n2: ! line 2: "), "{told}");
            assert!(told.ends_with("; the rest is lost\n"), "{told}");
        }
        // Empty lines are no row, however many there are.
        let text = format!(
            "a,9.9.9.9\n{}b,9.9.9.9\n{}",
            "\n".repeat(100_000),
            "\r\n".repeat(100_000)
        );
        assert_eq!(
            notes(&csv(true), text.as_bytes()),
            "1: a | 9.9.9.9\n2: b | 9.9.9.9\n"
        );
        // Of the first row the columns have to be known.
        let csv = Csv::draft("a", "b").row_limit(20_000).check().unwrap();
        let told = notes(&csv, format!("a,b,{long}\nc,9.9.9.9\n").as_bytes());
        assert_eq!(
            told,
            "1: ! line 1: it is longer than 20000 bytes; the rest is lost\n"
        );
    }

    #[test]
    fn a_quote_without_end_does_not_take_the_whole_input_into_memory() {
        let csv = Csv::draft("1", "2")
            .header(false)
            .row_limit(100_000)
            .check()
            .unwrap();
        let mut text = b"alice,9.9.9.9\n\"bob,9.9.9.9\n".to_vec();
        text.resize(1_000_000, b'x');
        expect![[r#"
            1: alice | 9.9.9.9
            2: ! line 2: the row after line 1 is longer than 100000 bytes; a quote may be open that nobody closes; the rest is lost
        "#]].assert_eq(&notes(&csv, &text));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            rows in proptest::collection::vec(("\\PC{1,9}", any::<std::net::Ipv4Addr>()), 0..9),
            delimiter in prop_oneof![Just(b','), Just(b';'), Just(b'|'), Just(b'\t')],
        ) {
            let mut writer = ::csv::WriterBuilder::new().delimiter(delimiter).from_writer(b"who,from\n".to_vec());
            let mut expected = String::new();
            for (number, (user, ip)) in rows.iter().enumerate() {
                writer.write_record([user.clone(), ip.to_string()]).unwrap();
                expected += &format!("{}: {user} | {ip}\n", number + 1);
            }
            let mut text = writer.into_inner().unwrap();
            text[3] = delimiter;
            let csv = Csv::draft("who", "from").delimiter(delimiter).check().unwrap();
            prop_assert_eq!(notes(&csv, &text), expected);
        }

        #[test]
        fn any_bytes_end(bytes in hostile(&["a,9.9.9.9", "\"", ",", "\"\""])) {
            let draft = Csv::draft("1", "2").time("2", TimeFormat::Millis);
            ends(&draft.clone().check().unwrap(), &bytes);
            ends(&draft.header(false).row_limit(20).check().unwrap(), &bytes);
        }
    }
}

mod json_lines {
    use super::*;

    #[test]
    fn fields_by_paths() {
        let json = JsonLines::draft("user.name", "client.addresses.0")
            .time("@timestamp", TimeFormat::Rfc3339)
            .check()
            .unwrap();
        check(
            &json,
            "json-lines/logins.jsonl",
            expect![[r#"
            1: alice | 93.184.216.34 | 2024-05-01T12:00:00Z
            2: ! from byte 171: `@timestamp` is `1714564801.5`, which is no time as rfc3339
            3: carol | 
        "#]],
        );
        let json = JsonLines::draft("user.id", "/client/addresses/1")
            .entity(["user.id", "k8s\\.pod/name", "/user/name"])
            .separator(":")
            .check()
            .unwrap();
        check(
            &json,
            "json-lines/logins.jsonl",
            expect![[r#"
            1: 7:web-1:alice | 10.0.0.1
            2: 9007199254740993:web-2:Müller "x" | 
            3: nobody | 
        "#]],
        );
        let json = JsonLines::draft("/k8s.pod~1name", "user.name").check().unwrap();
        check(
            &json,
            "json-lines/logins.jsonl",
            expect![[r#"
            1: web-1 | alice
            2: web-2 | Müller "x"
            3: nobody | carol
        "#]],
        );
    }

    #[test]
    fn an_array_of_records() {
        let json = JsonLines::draft("u", "ip")
            .time("t", TimeFormat::Millis)
            .check()
            .unwrap();
        check(
            &json,
            "json-lines/array.json",
            expect![[r#"
            1: alice | 93.184.216.34 | 2024-05-01T12:00:00.25Z
            2: bob | 8.8.4.4 | 2024-05-01T12:00:00.251Z
        "#]],
        );
    }

    #[test]
    fn settings_that_make_no_sense() {
        let messages: Vec<_> = [
            JsonLines::draft("", "ip"),
            JsonLines::draft("user..name", "ip"),
            JsonLines::draft("user\\name", "ip"),
            JsonLines::draft("user", "user.ip"),
            JsonLines::draft("user", "ip").entity(Vec::<&str>::new()),
        ]
        .into_iter()
        .map(|draft| draft.check().unwrap_err().to_string())
        .collect();
        expect![[r#"
            `` is no path to a field; write it as `user.name` or `/user/name`
            `user..name` is no path to a field; write it as `user.name` or `/user/name`
            `user\name` is no path to a field; write it as `user.name` or `/user/name`
            `user` cannot be a value, since `user.ip` is inside of it
            no field is named for the entity"#]]
        .assert_eq(&messages.join("\n"));
    }

    #[test]
    fn records_at_fault() {
        let json = JsonLines::draft("user.name", "ip")
            .time("at", TimeFormat::Rfc3339)
            .check()
            .unwrap();
        check(
            &json,
            "hostile/json-lines/records.jsonl",
            expect![[r#"
                1: ! from byte 0: `at` is `noon`, which is no time as rfc3339
                2: ! from byte 53: `user.name` is an object, not a string
                3: ! from byte 104: `user.name` is an array, not a string
                4: ! from byte 147: `user.name` is true, not a string
                5: ! from byte 185: `user.name` is a fraction, not a string
                6: ! from byte 222: `ip` is a number, not a string
                7: nobody | 9.9.9.9
                8: nobody | 9.9.9.9
                9: alice | 
                10: ! from byte 360: expected `,` or `}` at byte 400
                11: bob | 9.9.9.9
                12: ! from byte 439: expected a JSON object or array
                13: ! from byte 447: expected a JSON object or array
            "#]],
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            records in proptest::collection::vec(("\\PC{1,9}", any::<std::net::Ipv4Addr>(), 0_i64..4_000_000_000_000), 0..9),
            key in "\\PC{1,6}",
            pretty in any::<bool>(),
        ) {
            prop_assume!(key != "ip" && key != "t");
            let mut text = String::new();
            let mut expected = String::new();
            for (number, (user, ip, millis)) in records.iter().enumerate() {
                let value = serde_json::json!({"x": [1, {"ip": null}], key.as_str(): {"n": user}, "t": millis, "ip": ip});
                text += &if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
                text += "\n";
                let time = jiff::Timestamp::from_millisecond(*millis).unwrap();
                expected += &format!("{}: {user} | {ip} | {time}\n", number + 1);
            }
            let path = format!("/{}/n", key.replace('~', "~0").replace('/', "~1"));
            let json = JsonLines::draft(path, "ip").time("t", TimeFormat::Millis).check().unwrap();
            prop_assert_eq!(notes(&json, text.as_bytes()), expected);
        }

        #[test]
        fn any_bytes_end(bytes in hostile(&["{\"a\":{\"b\":\"x\"},\"ip\":\"9.9.9.9\"}", "{", "}", "[", "]", "\"", ",", ":", "\\"])) {
            ends(&JsonLines::draft("a.b", "ip").time("t", TimeFormat::Seconds).check().unwrap(), &bytes);
            ends(&JsonLines::draft("0", "1.ip").record_limit(20).check().unwrap(), &bytes);
        }
    }
}

#[test]
fn malformed_lines_can_be_skipped_and_are_counted() {
    let input = || {
        Input::bytes(
            "web.log",
            include_bytes!("samples/hostile/web-log/lines.log").to_vec(),
        )
    };
    let extract = Extract::of(WebLog::new());
    let error = extract.run([input()], |_| Ok(())).unwrap_err();
    expect![[r#"`web.log`: record 1 (line 1): no time in brackets with a request after it; the common format is `host ident user [10/Oct/2000:13:55:36 -0700] "request" status size`; skip malformed records to go on without it"#]].assert_eq(&error.to_string());
    let summary = extract
        .on_error(OnError::Skip)
        .run([input()], |_| Ok(()))
        .unwrap();
    assert_eq!(
        summary.records,
        summary.pairs + summary.dropped() + summary.malformed
    );
    assert!(summary.malformed > 10);
}

#[test]
fn what_cannot_be_read_is_refused_whatever_it_is_said_to_be() {
    let zip = || Input::bytes("logs.zip", b"PK\x03\x04\x14\0\0\0\x08\0".to_vec());
    let w3c = || Input::bytes("E2K.log", b"#Version: 1.0\n#Fields: date time\n".to_vec());
    for (extract, input, expected) in [
        (
            Extract::of(WebLog::new()),
            zip(),
            expect![
                "`logs.zip`: record 1 (from byte 0): this is a zip archive; unpack it first; skip malformed records to go on without it"
            ],
        ),
        (
            Extract::guessing(),
            zip(),
            expect![
                "`logs.zip`: record 1 (from byte 0): this is a zip archive; unpack it first; skip malformed records to go on without it"
            ],
        ),
        (
            Extract::guessing(),
            w3c(),
            expect![
                "`E2K.log`: record 1 (from byte 0): this is a log in the W3C extended format, as CloudFront and IIS write it, which is not read; skip malformed records to go on without it"
            ],
        ),
    ] {
        expected.assert_eq(&extract.run([input], |_| Ok(())).unwrap_err().to_string());
    }
    let skip = Extract::of(WebLog::new()).on_error(OnError::Skip);
    let summary = skip.run([zip()], |_| Ok(())).unwrap();
    assert_eq!((summary.malformed, summary.cut_short), (1, 1));
}

#[test]
fn formats_are_guessed_where_there_is_no_doubt() {
    let inputs = [
        Input::bytes("flow", include_bytes!("samples/flow-log/all-v5.log").to_vec()),
        Input::bytes("web", include_bytes!("samples/web-log/nginx-main.log").to_vec()),
    ];
    let summary = Extract::guessing().run(inputs, |_| Ok(())).unwrap();
    assert_eq!((summary.records, summary.malformed), (9, 0));
    let error = Extract::guessing()
        .run([Input::bytes("a.csv", b"alice,192.0.2.1\n".to_vec())], |_| Ok(()))
        .unwrap_err();
    expect!["it is not certain what kind of log `a.csv` is; name its format"].assert_eq(&error.to_string());
}
