//! The application's side of publishing: identity, limits, and patience with a broker that does not answer.

mod outward;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use convoke_core::broker::{Capabilities, PublishDelay, PublishOutcome};
use convoke_core::cloudevents::{new_id, rfc3339};
use convoke_core::{BoxFuture, Error, ErrorKind, Message, Outgoing, PublishSink, Receipt, names};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::driver::RESERVED;
pub(crate) use outward::Outward;

/// Publishes for the application, and remembers how much is under way.
pub(crate) struct Sink {
    outward: Arc<Outward>,
    /// How long a publish that is refused for now, or not answered, is repeated under the same id.
    within: Duration,
    in_flight: AtomicU64,
    idle: Notify,
}

/// The pause before a publish is repeated: this, then twice that, and so on up to [`REPEAT_MAX`].
const REPEAT_MIN: Duration = Duration::from_millis(50);
const REPEAT_MAX: Duration = Duration::from_secs(2);
/// An answer has so much time at least, however little patience there is with refusals.
const ANSWER_MIN: Duration = Duration::from_secs(3);

impl Sink {
    pub(crate) fn new(outward: Arc<Outward>, within: Duration) -> Self {
        Self { outward, within, in_flight: AtomicU64::new(0), idle: Notify::new() }
    }

    /// How many messages are on their way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Waits until nothing is on its way.
    pub(crate) async fn flushed(&self) {
        loop {
            let idle = self.idle.notified();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }

    pub(crate) async fn publish_all(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt, Error>> {
        let _guard = InFlight::of(self, batch.len());
        let mut answers: Vec<Option<Result<Receipt, Error>>> = Vec::with_capacity(batch.len());
        let mut waiting = Vec::with_capacity(batch.len());
        for outgoing in batch {
            let outgoing = self.outward.addressed(outgoing);
            match self.outward.broker_of(&outgoing).and_then(|broker| self.accepted(broker, &outgoing)) {
                Ok(broker) => {
                    waiting.push((answers.len(), broker, outgoing));
                    answers.push(None);
                }
                Err(error) => answers.push(Some(Err(error))),
            }
        }
        let deadline = Instant::now() + self.within;
        let mut pause = REPEAT_MIN;
        while !waiting.is_empty() {
            let batch = waiting.iter().map(|(_, broker, outgoing)| (*broker, outgoing.clone())).collect();
            let Ok(outcomes) = timeout_at(deadline.max(Instant::now() + ANSWER_MIN), self.outward.publish(batch)).await else {
                for (index, _, outgoing) in waiting {
                    answers[index] = Some(Err(no_answer_within(&outgoing, self.within)));
                }
                break;
            };
            let mut again = Vec::new();
            let mut outcomes = outcomes.into_iter();
            for (index, broker, outgoing) in waiting {
                let outcome = outcomes.next().unwrap_or_else(|| PublishOutcome::Unknown(no_answer()));
                match settled(outcome, &outgoing, Instant::now() + pause < deadline) {
                    Some(answer) => answers[index] = Some(answer),
                    None => again.push((index, broker, outgoing)),
                }
            }
            waiting = again;
            if !waiting.is_empty() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(REPEAT_MAX);
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(no_answer()))).collect()
    }
}

impl Sink {
    /// The broker, if it takes such a message.
    fn accepted(&self, broker: usize, outgoing: &Outgoing) -> Result<usize, Error> {
        let capabilities = self.outward.capabilities(broker);
        let refused = too_large(outgoing, capabilities.max_message).or_else(|| not_offered(outgoing, capabilities));
        refused.map_or(Ok(broker), Err)
    }
}

impl PublishSink for Sink {
    fn publish(&self, batch: Vec<Outgoing>) -> BoxFuture<'_, Vec<Result<Receipt, Error>>> {
        Box::pin(self.publish_all(batch))
    }
}

struct InFlight<'a>(&'a Sink, u64);

impl<'a> InFlight<'a> {
    fn of(sink: &'a Sink, count: usize) -> Self {
        sink.in_flight.fetch_add(count as u64, Ordering::AcqRel);
        Self(sink, count as u64)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(self.1, Ordering::AcqRel) == self.1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// Adds what identifies an event: id, source, specversion and time. Bare messages stay as they are.
fn identified(mut outgoing: Outgoing, app: &str) -> Outgoing {
    if outgoing.message.headers().get(names::TYPE).is_none() {
        return outgoing;
    }
    let mut message = outgoing.message.into_builder();
    let headers = message.headers_mut();
    if headers.get(names::ID).is_none() {
        headers.append(names::ID, new_id());
    }
    if headers.get(names::SOURCE).is_none() {
        headers.append(names::SOURCE, app.to_owned());
    }
    headers.set(names::SPEC_VERSION, names::SPEC_VERSION_1_0);
    if headers.get(names::TIME).is_none() {
        headers.append(names::TIME, rfc3339(SystemTime::now()));
    }
    outgoing.message = message.build();
    outgoing
}

/// Refuses what could not be given back as a dead letter.
pub(crate) fn too_large(outgoing: &Outgoing, max: Option<usize>) -> Option<Error> {
    let max = max?.saturating_sub(if outgoing.verbatim { 0 } else { RESERVED });
    let size = outgoing.message.size();
    (size > max).then(|| {
        let topic = outgoing.message.topic();
        let text =
            format!("a message of {size} bytes for `{topic}` is over the limit of {max} bytes; send a reference to the data");
        Error::new(ErrorKind::TooLarge, text)
    })
}

/// Refuses what the broker does not offer, once and for every adapter: an option is honoured or refused, never ignored.
fn not_offered(outgoing: &Outgoing, capabilities: &Capabilities) -> Option<Error> {
    let missing = if outgoing.deliver_at.is_some() && capabilities.publish_delay == PublishDelay::None {
        "deliver a message later than at once; let a handler wait, or publish it when it is due"
    } else if outgoing.expires_at.is_some() && !capabilities.expiry {
        "let messages expire; put the time into the event, and let the handler look at it"
    } else if outgoing.reply_to.is_some() && !capabilities.reply_to {
        "carry the address of an answer; put it into the event"
    } else {
        return None;
    };
    Some(Error::new(ErrorKind::Unsupported, format!("{} cannot {missing}", capabilities.name)))
}

/// The final answer, or `None` if the message is to be sent again.
fn settled(outcome: PublishOutcome, outgoing: &Outgoing, may_repeat: bool) -> Option<Result<Receipt, Error>> {
    match outcome {
        PublishOutcome::Confirmed(receipt) => Some(Ok(receipt)),
        PublishOutcome::Rejected { retryable: true, .. } | PublishOutcome::Unknown(_) if may_repeat => None,
        PublishOutcome::Rejected { error, .. } | PublishOutcome::Unknown(error) => Some(Err(error)),
        _ => Some(Err(unroutable(&outgoing.message))),
    }
}

pub(crate) fn unroutable(message: &Message) -> Error {
    Error::new(ErrorKind::Rejected, format!("nobody's queue takes messages of `{}`, and a route was required", message.topic()))
}

fn no_answer_within(outgoing: &Outgoing, within: Duration) -> Error {
    let topic = outgoing.message.topic();
    let text =
        format!("no answer came for a message for `{topic}` within {within:?}: it may be stored; publish it again under its id");
    Error::new(ErrorKind::Unknown, text)
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Internal, "the broker's adapter answered fewer messages than it was given")
}
