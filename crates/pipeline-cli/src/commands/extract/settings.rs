//! What the arguments ask for: the format, the policy, the shape.

use std::num::NonZeroUsize;
use std::path::Path;

use access_events::format::{CloudTrail, Csv, FlowLog, GuardDuty, JsonLines, Ocsf, WebLog};
use access_events::shape::Shape;
use access_events::{Extract, Policy, extract};
use anyhow::Context;

use crate::cli::{ExtractArgs, KindArgs, LogKind, OnError, Selection, Shaping};
use crate::exit::Failure;

/// How to read.
pub(super) fn extraction(args: &ExtractArgs) -> anyhow::Result<Extract> {
    let timeless = matches!(args.from, Some(LogKind::Csv | LogKind::Jsonl)) && args.kinds.time.is_none();
    if timeless && args.shaping.train_until.is_some() {
        return Err(usage("--train-until needs --time, the field of the time").into());
    }
    let extract = reading(args.from, &args.kinds, &args.selection, args.on_error)?;
    Ok(match NonZeroUsize::new(args.threads) {
        Some(threads) => extract.threads(threads),
        None => extract,
    })
}

/// Format, policy, and what to do with malformed records.
pub(crate) fn reading(
    from: Option<LogKind>,
    kinds: &KindArgs,
    selection: &Selection,
    on_error: OnError,
) -> anyhow::Result<Extract> {
    refuse_others(from, kinds)?;
    let timeless = matches!(from, Some(LogKind::Csv | LogKind::Jsonl)) && kinds.time.is_none();
    if timeless && (selection.since.is_some() || selection.until.is_some()) {
        return Err(usage("--since and --until need --time, the field of the time").into());
    }
    let extract = match from {
        None => Extract::guessing(),
        Some(kind) => of(kind, kinds)?,
    };
    Ok(extract.policy(policy(selection)?).on_error(match on_error {
        OnError::Stop => extract::OnError::Stop,
        OnError::Skip => extract::OnError::Skip,
    }))
}

fn of(kind: LogKind, args: &KindArgs) -> anyhow::Result<Extract> {
    Ok(match kind {
        LogKind::Cloudtrail => Extract::of(CloudTrail::new()),
        LogKind::Guardduty => Extract::of(GuardDuty::new()),
        LogKind::Ocsf => Extract::of(Ocsf::new()),
        LogKind::Flow => Extract::of(flow(args)?),
        LogKind::Web => Extract::of(web(args)),
        LogKind::Csv => Extract::of(csv(args)?),
        LogKind::Jsonl => Extract::of(jsonl(args)?),
    })
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::usage(error.to_string())
}

fn flow(args: &KindArgs) -> Result<FlowLog, Failure> {
    let mut draft = FlowLog::draft()
        .own_networks(args.own_network.iter().copied())
        .ports(args.port.iter().copied())
        .all_accepted(args.all_accepted);
    match args.entity.as_slice() {
        [] => {}
        [entity] => draft = draft.entity(entity.parse().map_err(usage)?),
        _ => return Err(usage("the entity of a flow is one field: give --entity once")),
    }
    if let Some(columns) = &args.columns {
        draft = draft.columns(columns);
    }
    draft.check().map_err(usage)
}

fn web(args: &KindArgs) -> WebLog {
    let log = WebLog::new().forwarded(args.forwarded_field);
    let log = args.request_prefix.iter().fold(log, WebLog::request);
    args.status.iter().copied().fold(log, WebLog::status)
}

/// The fields of entity and address, which a table or a document does not tell by itself.
fn fields(kind: LogKind, args: &KindArgs) -> Result<(&[String], &str), Failure> {
    match (args.entity.as_slice(), &args.address) {
        (entity @ [_, ..], Some(address)) => Ok((entity, address)),
        _ => Err(usage(format!(
            "--from {} needs --entity and --address, the fields of both",
            kind.as_str()
        ))),
    }
}

fn csv(args: &KindArgs) -> Result<Csv, Failure> {
    let (entity, address) = fields(LogKind::Csv, args)?;
    let mut draft = Csv::draft("1", address)
        .entity(entity.iter().map(String::as_str))
        .header(!args.no_header)
        .quoting(!args.no_quotes);
    if let Some(time) = &args.time {
        draft = draft.time(time.as_str(), args.time_format.unwrap_or_default());
    }
    if let Some(separator) = &args.separator {
        draft = draft.separator(separator);
    }
    if let Some(delimiter) = &args.delimiter {
        draft = draft.delimiter(byte(delimiter)?);
    }
    draft.check().map_err(usage)
}

/// A delimiter: one ASCII character, where a tab may be written as shells make easy.
fn byte(text: &str) -> Result<u8, Failure> {
    match text.as_bytes() {
        b"\\t" | b"tab" => Ok(b'\t'),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err(usage(format!(
            "`{text}` is no --delimiter: it takes one ASCII character, or `tab`"
        ))),
    }
}

