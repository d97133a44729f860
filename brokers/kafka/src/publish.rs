//! Publishing: an idempotent producer, and an answer for each message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use convoke_core::broker::{Durability, PublishOutcome};
use convoke_core::{Error, ErrorKind, Message, Outgoing, Position, Receipt, Topic};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::asking::Asking;
use crate::client::{Link, Plain, lock};
use crate::errors::{self, no_topic};
use crate::options::Options;
use crate::stranded::{self, Answer, Sight};
use crate::{config, record};

/// Below librdkafka's own queue (100 000), whose being full is answered by an error.
const UNDER_WAY: u32 = 50_000;
const ASK: Duration = Duration::from_secs(3);

pub(crate) struct Publishing {
    options: Options,
    app: String,
    link: Arc<Link>,
    pub(crate) asking: Arc<Asking>,
    /// Made with the first message, and anew when it has failed for good.
    producer: Mutex<Option<FutureProducer<Plain>>>,
    sight: Mutex<Sight>,
    topics: RwLock<HashMap<Topic, Kept>>,
    room: Semaphore,
}

/// What is known of a topic.
#[derive(Debug, Clone, Copy)]
struct Kept {
    replicated: bool,
}

/// A message that is on its way, or the answer.
enum Sent<'a> {
    Waits(DeliveryFuture, SemaphorePermit<'a>),
    Answered(PublishOutcome),
}

impl Publishing {
    pub(crate) fn new(options: Options, app: String, link: Arc<Link>, asking: Arc<Asking>) -> Self {
        let (producer, sight, topics) = (Mutex::default(), Mutex::default(), RwLock::default());
        Self { options, app, link, asking, producer, sight, topics, room: Semaphore::new(UNDER_WAY as usize) }
    }

    /// The producer that is in use, if any was needed so far.
    pub(crate) fn producer(&self) -> Result<FutureProducer<Plain>, Error> {
        let mut place = lock(&self.producer);
        if let Some(producer) = place.as_ref() {
            if producer.client().fatal_error().is_none() {
                return Ok(producer.clone());
            }
            tracing::warn!("the Kafka producer has failed for good, and is made anew");
        }
        let config = config::producer(&self.options, &self.app);
        let producer: FutureProducer<Plain> =
            config.create_with_context(Plain(Arc::clone(&self.link))).map_err(|error| config::refused(&error))?;
        *lock(&self.sight) = Sight::default();
        *place = Some(producer.clone());
        Ok(producer)
    }

    /// The servers are away.
    pub(crate) fn excuse(&self) {
        lock(&self.sight).excuse();
    }

    /// Asks the producer, while the servers are there, whether it finds them too. Blocks.
    pub(crate) fn look(&self) {
        let Some(producer) = lock(&self.producer).clone() else { return };
        let answer = stranded::ask(producer.client(), Duration::from_millis(500));
        self.replace_if_stranded(&answer, Instant::now());
    }

    /// Gives the producer up if it has lost sight of the servers, which are there: the next message has another. What is under way in
    /// it is answered with not being known.
    fn replace_if_stranded(&self, answer: &Answer, now: Instant) {
        if lock(&self.sight).note(answer, now) {
            tracing::warn!("the Kafka producer has lost sight of the servers, which are there, and is made anew");
            *lock(&self.producer) = None;
        }
    }

    /// Waits for what is under way, and gives the producer up. Says how much is not confirmed.
    pub(crate) async fn close(&self, within: Duration) -> u64 {
        // All permits are there once nothing is under way; and who wants one meanwhile waits behind this.
        let all = tokio::time::timeout(within, self.room.acquire_many(UNDER_WAY)).await;
        let left = if all.is_ok() { 0 } else { UNDER_WAY as usize - self.room.available_permits() };
        self.room.close();
        drop(all);
        let producer = lock(&self.producer).take();
        // Its threads are waited for.
        drop(tokio::task::spawn_blocking(move || drop(producer)));
        left as u64
    }

    pub(crate) async fn publish(&self, batch: Vec<Outgoing>) -> Vec<PublishOutcome> {
        let mut sent = Vec::with_capacity(batch.len());
        let messages: Vec<Message> = batch.into_iter().map(|outgoing| outgoing.message).collect();
        for message in &messages {
            sent.push(self.send(message).await);
        }
        let mut outcomes = Vec::with_capacity(sent.len());
        let mut alone = Vec::new();
        for (sent, message) in sent.into_iter().zip(&messages) {
            let outcome = self.answer(sent, message).await;
            if matches!(&outcome, PublishOutcome::Rejected { error, .. } if error.kind() == ErrorKind::TooLarge)
                && message.size() <= self.options.max_message
            {
                alone.push(outcomes.len());
            }
            outcomes.push(outcome);
        }
        // Small messages fail together, where the topic's limit is below the size of a batch: each may pass alone.
        for index in alone {
            let sent = self.send(&messages[index]).await;
            outcomes[index] = self.answer(sent, &messages[index]).await;
        }
        outcomes
    }

