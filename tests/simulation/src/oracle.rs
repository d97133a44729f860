//! The oracle: it sees what goes into the engine and what comes out, and knows what may not happen. It shares no code with the
//! engine, and is as naive as possible.

use std::collections::BTreeMap;

use convoke_core::broker::{Commit, Delay, Progress, Settle, SettleBy};
use convoke_core::{DeadReason, OnRetry, Position};
use convoke_engine::{Answer, Config, End, In, Meta, Note, Out, Published, Slot, Time, Verdict};

use crate::stats::Stats;

/// What may not happen, by the number in the documentation of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub number: u8,
    /// What happened.
    pub what: String,
}

type Checked = Result<(), Violation>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Publish {
    Returned,
    Dead,
    Retry,
}

#[derive(Debug)]
struct Held {
    meta: Meta,
    epoch: u64,
    part: usize,
    attempts: u32,
    deaths: u32,
    suspect: bool,
    marked: bool,
    running: bool,
    batch: Option<usize>,
    started: bool,
    lost: bool,
    /// Waits for a retry, holding its lane.
    holds: bool,
    /// May only be given up.
    dying: bool,
    not_before: Time,
    /// What its handler returned still has to be confirmed, or the verdict stands for a batch that waits for that.
    owes: bool,
    verdict: Option<Verdict>,
    publish: Option<Publish>,
    /// How it may be acknowledged.
    end: Option<End>,
    settling: Option<Settle>,
    /// How it is to be freed.
    answered: Option<End>,
    marking: bool,
    given_back: bool,
    began: Time,
    extended: Time,
    /// How many extensions are unanswered, and how many of those belong to a token that was replaced.
    extends: u32,
    outdated: u32,
    /// Whether it is the same as one that is held, or as one that is done.
    repeat: bool,
}

#[derive(Debug, Default)]
struct Share {
    epoch: u64,
    ours: bool,
    over: bool,
    by: Option<Time>,
    until: Option<Time>,
    unclean: bool,
    suspects: u32,
    horizon: Option<u64>,
    resume: Progress,
    /// By watermark: what was delivered, and whether it is done.
    delivered: BTreeMap<u64, bool>,
    held: i64,
    held_bytes: i64,
    unused: i64,
    unused_bytes: i64,
}

#[derive(Debug, Default)]
struct Handler {
    concurrency: u32,
    running: u32,
    paused: bool,
    blocked: Time,
    probe: Option<Time>,
    probing: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Oracle {
    config: Config,
    slots: Vec<Option<Held>>,
    generations: Vec<u32>,
    shares: Vec<Share>,
    handlers: Vec<Handler>,
    batches: Vec<Vec<usize>>,
    alone: Option<usize>,
    /// The suspect whose mark is in the commit that was just asked for.
    mark_sent: Option<usize>,
    draining: Option<Time>,
    aborted: bool,
    drained: bool,
    /// By watermark: what is done, for good, whatever engine did it.
    pub finals: Vec<(usize, u64)>,
}

fn offset(position: Position) -> u64 {
    match position {
        Position::Offset(n) | Position::Tag(n) => n,
        Position::Entry(a, b) => a << 20 | b,
    }
}

macro_rules! ensure {
    ($number:expr, $holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(Violation { number: $number, what: format!($($what)+) });
        }
    };
}

impl Oracle {
    /// An oracle for an engine of this configuration.
    #[must_use]
    pub fn new(config: Config, parts: usize) -> Self {
        let handlers = config.routes.iter().map(|route| Handler { concurrency: route.concurrency.max(1), ..Handler::default() });
        Self {
            handlers: handlers.collect(),
            shares: (0..parts).map(|_| Share::default()).collect(),
            slots: Vec::new(),
            generations: Vec::new(),
            batches: Vec::new(),
            alone: None,
            mark_sent: None,
            draining: None,
            aborted: false,
            drained: false,
            finals: Vec::new(),
            config,
        }
    }

    fn watermark(&self) -> bool {
        self.config.settle == SettleBy::Watermark
    }

    fn held(&mut self, slot: Slot) -> Result<(usize, &mut Held), Violation> {
        let index = slot.index as usize;
        match self.slots.get_mut(index) {
            Some(Some(held)) if held.meta.slot == slot => Ok((index, held)),
            _ => Err(Violation { number: 1, what: format!("{slot:?} is named, but is not held") }),
        }
    }

    fn holds_lane(&self, i: usize) -> bool {
        self.slots[i].as_ref().is_some_and(|held| {
            held.meta.lane.is_some() && self.config.routes[held.meta.route.0 as usize].on_retry == OnRetry::Hold
        })
    }

