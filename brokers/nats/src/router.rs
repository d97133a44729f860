//! What clients publish to a topic that know nothing of partitions is moved to the partition of its key.
//!
//! It is moved by its numbers, in batches: read, published to its partitions, and deleted. The consumer that all processes share only
//! tells one of them that there is something, and the next one when that is done or dead. Invariants:
//! 1. A batch begins with the oldest that there is, and has everything up to its last. It is deleted when all of it is confirmed.
//! 2. Of a partition one message is under way at a time: when one is not confirmed, none behind it is sent.
//! 3. What is moved twice, because whoever did so died, or is slow and two do it, has the same id, and the server keeps the first of it.
//! 4. What is too large to be written with an id is moved alone, so that whoever dies just then leaves one of them twice, and no more.
//! 5. What cannot be written into its partition at all is left where it is, and told. It is in nobody's way.
//! 6. What was to expire still does, for as long as it had left.
//!
//! By these whoever moves, and however many, sends each partition the same messages in the same order, and so that is how they are kept,
//! for as long as the server knows an id again.
//!
//! What cannot be sent to us ([`unreadable`](crate::unreadable)) ends the connection, once. From then on the consumer is not asked, but
//! the stream, again and again, until for a while there was nothing unreadable.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_nats::{Subject, Subscriber};
use convoke_broker_common::Backoff;
use convoke_core::{Error, ErrorKind, Topic};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::arrival::about;
use crate::link::Link;
use crate::moved::Moved;
use crate::publish::Places;
use crate::{consumers, failure, names, numbered};

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
    let mut progress = Progress { careful: None, left: false, from: 1, bare: None };
    loop {
        if let Err(error) = session(&link, &places, &topic, &mut backoff, &mut progress).await {
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
    progress: &mut Progress,
) -> Result<(), Error> {
    consumers::ensure_router(link, topic).await?;
    progress.begin();
    let mut bell = Bell::new(link, topic).await?;
    let mut up = link.up.clone();
    up.mark_unchanged();
    loop {
        while move_batch(link, places, topic, progress).await? {
            backoff.reset();
        }
        bell.answer(link).await?;
        tokio::select! {
            () = tokio::time::sleep(LOOK), if progress.careful.is_some_and(|until| Instant::now() < until) => {}
            rung = bell.rings(link), if progress.careful.is_none_or(|until| Instant::now() >= until) => rung?,
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

/// What a router knows beside what the server does.
#[derive(Debug)]
struct Progress {
    /// Until when the consumer is not asked.
    careful: Option<Instant>,
    /// Whether something was left where it is since it began to read; and then, below which number all is moved or left.
    left: bool,
    from: u64,
    /// What was moved last without an id, and is not to be sent again if only its deletion fails.
    bare: Option<(u64, SystemTime)>,
}

impl Progress {
    fn begin(&mut self) {
        (self.left, self.from) = (false, 1);
    }

    /// A message stays where it is, and what is behind it goes on.
    fn leave(&mut self, topic: &Topic, sequence: u64) {
        tracing::error!(
            %topic, sequence,
            "a foreign message is too large to be written into its partition: it stays where it is, nobody reads it, and what is \
             behind it goes on; raise the server's `max_payload` and start again, or take the message out (`nats stream rmm`)"
        );
        self.left = true;
    }
}

/// Moves the oldest there are. `false` if there is nothing.
async fn move_batch(link: &Link, places: &Places, topic: &Topic, progress: &mut Progress) -> Result<bool, Error> {
    let stream = names::stream(topic.as_str());
    let (mut queues, mut from, mut bytes) = (BTreeMap::<u32, Vec<Moved>>::new(), progress.from, 0);
    let (mut moved, mut bare) = (Vec::new(), None);
    for _each in 0..BATCH {
        if bytes >= BATCH_BYTES {
            break;
        }
        let Some(one) = numbered::next(link, &stream, topic.as_str(), from).await? else { break };
        let (sequence, published) = (one.sequence, one.published);
        if !one.is_readable() {
            tracing::warn!(%topic, sequence, "the headers of a foreign message cannot be read; it is moved by its number");
            progress.careful = Some(Instant::now() + CAREFUL);
        }
        let (key, one) = Moved::new(link, topic, &stream, &one)?;
        let Some(one) = one else {
            progress.leave(topic, sequence);
            from = sequence + 1;
            continue;
        };
        if one.expires {
            places.mark_if_can(link, topic).await?;
        }
        bare = (!one.known).then_some((sequence, published));
        if bare.is_some() && !moved.is_empty() {
            bare = None;
            break;
        }
        moved.push(sequence);
        from = sequence + 1;
        if bare.is_none() || bare != progress.bare {
            bytes += one.size();
            let partition = places.spread(key.as_ref(), places.partitions(link, topic).await?);
            queues.entry(partition).or_default().push(one);
        }
        if bare.is_some() {
            break;
        }
    }
    if from == progress.from {
        return Ok(false);
    }
    let each = queues.into_iter().map(|(partition, queue)| async move {
        let mut refused = Vec::new();
        for one in queue {
            let sequence = one.sequence;
            if !one.send(link, topic, partition).await? {
                refused.push(sequence);
            }
        }
        Ok::<_, Error>(refused)
    });
    for sequence in try_join_all(each).await?.into_iter().flatten() {
        progress.leave(topic, sequence);
        moved.retain(|moved| *moved != sequence);
    }
    progress.bare = bare.or(progress.bare);
    // Nobody is to find them twice. Whoever did not get this far does all of it again.
    let upto = if progress.left { None } else { Some(from) };
    delete(link, topic, &stream, upto, moved).await?;
    if progress.left {
        progress.from = from;
    }
    Ok(true)
}

/// Deletes what was moved: everything below a number; or each by itself, where something is left among them.
async fn delete(link: &Link, topic: &Topic, stream: &str, upto: Option<u64>, moved: Vec<u64>) -> Result<(), Error> {
    let text = || format!("what was moved of topic `{topic}` cannot be deleted; it is tried again");
    let handle = link.jetstream.get_stream_no_info(stream).await.map_err(|error| failure::of(text(), error))?;
    if let Some(upto) = upto {
        let purged = handle.purge().filter(topic.as_str()).sequence(upto).await;
        return purged.map(drop).map_err(|error| failure::of(text(), error));
    }
    for sequence in moved {
        if let Err(error) = handle.delete_message(sequence).await
            // Unless somebody else was faster.
            && numbered::at(link, stream, sequence).await?.is_some()
        {
            return Err(failure::of(text(), error));
        }
    }
    Ok(())
}
