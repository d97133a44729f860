//! What the broker does in a guise, below everything that emulates it.

use std::time::Duration;

use convoke_core::broker::{
    Broker as _, Capabilities, Commit, Delay, HeaderValues, LeaseKind, Mark, Progress, PublishOutcome, Settle, SettleBy, Settled,
    Start, SubscriptionEvent,
};
use convoke_core::{ErrorKind, Message, Outgoing, PartId, Position};
use convoke_memory::{Guise, Leases, MemoryBroker, Options, Rebalance};

use crate::harness::*;

fn as_(guise: Guise) -> Options {
    Options::default().guise(guise)
}

fn refusal(settled: &Settled) -> Option<ErrorKind> {
    if let Settled::Failed(error) = settled { Some(error.kind()) } else { None }
}

async fn commit(reader: &Reader, upto: u64, done: &[(u64, u64)], marks: Vec<Mark>) -> Settled {
    let mut progress = Progress::default();
    progress.done = done.iter().map(|(first, last)| (Position::Offset(*first), Position::Offset(*last))).collect();
    progress.marks = marks;
    let commit = Commit::new(PartId(0), reader.epoch(0), Position::Offset(upto), progress);
    reader.control.commit(vec![commit]).await.pop().unwrap()
}

#[test]
fn each_guise_declares_what_it_does() {
    let of = |guise| MemoryBroker::with(as_(guise)).unwrap().capabilities().clone();
    let [kafka, eager, nats, redis, rabbit] = Guise::ALL.map(of);
    for log in [&kafka, &eager] {
        assert_eq!((log.settle, log.delay, log.lease), (SettleBy::Watermark, Delay::Republish, LeaseKind::None));
        assert_eq!((log.progress, log.marks, log.stable_positions), (Some(4096), false, true));
    }
    let native = |capabilities: &Capabilities| matches!(capabilities.delay, Delay::Native { .. });
    assert!(native(&nats) && native(&redis) && !native(&rabbit));
    assert_eq!((nats.header_values, redis.header_values), (HeaderValues::Text, HeaderValues::Binary));
    assert_eq!([kafka.expiry, nats.expiry, redis.expiry, rabbit.expiry], [false, true, false, true]);
    assert!(rabbit.drops_unrouted && !rabbit.stable_positions && !rabbit.start_positions && !rabbit.marks);
    assert_eq!((rabbit.lease, rabbit.patterns, rabbit.until_end), (LeaseKind::Fixed(Duration::from_secs(1800)), false, false));
}

