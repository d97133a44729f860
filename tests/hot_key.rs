//! One hot key among many: who has to wait for it, and for how long.
//!
//! A partition delivers in order, and what is in flight is bounded. While one key is slow, its followers fill the room that its
//! partition has. With much room (512 messages, the default) nothing else notices. With little (16) the partition of the hot
//! key delivers no more until some of them are done, and with it every other key in it: that is what a log is. Keys in other
//! partitions must not notice even then, because half of the room is divided between the partitions and cannot be taken.
#![allow(clippy::print_stdout, reason = "the measured numbers are for people")]

mod support;

use std::time::Duration;

use convoke::prelude::*;
use serde::{Deserialize, Serialize};
use support::{Journal, ms};
use tokio::time::Instant;

#[event(topic = "hot.requests", key = key)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Request {
    key: String,
}

/// Key and partition of what was handled, and when.
type Handled = Journal<(String, u32)>;

#[handler(name = "serve", concurrency = 8)]
async fn serve(request: Request, meta: Meta<'_>, State(handled): State<Handled>) {
    if request.key == "hot" {
        tokio::time::sleep(ms(100)).await;
    }
    handled.note((request.key, meta.partition()));
}

/// When the other keys were handled, counted from when everything was there: outside of the hot partition, and inside.
async fn latencies(in_flight: u32) -> (Vec<Duration>, Vec<Duration>) {
    // All is published before the first is handled: by an application without this group.
    let broker = convoke::memory::MemoryBroker::named(&format!("hot-{in_flight}"));
    let url = format!("memory://hot-{in_flight}");
    let filler = TestApp::start_on(App::new("filler").state(Handled::new()).only(["serve"]), &url).await.unwrap();
    filler.pause("serve").unwrap();
    let requests: Vec<_> =
        (0..400).map(|i| Request { key: if i % 10 == 0 { "hot".to_owned() } else { format!("k{i}") } }).collect();
    for answer in filler.publisher().publish_all(&requests).await {
        answer.unwrap();
    }
    assert_eq!(broker.messages("hot.requests").len(), 400);

    let begun = Instant::now();
    let handled = Handled::new();
    let app = App::new("hot").state(handled.clone()).only(["serve"]).in_flight(in_flight, 16 << 20);
    let app = TestApp::start_on(app, &url).await.unwrap();
    app.settled().await;
    let took = begun.elapsed();
    let all = handled.all();
    assert_eq!(all.len(), 400, "{}", app.story());
    let hot: Vec<_> = all.iter().filter(|(_, (key, _))| key == "hot").collect();
    assert_eq!(hot.len(), 40);
    assert!(took >= ms(4000) && took < ms(4500), "the hot key takes what it takes: {took:?}");
    let partition = hot[0].1.1;
    let others = all.iter().filter(|(_, (key, _))| key != "hot");
    let (inside, outside): (Vec<_>, Vec<_>) = others.partition(|(_, (_, other))| *other == partition);
    let times = |some: Vec<&(Duration, _)>| some.into_iter().map(|(at, _)| *at).collect::<Vec<_>>();
    (times(outside), times(inside))
}

/// The latency that 99 of 100 stay within.
fn p99(latencies: &mut [Duration]) -> Duration {
    latencies.sort_unstable();
    latencies[(latencies.len() * 99).div_ceil(100) - 1]
}

#[tokio::test(start_paused = true)]
async fn with_the_default_bound_nobody_waits_for_a_hot_key() {
    let (mut outside, mut inside) = latencies(512).await;
    let (outside, inside) = (p99(&mut outside), p99(&mut inside));
    println!("512 in flight: p99 {outside:?} outside of the hot partition, {inside:?} inside");
    assert!(outside <= ms(3) && inside <= ms(3), "{outside:?} outside, {inside:?} inside");
}

#[tokio::test(start_paused = true)]
async fn with_a_small_bound_only_the_partition_of_the_hot_key_waits() {
    let (mut outside, mut inside) = latencies(16).await;
    let (outside, inside) = (p99(&mut outside), p99(&mut inside));
    println!("16 in flight: p99 {outside:?} outside of the hot partition, {inside:?} inside");
    assert!(outside <= ms(3), "{outside:?}");
    assert!(inside <= ms(4100), "no longer than the hot key itself: {inside:?}");
}
