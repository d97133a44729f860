//! Publishing: one entry for each message, pipelined.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use convoke_broker_common::Spread;
use convoke_core::broker::{Durability, PublishOutcome};
use convoke_core::{Error, ErrorKind, Outgoing, Receipt, Topic};
use redis::{Cmd, Pipeline, Value, cmd};

use crate::entry;
use crate::failure::Failure;
use crate::keys::{self, TopicKeys};
use crate::link::Link;
use crate::reply::{Id, bytes, unsigned};
use crate::script;

/// How much is sent before an answer is waited for.
const WINDOW: usize = 1000;
const WINDOW_BYTES: usize = 8 << 20;
/// A script takes no more fields than its stack has room for.
const MAX_SCHEDULED_FIELDS: usize = 4000;

/// A topic, as far as publishing needs it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) keys: TopicKeys,
    pub(crate) partitions: u32,
}

/// The topics that were used, with the number of their partitions, which does not change.
pub(crate) struct Topics {
    known: Mutex<HashMap<Topic, Arc<Known>>>,
}

impl Topics {
    pub(crate) fn new() -> Self {
        Self { known: Mutex::default() }
    }

    pub(crate) fn forget(&self, topic: &Topic) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    /// # Errors
    /// If there is no such topic, or Redis does not answer.
    pub(crate) async fn of(&self, link: &Link, topic: &Topic) -> Result<Arc<Known>, Problem> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(topic).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        keys::check(topic).map_err(Problem::Wrong)?;
        let keys = TopicKeys::new(topic);
        let partitions = link.ask(cmd("HGET").arg(&keys.meta).arg("partitions")).await.map_err(Problem::Failed)?;
        let partitions = u32::try_from(unsigned(partitions)).unwrap_or(0);
        if partitions == 0 {
            return Err(Problem::Wrong(no_topic(topic)));
        }
        let known = Arc::new(Known { keys, partitions });
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.clone(), Arc::clone(&known));
        Ok(known)
    }
}

/// Why a topic cannot be used.
pub(crate) enum Problem {
    Wrong(Error),
    Failed(Failure),
}

impl Problem {
    pub(crate) fn error(self, what: &str) -> Error {
        match self {
            Self::Wrong(error) => error,
            Self::Failed(failure) => failure.error(what),
        }
    }
}

pub(crate) fn no_topic(topic: &Topic) -> Error {
    let text = format!("there is no topic `{topic}` on Redis; create it with `Broker::ensure`, or correct the name");
    Error::new(ErrorKind::NotFound, text)
}

/// What is needed to publish.
pub(crate) struct Press {
    pub(crate) link: Arc<Link>,
    pub(crate) topics: Topics,
    pub(crate) spread: Spread,
    pub(crate) durability: Durability,
}

/// What is sent, and what it was.
struct Sent {
    index: usize,
    id: String,
    topic: Topic,
    partition: u32,
    scheduled: bool,
}

impl Press {
    pub(crate) async fn publish(&self, batch: Vec<Outgoing>) -> Vec<PublishOutcome> {
        let mut outcomes: Vec<Option<PublishOutcome>> = Vec::with_capacity(batch.len());
        outcomes.resize_with(batch.len(), || None);
        let (mut sent, mut bytes) = (Vec::new(), 0);
        let mut pipe = Pipeline::with_capacity(batch.len().min(WINDOW));
        for (index, outgoing) in batch.into_iter().enumerate() {
            bytes += outgoing.message.size();
            match self.prepare(index, &outgoing).await {
                Ok((one, call)) => {
                    sent.push(one);
                    pipe.add_command(call);
                }
                Err(outcome) => outcomes[index] = Some(outcome),
            }
            if sent.len() >= WINDOW || bytes >= WINDOW_BYTES {
                self.send(std::mem::take(&mut sent), std::mem::take(&mut pipe), &mut outcomes).await;
                bytes = 0;
            }
        }
        self.send(sent, pipe, &mut outcomes).await;
        let missing = || PublishOutcome::Unknown(Error::new(ErrorKind::Internal, "an answer of Redis is missing"));
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect()
    }

