//! What ownership promises: sharing, rebalancing, clean and unclean ends.

use std::collections::BTreeMap;
use std::time::Duration;

use convoke_core::broker::{Broker, Native, NativeValue, Settle, Settled, Settlement, SubscribeSpec, SubscriptionEvent};
use convoke_core::{Epoch, Topic};

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn members_of_a_group_share_the_partitions_evenly() {
    let broker = broker(8).await;
    let mut readers = Vec::new();
    for members in 1..=4_usize {
        readers.push(Reader::join(&broker).await);
        for _ in 0..2 {
            readers.iter_mut().for_each(|reader| drop(reader.events()));
        }
        let mut all: Vec<u32> = readers.iter().flat_map(Reader::partitions).collect();
        all.sort_unstable();
        assert_eq!(all, (0..8).collect::<Vec<_>>(), "each has one owner");
        assert!(readers.iter().all(|reader| (8 / members..=8_usize.div_ceil(members)).contains(&reader.owned.len())));
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_moves_is_revoked() {
    let broker = broker(8).await;
    let mut first = Reader::join(&broker).await;
    first.events();
    let mut second = Reader::join(&broker).await;
    let revoked = first.events().iter().filter(|event| matches!(event, SubscriptionEvent::Revoking { .. })).count();
    assert_eq!(revoked, 4);
    second.events();
    let (before, kept) = (first.owned.clone(), second.owned.clone());
    assert_eq!((before.len(), kept.len()), (4, 4));
    second.control.close().await;
    first.events();
    assert_eq!(first.owned.len(), 8);
    assert!(before.iter().all(|part| first.owned.get(part.0) == Some(part.1)), "the epochs of what stayed are the same");
}

#[tokio::test(start_paused = true)]
async fn a_joining_member_waits_until_the_owner_is_done() {
    let broker = broker(2).await;
    publish_numbers(&broker, 0..4).await;
    let mut first = Reader::join(&broker).await.stubborn();
    let messages = first.messages();
    assert_eq!(messages.len(), 4);
    let mut second = Reader::join(&broker).await;
    assert!(second.messages().len() <= 4);
    let events = first.events();
    let [SubscriptionEvent::Revoking { part, epoch, within }] = events[..] else { panic!("{events:?}") };
    assert_eq!(within, secs(10));
    assert!(second.owned.is_empty());
    publish_numbers(&broker, 4..6).await;
    let others = first.messages();
    assert_eq!(others.len(), 1, "nothing more of what is being revoked");
    assert_ne!(others[0].token.part, part);
    for incoming in messages.iter().filter(|incoming| incoming.token.part == part) {
        first.apply(incoming, Settle::Ack).await;
    }
    first.control.revoked(part, epoch);
    let moved = second.messages();
    assert_eq!(moved.len(), 1, "what was settled in the drain does not come again");
    assert_eq!(moved[0].deliveries, 1);
    first.control.revoked(part, epoch);
    assert_eq!(second.owned.len(), 1, "saying it twice changes nothing");
}

#[tokio::test(start_paused = true)]
async fn an_owner_has_the_time_that_its_handler_says() {
    let broker = broker(2).await;
    let mut asked = spec();
    asked.native =
        vec![Native::new("memory", "revoke", NativeValue::Text("2s")), Native::new("kafka", "session", NativeValue::Number(1))];
    let mut first = Reader::with(&broker, asked).await.stubborn();
    first.events();
    let mut second = Reader::join(&broker).await;
    let events = first.events();
    assert!(matches!(events[..], [SubscriptionEvent::Revoking { within, .. }] if within == secs(2)), "{events:?}");
    pass(secs(1)).await;
    second.events();
    assert!(second.owned.is_empty());
    pass(secs(2)).await;
    second.events();
    assert_eq!(second.owned.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn giving_up_what_nobody_asked_for_changes_nothing() {
    let broker = broker(1).await;
    publish_numbers(&broker, 0..1).await;
    let mut reader = Reader::join(&broker).await;
    let messages = reader.messages();
    reader.control.revoked(messages[0].token.part, messages[0].token.epoch);
    assert!(reader.events().is_empty());
    reader.apply(&messages[0], Settle::Ack).await;
}

#[tokio::test(start_paused = true)]
async fn a_revocation_ends_when_its_time_is_over() {
    let broker = broker(2).await;
    publish_numbers(&broker, 0..2).await;
    let mut first = Reader::join(&broker).await.stubborn();
    let messages = first.messages();
    let mut second = Reader::join(&broker).await;
    first.events();
    pass(secs(9)).await;
    assert!(second.events().is_empty());
    let started = tokio::time::Instant::now();
    let event = second.next().await;
    assert_eq!(started.elapsed(), secs(1), "the new owner wakes by itself");
    let Some(SubscriptionEvent::Assigned { partition, epoch, resume, .. }) = event else { panic!("{event:?}") };
    assert_eq!((epoch, resume.unclean), (Epoch(2), false));
    let again = second.messages();
    assert_eq!((again.len(), again[0].deliveries), (1, 2));
    let old = messages.iter().find(|incoming| incoming.partition == partition).unwrap();
    first.stale(old, Settle::Ack).await;
    second.apply(&again[0], Settle::Ack).await;
    assert!(first.events().iter().any(|event| matches!(event, SubscriptionEvent::Lost { .. })));
}

#[tokio::test(start_paused = true)]
async fn equal_numbers_of_several_topics_go_to_one_member() {
    let broker = broker(6).await;
    ensure(&broker, "orders.retry", 6).await;
    let spec = SubscribeSpec::new(GROUP, vec![Topic::from(TOPIC), Topic::from("orders.retry")]);
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(Reader::with(&broker, spec.clone()).await);
        for _ in 0..2 {
            readers.iter_mut().for_each(|reader| drop(reader.events()));
        }
        for reader in &readers {
            let mut pairs: BTreeMap<u32, u32> = BTreeMap::new();
            reader.owned.values().for_each(|(_, partition, _)| *pairs.entry(*partition).or_default() += 1);
            assert!(pairs.values().all(|count| *count == 2), "{pairs:?}");
        }
    }
    let parts: Vec<u32> = readers[0].owned.keys().map(|part| part.0).collect();
    assert!(parts.iter().all(|part| *part < 12), "numbers are dense");
}

#[tokio::test(start_paused = true)]
async fn members_that_read_other_topics_are_not_in_each_others_way() {
    let broker = broker(4).await;
    ensure(&broker, "stock", 4).await;
    let mut orders = Reader::join(&broker).await;
    orders.events();
    let mut stock = Reader::with(&broker, SubscribeSpec::new(GROUP, vec![Topic::from("stock")])).await;
    stock.events();
    orders.events();
    assert_eq!((orders.owned.len(), stock.owned.len()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn joining_and_leaving_lose_nothing_and_keep_the_order() {
    let broker = broker(4).await;
    let mut readers: Vec<Reader> = Vec::new();
    let mut seen: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for round in 0..30_u32 {
        publish_numbers(&broker, round * 10..(round + 1) * 10).await;
        if round % 3 == 0 && readers.len() < 4 {
            readers.push(Reader::join(&broker).await);
        } else if round % 7 == 5 {
            readers.remove(0).control.close().await;
        }
        for reader in &mut readers {
            let messages = reader.messages();
            // Every third is left for whoever comes next.
            for (i, incoming) in messages.iter().enumerate() {
                seen.entry(incoming.partition).or_default().push(offset(incoming));
                if i % 3 != 2 {
                    let _ = reader.settle(incoming, Settle::Ack).await;
                } else {
                    let _ = reader.settle(incoming, nack(Duration::ZERO, 0, true)).await;
                }
            }
        }
    }
    for _ in 0..10 {
        for reader in &mut readers {
            let messages = reader.messages();
            for incoming in &messages {
                seen.entry(incoming.partition).or_default().push(offset(incoming));
                let _ = reader.settle(incoming, Settle::Ack).await;
            }
        }
    }
    assert!(lag(&broker).await.is_zero());
    for (partition, offsets) in seen {
        let mut first = 0;
        for offset in offsets {
            assert!(offset <= first, "partition {partition}: {offset} before {first}");
            first = first.max(offset + 1);
        }
        assert_eq!(first, 75);
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_a_subscription_is_a_crash() {
    let broker = broker(2).await;
    publish_numbers(&broker, 0..6).await;
    let mut first = Reader::join(&broker).await;
    let messages = first.messages();
    first.apply(&messages[1], Settle::Ack).await;
    drop(first);
    let mut second = Reader::join(&broker).await;
    let events = second.events();
    let unclean = events.iter().filter(|event| matches!(event, SubscriptionEvent::Assigned { resume, .. } if resume.unclean));
    assert_eq!(unclean.count(), 2);
    let again: Vec<_> = events
        .into_iter()
        .filter_map(|event| if let SubscriptionEvent::Deliveries(some) = event { Some(some.messages) } else { None })
        .flatten()
        .collect();
    assert_eq!(again.len(), 5);
    assert!(again.iter().all(|incoming| incoming.deliveries == 2));
    second.control.close().await;
    assert!(!unclean_next(&broker).await, "it is said of the last owner only");
}

async fn unclean_next(broker: &convoke_memory::MemoryBroker) -> bool {
    let mut reader = Reader::join(broker).await.frugal();
    let unclean =
        reader.events().iter().any(|event| matches!(event, SubscriptionEvent::Assigned { resume, .. } if resume.unclean));
    reader.control.close().await;
    unclean
}

#[tokio::test(start_paused = true)]
async fn dropping_the_stream_alone_is_a_crash_too() {
    let broker = broker(1).await;
    publish_numbers(&broker, 0..1).await;
    let mut first = Reader::join(&broker).await;
    let messages = first.messages();
    let Reader { events, control, .. } = first;
    drop(events);
    let late = control.settle(vec![Settlement::new(messages[0].token.clone(), Settle::Ack)]).await;
    assert!(matches!(late[..], [Settled::Stale]));
    assert!(unclean_next(&broker).await);
}

#[tokio::test(start_paused = true)]
async fn a_control_can_be_dropped_while_the_stream_lives() {
    let broker = broker(1).await;
    let mut first = Reader::join(&broker).await;
    first.events();
    let Reader { mut events, control, .. } = first;
    drop(control);
    publish_numbers(&broker, 0..1).await;
    let next = std::future::poll_fn(|cx| events.as_mut().poll_next(cx)).await;
    assert!(matches!(next, Some(SubscriptionEvent::Deliveries(_))));
}

#[tokio::test(start_paused = true)]
async fn aborting_the_task_that_reads_is_a_crash_and_others_take_over() {
    let broker = broker(2).await;
    publish_numbers(&broker, 0..4).await;
    let mut first = Reader::join(&broker).await;
    let mut second = Reader::join(&broker).await;
    first.events();
    second.messages();
    let task = tokio::spawn(async move { while first.next().await.is_some() {} });
    tokio::task::yield_now().await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let event = tokio::time::timeout(secs(1), second.next()).await.unwrap();
    assert!(matches!(event, Some(SubscriptionEvent::Assigned { resume, .. }) if resume.unclean));
    assert!(second.messages().iter().all(|incoming| incoming.deliveries == 2));
}

#[tokio::test(start_paused = true)]
async fn closing_gives_everything_back_in_order_at_once() {
    let broker = broker(1).await;
    publish_numbers(&broker, 0..4).await;
    let mut first = Reader::join(&broker).await;
    let messages = first.messages();
    first.apply(&messages[2], Settle::Ack).await;
    drop(first.control.close());
    assert!(first.next().await.is_none(), "the stream ends, although the future was dropped");
    first.control.close().await;
    first.stale(&messages[0], Settle::Ack).await;
    assert!(!unclean_next(&broker).await);
    let mut third = Reader::join(&broker).await;
    let again = third.messages();
    assert_eq!(numbers(&again), [0, 1, 3]);
    assert!(again.iter().all(|incoming| incoming.deliveries == 2));
}

#[tokio::test(start_paused = true)]
async fn closing_wakes_a_waiting_stream() {
    let broker = broker(1).await;
    let mut reader = Reader::join(&broker).await;
    reader.events();
    let Reader { mut events, control, .. } = reader;
    let waiting = tokio::spawn(async move { std::future::poll_fn(|cx| events.as_mut().poll_next(cx)).await });
    tokio::task::yield_now().await;
    control.close().await;
    assert!(tokio::time::timeout(secs(1), waiting).await.unwrap().unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn epochs_rise_with_every_assignment() {
    let broker = broker(1).await;
    for expected in 1..5 {
        let mut reader = Reader::join(&broker).await;
        let Some(SubscriptionEvent::Assigned { epoch, term: None, .. }) = reader.next().await else { panic!() };
        assert_eq!(epoch, Epoch(expected));
        if expected % 2 == 0 {
            reader.control.close().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn more_members_than_partitions_leaves_some_idle_and_ready() {
    let broker = broker(1).await;
    let mut first = Reader::join(&broker).await;
    first.events();
    let mut second = Reader::join(&broker).await;
    assert!(second.events().is_empty() && first.events().is_empty());
    drop(first);
    second.events();
    assert_eq!(second.owned.len(), 1);
    assert!(matches!(broker.health(), convoke_core::broker::Health::Up));
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_members_of_one_group_each_have_their_own_topic() {
    const MEMBERS: usize = 500;
    let broker = broker(1).await;
    let mut readers = Vec::new();
    for number in 0..MEMBERS {
        let topic = format!("orders-{number}");
        ensure(&broker, &topic, 1).await;
        readers.push(Reader::with(&broker, SubscribeSpec::new(GROUP, vec![Topic::from(topic)])).await);
    }
    for (number, reader) in readers.iter_mut().enumerate() {
        assert_eq!(reader.events().len(), 1, "one assignment, and nothing because of the others");
        assert!(reader.owned.values().all(|(topic, ..)| *topic == Topic::from(format!("orders-{number}"))));
    }
    for left in 0..MEMBERS {
        readers[left].control.close().await;
        assert!(readers[left + 1..].iter_mut().take(1).all(|reader| reader.events().is_empty()));
    }
}
