//! The commands on country databases: sample, list, lookup, verify.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Output, Stdio};

use expect_test::{Expect, expect};
use geodata::writer::Writer;
use serde_json::{Value, json};

use crate::support::{ipinsights, output};

fn with_stdin(folder: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = ipinsights(folder, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // The program may end, or wait to be read, before it has read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Exit code, results and errors in one text.
fn shown(output: &Output) -> String {
    let code = output.status.code().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    format!("{stdout}--- {code}\n{stderr}")
}

fn check(output: &Output, expected: Expect) {
    expected.assert_eq(&shown(output));
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}: {}", shown(output)))
        .unwrap()
}

/// Every file below a folder, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                std::fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

fn write_database(path: &Path, kind: &str, networks: &[(&str, Value)]) {
    let mut writer = Writer::new(kind).build_epoch(1_782_000_000);
    for (network, record) in networks {
        writer.insert(network.parse().unwrap(), record).unwrap();
    }
    std::fs::write(path, writer.to_bytes().unwrap()).unwrap();
}

fn country(code: &str, name: &str) -> Value {
    json!({"country": {"iso_code": code, "names": {"en": name, "de": format!("{name} (de)")}}})
}

/// `country.mmdb` and `asn.mmdb`, each of a handful of networks.
fn databases() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let australia = || country("AU", "Australia");
    let registered = json!({"registered_country": {"iso_code": "JP", "names": {"en": "Japan"}}});
    let networks = [
        ("1.0.0.0/24", australia()),
        ("1.0.1.0/24", australia()),
        ("1.0.2.0/23", country("BQ", "Bonaire, Sint Eustatius, and Saba")),
        ("1.0.4.0/22", australia()),
        ("1.0.8.0/24", json!({})),
        ("1.0.9.0/24", registered),
        ("203.0.113.7/32", country("JP", "Japan")),
    ];
    write_database(&folder.path().join("country.mmdb"), "GeoLite2-Country", &networks);
    let systems = [
        (
            "1.0.0.0/24",
            json!({"autonomous_system_number": 64496, "autonomous_system_organization": "Example, \"Inc.\""}),
        ),
        ("1.0.4.0/23", json!({"autonomous_system_number": 64511})),
    ];
    write_database(&folder.path().join("asn.mmdb"), "GeoLite2-ASN", &systems);
    let csv = folder.path().join("csv");
    std::fs::create_dir(&csv).unwrap();
    let files = [
        (
            "Blocks-IPv4",
            "network,geoname_id,registered_country_geoname_id,represented_country_geoname_id,is_anonymous_proxy,\
             is_satellite_provider\n192.0.2.0/24,1,1,,0,0\n",
        ),
        (
            "Locations-de",
            "geoname_id,locale_code,continent_code,continent_name,country_iso_code,country_name,is_in_european_union\n\
             1,de,EU,Europa,DE,Deutschland,1\n",
        ),
    ];
    for (name, text) in files {
        std::fs::write(csv.join(format!("GeoLite2-Country-{name}.csv")), text).unwrap();
    }
    folder
}

const DB: [&str; 2] = ["--database", "country.mmdb"];

fn list(folder: &Path, args: &[&str]) -> Output {
    output(folder, &[&["list"], &DB[..], args].concat())
}

