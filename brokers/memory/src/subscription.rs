//! The two halves of a subscription: the stream of events, and its control.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use convoke_core::broker::{Commit, Settled, Settlement, Subscription, SubscriptionControl, SubscriptionEvent};
use convoke_core::{BoxFuture, Epoch, PartId};
use futures_core::Stream;
use tokio::time::Sleep;

use crate::clock::{Moment, NEVER};
use crate::member::Step;
use crate::state::{MemberId, Shared};

/// The halves of a subscription that has joined its group.
pub(crate) fn new(shared: &Arc<Shared>, member: MemberId) -> Subscription {
    let events = Events { shared: shared.clone(), member, sleep: None, armed: NEVER };
    Subscription::new(Box::pin(events), Box::new(Control { shared: shared.clone(), member }))
}

/// Computes the next event when it is polled; sleeps only until something is due.
struct Events {
    shared: Arc<Shared>,
    member: MemberId,
    sleep: Option<Pin<Box<Sleep>>>,
    /// When the sleep ends; never later than what is due.
    armed: Moment,
}

impl Stream for Events {
    type Item = SubscriptionEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        let this = self.get_mut();
        loop {
            let (step, now) = this.shared.with(|state, now| (state.step(this.member, now, cx.waker()), now));
            let due = match step {
                Step::Event(event) => return Poll::Ready(Some(event)),
                Step::End => return Poll::Ready(None),
                Step::Wait(due) => due,
            };
            if due == NEVER {
                this.sleep = None;
                this.armed = NEVER;
                return Poll::Pending;
            }
            // Arming a timer costs more than waking once for nothing, so that an earlier one is left as it is.
            if this.sleep.is_none() || due < this.armed {
                let at = this.shared.clock().instant(due, now);
                match &mut this.sleep {
                    Some(sleep) => sleep.as_mut().reset(at),
                    none => *none = Some(Box::pin(tokio::time::sleep_until(at))),
                }
                this.armed = due;
            }
            let over = this.sleep.as_mut().is_none_or(|sleep| sleep.as_mut().poll(cx).is_ready());
            if !over {
                return Poll::Pending;
            }
            this.sleep = None;
        }
    }
}

/// Without its stream a subscription is dead: that it was not closed means a crash, unless it had come to its end.
impl Drop for Events {
    fn drop(&mut self) {
        self.shared.with(|state, now| {
            if let Some(member) = state.members.get(&self.member) {
                let unclean = !member.ended;
                state.leave(self.member, unclean, now);
            }
        });
    }
}

struct Control {
    shared: Arc<Shared>,
    member: MemberId,
}

impl SubscriptionControl for Control {
    fn grant(&self, part: PartId, epoch: Epoch, messages: u32, bytes: u64) {
        self.shared.with(|state, _| state.grant(self.member, part, epoch, messages, bytes));
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'static, Vec<Settled>> {
        let answers = self.shared.with(|state, now| state.settle(self.member, batch, now));
        Box::pin(ready(answers))
    }

    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'static, Vec<Settled>> {
        let answers = self.shared.with(|state, now| state.commit(self.member, &batch, now));
        Box::pin(ready(answers))
    }

    fn revoked(&self, part: PartId, epoch: Epoch) {
        self.shared.with(|state, _| state.revoked(self.member, part, epoch));
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.shared.with(|state, now| state.leave(self.member, false, now));
        Box::pin(ready(()))
    }
}
