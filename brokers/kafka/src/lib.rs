//! The adapter of convoke for Apache Kafka, over librdkafka.
//!
//! `kafka://[user:password@]host[:port][,host…][?option=value&…]`; the options stand in [`Options`].
//!
//! Invariants:
//! 1. One thread for each subscription polls, and never stops, whatever the handlers do. Callbacks of librdkafka run within its poll,
//!    and nowhere else.
//! 2. A partition is ours from the callback that assigns it to the one that revokes it, or to its loss. Each such time has an epoch
//!    of its own, and what belongs to an old one changes nothing.
//! 3. Nothing is delivered beyond the credit. What is fetched before there is credit waits in a buffer with a bound; beyond that its
//!    partition is paused, or all is polled seldom.
//! 4. A position and its text are one commit. The text is `open` while we have the partition, and `closed` when we give it back:
//!    so a death shows; nothing is delivered before the brokers have said that it is open. Offsets are never stored in the client,
//!    which would commit them by itself.
//! 5. A partition that is revoked is given back only when the runtime has said that it is through, or its time is over; until then the
//!    polling thread waits within the callback, and commits what comes.
//! 6. A publish is confirmed when the brokers say so (`acks=all`, idempotent), and not when librdkafka has taken it.
//! 7. No call of an application's task waits for librdkafka: what blocks is done on the polling thread, or on tokio's blocking threads.

mod asking;
mod broker;
mod client;
mod config;
mod connect;
mod consumer;
mod errors;
mod lag;
mod options;
mod publish;
mod record;
mod said;
mod starts;
mod stranded;
mod topology;
mod watch;

pub use broker::{Kafka, Native, open};
pub use options::{HANDLER_OPTIONS, Options, TOPIC_OPTIONS};