fn jsonl(args: &KindArgs) -> Result<JsonLines, Failure> {
    let (entity, address) = fields(LogKind::Jsonl, args)?;
    let mut draft = JsonLines::draft(entity[0].as_str(), address).entity(entity);
    if let Some(time) = &args.time {
        draft = draft.time(time, args.time_format.unwrap_or_default());
    }
    if let Some(separator) = &args.separator {
        draft = draft.separator(separator);
    }
    draft.check().map_err(usage)
}

/// An argument that some kinds of log have, whether it was given, and which kinds.
fn kind_arguments(args: &KindArgs) -> [(&'static str, bool, &'static [LogKind]); 15] {
    use LogKind::{Csv, Flow, Jsonl, Web};
    [
        ("--entity", !args.entity.is_empty(), &[Csv, Jsonl, Flow]),
        ("--address", args.address.is_some(), &[Csv, Jsonl]),
        ("--time", args.time.is_some(), &[Csv, Jsonl]),
        ("--time-format", args.time_format.is_some(), &[Csv, Jsonl]),
        ("--separator", args.separator.is_some(), &[Csv, Jsonl]),
        ("--no-header", args.no_header, &[Csv]),
        ("--delimiter", args.delimiter.is_some(), &[Csv]),
        ("--no-quotes", args.no_quotes, &[Csv]),
        ("--request-prefix", !args.request_prefix.is_empty(), &[Web]),
        ("--status", !args.status.is_empty(), &[Web]),
        ("--forwarded-field", args.forwarded_field, &[Web]),
        ("--columns", args.columns.is_some(), &[Flow]),
        ("--port", !args.port.is_empty(), &[Flow]),
        ("--own-network", !args.own_network.is_empty(), &[Flow]),
        ("--all-accepted", args.all_accepted, &[Flow]),
    ]
}

/// Refuses arguments that would be of no effect.
fn refuse_others(kind: Option<LogKind>, args: &KindArgs) -> Result<(), Failure> {
    for (argument, given, kinds) in kind_arguments(args) {
        if given && kind.is_none_or(|kind| !kinds.contains(&kind)) {
            let kinds: Vec<_> = kinds
                .iter()
                .map(|kind| format!("--from {}", kind.as_str()))
                .collect();
            return Err(usage(format!("{argument} goes with {}", kinds.join(" or "))));
        }
    }
    if args.time_format.is_some() && args.time.is_none() {
        return Err(usage("--time-format goes with --time"));
    }
    Ok(())
}

fn policy(args: &Selection) -> anyhow::Result<Policy> {
    let mut draft = Policy::draft()
        .principal(args.principal)
        .ipv6(args.ipv6)
        .special(args.special)
        .forwarded(args.forwarded)
        .allow_networks(networks(&args.allow)?)
        .deny_networks(networks(&args.deny)?)
        .allow_entities(entities(&args.allow_entity)?)
        .deny_entities(entities(&args.deny_entity)?);
    if let Some(since) = args.since {
        draft = draft.since(since);
    }
    if let Some(until) = args.until {
        draft = draft.until(until);
    }
    Ok(draft.check().map_err(usage)?)
}

/// The values of a list, and the lines of the files that stand in it as `@FILE`.
fn listed(values: &[String], mut line: impl FnMut(&str)) -> anyhow::Result<()> {
    for value in values {
        let Some(path) = value.strip_prefix('@') else {
            line(value);
            continue;
        };
        let text = std::fs::read_to_string(Path::new(path))
            .with_context(|| format!("the list `{path}` cannot be read"))?;
        // Editors on Windows begin files with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        text.lines().for_each(&mut line);
    }
    Ok(())
}

/// Networks; in files, blank lines and what comes after `#` do not count.
pub(crate) fn networks(values: &[String]) -> anyhow::Result<Vec<String>> {
    let mut networks = Vec::new();
    listed(values, |line| {
        let network = line.split('#').next().unwrap_or_default().trim();
        if !network.is_empty() {
            networks.push(network.to_owned());
        }
    })?;
    refuse_empty(values, networks)
}

/// Entities; in files, empty lines do not count, and everything else does, blanks too.
pub(crate) fn entities(values: &[String]) -> anyhow::Result<Vec<String>> {
    let mut entities = Vec::new();
    listed(values, |line| {
        if !line.is_empty() {
            entities.push(line.to_owned());
        }
    })?;
    refuse_empty(values, entities)
}

/// A list that was given and has nothing in it would let everything through.
fn refuse_empty(values: &[String], list: Vec<String>) -> anyhow::Result<Vec<String>> {
    if list.is_empty() && !values.is_empty() {
        return Err(usage(format!("there is nothing in `{}`", values.join("`, `"))).into());
    }
    Ok(list)
}

/// What becomes of the pairs.
pub(super) fn shape(args: &Shaping) -> anyhow::Result<Shape> {
    let folder = args.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
    let mut draft = Shape::draft(folder)
        .unique(args.unique)
        .memory(args.memory.saturating_mul(1 << 20));
    if let Some(events) = args.min_events {
        draft = draft.min_events(events);
    }
    if let Some(seed) = args.shuffle {
        draft = draft.shuffle(seed);
    }
    if let Some(time) = args.train_until {
        draft = draft.train_until(time);
    }
    Ok(draft.check().map_err(usage)?)
}
