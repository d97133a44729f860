//! Publishing: all of a batch on its way before the first answer is waited for, and one deadline for all.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use convoke_broker_common::DEATH_ROOM;
use convoke_broker_common::Spread;
use convoke_core::broker::{Durability, PublishOutcome};
use convoke_core::cloudevents::new_id;
use convoke_core::{Error, ErrorKind, Outgoing, Position, Receipt, Topic};
use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use crate::link::Link;
use crate::topology::Found;
use crate::{names, schedule, topology, wire};

/// What publishing remembers of topics: how many partitions they have, which never changes.
#[derive(Debug, Default)]
pub(crate) struct Places {
    known: RwLock<HashMap<Topic, Found>>,
    spread: Spread,
}

impl Places {
    pub(crate) async fn partitions(&self, link: &Link, topic: &Topic) -> Result<u32, Error> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(topic).copied();
        match known {
            Some(found) => Ok(found.partitions),
            None => Ok(self.look(link, topic).await?.partitions),
        }
    }

    /// What is there of a topic now: its stream may have been changed.
    async fn look(&self, link: &Link, topic: &Topic) -> Result<Found, Error> {
        names::check_topic(topic.as_str())?;
        let found = topology::found(link, topic).await?.ok_or_else(|| topology::no_topic(topic))?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(topic.clone(), found);
        Ok(found)
    }

    /// Whether a message can be published that is due then.
    async fn check_due(&self, link: &Link, topic: &Topic, due: SystemTime) -> Result<(), Error> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(topic).copied();
        if known.is_some_and(|found| schedule::check(topic, found, due).is_ok()) {
            return Ok(());
        }
        schedule::check(topic, self.look(link, topic).await?, due)
    }

    pub(crate) fn spread(&self, key: Option<&convoke_core::Key>, partitions: u32) -> u32 {
        self.spread.partition(key, partitions)
    }

    pub(crate) fn forget(&self, topic: &Topic) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }
}

/// Publishes a batch. The answers are as many as the messages.
pub(crate) async fn publish(link: &Link, places: &Places, batch: Vec<Outgoing>) -> Vec<PublishOutcome> {
    let deadline = Instant::now() + link.options.timeout;
    let mut sent = Vec::with_capacity(batch.len());
    for outgoing in batch {
        sent.push(send(link, places, outgoing, deadline).await);
    }
    // Each answer has a time-out of its own that begins when it is first looked at: so all are looked at together.
    join_all(sent.into_iter().map(|sent| async move {
        match sent {
            Err(outcome) => outcome,
            Ok(sent) => sent.answer(places, deadline).await,
        }
    }))
    .await
}

/// A message that is on its way.
struct Sent {
    id: String,
    topic: Topic,
    /// None yet, if it is not due.
    partition: Option<u32>,
    answer: async_nats::jetstream::context::PublishAckFuture,
}

