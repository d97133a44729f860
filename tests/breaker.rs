//! A breaker around a handler: while it is open messages wait in their order, and lose nothing by it.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use convoke::layers::BreakerLayer;
use convoke::layers::breaker::State as Breaker;
use convoke::prelude::*;
use serde::{Deserialize, Serialize};
use support::{Journal, ms, status};
use tower::ServiceBuilder;
use tower::timeout::TimeoutLayer;

#[event(topic = "breaker.jobs", key = key)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Job {
    key: u64,
    number: u64,
    poison: bool,
}

#[derive(Clone)]
struct Database {
    down: Arc<AtomicBool>,
    /// Whether it does not answer at all while it is down.
    hangs: bool,
    calls: Journal<(u64, u32)>,
    done: Journal<(u64, u64)>,
}

impl Database {
    fn new(hangs: bool) -> Self {
        Self { down: Arc::default(), hangs, calls: Journal::new(), done: Journal::new() }
    }

    async fn write(&self, job: &Job, attempt: u32) -> Result<(), BoxError> {
        self.calls.note((job.number, attempt));
        tokio::time::sleep(ms(20)).await;
        if job.poison {
            return Err(permanent("no such account").into());
        }
        if self.down.load(SeqCst) {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            return Err("connection refused".into());
        }
        self.done.note((job.key, job.number));
        Ok(())
    }

    /// The numbers that were done, by key, in order.
    fn by_key(&self) -> BTreeMap<u64, Vec<u64>> {
        let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
        self.done.items().into_iter().for_each(|(key, number)| by_key.entry(key).or_default().push(number));
        by_key
    }
}

#[handler(name = "book", retry(attempts = 4, backoff = "200ms..1s"))]
async fn book(job: Job, meta: Meta<'_>, State(database): State<Database>) -> Result<(), BoxError> {
    database.write(&job, meta.attempt()).await
}

#[handler(name = "store", batch(size = 4, wait = "10ms"), retry(attempts = 4, backoff = "200ms..1s"))]
async fn store(jobs: Batch<Job>, meta: Meta<'_>, State(database): State<Database>) -> BatchReply {
    let mut reply = BatchReply::new();
    for item in jobs.items() {
        if let Err(error) = database.write(&item.event, meta.attempt()).await {
            reply.fail(item.index, error);
        }
    }
    reply
}

#[handler(name = "count")]
async fn count(_job: Job) {}

async fn start(handlers: &[&str], hangs: bool, configure: impl FnOnce(App) -> App) -> (TestApp, Database) {
    let database = Database::new(hangs);
    let app = App::new("breaker").state(database.clone()).only(handlers.iter().copied());
    (TestApp::start(configure(app)).await.unwrap(), database)
}

async fn publish(app: &TestApp, numbers: std::ops::Range<u64>) {
    for number in numbers {
        app.publish(&Job { key: number % 6, number, poison: false }).await.unwrap();
    }
}

async fn settled(app: &TestApp) {
    if tokio::time::timeout(Duration::from_secs(3600), app.settled()).await.is_err() {
        panic!("it hangs: {:#?}\n{}", app.status().await, app.story());
    }
}

fn in_order(count: u64) -> BTreeMap<u64, Vec<u64>> {
    (0..6).map(|key| (key, (0..count).filter(|number| number % 6 == key).collect())).collect()
}

