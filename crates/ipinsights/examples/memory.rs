//! What training takes at its peak for so many rows in a file: `cargo run --release -p ipinsights --example memory --
//! rows=100000000`. Other arguments are hyperparameters.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::time::Instant;

use access_events::AccessEvent;
use ipinsights::{Dataset, Draft, Progress, Training};

#[expect(clippy::print_stdout, reason = "an example")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut map: BTreeMap<String, String> = [
        ("num_entity_vectors", "20000"),
        ("vector_dim", "32"),
        ("epochs", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for argument in std::env::args().skip(1) {
        let (name, value) = argument.split_once('=').ok_or("arguments are name=value")?;
        map.insert(name.to_owned(), value.to_owned());
    }
    let number: u64 = map.remove("rows").unwrap_or("1000000".to_owned()).parse()?;
    let params = Draft::from_map(&map).0.check()?;
    let rows = (0..number).map(|i| -> Result<AccessEvent, std::convert::Infallible> {
        // Ten thousand users, each at home in one /20.
        let random = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let user = random % 10_000;
        let address = (user as u32).wrapping_mul(0x9e37_79b1) & 0xffff_f000 | (random >> 20) as u32 & 0xfff;
        Ok(AccessEvent::new(format!("user_{user}"), address.into()))
    });
    let folder = tempfile::tempdir()?;
    let began = Instant::now();
    let rows = Dataset::to_file(rows, &params, &folder.path().join("rows"))?;
    println!("{number} rows written in {:.1} s", began.elapsed().as_secs_f64());

    let (began, mut state) = (Instant::now(), 0);
    Training::new(&params, &rows).run(&mut |news| {
        if let Progress::Started { weights, .. } = news {
            state = 3 * 4 * weights;
        }
        ControlFlow::Continue(())
    })?;
    println!("trained in {:.1} s", began.elapsed().as_secs_f64());
    println!(
        "weights and moments: {:.1} MiB",
        state as f64 / f64::from(1 << 20)
    );
    // Linux says it; elsewhere the example is of less use.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmHWM")) {
        println!("peak: {line}");
    }
    Ok(())
}