    /// Takes note of an input.
    pub fn input(&mut self, now: Time, input: &In<'_>, stats: &mut Stats) {
        match *input {
            In::Assigned { part, epoch, until, resume } => {
                let p = part.0 as usize;
                if self.shares[p].ours {
                    self.lose_all(p, stats);
                }
                let horizon = resume.progress.done.last().map(|range| offset(range.1));
                let horizon = horizon.max(resume.progress.marks.last().map(|mark| offset(mark.0)));
                self.shares[p] = Share {
                    epoch: epoch.0,
                    ours: true,
                    until,
                    unclean: resume.unclean,
                    suspects: self.config.messages,
                    horizon,
                    resume: resume.progress.clone(),
                    ..Share::default()
                };
            }
            In::Renewed { part, epoch, until } => {
                let share = &mut self.shares[part.0 as usize];
                if share.ours && share.epoch == epoch.0 {
                    share.until = Some(until);
                }
            }
            In::Delivered { part, epoch, metas } => {
                for meta in metas {
                    self.delivered(now, part.0 as usize, epoch.0, *meta);
                }
            }
            In::Revoking { part, epoch, by } => {
                let share = &mut self.shares[part.0 as usize];
                if share.ours && share.epoch == epoch.0 && !share.over {
                    share.by = Some(by);
                }
            }
            In::Lost { part, epoch } => {
                if self.shares[part.0 as usize].ours && self.shares[part.0 as usize].epoch == epoch.0 {
                    self.lose_all(part.0 as usize, stats);
                    self.shares[part.0 as usize].ours = false;
                }
            }
            In::Finished { slot, verdicts, returned } => self.finished(now, slot, verdicts, returned, true, stats),
            In::Published { slot, result } => self.published(now, slot, result, stats),
            In::Settled { slot, settle, answer } => self.settled(now, slot, settle, answer, stats),
            In::Ready { route } => self.handlers[route.0 as usize].blocked = Time(0),
            In::Pause { route } => self.handlers[route.0 as usize].paused = true,
            In::Resume { route } => self.handlers[route.0 as usize].paused = false,
            In::Resize { route, concurrency } => self.handlers[route.0 as usize].concurrency = concurrency.max(1),
            In::Drain { by } => self.draining = Some(by),
            In::Abort => {
                self.aborted = true;
                let by = now.after(std::time::Duration::from_secs(2));
                self.draining = Some(self.draining.map_or(by, |drain| drain.min(by)));
            }
            In::Committed { part, epoch, answer } => {
                let sent = |held: &Held| held.part == part.0 as usize && held.epoch == epoch.0;
                if let Some(i) = self.mark_sent.take_if(|i| self.slots[*i].as_ref().is_some_and(sent))
                    && self.alone == Some(i)
                {
                    if answer == Answer::Applied {
                        stats.count("marking > marked by commit");
                        if let Some(held) = self.slots[i].as_mut() {
                            held.marked = true;
                        }
                    } else {
                        stats.count("marking > failed");
                        self.alone = None;
                    }
                }
            }
            In::Tick => {}
        }
    }

    fn lose_all(&mut self, p: usize, stats: &mut Stats) {
        let epoch = self.shares[p].epoch;
        for held in self.slots.iter_mut().flatten() {
            if held.part == p && held.epoch == epoch && !held.lost {
                held.lost = true;
                stats.count(if held.running {
                    "running > fenced"
                } else if held.publish.is_some() || held.owes {
                    "publishing > lost"
                } else if held.settling.is_some() {
                    "settling > lost"
                } else if held.started {
                    "waiting > lost"
                } else {
                    "queued > lost"
                });
            }
        }
    }

    fn delivered(&mut self, now: Time, p: usize, epoch: u64, meta: Meta) {
        let index = meta.slot.index as usize;
        while self.slots.len() <= index {
            self.slots.push(None);
            self.generations.push(0);
        }
        let watermark = self.watermark();
        let messages_mode = !watermark;
        let share = &mut self.shares[p];
        let ours = share.ours && share.epoch == epoch && !share.over && !self.drained;
        let position = offset(meta.position);
        let (mut attempts, mut deaths) = (meta.attempts, meta.deaths);
        let mut suspect = false;
        let mut repeat = false;
        if ours {
            share.held += 1;
            share.held_bytes += i64::from(meta.bytes);
            share.unused -= 1;
            share.unused_bytes -= i64::from(meta.bytes);
            let closing = share.by.is_some() || self.draining.is_some();
            if watermark && !closing {
                let done = share.resume.done.iter().any(|range| offset(range.0) <= position && position <= offset(range.1));
                // What lies below the watermark of this assignment is done, too.
                let passed = share.delivered.last_key_value().is_some_and(|last| position < *last.0);
                let below = passed && share.delivered.iter().find(|entry| !*entry.1).is_none_or(|undone| position < *undone.0);
                repeat = done || below || share.delivered.contains_key(&position);
                share.delivered.entry(position).or_insert(done || below);
                if let Some(mark) = share.resume.marks.iter().find(|mark| offset(mark.0) == position) {
                    attempts = attempts.max(mark.1);
                    deaths = deaths.max(mark.2);
                }
                if share.unclean && !repeat {
                    suspect = share.suspects > 0 || share.horizon.is_some_and(|horizon| position <= horizon);
                    share.suspects = share.suspects.saturating_sub(1);
                }
            }
            suspect |= messages_mode && share.unclean && meta.deliveries > 1;
        }
        self.slots[index] = Some(Held {
            meta,
            epoch,
            part: p,
            attempts,
            deaths,
            suspect,
            marked: false,
            running: false,
            batch: None,
            started: false,
            lost: !ours,
            holds: false,
            dying: false,
            not_before: meta.due.unwrap_or_default(),
            owes: false,
            verdict: None,
            publish: None,
            end: meta.skip.then_some(End::Skipped),
            settling: None,
            answered: None,
            marking: false,
            given_back: false,
            began: now,
            extended: now,
            extends: 0,
            outdated: 0,
            repeat,
        });
    }

