//! Any machine that the builder can build checks clean, prints, and reads back as the same: every type of state, both query
//! languages, every typed call, chains in branches in processors.

#![expect(clippy::panic, reason = "helpers of tests")]

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use sfn_builder::checked::{ExecutionType, QueryLanguage};
use sfn_builder::service::{
    apigateway, athena, batch, bedrock, bedrockagentcore, codebuild, databrew, dynamodb, ecs, eks,
    elasticmapreduce, emr_containers, emr_serverless, events, glue, http, lambda, mediaconvert, s3,
    sagemaker, sns, sqs, states,
};
use sfn_builder::{
    Catch, Choice, Condition, Document, Fail, Fragment, ItemBatcher, ItemReader, MapState, Parallel, Pass,
    ResultWriter, Retry, Rule, StateMachine, Succeed, Task, Wait,
};

/// One step of a chain.
#[derive(Debug, Clone)]
enum Step {
    Task {
        jsonata: bool,
        call: fn() -> Task,
        payload: Value,
        seconds: Option<(u64, u64)>,
        retry: Option<Again>,
        caught: bool,
    },
    Pass {
        jsonata: bool,
        payload: Value,
        way: u8,
    },
    Wait {
        jsonata: bool,
        seconds: u64,
        way: u8,
    },
    Variable {
        jsonata: bool,
        payload: Value,
    },
    Choice {
        jsonata: bool,
        conditions: Vec<Asked>,
        branch: Vec<Step>,
    },
    Parallel {
        branches: Vec<Vec<Step>>,
        caught: bool,
    },
    Map {
        jsonata: bool,
        way: u8,
        number: u64,
        percentage: f64,
        inner: Vec<Step>,
    },
}

const CALLS: [fn() -> Task; 41] = [
    || Task::lambda("arn:aws:lambda:eu-west-1:123456789012:function:f:$LATEST"),
    || Task::new("arn:aws-cn:states:cn-north-1:123456789012:activity:a"),
    || sagemaker::create_training_job().sync(),
    || sagemaker::create_training_job().call(),
    || sagemaker::create_transform_job().sync(),
    || sagemaker::create_hyper_parameter_tuning_job().sync(),
    || sagemaker::create_labeling_job().sync(),
    || sagemaker::create_processing_job().sync(),
    || sagemaker::create_model().call(),
    || sagemaker::create_endpoint_config().call(),
    || sagemaker::create_endpoint().call(),
    || sagemaker::update_endpoint().call(),
    || lambda::invoke().call(),
    || lambda::invoke().wait_for_task_token(),
    || sns::publish().wait_for_task_token(),
    || sqs::send_message().call().partition("aws-us-gov"),
    || events::put_events().call(),
    || dynamodb::get_item().call(),
    || dynamodb::delete_item().call(),
    || batch::submit_job().sync(),
    || glue::start_job_run().sync(),
    || ecs::run_task().wait_for_task_token(),
    || codebuild::start_build().sync(),
    || codebuild::stop_build().call(),
    || states::start_execution().call(),
    || states::start_execution().sync(),
    || states::start_execution().sync_json(),
    || states::start_execution().wait_for_task_token(),
    || apigateway::invoke().call(),
    || athena::start_query_execution().sync(),
    || bedrock::invoke_model().call(),
    || bedrockagentcore::invoke_harness().call(),
    || eks::run_job().sync(),
    || elasticmapreduce::add_step().sync(),
    || emr_containers::start_job_run().sync(),
    || emr_serverless::create_application().sync(),
    || databrew::start_job_run().sync(),
    || mediaconvert::create_job().sync(),
    || http::invoke().call(),
    || s3::get_object().call(),
    || Task::aws_sdk("sagemaker", "describeEndpoint"),
];

const CONDITIONS: [fn() -> Condition; 16] = [
    || Condition::string_equals("$.a", "it's"),
    || Condition::string_less_than_path("$.a", "$$.Execution.Name"),
    || Condition::string_greater_than_equals("$.a", ""),
    || Condition::string_matches("$['a b']", "*\\**"),
    || Condition::numeric_equals("$.n", 1.5),
    || Condition::numeric_less_than_equals_path("$.n", "$.m"),
    || Condition::boolean_equals("$.b", false),
    || Condition::boolean_equals_path("$.b", "$.c[0]"),
    || Condition::timestamp_less_than("$.t", "2026-01-31T12:00:00Z"),
    || Condition::timestamp_greater_than_equals_path("$.t", "$$.Execution.StartTime"),
    || Condition::is_present("$.a", false),
    || Condition::is_null("$.a", true),
    || Condition::is_string("$.a", true),
    || Condition::is_numeric("$.a", false),
    || Condition::is_boolean("$.a", true),
    || Condition::is_timestamp("$.a", true),
];

