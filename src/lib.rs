//! convoke: event-driven applications in Rust, on the broker of your choice.

extern crate self as convoke;

pub use convoke_core::*;
pub use convoke_layers as layers;
#[cfg(all(feature = "macros", feature = "testkit"))]
pub use convoke_macros::test;
#[cfg(feature = "macros")]
pub use convoke_macros::{event, handler};

/// What most programs use: `use convoke::prelude::*;`.
pub mod prelude {
    pub use convoke_core::{
        Batch, BatchReply, Class, Classify, Event, Message, Meta, Outcome, Publisher, State, after, permanent, transient,
        unavailable,
    };
    #[cfg(feature = "macros")]
    pub use convoke_macros::{event, handler};
}

/// What generated code names. Not public API: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use convoke_core::__private::*;
    pub use convoke_core::*;
}
