//! Messages that expire, on a real server.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::Config;
use convoke_core::broker::{
    Broker, EnsureMode, PublishOutcome, Settle, Settlement, SubscribeSpec, Subscription, SubscriptionEvent,
};
use convoke_core::{ErrorKind, Incoming, Message, Outgoing};
use convoke_servers::{Kind, Server};
use futures_util::TryStreamExt;

mod common;
#[path = "common/reading.rs"]
mod reading;
use common::{open, topology, unique};
use reading::{client, take};

const SECOND: Duration = Duration::from_secs(1);

/// Message `number`, which expires `after`; if that is nothing, it does not.
fn short(topic: &str, number: u32, after: Duration) -> Outgoing {
    let mut outgoing = Outgoing::new(Message::builder(topic.to_owned()).key("k").payload(number.to_string()).build());
    outgoing.expires_at = (!after.is_zero()).then(|| SystemTime::now() + after);
    outgoing
}

async fn publish(broker: &Arc<dyn Broker>, outgoing: Outgoing) {
    let outcome = broker.publish(vec![outgoing]).await.remove(0);
    assert!(matches!(outcome, PublishOutcome::Confirmed(_)), "{outcome:?}");
}

async fn refused(broker: &Arc<dyn Broker>, outgoing: Outgoing) -> (ErrorKind, String) {
    let outcome = broker.publish(vec![outgoing]).await.remove(0);
    let PublishOutcome::Rejected { retryable: false, error } = outcome else { panic!("{outcome:?}") };
    (error.kind(), error.to_string())
}

fn numbers(messages: &[Incoming]) -> Vec<u32> {
    messages.iter().map(|incoming| String::from_utf8_lossy(incoming.message.payload()).parse().unwrap()).collect()
}

fn spec(topic: &str) -> SubscribeSpec {
    SubscribeSpec::new("work", vec![topic.into()])
}

/// A topic of one partition that `work` reads, on a lease that is soon over.
async fn made(name: &str) -> (Arc<dyn Broker>, String) {
    let (server, topic) = (Server::shared(Kind::Nats).await.unwrap(), unique(name));
    let broker = open(&format!("{}?lease=2s&revoke=1s&partitions=1", server.url())).await.unwrap();
    broker.ensure(&topology(&topic, ["work"]), EnsureMode::Create).await.unwrap();
    (broker, topic)
}

/// What is left to be done: new, and out.
async fn left(broker: &Arc<dyn Broker>, topic: &str) -> (Option<u64>, Option<u64>, Option<u64>) {
    let lag = broker.lag("work", &[topic.into()]).await.unwrap();
    (lag.backlog, lag.unsettled, lag.delayed)
}

