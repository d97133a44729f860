//! How to make a broker fail, for tests.

use std::time::Duration;

use crate::error::Error;
use crate::message::Topic;

/// A broker that can be told to fail. Conformance cases and the testkit share it.
pub trait Faults: Send + Sync {
    /// Makes this happen from now on, or the next time, as the fault says.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if this broker cannot be made to fail in this way;
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such topic or group.
    fn inject(&self, fault: Fault) -> Result<(), Error>;
}

/// Ways in which a broker fails.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The next `count` messages to `topic` are refused.
    PublishRejected {
        /// The topic.
        topic: Topic,
        /// How many.
        count: u32,
        /// Whether it says that trying again may help.
        retryable: bool,
    },
    /// The next `count` messages to `topic` get no answer.
    PublishUnknown {
        /// The topic.
        topic: Topic,
        /// How many.
        count: u32,
        /// Whether they are stored all the same.
        stored: bool,
    },
    /// The next `count` messages to `topic` are confirmed this much later.
    PublishSlow {
        /// The topic.
        topic: Topic,
        /// How many.
        count: u32,
        /// How much later.
        by: Duration,
    },
    /// The connection is cut, and comes back after this time: every assignment is lost.
    Cut {
        /// How long it is away.
        down: Duration,
    },
    /// The group's partitions on a topic are revoked and assigned anew.
    Revoke {
        /// The group.
        group: String,
        /// The topic.
        topic: Topic,
        /// How long the owner has to finish; none means that they are lost at once.
        within: Option<Duration>,
    },
    /// The next `count` settlements of the group are lost without a trace: answered as failed, not applied.
    SettleLost {
        /// The group.
        group: String,
        /// How many.
        count: u32,
    },
    /// The next `count` deliveries to the group are delivered twice.
    Repeat {
        /// The group.
        group: String,
        /// How many.
        count: u32,
    },
}
