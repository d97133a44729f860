//! Reading to a marked end on a real Kafka.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use convoke::prelude::*;
use convoke_core::Outgoing;
use convoke_core::broker::{BrokerConfig, BrokerUrl, EnsureMode, PublishOutcome, TopicSpec, Topology};
use convoke_servers::{Kind, Server};
use serde::{Deserialize, Serialize};

#[event(topic = "marked", key = key)]
#[derive(Debug, Serialize, Deserialize)]
struct Number {
    key: u64,
    number: u64,
}

type Seen = Arc<Mutex<Vec<u64>>>;

#[handler(group = "readers")]
async fn read(number: Number, State(seen): State<Seen>) {
    seen.lock().unwrap().push(number.number);
}

/// What is published before the reader's first fetch comes with it, on Kafka in one batch, and is behind the mark all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fetched_from_behind_the_mark_is_left_for_the_next_run() {
    let server = Server::launch(Kind::Kafka).await.unwrap_or_else(|stop| panic!("{stop}"));
    let open = || convoke_kafka::open(BrokerConfig::new(BrokerUrl::parse(server.url()).unwrap(), "marked"));
    let broker = open().await.unwrap();
    let publish = async |numbers: std::ops::Range<u64>| {
        let outgoing = |number| Outgoing::new(convoke_core::encode(&Number { key: number % 4, number }).unwrap().build());
        let outcomes = broker.publish(numbers.map(outgoing).collect()).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, PublishOutcome::Confirmed(_))), "{outcomes:?}");
    };
    let mut topology = Topology::default();
    topology.topics.push(TopicSpec::new("marked"));
    broker.ensure(&topology, EnsureMode::Create).await.unwrap();
    publish(0..40).await;
    for (run, expected) in [(0..40).collect::<Vec<u64>>(), (40..80).collect(), Vec::new()].into_iter().enumerate() {
        let seen = Seen::default();
        let app = App::new("marked").broker(open().await.unwrap()).state(Arc::clone(&seen)).until_end().quiet();
        let app = app.start().await.unwrap();
        if run == 0 {
            publish(40..80).await;
        }
        tokio::time::timeout(Duration::from_secs(60), app.ended()).await.expect("it ends");
        app.drain().await;
        seen.lock().unwrap().sort_unstable();
        assert_eq!(*seen.lock().unwrap(), expected, "what run {run} has read");
    }
}
