//! `cargo xtask deploy-infra`: creates or updates a stack of `infra/`, and shows its events until it is done.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use quick_xml::events::Event;
use regex::Regex;
use serde_json::json;

use crate::account::{Account, CLOUDFORMATION, Refused, SAGEMAKER};
use crate::{workspace, yaml};

/// Creates or updates a CloudFormation stack from a template of infra/, and shows its events.
///
/// Parameters that are not given keep their value when the stack exists, and have the template's default when it does not.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The stack's name.
    #[arg(long, default_value = "ipinsights")]
    stack: String,
    /// The template [default: infra/pipeline.yml].
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// A parameter of the template.
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
    /// Delete the stack instead, unless its pipeline's endpoint or a training job is there still, which cost money.
    ///
    /// What the stack keeps on purpose, such as the bucket with models and reports, is listed.
    #[arg(long, conflicts_with_all = ["template", "parameters"])]
    delete: bool,
    /// With --delete, do not look for the pipeline's endpoint and training jobs: they stay, and cost money as before.
    #[arg(long, requires = "delete")]
    keep_endpoint: bool,
    /// Region [default: that of the environment or the profile].
    #[arg(long)]
    region: Option<String>,
    /// Profile of the shared configuration.
    #[arg(long)]
    profile: Option<String>,
    /// Seconds between two looks at the stack.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    interval: u64,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// The template of the pipeline.
const TEMPLATE: &str = "infra/pipeline.yml";
/// A larger template has to lie in a bucket.
const MAX_TEMPLATE_BYTES: usize = 51_200;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let account = Account::find(args.profile.as_deref(), args.region.as_deref())?;
    deploy(args, &account, &mut std::io::stdout())
}

fn deploy(args: &Args, account: &Account, terminal: &mut dyn Write) -> anyhow::Result<()> {
    let stack = Stack {
        account,
        name: &args.stack,
        interval: Duration::from_secs(args.interval),
    };
    let current = stack.describe(&args.stack)?;
    if args.delete {
        let Some(current) = current else {
            writeln!(
                terminal,
                "there is no stack {} in {}",
                args.stack,
                account.region()
            )?;
            return Ok(());
        };
        if !args.keep_endpoint {
            stack.refuse_while_it_costs(&current)?;
        }
        return stack.delete(&current, terminal);
    }
    let path = args
        .template
        .clone()
        .unwrap_or_else(|| workspace::root().join(TEMPLATE));
    let template = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the template `{}`", path.display()))?;
    if template.len() > MAX_TEMPLATE_BYTES {
        bail!(
            "the template `{}` has {} bytes; CloudFormation takes {MAX_TEMPLATE_BYTES} in a request",
            path.display(),
            template.len()
        );
    }
    let current = match current {
        // A change that somebody began, or this command before it was interrupted.
        Some(busy) if busy.status.ends_with("_IN_PROGRESS") => {
            writeln!(terminal, "the stack {} is {}", args.stack, busy.status)?;
            stack.follow(&busy.id, Vec::new(), terminal)?;
            stack.describe(&args.stack)?
        }
        current => current,
    };
    if let Some(dead) = current
        .as_ref()
        .filter(|stack| stack.status == "ROLLBACK_COMPLETE")
    {
        bail!(
            "the stack {} was never created whole ({}), and cannot be updated: delete it with --delete, then deploy again",
            args.stack,
            dead.status
        );
    }
    stack.put(current.as_ref(), &template, &args.parameters, terminal)
}

/// A stack in the account.
struct Stack<'a> {
    account: &'a Account,
    name: &'a str,
    interval: Duration,
}

/// What DescribeStacks says of it.
#[derive(Debug)]
struct Described {
    id: String,
    status: String,
    reason: Option<String>,
    parameters: Vec<(String, String)>,
    outputs: Vec<(String, String)>,
}

impl Described {
    /// The name of the pipeline that this is the stack of, which is that of its endpoint and begins the names of its jobs.
    fn pipeline(&self) -> Option<&str> {
        let named = self.parameters.iter().find(|(name, _)| name == "PipelineName");
        named.map(|(_, value)| value.as_str())
    }
}

