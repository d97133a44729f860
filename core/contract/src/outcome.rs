//! What becomes of a message.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// What a handler decided about a message.
///
/// # Delivery
/// Only [`Outcome::Ack`] and [`Outcome::Drop`] end a message without a trace; [`Outcome::Dead`] ends it once it is confirmed in
/// the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Done: acknowledge it, after everything that was returned is confirmed.
    Ack,
    /// Try again: after the given delay, or after the handler's backoff. Counts as an attempt.
    Retry(Option<Duration>),
    /// Give it up now: send it to the dead-letter topic with this reason in words.
    Dead(Cow<'static, str>),
    /// Forget it: acknowledge it without having handled it. The only way in which a message is thrown away.
    Drop,
    /// What the handler depends on is down: pause the handler, count nothing, try again when a probe succeeds.
    Unavailable,
}

impl Outcome {
    /// Try again after the handler's backoff.
    #[must_use]
    pub const fn retry() -> Self {
        Self::Retry(None)
    }

    /// Try again after `delay`.
    #[must_use]
    pub const fn retry_after(delay: Duration) -> Self {
        Self::Retry(Some(delay))
    }

    /// Give it up, because of `why`.
    #[must_use]
    pub fn dead(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Dead(why.into())
    }
}

/// Why a message is in a dead-letter topic: the values of
/// [`names::DEAD_REASON`](crate::names::DEAD_REASON).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadReason {
    /// The handler returned an error or said so.
    HandlerError,
    /// The handler panicked.
    Panic,
    /// The handler took longer than its `timeout`.
    Timeout,
    /// The payload does not decode, is empty or too large, or its content type or version is not known.
    Undecodable,
    /// No handler of the group knows this event name, and the policy says so.
    UnknownEvent,
    /// It had expired before it was handled.
    Expired,
    /// It was being handled alone when the process died, too often.
    TooManyDeliveries,
}

impl DeadReason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::HandlerError,
        Self::Panic,
        Self::Timeout,
        Self::Undecodable,
        Self::UnknownEvent,
        Self::Expired,
        Self::TooManyDeliveries,
    ];

    /// The reason with this value on the wire.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == value)
    }

    /// The value on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HandlerError => "handler-error",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Undecodable => "undecodable",
            Self::UnknownEvent => "unknown-event",
            Self::Expired => "expired",
            Self::TooManyDeliveries => "too-many-deliveries",
        }
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