    fn members(&self, i: usize) -> Vec<usize> {
        match self.slots[i].as_ref().and_then(|held| held.batch) {
            Some(b) => self.batches[b].clone(),
            None => vec![i],
        }
    }

    fn finished(&mut self, now: Time, slot: Slot, verdicts: &[Verdict], returned: bool, telling: bool, stats: &mut Stats) {
        let Ok((head, _)) = self.held(slot) else { return };
        let members = self.members(head);
        let route = self.slots[head].as_ref().map_or(0, |held| held.meta.route.0 as usize);
        let mut live = Vec::new();
        let mut acked = false;
        for (&i, &verdict) in members.iter().zip(verdicts) {
            let Some(held) = self.slots[i].as_mut() else { continue };
            held.running = false;
            held.verdict = Some(verdict);
            if held.lost {
                stats.count("fenced > free");
            } else {
                acked |= matches!(verdict, Verdict::Ack | Verdict::Drop);
                live.push(verdict);
            }
        }
        let handler = &mut self.handlers[route];
        handler.running -= 1;
        handler.probing = false;
        if self.alone == Some(head) {
            self.alone = None;
        }
        if telling && live.contains(&Verdict::NotTaken) && !live.contains(&Verdict::Unavailable) && handler.probe.is_none() {
            handler.blocked = now.after(self.config.repair.0);
        }
        if returned && acked {
            for &i in &members {
                if let Some(held) = self.slots[i].as_mut() {
                    held.owes = true;
                }
            }
        } else {
            self.judge(now, &members, false, stats);
        }
    }

    fn judge(&mut self, now: Time, members: &[usize], refused: bool, stats: &mut Stats) {
        let mut failed: Vec<u64> = Vec::new();
        for &i in members {
            let holds = self.holds_lane(i);
            let Some(held) = self.slots[i].as_mut() else { continue };
            let route = &self.config.routes[held.meta.route.0 as usize];
            held.owes = false;
            held.batch = None;
            let Some(verdict) = held.verdict.take() else { continue };
            if held.lost {
                continue;
            }
            if !matches!(verdict, Verdict::NotTaken | Verdict::Failed { .. }) {
                held.suspect = false;
            }
            let behind = held.meta.lane.is_some_and(|lane| failed.contains(&lane));
            match verdict {
                Verdict::Failed { after, reason: _ } => {
                    held.attempts += 1;
                    if held.attempts >= route.retry.attempts {
                        held.dying = true;
                        stats.count("running > exhausted");
                    } else {
                        let exponent = (held.attempts - 1).min(20);
                        let delay = after.unwrap_or((route.retry.min * (1 << exponent)).min(route.retry.max));
                        held.not_before = now.after(delay);
                        held.holds = holds && !behind;
                        stats.count(if holds { "running > waiting, held" } else { "running > waiting, passed" });
                    }
                }
                Verdict::Ack | Verdict::Drop | Verdict::Dead(_) if behind => stats.count("running > queued, behind a failed one"),
                Verdict::Ack | Verdict::Drop if refused => held.dying = true,
                Verdict::Ack => held.end = Some(End::Acked),
                Verdict::Drop => held.end = Some(End::Dropped),
                Verdict::Dead(_) => {
                    held.dying = true;
                    stats.count("running > given up");
                }
                Verdict::Unavailable => stats.count("running > queued, unavailable"),
                Verdict::NotTaken => stats.count("running > queued, not taken"),
            }
            if matches!(verdict, Verdict::Failed { .. } | Verdict::Unavailable | Verdict::NotTaken) {
                failed.extend(held.meta.lane);
            }
        }
    }

    fn published(&mut self, now: Time, slot: Slot, result: Published, stats: &mut Stats) {
        let Ok((i, held)) = self.held(slot) else { return };
        let Some(publish) = held.publish.take() else { return };
        if held.lost && !held.owes {
            stats.count("lost publishing > free");
            return;
        }
        match (publish, result) {
            (_, Published::Again) => stats.count("publishing > again"),
            (Publish::Returned, result) => {
                stats.count("publishing returned > judged");
                let members = self.members(i);
                self.judge(now, &members, result == Published::Refused, stats);
            }
            (Publish::Dead, Published::Confirmed) => {
                held.end = Some(End::Dead);
                stats.count("publishing dead > confirmed");
            }
            (Publish::Retry, Published::Confirmed) => {
                held.end = Some(End::Retried);
                stats.count("publishing retry > confirmed");
            }
            (Publish::Dead, Published::Refused) => stats.count("publishing dead > stuck"),
            (Publish::Retry, Published::Refused) => stats.count("publishing retry > waiting"),
        }
    }