impl Stack<'_> {
    /// Calls an operation; one that is throttled, or only asks and finds the service in trouble, is tried again.
    fn call(&self, action: &str, parameters: &[(String, String)]) -> anyhow::Result<Element> {
        let mut tries = 1;
        loop {
            match self.call_once(action, parameters) {
                Err(error) if tries < TRIES && may_pass(action, &error) => {
                    std::thread::sleep(self.interval * tries);
                    tries += 1;
                }
                outcome => return Element::parse(&outcome?),
            }
        }
    }

    fn call_once(&self, action: &str, parameters: &[(String, String)]) -> anyhow::Result<String> {
        let mut all = vec![("Action", action), ("Version", "2010-05-15")];
        all.extend(
            parameters
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        self.account
            .query(&CLOUDFORMATION, &all)
            .map_err(|error| match error.downcast::<Refused>() {
                Ok(refused) => Failed::from(&refused).into(),
                Err(error) => error,
            })
            .with_context(|| format!("{action} of the stack {}", self.name))
    }

    /// The stack of that name or id; `None` when there is none.
    fn describe(&self, name: &str) -> anyhow::Result<Option<Described>> {
        let answer = match self.call("DescribeStacks", &[pair("StackName", name)]) {
            Ok(answer) => answer,
            Err(error) if format!("{error:#}").contains("does not exist") => return Ok(None),
            Err(error) => return Err(error),
        };
        let stack = answer
            .find("Stacks")
            .and_then(|stacks| stacks.children.first())
            .context("DescribeStacks answered without a stack")?;
        let text = |name: &str| stack.find(name).map(|element| element.text.clone());
        let members = |name: &str| stack.find(name).map_or(&[][..], |element| &element.children);
        let of = |member: &Element, name: &str| {
            member
                .find(name)
                .map(|element| element.text.clone())
                .unwrap_or_default()
        };
        Ok(Some(Described {
            id: text("StackId").context("a stack without an id")?,
            status: text("StackStatus").context("a stack without a status")?,
            reason: text("StackStatusReason"),
            parameters: members("Parameters")
                .iter()
                .map(|member| (of(member, "ParameterKey"), of(member, "ParameterValue")))
                .collect(),
            outputs: members("Outputs")
                .iter()
                .map(|member| (of(member, "OutputKey"), of(member, "OutputValue")))
                .collect(),
        }))
    }

    /// Creates the stack, or updates it when there is one, and waits.
    fn put(
        &self,
        current: Option<&Described>,
        template: &str,
        given: &[(String, String)],
        terminal: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let mut request = vec![
            pair("StackName", self.name),
            pair("TemplateBody", template),
            pair("Capabilities.member.1", "CAPABILITY_NAMED_IAM"),
        ];
        let mut number = 0;
        let mut add = |name: &str, value: Option<&str>| {
            number += 1;
            let prefix = format!("Parameters.member.{number}");
            request.push((format!("{prefix}.ParameterKey"), name.to_owned()));
            request.push(match value {
                Some(value) => (format!("{prefix}.ParameterValue"), value.to_owned()),
                None => (format!("{prefix}.UsePreviousValue"), "true".to_owned()),
            });
        };
        for (name, value) in given {
            add(name, Some(value));
        }
        // The service refuses names that the template does not have (any more).
        let wanted = parameters_of(template)?;
        for (name, _) in current.iter().flat_map(|stack| &stack.parameters) {
            if wanted.contains(name) && !given.iter().any(|(known, _)| known == name) {
                add(name, None);
            }
        }
        // Events that were there before are not of this change.
        let seen = match current {
            Some(current) => self.events(&current.id)?,
            None => Vec::new(),
        };
        let action = if current.is_some() {
            "UpdateStack"
        } else {
            "CreateStack"
        };
        let answer = match self.call(action, &request) {
            Ok(answer) => answer,
            Err(error) if format!("{error:#}").contains("No updates are to be performed") => {
                writeln!(terminal, "the stack {} is as the template says", self.name)?;
                return self.outputs(terminal);
            }
            Err(error) => return Err(error),
        };
        let id = match answer.find("StackId") {
            Some(id) => id.text.clone(),
            None => bail!("{action} answered without an id"),
        };
        let seen = seen.into_iter().map(|event| event.id).collect();
        let last = self.follow(&id, seen, terminal)?;
        match last.status.as_str() {
            "CREATE_COMPLETE" | "UPDATE_COMPLETE" => self.outputs(terminal),
            status => bail!(
                "the stack {} ended as {status}{}",
                self.name,
                last.reason
                    .map(|reason| format!(": {reason}"))
                    .unwrap_or_default()
            ),
        }
    }

    fn outputs(&self, terminal: &mut dyn Write) -> anyhow::Result<()> {
        if let Some(stack) = self.describe(self.name)? {
            for (name, value) in &stack.outputs {
                writeln!(terminal, "{name} = {value}")?;
            }
        }
        Ok(())
    }

    /// Refuses to go on while SageMaker has something of the stack's pipeline that costs money.
    fn refuse_while_it_costs(&self, current: &Described) -> anyhow::Result<()> {
        let Some(pipeline) = current.pipeline() else {
            return Ok(());
        };
        let found = self.what_costs(pipeline).with_context(|| {
            format!(
                "cannot tell whether SageMaker has something of {pipeline} that costs money (--keep-endpoint deletes the stack \
                 without looking)"
            )
        })?;
        if found.is_empty() {
            return Ok(());
        }
        bail!(
            "the stack {} is not deleted: {} would go on costing money without it; take that down first, with \
             `ipinsights destroy --target aws --name {pipeline}`, or keep what there is with --keep-endpoint",
            self.name,
            found.join(" and ")
        );
    }

    /// The endpoint of a pipeline, and its training jobs that run.
    fn what_costs(&self, pipeline: &str) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        let ask = |operation: &str, body: serde_json::Value| {
            let operation = format!("SageMaker.{operation}");
            self.account.json(&SAGEMAKER, &operation, &body)
        };
        match ask("DescribeEndpoint", json!({"EndpointName": pipeline})) {
            Ok(endpoint) => {
                let status = endpoint["EndpointStatus"].as_str().unwrap_or("there");
                found.push(format!("the endpoint {pipeline}, which is {status},"));
            }
            Err(error) if format!("{error:#}").contains("Could not find") => {}
            Err(error) => return Err(error.context("DescribeEndpoint")),
        }
        // As a run names its jobs: a pipeline's name may begin another's.
        let own = Regex::new(&format!(
            "^{}-[0-9]{{8}}-[0-9]{{6}}-[0-9]{{3}}-[0-9a-f]{{4}}$",
            regex::escape(pipeline)
        ))?;
        let mut request = json!({"NameContains": pipeline, "StatusEquals": "InProgress"});
        loop {
            let page = ask("ListTrainingJobs", request.clone()).context("ListTrainingJobs")?;
            let jobs = page["TrainingJobSummaries"].as_array().into_iter().flatten();
            let names = jobs.filter_map(|job| job["TrainingJobName"].as_str());
            let names = names.filter(|name| own.is_match(name));
            found.extend(names.map(|name| format!("the training job {name}, which runs,")));
            match page["NextToken"].as_str() {
                Some(token) => request["NextToken"] = token.into(),
                None => return Ok(found),
            }
        }
    }

    fn delete(&self, current: &Described, terminal: &mut dyn Write) -> anyhow::Result<()> {
        let seen = self
            .events(&current.id)?
            .into_iter()
            .map(|event| event.id)
            .collect();
        self.call("DeleteStack", &[pair("StackName", self.name)])?;
        let last = self.follow(&current.id, seen, terminal)?;
        if last.status != "DELETE_COMPLETE" {
            bail!(
                "the stack {} ended as {}{}",
                self.name,
                last.status,
                last.reason
                    .map(|reason| format!(": {reason}"))
                    .unwrap_or_default()
            );
        }
        for event in self.events(&current.id)? {
            if event.status == "DELETE_SKIPPED" {
                let advice = match event.kind.as_str() {
                    "AWS::S3::Bucket" => {
                        "what it stores costs money; when it is not wanted, empty it of all versions and delete it"
                    }
                    _ => "delete it by hand when it is not wanted",
                };
                writeln!(terminal, "kept: {} {} ({advice})", event.kind, event.physical)?;
            }
        }
        if let Some(pipeline) = current.pipeline() {
            writeln!(
                terminal,
                "kept: the log groups /aws/sagemaker/TrainingJobs and /aws/sagemaker/Endpoints/{pipeline}, which are SageMaker's"
            )?;
        }
        Ok(())
    }

    /// Shows the events of a change as they come, until the stack rests; how it is then.
    fn follow(&self, id: &str, mut seen: Vec<String>, terminal: &mut dyn Write) -> anyhow::Result<Described> {
        loop {
            // The stack first: what happens in between shows in the events.
            let now = self.describe(id)?.context("the stack is gone")?;
            for event in self.events_since(id, &seen)? {
                writeln!(
                    terminal,
                    "{} {:<28} {:<28} {}{}",
                    event.time,
                    event.status,
                    event.logical,
                    event.kind,
                    event
                        .reason
                        .map(|reason| format!(": {reason}"))
                        .unwrap_or_default()
                )?;
                seen.push(event.id);
            }
            if !now.status.ends_with("_IN_PROGRESS") {
                return Ok(now);
            }
            std::thread::sleep(self.interval);
        }
    }

    /// All events, the oldest first.
    fn events(&self, id: &str) -> anyhow::Result<Vec<StackEvent>> {
        self.events_since(id, &[])
    }

    /// The events after those that were seen, the oldest first.
    fn events_since(&self, id: &str, seen: &[String]) -> anyhow::Result<Vec<StackEvent>> {
        let mut events = Vec::new();
        let mut token: Option<String> = None;
        'pages: loop {
            let mut request = vec![pair("StackName", id)];
            if let Some(token) = &token {
                request.push(pair("NextToken", token));
            }
            let answer = self.call("DescribeStackEvents", &request)?;
            let members = answer
                .find("StackEvents")
                .map_or(&[][..], |element| &element.children);
            for member in members {
                let event = StackEvent::read(member);
                // The newest come first: what is behind a known one is known.
                if seen.contains(&event.id) {
                    break 'pages;
                }
                events.push(event);
            }
            token = answer.find("NextToken").map(|element| element.text.clone());
            if token.is_none() {
                break;
            }
        }
        events.reverse();
        Ok(events)
    }
}

