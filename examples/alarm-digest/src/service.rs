//! The service: two handlers, and a reminder.

use std::sync::Arc;
use std::time::Duration;

use convoke::prelude::*;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::events::{AlarmStatusChanged, SendAlarmDigest, Status};
use crate::rules;
use crate::store::Store;

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Desk {
    store: Arc<dyn Store>,
    hurry: bool,
    begun: (Timestamp, Instant),
}

impl Desk {
    /// A desk on a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, hurry: false, begun: (Timestamp::now(), Instant::now()) }
    }

    /// Whether a critical alarm is told at once.
    #[must_use]
    pub fn hurry(self, hurry: bool) -> Self {
        Self { hurry, ..self }
    }

    /// The time, which tests let pass as they like.
    fn now(&self) -> Timestamp {
        let (time, instant) = self.begun;
        time.saturating_add(instant.elapsed()).unwrap_or(Timestamp::MAX)
    }
}

// ANCHOR: handlers
/// Notes a change. It is on disk before its message is acknowledged.
#[handler(group = "alarm-digest", lane = "user", concurrency = 64)]
async fn note_change(change: AlarmStatusChanged, State(desk): State<Desk>) -> Result<Option<SendAlarmDigest>, BoxError> {
    rules::check(&change).map_err(permanent)?;
    let news = desk.store.note(&change, desk.now()).await.map_err(unavailable)?;
    let at_once = news && desk.hurry && change.status == Status::Critical;
    Ok(at_once.then_some(SendAlarmDigest { user_id: change.user_id }))
}

/// Tells a user what is new. A digest is on disk before it is published, so that it is the same one if it has to be published again,
/// and is forgotten once the broker has it.
#[handler(group = "alarm-digest", lane = "user", concurrency = 64)]
async fn send_digest(request: SendAlarmDigest, State(desk): State<Desk>, publisher: Publisher) -> Result<(), BoxError> {
    for digest in desk.store.seal(&request.user_id).await.map_err(unavailable)? {
        publisher.publish(&digest).id(digest.id()).await.map_err(unavailable)?;
        desk.store.sent(&digest).await.map_err(unavailable)?;
    }
    Ok(())
}
// ANCHOR_END: handlers

// ANCHOR: remind
/// Asks for the digests of users whose news have waited for so long. Runs until it is dropped.
pub async fn remind(publisher: Publisher, desk: Desk, wait: Duration) {
    loop {
        tokio::time::sleep(wait / 4).await;
        if let Err(error) = remind_once(&publisher, &desk, wait).await {
            tracing::warn!(%error, "reminders will be sent later");
        }
    }
}
// ANCHOR_END: remind

async fn remind_once(publisher: &Publisher, desk: &Desk, wait: Duration) -> Result<(), BoxError> {
    let now = desk.now();
    for user_id in desk.store.waiting(now - wait).await? {
        publisher.publish(&SendAlarmDigest { user_id: user_id.clone() }).await?;
        desk.store.waits(&user_id, now).await?;
    }
    Ok(())
}
