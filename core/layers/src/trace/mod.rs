//! A span for each delivery.
//!
//! [`TraceLayer`] makes a [`tracing`] span of each call of a handler, named and filled in by OpenTelemetry's conventions for
//! messaging, and enters it whenever the call is polled. It is what `tracing-opentelemetry` makes a consumer's span of; any other
//! subscriber shows it as it is. The target is [`TARGET`].
//!
//! | Field | Value |
//! |---|---|
//! | `otel.name`, `otel.kind` | `process <topic>`, `consumer` |
//! | `messaging.system` | what [`TraceLayer::system`] was given |
//! | `messaging.operation.type`, `messaging.operation.name` | `process` |
//! | `messaging.destination.name`, `messaging.destination.partition.id` | where it was read; of a batch, if it is one place |
//! | `messaging.consumer.group.name` | the group |
//! | `messaging.message.id`, `messaging.message.body.size` | of a single message |
//! | `messaging.batch.message_count` | of a batch |
//! | `traceparent` | of a single message, if it came with one that is well formed |
//! | `convoke.handler`, `convoke.attempt` | the handler's name, the number of the attempt; of a batch, the highest |
//! | `convoke.outcome` | at the end: `ack`, `retry`, `dead`, `drop`, `unavailable`, `error`, `mixed` if messages of a batch differ, `panic`, or `cancelled` if the call was given up, as after the handler's `timeout` |
//! | `error.type`, `otel.status_code` | at the end, of a failure: `transient`, `permanent` or `unavailable` by the error's class, `timeout` or `overloaded` of tower's layers, `claimed-elsewhere` of deduplication, `panic`, or the reason of a dead letter; and `ERROR` |
//!
//! Beside the span there are events, within it and with the same target, which name the message themselves so that they are of
//! use where spans are off: an attempt that failed and a message that is given up at `WARN`, with the error; a retry and an
//! unavailability that the handler asked for at `DEBUG`; and at `TRACE` each message of a batch, with its id and `traceparent`.
//! Payloads, keys and headers other than the id and `traceparent` are never written. What an error says of itself is.
//!
//! # Links
//! The span begins a trace of its own, as the conventions want it, and is linked to the publisher's: by a
//! `tracing_subscriber::Layer` that finds the field `traceparent` in `on_new_span`; or, with `tracing-opentelemetry`, by a layer
//! further in that calls `Span::current().add_link(…)`, or `set_parent(…)` to stay in the publisher's trace, with what its
//! propagator reads from the headers of the message.
//!
//! # Delivery
//! Changes nothing about acknowledgement.
//!
//! # Differences from `tower_http::trace`
//! That one takes HTTP requests. This one has no callbacks: the conventions leave nothing to choose.
//!
//! # When not to use it
//! It can stay in everywhere: if no subscriber wants the span or the events, it asks for no id, takes no memory and calls
//! nobody. Put it outermost, so that what other layers do is in the span; and only once, or there are two spans.
//!
//! # Examples
//! ```
//! use convoke_core::{BoxHandler, Reply, handler_fn};
//! use convoke_layers::TraceLayer;
//!
//! let handler = BoxHandler::new(handler_fn(|_delivery| async { Ok(Reply::ack()) }));
//! let handler = handler.layered(&TraceLayer::new().system("kafka"));
//! # let _ = handler;
//! ```

mod ending;
mod event;
mod future;
mod layer;
mod record;
mod service;
mod span;

pub use self::{future::ResponseFuture, layer::TraceLayer, service::Trace};

/// The target of the spans and events, for filters: `convoke=info`, or `convoke::process=debug`.
pub const TARGET: &str = "convoke::process";