#[test]
fn networks_are_listed_in_each_format() {
    let folder = databases();
    let path = folder.path();
    check(
        &list(path, &["--country", "AU"]),
        expect![[r#"
        1.0.0.0/24
        1.0.1.0/24
        1.0.4.0/22
        --- 0
    "#]],
    );
    check(
        &list(path, &["--country", "au", "--aggregate"]),
        expect![[r#"
        1.0.0.0/23
        1.0.4.0/22
        --- 0
    "#]],
    );
    check(
        &list(
            path,
            &["--country", "AU,japan", "--format", "csv", "--asn", "asn.mmdb"],
        ),
        expect![[r#"
            network,first,last,addresses,code,country,asn,organization
            1.0.0.0/24,1.0.0.0,1.0.0.255,256,AU,Australia,64496,"Example, ""Inc."""
            1.0.1.0/24,1.0.1.0,1.0.1.255,256,AU,Australia,,
            1.0.4.0/22,1.0.4.0,1.0.7.255,1024,AU,Australia,64511,
            1.0.9.0/24,1.0.9.0,1.0.9.255,256,JP,Japan,,
            203.0.113.7/32,203.0.113.7,203.0.113.7,1,JP,Japan,,
            --- 0
        "#]],
    );
    let bonaire = ["--country", "BQ", "--format"];
    check(
        &list(path, &[&bonaire[..], &["csv"]].concat()),
        expect![[r#"
        network,first,last,addresses,code,country
        1.0.2.0/23,1.0.2.0,1.0.3.255,512,BQ,"Bonaire, Sint Eustatius, and Saba"
        --- 0
    "#]],
    );
    check(
        &list(path, &[&bonaire[..], &["jsonl"]].concat()),
        expect![[r#"
        {"network":"1.0.2.0/23","first":"1.0.2.0","last":"1.0.3.255","addresses":512,"code":"BQ","country":"Bonaire, Sint Eustatius, and Saba"}
        --- 0
    "#]],
    );
    check(
        &list(
            path,
            &["--country", "AU", "--format", "jsonl", "--asn", "asn.mmdb"],
        ),
        expect![[r#"
            {"network":"1.0.0.0/24","first":"1.0.0.0","last":"1.0.0.255","addresses":256,"code":"AU","country":"Australia","asn":{"number":64496,"organization":"Example, \"Inc.\""}}
            {"network":"1.0.1.0/24","first":"1.0.1.0","last":"1.0.1.255","addresses":256,"code":"AU","country":"Australia","asn":null}
            {"network":"1.0.4.0/22","first":"1.0.4.0","last":"1.0.7.255","addresses":1024,"code":"AU","country":"Australia","asn":{"number":64511,"organization":null}}
            --- 0
        "#]],
    );
    let elsewhere = ["--country", "JP", "--country-source", "located"];
    check(
        &list(path, &elsewhere),
        expect![[r#"
        203.0.113.7/32
        --- 0
    "#]],
    );
    let german = ["list", "--database", "csv", "--language", "de", "--country"];
    check(
        &output(path, &[&german[..], &["deutschland", "--format", "csv"]].concat()),
        expect![[r#"
            network,first,last,addresses,code,country
            192.0.2.0/24,192.0.2.0,192.0.2.255,256,DE,Deutschland
            --- 0
        "#]],
    );

    larger_database(&path.join("larger.mmdb"), false);
    let larger = [
        "list",
        "--database",
        "larger.mmdb",
        "--country",
        "FR,DE",
        "--aggregate",
    ];
    check(
        &output(path, &larger),
        expect![[r#"
        10.0.0.0/20
        10.0.16.0/22
        11.0.0.0/20
        11.0.16.0/22
        --- 0
    "#]],
    );
}

#[test]
fn what_cannot_be_listed() {
    let folder = databases();
    let path = folder.path();
    check(
        &list(path, &["--country", "Australa"]),
        expect![[r#"
        --- 3
        error: unknown country `Australa` (did you mean `AU`, Australia?); the database GeoLite2-Country has AU, BQ, JP
    "#]],
    );
    check(
        &list(path, &["--country", "AU,"]),
        expect![[r#"
        --- 2
        error: a country with an empty name
    "#]],
    );
    check(
        &list(path, &["--country", "AU", "--language", "eo"]),
        expect![[r#"
        --- 3
        error: the database `country.mmdb` has no names in the language `eo`, but in en
    "#]],
    );
    check(
        &output(path, &["--format", "json", "list", "--country", "SG"]),
        expect![[r#"
            --- 2
            error: `list` prints --format cidr, csv or jsonl
        "#]],
    );
    for (args, said) in [
        (&["list"][..], "--country"),
        (
            &["list", "--country", "SG", "--format", "json"],
            "cidr, csv, jsonl",
        ),
        (
            &["list", "--country", "SG", "--country-source", "spoken"],
            "represented",
        ),
        (
            &["list", "--country", "SG", "--asn", "asn.mmdb", "--aggregate"],
            "--aggregate",
        ),
        (&["run", "--format", "csv"], "text, json"),
    ] {
        let output = output(path, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}

#[test]
fn the_built_in_sample_is_listed_and_joined() {
    let folder = tempfile::tempdir().unwrap();
    let listed = |args: &[&str]| {
        let output = output(folder.path(), &[&["list", "--country", "SG"], args].concat());
        assert!(output.status.success(), "{}", shown(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let networks =
        |text: &str| -> Vec<ipnet::Ipv4Net> { text.lines().map(|line| line.parse().unwrap()).collect() };
    let (plain, joined) = (networks(&listed(&[])), networks(&listed(&["--aggregate"])));
    assert_eq!(plain.len(), 7406);
    // It is made of networks that are joined already.
    assert_eq!(joined, plain);
    let addresses = |networks: &[ipnet::Ipv4Net]| -> u64 {
        networks
            .iter()
            .map(|network| u64::from(network.hostmask().to_bits()) + 1)
            .sum()
    };
    assert_eq!(addresses(&plain), addresses(&joined));
    assert!(plain.is_sorted() && joined.is_sorted());
    assert_eq!(listed(&["--format", "csv"]).lines().count(), 7407);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let addresses: String = (0..100_000_u32)
        .map(|n| format!("{}\n", std::net::Ipv4Addr::from(n << 8)))
        .collect();
    std::fs::write(folder.path().join("addresses"), addresses).unwrap();
    for args in [
        &["list", "--country", "US", "--format", "jsonl"][..],
        &["list", "--country", "US", "--format", "csv", "--aggregate"],
        &["lookup"],
        &["lookup", "--format", "json"],
    ] {
        let mut child = ipinsights(folder.path(), args)
            .stdin(std::fs::File::open(folder.path().join("addresses")).unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 10];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut first).unwrap();
        drop(stdout);
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert!(child.wait().unwrap().success(), "{args:?}: {stderr}");
        assert!(!stderr.contains("error"), "{args:?}: {stderr}");
    }
}

/// Asked one by one, through a pipe.
#[test]
fn each_address_is_answered_before_the_next_one_comes() {
    let folder = databases();
    let args = [&["lookup"], &DB[..]].concat();
    let mut child = ipinsights(folder.path(), &args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    stdin.write_all(b"1.0.1.255\n\n").unwrap();
    assert!(answers.next().unwrap().starts_with("address"));
    assert!(answers.next().unwrap().contains("Australia"));
    stdin.write_all(b"1.0.9.1\n1.0.").unwrap();
    assert!(answers.next().unwrap().contains("Japan"));
    drop(stdin);
    assert_eq!(answers.next().unwrap(), "1.0.: not an IPv4 address (line 4)");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_line_of_a_log_does_not_command_the_terminal() {
    let folder = databases();
    let args = [&["lookup"], &DB[..], &["\u{1b}]0;owned\u{7}\u{9b}2J"]].concat();
    let output = output(folder.path(), &args);
    let shown = shown(&output);
    assert!(shown.contains(r"\u{1b}]0;owned\u{7}\u{9b}2J"), "{shown}");
    let commands = |c: char| c.is_control() && c != '\n';
    assert!(!shown.contains(commands), "{shown:?}");
}

fn lookup(folder: &Path, args: &[&str]) -> Output {
    output(folder, &[&["lookup"], &DB[..], args].concat())
}

#[test]
fn addresses_are_looked_up() {
    let folder = databases();
    let path = folder.path();
    check(
        &lookup(
            path,
            &["1.0.1.255", "1.0.9.1", "10.0.0.1", "1.0.8.8", "::ffff:1.0.2.3"],
        ),
        expect![[r#"
            address          network             code  country
            1.0.1.255        1.0.1.0/24          AU    Australia
            1.0.9.1          1.0.9.0/24          JP    Japan
            10.0.0.1         -                   -     not in the database
            1.0.8.8          1.0.8.0/24          -     no country
            1.0.2.3          1.0.2.0/23          BQ    Bonaire, Sint Eustatius, and Saba
            --- 0
        "#]],
    );
    check(
        &lookup(path, &["--asn", "asn.mmdb", "1.0.0.1", "1.0.5.9", "1.0.7.1"]),
        expect![[r#"
            address          network             code  country                   system
            1.0.0.1          1.0.0.0/24          AU    Australia                 AS64496 Example, "Inc."
            1.0.5.9          1.0.4.0/22          AU    Australia                 AS64511
            1.0.7.1          1.0.4.0/22          AU    Australia
            --- 0
        "#]],
    );
    check(
        &lookup(path, &["--format", "json", "1.0.1.255", "10.0.0.1", "1.0.8.8"]),
        expect![[r#"
            {
              "version": 1,
              "database": {"type":"GeoLite2-Country","built":"2026-06-21T00:00:00Z","sha256":"7b12fdb3b66c16576c3dd60479ed394ca94e3aee5aeca2affd7cd4c43ca41f27"},
              "addresses": [
                {"address":"1.0.1.255","network":"1.0.1.0/24","code":"AU","country":"Australia"},
                {"address":"10.0.0.1","network":null},
                {"address":"1.0.8.8","network":"1.0.8.0/24","code":null,"country":null}
              ],
              "known": 2,
              "unknown": 1,
              "bad": 0
            }
            --- 0
        "#]],
    );
    let with_asn = lookup(
        path,
        &["--format", "json", "--asn", "asn.mmdb", "1.0.0.1", "1.0.9.1"],
    );
    expect![[r#"[{"address":"1.0.0.1","network":"1.0.0.0/24","code":"AU","country":"Australia","asn":{"number":64496,"organization":"Example, \"Inc.\""}},{"address":"1.0.9.1","network":"1.0.9.0/24","code":"JP","country":"Japan","asn":null}]"#]].assert_eq(&json(&with_asn)["addresses"].to_string());
    check(
        &output(path, &["lookup", "--quiet", "1.1.1.1"]),
        expect![[r#"
        address          network             code  country
        1.1.1.1          1.1.1.0/24          AU    Australia
        --- 0
    "#]],
    );
}

#[test]
fn addresses_come_from_stdin_and_bad_ones_are_told() {
    let folder = databases();
    let path = folder.path();
    let endless = "9".repeat(100_000);
    let input = format!("1.0.0.1\r\n\n  10.1.2.3\n300.1.1.1\n2001:db8::1\n{endless}\n203.0.113.7");
    let args = [&["lookup"], &DB[..]].concat();
    check(
        &with_stdin(path, &args, input.as_bytes()),
        expect![[r#"
        address          network             code  country
        1.0.0.1          1.0.0.0/24          AU    Australia
        10.1.2.3         -                   -     not in the database
        300.1.1.1: not an IPv4 address (line 4)
        2001:db8::1: an IPv6 address; only IPv4 addresses can be looked up (line 5)
        9999999999999999999999999999999999999999999999999999999999999999…: not an IPv4 address (line 6)
        203.0.113.7      203.0.113.7/32      JP    Japan
        --- 3
        error: 3 of 6 cannot be looked up, the first in line 4, `300.1.1.1`: not an IPv4 address
    "#]],
    );
    let answer = with_stdin(
        path,
        &[&args[..], &["--format", "json"]].concat(),
        b"1.0.0.1\nx\xff\n",
    );
    check(
        &answer,
        expect![[r#"
            {
              "version": 1,
              "database": {"type":"GeoLite2-Country","built":"2026-06-21T00:00:00Z","sha256":"7b12fdb3b66c16576c3dd60479ed394ca94e3aee5aeca2affd7cd4c43ca41f27"},
              "addresses": [
                {"address":"1.0.0.1","network":"1.0.0.0/24","code":"AU","country":"Australia"},
                {"line":2,"text":"x�","error":"not an IPv4 address"}
              ],
              "known": 1,
              "unknown": 0,
              "bad": 1
            }
            --- 3
            error: 1 of 2 cannot be looked up, the first in line 2, `x�`: not an IPv4 address
        "#]],
    );
    assert_eq!(json(&answer)["bad"], 1);
    check(
        &with_stdin(path, &args, b"\n \n"),
        expect![[r#"
        --- 2
        error: no addresses: give them as arguments or on stdin
    "#]],
    );
    let many = "1.0.0.1\n".repeat(50_000);
    let output = with_stdin(path, &args, many.as_bytes());
    assert_eq!(
        output.stdout.iter().filter(|byte| **byte == b'\n').count(),
        50_001
    );
}

#[test]
fn what_takes_longer_than_a_second_is_told() {
    let folder = databases();
    let mut child = ipinsights(folder.path(), &["lookup"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut told)
        .unwrap();
    assert!(told.starts_with("    so far  "), "{told}");
    child.stdin.take().unwrap().write_all(b"1.1.1.1\n").unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
}

#[test]
fn databases_are_verified() {
    let folder = databases();
    let path = folder.path();
    check(
        &output(path, &["verify"]),
        expect![[r#"
        IPFire-Country-Sample, MMDB: 105,114 IPv4 networks, 0 IPv6 networks, 0 defects
        --- 0
    "#]],
    );
    check(
        &output(path, &["verify", "country.mmdb", "--format", "json"]),
        expect![[r#"
            {
              "version": 1,
              "file": "country.mmdb",
              "sound": true,
              "found": {
                "database_type": "GeoLite2-Country",
                "form": "mmdb",
                "defects": [],
                "defect_count": 0,
                "networks": 7,
                "ipv6_networks": 0,
                "mmdb": {
                  "nodes": 58,
                  "record_size": 24,
                  "records": 5,
                  "data_bytes": 217
                },
                "csv": null,
                "notes": []
              }
            }
            --- 0
        "#]],
    );
    check(
        &output(path, &["verify", "asn.mmdb"]),
        expect![[r#"
        GeoLite2-ASN, MMDB: 2 IPv4 networks, 0 IPv6 networks, 0 defects
        --- 0
    "#]],
    );

    // The name of a country is no text any more: the length of its code is one more than it was.
    let mut bytes = std::fs::read(path.join("country.mmdb")).unwrap();
    let at = bytes.windows(3).position(|three| three == b"\x42AU").unwrap();
    bytes[at] += 1;
    std::fs::write(path.join("damaged.mmdb"), &bytes).unwrap();
    let damaged = output(path, &["verify", "damaged.mmdb"]);
    assert_eq!(damaged.status.code(), Some(1), "{}", shown(&damaged));
    assert!(String::from_utf8_lossy(&damaged.stderr).contains("`damaged.mmdb` has "));
    let answer = output(path, &["verify", "damaged.mmdb", "--format", "json"]);
    assert_eq!(answer.status.code(), Some(1));
    let answer = json(&answer);
    assert_eq!((&answer["version"], &answer["sound"]), (&json!(1), &json!(false)));
    assert!(!answer["found"]["defects"].as_array().unwrap().is_empty());

    // More than are listed.
    let csv = path.join("damaged");
    std::fs::create_dir(&csv).unwrap();
    let locations = "geoname_id,locale_code,continent_code,continent_name,country_iso_code,country_name,is_in_european_union\n";
    std::fs::write(csv.join("GeoLite2-Country-Locations-en.csv"), locations).unwrap();
    let mut blocks =
        "network,geoname_id,registered_country_geoname_id,represented_country_geoname_id,is_anonymous_proxy,\
                      is_satellite_provider\n"
            .to_owned();
    for number in 0..150 {
        blocks += &format!("1.0.{number}.0/24,7,,,0,0\n");
    }
    std::fs::write(csv.join("GeoLite2-Country-Blocks-IPv4.csv"), blocks).unwrap();
    let listed = shown(&output(path, &["verify", "damaged"]));
    assert!(listed.contains("and 50 more (--all tells every one)"), "{listed}");
    let all = output(path, &["verify", "damaged", "--all"]);
    assert_eq!(all.status.code(), Some(1), "{}", shown(&all));
    let lines = String::from_utf8(all.stdout).unwrap();
    let defects = lines.lines().filter(|line| line.starts_with("line "));
    assert_eq!(defects.count(), 150, "{lines}");
    assert!(lines.contains("0 IPv6 networks, 150 defects\n"), "{lines}");
    let all = json(&output(path, &["verify", "damaged", "--all", "--format", "json"]));
    assert_eq!(all["defects"].as_array().unwrap().len(), 150);
    assert_eq!(all["found"]["defect_count"], 150);
    let sound = json(&output(
        path,
        &["verify", "asn.mmdb", "--all", "--format", "json"],
    ));
    assert_eq!((&sound["defects"], &sound["sound"]), (&json!([]), &json!(true)));

    std::fs::write(path.join("text"), "no database").unwrap();
    assert_eq!(output(path, &["verify", "text"]).status.code(), Some(3));
    assert_eq!(output(path, &["verify", "nowhere.mmdb"]).status.code(), Some(7));
}

/// Nobody writes into the pipe, so whoever opened it would wait for ever.
#[test]
#[cfg(unix)]
fn a_pipe_is_no_database_and_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(folder.path().join("pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    let refused = output(folder.path(), &["verify", "pipe"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(told.contains("it is a pipe or a device"), "{told}");
}

#[test]
fn a_sample_is_drawn_again_from_its_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let args = [
        "sample",
        "--countries",
        "top:3",
        "--per-country",
        "20",
        "--control",
        "5",
        "--by",
        "address",
        "--address",
        "random",
        "--disjoint",
        "16",
        "--seed",
        "9",
        "--format",
        "json",
        "--output",
        "first",
    ];
    let first = json(&output(path, &args));
    assert_eq!(first["version"], 2);
    assert_eq!(first["spec"]["countries"], json!(["top:3"]));
    assert_eq!(first["spec"]["draw_by"], "address");
    assert_eq!(first["spec"]["disjoint"], 16);
    assert_eq!(first["countries"].as_array().unwrap().len(), 3);
    assert_eq!(files(&path.join("first")).len(), 6);

    let again = output(
        path,
        &[
            "sample",
            "--from-manifest",
            "first/manifest.json",
            "--output",
            "again",
        ],
    );
    assert!(again.status.success(), "{}", shown(&again));
    assert_eq!(files(&path.join("again")), files(&path.join("first")));

    let published = ["sample", "--test-rows", "published", "--output", "published"];
    assert!(output(path, &published).status.success());
    let again = [
        "sample",
        "--from-manifest",
        "published/manifest.json",
        "--output",
        "again",
    ];
    assert!(output(path, &again).status.success());
    let names = ["train.csv", "test.csv", "manifest.json"];
    let (published, again) = (files(&path.join("published")), files(&path.join("again")));
    assert!(names.iter().all(|name| published[*name] == again[*name]));
}

/// The same countries, and one network more.
fn larger_database(path: &Path, more: bool) {
    let of = |block: u8, code: &'static str, name: &'static str, networks: u8| {
        (0..networks).map(move |third| (format!("{block}.0.{third}.0/24"), country(code, name)))
    };
    let networks: Vec<(String, Value)> = of(10, "FR", "France", 20)
        .chain(of(11, "DE", "Germany", if more { 21 } else { 20 }))
        .chain(of(12, "SG", "Singapore", 20))
        .collect();
    let networks: Vec<(&str, Value)> = networks
        .iter()
        .map(|(network, record)| (network.as_str(), record.clone()))
        .collect();
    write_database(path, "GeoLite2-Country", &networks);
}

#[test]
fn a_sample_that_cannot_be_the_same_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    larger_database(&path.join("then.mmdb"), false);
    larger_database(&path.join("now.mmdb"), true);
    let sample = "sample --database then.mmdb --countries FR,DE --per-country 5 --held-out 5 --outliers 2 \
                  --evaluation-outliers 2 --output then";
    let first = output(path, &sample.split_whitespace().collect::<Vec<_>>());
    check(
        &first,
        expect![[r#"
         file                 bytes
         then/train.csv       168
         then/validation.csv  172
         then/test.csv        34
         then/evaluation.csv  33
         then/manifest.json   2044
        --- 0
           sampled  GeoLite2-Country: 10 training rows, 10 held out, 2 outliers
    "#]],
    );
    let from = [
        "sample",
        "--from-manifest",
        "then/manifest.json",
        "--output",
        "now",
    ];
    check(
        &output(path, &[&from[..], &["--database", "now.mmdb"]].concat()),
        expect![[r#"
             differs                      in the manifest    now
             database.sha256              9fea95f702b22452…  a401d384beed1603…
             countries.DE.networks        20                 21
             files.validation.csv.sha256  510a2924c175c799…  380f6c8d8eb1c941…
            --- 14
            error: the sample is not the one of `then/manifest.json`; nothing was written
        "#]],
    );
    let answer = output(
        path,
        &[&from[..], &["--database", "now.mmdb", "--format", "json"]].concat(),
    );
    assert_eq!(answer.status.code(), Some(14));
    let answer = json(&answer);
    assert_eq!((&answer["version"], &answer["same"]), (&json!(1), &json!(false)));
    assert_eq!(answer["differences"][0]["what"], "database.sha256");
    // The built-in sample has these countries as well, and is another database altogether.
    let built_in = shown(&output(path, &from));
    assert!(built_in.contains("database.database_type "), "{built_in}");
    assert!(built_in.contains("--- 14\n"), "{built_in}");
    // One that has too few networks.
    std::fs::copy(path.join("then.mmdb"), path.join("small.mmdb")).unwrap();
    write_database(
        &path.join("small.mmdb"),
        "GeoLite2-Country",
        &[("10.0.0.0/24", country("FR", "France"))],
    );
    check(
        &output(path, &[&from[..], &["--database", "small.mmdb"]].concat()),
        expect![[r#"
             differs          in the manifest    now
             database.sha256  9fea95f702b22452…  a4faa4d641bf42a0…
            --- 14
            error: the sample is not the one of `then/manifest.json`; nothing was written
              because: unknown countries `DE`, `SG`; the database GeoLite2-Country has FR
        "#]],
    );
    assert!(!path.join("now").exists());

    // The same database, read in another way, would not be the same: the manifest says how.
    for flag in [
        ["--seed", "1"],
        ["--country-source", "located"],
        ["--per-country", "5"],
    ] {
        let output = output(path, &[&from[..], &flag].concat());
        assert_eq!(output.status.code(), Some(2), "{flag:?}");
    }
    let older = std::fs::read_to_string(path.join("then/manifest.json")).unwrap();
    std::fs::write(
        path.join("older.json"),
        older.replace("\"version\": 2", "\"version\": 1"),
    )
    .unwrap();
    std::fs::write(path.join("other.json"), "{}").unwrap();
    check(
        &output(path, &["sample", "--from-manifest", "older.json"]),
        expect![[r#"
            --- 3
            error: the manifest `older.json` is of version 1, and samples of version 2 can be drawn again; use the program that wrote it, or draw a new sample
        "#]],
    );
    check(
        &output(path, &["sample", "--from-manifest", "other.json"]),
        expect![[r#"
            --- 3
            error: the manifest `other.json` is not in the form that is written beside a sample
              because: missing field `version` at line 1 column 2
        "#]],
    );
    assert_eq!(
        output(path, &["sample", "--from-manifest", "none.json"])
            .status
            .code(),
        Some(7)
    );
}

#[test]
fn too_few_networks_are_an_error_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    larger_database(&path.join("country.mmdb"), false);
    let args = "sample --database country.mmdb --countries FR,DE --per-country 15 --held-out 10 --evaluation-outliers 5";
    let args: Vec<_> = args.split_whitespace().collect();
    check(
        &output(path, &args),
        expect![[r#"
        --- 3
        error: France (FR) has 20 networks in the database, and the sample asks for 25; Germany (DE) has 20 networks in the database, and the sample asks for 25; ask for fewer rows, allow fewer, or take a larger database
    "#]],
    );
    let fewer = output(
        path,
        &[&args[..], &["--allow-fewer", "--format", "json"]].concat(),
    );
    let stderr = String::from_utf8_lossy(&fewer.stderr);
    assert!(stderr.contains("FR has 10 of 15 rows for train"), "{stderr}");
    expect![[r#"[{"code":"FR","part":"train","asked":15,"drawn":10},{"code":"DE","part":"train","asked":15,"drawn":10}]"#]].assert_eq(&json(&fewer)["shortages"].to_string());
    let disjoint = output(path, &[&args[..], &["--disjoint", "8", "--allow-fewer"]].concat());
    // One /8 is one part's: a country that has it for validation has nothing to train on.
    assert_eq!(disjoint.status.code(), Some(3), "{}", shown(&disjoint));
    assert!(
        String::from_utf8_lossy(&disjoint.stderr).contains("that `train` has to itself"),
        "{}",
        shown(&disjoint)
    );
}
