//! What may start beside and before what.

use convoke_core::OnRetry;
use convoke_engine::Time;

use super::{Checked, Held, Oracle};

impl Oracle {
    /// Whether a message may start while another is held.
    pub(super) fn beside(&self, now: Time, held: &Held, other: &Held) -> Checked {
        let slot = held.meta.slot;
        if held.suspect {
            ensure!(14, !other.running, "{slot:?} is suspect, but {:?} runs", other.meta.slot);
        }
        let same = held.part == other.part && held.meta.position == other.meta.position;
        ensure!(3, !(same && other.running), "{slot:?} runs as {:?}", other.meta.slot);
        if held.meta.lane.is_none() || held.meta.lane != other.meta.lane {
            return Ok(());
        }
        ensure!(3, !self.has_lane(now, other, held), "{slot:?} starts while {:?} has the lane", other.meta.slot);
        let passed = self.came_late(held) || self.came_late(other);
        let first = !held.started && !other.started && !other.lost && !other.given_back && !passed;
        if first && held.part == other.part && other.epoch == held.epoch && other.end.is_none() && other.settling.is_none() {
            ensure!(4, other.meta.position >= held.meta.position, "{slot:?} starts before {:?}", other.meta.slot);
        }
        Ok(())
    }

    /// Whether the other keeps this one from starting in the lane of both.
    fn has_lane(&self, now: Time, other: &Held, held: &Held) -> bool {
        // What is being given back has left its lane.
        let closing = other.given_back || self.shares[other.part].by.is_some();
        // Once the delay is over, what was let past, or comes before it in the partition, may still precede it.
        let passed = held.started || self.came_late(held);
        let before = held.part == other.part && held.meta.position < other.meta.position;
        let holds = other.holds && (now < other.not_before || !(passed || before));
        other.running
            || other.publish.is_some()
            || other.owes
            || other.marking
            || (holds && !other.lost && !closing && other.end.is_none())
    }

    /// Whether it came in with a delay that lets others pass.
    fn came_late(&self, held: &Held) -> bool {
        self.config.routes[held.meta.route.0 as usize].on_retry == OnRetry::Pass && held.meta.due.is_some()
    }

    /// Neighbours of a lane within a batch.
    pub(super) fn contiguous(&self, held: &Held, before: &[usize]) -> Checked {
        let lane = held.meta.lane;
        let lanes: Vec<_> = before.iter().filter_map(|&k| self.slots[k].as_ref().map(|held| held.meta.lane)).collect();
        let contiguous = lane.is_none() || lanes.last() == Some(&lane) || !lanes.contains(&lane);
        ensure!(3, contiguous, "{:?} is apart from others of its lane in its batch", held.meta.slot);
        Ok(())
    }
}
