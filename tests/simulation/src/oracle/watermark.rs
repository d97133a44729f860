//! What a commit says.

use std::collections::BTreeMap;
use std::time::Duration;

use convoke_core::Position;
use convoke_core::broker::{Commit, Mark, Progress};
use convoke_engine::Time;

use super::{Checked, Oracle, Share, Violation, offset};
use crate::stats::{Reached, Stats};

impl Oracle {
    pub(super) fn check_commit(&mut self, now: Time, p: usize, commit: Option<Commit>, stats: &mut Stats) -> Checked {
        let Some(commit) = commit else {
            return Err(Violation { number: 8, what: "a commit that says nothing".to_owned() });
        };
        let share = &self.shares[p];
        let Some(upto) = watermark(share) else {
            return Err(Violation { number: 8, what: "a commit before any delivery".to_owned() });
        };
        ensure!(8, offset(commit.upto) == upto, "the commit says {}, but {upto} is the watermark", commit.upto);
        let done = &commit.progress.done;
        ensure!(8, done.windows(2).all(|two| two[0].1 < two[1].0), "ranges are not apart in {commit:?}");
        let whole = self.has_room(now, p, true);
        if !whole {
            let long = self.config.progress.filter(|&most| length(&commit.progress, upto) > most);
            ensure!(8, long.is_none() || commit.progress == Progress::default(), "more than {long:?} characters in {commit:?}");
            stats.count(Reached::CommitCut);
        }
        self.check_done(p, upto, &commit, whole)?;
        self.check_marks(p, &commit, whole)
    }

    /// What has no room is left out from the top.
    fn check_done(&self, p: usize, upto: u64, commit: &Commit, whole: bool) -> Checked {
        let share = &self.shares[p];
        let done = &commit.progress.done;
        let says = |position: u64| done.iter().any(|range| offset(range.0) <= position && position <= offset(range.1));
        // Beyond this, nothing has to be said.
        let end = if whole { u64::MAX } else { done.last().map_or(0, |range| offset(range.1)) };
        for range in ranges(share, upto).iter().filter(|range| range.1 <= end) {
            let entire = done.iter().any(|said| offset(said.0) <= range.0 && range.1 <= offset(said.1));
            ensure!(8, entire, "{range:?} is missing in {commit:?}");
        }
        for (&position, &done) in share.delivered.range(upto..) {
            ensure!(8, says(position) == done || (done && position > end), "{position} is wrong in {commit:?}");
        }
        for range in beyond(share) {
            ensure!(8, range.1 > end || says(range.1), "{range:?} was done before");
        }
        Ok(())
    }

    fn check_marks(&mut self, p: usize, commit: &Commit, whole: bool) -> Checked {
        let share = &self.shares[p];
        let mut marks: BTreeMap<u64, (u32, u32)> =
            commit.progress.marks.iter().map(|mark| (offset(mark.position), (mark.attempts, mark.deaths))).collect();
        // What is done is left out first.
        let end =
            if whole || !commit.progress.done.is_empty() { u64::MAX } else { marks.last_key_value().map_or(0, |last| *last.0) };
        for (i, held) in self.slots.iter().enumerate() {
            let Some(held) = held else { continue };
            let position = offset(held.meta.position);
            if held.part != p || held.epoch != share.epoch || held.lost || share.delivered.get(&position) != Some(&false) {
                continue;
            }
            let said = marks.remove(&position).unwrap_or_default();
            let more = u32::from(held.suspect || held.running);
            let right = said.0 == held.attempts && (held.deaths..=held.deaths + more).contains(&said.1);
            let right = right || held.repeat || position > end;
            ensure!(8, right, "{position} has {} attempts, {} deaths in {commit:?}", held.attempts, held.deaths);
            // A mark that has no room has no place.
            if self.alone == Some(i) && !self.config.marks && (said.1 > held.deaths || position > end) {
                self.mark_sent = Some(i);
            }
        }
        let highest = share.delivered.last_key_value().map_or(0, |last| *last.0);
        for (position, _) in marks {
            ensure!(8, position > highest, "{position} is marked in {commit:?}");
        }
        Ok(())
    }

    /// Whether the text of a commit has room for everything that there is to say; of suspects there may be something.
    pub(super) fn has_room(&self, now: Time, p: usize, suspects: bool) -> bool {
        let share = &self.shares[p];
        let (Some(most), Some(upto)) = (self.config.progress, watermark(share)) else { return true };
        let mut all = Progress::default();
        let at = |range: (u64, u64)| (Position::Offset(range.0), Position::Offset(range.1));
        all.done.extend(ranges(share, upto).into_iter().chain(beyond(share)).map(at));
        let highest = share.delivered.last_key_value().map(|last| Position::Offset(*last.0));
        all.marks.extend(share.resume.marks.iter().filter(|mark| Some(mark.position) > highest));
        for (i, held) in self.slots.iter().enumerate() {
            let Some(held) = held.as_ref().filter(|held| held.part == p && held.epoch == share.epoch) else { continue };
            let said = held.attempts + held.deaths > 0 || held.marked || (suspects && held.suspect) || self.alone == Some(i);
            if said && !held.lost && !held.repeat {
                let mut mark = Mark::new(held.meta.position, held.attempts, held.deaths);
                mark.due_in = held.not_before.since(now);
                all.marks.push(mark);
            }
        }
        all.marks.sort_by_key(|mark| mark.position);
        length(&all, upto) <= most
    }
}

/// The lowest position that is not done, or the one after the last delivered.
fn watermark(share: &Share) -> Option<u64> {
    let highest = *share.delivered.last_key_value()?.0;
    Some(share.delivered.iter().find(|entry| !*entry.1).map_or(highest + 1, |undone| *undone.0))
}

/// What was delivered and is done above the watermark.
fn ranges(share: &Share, upto: u64) -> Vec<(u64, u64)> {
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
    ranges
}

/// What the last owner had done beyond what was delivered to this one.
fn beyond(share: &Share) -> impl Iterator<Item = (u64, u64)> + '_ {
    let highest = share.delivered.last_key_value().map_or(0, |last| *last.0);
    let done = share.resume.done.iter().map(|range| (offset(range.0), offset(range.1)));
    done.filter(move |range| range.1 > highest).map(move |range| (range.0.max(highest + 1), range.1))
}

fn length(progress: &Progress, upto: u64) -> usize {
    let text = progress.encode(Position::Offset(upto), Duration::from_millis(u64::MAX), true);
    text.map_or(0, |text| text.len())
}
