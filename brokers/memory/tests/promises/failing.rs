//! What faults do.

use std::time::Duration;

use convoke_core::broker::{Broker, Fault, Health, PublishOutcome, Settle, Settled, SubscriptionEvent};
use convoke_core::{Epoch, ErrorKind, Topic};

use crate::harness::*;

fn inject(broker: &convoke_memory::MemoryBroker, fault: Fault) {
    broker.faults().unwrap().inject(fault).unwrap();
}

#[tokio::test(start_paused = true)]
async fn rejected_publishes_store_nothing_and_end_after_their_count() {
    let broker = broker(1).await;
    ensure(&broker, "stock", 1).await;
    inject(&broker, Fault::PublishRejected { topic: Topic::from(TOPIC), count: 2, retryable: true });
    inject(&broker, Fault::PublishRejected { topic: Topic::from(TOPIC), count: 1, retryable: false });
    let mut batch: Vec<_> = (0..4).map(unkeyed).collect();
    let other = convoke_core::Message::builder("stock").build();
    batch.insert(0, convoke_core::Outgoing::new(other));
    let outcomes = broker.publish(batch).await;
    let answers: Vec<_> = outcomes.iter().map(|outcome| rejected(outcome).map(|(retryable, ..)| retryable)).collect();
    assert_eq!(answers, [None, Some(true), Some(true), Some(false), None]);
    assert_eq!(broker.messages(TOPIC).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_publish_may_be_stored_or_not() {
    let broker = broker(1).await;
    inject(&broker, Fault::PublishUnknown { topic: Topic::from(TOPIC), count: 1, stored: true });
    inject(&broker, Fault::PublishUnknown { topic: Topic::from(TOPIC), count: 1, stored: false });
    let outcomes = broker.publish((0..3).map(unkeyed).collect()).await;
    assert!(matches!(&outcomes[0], PublishOutcome::Unknown(error) if error.kind() == ErrorKind::Unknown));
    assert!(matches!(&outcomes[1], PublishOutcome::Unknown(_)));
    assert!(matches!(&outcomes[2], PublishOutcome::Confirmed(_)));
    let stored: Vec<_> = broker.messages(TOPIC).iter().map(|m| m.payload().clone()).collect();
    assert_eq!(stored, ["0", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_publish_is_stored_at_once_and_confirmed_later() {
    let broker = broker(1).await;
    inject(&broker, Fault::PublishSlow { topic: Topic::from(TOPIC), count: 1, by: secs(3) });
    let mut reader = Reader::join(&broker).await;
    let started = tokio::time::Instant::now();
    let (_, seen) = tokio::join!(publish_numbers(&broker, 0..2), async {
        pass(secs(1)).await;
        reader.messages().len()
    });
    assert_eq!((seen, started.elapsed()), (2, secs(3)));
    publish_numbers(&broker, 2..3).await;
    assert_eq!(started.elapsed(), secs(3), "only the next ones");
}

#[tokio::test(start_paused = true)]
async fn a_cut_loses_every_assignment_and_brings_them_back() {
    let broker = broker(2).await;
    let other = broker.another();
    publish_numbers(&broker, 0..4).await;
    let mut reader = Reader::join(&broker).await;
    let mut elsewhere = Reader::with(&other, spec_of("elsewhere", Default::default())).await;
    let messages = reader.messages();
    elsewhere.messages();
    inject(&broker, Fault::Cut { down: secs(5) });

    for reader in [&mut reader, &mut elsewhere] {
        let events = reader.events();
        let [SubscriptionEvent::Lost { .. }, SubscriptionEvent::Lost { .. }, SubscriptionEvent::Interrupted(error)] = &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!(error.kind(), ErrorKind::Connection);
    }
    assert!(matches!(broker.health(), Health::Down { failures: 1, .. }) && other.health() == broker.health());
    reader.stale(&messages[0], Settle::Ack).await;
    let (retryable, kind, _) = rejected(&publish_one(&broker, unkeyed(9)).await).unwrap();
    assert_eq!((retryable, kind), (true, ErrorKind::Connection));
    assert_eq!(broker.lag(GROUP, &[Topic::from(TOPIC)]).await.unwrap_err().kind(), ErrorKind::Connection);
    assert!(broker.ensure(&Default::default(), Default::default()).await.is_err());

    let started = tokio::time::Instant::now();
    assert!(matches!(reader.next().await, Some(SubscriptionEvent::Resumed)));
    assert_eq!((started.elapsed(), broker.health()), (secs(5), Health::Up));
    let events = reader.events();
    let assigned: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            SubscriptionEvent::Assigned { epoch, resume, .. } => Some((*epoch, resume.unclean)),
            _ => None,
        })
        .collect();
    assert_eq!(assigned, [(Epoch(2), false), (Epoch(2), false)]);
    let again = events.iter().filter_map(|event| match event {
        SubscriptionEvent::Deliveries(deliveries) => Some(&deliveries.messages),
        _ => None,
    });
    let again: Vec<_> = again.flatten().collect();
    assert_eq!(again.len(), 4);
    assert!(again.iter().all(|incoming| incoming.deliveries == 2));
}

#[tokio::test(start_paused = true)]
async fn a_cut_leaves_publishes_in_flight_unknown() {
    let broker = broker(1).await;
    inject(&broker, Fault::PublishSlow { topic: Topic::from(TOPIC), count: 1, by: secs(3) });
    let (outcomes, ()) = tokio::join!(broker.publish(vec![unkeyed(0), unkeyed(1)]), async {
        inject(&broker, Fault::Cut { down: secs(1) });
    });
    assert!(matches!(outcomes[..], [PublishOutcome::Unknown(_), PublishOutcome::Confirmed(_)]), "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_for_whoever_comes_next() {
    let broker = broker(1).await;
    inject(&broker, Fault::Cut { down: secs(5) });
    let mut reader = Reader::join(&broker).await;
    assert!(matches!(reader.events()[..], [SubscriptionEvent::Interrupted(_)]));
    inject(&broker, Fault::Cut { down: secs(8) });
    inject(&broker, Fault::Cut { down: secs(1) });
    pass(secs(5)).await;
    assert!(reader.events().is_empty(), "the longer one counts");
    pass(secs(3)).await;
    publish_numbers(&broker, 0..1).await;
    assert!(matches!(
        reader.events()[..],
        [SubscriptionEvent::Resumed, SubscriptionEvent::Assigned { .. }, SubscriptionEvent::Deliveries(_)]
    ));
}

#[tokio::test(start_paused = true)]
async fn a_revocation_can_be_injected_with_time_to_drain() {
    let broker = broker(2).await;
    publish_numbers(&broker, 0..2).await;
    let mut reader = Reader::join(&broker).await.stubborn();
    let messages = reader.messages();
    inject(&broker, Fault::Revoke { group: GROUP.into(), topic: Topic::from(TOPIC), within: Some(secs(4)) });
    let events = reader.events();
    assert!(events.iter().all(|event| matches!(event, SubscriptionEvent::Revoking { within, .. } if *within == secs(4))));
    assert_eq!(events.len(), 2);
    reader.ack_all(&messages).await;
    for (part, (_, _, epoch)) in std::mem::take(&mut reader.owned) {
        reader.control.revoked(part, epoch);
    }
    let events = reader.events();
    assert!(events.iter().all(|event| matches!(event, SubscriptionEvent::Assigned { epoch: Epoch(2), .. })), "{events:?}");
    assert_eq!(events.len(), 2);
    assert!(lag(&broker).await.is_zero());
}

#[tokio::test(start_paused = true)]
async fn a_revocation_without_time_loses_at_once() {
    let broker = broker(1).await;
    publish_numbers(&broker, 0..2).await;
    let mut reader = Reader::join(&broker).await;
    let messages = reader.messages();
    inject(&broker, Fault::Revoke { group: GROUP.into(), topic: Topic::from(TOPIC), within: None });
    reader.stale(&messages[0], Settle::Ack).await;
    let events = reader.events();
    assert!(matches!(
        events[..],
        [
            SubscriptionEvent::Lost { epoch: Epoch(1), .. },
            SubscriptionEvent::Assigned { epoch: Epoch(2), .. },
            SubscriptionEvent::Deliveries(_)
        ]
    ));
}

#[tokio::test(start_paused = true)]
async fn lost_settlements_fail_and_are_not_applied() {
    let broker = broker(1).await;
    publish_numbers(&broker, 0..3).await;
    let mut reader = Reader::join(&broker).await;
    let messages = reader.messages();
    inject(&broker, Fault::SettleLost { group: GROUP.into(), count: 2 });
    for incoming in &messages[..2] {
        let settled = reader.settle(incoming, Settle::Ack).await;
        assert!(matches!(&settled, Settled::Failed(error) if error.is_retryable()), "{settled:?}");
    }
    assert_eq!(counts(&broker).await, (0, 3, 0));
    reader.ack_all(&messages).await;
    assert!(lag(&broker).await.is_zero());
}

#[tokio::test(start_paused = true)]
async fn repeated_deliveries_come_twice_within_credit() {
    let broker = broker(1).await;
    publish_numbers(&broker, 0..4).await;
    let mut reader = Reader::join(&broker).await.frugal();
    inject(&broker, Fault::Repeat { group: GROUP.into(), count: 2 });
    reader.events();
    reader.grant(3, 1000);
    let first = reader.messages();
    assert_eq!(numbers(&first), [0, 0, 1]);
    assert_eq!(first.iter().map(|m| m.deliveries).collect::<Vec<_>>(), [1, 2, 1]);
    assert_eq!(counts(&broker).await, (2, 2, 0), "one message, however often");
    reader.grant(10, 1000);
    let rest = reader.messages();
    assert_eq!(numbers(&rest), [1, 2, 3]);
    reader.apply(&first[0], Settle::Ack).await;
    reader.stale(&first[1], Settle::Ack).await;
    reader.ack_all(&rest).await;
    assert!(lag(&broker).await.is_zero());
}

#[tokio::test(start_paused = true)]
async fn faults_of_unknown_groups_and_topics_are_refused() {
    let broker = broker(1).await;
    let faults = broker.faults().unwrap();
    let fault = Fault::Revoke { group: "typo".into(), topic: Topic::from(TOPIC), within: Some(Duration::ZERO) };
    assert_eq!(faults.inject(fault).unwrap_err().kind(), ErrorKind::NotFound);
    let fault = Fault::Repeat { group: "typo".into(), count: 1 };
    assert_eq!(faults.inject(fault).unwrap_err().kind(), ErrorKind::NotFound);
}
