//! The keys of a configuration: what each one is, and how it is written. The rules are the attributes' own.

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) name: &'static str,
    what: &'static str,
    form: &'static str,
}

impl Word {
    const fn new(name: &'static str, what: &'static str, form: &'static str) -> Self {
        Self { name, what, form }
    }

    /// What is said whenever it is used in another way.
    pub(super) fn rule(self) -> String {
        let Self { name, what, form } = self;
        format!("`{name}` is {what}: `{form}`")
    }
}

pub(super) const BROKER: Word = Word::new("broker", "a URL in quotes", r#"broker = "memory://""#);
pub(super) const IN_FLIGHT: Word = Word::new("in_flight", "a table", r#"in_flight = { messages = 512, bytes = "16MiB" }"#);
pub(super) const DRAIN_WITHIN: Word = Word::new("drain_within", "a duration in quotes", r#"drain_within = "25s""#);
pub(super) const PUBLISH_WITHIN: Word = Word::new("publish_within", "a duration in quotes", r#"publish_within = "30s""#);
pub(super) const DEATHS: Word = Word::new("deaths", "a whole number from 1", "deaths = 3");
pub(super) const UNKNOWN_EVENTS: Word =
    Word::new("unknown_events", "`skip`, `dead-letter` or `fail`, in quotes", r#"unknown_events = "skip""#);
pub(super) const ON_GAP: Word = Word::new("on_gap", "`earliest` or `stop`, in quotes", r#"on_gap = "earliest""#);
pub(super) const BROKERS: Word =
    Word::new("brokers", "a table of URLs by the brokers' names", r#"brokers.audit = "memory://audit""#);
pub(super) const TOPICS: Word =
    Word::new("topics", "a table of new names by those of the program", r#"topics."orders.paid" = "prod.orders.paid""#);
pub(super) const GROUPS: Word =
    Word::new("groups", "a table of new names by those of the program", r#"groups.warehouse = "warehouse-blue""#);
pub(super) const HANDLERS: Word = Word::new("handlers", "a table of handlers by name", "handlers.reserve.concurrency = 32");

/// What stands on the first level.
pub(super) const APP: [Word; 11] =
    [BROKER, IN_FLIGHT, DRAIN_WITHIN, PUBLISH_WITHIN, DEATHS, UNKNOWN_EVENTS, ON_GAP, BROKERS, TOPICS, GROUPS, HANDLERS];

pub(super) const MESSAGES: Word = Word::new("messages", "a whole number from 1", "messages = 512");
pub(super) const BYTES: Word =
    Word::new("bytes", "a number of bytes from 1, or one of `KiB`, `MiB` or `GiB` in quotes", r#"bytes = "16MiB""#);

pub(super) const FLIGHT: [Word; 2] = [MESSAGES, BYTES];

pub(super) const CONCURRENCY: Word = Word::new("concurrency", "a number from 1 to 65535", "concurrency = 16");
pub(super) const RETRY: Word = Word::new("retry", "a table", r#"retry = { attempts = 5, backoff = "200ms..30s", jitter = 20 }"#);
pub(super) const TIMEOUT: Word = Word::new("timeout", "a duration in quotes", r#"timeout = "30s""#);
pub(super) const DEAD_LETTER: Word = Word::new("dead_letter", "a topic in quotes", r#"dead_letter = "orders.dead""#);
pub(super) const START: Word = Word::new("start", "`earliest` or `new`, in quotes", r#"start = "earliest""#);

/// What stands in `[handlers.name]`.
pub(super) const HANDLER: [Word; 5] = [CONCURRENCY, RETRY, TIMEOUT, DEAD_LETTER, START];

pub(super) const ATTEMPTS: Word = Word::new("attempts", "a whole number from 1", "attempts = 5");
pub(super) const BACKOFF: Word =
    Word::new("backoff", "the shortest and the longest delay, or one for all, in quotes", r#"backoff = "200ms..30s""#);
pub(super) const JITTER: Word = Word::new("jitter", "per cent, from 0 to 100", "jitter = 20");

pub(super) const RETRIES: [Word; 3] = [ATTEMPTS, BACKOFF, JITTER];
