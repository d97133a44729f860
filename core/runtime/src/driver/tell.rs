//! Telling: counters, logs and observers learn what the engine has decided.

use std::panic::{AssertUnwindSafe, catch_unwind};

use convoke_core::Incoming;
use convoke_engine::{Cap, End, Note, RouteId, Slot};

use super::Core;
use super::bodies::Said as BodySaid;
use super::route::Counters;
use crate::observe::{Happening, What};

impl Core {
    pub(super) fn free(&mut self, slot: Slot, end: End) {
        if let Some(body) = self.bodies.get(slot) {
            let counters = &self.routes[body.route.0 as usize].counters;
            match end {
                End::Acked if body.said == BodySaid::Known => Counters::add(&counters.known),
                End::Acked => Counters::add(&counters.handled),
                End::Dropped => Counters::add(&counters.dropped),
                End::Skipped => Counters::add(&counters.skipped),
                End::Dead => Counters::add(&counters.dead),
                End::Lost if self.stopping && matches!(body.said, BodySaid::Done | BodySaid::Known) => self.torn += 1,
                End::Retried | End::Returned | End::Lost | End::Duplicate => {}
            }
            if let Some(incoming) = &body.incoming {
                let end = if end == End::Acked && body.said == BodySaid::Known { crate::observe::End::Known } else { end.into() };
                self.observe(body.route, incoming, What::Ended(end));
            }
        }
        self.claim_freed(slot);
        self.bodies.remove(slot);
    }

    pub(super) fn note(&self, note: Note) {
        let handler = |route: RouteId| &*self.routes[route.0 as usize].context.handler;
        match note {
            Note::Retrying { slot, attempts, delay, .. } => {
                let Some(body) = self.bodies.get(slot) else { return };
                let Some(incoming) = &body.incoming else { return };
                let error = body.failure.as_ref().map(|failure| failure.error.as_str());
                tracing::debug!(
                    handler = handler(body.route), topic = %incoming.message.topic(), partition = incoming.partition,
                    position = %incoming.position, attempts, ?delay, error, "an attempt failed and will be repeated"
                );
                self.observe(body.route, incoming, What::Retrying { attempts, delay, error });
            }
            Note::Suspended { route, .. } => {
                tracing::warn!(handler = handler(route), "paused: the handler says that what it depends on is unavailable");
            }
            Note::Restored { route } => tracing::info!(handler = handler(route), "resumed: the handler works again"),
            Note::Full { part, cap: cap @ Cap::Backlog } => {
                tracing::debug!(part = part.0, ?cap, "the intake of a partition waits at a cap")
            }
            Note::Full { part, cap } => {
                tracing::warn!(
                    part = part.0,
                    ?cap,
                    "the intake of a partition waits: too much is done above a message that is not"
                );
            }
            Note::Alone { slot } => {
                let incoming = self.bodies.get(slot).and_then(|body| body.incoming.as_ref());
                if let Some(incoming) = incoming {
                    tracing::warn!(
                        topic = %incoming.message.topic(), partition = incoming.partition, position = %incoming.position,
                        "in flight when the last owner died: tried alone"
                    );
                }
            }
            Note::Expired { part } => tracing::warn!(part = part.0, "ownership was not renewed in time: nothing starts"),
            _ => {}
        }
    }

    pub(super) fn observe(&self, route: RouteId, incoming: &Incoming, what: What<'_>) {
        if self.observers.is_empty() {
            return;
        }
        let context = &self.routes[route.0 as usize].context;
        let happening = Happening { group: &context.group, handler: &context.handler, incoming, what };
        for observer in &self.observers {
            // An observer is the user's code: it must not take the driver with it.
            if catch_unwind(AssertUnwindSafe(|| observer.observe(&happening))).is_err() {
                tracing::error!(handler = &*context.handler, "an observer panicked");
            }
        }
    }
}
