//! Topics: whether they are there, and making them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_core::broker::{EnsureMode, EnsureReport, TopicSpec, Topology};
use convoke_core::{Error, ErrorKind, Topic};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::metadata::MetadataTopic;

use crate::broker::Kafka;
use crate::client::Plain;
use crate::config::{self, FRAME};
use crate::errors::{self, Cause, no_topic};
use crate::options::Options;

const PATIENCE: Duration = Duration::from_secs(10);
/// What a broker takes by default, with the frame of a batch.
const BROKER_DEFAULT: usize = 1_048_588;

/// A topic that is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) partitions: u32,
    pub(crate) replicas: usize,
}

/// Asks for a topic. Blocks.
pub(crate) fn look_up(client: &BaseConsumer<Plain>, topic: &Topic, within: Duration) -> Result<Option<Found>, Error> {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
        let metadata = client
            .fetch_metadata(Some(topic.as_str()), left)
            .map_err(|error| errors::error(&format!("Kafka was asked for the topic `{topic}` and did not answer"), &error))?;
        let Some(found) = metadata.topics().iter().find(|one| one.name() == topic.as_str()) else { return Ok(None) };
        match found.error().map(Code::from) {
            None if !found.partitions().is_empty() => return Ok(Some(of(found))),
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => return Ok(None),
            Some(code @ (Code::TopicAuthorizationFailed | Code::InvalidTopic)) => {
                let text =
                    format!("Kafka refuses to tell of the topic `{topic}`; see its name and the access lists of the brokers");
                return Err(Error::new(errors::kind(Some(code)), text).with_source(Cause(code)));
            }
            // Just made: it has no leader yet.
            other if Instant::now() >= deadline => {
                let text = format!("the topic `{topic}` has no leader; see that the brokers are there");
                let error = Error::new(ErrorKind::Connection, text);
                return Err(match other {
                    Some(code) => error.with_source(Cause(code)),
                    None => error,
                });
            }
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn of(topic: &MetadataTopic) -> Found {
    let replicas = topic.partitions().iter().map(|one| one.replicas().len()).min().unwrap_or(0);
    Found { partitions: u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX), replicas }
}

/// What Kafka takes as a name.
fn check_name(topic: &Topic) -> Result<(), Error> {
    let name = topic.as_str();
    let sound = (1..=249).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !matches!(name, "." | "..");
    if sound {
        return Ok(());
    }
    let text = format!("Kafka takes no topic `{name}`: a name has 1 to 249 letters, digits, `.`, `_` and `-`");
    Err(Error::new(ErrorKind::InvalidTopic, text))
}

/// Whether there can be such topics.
pub(crate) fn check(options: &Options, topology: &Topology) -> Result<(), Error> {
    let of_groups = topology.groups.iter().flat_map(|group| &group.topics);
    topology.topics.iter().map(|spec| &spec.name).chain(of_groups).try_for_each(check_name)?;
    topology.topics.iter().try_for_each(|spec| options.of_topic(spec).map(drop))
}

impl Kafka {
    pub(crate) async fn ensure_topics(&self, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
        check(&self.options, topology)?;
        let topology = &topology.said_to("kafka");
        let mut report = EnsureReport::default();
        let mut missing = Vec::new();
        let mut specs = topology.topics.clone();
        for topic in topology.groups.iter().flat_map(|group| &group.topics) {
            if !specs.iter().any(|spec| spec.name == *topic) {
                specs.push(TopicSpec::new(topic.clone()));
            }
        }
        for spec in &specs {
            match self.found(&spec.name).await? {
                None => missing.push(spec),
                Some(found) => spec.check_partitions(found.partitions)?,
            }
        }
        if mode == EnsureMode::Check && !missing.is_empty() {
            let list: Vec<_> = missing.iter().map(|spec| format!("`{}`", spec.name)).collect();
            let text = format!(
                "the Kafka brokers lack the topic{} {}; create what is missing, or let the application do it",
                if list.len() > 1 { "s" } else { "" },
                list.join(", ")
            );
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        if !missing.is_empty() {
            report.created = self.create(&missing).await?;
        }
        for spec in &topology.topics {
            let found = self.appeared(&spec.name).await?;
            report.partitions.push((spec.name.clone(), found.partitions));
        }
        Ok(report)
    }

    pub(crate) async fn found(&self, topic: &Topic) -> Result<Option<Found>, Error> {
        let topic = topic.clone();
        self.ask(move |client| look_up(client, &topic, PATIENCE)).await
    }

    /// A topic that was just made shows on every broker after a while.
    async fn appeared(&self, topic: &Topic) -> Result<Found, Error> {
        let deadline = Instant::now() + 3 * PATIENCE;
        loop {
            if let Some(found) = self.found(topic).await? {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                return Err(no_topic(topic));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn admin(&self) -> Result<AdminClient<Plain>, Error> {
        let config = config::asking(&self.options, &self.app, None);
        config.create_with_context(Plain(Arc::clone(&self.link))).map_err(|error| config::refused(&error))
    }

    async fn create(&self, specs: &[&TopicSpec]) -> Result<Vec<String>, Error> {
        let replicas = u32::try_from(self.brokers.min(3)).unwrap_or(1).max(1);
        let limit = (self.options.max_message + FRAME + 1000).to_string();
        let wanted =
            specs.iter().map(|spec| Ok((&spec.name, self.options.of_topic(spec)?))).collect::<Result<Vec<_>, Error>>()?;
        let topics: Vec<_> = wanted
            .iter()
            .map(|(name, wanted)| {
                // The numbers are small, or refused by the brokers.
                let number = |number| i32::try_from(number).unwrap_or(i32::MAX);
                let replication = number(wanted.replication.unwrap_or(replicas));
                let mut topic = NewTopic::new(name.as_str(), number(wanted.partitions), TopicReplication::Fixed(replication));
                for (setting, value) in &wanted.settings {
                    topic = topic.set(setting, value);
                }
                if replication >= 3 {
                    // What is confirmed is then on two of them at least.
                    topic = topic.set("min.insync.replicas", "2");
                }
                if self.options.max_message + FRAME + 1000 > BROKER_DEFAULT {
                    topic = topic.set("max.message.bytes", &limit);
                }
                topic
            })
            .collect();
        let admin = self.admin()?;
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        let (mut created, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        let said = wanted.iter().any(|(_, wanted)| wanted.replication.is_some());
        let created = async {
            loop {
                let answers = admin.create_topics(&topics, &options).await;
                let answers = answers.map_err(|error| errors::error("the Kafka brokers do not create topics", &error))?;
                let mut early = false;
                for answer in answers {
                    match answer {
                        Ok(name) => created.push(name),
                        // Another process was faster.
                        Err((_, Code::TopicAlreadyExists)) => {}
                        // A broker that has just started answers before anything may be put on it.
                        Err((_, Code::InvalidReplicationFactor)) if !said && Instant::now() < deadline => early = true,
                        Err((name, code)) => {
                            let text = format!(
                                "the Kafka brokers do not create the topic `{name}`; see its number of partitions and replicas, or create it beforehand"
                            );
                            let kind = errors::kind(Some(code));
                            return Err(Error::new(kind, text).with_source(Cause(code)));
                        }
                    }
                }
                if !early {
                    return Ok(created);
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        .await;
        drop_aside(admin);
        created
    }

    pub(crate) async fn delete(&self, topic: &Topic) -> Result<(), Error> {
        let admin = self.admin()?;
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        let answers = admin.delete_topics(&[topic.as_str()], &options).await;
        let answers = answers.map_err(|error| errors::error("the Kafka brokers do not delete the topic", &error))?;
        drop_aside(admin);
        self.publishing.forget(topic);
        match answers.into_iter().next() {
            Some(Err((_, Code::UnknownTopic | Code::UnknownTopicOrPartition))) => return Err(no_topic(topic)),
            Some(Err((name, code))) => {
                let text = format!("the Kafka brokers do not delete the topic `{name}`");
                return Err(Error::new(errors::kind(Some(code)), text).with_source(Cause(code)));
            }
            _ => {}
        }
        let deadline = Instant::now() + PATIENCE;
        while self.found(topic).await?.is_some() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    pub(crate) async fn all_topics(&self) -> Result<Vec<(Topic, u32)>, Error> {
        let all = |client: &BaseConsumer<Plain>| {
            let metadata = client.fetch_metadata(None, PATIENCE);
            let metadata =
                metadata.map_err(|error| errors::error("Kafka was asked for its topics and did not answer", &error))?;
            // Those of the brokers' own begin so.
            let topics = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__") && topic.error().is_none());
            let mut topics: Vec<_> = topics.map(|topic| (Topic::from(topic.name()), of(topic).partitions)).collect();
            topics.sort_unstable();
            Ok(topics)
        };
        self.ask(all).await
    }
}

/// Its thread is waited for.
fn drop_aside(admin: AdminClient<Plain>) {
    drop(tokio::task::spawn_blocking(move || drop(admin)));
}
