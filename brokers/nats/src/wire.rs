//! Messages as they travel.

use std::hash::{DefaultHasher, Hash, Hasher};

use async_nats::header::{HeaderMap, HeaderName as NatsName, HeaderValue, NATS_MESSAGE_ID};
use bytes::Bytes;
use convoke_broker_common::{dress, undress};
use convoke_core::broker::HeaderValues;
use convoke_core::cloudevents::Spelling;
use convoke_core::{Error, ErrorKind, HeaderName, Headers, Message, Topic, names};

/// The headers of a message, as clients of NATS expect them, and its id for the server.
///
/// # Errors
/// If the name of a header cannot be one.
pub(crate) fn headers(message: &Message) -> Result<HeaderMap, Error> {
    let mut map = without_id(message)?;
    if let Some(id) = deduplication_id(message) {
        map.insert(NATS_MESSAGE_ID, HeaderValue::from(id));
    }
    Ok(map)
}

/// The same, with nothing by which the server knows the message again.
///
/// # Errors
/// The same.
pub(crate) fn without_id(message: &Message) -> Result<HeaderMap, Error> {
    let dressed = dress(message, HeaderValues::Text);
    let mut map = HeaderMap::new();
    for (name, value) in dressed.iter() {
        let name = if name == names::CONTENT_TYPE { "ce-datacontenttype" } else { name };
        let key: NatsName = name.parse().map_err(|source| {
            let text =
                format!("`{name}` cannot be the name of a header on NATS: it has no colons, spaces and control characters");
            Error::new(ErrorKind::Rejected, text).with_source(source)
        })?;
        // Escaped before, so that it is text.
        map.append(key, HeaderValue::from(String::from_utf8_lossy(value).into_owned()));
    }
    Ok(map)
}

/// How many bytes headers have on the wire.
pub(crate) fn size(headers: &HeaderMap) -> usize {
    if headers.is_empty() {
        return 0;
    }
    let each = headers.iter().flat_map(|(name, values)| values.iter().map(|value| text(name).len() + value.as_str().len() + 4));
    "NATS/1.0\r\n\r\n".len() + each.sum::<usize>()
}

/// Under which id the server knows a message again that is sent once more: its own.
///
/// What the runtime sends again under the same id and yet not as the same message (a dead letter of a later life, a redrive) has
/// headers of ours that differ: these are part of the id then, or the server would drop the second one.
pub(crate) fn deduplication_id(message: &Message) -> Option<String> {
    let id = message.id()?;
    let mut ours = message.headers().iter().filter(|(name, _)| name.starts_with("convoke-")).peekable();
    let mut hasher = DefaultHasher::new();
    let plain = ours.peek().is_none();
    ours.for_each(|header| header.hash(&mut hasher));
    let text = |byte: u8| (0x21..=0x7e).contains(&byte);
    let source = message.headers().get_str(names::SOURCE).unwrap_or_default();
    // The source belongs to the identity; only ours is not spelt out, since it is the usual case.
    if plain && id.bytes().all(text) {
        return Some(id.to_owned());
    }
    (id, source).hash(&mut hasher);
    Some(format!("{:016x}", hasher.finish()))
}

/// A message of `topic` as it came.
pub(crate) fn message(topic: &Topic, map: Option<&HeaderMap>, payload: Bytes) -> Message {
    let each = map.into_iter().flat_map(HeaderMap::iter);
    let each = each.flat_map(|(name, values)| values.iter().map(move |value| (text(name), value.as_str().as_bytes())));
    message_of(topic, map.map_or(0, HeaderMap::len), each, payload)
}

/// A message of `topic` with about so many of the server's headers.
pub(crate) fn message_of<'h>(
    topic: &Topic,
    count: usize,
    each: impl Iterator<Item = (&'h str, &'h [u8])>,
    payload: Bytes,
) -> Message {
    let mut headers = Headers::with_capacity(count);
    for (name, value) in each.filter(|(name, _)| !name.starts_with("Nats-")) {
        headers.append(known(&Spelling::Dash.read(name)), Bytes::copy_from_slice(value));
    }
    undress(topic, headers, payload, HeaderValues::Text)
}

/// A header's name as text.
pub(crate) fn text(name: &NatsName) -> &str {
    name.as_ref()
}

/// The usual names are not copied.
fn known(name: &str) -> HeaderName {
    const KNOWN: [&str; 11] = [
        names::ID,
        names::SOURCE,
        names::SPEC_VERSION,
        names::TYPE,
        names::TIME,
        names::PARTITION_KEY,
        names::CONTENT_TYPE,
        names::CORRELATION_ID,
        names::CAUSATION_ID,
        names::TRACE_PARENT,
        names::ENCODED,
    ];
    KNOWN.iter().find(|known| **known == name).map_or_else(|| name.to_owned().into(), |known| HeaderName::from_static(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_was() {
        let every_byte: Vec<u8> = (0..=255).collect();
        let message = Message::builder("t")
            .key("ada")
            .header(names::ID, "1 2")
            .header(names::CONTENT_TYPE, "application/json")
            .header("x", every_byte)
            .payload("p")
            .build();
        let map = headers(&message).unwrap();
        assert_eq!(map.get("ce-datacontenttype").map(HeaderValue::as_str), Some("application/json"));
        let back = super::message(message.topic(), Some(&map), message.payload().clone());
        assert_eq!((back.key(), back.payload()), (message.key(), message.payload()));
        for (name, value) in message.headers().iter() {
            assert_eq!(back.headers().get(name), Some(value), "{name}");
        }
        assert_eq!(back.headers().len(), message.headers().len());
    }

    #[test]
    fn what_is_not_the_same_message_has_not_the_same_id() {
        let id = |message: &Message| headers(message).unwrap().get(NATS_MESSAGE_ID).map(ToString::to_string);
        let plain = Message::builder("t").header(names::ID, "7").payload("p");
        assert_eq!(id(&plain.clone().build()).as_deref(), Some("7"));
        let dead = |at: &str| plain.clone().header(names::DEAD_AT, at.to_owned()).build();
        assert_eq!(id(&dead("1")), id(&dead("1")), "sent once more");
        assert_ne!(id(&dead("1")), id(&dead("2")), "died once more");
        assert_eq!(id(&Message::builder("t").payload("bare").build()), None);
    }

    #[test]
    fn a_name_that_cannot_be_is_refused() {
        assert_eq!(headers(&Message::builder("t").header("a:b", "x").build()).unwrap_err().kind(), ErrorKind::Rejected);
    }
}
