//! What the builder writes: every state, every field, chains and nested machines; and what it reports.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use sfn_builder::checked::{ExecutionType, QueryLanguage};
use sfn_builder::{
    Catch, Choice, Condition, Fail, Fragment, ItemBatcher, ItemReader, MapState, Parallel, Pass,
    ResultWriter, Retry, Rule, State, StateMachine, Succeed, Task, Wait,
};

const FUNCTION: &str = "arn:aws:lambda:us-east-1:123456789012:function:f";

/// Builds a machine of this state alone, which prints and reads back, and gives the state's JSON.
#[track_caller]
fn built(state: impl Into<State>) -> Value {
    let machine = Fragment::new("S", state)
        .with(Succeed::new().named("Other"))
        .then_to("Other")
        .into_machine()
        .build()
        .unwrap();
    assert_eq!(machine.warnings(), []);
    assert_eq!(
        StateMachine::from_json(&machine.to_json_string()).unwrap(),
        machine
    );
    machine.to_json()["States"]["S"].clone()
}

fn problems(machine: sfn_builder::Fragment) -> String {
    let error = machine.into_machine().build().unwrap_err();
    let lines = error
        .errors()
        .map(|finding| format!("{} {}: {}\n", finding.code, finding.pointer, finding.message));
    lines.collect()
}

#[track_caller]
fn reports(machine: sfn_builder::Fragment, expected: Expect) {
    expected.assert_eq(&problems(machine));
}

#[test]
fn a_task_has_every_field() {
    let task = Task::lambda(FUNCTION)
        .catch(
            Catch::on(["E"], "Other")
                .result_path("$.e")
                .assign("why.$", "$.Cause"),
        )
        .catch(Catch::all("Other").discard_result().comment("the rest"))
        .retry(
            Retry::on(["E"])
                .no_jitter()
                .comment("again")
                .max_delay_seconds(9)
                .interval_seconds(2),
        )
        .retry(Retry::all().full_jitter().max_attempts(0).backoff_rate(1.5))
        .credentials_path("$.role")
        .timeout_seconds_path("$.t")
        .heartbeat_seconds_path("$.h")
        .assign("n.$", "$.n")
        .assign("fixed", 1)
        .input_path("$.in")
        .output_path("$.out")
        .parameter("a", 1)
        .parameter("b.$", "$.b")
        .result_selector(json!({ "r.$": "$.r" }))
        .result_path("$.res")
        .comment("c");
    let expected = json!({
        "Type": "Task", "Comment": "c", "Resource": FUNCTION, "Credentials": {"RoleArn.$": "$.role"},
        "InputPath": "$.in", "Parameters": {"a": 1, "b.$": "$.b"}, "ResultSelector": {"r.$": "$.r"},
        "ResultPath": "$.res", "OutputPath": "$.out", "Assign": {"n.$": "$.n", "fixed": 1},
        "TimeoutSecondsPath": "$.t", "HeartbeatSecondsPath": "$.h",
        "Retry": [
            {"ErrorEquals": ["E"], "JitterStrategy": "NONE", "Comment": "again", "MaxDelaySeconds": 9, "IntervalSeconds": 2},
            {"ErrorEquals": ["States.ALL"], "JitterStrategy": "FULL", "MaxAttempts": 0, "BackoffRate": 1.5}
        ],
        "Catch": [
            {"ErrorEquals": ["E"], "Next": "Other", "ResultPath": "$.e", "Assign": {"why.$": "$.Cause"}},
            {"ErrorEquals": ["States.ALL"], "Next": "Other", "ResultPath": null, "Comment": "the rest"}
        ],
        "Next": "Other"
    });
    // As text, because the order of the keys counts.
    assert_eq!(built(task).to_string(), expected.to_string());
}

#[test]
fn a_jsonata_task_has_every_field() {
    let task = Task::lambda(FUNCTION)
        .query_language(QueryLanguage::Jsonata)
        .argument("a", "{% $states.input.a %}")
        .output(json!({ "r": "{% $states.result %}" }))
        .assign("n", "{% $states.result.n %}")
        .timeout_seconds_expression("$states.input.t")
        .heartbeat_seconds_expression("{% $states.input.h %}")
        .credentials("{% $states.input.role %}")
        .retry(Retry::on(["E"]))
        .catch(
            Catch::all("Other")
                .output("{% $states.errorOutput %}")
                .assign("e", "{% $states.errorOutput.Error %}"),
        );
    let expected = json!({
        "Type": "Task", "QueryLanguage": "JSONata", "Resource": FUNCTION,
        "Credentials": {"RoleArn": "{% $states.input.role %}"},
        "Arguments": {"a": "{% $states.input.a %}"},
        "Assign": {"n": "{% $states.result.n %}"},
        "Output": {"r": "{% $states.result %}"},
        "TimeoutSeconds": "{% $states.input.t %}",
        "HeartbeatSeconds": "{% $states.input.h %}",
        "Retry": [{"ErrorEquals": ["E"]}],
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Other", "Output": "{% $states.errorOutput %}",
            "Assign": {"e": "{% $states.errorOutput.Error %}"}}],
        "Next": "Other"
    });
    assert_eq!(built(task).to_string(), expected.to_string());
}

