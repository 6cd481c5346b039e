//! Whatever is chained, nested and renamed builds, prints, and reads back as the same.

use proptest::prelude::*;
use serde_json::json;
use sfn_builder::checked::{ExecutionType, QueryLanguage};
use sfn_builder::service::{ecs, lambda, sagemaker, states};
use sfn_builder::{
    Choice, Condition, Fragment, ItemBatcher, ItemReader, MapState, MetricGate, Parallel, Pass, Placeholder,
    Retry, StateMachine, Wait,
};

fn leaf() -> impl Strategy<Value = Fragment> {
    let call = prop_oneof![
        Just(lambda::invoke().wait_for_task_token()),
        Just(ecs::run_task().sync()),
        Just(states::start_execution().sync_json()),
        Just(sagemaker::create_model().call()),
    ];
    let text = "[ -~é]{0,12}";
    let task = (call, text, 1..100_u64).prop_map(|(task, text, seconds)| {
        task.parameters(json!({
            "Name": format!("{text}{}", Placeholder::execution_name()),
            "List": [Placeholder::execution_id(), text, seconds]
        }))
        .timeout_seconds(seconds)
        .retry_with_unique_name("Name", Retry::all())
        .named("task")
    });
    let jsonata = (text, any::<bool>()).prop_map(|(text, fixed)| {
        let pass = Pass::new().query_language(QueryLanguage::Jsonata);
        let value = if fixed {
            "{% $states.input %}".into()
        } else {
            format!("a{text}{}", Placeholder::execution_name())
        };
        pass.output(json!([value])).named("pass")
    });
    prop_oneof![
        task,
        jsonata,
        (0..1000_u64).prop_map(|seconds| Wait::seconds(seconds).named("wait")),
        Just(MetricGate::at_most("m", 1).into_fragment()),
    ]
}

fn fragment() -> impl Strategy<Value = Fragment> {
    leaf().prop_recursive(3, 20, 3, |inner| {
        let several = proptest::collection::vec(inner.clone(), 1..4).prop_map(|all| {
            let all = all.into_iter().enumerate();
            all.map(|(index, one)| one.prefixed(&index.to_string()))
                .collect::<Vec<_>>()
        });
        let chain = several
            .clone()
            .prop_map(|all| all.into_iter().fold(Pass::new().named("first"), Fragment::then));
        let parallel = several.clone().prop_map(|all| {
            all.into_iter()
                .fold(Parallel::new(), Parallel::branch)
                .named("both")
        });
        let choice = several.prop_map(|all| {
            let choice = all.iter().fold(Choice::new(), |choice, one| {
                choice.when(Condition::is_present("$.a", true), one.start_at())
            });
            let choice = choice.default("otherwise").named("which");
            all.into_iter()
                .fold(choice, Fragment::with)
                .with(Pass::new().named("otherwise"))
        });
        let map = (inner, any::<bool>()).prop_map(|(inner, inline)| {
            let inner = inner.prefixed("in ");
            if inline {
                return MapState::inline(inner).named("each");
            }
            MapState::distributed(inner, ExecutionType::Standard)
                .item_reader(ItemReader::get_object(json!({ "Bucket": "b", "Key": "k" })).json_lines())
                .item_batcher(ItemBatcher::new().max_items(3))
                .named("each")
        });
        prop_oneof![chain, parallel, choice, map]
    })
}

proptest! {
    #[test]
    fn what_is_built_is_clean_and_reads_back_as_the_same(fragment in fragment()) {
        let machine = fragment.into_machine().build();
        prop_assert!(machine.is_ok(), "{}", machine.unwrap_err());
        let machine = machine.unwrap();
        prop_assert_eq!(machine.warnings(), &[]);
        let text = machine.to_json_string();
        let again = StateMachine::from_json(&text).unwrap();
        prop_assert_eq!(again.to_json_string(), text);
        prop_assert_eq!(again, machine);
    }
}
