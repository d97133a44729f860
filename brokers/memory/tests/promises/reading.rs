//! What reading promises: groups, where they begin, credit, order, lag.

use std::time::{Duration, SystemTime};

use convoke_core::broker::{Broker, EnsureMode, GroupSpec, Settle, Start, SubscribeSpec, SubscriptionEvent, TopicSpec, Topology};
use convoke_core::{ErrorKind, PartId, Position, Topic};
use convoke_memory::Options;

use crate::harness::*;

fn topology(topic: &str, group: &str) -> Topology {
    let mut topology = Topology::default();
    topology.topics.push(TopicSpec::new(topic));
    topology.groups.push(GroupSpec::new(group, vec![Topic::from(topic)]));
    topology
}

#[tokio::test(start_paused = true)]
async fn ensure_creates_what_is_missing_once() {
    let broker = broker(2).await;
    let report = broker.ensure(&topology("stock", "g"), EnsureMode::Create).await.unwrap();
    assert_eq!(report.created, ["stock", "g"]);
    assert_eq!(report.partitions, [(Topic::from("stock"), 8)]);
    let report = broker.ensure(&topology("stock", "g"), EnsureMode::Create).await.unwrap();
    assert!(report.created.is_empty());
    assert!(broker.ensure(&topology("stock", "g"), EnsureMode::Check).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn checking_changes_nothing_and_names_all_that_is_missing() {
    let broker = broker(2).await;
    for _ in 0..2 {
        let error = broker.ensure(&topology("stock", "g"), EnsureMode::Check).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("topic `stock`, group `g` on topic `stock`"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_number_of_partitions_is_refused_and_creates_nothing() {
    let broker = broker(2).await;
    let mut wanted = topology("stock", "g");
    let mut other = TopicSpec::new(TOPIC);
    other.partitions = Some(4);
    wanted.topics.push(other);
    let error = broker.ensure(&wanted, EnsureMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("2 partitions, not 4"), "{error}");
    assert!(broker.ensure(&topology("stock", "g"), EnsureMode::Check).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_missing_topic_cannot_be_read() {
    let broker = broker(1).await;
    let error = broker.subscribe(SubscribeSpec::new("g", vec![Topic::from("typo")])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(broker.lag("g", &[]).await.is_err(), "and the group was not made");
    let mut foreign = spec();
    foreign.start = Start::At(Position::Tag(1));
    assert_eq!(broker.subscribe(foreign).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn each_group_gets_everything() {
    let broker = broker(4).await;
    publish_numbers(&broker, 0..20).await;
    for group in ["a", "b", "c"] {
        let mut reader = Reader::with(&broker, spec_of(group, Start::Earliest)).await;
        let mut got = numbers(&reader.messages());
        got.sort_unstable();
        assert_eq!(got, (0..20).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_settled_does_not_come_again() {
    let broker = broker(2).await;
    publish_numbers(&broker, 0..10).await;
    let mut reader = Reader::join(&broker).await;
    let messages = reader.messages();
    reader.ack_all(&messages).await;
    reader.control.close().await;
    publish_numbers(&broker, 10..12).await;
    assert_eq!(numbers(&Reader::join(&broker).await.messages()), [10, 11]);
}

#[tokio::test(start_paused = true)]
async fn a_new_group_begins_where_it_says() {
    let broker = broker(1).await;
    publish_numbers(&broker, 0..3).await;
    let last = SystemTime::now();
    while SystemTime::now() <= last {}
    let between = SystemTime::now();
    publish_numbers(&broker, 3..5).await;
    let cases = [
        ("earliest", Start::Earliest, vec![0, 1, 2, 3, 4, 5]),
        ("new", Start::New, vec![5]),
        ("at", Start::At(Position::Offset(2)), vec![2, 3, 4, 5]),
        ("time", Start::Time(between), vec![3, 4, 5]),
        ("future", Start::Time(SystemTime::now() + secs(3600)), vec![5]),
    ];
    let mut readers = Vec::new();
    for (group, start, expected) in cases {
        readers.push((group, Reader::with(&broker, spec_of(group, start)).await, expected));
    }
    publish_numbers(&broker, 5..6).await;
    for (group, mut reader, expected) in readers {
        assert_eq!(numbers(&reader.messages()), expected, "{group}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_exists_goes_on_where_it_is() {
    let broker = broker(1).await;
    let mut topology = Topology::default();
    topology.groups.push(GroupSpec::new(GROUP, vec![Topic::from(TOPIC)]));
    broker.ensure(&topology, EnsureMode::Create).await.unwrap();
    publish_numbers(&broker, 0..2).await;
    let mut reader = Reader::with(&broker, spec_of(GROUP, Start::New)).await;
    assert_eq!(numbers(&reader.messages()), [0, 1], "the group was there before the messages");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_delivered_beyond_credit() {
    let broker = broker(2).await;
    publish_numbers(&broker, 0..20).await;
    let mut reader = Reader::join(&broker).await.frugal();
    assert!(reader.messages().is_empty(), "no credit, no message");
    reader.grant(2, 1000);
    reader.grant(1, 1000);
    assert_eq!(reader.messages().len(), 6, "grants add up, for each partition");
    reader.grant(0, 1000);
    reader.grant(10, 0);
    assert_eq!(reader.messages().len(), 2 * 7, "bytes were left over");
}

#[tokio::test(start_paused = true)]
async fn the_last_message_may_go_over_the_bytes() {
    let broker = broker(1).await;
    publish(&broker, (0..5).map(|_| unkeyed("x".repeat(100))).collect()).await;
    let mut reader = Reader::join(&broker).await.frugal();
    reader.events();
    reader.grant(100, 101);
    assert_eq!(reader.messages().len(), 2);
    reader.grant(0, 99);
    assert!(reader.messages().is_empty(), "what went over counts");
    reader.grant(0, 1);
    assert_eq!(reader.messages().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn credit_of_an_old_epoch_is_ignored() {
    let broker = broker(1).await;
    publish_numbers(&broker, 0..1).await;
    let mut reader = Reader::join(&broker).await.frugal();
    reader.events();
    let (part, (_, _, epoch)) = reader.owned.first_key_value().unwrap();
    reader.control.grant(*part, convoke_core::Epoch(epoch.0 - 1), 10, 1000);
    reader.control.grant(PartId(77), *epoch, 10, 1000);
    assert!(reader.messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn large_backlogs_come_in_bounded_batches_in_order() {
    let broker = broker(1).await;
    publish_numbers(&broker, 0..1000).await;
    let mut reader = Reader::join(&broker).await;
    let mut next = 0;
    for event in reader.events() {
        let SubscriptionEvent::Deliveries(deliveries) = event else { continue };
        assert!(deliveries.messages.len() <= 256);
        for incoming in deliveries.messages {
            assert_eq!((offset(&incoming), incoming.deliveries, incoming.attempts), (next, 1, 0));
            assert!(incoming.published_at.is_some() && incoming.due_in.is_none());
            next += 1;
        }
    }
    assert_eq!(next, 1000);
}

#[tokio::test(start_paused = true)]
async fn one_partition_does_not_starve_another() {
    let broker = broker(2).await;
    publish_numbers(&broker, 0..2000).await;
    let mut reader = Reader::join(&broker).await;
    let mut order = Vec::new();
    for event in reader.events() {
        if let SubscriptionEvent::Deliveries(deliveries) = event {
            order.push(deliveries.part);
        }
    }
    assert_eq!(order[..4], [PartId(0), PartId(1), PartId(0), PartId(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_reader_is_woken_by_a_message_and_by_credit() {
    let broker = broker(2).await;
    let mut reader = Reader::join(&broker).await;
    reader.events();
    let mut poor = Reader::with(&broker, spec_of("poor", Start::Earliest)).await.frugal();
    poor.events();
    let rich = tokio::spawn(async move { reader.next().await });
    tokio::task::yield_now().await;
    publish_numbers(&broker, 0..1).await;
    assert!(matches!(tokio::time::timeout(secs(1), rich).await.unwrap().unwrap(), Some(SubscriptionEvent::Deliveries(_))));

    let owned = poor.owned.clone();
    let Reader { events, control, .. } = poor;
    let mut events = events;
    let waiting = tokio::spawn(async move { std::future::poll_fn(|cx| events.as_mut().poll_next(cx)).await });
    tokio::task::yield_now().await;
    owned.iter().for_each(|(part, (_, _, epoch))| control.grant(*part, *epoch, 1, 1));
    assert!(matches!(tokio::time::timeout(secs(1), waiting).await.unwrap().unwrap(), Some(SubscriptionEvent::Deliveries(_))));
}

#[tokio::test(start_paused = true)]
async fn credit_wakes_a_reader_for_what_was_given_back_and_for_what_is_delayed() {
    for delay in [Duration::ZERO, secs(5)] {
        let broker = broker(1).await;
        publish_numbers(&broker, 0..1).await;
        let mut reader = Reader::join(&broker).await.frugal();
        reader.events();
        reader.grant(1, 2);
        let messages = reader.messages();
        reader.apply(&messages[0], nack(delay, 1, false)).await;
        let Reader { mut events, control, owned, .. } = reader;
        let waiting = tokio::spawn(async move { std::future::poll_fn(|cx| events.as_mut().poll_next(cx)).await });
        tokio::task::yield_now().await;
        owned.iter().for_each(|(part, (_, _, epoch))| control.grant(*part, *epoch, 1, 1));
        let woken = tokio::time::timeout(secs(60), waiting).await.expect("woken by the credit").unwrap();
        assert!(matches!(woken, Some(SubscriptionEvent::Deliveries(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn lag_is_exact() {
    let broker = broker(2).await;
    assert!(broker.lag(GROUP, &[Topic::from(TOPIC)]).await.is_err(), "an unknown group has no lag");
    let mut reader = Reader::join(&broker).await.frugal();
    assert!(lag(&broker).await.is_zero());
    publish_numbers(&broker, 0..10).await;
    pass(secs(5)).await;
    publish_numbers(&broker, 10..12).await;
    assert_eq!(counts(&broker).await, (12, 0, 0));
    reader.events();
    reader.grant(3, 1000);
    let messages = reader.messages();
    assert_eq!(counts(&broker).await, (6, 6, 0));
    assert_eq!(lag(&broker).await.oldest, Some(secs(5)));
    reader.apply(&messages[0], nack(secs(60), 1, false)).await;
    assert_eq!(counts(&broker).await, (6, 5, 1));
    reader.apply(&messages[1], nack(secs(60), 1, true)).await;
    assert_eq!(counts(&broker).await, (6, 5, 1), "what is held is given out, not delayed");
    reader.apply(&messages[2], Settle::Ack).await;
    assert_eq!(counts(&broker).await, (6, 4, 1));
    assert_eq!(lag(&broker).await.oldest, Some(secs(5)));
}

#[tokio::test(start_paused = true)]
async fn each_broadcast_subscription_gets_everything_and_leaves_nothing() {
    let broker = broker(2).await;
    let mut broadcast = spec_of("live", Start::New);
    broadcast.broadcast = true;
    let mut first = Reader::with(&broker, broadcast.clone()).await;
    let mut second = Reader::with(&broker, broadcast.clone()).await;
    publish_numbers(&broker, 0..4).await;
    assert_eq!(first.messages().len(), 4);
    assert_eq!(second.messages().len(), 4);
    assert_eq!(broker.lag("live", &[Topic::from(TOPIC)]).await.unwrap().unsettled, Some(8));
    drop((first, second));
    assert!(broker.lag("live", &[Topic::from(TOPIC)]).await.is_err(), "the groups ended with their subscriptions");
    let mut third = Reader::with(&broker, broadcast).await;
    assert!(third.messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn ages_are_counted_in_the_brokers_time() {
    let broker = broker(1).await;
    let _reader = Reader::join(&broker).await;
    publish_numbers(&broker, 0..1).await;
    pass(Duration::from_millis(2500)).await;
    assert_eq!(lag(&broker).await.oldest, Some(Duration::from_millis(2500)));
}

#[tokio::test(start_paused = true)]
async fn beginning_where_nothing_is_any_more_is_a_gap_and_where_nothing_is_yet_waits() {
    let broker = broker_with(1, Options::default().history(0).retention(4)).await;
    let mut first = Reader::join(&broker).await;
    publish_numbers(&broker, 0..4).await;
    let messages = first.messages();
    first.ack_all(&messages).await;
    publish_numbers(&broker, 4..6).await;
    let mut early = Reader::with(&broker, spec_of("early", Start::At(Position::Offset(1)))).await;
    let mut late = Reader::with(&broker, spec_of("late", Start::At(Position::Offset(7)))).await;
    let events = early.events();
    let [_, SubscriptionEvent::Gap { from, to, .. }, SubscriptionEvent::Deliveries(there)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((*from, *to), (Position::Offset(1), Position::Offset(2)));
    early.ack_all(&there.messages).await;
    let messages = first.messages();
    first.ack_all(&messages).await;
    assert!(late.messages().is_empty());
    assert_eq!(broker.lag("late", &[Topic::from(TOPIC)]).await.unwrap().backlog, Some(0));
    publish_numbers(&broker, 6..8).await;
    assert_eq!(numbers(&late.messages()), [7]);
}