struct StackEvent {
    id: String,
    time: String,
    status: String,
    logical: String,
    physical: String,
    kind: String,
    reason: Option<String>,
}

impl StackEvent {
    fn read(member: &Element) -> Self {
        let of = |name: &str| member.find(name).map(|element| element.text.clone());
        Self {
            id: of("EventId").unwrap_or_default(),
            time: of("Timestamp").unwrap_or_default(),
            status: of("ResourceStatus").unwrap_or_default(),
            logical: of("LogicalResourceId").unwrap_or_default(),
            physical: of("PhysicalResourceId").unwrap_or_default(),
            kind: of("ResourceType").unwrap_or_default(),
            reason: of("ResourceStatusReason").filter(|reason| !reason.is_empty()),
        }
    }
}

/// How often a call is made at most.
const TRIES: u32 = 5;

/// Whether a call that failed may succeed when it is made again, and does no harm then.
fn may_pass(action: &str, error: &anyhow::Error) -> bool {
    match error.downcast_ref::<Failed>() {
        Some(failed) if failed.told.starts_with("Throttling") => true,
        Some(failed) => failed.status >= 500 && action.starts_with("Describe"),
        None => action.starts_with("Describe"),
    }
}

/// An answer of the service that is no success.
#[derive(Debug)]
struct Failed {
    status: u16,
    /// Its code and message, without their XML.
    told: String,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.told)
    }
}

