//! What clients publish to a topic that know nothing of partitions is moved to the partition of its key.
//!
//! One consumer for all processes has one message out at a time. So their order is kept, whoever moves them; and what is moved twice,
//! since the one who did so died before he could say it, has the same id, and the server keeps one of it. What is moved is deleted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};
use async_nats::jetstream::message::PublishMessage;
use convoke_broker_common::Backoff;
use convoke_core::{Error, Topic};
use futures_util::StreamExt;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::link::Link;
use crate::publish::Places;
use crate::{failure, names, topology, wire};

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

/// Moves messages of a topic for as long as it is polled.
async fn run(link: Arc<Link>, places: Arc<Places>, topic: Topic) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        if let Err(error) = session(&link, &places, &topic, &mut backoff).await {
            tracing::debug!(%topic, %error, "the router pauses");
        }
        tokio::time::sleep(backoff.failed()).await;
        let mut up = link.up.clone();
        while !link.is_up() && up.changed().await.is_ok() {}
    }
}

async fn session(link: &Link, places: &Places, topic: &Topic, backoff: &mut Backoff) -> Result<(), Error> {
    let text = || format!("what foreign clients publish to topic `{topic}` cannot be moved");
    topology::ensure_router(link, topic).await?;
    let stream = names::stream(topic.as_str());
    let subject = names::pull(&stream, names::ROUTER);
    let inbox = link.client.new_inbox();
    let mut answers = link.client.subscribe(inbox.clone()).await.map_err(|error| failure::of(text(), error))?;
    let request = format!(r#"{{"batch":1000,"expires":{},"idle_heartbeat":{}}}"#, EXPIRES.as_nanos(), HEARTBEAT.as_nanos());
    loop {
        let sent = link.client.publish_with_reply(subject.clone(), inbox.clone(), request.clone().into()).await;
        sent.map_err(|error| failure::of(text(), error))?;
        // Until the pull is over, or nothing is heard of it.
        while let Ok(Some(message)) = timeout(2 * HEARTBEAT + Duration::from_secs(1), answers.next()).await {
            match message.status.map(|status| status.as_u16()) {
                None => {
                    move_one(link, places, topic, &stream, message).await?;
                    backoff.reset();
                }
                Some(100) => {}
                Some(404 | 408) => break,
                Some(_) => return Ok(()),
            }
        }
        if !link.is_up() {
            return Ok(());
        }
    }
}

async fn move_one(link: &Link, places: &Places, topic: &Topic, stream: &str, message: async_nats::Message) -> Result<(), Error> {
    let text = || format!("a foreign message for topic `{topic}` cannot be moved to its partition; it is tried again");
    let Some(reply) = message.reply else { return Ok(()) };
    let Some(sequence) = crate::arrival::about(&reply).map(|about| about.sequence) else { return Ok(()) };
    let content = wire::message(topic, message.headers.as_ref(), message.payload.clone());
    let partitions = places.partitions(link, topic).await?;
    let partition = places.spread(content.key(), partitions);
    let mut headers = HeaderMap::new();
    for (name, values) in
        message.headers.iter().flat_map(HeaderMap::iter).filter(|(name, _)| !wire::text(name).starts_with("Nats-"))
    {
        for value in values {
            headers.append(name.clone(), value.clone());
        }
    }
    headers.insert(NATS_MESSAGE_ID, format!("{stream}:{sequence}"));
    let publish = PublishMessage::build().payload(message.payload).headers(headers);
    let answer = link.jetstream.send_publish(names::subject(topic.as_str(), partition), publish).await;
    let answer = answer.map_err(|error| failure::of(text(), error))?;
    answer.await.map_err(|error| failure::of(text(), error))?;
    // Nobody is to find it twice. Whoever did not get this far does all of it again.
    let moved = link.jetstream.get_stream_no_info(stream).await.map_err(|error| failure::of(text(), error))?;
    moved.delete_message(sequence).await.map_err(|error| failure::of(text(), error))?;
    link.client.publish(reply, "+ACK".into()).await.map_err(|error| failure::of(text(), error))
}
