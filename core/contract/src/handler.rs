//! Handlers: what the registry knows of them, and their options.

use std::fmt;
use std::time::Duration;

use crate::broker::Native;
use crate::extract::Signature;
use crate::registry::Location;
use crate::service::BoxHandler;

/// What the registry knows of a handler. Written by `#[handler]`; by hand where there is no macro.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct HandlerDef {
    /// The name: the function's, unless the attribute says otherwise.
    pub name: &'static str,
    /// What the attribute says.
    pub options: HandlerOptions,
    /// Describes arguments and return type.
    pub describe: fn(&mut Signature),
    /// Makes the service that calls the function.
    pub service: fn() -> BoxHandler,
    /// Where it was declared.
    pub location: Location,
}

impl HandlerDef {
    /// A handler with default options.
    #[must_use]
    pub const fn new(name: &'static str, describe: fn(&mut Signature), service: fn() -> BoxHandler, location: Location) -> Self {
        Self { name, options: HandlerOptions::new(), describe, service, location }
    }

    /// Sets the options.
    #[must_use]
    pub const fn options(mut self, options: HandlerOptions) -> Self {
        self.options = options;
        self
    }

    /// What the function takes and gives.
    #[must_use]
    pub fn signature(&self) -> Signature {
        let mut signature = Signature::default();
        (self.describe)(&mut signature);
        signature
    }
}

impl fmt::Debug for HandlerDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerDef")
            .field("name", &self.name)
            .field("options", &self.options)
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

/// The options of a handler, as its attribute states them. `None` means the default, which may depend on the event.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct HandlerOptions {
    /// The group; by default `<app>.<handler>`.
    pub group: Option<&'static str>,
    /// How many deliveries are handled at the same time.
    pub concurrency: u32,
    /// Whether messages of one key are handled in order; by default when the event has a key.
    pub order: Option<Order>,
    /// Handlers of a group that name the same lane share their keys' order across topics.
    pub lane: Option<&'static str>,
    /// How failed attempts are repeated.
    pub retry: RetryOptions,
    /// What a waiting retry means for later messages of its key.
    pub on_retry: OnRetry,
    /// How long one attempt may take; without it, as long as it likes.
    pub timeout: Option<Duration>,
    /// Where messages go that are given up; by default `<topic>.<group>.dead`.
    pub dead_letter: Option<&'static str>,
    /// For handlers of `Batch<T>`: how much is collected for how long.
    pub batch: Option<BatchOptions>,
    /// The topics to read in place of the event's own, or patterns of them ([`TopicPattern`](crate::TopicPattern)).
    pub topics: &'static [&'static str],
    /// Takes only messages with this header and value.
    pub matches: Option<HeaderMatch>,
    /// Where a new group begins; by default at the earliest message, and a broadcast at what is new.
    pub start: Option<StartAt>,
    /// Whether every instance of the application gets every message, without a group that outlives it.
    pub broadcast: bool,
    /// The broker's name, where the application has several.
    pub broker: Option<&'static str>,
    /// Whether what it returns and the settlement of its input are one transaction.
    pub transaction: bool,
    /// What it says for one kind of broker or another.
    pub native: &'static [Native],
}

impl HandlerOptions {
    /// How many deliveries are handled at the same time, unless the attribute says otherwise.
    pub const DEFAULT_CONCURRENCY: u32 = 16;

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            group: None,
            concurrency: Self::DEFAULT_CONCURRENCY,
            order: None,
            lane: None,
            retry: RetryOptions::new(),
            on_retry: OnRetry::Hold,
            timeout: None,
            dead_letter: None,
            batch: None,
            topics: &[],
            matches: None,
            start: None,
            broadcast: false,
            broker: None,
            transaction: false,
            native: &[],
        }
    }
}

impl Default for HandlerOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// In which order a group's messages are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// One after the other within a key.
    Key,
    /// In no order.
    None,
}

/// What later messages of a key do while one of them waits for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnRetry {
    /// They wait too: order is kept.
    Hold,
    /// They pass: the retry comes out of order.
    Pass,
}

/// How failed attempts are repeated: after `min`, then twice that, and so on up to `max`, each with up to `jitter` per cent
/// added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryOptions {
    /// How many attempts there are, the first included.
    pub attempts: u32,
    /// The delay after the first failure.
    pub min: Duration,
    /// The longest delay.
    pub max: Duration,
    /// How much is added at most, in per cent of the delay.
    pub jitter: u32,
}

impl RetryOptions {
    /// 5 attempts, 200 ms to 30 s, up to 20 % of jitter.
    #[must_use]
    pub const fn new() -> Self {
        Self { attempts: 5, min: Duration::from_millis(200), max: Duration::from_secs(30), jitter: 20 }
    }

    /// Sets how many attempts there are, the first included.
    #[must_use]
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the shortest and the longest delay.
    #[must_use]
    pub const fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.min = min;
        self.max = max;
        self
    }

    /// Sets the jitter, in per cent.
    #[must_use]
    pub const fn jitter(mut self, per_cent: u32) -> Self {
        self.jitter = per_cent;
        self
    }
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// How a batch is collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchOptions {
    /// How many messages it has at most.
    pub size: u32,
    /// How long the first one waits for others.
    pub wait: Duration,
}

impl BatchOptions {
    /// At most `size` messages, the first of which waits at most `wait`.
    #[must_use]
    pub const fn new(size: u32, wait: Duration) -> Self {
        Self { size, wait }
    }
}

/// A header and the value that it must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeaderMatch {
    /// The header's name.
    pub header: &'static str,
    /// The value.
    pub value: &'static str,
}

impl HeaderMatch {
    /// Messages whose first header `header` is `value`.
    #[must_use]
    pub const fn new(header: &'static str, value: &'static str) -> Self {
        Self { header, value }
    }
}

/// Where a group begins that the broker does not know yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartAt {
    /// At the oldest message that the broker has.
    Earliest,
    /// At what is published from now on.
    New,
}

impl From<StartAt> for crate::broker::Start {
    fn from(start: StartAt) -> Self {
        match start {
            StartAt::Earliest => Self::Earliest,
            StartAt::New => Self::New,
        }
    }
}
