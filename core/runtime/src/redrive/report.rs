//! What is to be done with dead letters, and what was.

use convoke_core::{Error, Topic};

use super::{DeadLetter, Filter};

/// How often a dead letter is sent back at most, unless it is said otherwise.
pub const MAX_REPLAYS: u32 = 3;

/// Which dead letters are to be worked on, and how.
#[derive(Debug, Clone)]
#[must_use]
pub struct Options {
    pub(super) filter: Filter,
    pub(super) limit: u64,
    pub(super) dry_run: bool,
    pub(super) max_replays: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { filter: Filter::new(), limit: u64::MAX, dry_run: false, max_replays: MAX_REPLAYS }
    }
}

impl Options {
    /// All of them, in earnest; what was sent back [`MAX_REPLAYS`] times already is refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those that are meant; the others stay.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// So many of those at most; the others stay.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// Says what would be done, and changes nothing.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Refuses what was sent back so often already: it would go in a circle for ever.
    pub fn max_replays(mut self, max: u32) -> Self {
        self.max_replays = max;
        self
    }
}

/// One dead letter that was worked on.
#[derive(Debug)]
#[non_exhaustive]
pub struct Handled {
    /// Which one.
    pub letter: DeadLetter,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a dead letter; in a dry run, what would.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fate {
    /// The broker has it in the place of the group that gave it up, and it is a dead letter no more.
    SentBack {
        /// The group's place.
        to: Topic,
    },
    /// It is thrown away.
    Purged,
    /// It stays, because of this.
    Refused(Refusal),
    /// It stays, because something went wrong.
    Failed(Error),
    /// The broker has it in the place of its group, but it is still a dead letter: somebody else has taken its partition over, or the
    /// connection was lost in between. It will be sent back once more, under the same id.
    SentBackAndKept {
        /// The group's place.
        to: Topic,
    },
}

/// Why a dead letter is not sent back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Its headers do not say which group gave up on which topic: it was not put there by convoke.
    UnknownOrigin,
    /// It was sent back too often already.
    TooManyReplays {
        /// How often.
        replays: u32,
    },
    /// Its group has no place of its own on this broker.
    NoPlace {
        /// The topic that is missing.
        place: Topic,
    },
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownOrigin => f.write_str("it does not say which group gave up on it, so that there is nowhere to send it"),
            Self::TooManyReplays { replays } => {
                write!(f, "it was sent back {replays} times already; mend what it fails of, or raise the maximum of replays")
            }
            Self::NoPlace { place } => {
                write!(f, "there is no topic `{place}`; start the group's application once, which makes it")
            }
        }
    }
}

/// What was done, in numbers; in a dry run, what would be.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Dead letters that were looked at.
    pub seen: u64,
    /// Those that were not meant: they stay.
    pub left: u64,
    /// Those that were sent back or thrown away.
    pub done: u64,
    /// Those that were refused: they stay.
    pub refused: u64,
    /// Those that failed: they stay.
    pub failed: u64,
    /// Whether everything that was in the topic at the beginning was looked at. `false` if the limit was reached, work was stopped, or
    /// somebody else, in the same group, has partitions of the topic.
    pub complete: bool,
    /// How many partitions somebody else has or took over.
    pub elsewhere: u32,
    /// Why work was stopped before the end. What was done is done; call again to go on.
    pub stopped: Option<Error>,
}

impl Report {
    pub(super) fn count(&mut self, fate: &Fate) {
        match fate {
            Fate::SentBack { .. } | Fate::Purged => self.done += 1,
            Fate::Refused(_) => self.refused += 1,
            Fate::Failed(_) | Fate::SentBackAndKept { .. } => self.failed += 1,
        }
    }
}
