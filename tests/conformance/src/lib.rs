//! The conformance suite of convoke: one case or more for each promise of the delivery contract, D1 to D24, run by the author of
//! an adapter against a real broker.
//!
//! Each case runs whole applications on the adapter, in their default configuration, as users do: the adapter, the engine and the
//! runtime keep the promises together, and are tested together. Processes are started, drained, killed and frozen; connections
//! are cut; foreign clients write and read the same topics. Some cases run again in bad weather: on a slow or a broken wire, or while the
//! server freezes, is killed, and comes back.
//!
//! # Running it
//! Write a [`Harness`]: how to open a connection, what a client does that knows nothing of convoke, and, as far as you can, how
//! to make the server suffer. Then this is the test (`tests/conformance.rs` of the adapter's crate; with a dependency on
//! `async-trait`, on `convoke-core`, and on this crate):
//!
//! ```no_run
//! # mod my_adapter {
//! #     use std::sync::Arc;
//! #     use convoke_core::{Error, broker::Broker};
//! #     pub async fn open(_url: &str) -> Result<Arc<dyn Broker>, Error> { unimplemented!() }
//! #     pub struct Raw;
//! #     impl Raw {
//! #         pub async fn connect() -> Result<Self, Error> { unimplemented!() }
//! #         pub async fn send(&self, _: &str, _: Option<Vec<u8>>, _: Vec<(String, Vec<u8>)>, _: Option<Vec<u8>>) -> Result<(), Error> { unimplemented!() }
//! #         pub async fn read(&self, _: &str) -> Result<Vec<(Option<Vec<u8>>, Vec<(String, Vec<u8>)>, Option<Vec<u8>>)>, Error> { unimplemented!() }
//! #     }
//! # }
//! use std::sync::Arc;
//! use convoke_conformance::{Foreign, Harness, Stop};
//! use convoke_core::{Error, broker::Broker};
//!
//! struct MyBroker;
//!
//! #[async_trait::async_trait]
//! impl Harness for MyBroker {
//!     fn name(&self) -> String {
//!         "my broker 4.2".to_owned()
//!     }
//!     async fn open(&self) -> Result<Arc<dyn Broker>, Error> {
//!         my_adapter::open("mybroker://localhost?lease=5s").await
//!     }
//!     async fn produce_foreign(&self, topic: &str, message: Foreign) -> Result<(), Stop> {
//!         Ok(my_adapter::Raw::connect().await?.send(topic, message.key, message.headers, message.payload).await?)
//!     }
//!     async fn read_all_foreign(&self, topic: &str) -> Result<Vec<Foreign>, Stop> {
//!         let messages = my_adapter::Raw::connect().await?.read(topic).await?;
//!         Ok(messages.into_iter().map(|(key, headers, payload)| Foreign { key, headers, payload }).collect())
//!     }
//! }
//!
//! fn main() { // a #[test]
//!     convoke_conformance::run(|_case| MyBroker).assert();
//! }
//! ```
//!
//! `CONVOKE_CASE=d07 cargo test --test conformance -- --nocapture` runs the cases whose names contain `d07`.
//!
//! # The report
//! A case is passed, failed, or **lacking**: it could not be tried, because the harness cannot do what it takes, the broker declares
//! that it has not what the promise is about, or convoke has not built it. That is never counted as passed;
//! [`Report::assert_lacking`] keeps the list from growing unseen. A failure prints what happened: every delivery, call, publish and
//! settlement of the messages concerned, with the time and the process.
//!
//! # Time
//! Cases state waits and delays in milliseconds that [`Harness::time`] stretches. In real time every process has a runtime on a
//! thread of its own, and is killed by dropping that where it stands; for a client with threads of its own see
//! [`Harness::bury`]. The whole suite takes a few minutes then, and longer with a long lease, though several cases run at the same
//! time: they have topics of their own, and a case that [needs the server alone](needs_the_server_alone) must be given one. In [virtual](Time::Virtual) time,
//! for brokers within the process, it takes seconds.
//!
//! # What it does not do
//! Processes are killed within the test's own: `kill -9`, and what only that shows, is a matter of tests with programs of their
//! own.

#![warn(missing_docs)]

mod act;
mod calls;
mod cases;
mod harness;
mod home;
mod lab;
mod note;
mod process;
mod report;
mod run;
mod stop;
mod story;
mod tap;
mod weather;

pub use harness::{FILLER, Foreign, Harness, Side, Time, Trouble};
pub use report::{Outcome, Report, Row};
pub use run::{
    AT_ONCE_VARIABLE, CASE_VARIABLE, cases, disturbs_the_wire, fells_the_server, needs_the_server_alone, run, run_only,
};
pub use stop::Stop;
