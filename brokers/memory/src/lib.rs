//! The embedded broker of convoke: a broker in the process, with nothing to install.
//!
//! It behaves like a broker, not like a channel: topics have partitions and keep what was published, groups have positions of
//! their own, members of a group share its partitions, deliveries have leases, and a subscription that is dropped without being
//! closed is a crash. What an application does on it, it does in the same way on Kafka or NATS. What it does not have is a disk:
//! everything is gone with the process ([`Durability::Memory`](convoke_core::broker::Durability::Memory)).
//!
//! # Names
//! `memory://` and `memory://name` are brokers that the whole process shares: whoever opens one of that name gets the same
//! one. It lives on while any connection or subscription to it lives, and starts empty after that. [`MemoryBroker::new`] is
//! one that nobody else can find. The options of a URL, with their defaults, are those of [`Options`]; what is not among them
//! is refused.
//!
//! # What is kept
//! A topic holds what any of its groups has not settled, and what comes last of the rest (`history`). Bounds: `retention`
//! messages for each partition and `retention_bytes` for each topic. At a bound, what every group has settled goes first; if
//! that is not enough, publishing is rejected and may be tried again, or with `full=trim` the oldest go, and whoever had not
//! read them is told with `Gap`. A topic that no group reads has nothing that is settled: it is kept, up to the bounds.
//!
//! # Delivery
//! - Each message is settled by itself. A message that is given back, or whose lease ran out, is delivered before newer ones of
//!   its partition, in the order of the log; a delayed one (`Nack` with `hold: false`) when it is due, never earlier.
//! - A settlement with the token of an earlier delivery counts as long as the epoch is the same, since it is about the
//!   same message. After a `Nack`, the message has to be delivered again before it can be settled again.
//! - A partition has one owner in each group, whether [`ordered`](convoke_core::broker::SubscribeSpec::ordered) was asked for
//!   or not. When members come and go, only what has to move is revoked, and partitions of equal number go to the same member
//!   where the same members read several topics.
//! - `Revoking` is followed by `Lost` if its time runs out, or the connection is cut, before
//!   [`revoked`](convoke_core::broker::SubscriptionControl::revoked) was called.
//! - [`unclean`](convoke_core::broker::Resume::unclean) is said after a subscription, or its stream alone, was dropped without
//!   `close`; not after a cut, a revocation or an owner that took too long, because this broker knows that their process lives.
//! - [`Start::At`](convoke_core::broker::Start::At) an offset that is not there yet begins when it is; one that is not there any
//!   more is reported as `Gap`.
//! - A [pattern](convoke_core::TopicPattern) reads a topic that appears later from its beginning, wherever the group began.
//! - A message that has expired is handed to nobody, not even once more. Until a group comes to it, it counts as what is left to read.
//! - [`until_end`](convoke_core::broker::SubscribeSpec::until_end): the marks are the ends of the logs when the subscription
//!   joins, and stay through cuts; nothing beyond them is handed to it, also if another member had it in hand before.
//!
//! # Cancel safety
//! Publishing, settling and closing happen when the method is called or its future first polled, whole batches at once: a
//! future that is dropped later changes nothing.
//!
//! # Time
//! Delays, leases, schedules and expiry follow tokio's clock, so that virtual time moves them; the streams of subscriptions need a tokio
//! runtime with its timer. Times of day (`published_at`, `Start::Time`, `deliver_at`, `expires_at`) follow the system's clock
//! when they are said.
//!
//! # Faults
//! [`Faults`](convoke_core::broker::Faults) are the broker's, whichever connection they are injected through. A cut is that of the
//! broker from everybody: publishes are rejected while it lasts, and those that wait for a slow answer become unknown.
//!
//! # Limits
//! No deduplication, no transactions, no reply-to: publishing with one of these is refused, not ignored.

mod broker;
mod clock;
mod cursor;
mod delete;
mod eager;
mod faults;
mod group;
mod log;
mod member;
mod options;
mod pattern;
mod position;
mod publish;
mod share;
mod state;
mod subscription;
mod topology;

pub use broker::{MemoryBroker, open};
pub use options::{Full, Guise, HANDLER_OPTIONS, Leases, Options, Positions, Rebalance, TOPIC_OPTIONS, Unrouted};
