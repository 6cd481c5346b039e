//! Asks somebody by a message whether a model may go out, waits for the answer at most a day, then deploys it or does not.
//!
//! `cargo run -p sfn-builder --example human_approval` prints the definition, `-- svg` a picture of it.
#![expect(clippy::print_stdout, reason = "it is what the example does")]

use serde_json::json;
use sfn_builder::service::sns;
use sfn_builder::{
    Catch, Choice, Condition, EndpointDeployment, Fail, Input, InvalidDefinition, Member, Placeholder,
    StateMachine, Succeed,
};

fn main() -> Result<(), InvalidDefinition> {
    let machine = machine()?;
    match std::env::args().nth(1).as_deref() {
        Some("svg") => println!("{}", machine.to_svg()),
        _ => println!("{}", machine.to_json_string()),
    }
    Ok(())
}

fn machine() -> Result<StateMachine, InvalidDefinition> {
    let mut input = Input::new();
    let topic = input.add(Member::text("Topic").description("the ARN of the topic that the approvers read"));
    let endpoint = input.add(Member::text("EndpointName"));
    let config = input.add(Member::text("ConfigName"));

    let ask = sns::publish()
        .wait_for_task_token()
        .parameters(json!({
            "TopicArn": topic,
            "Subject": format!("May {config} go out?"),
            "Message": { "token": Placeholder::task_token(), "execution": Placeholder::execution_id() }
        }))
        .timeout_seconds(24 * 60 * 60)
        .result_path("$.Answer")
        .catch(Catch::on(["States.Timeout"], "Nobody Answered").result_path("$.Error"));
    let answer = Choice::new()
        .when(
            Condition::all([
                Condition::is_present("$.Answer.approved", true),
                Condition::boolean_equals("$.Answer.approved", true),
            ]),
            "Looking for Endpoint",
        )
        .default("Not Approved");
    ask.named("Asking")
        .then(answer.named("Approved?"))
        .with(EndpointDeployment::new(endpoint, config).done(Succeed::new()))
        .with(Succeed::new().named("Not Approved"))
        .with(
            Fail::new()
                .error("NobodyAnswered")
                .cause("no approver answered within a day")
                .named("Nobody Answered"),
        )
        .into_machine()
        .input(&input)
        .build()
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_builds_without_a_warning() {
        assert_eq!(super::machine().unwrap().warnings(), []);
    }
}
