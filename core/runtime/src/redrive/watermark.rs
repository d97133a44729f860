//! What of a partition is done, where positions are committed.

use std::collections::BTreeMap;

use convoke_core::Position;
use convoke_core::broker::Progress;

/// The letters of a partition that were delivered, in the order of their positions.
#[derive(Debug, Default, Clone)]
pub(super) struct Watermark {
    /// What was done before, by ranges.
    before: Progress,
    /// What was delivered, and whether it is done. What is done below everything that is not is left out, but for the last.
    delivered: BTreeMap<Position, bool>,
}

impl Watermark {
    pub(super) fn new(before: Progress) -> Self {
        Self { before, delivered: BTreeMap::new() }
    }

    /// A letter was delivered. Whether it was done before.
    pub(super) fn delivered(&mut self, position: Position) -> bool {
        let done = self.before.done.iter().any(|(first, last)| (*first..=*last).contains(&position));
        *self.delivered.entry(position).or_insert(done)
    }

    /// Whether a commit of so many characters has room for what is done, if this letter is too.
    pub(super) fn has_room(&self, position: Position, most: usize) -> bool {
        let (upto, mut progress) = self.clone().done(position);
        progress.fit(upto, most)
    }

    /// A letter is done. Says what is to be committed.
    pub(super) fn done(&mut self, position: Position) -> (Position, Progress) {
        self.delivered.insert(position, true);
        let first_open = self.delivered.iter().find(|(_, done)| !**done).map(|(position, _)| *position);
        let upto = first_open.unwrap_or_else(|| self.delivered.last_key_value().map_or(position, |(last, _)| *last).next());
        self.delivered = self.delivered.split_off(&first_open.unwrap_or(position));
        let mut progress = Progress::default();
        progress.marks.clone_from(&self.before.marks);
        let mut range: Option<(Position, Position)> = None;
        for (position, done) in self.delivered.range(upto..) {
            range = match (range, done) {
                (Some((first, _)), true) => Some((first, *position)),
                (None, true) => Some((*position, *position)),
                (range, false) => {
                    progress.done.extend(range);
                    None
                }
            };
        }
        progress.done.extend(range);
        // What was done before, beyond what was delivered yet.
        let last = self.delivered.last_key_value().map(|(last, _)| *last);
        let beyond = self.before.done.iter().filter(|(_, end)| last.is_none_or(|last| *end > last));
        progress.done.extend(beyond.map(|(first, end)| (last.map_or(*first, |last| (*first).max(last.next())), *end)));
        (upto, progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position::Offset(offset)
    }

    #[test]
    fn what_is_left_holds_the_position_and_what_is_done_above_it_is_kept() {
        let mut watermark = Watermark::default();
        // Offset 3 is not there: compacted away.
        for offset in [0, 1, 2, 4, 5, 6] {
            assert!(!watermark.delivered(at(offset)));
        }
        assert_eq!(watermark.done(at(0)).0, at(1));
        let (upto, progress) = watermark.done(at(2));
        assert_eq!((upto, progress.done), (at(1), vec![(at(2), at(2))]));
        watermark.done(at(4));
        let (upto, progress) = watermark.done(at(6));
        assert_eq!((upto, progress.done), (at(1), vec![(at(2), at(4)), (at(6), at(6))]));
        let (upto, progress) = watermark.done(at(1));
        assert_eq!((upto, progress.done), (at(5), vec![(at(6), at(6))]));
        let (upto, progress) = watermark.done(at(5));
        assert_eq!((upto, progress.done), (at(7), vec![]));
    }

    #[test]
    fn what_was_done_before_is_not_handed_out_and_stays_done() {
        let mut before = Progress::default();
        before.done = vec![(at(2), at(2)), (at(5), at(7))];
        let mut watermark = Watermark::new(before);
        assert_eq!([1, 2, 3].map(|offset| watermark.delivered(at(offset))), [false, true, false]);
        let (upto, progress) = watermark.done(at(3));
        assert_eq!((upto, progress.done), (at(1), vec![(at(2), at(3)), (at(5), at(7))]));
        let (upto, progress) = watermark.done(at(1));
        assert_eq!((upto, progress.done), (at(4), vec![(at(5), at(7))]));
        assert_eq!([4, 5, 6].map(|offset| watermark.delivered(at(offset))), [false, true, true]);
        let (upto, progress) = watermark.done(at(4));
        assert_eq!((upto, progress.done), (at(7), vec![(at(7), at(7))]));
    }
}
