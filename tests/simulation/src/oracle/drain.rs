//! Giving back: of a partition, or of everything; in time, or not.

use std::time::Duration;

use convoke_core::DeadReason;
use convoke_engine::{Slot, Time, Verdict};

use super::{Checked, Oracle};
use crate::stats::{Reached, Stats};

impl Oracle {
    pub(super) fn revoking(&mut self, p: usize, epoch: u64, by: Time) {
        let share = &mut self.shares[p];
        if share.ours && share.epoch == epoch && !share.over {
            share.by = Some(by);
        }
    }

    pub(super) fn abort(&mut self, now: Time) {
        self.aborted = true;
        let by = now.after(Duration::from_secs(2));
        self.draining = Some(self.draining.map_or(by, |drain| drain.min(by)));
    }

    pub(super) fn revoked(&mut self, now: Time, p: usize, epoch: u64, stats: &mut Stats) -> Checked {
        let share = &self.shares[p];
        ensure!(13, share.epoch == epoch && share.by.is_some() && !share.over, "Revoked, again or for no reason");
        let late = share.by.is_some_and(|by| by <= now) || self.draining.is_some_and(|by| by <= now);
        let left = self.slots.iter().flatten().find(|held| held.part == p && held.epoch == epoch && !held.lost);
        ensure!(13, late || left.is_none(), "Revoked, but {left:?} is left");
        self.shares[p].over = true;
        for held in self.slots.iter_mut().flatten() {
            if held.part == p && held.epoch == epoch && held.settling.is_none() {
                held.lost = true;
            }
        }
        stats.count(if late { Reached::RevokedLate } else { Reached::Revoked });
        Ok(())
    }

    pub(super) fn drain_over(&mut self, last_words: bool, stats: &mut Stats) -> Checked {
        ensure!(13, self.draining.is_some(), "Drained for no reason");
        ensure!(1, self.slots.iter().all(Option::is_none), "Drained, but something is held");
        self.drained = true;
        stats.count(if last_words { Reached::DrainedLate } else { Reached::Drained });
        Ok(())
    }

    pub(super) fn cancelled(&mut self, now: Time, slot: Slot, stats: &mut Stats) -> Checked {
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
        stats.count(if over { Reached::RunningToCancelled } else { Reached::RunningToTimedOut });
        let failed = Verdict::Failed { after: None, reason: DeadReason::Timeout };
        let verdict = if over { Verdict::NotTaken } else { failed };
        self.finished(now, slot, &vec![verdict; members.len()], false, !over, stats);
        Ok(())
    }

    /// What holds between steps.
    pub(super) fn settled_state(&mut self, now: Time) -> Checked {
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
