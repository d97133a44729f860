//! What a commit says.

use std::collections::BTreeMap;

use convoke_core::broker::Commit;

use super::{Checked, Oracle, Violation, offset};

impl Oracle {
    pub(super) fn check_commit(&mut self, p: usize, commit: Option<Commit>) -> Checked {
        let Some(commit) = commit else {
            return Err(Violation { number: 8, what: "a commit that says nothing".to_owned() });
        };
        let share = &self.shares[p];
        let Some((&highest, _)) = share.delivered.last_key_value() else {
            return Err(Violation { number: 8, what: "a commit before any delivery".to_owned() });
        };
        let undone = share.delivered.iter().find(|entry| !*entry.1).map(|entry| *entry.0);
        let upto = undone.unwrap_or(highest + 1);
        ensure!(8, offset(commit.upto) == upto, "the commit says {}, but {upto} is the watermark", commit.upto);
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
        let says =
            |position: u64| commit.progress.done.iter().any(|range| offset(range.0) <= position && position <= offset(range.1));
        for range in &ranges {
            let whole = commit.progress.done.iter().any(|said| offset(said.0) <= range.0 && range.1 <= offset(said.1));
            ensure!(8, whole, "{range:?} is missing in {commit:?}");
        }
        for (&position, &done) in share.delivered.range(upto..) {
            ensure!(8, says(position) == done, "{position} is wrong in {commit:?}");
        }
        for range in &share.resume.done {
            ensure!(8, offset(range.1) <= highest || says(offset(range.1)), "{range:?} was done before");
        }
        ensure!(8, commit.progress.done.windows(2).all(|two| two[0].1 < two[1].0), "ranges are not apart in {commit:?}");
        let mut marks: BTreeMap<u64, (u32, u32)> =
            commit.progress.marks.iter().map(|mark| (offset(mark.position), (mark.attempts, mark.deaths))).collect();
        for (i, held) in self.slots.iter().enumerate() {
            let Some(held) = held else { continue };
            let position = offset(held.meta.position);
            if held.part != p || held.epoch != share.epoch || held.lost || share.delivered.get(&position) != Some(&false) {
                continue;
            }
            let said = marks.remove(&position).unwrap_or_default();
            let more = u32::from(held.suspect || held.running);
            let right = said.0 == held.attempts && (held.deaths..=held.deaths + more).contains(&said.1);
            ensure!(8, right || held.repeat, "{position} has {} attempts, {} deaths in {commit:?}", held.attempts, held.deaths);
            if self.alone == Some(i) && said.1 > held.deaths {
                self.mark_sent = Some(i);
            }
        }
        for (position, _) in marks {
            ensure!(8, position > highest, "{position} is marked in {commit:?}");
        }
        Ok(())
    }
}