    fn settled(&mut self, _now: Time, slot: Slot, settle: Settle, answer: Answer, stats: &mut Stats) {
        let Ok((i, held)) = self.held(slot) else { return };
        match settle {
            Settle::Extend => {
                if answer == Answer::Stale {
                    stats.count("extension > stale");
                }
                held.extends = held.extends.saturating_sub(1);
                if held.outdated > 0 {
                    held.outdated -= 1;
                } else if answer == Answer::Stale && held.settling.is_none() && held.end.is_none() && !held.given_back {
                    held.lost = true;
                }
            }
            // The answer to a mark that is taken back changes nothing.
            Settle::Mark { deaths } if !held.marking || deaths != held.deaths + 1 => {}
            Settle::Mark { deaths } => {
                held.marking = false;
                if answer == Answer::Applied {
                    held.marked = true;
                    held.deaths = deaths;
                    stats.count("marking > marked");
                } else if self.alone == Some(i) {
                    self.alone = None;
                    stats.count("marking > failed");
                }
            }
            _ => {
                let Some(settle) = held.settling.take() else { return };
                match answer {
                    Answer::Applied => {
                        held.answered = match settle {
                            Settle::Ack => held.end,
                            _ => Some(End::Returned),
                        };
                        stats.count(if settle == Settle::Ack { "settling > acknowledged" } else { "settling > given back" });
                    }
                    Answer::Stale => stats.count("settling > stale"),
                    Answer::Failed => stats.count("settling > again"),
                }
            }
        }
    }

    /// Checks the outputs of a step.
    ///
    /// # Errors
    /// What does not hold.
    pub fn outputs(
        &mut self,
        now: Time,
        out: &[Out],
        batch: &dyn Fn(Slot) -> Vec<Slot>,
        commit: &dyn Fn(u32) -> Option<Commit>,
        stats: &mut Stats,
    ) -> Checked {
        ensure!(13, !self.drained || out.iter().all(|out| matches!(out, Out::Free { .. })), "outputs after Drained: {out:?}");
        let last_words = out.last() == Some(&Out::Drained) && self.draining.is_some_and(|by| by <= now);
        // A commit is taken when the step is over, unless the partition ends in it.
        let drains = out.last() == Some(&Out::Drained);
        let ends: Vec<u32> = out
            .iter()
            .filter_map(|out| match *out {
                Out::Revoked { part, .. } => Some(part.0),
                Out::Commit { part, .. } if drains => Some(part.0),
                _ => None,
            })
            .collect();
        let mut commits = Vec::new();
        for &output in out {
            match output {
                Out::Start { slot, route, attempt, shard } => {
                    ensure!(12, shard < self.config.shards, "shard {shard}");
                    let (i, held) = self.held(slot)?;
                    ensure!(
                        6,
                        attempt == held.attempts + 1,
                        "{slot:?} has failed {} times, but starts attempt {attempt}",
                        held.attempts
                    );
                    ensure!(12, held.meta.route == route, "{slot:?} starts on another route");
                    self.start(now, &[i], stats)?;
                }
                Out::StartBatch { slot, .. } => {
                    let members = batch(slot);
                    ensure!(12, members.first() == Some(&slot), "the first of the batch of {slot:?} is another");
                    let mut indices = Vec::new();
                    for member in members {
                        indices.push(self.held(member)?.0);
                    }
                    self.start(now, &indices, stats)?;
                    self.batches.push(indices.clone());
                    for i in indices {
                        if let Some(held) = self.slots[i].as_mut() {
                            held.batch = Some(self.batches.len() - 1);
                        }
                    }
                }
                Out::Cancel { slot } => self.cancelled(now, slot, stats)?,
                Out::PublishReturned { slot } => {
                    let batched = self.held(slot)?.1.batch.is_some();
                    let held = self.held(slot)?.1;
                    ensure!(7, held.owes && held.publish.is_none(), "nothing of {slot:?} is to be published");
                    ensure!(15, batched || !held.lost, "{slot:?} is lost, but what it returned is published");
                    held.publish = Some(Publish::Returned);
                    stats.count("running > publishing returned");
                }
                Out::PublishDead { slot, reason, attempts } => self.publish_dead(slot, reason, attempts, stats)?,
                Out::PublishRetry { slot, delay, attempts } => {
                    let hold = self.holds_lane(slot.index as usize);
                    let held = self.held(slot)?.1;
                    ensure!(15, !held.lost, "{slot:?} is lost, but is published");
                    ensure!(3, !hold && !held.dying && !held.running, "{slot:?} is not to be retried elsewhere");
                    ensure!(5, now.after(delay) >= held.not_before, "{slot:?} would come back too early");
                    ensure!(6, attempts == held.attempts, "{slot:?}: {attempts} attempts");
                    held.publish = Some(Publish::Retry);
                    stats.count("running > publishing retry");
                }
                Out::Settle { slot, settle } => self.settle(now, slot, settle, stats)?,
                Out::Commit { part, epoch } => {
                    let share = &self.shares[part.0 as usize];
                    ensure!(15, share.ours && !share.over && share.epoch == epoch.0, "a commit of a partition that is not ours");
                    if ends.contains(&part.0) {
                        self.check_commit(part.0 as usize, commit(part.0))?;
                    } else {
                        commits.push(part.0);
                    }
                    stats.count("commit");
                }
                Out::Grant { part, epoch, messages, bytes } => {
                    let share = &self.shares[part.0 as usize];
                    ensure!(9, share.ours && share.epoch == epoch.0, "a grant for a partition that is not ours");
                    ensure!(13, share.by.is_none() && self.draining.is_none(), "a grant while giving back");
                    self.granted(part.0 as usize, i64::from(messages), bytes as i64)?;
                }
                Out::Revoked { part, epoch } => {
                    let p = part.0 as usize;
                    let share = &self.shares[p];
                    ensure!(13, share.epoch == epoch.0 && share.by.is_some() && !share.over, "Revoked, again or for no reason");
                    let late = share.by.is_some_and(|by| by <= now) || self.draining.is_some_and(|by| by <= now);
                    let left = self.slots.iter().flatten().find(|held| held.part == p && held.epoch == epoch.0 && !held.lost);
                    ensure!(13, late || left.is_none(), "Revoked, but {left:?} is left");
                    self.shares[p].over = true;
                    for held in self.slots.iter_mut().flatten() {
                        if held.part == p && held.epoch == epoch.0 && held.settling.is_none() {
                            held.lost = true;
                        }
                    }
                    stats.count(if late { "revoked late" } else { "revoked" });
                }
                Out::Swap { held, new } => {
                    let (meta, epoch) = (self.held(new)?.1.meta, self.held(new)?.1.epoch);
                    let (part, lost) = (self.held(new)?.1.part, self.held(new)?.1.lost);
                    let old = self.held(held)?.1;
                    ensure!(
                        18,
                        old.meta.position == meta.position && old.epoch == epoch && old.part == part && !old.lost && !lost,
                        "{new:?} is no repeat of {held:?}"
                    );
                    old.outdated = old.extends;
                    self.held(new)?.1.repeat = true;
                    stats.count("swap");
                }
                Out::Free { slot, end } => self.freed(slot, end, last_words, stats)?,
                Out::Drained => {
                    ensure!(13, self.draining.is_some(), "Drained for no reason");
                    ensure!(1, self.slots.iter().all(Option::is_none), "Drained, but something is held");
                    self.drained = true;
                    stats.count(if last_words { "drained late" } else { "drained" });
                }
                Out::Note(note) => match note {
                    Note::Suspended { route, probe } => {
                        let handler = &mut self.handlers[route.0 as usize];
                        ensure!(12, probe > now || self.config.probe.0.is_zero(), "a probe at once");
                        handler.probe = Some(probe);
                        handler.blocked = Time(0);
                        stats.count("suspended");
                    }
                    Note::Restored { route } => {
                        self.handlers[route.0 as usize].probe = None;
                        stats.count("restored");
                    }
                    Note::Alone { slot } => {
                        let running = self.slots.iter().flatten().any(|held| held.running);
                        let (i, held) = self.held(slot)?;
                        ensure!(14, !running && held.suspect, "{slot:?} is about to be tried alone, but is not");
                        self.alone = Some(i);
                        stats.count("alone");
                    }
                    Note::Full { .. } => stats.count("full"),
                    Note::Expired { .. } => stats.count("expired"),
                    Note::Stuck { .. } => stats.count("stuck"),
                    _ => {}
                },
            }
        }
        for part in commits {
            self.check_commit(part as usize, commit(part))?;
        }
        self.settled_state(now)
    }

