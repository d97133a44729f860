//! Looking like another broker.

use std::time::Duration;

use convoke_core::broker::{AttemptsKept, Credit, Delay, HeaderValues, Ordering, SettleBy};

use super::{Leases, MAX_DELAY, Options, Positions, Rebalance, Unrouted};

/// A broker that the one in the process behaves like, in everything that stands above an adapter.
///
/// A guise is a set of [`Options`], and nothing else: `memory://?guise=kafka&partitions=3` is the set of Kafka with one thing
/// changed. What such a broker declares in its capabilities it also does, so that what the runtime emulates can be tried in
/// milliseconds: on the guise of Kafka a message cannot be settled by itself, on that of RabbitMQ positions change with every
/// delivery. Speed, durability and the wire are not imitated.
///
/// | | [`Kafka`](Self::Kafka) | [`Nats`](Self::Nats) | [`Redis`](Self::Redis) | [`RabbitMq`](Self::RabbitMq) |
/// |---|---|---|---|---|
/// | `settle` | watermark | message | message | message |
/// | `delay` | republish | native | native | republish |
/// | `schedule` (delayed publish) | no | yes | yes | no |
/// | `expiry` | no | yes | no | yes |
/// | `attempts` | exact: in the commit | exact | exact | at least |
/// | `marks` (durable, of deaths) | in the commit | yes | yes | no |
/// | `progress` (text of a commit) | 4096 | – | – | – |
/// | `leases` of deliveries | none | extendable, 30 s | none: a partition's is renewed for all | fixed, 30 min |
/// | `credit` | messages and bytes | messages | messages | messages |
/// | `ordering` | partition | partition | partition | single active consumer |
/// | `rebalance` | cooperative, or [eager](Self::KafkaEager) | cooperative | cooperative | cooperative |
/// | `positions` | offsets | offsets | entry ids | delivery tags |
/// | `headers` | binary | text | binary | binary |
/// | `unrouted` | kept | kept | kept | dropped, or returned |
/// | `starts` (elsewhere than at the earliest) | yes | yes | yes | no |
/// | `patterns` (topics by a pattern) | no | yes | not yet | not yet |
/// | `ends` (reading to a marked end) | yes | yes | yes | not yet |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guise {
    /// Apache Kafka, with cooperative rebalances. `guise=kafka`.
    Kafka,
    /// Apache Kafka with eager rebalances: whoever joins or leaves, everybody gives everything back first. `guise=kafka-eager`.
    KafkaEager,
    /// NATS JetStream. `guise=nats`.
    Nats,
    /// Redis Streams. `guise=redis`.
    Redis,
    /// RabbitMQ with quorum queues. `guise=rabbitmq`.
    RabbitMq,
}

impl Guise {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Kafka, Self::KafkaEager, Self::Nats, Self::Redis, Self::RabbitMq];

    /// The word for it in a URL.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::KafkaEager => "kafka-eager",
            Self::Nats => "nats",
            Self::Redis => "redis",
            Self::RabbitMq => "rabbitmq",
        }
    }

    pub(super) fn apply(self, mut options: Options) -> Options {
        let minute = Duration::from_secs(60);
        (options.guise, options.credit) = (Some(self), Credit::Messages);
        (options.schedule, options.expiry) = (false, false);
        match self {
            Self::Kafka | Self::KafkaEager => Options {
                settle: SettleBy::Watermark,
                delay: Delay::Republish,
                leases: Leases::None,
                credit: Credit::MessagesAndBytes,
                patterns: false,
                rebalance: if self == Self::KafkaEager { Rebalance::Eager } else { Rebalance::Cooperative },
                ..options
            },
            Self::Nats => Options {
                delay: Delay::Native { max: MAX_DELAY },
                schedule: true,
                expiry: true,
                headers: HeaderValues::Text,
                ..options
            },
            Self::Redis => Options {
                delay: Delay::Native { max: MAX_DELAY },
                schedule: true,
                leases: Leases::None,
                positions: Positions::Entry,
                patterns: false,
                ..options
            },
            Self::RabbitMq => Options {
                delay: Delay::Republish,
                expiry: true,
                attempts: AttemptsKept::AtLeast,
                marks: false,
                leases: Leases::Fixed,
                lease: 30 * minute,
                ordering: Ordering::SingleActive,
                positions: Positions::Tag,
                unrouted: Unrouted::Drop,
                starts: false,
                patterns: false,
                ends: false,
                ..options
            },
        }
    }
}
