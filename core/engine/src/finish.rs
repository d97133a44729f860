//! What becomes of a message when its handler is through with it.

use std::time::Duration;

use convoke_core::DeadReason;
use convoke_core::broker::{Delay, Settle};

use crate::behind::behind;
use crate::commit::repair;
use crate::engine::Engine;
use crate::list::NIL;
use crate::slot::{Entry, Publish, State};
use crate::timer::Timer;
use crate::{End, Meta, Note, Out, Published, RouteId, Slot, Time, Verdict};

/// What the engine makes of an answer that is missing.
const MISSING: Verdict = Verdict::Failed { after: None, reason: DeadReason::HandlerError };

/// The longest wait of a route whose layers do not take messages, if they do not say when they do.
const BLOCKED: Duration = Duration::from_secs(1);

impl Engine {
    pub(crate) fn finished(&mut self, now: Time, slot: Slot, verdicts: &[Verdict], returned: bool, out: &mut Vec<Out>) {
        let Some(i) = self.find(slot) else { return };
        let entry = &self.slots[i as usize];
        if !entry.runs() {
            return;
        }
        let b = entry.batch;
        if b != NIL && self.batches[b as usize].members.first() != Some(&slot) {
            return;
        }
        self.run_over(now, i, verdicts, returned, true, out);
    }

