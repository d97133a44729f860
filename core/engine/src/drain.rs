//! Giving partitions back: one of them, or all; in time, or not.

use std::time::Duration;

use convoke_core::{Epoch, PartId};

use crate::engine::Engine;
use crate::list::{NIL, PART, RUN};
use crate::part::Part;
use crate::slot::{Publish, State};
use crate::timer::Timer;
use crate::{End, Out, Time};

/// How long an abort waits for answers.
const ABORT: Duration = Duration::from_secs(2);

/// Whether it neither runs nor has an answer outstanding.
fn is_idle(state: State) -> bool {
    matches!(state, State::Queued | State::Ready | State::Stalled | State::Waiting { .. })
}

impl Engine {
    pub(crate) fn revoking(&mut self, now: Time, id: PartId, epoch: Epoch, by: Time, out: &mut Vec<Out>) {
        let Some(p) = self.part(id, epoch).filter(|&p| !self.parts[p as usize].over) else { return };
        let first = self.parts[p as usize].by.is_none();
        self.parts[p as usize].by = Some(by);
        self.at(by, Timer::Revoke(p));
        if first {
            self.closing += 1;
            self.give_back_idle(now, p, out);
        }
        if by <= now {
            self.revoke_now(now, p, out);
        }
    }

    /// Gives back what neither runs nor has an answer outstanding.
    fn give_back_idle(&mut self, now: Time, p: u32, out: &mut Vec<Out>) {
        let members = self.members(p);
        // From the last, so that no lane gets a new head from among them.
        for &i in members.iter().rev() {
            if is_idle(self.slots[i as usize].state) {
                self.withdraw(now, i, out);
                self.slots[i as usize].state = State::Queued;
            }
        }
        for &i in &members {
            if matches!(self.slots[i as usize].state, State::Queued) {
                self.give_back(now, i, End::Returned, out);
            }
        }
    }

    /// The time of a revoked partition is over.
    pub(crate) fn revoke_now(&mut self, now: Time, p: u32, out: &mut Vec<Out>) {
        if self.parts[p as usize].over {
            return;
        }
        self.stop_running(now, Some(p), out);
        self.end_part(now, p, out);
    }

    /// Cancels the handlers of a partition, or all, and gives back what waits to be published again.
    fn stop_running(&mut self, now: Time, only: Option<u32>, out: &mut Vec<Out>) {
        for c in 0..self.runs.len() {
            let mut i = self.runs[c].list.head;
            while i != NIL {
                let next = self.slots[i as usize].links[RUN].next;
                if only.is_none_or(|p| self.touches(i, p)) {
                    self.cancel(now, i, None, out);
                }
                i = next;
            }
        }
        for p in 0..self.parts.len() as u32 {
            if only.is_some_and(|only| only != p) || !self.parts[p as usize].assigned {
                continue;
            }
            for i in self.members(p) {
                if let State::PublishWait(publish) = self.slots[i as usize].state
                    && publish != Publish::Batch
                {
                    self.put_back(now, i, out);
                } else if matches!(self.slots[i as usize].state, State::Marking) && !self.config.marks {
                    self.parts[p as usize].marking = NIL;
                    self.alone = NIL;
                    self.put_back(now, i, out);
                }
            }
        }
    }

    /// Whether what runs under this slot has a message of the partition's present epoch.
    fn touches(&self, i: u32, p: u32) -> bool {
        let of = |i: u32| {
            let entry = &self.slots[i as usize];
            matches!(entry.state, State::Running) && entry.part == p && entry.epoch == self.parts[p as usize].epoch
        };
        let batch = self.slots[i as usize].batch;
        if batch == NIL { of(i) } else { self.batches[batch as usize].members.iter().any(|slot| of(slot.index)) }
    }

    /// Says the last word of a partition.
    fn end_part(&mut self, now: Time, p: u32, out: &mut Vec<Out>) {
        let by_watermark = self.by_watermark();
        let part = &mut self.parts[p as usize];
        let (id, epoch) = (part.id, part.epoch);
        if by_watermark {
            if part.dirty && part.highest.is_some() {
                out.push(Out::Commit { part: id, epoch });
                part.dirty = false;
            }
            self.parts[p as usize].last = self.snapshot(now, p);
        }
        for i in self.members(p) {
            match self.slots[i as usize].state {
                State::Returned => self.free(i, End::Returned, out),
                State::SettleWait(_, End::Returned) => self.free(i, End::Returned, out),
                _ => self.lose(now, i, out),
            }
        }
        let part = &mut self.parts[p as usize];
        part.over = true;
        part.commit_at = None;
        if part.by.is_some() {
            self.closing -= 1;
            out.push(Out::Revoked { part: id, epoch });
        }
        self.divide();
    }

