//! Headers that the client of NATS cannot read, on a real server.

mod common;
#[path = "common/reading.rs"]
mod reading;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::{open, topology, unique};
use convoke_core::broker::{Broker, EnsureMode, Settle, Settled, Settlement, SubscribeSpec};
use convoke_core::{Incoming, Position};
use convoke_nats::async_nats::jetstream;
use convoke_servers::{Kind, Server};
use reading::{client, take};
use serde_json::json;

const GOOD: &[u8] = b"NATS/1.0\r\nx: good\r\n\r\n";

/// What a client of NATS may send, and ours cannot read.
const GARBAGE: [&[u8]; 6] = [
    b"NATS/1.0\r\nx: \xff\xfe\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\nbad name: 1\r\n\r\n",
    b"NATS/2.0\r\nx: 1\r\n\r\n",
    b"NATS/1.0 xyz\r\n\r\n",
    b"garbage",
];

async fn connect(server: &Server) -> Arc<dyn Broker> {
    open(&format!("{}?lease=2s&revoke=1s&ack_wait=2s&partitions=1", server.url())).await.unwrap()
}

/// How often a broker has connected.
fn connects(broker: &Arc<dyn Broker>) -> u64 {
    client(broker).statistics().connects.load(Relaxed)
}

/// Publishes these bytes as headers, by a client that does not look at them.
async fn write(server: &Server, subject: &str, headers: &[u8], payload: usize) {
    let headers: String = headers.iter().copied().map(char::from).collect();
    let request = json!({ "do": "raw", "subject": subject, "headers": headers, "payload": payload.to_string() });
    server.client().await.unwrap().ask(&request).await.unwrap();
}

fn numbers(messages: &[Incoming]) -> Vec<usize> {
    messages.iter().map(|incoming| String::from_utf8_lossy(incoming.message.payload()).parse().unwrap()).collect()
}

fn header<'m>(incoming: &'m Incoming, name: &str) -> Option<&'m [u8]> {
    incoming.message.headers().get(name).map(|value| &value[..])
}

/// What the server has given out to a group and not heard of.
async fn out(broker: &Arc<dyn Broker>, topic: &str, group: &str) -> usize {
    let stream = jetstream::new(client(broker).clone()).get_stream(topic.replace('.', "=")).await.unwrap();
    stream.consumer_info(format!("{group}=0")).await.unwrap().num_ack_pending
}

#[tokio::test]
async fn what_cannot_be_read_is_taken_in_its_place_and_ends_no_connection_twice() {
    let server = Server::shared(Kind::Nats).await.unwrap();
    let (topic, broker) = (unique("garbage"), connect(&server).await);
    broker.ensure(&topology(&topic, ["g", "h"]), EnsureMode::Create).await.unwrap();
    let subject = format!("{topic}.0");
    for (index, garbage) in GARBAGE.into_iter().enumerate() {
        write(&server, &subject, GOOD, 2 * index).await;
        write(&server, &subject, garbage, 2 * index + 1).await;
    }
    write(&server, &subject, GOOD, 12).await;
    for group in ["g", "h"] {
        let before = connects(&broker);
        let mut subscription = broker.subscribe(SubscribeSpec::new(group, vec![topic.as_str().into()])).await.unwrap();
        let taken = take(&mut subscription, 13, true).await;
        assert_eq!(numbers(&taken), (0..13).collect::<Vec<_>>(), "group `{group}` has all, in order");
        assert_eq!(header(&taken[1], "x"), Some(&b"\xff\xfe"[..]), "as the bytes that they are");
        assert_eq!(header(&taken[3], "nats-unreadable"), Some(&b"no colon"[..]));
        assert_eq!((header(&taken[7], "x"), header(&taken[7], "nats-unreadable")), (Some(&b"1"[..]), Some(&b"NATS/2.0"[..])));
        // All of it was sent at once, and is known after the first time; and nothing of it ever comes again.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(connects(&broker) - before <= 2, "{} reconnects", connects(&broker) - before);
        assert_eq!(out(&broker, &topic, group).await, 0);
        subscription.control.close().await;
    }
    // Another process finds nothing to do, and nothing that ends its connection.
    let next = connect(&server).await;
    let mut subscription = next.subscribe(SubscribeSpec::new("g", vec![topic.as_str().into()])).await.unwrap();
    write(&server, &subject, GOOD, 13).await;
    assert_eq!(numbers(&take(&mut subscription, 1, true).await), [13]);
    let lag = next.lag("g", &[topic.as_str().into()]).await.unwrap();
    assert_eq!((lag.backlog, connects(&next)), (Some(0), 1));
    subscription.control.close().await;
}

