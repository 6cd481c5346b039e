use expect_test::{Expect, expect};
use ipinsights_client::{Deadline, EndpointName, Error, Resource, Teardown};
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::support::{Service, answer, could_not_find, empty, endpoint, impatient, patient, refusal};

fn config_of(models: &[&str]) -> ResponseTemplate {
    let variants: Vec<_> = models
        .iter()
        .map(|model| json!({"VariantName": "v", "ModelName": model}))
        .collect();
    answer(json!({"EndpointConfigName": "c", "EndpointConfigArn": "arn", "ProductionVariants": variants}))
}

fn denied() -> ResponseTemplate {
    refusal(400, "AccessDeniedException", "no")
}

async fn teardown_within(service: &Service, deadline: Deadline) -> Result<Teardown, Error> {
    service
        .client()
        .teardown(&"e".parse::<EndpointName>().unwrap(), deadline, &mut |_| {})
        .await
}

fn check(report: &Teardown, expected: Expect) {
    let mut text = String::new();
    for resource in &report.deleted {
        text += &format!("deleted {resource}\n");
    }
    for resource in &report.absent {
        text += &format!("absent {resource}\n");
    }
    for (resource, reason) in &report.left {
        text += &format!("left {resource}: {reason}\n");
    }
    expected.assert_eq(&text);
    assert_eq!(report.is_complete(), report.left.is_empty());
}