    pub(crate) fn lost(&mut self, now: Time, id: PartId, epoch: Epoch, out: &mut Vec<Out>) {
        let Some(p) = self.part(id, epoch) else { return };
        let part = &mut self.parts[p as usize];
        if part.by.is_some() && !part.over {
            self.closing -= 1;
        }
        // Nothing of it gets a turn while it is taken apart.
        part.by = Some(now);
        let members = self.members(p);
        let part = &self.parts[p as usize];
        // What has failed and waits may yet kill us; what is being settled or published otherwise has not.
        let untried = |&i: &u32| {
            let entry = &self.slots[i as usize];
            let waits = matches!(entry.state, State::Marking | State::PublishWait(Publish::Retry(_))) || is_idle(entry.state);
            entry.suspect && !entry.marked && waits
        };
        let untried = part.unclean && !self.by_watermark() && (part.highest.is_none() || members.iter().any(untried));
        for i in members.into_iter().rev() {
            self.lose(now, i, out);
        }
        let part = &mut self.parts[p as usize];
        part.untried = untried;
        part.assigned = false;
        part.known = false;
        self.divide();
    }

    pub(crate) fn drain(&mut self, now: Time, by: Time, out: &mut Vec<Out>) {
        if self.drained {
            return;
        }
        let first = !std::mem::replace(&mut self.stopping, true);
        self.drain_by = Some(by);
        self.at(by, Timer::Drain);
        if first {
            for p in 0..self.parts.len() as u32 {
                self.give_back_idle(now, p, out);
            }
        }
        if by <= now {
            self.drain_now(now, out);
        }
    }

    pub(crate) fn abort(&mut self, now: Time, out: &mut Vec<Out>) {
        if self.drained {
            return;
        }
        let by = now.after(ABORT);
        self.drain(now, self.drain_by.map_or(by, |earlier| earlier.min(by)), out);
        if !self.drained {
            self.stop_running(now, None, out);
        }
    }

    /// The time of the drain is over.
    pub(crate) fn drain_now(&mut self, now: Time, out: &mut Vec<Out>) {
        if self.drained {
            return;
        }
        self.stop_running(now, None, out);
        self.finish_drain(now, out);
    }

    fn finish_drain(&mut self, now: Time, out: &mut Vec<Out>) {
        for p in 0..self.parts.len() as u32 {
            if self.parts[p as usize].assigned && !self.parts[p as usize].over {
                self.end_part(now, p, out);
            }
        }
        // What answers are outstanding of is named no more.
        for i in 0..self.slots.len() as u32 {
            let entry = &mut self.slots[i as usize];
            if !matches!(entry.state, State::Free) {
                let end = match entry.state {
                    State::Settling(_, End::Returned) => End::Returned,
                    _ => End::Lost,
                };
                entry.batch = NIL;
                entry.lane = NIL;
                self.free(i, end, out);
            }
        }
        self.drained = true;
        out.push(Out::Drained);
    }

    /// Says that a partition is given back, or everything is, once that is so.
    pub(crate) fn conclude(&mut self, now: Time, out: &mut Vec<Out>) {
        let closing = |part: &&Part| part.assigned && part.by.is_some() && !part.over;
        debug_assert_eq!(self.closing as usize, self.parts.iter().filter(closing).count());
        let mut quiet = true;
        for p in 0..self.parts.len() as u32 {
            let part = &self.parts[p as usize];
            if !part.assigned || part.over || !(part.by.is_some() || self.stopping) {
                continue;
            }
            if self.busy(p) {
                quiet = false;
                continue;
            }
            if part.dirty && !part.committing && part.repairs == 0 {
                self.send_commit(p, out);
            }
            let part = &self.parts[p as usize];
            if part.dirty || part.committing {
                quiet = false;
            } else if part.by.is_some() {
                self.end_part(now, p, out);
            }
        }
        if self.stopping && quiet && self.live == self.returned {
            self.finish_drain(now, out);
        }
    }

    /// Whether anything of a partition still has to come to its end.
    fn busy(&self, p: u32) -> bool {
        let mut i = self.parts[p as usize].list.head;
        while i != NIL && matches!(self.slots[i as usize].state, State::Returned) {
            i = self.slots[i as usize].links[PART].next;
        }
        i != NIL
    }
}
