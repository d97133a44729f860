//! The clients that others wrote: what they publish they read, to the byte, on every kind of server.

use convoke_conformance::{Foreign, Stop};
use convoke_servers::{Kind, Server};
use serde_json::json;

async fn what_it_writes_it_reads(kind: Kind) -> Result<(), Stop> {
    let server = Server::shared(kind).await?;
    let client = server.client().await?;
    assert_eq!(client.read("nothing.here").await?, [], "a topic that does not exist holds nothing");
    client.ask(&json!({ "do": "create", "topic": "round.trip", "partitions": 1 })).await?;
    assert_eq!(client.read("round.trip").await?, [], "nor does one to which nobody has published");

    let mut sent = vec![
        Foreign::of("").header("content-type", "text/plain"),
        Foreign::of("first").header("tenant", "Zoë 🦀").header("empty", ""),
        Foreign::of([0, 0xff, b'\n']).key("k1").header("a", "1").header("b", "2"),
    ];
    if matches!(kind, Kind::Kafka | Kind::Redis) {
        sent.push(Foreign::of("bytes").key([0xff]).header("a", [0xfe, 0]).header("a", "again"));
        sent.push(Foreign { payload: None, ..Foreign::default().key("gone") });
    }
    for message in &sent {
        client.produce("round.trip", message).await?;
    }
    // Where a key is a header it is read as both.
    let read = client.read("round.trip").await?.into_iter().map(|mut read| {
        read.headers.retain(|(name, _)| !name.ends_with("partitionkey"));
        read
    });
    let mut read: Vec<_> = read.collect();
    for message in sent.iter_mut().chain(&mut read) {
        // Maps have no order.
        message.headers.sort();
    }
    assert_eq!(read, sent);

    if matches!(kind, Kind::Nats | Kind::RabbitMq) {
        let tombstone = client.produce("round.trip", &Foreign::default()).await;
        assert!(matches!(tombstone, Err(Stop::Lacking(_))), "{tombstone:?}");
    }
    match client.ask(&json!({ "do": "discard", "topic": "round.trip" })).await {
        Ok(_) => assert_eq!(client.read("round.trip").await?, [], "what is discarded is gone"),
        Err(why) => assert!(kind == Kind::RabbitMq && matches!(why, Stop::Lacking(_)), "{why}"),
    }
    let nowhere = client.produce("nothing.here", &Foreign::of("lost")).await;
    assert_eq!(nowhere.is_ok(), kind == Kind::Redis, "what nobody keeps is not confirmed: {nowhere:?}");
    Ok(())
}

macro_rules! on_each {
    ($($name:ident $kind:ident)*) => { $(
        #[tokio::test]
        async fn $name() {
            what_it_writes_it_reads(Kind::$kind).await.unwrap();
        }
    )* };
}

on_each! {
    a_client_of_kafka_reads_what_it_writes Kafka
    a_client_of_nats_reads_what_it_writes Nats
    a_client_of_redis_reads_what_it_writes Redis
    a_client_of_rabbitmq_reads_what_it_writes RabbitMq
}
