//! Messages as large as the server takes them, on a real server.

mod common;
#[path = "common/reading.rs"]
mod reading;

use std::sync::Arc;
use std::time::Duration;

use common::{open, topology, unique};
use convoke_core::broker::{Broker, EnsureMode, PublishOutcome, SubscribeSpec};
use convoke_core::{ErrorKind, Incoming, Message, Outgoing};
use convoke_nats::async_nats::{HeaderMap, jetstream};
use convoke_servers::{Kind, Server};
use reading::{client, take};
use serde_json::json;

async fn connect(server: &Server) -> Arc<dyn Broker> {
    open(&format!("{}?lease=2s&revoke=1s&partitions=1", server.url())).await.unwrap()
}

/// The first byte of each.
fn firsts(taken: &[Incoming]) -> String {
    taken.iter().map(|one| char::from(one.message.payload()[0])).collect()
}

/// A payload that begins with `first`.
fn payload(first: u8, size: usize) -> Vec<u8> {
    let mut payload = vec![b' '; size];
    payload[0] = first;
    payload
}

/// How much the stream of a topic holds.
async fn held(broker: &Arc<dyn Broker>, topic: &str) -> u64 {
    let stream = jetstream::new(client(broker).clone()).get_stream(topic.replace('.', "=")).await.unwrap();
    stream.cached_info().state.messages
}

/// Waits until the stream of a topic holds so much.
async fn settles_at(broker: &Arc<dyn Broker>, topic: &str, count: u64) {
    for _look in 0..100 {
        if held(broker, topic).await == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the stream holds {}", held(broker, topic).await);
}

#[tokio::test]
async fn a_foreign_message_as_large_as_the_server_takes_is_moved_as_it_came_and_in_order() {
    let server = Server::shared(Kind::Nats).await.unwrap();
    let (topic, broker) = (unique("large"), connect(&server).await);
    broker.ensure(&topology(&topic, ["g"]), EnsureMode::Create).await.unwrap();
    let (foreign, max) = (client(&broker), client(&broker).max_payload());
    let stream = jetstream::new(foreign.clone());
    let mut headers = HeaderMap::new();
    headers.insert("tenant", "acme");
    // The version, the header, and the empty line.
    let of_headers = "NATS/1.0\r\ntenant: acme\r\n\r\n".len();
    // Nothing that we add has room beside it; something has; nothing has and there is no header.
    for (first, rest) in [(b'a', 1), (b'b', max), (b'c', max - 30), (b'd', max - of_headers), (b'e', 1)] {
        let payload = payload(first, rest);
        let sent = match first {
            b'd' => stream.publish_with_headers(topic.clone(), headers.clone(), payload.into()).await,
            _ => stream.publish(topic.clone(), payload.into()).await,
        };
        sent.unwrap().await.unwrap();
    }
    let mut subscription = broker.subscribe(SubscribeSpec::new("g", vec![topic.as_str().into()])).await.unwrap();
    let taken = take(&mut subscription, 5, true).await;
    assert_eq!(firsts(&taken), "abcde");
    assert_eq!(taken[1].message.payload().len(), max);
    assert_eq!(taken[3].message.headers().get_str("tenant"), Some("acme"));
    settles_at(&broker, &topic, 5).await;
    subscription.control.close().await;
}

#[tokio::test]
async fn a_foreign_message_that_cannot_be_moved_is_left_and_is_in_nobodys_way() {
    let server = Server::shared(Kind::Nats).await.unwrap();
    let (topic, broker) = (unique("left"), connect(&server).await);
    broker.ensure(&topology(&topic, ["g", "h"]), EnsureMode::Create).await.unwrap();
    let max = client(&broker).max_payload();
    let write = async |headers: Vec<u8>, payload: Vec<u8>| {
        let text = |bytes: Vec<u8>| bytes.into_iter().map(char::from).collect::<String>();
        let request = json!({ "do": "raw", "subject": topic, "headers": text(headers), "payload": text(payload) });
        server.client().await.unwrap().ask(&request).await.unwrap();
    };
    let small = async |first| write(b"NATS/1.0\r\nx: 1\r\n\r\n".to_vec(), vec![first]).await;
    let compact = [&b"NATS/1.0\r\n"[..], &b"x:1\r\n".repeat(100), b"\r\n"].concat();
    // As it is, it may stand in a stream; escaped, which it has to be, it may not.
    let binary = [&b"NATS/1.0\r\nx: "[..], &[0xff; 60_000], b"\r\n\r\n"].concat();
    small(b'a').await;
    write(compact.clone(), payload(b'b', max - compact.len())).await;
    small(b'c').await;
    write(binary, vec![b'd']).await;
    small(b'e').await;
    let spec = |group| SubscribeSpec::new(group, vec![topic.as_str().into()]);
    let mut subscription = broker.subscribe(spec("g")).await.unwrap();
    assert_eq!(firsts(&take(&mut subscription, 3, true).await), "ace");
    settles_at(&broker, &topic, 3 + 2).await;
    for first in [b'f', b'g'] {
        small(first).await;
        assert_eq!(firsts(&take(&mut subscription, 1, true).await), char::from(first).to_string());
    }
    // Another process passes them by, and another group is told the same.
    let next = connect(&server).await;
    let mut other = next.subscribe(spec("h")).await.unwrap();
    small(b'h').await;
    assert_eq!(firsts(&take(&mut other, 6, true).await), "acefgh");
    settles_at(&broker, &topic, 6 + 2).await;
    subscription.control.close().await;
    other.control.close().await;
}

#[tokio::test]
async fn what_is_only_copied_may_be_as_large_as_the_server_takes_and_what_it_does_not_take_is_too_large() {
    let server = Server::shared(Kind::Nats).await.unwrap();
    let (topic, broker) = (unique("copied"), connect(&server).await);
    broker.ensure(&topology(&topic, ["g"]), EnsureMode::Create).await.unwrap();
    let (max, declared) = (client(&broker).max_payload(), broker.capabilities().max_message.unwrap());
    let publish = async |verbatim, headers: usize, payload: usize| {
        let message = Message::builder(topic.as_str()).header("x", vec![b'x'; headers]).payload(vec![b' '; payload]);
        let mut outgoing = Outgoing::new(message.build());
        outgoing.verbatim = verbatim;
        match broker.publish(vec![outgoing]).await.remove(0) {
            PublishOutcome::Confirmed(_) => None,
            PublishOutcome::Rejected { retryable: false, error } => Some(error.kind()),
            other => panic!("{other:?}"),
        }
    };
    let too_large = Some(ErrorKind::TooLarge);
    assert_eq!(publish(true, 10, max - 100).await, None, "a copy");
    assert_eq!(publish(true, 10, max).await, too_large);
    assert_eq!(publish(false, 10, declared - 100).await, None, "what an application publishes");
    assert_eq!(publish(false, 10, max - 100).await, too_large);
    // In a stream, headers have a limit of their own; for a dead letter there is room in it.
    assert_eq!(publish(true, 65_000, 1).await, None);
    assert_eq!(publish(true, 66_000, 1).await, too_large);
    assert_eq!(publish(false, 65_000, 1).await, too_large);
}