#[test]
fn choices_have_every_field_in_both_languages() {
    let choice = Choice::new()
        .rule(
            Rule::new(Condition::is_present("$.a", true), "Other")
                .comment("c")
                .assign("n.$", "$.a"),
        )
        .default("Other");
    assert_eq!(
        built(choice)["Choices"],
        json!([{"Variable": "$.a", "IsPresent": true, "Next": "Other", "Comment": "c", "Assign": {"n.$": "$.a"}}])
    );
    let choice = Choice::new()
        .query_language(QueryLanguage::Jsonata)
        .rule(
            Rule::new(Condition::expression("$states.input.a > 1"), "Other")
                .output("{% $states.input.a %}")
                .assign("n", 1)
                .assign("m", 2),
        )
        .when(Condition::fixed(true), "Other")
        .default("Other");
    assert_eq!(
        built(choice)["Choices"],
        json!([
            {"Condition": "{% $states.input.a > 1 %}", "Next": "Other", "Output": "{% $states.input.a %}", "Assign": {"n": 1, "m": 2}},
            {"Condition": true, "Next": "Other"}
        ])
    );
}

#[test]
fn every_operator_builds() {
    let (v, p, t) = ("$.v", "$.p", "2026-01-31T12:00:00Z");
    let all = [
        Condition::string_equals(v, "a"),
        Condition::string_equals_path(v, p),
        Condition::string_less_than(v, "a"),
        Condition::string_less_than_path(v, p),
        Condition::string_greater_than(v, "a"),
        Condition::string_greater_than_path(v, p),
        Condition::string_less_than_equals(v, "a"),
        Condition::string_less_than_equals_path(v, p),
        Condition::string_greater_than_equals(v, "a"),
        Condition::string_greater_than_equals_path(v, p),
        Condition::string_matches(v, "a*"),
        Condition::numeric_equals(v, 1),
        Condition::numeric_equals_path(v, p),
        Condition::numeric_less_than(v, 1.5),
        Condition::numeric_less_than_path(v, p),
        Condition::numeric_greater_than(v, 1),
        Condition::numeric_greater_than_path(v, p),
        Condition::numeric_less_than_equals(v, 1),
        Condition::numeric_less_than_equals_path(v, p),
        Condition::numeric_greater_than_equals(v, 1),
        Condition::numeric_greater_than_equals_path(v, p),
        Condition::boolean_equals(v, true),
        Condition::boolean_equals_path(v, p),
        Condition::timestamp_equals(v, t),
        Condition::timestamp_equals_path(v, p),
        Condition::timestamp_less_than(v, t),
        Condition::timestamp_less_than_path(v, p),
        Condition::timestamp_greater_than(v, t),
        Condition::timestamp_greater_than_path(v, p),
        Condition::timestamp_less_than_equals(v, t),
        Condition::timestamp_less_than_equals_path(v, p),
        Condition::timestamp_greater_than_equals(v, t),
        Condition::timestamp_greater_than_equals_path(v, p),
        Condition::is_null(v, false),
        Condition::is_present(v, true),
        Condition::is_numeric(v, true),
        Condition::is_string(v, true),
        Condition::is_boolean(v, true),
        Condition::is_timestamp(v, true),
    ];
    // The language has 39 comparison operators.
    let operators: std::collections::BTreeSet<String> = all
        .iter()
        .map(|condition| {
            let state = built(Choice::new().when(condition.clone(), "Other").default("Other"));
            state["Choices"][0]
                .as_object()
                .unwrap()
                .keys()
                .nth(1)
                .unwrap()
                .clone()
        })
        .collect();
    assert_eq!(operators.len(), 39);
    let nested = Condition::any([Condition::all(all), Condition::not(Condition::is_null(v, true))]);
    built(Choice::new().when(nested, "Other").default("Other"));
}

