//! Real servers for the tests of adapters: Kafka, NATS, Redis and RabbitMQ, on this machine.
//!
//! A [`Server`] is started with data and ports of its own, killed, restarted on its data, and frozen. It ends with the program that
//! started it, however that ends. A [`Proxy`] stands before it and cuts, stalls, delays and swallows what passes. A [`Client`] speaks
//! to it as others do: it is written in Python, with libraries that have nothing to do with ours.
//!
//! [`conform`] runs the conformance suite with all of these. [`secured`] is what holds of servers with passwords and certificates.
//! [`Processes`] are those of one group, which are killed.
//!
//! What is missing is installed by `tests/servers.sh install`; a test that needs a server which is not there fails and says so.
//! Where `CONVOKE_TEST_KAFKA`, `_NATS`, `_REDIS` or `_RABBITMQ` gives a URL, that server is used in place of one of our own. It can be
//! neither killed nor frozen.
//!
//! Everything may be used from any runtime, and outlives it.

mod client;
mod held;
mod kind;
mod logs;
mod processes;
mod proxy;
mod real;
pub mod secured;
mod server;
mod wire;

pub use client::Client;
pub use convoke_conformance::Side;
pub use kind::Kind;
pub use processes::Processes;
pub use proxy::Proxy;
pub use real::{Real, conform};
pub use server::Server;
