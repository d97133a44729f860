//! A dead letter, with what its headers say.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use convoke_core::cloudevents::{parse_rfc3339, unwrap};
use convoke_core::{DeadReason, Delivered, Incoming, Message, Position, Topic, names};

/// A message that a group has given up, with what was said about it. What a foreign client put into the topic may lack any of it.
#[derive(Clone)]
pub struct DeadLetter {
    incoming: Incoming,
}

impl DeadLetter {
    pub(super) fn new(mut incoming: Incoming) -> Self {
        // What cannot be taken out of its envelope is shown, and sent back, in it.
        incoming.unwrapped = unwrap(&incoming.message).ok().flatten();
        Self { incoming }
    }

    pub(super) fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// The message as it is in the dead-letter topic: payload, key and headers.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.incoming.message
    }

    /// Its partition in the dead-letter topic.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.incoming.partition
    }

    /// Its place there.
    #[must_use]
    pub fn position(&self) -> Position {
        self.incoming.position
    }

    /// The id that the handler knew it by: its own, or that of the place where it was first.
    #[must_use]
    pub fn id(&self) -> String {
        let headers = self.message().headers();
        if self.incoming.content().id().is_some() || headers.get(names::ORIGIN_ID).is_some() {
            return Delivered::new(self.incoming.clone(), 1).id().into_owned();
        }
        let place = [names::DEAD_TOPIC, names::DEAD_PARTITION, names::DEAD_OFFSET].map(|name| headers.get_str(name));
        match place {
            [Some(topic), Some(partition), Some(offset)] if self.position().is_stable() => {
                format!("{topic}/{partition}/{offset}")
            }
            [topic, ..] => {
                let mut first = self.incoming.clone();
                if let Some(topic) = topic {
                    first.message = first.message.into_builder().topic(topic).build();
                }
                Delivered::new(first, 1).id().into_owned()
            }
        }
    }

    /// Why the group gave it up; `None` too if the value is not known.
    #[must_use]
    pub fn reason(&self) -> Option<DeadReason> {
        DeadReason::parse(self.text(names::DEAD_REASON)?)
    }

    /// The last error.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.text(names::DEAD_ERROR)
    }

    /// The last error and its sources, one a line.
    #[must_use]
    pub fn error_chain(&self) -> Option<&str> {
        self.text(names::DEAD_ERROR_CHAIN)
    }

    /// How many attempts failed.
    #[must_use]
    pub fn attempts(&self) -> Option<u32> {
        self.text(names::DEAD_ATTEMPTS)?.parse().ok()
    }

    /// When the first attempt failed.
    #[must_use]
    pub fn first_failed_at(&self) -> Option<SystemTime> {
        parse_rfc3339(self.text(names::DEAD_FIRST_FAILED_AT)?)
    }

    /// When it was given up, or else when it came into the dead-letter topic.
    #[must_use]
    pub fn died_at(&self) -> Option<SystemTime> {
        self.text(names::DEAD_AT).and_then(parse_rfc3339).or(self.incoming.published_at)
    }

    /// The topic that it was read from.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        self.text(names::DEAD_TOPIC)
    }

    /// The group that gave it up.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.text(names::DEAD_GROUP)
    }

    /// The handler that gave it up.
    #[must_use]
    pub fn handler(&self) -> Option<&str> {
        self.text(names::DEAD_HANDLER)
    }

    /// The host on which that happened.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.text(names::DEAD_HOST)
    }

    /// Its key, for people: the broker's own, or the one that its payload says.
    #[must_use]
    pub fn key(&self) -> Option<Cow<'_, str>> {
        let bytes = self.message().key().map(|key| key.as_bytes());
        bytes.or_else(|| self.message().headers().get(names::DEAD_KEY).map(|key| &key[..])).map(String::from_utf8_lossy)
    }

    /// How often it was sent back before.
    #[must_use]
    pub fn replays(&self) -> u32 {
        self.text(names::REPLAY_COUNT).and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// The place of the group that gave it up, if its headers say which.
    pub(super) fn place(&self) -> Option<Topic> {
        Some(names::retry_topic(self.topic()?, self.group()?).into())
    }

    /// The message as it was, for `to`: without the headers of a dead letter, and with the count of replays raised. A bare message
    /// keeps its id in a header, since it will have another place.
    pub(super) fn restored(&self, to: &Topic) -> Message {
        let mut message = self.message().clone().into_builder().topic(to.clone());
        let headers = message.headers_mut();
        // It begins anew, with all its attempts.
        headers.retain(|name| !name.starts_with(names::DEAD_PREFIX) && !name.starts_with(names::RETRY_PREFIX));
        headers.set(names::REPLAY_COUNT, self.replays().saturating_add(1).to_string());
        if self.incoming.content().id().is_none() && headers.get(names::ORIGIN_ID).is_none() {
            headers.append(names::ORIGIN_ID, self.id());
        }
        message.build()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.message().headers().get_str(name)
    }
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Incoming { message, partition, position, .. } = &self.incoming;
        let place = format_args!("{}/{partition}/{position}", message.topic());
        f.debug_struct("DeadLetter").field("place", &place).field("message", message).finish()
    }
}
