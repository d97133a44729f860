//! Messages as AMQP has them, and back.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use convoke_broker_common::{dress, undress};
use convoke_core::broker::HeaderValues;
use convoke_core::cloudevents::Spelling;
use convoke_core::{Error, ErrorKind, HeaderName, Headers, Message, Topic, names};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, ByteArray, FieldArray, FieldTable, ShortString};

/// What a content header has beside the headers: at most this much. It has to fit into one frame with them.
const BESIDE_HEADERS: usize = 2048;

/// The server keeps milliseconds in 32 bits, and closes the channel on which it is told more.
const LONGEST_LIFE: Duration = Duration::from_secs(49 * 86_400);

/// A message's properties and headers; its payload travels as it is. `id` is what its return would be known by.
///
/// A table has no order and no repeated names: what is repeated is an array under its name.
pub(crate) fn properties(message: &Message, id: &str, frame: usize) -> Result<BasicProperties, Error> {
    let dressed = dress(message, HeaderValues::Binary);
    let mut properties = BasicProperties::default().with_delivery_mode(2).with_message_id(short(id)?);
    let mut table = BTreeMap::<&str, Vec<&Bytes>>::new();
    let mut size = BESIDE_HEADERS;
    for (name, value) in dressed.iter() {
        table.entry(name).or_default().push(value);
        size += name.len() + value.len() + 8;
    }
    if size > frame {
        let text = format!(
            "the headers have {size} bytes with what belongs to them, and a frame of RabbitMQ {frame}; send less in headers"
        );
        return Err(Error::new(ErrorKind::TooLarge, text));
    }
    if let Some(at) = UNIX_EPOCH.elapsed().ok().map(|since| since.as_secs()) {
        properties = properties.with_timestamp(at);
    }
    if let Some([content_type]) = table.get(names::CONTENT_TYPE).map(Vec::as_slice)
        && let Some(text) = std::str::from_utf8(content_type).ok().filter(|text| text.len() < 256)
    {
        properties = properties.with_content_type(short(text)?);
        table.remove(names::CONTENT_TYPE);
    }
    if let Some(id) = dressed.get_str(names::CORRELATION_ID).filter(|id| id.len() < 256) {
        properties = properties.with_correlation_id(short(id)?);
    }
    let mut headers = FieldTable::default();
    for (name, values) in table {
        let value = match values.as_slice() {
            [one] => value(one),
            many => AMQPValue::FieldArray(FieldArray::from(many.iter().map(|one| value(one)).collect::<Vec<_>>())),
        };
        headers.insert(short(name)?, value);
    }
    Ok(properties.with_headers(headers))
}

/// How long a message lives, as the server reads it: in milliseconds, and never shorter than it should.
pub(crate) fn expiration(topic: &Topic, life: Duration) -> Result<ShortString, Error> {
    if life > LONGEST_LIFE {
        let text =
            format!("a message for `{topic}` is to expire in {life:?}, and RabbitMQ counts up to 49 days; let it expire earlier");
        return Err(Error::new(ErrorKind::Rejected, text));
    }
    short(&life.as_nanos().div_ceil(1_000_000).to_string())
}

/// Text is a string to every client; anything else is bytes.
fn value(bytes: &Bytes) -> AMQPValue {
    match std::str::from_utf8(bytes) {
        Ok(text) => AMQPValue::LongString(text.into()),
        Err(_) => AMQPValue::ByteArray(ByteArray::from(bytes.to_vec())),
    }
}

fn short(text: &str) -> Result<ShortString, Error> {
    ShortString::try_new(text).map_err(|error| {
        let start: String = text.chars().take(40).collect();
        Error::new(ErrorKind::TooLarge, format!("names of headers have 255 bytes at most on RabbitMQ, and `{start}…` has more"))
            .with_source(error)
    })
}

/// The properties of a message that is published again as it came: all but the sender's user, which is not ours, and the count of its
/// deliveries, which begins anew.
pub(crate) fn passed_on(came: &BasicProperties, mark: &str) -> BasicProperties {
    let mut new =
        BasicProperties::default().with_delivery_mode(2).with_message_id(ShortString::try_new(mark).unwrap_or_default());
    macro_rules! keep {
        ($($get:ident $set:ident)*) => {$(
            if let Some(value) = came.$get() {
                new = new.$set(value.clone());
            }
        )*};
    }
    keep!(content_type with_content_type content_encoding with_content_encoding priority with_priority
        correlation_id with_correlation_id reply_to with_reply_to expiration with_expiration timestamp with_timestamp
        kind with_type app_id with_app_id);
    if let Some(headers) = came.headers() {
        let mut headers = headers.inner().clone();
        headers.remove("x-delivery-count");
        new = new.with_headers(headers.into());
    }
    new
}

/// What came out of a queue.
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) published_at: Option<SystemTime>,
    /// How often it was delivered, this time included, as far as the queue counts.
    pub(crate) deliveries: u32,
}

