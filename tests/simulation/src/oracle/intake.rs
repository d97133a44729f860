//! What comes in: partitions and deliveries.

use convoke_core::broker::Resume;
use convoke_engine::{End, Meta, Time};

use super::{Held, Oracle, Share, offset};
use crate::stats::{Reached, Stats};

impl Oracle {
    pub(super) fn renewed(&mut self, now: Time, p: usize, epoch: u64, until: Time, stats: &mut Stats) {
        let share = &mut self.shares[p];
        if share.ours && share.epoch == epoch {
            if share.until.is_some_and(|until| until <= now) {
                stats.count(Reached::Renewed);
            }
            share.until = Some(until);
        }
    }

    pub(super) fn assigned(&mut self, now: Time, p: usize, epoch: u64, until: Option<Time>, resume: &Resume, stats: &mut Stats) {
        if self.shares[p].ours {
            self.lose_all(p, stats);
        }
        let horizon = resume.progress.done.last().map(|range| offset(range.1));
        let horizon = horizon.max(resume.progress.marks.last().map(|mark| offset(mark.position)));
        self.shares[p] = Share {
            epoch,
            ours: true,
            until,
            unclean: resume.unclean || self.shares[p].untried,
            suspects: self.config.messages,
            horizon,
            resume: resume.progress.clone(),
            since: now,
            ..Share::default()
        };
    }

    pub(super) fn waits(&mut self, p: usize, epoch: u64) {
        let share = &mut self.shares[p];
        share.waits |= share.ours && share.epoch == epoch;
    }

    pub(super) fn delivered(&mut self, now: Time, p: usize, epoch: u64, mut meta: Meta) {
        let index = meta.slot.index as usize;
        while self.slots.len() <= index {
            self.slots.push(None);
        }
        let watermark = self.watermark();
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
            share.came |= !(watermark && closing);
            if watermark && !closing {
                let done = share.resume.done.iter().any(|range| offset(range.0) <= position && position <= offset(range.1));
                // What lies below the watermark of this assignment is done, too.
                let passed = share.delivered.last_key_value().is_some_and(|last| position < *last.0);
                let below = passed && share.delivered.iter().find(|entry| !*entry.1).is_none_or(|undone| position < *undone.0);
                repeat = done || below || share.delivered.contains_key(&position);
                share.delivered.entry(position).or_insert(done || below);
                if let Some(mark) = share.resume.marks.iter().find(|mark| offset(mark.position) == position) {
                    attempts = attempts.max(mark.attempts);
                    deaths = deaths.max(mark.deaths);
                    if !mark.due_in.is_zero() {
                        meta.due = meta.due.max(Some(share.since.after(mark.due_in)));
                    }
                }
                if share.unclean && !repeat {
                    suspect = share.suspects > 0 || share.horizon.is_some_and(|horizon| position <= horizon);
                    share.suspects = share.suspects.saturating_sub(1);
                }
            }
            suspect |= !watermark && share.unclean && meta.deliveries > 1;
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
}
