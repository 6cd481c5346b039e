//! State machines, their executions and map runs.

use std::collections::{BTreeMap, HashMap};

use http::StatusCode;
use maud::{Markup, html};
use serde_json::{Value, json};
use sfn_builder::{Execution, StateMachine, StateStatus};

use super::{
    Desk, Outcome, aside, href,
    page::{
        self, Problem, STATUS, Section, View, badge, code, duration, facts, list as items, moment, nothing,
        refusal, table, text, text_block, took, words,
    },
    picture, value,
};
use crate::api::ApiError;

/// How many executions a page lists.
const EXECUTIONS: usize = 25;
/// How many events a page shows.
const EVENTS: usize = 200;
/// The most events that a history has.
const MOST_EVENTS: usize = 25_000;

const STATUSES: [&str; 5] = ["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"];

pub(super) fn machine_address(arn: &str) -> String {
    href("machine", &[("arn", arn)])
}

pub(super) fn execution_address(arn: &str) -> String {
    href("execution", &[("arn", arn)])
}

/// All machines, each with its last execution.
pub(super) async fn list(desk: &Desk) -> Result<View, Problem> {
    let mut rows = Vec::new();
    for machine in machines(desk).await? {
        let arn = text(&machine, "stateMachineArn");
        let last = last_executions(desk, &machine, 1).await.pop();
        rows.push(html! {
            tr {
                th scope="row" { a href=(machine_address(arn)) { bdi { (text(&machine, "name")) } } }
                td { (words(text(&machine, "type"))) }
                td { (moment(&machine["creationDate"])) }
                td {
                    @match &last {
                        Some(last) => {
                            (badge(text(last, "status"))) " "
                            a href=(execution_address(text(last, "executionArn"))) { bdi { (text(last, "name")) } }
                        },
                        None if machine["type"] == "EXPRESS" => span.quiet { "keeps no executions" },
                        None => span.quiet { "not run yet" },
                    }
                }
                td { @if let Some(last) = &last { (moment(&last["startDate"])) } }
            }
        });
    }
    let listed = match rows.is_empty() {
        true => html! {
            (nothing("There is no state machine yet."))
            p { "A run of the pipeline makes one, and so does any client: " a href="/console/connect" { "how to point clients here" } "." }
        },
        false => table(
            "State machines",
            &["Name", "Type", "Created", "Last execution", "Started"],
            &rows,
        ),
    };
    Ok(View::new(Section::Machines, "State machines").part("machines", listed))
}

/// All machines, as the service lists them.
pub(super) async fn machines(desk: &Desk) -> Result<Vec<Value>, ApiError> {
    let mut all = Vec::new();
    let mut input = json!({"maxResults": 1000});
    loop {
        let mut answer = desk
            .call("AWSStepFunctions.ListStateMachines", input.clone())
            .await?;
        if let Some(page) = answer["stateMachines"].as_array_mut() {
            all.append(page);
        }
        match answer.get("nextToken") {
            Some(token) => input["nextToken"] = token.clone(),
            None => return Ok(all),
        }
    }
}

/// The last executions of a machine; none of one that keeps none.
pub(super) async fn last_executions(desk: &Desk, machine: &Value, most: usize) -> Vec<Value> {
    let input = json!({"stateMachineArn": machine["stateMachineArn"], "maxResults": most});
    let answer = desk.call("AWSStepFunctions.ListExecutions", input).await;
    answer
        .map(|answer| items(&answer, "executions").to_vec())
        .unwrap_or_default()
}

/// What someone has filled in, and what has come of it.
pub(super) struct Draft {
    name: String,
    input: String,
    came: Came,
}

enum Came {
    /// It was not started, for this reason.
    Refused(String),
    /// Of an Express machine: it has run to its end.
    Ended(Value),
}