#[tokio::test(start_paused = true)]
async fn while_a_dependency_is_down_messages_wait_in_order_and_none_is_given_up() {
    for handler in ["book", "store"] {
        for hangs in [false, true] {
            let breaker = BreakerLayer::new().opens_at(5, 8);
            let breakers = breaker.breakers();
            let layers = ServiceBuilder::new().layer(breaker).layer(TimeoutLayer::new(Duration::from_secs(2))).into_inner();
            let (app, database) = start(&[handler], hangs, |app| app.handler_layer(handler, layers)).await;
            publish(&app, 0..60).await;
            settled(&app).await;
            assert_eq!(breakers.of(handler), Some(Breaker::Closed));
            database.down.store(true, SeqCst);
            publish(&app, 60..120).await;
            app.advance(Duration::from_secs(30)).await;
            let opened = status(&app, handler).await;
            assert!(opened.suspended && breakers.of(handler).unwrap().is_open(), "{handler}, {hangs}: {opened:?}");
            let calls = database.calls.len();
            app.advance(Duration::from_secs(1800)).await;
            let still = status(&app, handler).await;
            assert_eq!(
                (still.failed, still.dead, still.handled),
                (opened.failed, 0, 60),
                "{handler}, {hangs}: nothing is counted"
            );
            let probes = database.calls.len() - calls;
            assert!((40..=130).contains(&probes), "{handler}, {hangs}: {probes} calls in half an hour");
            database.down.store(false, SeqCst);
            settled(&app).await;
            assert_eq!(database.by_key(), in_order(120), "{handler}, {hangs}\n{}", app.story());
            let after = status(&app, handler).await;
            assert_eq!((after.handled, after.dead, after.suspended), (120, 0, false), "{handler}, {hangs}");
            assert_eq!(breakers.of(handler), Some(Breaker::Closed));
            assert!(database.calls.items().iter().all(|call| call.1 <= 4), "what failed before it opened");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_breaker_the_same_messages_are_given_up() {
    let (app, database) = start(&["book"], false, |app| app).await;
    database.down.store(true, SeqCst);
    publish(&app, 0..12).await;
    settled(&app).await;
    assert_eq!(status(&app, "book").await.dead, 12);
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_wrong_do_not_open_a_breaker() {
    let breaker = BreakerLayer::new().opens_at(3, 3);
    let breakers = breaker.breakers();
    let (app, _database) = start(&["book", "store"], false, |app| app.layer(breaker)).await;
    for number in 0..40 {
        app.publish(&Job { key: number, number, poison: true }).await.unwrap();
    }
    settled(&app).await;
    for handler in ["book", "store"] {
        let status = status(&app, handler).await;
        assert_eq!((status.dead, status.suspended, breakers.of(handler)), (40, false, Some(Breaker::Closed)), "{handler}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_handler_has_a_breaker_of_its_own() {
    let breaker = BreakerLayer::new().opens_at(2, 2);
    let breakers = breaker.breakers();
    let (app, database) = start(&["book", "count"], false, |app| app.layer(breaker)).await;
    database.down.store(true, SeqCst);
    publish(&app, 0..30).await;
    app.advance(Duration::from_secs(60)).await;
    assert_eq!((breakers.of("book").unwrap().is_open(), breakers.of("count")), (true, Some(Breaker::Closed)));
    assert_eq!((status(&app, "book").await.handled, status(&app, "count").await.handled), (0, 30));
    let [book, _] = &breakers.all()[..] else { panic!("one for each handler") };
    assert_eq!((&*book.handler, &*book.group), ("book", "breaker.book"));
    assert!(book.open_for.is_some_and(|open_for| open_for < Duration::from_secs(31)), "{book:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_while_it_is_open_gives_back_what_waits_without_an_attempt() {
    let url = "memory://breaker-drain";
    let database = Database::new(false);
    let app = |database: &Database| {
        App::new("breaker").state(database.clone()).only(["book"]).layer(BreakerLayer::new().opens_at(1, 1))
    };
    let first = TestApp::start_on(app(&database), url).await.unwrap();
    database.down.store(true, SeqCst);
    publish(&first, 0..12).await;
    first.advance(Duration::from_secs(60)).await;
    assert!(first.drain().await.clean);
    database.down.store(false, SeqCst);
    let calls = database.calls.len();
    let second = TestApp::start_on(app(&database), url).await.unwrap();
    settled(&second).await;
    assert_eq!(database.by_key(), in_order(12));
    assert!(database.calls.items()[calls..].iter().all(|call| call.1 == 1), "{:?}", database.calls.items());
}
