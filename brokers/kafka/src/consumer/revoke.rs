//! A partition is wanted elsewhere, or is lost.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use convoke_core::broker::SubscriptionEvent;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::context::Context;
use super::state::{Phase, Shared, State, part_id};
use crate::client::lock;
use crate::starts::{self, Place};

/// How long the last commits of what is given back may take, once the runtime is through.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often it is asked meanwhile whether everything is lost already.
const STEP: Duration = Duration::from_millis(100);

impl Shared {
    /// The group takes partitions from us. Within `poll`: until this returns, nobody else gets them, unless they are lost already.
    pub(super) fn revoked_by_group(&self, consumer: &BaseConsumer<Context>, places: &[Place], lost: bool) {
        let mut state = lock(&self.state);
        let parts: Vec<usize> =
            places.iter().filter_map(|place| state.part_of(place)).filter(|index| state.parts[*index].owned).collect();
        if lost {
            state.adrift = Some(Instant::now());
        }
        if state.phase == Phase::Running && !lost && !parts.is_empty() {
            state = self.drain(consumer, state, &parts);
        }
        for index in parts {
            let (through, epoch) = (state.parts[index].through, state.parts[index].epoch);
            state.give_up(index);
            if !through {
                self.events.tell(SubscriptionEvent::Lost { part: part_id(index), epoch });
            }
        }
        drop(state);
        let gone = match self.plan.is_cooperative() {
            true => starts::list(places, rdkafka::Offset::Invalid).and_then(|list| consumer.incremental_unassign(&list)),
            false => consumer.unassign(),
        };
        if let Err(error) = gone {
            tracing::warn!(group = self.plan.group, %error, "partitions could not be given back");
            self.fail();
        }
    }

    /// Has the runtime finish with partitions and commit, and says at last that they are given back.
    fn drain<'a>(
        &'a self,
        consumer: &BaseConsumer<Context>,
        mut state: MutexGuard<'a, State>,
        parts: &[usize],
    ) -> MutexGuard<'a, State> {
        let within = self.plan.revoke_within;
        for index in parts {
            let part = &mut state.parts[*index];
            (part.revoking, part.through) = (true, false);
            part.buffer.clear();
            let (part, epoch) = (part_id(*index), part.epoch);
            self.events.tell(SubscriptionEvent::Revoking { part, epoch, within });
        }
        let through = |state: &State| parts.iter().all(|index| state.parts[*index].through);
        state = self.wait(consumer, state, within, through);
        if state.phase == Phase::Running && !self.events.is_gone() && !consumer.assignment_lost() {
            state.say_closed(parts);
            self.nudge();
            state = self.wait(consumer, state, LAST_WORDS, |state| state.has_said_all(parts));
        }
        state
    }

    /// Waits until something holds, the time is over, or there is nothing left to wait for.
    fn wait<'a>(
        &'a self,
        consumer: &BaseConsumer<Context>,
        mut state: MutexGuard<'a, State>,
        within: Duration,
        holds: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let deadline = Instant::now() + within;
        while state.phase == Phase::Running && !self.events.is_gone() && !holds(&state) && !consumer.assignment_lost() {
            let now = Instant::now();
            if now >= deadline {
                break;
            }
            state.expire(now);
            state = self.wake.wait_timeout(state, STEP.min(deadline - now)).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}

impl State {
    /// Commits once more what is committed, closed: whoever has these partitions next knows that nobody died of them.
    pub(super) fn say_closed(&mut self, parts: &[usize]) {
        for index in parts {
            // What is still on its way is newer than what is kept.
            let newest = self.queued.iter().chain(&self.sent).rev().find(|one| one.part == *index);
            let kept = newest.map_or(&self.parts[*index].kept, |one| &one.kept);
            let closed = self.asked(*index, kept.upto, kept.progress(), false);
            self.queued.extend(closed);
        }
    }
}
