//! Where a download's settings come from, what is stronger, and what is refused.
#![cfg(feature = "download")]
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use expect_test::{Expect, expect};
use geodata::download::{Draft, Edition, Error};

use proptest::prelude::*;

const KEY: &str = "Zq8Kf3_SECRETKEY_mmk";
const PROXY_PASSWORD: &str = "hunter2-proxy";

fn variables(list: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
    list.iter().map(|(name, value)| (name.into(), value.into()))
}

/// What came of it, as a person would be told; never a secret.
fn told(draft: Result<Draft, Error>) -> String {
    let mut text = String::new();
    match draft.and_then(|draft| {
        assert_hidden(&format!("{draft:?}"));
        draft.check()
    }) {
        Ok(settings) => {
            let editions: Vec<&str> = settings.editions().iter().map(Edition::as_str).collect();
            writeln!(
                text,
                "{} to {} from {}",
                editions.join(" "),
                settings.folder().display(),
                settings.host()
            )
            .unwrap();
            for notice in settings.notices() {
                writeln!(text, "notice: {notice}").unwrap();
            }
            assert_hidden(&format!("{settings:?}"));
        }
        Err(Error::Settings(invalid)) => {
            for problem in &invalid.problems {
                writeln!(text, "problem: {problem}").unwrap();
            }
            for notice in &invalid.notices {
                writeln!(text, "notice: {notice}").unwrap();
            }
            assert_hidden(&format!("{invalid:?}"));
        }
        Err(error) => {
            writeln!(text, "error: {error}").unwrap();
            assert_hidden(&format!("{error:?}"));
        }
    }
    assert_hidden(&text);
    text
}

