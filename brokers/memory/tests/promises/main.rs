//! The broker's promises, one test each, in virtual time.

mod harness;
mod publishing;
