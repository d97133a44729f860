//! Settlement by watermark: a position, and a text beside it.

use convoke_core::Position;
use convoke_core::broker::{Commit, Progress, Resume};

use super::Cursor;
use crate::clock::Moment;

/// What was committed last.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) upto: u64,
    /// As a broker keeps it: nobody reads it but owners.
    text: String,
    /// How many are done above it.
    done: u64,
}

impl Committed {
    pub(super) fn new(upto: u64) -> Self {
        Self { upto, text: String::new(), done: 0 }
    }

    /// How many below `next` are not done.
    pub(super) fn undone(&self, next: u64) -> u64 {
        next.saturating_sub(self.upto).saturating_sub(self.done)
    }
}

/// Why a commit is refused.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Positions are not offsets, or not in order.
    Disorder,
    /// The text is longer than the broker takes.
    TooLong(usize),
}

impl Cursor {
    /// Keeps a commit, whose owner still has the partition, if its text is not too long.
    pub(crate) fn commit(&mut self, commit: &Commit, now: Moment, most: usize) -> Result<(), Refused> {
        let Some(committed) = &mut self.committed else { return Err(Refused::Disorder) };
        let Position::Offset(upto) = commit.upto else { return Err(Refused::Disorder) };
        let text = commit.progress.encode(commit.upto, clock(now), true).ok_or(Refused::Disorder)?;
        if text.len() > most {
            return Err(Refused::TooLong(text.len()));
        }
        let count = |(first, last): &(Position, Position)| match (first, last) {
            // What the last owner had done beyond what was delivered to this one is not among what is counted against it.
            (Position::Offset(first), Position::Offset(last)) if *first < self.next => (*last).min(self.next - 1) - first + 1,
            _ => 0,
        };
        let done = commit.progress.done.iter().map(count).sum();
        *committed = Committed { upto, text, done };
        Ok(())
    }

    /// What a new owner is told, and whether the last one had not given the partition back. From here on it is open.
    pub(crate) fn resume(&mut self, now: Moment) -> (Resume, bool) {
        let mut resume = Resume::default();
        let Some(committed) = &mut self.committed else { return (resume, false) };
        let upto = Position::Offset(committed.upto);
        let saved = Progress::decode(&committed.text, upto, clock(now)).unwrap_or_default();
        committed.text = saved.progress.encode(upto, clock(now), true).unwrap_or_default();
        committed.done = 0;
        resume.progress = saved.progress;
        (resume, saved.open)
    }

    /// The owner gives the partition back: whoever has it next need not suspect that it died.
    pub(crate) fn close(&mut self, now: Moment) {
        if let Some(committed) = &mut self.committed {
            let upto = Position::Offset(committed.upto);
            let saved = Progress::decode(&committed.text, upto, clock(now)).unwrap_or_default();
            committed.text = saved.progress.encode(upto, clock(now), false).unwrap_or_default();
        }
    }
}

/// A clock that all owners share: the broker's.
fn clock(now: Moment) -> std::time::Duration {
    std::time::Duration::from_nanos(now)
}
