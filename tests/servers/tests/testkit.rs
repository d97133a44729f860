//! The tests of an application, unchanged, on every kind of server that has an adapter.

#[path = "../../testkit/same.rs"]
mod same;

use convoke::TEST_BROKER_VARIABLE;
use convoke_conformance::Stop;
use convoke_servers::{Kind, Server};
use std::process::Command;

/// Runs the tests of this file again, in a process of its own, on this server.
async fn on(kind: Kind) -> Result<(), Stop> {
    let server = Server::shared(kind).await?;
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["same::", "--test-threads", "8"]).env(TEST_BROKER_VARIABLE, server.url());
    let output = command.output().expect("it runs");
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(printed.contains("test result: ok. 6 passed; 0 failed; 0 ignored"), "{printed}");
    Ok(())
}

#[tokio::test]
async fn they_run_beside_each_other_on_kafka() -> Result<(), Stop> {
    on(Kind::Kafka).await
}

#[tokio::test]
async fn they_run_beside_each_other_on_nats() -> Result<(), Stop> {
    on(Kind::Nats).await
}

#[tokio::test]
async fn they_run_beside_each_other_on_rabbitmq() -> Result<(), Stop> {
    on(Kind::RabbitMq).await
}

#[tokio::test]
async fn they_run_beside_each_other_on_redis() -> Result<(), Stop> {
    on(Kind::Redis).await
}
