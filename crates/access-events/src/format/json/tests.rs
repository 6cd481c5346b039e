use proptest::prelude::*;

use super::cursor::{Cursor, DEEPEST, Stuck};

/// Whether the cursor goes over all of the text.
fn skips(text: &[u8]) -> bool {
    // The end of a number is known only by what comes after it.
    let text = [text, b"\n"].concat();
    let mut cursor = Cursor::new(&text, &[]);
    cursor.skip().is_ok() && cursor.is_at_end()
}

fn serde_skips(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

/// JSON values, printed in several ways.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<f64>()
            .prop_filter("JSON has no others", |x| x.is_finite())
            .prop_map(|x| x.to_string()),
        any::<i64>().prop_map(|x| x.to_string()),
        any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
        "[ -~]{0,40}".prop_map(|text| serde_json::Value::from(text).to_string()),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let blank = prop_oneof![Just(""), Just(" "), Just("\n\t"), Just("\r\n")];
        let key = "[a-zé\"\\\\\n]{0,20}".prop_map(|key| serde_json::Value::from(key).to_string());
        prop_oneof![
            (blank.clone(), prop::collection::vec(inner.clone(), 0..6)).prop_map(|(blank, values)| format!(
                "[{blank}{}{blank}]",
                values.join(&format!("{blank},{blank}"))
            )),
            (blank, prop::collection::vec((key, inner), 0..6)).prop_map(|(blank, members)| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(k, v)| format!("{k}{blank}:{blank}{v}"))
                    .collect();
                format!("{{{blank}{}{blank}}}", members.join(&format!("{blank},")))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_json_is_gone_over_and_its_beginnings_are_unfinished(text in json()) {
        prop_assert!(serde_skips(text.as_bytes()));
        prop_assert!(skips(text.as_bytes()), "{text}");
        if text.starts_with(['{', '[', '"']) {
            for cut in 0..text.len() {
                prop_assert_eq!(Cursor::new(&text.as_bytes()[..cut], &[]).skip(), Err(Stuck::End));
            }
        }
    }

    #[test]
    fn what_is_nearly_json_is_judged_as_serde_json_does(
        text in json(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..4),
    ) {
        let mut bytes = text.into_bytes();
        for (at, byte, how) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, b"{}[],:\"\\ue+-.0x\x1f"[usize::from(byte) % 16]),
                _ => {
                    bytes.remove(at);
                    if bytes.is_empty() {
                        bytes.push(b'0');
                    }
                }
            }
        }
        prop_assert_eq!(skips(&bytes), serde_skips(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn numbers_words_and_escapes_are_those_of_json() {
    for text in [
        "0",
        "-0",
        "1e5",
        "1E+5",
        "0.5e-3",
        "true",
        "false",
        "null",
        r#""""#,
        r#""\u00e9\n\"""#,
        r#""\ud800""#,
        "[]",
        "{}",
        "[[[]]]",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "--1",
        "tru",
        "truE",
        "nul",
        r#""\x""#,
        r#""\u12g4""#,
        "\"\t\"",
        "{,}",
        "[,]",
        "[1,]",
        r#"{"a":1,}"#,
        r#"{"a"}"#,
        r#"{a:1}"#,
        "[1 2]",
        "{]",
        "[}",
        "",
        " ",
        "\u{a0}1",
        "1 1",
        "[1]]",
    ] {
        assert_eq!(skips(text.as_bytes()), serde_skips(text.as_bytes()), "{text}");
    }
}

#[test]
fn nesting_ends_somewhere() {
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    let deepest = DEEPEST as usize;
    assert!(skips(&nested(deepest)));
    assert!(serde_json::from_slice::<serde_json::Value>(&nested(deepest)).is_ok());
    let deeper = nested(deepest + 1);
    assert_eq!(Cursor::new(&deeper, &[]).skip(), Err(Stuck::Deep));
    assert!(serde_json::from_slice::<serde_json::Value>(&deeper).is_err());
}
