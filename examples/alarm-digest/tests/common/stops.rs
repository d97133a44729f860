//! A store that stands still at a given moment, so that its replica can be killed there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alarm_digest::store::Store;
use alarm_digest::{AlarmDigest, AlarmStatusChanged};
use async_trait::async_trait;
use convoke::prelude::*;
use jiff::Timestamp;
use tokio::sync::Notify;

/// Where a replica stops, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    BeforePersist,
    BeforePublish,
    AfterPublish,
    BeforeAck,
}

#[derive(Debug)]
pub(crate) struct Stops {
    store: Arc<dyn Store>,
    point: Point,
    /// How often it is passed before.
    passes: AtomicUsize,
    pub(crate) reached: Arc<Notify>,
}

impl Stops {
    /// Stops at `point`, when that was passed so many times.
    pub(crate) fn new(store: Arc<dyn Store>, point: Point, passes: usize) -> Self {
        Self { store, point, passes: AtomicUsize::new(passes), reached: Arc::default() }
    }

    async fn pass(&self, point: Point) {
        if point != self.point {
            return;
        }
        // Whoever comes after the first is stopped too.
        let left = self.passes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_err() {
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