#[test]
fn the_other_states_have_every_field() {
    assert_eq!(
        built(
            Pass::new()
                .parameter("a.$", "$.x")
                .assign("n", 1)
                .result_path("$.p")
        )["Assign"],
        json!({"n": 1})
    );
    let wait = Wait::seconds_expression("$states.input.s")
        .query_language(QueryLanguage::Jsonata)
        .output("{% $states.input %}");
    assert_eq!(built(wait)["Seconds"], "{% $states.input.s %}");
    assert_eq!(built(Wait::timestamp_path("$.t"))["TimestampPath"], "$.t");
    assert_eq!(built(Wait::seconds_path("$.t"))["SecondsPath"], "$.t");
    let end = Fail::new()
        .query_language(QueryLanguage::Jsonata)
        .error("{% $states.input.e %}")
        .cause("why");
    let machine = end.named("F").into_machine().build().unwrap();
    assert_eq!(machine.to_json()["States"]["F"]["Error"], "{% $states.input.e %}");
}

#[test]
fn parallel_and_map_have_every_field() {
    let parallel = Parallel::new()
        .branch(Pass::new().named("L1").then(Pass::new().named("L2")))
        .branch(Fail::new().error("E").named("R"))
        .parameters(json!({ "a.$": "$.a" }))
        .result_selector(json!({ "first.$": "$[0]" }))
        .result_path("$.both")
        .retry(Retry::all())
        .catch(Catch::all("Other"));
    let state = built(parallel);
    assert_eq!(state["Branches"][0]["StartAt"], "L1");
    assert_eq!(state["Branches"][0]["States"]["L1"]["Next"], "L2");
    assert_eq!(state["Branches"][0]["States"]["L2"]["End"], true);
    assert_eq!(state["Branches"][1]["States"]["R"]["Type"], "Fail");

    let inline = MapState::inline(Pass::new().named("One"))
        .items_path("$.list")
        .item_selector(json!({ "item.$": "$$.Map.Item.Value" }))
        .max_concurrency_path("$.n")
        .retry(Retry::all())
        .catch(Catch::all("Other"));
    assert_eq!(
        built(inline)["ItemProcessor"]["ProcessorConfig"],
        json!({"Mode": "INLINE"})
    );

    let distributed = MapState::distributed(Pass::new().named("One"), ExecutionType::Standard)
        .item_reader(
            ItemReader::get_object(json!({ "Bucket": "b", "Key.$": "$.key" }))
                .csv(["a", "b"])
                .max_items_path("$.most"),
        )
        .item_selector(json!({ "item.$": "$$.Map.Item.Value" }))
        .item_batcher(
            ItemBatcher::new()
                .max_items_path("$.batch")
                .max_input_bytes(1000)
                .batch_input(json!({ "x.$": "$.x" })),
        )
        .result_writer(
            ResultWriter::put_object(json!({ "Bucket": "b", "Prefix": "p" })).config("OutputType", "JSONL"),
        )
        .tolerated_failure_count_path("$.c")
        .tolerated_failure_percentage_path("$.p")
        .max_concurrency(7)
        .label("lines");
    let state = built(distributed);
    assert_eq!(
        state["ItemReader"]["ReaderConfig"],
        json!({"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": ["a", "b"], "MaxItemsPath": "$.most"})
    );

    for reader in [
        ItemReader::list_objects(json!({ "Bucket": "b" })).max_items(3),
        ItemReader::get_object(json!({ "Bucket": "b", "Key": "k" })).json("/a/b"),
        ItemReader::get_object(json!({ "Bucket": "b", "Key": "k" })).json(""),
        ItemReader::get_object(json!({ "Bucket": "b", "Key": "k" })).json_lines(),
        ItemReader::get_object(json!({ "Bucket": "b", "Key": "k" })).parquet(),
        ItemReader::get_object(json!({ "Bucket": "b", "Key": "k" })).inventory(),
        ItemReader::get_object(json!({ "Bucket": "b", "Key": "k" })).csv_with_header_row(),
    ] {
        let one = || Pass::new().named("One");
        built(MapState::distributed(one(), ExecutionType::Express).item_reader(reader.clone()));
        let jsonata = MapState::distributed(one(), ExecutionType::Express)
            .query_language(QueryLanguage::Jsonata)
            .item_reader(reader.jsonata())
            .result_writer(ResultWriter::put_object(json!({ "Bucket": "b", "Prefix": "p" })).jsonata())
            .max_concurrency_expression("$states.input.n")
            .tolerated_failure_count_expression("1")
            .tolerated_failure_percentage_expression("2");
        built(jsonata);
    }
    built(
        MapState::inline(Pass::new().named("One"))
            .query_language(QueryLanguage::Jsonata)
            .items(json!([1, "{% $states.input.x %}"])),
    );
}

