//! What goes into the engine and what comes out.

use std::time::Duration;

use convoke_core::broker::{Delay, Resume, Settle, SettleBy};
use convoke_core::{BatchOptions, DeadReason, Epoch, OnRetry, PartId, Position, RetryOptions};

/// A moment, in nanoseconds since an origin that the driver chooses. Never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Time(pub u64);

impl Time {
    /// This long after.
    #[must_use]
    pub const fn after(self, delay: Duration) -> Self {
        let nanos = delay.as_nanos();
        let nanos = if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 };
        Self(self.0.saturating_add(nanos))
    }

    /// How long it is from `earlier` to here; zero if that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The driver's name for a message: an index into its table of bodies, and the generation of that place.
///
/// The driver chooses a free index for each message that it hands in, and may use the index again, with the next generation,
/// once the engine has said [`Out::Free`]. An input that names an old generation is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// The place in the driver's table.
    pub index: u32,
    /// The generation of the place.
    pub generation: u32,
}

/// Names one of the handlers that share the subscription: its index in [`Config::routes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u16);

/// How an engine works. Constant for its life; what can change at run time is an input.
#[derive(Debug, Clone)]
pub struct Config {
    /// How messages are settled.
    pub settle: SettleBy,
    /// How a message is given back for later.
    pub delay: Delay,
    /// After how long a delivery expires that can be extended; it is extended at every third of that.
    pub lease: Option<Duration>,
    /// Whether there is a durable place for the marks of messages that are tried alone.
    pub marks: bool,
    /// After how many deaths a message is given up.
    pub deaths: u32,
    /// How many messages are in flight at most (or one for each partition, if that is more).
    pub messages: u32,
    /// How many bytes are in flight at most, one message for each partition over.
    pub bytes: u64,
    /// How many messages one key may have in flight; beyond that the intake of its partition stops.
    pub backlog: u32,
    /// By watermark: how much is done above it at most; beyond that the intake of the partition stops.
    pub ahead: u32,
    /// By watermark: how many characters the text of a commit may have; when it is nearly full, the intake of the partition stops.
    pub progress: Option<usize>,
    /// By watermark: how long a commit waits for others.
    pub commit_every: Duration,
    /// The longest delay that is waited out in this process where a message need not hold its key.
    pub in_process: Duration,
    /// How often a suspended handler is probed: after the first of these, then twice that, up to the second.
    pub probe: (Duration, Duration),
    /// How long to wait before a publish or a settlement that failed is repeated: as `probe`.
    pub repair: (Duration, Duration),
    /// How many executors there are: [`Out::Start`] names one by the message's lane.
    pub shards: u32,
    /// What jitter is made from, with a message's identity and attempt.
    pub seed: u64,
    /// The handlers.
    pub routes: Vec<Route>,
}

/// One handler's part of the configuration.
#[derive(Debug, Clone)]
pub struct Route {
    /// How many deliveries run at the same time.
    pub concurrency: u32,
    /// How failed attempts are repeated.
    pub retry: RetryOptions,
    /// What a waiting retry means for later messages of its lane.
    pub on_retry: OnRetry,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// How batches are collected, if it takes batches.
    pub batch: Option<BatchOptions>,
}

/// What the engine knows of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The driver's name for it.
    pub slot: Slot,
    /// Its place in the partition.
    pub position: Position,
    /// The handler that takes it.
    pub route: RouteId,
    /// What it is in order with, as a well-mixed hash; `None` if with nothing.
    pub lane: Option<u64>,
    /// Its size.
    pub bytes: u32,
    /// A hash of its identity, for jitter.
    pub identity: u64,
    /// Attempts of ours that failed before, as the broker kept them.
    pub attempts: u32,
    /// How often the broker has delivered it, this time included.
    pub deliveries: u32,
    /// How often the process died while it was tried alone, as the broker kept it.
    pub deaths: u32,
    /// Not to be tried before.
    pub due: Option<Time>,
    /// To be given up without being tried: it does not decode, say.
    pub dead: Option<DeadReason>,
    /// To be acknowledged without being tried: no handler of the group wants it.
    pub skip: bool,
}

