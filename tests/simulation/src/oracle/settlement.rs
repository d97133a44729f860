//! How messages are settled, and how they end.

use std::time::Duration;

use convoke_core::DeadReason;
use convoke_core::broker::{Delay, Settle};
use convoke_engine::{End, Slot, Time};

use super::state::Publish;
use super::{Checked, Oracle, offset};
use crate::stats::{Reached, Stats};

impl Oracle {
    pub(super) fn publish_returned(&mut self, slot: Slot, stats: &mut Stats) -> Checked {
        let batched = self.held(slot)?.1.batch.is_some();
        let held = self.held(slot)?.1;
        ensure!(7, held.owes && held.publish.is_none(), "nothing of {slot:?} is to be published");
        ensure!(15, batched || !held.lost, "{slot:?} is lost, but what it returned is published");
        held.publish = Some(Publish::Returned);
        stats.count(Reached::RunningToPublishingReturned);
        Ok(())
    }

    pub(super) fn publish_retry(&mut self, now: Time, slot: Slot, delay: Duration, attempts: u32, stats: &mut Stats) -> Checked {
        let hold = self.holds_lane(slot.index as usize);
        let held = self.held(slot)?.1;
        ensure!(15, !held.lost, "{slot:?} is lost, but is published");
        ensure!(3, !hold && !held.dying && !held.running, "{slot:?} is not to be retried elsewhere");
        ensure!(5, now.after(delay) >= held.not_before, "{slot:?} would come back too early");
        ensure!(6, attempts == held.attempts, "{slot:?}: {attempts} attempts");
        held.publish = Some(Publish::Retry);
        stats.count(Reached::RunningToPublishingRetry);
        Ok(())
    }

    pub(super) fn publish_dead(&mut self, slot: Slot, reason: DeadReason, attempts: u32, stats: &mut Stats) -> Checked {
        let limit = self.config.deaths;
        let held = self.held(slot)?.1;
        ensure!(15, !held.lost, "{slot:?} is lost, but is published");
        ensure!(7, !held.running && held.publish.is_none() && held.end.is_none(), "{slot:?} is not to be given up now");
        if reason == DeadReason::TooManyDeliveries {
            ensure!(14, held.suspect && limit > 0 && held.deaths >= limit, "{slot:?} has died {} times", held.deaths);
            stats.count(Reached::QueuedToDeadTooManyDeliveries);
        } else {
            ensure!(7, held.dying || held.meta.dead.is_some(), "{slot:?} is given up for no reason");
        }
        ensure!(6, attempts == held.attempts, "{slot:?}: {attempts} attempts");
        held.publish = Some(Publish::Dead);
        held.dying = true;
        stats.count(Reached::PublishingDead);
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

    pub(super) fn settle(&mut self, now: Time, slot: Slot, settle: Settle, stats: &mut Stats) -> Checked {
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
                stats.count(Reached::Settling);
            }
            Settle::Nack { delay, attempts, hold } => {
                ensure!(7, !held.running && held.publish.is_none() && held.end.is_none(), "{slot:?} is given back too early");
                ensure!(7, held.settling.is_none(), "{slot:?} is settled twice");
                ensure!(6, attempts == held.attempts, "{slot:?} is given back with {attempts} attempts");
                ensure!(5, native || hold || delay.is_zero(), "{slot:?} is given back with a delay that nobody keeps");
                let repeated = held.given_back;
                let cut_short = native && closing; // by the longest delay there is
                ensure!(5, cut_short || repeated || now.after(delay) >= held.not_before, "{slot:?} comes back early");
                ensure!(13, closing || repeated || !hold, "{slot:?} is given back for no reason");
                held.settling = Some(settle);
                held.given_back = true;
                held.owes = false;
                stats.count(Reached::GivingBack);
            }
            Settle::Extend => {
                ensure!(10, held.settling.is_none(), "{slot:?} is extended while it is settled");
                held.extended = now;
                held.extends += 1;
                stats.count(Reached::Extension);
            }
            Settle::Mark { deaths } if held.marked => {
                ensure!(14, !held.running && deaths + 1 == held.deaths, "the mark of {slot:?} is taken back too early");
                held.marked = false;
                held.deaths = deaths;
                stats.count(Reached::AloneToInnocent);
            }
            Settle::Mark { deaths } => {
                ensure!(14, alone == Some(i) && !running, "{slot:?} is marked, but is not alone");
                ensure!(14, deaths == held.deaths + 1, "{slot:?} has died {} times", held.deaths);
                held.marking = true;
                stats.count(Reached::ReadyToMarking);
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn freed(&mut self, slot: Slot, end: End, last_words: bool, stats: &mut Stats) -> Checked {
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
        self.mark_sent.take_if(|sent| *sent == i);
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
        stats.count(match end {
            End::Acked => Reached::FreeAcked,
            End::Dropped => Reached::FreeDropped,
            End::Skipped => Reached::FreeSkipped,
            End::Dead => Reached::FreeDead,
            End::Retried => Reached::FreeRetried,
            End::Returned if queued => Reached::FreeReturnedUntried,
            End::Returned => Reached::FreeReturned,
            End::Lost => Reached::FreeLost,
            End::Duplicate => Reached::FreeDuplicate,
        });
        Ok(())
    }
}