/// JSON that means nothing to the language.
fn payload() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        "[a-zäß\"\\\\/ 0-9🚀]{0,10}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[a-z ~/]{0,6}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn step() -> impl Strategy<Value = Step> {
    let seconds = (2..1_000_000_u64).prop_map(|seconds| (seconds, seconds - 1));
    let retry = (1..1000_u64, 0..100_u64, 1.0..10.0_f64, any::<bool>());
    let leaf = prop_oneof![
        4 => (any::<bool>(), select(&CALLS[..]), payload(), proptest::option::of(seconds),
            proptest::option::of(retry), any::<bool>())
            .prop_map(|(jsonata, call, payload, seconds, retry, caught)| Step::Task {
                jsonata, call, payload, seconds, retry, caught,
            }),
        2 => (any::<bool>(), payload(), any::<u8>())
            .prop_map(|(jsonata, payload, way)| Step::Pass { jsonata, payload, way }),
        1 => (any::<bool>(), 0..100_000_000_u64, any::<u8>())
            .prop_map(|(jsonata, seconds, way)| Step::Wait { jsonata, seconds, way }),
        1 => (any::<bool>(), payload()).prop_map(|(jsonata, payload)| Step::Variable { jsonata, payload }),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let chain = || proptest::collection::vec(inner.clone(), 1..4);
        let conditions = proptest::collection::vec((select(&CONDITIONS[..]), any::<u8>()), 1..4);
        prop_oneof![
            (any::<bool>(), conditions, chain()).prop_map(|(jsonata, conditions, branch)| Step::Choice {
                jsonata,
                conditions,
                branch,
            }),
            (proptest::collection::vec(chain(), 1..3), any::<bool>())
                .prop_map(|(branches, caught)| Step::Parallel { branches, caught }),
            (any::<bool>(), any::<u8>(), 1..1000_u64, 0.0..100.0_f64, chain()).prop_map(
                |(jsonata, way, number, percentage, inner)| Step::Map {
                    jsonata,
                    way,
                    number,
                    percentage,
                    inner,
                }
            ),
        ]
    })
}

/// A condition, and how it is wrapped.
type Asked = (fn() -> Condition, u8);

/// What a call takes for its retrier: interval, attempts, rate, and whether the delay is drawn.
type Again = (u64, u64, f64, bool);

/// Gives out names that no other state or variable has.
struct Maker {
    count: usize,
    jsonata_machine: bool,
}

/// The language of one state, where it is not that of its machine.
macro_rules! own_language {
    ($maker:ident, $jsonata:expr, $state:expr) => {
        if $jsonata && !$maker.jsonata_machine {
            $state.query_language(QueryLanguage::Jsonata)
        } else {
            $state
        }
    };
}

