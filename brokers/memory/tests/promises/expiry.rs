//! Messages that expire.

use std::time::{Duration, SystemTime};

use convoke_core::broker::{Broker, PublishOutcome, Settle, SubscriptionEvent};
use convoke_core::{ErrorKind, Outgoing};
use convoke_memory::Options;

use crate::harness::*;

/// A number that expires after so many seconds.
fn short(number: u32, life: u64) -> Outgoing {
    let mut outgoing = unkeyed(number);
    outgoing.expires_at = Some(SystemTime::now() + secs(life));
    outgoing
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_is_handed_to_nobody_and_all_around_it_is() {
    let broker = broker(1).await;
    publish(&broker, vec![unkeyed(0), short(1, 60), unkeyed(2), short(3, 60), short(4, 120), short(5, 60)]).await;
    let mut in_time = Reader::with(&broker, spec_of("early", Default::default())).await;
    assert_eq!(numbers(&in_time.messages()), [0, 1, 2, 3, 4, 5]);
    pass(secs(60)).await;
    let mut reader = Reader::join(&broker).await;
    let messages = reader.messages();
    assert_eq!(numbers(&messages), [0, 2, 4]);
    assert_eq!(counts(&broker).await, (0, 3, 0));
    reader.ack_all(&messages).await;
    assert_eq!(counts(&broker).await, (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn however_much_has_expired_what_is_behind_it_comes() {
    let broker = broker(1).await;
    publish(&broker, (0..1000).map(|number| short(number, 60)).chain([unkeyed(1000)]).collect()).await;
    pass(secs(60)).await;
    assert_eq!(numbers(&Reader::join(&broker).await.messages()), [1000]);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_back_does_not_come_again_once_it_has_expired() {
    let broker = broker(1).await;
    publish(&broker, vec![short(0, 60), short(1, 60), short(2, 600), unkeyed(3)]).await;
    let mut reader = Reader::join(&broker).await;
    let messages = reader.messages();
    for (index, delay) in [(0, 59), (1, 60), (2, 60)] {
        reader.apply(&messages[index], nack(secs(delay), 1, false)).await;
    }
    reader.apply(&messages[3], Settle::Ack).await;
    pass(secs(59)).await;
    assert_eq!(numbers(&reader.messages()), [0], "it lives");
    pass(secs(1)).await;
    let again = reader.messages();
    assert_eq!(numbers(&again), [2]);
    reader.ack_all(&again).await;
    // What is in hand when it expires is its owner's, for the last time.
    assert_eq!(counts(&broker).await, (0, 1, 0));
    drop(reader);
    let mut heir = Reader::join(&broker).await;
    assert!(heir.messages().is_empty());
    assert_eq!(counts(&broker).await, (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_marked_end_whose_last_message_expires_is_reached_by_all_who_wait_for_it() {
    let broker = broker(1).await;
    publish(&broker, vec![unkeyed(0), short(1, 60)]).await;
    let mut until_end = spec();
    until_end.until_end = true;
    let mut owner = Reader::with(&broker, until_end.clone()).await.frugal();
    let mut other = Reader::with(&broker, until_end).await;
    owner.events();
    other.events();
    owner.grant(1, 1000);
    let first = owner.messages();
    owner.ack_all(&first).await;
    pass(secs(60)).await;
    let waits = tokio::spawn(async move { other.next().await });
    tokio::task::yield_now().await;
    owner.grant(1, 1000);
    assert!(matches!(owner.next().await, Some(SubscriptionEvent::AtEnd)));
    let told = tokio::time::timeout(secs(1), waits).await.expect("it is woken").unwrap();
    assert!(matches!(told, Some(SubscriptionEvent::AtEnd)), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_due_later_lives_from_then_on() {
    let broker = broker(1).await;
    let mut later = short(0, 90);
    later.deliver_at = Some(SystemTime::now() + secs(60));
    publish(&broker, vec![later]).await;
    pass(secs(89)).await;
    assert_eq!(numbers(&Reader::with(&broker, spec_of("early", Default::default())).await.messages()), [0]);
    pass(secs(1)).await;
    assert!(Reader::join(&broker).await.messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_could_get_in_time_is_refused_and_so_is_expiry_where_it_is_not_offered() {
    let broker = broker(1).await;
    let mut late = short(0, 60);
    late.deliver_at = late.expires_at;
    for (outgoing, why) in [(late, "before it is due"), (short(0, 0), "before it is published")] {
        let (retryable, kind, text) = rejected(&publish_one(&broker, outgoing).await).unwrap();
        assert!((retryable, kind) == (false, ErrorKind::Rejected) && text.contains(why), "{text}");
    }
    let without = broker_with(1, Options::default().expiry(false)).await;
    assert!(broker.capabilities().expiry && !without.capabilities().expiry);
    let (retryable, kind, _) = rejected(&publish_one(&without, short(0, 60)).await).unwrap();
    assert_eq!((retryable, kind), (false, ErrorKind::Unsupported));
    let mut never = unkeyed(1);
    never.expires_at = SystemTime::now().checked_add(Duration::from_secs(u64::from(u32::MAX) * 4));
    assert!(matches!(publish_one(&broker, never).await, PublishOutcome::Confirmed(_)));
    assert_eq!(numbers(&Reader::join(&broker).await.messages()), [1]);
}
