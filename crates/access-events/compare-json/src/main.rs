//! The same records read in several ways: from decompressed bytes to principal, address and time.
#![allow(unreachable_pub, reason = "a file of several programs")]

#[path = "../../benches/support/logs.rs"]
mod logs;

use std::borrow::Cow;
use std::hint::black_box;
use std::time::{Duration, Instant};

use access_events::format::{CloudTrail, Format, Malformed, Sink, Stopped};
use access_events::{DropReason, Sighting};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

const SEED: u64 = 7;
const BYTES: usize = 32 << 20;
const ROUNDS: usize = 7;

/// A text that borrows where it has no escapes. (Serde borrows a `Cow` only where it is a field by itself.)
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Log<'a> {
    #[serde(borrow, rename = "Records")]
    records: Vec<Record<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow)]
    event_time: Option<Text<'a>>,
    #[serde(borrow)]
    event_type: Option<Text<'a>>,
    #[serde(borrow)]
    event_category: Option<Text<'a>>,
    #[serde(borrow, rename = "sourceIPAddress")]
    address: Option<Text<'a>>,
    #[serde(borrow)]
    user_identity: Option<Identity<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    principal_id: Option<Text<'a>>,
    #[serde(borrow)]
    arn: Option<Text<'a>>,
    #[serde(borrow)]
    user_name: Option<Text<'a>>,
    #[serde(borrow)]
    invoked_by: Option<Text<'a>>,
    #[serde(borrow)]
    session_context: Option<SessionContext<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionContext<'a> {
    #[serde(borrow)]
    session_issuer: Option<Issuer<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Issuer<'a> {
    #[serde(borrow)]
    user_name: Option<Text<'a>>,
}

/// What everyone has to find: how many uses there are, and the length of what they say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    records: u64,
    uses: u64,
    bytes: usize,
}

impl Found {
    fn of(&mut self, record: &Record<'_>) {
        let text = |text: &Option<Text<'_>>| text.as_ref().map_or(0, |text| text.0.len());
        self.records += 1;
        let Some(identity) = &record.user_identity else {
            return;
        };
        black_box((
            &record.event_type,
            &record.event_category,
            &identity.arn,
            &identity.invoked_by,
        ));
        let issuer = identity
            .session_context
            .as_ref()
            .and_then(|context| context.session_issuer.as_ref());
        black_box(
            identity
                .user_name
                .as_ref()
                .or(issuer.and_then(|issuer| issuer.user_name.as_ref())),
        );
        if identity.kind.as_ref().is_some_and(|kind| kind.0 == "AWSService") {
            return;
        }
        self.uses += 1;
        self.bytes += text(&identity.principal_id) + text(&record.address) + text(&record.event_time);
    }
}

impl Sink for Found {
    fn record(&mut self) {
        self.records += 1;
    }

    fn sighting(&mut self, sighting: Sighting<'_>) -> Result<(), Stopped> {
        self.uses += 1;
        self.bytes += sighting.principal.id.map_or(0, str::len) + sighting.address.len();
        // Here the time is a moment already.
        self.bytes += sighting.time.map_or(0, |_| "2025-03-04T09:12:44Z".len());
        Ok(())
    }

    fn dropped(&mut self, _: DropReason) {}

    fn malformed(&mut self, _: Malformed) -> Result<(), Stopped> {
        Err(Stopped)
    }
}

/// A record at a time from a reader, which cannot borrow.
struct Stream<'f>(&'f mut Found);

impl<'de> DeserializeSeed<'de> for Stream<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Stream<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a document with `Records`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "Records" {
                map.next_value_seed(Array(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Array<'f>(&'f mut Found);

impl<'de> DeserializeSeed<'de> for Array<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Array<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<(), A::Error> {
        while let Some(record) = records.next_element::<Record<'de>>()? {
            self.0.of(&record);
        }
        Ok(())
    }
}

fn all(log: &Log<'_>) -> Found {
    let mut found = Found::default();
    log.records.iter().for_each(|record| found.of(record));
    found
}

fn main() {
    let text = logs::cloudtrail(SEED, BYTES);
    let bytes = text.as_bytes();
    println!(
        "{:.1} MB of CloudTrail, best of {ROUNDS} rounds, processor time",
        bytes.len() as f64 / 1e6
    );
    let (expected, own) = best(|| {
        let mut found = Found::default();
        CloudTrail::new().read(&mut &bytes[..], &mut found).unwrap();
        found
    });
    let show = |name: &str, memory: &str, (found, time): (Found, Duration)| {
        assert_eq!(found, expected, "{name}");
        println!(
            "{name:40} {:6.0} MB/s {:6.2} of our time  {memory}",
            bytes.len() as f64 / 1e6 / time.as_secs_f64(),
            time.as_secs_f64() / own.as_secs_f64(),
        );
    };
    let (streams, whole) = ("a record in memory", "the file in memory");
    show("access-events", streams, (Found { ..expected }, own));
    show(
        "serde_json, streamed",
        streams,
        best(|| {
            let mut found = Found::default();
            let mut reader =
                serde_json::Deserializer::from_reader(std::io::BufReader::with_capacity(1 << 16, bytes));
            Stream(&mut found).deserialize(&mut reader).unwrap();
            found
        }),
    );
    show(
        "serde_json, borrowed",
        whole,
        best(|| all(&serde_json::from_slice(bytes).unwrap())),
    );
    show(
        "sonic-rs, borrowed",
        whole,
        best(|| all(&sonic_rs::from_slice(bytes).unwrap())),
    );
    show(
        "sonic-rs, borrowed, unchecked",
        whole,
        best(|| {
            // SAFETY: the text is JSON; it was made here.
            all(&unsafe { sonic_rs::from_slice_unchecked(bytes) }.unwrap())
        }),
    );
    show(
        "simd-json, borrowed (of a copy)",
        whole,
        best(|| {
            let mut copy = bytes.to_vec();
            all(&simd_json::serde::from_slice(&mut copy).unwrap())
        }),
    );
}

fn best(mut run: impl FnMut() -> Found) -> (Found, Duration) {
    let mut rounds = (0..ROUNDS).map(|_| {
        let (start, cpu) = (Instant::now(), processor_time());
        let found = run();
        let time = match (cpu, processor_time()) {
            (Some(before), Some(after)) => after - before,
            _ => start.elapsed(),
        };
        (found, time)
    });
    let first = rounds.next().unwrap_or_default();
    rounds.fold(first, |best, next| if next.1 < best.1 { next } else { best })
}

/// What this thread has had of the processor.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(
        text.split_whitespace().next()?.parse().ok()?,
    ))
}