/// A machine: its picture, its executions, and a form that starts one.
pub(super) async fn machine(desk: &Desk, draft: Option<Draft>) -> Result<View, Problem> {
    let arn = desk.need("arn")?;
    let machine = desk
        .call(
            "AWSStepFunctions.DescribeStateMachine",
            json!({"stateMachineArn": arn}),
        )
        .await?;
    let definition = text(&machine, "definition");
    let express = machine["type"] == "EXPRESS";
    let failed = matches!(
        &draft,
        Some(Draft {
            came: Came::Refused(_),
            ..
        })
    );
    let name = text(&machine, "name");
    let view = match version_of(arn) {
        None => View::new(Section::Machines, name).under("State machines", href("machines", &[])),
        Some((whole, number)) => View::new(Section::Machines, format!("{name}, version {number}"))
            .under("State machines", href("machines", &[]))
            .under(name, machine_address(whole)),
    };
    let view = view
        .fixed(html! { @match draft.as_ref().map(|draft| &draft.came) {
            Some(Came::Refused(reason)) => (refusal("The execution was not started", reason)),
            Some(Came::Ended(execution)) => (express_outcome(execution)),
            None => {},
        } })
        .fixed(facts(&[
            ("Type", html! { (words(text(&machine, "type"))) }),
            ("Created", moment(&machine["creationDate"])),
            ("Role", code(text(&machine, "roleArn"))),
            ("ARN", code(arn)),
        ]))
        .fixed(html! {
            section aria-labelledby="picture" {
                h2 #picture { "Picture" }
                @match StateMachine::from_json(definition) {
                    Ok(machine) => (picture::machine(&machine, None)),
                    Err(error) => (nothing(&format!("It cannot be drawn: {error}"))),
                }
                details #definition { summary { "Definition" } (text_block(definition)) }
            }
        });
    let view = if machine["status"] == "DELETING" || desk.get("after").is_some() {
        view
    } else {
        view.fixed(start_form(desk, draft, express))
    };
    let view = match express {
        true => view.fixed(html! {
            section aria-labelledby="executions" {
                h2 #executions { "Executions" }
                (nothing("An Express machine keeps no executions."))
            }
        }),
        false => view.part("executions", executions(desk, arn).await?),
    };
    let view = view.part("versions", versions(desk, arn).await?);
    let older = desk.get("after").is_some();
    Ok(view.live(!express && !older).status(if failed {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    }))
}

/// The machine of a version's ARN, and the version's number.
fn version_of(arn: &str) -> Option<(&str, &str)> {
    let (machine, number) = arn.rsplit_once(':')?;
    (machine.split(':').count() == MACHINE_PARTS).then_some((machine, number))
}

/// How many parts the ARN of a machine has.
const MACHINE_PARTS: usize = 7;

/// The versions and aliases of a machine; nothing of a version, or where there are none.
async fn versions(desk: &Desk, arn: &str) -> Result<Markup, Problem> {
    if version_of(arn).is_some() {
        return Ok(Markup::default());
    }
    let all = async |operation: &str, member: &str| {
        let mut input = json!({"stateMachineArn": arn, "maxResults": 1000});
        let mut all = Vec::new();
        loop {
            let operation = format!("AWSStepFunctions.{operation}");
            let answer = desk.call(&operation, input.clone()).await?;
            all.extend_from_slice(items(&answer, member));
            match answer.get("nextToken") {
                Some(token) => input["nextToken"] = token.clone(),
                None => return Ok::<_, Problem>(all),
            }
        }
    };
    let number = |arn: &str| version_of(arn).map_or(String::new(), |(_, number)| number.to_owned());
    let versions = all("ListStateMachineVersions", "stateMachineVersions").await?;
    let rows: Vec<_> = versions
        .iter()
        .map(|version| {
            let arn = text(version, "stateMachineVersionArn");
            html! { tr {
                th scope="row" { a href=(machine_address(arn)) { (number(arn)) } }
                td { (moment(&version["creationDate"])) }
            } }
        })
        .collect();
    let mut aliases = Vec::new();
    if !versions.is_empty() {
        for alias in all("ListStateMachineAliases", "stateMachineAliases").await? {
            let of = json!({"stateMachineAliasArn": alias["stateMachineAliasArn"]});
            aliases.push(
                desk.call("AWSStepFunctions.DescribeStateMachineAlias", of)
                    .await?,
            );
        }
    }
    let named: Vec<_> = aliases
        .iter()
        .map(|alias| {
            let routes = items(alias, "routingConfiguration");
            html! { tr {
                th scope="row" { bdi { (text(alias, "name")) } }
                td { @for (at, route) in routes.iter().enumerate() {
                    @if at > 0 { ", " }
                    @let version = text(route, "stateMachineVersionArn");
                    "version " a href=(machine_address(version)) { (number(version)) }
                    @if routes.len() > 1 { " (" (route["weight"]) " %)" }
                } }
                td { (moment(&alias["updateDate"])) }
            } }
        })
        .collect();
    Ok(html! {
        @if !rows.is_empty() {
            section aria-labelledby="versions" {
                h2 #versions { "Versions" }
                (table("Versions", &["Version", "Published"], &rows))
            }
        }
        @if !named.is_empty() {
            section aria-labelledby="aliases" {
                h2 #aliases { "Aliases" }
                (table("Aliases", &["Name", "Leads to", "Changed"], &named))
            }
        }
    })
}

