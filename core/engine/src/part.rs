//! Partitions: assignment, and what comes in.

use convoke_core::broker::{Commit, Mark, Progress, Resume};
use convoke_core::{Epoch, PartId, Position};

use crate::credit::Account;
use crate::engine::Engine;
use crate::list::{LEASE, List, NIL, PART};
use crate::slot::{Entry, State};
use crate::timer::Timer;
use crate::{Cap, End, Meta, Note, Out, Slot, Time};

/// A partition, of the present epoch.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) id: PartId,
    pub(crate) epoch: Epoch,
    /// Whether there has been an assignment at all, whether it is ours, and whether all was said of it that will be.
    pub(crate) known: bool,
    pub(crate) assigned: bool,
    pub(crate) over: bool,
    /// The local deadline, and whether it has passed.
    pub(crate) until: Option<Time>,
    pub(crate) expired: bool,
    /// When it is taken away, if it is.
    pub(crate) by: Option<Time>,
    /// What is not settled, by position.
    pub(crate) list: List<PART>,
    /// The highest position that was delivered.
    pub(crate) highest: Option<Position>,
    /// What the last owner left, since when, and how much of it lies behind us.
    resume: Progress,
    since: Time,
    passed: usize,
    passed_marks: usize,
    /// Whether the last owner died; by watermark, how many of the next messages, and up to which position, are suspects then.
    pub(crate) unclean: bool,
    suspects: u32,
    /// Whether it was lost before all suspects had come and were tried.
    pub(crate) untried: bool,
    horizon: Option<Position>,
    pub(crate) account: Account,
    /// Whether what it holds waits, so that little of it is taken ahead.
    pub(crate) waits: bool,
    /// How many messages are beyond the backlog of their lanes, and what stopped the intake.
    pub(crate) backlogged: u32,
    pub(crate) full: Option<Cap>,
    /// What a commit has to say: ranges of what is done above the watermark, and messages with attempts or deaths.
    pub(crate) ranges: u32,
    pub(crate) noted: u32,
    /// Whether something changed since the last commit, whether an answer is outstanding, and when the next is due.
    pub(crate) dirty: bool,
    pub(crate) committing: bool,
    pub(crate) commit_at: Option<Time>,
    pub(crate) repairs: u32,
    /// The suspect whose mark goes with the commits, and whether the outstanding one has it.
    pub(crate) marking: u32,
    pub(crate) marks_sent: bool,
    /// In which step the outstanding one was asked for: it is taken at the end of that.
    pub(crate) sent: u64,
    /// What the last commit said, once everything else is forgotten.
    pub(crate) last: Option<Commit>,
}

impl Part {
    fn unknown(id: u32) -> Self {
        Self {
            id: PartId(id),
            epoch: Epoch(0),
            known: false,
            assigned: false,
            over: false,
            until: None,
            expired: false,
            by: None,
            list: List::EMPTY,
            highest: None,
            resume: Progress::default(),
            since: Time(0),
            passed: 0,
            passed_marks: 0,
            unclean: false,
            suspects: 0,
            untried: false,
            horizon: None,
            account: Account::default(),
            waits: false,
            backlogged: 0,
            full: None,
            ranges: 0,
            noted: 0,
            dirty: false,
            committing: false,
            commit_at: None,
            repairs: 0,
            marking: NIL,
            marks_sent: false,
            sent: 0,
            last: None,
        }
    }

    /// Whether the last owner had done this position. Positions are asked for in rising order.
    fn was_done(&mut self, position: Position) -> bool {
        let done = &self.resume.done;
        while done.get(self.passed).is_some_and(|range| range.1 < position) {
            self.passed += 1;
        }
        done.get(self.passed).is_some_and(|range| range.0 <= position)
    }

    /// What the last owner knew of a message that it had not done.
    fn mark(&mut self, position: Position) -> Option<Mark> {
        let marks = &self.resume.marks;
        while marks.get(self.passed_marks).is_some_and(|mark| mark.position < position) {
            self.passed_marks += 1;
        }
        marks.get(self.passed_marks).copied().filter(|mark| mark.position == position)
    }

    /// What the last owner had done, or knew of, beyond what was delivered to us.
    pub(crate) fn left_over(&self, now: Time, progress: &mut Progress) {
        let beyond = |position: Position| self.highest.is_none_or(|highest| position > highest);
        for &(first, last) in &self.resume.done {
            if !beyond(last) {
                continue;
            }
            let first = if beyond(first) { first } else { self.highest.map_or(first, Position::next) };
            match progress.done.last_mut() {
                Some(range) if range.1.next() >= first => range.1 = last,
                _ => progress.done.push((first, last)),
            }
        }
        let waited = now.since(self.since);
        let marks = self.resume.marks.iter().filter(|mark| beyond(mark.position));
        progress.marks.extend(marks.map(|mark| {
            let mut mark = *mark;
            mark.due_in = mark.due_in.saturating_sub(waited);
            mark
        }));
    }
}

