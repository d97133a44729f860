//! Keeps messages from a handler.
//!
//! [`FilterLayer`] asks a predicate about every message. Those that it does not want are done: the handler is not called for
//! them.
//!
//! - None is wanted: the reply is [`Outcome::Drop`](convoke_core::Outcome::Drop), and the handler is not called.
//! - All are wanted: the delivery goes on as it is.
//! - Some of a batch are wanted: the handler is called with these, in their order. Its verdicts come back under the indices that
//!   they had before; the others have [`Outcome::Drop`](convoke_core::Outcome::Drop).
//!
//! The predicate is called once for each message of each attempt, so let it depend on the message alone. If it panics, that is a
//! failed attempt, as if the handler had.
//!
//! # Delivery
//! A message that is not wanted is **acknowledged**, and this group never sees it again; the code said so, by adding this layer.
//! A message of a batch that a layer further out has already given up is dead-lettered all the same. If the handler fails with
//! only some of a batch wanted, each of these carries the failure as a [`BatchError`]; the others are acknowledged.
//!
//! # Differences from `tower::filter`
//! tower's filter answers with an error, which here is a failed attempt: the message would be tried again, and dead-lettered in
//! the end. This one asks about messages, not about requests, so that it can divide a batch.
//!
//! # When not to use it
//! - To share one topic among handlers by what a header says, use the handler's own content match: the application then knows
//!   when nobody takes a message.
//! - For messages that are broken, return [`permanent`](convoke_core::permanent): they belong into the dead-letter topic.
//!
//! # Examples
//! ```
//! use convoke_core::{BoxHandler, Reply, handler_fn};
//! use convoke_layers::FilterLayer;
//!
//! let handler = BoxHandler::new(handler_fn(|_delivery| async { Ok(Reply::ack()) }));
//! let of_acme = FilterLayer::new(|delivered| delivered.message().headers().get_str("tenant") == Some("acme"));
//! let handler = handler.layered(&of_acme);
//! # let _ = handler;
//! ```

mod error;
mod future;
mod layer;
mod service;

pub use self::{error::BatchError, future::ResponseFuture, layer::FilterLayer, service::Filter};
