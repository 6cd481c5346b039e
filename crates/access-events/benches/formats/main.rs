//! How fast records become sightings, sightings pairs, and events are shaped. Run with `cargo bench -p access-events --bench formats`.
#![expect(clippy::unwrap_used, reason = "a benchmark fails loudly")]

#[path = "../support/line_logs.rs"]
mod line_logs;
#[allow(unreachable_pub, reason = "a file of several programs")]
#[path = "../support/logs.rs"]
mod logs;

use std::hint::black_box;
use std::io::Write as _;
use std::net::Ipv4Addr;

use access_events::format::{CloudTrail, Csv, FlowLog, Format, JsonLines, Malformed, Sink, Stopped, WebLog};
use access_events::shape::{Draft, Part, Shape, ShapeError, Shaper};
use access_events::{AccessEvent, DropReason, Extract, Input, Sighting};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use flate2::Compression;
use flate2::write::GzEncoder;

const SEED: u64 = 7;
const BYTES: usize = 32 << 20;

fn main() {
    divan::main();
}

/// Looks at what it is told and keeps nothing.
struct Nothing;

impl Sink for Nothing {
    fn record(&mut self) {}

    fn sighting(&mut self, sighting: Sighting<'_>) -> Result<(), Stopped> {
        black_box(sighting);
        Ok(())
    }

    fn dropped(&mut self, reason: DropReason) {
        black_box(reason);
    }

    fn malformed(&mut self, _: Malformed) -> Result<(), Stopped> {
        Err(Stopped) // makes the reading fail
    }
}

fn read(bencher: Bencher<'_, '_>, format: &dyn Format, text: &str) {
    bencher
        .counter(BytesCount::of_str(text))
        .bench_local(|| format.read(&mut text.as_bytes(), &mut Nothing).unwrap());
}

/// A record is told to a sink; no policy, no copies.
mod format {
    use super::*;

    #[divan::bench(sample_count = 20)]
    fn cloudtrail_32_mib(bencher: Bencher<'_, '_>) {
        read(bencher, &CloudTrail::new(), &logs::cloudtrail(SEED, BYTES));
    }

    #[divan::bench(sample_count = 20)]
    fn flow_log_32_mib(bencher: Bencher<'_, '_>) {
        read(bencher, &FlowLog::new(), &line_logs::flow_log(SEED, BYTES));
    }

    #[divan::bench(sample_count = 20)]
    fn web_log_32_mib(bencher: Bencher<'_, '_>) {
        let log = WebLog::new().request("GET /login_success").status(200);
        read(bencher, &log, &line_logs::web_log(SEED, BYTES));
    }

    #[divan::bench(sample_count = 20)]
    fn web_log_all_requests_32_mib(bencher: Bencher<'_, '_>) {
        read(bencher, &WebLog::new(), &line_logs::web_log(SEED, BYTES));
    }

    #[divan::bench(sample_count = 20)]
    fn csv_32_mib(bencher: Bencher<'_, '_>) {
        // The same flows as a table.
        let text = line_logs::flow_log(SEED, BYTES).replace(' ', ",");
        let csv = Csv::draft("interface-id", "srcaddr").check().unwrap();
        read(bencher, &csv, &text);
    }

    #[divan::bench(sample_count = 20)]
    fn json_lines_32_mib(bencher: Bencher<'_, '_>) {
        let mut text = String::new();
        for line in line_logs::flow_log(SEED, BYTES / 3).lines().skip(1) {
            let fields: Vec<_> = line.split(' ').collect();
            let [eni, from, to, port, size, start] = [2, 3, 4, 6, 9, 10].map(|index| fields[index]);
            text += &format!(
                "{{\"interface\":{{\"id\":\"{eni}\",\"tags\":[\"a\",\"b\"]}},\"source\":{{\"ip\":\"{from}\",\"geo\":null}},\
                 \"destination\":{{\"ip\":\"{to}\",\"port\":\"{port}\"}},\"bytes\":\"{size}\",\"start\":\"{start}\"}}\n"
            );
        }
        let json = JsonLines::draft("interface.id", "source.ip").check().unwrap();
        read(bencher, &json, &text);
    }
}