/// What an execution of an Express machine came to, which nothing keeps.
fn express_outcome(execution: &Value) -> Markup {
    html! {
        section aria-labelledby="outcome" {
            h2 #outcome tabindex="-1" autofocus { "What it came to" }
            p.lead {
                (badge(text(execution, "status"))) " in " (took(&execution["startDate"], &execution["stopDate"]))
            }
            @if let Some(error) = execution["error"].as_str() {
                div.alert { strong { (error) } @if let Some(cause) = execution["cause"].as_str() { p.code { (page::cut(cause, 4096).0) } } }
            }
            @if let Some(output) = execution["output"].as_str() { h3 { "Output" } (text_block(output)) }
        }
    }
}

fn start_form(desk: &Desk, draft: Option<Draft>, express: bool) -> Markup {
    let (name, input) = draft.map_or((String::new(), "{}".to_owned()), |draft| {
        (draft.name, draft.input)
    });
    html! {
        section aria-labelledby="start" {
            h2 #start { "Start an execution" }
            form method="post" {
                (page::token(&desk.token))
                p {
                    label for="input" { "Input, a JSON document" }
                    textarea #input name="input" rows="5" spellcheck="false" { (input) }
                }
                @if !express {
                    p {
                        label for="name" { "Name " span.quiet { "(one is made up if there is none)" } }
                        input #name name="name" maxlength="80" value=(name) autocomplete="off" spellcheck="false";
                    }
                }
                p { button type="submit" { @if express { "Start, and wait for it" } @else { "Start" } } }
            }
        }
    }
}

async fn executions(desk: &Desk, arn: &str) -> Result<Markup, Problem> {
    let status = desk.get("status").filter(|status| STATUSES.contains(status));
    let input = json!({
        "stateMachineArn": arn,
        "maxResults": EXECUTIONS,
        "statusFilter": status,
        "nextToken": desk.get("after"),
    });
    let answer = desk.call("AWSStepFunctions.ListExecutions", input).await?;
    let filter = |name: &str, wanted: Option<&str>| {
        let mut parameters = vec![("arn", arn)];
        parameters.extend(wanted.map(|wanted| ("status", wanted)));
        let current = (wanted == status).then_some("true");
        html! { li { a href=(href("machine", &parameters)) aria-current=[current] { (name) } } }
    };
    let next = answer["nextToken"].as_str().map(|token| {
        let mut parameters = vec![("arn", arn)];
        parameters.extend(status.map(|status| ("status", status)));
        parameters.push(("after", token));
        href("machine", &parameters)
    });
    Ok(html! {
        section aria-labelledby="executions" {
            h2 #executions { "Executions" }
            nav.choice aria-label="Executions by status" { ul {
                (filter("All", None))
                @for status in STATUSES { (filter(&words(status), Some(status))) }
            } }
            (execution_table(items(&answer, "executions")))
            @if let Some(next) = next { p { a href=(next) { "Earlier executions" } } }
        }
    })
}

pub(super) fn execution_table(executions: &[Value]) -> Markup {
    if executions.is_empty() {
        return nothing("There are none.");
    }
    let rows: Vec<_> = executions
        .iter()
        .map(|execution| {
            html! {
                tr {
                    th scope="row" {
                        a href=(execution_address(text(execution, "executionArn"))) { bdi { (text(execution, "name")) } }
                    }
                    td { (badge(text(execution, "status"))) }
                    td { (moment(&execution["startDate"])) }
                    td.number { (took(&execution["startDate"], &execution["stopDate"])) }
                }
            }
        })
        .collect();
    table("Executions", &["Name", "Status", "Started", "#Took"], &rows)
}

