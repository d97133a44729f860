//! The adapter of convoke for Redis Streams.
//!
//! # How a topic lies on the server
//! A topic has a fixed number of partitions, each a stream `{<topic>}:<p>`; a key's partition is that of Kafka's Java client. An entry
//! has a field for each header (`ce_id`, …), `ce_partitionkey` for the key and `data` for the payload. Clients that know nothing of
//! partitions write to the stream `<topic>`, from which each message is moved once, to the partition of its key; they read the
//! partitions.
//!
//! | key | what |
//! |---|---|
//! | `{<topic>}:meta` | the number of partitions |
//! | `{<topic>}:later`, `:scheduled` | what is published for later, and when |
//! | `{<topic>}:<group>:members`, `:news`, `:epoch`, `:open` | who lives; a stream that wakes all of them; generations; who has not given back |
//! | `{<topic>}:<group>:lease:<p>` | the token of the owner, which ends by itself |
//! | `{<topic>}:<group>:kept:<p>`, `:due:<p>` | attempts, deaths and due times of what is out of the ordinary |
//! | `convoke:topics` | the names of all topics, for tools |
//!
//! # Invariants
//! 1. Whatever is done to a partition for a group is one script, which shows the token of the lease first. A process that was frozen
//!    or cut off reads nothing and settles nothing of what another has.
//! 2. The one consumer of a group is called `owner`. Who takes a partition over reads what is pending first, in order, then what is
//!    new: nothing overtakes what the last owner left.
//! 3. What waits for a retry stays pending under its own id; only its time is kept beside it. So nothing is ever in two places.
//! 4. Nothing is discarded that any group has not read, or not settled.
//! 5. What blocks takes nothing: it only says where to look, on a connection of its own.
//! 6. The topic whose name comes first says who has a number of all topics that the same members read: its lease is taken first and
//!    given back last.
//!
//! # Delivery
//! - A partition is ours for `lease` after the last renewal that was answered, counted from when it was sent: past that nothing is
//!   started, whatever the buffers hold.
//! - A delivery has no lease of its own: it is ours as long as its partition. [`Settle::Extend`](convoke_core::broker::Settle::Extend)
//!   has nothing to do.
//! - Groups with `order = none` are read in the same way: a partition has one owner.
//! - Settlements that come in while an answer is awaited go out together, one script a partition.
//! - `unclean` is said when the last owner did not give back, and was not this member: it died, or was cut off for longer than `lease`.
//!
//! # Cancel safety
//! Settling and closing happen when the method is called. A publish whose future is dropped may have happened, or not.
//!
//! # Limits
//! Redis 7.0 or later (Valkey too), one server or a primary with replicas; nodes of a cluster are refused. No deduplication, no
//! transactions, no expiry, no reply-to, no patterns: each is refused, not ignored. A failover to a replica loses what the replica had
//! not heard of: Redis confirms before it replicates.

mod broker;
mod entry;
mod failure;
mod keys;
mod link;
mod options;
mod publish;
mod reply;
mod script;
mod subscription;
mod topology;

pub use broker::{RedisBroker, open};
pub use options::{HANDLER_OPTIONS, Options, TOPIC_OPTIONS};
/// The client behind it: [`RedisBroker::connection`] is one of its connections.
pub use redis as client;
