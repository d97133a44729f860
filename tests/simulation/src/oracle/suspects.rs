//! Suspects, which run alone, and their marks.

use convoke_engine::{Answer, Slot};

use super::{Checked, Held, Oracle, Violation};
use crate::stats::{Reached, Stats};

impl Oracle {
    /// A suspect is about to be tried.
    pub(super) fn singled_out(&mut self, slot: Slot, stats: &mut Stats) -> Checked {
        let running = self.slots.iter().flatten().any(|held| held.running);
        let (i, held) = self.held(slot)?;
        ensure!(14, !running && held.suspect, "{slot:?} is about to be tried alone, but is not");
        self.alone = Some(i);
        stats.count(Reached::Alone);
        Ok(())
    }

    /// Whether what starts is alone if it has to be; answers which suspect is.
    pub(super) fn alone_enough(&self, i: usize, held: &Held) -> Result<Option<usize>, Violation> {
        let slot = held.meta.slot;
        if !held.suspect {
            ensure!(14, self.alone.is_none(), "{slot:?} starts beside a suspect");
            return Ok(None);
        }
        ensure!(14, self.alone.is_none_or(|alone| alone == i), "{slot:?} starts beside another suspect");
        let marks = self.config.marks || self.watermark();
        ensure!(14, !marks || held.marked, "{slot:?} starts without a mark");
        Ok(Some(i))
    }

    /// A commit is answered, and the mark of a suspect with it.
    pub(super) fn committed(&mut self, p: usize, epoch: u64, answer: Answer, stats: &mut Stats) {
        stats.count(match answer {
            Answer::Applied => Reached::CommitToKept,
            Answer::Failed => Reached::CommitToAgain,
            Answer::Stale => Reached::CommitToStale,
        });
        let sent = |held: &Held| held.part == p && held.epoch == epoch;
        if let Some(i) = self.mark_sent.take_if(|i| self.slots[*i].as_ref().is_some_and(sent))
            && self.alone == Some(i)
        {
            if answer == Answer::Applied {
                stats.count(Reached::MarkingToMarkedByCommit);
                if let Some(held) = self.slots[i].as_mut() {
                    held.marked = true;
                }
            } else {
                stats.count(Reached::MarkingToFailed);
                self.alone = None;
            }
        }
    }
}
