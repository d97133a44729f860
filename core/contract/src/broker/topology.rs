//! What must exist on the broker before the first message.

use crate::message::Topic;

/// Topics and groups that an application needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Topology {
    /// The topics.
    pub topics: Vec<TopicSpec>,
    /// The groups, each with topics that it reads. A group stands here once for each of its subscriptions, which may start at
    /// different places.
    pub groups: Vec<GroupSpec>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSpec {
    /// Its name.
    pub name: Topic,
    /// How many partitions it is created with, where the adapter chooses; `None` leaves it to the adapter's default.
    pub partitions: Option<u32>,
}

impl TopicSpec {
    /// A topic with the adapter's default number of partitions.
    #[must_use]
    pub fn new(name: impl Into<Topic>) -> Self {
        Self { name: name.into(), partitions: None }
    }
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupSpec {
    /// Its name.
    pub name: String,
    /// The topics that it reads, or patterns of them.
    pub topics: Vec<Topic>,
    /// Where it begins if it is new.
    pub start: super::Start,
    /// Whether its messages are handled in order of their keys.
    pub ordered: bool,
}

impl GroupSpec {
    /// A group that begins at the earliest message and keeps the order of keys.
    #[must_use]
    pub fn new(name: impl Into<String>, topics: Vec<Topic>) -> Self {
        Self { name: name.into(), topics, start: super::Start::Earliest, ordered: true }
    }
}

/// What [`Broker::ensure`](super::Broker::ensure) may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum EnsureMode {
    /// Create what is missing.
    #[default]
    Create,
    /// Change nothing; missing is an error.
    Check,
}

/// What [`Broker::ensure`](super::Broker::ensure) did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnsureReport {
    /// Names of what was created.
    pub created: Vec<String>,
    /// The number of partitions of each topic, in the topology's order.
    pub partitions: Vec<(Topic, u32)>,
}
