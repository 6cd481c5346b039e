//! Counts words of many objects: one execution for each batch of objects, and one function that adds up.
//!
//! `cargo run -p sfn-builder --example map_reduce` prints the definition, `-- schema` the JSON Schema of its input.
#![expect(clippy::print_stdout, reason = "it is what the example does")]

use serde_json::json;
use sfn_builder::checked::ExecutionType;
use sfn_builder::service::lambda;
use sfn_builder::{
    Catch, Fail, Input, InvalidDefinition, ItemBatcher, ItemReader, MapState, Member, ResultWriter, Retry,
    StateMachine, Succeed,
};

fn main() -> Result<(), InvalidDefinition> {
    let (input, machine) = machine()?;
    match std::env::args().nth(1).as_deref() {
        Some("schema") => println!("{:#}", input.json_schema()),
        _ => println!("{}", machine.to_json_string()),
    }
    Ok(())
}

fn machine() -> Result<(Input, StateMachine), InvalidDefinition> {
    let mut input = Input::new();
    let bucket = input.add(Member::text("Bucket").description("holds the texts, and gets the counts"));
    let prefix = input.add(Member::text("Prefix").description("the folder of the texts"));
    input.add(Member::integer("MaxConcurrency").minimum(1).maximum(1000));

    let busy = Retry::on(["Lambda.TooManyRequestsException", "Lambda.ServiceException"])
        .interval_seconds(2)
        .max_attempts(6)
        .full_jitter();
    let count = lambda::invoke()
        .call()
        .parameters(json!({ "FunctionName": "count-words", "Payload.$": "$" }))
        .output_path("$.Payload")
        .retry(busy.clone())
        .named("Counting");
    let map = MapState::distributed(count, ExecutionType::Express)
        .item_reader(ItemReader::list_objects(
            json!({ "Bucket": bucket, "Prefix": prefix }),
        ))
        .item_batcher(
            ItemBatcher::new()
                .max_items(100)
                .batch_input(json!({ "bucket": bucket })),
        )
        .result_writer(ResultWriter::put_object(
            json!({ "Bucket": bucket, "Prefix": format!("{prefix}-counts") }),
        ))
        // The state's own input, which is that of the execution: the service takes no path of the context object here.
        .max_concurrency_path("$.MaxConcurrency")
        .tolerated_failure_percentage(1.0)
        .result_path("$.Counts")
        .catch(Catch::all("Counting Failed").result_path("$.Error"));
    let reduce = lambda::invoke()
        .call()
        .parameters(json!({ "FunctionName": "add-up", "Payload.$": "$.Counts.ResultWriterDetails" }))
        .output_path("$.Payload")
        .retry(busy);
    let machine = map
        .named("Counting All")
        .then(reduce.named("Adding Up"))
        .then(Succeed::new().named("Counted"))
        .with(
            Fail::new()
                .error_path("$.Error.Error")
                .cause_path("$.Error.Cause")
                .named("Counting Failed"),
        )
        .into_machine()
        .input(&input)
        .build()?;
    Ok((input, machine))
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_builds_without_a_warning() {
        assert_eq!(super::machine().unwrap().1.warnings(), []);
    }
}
