//! The kinds of servers.

use std::fmt;
use std::process::Command;

use convoke_conformance::Stop;

use crate::server::script;

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
    /// PostgreSQL: no broker, but where an application keeps its state.
    Postgres,
}

impl Kind {
    /// All brokers.
    pub const BROKERS: [Self; 4] = [Self::Kafka, Self::Nats, Self::Redis, Self::RabbitMq];

    /// As `tests/servers.sh` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Nats => "nats",
            Self::Redis => "redis",
            Self::RabbitMq => "rabbitmq",
            Self::Postgres => "postgres",
        }
    }

    /// The environment variable that may give the URL of such a server.
    #[must_use]
    pub fn variable(self) -> String {
        format!("CONVOKE_TEST_{}", self.name().to_uppercase())
    }

    /// Its name and version, as in `kafka 4.1.1`; or the variable that names one, whose version nobody knows.
    ///
    /// # Errors
    /// It is not installed.
    pub fn version(self) -> Result<String, Stop> {
        if std::env::var_os(self.variable()).is_some() {
            return Ok(format!("{self} of {}", self.variable()));
        }
        let said = Command::new(script()).args(["versions", self.name()]).output();
        let said = said.map_err(|error| Stop::failed(format!("{} cannot be run: {error}", script().display())))?;
        match said.status.success() {
            true => Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned()),
            false => Err(Stop::failed(String::from_utf8_lossy(&said.stderr).trim().to_owned())),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