/// The message that a delivery brings, by us or by a client that knows nothing of us.
pub(crate) fn received(topic: &Topic, properties: &BasicProperties, data: Vec<u8>, redelivered: bool) -> Received {
    let mut deliveries = 1 + u32::from(redelivered);
    let mut headers = Headers::new();
    if let Some(content_type) = properties.content_type() {
        headers.append(names::CONTENT_TYPE, content_type.as_str().to_owned());
    }
    for (name, value) in properties.headers().iter().flat_map(|table| table.inner()) {
        let name = name.as_str();
        if name == "x-delivery-count" {
            let count = number(value).and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
            deliveries = deliveries.max(count.saturating_add(1));
            continue;
        }
        let name = HeaderName::from(Spelling::Dash.read(name).into_owned());
        let content_type = name.as_str() == names::CONTENT_TYPE && headers.get(names::CONTENT_TYPE).is_some();
        if !content_type {
            append(&mut headers, &name, value);
        }
    }
    let message = undress(topic, headers, Bytes::from(data), HeaderValues::Binary);
    let published_at = properties.timestamp().and_then(|at| UNIX_EPOCH.checked_add(Duration::from_secs(at)));
    Received { message, published_at, deliveries }
}

/// What is no value of a header, as a table within the table, is left out.
fn append(headers: &mut Headers, name: &HeaderName, value: &AMQPValue) {
    match value {
        AMQPValue::LongString(text) => headers.append(name.clone(), text.as_bytes().to_vec()),
        AMQPValue::ShortString(text) => headers.append(name.clone(), text.as_str().to_owned()),
        AMQPValue::ByteArray(bytes) => headers.append(name.clone(), bytes.as_slice().to_vec()),
        AMQPValue::Boolean(is) => headers.append(name.clone(), is.to_string()),
        AMQPValue::Float(number) => headers.append(name.clone(), number.to_string()),
        AMQPValue::Double(number) => headers.append(name.clone(), number.to_string()),
        AMQPValue::Timestamp(seconds) => headers.append(name.clone(), seconds.to_string()),
        AMQPValue::FieldArray(values) => values.as_slice().iter().for_each(|value| append(headers, name, value)),
        other => {
            if let Some(number) = number(other) {
                headers.append(name.clone(), number.to_string());
            }
        }
    }
}

fn number(value: &AMQPValue) -> Option<i128> {
    Some(match value {
        AMQPValue::ShortShortInt(number) => i128::from(*number),
        AMQPValue::ShortShortUInt(number) => i128::from(*number),
        AMQPValue::ShortInt(number) => i128::from(*number),
        AMQPValue::ShortUInt(number) => i128::from(*number),
        AMQPValue::LongInt(number) => i128::from(*number),
        AMQPValue::LongUInt(number) => i128::from(*number),
        AMQPValue::LongLongInt(number) => i128::from(*number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 128 * 1024;

    fn there_and_back(message: &Message) -> Message {
        let properties = properties(message, "id", FRAME).unwrap();
        received(message.topic(), &properties, message.payload().to_vec(), false).message
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        let every_byte: Vec<u8> = (0..=255).collect();
        let mut repeated = Message::builder("t").header("a", "text").payload("p");
        for value in ["1", "", "2", "1"] {
            repeated.headers_mut().append("b", value);
        }
        for message in [
            repeated.build(),
            Message::builder("t").key(every_byte.clone()).header("x", every_byte).payload("").build(),
            Message::builder("t").key("k").tombstone().build(),
            Message::builder("t").header("content-type", "application/json").header("ce-id", "ü ☃").payload("{}").build(),
        ] {
            assert_eq!(there_and_back(&message), message);
        }
    }

    #[test]
    fn what_other_clients_write_is_understood() {
        let mut table = FieldTable::default();
        table.insert("cloudEvents:id".into(), AMQPValue::LongString("7".into()));
        table.insert("count".into(), AMQPValue::LongInt(-5));
        table.insert("x-delivery-count".into(), AMQPValue::LongLongInt(2));
        let properties = BasicProperties::default().with_headers(table).with_content_type("text/plain".into());
        let received = received(&"t".into(), &properties, b"x".to_vec(), true);
        assert_eq!((received.message.id(), received.message.content_type()), (Some("7"), Some("text/plain")));
        assert_eq!((received.message.headers().get_str("count"), received.deliveries), (Some("-5"), 3));
    }

    #[test]
    fn headers_that_no_frame_holds_are_refused_before_they_break_the_connection() {
        let message = Message::builder("t").header("x", vec![b'x'; FRAME]).build();
        assert_eq!(properties(&message, "id", FRAME).unwrap_err().kind(), ErrorKind::TooLarge);
        let message = Message::builder("t").header("n".repeat(256), "x").build();
        assert_eq!(properties(&message, "id", FRAME).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
