//! What a real Kafka has discarded before it was read.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use convoke::prelude::*;
use convoke_core::Outgoing;
use convoke_core::broker::{BrokerConfig, BrokerUrl, EnsureMode, PublishOutcome, TopicSpec, Topology};
use convoke_servers::{Kind, Server};
use serde::{Deserialize, Serialize};
use serde_json::json;

const PARTITIONS: u32 = 64;

#[event(topic = "gaps", key = number)]
#[derive(Debug, Serialize, Deserialize)]
struct Number {
    number: u64,
}

type Seen = Arc<Mutex<Vec<u64>>>;

#[handler(group = "readers")]
async fn read(number: Number, State(seen): State<Seen>) {
    seen.lock().unwrap().push(number.number);
}

/// The client tells of each partition by an error of its own that does not say of which, and each look takes as long as a fetch waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_in_each_of_many_partitions_interrupts_nothing_and_repeats_nothing() {
    let server = Server::launch(Kind::Kafka).await.unwrap_or_else(|stop| panic!("{stop}"));
    let open = || convoke_kafka::open(BrokerConfig::new(BrokerUrl::parse(server.url()).unwrap(), "gaps"));
    let broker = open().await.unwrap();
    let publish = async |numbers: std::ops::Range<u64>| {
        let outgoing = |number| Outgoing::new(convoke_core::encode(&Number { number }).unwrap().build());
        let outcomes = broker.publish(numbers.map(outgoing).collect()).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, PublishOutcome::Confirmed(_))), "{outcomes:?}");
    };
    let mut topic = TopicSpec::new("gaps");
    topic.partitions = Some(PARTITIONS);
    let mut topology = Topology::default();
    topology.topics.push(topic);
    broker.ensure(&topology, EnsureMode::Create).await.unwrap();
    publish(0..1000).await;
    for (run, expected) in [0..1000, 2000..3000].into_iter().enumerate() {
        let seen = Seen::default();
        let app = App::new("gaps").broker(open().await.unwrap()).state(Arc::clone(&seen)).until_end().quiet();
        let app = app.start().await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), app.ended()).await.expect("it ends");
        let gaps: u64 = app.status().await.handlers.iter().map(|handler| handler.gaps).sum();
        app.drain().await;
        seen.lock().unwrap().sort_unstable();
        assert_eq!(*seen.lock().unwrap(), expected.collect::<Vec<_>>(), "what run {run} has read");
        assert_eq!(gaps, if run == 0 { 0 } else { PARTITIONS.into() }, "gaps that run {run} tells of");
        publish(1000..2000).await;
        server.client().await.unwrap().ask(&json!({ "do": "discard", "topic": "gaps" })).await.unwrap();
        publish(2000..3000).await;
    }
}
