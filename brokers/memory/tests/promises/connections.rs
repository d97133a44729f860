//! What connections promise: names, sharing, closing.

use convoke_core::broker::{Broker, BrokerConfig, BrokerUrl, CloseReport, Fault, Health, PublishOutcome};
use convoke_core::{ErrorKind, Topic};
use convoke_memory::{MemoryBroker, Options, open};

use crate::harness::*;

fn config(url: &str) -> BrokerConfig {
    BrokerConfig::new(BrokerUrl::parse(url).unwrap(), "test")
}

#[tokio::test(start_paused = true)]
async fn connections_of_one_name_share_a_broker() {
    let first = open(config("memory://shared?partitions=3")).await.unwrap();
    let second = MemoryBroker::named("shared");
    ensure(&second, TOPIC, 3).await;
    assert!(matches!(first.publish(vec![unkeyed(1)]).await[..], [PublishOutcome::Confirmed(_)]));
    assert_eq!(second.messages(TOPIC).len(), 1);
    assert!(MemoryBroker::named("other").messages(TOPIC).is_empty());
    assert!(MemoryBroker::new().messages(TOPIC).is_empty());
    assert_eq!((second.name(), MemoryBroker::new().name()), (Some("shared"), None));
}

#[tokio::test(start_paused = true)]
async fn native_is_the_memory_broker() {
    let broker = open(config("memory://native")).await.unwrap();
    let native = broker.native().downcast_ref::<MemoryBroker>().unwrap();
    assert_eq!(native.name(), Some("native"));
}

#[tokio::test(start_paused = true)]
async fn a_named_broker_lives_as_long_as_anybody_holds_it() {
    let first = MemoryBroker::named("held");
    ensure(&first, TOPIC, 1).await;
    publish_numbers(&first, 0..1).await;
    let reader = Reader::join(&first).await;
    drop(first);
    assert_eq!(MemoryBroker::named("held").messages(TOPIC).len(), 1, "a subscription holds it");
    drop(reader);
    assert!(MemoryBroker::named("held").messages(TOPIC).is_empty());
}

#[tokio::test(start_paused = true)]
async fn other_options_for_an_open_name_are_refused() {
    let _first = open(config("memory://options?partitions=3")).await.unwrap();
    assert!(open(config("memory://options")).await.is_ok(), "no options are no wish");
    assert!(open(config("memory://options?partitions=3")).await.is_ok());
    let error = open(config("memory://options?partitions=4")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let error = open(config("memory://options?partition=4")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidUrl);
    assert!(MemoryBroker::with(Options::default().partitions(0)).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_a_runtime_that_is_dropped_while_the_broker_lives_on() {
    let broker = std::sync::Arc::new(broker(1).await);
    publish_numbers(&broker, 0..3).await;
    let inner = broker.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let mut reader = Reader::join(&inner).await;
            assert_eq!(reader.messages().len(), 3);
            tokio::spawn(async move { while reader.next().await.is_some() {} });
            tokio::task::yield_now().await;
        });
    })
    .join()
    .unwrap();
    let mut next = Reader::join(&broker).await;
    let Some(convoke_core::broker::SubscriptionEvent::Assigned { resume, .. }) = next.next().await else { panic!() };
    assert!(resume.unclean);
    assert_eq!(numbers(&next.messages()), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_what_is_of_this_connection_and_nothing_else() {
    let first = broker(2).await;
    let second = first.another();
    publish_numbers(&first, 0..4).await;
    let mut ours = Reader::join(&first).await;
    let mut theirs = Reader::with(&second, spec_of("theirs", Default::default())).await;
    let messages = ours.messages();
    theirs.messages();
    ours.ack_all(&messages[..1]).await;
    let report = first.close(secs(5)).await;
    assert_eq!((report.unsettled, report.unconfirmed), (3, 0));
    assert!(ours.next().await.is_none());
    assert!(theirs.poll().is_pending());
    assert_eq!(first.health(), Health::Closed);
    let (retryable, kind, _) = rejected(&publish_one(&first, unkeyed(9)).await).unwrap();
    assert_eq!((retryable, kind), (false, ErrorKind::Closed));
    assert_eq!(first.subscribe(spec()).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(first.ensure(&Default::default(), Default::default()).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(first.lag(GROUP, &[Topic::from(TOPIC)]).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(first.close(secs(5)).await, CloseReport::default(), "a second time does nothing");
    assert_eq!(second.health(), Health::Up);
    publish_numbers(&second, 4..5).await;
    assert_eq!(theirs.messages().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_confirmations_within_its_time() {
    for (within, unconfirmed) in [(10, 0), (1, 2)] {
        let broker = std::sync::Arc::new(broker(1).await);
        let fault = Fault::PublishSlow { topic: Topic::from(TOPIC), count: 2, by: secs(3) };
        broker.faults().unwrap().inject(fault).unwrap();
        let publishing = tokio::spawn({
            let broker = broker.clone();
            async move { broker.publish(vec![unkeyed(0), unkeyed(1)]).await }
        });
        tokio::task::yield_now().await;
        let started = tokio::time::Instant::now();
        assert_eq!(broker.close(secs(within)).await.unconfirmed, unconfirmed);
        assert_eq!(started.elapsed(), secs(within.min(3)));
        let outcomes = publishing.await.unwrap();
        assert!(matches!(outcomes[..], [PublishOutcome::Confirmed(_), PublishOutcome::Confirmed(_)]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_nobody_waits_for_leaves_no_trace_in_closing() {
    let broker = broker(1).await;
    let fault = Fault::PublishSlow { topic: Topic::from(TOPIC), count: 1, by: secs(30) };
    broker.faults().unwrap().inject(fault).unwrap();
    let _ = tokio::time::timeout(secs(1), broker.publish(vec![unkeyed(0)])).await;
    let started = tokio::time::Instant::now();
    assert_eq!(broker.close(secs(10)).await.unconfirmed, 0);
    assert_eq!(started.elapsed(), secs(0));
    assert_eq!(broker.messages(TOPIC).len(), 1, "it was stored all the same");
}
