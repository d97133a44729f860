use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// Another holder has claimed the message. Not a failed attempt: the runtime tries it again after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimedElsewhere {
    /// When to try it again.
    pub again: Duration,
}

impl ClaimedElsewhere {
    pub(super) const fn new(again: Duration) -> Self {
        Self { again }
    }
}

impl fmt::Display for ClaimedElsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message is claimed by another delivery of it")
    }
}

impl StdError for ClaimedElsewhere {}
