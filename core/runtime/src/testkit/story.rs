//! The story of a test's messages: what the application and its broker did with each, in order.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use convoke_core::broker::{PublishOutcome, Token};
use convoke_core::{Delivered, Epoch, Incoming, Message, PartId, Position, cloudevents, names};

use super::timeline::{Moment, Timeline};
use crate::observe::{End, Happening, Observer, What};

/// Remembers what happened.
pub(crate) struct Story {
    pub(super) timeline: Timeline,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Whether it was told to whoever reads why the test failed.
    told: bool,
    /// What is written above the lines of a message, by its id.
    titles: HashMap<String, String>,
    /// What was published and confirmed, in order.
    published: Vec<Known>,
    acts: Vec<Act>,
}

/// A message, and the id under which its story is told.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) message: Message,
}

/// Something that a handler did with a message.
struct Act {
    handler: String,
    did: Did,
    known: Known,
}

/// What a handler can do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Did {
    /// Began an attempt.
    Start,
    /// Handled it.
    Handle,
    /// Failed, and tries again.
    Retry,
    /// Gave it up.
    Die,
}

impl Story {
    pub(crate) fn new() -> Self {
        Self { timeline: Timeline::new(), inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that it was told.
    pub(super) fn has_told(&self) {
        self.inner().told = true;
    }

    pub(super) fn is_told(&self) -> bool {
        self.inner().told
    }

    /// Something happened to all.
    pub(super) fn say(&self, text: impl Into<String>) {
        self.timeline.note(self.timeline.now(), "", "", text);
    }

    /// What a broker answered to a message.
    pub(super) fn answered(&self, asked: Moment, message: Message, outcome: &PublishOutcome) {
        let stored = if let PublishOutcome::Confirmed(receipt) = outcome { receipt.stored } else { None };
        let (partition, position) = stored.unwrap_or((0, Position::Tag(0)));
        let mut incoming = Incoming::new(message, partition, position, Token::new(PartId(0), Epoch(0), position));
        incoming.unwrapped = cloudevents::unwrap(&incoming.message).ok().flatten();
        let known = self.known(&incoming);
        let topic = incoming.message.topic();
        let late = self.timeline.since(asked);
        let late = if late.is_zero() { String::new() } else { format!("; the answer took {late:?}") };
        let headers = incoming.message.headers();
        let text = match outcome {
            PublishOutcome::Confirmed(_) if headers.get(names::DEAD_REASON).is_some() => {
                format!("dead-lettered to `{topic}`{late}")
            }
            PublishOutcome::Confirmed(_) if headers.get(names::RETRY_ATTEMPTS).is_some() => format!("waits in `{topic}`{late}"),
            PublishOutcome::Confirmed(_) => format!("published to `{topic}`{late}"),
            PublishOutcome::Rejected { error, .. } => format!("not published to `{topic}`: {error}{late}"),
            PublishOutcome::Unknown(error) => format!("perhaps published to `{topic}`: {error}{late}"),
            _ => format!("not published to `{topic}`: nobody's queue takes it"),
        };
        self.timeline.note(asked, "", &known.id, text);
        if matches!(outcome, PublishOutcome::Confirmed(_)) {
            self.inner().published.push(Known { message: incoming.message, ..known });
        }
    }

    /// The message, mentioned from now on.
    fn known(&self, incoming: &Incoming) -> Known {
        let delivered = Delivered::new(incoming.clone(), 1);
        let id = delivered.id().into_owned();
        let message = delivered.message();
        self.inner().titles.entry(id.clone()).or_insert_with(|| title(message, &id));
        Known { message: message.clone(), id }
    }

    /// Everything that was published and confirmed, in order.
    pub(super) fn published(&self) -> Vec<Known> {
        self.inner().published.clone()
    }

    /// The messages with which a handler did this, in order.
    pub(super) fn acts(&self, handler: &str, did: Did) -> Vec<Known> {
        let inner = self.inner();
        inner.acts.iter().filter(|act| act.did == did && act.handler == handler).map(|act| act.known.clone()).collect()
    }

    /// Everything, message by message, those of `first` before the others.
    pub(super) fn tell(&self, first: &[String]) -> String {
        let first: HashSet<_> = first.iter().collect();
        let (mut ids, others): (Vec<_>, Vec<_>) = self.timeline.ids().into_iter().partition(|id| first.contains(id));
        ids.extend(others);
        let inner = self.inner();
        let text = self.timeline.tell(&ids, |id| inner.titles.get(id).cloned().unwrap_or_default());
        if text.is_empty() { "nothing was published, and nothing was delivered\n".to_owned() } else { text }
    }
}

/// What a message is called: `orders.paid.v1, key 7, id order-7`.
fn title(message: &Message, id: &str) -> String {
    let what = message.event_type().map_or_else(|| format!("a bare message of `{}`", message.topic()), str::to_owned);
    let key = message.key().map(|key| format!(", key {key}")).unwrap_or_default();
    let mut title = format!("{what}{key}, id {id}");
    if let Some(cause) = message.headers().get_str(names::CAUSATION_ID) {
        let _ = write!(title, ", because of {cause}");
    }
    title
}

impl Observer for Story {
    fn observe(&self, happening: &Happening<'_>) {
        let known = self.known(happening.incoming);
        let handler = happening.handler;
        let (did, text) = match happening.what {
            What::Delivered => (None, format!("delivered to `{handler}`{}", times(happening.incoming.deliveries))),
            What::Started { attempt } => (Some(Did::Start), format!("`{handler}` attempt {attempt}")),
            What::Retrying { attempts, delay, error } => {
                let error = error.unwrap_or("no error was given");
                (Some(Did::Retry), format!("`{handler}` attempt {attempts} failed: {error}; again in {delay:?}"))
            }
            What::Dying { reason, attempts, error } => {
                let error = error.map(|error| format!(": {error}")).unwrap_or_default();
                (None, format!("`{handler}` gives up ({reason}) after {attempts} failed attempts{error}"))
            }
            What::Ended(end) => (did(end), format!("`{handler}` {}", ended(end))),
        };
        self.timeline.note(self.timeline.now(), "", &known.id, text);
        if let Some(did) = did {
            self.inner().acts.push(Act { handler: handler.to_owned(), did, known });
        }
    }
}

fn times(deliveries: u32) -> String {
    if deliveries > 1 { format!(", for the {deliveries}. time") } else { String::new() }
}

fn did(end: End) -> Option<Did> {
    match end {
        End::Acked => Some(Did::Handle),
        End::Dead => Some(Did::Die),
        _ => None,
    }
}

fn ended(end: End) -> &'static str {
    match end {
        End::Acked => "acknowledged it",
        End::Known => "acknowledged it without the handler: it was handled before",
        End::Dropped => "dropped it",
        End::Skipped => "skipped it: no handler of the group knows the event",
        End::Dead => "acknowledged it: it is in the dead-letter topic",
        End::Retried => "gave it back for a later retry",
        End::Returned => "gave it back",
        End::Lost => "lost it: it is delivered again",
        End::Duplicate => "held it already",
    }
}
