//! What programs read.

use convoke::cloudevents::rfc3339;
use convoke::dead::{DeadLetter, Report};
use convoke::names;
use serde_json::{Map, Value, json};

use crate::text::hex;

/// What is known of a letter, without its headers and payload.
pub(super) fn letter(letter: &DeadLetter) -> Map<String, Value> {
    let value = json!({
        "id": letter.id(),
        "key": letter.key(),
        "reason": letter.reason().map(|reason| reason.as_str()),
        "error": letter.error(),
        "attempts": letter.attempts(),
        "replays": letter.replays(),
        "topic": letter.topic(),
        "group": letter.group(),
        "handler": letter.handler(),
        "host": letter.host(),
        "first_failed_at": letter.first_failed_at().map(rfc3339),
        "died_at": letter.died_at().map(rfc3339),
        "dead_topic": letter.message().topic().as_str(),
        "partition": letter.partition(),
        "position": letter.position().to_string(),
    });
    if let Value::Object(map) = value { map } else { Map::new() }
}

/// The headers that are not about the death, in order, and the payload. What is not UTF-8 is in hexadecimal digits, under another name.
pub(super) fn content(letter: &DeadLetter, into: &mut Map<String, Value>) {
    into.insert("error_chain".to_owned(), json!(letter.error_chain()));
    let own = letter.message().headers().iter().filter(|(name, _)| !name.starts_with(names::DEAD_PREFIX));
    let headers = own.map(|(name, value)| match std::str::from_utf8(value) {
        _ if names::is_secret(name) => json!({ "name": name, "secret": true }),
        Ok(text) => json!({ "name": name, "value": text }),
        Err(_) => json!({ "name": name, "value_hex": hex(value) }),
    });
    into.insert("headers".to_owned(), headers.collect());
    let payload = letter.message().payload();
    match std::str::from_utf8(payload) {
        _ if letter.message().is_tombstone() => into.insert("payload".to_owned(), Value::Null),
        Ok(text) => into.insert("payload".to_owned(), json!(text)),
        Err(_) => into.insert("payload_hex".to_owned(), json!(hex(payload))),
    };
}

/// The last line of a work.
pub(super) fn report(report: &Report, dry_run: bool) -> Value {
    json!({ "report": {
        "dry_run": dry_run,
        "seen": report.seen,
        "done": report.done,
        "left": report.left,
        "refused": report.refused,
        "failed": report.failed,
        "complete": report.complete,
        "partitions_elsewhere": report.elsewhere,
        "stopped": report.stopped.as_ref().map(|error| format!("{error:?}")),
    }})
}
