//! The engine: its tables, and the way of an input through them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use convoke_core::BatchOptions;
use convoke_core::broker::{Commit, SettleBy};
use convoke_core::{OnRetry, PartId, RetryOptions};

use crate::credit::Credit;
use crate::lane::Lanes;
use crate::list::{LEASE, List, NIL, RUN};
use crate::part::Part;
use crate::run::Batch;
use crate::slot::{Entry, Publish, State};
use crate::timer::Timer;
use crate::{Config, End, In, Note, Out, RouteId, Slot, Time};

/// The delivery engine of one subscription. See the [crate's documentation](crate) for what holds.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) slots: Vec<Entry>,
    pub(crate) parts: Vec<Part>,
    pub(crate) lanes: Lanes,
    pub(crate) routes: Vec<RouteState>,
    /// Routes to look at: something of theirs became ready, or they may start again. Each stands here at most once.
    pub(crate) roused: Vec<u16>,
    /// What runs, by the timeout of its route, so that each list is in the order in which it times out.
    pub(crate) runs: Vec<Runs>,
    pub(crate) batches: Vec<Batch>,
    pub(crate) free_batches: Vec<u32>,
    pub(crate) timers: BinaryHeap<Reverse<(Time, Timer)>>,
    pub(crate) leases: List<LEASE>,
    pub(crate) credit: Credit,
    /// Suspects whose turn it is.
    pub(crate) suspects: List<RUN>,
    /// The suspect that is tried, or about to be tried, alone.
    pub(crate) alone: u32,
    /// Fenced messages without a lane, for which a redelivery has to wait.
    pub(crate) fenced: Vec<u32>,
    /// How many handlers run, those of fenced messages included; a batch is one.
    pub(crate) running: u32,
    /// How many slots are not free, and how many of those only wait for the last commit.
    pub(crate) live: u32,
    pub(crate) returned: u32,
    /// Whether nothing starts any more.
    pub(crate) stopping: bool,
    pub(crate) drain_by: Option<Time>,
    pub(crate) drained: bool,
    /// How many partitions are being given back.
    pub(crate) closing: u32,
    /// The number of the step, to tell what it was that said something.
    pub(crate) steps: u64,
    /// Kept for its memory.
    pub(crate) scratch: Vec<u32>,
}

/// What runs of the routes that have the same timeout, or none.
#[derive(Debug)]
pub(crate) struct Runs {
    pub(crate) timeout: Option<Duration>,
    /// By start; of a batch the first message.
    pub(crate) list: List<RUN>,
}

/// What the engine keeps of a handler.
#[derive(Debug)]
pub(crate) struct RouteState {
    /// Whether it is among those to look at.
    pub(crate) roused: bool,
    pub(crate) concurrency: u32,
    pub(crate) running: u32,
    pub(crate) retry: RetryOptions,
    pub(crate) hold: bool,
    /// Where what it runs is listed, by its timeout.
    pub(crate) runs: u16,
    pub(crate) batch: Option<BatchOptions>,
    pub(crate) paused: bool,
    pub(crate) ready: List<RUN>,
    /// How many messages are queued or ready.
    pub(crate) pending: u32,
    pub(crate) suspended: bool,
    pub(crate) probe_at: Option<Time>,
    pub(crate) probe_wait: Duration,
    /// Whether the next start is a probe, and which slot is the present one.
    pub(crate) armed: bool,
    pub(crate) probe: u32,
    /// Until when nothing starts, because the layers did not take a message.
    pub(crate) blocked: Option<Time>,
    pub(crate) block_wait: Duration,
    pub(crate) batch_at: Option<Time>,
}

impl RouteState {
    /// Whether it takes messages, but for how many run. A route that is suspended takes its probe.
    pub(crate) const fn takes(&self) -> bool {
        !self.paused && self.blocked.is_none() && (!self.suspended || self.armed)
    }
}

/// What can be read of a handler, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteStatus {
    /// How many deliveries run; a batch is one.
    pub running: u32,
    /// How many messages wait for a retry, or until they are due.
    pub waiting: u32,
    /// How many messages wait for their turn or for a permit.
    pub queued: u32,
    /// How many messages wait for a publish to be confirmed.
    pub publishing: u32,
    /// How many messages there are.
    pub in_flight: u32,
    /// Their bytes.
    pub bytes: u64,
    /// How many deliveries run at the same time at most.
    pub concurrency: u32,
    /// Whether the handler is paused.
    pub paused: bool,
    /// Whether the handler is suspended, because what it depends on is down.
    pub suspended: bool,
    /// When the oldest of the messages was handed to the engine.
    pub oldest: Option<Time>,
}

