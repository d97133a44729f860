//! Where a message stands in its topic.

use std::fmt;

/// Names a partition of one subscription, for as long as the subscription lives.
///
/// The adapter chooses the numbers, densely from 0, and says in
/// [`SubscriptionEvent::Assigned`](crate::broker::SubscriptionEvent::Assigned) which topic and partition each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartId(pub u32);

/// The generation of an assignment. It rises with every new assignment of a partition, so that what belongs to an old one can
/// be told from what belongs to the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// The place of a message within its partition. Positions of one partition compare in broker order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Position {
    /// A log offset (Kafka, memory) or a stream sequence (JetStream). Stable.
    Offset(u64),
    /// An entry id of two numbers (Redis Streams). Stable.
    Entry(u64, u64),
    /// A delivery tag (RabbitMQ): it rises within a channel and means nothing beyond it.
    Tag(u64),
}

impl Position {
    /// Whether a redelivery of the same message has the same position.
    #[must_use]
    pub const fn is_stable(self) -> bool {
        !matches!(self, Self::Tag(_))
    }

    /// The position right after this one: what a consumer that has done everything up to here commits.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Offset(n) => Self::Offset(n + 1),
            Self::Entry(ms, seq) => Self::Entry(ms, seq + 1),
            Self::Tag(n) => Self::Tag(n + 1),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(n) | Self::Tag(n) => write!(f, "{n}"),
            Self::Entry(ms, seq) => write!(f, "{ms}-{seq}"),
        }
    }
}
