use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

const ALL_REQUESTS: [RequestFormat; 3] = [RequestFormat::Csv, RequestFormat::Json, RequestFormat::JsonLines];

fn all_responses() -> [ResponseFormat; 4] {
    let [json, lines] = [ResponseFormat::JSON, ResponseFormat::JSON_LINES];
    [json, lines, json.verbose(true), lines.verbose(true)]
}

fn events() -> Vec<AccessEvent> {
    vec![
        AccessEvent::new("United Kingdom", [203, 116, 192, 0].into()),
        AccessEvent::new(r#"O"Neill, Ann"#, [1, 2, 3, 4].into()),
        AccessEvent::new("arn:aws:iam::123456789012:user/ü", [10, 0, 0, 255].into()),
    ]
}

fn predictions() -> Vec<PredictionRecord> {
    let record = |dot_product, ip: [f32; 2], entity: [f32; 2]| PredictionRecord {
        dot_product,
        ip_embedding: Some(ip.to_vec()),
        entity_embedding: Some(entity.to_vec()),
    };
    vec![
        record(-0.652, [0.1, -2.0], [1e-10, 3.5e9]),
        record(6.0, [0.0, 1.0], [6.5, 6.0]),
    ]
}

fn check_request(format: RequestFormat, expected: Expect) {
    expected.assert_eq(&String::from_utf8(encode_request(format, &events()).unwrap()).unwrap());
}

fn check_response(format: ResponseFormat, expected: Expect) {
    expected.assert_eq(&String::from_utf8(encode_response(format, &predictions()).unwrap()).unwrap());
}

/// The events of a request, one per line, or why there are none.
fn check_decode(format: RequestFormat, body: &str, expected: Expect) {
    let text = match decode_request(format, body.as_bytes()) {
        Ok(events) => events
            .iter()
            .map(|e| format!("{:?} {}\n", e.entity, e.ip))
            .collect(),
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&text);
}

fn check_decode_response(format: ResponseFormat, body: &str, expected: Expect) {
    let text = match decode_response(format, body.as_bytes()) {
        Ok(predictions) => format!("{predictions:?}"),
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&text);
}

#[test]
fn requests_as_they_are_sent() {
    check_request(
        RequestFormat::Csv,
        expect![[r#"
            United Kingdom,203.116.192.0
            "O""Neill, Ann",1.2.3.4
            arn:aws:iam::123456789012:user/ü,10.0.0.255"#]],
    );
    check_request(
        RequestFormat::Json,
        expect![[
            r#"{"instances":[{"features":["United Kingdom","203.116.192.0"]},{"features":["O\"Neill, Ann","1.2.3.4"]},{"features":["arn:aws:iam::123456789012:user/ü","10.0.0.255"]}]}"#
        ]],
    );
    check_request(
        RequestFormat::JsonLines,
        expect![[r#"
            {"features":["United Kingdom","203.116.192.0"]}
            {"features":["O\"Neill, Ann","1.2.3.4"]}
            {"features":["arn:aws:iam::123456789012:user/ü","10.0.0.255"]}"#]],
    );
}

#[test]
fn responses_as_they_are_sent() {
    check_response(
        ResponseFormat::JSON,
        expect![[r#"{"predictions":[{"dot_product":-0.652},{"dot_product":6.0}]}"#]],
    );
    check_response(
        ResponseFormat::JSON_LINES,
        expect![[r#"
            {"dot_product":-0.652}
            {"dot_product":6.0}"#]],
    );
    check_response(
        ResponseFormat::JSON.verbose(true),
        expect![[
            r#"{"predictions":[{"dot_product":-0.652,"ip_embedding":[0.1,-2.0],"entity_embedding":[1e-10,3500000000.0]},{"dot_product":6.0,"ip_embedding":[0.0,1.0],"entity_embedding":[6.5,6.0]}]}"#
        ]],
    );
    check_response(
        ResponseFormat::JSON_LINES.verbose(true),
        expect![[r#"
            {"dot_product":-0.652,"ip_embedding":[0.1,-2.0],"entity_embedding":[1e-10,3500000000.0]}
            {"dot_product":6.0,"ip_embedding":[0.0,1.0],"entity_embedding":[6.5,6.0]}"#]],
    );
}

#[test]
fn csv_requests() {
    let csv = |body, expected| check_decode(RequestFormat::Csv, body, expected);
    csv(
        "United Kingdom, 1.2.3.4\r\n\"a,b\",5.6.7.8\n\nc,9.9.9.9",
        expect![[r#"
            "United Kingdom" 1.2.3.4
            "a,b" 5.6.7.8
            "c" 9.9.9.9
        "#]],
    );
    csv("", expect![""]);
    csv(
        "a,1.2.3.4\nb,1.2.3",
        expect!["error: line 2: `1.2.3` is not an IPv4 address"],
    );
    csv(
        "a,1.2.3.4,5.6.7.8",
        expect![
            "error: line 1: expected an entity and an IPv4 address, found 3 fields in `a,1.2.3.4,5.6.7.8`; a value with a comma in it needs quotes"
        ],
    );
}

#[test]
fn json_requests() {
    let json = |body, expected| check_decode(RequestFormat::Json, body, expected);
    json(
        r#"{"instances":[{"data":{"features":{"values":["e","1.2.3.4"]}}},{"features":["f","5.6.7.8"]}]}"#,
        expect![[r#"
            "e" 1.2.3.4
            "f" 5.6.7.8
        "#]],
    );
    json(r#" {"context":{"a":[1]},"instances":[ ]} "#, expect![""]);
    json(
        r#"{"instances":[{"features":["e"," 1.2.3.4"],"note":null}]}"#,
        expect![[r#"
        "e" 1.2.3.4
    "#]],
    );
    json(
        "",
        expect![
            "error: the body must be a JSON object with the list `instances`: EOF while parsing a value at line 1 column 0"
        ],
    );
    json(
        "[]",
        expect![
            "error: the body must be a JSON object with the list `instances`: invalid type: sequence, expected an object with the list `instances` at line 1 column 0"
        ],
    );
    json(
        "{}",
        expect![
            "error: the body must be a JSON object with the list `instances`: missing field `instances` at line 1 column 2"
        ],
    );
    json(
        r#"{"instances":{}}"#,
        expect![
            "error: the body must be a JSON object with the list `instances`: invalid type: map, expected a list of records at line 1 column 13"
        ],
    );
    json(
        r#"{"instances":[],"instances":[]}"#,
        expect![
            "error: the body must be a JSON object with the list `instances`: duplicate field `instances` at line 1 column 27"
        ],
    );
    json(
        r#"{"instances":[]} x"#,
        expect![
            "error: the body must be a JSON object with the list `instances`: trailing characters at line 1 column 18"
        ],
    );
    json(
        r#"{"instances":[{"features":["e","1.2.3.4"]},{"features":["e","1.2.3.256"]}]}"#,
        expect!["error: record 2: `1.2.3.256` is not an IPv4 address in dotted decimal at line 1 column 71"],
    );
    json(
        r#"{"instances":[{"features":["e","::1"]}]}"#,
        expect!["error: record 1: `::1` is not an IPv4 address in dotted decimal at line 1 column 36"],
    );
    json(
        r#"{"instances":[{"features":[5,"1.2.3.4"]}]}"#,
        expect!["error: record 1: invalid type: integer `5`, expected a string at line 1 column 28"],
    );
    json(
        r#"{"instances":[{"features":["e",16909060]}]}"#,
        expect![
            "error: record 1: invalid type: integer `16909060`, expected an IPv4 address in dotted decimal, as text at line 1 column 39"
        ],
    );
    json(
        r#"{"instances":[{"features":["e"]}]}"#,
        expect![
            "error: record 1: invalid length 1, expected a list of an entity and an IPv4 address at line 1 column 31"
        ],
    );
    json(
        r#"{"instances":[{"features":["e","1.2.3.4",1,2]}]}"#,
        expect![
            "error: record 1: invalid length 4, expected a list of an entity and an IPv4 address at line 1 column 45"
        ],
    );
    json(
        r#"{"instances":[{"features":["","1.2.3.4"]}]}"#,
        expect!["error: record 1: the entity is empty"],
    );
    json(
        r#"{"instances":[{"feature":["e","1.2.3.4"]}]}"#,
        expect![[
            r#"error: record 1: an instance must be `{"features":[…]}` or `{"data":{"features":{"values":[…]}}}`"#
        ]],
    );
    json(
        r#"{"instances":[[["e","1.2.3.4"],null]]}"#,
        expect!["error: record 1: invalid type: sequence, expected an object at line 1 column 14"],
    );
    json(
        r#"{"instances":[{"data":{"features":["e","1.2.3.4"]}}]}"#,
        expect!["error: record 1: invalid type: sequence, expected an object at line 1 column 34"],
    );
    json(
        r#"{"instances":[{"features":["e","1.2.3.4"],"data":{"features":{"values":["e","1.2.3.4"]}}}]}"#,
        expect!["error: record 1: an instance has `features` or `data`, not both"],
    );
    json(
        r#"{"instances":[{"features":["e","1.2.3.4"]}"#,
        expect!["error: record 2: EOF while parsing a list at line 1 column 42"],
    );
}

#[test]
fn json_lines_requests() {
    let lines = |body, expected| check_decode(RequestFormat::JsonLines, body, expected);
    lines(
        "{\"features\":[\"e\",\"1.2.3.4\"]}\r\n\n{\"data\":{\"features\":{\"values\":[\"f\",\"5.6.7.8\"]}}}\n",
        expect![[r#"
            "e" 1.2.3.4
            "f" 5.6.7.8
        "#]],
    );
    lines("", expect![""]);
    // The line is counted as an editor does, empty ones too.
    lines(
        "\n\n{\"features\":[\"e\",\"1.2.3\"]}",
        expect!["error: record 3: `1.2.3` is not an IPv4 address in dotted decimal at column 24"],
    );
    lines(
        "{\"features\":[\"e\",\"1.2.3.4\"]}]",
        expect!["error: record 1: trailing characters at column 29"],
    );
}

#[test]
fn responses_that_cannot_be_read() {
    let [json, lines] = [ResponseFormat::JSON, ResponseFormat::JSON_LINES];
    check_decode_response(
        json,
        r#"{"predictions":[[1.0]]}"#,
        expect!["error: record 1: invalid type: sequence, expected an object at line 1 column 16"],
    );
    check_decode_response(
        lines,
        "[1.0]",
        expect!["error: record 1: invalid type: sequence, expected an object at column 0"],
    );
    check_decode_response(
        json,
        r#"{"predictions":[{"dot_product":1,"other":[1]}]}"#,
        expect!["[PredictionRecord { dot_product: 1.0, ip_embedding: None, entity_embedding: None }]"],
    );
    check_decode_response(
        json,
        r#"{"predictions":[{"dot_product":1},{"dot":1}]}"#,
        expect!["error: record 2: missing field `dot_product` at line 1 column 43"],
    );
    check_decode_response(
        json,
        r#"{"predictions":[{"dot_product":1},{"dot_product":null}]}"#,
        expect!["error: record 2: invalid type: null, expected f32 at line 1 column 53"],
    );
    check_decode_response(
        json,
        r#"{"predictions":[{"dot_product":1e39}]}"#,
        expect!["error: record 1: number out of range at line 1 column 35"],
    );
    check_decode_response(
        json.verbose(true),
        r#"{"predictions":[{"dot_product":1}]}"#,
        expect!["error: record 1: a verbose answer must have `ip_embedding` and `entity_embedding`"],
    );
    check_decode_response(
        json,
        r#"{"message":"no"}"#,
        expect![
            "error: the body must be a JSON object with the list `predictions`: missing field `predictions` at line 1 column 16"
        ],
    );
    check_decode_response(
        json,
        "<html>",
        expect![
            "error: the body must be a JSON object with the list `predictions`: expected value at line 1 column 1"
        ],
    );
    check_decode_response(
        lines,
        "{\"dot_product\":1}\n{\"dot_product\":}",
        expect!["error: record 2: expected value at column 16"],
    );
    // As batch transform prints it, with the digits of a 64-bit float.
    check_decode_response(
        lines,
        "{\"dot_product\":-0.190504431724548}\n",
        expect![
            "[PredictionRecord { dot_product: -0.19050443, ip_embedding: None, entity_embedding: None }]"
        ],
    );
}

#[test]
fn what_cannot_be_written_is_refused() {
    let no_entity = [
        AccessEvent::new("a", [1, 2, 3, 4].into()),
        AccessEvent::new("", [1, 2, 3, 4].into()),
    ];
    for format in ALL_REQUESTS {
        let error = encode_request(format, &no_entity).unwrap_err();
        assert_eq!(error.to_string(), "record 2: the entity is empty");
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for format in all_responses() {
            let error = encode_response(format, &[PredictionRecord::from_dot_product(bad)]).unwrap_err();
            assert!(
                matches!(error, InferenceError::NotFinite { record: 1 }),
                "{error}"
            );
        }
        let mut embedded = predictions();
        embedded[1].entity_embedding.as_mut().unwrap()[0] = bad;
        assert!(encode_response(ResponseFormat::JSON, &embedded).is_ok());
        let error = encode_response(ResponseFormat::JSON.verbose(true), &embedded).unwrap_err();
        assert!(
            matches!(error, InferenceError::NotFinite { record: 2 }),
            "{error}"
        );
    }
    let bare = [PredictionRecord::from_dot_product(1.0)];
    let error = encode_response(ResponseFormat::JSON.verbose(true), &bare).unwrap_err();
    assert!(
        matches!(error, InferenceError::MissingEmbedding { record: 1 }),
        "{error}"
    );
}

#[test]
fn content_types() {
    let cases = [
        ("text/csv", Some(RequestFormat::Csv)),
        ("text/csv; charset=utf-8", Some(RequestFormat::Csv)),
        (" Text/CSV ;label_size=0", Some(RequestFormat::Csv)),
        ("application/json", Some(RequestFormat::Json)),
        ("application/jsonlines", Some(RequestFormat::JsonLines)),
        ("application/x-recordio-protobuf", None),
        ("application/jsonlinesx", None),
        ("csv", None),
        ("", None),
    ];
    for (header, want) in cases {
        assert_eq!(header.parse::<RequestFormat>().ok(), want, "{header}");
    }
    for format in ALL_REQUESTS {
        assert_eq!(format.to_string().parse::<RequestFormat>().unwrap(), format);
    }
    expect!["content type `application/x-recordio-protobuf` is not supported; it must be `text/csv`, `application/json` or `application/jsonlines`"].assert_eq(
        &"application/x-recordio-protobuf"
            .parse::<RequestFormat>()
            .unwrap_err()
            .to_string(),
    );
}

#[test]
fn accepts() {
    let [json, lines] = [ResponseFormat::JSON, ResponseFormat::JSON_LINES];
    let cases = [
        (None, Some(json)),
        (Some(""), Some(json)),
        (Some("*/*"), Some(json)),
        (Some("application/*"), Some(json)),
        (Some("application/json"), Some(json)),
        (Some("application/json; verbose=True"), Some(json.verbose(true))),
        (Some("application/json;verbose=true"), Some(json.verbose(true))),
        (
            Some("Application/JSON ; charset=utf-8 ; Verbose = \"TRUE\""),
            Some(json.verbose(true)),
        ),
        (Some("application/json; verbose=False"), Some(json)),
        (Some("application/jsonlines"), Some(lines)),
        (
            Some("application/jsonlines;verbose=True"),
            Some(lines.verbose(true)),
        ),
        (
            Some("text/html, application/jsonlines;q=0.9, */*;q=0.8"),
            Some(lines),
        ),
        (Some("text/csv"), None),
        (Some("application/x-recordio-protobuf"), None),
        (Some("application/json; verbose=1"), None),
        (Some("application/json; verbose"), None),
        (Some(";"), None),
    ];
    for (header, want) in cases {
        assert_eq!(ResponseFormat::from_accept(header).ok(), want, "{header:?}");
    }
    for format in all_responses() {
        assert_eq!(format.to_string().parse::<ResponseFormat>().unwrap(), format);
    }
    let refused = |header: &str| header.parse::<ResponseFormat>().unwrap_err().to_string();
    expect!["accept `text/csv` is not supported; it must be `application/json` or `application/jsonlines`, with or without `; verbose=True`"].assert_eq(&refused("text/csv"));
    expect!["`verbose` must be `True` or `False`, got `1`"]
        .assert_eq(&refused("application/json; verbose=1"));
}

#[test]
fn pieces_are_as_large_as_they_may_be() {
    let events: Vec<_> = (0..1000)
        .map(|i| AccessEvent::new("entity", [255, 255, 255, i as u8].into()))
        .collect();
    for format in ALL_REQUESTS {
        let limit = 5000;
        let pieces: Vec<_> = split_request(format, &events, limit, usize::MAX).collect();
        for piece in &pieces[..pieces.len() - 1] {
            let body = encode_request(format, piece).unwrap();
            assert!(
                (limit * 8 / 10..=limit).contains(&body.len()),
                "{} bytes of {format}",
                body.len()
            );
        }
        let rows: Vec<_> = split_request(format, &events, usize::MAX, 400)
            .map(<[_]>::len)
            .collect();
        assert_eq!(rows, [400, 400, 200]);
        assert_eq!(split_request(format, &[], limit, 10).count(), 0);
        // Neither limit can be kept: one row at a time.
        assert_eq!(split_request(format, &events, 1, 0).count(), 1000);
    }
}

fn any_events() -> impl Strategy<Value = Vec<AccessEvent>> {
    let entity = prop_oneof![4 => "[^\u{0}]{1,12}", 1 => any::<String>(), 1 => "[\",\n\r \\\\]{1,5}"];
    let event = (entity, any::<u32>()).prop_map(|(mut entity, ip)| {
        if entity.is_empty() {
            entity.push('x');
        }
        AccessEvent::new(entity, ip.into())
    });
    prop::collection::vec(event, 0..20)
}

/// Every finite 32-bit float.
fn any_float() -> impl Strategy<Value = f32> {
    any::<u32>()
        .prop_map(f32::from_bits)
        .prop_filter("finite", |x| x.is_finite())
}

fn any_predictions() -> impl Strategy<Value = Vec<PredictionRecord>> {
    let vector = || prop::collection::vec(any_float(), 0..5).prop_map(Some);
    let record =
        (any_float(), vector(), vector()).prop_map(|(dot_product, ip_embedding, entity_embedding)| {
            PredictionRecord {
                dot_product,
                ip_embedding,
                entity_embedding,
            }
        });
    prop::collection::vec(record, 0..20)
}

proptest! {
    #[test]
    fn events_survive_the_wire(events in any_events()) {
        for format in ALL_REQUESTS {
            let body = encode_request(format, &events).unwrap();
            prop_assert_eq!(&decode_request(format, &body).unwrap(), &events, "{}", format);
        }
    }

    #[test]
    fn predictions_survive_the_wire(predictions in any_predictions()) {
        for format in all_responses() {
            let body = encode_response(format, &predictions).unwrap();
            let read = decode_response(format, &body).unwrap();
            if format.verbose {
                prop_assert_eq!(&read, &predictions);
            }
            let bits = |list: &[PredictionRecord]| -> Vec<u32> {
                list.iter().map(|p| p.dot_product.to_bits()).collect()
            };
            prop_assert_eq!(bits(&read), bits(&predictions), "{}", format);
        }
    }

    #[test]
    fn pieces_keep_the_order_and_the_limits(events in any_events(), limit in 1usize..400, rows in 1usize..8) {
        for format in ALL_REQUESTS {
            let pieces: Vec<_> = split_request(format, &events, limit, rows).collect();
            prop_assert_eq!(pieces.concat(), events.clone());
            for piece in pieces {
                let body = encode_request(format, piece).unwrap();
                prop_assert!(piece.len() == 1 || body.len() <= limit, "{} bytes of {}", body.len(), format);
                prop_assert!((1..=rows).contains(&piece.len()));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_read(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in ALL_REQUESTS {
            let _ = decode_request(format, &body);
        }
        for format in all_responses() {
            let _ = decode_response(format, &body);
        }
    }

    /// Bytes that get further than arbitrary ones: a good body with a few of them changed.
    #[test]
    fn damaged_bodies_are_refused_or_read(
        events in any_events(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for format in ALL_REQUESTS {
            let mut body = encode_request(format, &events).unwrap();
            for (place, byte) in &damage {
                if !body.is_empty() {
                    let place = place.index(body.len());
                    body[place] = *byte;
                }
            }
            if let Ok(read) = decode_request(format, &body) {
                prop_assert!(read.iter().all(|event| !event.entity.is_empty()));
            }
        }
    }

    #[test]
    fn arbitrary_headers_are_refused_or_read(header in any::<String>()) {
        let _ = header.parse::<RequestFormat>();
        let _ = ResponseFormat::from_accept(Some(&header));
    }
}

/// An answer that is written as it comes is the same, and ends where it may not go on.
#[test]
fn answers_are_written_as_they_come() {
    struct Room(usize);
    impl io::Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for format in all_responses() {
        let whole = encode_response(format, &predictions()).unwrap();
        let mut written = Vec::new();
        write_response(format, predictions(), &mut written).unwrap();
        assert_eq!(written, whole, "{format}");
        write_response(format, predictions(), Room(whole.len())).unwrap();
        let asked = Cell::new(0);
        let endless = predictions()
            .into_iter()
            .cycle()
            .inspect(|_| asked.set(asked.get() + 1));
        let error = write_response(format, endless, Room(1000)).unwrap_err();
        assert!(matches!(error, InferenceError::Write { .. }), "{error}");
        assert!(asked.get() < 100, "{format}: {}", asked.get());
    }
}
