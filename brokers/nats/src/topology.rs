//! Streams and consumers: made, checked, listed, deleted.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use convoke_core::broker::{EnsureMode, EnsureReport, GroupSpec, Start, Topology};
use convoke_core::{Error, ErrorKind, Position, Topic, TopicPattern};
use futures_util::{StreamExt, TryStreamExt};

use crate::amend;
use crate::failure;
use crate::link::Link;
use crate::names;
use crate::numbered;
use crate::options::Options;
use crate::store::Store;

/// How many requests are under way at once.
const AT_ONCE: usize = 32;

/// Whether there can be such topics and groups.
pub(crate) fn check(options: &Options, topology: &Topology) -> Result<(), Error> {
    for spec in &topology.topics {
        names::check_topic(spec.name.as_str())?;
        options.of_topic(spec)?;
    }
    topology.groups.iter().try_for_each(|group| names::check("group", &group.name))
}

/// Makes or checks what an application needs.
pub(crate) async fn ensure(link: &Link, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
    check(&link.options, topology)?;
    let topology = &topology.said_to("nats");
    let mut report = EnsureReport::default();
    for spec in &topology.topics {
        let count = match found(link, &spec.name).await? {
            Some(found) => {
                if mode == EnsureMode::Create {
                    amend::allow(link, &spec.name, found).await?;
                }
                found.partitions
            }
            None if mode == EnsureMode::Check => return Err(no_topic(&spec.name)),
            None => {
                report.created.push(spec.name.to_string());
                create_stream(link, &spec.name, &link.options.of_topic(spec)?).await?
            }
        };
        spec.check_partitions(count)?;
        report.partitions.push((spec.name.clone(), count));
    }
    Store::open(link, mode == EnsureMode::Create).await?;
    for group in &topology.groups {
        ensure_group(link, group, mode, &mut report).await?;
    }
    Ok(report)
}

async fn ensure_group(link: &Link, group: &GroupSpec, mode: EnsureMode, report: &mut EnsureReport) -> Result<(), Error> {
    for topic in resolve(link, &group.topics).await? {
        let count = partitions(link, &topic).await?.ok_or_else(|| no_topic(&topic))?;
        let create = mode == EnsureMode::Create;
        if join(link, &group.name, &topic, count, group.start, None, create).await? {
            report.created.push(format!("{} on {topic}", group.name));
        }
        if create {
            ensure_router(link, &topic).await?;
        }
    }
    Ok(())
}

/// The topics that these names and patterns mean now, each once.
pub(crate) async fn resolve(link: &Link, written: &[Topic]) -> Result<Vec<Topic>, Error> {
    let mut topics: Vec<Topic> = Vec::new();
    let mut all = None;
    for one in written {
        let Some(pattern) = TopicPattern::new(one.as_str()) else {
            topics.push(one.clone());
            continue;
        };
        if all.is_none() {
            all = Some(list(link).await?);
        }
        topics.extend(all.iter().flatten().map(|(topic, _)| topic).filter(|topic| pattern.matches(topic.as_str())).cloned());
    }
    let mut seen = std::collections::HashSet::new();
    topics.retain(|topic| seen.insert(topic.clone()));
    Ok(topics)
}

/// What is there of a topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) partitions: u32,
    /// Whether its stream keeps messages until they are due.
    pub(crate) schedules: bool,
    /// Whether its stream lets messages expire.
    pub(crate) expiry: bool,
    /// After how long its stream discards messages; never if zero.
    pub(crate) max_age: Duration,
}

impl Found {
    fn new(topic: &Topic, info: &Info) -> Result<Self, Error> {
        let config = &info.config;
        let room = names::schedules(topic.as_str());
        let schedules = config.allow_message_schedules && config.subjects.contains(&room);
        let expiry = config.allow_message_ttl && config.subjects.contains(&names::beginning(topic.as_str()));
        Ok(Self { partitions: count(topic, info)?, schedules, expiry, max_age: config.max_age })
    }
}

/// How many partitions a topic has; `None` if there is no such topic.
pub(crate) async fn partitions(link: &Link, topic: &Topic) -> Result<Option<u32>, Error> {
    Ok(found(link, topic).await?.map(|found| found.partitions))
}

/// Looks for a topic; `None` if there is none.
pub(crate) async fn found(link: &Link, topic: &Topic) -> Result<Option<Found>, Error> {
    match link.jetstream.get_stream(names::stream(topic.as_str())).await {
        Ok(stream) => Found::new(topic, stream.cached_info()).map(Some),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(failure::of(format!("the stream of topic `{topic}` cannot be looked at"), error)),
    }
}

fn is_missing(error: &async_nats::jetstream::context::GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(said) if said.code() == 404)
}

