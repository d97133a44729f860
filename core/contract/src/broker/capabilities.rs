//! What a broker can do, and how.

use std::time::Duration;

/// What a broker can do, and how. The runtime refuses at `build()` what an application asks for and the broker lacks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Capabilities {
    /// The broker's name, for people.
    pub name: &'static str,
    /// What keeps messages in order.
    pub ordering: Ordering,
    /// How messages are settled.
    pub settle: SettleBy,
    /// How a message is given back for later.
    pub delay: Delay,
    /// How a message is published for later.
    pub publish_delay: PublishDelay,
    /// Whether attempts of ours outlive a clean restart.
    pub attempts: AttemptsKept,
    /// Whether there is a durable place for the marks of messages that are tried alone.
    pub marks: bool,
    /// By watermark: how many characters the text of a commit may have ([`Progress::encode`](super::Progress::encode)), if there is
    /// a limit.
    pub progress: Option<usize>,
    /// Whether a message keeps its position when it is delivered again.
    pub stable_positions: bool,
    /// Whether a delivery expires, and what can be done about it.
    pub lease: LeaseKind,
    /// What credit is counted in.
    pub credit: Credit,
    /// What a confirmation can mean.
    pub durability: Durability,
    /// The largest message in bytes ([`Message::size`](crate::Message::size)), if there is a limit.
    pub max_message: Option<usize>,
    /// What header values may hold.
    pub header_values: HeaderValues,
    /// Whether the broker knows repeated ids, and for how long.
    pub deduplication: Option<Duration>,
    /// Whether publishing and settling can be one transaction.
    pub transactions: bool,
    /// Whether a group can begin elsewhere than at the earliest message.
    pub start_positions: bool,
    /// Whether a topic can be named by a pattern.
    pub patterns: bool,
    /// Whether each instance can get every message.
    pub broadcast: bool,
    /// Whether a subscription can read up to a marked end.
    pub until_end: bool,
    /// Whether messages can expire.
    pub expiry: bool,
    /// Whether an answer's address travels with a message.
    pub reply_to: bool,
    /// Whether a message without a queue to go to is lost, and can be told.
    pub drops_unrouted: bool,
}

impl Capabilities {
    /// A broker that can do nothing beyond taking and delivering messages one by one; adapters add what they offer.
    #[must_use]
    pub const fn minimal(name: &'static str) -> Self {
        Self {
            name,
            ordering: Ordering::None,
            settle: SettleBy::Message,
            delay: Delay::InPlace,
            publish_delay: PublishDelay::None,
            attempts: AttemptsKept::AtLeast,
            marks: false,
            progress: None,
            stable_positions: true,
            lease: LeaseKind::None,
            credit: Credit::Messages,
            durability: Durability::Accepted,
            max_message: None,
            header_values: HeaderValues::Text,
            deduplication: None,
            transactions: false,
            start_positions: false,
            patterns: false,
            broadcast: false,
            until_end: false,
            expiry: false,
            reply_to: false,
            drops_unrouted: false,
        }
    }
}

/// What keeps messages in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ordering {
    /// Partitions with one owner each.
    Partition,
    /// Queues with one active consumer each, which the server sees to.
    SingleActive,
    /// Nothing.
    None,
}

/// How messages are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettleBy {
    /// Each by itself, by [`settle`](super::SubscriptionControl::settle).
    Message,
    /// By position, by [`commit`](super::SubscriptionControl::commit).
    Watermark,
}

/// How a message is given back for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delay {
    /// The broker keeps it and delivers it to the same group when it is due.
    Native {
        /// The longest delay.
        max: Duration,
    },
    /// The runtime publishes it to a place of the group, waits for the confirmation, and acknowledges it here; nothing is asked of the
    /// adapter but topics that it reads together with the others of the subscription.
    Republish,
    /// It is kept in this process, with its lease extended.
    InPlace,
}

/// How a message is published for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishDelay {
    /// By the broker.
    Native,
    /// Not at all.
    None,
}

/// Whether the count of our attempts outlives a clean restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptsKept {
    /// It does.
    Exact,
    /// It may come back smaller.
    AtLeast,
}

/// Whether a delivery expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseKind {
    /// It belongs to the consumer for as long as it is connected.
    None,
    /// It is delivered again after this time, and nothing can be done about it.
    Fixed(Duration),
    /// It is delivered again after this time, unless it is extended.
    Extendable(Duration),
}

/// What credit is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credit {
    /// Messages and bytes.
    MessagesAndBytes,
    /// Messages only: the bound in bytes is their number times the largest.
    Messages,
}

/// What the broker has done when it confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Durability {
    /// It is in the memory of one process.
    Memory,
    /// A server has taken it; it may not be on a disk yet.
    Accepted,
    /// It is on a disk.
    Stored,
    /// It is on several servers.
    Replicated,
}

/// What header values may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderValues {
    /// Any bytes, and repeated names in order.
    Binary,
    /// Printable text; anything else is percent-encoded by the adapter.
    Text,
}
