//! Where the driver does not go on by itself, and why: for the status, and for whoever reads the log.

use convoke_core::{Incoming, PartId, Position, Topic};
use convoke_engine::{In, RouteId, Slot, Time};

use super::Core;

/// Where a handler does not go on by itself, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// Why.
    pub reason: StopReason,
    /// The topic of the message that it stands at; of one that waited in a place of the group, the topic that it came from.
    pub topic: Topic,
    /// The message's partition.
    pub partition: u32,
    /// The message's position.
    pub position: Position,
    /// What is wrong, in words.
    pub error: String,
}

/// Why something does not go on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// The broker refuses the message's dead letter, for instance because it is too large. The message stays unsettled, and holds
    /// its key; other keys go on. The dead letter is tried again from time to time.
    DeadLetterRefused,
    /// No handler of the group knows the message's event, and the policy is [`UnknownEvents::Fail`](super::UnknownEvents::Fail). The
    /// subscription has ended; the message and what is behind it stay unsettled.
    UnknownEvent,
    /// The broker discarded messages from here on before they were read, and the policy is [`OnGap::Stop`]. The subscription has
    /// ended.
    Gap,
}

/// What is done where the broker discarded messages before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnGap {
    /// The group goes on at the first message that is there; the gap is logged and counted.
    #[default]
    Earliest,
    /// The subscription stops there, and is reported unhealthy: [`StopReason::Gap`].
    Stop,
}

impl Core {
    /// Nothing in the group knows a message, and the policy says to stop. Within [`elapse`](Self::elapse) and [`follow`](Self::follow).
    pub(super) fn stop_at(&mut self, now: Time, incoming: &Incoming, error: String) {
        let topic = incoming.message.topic().clone();
        let (partition, position) = (incoming.partition, incoming.position);
        tracing::error!(
            group = self.group(), %topic, partition, %position, error,
            "the subscription stops at an unknown event, which stays unsettled with what is behind it; start a program that knows the \
             event, or let `unknown_events` be `skip` or `dead-letter`"
        );
        self.halt(now, Stopped { reason: StopReason::UnknownEvent, topic, partition, position, error });
    }

    /// The broker discarded messages; the policy may say to stop. Within [`elapse`](Self::elapse) and [`follow`](Self::follow).
    pub(super) fn stop_at_gap(&mut self, now: Time, part: PartId, from: Position, to: Position) {
        let Some(info) = self.parts.get(&part).filter(|_| self.on_gap == OnGap::Stop && !self.stopping) else { return };
        let (topic, partition) = info.place.clone();
        tracing::error!(
            group = self.group(), %topic, partition, %from, %to,
            "the subscription stops at a gap; see what was lost, then let `on_gap` be `earliest`, or move the group's place"
        );
        let error = format!("the broker discarded messages from {from} up to {to} before they were read");
        self.halt(now, Stopped { reason: StopReason::Gap, topic, partition, position: from, error });
    }

    /// Takes nothing more in, and ends the subscription once what came in before is finished: a drain would give back what has not
    /// started, and whoever starts again would get no nearer to the place.
    fn halt(&mut self, now: Time, stopped: Stopped) {
        (self.stopping, self.halt) = (true, Some(Box::new(stopped)));
        self.halting = Some(now.after(self.drain_within));
    }

    /// Drains, once everything is finished that came in before the subscription stopped, or has had its time.
    pub(super) fn drain_if_finished(&mut self, now: Time) -> bool {
        let due = self.halting.is_some_and(|by| by <= now || self.engine.idle());
        if due {
            self.halting = None;
            self.step(now, In::Drain { by: now.after(self.drain_within) });
        }
        due
    }

    /// When something is due next, if nothing else happens.
    pub(super) fn next_wake(&self) -> Option<Time> {
        [self.engine.next_wake(), self.halting].into_iter().flatten().min()
    }

    fn group(&self) -> &str {
        self.routes.first().map_or("", |route| &*route.context.group)
    }

    /// Whether the subscription has stopped because a policy says so.
    pub(crate) fn halted(&self) -> bool {
        self.halt.is_some()
    }

    /// A message can neither be handled nor be dead-lettered.
    pub(super) fn stuck(&mut self, slot: Slot) {
        let Some(body) = self.bodies.get_mut(slot) else { return };
        body.stuck = true;
        let Some(incoming) = &body.incoming else { return };
        let route = &self.routes[body.route.0 as usize];
        let (topic, failure) = (incoming.message.topic(), body.failure.as_ref());
        tracing::error!(
            handler = &*route.context.handler, %topic, partition = incoming.partition, position = %incoming.position,
            dead = %route.source(topic).dead, error = failure.map_or("", |failure| failure.error.as_str()),
            "a message can neither be handled nor be dead-lettered: it stays unsettled, and what is behind it under its key waits; \
             let the broker take its dead letter (a larger message, the topic, the permission), which is tried again from time to \
             time, or take the message out of the topic"
        );
    }

    /// Where this handler does not go on by itself.
    pub(crate) fn stopped(&self, route: RouteId) -> Vec<Stopped> {
        let stuck = self.bodies.iter().filter(|(body, _)| body.stuck && body.route == route);
        let stopped = stuck.map(|(body, incoming)| Stopped {
            reason: StopReason::DeadLetterRefused,
            topic: incoming.message.topic().clone(),
            partition: incoming.partition,
            position: incoming.position,
            error: body.failure.as_ref().map(|failure| failure.error.clone()).unwrap_or_default(),
        });
        self.halt.as_deref().cloned().into_iter().chain(stopped).collect()
    }
}
