//! `ipinsights fetch`: databases from MaxMind.

use anyhow::Context;
use geodata::download::{
    Age, CheckStatus, Checked, Draft, Edition, Error, Event, FetchStatus, Fetched, Fetcher, Keep, Settings,
};
use indicatif::HumanBytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::FetchArgs;
use crate::exit::{ExitCode, Failure};
use crate::output::{Output, table};
use crate::progress::Progress;
use crate::signals::Signals;

/// Runs the command.
pub async fn run(args: FetchArgs, output: &Output) -> anyhow::Result<()> {
    let signals = Signals::listen();
    let progress = Progress::new(output.quiet);
    let settings = match settings(&args) {
        Ok(settings) => settings,
        Err(error) => {
            if let Error::Settings(invalid) = &error {
                for notice in &invalid.notices {
                    progress.warn(notice);
                }
            }
            return Err(error.into());
        }
    };
    for notice in settings.notices() {
        progress.warn(notice);
    }
    let now = Timestamp::now();
    let keep = if args.archive {
        Keep::Archive
    } else {
        Keep::Database
    };
    let fetcher = Fetcher::new(settings).keep(keep).seed(chance(now));
    let work = async {
        if args.check {
            check(&fetcher, now, &progress, output).await
        } else {
            fetch(&fetcher, now, &progress, output).await
        }
    };
    tokio::select! {
        result = work => result,
        () = signals.first() => Err(Failure {
            code: ExitCode::Interrupted,
            message: "interrupted; what was not complete is gone".to_owned(),
            source: None,
        }
        .into()),
    }
}

/// The settings: arguments, then variables, then the file.
fn settings(args: &FetchArgs) -> Result<Settings, Error> {
    let mut draft = Draft::default().editions(&args.editions);
    if let Some(folder) = &args.to {
        draft = draft.folder(folder);
    }
    if let Some(host) = &args.host {
        draft = draft.host(host);
    }
    let mut draft = draft.or(Draft::from_variables(std::env::vars_os())?);
    if let Some(path) = args.config.as_deref().or(draft.config_file()) {
        let file = Draft::read_config(path)?;
        draft = draft.or(file);
    }
    draft.check()
}

/// Of pauses: machines that were started by the same timer should not come back together.
fn chance(now: Timestamp) -> u64 {
    u64::from(now.subsec_nanosecond().unsigned_abs()) ^ (u64::from(std::process::id()) << 32)
}

async fn fetch(
    fetcher: &Fetcher,
    now: Timestamp,
    progress: &Progress,
    output: &Output,
) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for edition in fetcher.settings().editions() {
        let fetched = fetcher
            .fetch(edition, now, &mut |event| tell(progress, edition, event))
            .await;
        let fetched = stop_at(fetched, edition, fetcher, now, progress)?;
        let path = fetched.path.display().to_string();
        progress.done(status_name(fetched.status), &path);
        warn_of_age(&path, fetched.released, now, progress);
        all.push(fetched);
    }
    progress.finish();
    if output.is_json() {
        let editions: Vec<Value> = all.iter().map(|fetched| fetched_json(fetched, now)).collect();
        return output.json(&document(fetcher, editions));
    }
    let mut rows = table(["edition", "status", "file", "bytes", "released", "days old"]);
    for fetched in &all {
        rows.add_row([
            fetched.edition.to_string(),
            status_name(fetched.status).to_owned(),
            fetched.path.display().to_string(),
            fetched.bytes.to_string(),
            day(fetched.released),
            days(fetched.released, now),
        ]);
    }
    output.text(&rows.trim_fmt())
}

async fn check(
    fetcher: &Fetcher,
    now: Timestamp,
    progress: &Progress,
    output: &Output,
) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for edition in fetcher.settings().editions() {
        let checked = fetcher
            .check(edition, now, &mut |event| tell(progress, edition, event))
            .await;
        let checked = stop_at(checked, edition, fetcher, now, progress)?;
        warn_of_age(
            &checked.path.display().to_string(),
            checked.released,
            now,
            progress,
        );
        all.push(checked);
    }
    progress.finish();
    if output.is_json() {
        let editions: Vec<Value> = all.iter().map(|checked| checked_json(checked, now)).collect();
        output.json(&document(fetcher, editions))?;
    } else {
        let mut rows = table(["edition", "status", "file", "released", "days old", "latest"]);
        for checked in &all {
            rows.add_row([
                checked.edition.to_string(),
                check_name(checked.status).to_owned(),
                checked.path.display().to_string(),
                day(checked.released),
                days(checked.released, now),
                day(checked.latest),
            ]);
        }
        output.text(&rows.trim_fmt())?;
    }
    let not: Vec<&str> = all
        .iter()
        .filter(|checked| checked.status != CheckStatus::Current)
        .map(|checked| checked.edition.as_str())
        .collect();
    if not.is_empty() {
        return Ok(());
    }
    Err(Failure {
        code: ExitCode::Outdated,
        message: format!(
            "not known to be the latest: {}; `ipinsights fetch` without --check gets it",
            not.join(", ")
        ),
        source: None,
    }
    .into())
}

