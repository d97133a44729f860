//! What settling promises: acks, nacks, leases, marks, staleness.

use std::time::Duration;

use convoke_core::broker::{Broker, Commit, Progress, Settle, Settled, SubscriptionEvent};
use convoke_core::{Epoch, Incoming, PartId, Position};
use convoke_memory::Options;

use crate::harness::*;

async fn three() -> (convoke_memory::MemoryBroker, Reader, Vec<Incoming>) {
    let broker = broker(1).await;
    publish_numbers(&broker, 0..3).await;
    let mut reader = Reader::join(&broker).await;
    let messages = reader.messages();
    assert_eq!(numbers(&messages), [0, 1, 2]);
    (broker, reader, messages)
}

#[tokio::test(start_paused = true)]
async fn settling_twice_is_stale() {
    let (_broker, reader, messages) = three().await;
    reader.apply(&messages[1], Settle::Ack).await;
    reader.stale(&messages[1], Settle::Ack).await;
    reader.stale(&messages[1], Settle::Extend).await;
    reader.stale(&messages[1], nack(Duration::ZERO, 1, true)).await;
    reader.apply(&messages[2], nack(secs(5), 1, false)).await;
    reader.stale(&messages[2], Settle::Ack).await;
    reader.apply(&messages[0], nack(Duration::ZERO, 1, false)).await;
    reader.stale(&messages[0], Settle::Ack).await;
}

#[tokio::test(start_paused = true)]
async fn tokens_of_other_epochs_and_partitions_are_stale() {
    let (_broker, reader, mut messages) = three().await;
    messages[0].token.epoch = Epoch(99);
    reader.stale(&messages[0], Settle::Ack).await;
    messages[1].token.part = PartId(9);
    reader.stale(&messages[1], Settle::Ack).await;
    messages[2].token.position = Position::Offset(7);
    reader.stale(&messages[2], Settle::Ack).await;
    messages[2].token.position = Position::Tag(2);
    reader.stale(&messages[2], Settle::Ack).await;
}