/// What an attempt came to, for one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Ack,
    /// Not wanted; settled like done.
    Drop,
    /// The attempt failed: repeat it after this long, or after the backoff, or give it up for this reason if no attempt is left.
    Failed {
        /// In place of the backoff.
        after: Option<Duration>,
        /// What to say if it was the last attempt.
        reason: DeadReason,
    },
    /// Give it up now.
    Dead(DeadReason),
    /// What the handler depends on is down. No attempt.
    Unavailable,
    /// The layers around the handler did not take it. No attempt; try again soon, or when [`In::Ready`] says so.
    NotTaken,
    /// This message cannot be tried now, whatever is said of others: somebody else has it, say. No attempt; try again after this
    /// long, in its place.
    Later(Duration),
}

impl Verdict {
    /// Whether the message is to be tried again.
    #[must_use]
    pub const fn again(self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Unavailable | Self::NotTaken | Self::Later(_))
    }
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Everything is confirmed.
    Confirmed,
    /// Something is not, and may be if it is repeated under the same id.
    Again,
    /// Something never will be.
    Refused,
}

/// What became of a settlement or a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Applied.
    Applied,
    /// The delivery is not ours any more.
    Stale,
    /// It may have been applied; repeat it.
    Failed,
}

/// What happens to the engine.
#[derive(Debug, Clone, Copy)]
pub enum In<'a> {
    /// A partition is ours, until then unless renewed.
    Assigned {
        /// The partition.
        part: PartId,
        /// The generation.
        epoch: Epoch,
        /// The local deadline: past it nothing starts.
        until: Option<Time>,
        /// What was done before.
        resume: &'a Resume,
    },
    /// What this partition holds waits, and is due in about the order in which it stands: little of it is taken ahead, so that what
    /// waits does not use up the credit of what could be done. Comes right after its `Assigned`.
    Waits {
        /// The partition.
        part: PartId,
        /// The generation.
        epoch: Epoch,
    },
    /// The local deadline of a partition has moved.
    Renewed {
        /// The partition.
        part: PartId,
        /// The generation.
        epoch: Epoch,
        /// The new deadline.
        until: Time,
    },
    /// Messages came in.
    Delivered {
        /// The partition.
        part: PartId,
        /// The generation.
        epoch: Epoch,
        /// The messages, in order.
        metas: &'a [Meta],
    },
    /// The partition is wanted elsewhere.
    Revoking {
        /// The partition.
        part: PartId,
        /// The generation that ends.
        epoch: Epoch,
        /// When it must be over.
        by: Time,
    },
    /// The partition is gone.
    Lost {
        /// The partition.
        part: PartId,
        /// The generation that ended.
        epoch: Epoch,
    },
    /// An attempt is over.
    Finished {
        /// The message, or the first one of the batch.
        slot: Slot,
        /// One verdict for each message, in the order of [`Engine::batch`](crate::Engine::batch).
        verdicts: &'a [Verdict],
        /// Whether the handler returned events to be published.
        returned: bool,
    },
    /// What [`Out::PublishReturned`], [`Out::PublishDead`] or [`Out::PublishRetry`] asked for is over.
    Published {
        /// The message.
        slot: Slot,
        /// What became of it.
        result: Published,
    },
    /// What [`Out::Settle`] asked for is over.
    Settled {
        /// The message.
        slot: Slot,
        /// What was asked for.
        settle: Settle,
        /// What became of it.
        answer: Answer,
    },
    /// What [`Out::Commit`] asked for is over.
    Committed {
        /// The partition.
        part: PartId,
        /// The generation.
        epoch: Epoch,
        /// What became of it.
        answer: Answer,
    },
    /// The layers around a handler may take messages again.
    Ready {
        /// The handler.
        route: RouteId,
    },
    /// Start nothing for this handler until [`In::Resume`].
    Pause {
        /// The handler.
        route: RouteId,
    },
    /// Start again.
    Resume {
        /// The handler.
        route: RouteId,
    },
    /// Change how many deliveries a handler runs at the same time. Zero is one.
    Resize {
        /// The handler.
        route: RouteId,
        /// How many.
        concurrency: u32,
    },
    /// Stop: start nothing, finish what runs, give the rest back, by then.
    Drain {
        /// When it must be over.
        by: Time,
    },
    /// Stop at once: cancel what runs, give everything back.
    Abort,
    /// Time has passed.
    Tick,
}

