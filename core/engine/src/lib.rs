//! The delivery engine of convoke: ordering, retry, settlement, credit and drain as state machines without I/O.
//!
//! Time comes in as a number, messages stay with the driver, jitter is a hash: the same inputs give the same outputs.
mod commit;
mod credit;
mod drain;
mod engine;
mod finish;
mod io;
mod lane;
mod list;
mod part;
mod run;
mod settle;
mod slot;
mod timer;

pub use engine::{Engine, RouteStatus};
pub use io::{Answer, Cap, Config, End, In, Meta, Note, Out, Published, Route, RouteId, Slot, Time, Verdict};