/// Starts an execution.
pub(super) async fn start(desk: &Desk, form: &[(String, String)]) -> Result<Outcome, Problem> {
    let arn = desk.need("arn")?;
    // Browsers send lines that end with two characters.
    let input = value(form, "input").unwrap_or("{}").replace("\r\n", "\n");
    let mut request = json!({"stateMachineArn": arn, "input": input});
    let name = value(form, "name").map(str::trim).filter(|name| !name.is_empty());
    if let Some(name) = name {
        request["name"] = name.into();
    }
    let of = json!({"stateMachineArn": arn});
    let described = desk.call("AWSStepFunctions.DescribeStateMachine", of).await?;
    // Nothing keeps an execution of an Express machine, so it is waited for.
    let express = described["type"] == "EXPRESS";
    let operation = if express {
        "StartSyncExecution"
    } else {
        "StartExecution"
    };
    let came = match desk.call(&format!("AWSStepFunctions.{operation}"), request).await {
        Ok(ended) if express => Came::Ended(ended),
        Ok(started) => return Ok(Outcome::Go(execution_address(text(&started, "executionArn")))),
        Err(error) => Came::Refused(format!("{}: {}", error.code, error.message)),
    };
    let draft = Draft {
        name: name.unwrap_or_default().to_owned(),
        input,
        came,
    };
    let shown = aside(desk, async move |desk| machine(&desk, Some(draft)).await);
    Ok(Outcome::Show(shown.await?))
}

/// Stops an execution, or goes on with one that has failed.
pub(super) async fn change(desk: &Desk, form: &[(String, String)]) -> Result<Outcome, Problem> {
    let arn = desk.need("arn")?;
    let (operation, request) = match value(form, "action") {
        Some("stop") => (
            "StopExecution",
            json!({"executionArn": arn, "error": "Stopped", "cause": "Stopped in the console"}),
        ),
        Some("redrive") => ("RedriveExecution", json!({"executionArn": arn})),
        _ => return Err(Problem::not_found("There is no such action.")),
    };
    desk.call(&format!("AWSStepFunctions.{operation}"), request)
        .await?;
    Ok(Outcome::Go(execution_address(arn)))
}

/// What tells one moment of an execution from another, for little.
pub(super) async fn pulse(desk: &Desk) -> Option<String> {
    let arn = desk.get("arn")?;
    let described = json!({"executionArn": arn, "includedData": "METADATA_ONLY"});
    let described = desk
        .call("AWSStepFunctions.DescribeExecution", described)
        .await
        .ok()?;
    let last =
        json!({"executionArn": arn, "reverseOrder": true, "maxResults": 1, "includeExecutionData": false});
    let last = desk
        .call("AWSStepFunctions.GetExecutionHistory", last)
        .await
        .ok()?;
    let mut pulse = format!("{} {}", described["status"], last["events"][0]["id"]);
    if described["status"] == "RUNNING" {
        // Those of map runs are not in the history.
        for run in map_runs(desk, arn).await {
            pulse.push_str(&run["executionCounts"].to_string());
        }
    }
    Some(pulse)
}