fn assert_hidden(text: &str) {
    for secret in [KEY, PROXY_PASSWORD] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

fn check_config(text: &str, want: Expect) {
    let draft = Draft::from_config(&text.replace("KEY", KEY), Path::new("GeoIP.conf"));
    want.assert_eq(&told(Ok(draft)));
}

fn check_variables(list: &[(&str, &str)], want: Expect) {
    want.assert_eq(&told(Draft::from_variables(variables(list))));
}

#[test]
fn the_file_that_the_portal_offers_is_understood() {
    check_config(
        "# GeoIP.conf file for `geoipupdate`\n\nAccountID 123456\nLicenseKey KEY\n\nEditionIDs GeoLite2-ASN GeoLite2-City GeoLite2-Country\n",
        expect![[r#"
            GeoLite2-ASN GeoLite2-City GeoLite2-Country to . from https://download.maxmind.com
        "#]],
    );
    // As it is before a key was put in.
    let text = "AccountID 123456\nLicenseKey YOUR_LICENSE_KEY_HERE\nEditionIDs GeoLite2-ASN\n";
    let told = told(Ok(Draft::from_config(text, Path::new("GeoIP.conf"))));
    expect![[r#"
        problem: `LicenseKey` (line 2 of `GeoIP.conf`) still has the placeholder for the key
    "#]]
    .assert_eq(&told);
}

#[test]
fn every_setting_of_the_update_program_is_used_or_told() {
    check_config(
        "\u{feff}UserId 123456\r\n  LicenseKey\tKEY  \r\nProductIds GeoIP2-City GeoIP2-City-CSV\r\nDatabaseDirectory /var/lib/Geo IP\r\n\
         Host updates.maxmind.com\r\nProxy 127.0.0.1:8888\r\nProxyUserPassword user:hunter2-proxy\r\nPreserveFileTimes 1\r\n\
         LockFile /run/lock\r\nRetryFor 1m30s\r\nParallelism 4\r\nProtocol https\r\nSkipPeerVerification 1\r\n\
         SkipHostnameVerification 1\r\n",
        expect![[r#"
            GeoIP2-City GeoIP2-City-CSV to /var/lib/Geo IP from https://download.maxmind.com
            notice: `LockFile` (line 9 of `GeoIP.conf`) is not used: files appear when they are complete, so there is nothing to lock
            notice: `Parallelism` (line 11 of `GeoIP.conf`) is not used: editions are fetched one after the other
            notice: `Protocol` (line 12 of `GeoIP.conf`) is not used: it is HTTPS always
            notice: `SkipPeerVerification` (line 13 of `GeoIP.conf`) is not used: certificates and their names are checked always
            notice: `SkipHostnameVerification` (line 14 of `GeoIP.conf`) is not used: certificates and their names are checked always
            notice: `Host` (line 5 of `GeoIP.conf`) names the server of the update program; the downloads come from `https://download.maxmind.com`
        "#]],
    );
}

#[test]
fn what_a_file_should_not_have_is_told_with_its_line_and_without_its_values() {
    check_config(
        "AccountId 1\nLicenseKey=KEY\nKEY\nLicenseKey\nEditionIDs GeoLite2-Country\nProductIds GeoLite2-City\nColour blue\nHost https://a.example/b\n\
         Protocol https\nProtocol http\n",
        expect![[r#"
            problem: line 1 of `GeoIP.conf`: an unknown setting; did you mean `AccountID`, with a blank after it?
            problem: line 2 of `GeoIP.conf`: an unknown setting; did you mean `LicenseKey`, with a blank after it?
            problem: line 3 of `GeoIP.conf`: not a setting, which is a name, a blank and a value
            problem: line 4 of `GeoIP.conf`: `LicenseKey` has no value
            problem: line 6 of `GeoIP.conf`: `ProductIds` is set a second time
            problem: line 7 of `GeoIP.conf`: `Colour` is not a setting
            problem: line 10 of `GeoIP.conf`: `Protocol` is set a second time
            problem: no account id: set `GEOIPUPDATE_ACCOUNT_ID`, or `AccountID` in a `GeoIP.conf`
            problem: no license key: set `GEOIPUPDATE_LICENSE_KEY` or `GEOIPUPDATE_LICENSE_KEY_FILE`, or `LicenseKey` in a `GeoIP.conf`
            problem: `Host` (line 8 of `GeoIP.conf`) is not a host, which is a name or `https://name`, without a path
            notice: `Protocol` (line 9 of `GeoIP.conf`) is not used: it is HTTPS always
        "#]],
    );
}

#[test]
fn a_key_in_a_wrong_place_is_not_repeated() {
    check_config(
        "AccountID KEY\nLicenseKey KEY\nEditionIDs KEY GeoLite2-KEY\nHost KEY@x\nProxy socks5://KEY\nRetryFor KEY\nPreserveFileTimes KEY\n",
        expect![[r#"
            problem: `AccountID` (line 1 of `GeoIP.conf`) is not an account id, which is a number
            problem: `EditionIDs` (line 3 of `GeoIP.conf`): `...` is not an edition: GeoLite2-ASN, GeoLite2-ASN-CSV, GeoLite2-City, GeoLite2-City-CSV, GeoLite2-Country, GeoLite2-Country-CSV, GeoIP2-...
            problem: `EditionIDs` (line 3 of `GeoIP.conf`): `GeoLite2-...` is not an edition: did you mean `GeoLite2-City`?
            problem: `Host` (line 4 of `GeoIP.conf`) is not a host, which is a name or `https://name`, without a path
            problem: `Proxy` (line 5 of `GeoIP.conf`) is of a kind that is not supported: only `http://` proxies are
            problem: `PreserveFileTimes` (line 7 of `GeoIP.conf`) must be 0 or 1
            problem: `RetryFor` (line 6 of `GeoIP.conf`) is not a time such as `5m`, `1h30m` or `0s`
        "#]],
    );
    check_config(
        "AccountID 1\nLicenseKey two words\nEditionIDs GeoLite2-City\nProxyUserPassword user:hunter2-proxy\n",
        expect![[r#"
            problem: `LicenseKey` (line 2 of `GeoIP.conf`) is not a license key, which is one word of letters, digits and signs
            problem: `ProxyUserPassword` (line 4 of `GeoIP.conf`) is for a proxy, and there is none
        "#]],
    );
}

#[test]
fn variables_of_both_names_are_understood() {
    check_variables(
        &[
            ("GEOIPUPDATE_ACCOUNT_ID", "123456"),
            ("GEOIPUPDATE_LICENSE_KEY", KEY),
            ("GEOIPUPDATE_EDITION_IDS", "GeoLite2-City  GeoLite2-ASN"),
            ("GEOIPUPDATE_DB_DIR", "/usr/share/GeoIP"),
            ("GEOIPUPDATE_HOST", "https://mirror.example"),
            ("GEOIPUPDATE_FREQUENCY", "72"),
            ("GEOIPUPDATE_VERBOSE", "1"),
            ("GEOIPUPDATE_PRESERVE_FILE_TIMES", "0"),
            ("GEOIPUPDATE_RETRY_FOR", "2.5s"),
            ("GEOIPUPDATE_LICENCE_KEY", KEY),
            ("GEOIPUPDATE_PROXY", ""),
            ("MAXMIND_LICENSE_KEY", "another"),
            ("PATH", "/bin"),
        ],
        expect![[r#"
            GeoLite2-City GeoLite2-ASN to /usr/share/GeoIP from https://mirror.example
            notice: `GEOIPUPDATE_FREQUENCY` is not used: each run fetches once; a timer is the system's work
            notice: `GEOIPUPDATE_LICENCE_KEY` is not known, and not used
            notice: `GEOIPUPDATE_VERBOSE` is not used: progress is told without it
            notice: `MAXMIND_LICENSE_KEY` is not used: `GEOIPUPDATE_LICENSE_KEY` is stronger
        "#]],
    );
    check_variables(
        &[
            ("MAXMIND_ACCOUNT_ID", "123456"),
            ("MAXMIND_LICENSE_KEY", KEY),
            ("MAXMIND_EDITION_IDS", "GeoLite2-Country-CSV"),
        ],
        expect![[r#"
            GeoLite2-Country-CSV to . from https://download.maxmind.com
        "#]],
    );
    check_variables(
        &[
            ("GEOIPUPDATE_ACCOUNT_ID", "abc"),
            ("GEOIPUPDATE_EDITION_IDS", "GeoLite2-Contry GeoIP2-../etc"),
            ("GEOIPUPDATE_LICENCE_KEY", KEY),
        ],
        expect![[r#"
            problem: `GEOIPUPDATE_ACCOUNT_ID` is not an account id, which is a number
            problem: no license key: set `GEOIPUPDATE_LICENSE_KEY` or `GEOIPUPDATE_LICENSE_KEY_FILE`, or `LicenseKey` in a `GeoIP.conf`
            problem: `GEOIPUPDATE_EDITION_IDS`: `GeoLite2-Contry` is not an edition: did you mean `GeoLite2-Country`?
            problem: `GEOIPUPDATE_EDITION_IDS`: `GeoIP2-../etc` is not an edition: GeoLite2-ASN, GeoLite2-ASN-CSV, GeoLite2-City, GeoLite2-City-CSV, GeoLite2-Country, GeoLite2-Country-CSV, GeoIP2-...
            notice: `GEOIPUPDATE_LICENCE_KEY` is not known, and not used
        "#]],
    );
}

#[test]
fn a_secret_can_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let id = write("id", "123456\n");
    let key = write("key", &format!("  {KEY}\r\n"));
    let large = write("large", &KEY.repeat(1000));
    check_variables(
        &[
            ("GEOIPUPDATE_ACCOUNT_ID_FILE", &id),
            ("GEOIPUPDATE_LICENSE_KEY", "weaker"),
            ("GEOIPUPDATE_LICENSE_KEY_FILE", &key),
            ("MAXMIND_LICENSE_KEY_FILE", "/not/read"),
            ("GEOIPUPDATE_EDITION_IDS", "GeoLite2-Country"),
            ("GEOIPUPDATE_HOST_FILE", &id),
        ],
        expect![[r#"
            GeoLite2-Country to . from https://download.maxmind.com
            notice: `GEOIPUPDATE_HOST_FILE` is not known, and not used
            notice: `GEOIPUPDATE_LICENSE_KEY` is not used: `GEOIPUPDATE_LICENSE_KEY_FILE` is stronger
            notice: `MAXMIND_LICENSE_KEY_FILE` is not used: `GEOIPUPDATE_LICENSE_KEY_FILE` is stronger
        "#]],
    );
    // Somebody took the variable for the other one.
    check_variables(
        &[("GEOIPUPDATE_LICENSE_KEY_FILE", KEY)],
        expect![[r#"
            error: could not read the file that `GEOIPUPDATE_LICENSE_KEY_FILE` names
        "#]],
    );
    check_variables(
        &[("GEOIPUPDATE_LICENSE_KEY_FILE", &large)],
        expect![[r#"
            error: could not read the file that `GEOIPUPDATE_LICENSE_KEY_FILE` names
        "#]],
    );
}

#[cfg(unix)]
#[test]
fn a_value_that_is_no_text_is_told() {
    use std::os::unix::ffi::OsStringExt;

    let list = [(
        "GEOIPUPDATE_LICENSE_KEY".into(),
        OsString::from_vec(vec![b'k', 0xff]),
    )];
    expect![[r#"
        problem: `GEOIPUPDATE_LICENSE_KEY` is not UTF-8
        problem: no account id: set `GEOIPUPDATE_ACCOUNT_ID`, or `AccountID` in a `GeoIP.conf`
        problem: no license key: set `GEOIPUPDATE_LICENSE_KEY` or `GEOIPUPDATE_LICENSE_KEY_FILE`, or `LicenseKey` in a `GeoIP.conf`
        problem: no edition to download: name one, such as `GeoLite2-Country`, or set `GEOIPUPDATE_EDITION_IDS`
    "#]]
    .assert_eq(&told(Draft::from_variables(list)));
}

#[test]
fn arguments_are_stronger_than_variables_and_these_than_the_file() {
    let file = "AccountID 1\nLicenseKey KEY\nEditionIDs GeoLite2-ASN\nDatabaseDirectory of-file\nHost file.example\n";
    let of_file = Draft::from_config(&file.replace("KEY", KEY), Path::new("GeoIP.conf"));
    let of_variables = Draft::from_variables(variables(&[
        ("GEOIPUPDATE_EDITION_IDS", "GeoLite2-City"),
        ("GEOIPUPDATE_DB_DIR", "of-variables"),
    ]))
    .unwrap();
    let none: [&str; 0] = [];
    let weak = of_variables.or(of_file);
    expect![[r#"
        GeoLite2-City to of-variables from https://file.example
    "#]]
    .assert_eq(&told(Ok(Draft::default().editions(none).or(weak.clone()))));
    let arguments = Draft::default()
        .editions(["GeoLite2-Country", "GeoLite2-Country"])
        .folder("of-arguments")
        .host("http://127.0.0.1:8080");
    expect![[r#"
        GeoLite2-Country to of-arguments from http://127.0.0.1:8080
    "#]]
    .assert_eq(&told(Ok(arguments.or(weak))));
    let alone = Draft::default()
        .account_id("1")
        .license_key(KEY)
        .editions(["GeoLite2-Country"])
        .host("http://10.0.0.1");
    expect![[r#"
        problem: the host is without TLS, which is for addresses of this machine alone, such as `http://127.0.0.1:8080`
    "#]]
    .assert_eq(&told(Ok(alone)));
}

#[test]
fn proxies_are_read_and_their_passwords_hidden() {
    let with = |lines: &str| {
        let text = format!("AccountID 1\nLicenseKey {KEY}\nEditionIDs GeoLite2-ASN\n{lines}");
        told(Ok(Draft::from_config(&text, Path::new("GeoIP.conf"))))
    };
    let fine = "GeoLite2-ASN to . from https://download.maxmind.com\n";
    for lines in [
        "Proxy proxy.example\n",
        "Proxy 127.0.0.1:8888\n",
        "Proxy http://[::1]:3128/\nProxyUserPassword user:hunter2-proxy\n",
        "Proxy http://user:hunter2-proxy@proxy.example\n",
    ] {
        assert_eq!(with(lines), fine, "{lines}");
    }
    for lines in [
        "Proxy https://proxy.example\n",
        "Proxy socks5://user:hunter2-proxy@proxy.example\n",
        "Proxy http://proxy.example/path\n",
        "Proxy a b\n",
        "Proxy proxy.example\nProxyUserPassword hunter2-proxy\n",
        "Proxy :80\n",
    ] {
        assert!(
            with(lines).starts_with("problem: `Proxy"),
            "{lines}{}",
            with(lines)
        );
    }
    let variables = [
        ("MAXMIND_ACCOUNT_ID", "1"),
        ("MAXMIND_LICENSE_KEY", KEY),
        ("MAXMIND_EDITION_IDS", "GeoLite2-ASN"),
        ("all_proxy", "socks5://weaker.example"),
        ("HTTPS_PROXY", "http://user:hunter2-proxy@proxy.example:3128"),
        ("no_proxy", "example.com"),
    ];
    check_variables(
        &variables,
        expect![[r#"
            GeoLite2-ASN to . from https://download.maxmind.com
        "#]],
    );
    check_variables(
        &variables[..4],
        expect![[r#"
            problem: `all_proxy` is of a kind that is not supported: only `http://` proxies are
        "#]],
    );
}

#[test]
fn times_are_read_as_go_writes_them() {
    let with = |time: &str| {
        let text = format!("AccountID 1\nLicenseKey {KEY}\nEditionIDs GeoLite2-ASN\nRetryFor {time}\n");
        let settings = Draft::from_config(&text, Path::new("GeoIP.conf")).check();
        settings.map(|settings| format!("{settings:?}"))
    };
    for (time, want) in [
        ("5m", "300s"),
        ("1h30m", "5400s"),
        ("2.5s", "2.5s"),
        ("250ms", "250ms"),
        ("3us", "3µs"),
        ("0", "0ns"),
        ("0s", "0ns"),
    ] {
        let shown = with(time).unwrap();
        assert!(shown.contains(&format!("retry_for: {want}")), "{time}: {shown}");
    }
    for time in [
        "5",
        "m",
        "-5m",
        "5 m",
        "5d",
        "1.2.3s",
        "9e9h",
        "99999999999999999999999h",
        ".",
    ] {
        assert!(with(time).is_err(), "{time}");
    }
}

#[test]
fn editions_are_those_that_there_are() {
    for text in Edition::GEOLITE2 {
        let edition: Edition = text.parse().unwrap();
        assert_eq!(edition.to_string(), text);
        assert_eq!(edition.is_csv(), text.ends_with("-CSV"));
        assert_eq!(edition.suffix(), if edition.is_csv() { "zip" } else { "tar.gz" });
    }
    for text in [
        "GeoIP2-City",
        "GeoIP2-City-North-America",
        "GeoIP2-Enterprise",
        "GeoIP2-ISP-CSV",
        "GeoIP-Anonymous-Plus",
    ] {
        assert!(text.parse::<Edition>().is_ok(), "{text}");
    }
    for text in [
        "",
        "GeoLite2",
        "GeoLite2-Enterprise",
        "GeoLite2-Country-csv",
        "GeoLite2-Country/../x",
        "GeoIP2-",
        "GeoIP2--City",
        "GeoIP2-City-",
        "GeoIP2-City\n",
        "GeoIP2-City?suffix=zip",
        "GeoIP2-Cité",
        &format!("GeoIP2-{}", "x".repeat(100)),
    ] {
        assert!(text.parse::<Edition>().is_err(), "{text}");
    }
    expect!["`\\u{1b}[31m` is not an edition: GeoLite2-ASN, GeoLite2-ASN-CSV, GeoLite2-City, GeoLite2-City-CSV, GeoLite2-Country, GeoLite2-Country-CSV, GeoIP2-..."]
        .assert_eq(&"\u{1b}[31m".parse::<Edition>().unwrap_err().to_string());
}

/// Lines of a configuration, with what belongs in them and what does not.
fn config() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&str] = &[
        "AccountID ",
        "LicenseKey ",
        "EditionIDs ",
        "Host ",
        "Proxy ",
        "ProxyUserPassword ",
        "RetryFor ",
        "Parallelism ",
        "DatabaseDirectory ",
        "GeoLite2-Country",
        "123456",
        "http://127.0.0.1:1",
        "5m",
        "#",
        "\n",
        "\r\n",
        "\t",
        "\u{feff}",
        "é",
    ];
    let piece = prop::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec());
    let any = prop::collection::vec(any::<u8>(), 0..12);
    prop::collection::vec(prop_oneof![6 => piece, 1 => any], 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Settings, problems, or an error: never a panic, and never the key.
    #[test]
    fn any_configuration(bytes in config()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("GeoIP.conf");
        let key = format!("\nLicenseKey {KEY}\n");
        std::fs::write(&path, [&bytes[..], key.as_bytes(), &bytes[..]].concat()).unwrap();
        told(Draft::read_config(&path));
    }
}