    fn start(&mut self, now: Time, indices: &[usize], stats: &mut Stats) -> Checked {
        let route = self.slots[indices[0]].as_ref().map_or(0, |held| held.meta.route.0 as usize);
        // A marked suspect that could not start after all does not keep others from it.
        self.alone.take_if(|i| *i != indices[0] && self.slots[*i].as_ref().is_none_or(|held| held.marked && !held.running));
        let options = &self.config.routes[route];
        let size = options.batch.map_or(1, |batch| batch.size.max(1));
        ensure!(12, indices.len() <= size as usize, "{} messages in a batch", indices.len());
        ensure!(13, self.draining.is_none(), "a start in a drain");
        let handler = &mut self.handlers[route];
        ensure!(12, !handler.paused, "a start on a paused route");
        ensure!(12, handler.running < handler.concurrency, "more than {} run", handler.concurrency);
        ensure!(12, handler.blocked <= now, "a start before {:?}", handler.blocked);
        if let Some(probe) = handler.probe {
            ensure!(12, probe <= now && !handler.probing && indices.len() == 1, "a start on a suspended route");
            handler.probing = true;
            stats.count("probe");
        }
        handler.running += 1;
        for (n, &i) in indices.iter().enumerate() {
            let Some(held) = self.slots[i].as_ref() else { continue };
            let slot = held.meta.slot;
            let share = &self.shares[held.part];
            ensure!(15, !held.lost, "{slot:?} is lost, but starts");
            ensure!(13, share.by.is_none(), "{slot:?} starts while its partition is given back");
            ensure!(11, share.until.is_none_or(|until| now < until), "{slot:?} starts past {:?}", share.until);
            ensure!(3, !held.running && held.publish.is_none() && !held.owes, "{slot:?} starts twice");
            ensure!(6, !held.dying && held.meta.dead.is_none(), "{slot:?} is to be given up, but starts");
            ensure!(7, held.end.is_none() && held.settling.is_none() && !held.given_back, "{slot:?} is final, but starts");
            ensure!(5, held.not_before <= now, "{slot:?} starts at {now:?} before {:?}", held.not_before);
            if held.suspect {
                ensure!(14, self.alone.is_none_or(|alone| alone == i), "{slot:?} starts beside another suspect");
                self.alone = Some(i);
                let marks = self.config.marks || self.watermark();
                ensure!(14, !marks || held.marked, "{slot:?} starts without a mark");
            } else {
                ensure!(14, self.alone.is_none(), "{slot:?} starts beside a suspect");
            }
            for (k, other) in self.slots.iter().enumerate() {
                let Some(other) = other else { continue };
                if indices.contains(&k) {
                    continue;
                }
                if held.suspect {
                    ensure!(14, !other.running, "{slot:?} is suspect, but {:?} runs", other.meta.slot);
                }
                let same = held.part == other.part && held.meta.position == other.meta.position;
                ensure!(3, !(same && other.running), "{slot:?} runs as {:?}", other.meta.slot);
                if held.meta.lane.is_none() || held.meta.lane != other.meta.lane {
                    continue;
                }
                // What is being given back has left its lane.
                let closing = other.given_back || self.shares[other.part].by.is_some();
                // Once the delay is over, what was let past, or comes before it in the partition, may still precede it.
                let passed = held.started || (options_pass(&self.config, held) && held.meta.due.is_some());
                let before = held.part == other.part && held.meta.position < other.meta.position;
                let holds = other.holds && (now < other.not_before || !(passed || before));
                let busy = other.running
                    || other.publish.is_some()
                    || other.owes
                    || other.marking
                    || (holds && !other.lost && !closing && other.end.is_none());
                ensure!(3, !busy, "{slot:?} starts while {:?} has the lane", other.meta.slot);
                let late = |held: &Held| options_pass(&self.config, held) && held.meta.due.is_some();
                let passed = late(held) || late(other);
                let first = !held.started && !other.started && !other.lost && !other.given_back && !passed;
                if first
                    && held.part == other.part
                    && other.epoch == held.epoch
                    && other.end.is_none()
                    && other.settling.is_none()
                {
                    ensure!(4, other.meta.position >= held.meta.position, "{slot:?} starts before {:?}", other.meta.slot);
                }
            }
            // Neighbours of a lane within a batch.
            if n > 0 {
                let lane = held.meta.lane;
                let before: Vec<_> = indices[..n].iter().filter_map(|&k| self.slots[k].as_ref().map(|h| h.meta.lane)).collect();
                let contiguous = lane.is_none() || before.last() == Some(&lane) || !before.contains(&lane);
                ensure!(3, contiguous, "{slot:?} is apart from others of its lane in its batch");
            }
        }
        for &i in indices {
            if let Some(held) = self.slots[i].as_mut() {
                stats.count(if !held.started {
                    "ready > running"
                } else if held.holds {
                    "waiting, held > running"
                } else {
                    "put back > running"
                });
                held.running = true;
                held.started = true;
                held.began = now;
                held.holds = false;
            }
        }
        Ok(())
    }

