//! The NATS JetStream adapter.
//!
//! Invariants:
//! 1. A partition has one owner: who wrote the owner's key of the bucket last, while the server has heard of him within his lease. He
//!    himself counts from before he spoke, so that he stops first.
//! 2. A new owner delivers nothing before everything is with him that the old one was given and did not settle.
//! 3. What is asked of the server is never more than what was granted.
//! 4. What has to outlive us beside a message (attempts, deaths, a due time) is in the bucket before the server is told of it, and leaves
//!    the bucket after the message is acknowledged.
//! 5. With the connection everything is lost that was ours; it is assigned anew when there is one again.
//! 6. A message that ends the connection, since the client cannot read it, does so once: then it is set aside (`aside`).

mod amend;
mod arrival;
mod aside;
mod broker;
mod consumers;
mod control;
mod expiry;
mod failure;
mod hands;
mod lag;
mod link;
mod moved;
mod names;
mod numbered;
mod options;
mod part;
mod publish;
mod reader;
mod router;
mod schedule;
mod store;
mod takeover;
mod topology;
mod unreadable;
mod view;
mod wire;

pub use async_nats;
pub use broker::{Nats, open};
pub use convoke_broker_common::{Secret, Tls};
pub use options::{HANDLER_OPTIONS, Options, TOPIC_OPTIONS};
