//! What a deployment says in place of what the program says: names, options, bounds and URLs, from a file and the environment.

mod builder;
mod env;
mod names;

use std::fmt;
use std::time::Duration;

use convoke_core::HandlerOptions;
use convoke_core::broker::Start;
use convoke_core::few::FewByKey;

use super::plan::Problems;
use crate::driver::{OnGap, UnknownEvents};

pub(crate) use env::{broker_variable, from_env};
pub(crate) use names::Names;

/// Where something was said: in a line of a file, or in a variable.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// `convoke.toml:12:3`, or `the variable CONVOKE_TOPICS`.
    at: String,
    /// The line, as far as it may be shown.
    line: Option<String>,
}

impl Place {
    #[cfg(feature = "config")]
    pub(crate) const fn of_line(at: String, line: String) -> Self {
        Self { at, line: Some(line) }
    }

    pub(crate) fn of_variable(name: &str) -> Self {
        Self { at: format!("the variable {name}"), line: None }
    }

    /// A problem that is to be mended here.
    pub(crate) fn problem(&self, what: impl fmt::Display) -> String {
        match &self.line {
            Some(line) => format!("{}: {what}\n       | {line}", self.at),
            None => format!("{}: {what}", self.at),
        }
    }
}

/// A value, and where it was said.
#[derive(Debug, Clone)]
pub(crate) struct Said<T> {
    pub(crate) value: T,
    pub(crate) at: Place,
}

/// A URL that was said. Never shown: it may hold a password.
#[derive(Clone)]
pub(crate) struct SaidUrl(pub(crate) String);

impl fmt::Debug for SaidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Everything that was said.
#[derive(Debug, Default)]
pub(crate) struct Deployment {
    pub(crate) url: Option<Said<SaidUrl>>,
    /// URLs of further brokers, by name.
    pub(crate) brokers: FewByKey<String, Said<SaidUrl>>,
    /// The same from variables, by the end of the variable's name.
    pub(crate) variables: FewByKey<String, Said<SaidUrl>>,
    /// New names of topics and groups, by those that the program knows.
    pub(crate) topics: FewByKey<String, Said<String>>,
    pub(crate) groups: FewByKey<String, Said<String>>,
    pub(crate) handlers: FewByKey<String, Said<HandlerChange>>,
    pub(crate) bounds: Bounds,
    pub(crate) problems: Problems,
}

/// What is said of the application's own bounds and policies.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    pub(crate) messages: Option<u32>,
    pub(crate) bytes: Option<u64>,
    pub(crate) drain_within: Option<Duration>,
    pub(crate) publish_within: Option<Duration>,
    pub(crate) deaths: Option<u32>,
    pub(crate) unknown: Option<UnknownEvents>,
    pub(crate) on_gap: Option<OnGap>,
}

/// What is said of a handler.
#[derive(Debug, Clone, Default)]
pub(crate) struct HandlerChange {
    pub(crate) concurrency: Option<u32>,
    pub(crate) attempts: Option<u32>,
    pub(crate) backoff: Option<(Duration, Duration)>,
    pub(crate) jitter: Option<u32>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) dead_letter: Option<String>,
    pub(crate) start: Option<Start>,
}

impl HandlerChange {
    /// The attribute's options with what is said in their place.
    pub(crate) fn applied(&self, mut options: HandlerOptions) -> HandlerOptions {
        options.concurrency = self.concurrency.unwrap_or(options.concurrency);
        options.retry.attempts = self.attempts.unwrap_or(options.retry.attempts);
        (options.retry.min, options.retry.max) = self.backoff.unwrap_or((options.retry.min, options.retry.max));
        options.retry.jitter = self.jitter.unwrap_or(options.retry.jitter);
        options.timeout = self.timeout.or(options.timeout);
        options
    }

    fn overlay(&mut self, over: Self) {
        *self = Self {
            concurrency: over.concurrency.or(self.concurrency),
            attempts: over.attempts.or(self.attempts),
            backoff: over.backoff.or(self.backoff),
            jitter: over.jitter.or(self.jitter),
            timeout: over.timeout.or(self.timeout),
            dead_letter: over.dead_letter.or_else(|| self.dead_letter.take()),
            start: over.start.or(self.start),
        };
    }
}

impl Deployment {
    /// What `over` says counts where both say something.
    pub(crate) fn overlay(&mut self, over: Self) {
        self.url = over.url.or_else(|| self.url.take());
        self.brokers.extend(over.brokers);
        self.variables.extend(over.variables);
        self.topics.extend(over.topics);
        self.groups.extend(over.groups);
        for (handler, change) in over.handlers {
            let said = self.handlers.get_or_insert_with(handler, || Said { value: HandlerChange::default(), at: change.at });
            said.value.overlay(change.value);
        }
        let (bounds, over_bounds) = (self.bounds, over.bounds);
        self.bounds = Bounds {
            messages: over_bounds.messages.or(bounds.messages),
            bytes: over_bounds.bytes.or(bounds.bytes),
            drain_within: over_bounds.drain_within.or(bounds.drain_within),
            publish_within: over_bounds.publish_within.or(bounds.publish_within),
            deaths: over_bounds.deaths.or(bounds.deaths),
            unknown: over_bounds.unknown.or(bounds.unknown),
            on_gap: over_bounds.on_gap.or(bounds.on_gap),
        };
        self.problems.extend(over.problems);
    }

    /// The URL of a further broker: a variable's, else the file's.
    pub(crate) fn url_of(&self, broker: &str) -> Option<&Said<SaidUrl>> {
        self.variables.get(&env::suffix(broker)).or_else(|| self.brokers.get(broker))
    }
}
