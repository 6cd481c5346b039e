//! `ipinsights lookup`: in which network and country addresses are.

use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context;
use geodata::Database;
use indicatif::HumanCount;
use ipnet::Ipv4Net;
use serde::Serialize;

use crate::cli::LookupArgs;
use crate::database::{self, System};
use crate::exit::Failure;
use crate::output::{Output, printable};
use crate::progress::Progress;

/// One address in JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Found<'a> {
    Known {
        address: Ipv4Addr,
        network: Ipv4Net,
        code: Option<String>,
        country: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        asn: Option<Option<System<'a>>>,
    },
    Unknown {
        address: Ipv4Addr,
        network: (),
    },
    Bad {
        line: u64,
        text: &'a str,
        error: &'static str,
    },
}

/// How many addresses there were of each kind.
#[derive(Debug, Default)]
struct Counts {
    known: u64,
    unknown: u64,
    bad: u64,
}

/// Runs the command.
pub fn run(args: &LookupArgs, output: &Output) -> anyhow::Result<()> {
    let stdout = std::io::stdout();
    // Answers on a terminal are progress enough.
    let progress = Progress::late(output.quiet || stdout.is_terminal());
    let mut options = database::options(&args.source.reading);
    if let Some(asn) = &args.asn {
        options = options.asn_database(asn);
    }
    let database = database::open(&args.source, options, &progress)?;
    progress.now("waiting for addresses");
    let mut answers = Answers {
        out: BufWriter::with_capacity(1 << 16, stdout.lock()),
        json: output.is_json(),
        with_asn: args.asn.is_some(),
        counts: Counts::default(),
        place: if args.addresses.is_empty() {
            "line"
        } else {
            "argument"
        },
        first_bad: None,
        database: &database,
        progress: &progress,
    };
    for (number, text) in (1..).zip(&args.addresses) {
        answers.answer(number, text.trim())?;
    }
    if args.addresses.is_empty() {
        answers.lines(std::io::stdin().lock())?;
    }
    progress.finish();
    answers.end()
}

/// The address that a text is.
fn parse(text: &str) -> Result<Ipv4Addr, &'static str> {
    match text.parse() {
        Ok(IpAddr::V4(address)) => Ok(address),
        // An IPv4 address, as systems write it that know both.
        Ok(IpAddr::V6(address)) => address
            .to_ipv4_mapped()
            .ok_or("an IPv6 address; only IPv4 addresses can be looked up"),
        Err(_) => Err("not an IPv4 address"),
    }
}

/// Prints answers as they come.
struct Answers<'a, W: Write> {
    out: W,
    json: bool,
    with_asn: bool,
    counts: Counts,
    /// What the numbers count.
    place: &'static str,
    /// The first of what was no address.
    first_bad: Option<String>,
    database: &'a Database,
    progress: &'a Progress,
}

