//! The model test of the delivery engine: random traces through the engine that runs in production, against a model of driver
//! and broker in which everything that can go wrong does, judged by an oracle that shares no code with it.
//!
//! `CONVOKE_SEED=<n> cargo test -p convoke-simulation one_seed -- --nocapture` shows one trace, step by step.

mod oracle;
mod rng;
mod sabotage;
mod stats;
mod world;

pub use oracle::{Oracle, Violation};
pub use rng::Rng;
pub use sabotage::Sabotage;
pub use stats::{Reached, Stats};
pub use world::{Failure, Report, run};
