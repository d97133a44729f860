//! What handlers and the broker answer, and what it makes of the messages.

use convoke_core::broker::Settle;
use convoke_engine::{Answer, End, Published, Slot, Time, Verdict};

use super::Oracle;
use super::state::Publish;
use crate::stats::{Reached, Stats};

impl Oracle {
    pub(super) fn finished(
        &mut self,
        now: Time,
        slot: Slot,
        verdicts: &[Verdict],
        returned: bool,
        telling: bool,
        stats: &mut Stats,
    ) {
        let Ok((head, held)) = self.held(slot) else { return };
        // It was cancelled before it was heard.
        if !held.running {
            return;
        }
        let members = self.members(head);
        let route = self.slots[head].as_ref().map_or(0, |held| held.meta.route.0 as usize);
        let mut live = Vec::new();
        let mut acked = false;
        for (&i, &verdict) in members.iter().zip(verdicts) {
            let Some(held) = self.slots[i].as_mut() else { continue };
            held.running = false;
            held.verdict = Some(verdict);
            if held.lost {
                stats.count(Reached::FencedToFree);
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
            if !matches!(verdict, Verdict::NotTaken | Verdict::Later(_) | Verdict::Failed { .. }) {
                held.suspect = false;
            }
            let behind = held.meta.lane.is_some_and(|lane| failed.contains(&lane));
            match verdict {
                Verdict::Failed { after, reason: _ } => {
                    held.attempts += 1;
                    if held.attempts >= route.retry.attempts {
                        held.dying = true;
                        stats.count(Reached::RunningToExhausted);
                    } else {
                        let exponent = (held.attempts - 1).min(20);
                        let delay = after.unwrap_or((route.retry.min * (1 << exponent)).min(route.retry.max));
                        held.not_before = now.after(delay);
                        held.holds = holds && !behind;
                        stats.count(if holds { Reached::RunningToWaitingHeld } else { Reached::RunningToWaitingPassed });
                    }
                }
                Verdict::Ack | Verdict::Drop | Verdict::Dead(_) if behind => {
                    stats.count(Reached::RunningToQueuedBehindAFailedOne)
                }
                Verdict::Ack | Verdict::Drop if refused => held.dying = true,
                Verdict::Ack => held.end = Some(End::Acked),
                Verdict::Drop => held.end = Some(End::Dropped),
                Verdict::Dead(_) => {
                    held.dying = true;
                    stats.count(Reached::RunningToGivenUp);
                }
                Verdict::Unavailable => stats.count(Reached::RunningToQueuedUnavailable),
                Verdict::NotTaken => stats.count(Reached::RunningToQueuedNotTaken),
                Verdict::Later(_) if behind => stats.count(Reached::RunningToQueuedBehindAFailedOne),
                Verdict::Later(delay) => {
                    held.not_before = now.after(delay);
                    held.holds = held.meta.lane.is_some();
                    stats.count(Reached::RunningToWaitingLater);
                }
            }
            if verdict.again() {
                failed.extend(held.meta.lane);
            }
        }
    }

    pub(super) fn published(&mut self, now: Time, slot: Slot, result: Published, stats: &mut Stats) {
        let Ok((i, held)) = self.held(slot) else { return };
        let Some(publish) = held.publish.take() else { return };
        if held.lost && !held.owes {
            stats.count(Reached::LostPublishingToFree);
            return;
        }
        match (publish, result) {
            (_, Published::Again) => stats.count(Reached::PublishingToAgain),
            (Publish::Returned, result) => {
                stats.count(Reached::PublishingReturnedToJudged);
                let members = self.members(i);
                self.judge(now, &members, result == Published::Refused, stats);
            }
            (Publish::Dead, Published::Confirmed) => {
                held.end = Some(End::Dead);
                stats.count(Reached::PublishingDeadToConfirmed);
            }
            (Publish::Retry, Published::Confirmed) => {
                held.end = Some(End::Retried);
                stats.count(Reached::PublishingRetryToConfirmed);
            }
            (Publish::Dead, Published::Refused) => stats.count(Reached::PublishingDeadToStuck),
            (Publish::Retry, Published::Refused) => stats.count(Reached::PublishingRetryToWaiting),
        }
    }

    pub(super) fn settled(&mut self, _now: Time, slot: Slot, settle: Settle, answer: Answer, stats: &mut Stats) {
        let Ok((i, held)) = self.held(slot) else { return };
        match settle {
            Settle::Extend => {
                if answer == Answer::Stale {
                    stats.count(Reached::ExtensionToStale);
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
                    stats.count(Reached::MarkingToMarked);
                } else if self.alone == Some(i) {
                    self.alone = None;
                    stats.count(Reached::MarkingToFailed);
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
                        stats.count(if settle == Settle::Ack {
                            Reached::SettlingToAcknowledged
                        } else {
                            Reached::SettlingToGivenBack
                        });
                    }
                    Answer::Stale => stats.count(Reached::SettlingToStale),
                    Answer::Failed => stats.count(Reached::SettlingToAgain),
                }
            }
        }
    }
}
