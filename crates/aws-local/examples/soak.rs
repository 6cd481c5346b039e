//! 100,000 executions, 64 at once, through the loopback API: none is lost, and memory stays flat.
//!
//! `cargo run --release -p aws-local --example soak [EXECUTIONS]`

#![expect(clippy::print_stdout, reason = "an example tells what it found")]
#![expect(clippy::unwrap_used, reason = "an example may stop")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use aws_credential_types::Credentials;
use aws_local::Server;
use aws_sdk_sfn::{
    Client,
    config::{BehaviorVersion, Region},
};
use aws_smithy_http_client::Builder as HttpBuilder;

const AT_ONCE: usize = 64;
const MACHINE: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"B"},"B":{"Type":"Pass","Next":"C"},
    "C":{"Type":"Pass","End":true}}}"#;

#[tokio::main]
async fn main() {
    let wanted: usize = std::env::args()
        .nth(1)
        .map_or(100_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let server = Server::builder(folder.path()).start().await.unwrap();
    let client = Client::from_conf(
        aws_sdk_sfn::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(aws_local::REGION))
            .credentials_provider(Credentials::from_keys("test", "test", None))
            .endpoint_url(server.url())
            .http_client(HttpBuilder::new().build_http())
            .build(),
    );
    let machine = client
        .create_state_machine()
        .name("soak")
        .role_arn(aws_local::ROLE_ARN);
    let machine = machine
        .definition(MACHINE)
        .send()
        .await
        .unwrap()
        .state_machine_arn;
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (client, machine, next) = (client.clone(), machine.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= wanted {
                        return;
                    }
                    let start = client.start_execution().state_machine_arn(&machine);
                    start.name(format!("e{number}")).send().await.unwrap();
                    if number % (wanted / 10).max(1) == 0 {
                        let rate = number as f64 / begun.elapsed().as_secs_f64();
                        println!("{number:>7} started, {rate:>6.0}/s, {} MiB in memory", memory());
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    let mut pages = client
        .list_executions()
        .state_machine_arn(&machine)
        .max_results(1000)
        .into_paginator()
        .send();
    let (mut found, mut succeeded) = (0, 0);
    while let Some(page) = pages.next().await {
        for execution in page.unwrap().executions {
            found += 1;
            succeeded += usize::from(execution.status.as_str() == "SUCCEEDED");
        }
    }
    println!(
        "{wanted} executions in {seconds:.1} s, {:.0}/s; {found} found, {succeeded} succeeded; {} MiB in memory",
        wanted as f64 / seconds,
        memory()
    );
    server.shutdown().await;
    assert_eq!((found, succeeded), (wanted, wanted));
}

/// The resident memory of this process in MiB, client included; 0 where `/proc` is not.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
