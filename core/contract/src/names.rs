//! The names of headers, as they stand in a [`Message`](crate::Message) on every broker.
//!
//! The CloudEvents attributes are those of CloudEvents 1.0, binary mode, with the prefix `ce-`. Everything of our own
//! begins with `convoke-`.

/// CloudEvents `id`.
pub const ID: &str = "ce-id";
/// CloudEvents `source`: the application that published.
pub const SOURCE: &str = "ce-source";
/// CloudEvents `specversion`, always [`SPEC_VERSION_1_0`].
pub const SPEC_VERSION: &str = "ce-specversion";
/// The value of [`SPEC_VERSION`].
pub const SPEC_VERSION_1_0: &str = "1.0";
/// CloudEvents `type`: `<name>.v<version>` of an event.
pub const TYPE: &str = "ce-type";
/// CloudEvents `time`, RFC 3339 in UTC.
pub const TIME: &str = "ce-time";
/// CloudEvents `subject`.
pub const SUBJECT: &str = "ce-subject";
/// CloudEvents extension `partitionkey`, for brokers without a key of their own.
pub const PARTITION_KEY: &str = "ce-partitionkey";
/// CloudEvents extension `correlationid`: the id of the message that began a chain.
pub const CORRELATION_ID: &str = "ce-correlationid";
/// CloudEvents extension `causationid`: the id of the message whose handler published this one.
pub const CAUSATION_ID: &str = "ce-causationid";
/// The media type of the payload.
pub const CONTENT_TYPE: &str = "content-type";
/// W3C trace context.
pub const TRACE_PARENT: &str = "traceparent";
/// W3C trace context, vendors' part.
pub const TRACE_STATE: &str = "tracestate";

/// Names of headers whose values are percent-encoded, because the broker's headers are text: see [`escape`](crate::escape).
pub const ENCODED: &str = "convoke-encoded";

/// Every header of a dead letter begins with this.
pub const DEAD_PREFIX: &str = "convoke-dead-";
/// Why it died: a [`DeadReason`](crate::DeadReason) in kebab case.
pub const DEAD_REASON: &str = "convoke-dead-reason";
/// The last error, 1 KiB at most.
pub const DEAD_ERROR: &str = "convoke-dead-error";
/// The last error and its sources, one a line, 8 KiB at most.
pub const DEAD_ERROR_CHAIN: &str = "convoke-dead-error-chain";
/// How many attempts failed.
pub const DEAD_ATTEMPTS: &str = "convoke-dead-attempts";
/// When the first attempt failed, RFC 3339.
pub const DEAD_FIRST_FAILED_AT: &str = "convoke-dead-first-failed-at";
/// When it was given up, RFC 3339.
pub const DEAD_AT: &str = "convoke-dead-at";
/// The topic it was read from.
pub const DEAD_TOPIC: &str = "convoke-dead-topic";
/// The partition it was read from.
pub const DEAD_PARTITION: &str = "convoke-dead-partition";
/// Its position there (offset, stream sequence, entry id).
pub const DEAD_OFFSET: &str = "convoke-dead-offset";
/// Its key.
pub const DEAD_KEY: &str = "convoke-dead-key";
/// The group that gave up on it.
pub const DEAD_GROUP: &str = "convoke-dead-group";
/// The handler that gave up on it.
pub const DEAD_HANDLER: &str = "convoke-dead-handler";
/// The host on which that happened.
pub const DEAD_HOST: &str = "convoke-dead-host";
/// How often it was sent back from a dead-letter topic.
pub const REPLAY_COUNT: &str = "convoke-replay-count";

/// The id of a bare message in a group's own place: the one that its first place gave it. The runtime writes and reads it.
pub const ORIGIN_ID: &str = "convoke-origin-id";

/// Headers of a retry that waits in a group's own place begin with this. Handlers and dead letters never see them.
pub const RETRY_PREFIX: &str = "convoke-retry-";
/// How many attempts have failed.
pub const RETRY_ATTEMPTS: &str = "convoke-retry-attempts";
/// When it is to be tried again: milliseconds since 1970.
pub const RETRY_DUE: &str = "convoke-retry-due";
/// Where it was read from at first: partition, kind of position, position.
pub const RETRY_FROM: &str = "convoke-retry-from";
/// When the first attempt failed: milliseconds since 1970.
pub const RETRY_FIRST_FAILED_AT: &str = "convoke-retry-first-failed-at";
/// The last error, 1 KiB at most.
pub const RETRY_ERROR: &str = "convoke-retry-error";

/// The group under which the tools for dead letters read. It exists wherever dead letters go, so that a broker that keeps nothing
/// for nobody keeps them.
pub const REDRIVE_GROUP: &str = "convoke.redrive";

/// The topic of a group's own place for messages of `topic` that come again: delayed retries, and dead letters that are sent back.
#[must_use]
pub fn retry_topic(topic: &str, group: &str) -> String {
    format!("{topic}.{group}.retry")
}

/// The topic of a group's own place for retries of `topic` that wait for at least `seconds`, where the broker has no delays of its own.
#[must_use]
pub fn retry_tier(topic: &str, group: &str, seconds: u64) -> String {
    format!("{topic}.{group}.retry.{seconds}s")
}

/// The topic of a group's dead letters of `topic`, unless a handler names another.
#[must_use]
pub fn dead_topic(topic: &str, group: &str) -> String {
    format!("{topic}.{group}.dead")
}

pub use crate::headers::is_secret;
