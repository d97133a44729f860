//! The runtime of convoke: it binds the registry to a broker and runs it on tokio.
//!
//! Applications use the `convoke` crate, which re-exports what they need.

mod app;
#[cfg(feature = "config")]
mod config;
mod describe;
mod driver;
mod forward;
mod observe;
mod on_demand;
mod publisher;
#[cfg(feature = "redrive")]
mod redrive;
#[cfg(feature = "testkit")]
pub mod testkit;
mod words;

/// Dead letters: to be looked at, sent back to the group that gave up on them, and thrown away.
#[cfg(feature = "redrive")]
pub mod dead {
    pub use crate::redrive::{
        DeadLetter, DeadLetters, DeadTopic, Fate, Filter, Handled, Listing, MAX_REPLAYS, Options, Refusal, Report,
    };
}

pub use app::{
    App, AppHandle, AppStatus, BROKER_VARIABLE, BrokerSource, CONFIG_VARIABLE, DEFAULT_URL, DrainReport, ExpectedHandlers,
    GROUPS_VARIABLE, HandlerStatus, ReadyApp, STALLED, TOPICS_VARIABLE,
};
pub use app::{HandlerRef, RunningSubscription, Subscribe};
pub use describe::{DESCRIBE_VARIABLE, Description, EventDescription, HandlerDescription};
pub use driver::{OnGap, StopReason, Stopped, UnknownEvents};
pub use observe::{End, Happening, Observer, What};
