//! What publishing promises.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use convoke_core::broker::{Broker, Durability, PublishOutcome};
use convoke_core::{ErrorKind, Message, Outgoing, Position, Topic};
use convoke_memory::{Full, Options};

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn messages_of_a_key_go_to_its_partition_in_order() {
    let broker = broker(8).await;
    let keys = ["ada", "bob", "cy", "dan", "eve"];
    publish(&broker, (0..50).map(|i| message(keys[i % 5], &i.to_string())).collect()).await;
    let mut reader = Reader::join(&broker).await;
    let mut seen: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for incoming in reader.messages() {
        let key = incoming.message.key().unwrap().clone();
        assert_eq!(incoming.partition, key.partition(8), "as every other broker would place it");
        seen.entry(key.to_string()).or_default().push(text(&incoming).parse().unwrap());
    }
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(seen[*key], (0..10).map(|n| n * 5 + i as u32).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn messages_without_a_key_go_round_the_partitions() {
    let broker = broker(3).await;
    publish_numbers(&broker, 0..4).await;
    publish_numbers(&broker, 4..7).await;
    let mut reader = Reader::join(&broker).await;
    for incoming in reader.messages() {
        let number: u32 = text(&incoming).parse().unwrap();
        assert_eq!((incoming.partition, offset(&incoming)), (number % 3, u64::from(number / 3)));
    }
    assert_eq!(broker.messages(TOPIC).len(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_says_where_and_under_which_id() {
    let broker = broker(4).await;
    let built = Message::builder(TOPIC).key("ada").header("ce_id", "17").build();
    let partition = built.key().unwrap().partition(4);
    for expected in 0..2 {
        let PublishOutcome::Confirmed(receipt) = publish_one(&broker, Outgoing::new(built.clone())).await else { panic!() };
        assert_eq!(receipt.stored, Some((partition, Position::Offset(expected))));
        assert_eq!((Some(receipt.id.as_str()), receipt.durability), (built.id().or(Some("")), Durability::Memory));
        assert!(!receipt.duplicate && !receipt.unrouted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_topic_is_named_and_not_retryable() {
    let broker = broker(1).await;
    let batch = vec![unkeyed(1), Outgoing::new(Message::builder("typo").build()), unkeyed(2)];
    let outcomes = broker.publish(batch).await;
    assert!(matches!(outcomes[..], [PublishOutcome::Confirmed(_), _, PublishOutcome::Confirmed(_)]), "each has its own answer");
    let (retryable, kind, text) = rejected(&outcomes[1]).unwrap();
    assert_eq!((retryable, kind), (false, ErrorKind::NotFound));
    assert!(text.contains("`typo`"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_limit_is_refused_with_both_numbers() {
    let broker = broker_with(1, Options::default().max_message(100)).await;
    publish(&broker, vec![message("k", &"x".repeat(99))]).await;
    let (retryable, kind, text) = rejected(&publish_one(&broker, message("k", &"x".repeat(100))).await).unwrap();
    assert_eq!((retryable, kind), (false, ErrorKind::TooLarge));
    assert!(text.contains("101 bytes") && text.contains("takes 100"), "{text}");
    assert_eq!(broker.capabilities().max_message, Some(100));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_offered_is_refused_rather_than_ignored() {
    let broker = broker(1).await;
    let mut answered = unkeyed(1);
    answered.reply_to = Some(Topic::from("answers"));
    let (retryable, kind, _) = rejected(&publish_one(&broker, answered).await).unwrap();
    assert_eq!((retryable, kind), (false, ErrorKind::Unsupported));
    assert!(broker.messages(TOPIC).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_message_comes_when_it_is_due_and_not_before() {
    let broker = broker(1).await;
    let mut reader = Reader::join(&broker).await;
    let mut later = unkeyed(1);
    later.deliver_at = Some(SystemTime::now() + secs(60));
    let PublishOutcome::Confirmed(receipt) = publish_one(&broker, later).await else { panic!() };
    assert_eq!(receipt.stored, None, "it has no position yet");
    publish_numbers(&broker, 2..3).await;
    let other = reader.messages();
    assert_eq!(numbers(&other), [2], "it delays nobody else");
    reader.ack_all(&other).await;
    assert_eq!(counts(&broker).await, (0, 0, 1));
    pass(secs(59)).await;
    assert!(reader.messages().is_empty());
    pass(secs(1)).await;
    let due = reader.messages();
    assert_eq!((numbers(&due), offset(&due[0])), (vec![1], 1));
    assert_eq!(counts(&broker).await, (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_due_together_come_in_the_order_of_publishing() {
    let broker = broker(1).await;
    let at = SystemTime::now() + secs(60);
    let scheduled = (0..20).map(|n| {
        let mut outgoing = unkeyed(n);
        outgoing.deliver_at = Some(at);
        outgoing
    });
    // In one call, so that they are due at the same moment.
    publish(&broker, scheduled.collect()).await;
    pass(secs(60)).await;
    assert_eq!(numbers(&Reader::join(&broker).await.messages()), (0..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn scheduled_messages_take_room_once() {
    for options in [Options::default().retention(2), Options::default().max_message(100).retention_bytes(2 * 129)] {
        let broker = broker_with(1, options.history(0)).await;
        for _ in 0..3 {
            let mut later = unkeyed(1);
            later.deliver_at = Some(SystemTime::now() + secs(60));
            publish(&broker, vec![later, unkeyed(2)]).await;
            assert!(rejected(&publish_one(&broker, unkeyed(3)).await).is_some(), "what is scheduled has its room");
            pass(secs(60)).await;
            assert!(rejected(&publish_one(&broker, unkeyed(3)).await).is_some());
            let mut reader = Reader::join(&broker).await;
            let messages = reader.messages();
            assert_eq!(numbers(&messages), [2, 1]);
            reader.ack_all(&messages).await;
            reader.control.close().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_reader_is_woken_for_a_scheduled_message() {
    let broker = broker(1).await;
    let mut reader = Reader::join(&broker).await;
    reader.events();
    let started = tokio::time::Instant::now();
    let waiting = tokio::spawn(async move { reader.next().await });
    tokio::task::yield_now().await;
    let mut later = unkeyed(1);
    later.deliver_at = Some(SystemTime::now() + secs(60));
    publish(&broker, vec![later]).await;
    assert!(waiting.await.unwrap().is_some());
    let waited = started.elapsed();
    assert!((secs(59)..secs(61)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_time_that_is_over_schedules_nothing() {
    let broker = broker(1).await;
    let mut late = unkeyed(1);
    late.deliver_at = Some(SystemTime::now() - Duration::from_secs(1));
    let PublishOutcome::Confirmed(receipt) = publish_one(&broker, late).await else { panic!() };
    assert_eq!(receipt.stored, Some((0, Position::Offset(0))));
}

#[tokio::test(start_paused = true)]
async fn a_full_topic_rejects_until_it_is_read() {
    let broker = broker_with(1, Options::default().retention(3).history(0)).await;
    let mut reader = Reader::join(&broker).await;
    publish_numbers(&broker, 0..3).await;
    let (retryable, kind, text) = rejected(&publish_one(&broker, unkeyed(3)).await).unwrap();
    assert_eq!((retryable, kind), (true, ErrorKind::Rejected));
    assert!(text.contains("full=trim") && text.contains("orders"), "{text}");
    let messages = reader.messages();
    assert_eq!(numbers(&messages), [0, 1, 2], "nothing was lost");
    assert!(rejected(&publish_one(&broker, unkeyed(3)).await).is_some(), "given out is not settled");
    reader.ack_all(&messages[..1]).await;
    publish_numbers(&broker, 3..4).await;
    assert!(rejected(&publish_one(&broker, unkeyed(4)).await).is_some(), "room for one only");
    assert_eq!(numbers(&reader.messages()), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_full_in_bytes_rejects_too() {
    let options = Options::default().max_message(1000).retention_bytes(1128).history(0);
    let broker = broker_with(4, options).await;
    publish(&broker, vec![message("a", &"x".repeat(499))]).await;
    assert!(rejected(&publish_one(&broker, message("b", &"x".repeat(499))).await).is_some_and(|(retryable, ..)| retryable));
    let mut reader = Reader::join(&broker).await;
    let messages = reader.messages();
    reader.ack_all(&messages).await;
    publish(&broker, vec![message("b", &"x".repeat(499))]).await;
}

#[tokio::test(start_paused = true)]
async fn trimming_tells_who_had_not_read() {
    use convoke_core::broker::SubscriptionEvent;
    let broker = broker_with(1, Options::default().retention(3).full(Full::Trim)).await;
    let mut reader = Reader::join(&broker).await.frugal();
    reader.events();
    reader.grant(1, 1000);
    publish_numbers(&broker, 0..3).await;
    let first = reader.messages();
    assert_eq!(numbers(&first), [0]);
    publish_numbers(&broker, 3..6).await;
    assert_eq!(lag(&broker).await.backlog, Some(3));
    let events = reader.events();
    let [SubscriptionEvent::Gap { from, to, .. }] = events[..] else { panic!("{events:?}") };
    assert_eq!((from, to), (Position::Offset(1), Position::Offset(3)));
    reader.apply(&first[0], nack(Duration::ZERO, 1, false)).await;
    reader.grant(10, 1000);
    assert_eq!(numbers(&reader.messages()), [0, 3, 4, 5], "what was given out is kept for the group");
}

#[tokio::test(start_paused = true)]
async fn history_that_everybody_has_settled_is_bounded() {
    let broker = broker_with(1, Options::default().history(10)).await;
    let mut reader = Reader::join(&broker).await;
    for i in 0..100 {
        publish_numbers(&broker, i * 100..(i + 1) * 100).await;
        let messages = reader.messages();
        reader.ack_all(&messages).await;
    }
    let kept = broker.messages(TOPIC).len();
    assert!((10..1000).contains(&kept), "{kept}");
    let mut late = Reader::with(&broker, spec_of("late", Default::default())).await;
    let events = late.events();
    assert!(!events.iter().any(|event| matches!(event, convoke_core::broker::SubscriptionEvent::Gap { .. })));
}
