//! Brokers that settle by position, as Kafka does: what is done above the committed position travels with the commit.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use convoke::memory::{Guise, MemoryBroker, Options};
use convoke::prelude::*;
use serde::{Deserialize, Serialize};
use support::{Journal, ms, status};
use tokio::sync::Notify;

#[event(topic = "positions.steps", key = number)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Step {
    number: u64,
}

/// Every third step waits until the gate is open.
#[derive(Clone, Default)]
struct Gate(Arc<(AtomicBool, Notify)>);

impl Gate {
    async fn pass(&self) {
        loop {
            let opened = self.0.1.notified();
            if self.0.0.load(Ordering::SeqCst) {
                return;
            }
            opened.await;
        }
    }

    fn open(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify_waiters();
    }
}

#[handler(name = "walk", concurrency = 4096, retry(attempts = 5, backoff = "10m..10m", jitter = 0))]
async fn walk(
    step: Step,
    meta: Meta<'_>,
    State(seen): State<Journal<(u64, u32)>>,
    State(gate): State<Gate>,
) -> Result<(), BoxError> {
    if step.number.is_multiple_of(3) {
        gate.pass().await;
    }
    seen.note((step.number, meta.attempt()));
    if step.number == 1 && meta.attempt() == 1 { Err("the first step is the hardest".into()) } else { Ok(()) }
}

async fn start(broker: &MemoryBroker, seen: &Journal<(u64, u32)>, gate: &Gate) -> AppHandle {
    let app = App::new("positions").only(["walk"]).state(seen.clone()).state(gate.clone()).in_flight(4096, 16 << 20).quiet();
    app.broker(Arc::new(broker.another())).start().await.unwrap()
}

async fn publish(app: &AppHandle, range: std::ops::Range<u64>) {
    let steps: Vec<_> = range.map(|number| Step { number }).collect();
    for answer in app.publisher().publish_all(&steps).await {
        answer.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn when_a_commit_has_no_more_room_the_intake_stops_and_says_so_until_it_has() {
    let options = Options::default().partitions(1).guise(Guise::Kafka).progress(1000);
    let (broker, seen, gate) = (MemoryBroker::with(options).unwrap(), Journal::new(), Gate::default());
    let app = start(&broker, &seen, &gate).await;
    publish(&app, 0..300).await;
    tokio::time::sleep(ms(1000)).await;
    assert_eq!((seen.len(), status(&app, "walk").await.full), (200, 0), "there is room");
    publish(&app, 300..6000).await;
    tokio::time::sleep(ms(1000)).await;
    let (before, now) = (seen.len(), status(&app, "walk").await);
    assert_eq!(now.full, 1, "{now:?}");
    assert!(before < 3500 && now.lag.and_then(|lag| lag.backlog).unwrap() > 500, "{before} are done, {now:?}");
    gate.open();
    app.settled().await;
    let now = status(&app, "walk").await;
    assert_eq!((now.full, now.handled, seen.len()), (0, 6000, 6001), "the first step took two attempts");
    assert!(app.drain().await.clean);
}

#[tokio::test(start_paused = true)]
async fn after_a_death_nothing_is_repeated_that_was_committed_and_attempts_and_delays_are_kept() {
    let options = Options::default().partitions(1).guise(Guise::Kafka);
    let (broker, seen, gate) = (MemoryBroker::with(options).unwrap(), Journal::new(), Gate::default());
    let app = start(&broker, &seen, &gate).await;
    publish(&app, 0..300).await;
    tokio::time::sleep(ms(1000)).await;
    assert_eq!(seen.len(), 200);
    app.crash().await;
    gate.open();
    let app = start(&broker, &seen, &gate).await;
    tokio::time::sleep(ms(60_000)).await;
    let mut again: Vec<_> = seen.items()[200..].iter().map(|(number, _)| *number).collect();
    again.sort_unstable();
    assert_eq!(again, (0..100).map(|number| 3 * number).collect::<Vec<_>>(), "only what was not done");
    app.settled().await;
    let all = seen.all();
    let (at, (number, attempt)) = all.last().unwrap();
    assert_eq!((*number, *attempt), (1, 2), "an attempt that failed before the death is counted");
    assert!(*at >= ms(600_000) && *at < ms(601_000), "and its delay is waited out: {at:?}");
    assert_eq!(seen.len(), 301);
    assert!(app.drain().await.clean);
}