impl Engine {
    /// An engine without partitions.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut runs: Vec<Runs> = Vec::new();
        let mut listed = |timeout| {
            let place = runs.iter().position(|runs| runs.timeout == timeout).unwrap_or_else(|| {
                runs.push(Runs { timeout, list: List::EMPTY });
                runs.len() - 1
            });
            place as u16
        };
        let routes = config.routes.iter().map(|route| RouteState {
            roused: false,
            concurrency: route.concurrency.max(1),
            running: 0,
            retry: route.retry,
            hold: route.on_retry == OnRetry::Hold,
            runs: listed(route.timeout),
            batch: route.batch.map(|batch| BatchOptions::new(batch.size.max(1), batch.wait)),
            paused: false,
            ready: List::EMPTY,
            pending: 0,
            suspended: false,
            probe_at: None,
            probe_wait: config.probe.0,
            armed: false,
            probe: NIL,
            blocked: None,
            block_wait: Duration::ZERO,
            batch_at: None,
        });
        let routes = routes.collect();
        Self {
            routes,
            roused: Vec::new(),
            runs,
            slots: Vec::new(),
            parts: Vec::new(),
            lanes: Lanes::default(),
            batches: Vec::new(),
            free_batches: Vec::new(),
            timers: BinaryHeap::new(),
            leases: List::EMPTY,
            credit: Credit::default(),
            suspects: List::EMPTY,
            alone: NIL,
            fenced: Vec::new(),
            running: 0,
            live: 0,
            returned: 0,
            stopping: false,
            drain_by: None,
            drained: false,
            closing: 0,
            steps: 0,
            scratch: Vec::new(),
            config,
        }
    }

    /// Takes an input and says what is to be done, in that order. `now` never goes back.
    ///
    /// It is [`elapse`](Self::elapse), [`take`](Self::take) and [`follow`](Self::follow). Whoever has several inputs of one moment
    /// may let it elapse once, take them all, and say once what follows from them; nothing else is to be asked of the engine between.
    pub fn step(&mut self, now: Time, input: In<'_>, out: &mut Vec<Out>) {
        self.elapse(now, out);
        self.take(now, input, out);
        self.follow(now, out);
    }

    /// Does what was due by now.
    pub fn elapse(&mut self, now: Time, out: &mut Vec<Out>) {
        self.steps += 1;
        if !self.drained {
            self.tick(now, out);
        }
    }

    /// Takes an input in.
    pub fn take(&mut self, now: Time, input: In<'_>, out: &mut Vec<Out>) {
        match input {
            In::Assigned { part, epoch, until, resume } => self.assigned(now, part, epoch, until, resume, out),
            In::Waits { part, epoch } => self.waits(part, epoch),
            In::Renewed { part, epoch, until } => self.renewed(now, part, epoch, until, out),
            In::Delivered { part, epoch, metas } => self.delivered(now, part, epoch, metas, out),
            In::Revoking { part, epoch, by } => self.revoking(now, part, epoch, by, out),
            In::Lost { part, epoch } => self.lost(now, part, epoch, out),
            In::Finished { slot, verdicts, returned } => self.finished(now, slot, verdicts, returned, out),
            In::Published { slot, result } => self.published(now, slot, result, out),
            In::Settled { slot, settle, answer } => self.settled(now, slot, settle, answer, out),
            In::Committed { part, epoch, answer } => self.committed(now, part, epoch, answer, out),
            In::Ready { route } => self.with_route(route, |route| route.blocked = None),
            In::Pause { route } => self.with_route(route, |route| route.paused = true),
            In::Resume { route } => self.with_route(route, |route| route.paused = false),
            In::Resize { route, concurrency } => self.with_route(route, |route| route.concurrency = concurrency.max(1)),
            In::Drain { by } => self.drain(now, by, out),
            In::Abort => self.abort(now, out),
            In::Tick => {}
        }
    }

    /// Says what follows from what was taken in: what starts, what is granted, whether the drain is over.
    pub fn follow(&mut self, now: Time, out: &mut Vec<Out>) {
        if self.drained {
            return;
        }
        self.pump(now, out);
        if self.closing > 0 || self.stopping {
            self.conclude(now, out);
        }
        self.grant(out);
        self.prune();
    }

    /// Asks for the extensions of leases that are due, and for nothing else: no time passes otherwise. For whoever keeps leases alive
    /// while nobody can carry other outputs out.
    pub fn extend(&mut self, now: Time, out: &mut Vec<Out>) {
        self.extend_leases(now, out);
    }

    /// When to call [`step`](Self::step) with [`In::Tick`] at the latest. Before that, a tick changes nothing.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        if self.drained { None } else { self.earliest() }
    }

    /// The messages of a started batch, in the order of the verdicts. For a message that is not in a batch, itself.
    #[must_use]
    pub fn batch(&self, slot: Slot) -> &[Slot] {
        match self.find(slot) {
            None => &[],
            Some(i) => {
                let entry = &self.slots[i as usize];
                if entry.batch == NIL {
                    std::slice::from_ref(&entry.meta.slot)
                } else {
                    &self.batches[entry.batch as usize].members
                }
            }
        }
    }

    /// The number of the attempt that runs or will run, from 1. Zero for a slot that is free.
    #[must_use]
    pub fn attempt(&self, slot: Slot) -> u32 {
        self.find(slot).map_or(0, |i| self.slots[i as usize].attempts.saturating_add(1))
    }

    /// What a message is in order with, as it was handed in.
    #[must_use]
    pub fn lane(&self, slot: Slot) -> Option<u64> {
        self.slots[self.find(slot)? as usize].meta.lane
    }

    /// What a commit of the partition says now: position and progress belong together. `None` before anything was delivered.
    #[must_use]
    pub fn commit(&self, now: Time, part: PartId) -> Option<Commit> {
        let state = self.parts.get(part.0 as usize).filter(|part| part.known)?;
        if state.last.is_some() { state.last.clone() } else { self.snapshot(now, part.0) }
    }

    /// What can be read of a handler. Walks the slot table: for metrics, not for the hot path.
    #[must_use]
    pub fn status(&self, route: RouteId) -> RouteStatus {
        let Some(state) = self.routes.get(route.0 as usize) else { return RouteStatus::default() };
        let pending = |entry: &&Entry| matches!(entry.state, State::Queued | State::Ready | State::Stalled);
        let of_route = |entry: &&Entry| entry.meta.route == route;
        debug_assert_eq!(state.pending as usize, self.slots.iter().filter(of_route).filter(pending).count());
        let mut status = RouteStatus {
            running: state.running,
            concurrency: state.concurrency,
            paused: state.paused,
            suspended: state.suspended,
            ..RouteStatus::default()
        };
        for entry in self.slots.iter().filter(|entry| !matches!(entry.state, State::Free) && entry.meta.route == route) {
            status.in_flight += 1;
            status.bytes += u64::from(entry.meta.bytes);
            status.oldest = Some(status.oldest.map_or(entry.since, |oldest| oldest.min(entry.since)));
            match entry.state {
                State::Waiting { .. } => status.waiting += 1,
                State::Queued | State::Ready | State::Stalled | State::Marking => status.queued += 1,
                State::Publishing(_) | State::PublishWait(_) => status.publishing += 1,
                _ => {}
            }
        }
        status
    }

    /// Of how many partitions the intake has stopped at a cap.
    #[must_use]
    pub fn full(&self) -> u32 {
        self.parts.iter().filter(|part| part.assigned && !part.over && part.full.is_some()).count() as u32
    }

    /// Whether there is nothing to do: no message is held, and no commit is outstanding or due.
    #[must_use]
    pub fn idle(&self) -> bool {
        debug_assert!(self.live > 0 || self.lanes.is_empty(), "a lane without messages is kept");
        self.live == 0 && self.parts.iter().all(|part| !part.assigned || part.over || (!part.committing && !part.dirty))
    }

    pub(crate) fn by_watermark(&self) -> bool {
        self.config.settle == SettleBy::Watermark
    }

    /// The row of a slot, unless the generation is old.
    pub(crate) fn find(&self, slot: Slot) -> Option<u32> {
        let entry = self.slots.get(slot.index as usize)?;
        (entry.meta.slot == slot && !matches!(entry.state, State::Free)).then_some(slot.index)
    }

    /// The partition of an epoch that is ours.
    pub(crate) fn part(&self, part: PartId, epoch: convoke_core::Epoch) -> Option<u32> {
        let state = self.parts.get(part.0 as usize)?;
        (state.assigned && state.epoch == epoch).then_some(part.0)
    }

    /// The partition that a message belongs to, if its epoch is still the present one.
    pub(crate) fn home(&self, i: u32) -> Option<u32> {
        let entry = &self.slots[i as usize];
        let part = &self.parts[entry.part as usize];
        (part.assigned && !part.over && part.epoch == entry.epoch).then_some(entry.part)
    }

    fn with_route(&mut self, id: RouteId, change: impl FnOnce(&mut RouteState)) {
        if let Some(route) = self.routes.get_mut(id.0 as usize) {
            change(route);
            self.rouse(id);
        }
    }

    /// Has the route looked at when it is next said what starts, if it has anything ready.
    #[inline]
    pub(crate) fn rouse(&mut self, id: RouteId) {
        let route = &mut self.routes[id.0 as usize];
        if !route.roused && route.ready.head != NIL {
            route.roused = true;
            self.roused.push(id.0);
        }
    }

    fn tick(&mut self, now: Time, out: &mut Vec<Out>) {
        while let Some((time, timer)) = self.due(now) {
            match timer {
                Timer::Slot(slot) => self.wake(now, slot, out),
                Timer::Deadline(p) => self.expire(p, out),
                Timer::Revoke(p) => self.revoke_now(now, p, out),
                Timer::Commit(p) => self.send_commit(p, out),
                Timer::Probe(r) => self.with_route(RouteId(r), |route| {
                    route.probe_at = None;
                    route.armed = true;
                }),
                Timer::Unblock(r) => self.with_route(RouteId(r), |route| route.blocked = None),
                Timer::Batch(r) => self.with_route(RouteId(r), |route| route.batch_at = None),
                Timer::Drain => {
                    debug_assert_eq!(self.drain_by, Some(time));
                    self.drain_now(now, out);
                    return;
                }
            }
        }
        self.extend_leases(now, out);
        self.time_out(now, out);
    }

    /// A wait is over.
    fn wake(&mut self, now: Time, slot: Slot, out: &mut Vec<Out>) {
        let i = slot.index;
        match self.slots[i as usize].state {
            State::Waiting { hold } => {
                self.slots[i as usize].state = State::Queued;
                self.pend(i, 1);
                if hold {
                    self.unlock(now, i, out);
                } else if self.slots[i as usize].meta.lane.is_some() {
                    self.enter_first(now, i, out);
                } else {
                    self.turn(now, i, out);
                }
            }
            State::PublishWait(Publish::Batch) if self.all_lost(i) => {
                let batch = self.slots[i as usize].batch;
                self.judge_batch(now, batch, false, out);
            }
            State::PublishWait(publish) => self.publish(now, i, publish, out),
            State::SettleWait(settle, end) => self.settle(i, settle, end, out),
            _ => {}
        }
    }

    /// Counts messages of a route that are queued or ready.
    pub(crate) fn pend(&mut self, i: u32, change: i32) {
        let route = &mut self.routes[self.slots[i as usize].meta.route.0 as usize];
        route.pending = route.pending.wrapping_add_signed(change);
    }

    /// Gives the slot back to the driver. It has left its lane before.
    pub(crate) fn free(&mut self, i: u32, end: End, out: &mut Vec<Out>) {
        self.unlease(i);
        self.unlist(i);
        let entry = &mut self.slots[i as usize];
        debug_assert!(entry.lane == NIL && entry.batch == NIL);
        if matches!(entry.state, State::Returned) {
            self.returned -= 1;
        }
        entry.state = State::Free;
        let (slot, bytes) = (entry.meta.slot, entry.meta.bytes);
        self.live -= 1;
        if let Some(p) = self.home(i) {
            self.repay(p, bytes);
        }
        out.push(Out::Free { slot, end });
    }

    pub(crate) fn note(out: &mut Vec<Out>, note: Note) {
        out.push(Out::Note(note));
    }
}
