//! How a subscription is steered.

use std::sync::Arc;
use std::time::Duration;

use convoke_broker_common::EventStream;
use convoke_core::broker::{Commit, Settled, Settlement, Subscription, SubscriptionControl};
use convoke_core::{BoxFuture, Epoch, Error, ErrorKind, PartId};

use super::state::Shared;
use crate::client::lock;

/// How long closing is waited for.
const CLOSE: Duration = Duration::from_secs(10);

pub(super) fn subscription(shared: Arc<Shared>, events: EventStream) -> Subscription {
    Subscription::new(Box::pin(events), Box::new(Control(shared)))
}

struct Control(Arc<Shared>);

impl SubscriptionControl for Control {
    fn grant(&self, part: PartId, epoch: Epoch, messages: u32, bytes: u64) {
        self.0.grant(part, epoch, messages, bytes);
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'static, Vec<Settled>> {
        let refused = || Settled::Failed(Error::new(ErrorKind::Unsupported, "Kafka settles by position; use `commit`"));
        let answers = batch.iter().map(|_| refused()).collect();
        Box::pin(std::future::ready(answers))
    }

    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'static, Vec<Settled>> {
        self.0.commit(batch)
    }

    fn revoked(&self, part: PartId, epoch: Epoch) {
        if let Some(part) = lock(&self.0.state).owned(part, epoch) {
            part.through = true;
        }
        self.0.nudge();
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.0.close();
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.ended(CLOSE).await })
    }
}
