//! Topics that are read by a pattern: those that are there, and those that appear.

use convoke_core::broker::{Broker, EnsureMode, GroupSpec, Settle, Start, SubscribeSpec, Topology};
use convoke_core::{ErrorKind, Message, Outgoing, Topic};
use convoke_memory::MemoryBroker;

use crate::harness::*;

const REGIONS: &str = "orders.{region}";

fn by_pattern() -> SubscribeSpec {
    SubscribeSpec::new(GROUP, vec![Topic::from(REGIONS)])
}

async fn publish_to(broker: &MemoryBroker, topic: &'static str, payload: u32) {
    publish(broker, vec![Outgoing::new(Message::builder(topic).payload(payload.to_string()).build())]).await;
}

async fn group(broker: &MemoryBroker, start: Start) {
    let mut spec = GroupSpec::new(GROUP, vec![Topic::from(REGIONS)]);
    spec.start = start;
    let mut topology = Topology::default();
    topology.groups.push(spec);
    let missing = broker.ensure(&topology, EnsureMode::Check).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    broker.ensure(&topology, EnsureMode::Create).await.unwrap();
    broker.ensure(&topology, EnsureMode::Check).await.unwrap();
}

async fn lag_of(broker: &MemoryBroker) -> u64 {
    broker.lag(GROUP, &[Topic::from(REGIONS)]).await.unwrap().backlog.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_pattern_reads_the_topics_that_are_there_and_those_that_appear_and_no_others() {
    let broker = MemoryBroker::new();
    ensure(&broker, "orders.eu", 2).await;
    publish_to(&broker, "orders.eu", 1).await;
    let mut reader = Reader::with(&broker, by_pattern()).await;
    assert_eq!(numbers(&reader.messages()), [1]);
    for topic in ["orders.us", "orders.us.west", "orders", "orders.dead", "stock.us"] {
        ensure(&broker, topic, 3).await;
        publish_to(&broker, topic, 2).await;
    }
    assert_eq!(numbers(&reader.messages()), [2]);
    let mut topics: Vec<_> = reader.owned.values().map(|(topic, ..)| topic.to_string()).collect();
    topics.sort();
    assert_eq!(topics, ["orders.eu", "orders.eu", "orders.us", "orders.us", "orders.us"]);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_appears_is_shared_among_the_members_and_moves_with_them() {
    let broker = MemoryBroker::new();
    let mut readers = vec![Reader::with(&broker, by_pattern()).await, Reader::with(&broker, by_pattern()).await];
    ensure(&broker, "orders.eu", 4).await;
    readers.iter_mut().for_each(|reader| drop(reader.events()));
    assert_eq!(readers.iter().map(|reader| reader.owned.len()).collect::<Vec<_>>(), [2, 2]);
    readers.push(Reader::with(&broker, by_pattern()).await);
    ensure(&broker, "orders.us", 4).await;
    for _ in 0..2 {
        readers.iter_mut().for_each(|reader| drop(reader.events()));
    }
    for topic in ["orders.eu", "orders.us"] {
        let of =
            |reader: &Reader| reader.owned.values().filter(|(other, ..)| other.as_str() == topic).map(|owned| owned.1).collect();
        let mut all: Vec<u32> = readers.iter().flat_map(|reader| -> Vec<u32> { of(reader) }).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3], "each has one owner");
    }
    let last = readers.pop().unwrap();
    last.control.close().await;
    for _ in 0..2 {
        readers.iter_mut().for_each(|reader| drop(reader.events()));
    }
    assert_eq!(readers.iter().map(|reader| reader.owned.len()).sum::<usize>(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_group_keeps_what_came_to_topics_that_appeared_while_nobody_read() {
    let broker = MemoryBroker::new();
    ensure(&broker, "orders.eu", 1).await;
    publish_to(&broker, "orders.eu", 1).await;
    group(&broker, Start::New).await;
    ensure(&broker, "orders.us", 1).await;
    publish_to(&broker, "orders.us", 2).await;
    publish_to(&broker, "orders.eu", 3).await;
    assert_eq!(lag_of(&broker).await, 2, "what was there before the group is not its own");
    let mut reader = Reader::with(&broker, by_pattern()).await;
    let messages = reader.messages();
    let mut seen = numbers(&messages);
    seen.sort_unstable();
    assert_eq!(seen, [2, 3]);
    for message in &messages {
        reader.apply(message, Settle::Ack).await;
    }
    assert_eq!(lag_of(&broker).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_appears_while_the_connection_is_cut_is_assigned_when_it_is_back() {
    let broker = MemoryBroker::new();
    let mut reader = Reader::with(&broker, by_pattern()).await;
    ensure(&broker, "orders.eu", 1).await;
    reader.events();
    let faults = broker.faults().unwrap();
    faults.inject(convoke_core::broker::Fault::Cut { down: secs(5) }).unwrap();
    reader.events();
    pass(secs(6)).await;
    ensure(&broker, "orders.us", 1).await;
    publish_to(&broker, "orders.us", 7).await;
    assert_eq!(numbers(&reader.messages()), [7]);
    assert_eq!(reader.owned.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_broker_without_patterns_refuses_them() {
    let broker = MemoryBroker::with(convoke_memory::Options::default().patterns(false)).unwrap();
    assert!(!broker.capabilities().patterns);
    assert_eq!(broker.subscribe(by_pattern()).await.unwrap_err().kind(), ErrorKind::Unsupported);
}