    async fn prepare(&self, index: usize, outgoing: &Outgoing) -> Result<(Sent, Cmd), PublishOutcome> {
        let rejected = |error| PublishOutcome::Rejected { retryable: false, error };
        let message = &outgoing.message;
        // What is only copied (a dead letter, a redrive) is there, so that Redis takes it.
        let max = self.link.options.max_message;
        if message.size() > max && !outgoing.verbatim {
            let text =
                format!("the message has {} bytes and `max_message` is {max}; raise it in the URL, or send less", message.size());
            return Err(rejected(Error::new(ErrorKind::TooLarge, text)));
        }
        if outgoing.expires_at.is_some() || outgoing.reply_to.is_some() {
            let text = "Redis Streams offer no expiry of messages and no reply-to; publish without them";
            return Err(rejected(Error::new(ErrorKind::Unsupported, text)));
        }
        let topic = message.topic().clone();
        let known = self.topics.of(&self.link, &topic).await.map_err(|problem| match problem {
            Problem::Wrong(error) => rejected(error),
            Problem::Failed(failure) => {
                PublishOutcome::Rejected { retryable: true, error: failure.error(&format!("`{topic}` cannot be looked up")) }
            }
        })?;
        let partition = self.spread.partition(message.key(), known.partitions);
        let due = outgoing.deliver_at.filter(|at| *at > SystemTime::now());
        let mut call = match due {
            None => {
                let mut add = cmd("XADD");
                add.arg(known.keys.stream(partition)).arg("NOMKSTREAM").arg("*");
                add
            }
            Some(at) => {
                let millis = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
                let mut call = script::SCHEDULE.call(&[&known.keys.meta, &known.keys.later, &known.keys.scheduled]);
                call.arg(millis).arg(partition);
                call
            }
        };
        let mut fields = 0;
        entry::write(message, |name, value| {
            call.arg(name).arg(value);
            fields += 1;
        });
        if due.is_some() && fields * 2 > MAX_SCHEDULED_FIELDS {
            let text = format!("a message with {fields} headers cannot be scheduled on Redis; send fewer");
            return Err(rejected(Error::new(ErrorKind::Rejected, text)));
        }
        let id = message.id().unwrap_or_default().to_owned();
        Ok((Sent { index, id, topic, partition, scheduled: due.is_some() }, call))
    }

    async fn send(&self, sent: Vec<Sent>, mut pipe: Pipeline, outcomes: &mut [Option<PublishOutcome>]) {
        let what = "a message cannot be published";
        match self.link.ask_all(&mut pipe).await {
            Ok(answers) => {
                for (one, answer) in sent.into_iter().zip(answers) {
                    outcomes[one.index] = Some(self.outcome(&one, answer));
                }
            }
            Err(failure) => {
                let not_sent = matches!(failure, Failure::NotSent(_));
                for one in sent {
                    let error = failure.error(what);
                    outcomes[one.index] = Some(if not_sent {
                        PublishOutcome::Rejected { retryable: true, error }
                    } else {
                        PublishOutcome::Unknown(error)
                    });
                }
            }
        }
    }

    fn outcome(&self, sent: &Sent, answer: Result<Value, Failure>) -> PublishOutcome {
        let what = || format!("a message for `{}` cannot be published", sent.topic);
        match answer {
            Ok(Value::Nil) => {
                // It was there once, or it would not have been looked up.
                self.topics.forget(&sent.topic);
                PublishOutcome::Rejected { retryable: false, error: no_topic(&sent.topic) }
            }
            Ok(id) => {
                let position = Id::parse(&bytes(id)).map(Id::position);
                let stored = position.filter(|_| !sent.scheduled).map(|position| (sent.partition, position));
                PublishOutcome::Confirmed(Receipt::new(sent.id.clone(), stored, self.durability))
            }
            Err(Failure::Refused(error)) => {
                let code = error.code().unwrap_or_default();
                let passes = ["OOM", "MISCONF", "LOADING", "READONLY", "MASTERDOWN", "NOREPLICAS", "BUSY", "NOSCRIPT"];
                let retryable = passes.iter().any(|pass| code.starts_with(pass));
                PublishOutcome::Rejected { retryable, error: crate::failure::refused(&what(), &error) }
            }
            Err(failure) => PublishOutcome::Unknown(failure.error(&what())),
        }
    }
}
