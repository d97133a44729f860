//! Messages as entries of a stream: a field for each header, one for the key, one for the payload.

use bytes::Bytes;
use convoke_core::cloudevents::Spelling;
use convoke_core::{HeaderName, Headers, Key, Message, Topic, names};
use redis::Value;

use crate::reply::{bytes, list};

/// The field of the payload.
const DATA: &str = "data";
/// The field of an entry that would have none: a message without headers, key and payload.
const TOMBSTONE: &str = "convoke-tombstone";
/// A header that is called like one of these, or begins with this, is written with this before it.
const ESCAPED: &str = "convoke-field-";

/// Calls `field` with each field of the entry, name and value, in order.
pub(crate) fn write(message: &Message, mut field: impl FnMut(&[u8], &[u8])) {
    let key = message.key().map(Key::as_bytes);
    let mut any = false;
    for (name, value) in message.headers().iter().filter(|(name, _)| key.is_none() || *name != names::PARTITION_KEY) {
        if matches!(name, DATA | TOMBSTONE) || name.starts_with(ESCAPED) {
            field(format!("{ESCAPED}{name}").as_bytes(), value);
        } else {
            field(Spelling::Underscore.write(name).as_bytes(), value);
        }
        any = true;
    }
    if let Some(key) = key {
        field(Spelling::Underscore.write(names::PARTITION_KEY).as_bytes(), key);
        any = true;
    }
    if !message.is_tombstone() {
        field(DATA.as_bytes(), message.payload());
    } else if !any {
        field(TOMBSTONE.as_bytes(), b"");
    }
}

/// The message that these fields are. What has no payload at all is a tombstone.
pub(crate) fn read(topic: &Topic, fields: Value) -> Message {
    let mut fields = list(fields);
    let (mut headers, mut key, mut payload) = (Headers::with_capacity(fields.len() / 2), None, None);
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let (name, value) = (bytes(name), Bytes::from(bytes(value)));
        if name == DATA.as_bytes() && payload.is_none() {
            payload = Some(value);
            continue;
        }
        // Names are text with us; one that is not keeps what can be read of it.
        let name = String::from_utf8_lossy(&name);
        let name = match name.strip_prefix(ESCAPED) {
            Some(name) => HeaderName::from(name.to_owned()),
            None if name == TOMBSTONE => continue,
            None => header_name(&name),
        };
        if key.is_none() && name.as_str() == names::PARTITION_KEY {
            key = Some(Key::new(value));
        } else {
            headers.append(name, value);
        }
    }
    let builder = Message::builder(topic.clone()).maybe_key(key).headers(headers);
    match payload {
        Some(payload) => builder.payload(payload).build(),
        None => builder.tombstone().build(),
    }
}

fn header_name(written: &str) -> HeaderName {
    HeaderName::from(Spelling::Underscore.read(written).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(message: &Message) -> Message {
        let mut fields = Vec::new();
        write(message, |name, value| {
            fields.extend([Value::BulkString(name.to_vec()), Value::BulkString(value.to_vec())]);
        });
        assert!(!fields.is_empty(), "an entry has a field at least");
        read(message.topic(), Value::Array(fields))
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        let every_byte: Vec<u8> = (0..=255).collect();
        let mut headers = Headers::new();
        for (name, value) in [
            ("ce-id", "7"),
            ("data", "not the payload"),
            ("x", "1"),
            ("convoke-field-x", "y"),
            ("convoke-tombstone", "z"),
            ("x", "2"),
        ] {
            headers.append(name, value);
        }
        let plain = Message::builder("t").headers(headers).build();
        for message in [
            plain.clone(),
            plain.clone().into_builder().key(every_byte.clone()).payload(every_byte.clone()).header("b", every_byte).build(),
            plain.into_builder().tombstone().build(),
            Message::builder("t").tombstone().build(),
            Message::builder("t").key("k").build(),
            Message::builder("t").build(),
        ] {
            assert_eq!(back(&message), message);
        }
    }

    #[test]
    fn what_other_clients_write_is_read() {
        let fields = ["ce_partitionkey", "ada", "ce_type", "t.v1", "tenant", "acme", "data", "{}"];
        let entry = Value::Array(fields.iter().map(|field| Value::BulkString(field.as_bytes().to_vec())).collect());
        let message = read(&"t".into(), entry);
        assert_eq!(
            message,
            Message::builder("t").key("ada").header("ce-type", "t.v1").header("tenant", "acme").payload("{}").build()
        );
    }
}
