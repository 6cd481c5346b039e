use std::collections::HashMap;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};

use proptest::prelude::*;

use super::order::{Order, place};
use super::sort::{Row, Sorter};
use super::*;

/// An event as the tables write it: entity, last number of the address, seconds since 1970.
type Event = (&'static str, u8, i64);

fn shaped(draft: Draft, events: &[Event]) -> (Vec<(Part, String, u8)>, Tally) {
    let shape = draft.check().unwrap();
    let mut rows = Vec::new();
    let mut shaper = Shaper::new(&shape, |part: Part, event: &AccessEvent| {
        rows.push((part, event.entity.clone(), event.ip.octets()[3]));
        Ok::<_, ShapeError>(())
    });
    for (entity, ip, second) in events {
        let time = Timestamp::from_second(*second).unwrap();
        shaper
            .push(entity, Ipv4Addr::new(192, 0, 2, *ip), Some(time))
            .unwrap();
    }
    let tally = shaper.finish().unwrap();
    (rows, tally)
}

fn text(rows: &[(Part, String, u8)]) -> String {
    let text: Vec<_> = rows
        .iter()
        .map(|(part, entity, ip)| match part {
            Part::Train => format!("{entity}{ip}"),
            Part::Later => format!("+{entity}{ip}"),
        })
        .collect();
    text.join(" ")
}

fn draft() -> Draft {
    Shape::draft(std::env::temp_dir())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

const EVENTS: &[Event] = &[
    ("b", 1, 10),
    ("a", 1, 20),
    ("b", 1, 30),
    ("c", 9, 40),
    ("a", 2, 50),
    ("b", 1, 60),
    ("a", 1, 70),
    ("d", 4, 80),
    ("a", 2, 15),
];

#[test]
fn without_settings_events_pass_as_they_come() {
    let (rows, tally) = shaped(draft(), EVENTS);
    assert_eq!(text(&rows), "b1 a1 b1 c9 a2 b1 a1 d4 a2");
    assert_eq!(
        tally,
        Tally {
            train: 9,
            ..Tally::default()
        }
    );
}

#[test]
fn a_split_is_by_time_and_not_by_order() {
    let (rows, tally) = shaped(draft().train_until(at(50)), EVENTS);
    // Nothing has to be seen whole, so each comes at once, with its part.
    assert_eq!(text(&rows), "b1 a1 b1 c9 +a2 +b1 +a1 +d4 a2");
    assert_eq!((tally.train, tally.later), (5, 4));
}

#[test]
fn once_means_once_in_each_part_and_the_first_counts() {
    let (rows, tally) = shaped(draft().unique(true), EVENTS);
    assert_eq!(text(&rows), "b1 a1 c9 a2 d4");
    assert_eq!((tally.train, tally.repeats), (5, 4));

    let (rows, tally) = shaped(draft().unique(true).train_until(at(50)), EVENTS);
    assert_eq!(text(&rows), "b1 a1 c9 a2 +a2 +b1 +a1 +d4");
    assert_eq!((tally.train, tally.later, tally.repeats), (4, 4, 1));
}

#[test]
fn entities_with_too_few_events_are_left_out() {
    let (rows, tally) = shaped(draft().min_events(3), EVENTS);
    assert_eq!(text(&rows), "b1 a1 b1 a2 b1 a1 a2");
    assert_eq!((tally.train, tally.few, tally.few_entities), (7, 2, 2));

    // Repeats count, also when they are not kept.
    let (rows, tally) = shaped(draft().min_events(3).unique(true), EVENTS);
    assert_eq!(text(&rows), "b1 a1 a2");
    assert_eq!((tally.train, tally.repeats, tally.few), (3, 4, 2));

    let (rows, tally) = shaped(draft().min_events(5).unique(true), EVENTS);
    assert_eq!(text(&rows), "");
    assert_eq!((tally.few, tally.few_entities, tally.repeats), (9, 4, 0));
}

#[test]
fn of_a_split_the_first_part_decides_who_stays() {
    // Before 50: a twice, b twice, c once, d never.
    let (rows, tally) = shaped(draft().min_events(2).train_until(at(50)), EVENTS);
    assert_eq!(text(&rows), "b1 a1 b1 a2 +a2 +b1 +a1");
    assert_eq!((tally.few, tally.few_entities), (2, 2));

    let (rows, tally) = shaped(draft().min_events(1).train_until(at(50)), EVENTS);
    assert_eq!(text(&rows), "b1 a1 b1 c9 a2 +a2 +b1 +a1");
    assert_eq!((tally.few, tally.few_entities), (1, 1));

    // None asked for, or none at all: all stay.
    let (_, tally) = shaped(draft().min_events(0).train_until(at(50)), EVENTS);
    assert_eq!((tally.few, tally.train, tally.later), (0, 5, 4));
}

#[test]
fn a_split_counts_events_without_a_time() {
    let shape = draft().train_until(at(50)).check().unwrap();
    let mut shaper = Shaper::new(&shape, |_: Part, _: &AccessEvent| Ok::<_, ShapeError>(()));
    shaper.push("a", Ipv4Addr::LOCALHOST, None).unwrap();
    shaper.push("a", Ipv4Addr::LOCALHOST, Some(at(1))).unwrap();
    let tally = shaper.finish().unwrap();
    assert_eq!((tally.untimed, tally.train, tally.later), (1, 1, 0));
}

#[test]
fn the_first_part_comes_out_before_the_later_one() {
    let (rows, _) = shaped(draft().train_until(at(50)).shuffle(3), EVENTS);
    assert!(rows.is_sorted_by_key(|(part, ..)| *part));
    assert_eq!(rows.len(), EVENTS.len());
}

#[test]
fn a_seed_decides_the_order() {
    let order = |seed| text(&shaped(draft().shuffle(seed), EVENTS).0);
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
    // The same for good: another order for the same seed would be another training.
    expect_test::expect!["a2 b1 b1 d4 a1 a1 a2 b1 c9"].assert_eq(&order(1));
}

#[test]
fn every_order_is_equally_likely() {
    // 24 orders of 4 over 48,000 seeds, neighbouring ones and far ones. For 23 degrees of freedom a chi-square above
    // 58.6 comes once in 16,000 times (p = 6e-5), and the seeds are fixed.
    let neighbours = |n: u64| n;
    let far = |n: u64| n << 40;
    for seeds in [neighbours as fn(u64) -> u64, far] {
        let mut counts: HashMap<Vec<usize>, f64> = HashMap::new();
        for n in 0..48_000 {
            let mut order: Vec<usize> = (0..4).collect();
            order.sort_by_key(|i| place(Some(seeds(n)), *i as u64));
            *counts.entry(order).or_default() += 1.0;
        }
        let chi: f64 = counts.values().map(|n| (n - 2000.0).powi(2) / 2000.0).sum();
        assert_eq!(counts.len(), 24);
        assert!(chi < 58.6, "{chi}");
    }
    // Where each of 64 events goes, over 12,800 seeds: no event prefers a place.
    let mut counts = vec![[0.0; 64]; 64];
    for seed in 0..12_800 {
        let mut order: Vec<usize> = (0..64).collect();
        order.sort_by_key(|i| place(Some(seed), *i as u64));
        for (at, event) in order.into_iter().enumerate() {
            counts[event][at] += 1.0;
        }
    }
    let chi: f64 = counts
        .iter()
        .flatten()
        .map(|n: &f64| (n - 200.0).powi(2) / 200.0)
        .sum();
    // 63 * 63 degrees of freedom: mean 3969, standard deviation 89.
    assert!((chi - 3969.0).abs() < 4.0 * 89.1, "{chi}");
}

#[test]
fn shuffled_after_repeats_are_gone_is_still_fair() {
    // `a` comes a hundred times, `b` once; of the two pairs that are left, each is first for half of the seeds.
    let mut first = 0;
    for seed in 0..2_000 {
        let shape = draft().unique(true).shuffle(seed).check().unwrap();
        let mut rows = Vec::new();
        let mut shaper = Shaper::new(&shape, |_: Part, event: &AccessEvent| {
            rows.push(event.entity.clone());
            Ok::<_, ShapeError>(())
        });
        for n in 0..101 {
            let entity = if n == 50 { "b" } else { "a" };
            shaper.push(entity, Ipv4Addr::LOCALHOST, None).unwrap();
        }
        shaper.finish().unwrap();
        first += usize::from(rows == ["a", "b"]);
    }
    // Standard deviation 22.
    assert!(first.abs_diff(1000) < 90, "{first}");
}

#[test]
fn settings_are_checked() {
    let messages: Vec<_> = [
        draft().memory(LEAST_MEMORY - 1),
        draft().min_events(MOST_MIN_EVENTS + 1),
        Shape::draft("/nowhere/at/all").shuffle(1),
    ]
    .into_iter()
    .map(|draft| draft.check().unwrap_err().to_string())
    .collect();
    expect_test::expect![[r#"
        `memory` must be at least 1048576 bytes, got 1048575
        `min_events` must be at most 1000000, got 1000001
        the folder for temporary files, `/nowhere/at/all`, is not a folder"#]]
    .assert_eq(&messages.join("\n"));
    // What is never needed need not be there.
    assert!(Shape::draft("/nowhere/at/all").train_until(at(1)).check().is_ok());
}

// Sorting by itself: with so little memory that everything is spilled and merged several times over.

#[derive(Debug, Clone, PartialEq)]
struct Owned(u64, Part, Ipv4Addr, String);

fn own(row: Row<'_>) -> Owned {
    Owned(row.place, row.part, row.ip, row.entity.to_owned())
}

fn in_memory(_: &Path) -> io::Result<Box<dyn sort::Scratch>> {
    Ok(Box::new(Cursor::new(Vec::new())))
}

fn sorted(order: Order, memory: usize, rows: &[Owned]) -> (Vec<Owned>, u64) {
    let mut sorter = Sorter::with(order, memory, Path::new("memory"), in_memory);
    for Owned(place, part, ip, entity) in rows {
        sorter
            .push(Row {
                place: *place,
                part: *part,
                ip: *ip,
                entity,
            })
            .unwrap();
    }
    let mut out = Vec::new();
    let spilled = sorter
        .finish(|row| {
            out.push(own(row));
            Ok::<_, ShapeError>(())
        })
        .unwrap();
    (out, spilled)
}

proptest! {
    #[test]
    fn spilling_changes_nothing(
        rows in proptest::collection::vec((any::<bool>(), 0_u32..40, "[a-c]{1,3}|é{0,9}"), 0..400),
        memory in 0_usize..3_000,
        by_entity in any::<bool>(),
    ) {
        let order = if by_entity { Order::Entity } else { Order::Place };
        let rows: Vec<_> = rows.into_iter().enumerate().map(|(n, (later, ip, entity))| {
            let part = if later { Part::Later } else { Part::Train };
            Owned(place(Some(5), n as u64), part, ip.into(), entity)
        }).collect();
        let mut expected = rows.clone();
        expected.sort_by_key(|Owned(place, part, ip, entity)| match order {
            Order::Entity => (entity.clone(), *part, *ip, *place),
            Order::Place => (String::new(), *part, Ipv4Addr::UNSPECIFIED, *place),
        });
        let (inside, none) = sorted(order, 1 << 30, &rows);
        prop_assert_eq!(none, 0);
        prop_assert_eq!(&inside, &expected);
        let (outside, _) = sorted(order, memory, &rows);
        prop_assert_eq!(&outside, &expected);
    }
}

proptest! {
    // Each case is large enough to leave memory.
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn a_shuffle_is_a_permutation_in_and_out_of_memory(
        seed in any::<u64>(),
        count in 40_000_u32..60_000,
        unique in any::<bool>(),
        least in 0_u64..3,
    ) {
        let mut results = Vec::new();
        for memory in [LEAST_MEMORY, MEMORY] {
            let shape = draft().memory(memory).shuffle(seed).unique(unique).min_events(least).check().unwrap();
            let mut rows = Vec::new();
            let mut shaper = Shaper::new(&shape, |_: Part, event: &AccessEvent| {
                rows.push((event.entity.clone(), event.ip));
                Ok::<_, ShapeError>(())
            });
            for n in 0..count {
                shaper.push(&format!("user_{}", n % 3_001), n.into(), None).unwrap();
            }
            let tally = shaper.finish().unwrap();
            results.push((rows, Tally { spilled: 0, ..tally }, tally.spilled));
        }
        prop_assert!(results[0].2 > 0 && results[1].2 == 0, "{} {}", results[0].2, results[1].2);
        prop_assert!(results[0].0 == results[1].0);
        prop_assert_eq!(results[0].1, results[1].1);
        let mut numbers: Vec<u32> = results[0].0.iter().map(|(_, ip)| u32::from(*ip)).collect();
        numbers.sort_unstable();
        prop_assert!(numbers.into_iter().eq(0..count));
    }
}

#[test]
fn many_runs_are_merged_in_several_steps() {
    // Room for next to nothing: more than a thousand runs, so that runs of runs are merged.
    let rows: Vec<_> = (0..40_000)
        .map(|n| {
            Owned(
                place(Some(9), n),
                Part::Train,
                (n as u32).into(),
                format!("e{}", n % 7),
            )
        })
        .collect();
    let (out, spilled) = sorted(Order::Place, 1000, &rows);
    let mut expected = rows.clone();
    expected.sort_by_key(|row| row.0);
    assert_eq!(out, expected);
    let once: usize = rows.iter().map(|row| 17 + row.3.len()).sum();
    assert!(
        spilled > 2 * once as u64,
        "each row is written at least three times: {spilled} of {once}"
    );
}

/// A file that holds so many bytes and no more, like a full disk; or that gives an error when it is read.
struct Poor {
    inner: Cursor<Vec<u8>>,
    left: Arc<AtomicU64>,
    readable: bool,
}

impl Write for Poor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left.load(Atomic::Relaxed) < bytes.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.left.fetch_sub(bytes.len() as u64, Atomic::Relaxed);
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Poor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.readable {
            self.inner.read(buffer)
        } else {
            Err(io::Error::other("a bad sector"))
        }
    }
}

impl Seek for Poor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

fn poor(bytes: u64, readable: bool) -> Result<(), ShapeError> {
    let left = Arc::new(AtomicU64::new(bytes));
    let mut sorter = Sorter::with(Order::Place, 10_000, Path::new("tmp"), move |_| {
        Ok(Box::new(Poor {
            inner: Cursor::default(),
            left: Arc::clone(&left),
            readable,
        }))
    });
    for number in 0..5_000 {
        sorter.push(Row {
            place: number,
            part: Part::Train,
            ip: Ipv4Addr::LOCALHOST,
            entity: "alice",
        })?;
    }
    sorter.finish(|_| Ok::<_, ShapeError>(())).map(drop)
}

#[test]
fn a_full_disk_and_a_bad_one_are_told_apart() {
    assert!(poor(u64::MAX, true).is_ok());
    for bytes in [0, 1_000, 50_000, 109_000] {
        let error = poor(bytes, true).unwrap_err();
        assert!(
            matches!(&error, ShapeError::Spill { source, .. }
            if source.kind() == io::ErrorKind::StorageFull),
            "{bytes}: {error}"
        );
        assert_eq!(
            error.to_string(),
            "could not write events that do not fit into memory to a temporary file in `tmp`; \
             the disk is full, so give another folder or more memory"
        );
    }
    let error = poor(u64::MAX, false).unwrap_err();
    assert!(matches!(&error, ShapeError::Restore { .. }));
    assert_eq!(error.to_string(), "could not read a temporary file in `tmp` back");
}

#[test]
fn a_folder_that_goes_away_is_an_error_when_it_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape::draft(folder.path())
        .memory(LEAST_MEMORY)
        .shuffle(1)
        .check()
        .unwrap();
    drop(folder);
    let mut shaper = Shaper::new(&shape, |_: Part, _: &AccessEvent| Ok::<_, ShapeError>(()));
    let error = (0..200_000_u32)
        .find_map(|n| shaper.push("alice", n.into(), None).err())
        .unwrap();
    assert!(matches!(error, ShapeError::Spill { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn no_file_is_left_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    let shape = Shape::draft(folder.path())
        .memory(LEAST_MEMORY)
        .shuffle(1)
        .unique(true)
        .check()
        .unwrap();
    let fill = |give: &dyn Fn(usize) -> Result<(), ShapeError>, finish: bool| {
        let mut given = 0;
        let mut shaper = Shaper::new(&shape, |_: Part, _: &AccessEvent| {
            given += 1;
            assert_eq!(files(), 0, "while events are given out");
            give(given)
        });
        for n in 0..100_000_u32 {
            shaper.push("alice", n.into(), None).unwrap();
        }
        assert_eq!(files(), 0, "while events are taken");
        finish.then(|| shaper.finish())
    };
    // It ends, its receiver fails, it is dropped.
    let tally = fill(&|_| Ok(()), true).unwrap().unwrap();
    assert!(tally.spilled > 0);
    assert_eq!((tally.train, files()), (100_000, 0));
    let fails = |given| {
        if given < 50_000 {
            Ok(())
        } else {
            Err(ShapeError::MinEvents { events: 0 })
        }
    };
    assert!(fill(&fails, true).unwrap().is_err());
    assert_eq!(files(), 0);
    assert!(fill(&|_| Ok(()), false).is_none());
    assert_eq!(files(), 0);
}
