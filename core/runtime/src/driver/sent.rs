//! What was sent to the broker in batches, and what becomes of its answers.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use convoke_core::broker::{PublishOutcome, Settle, Settled};
use convoke_core::{BoxFuture, Epoch, Error, ErrorKind, Outgoing, PartId};
use convoke_engine::{Answer, In, Published, Slot};

use super::Driver;

/// What a batch that was sent to the broker will be answered for.
pub(super) enum Sent {
    Publish(BoxFuture<'static, Vec<PublishOutcome>>, Vec<Slot>),
    Settle(BoxFuture<'static, Vec<Settled>>, Vec<(Slot, Settle)>),
    Commit(BoxFuture<'static, Vec<Settled>>, Vec<(PartId, Epoch)>, u64),
}

impl Driver {
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        for _ in 0..self.sent.len() {
            let Some(mut sent) = self.sent.pop_front() else { break };
            if self.poll_one_sent(&mut sent, cx).is_pending() {
                self.sent.push_back(sent);
            } else {
                any = true;
            }
        }
        any
    }

    pub(super) fn poll_one_sent(&mut self, sent: &mut Sent, cx: &mut Context<'_>) -> Poll<()> {
        match sent {
            Sent::Publish(future, slots) => {
                let outcomes = ready!(future.as_mut().poll(cx));
                self.published(slots, outcomes);
            }
            Sent::Settle(future, slots) => {
                let answers = ready!(future.as_mut().poll(cx));
                let now = self.now();
                let mut core = self.remote.core();
                let mut answers = answers.into_iter();
                core.elapse(now);
                for (slot, settle) in slots.drain(..) {
                    core.settled(now, slot, settle, answer(answers.next().as_ref()));
                }
                core.follow(now);
            }
            Sent::Commit(future, parts, opened) => {
                let answers = ready!(future.as_mut().poll(cx));
                if *opened != self.opened {
                    // Of a subscription that is gone: the present one may use the same numbers for its partitions and epochs.
                    return Poll::Ready(());
                }
                let now = self.now();
                let mut core = self.remote.core();
                let mut answers = answers.into_iter();
                for (part, epoch) in parts.drain(..) {
                    core.step(now, In::Committed { part, epoch, answer: answer(answers.next().as_ref()) });
                }
            }
        }
        Poll::Ready(())
    }

    /// Answers for a batch of publishes; messages of one slot stand together.
    pub(super) fn published(&mut self, slots: &[Slot], outcomes: Vec<PublishOutcome>) {
        let now = self.now();
        let mut core = self.remote.core();
        let mut outcomes = outcomes.into_iter();
        let mut confirmed = Vec::new();
        let mut rest = slots;
        while let [slot, ..] = rest {
            let count = rest.iter().take_while(|other| *other == slot).count();
            let mut result = Published::Confirmed;
            confirmed.clear();
            for _ in 0..count {
                let outcome = outcomes.next();
                confirmed.push(matches!(outcome, Some(PublishOutcome::Confirmed(_))));
                match outcome {
                    Some(PublishOutcome::Confirmed(_)) => {}
                    Some(PublishOutcome::Rejected { retryable: false, error }) => {
                        result = core.refused(*slot, &error);
                    }
                    Some(PublishOutcome::Unroutable) => {
                        let error = Error::new(ErrorKind::Rejected, "nobody's queue takes what the handler returned");
                        result = core.refused(*slot, &error);
                    }
                    // Refused for now, or not answered: the same again, under the same id.
                    _ if result == Published::Confirmed => result = Published::Again,
                    _ => {}
                }
            }
            core.published(now, *slot, result, &confirmed);
            rest = &rest[count..];
        }
    }

    /// Sends what has gathered: one batch of publishes, one of settlements, one of commits.
    pub(super) fn send(&mut self) -> bool {
        let before = self.sent.len();
        if !self.todo.publishes.is_empty() {
            self.publish_abroad();
            let (slots, batch): (Vec<_>, Vec<_>) = self.todo.publishes.drain(..).unzip();
            if !batch.is_empty() {
                let broker = Arc::clone(&self.broker);
                self.sent.push_back(Sent::Publish(Box::pin(async move { broker.publish(batch).await }), slots));
            }
        }
        let control = || self.remote.core().control.clone();
        if !self.todo.settles.is_empty() {
            let (slots, batch): (Vec<_>, Vec<_>) =
                self.todo.settles.drain(..).map(|(slot, settlement)| ((slot, settlement.settle), settlement)).unzip();
            let future = match control() {
                Some(control) => control.settle(batch),
                None => gone(batch.len()),
            };
            self.sent.push_back(Sent::Settle(future, slots));
        }
        if !self.todo.commits.is_empty() {
            let batch = std::mem::take(&mut self.todo.commits);
            let parts = batch.iter().map(|commit| (commit.part, commit.epoch)).collect();
            let future = match control() {
                Some(control) => control.commit(batch),
                None => gone(batch.len()),
            };
            self.sent.push_back(Sent::Commit(future, parts, self.opened));
        }
        self.sent.len() > before
    }
}

impl Driver {
    /// Sends what goes to other brokers than the subscription's, with all else of the same slot. What stays does not wait for it.
    fn publish_abroad(&mut self) {
        let (outward, home) = {
            let core = self.remote.core();
            if !core.outward.several() {
                return;
            }
            (Arc::clone(&core.outward), core.home)
        };
        // Copies and dead letters stay where their message is; where the rest goes was asked when it was handed over.
        let broker_of = |outgoing: &Outgoing| {
            if outgoing.verbatim { home } else { outward.broker_of(outgoing).unwrap_or(home) }
        };
        let abroad: HashSet<Slot> =
            self.todo.publishes.iter().filter(|(_, outgoing)| broker_of(outgoing) != home).map(|(slot, _)| *slot).collect();
        if abroad.is_empty() {
            return;
        }
        let all = std::mem::take(&mut self.todo.publishes).into_iter();
        let (leaving, staying): (Vec<_>, Vec<_>) = all.partition(|(slot, _)| abroad.contains(slot));
        self.todo.publishes = staying;
        let slots = leaving.iter().map(|(slot, _)| *slot).collect();
        let batch = leaving.into_iter().map(|(_, outgoing)| (broker_of(&outgoing), outgoing)).collect();
        self.sent.push_back(Sent::Publish(Box::pin(async move { outward.publish(batch).await }), slots));
    }
}

/// The answers when there is no subscription to settle with any more.
fn gone(count: usize) -> BoxFuture<'static, Vec<Settled>> {
    Box::pin(async move { (0..count).map(|_| Settled::Stale).collect() })
}

pub(super) fn answer(settled: Option<&Settled>) -> Answer {
    match settled {
        Some(Settled::Applied) => Answer::Applied,
        Some(Settled::Stale) => Answer::Stale,
        _ => Answer::Failed,
    }
}