    /// An attempt is over. Whether the route may learn from it, `telling` says.
    fn run_over(&mut self, now: Time, i: u32, verdicts: &[Verdict], returned: bool, telling: bool, out: &mut Vec<Out>) {
        let Entry { batch: b, meta: Meta { route, .. }, .. } = self.slots[i as usize];
        let probe = self.routes[route.0 as usize].probe == i;
        self.end_run(i);
        if b != NIL {
            self.batch_over(now, i, b, verdicts, returned, (probe, telling), out);
            return;
        }
        let verdict = verdicts.first().copied().unwrap_or(MISSING);
        if matches!(self.slots[i as usize].state, State::Fenced) {
            self.drop_fenced(now, i, out);
            self.heard(now, route, probe, None, out);
            return;
        }
        self.heard(now, route, probe, telling.then_some(verdict), out);
        if returned && matches!(verdict, Verdict::Ack | Verdict::Drop) {
            self.cleared(i, verdict, true, out);
            let end = if verdict == Verdict::Ack { End::Acked } else { End::Dropped };
            self.publish(now, i, Publish::Returned(end), out);
        } else {
            self.judge(now, i, verdict, out);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the second half of `run_over`")]
    fn batch_over(
        &mut self,
        now: Time,
        i: u32,
        b: u32,
        verdicts: &[Verdict],
        returned: bool,
        (probe, telling): (bool, bool),
        out: &mut Vec<Out>,
    ) {
        let route = self.slots[i as usize].meta.route;
        let mut batch = std::mem::take(&mut self.batches[b as usize]);
        batch.verdicts.clear();
        batch.verdicts.extend((0..batch.members.len()).map(|k| verdicts.get(k).copied().unwrap_or(MISSING)));
        let mut acked = false;
        let mut worst = None;
        for (slot, &verdict) in batch.members.iter().zip(&batch.verdicts) {
            if matches!(self.slots[slot.index as usize].state, State::Running) {
                acked |= matches!(verdict, Verdict::Ack | Verdict::Drop);
                if worst.is_none_or(|worst| matches!(worst, Verdict::Later(_)))
                    || matches!(verdict, Verdict::Unavailable | Verdict::NotTaken)
                {
                    worst = Some(verdict);
                }
            }
        }
        if returned && acked {
            for slot in &batch.members {
                let entry = &mut self.slots[slot.index as usize];
                entry.lost |= matches!(entry.state, State::Fenced);
                entry.state = State::Publishing(Publish::Batch);
                self.unfence(slot.index);
            }
        }
        self.batches[b as usize] = batch;
        self.heard(now, route, probe, worst.filter(|_| telling), out);
        if returned && acked {
            out.push(Out::PublishReturned { slot: self.slots[i as usize].meta.slot });
        } else {
            self.judge_batch(now, b, false, out);
        }
    }

    /// Takes up the verdicts of a batch. What its handler returned is published, or was `refused`.
    pub(crate) fn judge_batch(&mut self, now: Time, b: u32, refused: bool, out: &mut Vec<Out>) {
        let mut batch = std::mem::take(&mut self.batches[b as usize]);
        for slot in &batch.members {
            self.slots[slot.index as usize].batch = NIL;
        }
        let mut failed = NIL;
        for (slot, &verdict) in batch.members.iter().zip(&batch.verdicts) {
            let i = slot.index;
            let entry = &mut self.slots[i as usize];
            if matches!(entry.state, State::Fenced) || entry.lost {
                self.drop_fenced(now, i, out);
                continue;
            }
            let lane = entry.lane;
            if behind(&mut failed, lane, verdict) {
                self.cleared(i, verdict, true, out);
                self.put_back(now, i, out);
            } else if refused && matches!(verdict, Verdict::Ack | Verdict::Drop) {
                self.cleared(i, verdict, true, out);
                self.publish(now, i, Publish::Dead(DeadReason::HandlerError), out);
            } else {
                self.judge(now, i, verdict, out);
            }
        }
        batch.members.clear();
        self.batches[b as usize] = batch;
        self.close_batch(b);
    }

    /// Takes up a verdict. Nothing is left to be published.
    fn judge(&mut self, now: Time, i: u32, verdict: Verdict, out: &mut Vec<Out>) {
        self.cleared(i, verdict, !matches!(verdict, Verdict::Ack | Verdict::Drop), out);
        match verdict {
            Verdict::Ack => self.done(now, i, End::Acked, out),
            Verdict::Drop => self.done(now, i, End::Dropped, out),
            Verdict::Dead(reason) => self.publish(now, i, Publish::Dead(reason), out),
            Verdict::Failed { after, reason } => self.failed(now, i, after, reason, out),
            Verdict::Unavailable | Verdict::NotTaken => {
                self.slots[i as usize].first = true;
                self.put_back(now, i, out);
            }
            Verdict::Later(delay) => {
                let entry = &mut self.slots[i as usize];
                entry.due = now.after(delay);
                entry.pinned = true;
                self.put_back(now, i, out);
            }
        }
    }

    /// It has not killed the process, so it is no longer suspected of it, unless it failed: it may still do so at its next attempt,
    /// which is then made alone as well. If it is not settled now, its mark is taken back: else it
    /// would be blamed for a later death of which it is innocent.
    fn cleared(&mut self, i: u32, verdict: Verdict, stays: bool, out: &mut Vec<Out>) {
        let entry = &mut self.slots[i as usize];
        if !entry.suspect || matches!(verdict, Verdict::NotTaken | Verdict::Later(_)) {
            return;
        }
        entry.suspect = matches!(verdict, Verdict::Failed { .. });
        if !std::mem::take(&mut entry.marked) {
            return;
        }
        entry.deaths -= 1;
        let (slot, deaths) = (entry.meta.slot, entry.deaths);
        self.noted(i);
        if self.config.marks && stays {
            out.push(Out::Settle { slot, settle: Settle::Mark { deaths } });
        }
    }

    fn failed(&mut self, now: Time, i: u32, after: Option<Duration>, reason: DeadReason, out: &mut Vec<Out>) {
        let entry = &mut self.slots[i as usize];
        entry.attempts = entry.attempts.saturating_add(1);
        // From now on its route says whether it keeps its place.
        entry.pinned = false;
        let (attempts, p) = (entry.attempts, entry.part);
        if self.by_watermark() {
            self.noted(i);
            self.changed(now, p);
        }
        let entry = &mut self.slots[i as usize];
        let route = &self.routes[entry.meta.route.0 as usize];
        if attempts >= route.retry.attempts {
            self.publish(now, i, Publish::Dead(reason), out);
            return;
        }
        let delay = after.unwrap_or_else(|| {
            let base = repair((route.retry.min, route.retry.max), attempts - 1);
            base.saturating_add(jitter(base, route.retry.jitter, self.config.seed ^ entry.meta.identity, attempts))
        });
        let slot = entry.meta.slot;
        let hold = route.hold && entry.meta.lane.is_some();
        entry.due = now.after(delay);
        let due = entry.due;
        let closing = self.stopping || self.parts[p as usize].by.is_some();
        if !closing && !hold && delay > self.config.in_process {
            match self.config.delay {
                Delay::Native { max } if delay <= max && !self.by_watermark() => {
                    self.release(now, i, out);
                    self.settle(i, Settle::Nack { delay, attempts, hold: false }, End::Retried, out);
                    return;
                }
                Delay::Republish => {
                    self.publish(now, i, Publish::Retry(due), out);
                    return;
                }
                _ => {}
            }
        }
        if !closing {
            Self::note(out, Note::Retrying { slot, attempts, delay, hold });
        }
        self.put_back(now, i, out);
    }

    /// A message that locked its lane takes its place again, or is given back if nothing starts any more.
    pub(crate) fn put_back(&mut self, now: Time, i: u32, out: &mut Vec<Out>) {
        let entry = &mut self.slots[i as usize];
        entry.state = State::Queued;
        if self.stopping || self.parts[entry.part as usize].by.is_some() {
            self.release(now, i, out);
            self.give_back(now, i, End::Returned, out);
        } else {
            self.pend(i, 1);
            self.unlock(now, i, out);
        }
    }

    /// What a verdict, or none, means for the route.
    pub(crate) fn heard(&mut self, now: Time, id: RouteId, probe: bool, verdict: Option<Verdict>, out: &mut Vec<Out>) {
        let (first, longest) = self.config.probe;
        let shortest = self.config.repair.0;
        let route = &mut self.routes[id.0 as usize];
        if probe {
            route.probe = NIL;
        }
        match verdict {
            Some(Verdict::Unavailable) if !route.suspended || probe => {
                route.probe_wait = if route.suspended { (route.probe_wait * 2).min(longest.max(first)) } else { first };
                route.suspended = true;
                let at = now.after(route.probe_wait);
                route.probe_at = Some(at);
                route.armed = false;
                self.at(at, Timer::Probe(id.0));
                Self::note(out, Note::Suspended { route: id, probe: at });
            }
            Some(Verdict::NotTaken) if !route.suspended => {
                route.block_wait = if route.block_wait.is_zero() { shortest } else { route.block_wait * 2 }.min(BLOCKED);
                let at = now.after(route.block_wait);
                route.blocked = Some(at);
                self.at(at, Timer::Unblock(id.0));
            }
            Some(Verdict::NotTaken | Verdict::Later(_)) | None if probe => {
                // Nothing was learnt.
                route.probe_wait = (route.probe_wait * 2).min(longest.max(first));
                let at = now.after(route.probe_wait);
                route.probe_at = Some(at);
                self.at(at, Timer::Probe(id.0));
            }
            Some(Verdict::Unavailable | Verdict::NotTaken | Verdict::Later(_)) | None => {}
            Some(_) => {
                route.block_wait = Duration::ZERO;
                if probe {
                    route.suspended = false;
                    route.probe_at = None;
                    route.armed = false;
                    self.rouse(id);
                    Self::note(out, Note::Restored { route: id });
                }
            }
        }
    }

    /// Drops the handler's future: each message of it counts as failed for this reason, or as not tried.
    pub(crate) fn cancel(&mut self, now: Time, i: u32, reason: Option<DeadReason>, out: &mut Vec<Out>) {
        let entry = &self.slots[i as usize];
        let count = if entry.batch == NIL { 1 } else { self.batches[entry.batch as usize].members.len() };
        let verdict = reason.map_or(Verdict::NotTaken, |reason| Verdict::Failed { after: None, reason });
        out.push(Out::Cancel { slot: entry.meta.slot });
        self.run_over(now, i, &vec![verdict; count], false, reason.is_some(), out);
    }

    /// The handler of a fenced message is through with it.
    pub(crate) fn drop_fenced(&mut self, now: Time, i: u32, out: &mut Vec<Out>) {
        self.unfence(i);
        self.release(now, i, out);
        self.free(i, End::Lost, out);
    }

    fn unfence(&mut self, i: u32) {
        if let Some(k) = self.fenced.iter().position(|&f| f == i) {
            self.fenced.swap_remove(k);
        }
    }

    /// Publishes, for the first time or again.
    pub(crate) fn publish(&mut self, now: Time, i: u32, publish: Publish, out: &mut Vec<Out>) {
        let entry = &mut self.slots[i as usize];
        entry.state = State::Publishing(publish);
        let (slot, attempts) = (entry.meta.slot, entry.attempts);
        out.push(match publish {
            Publish::Returned(_) | Publish::Batch => Out::PublishReturned { slot },
            Publish::Dead(reason) => Out::PublishDead { slot, reason, attempts },
            Publish::Retry(due) => Out::PublishRetry { slot, delay: due.since(now), attempts },
        });
    }

    pub(crate) fn published(&mut self, now: Time, slot: Slot, result: Published, out: &mut Vec<Out>) {
        let Some(i) = self.find(slot) else { return };
        let entry = &mut self.slots[i as usize];
        let State::Publishing(publish) = entry.state else { return };
        if publish == Publish::Batch {
            self.batch_published(now, i, result, out);
            return;
        }
        if entry.lost {
            self.release(now, i, out);
            self.free(i, End::Lost, out);
            return;
        }
        match (result, publish) {
            (Published::Confirmed, Publish::Returned(end)) => self.done(now, i, end, out),
            (Published::Confirmed, Publish::Dead(_) | Publish::Batch) => self.done(now, i, End::Dead, out),
            (Published::Confirmed, Publish::Retry(_)) => self.done(now, i, End::Retried, out),
            (Published::Refused, Publish::Returned(_)) => {
                self.slots[i as usize].repairs = 0;
                self.publish(now, i, Publish::Dead(DeadReason::HandlerError), out);
            }
            // It cannot wait elsewhere, so it waits here.
            (Published::Refused, Publish::Retry(_)) => self.put_back(now, i, out),
            (Published::Refused, _) => {
                if !std::mem::replace(&mut entry.stuck, true) {
                    Self::note(out, Note::Stuck { slot });
                }
                let longest = self.config.repair.1.max(self.config.repair.0);
                self.publish_later(now, i, publish, longest);
            }
            (Published::Again, _) => {
                let delay = repair(self.config.repair, entry.repairs);
                entry.repairs += 1;
                self.publish_later(now, i, publish, delay);
            }
        }
    }

    fn publish_later(&mut self, now: Time, i: u32, publish: Publish, delay: Duration) {
        let entry = &mut self.slots[i as usize];
        entry.state = State::PublishWait(publish);
        entry.until = now.after(delay);
        let (at, slot) = (entry.until, entry.meta.slot);
        self.at(at, Timer::Slot(slot));
    }

    /// Whether nothing of a batch is ours any more.
    pub(crate) fn all_lost(&self, i: u32) -> bool {
        let batch = &self.batches[self.slots[i as usize].batch as usize];
        batch.members.iter().all(|slot| self.slots[slot.index as usize].lost)
    }

    fn batch_published(&mut self, now: Time, i: u32, result: Published, out: &mut Vec<Out>) {
        let b = self.slots[i as usize].batch;
        if self.batches[b as usize].members.first().is_none_or(|head| head.index != i) {
            return;
        }
        match result {
            Published::Again if !self.all_lost(i) => {
                let entry = &mut self.slots[i as usize];
                let delay = repair(self.config.repair, entry.repairs);
                entry.repairs += 1;
                self.publish_later(now, i, Publish::Batch, delay);
            }
            _ => self.judge_batch(now, b, result == Published::Refused, out),
        }
    }
}

/// What is added to a delay: up to so many per cent of it, by a hash.
fn jitter(delay: Duration, per_cent: u32, seed: u64, attempt: u32) -> Duration {
    let mut x = seed.wrapping_add(u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    let nanos = ((delay.as_nanos() * u128::from(per_cent) / 100) * u128::from(x >> 32)) >> 32;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
