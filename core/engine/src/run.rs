//! What starts, and when.

use std::time::Duration;

use convoke_core::DeadReason;
use convoke_core::broker::Settle;

use crate::engine::Engine;
use crate::list::{LEASE, List, NIL, RUN};
use crate::slot::{Publish, State};
use crate::timer::Timer;
use crate::{Note, Out, RouteId, Slot, Time, Verdict};

/// A batch that runs or publishes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) members: Vec<Slot>,
    /// What the handler said, kept until what it returned is published.
    pub(crate) verdicts: Vec<Verdict>,
}

impl Engine {
    /// A queued message that nothing precedes: it becomes ready, or waits until it is due, or is given up. Answers whether it
    /// has to leave its lane for as long as it waits.
    pub(crate) fn turn(&mut self, now: Time, i: u32, out: &mut Vec<Out>) -> bool {
        let entry = &mut self.slots[i as usize];
        let part = &self.parts[entry.part as usize];
        if self.stopping || part.by.is_some() {
            return false;
        }
        let crashes = entry.suspect && !entry.marked && self.config.deaths > 0 && entry.deaths >= self.config.deaths;
        let dead = entry.meta.dead.or(crashes.then_some(DeadReason::TooManyDeliveries));
        if let Some(reason) = dead {
            self.pend(i, -1);
            self.lock(i);
            self.publish(now, i, Publish::Dead(reason), out);
            return false;
        }
        if entry.due > now {
            let route = &self.routes[entry.meta.route.0 as usize];
            let hold = entry.meta.lane.is_some() && (route.hold || entry.pinned);
            let due = entry.due;
            entry.state = State::Waiting { hold };
            entry.until = due;
            let (slot, shared) = (entry.meta.slot, entry.lane != NIL);
            self.pend(i, -1);
            self.at(due, Timer::Slot(slot));
            if hold {
                self.lock(i);
            }
            return shared && !hold;
        }
        if part.expired {
            entry.state = State::Stalled;
            return false;
        }
        entry.state = State::Ready;
        entry.until = now;
        let first = std::mem::take(&mut entry.first);
        let (suspect, route) = (entry.suspect, entry.meta.route);
        let list = if suspect { &mut self.suspects } else { &mut self.routes[route.0 as usize].ready };
        if first {
            list.push_front(&mut self.slots, i);
        } else {
            list.push_back(&mut self.slots, i);
        }
        if !suspect {
            self.rouse(route);
        }
        false
    }

    /// Takes a message out of what is ready.
    pub(crate) fn unready(&mut self, i: u32) {
        let entry = &self.slots[i as usize];
        let list = if entry.suspect { &mut self.suspects } else { &mut self.routes[entry.meta.route.0 as usize].ready };
        list.remove(&mut self.slots, i);
    }

    /// Starts what can start.
    pub(crate) fn pump(&mut self, now: Time, out: &mut Vec<Out>) {
        if self.stopping || self.alone != NIL {
            return;
        }
        if let Some(i) = self.next_suspect() {
            // It waits until nothing runs, and nothing starts before it.
            if self.running == 0 {
                self.try_alone(now, i, out);
            }
            return;
        }
        if self.roused.is_empty() {
            return;
        }
        let mut roused = std::mem::take(&mut self.roused);
        roused.sort_unstable();
        roused.retain(|&r| {
            while self.start_next(now, r as usize, out) {}
            // A batch also fills with what becomes ready behind others of its lane, or with time.
            let route = &mut self.routes[r as usize];
            route.roused = route.batch.is_some() && route.ready.head != NIL;
            route.roused
        });
        debug_assert!(self.roused.is_empty(), "a start lets nothing else start");
        self.roused = roused;
    }

    /// Whether a route may start something.
    fn open(&self, r: usize) -> bool {
        let route = &self.routes[r];
        route.running < route.concurrency && route.takes()
    }

    /// The first suspect that may start, if what runs lets it. What it has to wait for must not be its own route's affair.
    fn next_suspect(&self) -> Option<u32> {
        let mut i = self.suspects.head;
        while i != NIL {
            if self.routes[self.slots[i as usize].meta.route.0 as usize].takes() {
                return Some(i);
            }
            i = self.slots[i as usize].links[RUN].next;
        }
        None
    }

