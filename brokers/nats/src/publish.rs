//! Publishing: all of a batch on its way before the first answer is waited for, and one deadline for all.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

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
use crate::{expiry, names, schedule, topology, wire};

/// How long a mark before what expires is taken to be there.
const MARK_AGAIN: Duration = Duration::from_secs(3600);

/// What publishing remembers of topics: how many partitions they have, which never changes.
#[derive(Debug, Default)]
pub(crate) struct Places {
    known: RwLock<HashMap<Topic, Found>>,
    /// When there was seen to be a mark before what expires.
    marked: RwLock<HashMap<Topic, Instant>>,
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

    /// Whether the stream of a topic can do something.
    async fn check(&self, link: &Link, topic: &Topic, can: impl Fn(Found) -> Result<(), Error>) -> Result<(), Error> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(topic).copied();
        if known.is_some_and(|found| can(found).is_ok()) {
            return Ok(());
        }
        can(self.look(link, topic).await?)
    }

    /// Sees to it that the stream of a topic holds the mark before what expires. Limits may have taken an old one away.
    async fn mark(&self, link: &Link, topic: &Topic) -> Result<(), Error> {
        let marked = self.marked.read().unwrap_or_else(PoisonError::into_inner).get(topic).copied();
        if marked.is_none_or(|at| at.elapsed() > MARK_AGAIN) {
            expiry::mark(link, topic).await?;
            self.marked.write().unwrap_or_else(PoisonError::into_inner).insert(topic.clone(), Instant::now());
        }
        Ok(())
    }

    /// The same, where the stream has room for it.
    pub(crate) async fn mark_if_can(&self, link: &Link, topic: &Topic) -> Result<(), Error> {
        let found = self.known.read().unwrap_or_else(PoisonError::into_inner).get(topic).copied();
        if found.is_some_and(|found| found.expiry) { self.mark(link, topic).await } else { Ok(()) }
    }

    /// Whether a message may expire, and is not the first of what is left if all others do.
    async fn check_expiry(&self, link: &Link, topic: &Topic) -> Result<(), Error> {
        self.check(link, topic, |found| expiry::check(topic, found)).await?;
        self.mark(link, topic).await
    }

    pub(crate) fn spread(&self, key: Option<&convoke_core::Key>, partitions: u32) -> u32 {
        self.spread.partition(key, partitions)
    }

    pub(crate) fn forget(&self, topic: &Topic) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
        self.marked.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
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
    if let Some(what) = unsupported(link, &outgoing) {
        let text = format!("NATS does not offer {what} here; publish without it");
        return Err(refused(Error::new(ErrorKind::Unsupported, text)));
    }
    let (due, life) = (outgoing.deliver_at, outgoing.lifetime(SystemTime::now()).map_err(refused)?);
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
    let partitions = in_time(deadline, &topic, places.partitions(link, &topic)).await?;
    let partition = places.spread.partition(message.key(), partitions);
    let id = message.id().unwrap_or_default().to_owned();
    let mut headers = wire::headers(&message).map_err(refused)?;
    let mut subject = names::subject(topic.as_str(), partition);
    if let Some(life) = life {
        in_time(deadline, &topic, places.check_expiry(link, &topic)).await?;
        expiry::write(&mut headers, life, due.is_some());
    }
    if let Some(due) = due {
        in_time(deadline, &topic, places.check(link, &topic, |found| schedule::check(&topic, found, due))).await?;
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
        Err(_) => Err(late(&topic)),
    }
}

/// What has to be known before a message is sent.
async fn in_time<T>(
    deadline: Instant,
    topic: &Topic,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, PublishOutcome> {
    match timeout_at(deadline, asked).await {
        Ok(answer) => answer.map_err(|error| PublishOutcome::Rejected { retryable: error.is_retryable(), error }),
        Err(_) => Err(late(topic)),
    }
}

fn late(topic: &Topic) -> PublishOutcome {
    let text = format!("a message for `{topic}` did not get onto the connection in time; try again");
    PublishOutcome::Rejected { retryable: true, error: Error::new(ErrorKind::Timeout, text) }
}

/// What this adapter cannot do with a message.
fn unsupported(link: &Link, outgoing: &Outgoing) -> Option<&'static str> {
    match outgoing {
        Outgoing { deliver_at: Some(_), .. } if !link.keeps_schedules() => {
            Some("delayed publishing (its server is older than 2.12)")
        }
        Outgoing { expires_at: Some(_), .. } if !link.lets_expire() => Some("an expiry (its server is older than 2.11)"),
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
