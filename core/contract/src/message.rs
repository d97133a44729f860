//! A message: a payload, a key and headers, bound for a topic or read from one.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::headers::{HeaderName, Headers};
use crate::key::Key;
use crate::names;

/// The name of a topic. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// A topic of this name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Topic {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message, immutable and shared: a clone is one reference count.
///
/// # Examples
/// ```
/// use convoke_core::Message;
///
/// let message = Message::builder("orders.paid").key("ada").header("tenant", "acme").payload("{}").build();
/// assert_eq!(message.headers().get_str("tenant"), Some("acme"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message(Arc<Built>);

#[derive(Clone, PartialEq, Eq)]
struct Built {
    parts: MessageBuilder,
    /// Asked for at every station of the way, so it is counted once.
    size: usize,
}

/// A message in the making. See [`Message::builder`].
#[derive(Clone, PartialEq, Eq)]
#[must_use = "a builder does nothing until `build`"]
pub struct MessageBuilder {
    topic: Topic,
    key: Option<Key>,
    headers: Headers,
    payload: Bytes,
    tombstone: bool,
}

impl Message {
    /// Begins a message bound for `topic`.
    pub fn builder(topic: impl Into<Topic>) -> MessageBuilder {
        MessageBuilder { topic: topic.into(), key: None, headers: Headers::new(), payload: Bytes::new(), tombstone: false }
    }

    /// Begins a message that is like this one. Copies nothing if this was the last reference.
    pub fn into_builder(self) -> MessageBuilder {
        Arc::unwrap_or_clone(self.0).parts
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.0.parts.topic
    }

    /// The broker's own key, or the `partitionkey` attribute where the broker has none.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        self.0.parts.key.as_ref()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.0.parts.headers
    }

    /// The payload. Empty for a tombstone.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.0.parts.payload
    }

    /// Whether there is no payload at all (a null value on Kafka), which is not the same as an empty one.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.0.parts.tombstone
    }

    /// The CloudEvents id, if it came with one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.headers().get_str(names::ID)
    }

    /// The CloudEvents type, if it came with one; a message without is a bare message.
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        self.headers().get_str(names::TYPE)
    }

    /// The media type of the payload, if it is stated.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.headers().get_str(names::CONTENT_TYPE)
    }

    /// The bytes of payload, key and headers: what counts against limits in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.size
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.parts.fmt(f)
    }
}

/// Payloads may hold what must not reach a log, so only their length is shown.
impl fmt::Debug for MessageBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("key", &self.key)
            .field("headers", &self.headers)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .field("tombstone", &self.tombstone)
            .finish()
    }
}

impl MessageBuilder {
    /// Sends it to another topic.
    pub fn topic(mut self, topic: impl Into<Topic>) -> Self {
        self.topic = topic.into();
        self
    }

    /// Sets the key.
    pub fn key(self, key: impl Into<Bytes>) -> Self {
        self.maybe_key(Some(Key::new(key)))
    }

    /// Sets the key, or takes it away.
    pub fn maybe_key(mut self, key: Option<Key>) -> Self {
        self.key = key;
        self
    }

    /// Puts one header in the place of all of the same name.
    pub fn header(mut self, name: impl Into<HeaderName>, value: impl Into<Bytes>) -> Self {
        self.headers.set(name, value);
        self
    }

    /// Replaces all headers.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// The headers, to be changed.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// Sets the payload.
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self.tombstone = false;
        self
    }

    /// Makes it a message without a payload.
    pub fn tombstone(mut self) -> Self {
        self.payload = Bytes::new();
        self.tombstone = true;
        self
    }

    /// The finished message.
    #[must_use]
    pub fn build(self) -> Message {
        let size = self.payload.len() + self.headers.size() + self.key.as_ref().map_or(0, |key| key.as_bytes().len());
        Message(Arc::new(Built { parts: self, size }))
    }
}
