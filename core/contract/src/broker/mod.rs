//! The adapter contract: what a broker's adapter does for the runtime.
//!
//! An adapter moves messages and says truthfully what happened to them. It decides nothing: the engine alone says when a
//! message is acknowledged, retried, or given up. What a broker lacks is declared in [`Capabilities`] and emulated once,
//! above the adapters.
//!
//! How each part maps onto the brokers that it was checked against:
//!
//! | here | Kafka | NATS JetStream | Redis Streams | RabbitMQ |
//! |---|---|---|---|---|
//! | partition | partition | subject and pull consumer `<p>` | stream `{topic}:<p>` | quorum queue `<p>`, single active consumer |
//! | [`Assigned`](SubscriptionEvent::Assigned) | rebalance callback | lease won | lease won | this member's share by the map |
//! | [`Revoking`](SubscriptionEvent::Revoking) | rebalance callback, which waits | giving a lease back | giving a lease back | giving a queue back |
//! | [`Lost`](SubscriptionEvent::Lost) | `assignment_lost()` | lease or pin lost | `FENCED` | channel or connection gone |
//! | [`Position`](crate::Position) | offset | stream sequence | entry id | delivery tag, not stable |
//! | [`Token`] | partition and offset | reply subject | entry id | delivery tag of a channel generation |
//! | [`grant`](SubscriptionControl::grant) | poll, later pause of one partition | size of the next pull | `COUNT` | prefetch |
//! | [`settle`](SubscriptionControl::settle) | none: [`commit`](SubscriptionControl::commit) | ack, nak, progress | `XACK`, script | ack, nack |
//! | attempts, deaths | commit metadata | KV bucket | hash | none |
//! | lease | none (polling thread) | ack wait, `+WPI` | lease key of the partition | none |
//!

#![doc = include_str!("../docs/slots.md")]

mod capabilities;
mod factory;
mod faults;
mod native;
mod progress;
pub(crate) mod sentence;
mod subscription;
mod topology;

use std::time::Duration;

use async_trait::async_trait;

pub use capabilities::{
    AttemptsKept, Capabilities, Credit, Delay, Durability, HeaderValues, LeaseKind, Ordering, PublishDelay, SettleBy,
};
pub use factory::{BrokerConfig, BrokerFactory, BrokerUrl, OpenBroker};
pub use faults::{Fault, Faults};
pub use native::{Native, NativeOption, NativeValue};
pub use progress::{Mark, Progress, Saved};
pub use subscription::{
    Commit, Deliveries, Resume, Settle, Settled, Settlement, Start, SubscribeSpec, Subscription, SubscriptionControl,
    SubscriptionEvent, Token,
};
pub use topology::{EnsureMode, EnsureReport, GroupSpec, TopicSpec, Topology};

use crate::error::Error;
use crate::publish::{Outgoing, Receipt};

