//! Reading up to a marked end.

use convoke_core::broker::{Broker, Fault, Faults, Settle, SubscribeSpec, SubscriptionEvent};

use crate::harness::*;

fn until_end() -> SubscribeSpec {
    let mut spec = spec();
    spec.until_end = true;
    spec
}

fn is_end(event: Option<&SubscriptionEvent>) -> bool {
    matches!(event, Some(SubscriptionEvent::AtEnd))
}

#[tokio::test(start_paused = true)]
async fn the_end_comes_when_everything_below_the_mark_is_settled() {
    let broker = broker(2).await;
    publish_numbers(&broker, 0..5).await;
    let mut reader = Reader::with(&broker, until_end()).await.frugal();
    publish_numbers(&broker, 5..9).await;
    reader.events();
    reader.grant(1, 1000);
    let mut messages = reader.messages();
    assert_eq!(messages.len(), 2);
    reader.grant(100, 1000);
    messages.extend(reader.messages());
    let mut got = numbers(&messages);
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 3, 4], "nothing that came after the mark");
    assert!(reader.poll().is_pending(), "nothing is settled");
    reader.ack_all(&messages[1..]).await;
    assert!(reader.poll().is_pending(), "one is not settled");
    reader.ack_all(&messages[..1]).await;
    assert!(is_end(reader.next().await.as_ref()));
    assert!(reader.next().await.is_none());
    drop(reader);
    assert_eq!(counts(&broker).await, (4, 0, 0));
    assert_eq!(numbers(&Reader::join(&broker).await.messages()).len(), 4, "the next one goes on behind the mark");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_for_its_retry_is_waited_for() {
    let broker = broker(1).await;
    publish_numbers(&broker, 0..2).await;
    let mut reader = Reader::with(&broker, until_end()).await;
    let messages = reader.messages();
    reader.apply(&messages[0], nack(secs(60), 1, false)).await;
    reader.apply(&messages[1], Settle::Ack).await;
    assert!(reader.poll().is_pending());
    pass(secs(60)).await;
    let again = reader.messages();
    assert_eq!((numbers(&again), again[0].attempts), (vec![0], 1));
    reader.ack_all(&again).await;
    assert!(is_end(reader.next().await.as_ref()));
}

#[tokio::test(start_paused = true)]
async fn every_member_waits_for_what_the_others_hold() {
    let broker = broker(2).await;
    publish_numbers(&broker, 0..2).await;
    let mut first = Reader::with(&broker, until_end()).await;
    let held = first.messages();
    let mut second = Reader::with(&broker, until_end()).await;
    let mut other = Vec::new();
    while other.is_empty() {
        first.events();
        other = second.messages();
    }
    let own: Vec<_> = held.into_iter().filter(|incoming| first.partitions().contains(&incoming.partition)).collect();
    first.ack_all(&own).await;
    let first = tokio::spawn(async move {
        let mut events = 0;
        while !is_end(first.next().await.as_ref()) {
            events += 1;
            assert!(events < 100, "it goes round");
        }
    });
    tokio::task::yield_now().await;
    assert!(!first.is_finished(), "the other has not settled what it holds");
    second.ack_all(&other).await;
    assert!(is_end(second.next().await.as_ref()));
    drop(second);
    tokio::time::timeout(secs(1), first).await.expect("whoever waits is told when another settles").unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_another_member_had_read_beyond_the_mark_is_left_to_others() {
    let broker = broker(1).await;
    let mut ordinary = Reader::join(&broker).await;
    publish_numbers(&broker, 0..2).await;
    assert_eq!(ordinary.messages().len(), 2);
    let mut ending = Reader::with(&broker, until_end()).await;
    publish_numbers(&broker, 2..4).await;
    assert_eq!(ordinary.messages().len(), 2, "the partition is still its own");
    assert!(ending.messages().is_empty());
    drop(ordinary);
    let messages = ending.messages();
    assert_eq!(numbers(&messages), [0, 1]);
    ending.ack_all(&messages).await;
    assert!(is_end(ending.next().await.as_ref()));
    drop(ending);
    assert_eq!(numbers(&Reader::join(&broker).await.messages()), [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_cut_neither_ends_it_early_nor_moves_the_mark() {
    let broker = broker(1).await;
    publish_numbers(&broker, 0..3).await;
    let mut reader = Reader::with(&broker, until_end()).await;
    let messages = reader.messages();
    reader.ack_all(&messages[..1]).await;
    broker.inject(Fault::Cut { down: secs(5) }).unwrap();
    publish_later(&broker).await;
    while !matches!(reader.next().await, Some(SubscriptionEvent::Resumed)) {}
    let messages = reader.messages();
    assert_eq!(numbers(&messages), [1, 2]);
    reader.ack_all(&messages).await;
    assert!(is_end(reader.next().await.as_ref()));
}

/// Publishes once the broker is back.
async fn publish_later(broker: &convoke_memory::MemoryBroker) {
    let another = broker.another();
    tokio::spawn(async move {
        tokio::time::sleep(secs(5)).await;
        publish_numbers(&another, 3..5).await;
    });
}

#[tokio::test(start_paused = true)]
async fn an_empty_topic_ends_at_once() {
    let broker = broker(2).await;
    let mut reader = Reader::with(&broker, until_end()).await;
    loop {
        match reader.next().await {
            Some(SubscriptionEvent::Assigned { .. }) => {}
            event => break assert!(is_end(event.as_ref())),
        }
    }
    drop(reader);
    let lag = broker.lag(GROUP, &[TOPIC.into()]).await.unwrap();
    assert!(lag.is_zero());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_before_the_end_has_crashed_and_who_leaves_after_it_has_not() {
    let broker = broker(1).await;
    publish_numbers(&broker, 0..1).await;
    let unclean = |events: Vec<SubscriptionEvent>| {
        events.iter().any(|event| matches!(event, SubscriptionEvent::Assigned { resume, .. } if resume.unclean))
    };
    let mut reader = Reader::with(&broker, until_end()).await;
    reader.messages();
    drop(reader);
    let mut reader = Reader::with(&broker, until_end()).await;
    assert!(matches!(reader.next().await, Some(SubscriptionEvent::Assigned { resume, .. }) if resume.unclean));
    let messages = reader.messages();
    reader.ack_all(&messages).await;
    assert!(is_end(reader.next().await.as_ref()));
    drop(reader);
    assert!(!unclean(Reader::join(&broker).await.events()));
}
