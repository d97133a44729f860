//! Publishing for later on a real server, by its message schedules.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::Config;
use convoke_core::broker::{Broker, EnsureMode, PublishDelay, PublishOutcome, SubscribeSpec, Subscription};
use convoke_core::names::ID;
use convoke_core::{ErrorKind, Incoming, Message, Outgoing};
use convoke_servers::{Kind, Server};

mod common;
#[path = "common/reading.rs"]
mod reading;
use common::{open, topology, unique};
use reading::{client, take};

fn later(topic: &str, number: u32, after: Duration) -> Outgoing {
    let message = Message::builder(topic.to_owned()).key("k").header(ID, format!("{number}.*")).payload(number.to_string());
    let mut outgoing = Outgoing::new(message.build());
    outgoing.deliver_at = (!after.is_zero()).then(|| SystemTime::now() + after);
    outgoing
}

async fn publish(broker: &Arc<dyn Broker>, outgoing: Outgoing) -> PublishOutcome {
    broker.publish(vec![outgoing]).await.remove(0)
}

fn refused(outcome: &PublishOutcome) -> ErrorKind {
    let PublishOutcome::Rejected { retryable: false, error } = outcome else { panic!("{outcome:?}") };
    error.kind()
}

/// The next message.
async fn next(subscription: &mut Subscription) -> Incoming {
    take(subscription, 1, true).await.remove(0)
}

#[tokio::test]
async fn what_is_scheduled_comes_when_it_is_due_and_not_before() {
    let (server, topic) = (Server::shared(Kind::Nats).await.unwrap(), unique("later"));
    let broker = open(server.url()).await.unwrap();
    assert_eq!(broker.capabilities().publish_delay, PublishDelay::Native);
    broker.ensure(&topology(&topic, ["work"]), EnsureMode::Create).await.unwrap();
    let mut subscription = broker.subscribe(SubscribeSpec::new("work", vec![topic.as_str().into()])).await.unwrap();
    let begun = SystemTime::now();
    for (number, millis) in [(2, 3000), (1, 1500), (0, 0)] {
        let outcome = publish(&broker, later(&topic, number, Duration::from_millis(millis))).await;
        let PublishOutcome::Confirmed(receipt) = outcome else { panic!("{outcome:?}") };
        assert_eq!((receipt.stored.is_none(), receipt.duplicate), (millis > 0, false), "what is not due has no position");
    }
    // Whoever does not know whether it was taken says it again.
    let PublishOutcome::Confirmed(again) = publish(&broker, later(&topic, 1, Duration::from_millis(1500))).await else {
        panic!()
    };
    assert!(again.duplicate);
    let lag = broker.lag("work", &[topic.as_str().into()]).await.unwrap();
    assert_eq!(lag.delayed, Some(2));
    for (number, due) in [(0, 0), (1, 1500), (2, 3000)] {
        let incoming = next(&mut subscription).await;
        assert!(begun.elapsed().unwrap() >= Duration::from_millis(due), "{number} came after {:?}", begun.elapsed());
        assert_eq!(incoming.message.payload(), number.to_string().as_bytes());
        assert_eq!(incoming.message.id(), Some(format!("{number}.*").as_str()));
        assert!(!incoming.message.headers().iter().any(|(name, _)| name.starts_with("nats-")), "{:?}", incoming.message);
    }
    assert_eq!(broker.lag("work", &[topic.as_str().into()]).await.unwrap().delayed, Some(0));
}

#[tokio::test]
async fn what_is_scheduled_comes_also_after_the_server_was_killed_and_all_were_away() {
    let (server, topic) = (Server::launch(Kind::Nats).await.unwrap(), unique("later"));
    let broker = open(server.url()).await.unwrap();
    broker.ensure(&topology(&topic, ["work"]), EnsureMode::Create).await.unwrap();
    let first_due = tokio::time::Instant::now() + Duration::from_millis(500);
    for (number, after) in [(1, 500), (2, 4000)] {
        let outcome = publish(&broker, later(&topic, number, Duration::from_millis(after))).await;
        assert!(matches!(outcome, PublishOutcome::Confirmed(_)), "{outcome:?}");
    }
    drop(broker);
    server.kill().await.unwrap();
    // The first one is due while the server is away.
    tokio::time::sleep_until(first_due + Duration::from_millis(500)).await;
    server.start().await.unwrap();
    let broker = open(server.url()).await.unwrap();
    let mut subscription = broker.subscribe(SubscribeSpec::new("work", vec![topic.as_str().into()])).await.unwrap();
    for number in ["1", "2"] {
        assert_eq!(next(&mut subscription).await.message.payload(), number.as_bytes());
    }
}

#[tokio::test]
async fn a_stream_that_keeps_no_schedules_is_said_and_one_of_ours_learns_it() {
    let (server, topic) = (Server::shared(Kind::Nats).await.unwrap(), unique("older"));
    let broker = open(server.url()).await.unwrap();
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
    assert_eq!(refused(&publish(&broker, later(&topic, 1, minute)).await), ErrorKind::Unsupported);
    broker.ensure(&topology(&topic, []), EnsureMode::Create).await.unwrap();
    assert_eq!(refused(&publish(&broker, later(&topic, 1, minute)).await), ErrorKind::Unsupported, "it is left as it was");
    jetstream.update_stream(config(format!("convoke: topic {topic}"))).await.unwrap();
    broker.ensure(&topology(&topic, []), EnsureMode::Create).await.unwrap();
    assert!(matches!(publish(&broker, later(&topic, 1, minute)).await, PublishOutcome::Confirmed(_)));
}

#[tokio::test]
async fn what_the_stream_would_discard_before_it_is_due_is_refused() {
    let (server, topic) = (Server::shared(Kind::Nats).await.unwrap(), unique("aged"));
    let broker = open(&format!("{}?max_age=1h", server.url())).await.unwrap();
    broker.ensure(&topology(&topic, []), EnsureMode::Create).await.unwrap();
    let hour = Duration::from_secs(3600);
    assert_eq!(refused(&publish(&broker, later(&topic, 1, 2 * hour)).await), ErrorKind::Rejected);
    assert!(matches!(publish(&broker, later(&topic, 1, hour / 2)).await, PublishOutcome::Confirmed(_)));
}
