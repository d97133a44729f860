//! What is particular to NATS, on a real server.

mod common;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use common::{open, topology, unique};
use convoke_core::broker::{
    Broker, Capabilities, EnsureMode, Native, NativeValue, Settle, Settled, Settlement, SubscribeSpec, Subscription,
    SubscriptionEvent,
};
use convoke_core::{ErrorKind, Incoming, Message, Outgoing};
use convoke_memory::{Guise, MemoryBroker};
use convoke_nats::async_nats::{Client, jetstream};
use convoke_servers::{Kind, Server};

async fn connect(server: &Server) -> Arc<dyn Broker> {
    open(&format!("{}?lease=2s&revoke=1s&partitions=1", server.url())).await.unwrap()
}

async fn publish(broker: &Arc<dyn Broker>, topic: &str, numbers: std::ops::Range<u32>) {
    let batch = numbers.map(|number| Outgoing::new(Message::builder(topic).key("k").payload(number.to_string()).build()));
    for outcome in broker.publish(batch.collect()).await {
        assert!(matches!(outcome, convoke_core::broker::PublishOutcome::Confirmed(_)), "{outcome:?}");
    }
}

/// The next messages, with room for `credit` in all.
async fn take(subscription: &mut Subscription, count: usize, credit: u32) -> Vec<Incoming> {
    let mut taken = Vec::new();
    let wait = async {
        while taken.len() < count {
            match poll_fn(|cx| subscription.events.as_mut().poll_next(cx)).await.expect("it goes on") {
                SubscriptionEvent::Assigned { part, epoch, .. } => subscription.control.grant(part, epoch, credit, u64::MAX),
                SubscriptionEvent::Deliveries(deliveries) => taken.extend(deliveries.messages),
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("messages come");
    taken
}

fn numbers(messages: &[Incoming]) -> Vec<u32> {
    messages.iter().map(|incoming| String::from_utf8_lossy(incoming.message.payload()).parse().unwrap()).collect()
}

#[tokio::test]
async fn whoever_takes_over_from_a_dead_owner_gets_what_that_one_had_first_and_in_order() {
    let server = Server::shared(Kind::Nats).await.unwrap();
    let (topic, broker) = (unique("orders"), connect(&server).await);
    broker.ensure(&topology(&topic, Some("g")), EnsureMode::Create).await.unwrap();
    publish(&broker, &topic, 0..20).await;
    let spec = || SubscribeSpec::new("g", vec![topic.as_str().into()]);
    let mut dead = broker.subscribe(spec()).await.unwrap();
    let had = take(&mut dead, 10, 10).await;
    // It settles some in the midst, and gives one back for much later; then it dies without a word.
    let settle = |index: usize, settle| Settlement::new(had[index].token.clone(), settle);
    let later = Settle::Nack { delay: Duration::from_secs(3600), attempts: 3, hold: false };
    let answers =
        dead.control.settle(vec![settle(2, Settle::Ack), settle(5, later), settle(7, Settle::Mark { deaths: 1 })]).await;
    assert!(answers.iter().all(|answer| matches!(answer, Settled::Applied)), "{answers:?}");
    drop(dead);
    let mut heir = broker.subscribe(spec()).await.unwrap();
    let got = take(&mut heir, 18, 100).await;
    let expected: Vec<_> = (0..20).filter(|number| ![2, 5].contains(number)).collect();
    assert_eq!(numbers(&got), expected, "in order, without what is done, and without what waits");
    assert_eq!((got[6 - 1].deaths, got[0].deliveries), (1, 2), "marked, and delivered before");
    let lag = broker.lag("g", &[topic.as_str().into()]).await.unwrap();
    assert_eq!((lag.delayed, lag.unsettled, lag.backlog), (Some(1), Some(18), Some(0)));
    heir.control.close().await;
}

#[tokio::test]
async fn what_a_foreign_client_publishes_is_moved_to_the_partition_of_its_key_once() {
    let server = Server::shared(Kind::Nats).await.unwrap();
    let (topic, broker) = (unique("foreign"), connect(&server).await);
    broker.ensure(&topology(&topic, Some("g")), EnsureMode::Create).await.unwrap();
    let client = broker.native().downcast_ref::<Client>().unwrap().clone();
    for number in 0..5 {
        client.publish(topic.clone(), number.to_string().into()).await.unwrap();
    }
    let mut subscription = broker.subscribe(SubscribeSpec::new("g", vec![topic.as_str().into()])).await.unwrap();
    assert_eq!(numbers(&take(&mut subscription, 5, 100).await), [0, 1, 2, 3, 4]);
    let mut stream = jetstream::new(client).get_stream(topic.replace('.', "=")).await.unwrap();
    for _look in 0..100 {
        if stream.info().await.unwrap().state.messages == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(stream.info().await.unwrap().state.messages, 5, "nothing is left where it was");
    let refused = broker.delete_topic(&topic.as_str().into()).await.unwrap_err();
    assert!(refused.to_string().contains("is read by `g=0`"), "{refused}");
    subscription.control.close().await;
    broker.delete_topic(&topic.as_str().into()).await.unwrap();
}

#[tokio::test]
async fn what_the_server_cannot_have_is_refused_with_what_to_do() {
    let server = Server::shared(Kind::Nats).await.unwrap();
    let broker = connect(&server).await;
    let ensure = async |topic: &str, mode| broker.ensure(&topology(topic, None), mode).await.unwrap_err();
    assert_eq!(ensure("orders paid", EnsureMode::Create).await.kind(), ErrorKind::InvalidTopic);
    assert!(ensure("orders.3", EnsureMode::Create).await.to_string().contains("ends like a partition"));
    assert_eq!(ensure(&unique("missing"), EnsureMode::Check).await.kind(), ErrorKind::NotFound);
    // A stream that others made for something else.
    let topic = unique("other");
    let client = jetstream::new(broker.native().downcast_ref::<Client>().unwrap().clone());
    let config = jetstream::stream::Config { name: topic.replace('.', "="), subjects: vec![topic.clone()], ..Default::default() };
    client.create_stream(config).await.unwrap();
    let error = ensure(&topic, EnsureMode::Create).await;
    assert!(error.kind() == ErrorKind::Configuration && error.to_string().contains("add them"), "{error}");
}

#[tokio::test]
async fn a_stream_is_created_as_is_said_of_its_topic() {
    const SAID: [Native; 3] = [
        Native::new("nats", "partitions", NativeValue::Number(3)),
        Native::new("nats", "max_age", NativeValue::Text("7d")),
        Native::new("kafka", "retention", NativeValue::Text("1d")),
    ];
    let server = Server::shared(Kind::Nats).await.unwrap();
    let broker = connect(&server).await;
    let topic = unique("said");
    let mut said = topology(&topic, None);
    said.topics[0].native = SAID.to_vec();
    let report = broker.ensure(&said, EnsureMode::Create).await.unwrap();
    assert_eq!(report.partitions, [(topic.as_str().into(), 3)]);
    let client = jetstream::new(broker.native().downcast_ref::<Client>().unwrap().clone());
    let stream = client.get_stream(topic.replace('.', "=")).await.unwrap();
    assert_eq!(stream.cached_info().config.max_age, Duration::from_secs(7 * 86_400));
    // What is there stays as it is.
    said.topics[0].native = vec![Native::new("nats", "partitions", NativeValue::Number(4))];
    assert!(broker.ensure(&said, EnsureMode::Create).await.unwrap_err().to_string().contains("has 3 partitions, not 4"));
    said.topics[0].native = vec![Native::new("nats", "partitions", NativeValue::Number(1000))];
    assert!(broker.check_topology(&said).unwrap_err().to_string().contains("`partitions` is between 1 and 256"));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = open(&format!("nats://127.0.0.1:{port}")).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.to_string().contains("nothing listens at 127.0.0.1"), "{error}");
}

/// What the fast tests of an application are told of NATS is what it finds there.
#[tokio::test]
async fn the_guise_of_nats_declares_what_nats_declares() {
    let server = Server::shared(Kind::Nats).await.unwrap();
    let real = open(server.url()).await.unwrap();
    let guise = MemoryBroker::with(convoke_memory::Options::default().guise(Guise::Nats)).unwrap();
    let [real, guise] = [real.capabilities(), guise.capabilities()];
    let declared = |of: &Capabilities| {
        (
            (of.ordering, of.settle, of.delay, of.publish_delay, of.attempts, of.marks, of.progress, of.stable_positions),
            (of.lease, of.credit, of.header_values, of.transactions, of.start_positions, of.patterns, of.broadcast, of.until_end),
            (of.expiry, of.reply_to, of.drops_unrouted),
        )
    };
    assert_eq!(declared(real), declared(guise));
}
