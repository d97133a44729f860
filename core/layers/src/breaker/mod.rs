//! Pauses a handler while what it depends on is down, so that no message loses its attempts to that.
//!
//! [`BreakerLayer`] looks at how the last calls of a handler ended. When too many of them failed, it **opens**: what is called, and
//! what is still running and fails, is **unavailable**. For that the runtime pauses the handler, counts nothing as an attempt and gives
//! nothing up; the messages wait in their order. After a second, then two, up to thirty, it tries one message. The breaker lets
//! that one through: if it works, the breaker **closes** and the handler goes on; if it fails, that is unavailable too.
//!
//! # What counts
//! | a call that ends with | says of what the handler depends on |
//! |---|---|
//! | success, for at least one message | it works |
//! | `transient` errors (what an error is that says nothing else), `after`, [`Outcome::Retry`](convoke_core::Outcome::Retry) | it fails |
//! | a timeout, of tower's layer or the handler's own; any other end of a call before it was done | it fails |
//! | `permanent` errors, dead letters, `Outcome::Drop`, panics | nothing: that is about the message |
//! | `unavailable` | nothing, as the handler pauses by itself; of the one that is let through, that it still fails |
//! | a shed load, a message that another delivery has claimed | nothing |
//!
//! A batch is one call; it fails if no message of it succeeded. By default the breaker opens when 10 of the last 20 calls failed, of
//! those that ended within a minute ([`BreakerLayer::opens_at`], [`BreakerLayer::within`]). Let it be more than the handler has
//! attempts: a single message that always fails should not be what opens it.
//!
//! Every handler has a breaker of its own, wherever the layer was added. What it does is logged, and can be read from
//! [`BreakerLayer::breakers`].
//!
//! # Delivery
//! Nothing is acknowledged, and nothing given up. Failures before it opens are failed attempts, as without it. Those that make it open, or
//! come while it is open, are not.
//!
//! A handler's own `timeout` is a failed attempt in any case, that of the message which is let through included: what is cancelled from
//! outside cannot be excused. For what may hang, put tower's `TimeoutLayer` inside of the breaker, with a shorter time.
//!
//! With a [`DedupLayer`](crate::DedupLayer), put it inside of that: a message that was handled before says nothing of what works now.
//!
//! # Differences from other breakers
//! An error that says [`unavailable`](convoke_core::unavailable) pauses the handler without any layer: where the handler can tell that
//! its database is away, let it say so, and take no breaker. This one is for where it cannot tell. A breaker that was not made for
//! messages (`tower-resilience-circuitbreaker`, say) rejects calls while it is open and keeps a time of its own: map its errors as
//! the [crate's documentation](crate) shows. Take it for what this one does not do, slow calls that count as failed for example, or
//! around a client within the handler, where there are requests and not messages.
//!
//! # Examples
//! ```
//! use convoke_core::{BoxHandler, Reply, handler_fn};
//! use convoke_layers::BreakerLayer;
//!
//! let breaker = BreakerLayer::new().opens_at(5, 10);
//! let breakers = breaker.breakers();
//! let handler = BoxHandler::new(handler_fn(|_delivery| async { Ok(Reply::ack()) })).layered(&breaker);
//! assert!(breakers.all().iter().all(|one| !one.state.is_open()));
//! # let _ = handler;
//! ```

mod future;
mod heard;
mod layer;
mod service;
mod state;

pub use self::{
    future::ResponseFuture,
    layer::{BreakerLayer, BreakerStatus, Breakers},
    service::{Breaker, BreakerOpen},
    state::State,
};
