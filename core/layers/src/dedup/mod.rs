//! Has a handler called once for each message, as far as a store remembers.
//!
//! [`DedupLayer`] claims each message in a [`ClaimStore`](convoke_core::ClaimStore) before it calls the handler. The runtime
//! commits the claim once everything that the handler returned is confirmed, and then settles the message; if the message was not
//! handled, it releases the claim.
//!
//! - The claim is ours: the handler is called.
//! - The message was handled before: it is acknowledged without the handler, and counted as known.
//! - Somebody else has claimed it: it is tried again after a sixtieth of the lease. That is no attempt. Under `order = key` the
//!   messages behind it wait with it.
//! - The store cannot be reached: **unavailable**. The handler pauses, nothing is counted as an attempt, and a probe resumes it.
//!
//! In a batch each message has a claim of its own, and the handler is called with those that are ours. If somebody else has one, later
//! ones of its key stay out of the batch too.
//!
//! # What is the same message
//! One with the same CloudEvents `source` and `id`. Each handler handles it once: its group and name are part of the identity. A
//! message that lacks one of the two is known by its topic, partition and position, where a redelivery has the same; if a topic is
//! deleted and made anew, take a new store, or wait until the old one has forgotten. Where positions mean nothing beyond a connection,
//! such a message is handled as without this layer.
//!
//! # The lease
//! A claim ends by itself after its lease ([30 s](DedupLayer::LEASE)), so that the message of a process that died is handled by
//! another one. While a process holds the message, running or waiting for the confirmation of what was returned, the runtime
//! extends it at every third. A handler that blocks its thread for longer than the lease keeps it from doing so.
//!
//! # Delivery
//! A message that is known is **acknowledged**, and the handler is not called. What is remembered was acknowledged by the handler: a
//! claim is released, not committed, when the attempt fails, when the message is dropped or goes to the dead-letter topic (so that a
//! redrive is handled), when the handler is unavailable, panics, takes too long or is cancelled.
//!
//! What remains: a process that dies, or loses its store for longer than the lease, after the handler has done its work and before the
//! claim is committed. Its message is handled again. To close that gap too, let the handler's own database remember the id, in
//! the transaction that does the work.
//!
//! # Where to put it
//! On the handlers that cannot bear a repetition: `handler_layer("charge", DedupLayer::new(store))`. It asks the store twice for
//! each message. Layers further out see every delivery, layers further in only what is handled. Of two around one handler the outer
//! one counts.
//!
//! # Examples
//! ```
//! use std::sync::Arc;
//!
//! use convoke_core::{BoxHandler, Reply, handler_fn};
//! use convoke_layers::DedupLayer;
//! use convoke_layers::dedup::MemoryClaims;
//!
//! let store = Arc::new(MemoryClaims::new());
//! let handler = BoxHandler::new(handler_fn(|_delivery| async { Ok(Reply::ack()) }));
//! let handler = handler.layered(&DedupLayer::new(store));
//! # let _ = handler;
//! ```

mod error;
mod layer;
mod memory;
mod service;

pub use self::{error::ClaimedElsewhere, layer::DedupLayer, memory::MemoryClaims, service::Dedup};
