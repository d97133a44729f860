//! What a broker can be made with, and how a URL says it.

mod guise;
mod url;

use std::time::Duration;

use convoke_core::broker::{
    AttemptsKept, Capabilities, Credit, Delay, Durability, HeaderValues, LeaseKind, NativeOption, Ordering, PublishDelay,
    SettleBy,
};
use convoke_core::{Error, ErrorKind};

pub use guise::Guise;

/// What a message costs beside its own bytes, when bytes are counted against [`Options::retention_bytes`].
pub(crate) const OVERHEAD: u64 = 128;

/// What happens to a publish when a topic is full of messages that not every group has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Full {
    /// It is rejected, and may be tried again: nothing is lost.
    #[default]
    Reject,
    /// The oldest messages are discarded. Groups that had not read them are told with
    /// [`SubscriptionEvent::Gap`](convoke_core::broker::SubscriptionEvent::Gap). What a group was given and has not settled is kept for it.
    Trim,
}

/// Whether a delivery expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Leases {
    /// After [`Options::lease`], unless it is extended.
    #[default]
    Extendable,
    /// After [`Options::lease`], whatever is done; and with it, the partition is lost with everything that was delivered of it, as
    /// when a channel is closed.
    Fixed,
    /// Never: it belongs to whoever has the partition.
    None,
}

/// What moves when members of a group come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Rebalance {
    /// Only what gets another owner.
    #[default]
    Cooperative,
    /// Everything: all members give all partitions back, and only then are they assigned anew.
    Eager,
}

/// What a message's place in its partition is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Positions {
    /// [`Position::Offset`](convoke_core::Position::Offset).
    #[default]
    Offset,
    /// [`Position::Entry`](convoke_core::Position::Entry).
    Entry,
    /// [`Position::Tag`](convoke_core::Position::Tag): a number of the delivery, another one each time.
    Tag,
}

/// What becomes of a message on a topic that no group reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Unrouted {
    /// It is kept, for groups that come later.
    #[default]
    Keep,
    /// No group will ever get it, and its receipt says so; with [`require_route`](convoke_core::Outgoing::require_route) it is
    /// returned.
    /// [`MemoryBroker::messages`](crate::MemoryBroker::messages) shows it all the same, as a tap on the exchange would.
    Drop,
}

/// How a broker in the process works. The same words are the options of its URL.
///
/// # Examples
/// ```
/// use convoke_memory::{MemoryBroker, Options};
///
/// let broker = MemoryBroker::with(Options::default().partitions(2).max_message(64 * 1024))?;
/// # Ok::<(), convoke_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// `partitions`: how many partitions a topic has for which the topology names no number. Default 8.
    pub partitions: u32,
    /// `retention`: how many messages a partition holds at most. Default 1,000,000.
    pub retention: u64,
    /// `retention_bytes`: how many bytes a topic holds at most, with 128 for each message beside its own. Default 512 MiB.
    pub retention_bytes: u64,
    /// `history`: how many messages that every group has settled a partition keeps at least, if there is room, for groups that come
    /// later; some more until they are swept. Default 10,000.
    pub history: u64,
    /// `full`: what happens when there is no room: `reject` (default) or `trim`.
    pub full: Full,
    /// `max_message`: the largest message in bytes. Default 1,048,576.
    pub max_message: usize,
    /// `lease`: after how long a delivery that is neither settled nor extended is delivered again. Default 30 s.
    pub lease: Duration,
    /// `revoke`: how long an owner has to finish with a partition that another member is to have. Default 10 s.
    pub revoke: Duration,
    /// `guise`: the broker that it looks like, whose options come first: see [`Guise`]. None by default.
    pub guise: Option<Guise>,
    /// `settle`: `message` (default) or `watermark`.
    pub settle: SettleBy,
    /// `delay`: how a message is given back for later: `native` (default), `republish` or `in-place`. With the last two it comes
    /// again at once.
    pub delay: Delay,
    /// `schedule`: whether a message can be published for later: `yes` (default) or `no`.
    pub schedule: bool,
    /// `expiry`: whether a message may expire: `yes` (default) or `no`; never where it is settled by `watermark`.
    pub expiry: bool,
    /// `attempts`: what is kept of the number of attempts when a message is given back: `exact` (default) or `at-least`: nothing.
    pub attempts: AttemptsKept,
    /// `marks`: whether a mark of a message that is tried alone is kept: `yes` (default) or `no`.
    pub marks: bool,
    /// `progress`: how many characters the text of a commit may have, where positions are committed. Default 4096.
    pub progress: usize,
    /// `leases`: `extendable` (default), `fixed` or `none`.
    pub leases: Leases,
    /// `credit`: what it is counted in: `bytes` (default; messages too) or `messages`, which ignores bytes.
    pub credit: Credit,
    /// `ordering`: what is declared: `partition` (default), `single-active` or `none`. A partition has one owner in any case.
    pub ordering: Ordering,
    /// `rebalance`: `cooperative` (default) or `eager`.
    pub rebalance: Rebalance,
    /// `positions`: `offset` (default), `entry` or `tag`.
    pub positions: Positions,
    /// `headers`: what values may hold: `binary` (default) or `text`, with anything else escaped as an adapter does
    /// ([`escape`](convoke_core::escape)).
    pub headers: HeaderValues,
    /// `unrouted`: `keep` (default) or `drop`.
    pub unrouted: Unrouted,
    /// `starts`: whether a group can begin elsewhere than at the earliest message: `yes` (default) or `no`.
    pub starts: bool,
    /// `patterns`: whether topics can be read by a pattern: `yes` (default) or `no`.
    pub patterns: bool,
    /// `ends`: whether a subscription can read up to a marked end: `yes` (default) or `no`.
    pub ends: bool,
}