/// An execution: how far it has come, state by state and event by event.
pub(super) async fn execution(desk: &Desk) -> Result<View, Problem> {
    let arn = desk.need("arn")?;
    let of = json!({"executionArn": arn});
    let execution = desk
        .call("AWSStepFunctions.DescribeExecution", of.clone())
        .await?;
    let machine = desk
        .call("AWSStepFunctions.DescribeStateMachineForExecution", of)
        .await?;
    let events = Value::Array(history(desk, arn).await?);
    let parsed = StateMachine::from_json(text(&machine, "definition")).ok();
    let ran = Execution::from_history(&events).unwrap_or_default();
    let events = events.as_array().map_or(&[][..], Vec::as_slice);
    let running = execution["status"] == "RUNNING";
    let machine_arn = text(&execution, "stateMachineArn");
    let now: Vec<&str> = parsed
        .iter()
        .flat_map(|machine| machine.all_states())
        .filter(|state| {
            let run = ran.state(&state.name);
            run.is_some_and(|run| run.status == StateStatus::InProgress)
        })
        .map(|state| state.name.as_str())
        .collect();
    let mut view = View::new(Section::Machines, text(&execution, "name"))
        .under("State machines", href("machines", &[]))
        .under(text(&machine, "name"), machine_address(whole(machine_arn)));
    if let Some(run) = execution["mapRunArn"].as_str() {
        view = view.under("Map run", href("map-run", &[("arn", run)]));
    }
    let status = html! {
        p.lead {
            (badge(text(&execution, "status")))
            @if running && !now.is_empty() { " in " @for (at, name) in now.iter().enumerate() {
                @if at > 0 { ", " }
                bdi { (name) }
            } }
        }
    };
    let summary = html! {
        (facts(&[
            ("Started", moment(&execution["startDate"])),
            ("Ended", moment(&execution["stopDate"])),
            ("Took", html! { (took(&execution["startDate"], &execution["stopDate"])) }),
            ("Redriven", html! { (execution["redriveCount"]) " times" }),
            ("ARN", code(arn)),
        ]))
        @if let Some(error) = execution["error"].as_str().filter(|_| !running) {
            div.alert { strong { (error) } @if let Some(cause) = execution["cause"].as_str() { p.code { (page::cut(cause, 4096).0) } } }
        }
        (change_form(desk, &execution))
    };
    let data = html! {
        section aria-labelledby="data" {
            h2 #data { "Input and output" }
            div.pair {
                div { h3 { "Input" } (text_block(text(&execution, "input"))) }
                div { h3 { "Output" } @match execution["output"].as_str() {
                    Some(output) => (text_block(output)),
                    None => (nothing(if running { "It has none yet." } else { "It has none." })),
                } }
            }
        }
    };
    let drawn = html! {
        section aria-labelledby="picture" {
            h2 #picture { "Picture" }
            @match &parsed {
                Some(machine) => (picture::machine(machine, Some(&ran))),
                None => (nothing("The definition cannot be drawn.")),
            }
        }
    };
    let until = desk.get("until").and_then(|until| until.parse().ok());
    Ok(view
        .part(STATUS, status)
        .part("summary", summary)
        .part("picture", drawn)
        .part("states", states(parsed.as_ref(), &ran, events))
        .part("runs", map_run_section(&map_runs(desk, arn).await))
        .part("data", data)
        .part("events", event_section(arn, events, until))
        .live(running && until.is_none()))
}

/// A machine's ARN without the label of a Map state in it.
fn whole(arn: &str) -> &str {
    arn.split_once('/').map_or(arn, |(arn, _)| arn)
}

fn change_form(desk: &Desk, execution: &Value) -> Markup {
    let action = if execution["status"] == "RUNNING" {
        Some(("stop", "Stop the execution"))
    } else if execution["redriveStatus"] == "REDRIVABLE" {
        Some(("redrive", "Redrive: go on where it failed"))
    } else {
        None
    };
    html! {
        @if let Some((action, name)) = action {
            form method="post" {
                (page::token(&desk.token))
                input type="hidden" name="action" value=(action);
                button.second type="submit" { (name) }
            }
        }
    }
}

/// The whole of a history.
async fn history(desk: &Desk, arn: &str) -> Result<Vec<Value>, ApiError> {
    let mut events = Vec::new();
    let mut input = json!({"executionArn": arn, "maxResults": 1000});
    loop {
        let mut answer = desk
            .call("AWSStepFunctions.GetExecutionHistory", input.clone())
            .await?;
        if let Some(page) = answer["events"].as_array_mut() {
            events.append(page);
        }
        match answer.get("nextToken") {
            Some(token) if events.len() < MOST_EVENTS => input["nextToken"] = token.clone(),
            _ => return Ok(events),
        }
    }
}

/// What an event says beside its type and moment.
fn details(event: &Value) -> Option<&Value> {
    let members = event.as_object()?;
    let found = members.iter().find(|(name, _)| name.ends_with("EventDetails"));
    found.map(|(_, details)| details)
}

/// What a state was given and gave when it was entered last, or this time.
#[derive(Default)]
struct Data<'a> {
    input: Option<&'a str>,
    output: Option<&'a str>,
}

