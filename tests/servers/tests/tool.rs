//! The tool, with nothing but the URL of a real broker.

#[path = "../../../cli/tests/support/mod.rs"]
mod support;

use convoke_cli::Exit;
use convoke_servers::{Kind, Server};
use support::{alone, dead_letters};

async fn what_was_given_up_is_listed_and_sent_back(kind: Kind) {
    let server = Server::shared(kind).await.unwrap();
    let (app, bank) = dead_letters(3, |app| app.url(server.url())).await;
    let tool = async |words: &str| alone(&format!("--url {} {words}", server.url())).await;

    let (exit, out, err) = tool("dead list").await;
    match kind {
        Kind::RabbitMq => {
            assert_eq!(exit, Exit::Broker);
            assert_eq!(err, "error: RabbitMQ cannot list its topics; name the one that you mean\n");
        }
        _ => assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Done, "letters  topic\n3        orders.bills.dead\n", "")),
    }
    let (exit, out, err) = tool("dead list orders.bills.dead").await;
    assert_eq!((exit, err.as_str(), out.lines().count()), (Exit::Done, "", 4), "{out}");
    assert!(out.contains("handler-error") && out.contains("the bank does not know k2"), "{out}");

    bank.answers();
    let (exit, out, err) = tool("dead redrive orders.bills.dead --max 2 --yes").await;
    assert_eq!((exit, err.as_str()), (Exit::Done, "2 sent back\n"));
    assert_eq!(out.lines().filter(|line| line.ends_with(": to orders.bills.retry")).count(), 2, "{out}");
    let (exit, _, err) = tool("dead redrive --topic orders --group bills --yes").await;
    assert_eq!((exit, err.as_str()), (Exit::Done, "1 sent back\n"));
    app.settled().await;
    let status = app.status().await;
    assert_eq!(status.handlers.iter().map(|one| one.handled).collect::<Vec<_>>(), [3]);
    let (exit, out, err) = tool("dead list orders.bills.dead").await;
    assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Done, "", "no dead letter of `orders.bills.dead` is meant\n"));
    app.drain().await;
}

macro_rules! on_each {
    ($($name:ident $kind:ident)*) => { $(
        #[tokio::test]
        async fn $name() {
            what_was_given_up_is_listed_and_sent_back(Kind::$kind).await;
        }
    )* };
}

on_each! {
    the_tool_sends_back_what_was_given_up_on_kafka Kafka
    the_tool_sends_back_what_was_given_up_on_nats Nats
    the_tool_sends_back_what_was_given_up_on_redis Redis
    the_tool_sends_back_what_was_given_up_on_rabbitmq RabbitMq
}
