//! Settlement by watermark: what a commit says, and when there is one.
//!
//! The list of a partition has, by position, exactly what is not done. Between two neighbours in it lies at most one range of what
//! is: the first of the two keeps it. What lies before the head of the list is below the watermark and forgotten.

use convoke_core::broker::{Commit, Mark, Progress};
use convoke_core::{Epoch, PartId, Position};

use crate::engine::Engine;
use crate::list::{NIL, PART};
use crate::slot::State;
use crate::timer::Timer;
use crate::{Answer, Out, Time};

/// What the text of a commit has beside ranges and marks, in characters.
const FRAME: usize = 64;

impl Engine {
    /// What a commit of this partition says now.
    pub(crate) fn snapshot(&self, now: Time, p: u32) -> Option<Commit> {
        let part = &self.parts[p as usize];
        let highest = part.highest?;
        let mut progress = Progress::default();
        let mut i = part.list.head;
        let upto = if i == NIL { highest.next() } else { self.slots[i as usize].meta.position };
        while i != NIL {
            let entry = &self.slots[i as usize];
            progress.done.extend(entry.done);
            if entry.noted {
                let mut mark = Mark::new(entry.meta.position, entry.attempts, entry.deaths);
                mark.due_in = entry.due.since(now);
                progress.marks.push(mark);
            }
            i = entry.links[PART].next;
        }
        part.left_over(now, &mut progress);
        if let Some(most) = self.config.progress {
            progress.fit(upto, most);
        }
        Some(Commit::new(part.id, part.epoch, upto, progress))
    }

    /// Whether the text of the partition's commits is nearly full: what is in flight has to find room in it too.
    pub(crate) fn progress_full(&self, p: u32) -> bool {
        let Some(most) = self.config.progress else { return false };
        let part = &self.parts[p as usize];
        let (Some(Position::Offset(highest)), false) = (part.highest, part.list.head == NIL) else { return false };
        let Position::Offset(low) = self.slots[part.list.head as usize].meta.position else { return false };
        // Two distances for a range; one, attempts, deaths and a delay for a mark. A digit has five bits.
        let distance = (64 - highest.saturating_sub(low).leading_zeros()).div_ceil(5).max(1) as usize;
        let size = FRAME + part.ranges as usize * 2 * distance + part.noted as usize * (distance + 2 + 4);
        size * 4 > most * 3
    }

    /// The message is done: it merges with what is done around it.
    pub(crate) fn record(&mut self, i: u32) {
        let entry = &mut self.slots[i as usize];
        let (p, position, behind) = (entry.part, entry.meta.position, entry.done.take());
        let before = entry.links[PART].prev;
        let part = &mut self.parts[p as usize];
        part.ranges -= u32::from(behind.is_some());
        if before != NIL {
            let last = behind.map_or(position, |range| range.1);
            let done = &mut self.slots[before as usize].done;
            part.ranges += u32::from(done.is_none());
            *done = Some((done.map_or(position, |range| range.0), last));
        }
    }

    /// A position right behind this message was done by the last owner.
    pub(crate) fn done_behind(&mut self, i: u32, position: Position) {
        if i != NIL {
            let entry = &mut self.slots[i as usize];
            self.parts[entry.part as usize].ranges += u32::from(entry.done.is_none());
            entry.done = Some((entry.done.map_or(position, |range| range.0), position));
        }
    }

    /// Whether a position that was passed is done. `before` is the last message below it that is not.
    pub(crate) fn is_done(&self, before: u32, position: Position) -> bool {
        before == NIL || self.slots[before as usize].done.is_some_and(|(first, last)| first <= position && position <= last)
    }

    /// A message has come in between `before` and what is done behind that.
    pub(crate) fn split_done(&mut self, i: u32, before: u32) {
        if before != NIL {
            let position = self.slots[i as usize].meta.position;
            let entry = &mut self.slots[before as usize];
            if entry.done.is_some_and(|(first, _)| first > position) {
                self.slots[i as usize].done = self.slots[before as usize].done.take();
            }
        }
    }

    /// Has the commits mention the message if there is something to say of it.
    pub(crate) fn noted(&mut self, i: u32) {
        let entry = &mut self.slots[i as usize];
        debug_assert!(entry.listed);
        let noted = entry.attempts > 0 || entry.deaths > 0;
        let part = &mut self.parts[entry.part as usize];
        match (entry.noted, noted) {
            (false, true) => part.noted += 1,
            (true, false) => part.noted -= 1,
            _ => {}
        }
        entry.noted = noted;
    }

    /// Something changed that a commit would say.
    pub(crate) fn changed(&mut self, now: Time, p: u32) {
        self.parts[p as usize].dirty = true;
        self.plan_commit(now, p);
    }

    fn plan_commit(&mut self, now: Time, p: u32) {
        let part = &mut self.parts[p as usize];
        if part.dirty && !part.committing && part.commit_at.is_none() {
            let at = now.after(self.config.commit_every);
            part.commit_at = Some(at);
            self.at(at, Timer::Commit(p));
        }
    }

    /// Commits now. No commit is outstanding.
    pub(crate) fn send_commit(&mut self, p: u32, out: &mut Vec<Out>) {
        let part = &mut self.parts[p as usize];
        debug_assert!(!part.committing);
        debug_assert!(part.highest.is_some(), "there is nothing to say before anything was delivered");
        part.commit_at = None;
        part.committing = true;
        part.dirty = false;
        part.sent = self.steps;
        part.marks_sent = part.marking != NIL;
        out.push(Out::Commit { part: part.id, epoch: part.epoch });
    }

    pub(crate) fn committed(&mut self, now: Time, id: PartId, epoch: Epoch, answer: Answer, out: &mut Vec<Out>) {
        let Some(p) = self.part(id, epoch) else { return };
        let part = &mut self.parts[p as usize];
        if !part.committing {
            return;
        }
        part.committing = false;
        if part.over {
            return;
        }
        let marking = part.marking;
        let sent = std::mem::take(&mut part.marks_sent);
        match answer {
            Answer::Applied => part.repairs = 0,
            Answer::Failed => {
                part.dirty = true;
                let delay = repair(self.config.repair, part.repairs);
                part.repairs += 1;
                part.commit_at = Some(now.after(delay));
                self.at(now.after(delay), Timer::Commit(p));
            }
            Answer::Stale => {}
        }
        if marking != NIL && sent {
            self.parts[p as usize].marking = NIL;
            debug_assert_eq!(self.slots[marking as usize].state, State::Marking);
            self.mark_answered(now, marking, answer == Answer::Applied, out);
        } else if marking != NIL && answer != Answer::Failed {
            self.send_commit(p, out);
        }
        self.plan_commit(now, p);
    }
}

/// The `n`th backoff, doubling.
pub(crate) fn repair((min, max): (std::time::Duration, std::time::Duration), n: u32) -> std::time::Duration {
    min.saturating_mul(1u32.checked_shl(n.min(31)).unwrap_or(u32::MAX)).min(max.max(min))
}
