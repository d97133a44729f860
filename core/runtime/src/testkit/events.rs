//! Events that a test asked for, and what it can assert of them.

use std::fmt;
use std::sync::Arc;

use convoke_core::{Event, IntoKey, Message, decode};

use super::story::{Known, Story};

/// Events that a test asked for, in order: what was published, or what a handler did. Its assertions panic in the test's own line, with
/// the story of the messages.
pub struct Events<E> {
    /// What was done with them: `published`, `handled by `reserve``.
    done: String,
    events: Vec<(E, Known)>,
    /// How many there are that cannot be read as this event.
    unreadable: usize,
    story: Arc<Story>,
}

impl<E: Event> Events<E> {
    pub(super) fn new(done: String, known: impl IntoIterator<Item = Known>, story: &Arc<Story>) -> Self {
        let mut events = Self { done, events: Vec::new(), unreadable: 0, story: Arc::clone(story) };
        for known in known {
            match decode::<E>(&known.message) {
                Ok(event) => events.events.push((event, known)),
                Err(_) => events.unreadable += 1,
            }
        }
        events
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The events, in order.
    pub fn iter(&self) -> impl Iterator<Item = &E> + '_ {
        self.events.iter().map(|(event, _)| event)
    }

    /// The messages that they travelled in, in order.
    pub fn messages(&self) -> impl Iterator<Item = &Message> + '_ {
        self.events.iter().map(|(_, known)| &known.message)
    }

    /// Those of one key.
    #[must_use]
    pub fn of_key(mut self, key: impl IntoKey) -> Self {
        let key = key.to_key();
        if let Some(key) = &key {
            self.done.push_str(&format!(" with the key {key}"));
        }
        self.events.retain(|(event, known)| known.message.key().cloned().or_else(|| event.key()) == key);
        self
    }

    /// There is exactly one, and it is as `expected` says. Returns it.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn assert_one(&self, expected: impl FnOnce(&E) -> bool) -> &E {
        match self.events.as_slice() {
            [(event, _)] if expected(event) => event,
            [(_, known)] => self.fail(&format!("one was {}, but it is not as expected: {}", self.done, payload(&known.message))),
            events => self.fail(&format!("one was expected, and {} were {}", events.len(), self.done)),
        }
    }

    /// There are this many.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn assert_count(&self, count: usize) -> &Self {
        if self.events.len() != count {
            self.fail(&format!("{count} were expected, and {} were {}", self.events.len(), self.done));
        }
        self
    }

    /// There is none.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn assert_none(&self) {
        self.assert_count(0);
    }

    /// What `value` takes from each is this, in this order. With [`of_key`](Self::of_key): in the order of one key.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn assert_values<V: PartialEq + fmt::Debug>(
        &self,
        value: impl Fn(&E) -> V,
        expected: impl IntoIterator<Item = V>,
    ) -> &Self {
        let (values, expected): (Vec<V>, Vec<V>) = (self.iter().map(value).collect(), expected.into_iter().collect());
        if values != expected {
            self.fail(&format!("{expected:?} were expected, and {values:?} were {}", self.done));
        }
        self
    }

    /// What `value` takes from the events of each key never falls: they are in the order that the test gave them. Events of different
    /// keys may be in any order, those without a key are in order with each other.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn assert_ordered_by_key<V: PartialOrd + fmt::Debug>(&self, value: impl Fn(&E) -> V) -> &Self {
        let mut last: Vec<(_, V)> = Vec::new();
        for (event, known) in &self.events {
            let key = known.message.key().cloned().or_else(|| event.key());
            let next = value(event);
            match last.iter_mut().find(|(other, _)| *other == key) {
                Some((_, before)) if next < *before => {
                    let key = key.map_or_else(|| "no key".to_owned(), |key| format!("the key {key}"));
                    self.fail(&format!("with {key}, {next:?} was {} after {before:?}", self.done));
                }
                Some((_, before)) => *before = next,
                None => last.push((key, next)),
            }
        }
        self
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        let unreadable = match self.unreadable {
            0 => String::new(),
            count => format!("\n{count} more cannot be read as this event"),
        };
        let ids: Vec<_> = self.events.iter().map(|(_, known)| known.id.clone()).collect();
        self.story.has_told();
        panic!("of `{}`, {what}{unreadable}\n\nwhat happened:\n{}", E::DEF.name, self.story.tell(&ids))
    }
}

/// What stands in a message, as far as it is short text.
fn payload(message: &Message) -> String {
    let bytes = message.payload();
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= 500 => text.to_owned(),
        _ => format!("{} bytes", bytes.len()),
    }
}

impl<E> fmt::Debug for Events<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Events({} {})", self.events.len(), self.done)
    }
}