impl Maker {
    fn name(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what} {}", self.count)
    }

    fn chain(&mut self, steps: &[Step]) -> Fragment {
        let mut fragments = steps
            .iter()
            .map(|step| self.step(step))
            .collect::<Vec<_>>()
            .into_iter();
        let first = fragments.next().unwrap_or_else(|| panic!("a chain has a step"));
        fragments.fold(first, Fragment::then)
    }

    fn step(&mut self, step: &Step) -> Fragment {
        match step {
            Step::Task {
                jsonata,
                call,
                payload,
                seconds,
                retry,
                caught,
            } => self.task(*jsonata, call(), payload, *seconds, *retry, *caught),
            Step::Pass {
                jsonata,
                payload,
                way,
            } => self.pass(*jsonata, payload, *way),
            Step::Wait {
                jsonata,
                seconds,
                way,
            } => {
                let jsonata = *jsonata || self.jsonata_machine;
                let wait = match (way % 4, jsonata) {
                    (0, _) => Wait::seconds(*seconds),
                    (1, _) => Wait::timestamp("2026-01-31T12:00:00.25+01:00"),
                    (2, false) => Wait::seconds_path("$.seconds"),
                    (2, true) => Wait::seconds_expression("$states.input.seconds"),
                    (_, false) => Wait::timestamp_path("$.until[0]"),
                    (_, true) => Wait::timestamp("{% $now() %}"),
                };
                own_language!(self, jsonata, wait).named(self.name("wait"))
            }
            Step::Variable { jsonata, payload } => {
                let jsonata = *jsonata || self.jsonata_machine;
                let variable = self.name("v").replace(' ', "");
                let set = Pass::new().assign(variable.clone(), payload.clone());
                let get = if jsonata {
                    Pass::new().output(json!({ "got": format!("{{% ${variable} %}}") }))
                } else {
                    Pass::new().parameters(json!({ "got.$": format!("${variable}") }))
                };
                let set = own_language!(self, jsonata, set).named(self.name("set"));
                set.then(own_language!(self, jsonata, get).named(self.name("get")))
            }
            Step::Choice {
                jsonata,
                conditions,
                branch,
            } => self.choice(*jsonata, conditions, branch),
            Step::Parallel { branches, caught } => {
                let branches: Vec<Fragment> = branches.iter().map(|branch| self.chain(branch)).collect();
                let parallel = branches.into_iter().fold(Parallel::new(), Parallel::branch);
                let (name, failed) = (self.name("parallel"), self.name("failed"));
                if *caught {
                    let parallel = parallel.retry(Retry::all()).catch(Catch::all(failed.clone()));
                    parallel.named(name).state(failed, Fail::new())
                } else {
                    parallel.named(name)
                }
            }
            Step::Map {
                jsonata,
                way,
                number,
                percentage,
                inner,
            } => self.map(*jsonata, *way, *number, *percentage, inner),
        }
    }

    fn task(
        &mut self,
        jsonata: bool,
        mut task: Task,
        payload: &Value,
        seconds: Option<(u64, u64)>,
        retry: Option<Again>,
        caught: bool,
    ) -> Fragment {
        let jsonata = jsonata || self.jsonata_machine;
        task = if jsonata {
            task.argument("Payload", payload.clone())
                .argument("computed", "{% $states.input.a[b > 1].c %}")
                .output(json!({ "r": "{% $states.result %}" }))
        } else {
            task.parameter("Payload", payload.clone())
                .parameter("computed.$", "States.Format('{}', $.a['b c'][0])")
                .input_path("$.in")
                .result_path("$.out.r")
                .output_path("$")
        };
        if let Some((timeout, heartbeat)) = seconds {
            task = task.timeout_seconds(timeout).heartbeat_seconds(heartbeat);
        }
        if let Some((interval, attempts, rate, full)) = retry {
            let retry = Retry::on(["A", "States.Timeout"])
                .interval_seconds(interval)
                .max_attempts(attempts)
                .backoff_rate(rate)
                .max_delay_seconds(interval + 1);
            task = task.retry(if full {
                retry.full_jitter()
            } else {
                retry.no_jitter()
            });
        }
        let (name, failed) = (self.name("task"), self.name("failed"));
        if !caught {
            return own_language!(self, jsonata, task).named(name);
        }
        let catch = Catch::all(failed.clone());
        let (catch, fail) = if jsonata {
            let fail = Fail::new().error("{% $states.input.Error %}").cause("fixed");
            (
                catch.output("{% $states.errorOutput %}"),
                own_language!(self, true, fail),
            )
        } else {
            let fail = Fail::new().error("E").cause_path("States.JsonToString($.error)");
            (catch.result_path("$.error"), fail)
        };
        own_language!(self, jsonata, task.catch(catch))
            .named(name)
            .state(failed, fail)
    }

    fn pass(&mut self, jsonata: bool, payload: &Value, way: u8) -> Fragment {
        let jsonata = jsonata || self.jsonata_machine;
        let pass = match (way % 4, jsonata) {
            (_, true) => {
                Pass::new().output(json!({ "p": payload, "list": [1, "{% $count($states.input) %}"] }))
            }
            (0, false) => Pass::new().result(payload.clone()).result_path("$.p"),
            (1, false) => {
                Pass::new().parameters(json!({ "p": payload, "deep": [{ "x.$": "$$.State.Name" }] }))
            }
            (2, false) => Pass::new().no_input().discard_result(),
            (_, false) => Pass::new().input_path("$.a[?(@.b)]").no_output(),
        };
        own_language!(self, jsonata, pass).named(self.name("pass"))
    }

    fn choice(&mut self, jsonata: bool, conditions: &[Asked], branch: &[Step]) -> Fragment {
        let jsonata = jsonata || self.jsonata_machine;
        let after = self.name("after");
        let branch = self.chain(branch).then_to(after.clone());
        let start = branch.start_at().to_owned();
        let mut choice = Choice::new();
        for (condition, way) in conditions {
            let condition = match (jsonata, way % 5) {
                (true, 0) => Condition::fixed(*way > 100),
                (true, _) => Condition::expression("$states.input.n > 1 and $exists($states.input.m)"),
                (false, 0) => Condition::not(condition()),
                (false, 1) => Condition::all([condition(), Condition::is_present("$.x", true)]),
                (false, 2) => Condition::any([Condition::not(condition()), condition()]),
                (false, _) => condition(),
            };
            choice = choice.rule(Rule::new(condition, start.clone()).comment("why"));
        }
        let choice = own_language!(self, jsonata, choice.default(after.clone()));
        choice
            .named(self.name("choice"))
            .with(branch)
            .state(after, Pass::new())
    }

    fn map(&mut self, jsonata: bool, way: u8, number: u64, percentage: f64, inner: &[Step]) -> Fragment {
        let jsonata = jsonata || self.jsonata_machine;
        let inner = self.chain(inner);
        let mut map = if way.is_multiple_of(2) {
            MapState::inline(inner).max_concurrency(number)
        } else {
            let kind = if number.is_multiple_of(2) {
                ExecutionType::Express
            } else {
                ExecutionType::Standard
            };
            let mut map = MapState::distributed(inner, kind)
                .label(self.name("L").replace(' ', "-"))
                .tolerated_failure_percentage(percentage)
                .tolerated_failure_count(number)
                .item_batcher(ItemBatcher::new().max_items(number).max_input_bytes(number));
            let place = json!({ "Bucket": "b", "Key": "k" });
            let reader = match way % 6 {
                0 | 1 => ItemReader::list_objects(json!({ "Bucket": "b" })),
                2 | 3 => ItemReader::get_object(place).csv(["a", "b"]).max_items(number),
                4 => ItemReader::get_object(place).json("/items"),
                _ => ItemReader::get_object(place).csv_with_header_row(),
            };
            let writer = ResultWriter::put_object(json!({ "Bucket": "b", "Prefix": "p" }));
            map = if jsonata {
                map.item_reader(reader.jsonata()).result_writer(writer.jsonata())
            } else {
                map.item_reader(reader).result_writer(writer)
            };
            map
        };
        map = if jsonata {
            map.item_selector(json!({ "i": "{% $states.context.Map.Item.Index %}" }))
        } else {
            map.item_selector(json!({ "i.$": "$$.Map.Item.Index" }))
                .result_path("$.mapped")
        };
        own_language!(self, jsonata, map).named(self.name("map"))
    }
}

