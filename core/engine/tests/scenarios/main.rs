//! The engine, step by step: what it says to which inputs.
#![allow(missing_docs, unreachable_pub, reason = "tests say by their names what they are about")]

mod backoff;
mod closing;
mod common;
mod credit;
mod limits;
mod order;
mod settlement;
mod strays;
mod suspects;
