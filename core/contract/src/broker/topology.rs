//! What must exist on the broker before the first message.

use super::{BrokerUrl, Native, NativeOption, NativeValue};
use crate::error::{Error, ErrorKind};
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

impl Topology {
    /// Refuses names that no broker has: empty ones, and those with control characters.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTopic`].
    pub fn check_names(&self) -> Result<(), Error> {
        let of_groups = self.groups.iter().flat_map(|group| group.topics.iter().map(Topic::as_str).chain([&*group.name]));
        let mut names = self.topics.iter().map(|topic| topic.name.as_str()).chain(of_groups);
        match names.find(|name| name.is_empty() || name.contains(char::is_control)) {
            Some(name) => {
                let text = format!("{name:?} cannot be the name of a topic or group; use letters, digits, `.`, `_` and `-`");
                Err(Error::new(ErrorKind::InvalidTopic, text))
            }
            None => Ok(()),
        }
    }

    /// These topics, each with as many partitions as is said of it to this kind of broker, unless somebody else says a number.
    #[must_use]
    pub fn said_to(&self, broker: &str) -> Self {
        let mut said = self.clone();
        for topic in &mut said.topics {
            topic.partitions = topic.partitions.or_else(|| topic.said(broker, "partitions"));
        }
        said
    }
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSpec {
    /// Its name.
    pub name: Topic,
    /// How many partitions it is created with, where the adapter chooses; `None` leaves it to the adapter's default.
    pub partitions: Option<u32>,
    /// What its events say of it for one kind of broker or another. It counts where the topic is created.
    pub native: Vec<Native>,
}

impl TopicSpec {
    /// A topic with the adapter's default number of partitions.
    #[must_use]
    pub fn new(name: impl Into<Topic>) -> Self {
        Self { name: name.into(), partitions: None, native: Vec::new() }
    }

    /// What is said of it to this kind of broker, as its URL would say it.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] with everything that the adapter does not know.
    pub fn native_url(&self, broker: &str, known: &[NativeOption]) -> Result<BrokerUrl, Error> {
        BrokerUrl::of_native(broker, known, &self.native)
    }

    /// Refuses a topic that is there with another number of partitions than is asked for.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`].
    pub fn check_partitions(&self, present: u32) -> Result<(), Error> {
        match self.partitions {
            Some(wanted) if wanted != present => {
                let text = format!(
                    "topic `{}` has {present} partitions, not {wanted}, and changing it would put keys out of order; ask for {present}, or \
                     use another topic",
                    self.name
                );
                Err(Error::new(ErrorKind::Configuration, text))
            }
            _ => Ok(()),
        }
    }

    fn said(&self, broker: &str, name: &str) -> Option<u32> {
        let said = self.native.iter().find(|said| (said.broker, said.name) == (broker, name))?;
        match said.value {
            // What is too large is too large for every adapter.
            NativeValue::Number(number) => Some(u32::try_from(number).unwrap_or(u32::MAX)),
            NativeValue::Text(_) => None,
        }
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
