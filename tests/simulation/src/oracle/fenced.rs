//! What is lost: no more is published or settled of it.

use crate::stats::Stats;

use super::Oracle;

impl Oracle {
    pub(super) fn lost(&mut self, p: usize, epoch: u64, stats: &mut Stats) {
        if self.shares[p].ours && self.shares[p].epoch == epoch {
            self.lose_all(p, stats);
            self.shares[p].ours = false;
        }
    }

    pub(super) fn lose_all(&mut self, p: usize, stats: &mut Stats) {
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
}
