//! The CloudFormation templates of `infra/`, read and checked: they are well-formed, refer to what they have, and give no
//! role more than it needs. `cfn-lint` knows the services better; it runs too where it is installed.

use std::collections::BTreeSet;
use std::process::Command;

use crate::workspace;
use crate::yaml::{self, Node, Value};

/// Actions that know no resources, so that `Resource: "*"` is all there is; each with the condition that limits it, if any.
const WITHOUT_RESOURCES: &[&str] = &[
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
    "states:ListStateMachines",
];

/// Who may be given a role, by the role's logical name.
const PASSED_TO: &[(&str, &str)] = &[
    ("SageMakerRole", "sagemaker.amazonaws.com"),
    ("StateMachineRole", "states.amazonaws.com"),
];

fn templates() -> Vec<(String, Node)> {
    let mut templates = Vec::new();
    for entry in std::fs::read_dir(workspace::root().join("infra")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        templates.push((
            name.clone(),
            yaml::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}")),
        ));
    }
    templates.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!templates.is_empty());
    templates
}

fn get<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    let Some((first, rest)) = path.split_first() else {
        return Some(node);
    };
    let (_, value) = node.entries()?.iter().find(|(key, _)| key == first)?;
    get(value, rest)
}

fn texts(node: &Node) -> Vec<&str> {
    match &node.value {
        Value::Scalar { text, .. } => vec![text],
        Value::Sequence(items) => items.iter().flat_map(texts).collect(),
        Value::Mapping(entries) => entries.iter().flat_map(|(_, value)| texts(value)).collect(),
    }
}

/// Every node with its parents' keys, depth first.
fn walk<'a>(node: &'a Node, path: &str, visit: &mut dyn FnMut(&str, &'a Node)) {
    visit(path, node);
    match &node.value {
        Value::Scalar { .. } => {}
        Value::Sequence(items) => items.iter().for_each(|item| walk(item, path, visit)),
        Value::Mapping(entries) => entries
            .iter()
            .for_each(|(key, value)| walk(value, &format!("{path}.{key}"), visit)),
    }
}

/// Every statement of every policy of a template that allows something: those with an action.
fn statements(template: &Node) -> Vec<&Node> {
    let mut statements = Vec::new();
    walk(template, "", &mut |_, node| {
        if get(node, &["Effect"]).and_then(Node::text) == Some("Allow") {
            statements.push(node);
        }
    });
    statements
}