#[tokio::test(start_paused = true)]
async fn by_watermark_only_a_commit_moves_the_group_and_its_text_is_handed_back() {
    let broker = broker_with(1, as_(Guise::Kafka)).await;
    publish_numbers(&broker, 0..10).await;
    let mut reader = Reader::join(&broker).await;
    let messages = reader.messages();
    assert_eq!(messages.len(), 10);
    for settle in [Settle::Ack, nack(Duration::ZERO, 1, false), Settle::Extend, Settle::Mark { deaths: 1 }] {
        assert_eq!(refusal(&reader.settle(&messages[0], settle).await), Some(ErrorKind::Unsupported), "{settle:?}");
    }
    assert_eq!(counts(&broker).await, (0, 10, 0));
    let mut mark = Mark::new(Position::Offset(3), 2, 1);
    mark.due_in = secs(10);
    assert!(matches!(commit(&reader, 3, &[(5, 6), (9, 9)], vec![mark]).await, Settled::Applied));
    assert_eq!(counts(&broker).await, (0, 4, 0), "3, 4, 7 and 8");
    pass(secs(4)).await;
    drop(reader);
    let mut next = Reader::with(&broker.another(), spec()).await;
    let messages = next.messages();
    assert_eq!(numbers(&messages), (3..10).collect::<Vec<_>>(), "from the committed position on");
    let resume = next.resume(0);
    assert!(resume.unclean, "whoever had it did not give it back");
    let spans = [(5, 6), (9, 9)].map(|(first, last)| (Position::Offset(first), Position::Offset(last)));
    assert_eq!(resume.progress.done, spans);
    let [kept] = resume.progress.marks[..] else { panic!("one mark: {resume:?}") };
    assert_eq!((kept.position, kept.attempts, kept.deaths), (mark.position, 2, 1));
    assert!(kept.due_in >= secs(6) && kept.due_in < secs(6) + Duration::from_millis(3), "it has waited meanwhile: {kept:?}");
    assert_eq!((messages[0].attempts, messages[0].deliveries), (0, 1), "a message itself carries nothing of it");
    next.control.close().await;
    let mut last = Reader::with(&broker.another(), spec()).await;
    last.messages();
    assert!(!last.resume(0).unclean, "it was given back");
    assert_eq!(last.resume(0).progress.done, spans);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_says_too_much_is_refused() {
    let broker = broker_with(1, as_(Guise::Kafka).progress(200)).await;
    publish_numbers(&broker, 0..200).await;
    let mut reader = Reader::join(&broker).await;
    reader.messages();
    let many: Vec<_> = (0..100).map(|i| (2 * i + 1, 2 * i + 1)).collect();
    assert_eq!(refusal(&commit(&reader, 0, &many, Vec::new()).await), Some(ErrorKind::TooLarge));
    assert_eq!(refusal(&commit(&reader, 5, &[(1, 1)], Vec::new()).await), Some(ErrorKind::Rejected), "below the position");
    assert!(matches!(commit(&reader, 0, &many[..20], Vec::new()).await, Settled::Applied));
}

#[tokio::test(start_paused = true)]
async fn credit_in_messages_ignores_bytes() {
    let broker = broker_with(1, as_(Guise::Redis)).await;
    publish(&broker, (0..5).map(|_| message("k", &"x".repeat(1000))).collect()).await;
    let mut reader = Reader::join(&broker).await.frugal();
    reader.events();
    reader.grant(3, 1);
    assert_eq!(reader.messages().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_fixed_lease_takes_the_partition_with_everything_that_was_delivered() {
    let broker = broker_with(1, as_(Guise::RabbitMq).lease(secs(30))).await;
    Reader::join(&broker).await.control.close().await;
    publish_numbers(&broker, 0..3).await;
    let mut reader = Reader::join(&broker).await;
    let messages = reader.messages();
    assert_eq!(messages.len(), 3);
    pass(secs(20)).await;
    assert_eq!(refusal(&reader.settle(&messages[0], Settle::Extend).await), Some(ErrorKind::Unsupported));
    reader.apply(&messages[0], Settle::Ack).await;
    pass(secs(11)).await;
    let mut again = Vec::new();
    let mut lost = 0;
    for event in reader.events() {
        match event {
            SubscriptionEvent::Lost { .. } => lost += 1,
            SubscriptionEvent::Deliveries(deliveries) => again.extend(deliveries.messages),
            _ => {}
        }
    }
    assert_eq!(lost, 1);
    assert_eq!(numbers(&again), [1, 2]);
    assert!(again.iter().all(|incoming| matches!(incoming.position, Position::Tag(_)) && incoming.deliveries == 2));
    reader.stale(&messages[1], Settle::Ack).await;
    reader.ack_all(&again).await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_without_delays_and_attempts_gives_a_message_again_at_once_and_forgets() {
    let broker =
        broker_with(1, Options::default().delay(Delay::InPlace).attempts(convoke_core::broker::AttemptsKept::AtLeast)).await;
    publish_numbers(&broker, 0..1).await;
    let mut reader = Reader::join(&broker).await;
    let messages = reader.messages();
    reader.apply(&messages[0], nack(secs(60), 3, false)).await;
    let again = reader.messages();
    assert_eq!((again.len(), again[0].attempts, again[0].deliveries, again[0].due_in), (1, 0, 2, None));
}

#[tokio::test(start_paused = true)]
async fn eager_rebalances_take_everything_from_everybody_first() {
    let broker = broker_with(4, Options::default().rebalance(Rebalance::Eager)).await;
    let mut first = Reader::join(&broker).await;
    first.events();
    assert_eq!(first.partitions().len(), 4);
    let mut first = first.stubborn();
    let mut second = Reader::join(&broker).await;
    let revoking =
        |events: &[SubscriptionEvent]| events.iter().filter(|event| matches!(event, SubscriptionEvent::Revoking { .. })).count();
    assert_eq!(revoking(&first.events()), 4, "all, and not only what moves");
    assert!(second.events().is_empty(), "nobody has anything before all is given back");
    pass(secs(11)).await;
    first.events();
    second.events();
    assert_eq!((first.partitions().len(), second.partitions().len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_no_queue_takes_is_dropped_or_returned() {
    let broker = broker_with(1, as_(Guise::RabbitMq)).await;
    let PublishOutcome::Confirmed(receipt) = publish_one(&broker, unkeyed(1)).await else { panic!("it is confirmed") };
    assert!(receipt.unrouted && receipt.stored.is_none());
    let mut wanted = unkeyed(2);
    wanted.require_route = true;
    assert!(matches!(publish_one(&broker, wanted.clone()).await, PublishOutcome::Unroutable));
    let mut reader = Reader::join(&broker).await;
    assert!(reader.messages().is_empty(), "a queue begins empty");
    assert!(matches!(publish_one(&broker, wanted).await, PublishOutcome::Confirmed(receipt) if !receipt.unrouted));
    assert_eq!(numbers(&reader.messages()), [2]);
    let elsewhere = broker.subscribe(spec_of("other", Start::New)).await;
    assert_eq!(elsewhere.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn header_values_travel_as_text_and_come_back_as_they_were() {
    let broker = broker_with(1, as_(Guise::Nats)).await;
    let binary: Vec<u8> = (0..=255).collect();
    let message = Message::builder(TOPIC).header("ce-id", "naïve ☃").header("x-bytes", binary.clone()).payload("1").build();
    publish(&broker, vec![Outgoing::new(message)]).await;
    let stored = &broker.messages(TOPIC)[0];
    assert!(stored.headers().iter().all(|(_, value)| value.iter().all(|byte| (0x20..0x7f).contains(byte))), "{stored:?}");
    let mut reader = Reader::join(&broker).await;
    let messages = reader.messages();
    assert_eq!(messages[0].message.id(), Some("naïve ☃"));
    assert_eq!(messages[0].message.headers().get("x-bytes").unwrap(), &binary);
}

#[tokio::test(start_paused = true)]
async fn entry_ids_stand_for_places_in_the_log() {
    let broker = broker_with(1, as_(Guise::Redis)).await;
    publish_numbers(&broker, 0..40).await;
    let mut reader = Reader::with(&broker, spec_of(GROUP, Start::At(Position::Entry(2, 3)))).await;
    let messages = reader.messages();
    assert_eq!((messages[0].position, numbers(&messages)[0]), (Position::Entry(2, 3), 35));
    reader.ack_all(&messages).await;
    assert_eq!(counts(&broker).await, (0, 0, 0));
}

#[test]
fn a_guise_that_cannot_be_is_refused() {
    for options in [as_(Guise::Kafka).leases(Leases::Extendable), as_(Guise::Kafka).delay(Delay::Native { max: secs(1) })] {
        assert_eq!(MemoryBroker::with(options).unwrap_err().kind(), ErrorKind::InvalidUrl);
    }
}