    fn cancelled(&mut self, now: Time, slot: Slot, stats: &mut Stats) -> Checked {
        let (i, held) = self.held(slot)?;
        ensure!(2, held.running, "{slot:?} is cancelled, but does not run");
        let (began, route) = (held.began, held.meta.route.0 as usize);
        let members = self.members(i);
        let over = self.aborted
            || self.draining.is_some_and(|by| by <= now)
            || members.iter().filter_map(|&i| self.slots[i].as_ref()).any(|held| {
                let share = &self.shares[held.part];
                !held.lost && share.epoch == held.epoch && share.by.is_some_and(|by| by <= now)
            });
        let late = self.config.routes[route].timeout.is_some_and(|timeout| began.after(timeout) <= now);
        ensure!(13, late || over, "{slot:?} is cancelled for no reason");
        stats.count(if over { "running > cancelled" } else { "running > timed out" });
        let failed = Verdict::Failed { after: None, reason: DeadReason::Timeout };
        let verdict = if over { Verdict::NotTaken } else { failed };
        self.finished(now, slot, &vec![verdict; members.len()], false, !over, stats);
        Ok(())
    }

    fn publish_dead(&mut self, slot: Slot, reason: DeadReason, attempts: u32, stats: &mut Stats) -> Checked {
        let limit = self.config.deaths;
        let held = self.held(slot)?.1;
        ensure!(15, !held.lost, "{slot:?} is lost, but is published");
        ensure!(7, !held.running && held.publish.is_none() && held.end.is_none(), "{slot:?} is not to be given up now");
        if reason == DeadReason::TooManyDeliveries {
            ensure!(14, held.suspect && limit > 0 && held.deaths >= limit, "{slot:?} has died {} times", held.deaths);
            stats.count("queued > dead, too many deliveries");
        } else {
            ensure!(7, held.dying || held.meta.dead.is_some(), "{slot:?} is given up for no reason");
        }
        ensure!(6, attempts == held.attempts, "{slot:?}: {attempts} attempts");
        held.publish = Some(Publish::Dead);
        held.dying = true;
        stats.count("publishing dead");
        let (lane, part, position, epoch) = (held.meta.lane, held.part, held.meta.position, held.epoch);
        for other in self.slots.iter().flatten() {
            let earlier = lane.is_some()
                && other.meta.lane == lane
                && other.meta.slot != slot
                && !other.repeat
                && !other.lost
                && other.part == part
                && other.epoch == epoch
                && other.meta.position < position
                && other.meta.dead.is_some()
                && other.publish.is_none()
                && !other.dying
                && !other.given_back;
            ensure!(4, !earlier, "{slot:?} is given up before {:?}", other.meta.slot);
        }
        Ok(())
    }

