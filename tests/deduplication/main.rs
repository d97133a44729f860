//! Messages that come again: known by their identity, handled once, and never lost for it.
#![allow(unreachable_pub, reason = "what the tests share")]

mod faults;
mod once;
#[path = "../support/mod.rs"]
mod support;
mod world;
