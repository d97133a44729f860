//! Exchanges and queues: made where they are missing, and looked up.
//!
//! A topic is an exchange, to which every group binds one queue for each partition. What comes to it without a partition goes on to its
//! alternate exchange, whose name says how many partitions there are.

use convoke_core::broker::{EnsureMode, EnsureReport, GroupSpec, Start, TopicSpec, Topology};
use convoke_core::{Error, ErrorKind, Topic, TopicPattern};
use futures_util::future::try_join_all;
use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind, Queue};

use crate::failure;
use crate::names;
use crate::options::TOPIC_OPTIONS;
use crate::shared::Shared;

/// After this long without a reader the queue of a broadcast's instance is deleted, in milliseconds.
const UNREAD_MS: i32 = 30 * 60_000;

const DURABLE: ExchangeDeclareOptions =
    ExchangeDeclareOptions { passive: false, durable: true, auto_delete: false, internal: false, nowait: false };

/// The arguments of every queue: replicated, one consumer at a time, and no limit to deliveries, since a hand-over counts as one and what is
/// beyond the limit would be thrown away. How often a message is tried is not the server's matter.
pub(crate) fn queue_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(i32::MAX));
    arguments
}

/// Whether there can be such topics and groups.
pub(crate) fn check(topology: &Topology) -> Result<(), Error> {
    let topics = topology.topics.iter().map(|spec| &spec.name);
    let groups = topology.groups.iter().flat_map(|spec| spec.topics.iter().map(|topic| (&*spec.name, topic)));
    names::check(topics, groups)?;
    for spec in &topology.said_to("rabbitmq").topics {
        spec.native_url("rabbitmq", TOPIC_OPTIONS)?;
        if let Some(wanted) = spec.partitions.filter(|wanted| !(1..=1024).contains(wanted)) {
            let text = format!("topic `{}` cannot have {wanted} partitions on RabbitMQ: 1 to 1024 are possible", spec.name);
            return Err(Error::new(ErrorKind::Configuration, text));
        }
    }
    Ok(())
}

impl Shared {
    pub(crate) async fn ensure(&self, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
        check(topology)?;
        topology.groups.iter().try_for_each(check_group)?;
        let topology = &topology.said_to("rabbitmq");
        let mut report = EnsureReport::default();
        for spec in &topology.topics {
            let (partitions, created) = self.ensure_topic(spec, mode).await?;
            report.partitions.push((spec.name.clone(), partitions));
            if created {
                report.created.push(spec.name.to_string());
            }
        }
        for group in &topology.groups {
            for topic in &group.topics {
                self.ensure_group(topic, &group.name, mode).await?;
            }
        }
        Ok(report)
    }

    /// The number of partitions of a topic, and whether it was made.
    async fn ensure_topic(&self, spec: &TopicSpec, mode: EnsureMode) -> Result<(u32, bool), Error> {
        let name = &spec.name;
        let present = self.find_topic(name).await?;
        let (partitions, created) = match (present, mode) {
            (Some(partitions), _) => (partitions, false),
            (None, EnsureMode::Check) => return Err(failure::no_topic(name.as_str())),
            (None, _) => {
                let wanted = spec.partitions.unwrap_or(self.options.partitions);
                // Somebody else may have been faster, with another number.
                match self.make_topic(name, wanted).await {
                    Ok(()) => (wanted, true),
                    Err(error) => (self.find_topic(name).await?.ok_or(error)?, false),
                }
            }
        };
        spec.check_partitions(partitions)?;
        self.learn_topic(name, partitions);
        Ok((partitions, created))
    }

    /// The number of partitions of a topic that has to be there.
    pub(crate) async fn partitions(&self, topic: &Topic) -> Result<u32, Error> {
        if let Some(partitions) = self.known_partitions(topic) {
            return Ok(partitions);
        }
        let partitions = self.find_topic(topic).await?.ok_or_else(|| failure::no_topic(topic.as_str()))?;
        self.learn_topic(topic, partitions);
        Ok(partitions)
    }

