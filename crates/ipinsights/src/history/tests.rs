use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::part::PartWriter;

type Row = (String, u32, Option<i64>);

/// Few entities and networks, so that they meet.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let address = (0..3_u32, 0..3_u32, 0..3_u32, 0..3_u32)
        .prop_map(|(a, b, c, d)| (10 + a) << 24 | b << 16 | c << 8 | d);
    prop::collection::vec(("[a-d]", address, prop::option::of(0..1_000_000_000_i64)), 0..60)
}

fn history(rows: &[Row]) -> History {
    let mut builder = HistoryBuilder::default();
    for (entity, address, time) in rows {
        let time = time.map(|t| Timestamp::from_second(t).unwrap());
        builder.add(entity, Ipv4Addr::from(*address), time).unwrap();
    }
    builder.finish()
}

proptest! {
    #[test]
    fn it_counts_as_the_rows_do(rows in rows(), entity in "[a-e]", address: u32, length in 0..=24_u8, any_network: bool) {
        let history = history(&rows);
        let address = match rows.first() {
            Some(row) if !any_network => row.1,
            _ => address,
        };
        let network = Ipv4Net::new(address.into(), length).unwrap().trunc();
        let inside = |row: &&Row| network.contains(&Ipv4Addr::from(row.1));
        let own: Vec<&Row> = rows.iter().filter(|row| row.0 == entity).filter(inside).collect();
        let want = Usage {
            count: own.len() as u64,
            last: own.iter().filter_map(|row| row.2).max().map(|t| Timestamp::from_second(t).unwrap()),
        };
        prop_assert_eq!(history.usage(&entity, network), want);
        prop_assert_eq!(history.activity(&entity), rows.iter().filter(|row| row.0 == entity).count() as u64);

        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        rows.iter().filter(inside).for_each(|row| *counts.entry(&row.0).or_default() += 1);
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let users = history.entities_of(network, 2);
        prop_assert_eq!((users.total, users.complete), (counts.len(), true));
        counts.truncate(2);
        let got: Vec<_> = users.entities.iter().map(|u| (u.entity.as_str(), u.usage.count)).collect();
        prop_assert_eq!(got, counts);
    }

    #[test]
    fn it_is_read_as_it_was_written(rows in rows()) {
        let history = history(&rows);
        let mut bytes = Vec::new();
        history.write(&mut bytes).unwrap();
        prop_assert_eq!(History::read(&bytes[..]).unwrap(), history);
        let mut shuffled = rows;
        shuffled.reverse();
        let mut again = Vec::new();
        super::tests::history(&shuffled).write(&mut again).unwrap();
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn any_bytes_are_read_or_refused(rows in rows(), at: prop::sample::Index, byte: u8) {
        let mut bytes = history(&rows).to_bytes().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = History::read(&bytes[..]) {
            // Whatever was read can be asked anything.
            for network in ["0.0.0.0/0", "10.0.0.0/8", "12.2.2.0/24", "255.255.255.255/32"] {
                let network = network.parse().unwrap();
                read.entities_of(network, 5);
                read.usage("a", network);
            }
            read.networks_of("b", 2);
        }
    }
}

#[test]
fn networks_come_most_used_first() {
    let at = |third: u32, times: usize| vec![("ana".to_owned(), 10 << 24 | third << 8, None); times];
    let history = history(&[at(1, 1), at(2, 3), at(3, 3), at(4, 2)].concat());
    let list = |most| -> Vec<String> {
        let networks = history.networks_of("ana", most).into_iter();
        networks
            .map(|(network, usage)| format!("{network} {}", usage.count))
            .collect()
    };
    assert_eq!(
        list(9),
        ["10.0.2.0/24 3", "10.0.3.0/24 3", "10.0.4.0/24 2", "10.0.1.0/24 1"]
    );
    assert_eq!(list(2), ["10.0.2.0/24 3", "10.0.3.0/24 3"]);
    assert!(list(0).is_empty() && history.networks_of("ben", 2).is_empty());
    assert!(!history.has_times());
}

#[test]
fn the_limit_is_kept_and_what_came_before_stays() {
    let mut builder = HistoryBuilder::with_limit(1_024 + 3 + 8 + 16);
    builder.add("ana", [10, 0, 0, 1].into(), None).unwrap();
    builder.add("ana", [10, 0, 0, 9].into(), None).unwrap();
    let error = builder.add("ana", [10, 0, 1, 1].into(), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the history of these rows takes more than 1051 bytes; build it from fewer rows, such as the latest"
    );
    assert!(builder.add("ben", [10, 0, 0, 1].into(), None).is_err());
    assert!(builder.add("", [10, 0, 0, 1].into(), None).is_err());
    let history = builder.finish();
    assert_eq!(
        (history.entities(), history.uses(), history.activity("ana")),
        (1, 1, 2)
    );
    assert!(history.to_bytes().unwrap().len() <= 1_051);
}

#[test]
fn what_no_history_would_write_is_refused() {
    struct Lists {
        names: &'static [u8],
        ends: Vec<u32>,
        first: Vec<u32>,
        networks: Vec<u32>,
        counts: Vec<u32>,
        last: Option<Vec<i64>>,
    }
    fn good() -> Lists {
        Lists {
            names: b"anaben",
            ends: vec![3, 6],
            first: vec![0, 2, 3],
            networks: vec![7, 9, 7],
            counts: vec![1, 2, 3],
            last: None,
        }
    }
    fn read(lists: Lists) -> Result<History, PartError> {
        let mut writer = PartWriter::default()
            .list("entity.names", lists.names.iter().copied())
            .list("entity.name_ends", lists.ends)
            .list("entity.first_use", lists.first)
            .list("use.networks", lists.networks)
            .list("use.counts", lists.counts);
        let times = lists.last.is_some();
        if let Some(last) = lists.last {
            writer = writer.list("use.last", last);
        }
        let description = serde_json::json!({
            "format": "ipinsights-history", "format_version": 1, "prefix": 24, "times": times
        });
        History::from_bytes(&writer.finish(&description).unwrap())
    }
    assert_eq!(read(good()).unwrap().uses(), 3);
    let cases: [(&str, Lists); 13] = [
        (
            "do not ascend",
            Lists {
                names: b"benana",
                ..good()
            },
        ),
        (
            "do not ascend",
            Lists {
                ends: vec![0, 6],
                ..good()
            },
        ),
        (
            "names do not ascend",
            Lists {
                ends: vec![6, 3],
                ..good()
            },
        ),
        (
            "names do not ascend",
            Lists {
                ends: vec![3, 7],
                ..good()
            },
        ),
        (
            "names do not ascend",
            Lists {
                ends: vec![3, 5],
                ..good()
            },
        ),
        (
            "not UTF-8",
            Lists {
                names: b"an\xffben",
                ..good()
            },
        ),
        (
            "expected a list of 3 U32",
            Lists {
                first: vec![0, 3],
                ..good()
            },
        ),
        (
            "from 0 to the last",
            Lists {
                first: vec![0, 2, 4],
                ..good()
            },
        ),
        (
            "from 0 to the last",
            Lists {
                first: vec![0, 3, 3],
                ..good()
            },
        ),
        (
            "networks do not ascend",
            Lists {
                networks: vec![9, 9, 7],
                ..good()
            },
        ),
        (
            "more than 24 bits",
            Lists {
                networks: vec![7, 9, 1 << 24],
                ..good()
            },
        ),
        (
            "no rows",
            Lists {
                counts: vec![1, 0, 3],
                ..good()
            },
        ),
        (
            "is no time",
            Lists {
                last: Some(vec![0, i64::MAX, i64::MIN]),
                ..good()
            },
        ),
    ];
    for (want, lists) in cases {
        let error = read(lists).unwrap_err().to_string();
        assert!(error.contains(want), "{error} instead of {want}");
    }
}