/// A connection to a broker.
///
/// One is shared by all handlers and publishers of an application: every method may be called from any task at any time.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// What this broker can do, and how. Constant for the life of the connection.
    fn capabilities(&self) -> &Capabilities;

    /// Makes sure that topics and groups exist.
    ///
    /// Idempotent. Never deletes or shrinks anything. With [`EnsureMode::Check`] it changes nothing and reports what differs.
    ///
    /// # Errors
    /// If something is missing or different that the mode does not allow to create or change.
    ///
    /// # Cancel safety
    /// If the future is dropped, any part of it may be done; it can be called again.
    async fn ensure(&self, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error>;

    /// Publishes messages, each to its own topic. The answers are as many as the messages, in the same order.
    ///
    /// Messages of one call that go to one partition are stored in the order of the call.
    ///
    /// # Delivery
    /// [`PublishOutcome::Confirmed`] is said of what the broker has taken, and of nothing else. After a timeout or a lost
    /// connection the answer is [`PublishOutcome::Unknown`], never a guess. An adapter may take its time, a client's own repetitions
    /// included; the runtime waits as long as the application has patience, and then drops the future.
    ///
    /// # Cancel safety
    /// If the future is dropped, any number of the messages may have been published.
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<PublishOutcome>;

    /// Begins to read for a group. Several subscriptions of one group, here or in other processes, share its partitions.
    ///
    /// # Errors
    /// If the group or a topic does not exist, or if the spec asks for what the broker cannot do.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing is read; a member that had joined leaves.
    async fn subscribe(&self, spec: SubscribeSpec) -> Result<Subscription, Error>;

    /// Whether it can do what handlers say for brokers of its kind, as far as that is known before it is asked for. What is said to other
    /// kinds of broker is none of its business.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) or [`ErrorKind::InvalidUrl`](crate::ErrorKind::InvalidUrl) with
    /// everything that it cannot do.
    fn check_native(&self, said: &[Native]) -> Result<(), Error> {
        let _ = said;
        Ok(())
    }

    /// Whether it can have such topics and groups, as far as is known without asking the server: their names, and what events say of
    /// their topics for brokers of its kind. [`ensure`](Self::ensure) refuses the same.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTopic`](crate::ErrorKind::InvalidTopic) with the form of names that it can have;
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) with what else it cannot do.
    fn check_topology(&self, topology: &Topology) -> Result<(), Error> {
        let _ = topology;
        Ok(())
    }

    /// Deletes a topic and everything in it: a stream that was made for one run, and was consumed. What groups know of it is
    /// forgotten. Refused while it is read, where the broker can tell.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) unless the adapter offers it; what the broker says.
    async fn delete_topic(&self, topic: &crate::Topic) -> Result<(), Error> {
        let text =
            format!("{} cannot delete topics (`{topic}`) yet; delete it with the broker's own tools", self.capabilities().name);
        Err(Error::new(crate::ErrorKind::Unsupported, text))
    }

    /// Every topic that there is, with the number of its partitions, in the order of their names: for tools, which do not know the
    /// application.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) unless the adapter offers it; what the broker says.
    async fn topics(&self) -> Result<Vec<(crate::Topic, u32)>, Error> {
        let text = format!("{} cannot list its topics; name the one that you mean", self.capabilities().name);
        Err(Error::new(crate::ErrorKind::Unsupported, text))
    }

    /// How far a group is behind on the topics of a subscription.
    ///
    /// # Errors
    /// If the broker does not answer.
    ///
    /// # Cancel safety
    /// Safe: nothing changes.
    async fn lag(&self, group: &str, topics: &[crate::Topic]) -> Result<Lag, Error>;

    /// The state of the connection.
    fn health(&self) -> Health;

    /// Closes: flushes what was accepted, gives up subscriptions that are still open, releases the connection. Idempotent.
    ///
    /// # Cancel safety
    /// If the future is dropped, the connection is closed all the same, and what was not flushed may be lost.
    async fn close(&self, within: Duration) -> CloseReport;

    /// How to make this broker fail, for tests; `None` if it cannot be told to.
    fn faults(&self) -> Option<&dyn Faults> {
        None
    }

    /// The client behind it, for what the contract does not offer. Name the type that the adapter documents.
    fn native(&self) -> &(dyn std::any::Any + Send + Sync);
}

/// What became of a message that was to be published.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishOutcome {
    /// The broker has it.
    Confirmed(Receipt),
    /// The broker does not have it and said so, or it was never sent.
    Rejected {
        /// Whether the same message may be taken later.
        retryable: bool,
        /// What the broker said.
        error: Error,
    },
    /// Nobody's queue takes it, and [`Outgoing::require_route`] was set.
    Unroutable,
    /// It was sent and no answer came: it may have been stored. Repeating it under the same id is what the runtime does.
    Unknown(Error),
}

/// How far a group is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// Messages that the group has not been given yet, those that wait for their time excluded.
    pub backlog: Option<u64>,
    /// Messages that were given out and are not settled.
    pub unsettled: Option<u64>,
    /// Messages that wait for their time: delayed retries and scheduled messages.
    pub delayed: Option<u64>,
    /// The age of the oldest message that is not settled.
    pub oldest: Option<Duration>,
}

impl Lag {
    /// Nothing is left to do, as far as the broker can tell.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.backlog == Some(0) && self.unsettled.unwrap_or(0) == 0 && self.delayed.unwrap_or(0) == 0
    }
}

/// The state of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Connected and working.
    Up,
    /// Not connected, or refused; trying again.
    Down {
        /// Failures in a row.
        failures: u32,
        /// The last one.
        reason: String,
    },
    /// Closed by us.
    Closed,
}

/// How a connection was closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Messages that were given out and not settled: they will be delivered again.
    pub unsettled: u64,
    /// Messages that were accepted for publishing and not confirmed.
    pub unconfirmed: u64,
}