    /// The number of partitions of a topic, if there is such a topic.
    async fn find_topic(&self, topic: &Topic) -> Result<Option<u32>, Error> {
        let (_, channel) = self.channel().await?;
        let passive = ExchangeDeclareOptions { passive: true, ..DURABLE };
        let looked = channel.exchange_declare(topic.as_str().into(), ExchangeKind::Topic, passive, FieldTable::default());
        match self.ask("say whether an exchange exists", looked).await {
            Ok(()) => {}
            // The channel is closed with this answer.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let guess = self.options.partitions;
        match tokio::time::timeout(self.options.confirm, declare_topic(&channel, topic, guess)).await {
            Ok(Ok(())) => {
                let _ = self.ask("close a channel", channel.close(200, "done".into())).await;
                Ok(Some(guess))
            }
            Ok(Err(error)) if failure::code(&error) == Some(406) => match said_partitions(&failure::said(&error), topic) {
                Some(partitions) => Ok(Some(partitions)),
                None => {
                    let text = format!(
                        "the exchange `{topic}` exists on RabbitMQ and was not made by convoke; use another topic, or delete it"
                    );
                    Err(Error::new(ErrorKind::Configuration, text).with_source(error))
                }
            },
            Ok(Err(error)) => Err(failure::asked(&format!("say how many partitions `{topic}` has"), error)),
            Err(_) => Err(failure::down(Some("it does not answer"))),
        }
    }

    async fn make_topic(&self, topic: &Topic, partitions: u32) -> Result<(), Error> {
        let (_, channel) = self.channel().await?;
        let made = async {
            let none = FieldTable::default;
            let foreign = names::foreign_exchange(topic.as_str(), partitions);
            channel.exchange_declare(names::NOBODY.into(), ExchangeKind::Fanout, DURABLE, none()).await?;
            channel.exchange_declare(foreign.into(), ExchangeKind::Fanout, DURABLE, none()).await?;
            declare_topic(&channel, topic, partitions).await?;
            let bind = ExchangeBindOptions::default();
            channel.exchange_bind(names::NOBODY.into(), topic.as_str().into(), "p.*".into(), bind, none()).await?;
            channel.close(200, "done".into()).await
        };
        self.ask(&format!("make the topic `{topic}`"), made).await
    }

    /// Makes the queues of a group on a topic, and the one of messages without a partition.
    pub(crate) async fn ensure_group(&self, topic: &Topic, group: &str, mode: EnsureMode) -> Result<(), Error> {
        let partitions = self.partitions(topic).await?;
        if self.knows_group(topic, group, self.reading.connection()?.0) {
            return Ok(());
        }
        let (generation, channel) = self.channel().await?;
        let name = topic.as_str();
        let mut queues: Vec<_> =
            (0..partitions).map(|p| (names::queue(name, group, p), name.to_owned(), names::routing_key(p))).collect();
        queues.push((names::foreign_queue(name), names::foreign_exchange(name, partitions), String::new()));
        if mode == EnsureMode::Check {
            let looked = try_join_all(queues.iter().map(|(queue, ..)| look(&channel, queue)));
            return self.ask(&format!("find the group `{group}` on `{topic}`"), looked).await.map(drop);
        }
        let made = async {
            try_join_all(queues.into_iter().map(|(queue, exchange, key)| bind(&channel, queue, exchange, key))).await?;
            channel.close(200, "done".into()).await
        };
        self.ask(&format!("make the group `{group}` on `{topic}`"), made).await?;
        self.learn_group(topic, group, generation);
        Ok(())
    }
}

/// The queues of broadcasts, which outlive their connection but not their instance.
impl Shared {
    pub(crate) async fn ensure_instance(&self, topic: &Topic, group: &str, instance: &str) -> Result<(), Error> {
        let partitions = self.partitions(topic).await?;
        let (_, channel) = self.channel().await?;
        let (name, queue) = (topic.as_str(), names::instance_queue(topic.as_str(), group, instance));
        let made = async {
            let mut arguments = queue_arguments();
            arguments.insert("x-expires".into(), AMQPValue::LongInt(UNREAD_MS));
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(queue.as_str().into(), options, arguments).await?;
            let bound = QueueBindOptions::default();
            channel.queue_bind(queue.into(), name.into(), "p.*".into(), bound, FieldTable::default()).await?;
            bind(&channel, names::foreign_queue(name), names::foreign_exchange(name, partitions), String::new()).await?;
            channel.close(200, "done".into()).await
        };
        self.ask(&format!("make a queue for an instance of `{group}` on `{topic}`"), made).await
    }

    /// If it cannot be deleted, the server does it later.
    pub(crate) async fn delete_instance(&self, topic: &Topic, group: &str, instance: &str) {
        let Ok((_, channel)) = self.channel().await else { return };
        let queue = names::instance_queue(topic.as_str(), group, instance);
        let _ = self.ask("delete a queue", channel.queue_delete(queue.into(), QueueDeleteOptions::default())).await;
    }
}

/// Asks for a queue without changing anything.
pub(crate) async fn look(channel: &Channel, queue: &str) -> lapin::Result<Queue> {
    let options = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, FieldTable::default()).await
}

async fn bind(channel: &Channel, queue: String, exchange: String, key: String) -> lapin::Result<()> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.as_str().into(), options, queue_arguments()).await?;
    channel.queue_bind(queue.into(), exchange.into(), key.into(), QueueBindOptions::default(), FieldTable::default()).await
}

async fn declare_topic(channel: &Channel, topic: &Topic, partitions: u32) -> lapin::Result<()> {
    let mut arguments = FieldTable::default();
    let foreign = names::foreign_exchange(topic.as_str(), partitions);
    arguments.insert("alternate-exchange".into(), AMQPValue::LongString(foreign.into()));
    channel.exchange_declare(topic.as_str().into(), ExchangeKind::Topic, DURABLE, arguments).await
}

/// The number of partitions in the server's answer to a declaration with another number: it names both exchanges, the present one last.
fn said_partitions(answer: &str, topic: &Topic) -> Option<u32> {
    let quoted = answer.rsplit('\'').find(|text| text.starts_with(topic.as_str()) && text.contains(":foreign:"))?;
    let present = answer.rfind("current is").is_some_and(|at| answer[at..].contains(quoted));
    names::partitions_in(quoted, topic.as_str()).filter(|_| present)
}

/// What a group cannot be here.
fn check_group(group: &GroupSpec) -> Result<(), Error> {
    if let Some(pattern) = group.topics.iter().find(|topic| TopicPattern::new(topic.as_str()).is_some()) {
        return Err(failure::unsupported(&format!("patterns of topics (`{pattern}`)")));
    }
    check_start(group.start)
}

pub(crate) fn check_start(start: Start) -> Result<(), Error> {
    match start {
        Start::Earliest => Ok(()),
        _ => Err(failure::unsupported("a place to begin at: a group gets what is published once it exists")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_answer_says_how_many_partitions_there_are() {
        let answer = "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'a.b' in vhost '/': received the \
                      value 'a.b:foreign:8' of type 'longstr' but current is the value 'a.b:foreign:12' of type 'longstr'";
        assert_eq!(said_partitions(answer, &"a.b".into()), Some(12));
        let none = "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'a.b' in vhost '/': received the value \
                    'a.b:foreign:8' of type 'longstr' but current is none";
        assert_eq!(said_partitions(none, &"a.b".into()), None);
    }
}
