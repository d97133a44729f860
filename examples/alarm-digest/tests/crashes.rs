//! A replica dies at the worst moments, and another goes on.

mod common;

use std::sync::Arc;

use alarm_digest::scenario::Ledger;
use alarm_digest::store::Store;
use alarm_digest::{AlarmDigest, AlarmStatusChanged, Desk, SendAlarmDigest};
use async_trait::async_trait;
use common::{USER, change, store};
use convoke::prelude::*;
use jiff::Timestamp;
use tokio::sync::Notify;

/// Where a replica stops, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    BeforePersist,
    BeforePublish,
    AfterPublish,
    BeforeAck,
}

#[derive(Debug)]
struct Stops {
    store: Arc<dyn Store>,
    point: Point,
    reached: Arc<Notify>,
}

impl Stops {
    async fn pass(&self, point: Point) {
        if point == self.point {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Store for Stops {
    async fn note(&self, change: &AlarmStatusChanged, now: Timestamp) -> Result<bool, BoxError> {
        self.pass(Point::BeforePersist).await;
        self.store.note(change, now).await
    }

    async fn seal(&self, user: &str) -> Result<Vec<AlarmDigest>, BoxError> {
        let digests = self.store.seal(user).await?;
        self.pass(Point::BeforePublish).await;
        Ok(digests)
    }

    async fn sent(&self, digest: &AlarmDigest) -> Result<(), BoxError> {
        self.pass(Point::AfterPublish).await;
        self.store.sent(digest).await?;
        self.pass(Point::BeforeAck).await;
        Ok(())
    }

    async fn waiting(&self, before: Timestamp) -> Result<Vec<String>, BoxError> {
        self.store.waiting(before).await
    }

    async fn waits(&self, user: &str, now: Timestamp) -> Result<(), BoxError> {
        self.store.waits(user, now).await
    }
}

async fn dies(point: Point) -> TestResult {
    let (store, reached, ledger) = (store(), Arc::new(Notify::new()), Ledger::default());
    let broker = format!("memory://crashes-{point:?}");
    let app = |store: Arc<dyn Store>| App::new("alarm-digest").url(broker.clone()).state(ledger.clone()).state(Desk::new(store));

    let stops = Arc::new(Stops { store: Arc::clone(&store), point, reached: Arc::clone(&reached) });
    let first = app(stops).start().await?;
    for text in ["C1", "W2 of b"] {
        first.publisher().publish(&change(text)).await?;
    }
    let request = SendAlarmDigest { user_id: USER.to_owned() };
    if point != Point::BeforePersist {
        first.publisher().publish(&request).await?;
    }
    reached.notified().await;
    first.crash().await;

    let second = app(store).start().await?;
    second.settled().await;
    second.publisher().publish(&request).await?;
    second.settled().await;
    let told = ledger.told();
    let alarms: Vec<_> = told.iter().flat_map(|digest| &digest.active_alarms).map(|alarm| alarm.alarm_id.as_str()).collect();
    assert_eq!(alarms.len(), 2, "each once, by its digest's id: {told:?}");
    assert!(alarms.contains(&"a") && alarms.contains(&"b"), "none is lost: {told:?}");
    assert!(second.drain().await.clean);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn before_a_change_is_on_disk() -> TestResult {
    dies(Point::BeforePersist).await
}

#[tokio::test(start_paused = true)]
async fn before_a_digest_is_published() -> TestResult {
    dies(Point::BeforePublish).await
}

#[tokio::test(start_paused = true)]
async fn after_a_digest_was_published() -> TestResult {
    dies(Point::AfterPublish).await
}

#[tokio::test(start_paused = true)]
async fn before_a_request_is_acknowledged() -> TestResult {
    dies(Point::BeforeAck).await
}
