//! Messages of ours and records of Kafka's.

use bytes::Bytes;
use convoke_core::cloudevents::Spelling;
use convoke_core::{HeaderName, Headers, Message, Topic, names};
use rdkafka::message::{BorrowedMessage, Header, Message as _, OwnedHeaders};

const SPELLING: Spelling = Spelling::Underscore;

/// Names that nearly every message has, so that they need no room of their own.
const KNOWN: [(&str, &str); 13] = [
    ("ce_id", names::ID),
    ("ce_source", names::SOURCE),
    ("ce_specversion", names::SPEC_VERSION),
    ("ce_type", names::TYPE),
    ("ce_time", names::TIME),
    ("ce_subject", names::SUBJECT),
    ("ce_partitionkey", names::PARTITION_KEY),
    ("ce_correlationid", names::CORRELATION_ID),
    ("ce_causationid", names::CAUSATION_ID),
    ("ce_datacontenttype", names::CONTENT_TYPE),
    ("content-type", names::CONTENT_TYPE),
    ("traceparent", names::TRACE_PARENT),
    ("tracestate", names::TRACE_STATE),
];

/// The headers as Kafka's clients spell them: bytes, and repeated names in order.
pub(crate) fn headers_out(message: &Message) -> Option<OwnedHeaders> {
    let headers = message.headers();
    if headers.is_empty() {
        return None;
    }
    let mut out = OwnedHeaders::new_with_capacity(headers.len());
    for (name, value) in headers.iter() {
        out = out.insert(Header { key: &SPELLING.write(name), value: Some(value.as_ref()) });
    }
    Some(out)
}

/// The message that a record of `topic` is: copied once, out of librdkafka's memory.
pub(crate) fn message(record: &BorrowedMessage<'_>, topic: &Topic) -> Message {
    let mut builder = Message::builder(topic.clone());
    if let Some(key) = record.key() {
        builder = builder.key(Bytes::copy_from_slice(key));
    }
    if let Some(headers) = record.headers() {
        builder = builder.headers(headers_in(headers));
    }
    match record.payload() {
        Some(payload) => builder.payload(Bytes::copy_from_slice(payload)).build(),
        None => builder.tombstone().build(),
    }
}

fn headers_in(headers: &impl rdkafka::message::Headers) -> Headers {
    let mut all = Headers::with_capacity(headers.count());
    for index in 0..headers.count() {
        let Some(Header { key, value }) = headers.try_get(index) else { continue };
        let name = match KNOWN.iter().find(|(theirs, _)| *theirs == key) {
            Some((_, ours)) => HeaderName::from_static(ours),
            None => HeaderName::from(SPELLING.read(key).into_owned()),
        };
        // Kafka tells a null from an empty value, and we do not.
        all.append(name, Bytes::copy_from_slice(value.unwrap_or_default()));
    }
    all
}