    fn settle(&mut self, now: Time, slot: Slot, settle: Settle, stats: &mut Stats) -> Checked {
        let watermark = self.watermark();
        let native = matches!(self.config.delay, Delay::Native { .. });
        let draining = self.draining.is_some();
        let alone = self.alone;
        let running = self.slots.iter().flatten().any(|held| held.running);
        let held = self.held(slot)?.1;
        let (p, epoch) = (held.part, held.epoch);
        let share = &self.shares[p];
        let closing = share.by.is_some() || draining;
        ensure!(15, share.ours && !share.over && share.epoch == epoch, "{slot:?} is settled, but its partition is not ours");
        let (i, held) = self.held(slot)?;
        ensure!(15, !held.lost, "{slot:?} is lost, but is settled");
        ensure!(8, !watermark || matches!(settle, Settle::Mark { .. }), "{slot:?} is settled by itself");
        match settle {
            Settle::Ack => {
                ensure!(7, held.end.is_some() && !held.running && held.publish.is_none(), "{slot:?} is acknowledged too early");
                ensure!(7, held.settling.is_none(), "{slot:?} is settled twice");
                held.settling = Some(settle);
                stats.count("settling");
            }
            Settle::Nack { delay, attempts, hold } => {
                ensure!(7, !held.running && held.publish.is_none() && held.end.is_none(), "{slot:?} is given back too early");
                ensure!(7, held.settling.is_none(), "{slot:?} is settled twice");
                ensure!(6, attempts == held.attempts, "{slot:?} is given back with {attempts} attempts");
                ensure!(5, native || delay.is_zero(), "{slot:?} is given back with a delay that nobody keeps");
                let repeated = held.given_back;
                ensure!(5, closing || repeated || (native && now.after(delay) >= held.not_before), "{slot:?} comes back early");
                ensure!(13, closing || repeated || !hold, "{slot:?} is given back for no reason");
                held.settling = Some(settle);
                held.given_back = true;
                held.owes = false;
                stats.count("giving back");
            }
            Settle::Extend => {
                ensure!(10, held.settling.is_none(), "{slot:?} is extended while it is settled");
                held.extended = now;
                held.extends += 1;
                stats.count("extension");
            }
            Settle::Mark { deaths } if held.marked => {
                ensure!(14, !held.running && deaths + 1 == held.deaths, "the mark of {slot:?} is taken back too early");
                held.marked = false;
                held.deaths = deaths;
                stats.count("alone > innocent");
            }
            Settle::Mark { deaths } => {
                ensure!(14, alone == Some(i) && !running, "{slot:?} is marked, but is not alone");
                ensure!(14, deaths == held.deaths + 1, "{slot:?} has died {} times", held.deaths);
                held.marking = true;
                stats.count("ready > marking");
            }
            _ => {}
        }
        Ok(())
    }

    fn check_commit(&mut self, p: usize, commit: Option<Commit>) -> Checked {
        let Some(commit) = commit else {
            return Err(Violation { number: 8, what: "a commit that says nothing".to_owned() });
        };
        let share = &self.shares[p];
        let Some((&highest, _)) = share.delivered.last_key_value() else {
            return Err(Violation { number: 8, what: "a commit before any delivery".to_owned() });
        };
        let undone = share.delivered.iter().find(|entry| !*entry.1).map(|entry| *entry.0);
        let upto = undone.unwrap_or(highest + 1);
        ensure!(8, offset(commit.upto) == upto, "the commit says {}, but {upto} is the watermark", commit.upto);
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut open = false;
        for (&position, &done) in share.delivered.range(upto..) {
            match ranges.last_mut() {
                Some(range) if done && open => range.1 = position,
                _ if done => ranges.push((position, position)),
                _ => {}
            }
            open = done;
        }
        let says =
            |position: u64| commit.progress.done.iter().any(|range| offset(range.0) <= position && position <= offset(range.1));
        for range in &ranges {
            let whole = commit.progress.done.iter().any(|said| offset(said.0) <= range.0 && range.1 <= offset(said.1));
            ensure!(8, whole, "{range:?} is missing in {commit:?}");
        }
        for (&position, &done) in share.delivered.range(upto..) {
            ensure!(8, says(position) == done, "{position} is wrong in {commit:?}");
        }
        for range in &share.resume.done {
            ensure!(8, offset(range.1) <= highest || says(offset(range.1)), "{range:?} was done before");
        }
        ensure!(8, commit.progress.done.windows(2).all(|two| two[0].1 < two[1].0), "ranges are not apart in {commit:?}");
        let mut marks: BTreeMap<u64, (u32, u32)> =
            commit.progress.marks.iter().map(|mark| (offset(mark.0), (mark.1, mark.2))).collect();
        for (i, held) in self.slots.iter().enumerate() {
            let Some(held) = held else { continue };
            let position = offset(held.meta.position);
            if held.part != p || held.epoch != share.epoch || held.lost || share.delivered.get(&position) != Some(&false) {
                continue;
            }
            let said = marks.remove(&position).unwrap_or_default();
            let more = u32::from(held.suspect || held.running);
            let right = said.0 == held.attempts && (held.deaths..=held.deaths + more).contains(&said.1);
            ensure!(8, right || held.repeat, "{position} has {} attempts, {} deaths in {commit:?}", held.attempts, held.deaths);
            if self.alone == Some(i) && said.1 > held.deaths {
                self.mark_sent = Some(i);
            }
        }
        for (position, _) in marks {
            ensure!(8, position > highest, "{position} is marked in {commit:?}");
        }
        Ok(())
    }