/// An error, with what it means for the other editions and for the file that is there.
fn stop_at<T>(
    result: Result<T, Error>,
    edition: &Edition,
    fetcher: &Fetcher,
    now: Timestamp,
    progress: &Progress,
) -> anyhow::Result<T> {
    let error = match result {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let path = fetcher.path(edition).display().to_string();
    warn_of_age(&path, fetcher.released(edition), now, progress);
    progress.finish();
    let editions = fetcher.settings().editions();
    let after: Vec<&str> = editions
        .iter()
        .skip_while(|other| *other != edition)
        .skip(1)
        .map(Edition::as_str)
        .collect();
    if editions.len() == 1 {
        return Err(error.into());
    }
    let rest = if after.is_empty() {
        String::new()
    } else {
        format!("; {} not tried", after.join(", "))
    };
    Err(error).with_context(|| format!("`{edition}` could not be fetched{rest}"))
}

fn tell(progress: &Progress, edition: &Edition, event: Event) {
    match event {
        Event::Asking { .. } => progress.now(&format!("{edition}: asking for the latest release")),
        Event::Again { error, wait } => {
            progress.warn(&format!(
                "{edition}: {error}; again in {:.1} s",
                wait.as_secs_f64()
            ));
        }
        Event::Received { bytes, of: Some(of) } => {
            progress.now(&format!("{edition}: {} of {}", HumanBytes(bytes), HumanBytes(of)));
        }
        Event::Received { bytes, of: None } => progress.now(&format!("{edition}: {}", HumanBytes(bytes))),
        Event::Unpacking => progress.now(&format!("{edition}: unpacking")),
        Event::Warning { message } => progress.warn(&message),
        _ => {}
    }
}

fn warn_of_age(path: &str, released: Option<Timestamp>, now: Timestamp, progress: &Progress) {
    if let Some(age) = released.map(|released| Age::of(released, now))
        && age.is_over_limit()
    {
        progress.warn(&format!(
            "`{path}` is {} days old; MaxMind's licence wants an outdated database replaced within {}",
            age.days,
            Age::LICENCE_DAYS
        ));
    }
}

fn document(fetcher: &Fetcher, editions: Vec<Value>) -> Value {
    json!({
        "version": 1,
        "host": fetcher.settings().host().to_string(),
        "editions": editions,
        "notices": fetcher.settings().notices(),
    })
}

fn fetched_json(fetched: &Fetched, now: Timestamp) -> Value {
    let age = fetched.released.map(|released| Age::of(released, now));
    json!({
        "edition": fetched.edition.as_str(),
        "status": status_name(fetched.status),
        "file": fetched.path.display().to_string(),
        "bytes": fetched.bytes,
        "sha256": fetched.sha256,
        "archive_sha256": fetched.archive_sha256,
        "released": fetched.released.map(|time| time.to_string()),
        "age_days": age.map(|age| age.days),
        "over_licence_limit": age.is_some_and(Age::is_over_limit),
    })
}

fn checked_json(checked: &Checked, now: Timestamp) -> Value {
    let age = checked.released.map(|released| Age::of(released, now));
    json!({
        "edition": checked.edition.as_str(),
        "status": check_name(checked.status),
        "file": checked.path.display().to_string(),
        "released": checked.released.map(|time| time.to_string()),
        "latest": checked.latest.map(|time| time.to_string()),
        "age_days": age.map(|age| age.days),
        "over_licence_limit": age.is_some_and(Age::is_over_limit),
    })
}

fn status_name(status: FetchStatus) -> &'static str {
    match status {
        FetchStatus::Downloaded => "downloaded",
        FetchStatus::Unchanged => "unchanged",
    }
}

fn check_name(status: CheckStatus) -> &'static str {
    match status {
        CheckStatus::Current => "current",
        CheckStatus::Outdated => "outdated",
        CheckStatus::Missing => "missing",
        CheckStatus::Unknown => "unknown",
    }
}

/// The day of a release, as MaxMind's file names have it.
fn day(time: Option<Timestamp>) -> String {
    time.map_or_else(
        || "-".to_owned(),
        |time| time.to_zoned(jiff::tz::TimeZone::UTC).date().to_string(),
    )
}

fn days(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(|| "-".to_owned(), |time| Age::of(time, now).days.to_string())
}
