//! Payloads: from an event to a message, and back.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::{Event, Recognised};
use crate::codec::Codec;
use crate::error::BoxError;
use crate::message::{Message, MessageBuilder};
use crate::names;

/// A payload that is not what its topic, type or content type promise.
#[derive(Debug)]
pub struct DecodeError {
    message: String,
    source: Option<BoxError>,
}

impl DecodeError {
    /// Without a cause.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// The same with what caused it.
    pub(crate) fn caused_by(mut self, source: BoxError) -> Self {
        self.source = Some(source);
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

/// Reads an event from a message's payload: in the format that its content type names, if the event's codec knows that one; in
/// the event's own if it names none. A message of a version that the event accepts is read as that, and taken up.
///
/// # Errors
/// If there is no payload, if the content type is not one that the event's codec takes, if the payload does not decode, or if an
/// older version cannot be taken up.
pub fn decode<T: Event>(message: &Message) -> Result<T, DecodeError> {
    // Known when it is compiled: an event that accepts nothing does not look at the type.
    if !T::DEF.accepts.is_empty()
        && let Some(Recognised::Accepted(index)) = message.event_type().map(|wire_type| T::DEF.recognise(wire_type))
    {
        return T::from_accepted(index, message);
    }
    read::<T::Codec, T>(message, T::DEF.name)
}

/// Reads a payload as a `V`, which errors call by this name.
pub(crate) fn read<C: Codec<V>, V>(message: &Message, name: &str) -> Result<V, DecodeError> {
    let payload = message.payload();
    if message.is_tombstone() {
        let text = format!(
            "a tombstone has no payload to read `{name}` from; take `Message` and ask `is_tombstone()` to handle deletions"
        );
        return Err(DecodeError::new(text));
    }
    let content_type = message.content_type();
    let decoded = match content_type {
        None => Some(C::decode(payload)),
        Some(content_type) => C::decode_as(content_type, payload),
    };
    decoded.map_or_else(
        || {
            let said = content_type.unwrap_or_default();
            Err(DecodeError::new(format!("`{name}` is written as {}, but this message says `{said}`", C::CONTENT_TYPE)))
        },
        |decoded| {
            decoded.map_err(|source| {
                let format = content_type.filter(|other| !C::accepts(other)).unwrap_or(C::NAME);
                DecodeError::new(format!("the payload ({} bytes) is no `{name}` in {format}", payload.len())).caused_by(source)
            })
        },
    )
}

/// Writes an event's payload and key, its type and content type into a message for its topic. Identity (id, source, time) is
/// added by whoever publishes.
///
/// # Errors
/// If the event has no representation in its codec's format, or a parameter of its topic no place in a topic's name.
pub fn encode<T: Event>(event: &T) -> Result<MessageBuilder, BoxError> {
    let mut payload = BytesMut::new();
    <T::Codec as Codec<T>>::encode(event, &mut payload)?;
    let mut message = Message::builder(event.destination()?).maybe_key(event.key()).payload(payload.freeze());
    if !T::DEF.bare {
        let headers = message.headers_mut();
        headers.append(names::TYPE, T::DEF.type_name_on_wire());
        headers.append(names::CONTENT_TYPE, Bytes::from_static(T::DEF.content_type.as_bytes()));
    }
    Ok(message)
}
