//! What kind of failure an error is, to those who look on.

use std::error::Error as StdError;

use convoke_core::{Class, Classified, class_of};
use tower::load_shed::error::Overloaded;
use tower::timeout::error::Elapsed;

use crate::dedup::ClaimedElsewhere;

/// Few kinds, as dashboards group by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Transient,
    Permanent,
    Unavailable,
    Timeout,
    /// Not taken: no attempt.
    Overloaded,
    /// Another delivery has it: no attempt.
    ClaimedElsewhere,
}

impl Kind {
    pub(crate) fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(error);
        // What says its class means that, whatever caused it: a handler's own client may time out too.
        while let Some(error) = next.filter(|error| !error.is::<Classified>()) {
            if error.is::<Elapsed>() {
                return Self::Timeout;
            }
            if error.is::<Overloaded>() {
                return Self::Overloaded;
            }
            if error.is::<ClaimedElsewhere>() {
                return Self::ClaimedElsewhere;
            }
            next = error.source();
        }
        match class_of(error) {
            Class::Permanent => Self::Permanent,
            Class::Unavailable => Self::Unavailable,
            _ => Self::Transient,
        }
    }

    /// The value of `error.type`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::ClaimedElsewhere => "claimed-elsewhere",
        }
    }
}