#[test]
fn a_machine_can_be_jsonata_as_a_whole() {
    let machine = StateMachine::builder("P")
        .query_language(QueryLanguage::Jsonata)
        .state("P", Pass::new().output("{% $states.input.a %}").end())
        .build()
        .unwrap();
    assert_eq!(machine.query_language, QueryLanguage::Jsonata);
}

#[test]
fn a_fragment_can_be_used_twice_on_any_level() {
    let piece = Choice::new()
        .when(Condition::is_present("$.x", true), "Inner")
        .default("Outside")
        .named("Ask")
        .with(
            Parallel::new()
                .branch(MapState::inline(Pass::new().named("Deep/1")).named("Middle"))
                .catch(Catch::all("Ask"))
                .named("Inner"),
        );
    let machine = piece
        .clone()
        .prefixed("A ")
        .then(piece.prefixed("B "))
        .with(Succeed::new().named("Outside"))
        .into_machine()
        .build()
        .unwrap();
    let names: Vec<&str> = machine
        .all_states()
        .iter()
        .map(|state| state.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "A Ask", "A Inner", "A Middle", "A Deep/1", "B Ask", "B Inner", "B Middle", "B Deep/1", "Outside"
        ]
    );
    assert_eq!(
        machine.state("A Ask").unwrap().successors(),
        ["A Inner", "Outside"]
    );
    assert_eq!(machine.state("A Inner").unwrap().successors(), ["B Ask", "A Ask"]);
}