/// What the engine wants done. Outputs are to be carried out in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Out {
    /// Call the handler with this message.
    Start {
        /// The message.
        slot: Slot,
        /// The handler.
        route: RouteId,
        /// The number of the attempt, from 1.
        attempt: u32,
        /// Which executor.
        shard: u32,
    },
    /// Call the handler with the messages of [`Engine::batch`](crate::Engine::batch).
    StartBatch {
        /// The first message, which names the batch.
        slot: Slot,
        /// The handler.
        route: RouteId,
        /// Which executor.
        shard: u32,
    },
    /// Drop the handler's future now: nothing that it says counts any more, and no `Finished` may follow.
    Cancel {
        /// The message, or the first one of the batch.
        slot: Slot,
    },
    /// Publish what the handler returned.
    PublishReturned {
        /// The message, or the first one of the batch.
        slot: Slot,
    },
    /// Publish the message to the dead-letter topic.
    PublishDead {
        /// The message.
        slot: Slot,
        /// Why.
        reason: DeadReason,
        /// How many attempts failed.
        attempts: u32,
    },
    /// Publish the message to the group's place for retries.
    PublishRetry {
        /// The message.
        slot: Slot,
        /// Not to be tried before this time is over.
        delay: Duration,
        /// How many attempts failed.
        attempts: u32,
    },
    /// Settle the delivery at the broker.
    Settle {
        /// The message.
        slot: Slot,
        /// How.
        settle: Settle,
    },
    /// Commit what [`Engine::commit`](crate::Engine::commit) says of the partition, taken now.
    Commit {
        /// The partition.
        part: PartId,
        /// The generation.
        epoch: Epoch,
    },
    /// Let the adapter deliver more of a partition.
    Grant {
        /// The partition.
        part: PartId,
        /// The generation.
        epoch: Epoch,
        /// How many messages more.
        messages: u32,
        /// How many bytes more.
        bytes: u64,
    },
    /// The drain of a revoked partition is over.
    Revoked {
        /// The partition.
        part: PartId,
        /// The generation that ends.
        epoch: Epoch,
    },
    /// This message is the same as one that is held: settle that one by this one's token from now on. [`Out::Free`] of `new`
    /// follows.
    Swap {
        /// The one that is held.
        held: Slot,
        /// The one that came again.
        new: Slot,
    },
    /// Nothing will be said of this message any more: its body can go.
    Free {
        /// The message.
        slot: Slot,
        /// What became of it.
        end: End,
    },
    /// The drain is over: everything is settled, given back, or lost.
    Drained,
    /// Something for observers.
    Note(Note),
}

/// How a message left the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Acknowledged after it was handled.
    Acked,
    /// Acknowledged because the handler said drop.
    Dropped,
    /// Acknowledged because no handler wants it.
    Skipped,
    /// Acknowledged after it was confirmed in the dead-letter topic.
    Dead,
    /// Acknowledged after it was confirmed in the group's place for retries, or given back to the broker for later.
    Retried,
    /// Given back without having been tried, or in a drain.
    Returned,
    /// Its partition or its lease is gone: it was or will be delivered again.
    Lost,
    /// The same message is held already.
    Duplicate,
}

/// What observers want to know, beyond the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// An attempt failed and is repeated after the delay, in this process.
    Retrying {
        /// The message.
        slot: Slot,
        /// How many attempts have failed.
        attempts: u32,
        /// The delay.
        delay: Duration,
        /// Whether later messages of its lane wait.
        hold: bool,
    },
    /// A handler said that what it depends on is down.
    Suspended {
        /// The handler.
        route: RouteId,
        /// When it is probed.
        probe: Time,
    },
    /// A suspended handler works again.
    Restored {
        /// The handler.
        route: RouteId,
    },
    /// The intake of a partition stopped at a cap.
    Full {
        /// The partition.
        part: PartId,
        /// Which cap.
        cap: Cap,
    },
    /// A message can neither be handled nor be dead-lettered; its partition stops behind it.
    Stuck {
        /// The message.
        slot: Slot,
    },
    /// A message that may have killed the process is tried alone.
    Alone {
        /// The message.
        slot: Slot,
    },
    /// The local deadline of a partition passed: nothing starts until it is renewed.
    Expired {
        /// The partition.
        part: PartId,
    },
}

/// What stops the intake of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// One key has too many messages in flight.
    Backlog,
    /// Too much is done above the watermark.
    Ahead,
    /// The text of its commits has no room for more.
    Progress,
}