/// Waits until the stream of a topic has this many messages, beside its mark.
async fn holds(broker: &Arc<dyn Broker>, topic: &str, count: u64) {
    let mut stream = async_nats::jetstream::new(client(broker).clone()).get_stream(topic.replace('.', "=")).await.unwrap();
    for _look in 0..100 {
        let mark = u64::from(stream.get_last_raw_message_by_subject(&format!("{topic}.=begin")).await.is_ok());
        if stream.info().await.unwrap().state.messages == count + mark {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?}", stream.info().await.unwrap().state);
}

/// Whether the end is told within this time.
async fn ends_within(subscription: &mut Subscription, time: Duration) -> bool {
    let until = tokio::time::Instant::now() + time;
    let mut next = async || tokio::time::timeout_at(until, poll_fn(|cx| subscription.events.as_mut().poll_next(cx))).await;
    loop {
        match next().await {
            Ok(Some(SubscriptionEvent::AtEnd)) => return true,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return false,
        }
    }
}

/// Of how many messages of a topic something is kept in the bucket.
async fn kept(broker: &Arc<dyn Broker>, topic: &str) -> usize {
    let bucket = async_nats::jetstream::new(client(broker).clone()).get_key_value("convoke").await.unwrap();
    let place = format!("k.work.{}.0.", topic.replace('.', "="));
    let keys: Vec<String> = bucket.keys().await.unwrap().try_collect().await.unwrap();
    keys.iter().filter_map(|key| key.strip_prefix(&place)).filter(|of| *of != "seen").count()
}

fn give_back(incoming: &Incoming, delay: Duration) -> Settlement {
    Settlement::new(incoming.token.clone(), Settle::Nack { delay, attempts: 1, hold: false })
}

#[tokio::test]
async fn what_expires_before_it_is_read_is_gone_and_all_around_it_is_there() {
    let (broker, topic) = made("gone").await;
    for (number, after) in [(0, SECOND), (1, Duration::ZERO), (2, SECOND), (3, Duration::from_secs(60)), (4, SECOND)] {
        publish(&broker, short(&topic, number, after)).await;
    }
    holds(&broker, &topic, 2).await;
    assert_eq!(left(&broker, &topic).await, (Some(2), Some(0), Some(0)));
    let mut subscription = broker.subscribe(spec(&topic)).await.unwrap();
    let taken = take(&mut subscription, 2, true).await;
    assert_eq!(numbers(&taken), [1, 3]);
    assert!(!taken[1].message.headers().iter().any(|(name, _)| name.to_lowercase().starts_with("nats-")), "{:?}", taken[1]);
    assert_eq!(left(&broker, &topic).await, (Some(0), Some(0), Some(0)));
    subscription.control.close().await;
}

#[tokio::test]
async fn what_has_expired_at_the_beginning_of_a_stream_is_no_gap() {
    let (broker, topic) = made("gap").await;
    publish(&broker, short(&topic, 0, SECOND)).await;
    let mut subscription = broker.subscribe(spec(&topic)).await.unwrap();
    assert_eq!(numbers(&take(&mut subscription, 1, true).await), [0]);
    subscription.control.close().await;
    for number in 1..4 {
        publish(&broker, short(&topic, number, SECOND)).await;
    }
    holds(&broker, &topic, 0).await;
    publish(&broker, short(&topic, 4, Duration::ZERO)).await;
    // `take` takes no gap.
    let mut subscription = broker.subscribe(spec(&topic)).await.unwrap();
    assert_eq!(numbers(&take(&mut subscription, 1, true).await), [4]);
    subscription.control.close().await;
}

#[tokio::test]
async fn a_marked_end_is_reached_if_its_last_message_expires() {
    let (broker, topic) = made("ends").await;
    publish(&broker, short(&topic, 0, Duration::ZERO)).await;
    let mut first = broker.subscribe(spec(&topic)).await.unwrap();
    take(&mut first, 1, true).await;
    first.control.close().await;
    publish(&broker, short(&topic, 1, SECOND)).await;
    let mut to_the_end = spec(&topic);
    to_the_end.until_end = true;
    let mut subscription = broker.subscribe(to_the_end).await.unwrap();
    // What comes behind the mark keeps the server's counts above nothing.
    publish(&broker, short(&topic, 2, Duration::ZERO)).await;
    holds(&broker, &topic, 2).await;
    loop {
        match poll_fn(|cx| subscription.events.as_mut().poll_next(cx)).await.unwrap() {
            SubscriptionEvent::Assigned { part, epoch, .. } => {
                subscription.control.grant(part, epoch, 10, u64::MAX);
                break;
            }
            SubscriptionEvent::AtEnd => return,
            _ => {}
        }
    }
    assert!(ends_within(&mut subscription, Duration::from_secs(20)).await);
}

#[tokio::test]
async fn the_end_is_not_told_while_what_has_expired_is_still_in_hand() {
    let (broker, topic) = made("hand").await;
    publish(&broker, short(&topic, 0, SECOND)).await;
    let mut to_the_end = spec(&topic);
    to_the_end.until_end = true;
    let mut subscription = broker.subscribe(to_the_end).await.unwrap();
    let taken = take(&mut subscription, 1, false).await;
    holds(&broker, &topic, 0).await;
    assert!(!ends_within(&mut subscription, 2 * SECOND).await);
    subscription.control.settle(vec![Settlement::new(taken[0].token.clone(), Settle::Ack)]).await;
    assert!(ends_within(&mut subscription, Duration::from_secs(20)).await);
}

#[tokio::test]
async fn what_was_given_back_for_later_and_expires_does_not_come_again_and_is_in_nobodys_way() {
    let (broker, topic) = made("later").await;
    for (number, after) in [(0, Duration::ZERO), (1, 2 * SECOND), (2, Duration::ZERO), (3, 2 * SECOND), (4, Duration::ZERO)] {
        publish(&broker, short(&topic, number, after)).await;
    }
    let mut dead = broker.subscribe(spec(&topic)).await.unwrap();
    let had = take(&mut dead, 5, false).await;
    // One waits for longer than it lives, another one waits and lives on; the rest is out when its owner dies.
    dead.control.settle(vec![give_back(&had[1], Duration::from_secs(600)), give_back(&had[2], Duration::from_secs(600))]).await;
    drop(dead);
    holds(&broker, &topic, 3).await;
    let mut heir = broker.subscribe(spec(&topic)).await.unwrap();
    assert_eq!(numbers(&take(&mut heir, 2, true).await), [0, 4]);
    publish(&broker, short(&topic, 5, Duration::ZERO)).await;
    assert_eq!(numbers(&take(&mut heir, 1, true).await), [5]);
    assert_eq!(left(&broker, &topic).await, (Some(0), Some(0), Some(1)));
    assert_eq!(kept(&broker, &topic).await, 1, "of what is gone nothing is kept");
    heir.control.close().await;
}

#[tokio::test]
async fn what_is_due_later_lives_from_then_on() {
    let (broker, topic) = made("due").await;
    let due = SystemTime::now() + 2 * SECOND;
    let at = |number, life: Duration| {
        let mut outgoing = short(&topic, number, Duration::ZERO);
        (outgoing.deliver_at, outgoing.expires_at) = (Some(due), Some(due + life));
        outgoing.message = outgoing.message.into_builder().header(convoke_core::names::ID, number.to_string()).build();
        outgoing
    };
    let (kind, text) = refused(&broker, at(0, Duration::ZERO)).await;
    assert!(kind == ErrorKind::Rejected && text.contains("before it is due"), "{text}");
    publish(&broker, at(1, SECOND)).await;
    publish(&broker, at(2, Duration::from_secs(60))).await;
    assert_eq!(left(&broker, &topic).await, (Some(0), Some(0), Some(2)));
    // Both come to be, and one goes.
    while left(&broker, &topic).await != (Some(2), Some(0), Some(0)) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(due.elapsed().is_ok(), "not before it is due");
    holds(&broker, &topic, 1).await;
    let mut subscription = broker.subscribe(spec(&topic)).await.unwrap();
    assert_eq!(numbers(&take(&mut subscription, 1, true).await), [2]);
    subscription.control.close().await;
}

#[tokio::test]
async fn what_foreign_clients_let_expire_still_does_when_it_is_in_its_partition() {
    let (broker, topic) = made("foreign").await;
    let jetstream = async_nats::jetstream::new(client(&broker).clone());
    let foreign = async |number: u32, life: &'static str| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-TTL", life);
        jetstream.publish_with_headers(topic.clone(), headers, number.to_string().into()).await.unwrap().await.unwrap();
    };
    for (number, life) in [(0, "1m"), (1, "2s"), (2, "never")] {
        foreign(number, life).await;
    }
    // Somebody else's group has them moved; ours comes too late for one.
    let mut other = broker.subscribe(SubscribeSpec::new("other", vec![topic.as_str().into()])).await.unwrap();
    assert_eq!(numbers(&take(&mut other, 3, true).await), [0, 1, 2]);
    holds(&broker, &topic, 2).await;
    let mut subscription = broker.subscribe(spec(&topic)).await.unwrap();
    assert_eq!(numbers(&take(&mut subscription, 2, true).await), [0, 2]);
    subscription.control.close().await;
    other.control.close().await;
}

