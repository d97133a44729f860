//! Observers: whoever wants to know what happens to messages. Tracing, metrics and the testkit's timeline hang here.

use convoke_core::{DeadReason, Incoming};
use std::time::Duration;

/// Something that is told what happens. Called on the driver's task: return quickly.
pub trait Observer: Send + Sync {
    /// This happened.
    fn observe(&self, happening: &Happening<'_>);
}

/// What happened to a message of a handler.
#[derive(Debug)]
#[non_exhaustive]
pub struct Happening<'a> {
    /// The group.
    pub group: &'a str,
    /// The handler.
    pub handler: &'a str,
    /// The message.
    pub incoming: &'a Incoming,
    /// What happened.
    pub what: What<'a>,
}

/// What can happen to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum What<'a> {
    /// The broker delivered it.
    Delivered,
    /// An attempt began.
    Started {
        /// Its number, from 1.
        attempt: u32,
    },
    /// An attempt failed, and is repeated after the delay.
    Retrying {
        /// How many attempts have failed.
        attempts: u32,
        /// The delay.
        delay: Duration,
        /// The error.
        error: Option<&'a str>,
    },
    /// It goes to the dead-letter topic.
    Dying {
        /// Why.
        reason: DeadReason,
        /// How many attempts have failed.
        attempts: u32,
        /// The last error.
        error: Option<&'a str>,
    },
    /// It left this process.
    Ended(End),
}

/// How a message left this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// Acknowledged after it was handled.
    Acked,
    /// Acknowledged without the handler, because it was handled before: deduplication knew it.
    Known,
    /// Acknowledged because the code said drop.
    Dropped,
    /// Acknowledged because no handler of the group knows its event name.
    Skipped,
    /// Acknowledged after it was confirmed in the dead-letter topic.
    Dead,
    /// Given back for a later retry.
    Retried,
    /// Given back without a verdict.
    Returned,
    /// Its partition or lease was lost: it is delivered again.
    Lost,
    /// It was held already, and came again.
    Duplicate,
}

impl From<convoke_engine::End> for End {
    fn from(end: convoke_engine::End) -> Self {
        use convoke_engine::End as E;
        match end {
            E::Acked => Self::Acked,
            E::Dropped => Self::Dropped,
            E::Skipped => Self::Skipped,
            E::Dead => Self::Dead,
            E::Retried => Self::Retried,
            E::Returned => Self::Returned,
            E::Lost => Self::Lost,
            E::Duplicate => Self::Duplicate,
        }
    }
}