impl Engine {
    pub(crate) fn assigned(
        &mut self,
        now: Time,
        id: PartId,
        epoch: Epoch,
        until: Option<Time>,
        resume: &Resume,
        out: &mut Vec<Out>,
    ) {
        if self.drained {
            return;
        }
        while self.parts.len() <= id.0 as usize {
            self.parts.push(Part::unknown(self.parts.len() as u32));
        }
        let old = &self.parts[id.0 as usize];
        if old.assigned {
            if old.epoch >= epoch {
                return;
            }
            self.lost(now, id, old.epoch, out);
        }
        let by_watermark = self.by_watermark();
        let horizon = resume.progress.done.last().map(|range| range.1);
        let horizon = horizon.max(resume.progress.marks.last().map(|mark| mark.position));
        self.parts[id.0 as usize] = Part {
            epoch,
            known: true,
            assigned: true,
            until,
            resume: if by_watermark { resume.progress.clone() } else { Progress::default() },
            since: now,
            // The last owner may be ourselves, who lost it before it was known what killed the one before.
            unclean: resume.unclean || self.parts[id.0 as usize].untried,
            suspects: self.config.messages,
            horizon,
            ..Part::unknown(id.0)
        };
        if let Some(until) = until {
            self.at(until, Timer::Deadline(id.0));
            if until <= now {
                self.expire(id.0, out);
            }
        }
        self.divide();
    }

    pub(crate) fn renewed(&mut self, now: Time, id: PartId, epoch: Epoch, until: Time, out: &mut Vec<Out>) {
        let Some(p) = self.part(id, epoch) else { return };
        let part = &mut self.parts[p as usize];
        part.until = Some(until);
        self.at(until, Timer::Deadline(p));
        if until <= now {
            // Over when it came: nothing that comes with it may start.
            self.expire(p, out);
            return;
        }
        let part = &mut self.parts[p as usize];
        if !part.expired {
            return;
        }
        part.expired = false;
        let mut i = self.parts[p as usize].list.head;
        while i != NIL {
            let next = self.slots[i as usize].links[PART].next;
            if matches!(self.slots[i as usize].state, State::Stalled) {
                self.slots[i as usize].state = State::Queued;
                self.turn(now, i, out);
            }
            i = next;
        }
    }

    /// The local deadline has passed: what is ready must not start.
    pub(crate) fn expire(&mut self, p: u32, out: &mut Vec<Out>) {
        let part = &mut self.parts[p as usize];
        if part.expired {
            return;
        }
        part.expired = true;
        Self::note(out, Note::Expired { part: part.id });
        let mut i = part.list.head;
        while i != NIL {
            if matches!(self.slots[i as usize].state, State::Ready) {
                self.unready(i);
                self.slots[i as usize].state = State::Stalled;
            }
            i = self.slots[i as usize].links[PART].next;
        }
    }

    pub(crate) fn delivered(&mut self, now: Time, id: PartId, epoch: Epoch, metas: &[Meta], out: &mut Vec<Out>) {
        let part = self.part(id, epoch).filter(|&p| !self.drained && !self.parts[p as usize].over);
        for &meta in metas {
            let taken = self.slots.get(meta.slot.index as usize).is_some_and(|entry| !matches!(entry.state, State::Free));
            debug_assert!(!taken, "the driver used a slot that is not free");
            match part {
                Some(p) if !taken && (meta.route.0 as usize) < self.routes.len() => self.deliver(now, p, meta, out),
                _ => out.push(Out::Free { slot: meta.slot, end: End::Lost }),
            }
        }
    }

