//! Settlement of single messages.

use convoke_core::broker::{Delay, Settle};

use crate::commit::repair;
use crate::engine::Engine;
use crate::list::{NIL, PART};
use crate::slot::State;
use crate::timer::Timer;
use crate::{Answer, End, Out, Slot, Time};

impl Engine {
    /// Everything that has to be done before this message is acknowledged is done.
    pub(crate) fn done(&mut self, now: Time, i: u32, end: End, out: &mut Vec<Out>) {
        self.release(now, i, out);
        self.slots[i as usize].repairs = 0;
        if self.by_watermark() {
            self.record(i);
            let p = self.slots[i as usize].part;
            self.changed(now, p);
            self.free(i, end, out);
        } else {
            self.settle(i, Settle::Ack, end, out);
        }
    }

    /// Settles, for the first time or again.
    pub(crate) fn settle(&mut self, i: u32, settle: Settle, end: End, out: &mut Vec<Out>) {
        self.unlease(i);
        let entry = &mut self.slots[i as usize];
        entry.state = State::Settling(settle, end);
        entry.swapped = false;
        out.push(Out::Settle { slot: entry.meta.slot, settle });
    }

    /// Leaves a message that nothing is outstanding of, and that has left its lane, to its next owner.
    pub(crate) fn give_back(&mut self, now: Time, i: u32, end: End, out: &mut Vec<Out>) {
        if self.by_watermark() {
            self.slots[i as usize].state = State::Returned;
            self.returned += 1;
            return;
        }
        let entry = &self.slots[i as usize];
        let remaining = entry.due.since(now);
        let waits = !remaining.is_zero() && !entry.pinned;
        let keeps_order = entry.meta.lane.is_some() && (!waits || self.routes[entry.meta.route.0 as usize].hold);
        let (delay, hold) = match self.config.delay {
            Delay::Native { max } => (remaining.min(max), keeps_order),
            // Nobody there can wait: it comes at once, and whoever gets it waits for the rest.
            _ => (remaining, keeps_order || !remaining.is_zero()),
        };
        let attempts = entry.attempts;
        self.settle(i, Settle::Nack { delay, attempts, hold }, end, out);
    }

    pub(crate) fn settled(&mut self, now: Time, slot: Slot, settle: Settle, answer: Answer, out: &mut Vec<Out>) {
        let Some(i) = self.find(slot) else { return };
        match settle {
            Settle::Extend => self.extended(now, i, answer, out),
            Settle::Mark { deaths } => self.marked(now, i, deaths, answer, out),
            _ => self.acknowledged(now, i, settle, answer, out),
        }
    }

    fn acknowledged(&mut self, now: Time, i: u32, asked: Settle, answer: Answer, out: &mut Vec<Out>) {
        let entry = &self.slots[i as usize];
        let State::Settling(settle, end) = entry.state else { return };
        if settle != asked {
            return;
        }
        let gone = entry.lost || entry.superseded || self.home(i).is_none();
        let entry = &mut self.slots[i as usize];
        match answer {
            Answer::Applied => self.free(i, end, out),
            _ if gone => self.free(i, End::Lost, out),
            // That was the old token's answer: the new one has yet to be used.
            Answer::Stale if entry.swapped => self.settle(i, settle, end, out),
            Answer::Stale => self.free(i, End::Lost, out),
            Answer::Failed => {
                entry.state = State::SettleWait(settle, end);
                entry.until = now.after(repair(self.config.repair, entry.repairs));
                entry.repairs += 1;
                let at = entry.until;
                let slot = entry.meta.slot;
                self.at(at, Timer::Slot(slot));
            }
        }
    }

    fn marked(&mut self, now: Time, i: u32, deaths: u32, answer: Answer, out: &mut Vec<Out>) {
        let entry = &mut self.slots[i as usize];
        // The answer to a mark that was taken back says nothing of the one that was set since.
        if !matches!(entry.state, State::Marking) || deaths != entry.deaths + 1 {
            return;
        }
        let swapped = std::mem::take(&mut entry.swapped);
        if entry.lost || (answer == Answer::Stale && !swapped) {
            debug_assert_eq!(self.alone, i);
            self.alone = NIL;
            self.release(now, i, out);
            self.free(i, End::Lost, out);
            return;
        }
        self.mark_answered(now, i, answer == Answer::Applied, out);
    }

    fn extended(&mut self, now: Time, i: u32, answer: Answer, out: &mut Vec<Out>) {
        let entry = &mut self.slots[i as usize];
        entry.extends = entry.extends.saturating_sub(1);
        if entry.outdated > 0 {
            entry.outdated -= 1;
            return;
        }
        // What is being settled hears it from that.
        if answer == Answer::Stale && entry.leased {
            self.lose(now, i, out);
        }
    }

    /// The delivery is not ours any more. What cannot be freed yet is freed when its handler or its answer is through.
    pub(crate) fn lose(&mut self, now: Time, i: u32, out: &mut Vec<Out>) {
        let entry = &mut self.slots[i as usize];
        match entry.state {
            State::Running => {
                entry.state = State::Fenced;
                self.forget(i);
                if self.slots[i as usize].lane == NIL && self.slots[i as usize].meta.position.is_stable() {
                    self.isolate(i);
                    self.fenced.push(i);
                }
            }
            State::Publishing(_) | State::PublishWait(crate::slot::Publish::Batch) | State::Settling(..) => {
                entry.lost = true;
                self.forget(i);
            }
            State::Marking if self.config.marks => {
                entry.lost = true;
                self.forget(i);
            }
            _ => {
                self.withdraw(now, i, out);
                self.free(i, End::Lost, out);
            }
        }
    }

    /// The message belongs to no partition any more, and its lease is not extended.
    fn forget(&mut self, i: u32) {
        self.unlease(i);
        self.unlist(i);
    }

    /// Takes a message that nothing is outstanding of out of its lane, and out of what is ready.
    pub(crate) fn withdraw(&mut self, now: Time, i: u32, out: &mut Vec<Out>) {
        match self.slots[i as usize].state {
            State::Queued | State::Stalled => {
                self.pend(i, -1);
                self.leave(now, i, out);
            }
            State::Ready => {
                self.pend(i, -1);
                self.unready(i);
                self.leave(now, i, out);
            }
            State::Waiting { hold: true } | State::PublishWait(_) => self.release(now, i, out),
            State::Marking => {
                let p = self.slots[i as usize].part;
                self.parts[p as usize].marking = NIL;
                self.alone = NIL;
                self.release(now, i, out);
            }
            _ => {}
        }
    }

    /// The messages of a partition that are not settled, by position.
    pub(crate) fn members(&self, p: u32) -> Vec<u32> {
        let mut members = Vec::new();
        let mut i = self.parts[p as usize].list.head;
        while i != NIL {
            members.push(i);
            i = self.slots[i as usize].links[PART].next;
        }
        members
    }
}