/// What a handler can say in `#[handler(memory(…))]`, as the URL says it for all.
pub const HANDLER_OPTIONS: &[NativeOption] = &[NativeOption::duration("revoke", "10s")];

/// What an event can say of its topic in `#[event(memory(…))]`, as the URL says it for all. It counts when the topic is created.
pub const TOPIC_OPTIONS: &[NativeOption] = &[NativeOption::number("partitions", "24")];

/// The longest delay of a message that is given back.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(30 * 86_400);

impl Default for Options {
    fn default() -> Self {
        Self {
            partitions: 8,
            retention: 1_000_000,
            retention_bytes: 512 << 20,
            history: 10_000,
            full: Full::Reject,
            max_message: 1 << 20,
            lease: Duration::from_secs(30),
            revoke: Duration::from_secs(10),
            guise: None,
            settle: SettleBy::Message,
            delay: Delay::Native { max: MAX_DELAY },
            schedule: true,
            expiry: true,
            attempts: AttemptsKept::Exact,
            marks: true,
            progress: 4096,
            leases: Leases::Extendable,
            credit: Credit::MessagesAndBytes,
            ordering: Ordering::Partition,
            rebalance: Rebalance::Cooperative,
            positions: Positions::Offset,
            headers: HeaderValues::Binary,
            unrouted: Unrouted::Keep,
            starts: true,
            patterns: true,
            ends: true,
        }
    }
}

macro_rules! setters {
    ($($name:ident: $type:ty),*) => {$(
        #[doc = concat!("Sets [`", stringify!($name), "`](Self#structfield.", stringify!($name), ").")]
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.$name = $name;
            self
        }
    )*};
}

impl Options {
    setters!(
        partitions: u32, retention: u64, retention_bytes: u64, history: u64, full: Full, max_message: usize, lease: Duration,
        revoke: Duration, settle: SettleBy, delay: Delay, schedule: bool, expiry: bool, attempts: AttemptsKept, marks: bool, progress: usize,
        leases: Leases, credit: Credit, ordering: Ordering, rebalance: Rebalance, positions: Positions, headers: HeaderValues,
        unrouted: Unrouted, starts: bool, patterns: bool, ends: bool
    );

    /// The options of another broker, over those that are set so far: what is set after this changes the guise.
    #[must_use]
    pub fn guise(self, guise: Guise) -> Self {
        guise.apply(self)
    }

    pub(crate) fn by_watermark(&self) -> bool {
        self.settle == SettleBy::Watermark
    }

    pub(crate) fn expires(&self) -> bool {
        self.expiry && !self.by_watermark()
    }

    pub(crate) fn delays(&self) -> bool {
        matches!(self.delay, Delay::Native { .. })
    }

    /// How long a delivery may take; beyond all measure where none expires.
    pub(crate) fn term(&self) -> Duration {
        if self.leases == Leases::None { Duration::MAX } else { self.lease }
    }

    /// What such a broker can do.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::minimal(match self.guise {
            None => "memory",
            Some(Guise::Kafka) => "memory as Kafka",
            Some(Guise::KafkaEager) => "memory as Kafka with eager rebalances",
            Some(Guise::Nats) => "memory as NATS",
            Some(Guise::Redis) => "memory as Redis",
            Some(Guise::RabbitMq) => "memory as RabbitMQ",
        });
        capabilities.ordering = self.ordering;
        capabilities.settle = self.settle;
        capabilities.delay = self.delay;
        capabilities.publish_delay = if self.schedule { PublishDelay::Native } else { PublishDelay::None };
        capabilities.expiry = self.expires();
        capabilities.attempts = self.attempts;
        capabilities.marks = self.marks && !self.by_watermark();
        capabilities.progress = self.by_watermark().then_some(self.progress);
        capabilities.stable_positions = self.positions != Positions::Tag;
        capabilities.lease = match self.leases {
            Leases::Extendable => LeaseKind::Extendable(self.lease),
            Leases::Fixed => LeaseKind::Fixed(self.lease),
            Leases::None => LeaseKind::None,
        };
        capabilities.credit = self.credit;
        capabilities.durability = Durability::Memory;
        capabilities.max_message = Some(self.max_message);
        capabilities.header_values = self.headers;
        capabilities.start_positions = self.starts;
        capabilities.broadcast = true;
        capabilities.until_end = self.ends;
        capabilities.patterns = self.patterns;
        capabilities.drops_unrouted = self.unrouted == Unrouted::Drop;
        capabilities
    }

    /// Whether a broker can work like this.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let least = self.max_message as u64 + OVERHEAD;
        let problem = if self.partitions == 0 || self.partitions > MAX_PARTITIONS {
            Some(format!("`partitions` is between 1 and {MAX_PARTITIONS}"))
        } else if self.retention == 0 {
            Some("`retention` is at least 1".to_owned())
        } else if self.retention_bytes < least {
            Some(format!("`retention_bytes` is at least {least}, so that the largest message (`max_message`) fits"))
        } else if self.lease < Duration::from_millis(1) {
            Some("`lease` is at least 1ms".to_owned())
        } else if self.by_watermark() && self.positions != Positions::Offset {
            Some("`settle=watermark` commits offsets: leave `positions` as it is".to_owned())
        } else if self.by_watermark() && (self.leases != Leases::None || self.delays()) {
            Some(
                "`settle=watermark` gives nothing back by itself: say `leases=none`, and `delay=republish` or `delay=in-place`"
                    .to_owned(),
            )
        } else {
            None
        };
        problem.map_or(Ok(()), |problem| Err(invalid(problem)))
    }
}

/// More partitions than this are a mistake in this process.
pub(crate) const MAX_PARTITIONS: u32 = 65_536;

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidUrl, message)
}
