//! `ipinsights list`: the networks of a country.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufWriter, IsTerminal, Write};
use std::net::Ipv4Addr;

use geodata::{Country, CountryCode, CountryFilter};
use ipnet::Ipv4Net;
use serde::Serialize;

use crate::cli::ListArgs;
use crate::database::{self, System};
use crate::exit::Failure;
use crate::output::{Format, Output};
use crate::progress::Progress;

/// One network in JSON Lines.
#[derive(Debug, Serialize)]
struct Line<'a> {
    network: Ipv4Net,
    first: Ipv4Addr,
    last: Ipv4Addr,
    addresses: u64,
    code: &'a str,
    country: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    asn: Option<Option<System<'a>>>,
}

/// Runs the command.
pub fn run(args: &ListArgs, output: &Output) -> anyhow::Result<()> {
    if !matches!(args.format, Format::Cidr | Format::Csv | Format::Jsonl) {
        return Err(Failure::usage("`list` prints --format cidr, csv or jsonl").into());
    }
    let mut filter = CountryFilter::new(&args.country)?;
    // Lines on a terminal are progress enough.
    let progress = Progress::late(output.quiet || (std::io::stdout().is_terminal() && !args.aggregate));
    let mut options = database::options(&args.source.reading);
    if let Some(asn) = &args.asn {
        options = options.asn_database(asn);
    }
    let database = database::open(&args.source, options, &progress)?;
    let mut printer = Printer {
        out: BufWriter::with_capacity(1 << 16, std::io::stdout().lock()),
        format: args.format,
        with_asn: args.asn.is_some(),
        begun: false,
    };
    // Only what is joined has to be in memory.
    let mut kept: BTreeMap<CountryCode, (Country, Vec<Ipv4Net>)> = BTreeMap::new();
    for (walked, network) in (0_u64..).zip(database.networks()) {
        if walked.is_multiple_of(1 << 16) {
            progress.walked(walked);
        }
        let network = network?;
        let Some(country) = network.country.as_ref().filter(|country| filter.has(country)) else {
            continue;
        };
        if args.aggregate {
            let (_, networks) = kept
                .entry(country.code)
                .or_insert_with(|| (country.clone(), Vec::new()));
            networks.push(network.prefix);
        } else {
            printer.print(network.prefix, country, System::of(&network))?;
        }
    }
    filter.finish(&database)?;
    progress.finish();
    let mut joined: Vec<(Ipv4Net, Country)> = Vec::new();
    for (country, networks) in kept.into_values() {
        let networks = Ipv4Net::aggregate(&networks);
        joined.extend(networks.into_iter().map(|network| (network, country.clone())));
    }
    joined.sort_unstable();
    for (network, country) in &joined {
        printer.print(*network, country, None)?;
    }
    Ok(printer.out.flush()?)
}

/// Prints networks as they come.
struct Printer<W: Write> {
    out: W,
    format: Format,
    with_asn: bool,
    begun: bool,
}

impl<W: Write> Printer<W> {
    fn print(&mut self, network: Ipv4Net, country: &Country, asn: Option<System<'_>>) -> anyhow::Result<()> {
        let line = Line {
            network,
            first: network.network(),
            last: network.broadcast(),
            addresses: u64::from(network.hostmask().to_bits()) + 1,
            code: country.code.as_str(),
            country: &country.name,
            asn: self.with_asn.then_some(asn),
        };
        match self.format {
            Format::Csv => self.csv(&line)?,
            Format::Jsonl => writeln!(self.out, "{}", serde_json::to_string(&line)?)?,
            _ => writeln!(self.out, "{network}")?,
        }
        Ok(())
    }

    fn csv(&mut self, line: &Line<'_>) -> std::io::Result<()> {
        if !self.begun {
            self.begun = true;
            let asn = if self.with_asn { ",asn,organization" } else { "" };
            writeln!(self.out, "network,first,last,addresses,code,country{asn}")?;
        }
        let Line {
            network,
            first,
            last,
            addresses,
            code,
            country,
            asn,
        } = line;
        let country = quoted(country);
        write!(self.out, "{network},{first},{last},{addresses},{code},{country}")?;
        match asn {
            None => {}
            Some(None) => write!(self.out, ",,")?,
            Some(Some(system)) => {
                let organization = quoted(system.organization.unwrap_or_default());
                write!(self.out, ",{},{organization}", system.number)?;
            }
        }
        writeln!(self.out)
    }
}

/// A field of CSV, as RFC 4180 has it.
fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(
            quoted("Bonaire, Sint Eustatius, and Saba"),
            "\"Bonaire, Sint Eustatius, and Saba\""
        );
        assert_eq!(quoted("a \"b\""), "\"a \"\"b\"\"\"");
        assert_eq!(quoted("Côte d'Ivoire"), "Côte d'Ivoire");
    }
}