/// From bytes to pairs with the default policy, on one thread that reads and one that takes.
mod extract {
    use super::*;

    /// `unpacked` is how many bytes there are to read, about.
    fn pairs(bencher: Bencher<'_, '_>, format: impl Format + 'static, stored: &[u8], unpacked: usize) {
        let extract = Extract::of(format).threads(std::num::NonZeroUsize::MIN);
        bencher
            .counter(BytesCount::new(unpacked))
            .with_inputs(|| [Input::bytes("log", stored.to_vec())])
            .bench_local_values(|inputs| {
                extract
                    .run(inputs, |dated| {
                        black_box(dated);
                        Ok(())
                    })
                    .unwrap()
            });
    }

    #[divan::bench(sample_count = 20)]
    fn cloudtrail_32_mib(bencher: Bencher<'_, '_>) {
        pairs(
            bencher,
            CloudTrail::new(),
            logs::cloudtrail(SEED, BYTES).as_bytes(),
            BYTES,
        );
    }

    #[divan::bench(sample_count = 20)]
    fn cloudtrail_gzip_of_32_mib(bencher: Bencher<'_, '_>) {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(logs::cloudtrail(SEED, BYTES).as_bytes()).unwrap();
        pairs(bencher, CloudTrail::new(), &gzip.finish().unwrap(), BYTES);
    }

    #[divan::bench(sample_count = 20)]
    fn flow_log_32_mib(bencher: Bencher<'_, '_>) {
        pairs(
            bencher,
            FlowLog::new(),
            line_logs::flow_log(SEED, BYTES).as_bytes(),
            BYTES,
        );
    }

    #[divan::bench(sample_count = 20)]
    fn web_log_32_mib(bencher: Bencher<'_, '_>) {
        let log = WebLog::new().request("GET /login_success").status(200);
        pairs(bencher, log, line_logs::web_log(SEED, BYTES).as_bytes(), BYTES);
    }
}

/// A million events of 10,000 entities.
mod shape {
    use super::*;

    const EVENTS: u32 = 1_000_000;

    fn shape(bencher: Bencher<'_, '_>, draft: impl Fn(Draft) -> Draft) {
        let folder = tempfile::tempdir().unwrap();
        let shape = draft(Shape::draft(folder.path())).check().unwrap();
        let names: Vec<_> = (0..10_000).map(|n| format!("user_{n}")).collect();
        bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
            let mut shaper = Shaper::new(&shape, |_: Part, event: &AccessEvent| {
                black_box(event);
                Ok::<_, ShapeError>(())
            });
            for n in 0..EVENTS {
                let ip = Ipv4Addr::from(n.wrapping_mul(0x9e37_79b9) >> 4);
                shaper.push(&names[(n % 9973) as usize], ip, None).unwrap();
            }
            shaper.finish().unwrap()
        });
    }

    #[divan::bench(sample_count = 10)]
    fn shuffle_in_memory(bencher: Bencher<'_, '_>) {
        shape(bencher, |draft| draft.shuffle(1));
    }

    #[divan::bench(sample_count = 10)]
    fn shuffle_in_2_mib(bencher: Bencher<'_, '_>) {
        shape(bencher, |draft| draft.shuffle(1).memory(2 << 20));
    }

    #[divan::bench(sample_count = 10)]
    fn unique_and_shuffle_in_memory(bencher: Bencher<'_, '_>) {
        shape(bencher, |draft| draft.unique(true).min_events(3).shuffle(1));
    }

    #[divan::bench(sample_count = 10)]
    fn unique_and_shuffle_in_4_mib(bencher: Bencher<'_, '_>) {
        shape(bencher, |draft| {
            draft.unique(true).min_events(3).shuffle(1).memory(4 << 20)
        });
    }
}