proptest! {
    #[test]
    fn what_the_builder_builds_is_clean_and_reads_back_as_the_same(
        steps in proptest::collection::vec(step(), 1..6),
        jsonata_machine in any::<bool>(),
        succeed in any::<bool>(),
        timeout in proptest::option::of(1..100_000_000_u64),
    ) {
        let mut maker = Maker { count: 0, jsonata_machine };
        let mut fragment = maker.chain(&steps);
        if succeed {
            fragment = fragment.then(Succeed::new().named("done"));
        }
        let mut builder = fragment.into_machine().comment("any");
        if let Some(seconds) = timeout {
            builder = builder.timeout_seconds(seconds);
        }
        if jsonata_machine {
            builder = builder.query_language(QueryLanguage::Jsonata);
        }
        let machine = builder.build().unwrap_or_else(|error| panic!("{error}"));
        prop_assert_eq!(machine.warnings(), []);
        for text in [machine.to_json_string(), machine.document().to_string()] {
            let again = StateMachine::from_json(&text).unwrap_or_else(|error| panic!("{error}"));
            prop_assert_eq!(&again, &machine);
            prop_assert_eq!(again.to_json_string(), machine.to_json_string());
        }
        let yaml = Document::parse_yaml(&machine.document().to_yaml_string());
        let again = yaml.and_then(Document::check).unwrap_or_else(|error| panic!("{error}"));
        prop_assert_eq!(&again, &machine);
        prop_assert_eq!(again.to_json_string(), machine.to_json_string());
        let object: Map<String, Value> = serde_json::from_str(&machine.to_json_string()).unwrap_or_default();
        prop_assert_eq!(Value::Object(object), machine.to_json());
    }
}
