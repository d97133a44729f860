//! Which topics hold dead letters, and how many.

use convoke_core::broker::{EnsureMode, TopicSpec, Topology};
use convoke_core::{Error, ErrorKind, Topic, names};

use super::DeadLetters;

/// A topic of dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadTopic {
    /// Its name.
    pub topic: Topic,
    /// How many partitions it has.
    pub partitions: u32,
    /// How many dead letters wait in it, as far as the broker can tell: those that were sent back or thrown away are not counted.
    pub letters: Option<u64>,
}

impl DeadLetters {
    /// The topics whose names say that they hold dead letters (`<topic>.<group>.dead`), in order. Those that a handler named
    /// otherwise are not found: name them.
    ///
    /// # Cancel safety
    /// Safe: at most the tools' own group was made.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the broker cannot list its topics; what the broker says.
    pub async fn topics(&self) -> Result<Vec<DeadTopic>, Error> {
        let mut dead = Vec::new();
        for (topic, partitions) in self.broker.topics().await? {
            if topic.as_str().ends_with(".dead") {
                self.make_group(&topic).await?;
                dead.push(DeadTopic { letters: self.letters(&topic).await?, topic, partitions });
            }
        }
        Ok(dead)
    }

    /// The topic of this name.
    ///
    /// # Cancel safety
    /// Safe: at most the tools' own group was made.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none; what the broker says.
    pub async fn topic(&self, topic: impl Into<Topic>) -> Result<DeadTopic, Error> {
        let topic = topic.into();
        let mut topology = Topology::default();
        topology.topics.push(TopicSpec::new(topic.clone()));
        let report = self.broker.ensure(&topology, EnsureMode::Check).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(ErrorKind::NotFound, format!("there is no topic `{topic}`; correct its name")),
            _ => error,
        })?;
        let partitions = report.partitions.iter().find(|(name, _)| *name == topic).map_or(1, |(_, count)| *count);
        self.make_group(&topic).await?;
        Ok(DeadTopic { letters: self.letters(&topic).await?, topic, partitions })
    }

    /// Applications make the group; where one of an older version has not, it is made now.
    async fn make_group(&self, topic: &Topic) -> Result<(), Error> {
        let mut topology = Topology::default();
        topology.groups.push(crate::app::tools(topic));
        self.broker.ensure(&topology, EnsureMode::Create).await.map(|_| ())
    }

    async fn letters(&self, topic: &Topic) -> Result<Option<u64>, Error> {
        let lag = self.broker.lag(names::REDRIVE_GROUP, std::slice::from_ref(topic)).await?;
        Ok(lag.backlog.map(|backlog| backlog + lag.unsettled.unwrap_or(0) + lag.delayed.unwrap_or(0)))
    }
}
