//! What the engine puts out, one thing after another.

use convoke_core::broker::Commit;
use convoke_engine::{Cap, Note, Out, Slot, Time};

use super::{Checked, Oracle};
use crate::stats::{Reached, Stats};

impl Oracle {
    /// Checks the outputs of a step, or of a part of it.
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
        for &output in out {
            match output {
                Out::Start { slot, route, attempt, shard } => self.start_one(now, slot, (route, attempt, shard), stats)?,
                Out::StartBatch { slot, .. } => self.start_batch(now, slot, &batch(slot), stats)?,
                Out::Cancel { slot } => self.cancelled(now, slot, stats)?,
                Out::PublishReturned { slot } => self.publish_returned(slot, stats)?,
                Out::PublishDead { slot, reason, attempts } => self.publish_dead(slot, reason, attempts, stats)?,
                Out::PublishRetry { slot, delay, attempts } => self.publish_retry(now, slot, delay, attempts, stats)?,
                Out::Settle { slot, settle } => self.settle(now, slot, settle, stats)?,
                Out::Commit { part, epoch } => {
                    let share = &self.shares[part.0 as usize];
                    ensure!(15, share.ours && !share.over && share.epoch == epoch.0, "a commit of a partition that is not ours");
                    if ends.contains(&part.0) {
                        self.check_commit(now, part.0 as usize, commit(part.0), stats)?;
                    } else {
                        self.commits.push((part.0 as usize, epoch.0));
                    }
                    stats.count(Reached::Commit);
                }
                Out::Grant { part, epoch, messages, bytes } => {
                    self.granted(now, (part.0 as usize, epoch.0), (i64::from(messages), bytes as i64), stats)?;
                    stats.count(Reached::Grant);
                }
                Out::Revoked { part, epoch } => self.revoked(now, part.0 as usize, epoch.0, stats)?,
                Out::Swap { held, new } => self.swapped(held, new, stats)?,
                Out::Free { slot, end } => self.freed(slot, end, last_words, stats)?,
                Out::Drained => self.drain_over(last_words, stats)?,
                Out::Note(note) => self.note(now, note, stats)?,
            }
        }
        Ok(())
    }

    /// Checks what holds between steps, and the commits that the step asked for.
    ///
    /// # Errors
    /// What does not hold.
    pub fn end_of_step(&mut self, now: Time, commit: &dyn Fn(u32) -> Option<Commit>, stats: &mut Stats) -> Checked {
        for (p, epoch) in std::mem::take(&mut self.commits) {
            let share = &self.shares[p];
            // If it was lost in the same step, nobody keeps what the commit says.
            if share.ours && !share.over && share.epoch == epoch {
                self.check_commit(now, p, commit(p as u32), stats)?;
            }
        }
        self.settled_state(now)
    }

    fn swapped(&mut self, held: Slot, new: Slot, stats: &mut Stats) -> Checked {
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
        stats.count(Reached::Swap);
        Ok(())
    }

    fn note(&mut self, now: Time, note: Note, stats: &mut Stats) -> Checked {
        match note {
            Note::Suspended { route, probe } => {
                let handler = &mut self.handlers[route.0 as usize];
                ensure!(12, probe > now || self.config.probe.0.is_zero(), "a probe at once");
                handler.probe = Some(probe);
                handler.blocked = Time(0);
                stats.count(Reached::Suspended);
            }
            Note::Restored { route } => {
                self.handlers[route.0 as usize].probe = None;
                stats.count(Reached::Restored);
            }
            Note::Alone { slot } => self.singled_out(slot, stats)?,
            Note::Full { cap: Cap::Backlog, .. } => stats.count(Reached::FullBacklog),
            Note::Full { cap: Cap::Ahead, .. } => stats.count(Reached::FullAhead),
            Note::Full { cap: Cap::Progress, .. } => stats.count(Reached::FullProgress),
            Note::Expired { .. } => stats.count(Reached::Expired),
            Note::Stuck { .. } => stats.count(Reached::Stuck),
            _ => {}
        }
        Ok(())
    }
}
