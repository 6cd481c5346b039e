//! The overview, how to point clients here, and the way in where there are keys.

use http::StatusCode;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::{
    Desk, href, jobs, machines,
    page::{self, Problem, Section, View, list as items, refusal},
};

/// How many executions the overview shows.
const EXECUTIONS: usize = 8;

/// What is going on.
pub(super) async fn overview(desk: &Desk) -> Result<View, Problem> {
    let machines = machines::machines(desk).await?;
    let mut executions = Vec::new();
    let (mut running, mut more) = (0, false);
    for machine in &machines {
        executions.extend(machines::last_executions(desk, machine, EXECUTIONS).await);
        let input = json!({
            "stateMachineArn": machine["stateMachineArn"],
            "statusFilter": "RUNNING",
            "maxResults": 1000,
        });
        if let Ok(answer) = desk.call("AWSStepFunctions.ListExecutions", input).await {
            running += items(&answer, "executions").len();
            more |= answer["nextToken"].is_string();
        }
    }
    let or_more = if more { " or more" } else { "" };
    let running = format!("{running}{or_more} executions running");
    executions.sort_by(|a, b| {
        let began = |execution: &Value| execution["startDate"].as_f64().unwrap_or(0.0);
        began(b).total_cmp(&began(a))
    });
    executions.truncate(EXECUTIONS);
    let trainings = jobs::listed(desk, jobs::TRAINING, EXECUTIONS).await?;
    let mut at_work = 0;
    for kind in jobs::KINDS {
        let input = json!({"StatusEquals": "InProgress", "MaxResults": 100});
        let answer = desk.call(&format!("SageMaker.{}", kind.list), input).await?;
        at_work += items(&answer, kind.member).len();
    }
    let endpoints = desk
        .call("SageMaker.ListEndpoints", json!({"MaxResults": 100}))
        .await?;
    let endpoints = items(&endpoints, "Endpoints");
    let serving = endpoints
        .iter()
        .filter(|e| e["EndpointStatus"] == "InService")
        .count();
    let buckets = desk.app.objects.buckets().len();
    let figures = html! {
        dl.figures {
            (figure("State machines", machines.len(), &running, "machines"))
            (figure("Jobs at work", at_work, "training, tuning, transform", "jobs"))
            (figure("Endpoints in service", serving, &format!("of {}", endpoints.len()), "endpoints"))
            (figure("Buckets", buckets, "of S3", "buckets"))
        }
    };
    Ok(View::new(Section::Overview, "Overview")
        .part("figures", figures)
        .part(
            "executions",
            html! {
                section aria-labelledby="executions" {
                    h2 #executions { "Last executions" }
                    (machines::execution_table(&executions))
                }
            },
        )
        .part(
            "trainings",
            html! {
                section aria-labelledby="trainings" {
                    h2 #trainings { "Last training jobs" }
                    (jobs::job_table(jobs::TRAINING, items(&trainings, jobs::TRAINING.member)))
                }
            },
        )
        .fixed(html! {
            section aria-labelledby="connect" {
                h2 #connect { "Point clients here" }
                (variables(desk))
                p { a href="/console/connect" { "More ways" } }
            }
        }))
}

fn figure(name: &str, count: usize, note: &str, page: &str) -> Markup {
    html! { div { dt { a href=(href(page, &[])) { (name) } } dd { strong { (count) } small { (note) } } } }
}

/// Whether a key has to be one of the server's.
fn keys(desk: &Desk) -> (&'static str, &'static str) {
    match desk.app.keys.is_empty() {
        true => ("local", "local"),
        false => ("<your key's id>", "<its secret>"),
    }
}

fn variables(desk: &Desk) -> Markup {
    let (id, secret) = keys(desk);
    let region = desk.app.sagemaker.region();
    let text = format!(
        "export AWS_ENDPOINT_URL={}\nexport AWS_ACCESS_KEY_ID='{id}' AWS_SECRET_ACCESS_KEY='{secret}'\nexport \
         AWS_REGION={region} AWS_DEFAULT_REGION={region}\nexport AWS_EC2_METADATA_DISABLED=true",
        desk.url
    );
    html! { pre.copy { (text) } }
}

/// How to point clients here.
pub(super) fn connect(desk: &Desk) -> View {
    let (url, region) = (&desk.url, desk.app.sagemaker.region());
    let (id, secret) = keys(desk);
    let key = match desk.app.keys.is_empty() {
        true => "Any key pair does: nobody checks it, but clients want one.",
        false => "This server takes only requests that are signed with one of its keys.",
    };
    let ways = [
        (
            "cli",
            "AWS CLI",
            "It reads the variables above. Without them:",
            format!(
                "aws --endpoint-url {url} s3 ls\naws --endpoint-url {url} sagemaker list-training-jobs\naws --endpoint-url {url} \
                 stepfunctions list-state-machines"
            ),
        ),
        (
            "python",
            "Python",
            "boto3 reads the variables, too. Or in code:",
            format!(
                "import boto3\n\nsession = boto3.Session(\n    aws_access_key_id=\"{id}\",\n    aws_secret_access_key=\"{secret}\",\n    \
                 region_name=\"{region}\",\n)\nruntime = session.client(\"sagemaker-runtime\", endpoint_url=\"{url}\")\nanswer = \
                 runtime.invoke_endpoint(EndpointName=\"…\", ContentType=\"text/csv\", Body=\"entity,192.0.2.1\")"
            ),
        ),
        (
            "pipeline",
            "The pipeline",
            "A whole run, with its state machine on this server:",
            format!("ipinsights run --endpoint-url {url}"),
        ),
    ];
    View::new(Section::Connect, "Point clients here")
        .live(false)
        .fixed(html! {
            section aria-labelledby="variables" {
                h2 #variables { "Variables" }
                p { "Every AWS SDK and the AWS CLI read these. " (key) }
                (variables(desk))
            }
            @for (id, title, what, text) in &ways {
                section aria-labelledby=(id) {
                    h2 id=(id) { (title) }
                    p { (what) }
                    pre.copy { (text) }
                }
            }
            section aria-labelledby="services" {
                h2 #services { "What is there" }
                p {
                    "S3, SageMaker (training, tuning and transform jobs, models, endpoints), its runtime, Step Functions, CloudWatch "
                    "Logs and the metrics of training jobs, STS. What is not implemented is refused with an error that names it. "
                    "A request that asks for health: " span.code { "GET " (url) "/_health" } "."
                }
            }
        })
}

/// The way in, where requests have to be signed.
pub(super) fn sign_in(token: &str, next: &str, wrong: Option<&str>) -> View {
    View::new(Section::None, "Sign in")
        .live(false)
        .status(StatusCode::UNAUTHORIZED)
        .fixed(html! {
            @if let Some(wrong) = wrong { (refusal("Not signed in", wrong)) }
            p.lead { "This server takes signed requests only. A key of it opens the console." }
            form.narrow method="post" action="/console/sign-in" {
                (page::token(token))
                input type="hidden" name="next" value=(next);
                p {
                    label for="id" { "Access key id" }
                    input #id name="id" autocomplete="username" required autofocus[wrong.is_none()] spellcheck="false" autocapitalize="none";
                }
                p {
                    label for="secret" { "Secret access key" }
                    input #secret name="secret" type="password" autocomplete="current-password" required;
                }
                p { button type="submit" { "Sign in" } }
            }
        })
}