fn states(machine: Option<&StateMachine>, ran: &Execution, events: &[Value]) -> Markup {
    let mut data: HashMap<&str, Data<'_>> = HashMap::new();
    for event in events {
        let Some((name, told)) = details(event).and_then(|told| Some((told["name"].as_str()?, told))) else {
            continue;
        };
        let kind = text(event, "type");
        if kind.ends_with("StateEntered") {
            data.insert(
                name,
                Data {
                    input: told["input"].as_str(),
                    output: None,
                },
            );
        } else if kind.ends_with("StateExited") {
            data.entry(name).or_default().output = told["output"].as_str();
        }
    }
    let all = machine.map(|machine| machine.all_states()).unwrap_or_default();
    let rows: Vec<_> = all
        .iter()
        .map(|state| {
            let run = ran.state(&state.name);
            let data = data.get(state.name.as_str());
            let anchor = state.anchor();
            html! {
                tr {
                    th scope="row" {
                        a href=(format!("#{anchor}")) { bdi { (state.name) } }
                        @if let Some(data) = data {
                            details id=(format!("data-{anchor}")) {
                                summary { "Input and output" }
                                h4 { "Input" }
                                (text_block(data.input.unwrap_or("–")))
                                @if let Some(output) = data.output { h4 { "Output" } (text_block(output)) }
                            }
                        }
                    }
                    td { (state.type_name()) }
                    td { @match run {
                        Some(run) => {
                            (badge(run.status.as_str()))
                            @if run.entered > 1 { " " span.quiet { (run.entered) " times" } }
                            @if run.retries > 0 { " " span.quiet { (run.retries) " retries" } }
                        },
                        None => span.quiet { "not entered" },
                    } }
                    td.number { @if let Some(took) = run.and_then(|run| run.duration) { (duration(took.as_secs_f64())) } }
                }
            }
        })
        .collect();
    html! {
        section aria-labelledby="states" {
            h2 #states { "States" }
            (table("States", &["Name", "Type", "Outcome", "#Time in it"], &rows))
        }
    }
}

fn event_section(arn: &str, events: &[Value], until: Option<u64>) -> Markup {
    let began = events
        .first()
        .and_then(|event| event["timestamp"].as_f64())
        .unwrap_or(0.0);
    let end = until.map_or(events.len(), |until| {
        events.partition_point(|event| event["id"].as_u64().is_some_and(|id| id <= until))
    });
    let first = end.saturating_sub(EVENTS);
    // What happens in a state names the event before it, not the state.
    let mut state_of: BTreeMap<u64, &str> = BTreeMap::new();
    for event in events {
        let id = event["id"].as_u64().unwrap_or(0);
        let named = details(event).and_then(|told| told["name"].as_str());
        // What is cut off follows the event that has failed beside it.
        let before = match text(event, "type").ends_with("StateAborted") {
            true => None,
            false => event["previousEventId"].as_u64(),
        };
        if let Some(name) = named.or_else(|| state_of.get(&before?).copied()) {
            state_of.insert(id, name);
        }
    }
    let rows: Vec<_> = events[first..end]
        .iter()
        .map(|event| {
            let id = event["id"].as_u64().unwrap_or(0);
            let kind = text(event, "type");
            let state = state_of.get(&id).filter(|_| !kind.starts_with("Execution"));
            let at = event["timestamp"].as_f64().unwrap_or(began);
            let bad = ["Failed", "TimedOut", "Aborted"]
                .iter()
                .any(|end| kind.ends_with(end));
            html! {
                tr id=(format!("event-{id}")) class=[bad.then_some("bad")] {
                    td.number { (id) }
                    th.event scope="row" { (kind) }
                    td { @if let Some(state) = state { bdi { (state) } } }
                    td.number { "+" (duration((at - began).max(0.0))) }
                    td.number { (page::clock(at)) }
                    td { @if let Some(told) = details(event) {
                        details id=(format!("details-{id}")) { summary { "Show" span.unseen { " event " (id) } } (event_details(told)) }
                    } }
                }
            }
        })
        .collect();
    html! {
        section aria-labelledby="events" {
            h2 #events { "Events" }
            @if first > 0 {
                p { a href=(href("execution", &[("arn", arn), ("until", &first.to_string())])) { "Earlier events" } }
            }
            (table("Events", &["#No.", "Event", "State", "#After", "#Moment", "Details"], &rows))
            @if end < events.len() {
                p { a href=(execution_address(arn)) { "The last events" } }
            }
        }
    }
}

