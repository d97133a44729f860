//! What the two halves of a subscription and its tasks share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use convoke_broker_common::Events;
use convoke_core::broker::{Commit, Settled, Settlement, SubscriptionControl};
use convoke_core::{BoxFuture, Epoch, Error, ErrorKind, PartId, Topic};
use tokio::sync::{Notify, oneshot, watch};

use super::part::{Part, Reading};
use crate::keys::GroupKeys;
use crate::publish::Known;

/// A topic that is read.
pub(crate) struct ReadTopic {
    pub(crate) name: Topic,
    pub(crate) known: Arc<Known>,
    pub(crate) keys: GroupKeys,
    /// Whether clients that know nothing of partitions may write to a stream of its name.
    pub(crate) has_foreign: bool,
}

/// A subscription: what is ours of it, and what is asked for.
pub(crate) struct Desk {
    pub(crate) group: String,
    /// The name of this member, made anew for each subscription.
    pub(crate) me: String,
    /// By name, so that all members of a group begin with the same one.
    pub(crate) topics: Vec<ReadTopic>,
    pub(crate) broadcast: bool,
    /// How long there is to finish with a partition that another member is to have.
    pub(crate) revoke: Duration,
    pub(crate) events: Events,
    parts: Mutex<Vec<Part>>,
    /// Something has changed that the member has to look at.
    pub(crate) changed: Notify,
    orders: Mutex<VecDeque<Order>>,
    pub(crate) ordered: Notify,
    /// How many orders have no answer yet.
    pub(crate) open_orders: watch::Sender<usize>,
    closing: AtomicBool,
    pub(crate) closed: watch::Sender<bool>,
    /// What was not settled when it was closed.
    pub(crate) unsettled: AtomicU64,
}

/// A call of [`SubscriptionControl::settle`].
pub(crate) struct Order {
    pub(crate) batch: Vec<Settlement>,
    pub(crate) answer: oneshot::Sender<Vec<Settled>>,
}

impl Desk {
    pub(crate) fn new(
        group: String,
        topics: Vec<ReadTopic>,
        parts: Vec<Part>,
        broadcast: bool,
        revoke: Duration,
        events: Events,
    ) -> Self {
        let me = uuid::Uuid::now_v7().simple().to_string();
        Self {
            group,
            me,
            topics,
            broadcast,
            revoke,
            events,
            parts: Mutex::new(parts),
            changed: Notify::new(),
            orders: Mutex::default(),
            ordered: Notify::new(),
            open_orders: watch::channel(0).0,
            closing: AtomicBool::new(false),
            closed: watch::channel(false).0,
            unsettled: AtomicU64::new(0),
        }
    }

    pub(crate) fn parts(&self) -> MutexGuard<'_, Vec<Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take_orders(&self) -> VecDeque<Order> {
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(SeqCst)
    }

    /// Nobody works here any more: whoever waits for an answer is told so, also if he comes just now.
    pub(crate) fn end(&self) {
        self.closed.send_replace(true);
        drop(self.take_orders());
    }

    fn begin_to_close(&self) {
        self.closing.store(true, SeqCst);
        self.changed.notify_one();
    }

    /// Ends the subscription; says how much was not settled.
    pub(crate) async fn close(&self) -> u64 {
        self.begin_to_close();
        // The sender is ours.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
        self.unsettled.load(SeqCst)
    }
}

/// The half that steers.
pub(crate) struct Control(pub(crate) Arc<Desk>);

impl SubscriptionControl for Control {
    fn grant(&self, part: PartId, epoch: Epoch, messages: u32, _bytes: u64) {
        let wanted = {
            let mut parts = self.0.parts();
            let Some(own) = parts.get_mut(part.0 as usize).and_then(|part| part.owned(epoch)) else { return };
            let had = own.credit;
            own.credit = own.credit.saturating_add(messages);
            had == 0 && (own.reading != Reading::Drained || !own.again.is_empty() || own.due.is_some())
        };
        if wanted {
            self.0.changed.notify_one();
        }
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'static, Vec<Settled>> {
        let count = batch.len();
        let (answer, answered) = oneshot::channel();
        self.0.open_orders.send_modify(|open| *open += 1);
        self.0.orders.lock().unwrap_or_else(PoisonError::into_inner).push_back(Order { batch, answer });
        self.0.ordered.notify_one();
        if *self.0.closed.borrow() {
            drop(self.0.take_orders());
        }
        Box::pin(async move {
            let gone = || Settled::Failed(Error::new(ErrorKind::Closed, "the subscription has ended; the message comes again"));
            answered.await.unwrap_or_else(|_| (0..count).map(|_| gone()).collect())
        })
    }

    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'static, Vec<Settled>> {
        let text = "Redis settles each message by itself; there is nothing to commit";
        let refused = batch.iter().map(|_| Settled::Failed(Error::new(ErrorKind::Unsupported, text))).collect();
        Box::pin(std::future::ready(refused))
    }

    fn revoked(&self, part: PartId, epoch: Epoch) {
        if let Some(own) = self.0.parts().get_mut(part.0 as usize).and_then(|part| part.owned(epoch))
            && let Some(revoking) = &mut own.revoking
        {
            revoking.done = true;
        }
        self.0.changed.notify_one();
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.0.begin_to_close();
        let desk = Arc::clone(&self.0);
        Box::pin(async move {
            desk.close().await;
        })
    }
}