#[tokio::test]
async fn everything_behind_an_endpoint_goes() {
    let service = Service::start().await;
    service
        .on(
            "DescribeEndpoint",
            [
                endpoint("InService", "c"),
                endpoint("InService", "c"),
                endpoint("Deleting", "c"),
                could_not_find(),
            ],
        )
        .on("DescribeEndpointConfig", [config_of(&["m1", "m2"])])
        .on("DeleteEndpoint", [empty()])
        .on("DeleteEndpointConfig", [empty()])
        .on("DeleteModel", [empty()]);
    let report = teardown_within(&service, patient()).await.unwrap();
    check(
        &report,
        expect![[r#"
        deleted endpoint `e`
        deleted endpoint configuration `c`
        deleted model `m1`
        deleted model `m2`
    "#]],
    );
    assert_eq!(
        service.operations(),
        [
            "DescribeEndpoint",
            "DescribeEndpointConfig",
            "DescribeEndpoint",
            "DeleteEndpoint",
            "DescribeEndpoint",
            "DeleteEndpointConfig",
            "DeleteModel"
        ]
    );
}

#[tokio::test]
async fn an_endpoint_in_the_middle_of_an_update_takes_both_configurations_with_it() {
    let service = Service::start().await;
    let updating = answer(json!({
        "EndpointName": "e", "EndpointArn": "arn", "EndpointStatus": "Updating", "EndpointConfigName": "c1",
        "PendingDeploymentSummary": {"EndpointConfigName": "c2"},
    }));
    service
        .on(
            "DescribeEndpoint",
            [
                updating.clone(),
                updating.clone(),
                updating,
                endpoint("InService", "c2"),
                could_not_find(),
            ],
        )
        .on("DescribeEndpointConfig", [config_of(&["m1"]), config_of(&["m2"])])
        .on("DeleteEndpoint", [empty()])
        .on("DeleteEndpointConfig", [empty()])
        .on("DeleteModel", [empty()]);
    let report = teardown_within(&service, patient()).await.unwrap();
    check(
        &report,
        expect![[r#"
        deleted endpoint `e`
        deleted endpoint configuration `c1`
        deleted endpoint configuration `c2`
        deleted model `m1`
        deleted model `m2`
    "#]],
    );
}

#[tokio::test]
async fn absent_parts_are_fine() {
    let service = Service::start().await;
    service.on("DescribeEndpoint", [could_not_find()]);
    check(
        &teardown_within(&service, patient()).await.unwrap(),
        expect![[r#"
        absent endpoint `e`
    "#]],
    );
    assert_eq!(service.operations(), ["DescribeEndpoint"]);

    let service = Service::start().await;
    service
        .on(
            "DescribeEndpoint",
            [endpoint("Failed", "c"), endpoint("Failed", "c"), could_not_find()],
        )
        .on("DescribeEndpointConfig", [could_not_find()])
        .on("DeleteEndpoint", [empty()])
        .on("DeleteEndpointConfig", [could_not_find()]);
    check(
        &teardown_within(&service, patient()).await.unwrap(),
        expect![[r#"
        deleted endpoint `e`
        absent endpoint configuration `c`
    "#]],
    );
}

#[tokio::test]
async fn what_cannot_be_deleted_does_not_stop_the_rest() {
    let service = Service::start().await;
    service
        .on(
            "DescribeEndpoint",
            [
                endpoint("InService", "c"),
                endpoint("InService", "c"),
                could_not_find(),
            ],
        )
        .on("DescribeEndpointConfig", [config_of(&["m1", "m2"])])
        .on("DeleteEndpoint", [empty()])
        .on("DeleteEndpointConfig", [denied()])
        .on("DeleteModel", [could_not_find(), empty()]);
    check(
        &teardown_within(&service, patient()).await.unwrap(),
        expect![[r#"
        deleted endpoint `e`
        deleted model `m2`
        absent model `m1`
        left endpoint configuration `c`: access was denied: `DeleteEndpointConfig` answered AccessDeniedException: no (request request-2)
    "#]],
    );
}

#[tokio::test]
async fn an_endpoint_that_stays_keeps_what_it_needs() {
    // Deleting is not permitted.
    let service = Service::start().await;
    service
        .on("DescribeEndpoint", [endpoint("InService", "c")])
        .on("DescribeEndpointConfig", [config_of(&["m"])])
        .on("DeleteEndpoint", [denied()]);
    check(
        &teardown_within(&service, patient()).await.unwrap(),
        expect![[r#"
        left endpoint `e`: access was denied: `DeleteEndpoint` answered AccessDeniedException: no (request request-2)
        left endpoint configuration `c`: endpoint `e` is still there and may need it
        left model `m`: endpoint `e` is still there and may need it
    "#]],
    );

    // It does not go in time.
    let service = Service::start().await;
    service
        .on(
            "DescribeEndpoint",
            [
                endpoint("InService", "c"),
                endpoint("InService", "c"),
                endpoint("Deleting", "c"),
            ],
        )
        .on("DescribeEndpointConfig", [config_of(&["m"])])
        .on("DeleteEndpoint", [empty()]);
    let report = teardown_within(&service, impatient()).await.unwrap();
    assert!(report.deleted.is_empty() && report.left.len() == 3);
    assert!(matches!(&report.left[0].1, Error::Timeout { last, .. } if last == "Deleting"));
    assert!(!service.operations().contains(&"DeleteModel".to_owned()));
    // Of what is left, the endpoint is what has to be paid for.
    let costs: Vec<_> = report.still_costs().map(ToString::to_string).collect();
    assert_eq!(costs, ["endpoint `e`"]);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_kept_for_later() {
    let service = Service::start().await;
    service
        .on(
            "DescribeEndpoint",
            [
                endpoint("InService", "c"),
                endpoint("InService", "c"),
                could_not_find(),
            ],
        )
        .on("DescribeEndpointConfig", [denied()])
        .on("DeleteEndpoint", [empty()]);
    check(
        &teardown_within(&service, patient()).await.unwrap(),
        expect![[r#"
        deleted endpoint `e`
        left endpoint configuration `c`: access was denied: `DescribeEndpointConfig` answered AccessDeniedException: no (request request-2)
    "#]],
    );
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_looked_at_is_an_error() {
    let service = Service::start().await;
    service.on("DescribeEndpoint", [denied()]);
    assert!(matches!(
        teardown_within(&service, patient()).await,
        Err(Error::AccessDenied(_))
    ));
}

#[tokio::test]
async fn named_resources_go_without_an_endpoint() {
    let service = Service::start().await;
    service
        .on("DescribeEndpoint", [could_not_find()])
        .on("DeleteEndpointConfig", [empty()])
        .on("DeleteModel", [could_not_find()]);
    let resources = [
        Resource::Endpoint("e".parse().unwrap()),
        Resource::EndpointConfig("c".parse().unwrap()),
        Resource::Model("m".parse().unwrap()),
    ];
    let report = service
        .client()
        .teardown_of(&resources, patient(), &mut |_| {})
        .await;
    check(
        &report,
        expect![[r#"
        deleted endpoint configuration `c`
        absent endpoint `e`
        absent model `m`
    "#]],
    );
    assert_eq!(
        service.operations(),
        ["DescribeEndpoint", "DeleteEndpointConfig", "DeleteModel"]
    );
}
