//! The two halves of a subscription.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use convoke_core::broker::{Commit, Settled, Settlement, Subscription, SubscriptionControl, SubscriptionEvent};
use convoke_core::{BoxFuture, Epoch, PartId};
use futures_core::Stream;
use tokio::time::{Sleep, sleep_until};

use crate::group::{Step, unsupported};
use crate::world::World;

pub(crate) fn new(world: &Arc<World>, member: u64) -> Subscription {
    let events = Events { world: Arc::clone(world), member, sleep: None };
    Subscription::new(Box::pin(events), Box::new(Control { world: Arc::clone(world), member }))
}

struct Events {
    world: Arc<World>,
    member: u64,
    sleep: Option<Pin<Box<Sleep>>>,
}

// ANCHOR: stream
impl Stream for Events {
    type Item = SubscriptionEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        let this = self.get_mut();
        loop {
            match this.world.with(|state| state.step(this.member, cx.waker())) {
                Step::Event(event) => return Poll::Ready(Some(event)),
                Step::End => return Poll::Ready(None),
                Step::Wait(until) => this.sleep = until.map(|until| Box::pin(sleep_until(until))),
            }
            if this.sleep.as_mut().is_none_or(|sleep| sleep.as_mut().poll(cx).is_pending()) {
                return Poll::Pending;
            }
        }
    }
}

/// Without the stream nobody reads any more: the process is gone, unless the subscription was closed before.
impl Drop for Events {
    fn drop(&mut self) {
        self.world.with(|state| state.forget(self.member));
    }
}
// ANCHOR_END: stream

struct Control {
    world: Arc<World>,
    member: u64,
}

// ANCHOR: control
impl SubscriptionControl for Control {
    fn grant(&self, part: PartId, epoch: Epoch, messages: u32, _bytes: u64) {
        self.world.with(|state| state.grant(self.member, part, epoch, messages));
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'static, Vec<Settled>> {
        let settled = self.world.with(|state| batch.iter().map(|one| state.settle(self.member, one)).collect());
        Box::pin(ready(settled))
    }

    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'static, Vec<Settled>> {
        let refused = batch.iter().map(|_| Settled::Failed(unsupported("commits: each message is settled by itself"))).collect();
        Box::pin(ready(refused))
    }

    fn revoked(&self, part: PartId, epoch: Epoch) {
        self.world.with(|state| state.revoked(self.member, part, epoch));
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.world.with(|state| state.leave(self.member, false));
        Box::pin(ready(()))
    }
}
// ANCHOR_END: control
