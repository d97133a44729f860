//! Keys, tombstones and headers on brokers that have payloads and headers only.

use std::borrow::Cow;

use bytes::Bytes;
use convoke_core::broker::HeaderValues;
use convoke_core::{Headers, Key, Message, escape, names, unescape};

/// Says that a message has no payload at all, which such a broker cannot tell from an empty one.
const TOMBSTONE: &str = "convoke-tombstone";

/// What is kept free for the headers of a dead letter that it cannot do without, in bytes, wherever headers have a limit: what was
/// published can be given up.
pub const DEATH_ROOM: usize = 1024;

/// The headers under which a message travels: its own, the key as CloudEvents' `partitionkey`, and the mark of a tombstone; escaped
/// where values have to be text. [`undress`] takes it back.
#[must_use]
pub fn dress(message: &Message, values: HeaderValues) -> Cow<'_, Headers> {
    let mut headers = Cow::Borrowed(message.headers());
    if let Some(key) = message.key() {
        headers.to_mut().set(names::PARTITION_KEY, Bytes::copy_from_slice(key.as_bytes()));
    }
    if message.is_tombstone() {
        headers.to_mut().set(TOMBSTONE, "1");
    }
    if values == HeaderValues::Binary {
        return headers;
    }
    match headers {
        Cow::Borrowed(headers) => escape(headers),
        Cow::Owned(headers) => Cow::Owned(match escape(&headers) {
            Cow::Owned(escaped) => escaped,
            Cow::Borrowed(_) => headers,
        }),
    }
}

/// The message that came with these headers and this payload, dressed by us or by a client that knows CloudEvents.
#[must_use]
pub fn undress(topic: &convoke_core::Topic, headers: Headers, payload: Bytes, values: HeaderValues) -> Message {
    let mut headers = if values == HeaderValues::Binary { headers } else { unescape(headers) };
    let key = headers.get(names::PARTITION_KEY).cloned().map(Key::new);
    let tombstone = payload.is_empty() && headers.get(TOMBSTONE).is_some();
    if key.is_some() || tombstone {
        headers.retain(|name| name != names::PARTITION_KEY && (!tombstone || name != TOMBSTONE));
    }
    let builder = Message::builder(topic.clone()).maybe_key(key).headers(headers);
    if tombstone { builder.tombstone().build() } else { builder.payload(payload).build() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_was() {
        let topic = "t".into();
        let plain = || Message::builder("t").header("tenant", "acme").payload("p");
        let every_byte: Vec<u8> = (0..=255).collect();
        for message in [
            plain().build(),
            plain().key("ada").build(),
            plain().key(every_byte.clone()).header("x", every_byte.clone()).build(),
            plain().key("").build(),
            plain().payload("").build(),
            plain().key("k").tombstone().build(),
        ] {
            for values in [HeaderValues::Text, HeaderValues::Binary] {
                let dressed = dress(&message, values).into_owned();
                if values == HeaderValues::Text {
                    assert!(dressed.iter().all(|(_, value)| value.iter().all(|byte| (0x20..0x7f).contains(byte))), "{dressed:?}");
                }
                assert_eq!(undress(&topic, dressed, message.payload().clone(), values), message);
            }
        }
    }

    #[test]
    fn what_needs_nothing_is_not_copied() {
        let message = Message::builder("t").header("tenant", "acme").payload("p").build();
        assert!(matches!(dress(&message, HeaderValues::Text), Cow::Borrowed(_)));
    }
}
