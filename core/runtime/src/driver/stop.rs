//! Where the driver does not go on by itself, and why: for the status, and for whoever reads the log.

use convoke_core::{Position, Topic};
use convoke_engine::{RouteId, Slot};

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
}

impl Core {
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
        stopped.collect()
    }
}