/// The number of partitions that the subjects of a stream are made for.
fn count(topic: &Topic, info: &Info) -> Result<u32, Error> {
    let subjects = &info.config.subjects;
    let has = |partition| subjects.iter().any(|subject| *subject == names::subject(topic.as_str(), partition));
    let count = (0..).take_while(|partition| has(*partition)).count();
    if count == 0 {
        let text = format!(
            "the stream `{}` is not one of partitions: its subjects are {}, and topic `{topic}` needs `{topic}` and `{topic}.0` to `{topic}.7`; \
             add them, or name another topic",
            info.config.name,
            subjects.join(", ")
        );
        return Err(Error::new(ErrorKind::Configuration, text));
    }
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// How the streams that were made by us are described.
pub(crate) fn description(topic: &Topic) -> String {
    format!("convoke: topic {topic}")
}

/// Creates the stream of a topic. Returns how many partitions it has, which another process may have chosen.
async fn create_stream(link: &Link, topic: &Topic, options: &Options) -> Result<u32, Error> {
    let name = topic.as_str();
    let (schedules, expiry) = (link.keeps_schedules(), link.lets_expire());
    let subjects = std::iter::once(name.to_owned())
        .chain((0..options.partitions).map(|partition| names::subject(name, partition)))
        .chain(schedules.then(|| names::schedules(name)))
        .chain(expiry.then(|| names::beginning(name)));
    let config = Config {
        name: names::stream(name),
        description: Some(description(topic)),
        subjects: subjects.collect(),
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        num_replicas: options.replicas,
        duplicate_window: options.duplicates,
        max_age: options.max_age,
        max_bytes: options.max_bytes,
        max_messages: -1,
        max_consumers: -1,
        allow_direct: true,
        allow_message_schedules: schedules,
        allow_message_ttl: expiry,
        ..Config::default()
    };
    match link.jetstream.create_stream(config).await {
        Ok(stream) => count(topic, stream.cached_info()),
        // Two processes start together, with different ideas.
        Err(error) => match self::partitions(link, topic).await {
            Ok(Some(count)) => Ok(count),
            _ => Err(failure::of(format!("the stream of topic `{topic}` cannot be created"), error)),
        },
    }
}

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

/// Every topic, with the number of its partitions.
pub(crate) async fn list(link: &Link) -> Result<Vec<(Topic, u32)>, Error> {
    let infos: Vec<Info> =
        link.jetstream.streams().try_collect().await.map_err(|error| failure::of("the streams cannot be listed", error))?;
    let topics = infos.iter().filter(|info| !info.config.name.starts_with("KV_"));
    let mut topics: Vec<_> = topics
        .filter_map(|info| {
            let topic = names::topic_of(&info.config.name);
            count(&topic, info).ok().map(|count| (topic, count))
        })
        .collect();
    topics.sort();
    Ok(topics)
}

/// Deletes a topic, unless somebody reads it.
pub(crate) async fn delete(link: &Link, topic: &Topic) -> Result<(), Error> {
    let text = || format!("the topic `{topic}` cannot be deleted");
    let name = names::stream(topic.as_str());
    let stream = match link.jetstream.get_stream(&name).await {
        Ok(stream) => stream,
        Err(error) if is_missing(&error) => return Err(no_topic(topic)),
        Err(error) => return Err(failure::of(text(), error)),
    };
    let mut consumers = stream.consumers();
    while let Some(info) = consumers.next().await {
        let info = info.map_err(|error| failure::of(text(), error))?;
        // A member asks for messages all the time, and so does a router: but that is not reading.
        if info.num_waiting > 0 && info.name != names::ROUTER {
            let text = format!("the topic `{topic}` is read by `{}`; stop that first", info.name);
            return Err(Error::new(ErrorKind::Rejected, text));
        }
    }
    link.jetstream.delete_stream(&name).await.map_err(|error| failure::of(text(), error))?;
    Store::open(link, false).await?.drop_all(&format!("k.*.{}", names::undotted(topic.as_str()))).await
}

pub(crate) fn no_topic(topic: &Topic) -> Error {
    let text = format!("there is no topic `{topic}` on NATS; let the application create it, or correct the name");
    Error::new(ErrorKind::NotFound, text)
}

/// Topics that patterns match and that are not known yet, with their partitions; the group exists on them from here on.
pub(crate) async fn appeared(
    link: &Link,
    group: &str,
    written: &[Topic],
    known: &[Topic],
    start: Start,
    lasts: Option<Duration>,
) -> Result<Vec<(Topic, u32)>, Error> {
    let mut topics = Vec::new();
    for topic in resolve(link, written).await? {
        if known.contains(&topic) {
            continue;
        }
        let Some(count) = partitions(link, &topic).await? else { continue };
        join(link, group, &topic, count, start, lasts, true).await?;
        topics.push((topic, count));
    }
    Ok(topics)
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

/// The last message of a partition; 0 if there is none.
pub(crate) async fn last(link: &Link, topic: &Topic, partition: u32) -> Result<u64, Error> {
    let last = numbered::last(link, &names::stream(topic.as_str()), &names::subject(topic.as_str(), partition)).await?;
    Ok(last.map_or(0, |last| last.sequence))
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
