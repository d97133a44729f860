//! The broker's promises, one test each, in virtual time.

mod connections;
mod end;
mod expiry;
mod failing;
mod guises;
mod harness;
mod ownership;
mod patterns;
mod publishing;
mod reading;
mod settling;
mod soak;
