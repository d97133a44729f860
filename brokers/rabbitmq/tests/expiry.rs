//! Messages that expire, on a real server.

use std::future::poll_fn;
use std::time::{Duration, SystemTime};

use convoke_conformance::Stop;
use convoke_core::broker::{
    Broker, BrokerUrl, EnsureMode, GroupSpec, PublishOutcome, Settle, Settlement, SubscribeSpec, Subscription, SubscriptionEvent,
    TopicSpec, Topology,
};
use convoke_core::{ErrorKind, Incoming, Message, Outgoing};
use convoke_rabbitmq::{Options, RabbitMq};
use convoke_servers::{Kind, Server};

const WITHIN: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(1500);
const HOUR: Duration = Duration::from_secs(3600);

/// A topic of one partition, which `work` reads.
async fn made(topic: &str) -> Result<RabbitMq, Stop> {
    let server = Server::shared(Kind::RabbitMq).await?;
    server.start().await?;
    let options = Options::from_url(&BrokerUrl::parse(&format!("{}?partitions=1", server.url()))?)?;
    let broker = RabbitMq::connect(options, "tests", WITHIN).await?;
    let mut topology = Topology::default();
    topology.topics.push(TopicSpec::new(topic));
    topology.groups.push(GroupSpec::new("work", vec![topic.into()]));
    broker.ensure(&topology, EnsureMode::Create).await?;
    Ok(broker)
}

/// Publishes message `number`, which expires after this time, if any.
async fn publish(broker: &RabbitMq, topic: &str, number: u32, after: Option<Duration>) -> PublishOutcome {
    let mut outgoing = Outgoing::new(Message::builder(topic).key("k").payload(number.to_string()).build());
    outgoing.expires_at = after.map(|after| SystemTime::now() + after);
    broker.publish(vec![outgoing]).await.pop().unwrap()
}

async fn all(broker: &RabbitMq, topic: &str, messages: &[(u32, Option<Duration>)]) {
    for (number, after) in messages {
        let outcome = publish(broker, topic, *number, *after).await;
        assert!(matches!(outcome, PublishOutcome::Confirmed(_)), "{outcome:?}");
    }
}

/// Takes so many messages, and acknowledges them or does not.
async fn take(subscription: &mut Subscription, count: usize, settled: bool) -> Vec<u32> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let next = poll_fn(|cx| subscription.events.as_mut().poll_next(cx));
        let Ok(Some(event)) = tokio::time::timeout(4 * WITHIN, next).await else { break };
        match event {
            SubscriptionEvent::Assigned { part, epoch, .. } => subscription.control.grant(part, epoch, 100, u64::MAX),
            SubscriptionEvent::Deliveries(deliveries) => {
                let number = |one: &Incoming| String::from_utf8_lossy(one.message.payload()).parse::<u32>().unwrap();
                taken.extend(deliveries.messages.iter().map(number));
                if settled {
                    let done = |one: &Incoming| Settlement::new(one.token.clone(), Settle::Ack);
                    subscription.control.settle(deliveries.messages.iter().map(done).collect()).await;
                }
            }
            _ => {}
        }
    }
    taken
}

async fn read(broker: &RabbitMq, topic: &str) -> Result<Subscription, Stop> {
    Ok(broker.subscribe(SubscribeSpec::new("work", vec![topic.into()])).await?)
}

#[tokio::test]
async fn what_expires_in_a_queue_vanishes_and_all_around_it_comes_in_order() -> Result<(), Stop> {
    let topic = "expiry.around";
    let broker = made(topic).await?;
    all(&broker, topic, &[(0, Some(SOON)), (1, None), (2, Some(SOON)), (3, Some(HOUR)), (4, Some(SOON)), (5, None)]).await;
    tokio::time::sleep(2 * SOON).await;
    let mut subscription = read(&broker, topic).await?;
    assert_eq!(take(&mut subscription, 3, true).await, [1, 3, 5]);
    // The server takes note of acknowledgements when it gets to them.
    let gone = async { while broker.lag("work", &[topic.into()]).await.unwrap().backlog != Some(0) {} };
    tokio::time::timeout(WITHIN, gone).await.expect("what stood behind others is gone too");
    subscription.control.close().await;
    broker.close(WITHIN).await;
    Ok(())
}

#[tokio::test]
async fn what_comes_back_to_its_queue_and_has_expired_does_not_come_again() -> Result<(), Stop> {
    let topic = "expiry.back";
    let broker = made(topic).await?;
    let mut first = read(&broker, topic).await?;
    all(&broker, topic, &[(0, None), (1, Some(4 * SOON)), (2, None)]).await;
    assert_eq!(take(&mut first, 3, false).await, [0, 1, 2], "in time");
    tokio::time::sleep(4 * SOON).await;
    first.control.close().await;
    all(&broker, topic, &[(3, None)]).await;
    let mut second = read(&broker, topic).await?;
    assert_eq!(take(&mut second, 3, true).await, [0, 2, 3]);
    second.control.close().await;
    broker.close(WITHIN).await;
    Ok(())
}

#[tokio::test]
async fn what_is_worthless_already_or_lives_for_longer_than_the_server_counts_is_refused() -> Result<(), Stop> {
    let topic = "expiry.refused";
    let broker = made(topic).await?;
    for (after, why) in [(Duration::ZERO, "before it is published"), (HOUR * 24 * 50, "up to 49 days")] {
        let outcome = publish(&broker, topic, 0, Some(after)).await;
        let PublishOutcome::Rejected { retryable: false, error } = outcome else { panic!("{outcome:?}") };
        assert!(error.kind() == ErrorKind::Rejected && error.to_string().contains(why), "{error}");
    }
    all(&broker, topic, &[(1, Some(HOUR * 24 * 48))]).await;
    let mut subscription = read(&broker, topic).await?;
    assert_eq!(take(&mut subscription, 1, true).await, [1]);
    subscription.control.close().await;
    broker.close(WITHIN).await;
    Ok(())
}