/// Members of an event; documents in texts as documents.
fn event_details(told: &Value) -> Markup {
    let members = told.as_object().into_iter().flatten();
    html! {
        dl.told {
            @for (name, value) in members.filter(|(name, _)| !name.ends_with("Details")) {
                dt { (name) }
                dd { @match value {
                    Value::String(text) => (text_block(text)),
                    value => (text_block(&value.to_string())),
                } }
            }
        }
    }
}

/// The map runs of an execution, with their counts.
async fn map_runs(desk: &Desk, arn: &str) -> Vec<Value> {
    let listed = desk
        .call("AWSStepFunctions.ListMapRuns", json!({"executionArn": arn}))
        .await
        .unwrap_or_default();
    let mut runs = Vec::new();
    for run in items(&listed, "mapRuns") {
        let of = json!({"mapRunArn": run["mapRunArn"]});
        runs.extend(desk.call("AWSStepFunctions.DescribeMapRun", of).await);
    }
    runs
}

const COUNTS: [(&str, &str); 7] = [
    ("total", "#Total"),
    ("pending", "#Pending"),
    ("running", "#Running"),
    ("succeeded", "#Succeeded"),
    ("failed", "#Failed"),
    ("timedOut", "#Timed out"),
    ("aborted", "#Aborted"),
];

fn map_run_section(runs: &[Value]) -> Markup {
    let mut columns = vec!["Map run", "Status"];
    columns.extend(COUNTS.iter().map(|(_, column)| *column));
    let rows: Vec<_> = runs
        .iter()
        .map(|run| {
            let arn = text(run, "mapRunArn");
            html! {
                tr {
                    th scope="row" {
                        a href=(href("map-run", &[("arn", arn)])) { bdi { (arn.rsplit([':', '/']).next().unwrap_or(arn)) } }
                    }
                    td { (badge(text(run, "status"))) }
                    @for (member, _) in COUNTS { td.number { (run["executionCounts"][member].as_u64().unwrap_or(0)) } }
                }
            }
        })
        .collect();
    html! {
        @if !runs.is_empty() {
            section aria-labelledby="map-runs" {
                h2 #map-runs { "Map runs" }
                (table("Map runs, with their child executions", &columns, &rows))
            }
        }
    }
}

/// A map run and its child executions.
pub(super) async fn map_run(desk: &Desk) -> Result<View, Problem> {
    let arn = desk.need("arn")?;
    let run = desk
        .call("AWSStepFunctions.DescribeMapRun", json!({"mapRunArn": arn}))
        .await?;
    let children = json!({"mapRunArn": arn, "maxResults": EXECUTIONS, "nextToken": desk.get("after")});
    let children = desk.call("AWSStepFunctions.ListExecutions", children).await?;
    let next = children["nextToken"].as_str();
    let execution = text(&run, "executionArn");
    let name = execution.rsplit(':').next().unwrap_or_default();
    let count = |what: &str, member: &str| html! { (run[what][member].as_u64().unwrap_or(0)) };
    Ok(View::new(Section::Machines, "Map run")
        .under("State machines", href("machines", &[]))
        .under(format!("Execution {name}"), execution_address(execution))
        .part(STATUS, html! { p.lead { (badge(text(&run, "status"))) } })
        .part(
            "summary",
            facts(&[
                ("Started", moment(&run["startDate"])),
                ("Ended", moment(&run["stopDate"])),
                ("Items", count("itemCounts", "total")),
                ("Items succeeded", count("itemCounts", "succeeded")),
                ("Items failed", count("itemCounts", "failed")),
                ("Child executions", count("executionCounts", "total")),
                ("ARN", code(arn)),
            ]),
        )
        .part(
            "executions",
            html! {
                section aria-labelledby="children" {
                    h2 #children { "Child executions" }
                    (execution_table(items(&children, "executions")))
                    @if let Some(next) = next {
                        p { a href=(href("map-run", &[("arn", arn), ("after", next)])) { "Earlier executions" } }
                    }
                }
            },
        )
        .live(run["status"] == "RUNNING" && desk.get("after").is_none()))
}
