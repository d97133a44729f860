//! `tower` layers for convoke's handlers.
//!
//! A handler is a [`Service`](tower::Service) from a [`Delivery`](convoke_core::Delivery), which is one message or a batch, to a
//! [`Reply`](convoke_core::Reply). Layers are put around it once, when the application is built: those of the application
//! outermost, then those of the group, then those of the handler.
//!
//! Here is only what must know of messages:
//!
//! | Layer | Does | To acknowledgement |
//! |---|---|---|
//! | [`TraceLayer`] | a span for each delivery, by OpenTelemetry's conventions | nothing |
//! | [`FilterLayer`] | keeps messages from the handler | acknowledges those that are not wanted |
//! | [`DedupLayer`] | keeps messages from the handler that it has handled before | acknowledges those |
//! | [`BreakerLayer`] | pauses the handler when too many calls fail | nothing: while it is open, no attempt is counted |
//!
//! To add one, copy the folder of one of these.
//!
#![doc = include_str!("docs/tower.md")]

pub mod breaker;
pub mod dedup;
pub mod filter;
mod kind;
mod plan;
pub mod trace;

#[doc(inline)]
pub use self::{breaker::BreakerLayer, dedup::DedupLayer, filter::FilterLayer, trace::TraceLayer};