    fn try_alone(&mut self, now: Time, i: u32, out: &mut Vec<Out>) {
        self.unready(i);
        self.pend(i, -1);
        self.lock(i);
        self.alone = i;
        let entry = &mut self.slots[i as usize];
        Self::note(out, Note::Alone { slot: entry.meta.slot });
        if entry.marked || !(self.config.marks || self.config.settle == convoke_core::broker::SettleBy::Watermark) {
            self.start(now, i, out);
            return;
        }
        entry.state = State::Marking;
        if self.config.marks {
            out.push(Out::Settle { slot: entry.meta.slot, settle: Settle::Mark { deaths: entry.deaths + 1 } });
            return;
        }
        entry.deaths += 1;
        let p = entry.part;
        self.noted(i);
        let part = &mut self.parts[p as usize];
        part.marking = i;
        if part.committing {
            part.marks_sent = part.sent == self.steps;
        } else {
            self.send_commit(p, out);
        }
    }

    /// The mark is kept, or could not be.
    pub(crate) fn mark_answered(&mut self, now: Time, i: u32, kept: bool, out: &mut Vec<Out>) {
        let by_commit = !self.config.marks;
        let entry = &mut self.slots[i as usize];
        let part = &self.parts[entry.part as usize];
        let closing = self.stopping || part.by.is_some();
        if kept {
            entry.marked = true;
            entry.deaths += u32::from(!by_commit);
            let (r, expired) = (entry.meta.route.0 as usize, part.expired);
            self.noted(i);
            if !closing && !expired && self.open(r) && self.heads(i) {
                self.start(now, i, out);
                return;
            }
        } else {
            entry.deaths -= u32::from(by_commit);
            entry.pinned = true;
            entry.due = now.after(crate::commit::repair(self.config.repair, entry.repairs));
            entry.repairs += 1;
        }
        self.alone = NIL;
        self.noted(i);
        self.put_back(now, i, out);
    }

    /// Calls the handler with one message, which has locked its lane.
    fn start(&mut self, now: Time, i: u32, out: &mut Vec<Out>) {
        let entry = &self.slots[i as usize];
        let (slot, route) = (entry.meta.slot, entry.meta.route);
        let (attempt, shard) = (entry.attempts.saturating_add(1), self.shard(i));
        if self.routes[route.0 as usize].batch.is_some() {
            let b = self.open_batch();
            self.batches[b as usize].members.push(slot);
            self.slots[i as usize].batch = b;
            out.push(Out::StartBatch { slot, route, shard });
        } else {
            out.push(Out::Start { slot, route, attempt, shard });
        }
        self.slots[i as usize].state = State::Running;
        self.begin(now, i);
    }

    /// The handler has it, or the batch that it is the first of.
    fn begin(&mut self, now: Time, i: u32) {
        let entry = &mut self.slots[i as usize];
        entry.until = now;
        let route = &mut self.routes[entry.meta.route.0 as usize];
        if route.suspended {
            route.probe = i;
            route.armed = false;
        }
        route.running += 1;
        self.runs[route.runs as usize].list.push_back(&mut self.slots, i);
        self.running += 1;
    }

    /// The handler is through with it, or with the batch that it is the first of.
    pub(crate) fn end_run(&mut self, i: u32) {
        let id = self.slots[i as usize].meta.route;
        let route = &mut self.routes[id.0 as usize];
        self.runs[route.runs as usize].list.remove(&mut self.slots, i);
        route.running -= 1;
        self.running -= 1;
        self.rouse(id);
        if self.alone == i {
            self.alone = NIL;
        }
    }

    fn shard(&self, i: u32) -> u32 {
        if self.config.shards <= 1 {
            return 0;
        }
        let meta = &self.slots[i as usize].meta;
        (meta.lane.unwrap_or(meta.identity) % u64::from(self.config.shards)) as u32
    }

    /// Starts the next delivery of a route, if there is one to start.
    fn start_next(&mut self, now: Time, r: usize, out: &mut Vec<Out>) -> bool {
        let first = self.routes[r].ready.head;
        if first == NIL || !self.open(r) {
            return false;
        }
        if self.routes[r].batch.is_some() {
            return self.start_batch(now, r, out);
        }
        self.routes[r].ready.remove(&mut self.slots, first);
        self.routes[r].pending -= 1;
        self.lock(first);
        self.start(now, first, out);
        true
    }

