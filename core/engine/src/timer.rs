//! What happens by itself: a heap of moments, each of which is checked against the state that it was set for.

use std::cmp::Reverse;

use crate::engine::Engine;
use crate::list::NIL;
use crate::slot::State;
use crate::{Slot, Time};

/// What a moment is for. One that its owner no longer waits for is dropped when it comes to the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The wait of a message is over.
    Slot(Slot),
    /// The local deadline of a partition.
    Deadline(u32),
    /// The end of a revoked partition.
    Revoke(u32),
    /// A partition's next commit.
    Commit(u32),
    /// A suspended route is probed.
    Probe(u16),
    /// A route that took nothing is tried again.
    Unblock(u16),
    /// A batch has waited long enough.
    Batch(u16),
    /// The end of the drain.
    Drain,
}

impl Engine {
    pub(crate) fn at(&mut self, time: Time, timer: Timer) {
        self.timers.push(Reverse((time, timer)));
    }

    fn awaited(&self, time: Time, timer: Timer) -> bool {
        match timer {
            Timer::Slot(slot) => self.find(slot).is_some_and(|i| {
                let entry = &self.slots[i as usize];
                entry.until == time
                    && matches!(entry.state, State::Waiting { .. } | State::PublishWait(_) | State::SettleWait(..))
            }),
            Timer::Deadline(p) => {
                let part = &self.parts[p as usize];
                part.assigned && part.until == Some(time) && !part.expired
            }
            Timer::Revoke(p) => {
                let part = &self.parts[p as usize];
                part.assigned && part.by == Some(time) && !part.over
            }
            Timer::Commit(p) => {
                let part = &self.parts[p as usize];
                part.assigned && part.commit_at == Some(time)
            }
            Timer::Probe(r) => self.routes[r as usize].probe_at == Some(time),
            Timer::Unblock(r) => self.routes[r as usize].blocked == Some(time),
            Timer::Batch(r) => self.routes[r as usize].batch_at == Some(time),
            Timer::Drain => self.drain_by == Some(time) && !self.drained,
        }
    }

    /// Drops what is not awaited, so that the top of the heap is the truth.
    pub(crate) fn prune(&mut self) {
        while let Some(&Reverse((time, timer))) = self.timers.peek() {
            if self.awaited(time, timer) {
                break;
            }
            self.timers.pop();
        }
    }

    /// When something happens by itself.
    pub(crate) fn earliest(&self) -> Option<Time> {
        let mut earliest = self.timers.peek().map(|top| top.0.0);
        let mut consider = |time: Time| earliest = Some(earliest.map_or(time, |e| e.min(time)));
        if self.leases.head != NIL {
            consider(self.slots[self.leases.head as usize].extend);
        }
        for runs in &self.runs {
            if let Some(timeout) = runs.timeout
                && runs.list.head != NIL
            {
                consider(self.slots[runs.list.head as usize].until.after(timeout));
            }
        }
        earliest
    }

    /// Takes the next timer that is due.
    pub(crate) fn due(&mut self, now: Time) -> Option<(Time, Timer)> {
        self.prune();
        match self.timers.peek() {
            Some(&Reverse(top)) if top.0 <= now => {
                self.timers.pop();
                Some(top)
            }
            _ => None,
        }
    }
}