/// Whoever writes such a message does so again.
#[tokio::test]
async fn a_stream_of_them_ends_the_connection_once_and_order_is_kept() {
    let server = Server::shared(Kind::Nats).await.unwrap();
    let (topic, broker) = (unique("stream"), connect(&server).await);
    broker.ensure(&topology(&topic, ["g"]), EnsureMode::Create).await.unwrap();
    let subject = format!("{topic}.0");
    let mut subscription = broker.subscribe(SubscribeSpec::new("g", vec![topic.as_str().into()])).await.unwrap();
    write(&server, &subject, GARBAGE[0], 0).await;
    assert_eq!(numbers(&take(&mut subscription, 1, true).await), [0]);
    let before = connects(&broker);
    let writing = async {
        for number in 1..200 {
            let headers = if number % 4 == 0 { GOOD } else { GARBAGE[number % GARBAGE.len()] };
            write(&server, &subject, headers, number).await;
        }
    };
    let (taken, ()) = tokio::join!(take(&mut subscription, 199, true), writing);
    assert_eq!(numbers(&taken), (1..200).collect::<Vec<_>>());
    assert_eq!(connects(&broker), before, "leases, acknowledgements and publishing go on");
    subscription.control.close().await;
    assert_eq!(out(&broker, &topic, "g").await, 0);
}

#[tokio::test]
async fn what_was_set_aside_is_not_lost_with_the_process() {
    let server = Server::shared(Kind::Nats).await.unwrap();
    let (topic, broker) = (unique("aside"), connect(&server).await);
    broker.ensure(&topology(&topic, ["g"]), EnsureMode::Create).await.unwrap();
    let subject = format!("{topic}.0");
    for (number, headers) in [GOOD, GARBAGE[0], GOOD, GARBAGE[1], GOOD].into_iter().enumerate() {
        write(&server, &subject, headers, number).await;
    }
    let spec = || SubscribeSpec::new("g", vec![topic.as_str().into()]);
    let mut dead = broker.subscribe(spec()).await.unwrap();
    let had = take(&mut dead, 5, false).await;
    // One of each kind is settled, one is to be tried again, and one is marked; then it dies without a word.
    let later = Settle::Nack { delay: Duration::from_secs(3600), attempts: 3, hold: false };
    let settle = |index: usize, settle| Settlement::new(had[index].token.clone(), settle);
    let batch = vec![settle(0, Settle::Ack), settle(1, Settle::Extend), settle(1, Settle::Mark { deaths: 1 }), settle(3, later)];
    let answers = dead.control.settle(batch).await;
    assert!(answers.iter().all(|answer| matches!(answer, Settled::Applied)), "{answers:?}");
    drop(dead);
    let heir = connect(&server).await;
    let mut subscription = heir.subscribe(spec()).await.unwrap();
    let got = take(&mut subscription, 4, false).await;
    assert_eq!((numbers(&got), got[0].deaths, got[2].attempts), (vec![1, 2, 3, 4], 1, 3), "in order, with what was kept");
    assert!(got[2].due_in.is_some_and(|rest| rest > Duration::from_secs(3000)), "and not before its time");
    assert_eq!(connects(&heir), 1, "it is known what cannot be sent");
    let all = got.iter().map(|one| Settlement::new(one.token.clone(), Settle::Ack));
    assert!(subscription.control.settle(all.collect()).await.iter().all(|answer| matches!(answer, Settled::Applied)));
    subscription.control.close().await;
    let mut after = heir.subscribe(spec()).await.unwrap();
    write(&server, &subject, GOOD, 5).await;
    assert_eq!(numbers(&take(&mut after, 1, true).await), [5], "what is done is done");
    after.control.close().await;
}