impl<W: Write> Answers<'_, W> {
    fn answer(&mut self, line: u64, text: &str) -> anyhow::Result<()> {
        let before = self.counts.all();
        if before == 0 {
            self.begin()?;
        }
        if before.is_multiple_of(1 << 16) {
            self.progress.slowly(&format!("{} addresses", HumanCount(before)));
        }
        let network;
        let found = match parse(text) {
            Err(error) => {
                self.counts.bad += 1;
                let place = self.place;
                self.first_bad
                    .get_or_insert_with(|| format!("{place} {line}, `{text}`: {error}"));
                Found::Bad { line, text, error }
            }
            Ok(address) => {
                network = self.database.lookup(address)?;
                match &network {
                    None => {
                        self.counts.unknown += 1;
                        Found::Unknown { address, network: () }
                    }
                    Some(network) => {
                        self.counts.known += 1;
                        Found::Known {
                            address,
                            network: network.prefix,
                            code: network.country.as_ref().map(|country| country.code.to_string()),
                            country: network.country.as_ref().map(|country| &*country.name),
                            asn: self.with_asn.then(|| System::of(network)),
                        }
                    }
                }
            }
        };
        if self.json {
            let comma = if before == 0 { "" } else { "," };
            write!(self.out, "{comma}\n    {}", serde_json::to_string(&found)?)?;
        } else {
            self.text(&found)?;
        }
        Ok(())
    }

    /// Answers the lines that are not blank. Addresses are short, so the end of a long line is left out: what never ends a line is no
    /// address, and must not fill the memory.
    fn lines(&mut self, lines: impl Read) -> anyhow::Result<()> {
        const LONGEST: u64 = 64;

        let mut lines = BufReader::with_capacity(1 << 16, lines);
        let mut line = Vec::new();
        for number in 1.. {
            if !lines.buffer().contains(&b'\n') {
                // Who waits for answers before the next question gets them.
                self.out.flush()?;
            }
            line.clear();
            let read = lines.by_ref().take(LONGEST).read_until(b'\n', &mut line);
            if read.context("on stdin")? == 0 {
                break;
            }
            let cut = line.len() as u64 == LONGEST && !line.ends_with(b"\n");
            if cut {
                lines.skip_until(b'\n').context("on stdin")?;
            }
            let mut text = String::from_utf8_lossy(&line);
            if cut {
                text.to_mut().push('…');
            }
            if !text.trim().is_empty() {
                self.answer(number, text.trim())?;
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        if self.json {
            let metadata = self.database.metadata();
            let database = serde_json::json!({
                "type": metadata.database_type,
                "built": metadata.built,
                "sha256": self.database.sha256(),
            });
            write!(
                self.out,
                "{{\n  \"version\": 1,\n  \"database\": {database},\n  \"addresses\": ["
            )?;
        } else {
            self.line("address", "network", "code", "country", "system")?;
        }
        Ok(())
    }

    fn text(&mut self, found: &Found<'_>) -> std::io::Result<()> {
        match found {
            Found::Known {
                address,
                network,
                code,
                country,
                asn,
            } => {
                let system = asn
                    .as_ref()
                    .and_then(Option::as_ref)
                    .map_or_else(String::new, |system| {
                        format!("AS{} {}", system.number, system.organization.unwrap_or_default())
                    });
                self.line(
                    &address.to_string(),
                    &network.to_string(),
                    code.as_deref().unwrap_or("-"),
                    country.unwrap_or("no country"),
                    &system,
                )
            }
            Found::Unknown { address, .. } => {
                self.line(&address.to_string(), "-", "-", "not in the database", "")
            }
            Found::Bad { line, text, error } => {
                writeln!(self.out, "{}: {error} ({} {line})", printable(text), self.place)
            }
        }
    }

    /// Columns as wide as they can become, for nobody knows what comes.
    fn line(
        &mut self,
        address: &str,
        network: &str,
        code: &str,
        country: &str,
        system: &str,
    ) -> std::io::Result<()> {
        let system = if self.with_asn { system } else { "" };
        let line = format!("{address:<15}  {network:<18}  {code:<4}  {country:<24}  {system}");
        writeln!(self.out, "{}", line.trim_end())
    }

    fn end(mut self) -> anyhow::Result<()> {
        let Counts { known, unknown, bad } = self.counts;
        let all = self.counts.all();
        if all == 0 {
            return Err(Failure::usage("no addresses: give them as arguments or on stdin").into());
        }
        if self.json {
            writeln!(
                self.out,
                "\n  ],\n  \"known\": {known},\n  \"unknown\": {unknown},\n  \"bad\": {bad}\n}}"
            )?;
        }
        self.out.flush()?;
        match self.first_bad {
            None => Ok(()),
            Some(first) => Err(Failure::data(format!(
                "{bad} of {all} cannot be looked up, the first in {first}"
            ))
            .into()),
        }
    }
}

impl Counts {
    fn all(&self) -> u64 {
        self.known + self.unknown + self.bad
    }
}
