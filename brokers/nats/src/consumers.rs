//! Consumers: made, looked at, forgotten.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use convoke_core::broker::Start;
use convoke_core::{Error, ErrorKind, Position, Topic};
use futures_util::{StreamExt, TryStreamExt};

use crate::link::Link;
use crate::{failure, names};

/// How many requests are under way at once.
const AT_ONCE: usize = 32;

/// A consumer of a group on one partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Durable<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: &'a Topic,
    pub(crate) partition: u32,
    pub(crate) start: Start,
    /// For how long it is kept without being read; for ever if nothing is said.
    pub(crate) lasts: Option<Duration>,
}

impl Durable<'_> {
    pub(crate) fn stream(&self) -> String {
        names::stream(self.topic.as_str())
    }

    pub(crate) fn name(&self) -> String {
        names::consumer(self.group, self.partition)
    }

    /// Where pulls are sent.
    pub(crate) fn pull_subject(&self) -> String {
        names::pull(&self.stream(), &self.name())
    }

    fn config(&self, link: &Link) -> pull::Config {
        let deliver_policy = match self.start {
            Start::New => DeliverPolicy::New,
            Start::At(Position::Offset(start_sequence)) if start_sequence > 0 => {
                DeliverPolicy::ByStartSequence { start_sequence }
            }
            Start::Time(time) => match async_nats::datetime::from_nanos(nanos(time)) {
                Ok(start_time) => DeliverPolicy::ByStartTime { start_time },
                Err(_) => DeliverPolicy::All,
            },
            _ => DeliverPolicy::All,
        };
        pull::Config {
            durable_name: Some(self.name()),
            deliver_policy,
            ack_policy: AckPolicy::Explicit,
            ack_wait: link.options.ack_wait,
            // Otherwise the server gives up in silence.
            max_deliver: -1,
            // Credit is the bound.
            max_ack_pending: -1,
            filter_subject: names::subject(self.topic.as_str(), self.partition),
            inactive_threshold: self.lasts.unwrap_or_default(),
            num_replicas: link.options.replicas,
            ..pull::Config::default()
        }
    }

    /// Creates the consumer if it is not there; `true` if it was created. One that is there keeps its place.
    pub(crate) async fn ensure(&self, link: &Link, create: bool) -> Result<bool, Error> {
        let (stream, name) = (self.stream(), self.name());
        let text = || format!("the consumer of group `{}` on topic `{}` cannot be made or looked at", self.group, self.topic);
        let handle = link.jetstream.get_stream_no_info(&stream).await.map_err(|error| failure::of(text(), error))?;
        match handle.consumer_info(&name).await {
            Ok(_) => return Ok(false),
            Err(error) if failure::kind_of(&error, ErrorKind::Connection) != ErrorKind::NotFound => {
                return Err(failure::of(text(), error));
            }
            Err(_) if !create => {
                let text = format!("there is no group `{}` on topic `{}`; let the application create it", self.group, self.topic);
                return Err(Error::new(ErrorKind::NotFound, text));
            }
            Err(_) => {}
        }
        handle.create_consumer(self.config(link)).await.map(|_| true).map_err(|error| failure::of(text(), error))
    }
}

fn nanos(time: std::time::SystemTime) -> i128 {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

/// The consumer of what foreign clients publish to a topic without saying a partition. One message at a time is out, so that their
/// order is kept, whichever process moves them.
pub(crate) async fn ensure_router(link: &Link, topic: &Topic) -> Result<(), Error> {
    let stream = names::stream(topic.as_str());
    let text = || format!("the router of topic `{topic}` cannot be made");
    let handle = link.jetstream.get_stream_no_info(&stream).await.map_err(|error| failure::of(text(), error))?;
    if handle.consumer_info(names::ROUTER).await.is_ok() {
        return Ok(());
    }
    let config = pull::Config {
        durable_name: Some(names::ROUTER.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: link.options.timeout,
        max_deliver: -1,
        max_ack_pending: 1,
        filter_subject: topic.as_str().to_owned(),
        num_replicas: link.options.replicas,
        ..pull::Config::default()
    };
    handle.create_consumer(config).await.map(drop).map_err(|error| failure::of(text(), error))
}

/// How much of what foreign clients published is not moved to its partition yet.
pub(crate) async fn unmoved(link: &Link, topic: &Topic) -> Result<u64, Error> {
    let text = || format!("the router of topic `{topic}` cannot be looked at");
    let stream = names::stream(topic.as_str());
    let handle = link.jetstream.get_stream_no_info(&stream).await.map_err(|error| failure::of(text(), error))?;
    match handle.consumer_info(names::ROUTER).await {
        Ok(info) => Ok(info.num_pending + info.num_ack_pending as u64),
        Err(error) if failure::kind_of(&error, ErrorKind::Connection) == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(failure::of(text(), error)),
    }
}

/// Makes sure that a group exists on a topic; `true` if it did not.
pub(crate) async fn join(
    link: &Link,
    group: &str,
    topic: &Topic,
    count: u32,
    start: Start,
    lasts: Option<Duration>,
    create: bool,
) -> Result<bool, Error> {
    let made = futures_util::stream::iter(
        (0..count).map(|partition| async move { Durable { group, topic, partition, start, lasts }.ensure(link, create).await }),
    );
    let made: Vec<bool> = made.buffered(AT_ONCE).try_collect().await?;
    Ok(made.contains(&true))
}

/// What the server says of a group's consumer.
pub(crate) async fn consumer(
    link: &Link,
    group: &str,
    topic: &Topic,
    partition: u32,
) -> Result<async_nats::jetstream::consumer::Info, Error> {
    let text = || format!("group `{group}` on topic `{topic}` cannot be looked at");
    let stream =
        link.jetstream.get_stream_no_info(names::stream(topic.as_str())).await.map_err(|error| failure::of(text(), error))?;
    stream.consumer_info(names::consumer(group, partition)).await.map_err(|error| failure::of(text(), error))
}

/// Deletes a consumer, if the server answers.
pub(crate) async fn forget(link: &Link, topic: &Topic, consumer: &str) {
    if let Err(error) = link.jetstream.delete_consumer_from_stream(consumer, names::stream(topic.as_str())).await {
        tracing::debug!(%error, "a consumer was not deleted; the server does so when nobody has read for long");
    }
}