#[test]
fn no_role_is_allowed_everything() {
    let mut problems = Vec::new();
    let mut seen = 0;
    for (name, template) in templates() {
        for statement in statements(&template) {
            seen += 1;
            let mut problem =
                |message: String| problems.push(format!("{name}:{}: {message}", statement.line));
            let actions = get(statement, &["Action"]).map(texts).unwrap_or_default();
            if actions.is_empty()
                || get(statement, &["NotAction"]).is_some()
                || get(statement, &["NotResource"]).is_some()
            {
                problem("allow by naming actions and resources".to_owned());
            }
            for action in &actions {
                if action.contains('*') || !action.contains(':') {
                    problem(format!("the action `{action}` is not one action"));
                }
            }
            // A trust policy has a principal and no resource.
            if get(statement, &["Principal"]).is_some() {
                match actions[..] {
                    ["sts:AssumeRole"] => {}
                    ["sts:AssumeRoleWithWebIdentity"] if names_one_branch(statement) => {}
                    _ => problem(format!("a trust policy allows {actions:?}")),
                }
                continue;
            }
            let resources = get(statement, &["Resource"]).map(texts).unwrap_or_default();
            if resources.is_empty() {
                problem("no resource".to_owned());
            }
            if resources.contains(&"*") {
                for action in actions
                    .iter()
                    .filter(|action| !WITHOUT_RESOURCES.contains(action))
                {
                    problem(format!("`{action}` on every resource"));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(seen > 20, "only {seen} statements: are they found at all?");
}

/// Whether a token of GitHub's has to be of one branch of one repository.
fn names_one_branch(statement: &Node) -> bool {
    let claim = |name: &str| {
        let key = format!("token.actions.githubusercontent.com:{name}");
        get(statement, &["Condition", "StringEquals", &key]).and_then(Node::text)
    };
    get(statement, &["Principal", "Federated"]).is_some()
        && claim("aud") == Some("sts.amazonaws.com")
        && claim("sub").is_some_and(|text| text == "repo:${RepositoryId}:ref:refs/heads/${BranchName}")
}

/// The pipeline's state machine, as a test of `pipeline` holds it.
const DEFINITION: &str = "crates/pipeline/tests/definition.asl.json";

/// Every action of the state machine is allowed to its role.
#[test]
fn the_state_machine_may_do_what_it_does() {
    let text = std::fs::read_to_string(workspace::root().join(DEFINITION)).unwrap();
    let definition: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut needed = BTreeSet::new();
    for (name, state) in definition["States"].as_object().unwrap() {
        let Some(resource) = state["Resource"].as_str() else {
            continue;
        };
        let action = resource.rsplit(':').next().unwrap_or_default();
        let action = action.trim_end_matches(".sync");
        assert!(resource.contains("sagemaker"), "{name}: {resource}");
        let (first, rest) = action.split_at(1);
        needed.insert(format!("sagemaker:{}{rest}", first.to_uppercase()));
    }
    assert!(needed.len() > 5, "{needed:?}");
    let templates = templates();
    let (_, pipeline) = templates.iter().find(|(name, _)| name == "pipeline.yml").unwrap();
    let role = get(pipeline, &["Resources", "StateMachineRole"]).unwrap();
    let allowed: BTreeSet<String> = statements(role)
        .into_iter()
        .flat_map(|statement| get(statement, &["Action"]).map(texts).unwrap_or_default())
        .map(str::to_owned)
        .collect();
    let missing: Vec<&String> = needed.difference(&allowed).collect();
    assert!(missing.is_empty(), "the role lacks {missing:?}");
}

/// A build keeps its cache, writes its report of the tests, and waits for a person only where that is asked for.
#[test]
fn the_build_has_its_cache_and_its_report_and_approval_is_a_choice() {
    let templates = templates();
    let (_, pipeline) = templates.iter().find(|(name, _)| name == "pipeline.yml").unwrap();
    let cache = get(
        pipeline,
        &["Resources", "Build", "Properties", "Cache", "Location"],
    );
    assert_eq!(cache.and_then(Node::text), Some("${Bucket}/cache"));
    let role = get(pipeline, &["Resources", "BuildRole"]).unwrap();
    let reports = [
        "codebuild:BatchPutTestCases",
        "codebuild:CreateReport",
        "codebuild:CreateReportGroup",
        "codebuild:UpdateReport",
    ];
    assert!(statements(role).into_iter().any(|statement| {
        get(statement, &["Action"])
            .map(texts)
            .is_some_and(|actions| actions == reports)
    }));
    let stages = get(pipeline, &["Resources", "Pipeline", "Properties", "Stages"]).unwrap();
    let choice = stages
        .items()
        .unwrap()
        .iter()
        .find_map(|stage| get(stage, &["Fn::If"]))
        .unwrap();
    let [condition, approval, otherwise] = choice.items().unwrap() else {
        panic!("line {}: what otherwise?", choice.line)
    };
    assert_eq!(
        (condition.text(), otherwise.text()),
        (Some("IsApproved"), Some("AWS::NoValue"))
    );
    assert_eq!(get(approval, &["Name"]).and_then(Node::text), Some("Approval"));
    for (given, is_approved) in [("no", false), ("yes", true)] {
        let parameters = &[("ManualApproval", given)];
        let stack = Stack {
            template: pipeline,
            parameters,
        };
        assert_eq!(stack.named("IsApproved"), is_approved);
    }
}

#[test]
fn roles_are_passed_to_the_one_service_that_needs_them() {
    let mut passed = BTreeSet::new();
    for (name, template) in templates() {
        for statement in statements(&template) {
            let actions = get(statement, &["Action"]).map(texts).unwrap_or_default();
            if !actions.contains(&"iam:PassRole") {
                continue;
            }
            assert_eq!(actions, ["iam:PassRole"], "{name}:{}", statement.line);
            let resource = get(statement, &["Resource"]).unwrap();
            assert_eq!(
                resource.tag.as_deref(),
                Some("GetAtt"),
                "{name}:{}",
                resource.line
            );
            let role = resource.text().unwrap().strip_suffix(".Arn").unwrap().to_owned();
            let to = get(statement, &["Condition", "StringEquals", "iam:PassedToService"])
                .and_then(Node::text)
                .unwrap();
            passed.insert((role, to.to_owned()));
        }
    }
    let want = PASSED_TO
        .iter()
        .map(|(role, to)| ((*role).to_owned(), (*to).to_owned()))
        .collect();
    assert_eq!(passed, want);
}

#[test]
fn buckets_are_private_encrypted_and_versioned() {
    let mut buckets = 0;
    for (name, template) in templates() {
        for (logical, resource) in get(&template, &["Resources"]).unwrap().entries().unwrap() {
            if get(resource, &["Type"]).and_then(Node::text) != Some("AWS::S3::Bucket") {
                continue;
            }
            buckets += 1;
            let block = get(resource, &["Properties", "PublicAccessBlockConfiguration"]).map(texts);
            assert_eq!(block, Some(vec!["true"; 4]), "{name}: {logical}");
            assert!(
                get(resource, &["Properties", "BucketEncryption"]).is_some(),
                "{name}: {logical}"
            );
            let versioning =
                get(resource, &["Properties", "VersioningConfiguration", "Status"]).and_then(Node::text);
            assert_eq!(versioning, Some("Enabled"), "{name}: {logical}");
        }
    }
    assert_eq!(buckets, 1);
}

#[test]
fn references_lead_somewhere() {
    let mut problems = Vec::new();
    for (name, template) in templates() {
        let names = |section: &str| -> BTreeSet<&str> {
            let entries = get(&template, &[section])
                .and_then(Node::entries)
                .unwrap_or_default();
            entries.iter().map(|(key, _)| key.as_str()).collect()
        };
        let resources = names("Resources");
        let known = |name: &str| {
            name.starts_with("AWS::") || resources.contains(name) || names("Parameters").contains(name)
        };
        walk(&template, "", &mut |path, node| {
            // Key and tag are two spellings of the same; the templates use tags, except for `Fn::If`.
            assert!(
                !path.ends_with(".Ref") && !path.ends_with("Fn::Sub") && !path.ends_with("Fn::GetAtt"),
                "{path}"
            );
            let Some(text) = node.text() else { return };
            let wrong: Vec<String> = match node.tag.as_deref() {
                Some("Ref") => [text]
                    .into_iter()
                    .filter(|name| !known(name))
                    .map(str::to_owned)
                    .collect(),
                Some("GetAtt") => {
                    let resource = text.split('.').next().unwrap_or_default();
                    [resource]
                        .into_iter()
                        .filter(|name| !resources.contains(name))
                        .map(str::to_owned)
                        .collect()
                }
                Some("Sub") => {
                    let names = text.split("${").skip(1).filter_map(|rest| rest.split('}').next());
                    let bases = names.map(|name| name.split('.').next().unwrap_or_default());
                    bases.filter(|name| !known(name)).map(str::to_owned).collect()
                }
                _ => Vec::new(),
            };
            problems.extend(
                wrong
                    .iter()
                    .map(|wrong| format!("{name}:{}: `{wrong}` is not in the template", node.line)),
            );
        });
        for parameter in names("Parameters") {
            let mut used = false;
            walk(&template, "", &mut |_, node| {
                let text = node.text().unwrap_or_default();
                used |= match node.tag.as_deref() {
                    Some("Ref") => text == parameter,
                    Some("Sub") => text.contains(&format!("${{{parameter}}}")),
                    _ => false,
                };
            });
            if !used {
                problems.push(format!("{name}: the parameter {parameter} is not used"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A template with values for some of its parameters; the others have their defaults.
struct Stack<'a> {
    template: &'a Node,
    parameters: &'a [(&'a str, &'a str)],
}

impl<'a> Stack<'a> {
    fn parameter(&self, name: &str) -> &'a str {
        let given = self.parameters.iter().find(|(known, _)| *known == name);
        let default = || get(self.template, &["Parameters", name, "Default"])?.text();
        given
            .map(|(_, value)| *value)
            .or_else(default)
            .unwrap_or_default()
    }

    /// A condition, or a function that gives one.
    fn is(&self, node: &Node) -> bool {
        let items = node.items().unwrap_or_default();
        match node.tag.as_deref() {
            Some("Condition") => self.named(node.text().unwrap()),
            Some("Equals") => self.text(&items[0]) == self.text(&items[1]),
            Some("Not") => !self.is(&items[0]),
            Some("And") => items.iter().all(|item| self.is(item)),
            tag => panic!("line {}: {tag:?} is no condition", node.line),
        }
    }

    fn named(&self, name: &str) -> bool {
        let condition = get(self.template, &["Conditions", name]);
        self.is(condition.unwrap_or_else(|| panic!("there is no condition {name}")))
    }

    fn text(&self, node: &Node) -> String {
        match node.tag.as_deref() {
            Some("If") => {
                let items = node.items().unwrap();
                let chosen = if self.named(items[0].text().unwrap()) {
                    1
                } else {
                    2
                };
                self.text(&items[chosen])
            }
            Some("Ref") => self.parameter(node.text().unwrap()).to_owned(),
            _ => node.text().unwrap_or_default().to_owned(),
        }
    }

    /// Those that are made: logical id, type, and the resource.
    fn resources(&self) -> impl Iterator<Item = (&'a str, &'a str, &'a Node)> {
        let all = get(self.template, &["Resources"]).unwrap().entries().unwrap();
        all.iter()
            .filter(|(_, resource)| {
                let condition = get(resource, &["Condition"]).and_then(Node::text);
                condition.is_none_or(|name| self.named(name))
            })
            .map(|(logical, resource)| {
                let kind = get(resource, &["Type"]).and_then(Node::text).unwrap();
                (logical.as_str(), kind, resource)
            })
    }
}

/// What is made refers only to what is made with it, whatever stands in front.
#[test]
fn no_choice_of_the_scorer_refers_to_what_is_not_made() {
    let templates = templates();
    let (_, scorer) = templates.iter().find(|(name, _)| name == "scorer.yml").unwrap();
    for front in ["http-api", "rest-api", "function-url"] {
        let stack = Stack {
            template: scorer,
            parameters: &[("Front", front)],
        };
        let made: BTreeSet<&str> = stack.resources().map(|(logical, _, _)| logical).collect();
        let all: BTreeSet<&str> = get(scorer, &["Resources"])
            .and_then(Node::entries)
            .unwrap()
            .iter()
            .map(|(logical, _)| logical.as_str())
            .collect();
        for (logical, _, resource) in stack.resources() {
            walk_chosen(&stack, resource, &mut |text| {
                assert!(
                    !all.contains(text) || made.contains(text),
                    "{front}: {logical} refers to {text}"
                );
            });
        }
    }
}

/// The names that references of a resource have, of both sides of `!If` the one that is chosen.
fn walk_chosen(stack: &Stack<'_>, node: &Node, visit: &mut dyn FnMut(&str)) {
    match (node.tag.as_deref(), &node.value) {
        (Some("If"), Value::Sequence(items)) => {
            let chosen = if stack.named(items[0].text().unwrap()) {
                1
            } else {
                2
            };
            walk_chosen(stack, &items[chosen], visit);
        }
        (Some("Ref"), Value::Scalar { text, .. }) => visit(text),
        (Some("GetAtt"), Value::Scalar { text, .. }) => visit(text.split('.').next().unwrap()),
        (Some("Sub"), Value::Scalar { text, .. }) => {
            let names = text
                .split("${")
                .skip(1)
                .filter_map(|rest| rest.split(['}', '.']).next());
            names.for_each(visit);
        }
        (_, Value::Scalar { .. }) => {}
        (_, Value::Sequence(items)) => items.iter().for_each(|item| walk_chosen(stack, item, visit)),
        (_, Value::Mapping(entries)) => entries
            .iter()
            .for_each(|(_, value)| walk_chosen(stack, value, visit)),
    }
}

#[test]
fn the_scorer_is_closed_to_strangers_and_asks_one_endpoint() {
    let templates = templates();
    let (_, scorer) = templates.iter().find(|(name, _)| name == "scorer.yml").unwrap();
    // Of every choice: who may come in, by each way in.
    let mut ways = BTreeSet::new();
    for front in ["http-api", "rest-api", "function-url"] {
        for authorization in ["iam", "jwt"] {
            for open in ["no", "yes-everybody-may-call-without-a-signature"] {
                let stack = Stack {
                    template: scorer,
                    parameters: &[
                        ("Front", front),
                        ("Authorization", authorization),
                        ("OpenToTheWorld", open),
                        ("FunctionUrlCaller", "111122223333"),
                    ],
                };
                for (logical, kind, resource) in stack.resources() {
                    let property = match kind {
                        "AWS::ApiGatewayV2::Route" | "AWS::ApiGateway::Method" => "AuthorizationType",
                        "AWS::Lambda::Url" => "AuthType",
                        "AWS::Lambda::Permission" => "Principal",
                        _ => continue,
                    };
                    let who = stack.text(get(resource, &["Properties", property]).unwrap());
                    let stranger = who == "NONE" || who == "*";
                    assert!(
                        !stranger || open != "no",
                        "{logical}: {who} with {front} {authorization}"
                    );
                    if kind == "AWS::ApiGateway::Method" {
                        let key = stack.text(get(resource, &["Properties", "ApiKeyRequired"]).unwrap());
                        assert_eq!(key == "true", open == "no", "{logical}");
                    }
                    if property != "Principal" {
                        ways.insert(format!("{front} {authorization} {open:.3} {kind} {who}"));
                    }
                }
                let urls = stack
                    .resources()
                    .filter(|(_, kind, _)| *kind == "AWS::Lambda::Permission");
                let actions: BTreeSet<String> = urls
                    .map(|(_, _, permission)| {
                        let property = |name| match get(permission, &["Properties", name]) {
                            Some(value) => stack.text(value),
                            None => "-".to_owned(),
                        };
                        format!("{} {}", property("Action"), property("InvokedViaFunctionUrl"))
                    })
                    .collect();
                let want = match front {
                    "function-url" => &["lambda:InvokeFunction true", "lambda:InvokeFunctionUrl -"][..],
                    _ => &["lambda:InvokeFunction -"],
                };
                assert!(
                    actions.iter().map(String::as_str).eq(want.iter().copied()),
                    "{front}: {actions:?}"
                );
            }
        }
    }
    for want in [
        "http-api iam no AWS::ApiGatewayV2::Route AWS_IAM",
        "http-api jwt no AWS::ApiGatewayV2::Route JWT",
        "http-api iam yes AWS::ApiGatewayV2::Route NONE",
        "rest-api iam no AWS::ApiGateway::Method AWS_IAM",
        "function-url iam no AWS::Lambda::Url AWS_IAM",
        "function-url iam yes AWS::Lambda::Url NONE",
    ] {
        assert!(ways.contains(want), "{want} is not among {ways:#?}");
    }
    assert_eq!(ways.len(), 12);
    for parameter in ["OpenToTheWorld", "LogIdentifiers"] {
        let default = get(scorer, &["Parameters", parameter, "Default"]).and_then(Node::text);
        assert!(
            matches!(default, Some("no" | "false")),
            "{parameter}: {default:?}"
        );
    }
    let sagemaker: Vec<_> = statements(scorer)
        .into_iter()
        .filter(|statement| {
            get(statement, &["Action"])
                .map(texts)
                .unwrap_or_default()
                .iter()
                .any(|a| a.starts_with("sagemaker:"))
        })
        .collect();
    let [statement] = sagemaker[..] else {
        panic!("{} statements", sagemaker.len())
    };
    assert_eq!(
        get(statement, &["Action"]).and_then(Node::text),
        Some("sagemaker:InvokeEndpoint")
    );
    let resource = get(statement, &["Resource"]).and_then(Node::text).unwrap();
    assert!(resource.ends_with(":endpoint/${EndpointName}"), "{resource}");
}

#[test]
fn the_build_gets_every_variable_that_the_build_specification_names() {
    let templates = templates();
    let (_, pipeline) = templates.iter().find(|(name, _)| name == "pipeline.yml").unwrap();
    let variables = get(
        pipeline,
        &[
            "Resources",
            "Build",
            "Properties",
            "Environment",
            "EnvironmentVariables",
        ],
    )
    .unwrap();
    let names: BTreeSet<&str> = variables
        .items()
        .unwrap()
        .iter()
        .filter_map(|variable| get(variable, &["Name"])?.text())
        .collect();
    let want = [
        "ARTIFACT_LOCATION",
        "DATA_LOCATION",
        "ESTIMATOR_ROLE",
        "HOSTING_INSTANCE",
        "IPINSIGHTS_TARGET",
        "PIPELINE_NAME",
        "REGION",
        "TRAINING_INSTANCE",
        "WORKFLOW_EXECUTION_ROLE",
    ];
    assert_eq!(names, want.into_iter().collect());
}

#[test]
fn cfn_lint_has_nothing_to_say() {
    if !workspace::is_installed("cfn-lint") {
        println!("skipped: cfn-lint is not installed (pip install cfn-lint)");
        return;
    }
    let files: Vec<_> = templates()
        .into_iter()
        .map(|(name, _)| workspace::root().join("infra").join(name))
        .collect();
    // Each version has new warnings; only errors fail.
    let output = Command::new("cfn-lint")
        .args(["--non-zero-exit-code", "error"])
        .args(files)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}