    async fn send(&self, message: &Message) -> Sent<'_> {
        let refused = |retryable, error| Sent::Answered(PublishOutcome::Rejected { retryable, error });
        let (topic, size, most) = (message.topic(), message.size(), self.options.max_message);
        if size > most {
            let text = format!(
                "a message of {size} bytes for `{topic}` is over the limit of {most} bytes; raise `max_message` in the URL"
            );
            return refused(false, Error::new(ErrorKind::TooLarge, text));
        }
        if let Err(error) = self.known(topic).await {
            return refused(error.is_retryable(), error);
        }
        let Ok(permit) = self.room.acquire().await else { return refused(false, closed()) };
        loop {
            // Which one it is may change while this waits.
            let producer = match self.producer() {
                Ok(producer) => producer,
                Err(error) => return refused(false, error),
            };
            let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic.as_str());
            record.headers = record::headers_out(message);
            record.key = message.key().map(|key| key.as_bytes());
            record.payload = (!message.is_tombstone()).then(|| message.payload().as_ref());
            match producer.send_result(record) {
                Ok(delivery) => return Sent::Waits(delivery, permit),
                // In bytes, as the number is below.
                Err((KafkaError::MessageProduction(Code::QueueFull), _)) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err((error, _)) => return Sent::Answered(self.failed(topic, &error)),
            }
        }
    }

    async fn answer(&self, sent: Sent<'_>, message: &Message) -> PublishOutcome {
        let (delivery, _permit) = match sent {
            Sent::Waits(delivery, permit) => (delivery, permit),
            Sent::Answered(outcome) => return outcome,
        };
        let topic = message.topic();
        match delivery.await {
            Ok(Ok(delivery)) => {
                let place = u32::try_from(delivery.partition).ok().zip(u64::try_from(delivery.offset).ok());
                let stored = place.map(|(partition, offset)| (partition, Position::Offset(offset)));
                let durability = if self.is_replicated(topic) { Durability::Replicated } else { Durability::Accepted };
                PublishOutcome::Confirmed(Receipt::new(message.id().unwrap_or_default(), stored, durability))
            }
            Ok(Err((error, _))) => self.failed(topic, &error),
            Err(_) if self.link.is_closed() => PublishOutcome::Unknown(closed()),
            Err(_) => PublishOutcome::Unknown(Error::new(ErrorKind::Unknown, errors::may_be_stored(topic))),
        }
    }

    fn failed(&self, topic: &Topic, error: &KafkaError) -> PublishOutcome {
        if errors::kind(error.rdkafka_error_code()) == ErrorKind::NotFound {
            // It is asked for again by the next message.
            self.topics.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(topic);
        }
        errors::outcome(topic, error)
    }

    fn is_replicated(&self, topic: &Topic) -> bool {
        let topics = self.topics.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        topics.get(topic).is_some_and(|kept| kept.replicated)
    }

    /// Whether there is such a topic: without asking, a message for one that there is not is answered after 30 s.
    async fn known(&self, topic: &Topic) -> Result<(), Error> {
        if self.topics.read().unwrap_or_else(std::sync::PoisonError::into_inner).contains_key(topic) {
            return Ok(());
        }
        let (asking, name) = (self.asking.client(), topic.clone());
        let found = tokio::task::spawn_blocking(move || crate::topology::look_up(&asking, &name, ASK)).await;
        let found = found.map_err(|_| Error::new(ErrorKind::Internal, "asking Kafka for a topic has failed"))??;
        let Some(found) = found else { return Err(no_topic(topic)) };
        let kept = Kept { replicated: found.replicas > 1 };
        self.topics.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(topic.clone(), kept);
        Ok(())
    }

    pub(crate) fn forget(&self, topic: &Topic) {
        self.topics.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(topic);
    }
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "this connection to Kafka is closed; open another")
}

#[cfg(test)]
mod tests {
    use convoke_core::broker::BrokerUrl;

    use super::*;

    #[tokio::test]
    async fn a_producer_that_knows_nobody_is_given_up_and_the_next_message_has_another() {
        let options = Options::from_url(&BrokerUrl::parse("kafka://127.0.0.1:1").unwrap()).unwrap();
        let (app, link) = ("app".to_owned(), Arc::new(Link::default()));
        let client = config::asking(&options, &app, None).create_with_context(Plain(Arc::clone(&link))).unwrap();
        let asking = Arc::new(Asking::new(options.clone(), app.clone(), Arc::clone(&link), client));
        let publishing = Publishing::new(options, app, link, asking);
        let present = || lock(&publishing.producer).as_ref().map(|producer| producer.client().native_ptr());
        let first = publishing.producer().unwrap().client().native_ptr();
        publishing.replace_if_stranded(&Answer::Silence("busy".to_owned()), Instant::now());
        assert_eq!(present(), Some(first));
        publishing.replace_if_stranded(&Answer::Nobody, Instant::now());
        assert_eq!(present(), None);
        drop(publishing.producer().unwrap());
        publishing.replace_if_stranded(&Answer::Servers(1, 1), Instant::now());
        assert!(present().is_some(), "what is told of the one before is not told of this one");
    }
}