#[tokio::test(start_paused = true)]
async fn answers_are_in_the_order_of_the_settlements() {
    let (_broker, reader, messages) = three().await;
    let settle = |i: usize| convoke_core::broker::Settlement::new(messages[i].token.clone(), Settle::Ack);
    let answers = reader.control.settle(vec![settle(2), settle(0), settle(2), settle(1)]).await;
    assert!(matches!(answers[..], [Settled::Applied, Settled::Applied, Settled::Stale, Settled::Applied]));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_given_back_comes_before_newer_ones_with_its_attempts() {
    let (broker, mut reader, messages) = three().await;
    publish_numbers(&broker, 3..5).await;
    reader.apply(&messages[2], nack(Duration::ZERO, 4, false)).await;
    reader.apply(&messages[0], nack(Duration::ZERO, 2, true)).await;
    let again = reader.messages();
    assert_eq!(numbers(&again), [0, 2, 3, 4]);
    assert_eq!(again.iter().map(|m| (m.deliveries, m.attempts)).collect::<Vec<_>>(), [(2, 2), (2, 4), (1, 0), (1, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_held_message_comes_at_once_with_the_rest_of_its_delay() {
    let (broker, mut reader, messages) = three().await;
    reader.apply(&messages[1], nack(secs(20), 1, true)).await;
    let again = reader.messages();
    assert_eq!((numbers(&again), again[0].due_in), (vec![1], Some(secs(20))));
    pass(secs(5)).await;
    reader.control.close().await;
    drop(reader);
    let mut next = Reader::join(&broker).await;
    let handed = next.messages();
    assert_eq!(numbers(&handed), [0, 1, 2], "in its place");
    assert_eq!(handed.iter().map(|m| m.due_in).collect::<Vec<_>>(), [None, Some(secs(15)), None]);
    assert_eq!(handed.iter().map(|m| (m.deliveries, m.attempts)).collect::<Vec<_>>(), [(2, 0), (3, 1), (2, 0)]);
    pass(secs(16)).await;
    next.control.close().await;
    assert_eq!(Reader::join(&broker).await.messages()[1].due_in, None, "the delay is over");
}

#[tokio::test(start_paused = true)]
async fn a_delayed_message_is_passed_and_never_comes_early() {
    let (broker, mut reader, messages) = three().await;
    reader.apply(&messages[0], nack(secs(20), 1, false)).await;
    reader.ack_all(&messages[1..]).await;
    publish_numbers(&broker, 3..4).await;
    let passing = reader.messages();
    assert_eq!(numbers(&passing), [3]);
    reader.ack_all(&passing).await;
    pass(secs(19)).await;
    pass(Duration::from_millis(999)).await;
    assert!(reader.messages().is_empty());
    pass(Duration::from_millis(1)).await;
    let again = reader.messages();
    assert_eq!((numbers(&again), again[0].attempts, again[0].due_in), (vec![0], 1, None));
    reader.ack_all(&again).await;
    assert!(lag(&broker).await.is_zero());
}

#[tokio::test(start_paused = true)]
async fn a_delay_goes_on_while_nobody_reads() {
    let (broker, reader, messages) = three().await;
    reader.apply(&messages[1], nack(secs(20), 3, false)).await;
    reader.control.close().await;
    drop(reader);
    pass(secs(10)).await;
    let mut next = Reader::join(&broker).await;
    assert_eq!(numbers(&next.messages()), [0, 2]);
    pass(secs(10)).await;
    let late = next.messages();
    assert_eq!((numbers(&late), late[0].attempts), (vec![1], 3));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_reader_wakes_when_a_delay_is_over() {
    let (_broker, mut reader, messages) = three().await;
    reader.ack_all(&messages[1..]).await;
    reader.apply(&messages[0], nack(secs(7), 1, false)).await;
    let started = tokio::time::Instant::now();
    assert!(matches!(reader.next().await, Some(SubscriptionEvent::Deliveries(_))));
    assert_eq!(started.elapsed(), secs(7));
}

#[tokio::test(start_paused = true)]
async fn giving_back_wakes_the_reader() {
    let (_broker, reader, messages) = three().await;
    let Reader { mut events, control, .. } = reader;
    let waiting = tokio::spawn(async move { std::future::poll_fn(|cx| events.as_mut().poll_next(cx)).await });
    tokio::task::yield_now().await;
    let nack = convoke_core::broker::Settlement::new(messages[0].token.clone(), nack(Duration::ZERO, 1, true));
    control.settle(vec![nack]).await;
    assert!(matches!(tokio::time::timeout(secs(1), waiting).await.unwrap().unwrap(), Some(SubscriptionEvent::Deliveries(_))));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ran_out_delivers_again() {
    let (_broker, mut reader, messages) = three().await;
    pass(secs(29)).await;
    assert!(reader.messages().is_empty());
    pass(secs(1)).await;
    let again = reader.messages();
    assert_eq!(numbers(&again), [0, 1, 2]);
    assert!(again.iter().all(|m| m.deliveries == 2 && m.token == messages[offset(m) as usize].token), "in the same epoch");
    pass(secs(31)).await;
    assert!(reader.messages().iter().all(|m| m.deliveries == 3));
}

#[tokio::test(start_paused = true)]
async fn leases_run_out_one_by_one() {
    let (broker, mut reader, first) = three().await;
    reader.ack_all(&first[1..]).await;
    pass(secs(10)).await;
    publish_numbers(&broker, 3..4).await;
    assert_eq!(numbers(&reader.messages()), [3]);
    for (wait, expected) in [(20, 0), (10, 3), (20, 0), (10, 3)] {
        let started = tokio::time::Instant::now();
        let Some(SubscriptionEvent::Deliveries(deliveries)) = reader.next().await else { panic!() };
        assert_eq!((numbers(&deliveries.messages), started.elapsed()), (vec![expected], secs(wait)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_extended_late_runs_out_again() {
    let (broker, mut reader, messages) = three().await;
    reader.ack_all(&messages[1..]).await;
    pass(secs(30)).await;
    assert_eq!(counts(&broker).await, (0, 1, 0), "the broker has seen that it ran out");
    reader.apply(&messages[0], Settle::Extend).await;
    let started = tokio::time::Instant::now();
    assert!(matches!(reader.next().await, Some(SubscriptionEvent::Deliveries(_))));
    assert_eq!(started.elapsed(), secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_mark_survives_giving_back() {
    let (_broker, mut reader, messages) = three().await;
    reader.apply(&messages[0], Settle::Mark { deaths: 1 }).await;
    reader.apply(&messages[0], nack(Duration::ZERO, 1, true)).await;
    assert_eq!(reader.messages()[0].deaths, 1);
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_needs_credit_too() {
    let broker = broker(1).await;
    publish_numbers(&broker, 0..2).await;
    let mut reader = Reader::join(&broker).await.frugal();
    reader.events();
    reader.grant(2, 1000);
    assert_eq!(reader.messages().len(), 2);
    pass(secs(31)).await;
    assert!(reader.messages().is_empty());
    assert_eq!(counts(&broker).await, (0, 2, 0));
    reader.grant(1, 1000);
    assert_eq!(numbers(&reader.messages()), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_reader_wakes_when_a_lease_runs_out() {
    let (_broker, mut reader, _messages) = three().await;
    let started = tokio::time::Instant::now();
    assert!(matches!(reader.next().await, Some(SubscriptionEvent::Deliveries(_))));
    assert_eq!(started.elapsed(), secs(30));
}

#[tokio::test(start_paused = true)]
async fn an_extended_lease_delivers_once() {
    let (_broker, mut reader, messages) = three().await;
    for _ in 0..10 {
        pass(secs(20)).await;
        for incoming in &messages {
            reader.apply(incoming, Settle::Extend).await;
        }
        assert!(reader.messages().is_empty());
    }
    reader.apply(&messages[0], Settle::Ack).await;
    pass(secs(30)).await;
    assert_eq!(numbers(&reader.messages()), [1, 2], "and not for ever");
}

#[tokio::test(start_paused = true)]
async fn a_late_settlement_of_the_same_epoch_still_counts() {
    let (broker, mut reader, messages) = three().await;
    pass(secs(30)).await;
    reader.apply(&messages[0], Settle::Ack).await;
    let again = reader.messages();
    assert_eq!(numbers(&again), [1, 2], "before it was delivered again");
    reader.apply(&messages[1], Settle::Ack).await;
    reader.stale(&again[0], Settle::Ack).await;
    pass(secs(30)).await;
    reader.apply(&messages[2], Settle::Extend).await;
    assert!(reader.messages().is_empty(), "extending takes it back");
    reader.apply(&again[1], Settle::Ack).await;
    assert!(lag(&broker).await.is_zero());
}

#[tokio::test(start_paused = true)]
async fn marks_come_back_after_a_death() {
    let (broker, mut reader, messages) = three().await;
    reader.apply(&messages[1], Settle::Mark { deaths: 2 }).await;
    drop(reader.events);
    reader = Reader::join(&broker).await;
    let again = reader.messages();
    assert_eq!(again.iter().map(|m| m.deaths).collect::<Vec<_>>(), [0, 2, 0]);
    reader.apply(&again[1], Settle::Mark { deaths: 3 }).await;
    reader.apply(&again[1], nack(Duration::ZERO, 1, true)).await;
    assert_eq!(reader.messages()[0].deaths, 3);
}

#[tokio::test(start_paused = true)]
async fn one_slow_message_does_not_hold_others_up() {
    let broker = broker(1).await;
    let mut reader = Reader::join(&broker).await;
    publish_numbers(&broker, 0..1).await;
    let slow = reader.messages();
    for i in 0..20 {
        publish_numbers(&broker, i * 1000 + 1..(i + 1) * 1000 + 1).await;
        let messages = reader.messages();
        assert_eq!(messages.len(), 1000);
        reader.ack_all(&messages).await;
        assert_eq!(counts(&broker).await, (0, 1, 0));
    }
    reader.apply(&slow[0], Settle::Extend).await;
    reader.apply(&slow[0], Settle::Ack).await;
    assert!(lag(&broker).await.is_zero());
}

#[tokio::test(start_paused = true)]
async fn committing_is_refused_because_each_message_is_settled() {
    let (broker, reader, _) = three().await;
    assert_eq!(broker.capabilities().settle, convoke_core::broker::SettleBy::Message);
    let commit = Commit::new(PartId(0), Epoch(1), Position::Offset(3), Progress::default());
    assert!(matches!(reader.control.commit(vec![commit]).await[..], [Settled::Failed(_)]));
    assert_eq!(counts(&broker).await, (0, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_the_one_that_is_declared() {
    let broker = broker_with(1, Options::default().lease(secs(2))).await;
    assert_eq!(broker.capabilities().lease, convoke_core::broker::LeaseKind::Extendable(secs(2)));
    publish_numbers(&broker, 0..1).await;
    let mut reader = Reader::join(&broker).await;
    assert_eq!(reader.messages().len(), 1);
    pass(secs(2)).await;
    assert_eq!(reader.messages().len(), 1);
}
