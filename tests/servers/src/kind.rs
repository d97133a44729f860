//! The kinds of servers.

use std::fmt;

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Apache Kafka, one node in KRaft mode.
    Kafka,
    /// NATS with JetStream.
    Nats,
    /// Redis with an append-only file.
    Redis,
    /// RabbitMQ.
    RabbitMq,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kafka, Self::Nats, Self::Redis, Self::RabbitMq];

    /// As `tests/servers.sh` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Nats => "nats",
            Self::Redis => "redis",
            Self::RabbitMq => "rabbitmq",
        }
    }

    /// The environment variable that may give the URL of such a server.
    #[must_use]
    pub fn variable(self) -> String {
        format!("CONVOKE_TEST_{}", self.name().to_uppercase())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