    fn deliver(&mut self, now: Time, p: u32, meta: Meta, out: &mut Vec<Out>) {
        self.charge(p, meta.bytes);
        let by_watermark = self.by_watermark();
        let part = &mut self.parts[p as usize];
        let epoch = part.epoch;
        let closing = part.by.is_some() || self.stopping;
        if closing && by_watermark {
            // As if it had not come: what is delivered decides where the watermark is.
            self.refuse(p, meta, End::Returned, out);
            return;
        }
        let in_order = part.highest.is_none_or(|highest| meta.position > highest);
        let mut after = part.list.tail;
        if !in_order && meta.position.is_stable() {
            while after != NIL && self.slots[after as usize].meta.position > meta.position {
                after = self.slots[after as usize].links[PART].prev;
            }
            if after != NIL && self.slots[after as usize].meta.position == meta.position && !self.supersede(after) {
                self.swap(after, meta.slot, out);
                self.refuse(p, meta, End::Duplicate, out);
                return;
            }
            if by_watermark && self.is_done(after, meta.position) {
                self.refuse(p, meta, End::Duplicate, out);
                return;
            }
        }
        let part = &mut self.parts[p as usize];
        let mut entry = Entry::new(meta, p, epoch, now);
        if in_order {
            part.highest = Some(meta.position);
            if by_watermark {
                if part.was_done(meta.position) {
                    self.done_behind(after, meta.position);
                    self.changed(now, p);
                    self.refuse(p, meta, End::Duplicate, out);
                    return;
                }
                if let Some(mark) = part.mark(meta.position) {
                    entry.attempts = entry.attempts.max(mark.attempts);
                    entry.deaths = entry.deaths.max(mark.deaths);
                    entry.due = entry.due.max(part.since.after(mark.due_in));
                }
            }
        }
        if part.unclean {
            entry.suspect = if by_watermark {
                let counted = part.suspects > 0;
                part.suspects -= u32::from(counted);
                counted || part.horizon.is_some_and(|horizon| meta.position <= horizon)
            } else {
                meta.deliveries > 1
            };
        }
        self.admit(now, p, entry, after, in_order, closing, out);
    }

    /// Takes the message into the tables.
    #[allow(clippy::too_many_arguments, reason = "the second half of `deliver`")]
    fn admit(&mut self, now: Time, p: u32, entry: Entry, after: u32, in_order: bool, closing: bool, out: &mut Vec<Out>) {
        let meta = entry.meta;
        let i = meta.slot.index;
        while self.slots.len() <= i as usize {
            let mut free = entry.clone();
            free.state = State::Free;
            self.slots.push(free);
        }
        self.slots[i as usize] = entry;
        self.live += 1;
        self.slots[i as usize].listed = true;
        self.parts[p as usize].list.insert_after(&mut self.slots, after, i);
        if self.by_watermark() {
            self.split_done(i, after);
            self.noted(i);
        } else if let Some(term) = self.config.lease {
            let entry = &mut self.slots[i as usize];
            entry.extend = now.after(term / 3);
            entry.leased = true;
            self.leases.push_back(&mut self.slots, i);
        }
        if meta.skip {
            self.done(now, i, End::Skipped, out);
            return;
        }
        if closing {
            self.give_back(now, i, End::Returned, out);
            return;
        }
        self.pend(i, 1);
        if meta.lane.is_some() {
            self.enter(now, i, in_order, out);
            return;
        }
        let twin = self.fenced.iter().copied().find(|&f| {
            let old = &self.slots[f as usize];
            old.part == p && old.meta.position == meta.position
        });
        match twin {
            Some(twin) => self.enter_behind(now, i, twin, out),
            None => {
                self.turn(now, i, out);
            }
        }
    }

    /// Frees a message that never entered the tables.
    fn refuse(&mut self, p: u32, meta: Meta, end: End, out: &mut Vec<Out>) {
        self.repay(p, meta.bytes);
        out.push(Out::Free { slot: meta.slot, end });
    }

    /// The same message came again. Answers whether the new one goes on, because the old one is just being given back.
    fn supersede(&mut self, held: u32) -> bool {
        let entry = &mut self.slots[held as usize];
        let nacked = matches!(entry.state, State::Settling(convoke_core::broker::Settle::Nack { .. }, _));
        entry.superseded |= nacked;
        nacked
    }

    fn swap(&mut self, held: u32, new: Slot, out: &mut Vec<Out>) {
        let entry = &mut self.slots[held as usize];
        entry.outdated = entry.extends;
        entry.swapped = matches!(entry.state, State::Settling(..) | State::Marking);
        out.push(Out::Swap { held: entry.meta.slot, new });
    }

    /// The message is no longer counted among those of its partition.
    pub(crate) fn unlist(&mut self, i: u32) {
        let entry = &mut self.slots[i as usize];
        if entry.listed {
            entry.listed = false;
            let part = &mut self.parts[entry.part as usize];
            if entry.noted {
                entry.noted = false;
                part.noted -= 1;
            }
            part.list.remove(&mut self.slots, i);
        }
    }

    pub(crate) fn unlease(&mut self, i: u32) {
        let entry = &mut self.slots[i as usize];
        if entry.leased {
            entry.leased = false;
            List::<LEASE>::remove(&mut self.leases, &mut self.slots, i);
        }
    }
}