impl std::error::Error for Failed {}

impl From<&Refused> for Failed {
    fn from(refused: &Refused) -> Self {
        let told = Element::parse(&refused.body).ok().and_then(|answer| {
            let code = &answer.find("Code")?.text;
            Some(format!("{code}: {}", answer.find("Message")?.text))
        });
        Self {
            status: refused.status,
            told: told.unwrap_or_else(|| refused.to_string()),
        }
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The names of a template's parameters.
fn parameters_of(template: &str) -> anyhow::Result<Vec<String>> {
    let document = yaml::parse(template).context("the template cannot be read")?;
    let parameters = document
        .entries()
        .and_then(|entries| entries.iter().find(|(key, _)| key == "Parameters"))
        .and_then(|(_, parameters)| parameters.entries());
    Ok(parameters
        .unwrap_or_default()
        .iter()
        .map(|(name, _)| name.clone())
        .collect())
}

/// An element of an answer.
#[derive(Debug, Default)]
struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// Reads an answer; what is around its root (declaration, comments) is passed over.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut reader = quick_xml::Reader::from_str(text);
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().context("the answer is not XML")? {
                Event::Start(tag) => open.push(Self::named(&tag)),
                Event::Empty(tag) => {
                    if let Some(parent) = open.last_mut() {
                        parent.children.push(Self::named(&tag));
                    }
                }
                Event::Text(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text += &text.decode()?;
                    }
                }
                Event::GeneralRef(reference) => {
                    if let Some(element) = open.last_mut() {
                        match reference.resolve_char_ref()? {
                            Some(character) => element.text.push(character),
                            None => {
                                let name = reference.decode()?;
                                let known = quick_xml::escape::resolve_predefined_entity(&name);
                                element.text += known.context("the answer has an entity of its own")?;
                            }
                        }
                    }
                }
                Event::CData(data) => {
                    if let Some(element) = open.last_mut() {
                        element.text += &String::from_utf8_lossy(&data);
                    }
                }
                Event::End(_) => {
                    if let (Some(mut done), Some(parent)) = (open.pop(), open.last_mut()) {
                        done.text = done.text.trim().to_owned();
                        parent.children.push(done);
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        match (open.len(), open.pop()) {
            (1, Some(mut root)) if root.children.len() == 1 => Ok(root.children.remove(0)),
            _ => bail!("the answer is cut short"),
        }
    }

    fn named(tag: &quick_xml::events::BytesStart<'_>) -> Self {
        Self {
            name: String::from_utf8_lossy(tag.local_name().as_ref()).into_owned(),
            ..Self::default()
        }
    }

    /// The first element of that name in the order of the document, at any depth.
    fn find(&self, name: &str) -> Option<&Self> {
        self.children.iter().find_map(|child| {
            if child.name == name {
                Some(child)
            } else {
                child.find(name)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::net::TcpListener;

    use aws_credential_types::Credentials;
    use clap::Parser;
    use expect_test::expect;

    use super::*;
    use crate::account::Service;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    /// CloudFormation and SageMaker, who answer from a list, one answer a request, and keeps the requests' bodies.
    fn serve(answers: Vec<(u16, String)>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let mut bodies = Vec::new();
            for (status, answer) in answers {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream);
                let (mut length, mut signed) = (0, false);
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    let line = line.trim().to_ascii_lowercase();
                    if line.is_empty() {
                        break;
                    }
                    if let Some(value) = line.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    let of = |service| line.contains(&format!("/eu-west-1/{service}/aws4_request"));
                    signed |= line.starts_with("authorization: aws4-hmac-sha256 credential=akid/")
                        && (of("cloudformation") || of("sagemaker"));
                }
                assert!(signed, "the request is not signed");
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                bodies.push(String::from_utf8(body).unwrap());
                let mut stream = reader.into_inner();
                write!(
                    stream,
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                    answer.len()
                )
                .unwrap();
            }
            bodies
        });
        (url, thread)
    }

    fn stack(status: &str) -> (u16, String) {
        let text = format!(
            "<?xml version=\"1.0\"?><DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackId>id-1</StackId>\
             <StackName>demo</StackName><StackStatus>{status}</StackStatus><StackStatusReason>because &lt;x&gt;</StackStatusReason>\
             <Parameters><member><ParameterKey>PipelineName</ParameterKey><ParameterValue>demo</ParameterValue></member><member><ParameterKey>BranchName</ParameterKey></member>\
             <member><ParameterKey>Gone</ParameterKey></member></Parameters>\
             <Outputs><member><OutputKey>Bucket</OutputKey><OutputValue>b-1</OutputValue></member></Outputs>\
             </member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
        );
        (200, text)
    }

    fn absent() -> (u16, String) {
        let text = "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id demo does not \
                    exist</Message></Error></ErrorResponse>";
        (400, text.to_owned())
    }

    fn events(list: &[(&str, &str, &str)]) -> (u16, String) {
        let members: String = list
            .iter()
            .map(|(id, status, logical)| {
                format!(
                    "<member><EventId>{id}</EventId><Timestamp>T{id}</Timestamp><ResourceStatus>{status}</ResourceStatus>\
                     <LogicalResourceId>{logical}</LogicalResourceId><PhysicalResourceId>p-{logical}</PhysicalResourceId>\
                     <ResourceType>AWS::S3::Bucket</ResourceType></member>"
                )
            })
            .collect();
        let text = format!(
            "<DescribeStackEventsResponse><DescribeStackEventsResult><StackEvents>{members}</StackEvents></DescribeStackEventsResult>\
             </DescribeStackEventsResponse>"
        );
        (200, text)
    }

    fn accepted() -> (u16, String) {
        (200, "<R><StackId>id-1</StackId></R>".to_owned())
    }

    /// Runs the task against a list of answers: what it printed or why it failed, and the requests.
    fn check(arguments: &[&str], answers: Vec<(u16, String)>) -> (Result<String, String>, Vec<String>) {
        let (url, server) = serve(answers);
        let credentials = Credentials::new("AKID", "secret", None, None, "test");
        let account = Account::of(credentials, "eu-west-1").at(&url);
        let fixed = ["deploy-infra", "--stack", "demo", "--interval", "0"];
        let cli = Cli::parse_from(fixed.iter().chain(arguments));
        let mut printed = Vec::new();
        let result = deploy(&cli.args, &account, &mut printed);
        let printed = String::from_utf8(printed).unwrap();
        let result = match result {
            Ok(()) => Ok(printed),
            Err(error) => Err(format!("{printed}{error:#}")),
        };
        (result, server.join().unwrap())
    }

    #[test]
    fn a_stack_that_is_not_there_is_created() {
        let (result, requests) = check(
            &["--parameter", "Name=a b"],
            vec![
                absent(),
                accepted(),
                stack("CREATE_IN_PROGRESS"),
                events(&[("1", "CREATE_IN_PROGRESS", "Bucket")]),
                stack("CREATE_COMPLETE"),
                events(&[
                    ("2", "CREATE_COMPLETE", "Bucket"),
                    ("1", "CREATE_IN_PROGRESS", "Bucket"),
                ]),
                stack("CREATE_COMPLETE"),
            ],
        );
        expect![[r#"
            T1 CREATE_IN_PROGRESS           Bucket                       AWS::S3::Bucket
            T2 CREATE_COMPLETE              Bucket                       AWS::S3::Bucket
            Bucket = b-1
        "#]]
        .assert_eq(&result.unwrap());
        let create = &requests[1];
        assert!(create.starts_with("Action=CreateStack&Version=2010%2D05%2D15&StackName=demo&TemplateBody="));
        assert!(
            create.contains("Parameters%2Emember%2E1%2EParameterValue=a%20b"),
            "{create}"
        );
    }

    #[test]
    fn a_stack_that_is_there_is_updated_and_keeps_its_parameters() {
        let (result, requests) = check(
            &["--parameter", "PipelineName=new"],
            vec![
                stack("CREATE_COMPLETE"),
                events(&[("1", "CREATE_COMPLETE", "Bucket")]),
                accepted(),
                stack("UPDATE_ROLLBACK_COMPLETE"),
                events(&[
                    ("2", "UPDATE_FAILED", "Bucket"),
                    ("1", "CREATE_COMPLETE", "Bucket"),
                ]),
            ],
        );
        expect![[r#"
            T2 UPDATE_FAILED                Bucket                       AWS::S3::Bucket
            the stack demo ended as UPDATE_ROLLBACK_COMPLETE: because <x>"#]]
        .assert_eq(&result.unwrap_err());
        let update = &requests[2];
        assert!(update.starts_with("Action=UpdateStack"), "{update}");
        assert!(
            !update.contains("Gone"),
            "the template does not have it: {update}"
        );
        assert!(
            update.contains("Parameters%2Emember%2E2%2EParameterKey=BranchName&Parameters%2Emember%2E2%2EUsePreviousValue=true"),
            "{update}"
        );
    }

    #[test]
    fn nothing_to_update_is_no_failure() {
        let nothing = "<E><Error><Code>ValidationError</Code><Message>No updates are to be performed.</Message></Error></E>";
        let (result, _) = check(
            &[],
            vec![
                stack("CREATE_COMPLETE"),
                events(&[]),
                (400, nothing.to_owned()),
                stack("CREATE_COMPLETE"),
            ],
        );
        assert_eq!(
            result.unwrap(),
            "the stack demo is as the template says\nBucket = b-1\n"
        );
    }

    fn no_endpoint() -> (u16, String) {
        let message = "Could not find endpoint \\\"demo\\\".";
        (
            400,
            format!(r#"{{"__type": "ValidationException", "message": "{message}"}}"#),
        )
    }

    fn jobs(names: &[&str], next: Option<&str>) -> (u16, String) {
        let jobs: Vec<_> = names
            .iter()
            .map(|name| json!({"TrainingJobName": name}))
            .collect();
        let page = json!({"TrainingJobSummaries": jobs, "NextToken": next});
        (200, page.to_string())
    }

    #[test]
    fn a_stack_is_not_deleted_while_something_of_its_pipeline_costs_money() {
        let endpoint = json!({"EndpointName": "demo", "EndpointStatus": "InService"});
        let (result, requests) = check(
            &["--delete"],
            vec![
                stack("CREATE_COMPLETE"),
                (200, endpoint.to_string()),
                jobs(&["my-demo-20260131-120000-000-abcd"], Some("more")),
                jobs(
                    &[
                        "demo-20260131-120000-001-abcd",
                        "demo-two-20260131-120000-000-abcd",
                    ],
                    None,
                ),
            ],
        );
        expect!["the stack demo is not deleted: the endpoint demo, which is InService, and the training job demo-20260131-120000-001-abcd, which runs, would go on costing money without it; take that down first, with `ipinsights destroy --target aws --name demo`, or keep what there is with --keep-endpoint"]
            .assert_eq(&result.unwrap_err());
        assert_eq!(requests[1], r#"{"EndpointName":"demo"}"#);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&requests[3]).unwrap(),
            json!({"NameContains": "demo", "StatusEquals": "InProgress", "NextToken": "more"})
        );

        let denied = r#"{"__type": "AccessDeniedException", "message": "no"}"#;
        let (result, _) = check(
            &["--delete"],
            vec![stack("CREATE_COMPLETE"), (400, denied.to_owned())],
        );
        expect![[r#"cannot tell whether SageMaker has something of demo that costs money (--keep-endpoint deletes the stack without looking): DescribeEndpoint: HTTP 400: {"__type": "AccessDeniedException", "message": "no"}"#]]
            .assert_eq(&result.unwrap_err());
    }

    #[test]
    fn an_endpoint_may_be_kept() {
        let (result, requests) = check(
            &["--delete", "--keep-endpoint"],
            vec![
                stack("CREATE_COMPLETE"),
                events(&[]),
                (200, "<R/>".to_owned()),
                stack("DELETE_COMPLETE"),
                events(&[]),
                events(&[]),
            ],
        );
        assert!(result.unwrap().contains("log groups"));
        assert!(requests[2].starts_with("Action=DeleteStack"));
    }

    #[test]
    fn what_a_deleted_stack_keeps_is_listed() {
        let (result, _) = check(
            &["--delete"],
            vec![
                stack("CREATE_COMPLETE"),
                no_endpoint(),
                jobs(&[], None),
                events(&[]),
                (200, "<R/>".to_owned()),
                stack("DELETE_COMPLETE"),
                events(&[("1", "DELETE_SKIPPED", "Bucket")]),
                events(&[("1", "DELETE_SKIPPED", "Bucket")]),
            ],
        );
        expect![[r#"
            T1 DELETE_SKIPPED               Bucket                       AWS::S3::Bucket
            kept: AWS::S3::Bucket p-Bucket (what it stores costs money; when it is not wanted, empty it of all versions and delete it)
            kept: the log groups /aws/sagemaker/TrainingJobs and /aws/sagemaker/Endpoints/demo, which are SageMaker's
        "#]]
        .assert_eq(&result.unwrap());
        let (result, _) = check(&["--delete"], vec![absent()]);
        assert_eq!(result.unwrap(), "there is no stack demo in eu-west-1\n");
    }

    #[test]
    fn a_change_that_is_under_way_is_followed_and_trouble_is_borne() {
        let throttled = "<E><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></E>";
        let nothing = "<E><Error><Code>ValidationError</Code><Message>No updates are to be performed.</Message></Error></E>";
        let (result, _) = check(
            &[],
            vec![
                stack("UPDATE_IN_PROGRESS"),
                (503, String::new()),
                stack("UPDATE_IN_PROGRESS"),
                events(&[("1", "UPDATE_IN_PROGRESS", "Bucket")]),
                stack("UPDATE_COMPLETE"),
                events(&[
                    ("2", "UPDATE_COMPLETE", "Bucket"),
                    ("1", "UPDATE_IN_PROGRESS", "Bucket"),
                ]),
                stack("UPDATE_COMPLETE"),
                events(&[]),
                (400, throttled.to_owned()),
                (400, nothing.to_owned()),
                stack("UPDATE_COMPLETE"),
            ],
        );
        expect![[r#"
            the stack demo is UPDATE_IN_PROGRESS
            T1 UPDATE_IN_PROGRESS           Bucket                       AWS::S3::Bucket
            T2 UPDATE_COMPLETE              Bucket                       AWS::S3::Bucket
            the stack demo is as the template says
            Bucket = b-1
        "#]]
        .assert_eq(&result.unwrap());
    }

    #[test]
    fn a_stack_that_was_never_whole_is_not_updated() {
        let (result, _) = check(&[], vec![stack("ROLLBACK_COMPLETE")]);
        assert_eq!(
            result.unwrap_err(),
            "the stack demo was never created whole (ROLLBACK_COMPLETE), and cannot be updated: delete it with --delete, then deploy again"
        );
    }

    #[test]
    fn what_cannot_be_done_is_told() {
        let denied = "<E><Error><Code>AccessDenied</Code><Message>no</Message></Error></E>";
        let (result, _) = check(&[], vec![(403, denied.to_owned())]);
        assert_eq!(
            result.unwrap_err(),
            "DescribeStacks of the stack demo: AccessDenied: no"
        );
        let (result, _) = check(&[], vec![(200, "<a><b></a>".to_owned())]);
        assert!(result.unwrap_err().starts_with("the answer is not XML"));
        assert!(
            Service::default_url(&CLOUDFORMATION, "cn-north-1").ends_with("cn-north-1.amazonaws.com.cn/")
        );
    }
}
