//! What a test asks: what was published, and what handlers did.

use convoke_core::{Event, Message, TopicPattern, names};

use super::events::Events;
use super::story::{Did, Known};
use super::test_app::TestApp;

impl TestApp {
    /// The events of a type that were published so far, by whomever, through this application, in order. Dead letters do not
    /// count.
    #[must_use]
    pub fn published<E: Event>(&self) -> Events<E> {
        let (wire_type, topic) = (E::DEF.type_name_on_wire(), self.handle().topic(E::DEF.topic));
        let is_meant = |Known { message, .. }: &Known| {
            let is_there = TopicPattern::overlap(message.topic().as_str(), topic.as_str());
            let is_event = if E::DEF.bare { message.event_type().is_none() } else { message.event_type() == Some(&wire_type) };
            is_there && is_event && message.headers().get(names::DEAD_REASON).is_none()
        };
        let known = self.kit.story.published().into_iter().filter(is_meant);
        Events::new("published".to_owned(), known, &self.kit.story)
    }

    /// The events that a handler has handled so far, and that were acknowledged for it, in that order.
    ///
    /// # Panics
    /// If there is no such handler.
    #[track_caller]
    #[must_use]
    pub fn handled<E: Event>(&self, handler: &str) -> Events<E> {
        self.done(handler, Did::Handle, "handled")
    }

    /// The events that a handler was called with so far: one for each attempt, in the order in which they began.
    ///
    /// # Panics
    /// If there is no such handler.
    #[track_caller]
    #[must_use]
    pub fn attempted<E: Event>(&self, handler: &str) -> Events<E> {
        self.done(handler, Did::Start, "attempted")
    }

    /// The events that a handler has failed with so far and that are to be tried again: one for each failed attempt.
    ///
    /// # Panics
    /// If there is no such handler.
    #[track_caller]
    #[must_use]
    pub fn retried<E: Event>(&self, handler: &str) -> Events<E> {
        self.done(handler, Did::Retry, "retried")
    }

    /// The events that a handler has given up so far and that are in its dead-letter topic. For what cannot be decoded, and for the
    /// headers of a dead letter, see [`dead_letters`](Self::dead_letters).
    ///
    /// # Panics
    /// If there is no such handler.
    #[track_caller]
    #[must_use]
    pub fn dead_lettered<E: Event>(&self, handler: &str) -> Events<E> {
        self.done(handler, Did::Die, "dead-lettered")
    }

    #[track_caller]
    fn done<E: Event>(&self, handler: &str, did: Did, word: &str) -> Events<E> {
        if let Err(error) = self.handle().bound_to(handler) {
            panic!("{error}");
        }
        Events::new(format!("{word} by `{handler}`"), self.kit.story.acts(handler, did), &self.kit.story)
    }

    /// The dead letters of a handler so far, as they are in the dead-letter topic, in order.
    #[must_use]
    pub fn dead_letters(&self, handler: &str) -> Vec<Message> {
        let mut messages = self.messages();
        messages.retain(|message| message.headers().get_str(names::DEAD_HANDLER) == Some(handler));
        messages
    }

    /// Every message that was published through this application, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.kit.story.published().into_iter().map(|known| known.message).collect()
    }

    /// What happened to each message so far, for people.
    #[must_use]
    pub fn story(&self) -> String {
        self.kit.story.tell(&[])
    }
}