async fn send(link: &Link, places: &Places, outgoing: Outgoing, deadline: Instant) -> Result<Sent, PublishOutcome> {
    if link.is_closed() {
        let error = Error::new(ErrorKind::Closed, "this connection is closed; open another");
        return Err(PublishOutcome::Rejected { retryable: false, error });
    }
    if !link.is_up() {
        return Err(PublishOutcome::Rejected { retryable: true, error: link.lost() });
    }
    let refused = |error| PublishOutcome::Rejected { retryable: false, error };
    let never_sent = |error| PublishOutcome::Rejected { retryable: true, error };
    if let Some(what) = unsupported(link, &outgoing) {
        let text = format!("NATS does not offer {what} here; publish without it");
        return Err(refused(Error::new(ErrorKind::Unsupported, text)));
    }
    let due = outgoing.deliver_at;
    // What is only copied (a dead letter, a redrive) may be as large as the server takes: there it came from.
    let (most, room) = if outgoing.verbatim { (usize::MAX, 0) } else { (link.max_message(), DEATH_ROOM) };
    let message = outgoing.message;
    let topic = message.topic().clone();
    if message.size() > most {
        let text = format!(
            "the message for `{topic}` has {} bytes, and NATS takes {most} here; send less, or raise its `max_payload`",
            message.size(),
        );
        return Err(refused(Error::new(ErrorKind::TooLarge, text)));
    }
    let late =
        || Error::new(ErrorKind::Timeout, format!("a message for `{topic}` did not get onto the connection in time; try again"));
    let partitions = match timeout_at(deadline, places.partitions(link, &topic)).await {
        Ok(Ok(partitions)) => partitions,
        Ok(Err(error)) => return Err(PublishOutcome::Rejected { retryable: error.is_retryable(), error }),
        Err(_) => return Err(never_sent(late())),
    };
    let partition = places.spread.partition(message.key(), partitions);
    let id = message.id().unwrap_or_default().to_owned();
    let mut headers = wire::headers(&message).map_err(refused)?;
    let mut subject = names::subject(topic.as_str(), partition);
    if let Some(due) = due {
        match timeout_at(deadline, places.check_due(link, &topic, due)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(PublishOutcome::Rejected { retryable: error.is_retryable(), error }),
            Err(_) => return Err(never_sent(late())),
        }
        schedule::write(&mut headers, due, subject);
        let id = wire::deduplication_id(&message).unwrap_or_else(new_id);
        subject = names::schedule(topic.as_str(), &id);
    }
    if !link.takes(wire::size(&headers) + room, message.payload().len()) {
        return Err(refused(too_large(&topic)));
    }
    let publish = PublishMessage::build().payload(message.payload().clone()).headers(headers);
    match timeout_at(deadline, link.jetstream.send_publish(subject, publish)).await {
        Ok(Ok(answer)) => Ok(Sent { id, topic, partition: due.is_none().then_some(partition), answer }),
        Ok(Err(error)) => Err(failed(&topic, error)),
        Err(_) => Err(never_sent(late())),
    }
}

/// What this adapter cannot do with a message.
fn unsupported(link: &Link, outgoing: &Outgoing) -> Option<&'static str> {
    match outgoing {
        Outgoing { deliver_at: Some(_), .. } if !link.keeps_schedules() => {
            Some("delayed publishing (its server is older than 2.12)")
        }
        Outgoing { expires_at: Some(_), .. } => Some("an expiry"),
        Outgoing { reply_to: Some(_), .. } => Some("a reply-to"),
        _ => None,
    }
}

impl Sent {
    async fn answer(self, places: &Places, deadline: Instant) -> PublishOutcome {
        let Self { id, topic, partition, answer } = self;
        match timeout_at(deadline, answer).await {
            Ok(Ok(taken)) => {
                let stored = partition.map(|partition| (partition, Position::Offset(taken.sequence)));
                let mut receipt = Receipt::new(id, stored, Durability::Accepted);
                receipt.duplicate = taken.duplicate;
                PublishOutcome::Confirmed(receipt)
            }
            Ok(Err(error)) => {
                if error.kind() == PublishErrorKind::StreamNotFound {
                    places.forget(&topic);
                }
                failed(&topic, error)
            }
            Err(_) => PublishOutcome::Unknown(unanswered(&topic)),
        }
    }
}

fn unanswered(topic: &Topic) -> Error {
    Error::new(ErrorKind::Unknown, format!("no answer came to a message for `{topic}`: it may have been stored"))
}

fn too_large(topic: &Topic) -> Error {
    let text = format!(
        "the message for `{topic}` is larger with its headers than the server takes (they have 64 KiB at most); send less, or raise \
         its `max_payload`"
    );
    Error::new(ErrorKind::TooLarge, text)
}

fn failed(topic: &Topic, error: PublishError) -> PublishOutcome {
    let refused = |retryable, kind, text: String| PublishOutcome::Rejected { retryable, error: Error::new(kind, text) };
    match error.kind() {
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
            PublishOutcome::Unknown(unanswered(topic).with_source(error))
        }
        // Nobody took it: the stream is gone, or the server has not opened it again after a start.
        PublishErrorKind::StreamNotFound => refused(
            true,
            ErrorKind::NotFound,
            format!("no stream takes messages for `{topic}` now; create the topic, or wait until the server has opened it"),
        ),
        PublishErrorKind::MaxPayloadExceeded => PublishOutcome::Rejected { retryable: false, error: too_large(topic) },
        _ => {
            let text = format!("NATS refused a message for `{topic}`");
            let kind = crate::failure::kind_of(&error, ErrorKind::Rejected);
            let retryable = kind == ErrorKind::Connection;
            PublishOutcome::Rejected { retryable, error: Error::new(kind, text).with_source(error) }
        }
    }
}