#[test]
fn one_build_reports_everything_on_every_level() {
    let twice = Pass::new().named("X").with(Pass::new().named("X"));
    let machine = Parallel::new()
        .branch(Wait::seconds(100_000_000).named("W"))
        .branch(MapState::inline(twice).named("M"))
        .named("P")
        .then(
            Task::lambda(FUNCTION)
                .retry(Retry::all().backoff_rate(f64::NAN))
                .retry(Retry::all())
                .timeout_seconds(0)
                .named("T"),
        )
        .with(
            MapState::inline(Pass::new().named("Y"))
                .label("l")
                .tolerated_failure_percentage(f64::INFINITY)
                .named("U"),
        );
    reports(
        machine,
        expect![[r#"
        DUPLICATE_STATE_NAME /States/P/Branches/1/States/M/ItemProcessor/States/X: two states have the name `X`
        OUT_OF_RANGE /States/P/Branches/0/States/W/Seconds: `Seconds` is a whole number from 0 to 99999999, not `100000000`
        OUT_OF_RANGE /States/T/TimeoutSeconds: `TimeoutSeconds` is a whole number from 1 to 99999999, not `0`
        MISPLACED_STATES_ALL /States/T/Retry/0/ErrorEquals: `States.ALL` must stand in the last entry of `Retry`
        WRONG_TYPE /States/T/Retry/0/BackoffRate: `BackoffRate` is a number of at least 1.0, not `null`
        DISTRIBUTED_ONLY /States/U/ToleratedFailurePercentage: an inline Map state has no `ToleratedFailurePercentage`
        DISTRIBUTED_ONLY /States/U/Label: an inline Map state has no `Label`
        WRONG_TYPE /States/U/ToleratedFailurePercentage: `ToleratedFailurePercentage` is a number from 0 to 100, not `null`
        UNREACHABLE_STATE /States/U: no path leads from `P` to the state `U`
    "#]],
    );
    reports(
        Parallel::new().named("Empty"),
        expect![[r#"
        INVALID_VALUE /States/Empty/Branches: there must be at least one branch
    "#]],
    );
    let renamed = Parallel::new()
        .branch(Pass::new().named("X").with(Pass::new().named("X")))
        .named("States")
        .prefixed("two/");
    reports(
        renamed,
        expect![[r#"
        DUPLICATE_STATE_NAME /States/two~1States/Branches/0/States/two~1X: two states have the name `X`
    "#]],
    );
}

#[test]
fn typed_calls_write_the_resources_that_aws_has() {
    use sfn_builder::service::*;
    let calls = [
        (
            sagemaker::create_training_job().call(),
            "sagemaker:createTrainingJob",
        ),
        (
            sagemaker::create_training_job().sync(),
            "sagemaker:createTrainingJob.sync",
        ),
        (
            sagemaker::create_transform_job().sync(),
            "sagemaker:createTransformJob.sync",
        ),
        (
            sagemaker::create_hyper_parameter_tuning_job().sync(),
            "sagemaker:createHyperParameterTuningJob.sync",
        ),
        (
            sagemaker::create_processing_job().sync(),
            "sagemaker:createProcessingJob.sync",
        ),
        (
            sagemaker::create_labeling_job().sync(),
            "sagemaker:createLabelingJob.sync",
        ),
        (sagemaker::create_model().call(), "sagemaker:createModel"),
        (
            sagemaker::create_endpoint_config().call(),
            "sagemaker:createEndpointConfig",
        ),
        (sagemaker::create_endpoint().call(), "sagemaker:createEndpoint"),
        (sagemaker::update_endpoint().call(), "sagemaker:updateEndpoint"),
        (s3::get_object().call(), "aws-sdk:s3:getObject"),
        (s3::action("deleteObjects").call(), "aws-sdk:s3:deleteObjects"),
        (lambda::invoke().call(), "lambda:invoke"),
        (
            lambda::invoke().wait_for_task_token(),
            "lambda:invoke.waitForTaskToken",
        ),
        (
            sns::publish().wait_for_task_token(),
            "sns:publish.waitForTaskToken",
        ),
        (
            sqs::send_message().wait_for_task_token(),
            "sqs:sendMessage.waitForTaskToken",
        ),
        (
            events::put_events().wait_for_task_token(),
            "events:putEvents.waitForTaskToken",
        ),
        (dynamodb::get_item().call(), "dynamodb:getItem"),
        (dynamodb::put_item().call(), "dynamodb:putItem"),
        (dynamodb::update_item().call(), "dynamodb:updateItem"),
        (dynamodb::delete_item().call(), "dynamodb:deleteItem"),
        (batch::submit_job().sync(), "batch:submitJob.sync"),
        (glue::start_job_run().sync(), "glue:startJobRun.sync"),
        (ecs::run_task().sync(), "ecs:runTask.sync"),
        (
            ecs::run_task().wait_for_task_token(),
            "ecs:runTask.waitForTaskToken",
        ),
        (codebuild::start_build().sync(), "codebuild:startBuild.sync"),
        (
            codebuild::start_build_batch().sync(),
            "codebuild:startBuildBatch.sync",
        ),
        (states::start_execution().call(), "states:startExecution"),
        (states::start_execution().sync(), "states:startExecution.sync"),
        (
            states::start_execution().sync_json(),
            "states:startExecution.sync:2",
        ),
        (
            states::start_execution().wait_for_task_token(),
            "states:startExecution.waitForTaskToken",
        ),
        (
            aws_sdk("sagemaker", "describeEndpoint").wait_for_task_token(),
            "aws-sdk:sagemaker:describeEndpoint.waitForTaskToken",
        ),
    ];
    for (task, resource) in calls {
        assert_eq!(
            built(task.clone())["Resource"],
            format!("arn:aws:states:::{resource}")
        );
        let elsewhere = built(task.partition("aws-us-gov"));
        assert_eq!(
            elsewhere["Resource"],
            format!("arn:aws-us-gov:states:::{resource}")
        );
    }
}

#[test]
fn what_the_table_lacks_is_a_finding() {
    for call in [
        "sagemaker:updateEndpoint.sync",
        "sagemaker:createModel.sync",
        "dynamodb:getItem.sync",
        "dynamodb:putItem.waitForTaskToken",
        "dynamodb:query",
        "lambda:invoke.sync",
        "sns:publish.sync",
        "batch:submitJob.waitForTaskToken",
        "glue:startJobRun.sync:2",
        "codebuild:stopBuild.sync",
        "ecs:runTask.sync:2",
        "events:putEvent",
        "states:stopExecution",
    ] {
        let task = Task::new(format!("arn:aws:states:::{call}"));
        let problems = problems(task.named("S"));
        assert_eq!(problems.lines().count(), 1, "{call}: {problems}");
    }
    let task = Task::service("sagemaker", "createEndpoint.sync").named("S");
    let error = task.into_machine().build().unwrap_err();
    expect!["the definition is not valid: /States/S/Resource: AWS has no `sagemaker:createEndpoint.sync`: it can only be called as `sagemaker:createEndpoint`, and what it makes be polled; `EndpointDeployment` of the builder makes the states that create or update an endpoint and wait until it is in service"].assert_eq(&error.to_string());
    let task = Task::service("dynamodb", "query").named("S");
    let error = task.into_machine().build().unwrap_err();
    expect!["the definition is not valid: /States/S/Resource: Step Functions' own integration `dynamodb` has no action `query`; any other is `arn:aws:states:::aws-sdk:dynamodb:query`"].assert_eq(&error.to_string());
    // What the table does not know is taken.
    built(Task::service("elasticmapreduce", "createCluster.sync"));
}
