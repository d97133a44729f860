//! A replica dies at the worst moments, and another goes on.

mod common;

use std::sync::Arc;

use alarm_digest::scenario::Ledger;
use alarm_digest::store::Store;
use alarm_digest::{Desk, SendAlarmDigest};
use common::stops::{Point, Stops};
use common::{USER, change, store};
use convoke::prelude::*;

async fn dies(point: Point) -> TestResult {
    let (store, ledger) = (store(), Ledger::default());
    let broker = format!("memory://crashes-{point:?}");
    let app = |store: Arc<dyn Store>| App::new("alarm-digest").url(broker.clone()).state(ledger.clone()).state(Desk::new(store));

    let stops = Arc::new(Stops::new(Arc::clone(&store), point, 0));
    let reached = Arc::clone(&stops.reached);
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
