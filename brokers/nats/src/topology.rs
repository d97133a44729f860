//! Topics and groups: made, checked, listed, deleted.

use std::time::Duration;

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use convoke_core::broker::{EnsureMode, EnsureReport, GroupSpec, Start, Topology};
use convoke_core::{Error, ErrorKind, Topic, TopicPattern};
use futures_util::{StreamExt, TryStreamExt};

use crate::amend;
use crate::consumers::{ensure_router, join};
use crate::failure;
use crate::link::Link;
use crate::names;
use crate::numbered;
use crate::options::Options;
use crate::store::Store;

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

/// The last message of a partition; 0 if there is none.
pub(crate) async fn last(link: &Link, topic: &Topic, partition: u32) -> Result<u64, Error> {
    let last = numbered::last(link, &names::stream(topic.as_str()), &names::subject(topic.as_str(), partition)).await?;
    Ok(last.map_or(0, |last| last.sequence))
}
