//! The driver's subscription: opened, read, opened again when it fails, and closed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use convoke_core::broker::{Deliveries, Settle, SettleBy, Settlement, Subscription, SubscriptionControl, SubscriptionEvent};
use convoke_core::{BoxFuture, Error, ErrorKind, Incoming};
use convoke_engine::{In, Time};
use futures_core::Stream;
use tokio::time::Sleep;

use super::core::Holds;
use super::{Core, Driver};

/// How many events are taken from the subscription in one round. All partitions of an assignment should fit: credit is divided
/// among those that are there when it is given out.
const EVENTS: u32 = 64;
/// The pause before a subscription that failed or ended is opened again: this, then twice that, and so on up to [`REOPEN_MAX`].
pub(super) const REOPEN_MIN: Duration = Duration::from_millis(100);
const REOPEN_MAX: Duration = Duration::from_secs(10);

/// The subscription's side of the driver.
pub(super) enum Intake {
    Opening(BoxFuture<'static, Result<Subscription, Error>>),
    Waiting(Pin<Box<Sleep>>),
    Open(Pin<Box<dyn Stream<Item = SubscriptionEvent> + Send>>),
    Closing(BoxFuture<'static, ()>),
    Closed,
}

impl Driver {
    pub(super) fn open(&mut self) {
        self.opened += 1;
        let (broker, spec) = (Arc::clone(&self.broker), self.spec.clone());
        self.intake = Intake::Opening(Box::pin(async move { broker.subscribe(spec).await }));
    }

    /// The subscription is open.
    pub(super) fn opened(&mut self, subscription: Subscription) {
        let Subscription { events, control, .. } = subscription;
        self.remote.core().control = Some(Arc::from(control));
        self.remote.connected(Ok(()));
        self.intake = Intake::Open(events);
    }

    pub(super) fn poll_intake(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        for _ in 0..EVENTS {
            match &mut self.intake {
                Intake::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(subscription)) => self.opened(subscription),
                    Poll::Ready(Err(error)) => self.pause_intake(&error),
                },
                Intake::Waiting(sleep) => {
                    if sleep.as_mut().poll(cx).is_pending() {
                        break;
                    }
                    self.open();
                }
                // Nothing comes after the end; the stream is kept until the adapter was told.
                Intake::Open(_) if self.at_end => break,
                Intake::Open(events) => match events.as_mut().poll_next(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(event)) => {
                        self.at_end = matches!(event, SubscriptionEvent::AtEnd);
                        self.events.push(event);
                    }
                    Poll::Ready(None) => {
                        self.take_events();
                        self.ended();
                    }
                },
                Intake::Closing(closing) => {
                    if closing.as_mut().poll(cx).is_pending() {
                        break;
                    }
                    self.intake = Intake::Closed;
                }
                Intake::Closed => break,
            }
            any = true;
        }
        self.take_events();
        any
    }

    /// Tells the engine all that has happened, and asks once what follows from it.
    fn take_events(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let remote = Arc::clone(&self.remote);
        let now = self.now();
        let mut core = remote.core();
        core.elapse(now);
        for event in std::mem::take(&mut self.events) {
            self.take_event(now, &mut core, event);
        }
        core.follow(now);
    }

    pub(super) fn pause_intake(&mut self, error: &Error) {
        tracing::warn!(group = self.spec.group, %error, again_in = ?self.reopen, "the subscription failed and will be opened again");
        self.remote.connected(Err(error));
        self.intake = Intake::Waiting(Box::pin(tokio::time::sleep(self.reopen)));
        self.reopen = (self.reopen * 2).min(REOPEN_MAX);
    }

    /// The stream has ended without being told to: everything is lost, and the subscription is opened anew.
    pub(super) fn ended(&mut self) {
        let stopping = {
            let now = self.now();
            let mut core = self.remote.core();
            core.elapse(now);
            Self::lose_everything(&mut core, now);
            core.follow(now);
            core.control = None;
            core.stopping
        };
        // Whoever is leaving does not join again.
        if self.spec.broadcast && !stopping {
            tracing::error!(
                group = self.spec.group,
                "a broadcast has ended with its subscription: what comes until it is open again is missed"
            );
            self.remote.gap();
        }
        if stopping {
            self.intake = Intake::Closed;
        } else {
            self.pause_intake(&Error::new(ErrorKind::Connection, "the broker ended the subscription"));
        }
    }

    /// Every partition is gone. Within `elapse` and `follow`.
    fn lose_everything(core: &mut Core, now: Time) {
        let parts: Vec<_> = core.parts.drain().map(|(part, info)| (part, info.epoch)).collect();
        for (part, epoch) in parts {
            core.take(now, In::Lost { part, epoch });
        }
    }

    fn take_event(&mut self, now: Time, core: &mut Core, event: SubscriptionEvent) {
        match event {
            SubscriptionEvent::Deliveries(deliveries) if core.stopping => self.late.push((now, deliveries)),
            SubscriptionEvent::Deliveries(deliveries) => {
                let rest = core.delivered(now, deliveries);
                self.late.extend(rest.map(|rest| (now, rest)));
            }
            SubscriptionEvent::Assigned { part, topic, partition, epoch, term, resume } => {
                tracing::debug!(group = self.spec.group, %topic, partition, epoch = epoch.0, "a partition is assigned");
                self.reopen = REOPEN_MIN;
                if let Some(holds) = core.assigned(part, epoch, (topic.clone(), partition)) {
                    let until = term.map(|term| now.after(term));
                    core.take(now, In::Assigned { part, epoch, until, resume: &resume });
                    if holds == Holds::Waiting {
                        core.take(now, In::Waits { part, epoch });
                    }
                } else {
                    // Never granted anything, it delivers nothing.
                    tracing::error!(group = self.spec.group, %topic, "the adapter assigns a topic that no handler reads; it is left alone");
                }
            }
            SubscriptionEvent::Renewed { part, epoch, term } => {
                core.take(now, In::Renewed { part, epoch, until: now.after(term) })
            }
            SubscriptionEvent::Revoking { part, epoch, within } => {
                core.take(now, In::Revoking { part, epoch, by: now.after(within) })
            }
            SubscriptionEvent::Lost { part, epoch } => core.take(now, In::Lost { part, epoch }),
            SubscriptionEvent::Interrupted(error) => {
                tracing::warn!(group = self.spec.group, %error, "the connection is interrupted");
                self.remote.connected(Err(&error));
                Self::lose_everything(core, now);
            }
            SubscriptionEvent::Resumed => {
                tracing::info!(group = self.spec.group, "the connection is back");
                self.remote.connected(Ok(()));
            }
            SubscriptionEvent::Gap { part, from, to } => {
                tracing::error!(group = self.spec.group, part = part.0, %from, %to, "the broker discarded messages before they were read");
                self.remote.gap();
                core.stop_at_gap(now, part, from, to);
            }
            SubscriptionEvent::AtEnd => {
                tracing::debug!(group = self.spec.group, "everything up to the marked end is settled");
                (core.stopping, core.halting, core.at_end) = (true, None, true);
                core.take(now, In::Drain { by: now.after(core.drain_within) });
            }
            other => tracing::warn!(?other, "the adapter says something that this version does not know"),
        }
    }

    /// How to give back what came in after it was told to stop; where positions are committed, by saying nothing of it.
    pub(super) fn give_back_late(&mut self) -> Vec<Settlement> {
        let capabilities = self.broker.capabilities();
        let now = self.now();
        let late = std::mem::take(&mut self.late);
        if capabilities.settle != SettleBy::Message {
            return Vec::new();
        }
        let nack = |since: Time, incoming: Incoming| {
            // It has waited here too.
            let delay = incoming.due_in.unwrap_or_default().saturating_sub(now.since(since));
            Settlement::new(incoming.token, Settle::Nack { delay, attempts: incoming.attempts, hold: true })
        };
        let of_batch = |(since, deliveries): (Time, Deliveries)| deliveries.messages.into_iter().map(move |one| nack(since, one));
        late.into_iter().flat_map(of_batch).collect()
    }

    /// Ends the subscription, once the engine is drained.
    pub(super) fn close(&mut self) {
        let control = self.remote.core().control.take();
        let late = self.give_back_late();
        self.intake = match control {
            Some(control) => {
                let closing: Arc<dyn SubscriptionControl> = control;
                // The stream is dropped only after the adapter was told: dropping it first would look like a crash.
                let events = std::mem::replace(&mut self.intake, Intake::Closed);
                Intake::Closing(Box::pin(async move {
                    if !late.is_empty() {
                        // What the answers say changes nothing: what is not given back so is when the subscription ends.
                        let _ = closing.settle(late).await;
                    }
                    closing.close().await;
                    drop(events);
                }))
            }
            None => Intake::Closed,
        };
    }
}
