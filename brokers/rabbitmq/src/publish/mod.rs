//! Publishing: each message checked, given its partition, sent by one task, and answered for.

mod round;
mod sender;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use convoke_broker_common::{DEATH_ROOM, Spread};
use convoke_core::broker::{Durability, PublishOutcome};
use convoke_core::{Error, ErrorKind, Outgoing, Receipt, Topic};
use lapin::BasicProperties;
use lapin::message::Delivery;
use tokio::sync::{mpsc, oneshot};

use crate::shared::Shared;
use crate::{failure, names, wire};

/// The client's default for the largest frame, less what a frame has of its own.
const FRAME: usize = 128 * 1024 - 8;

/// How often a closing connection looks whether everything is answered.
const LOOK: Duration = Duration::from_millis(5);

/// A message that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) topic: Topic,
    pub(crate) key: String,
    pub(crate) payload: Bytes,
    pub(crate) properties: BasicProperties,
    /// By what its return is known.
    pub(crate) mark: String,
    require_route: bool,
    id: String,
}

/// Messages of one call, no two with one mark.
#[derive(Debug)]
struct Batch {
    ready: Vec<Ready>,
    answer: oneshot::Sender<Vec<PublishOutcome>>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    spread: Spread,
    queue: mpsc::UnboundedSender<Batch>,
    waiting: AtomicU64,
}

/// Counts what is waited for, also if the waiting is given up.
struct Waiting<'p>(&'p AtomicU64, u64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, SeqCst);
    }
}

impl Publisher {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let (queue, batches) = mpsc::unbounded_channel();
        tokio::spawn(sender::run(Arc::clone(shared), batches));
        Self { shared: Arc::clone(shared), spread: Spread::default(), queue, waiting: AtomicU64::new(0) }
    }

    /// How many messages are not answered for.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(SeqCst)
    }

    /// Waits until everything is answered for.
    pub(crate) async fn flush(&self) {
        while self.waiting() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) async fn publish(&self, batch: Vec<Outgoing>) -> Vec<PublishOutcome> {
        let count = batch.len() as u64;
        self.waiting.fetch_add(count, SeqCst);
        let _waiting = Waiting(&self.waiting, count);
        let mut outcomes: Vec<Option<PublishOutcome>> = Vec::with_capacity(batch.len());
        let (mut places, mut ready) = (Vec::new(), Vec::new());
        for (place, outgoing) in batch.into_iter().enumerate() {
            match self.ready(outgoing).await {
                Ok(one) => {
                    places.push(place);
                    ready.push(one);
                    outcomes.push(None);
                }
                Err(error) => outcomes.push(Some(rejected(error))),
            }
        }
        let answers = self.send(ready).await;
        for (place, answer) in places.into_iter().zip(answers) {
            outcomes[place] = Some(answer);
        }
        let missing =
            || PublishOutcome::Unknown(Error::new(ErrorKind::Closed, "the connection was closed before an answer came"));
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect()
    }

    /// Everything is handed on before anything is waited for, so that it stays in order.
    async fn send(&self, ready: Vec<Ready>) -> Vec<PublishOutcome> {
        let mut waits = Vec::new();
        for ready in round::split(ready) {
            let (answer, answered) = oneshot::channel();
            let count = ready.len();
            let _ = self.queue.send(Batch { ready, answer });
            waits.push((count, answered));
        }
        let mut answers = Vec::new();
        for (count, answered) in waits {
            match answered.await {
                Ok(some) => answers.extend(some),
                Err(_) => answers.extend((0..count).map(|_| PublishOutcome::Unknown(failure::closed()))),
            }
        }
        answers
    }

    /// Publishes what came to a topic without a partition to the one of its key, as it came.
    pub(crate) async fn pass_on(&self, topic: &Topic, batch: Vec<Delivery>) -> Vec<PublishOutcome> {
        let partitions = match self.shared.partitions(topic).await {
            Ok(partitions) => partitions,
            Err(error) => return vec![rejected(error)],
        };
        let ready = |Delivery { properties, data, .. }: Delivery| {
            let message = wire::received(topic, &properties, Vec::new(), false).message;
            let mark = properties.message_id().as_ref().map_or_else(new_mark, |id| id.as_str().to_owned());
            Ready {
                topic: topic.clone(),
                key: names::routing_key(self.spread.partition(message.key(), partitions)),
                payload: Bytes::from(data),
                properties: wire::passed_on(&properties, &mark),
                mark,
                require_route: false,
                id: String::new(),
            }
        };
        self.send(batch.into_iter().map(ready).collect()).await
    }

    async fn ready(&self, outgoing: Outgoing) -> Result<Ready, Error> {
        self.shared.open()?;
        // What is only copied (a dead letter, a redrive) is there, so that the server takes it.
        let (max, copied) = (self.shared.options.max_message, outgoing.verbatim);
        let message = &outgoing.message;
        if message.size() > max && !copied {
            let text = format!("a message has {max} bytes at most (`max_message`), and this one {}", message.size());
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        if outgoing.deliver_at.is_some() || outgoing.reply_to.is_some() {
            return Err(failure::unsupported("a message for later, or an address for its answers"));
        }
        let life = outgoing.lifetime(SystemTime::now())?;
        let topic = message.topic().clone();
        let partitions = match self.shared.known_partitions(&topic) {
            Some(partitions) => partitions,
            None => {
                names::check(std::iter::once(&topic), std::iter::empty())?;
                self.shared.partitions(&topic).await?
            }
        };
        let partition = self.spread.partition(message.key(), partitions);
        let id = message.id().unwrap_or_default().to_owned();
        // A bare message needs something by which its return is known; a property is no header.
        let mark = if id.is_empty() || id.len() > 255 { new_mark() } else { id.clone() };
        let mut properties = wire::properties(message, &mark, if copied { FRAME } else { FRAME - DEATH_ROOM })?;
        if let Some(life) = life {
            properties = properties.with_expiration(wire::expiration(&topic, life)?);
        }
        let (key, payload) = (names::routing_key(partition), message.payload().clone());
        Ok(Ready { topic, key, payload, properties, mark, require_route: outgoing.require_route, id })
    }
}

impl Ready {
    /// The server has it, in a queue or, if there is none for it, nowhere.
    fn confirmed(self, routed: bool) -> PublishOutcome {
        if !routed && self.require_route {
            return PublishOutcome::Unroutable;
        }
        let mut receipt = Receipt::new(self.id, None, Durability::Stored);
        receipt.unrouted = !routed;
        PublishOutcome::Confirmed(receipt)
    }
}

fn new_mark() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn rejected(error: Error) -> PublishOutcome {
    PublishOutcome::Rejected { retryable: error.is_retryable(), error }
}
