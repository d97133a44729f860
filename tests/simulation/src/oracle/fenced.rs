//! What is lost: no more is published or settled of it.

use super::Oracle;
use crate::stats::{Reached, Stats};

impl Oracle {
    pub(super) fn lost(&mut self, p: usize, epoch: u64, stats: &mut Stats) {
        if self.shares[p].ours && self.shares[p].epoch == epoch {
            self.lose_all(p, stats);
            self.shares[p].ours = false;
        }
    }

    pub(super) fn lose_all(&mut self, p: usize, stats: &mut Stats) {
        let watermark = self.watermark();
        let share = &mut self.shares[p];
        share.untried = share.unclean && !share.came && !watermark;
        let epoch = share.epoch;
        for held in self.slots.iter_mut().flatten() {
            if held.part == p && held.epoch == epoch && !held.lost {
                held.lost = true;
                let asked = held.publish.is_some() || held.settling.is_some() || held.end.is_some();
                let busy = held.running || held.dying || held.owes || held.given_back || asked;
                self.shares[p].untried |= held.suspect && !held.marked && !busy && !watermark;
                stats.count(if held.running {
                    Reached::RunningToFenced
                } else if held.publish.is_some() || held.owes {
                    Reached::PublishingToLost
                } else if held.settling.is_some() {
                    Reached::SettlingToLost
                } else if held.marking {
                    Reached::MarkingToLost
                } else if held.started {
                    Reached::WaitingToLost
                } else {
                    Reached::QueuedToLost
                });
            }
        }
    }
}
