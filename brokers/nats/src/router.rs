//! What clients publish to a topic that know nothing of partitions is moved to the partition of its key.
//!
//! It is moved by its numbers, in batches: read, published to its partitions, and deleted. The consumer that all processes share only
//! tells one of them that there is something, and the next one when that is done or dead. Invariants:
//! 1. A batch begins with the oldest that there is, and has everything up to its last. It is deleted when all of it is confirmed.
//! 2. Of a partition one message is under way at a time: when one is not confirmed, none behind it is sent.
//! 3. What is moved twice, because whoever did so died, or is slow and two do it, has the same id, and the server keeps the first of it.
//!
//! By these whoever moves, and however many, sends each partition the same messages in the same order, and so that is how they are kept,
//! for as long as the server knows an id again.
//!
//! What cannot be sent to us ([`unreadable`](crate::unreadable)) ends the connection, once. From then on the consumer is not asked, but
//! the stream, again and again, until for a while there was nothing unreadable.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{Subject, Subscriber};
use bytes::Bytes;
use convoke_broker_common::Backoff;
use convoke_core::{Error, ErrorKind, Topic};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
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

/// The most that is moved at once: so many messages, or the one with which there are so many bytes.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 << 20;

/// For how long the consumer is not asked after a message that is unreadable, and how often it is looked for others.
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
    topology::ensure_router(link, topic).await?;
    let mut bell = Bell::new(link, topic).await?;
    let mut up = link.up.clone();
    up.mark_unchanged();
    loop {
        while move_batch(link, places, topic, careful).await? {
            backoff.reset();
        }
        bell.answer(link).await?;
        tokio::select! {
            () = tokio::time::sleep(LOOK), if careful.is_some_and(|until| Instant::now() < until) => {}
            rung = bell.rings(link), if careful.is_none_or(|until| Instant::now() >= until) => rung?,
            _ = up.changed() => return Ok(()),
        }
    }
}

/// The consumer, which says that there is something to be moved.
struct Bell {
    text: String,
    pull: String,
    inbox: String,
    answers: Subscriber,
    /// Where to say that it was heard.
    rung: Option<Subject>,
}

impl Bell {
    async fn new(link: &Link, topic: &Topic) -> Result<Self, Error> {
        let text = format!("what foreign clients publish to topic `{topic}` cannot be moved");
        let pull = names::pull(&names::stream(topic.as_str()), names::ROUTER);
        let inbox = link.client.new_inbox();
        let answers = link.client.subscribe(inbox.clone()).await.map_err(|error| failure::of(text.clone(), error))?;
        Ok(Self { text, pull, inbox, answers, rung: None })
    }

    /// Returns when there is something, or when it is time to look all the same.
    async fn rings(&mut self, link: &Link) -> Result<(), Error> {
        let request = format!(r#"{{"batch":1,"expires":{},"idle_heartbeat":{}}}"#, EXPIRES.as_nanos(), HEARTBEAT.as_nanos());
        let sent = link.client.publish_with_reply(self.pull.clone(), self.inbox.clone(), request.into()).await;
        sent.map_err(|error| failure::of(self.text.clone(), error))?;
        while let Ok(Some(message)) = timeout(2 * HEARTBEAT + Duration::from_secs(1), self.answers.next()).await {
            // Who publishes can write a status, too.
            if message.reply.as_deref().and_then(about).is_some() {
                self.rung = message.reply;
                break;
            }
            match message.status.map(|status| status.as_u16()) {
                None | Some(100) => {}
                Some(404 | 408) => break,
                Some(_) => return Err(Error::new(ErrorKind::Connection, self.text.clone())),
            }
        }
        Ok(())
    }

    /// What it rang for is moved.
    async fn answer(&mut self, link: &Link) -> Result<(), Error> {
        match self.rung.take() {
            Some(reply) => link.send(reply, None, "+ACK".into()).await,
            None => Ok(()),
        }
    }
}

/// A message on its way to its partition.
struct Moved {
    /// Where it was.
    sequence: u64,
    headers: HeaderMap,
    payload: Bytes,
}

/// Moves the oldest there are. `false` if there is nothing.
async fn move_batch(link: &Link, places: &Places, topic: &Topic, careful: &mut Option<Instant>) -> Result<bool, Error> {
    let text = || format!("foreign messages for topic `{topic}` cannot be moved to their partitions; it is tried again");
    let stream = names::stream(topic.as_str());
    let (mut queues, mut from, mut bytes) = (BTreeMap::<u32, Vec<Moved>>::new(), 1, 0);
    for _each in 0..BATCH {
        if bytes >= BATCH_BYTES {
            break;
        }
        let Some(one) = numbered::next(link, &stream, topic.as_str(), from).await? else { break };
        let sequence = one.sequence;
        if !one.is_readable() {
            tracing::warn!(%topic, sequence, "the headers of a foreign message cannot be read; it is moved by its number");
            *careful = Some(Instant::now() + CAREFUL);
        }
        // As we write it ourselves, so that it can be read in its partition.
        let content = one.message(topic);
        bytes += content.size();
        let partition = places.spread(content.key(), places.partitions(link, topic).await?);
        let mut headers = wire::headers(&content)?;
        headers.insert(NATS_MESSAGE_ID, format!("{stream}:{sequence}"));
        queues.entry(partition).or_default().push(Moved { sequence, headers, payload: content.payload().clone() });
        from = sequence + 1;
    }
    if queues.is_empty() {
        return Ok(false);
    }
    let each = queues.into_iter().map(|(partition, queue)| async move {
        for Moved { sequence, headers, payload } in queue {
            let publish = PublishMessage::build().payload(payload).headers(headers);
            let sent = link.jetstream.send_publish(names::subject(topic.as_str(), partition), publish).await;
            let answer = sent.map_err(|error| failure::of(text(), error))?;
            answer.await.map_err(|error| failure::of(format!("{} (number {sequence})", text()), error))?;
        }
        Ok::<_, Error>(())
    });
    try_join_all(each).await?;
    // Nobody is to find them twice. Whoever did not get this far does all of it again.
    let moved = link.jetstream.get_stream_no_info(&stream).await.map_err(|error| failure::of(text(), error))?;
    let purged = moved.purge().filter(topic.as_str()).sequence(from).await;
    purged.map(|_| true).map_err(|error| failure::of(text(), error))
}
