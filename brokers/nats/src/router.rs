//! What clients publish to a topic that know nothing of partitions is moved to the partition of its key.
//!
//! One consumer for all processes has one message out at a time. So their order is kept, whoever moves them; and what is moved twice,
//! since the one who did so died before he could say it, has the same id, and the server keeps one of it. What is moved is deleted.
//!
//! What cannot be sent to us ([`unreadable`](crate::unreadable)) ends the connection, once. Then what is there is moved by its numbers,
//! one after the other, without being sent: for that, order needs no consumer, since the next one is looked for when the one before is
//! deleted. This goes on until for a while there was nothing unreadable.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use convoke_broker_common::Backoff;
use convoke_core::{Error, Key, Topic};
use futures_util::StreamExt;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::arrival::about;
use crate::link::Link;
use crate::publish::Places;
use crate::{failure, names, numbered, topology, wire};

/// The routers of a connection: one for each topic that anybody reads.
#[derive(Debug, Default)]
pub(crate) struct Routers(Mutex<HashMap<Topic, AbortHandle>>);

impl Routers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Topic, AbortHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what foreign clients publish to a topic, from now until the connection is closed.
    pub(crate) fn route(&self, link: &Arc<Link>, places: &Arc<Places>, topic: &Topic) {
        let begin = |topic: &Topic| tokio::spawn(run(Arc::clone(link), Arc::clone(places), topic.clone())).abort_handle();
        self.lock().entry(topic.clone()).or_insert_with_key(begin);
    }

    pub(crate) fn stop(&self, topic: &Topic) {
        if let Some(router) = self.lock().remove(topic) {
            router.abort();
        }
    }

    pub(crate) fn stop_all(&self) {
        for (_, router) in self.lock().drain() {
            router.abort();
        }
    }
}

/// How long a pull lasts.
const EXPIRES: Duration = Duration::from_secs(10);

/// How often the server says of an idle pull that it is waiting.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// For how long messages are moved by their numbers after one that is unreadable, and how often it is looked for them.
const CAREFUL: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(100);

/// Moves messages of a topic for as long as it is polled.
async fn run(link: Arc<Link>, places: Arc<Places>, topic: Topic) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut careful = None;
    loop {
        if let Err(error) = session(&link, &places, &topic, &mut backoff, &mut careful).await {
            tracing::debug!(%topic, %error, "the router pauses");
        }
        tokio::time::sleep(backoff.failed()).await;
        let mut up = link.up.clone();
        while !link.is_up() && up.changed().await.is_ok() {}
    }
}

async fn session(
    link: &Link,
    places: &Places,
    topic: &Topic,
    backoff: &mut Backoff,
    careful: &mut Option<Instant>,
) -> Result<(), Error> {
    let text = || format!("what foreign clients publish to topic `{topic}` cannot be moved");
    topology::ensure_router(link, topic).await?;
    let stream = names::stream(topic.as_str());
    let subject = names::pull(&stream, names::ROUTER);
    let inbox = link.client.new_inbox();
    let mut answers = link.client.subscribe(inbox.clone()).await.map_err(|error| failure::of(text(), error))?;
    let request = format!(r#"{{"batch":1000,"expires":{},"idle_heartbeat":{}}}"#, EXPIRES.as_nanos(), HEARTBEAT.as_nanos());
    let mut up = link.up.clone();
    up.mark_unchanged();
    loop {
        move_by_number(link, places, topic, &stream, careful).await?;
        let sent = link.client.publish_with_reply(subject.clone(), inbox.clone(), request.clone().into()).await;
        sent.map_err(|error| failure::of(text(), error))?;
        // Until the pull is over, or nothing is heard of it.
        loop {
            let message = tokio::select! {
                message = timeout(2 * HEARTBEAT + Duration::from_secs(1), answers.next()) => message,
                _ = up.changed() => return Ok(()),
            };
            let Ok(Some(message)) = message else { break };
            // Who publishes can write a status, too.
            if let Some(about) = message.reply.as_deref().and_then(about) {
                move_one(link, places, topic, about.sequence, message).await?;
                backoff.reset();
                continue;
            }
            match message.status.map(|status| status.as_u16()) {
                None | Some(100) => {}
                Some(404 | 408) => break,
                Some(_) => return Ok(()),
            }
        }
        if !link.is_up() {
            return Ok(());
        }
    }
}

/// Moves what stands in front, if it cannot be sent to us; and everything, for as long as there is some of that kind.
async fn move_by_number(
    link: &Link,
    places: &Places,
    topic: &Topic,
    stream: &str,
    careful: &mut Option<Instant>,
) -> Result<(), Error> {
    loop {
        let Some(one) = numbered::next(link, stream, topic.as_str(), 1).await? else {
            if careful.is_none_or(|until| Instant::now() > until) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let sequence = one.sequence;
        if !one.is_readable() {
            tracing::warn!(%topic, sequence, "the headers of a foreign message cannot be read; it is moved by its number");
            *careful = Some(Instant::now() + CAREFUL);
        } else if careful.is_none_or(|until| Instant::now() > until) {
            return Ok(());
        }
        // As we write it ourselves, so that it can be read in its partition.
        let content = one.message(topic);
        let headers = wire::headers(&content)?;
        move_to(link, places, content.key(), Moved { topic, sequence, headers, payload: content.payload().clone() }).await?;
        // It may have been out.
        let done = format!("$JS.ACK.{stream}.{}.1.{sequence}.0.0.0", names::ROUTER);
        link.send(done.into(), None, "+ACK".into()).await?;
    }
}

async fn move_one(link: &Link, places: &Places, topic: &Topic, sequence: u64, message: async_nats::Message) -> Result<(), Error> {
    let Some(reply) = message.reply else { return Ok(()) };
    let content = wire::message(topic, message.headers.as_ref(), message.payload.clone());
    let mut headers = HeaderMap::new();
    for (name, values) in
        message.headers.iter().flat_map(HeaderMap::iter).filter(|(name, _)| !wire::text(name).starts_with("Nats-"))
    {
        for value in values {
            headers.append(name.clone(), value.clone());
        }
    }
    move_to(link, places, content.key(), Moved { topic, sequence, headers, payload: message.payload }).await?;
    link.send(reply, None, "+ACK".into()).await
}

/// A message on its way to its partition.
struct Moved<'t> {
    topic: &'t Topic,
    /// Where it was.
    sequence: u64,
    headers: HeaderMap,
    payload: Bytes,
}

async fn move_to(link: &Link, places: &Places, key: Option<&Key>, moved: Moved<'_>) -> Result<(), Error> {
    let Moved { topic, sequence, mut headers, payload } = moved;
    let text = || format!("a foreign message for topic `{topic}` cannot be moved to its partition; it is tried again");
    let stream = names::stream(topic.as_str());
    let partition = places.spread(key, places.partitions(link, topic).await?);
    headers.insert(NATS_MESSAGE_ID, format!("{stream}:{sequence}"));
    let publish = PublishMessage::build().payload(payload).headers(headers);
    let answer = link.jetstream.send_publish(names::subject(topic.as_str(), partition), publish).await;
    let answer = answer.map_err(|error| failure::of(text(), error))?;
    answer.await.map_err(|error| failure::of(text(), error))?;
    // Nobody is to find it twice. Whoever did not get this far does all of it again.
    let moved = link.jetstream.get_stream_no_info(stream).await.map_err(|error| failure::of(text(), error))?;
    let deleted = moved.delete_message(sequence).await;
    deleted.map(drop).map_err(|error| failure::of(text(), error))
}
