//! What a change does to an alarm: no clock, no storage.

use convoke::BoxError;
use jiff::Timestamp;

use crate::events::{AlarmStatusChanged, Status};

/// What is known of an alarm. A cleared one is remembered too, or a late change would raise it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    pub status: Status,
    pub changed_at: Timestamp,
    /// Whether it is active in a way that no digest has told.
    pub news: bool,
}

impl Alarm {
    // ANCHOR: after
    /// The alarm after a change, in whatever order changes come; `None` if the change is older than what is known.
    ///
    /// Of two statuses at one time the worse counts, so that their order does not matter.
    #[must_use]
    pub fn after(known: Option<Self>, status: Status, changed_at: Timestamp) -> Option<Self> {
        let active = status != Status::Cleared;
        let Some(known) = known else { return Some(Self { status, changed_at, news: active }) };
        if (changed_at, status) < (known.changed_at, known.status) {
            return None;
        }
        let news = if status == known.status { known.news } else { active };
        Some(Self { status, changed_at, news })
    }
    // ANCHOR_END: after
}

/// Refuses what no attempt can mend.
///
/// # Errors
/// If an id is empty, or the time is zero.
pub fn check(change: &AlarmStatusChanged) -> Result<(), BoxError> {
    // What a zero time is written as: the year 1 by some, 1970 by others.
    let zero = change.changed_at <= Timestamp::UNIX_EPOCH;
    match () {
        () if change.user_id.is_empty() => Err("the UserID is empty".into()),
        () if change.alarm_id.is_empty() => Err("the AlarmID is empty".into()),
        () if zero => Err(format!("ChangedAt is zero: {}", change.changed_at).into()),
        () => Ok(()),
    }
}
