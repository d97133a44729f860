//! Servers of every kind: what they confirmed outlives a kill, and they end with whoever started them.

use std::time::{Duration, Instant};

use convoke_conformance::{Foreign, Stop};
use convoke_servers::{Kind, Server};
use serde_json::json;

/// A topic of this server for these tests.
async fn topic(server: &Server, name: &'static str) -> Result<&'static str, Stop> {
    server.client().await?.ask(&json!({ "do": "create", "topic": name, "partitions": 2 })).await?;
    Ok(name)
}

/// Reads the payloads of a topic, as soon as the server answers.
async fn read(server: &Server, topic: &str) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let read = match server.client().await {
            Ok(client) => client.read(topic).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(read) => break read.into_iter().map(|one| String::from_utf8(one.payload.unwrap()).unwrap()).collect(),
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(40), "{error}"),
        }
    }
}

async fn confirmed_outlives_kills_and_freezes(kind: Kind) -> Result<(), Stop> {
    let server = Server::launch(kind).await?;
    let topic = topic(&server, "outlives").await?;
    server.client().await?.produce(topic, &Foreign::of("before")).await?;
    assert_eq!(read(&server, topic).await, ["before"]);

    server.kill().await?;
    let dead = server.client().await?.produce(topic, &Foreign::of("to nobody")).await;
    assert!(matches!(dead, Err(Stop::Failed { .. })), "{dead:?}");
    server.start().await?;
    // A queue of RabbitMQ is not looked into: see what its client reads.
    if kind != Kind::RabbitMq {
        assert_eq!(read(&server, topic).await[0], "before");
    }

    server.freeze().await?;
    let client = server.client().await?;
    let message = Foreign::of("later");
    let frozen = tokio::time::timeout(Duration::from_secs(1), client.produce(topic, &message)).await;
    assert!(frozen.is_err(), "a frozen server does not answer: {frozen:?}");
    server.thaw().await?;
    assert!(read(&server, topic).await.contains(&"later".to_owned()));

    server.stop().await?;
    assert!(tokio::net::TcpStream::connect(address(server.url())).await.is_err(), "it has ended");
    server.restart().await?;
    tokio::net::TcpStream::connect(address(server.url())).await.unwrap();
    let url = server.url().to_owned();
    drop(server);
    // Nobody waits for that.
    let ends = async {
        while tokio::net::TcpStream::connect(address(&url)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ends).await.expect("it ends with whoever started it");
    Ok(())
}

/// The host and port of a URL.
fn address(url: &str) -> &str {
    url.rsplit(['/', '@']).next().unwrap_or_default()
}

macro_rules! on_each {
    ($($name:ident $kind:ident)*) => { $(
        #[tokio::test]
        async fn $name() {
            confirmed_outlives_kills_and_freezes(Kind::$kind).await.unwrap();
        }
    )* };
}

on_each! {
    what_kafka_confirmed_outlives_a_kill Kafka
    what_nats_confirmed_outlives_a_kill Nats
    what_redis_confirmed_outlives_a_kill Redis
    what_rabbitmq_confirmed_outlives_a_kill RabbitMq
}

#[tokio::test]
async fn a_server_is_shared_by_all_that_ask() {
    let (one, other) = tokio::join!(Server::shared(Kind::Redis), Server::shared(Kind::Redis));
    assert_eq!(one.unwrap().url(), other.unwrap().url());
    let alone = Server::launch(Kind::Redis).await.unwrap();
    assert_ne!(alone.url(), Server::shared(Kind::Redis).await.unwrap().url());
}
