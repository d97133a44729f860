//! Reading: credit out, deliveries in, settlement out.

use std::fmt;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_core::Stream;

use super::{Native, Progress};
use crate::delivery::Incoming;
use crate::error::Error;
use crate::message::Topic;
use crate::position::{Epoch, PartId, Position};
use crate::publish::BoxFuture;

/// What to read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SubscribeSpec {
    /// The group.
    pub group: String,
    /// The topics. Several only where handlers share a lane, or a group's place for retries is read too; partitions of equal
    /// number are then assigned together. A [`TopicPattern`](crate::TopicPattern) stands for every topic that it matches, those
    /// included that appear later; only where [`Capabilities::patterns`](super::Capabilities::patterns) is declared.
    pub topics: Vec<Topic>,
    /// Where a new group begins.
    pub start: Start,
    /// Where to stop: the end of each topic is marked now, and nothing beyond the marks is delivered. Once the group has settled
    /// everything below them, whoever of its members did, [`SubscriptionEvent::AtEnd`] is said. Messages that wait for a retry are
    /// waited for; what is scheduled and not due yet is not there. Only where
    /// [`Capabilities::until_end`](super::Capabilities::until_end) is declared.
    pub until_end: bool,
    /// Whether this subscription gets every message, by itself, without a group that outlives it. Its place is kept across
    /// interruptions for as long as the subscription lives. Only where [`Capabilities::broadcast`](super::Capabilities::broadcast)
    /// is declared.
    pub broadcast: bool,
    /// Whether partitions need one owner each, because keys are handled in order.
    pub ordered: bool,
    /// What its handlers say for one kind of broker or another: see [`BrokerUrl::of_native`](super::BrokerUrl::of_native).
    pub native: Vec<Native>,
}

impl SubscribeSpec {
    /// Reads `topics` for `group`, in order, from the earliest message.
    #[must_use]
    pub fn new(group: impl Into<String>, topics: Vec<Topic>) -> Self {
        Self {
            group: group.into(),
            topics,
            start: Start::Earliest,
            until_end: false,
            broadcast: false,
            ordered: true,
            native: Vec::new(),
        }
    }
}

/// Where a group begins that the broker does not know yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// At the oldest message there is.
    #[default]
    Earliest,
    /// At what is published from now on.
    New,
    /// At this position in every partition.
    At(Position),
    /// At the first message that was published at this time or later.
    Time(SystemTime),
}

/// A subscription: what comes in, and how to steer it.
///
/// Dropping both parts ends it without settling anything.
#[non_exhaustive]
pub struct Subscription {
    /// What happens, in order. Ends when the subscription is closed, and after [`SubscriptionEvent::AtEnd`].
    pub events: Pin<Box<dyn Stream<Item = SubscriptionEvent> + Send>>,
    /// How to steer it.
    pub control: Box<dyn SubscriptionControl>,
}

impl Subscription {
    /// A subscription of these parts.
    #[must_use]
    pub fn new(events: Pin<Box<dyn Stream<Item = SubscriptionEvent> + Send>>, control: Box<dyn SubscriptionControl>) -> Self {
        Self { events, control }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}

/// What happens to a subscription.
///
/// For each partition: `Assigned`, then any number of `Deliveries` and `Renewed` of that epoch, then `Lost`, or `Revoking` and,
/// once [`SubscriptionControl::revoked`] was called or its time is over, the end of the epoch, which `Lost` may say again: it is
/// to be tolerated for an epoch that is over. Positions of first deliveries
/// rise within an epoch; a redelivery may come at any time.
#[derive(Debug)]
#[non_exhaustive]
pub enum SubscriptionEvent {
    /// A partition is ours.
    Assigned {
        /// Names the partition from here on.
        part: PartId,
        /// The topic.
        topic: Topic,
        /// The partition's number.
        partition: u32,
        /// The generation.
        epoch: Epoch,
        /// For how long, unless renewed; counted from now. `None` where the broker fences by itself.
        term: Option<Duration>,
        /// What is known of work that was done before.
        resume: Resume,
    },
    /// Messages of one partition, in order, within the credit that was granted to it.
    Deliveries(Deliveries),
    /// The partition is ours for `term` more, counted from now.
    Renewed {
        /// The partition.
        part: PartId,
        /// The generation.
        epoch: Epoch,
        /// For how long.
        term: Duration,
    },
    /// The partition is wanted elsewhere: finish what runs, settle it, then call [`SubscriptionControl::revoked`].
    Revoking {
        /// The partition.
        part: PartId,
        /// The generation that ends.
        epoch: Epoch,
        /// How long there is for it.
        within: Duration,
    },
    /// The partition is gone: nothing of this epoch can be settled any more.
    Lost {
        /// The partition.
        part: PartId,
        /// The generation that ended.
        epoch: Epoch,
    },
    /// The connection is gone, and with it every partition; the adapter is trying to get back.
    Interrupted(Error),
    /// The connection is back; assignments follow.
    Resumed,
    /// Everything below the marks is settled ([`SubscribeSpec::until_end`]). Nothing comes after it.
    AtEnd,
    /// The broker discarded messages before we had them.
    Gap {
        /// The partition.
        part: PartId,
        /// The first position that is missing.
        from: Position,
        /// The first position that is there again.
        to: Position,
    },
}

/// Messages of one partition.
#[derive(Debug)]
#[non_exhaustive]
pub struct Deliveries {
    /// The partition.
    pub part: PartId,
    /// The generation.
    pub epoch: Epoch,
    /// The messages, in order.
    pub messages: Vec<Incoming>,
}

impl Deliveries {
    /// Messages of one partition, in order.
    #[must_use]
    pub fn new(part: PartId, epoch: Epoch, messages: Vec<Incoming>) -> Self {
        Self { part, epoch, messages }
    }
}

/// What an adapter knows, when a partition is assigned, of work that was done before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resume {
    /// Whether the last owner ended without giving the partition back. What it had been given is then suspected of having
    /// killed it, and tried alone.
    pub unclean: bool,
    /// By watermark only: what the last commit said, as [`Progress::decode`] reads it; nothing, if that does not understand the text.
    pub progress: Progress,
}