    fn granted(&mut self, p: usize, messages: i64, bytes: i64) -> Checked {
        self.shares[p].unused += messages;
        self.shares[p].unused_bytes += bytes;
        let ours: Vec<&Share> = self.shares.iter().filter(|share| share.ours && !share.over).collect();
        let count = ours.len() as i64;
        let (limit, limit_bytes) = (i64::from(self.config.messages), self.config.bytes as i64);
        let (r, r_bytes) = ((limit / (2 * count)).max(1), (limit_bytes / (2 * count)).max(1));
        let sum: i64 = ours.iter().map(|share| (share.held + share.unused).max(r)).sum();
        let sum_bytes: i64 = ours.iter().map(|share| (share.held_bytes + share.unused_bytes).max(r_bytes)).sum();
        let share = &self.shares[p];
        let used = share.held + share.unused;
        ensure!(9, messages == 0 || used <= r || sum <= limit.max(count), "{used} of {r}, {sum} of {limit} are lent");
        let used = share.held_bytes + share.unused_bytes;
        ensure!(9, bytes == 0 || used <= r_bytes || sum_bytes <= limit_bytes, "{sum_bytes} of {limit_bytes} bytes are lent");
        Ok(())
    }

    fn freed(&mut self, slot: Slot, end: End, last_words: bool, stats: &mut Stats) -> Checked {
        let watermark = self.watermark();
        let (i, held) = self.held(slot)?;
        ensure!(2, !held.running, "{slot:?} is freed, but runs");
        let open = held.publish.is_some() || held.settling.is_some() || held.marking;
        ensure!(2, !open || last_words, "{slot:?} is freed, but an answer is outstanding");
        let final_end = matches!(end, End::Acked | End::Dropped | End::Skipped | End::Dead)
            || (end == End::Retried && held.end == Some(End::Retried));
        if final_end {
            ensure!(7, held.end == Some(end), "{slot:?} ends as {end:?}");
            ensure!(7, watermark || held.answered == Some(end), "{slot:?} ends as {end:?}, which is not confirmed");
            ensure!(15, !watermark || !held.lost, "{slot:?} is lost, but counted as done");
        }
        let give_back = matches!(end, End::Returned | End::Retried) && !final_end;
        ensure!(13, !give_back || watermark || held.given_back || last_words, "{slot:?} was never given back");
        ensure!(18, end != End::Duplicate || held.repeat, "{slot:?} is no repeat");
        let queued = !held.started && held.meta.dead.is_none();
        let (p, epoch, position, bytes) = (held.part, held.epoch, offset(held.meta.position), i64::from(held.meta.bytes));
        let lost = held.lost;
        self.slots[i] = None;
        if self.alone == Some(i) {
            self.alone = None;
        }
        let share = &mut self.shares[p];
        if share.ours && share.epoch == epoch && !share.over {
            share.held -= 1;
            share.held_bytes -= bytes;
            ensure!(13, end != End::Returned || !watermark || share.by.is_some() || self.draining.is_some(), "{slot:?} returned");
            ensure!(15, end != End::Lost || !watermark || last_words || lost, "{slot:?} is not lost");
            if watermark && final_end {
                share.delivered.insert(position, true);
            }
        }
        if final_end {
            self.finals.push((p, position));
        }
        stats.count(match end {
            End::Acked => "free: acked",
            End::Dropped => "free: dropped",
            End::Skipped => "free: skipped",
            End::Dead => "free: dead",
            End::Retried => "free: retried",
            End::Returned if queued => "free: returned untried",
            End::Returned => "free: returned",
            End::Lost => "free: lost",
            End::Duplicate => "free: duplicate",
        });
        Ok(())
    }

    /// What holds between steps.
    fn settled_state(&mut self, now: Time) -> Checked {
        // It could not start after all, and is tried alone another time.
        self.alone.take_if(|i| self.slots[*i].as_ref().is_none_or(|held| held.marked && !held.running));
        if self.drained {
            return Ok(());
        }
        ensure!(13, self.draining.is_none_or(|by| now < by), "the drain goes on past {:?}", self.draining);
        for share in self.shares.iter().filter(|share| share.ours && !share.over) {
            ensure!(13, share.by.is_none_or(|by| now < by), "a revoked partition is kept past {:?}", share.by);
            if share.by.is_none() && self.draining.is_none() && share.held == 0 {
                ensure!(9, share.unused > 0 && share.unused_bytes > 0, "a partition without messages has no credit");
            }
        }
        if let Some(lease) = self.config.lease
            && !self.watermark()
        {
            for held in self.slots.iter().flatten().filter(|held| !held.lost && held.settling.is_none()) {
                let kept = held.end.is_some() || held.given_back || now < held.extended.after(lease / 3);
                ensure!(10, kept, "{:?} was not extended since {:?}", held.meta.slot, held.extended);
            }
        }
        Ok(())
    }
}

fn options_pass(config: &Config, held: &Held) -> bool {
    config.routes[held.meta.route.0 as usize].on_retry == OnRetry::Pass
}