#[tokio::test]
async fn what_a_foreign_client_publishes_without_a_partition_is_moved_whatever_its_headers_are() {
    let server = Server::shared(Kind::Nats).await.unwrap();
    let (topic, broker) = (unique("moved"), connect(&server).await);
    broker.ensure(&topology(&topic, ["g"]), EnsureMode::Create).await.unwrap();
    for (number, headers) in [GOOD, GARBAGE[0], GARBAGE[5], GOOD, GARBAGE[1], GOOD].into_iter().enumerate() {
        write(&server, &topic, headers, number).await;
    }
    let mut subscription = broker.subscribe(SubscribeSpec::new("g", vec![topic.as_str().into()])).await.unwrap();
    let taken = take(&mut subscription, 6, true).await;
    assert_eq!(numbers(&taken), [0, 1, 2, 3, 4, 5]);
    assert_eq!(header(&taken[1], "x"), Some(&b"\xff\xfe"[..]), "written so that it can be read, and read as it was");
    assert!(taken.iter().all(|one| matches!(one.position, Position::Offset(sequence) if sequence > 6)), "they were moved");
    write(&server, &topic, GARBAGE[2], 6).await;
    let before = connects(&broker);
    assert_eq!(numbers(&take(&mut subscription, 1, true).await), [6]);
    assert_eq!(connects(&broker), before, "who has seen one is careful");
    subscription.control.close().await;
}

#[tokio::test]
async fn a_status_that_somebody_publishes_is_no_word_of_the_server() {
    let server = Server::shared(Kind::Nats).await.unwrap();
    let (topic, broker) = (unique("status"), connect(&server).await);
    broker.ensure(&topology(&topic, ["g"]), EnsureMode::Create).await.unwrap();
    write(&server, &format!("{topic}.0"), b"NATS/1.0 503\r\n\r\n", 0).await;
    write(&server, &topic, b"NATS/1.0 409 Consumer Deleted\r\nx: 1\r\n\r\n", 1).await;
    let mut subscription = broker.subscribe(SubscribeSpec::new("g", vec![topic.as_str().into()])).await.unwrap();
    assert_eq!(numbers(&take(&mut subscription, 2, true).await), [0, 1]);
    assert_eq!(connects(&broker), 1);
    subscription.control.close().await;
}

/// More than are moved at once, and of several partitions.
#[tokio::test]
async fn what_foreign_clients_publish_is_moved_in_its_order_and_once_by_two_at_a_time() {
    let server = Server::shared(Kind::Nats).await.unwrap();
    let url = format!("{}?partitions=4", server.url());
    let (topic, broker, other) = (unique("batches"), open(&url).await.unwrap(), open(&url).await.unwrap());
    broker.ensure(&topology(&topic, ["g", "h"]), EnsureMode::Create).await.unwrap();
    let stream = jetstream::new(client(&broker).clone());
    for number in 0..600_usize {
        let mut headers = convoke_nats::async_nats::HeaderMap::new();
        headers.insert("ce-partitionkey", format!("k{}", number % 7));
        stream.publish_with_headers(topic.clone(), headers, number.to_string().into()).await.unwrap().await.unwrap();
    }
    let topics = || vec![topic.as_str().into()];
    // Whoever reads, of any group, moves too.
    let second = other.subscribe(SubscribeSpec::new("h", topics())).await.unwrap();
    let mut subscription = broker.subscribe(SubscribeSpec::new("g", topics())).await.unwrap();
    let taken = numbers(&take(&mut subscription, 600, true).await);
    for key in 0..7 {
        let of_key: Vec<_> = taken.iter().copied().filter(|number| number % 7 == key).collect();
        assert_eq!(of_key, (key..600).step_by(7).collect::<Vec<_>>());
    }
    let lag = broker.lag("g", &topics()).await.unwrap();
    assert_eq!(lag.backlog, Some(0), "none was moved twice");
    subscription.control.close().await;
    second.control.close().await;
}