/// Says which delivery is to be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// The partition.
    pub part: PartId,
    /// The generation: settling with an old one answers [`Settled::Stale`].
    pub epoch: Epoch,
    /// The position.
    pub position: Position,
    /// What else the adapter needs (a reply subject, a delivery count).
    pub tag: Bytes,
}

impl Token {
    /// A token without a tag.
    #[must_use]
    pub const fn new(part: PartId, epoch: Epoch, position: Position) -> Self {
        Self { part, epoch, position, tag: Bytes::new() }
    }

    /// The same with what the adapter needs.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<Bytes>) -> Self {
        self.tag = tag.into();
        self
    }

    /// A token that settles nothing.
    #[must_use]
    pub const fn for_tests(position: Position) -> Self {
        Self::new(PartId(0), Epoch(0), position)
    }
}

/// How to steer a subscription. Every method may be called from any task.
///
/// `settle` and `commit` take effect in the order of the calls, whether or not their futures are polled, and always answer within
/// a bounded time; while a partition is being revoked, what repeating cannot help is answered with [`Settled::Stale`].
pub trait SubscriptionControl: Send + Sync {
    /// Lets the adapter deliver `messages` more, of `bytes` more in all, from a partition of an epoch; grants add up. The last
    /// message may go over the bytes. A grant for an epoch that is over is ignored.
    fn grant(&self, part: PartId, epoch: Epoch, messages: u32, bytes: u64);

    /// Settles deliveries. The answers are as many as the settlements, in the same order.
    ///
    /// # Delivery
    /// [`Settled::Applied`] is said only of what the broker has taken, as far as it tells; where it does not confirm, of what was
    /// handed to the connection.
    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'static, Vec<Settled>>;

    /// Commits by watermark. The answers are as many as the commits, in the same order.
    ///
    /// An adapter keeps each position with the text of its progress ([`Progress::encode`]). While it has the partition, that text is
    /// `open`; when it gives the partition back, it commits the same once more, closed: so the next owner knows whether the last one
    /// died ([`Resume::unclean`]).
    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'static, Vec<Settled>>;

    /// Says that the drain of a revoked partition is over: everything that will be settled is settled.
    fn revoked(&self, part: PartId, epoch: Epoch);

    /// Ends the subscription: no more deliveries, partitions given back for others at once, the event stream ends. What is
    /// not settled is delivered again. Idempotent.
    ///
    /// # Cancel safety
    /// If the future is dropped, the subscription ends all the same.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// What to do with a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settlement {
    /// Which one.
    pub token: Token,
    /// What to do.
    pub settle: Settle,
}

impl Settlement {
    /// Do this with that delivery.
    #[must_use]
    pub const fn new(token: Token, settle: Settle) -> Self {
        Self { token, settle }
    }
}

/// What can be done with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settle {
    /// It is done; never deliver it to this group again.
    Ack,
    /// It is not done: deliver it to this group again, not before `delay` is over.
    Nack {
        /// How long to wait. Where [`Delay::Native`](super::Delay::Native) is not declared it is other than zero only with `hold`,
        /// and is to be kept as `attempts` are: what is left of it comes back in [`Incoming::due_in`].
        delay: Duration,
        /// How many attempts of ours have failed, to be handed back with the delivery where there is a place for it.
        attempts: u32,
        /// Whether it keeps its place: it comes again at once and before everything behind it, with the rest of the delay in
        /// [`Incoming::due_in`], and the next owner of its key waits. Without it, what is behind may pass.
        hold: bool,
    },
    /// Its lease begins anew.
    Extend,
    /// It is about to be tried alone: keep in a durable place that this is the `deaths`th time, to be handed back with the
    /// delivery if we die of it. Only where [`Capabilities::marks`](super::Capabilities::marks) is declared.
    Mark {
        /// How often.
        deaths: u32,
    },
}

/// By watermark: everything below a position is done, and this above it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// The partition.
    pub part: PartId,
    /// The generation.
    pub epoch: Epoch,
    /// The lowest position that is not done, or the one after the last that is.
    pub upto: Position,
    /// What is done above it, and what failed; taken at the same moment as `upto`.
    pub progress: Progress,
}

impl Commit {
    /// Everything below `upto` is done, and what `progress` says.
    #[must_use]
    pub const fn new(part: PartId, epoch: Epoch, upto: Position, progress: Progress) -> Self {
        Self { part, epoch, upto, progress }
    }
}

/// What became of a settlement or a commit.
#[derive(Debug)]
#[non_exhaustive]
pub enum Settled {
    /// It was applied.
    Applied,
    /// The delivery is not ours any more: it was or will be delivered again. Not an error.
    Stale,
    /// The broker could not be reached, or no answer came: it may have been applied.
    Failed(Error),
}
