//! convoke: event-driven applications in Rust, on the broker of your choice.

extern crate self as convoke;

pub use convoke_core::*;
pub use convoke_layers as layers;

/// What most programs use: `use convoke::prelude::*;`.
pub mod prelude {
    pub use convoke_core::{
        Batch, BatchReply, Class, Classify, Event, Message, Meta, Outcome, Publisher, State, after, permanent, transient,
        unavailable,
    };
}

/// What generated code names. Not public API: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use convoke_core::__private::*;
    pub use convoke_core::*;
}