    /// Notes which messages of the lane that `i` heads can be in a batch, `i` included. What became due while `i` waits is one of
    /// them only when the wait is over at any rate: no timer is set for it, so it must not be what fills the batch.
    fn eligible(&mut self, now: Time, full: Time, i: u32, most: usize) {
        let due = if now < full { self.slots[i as usize].until } else { now };
        self.scratch.push(i);
        let mut next = self.behind(i);
        while next != NIL && self.scratch.len() < most {
            let (entry, head) = (&self.slots[next as usize], &self.slots[i as usize]);
            let fits = matches!(entry.state, State::Queued)
                && entry.meta.route == head.meta.route
                && entry.meta.dead.is_none()
                && entry.due <= due
                && !entry.suspect
                && !self.parts[entry.part as usize].expired;
            if !fits {
                break;
            }
            self.scratch.push(next);
            next = self.behind(next);
        }
    }

    fn start_batch(&mut self, now: Time, r: usize, out: &mut Vec<Out>) -> bool {
        let Some(batch) = self.routes[r].batch else { return false };
        let route = &self.routes[r];
        let first = route.ready.head;
        let size = if route.suspended { 1 } else { batch.size as usize };
        let full = self.slots[first as usize].until.after(batch.wait);
        if now < full && route.pending < size as u32 {
            self.await_batch(r, full);
            return false;
        }
        self.scratch.clear();
        let mut head = first;
        while head != NIL && self.scratch.len() < size {
            self.eligible(now, full, head, size);
            head = self.slots[head as usize].links[RUN].next;
        }
        if now < full && self.scratch.len() < size {
            self.await_batch(r, full);
            return false;
        }
        let members = std::mem::take(&mut self.scratch);
        let b = self.open_batch();
        for &i in &members {
            if matches!(self.slots[i as usize].state, State::Ready) {
                self.unready(i);
            }
            self.lock(i);
            let entry = &mut self.slots[i as usize];
            entry.state = State::Running;
            entry.batch = b;
            self.batches[b as usize].members.push(entry.meta.slot);
        }
        let route = &mut self.routes[r];
        route.pending -= members.len() as u32;
        route.batch_at = None;
        let shard = self.shard(first);
        out.push(Out::StartBatch { slot: self.slots[first as usize].meta.slot, route: RouteId(r as u16), shard });
        self.scratch = members;
        self.begin(now, first);
        true
    }

    fn await_batch(&mut self, r: usize, at: Time) {
        let route = &mut self.routes[r];
        if route.batch_at != Some(at) {
            route.batch_at = Some(at);
            self.at(at, Timer::Batch(r as u16));
        }
    }

    fn open_batch(&mut self) -> u32 {
        self.free_batches.pop().unwrap_or_else(|| {
            self.batches.push(Batch::default());
            self.batches.len() as u32 - 1
        })
    }

    /// Forgets a batch: its messages go on by themselves.
    pub(crate) fn close_batch(&mut self, b: u32) {
        let batch = &mut self.batches[b as usize];
        for slot in batch.members.drain(..) {
            self.slots[slot.index as usize].batch = NIL;
        }
        batch.verdicts.clear();
        self.free_batches.push(b);
    }

    /// Asks for another term for the leases that have used up a third of theirs.
    pub(crate) fn extend_leases(&mut self, now: Time, out: &mut Vec<Out>) {
        let Some(term) = self.config.lease else { return };
        let third = (term / 3).max(Duration::from_nanos(1));
        while self.leases.head != NIL {
            let i = self.leases.head;
            let entry = &mut self.slots[i as usize];
            if entry.extend > now {
                return;
            }
            entry.extend = now.after(third);
            entry.extends = entry.extends.saturating_add(1);
            out.push(Out::Settle { slot: entry.meta.slot, settle: Settle::Extend });
            List::<LEASE>::remove(&mut self.leases, &mut self.slots, i);
            self.leases.push_back(&mut self.slots, i);
        }
    }

    /// Cancels what has taken too long.
    pub(crate) fn time_out(&mut self, now: Time, out: &mut Vec<Out>) {
        for c in 0..self.runs.len() {
            let Some(timeout) = self.runs[c].timeout else { continue };
            loop {
                let i = self.runs[c].list.head;
                if i == NIL || self.slots[i as usize].until.after(timeout) > now {
                    break;
                }
                self.cancel(now, i, Some(DeadReason::Timeout), out);
            }
        }
    }
}
