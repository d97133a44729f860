//! What an adapter's author brings: how to reach the broker, and how to make it suffer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use convoke_core::Error;
use convoke_core::broker::Broker;

use crate::Stop;

/// A broker under test. A fresh one is made for each case.
///
/// Only [`name`](Self::name), [`open`](Self::open), [`produce_foreign`](Self::produce_foreign) and
/// [`read_all_foreign`](Self::read_all_foreign) have to be written. What is left as it is answers [`Stop::Lacking`], and the
/// cases that need it say so in the report.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// The broker's name and version, for the head of the report.
    fn name(&self) -> String;

    /// Which time the cases run in. By default real time.
    fn time(&self) -> Time {
        Time::Real { stretch: 1 }
    }

    /// How long a case may take, in real time, before it is called hanging. By default ten minutes: a case may
    /// have to wait for a server that starts on a busy machine, and waits for half of this for what should come at last.
    fn limit(&self) -> Duration {
        Duration::from_secs(600)
    }

    /// Whether `Settled::Applied` says that the broker has it. By default it does; where the broker does not confirm what is settled one by
    /// one, it says that the connection has it: then what was told just before a process or its wire dies may come again.
    fn confirms_settlements(&self) -> bool {
        true
    }

    /// What every name of a case's topics, groups and applications begins with, after the case's own. Two runs on one broker must
    /// not meet: by default it is made of the time of day and the process.
    fn run_id(&self) -> String {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        format!("{:x}{:x}", since.as_millis() & 0xff_ffff_ffff, std::process::id() & 0xffff)
    }

    /// A connection of its own, as another process would make it, to the broker of this harness.
    ///
    /// Let leases and time-outs be short if the broker is run in real time: the cases wait for three times what
    /// [`Capabilities::lease`](convoke_core::broker::Capabilities::lease) says.
    async fn open(&self) -> Result<Arc<dyn Broker>, Error>;

    /// Ends what is left of a connection whose process was killed. Its tasks are gone already; a client with threads of its own
    /// is cut off here, without a word to the server. By default the connection is dropped.
    async fn bury(&self, broker: Arc<dyn Broker>) {
        drop(broker);
    }

    /// Puts something around every application of a case, so that the suite itself can be tested: with what is broken on purpose it
    /// has to fail. Adapters leave it as it is.
    #[doc(hidden)]
    fn tamper(&self, app: convoke_runtime::App) -> convoke_runtime::App {
        app
    }

    /// Kills the server as a power failure would. Returns when it is dead. What it had confirmed must be there after
    /// [`start`](Self::start).
    async fn kill(&self) -> Result<(), Stop> {
        Err(Stop::lacking("the harness cannot kill the server"))
    }

    /// Starts the server that was killed. Returns when it takes connections.
    async fn start(&self) -> Result<(), Stop> {
        Err(Stop::lacking("the harness cannot start the server"))
    }

    /// Restarts the server: by default [`kill`](Self::kill) and [`start`](Self::start).
    async fn restart(&self) -> Result<(), Stop> {
        self.kill().await?;
        self.start().await
    }

    /// Cuts every connection, and refuses new ones for this long. Returns as soon as they are cut.
    async fn cut(&self, down: Duration) -> Result<(), Stop> {
        let _ = down;
        Err(Stop::lacking("the harness cannot cut connections"))
    }

    /// Has this happen to what goes this way on every connection, for this long; then all is well again, but that a connection which lost
    /// something is reset. Returns as soon as it happens.
    async fn disturb(&self, side: Side, trouble: Trouble, down: Duration) -> Result<(), Stop> {
        let _ = (side, trouble, down);
        Err(Stop::lacking("the harness cannot disturb the wire"))
    }

    /// Freezes the server for this long: connections stay, and nothing is answered (`SIGSTOP`). Returns as soon as it is frozen.
    async fn freeze(&self, down: Duration) -> Result<(), Stop> {
        let _ = down;
        Err(Stop::lacking("the harness cannot freeze the server"))
    }

    /// Has the broker discard what the topic holds now, as retention or trimming does, while its groups keep their places. It may
    /// publish fillers to push it out; their event type is [`FILLER`].
    async fn discard(&self, topic: &str) -> Result<(), Stop> {
        let _ = topic;
        Err(Stop::lacking("the harness cannot have the broker discard messages"))
    }

    /// Publishes a message as a client does that knows nothing of convoke, and waits until the broker has it.
    ///
    /// Names of headers are those of [`convoke_core::names`]; spell them as clients of this broker do
    /// ([`Spelling`](convoke_core::cloudevents::Spelling)). What such a client cannot write is lacking.
    async fn produce_foreign(&self, topic: &str, message: Foreign) -> Result<(), Stop>;

    /// Publishes a message likewise, as a client does that does not care how values of headers are to be written where they are text: as
    /// the bytes that they are.
    async fn produce_careless(&self, topic: &str, message: Foreign) -> Result<(), Stop> {
        self.produce_foreign(topic, message).await
    }

    /// Reads all that a topic holds, oldest first, as a client does that knows nothing of convoke, and without disturbing any
    /// group. A topic that does not exist holds nothing. Names of headers are turned back into those of
    /// [`convoke_core::names`].
    async fn read_all_foreign(&self, topic: &str) -> Result<Vec<Foreign>, Stop>;
}

/// The event type of messages that nobody handles: [`Harness::discard`] may publish them.
pub const FILLER: &str = "conformance.filler.v1";

/// Which way bytes go between clients and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// From the clients to the server: what they ask.
    Requests,
    /// From the server to the clients: what it answers.
    Answers,
}

/// What may happen to bytes on their way, see [`Harness::disturb`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing gets through meanwhile, and nothing is lost.
    Stall,
    /// Everything gets through later by so much.
    Delay(Duration),
    /// Everything vanishes.
    Swallow,
}

/// Which time the cases run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Tokio's paused clock, which jumps when nothing is left to do: for brokers that live in the process and follow it.
    Virtual,
    /// Real time.
    Real {
        /// What every wait and delay of the cases is multiplied by. Raise it for a broker that is far away or slow.
        stretch: u32,
    },
}

/// A message as a client sees it that knows nothing of convoke.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreign {
    /// The broker's own key, or the header that stands for it.
    pub key: Option<Vec<u8>>,
    /// Names and values, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The payload; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
}

impl Foreign {
    /// A message of this payload, without key and headers.
    #[must_use]
    pub fn of(payload: impl Into<Vec<u8>>) -> Self {
        Self { key: None, headers: Vec::new(), payload: Some(payload.into()) }
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The first header of this name, as text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(other, _)| other == name)?;
        std::str::from_utf8(value).ok()
    }
}