#[tokio::test]
async fn what_is_worthless_already_and_a_stream_that_cannot_are_refused_and_one_of_ours_learns_it() {
    let (server, topic) = (Server::shared(Kind::Nats).await.unwrap(), unique("older"));
    let broker = open(server.url()).await.unwrap();
    assert!(broker.capabilities().expiry);
    // As an older server would have it.
    let config = |description: String| Config {
        name: topic.replace('.', "="),
        subjects: vec![topic.clone(), format!("{topic}.0")],
        description: Some(description),
        ..Config::default()
    };
    let jetstream = async_nats::jetstream::new(client(&broker).clone());
    jetstream.create_stream(config("somebody's".to_owned())).await.unwrap();
    let minute = Duration::from_secs(60);
    let (kind, text) = refused(&broker, short(&topic, 1, minute)).await;
    assert!(kind == ErrorKind::Unsupported && text.contains("allow it per-message TTL"), "{text}");
    broker.ensure(&topology(&topic, []), EnsureMode::Create).await.unwrap();
    assert_eq!(refused(&broker, short(&topic, 1, minute)).await.0, ErrorKind::Unsupported, "it is left as it was");
    jetstream.update_stream(config(format!("convoke: topic {topic}"))).await.unwrap();
    broker.ensure(&topology(&topic, []), EnsureMode::Create).await.unwrap();
    publish(&broker, short(&topic, 1, minute)).await;
    let mut late = short(&topic, 2, minute);
    late.expires_at = Some(SystemTime::now() - SECOND);
    let (kind, text) = refused(&broker, late).await;
    assert!(kind == ErrorKind::Rejected && text.contains("before it is published"), "{text}");
}
