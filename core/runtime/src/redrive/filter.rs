//! Which dead letters are meant.

use std::time::{Duration, SystemTime};

use convoke_core::DeadReason;

use super::DeadLetter;

/// Which dead letters are meant: those of which everything holds that is asked for. Of several reasons, handlers, groups or ids, one
/// is enough. Without anything asked for, all are meant.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use convoke_core::DeadReason;
/// use convoke_runtime::dead::Filter;
///
/// let filter = Filter::new().reason(DeadReason::Timeout).handler("reserve").newer_than(Duration::from_secs(3600));
/// # let _ = filter;
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Filter {
    reasons: Vec<DeadReason>,
    handlers: Vec<String>,
    groups: Vec<String>,
    ids: Vec<String>,
    headers: Vec<(String, String)>,
    older_than: Option<Duration>,
    newer_than: Option<Duration>,
}

impl Filter {
    /// All of them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those given up for this reason.
    pub fn reason(mut self, reason: DeadReason) -> Self {
        self.reasons.push(reason);
        self
    }

    /// Those that this handler gave up.
    pub fn handler(mut self, handler: impl Into<String>) -> Self {
        self.handlers.push(handler.into());
        self
    }

    /// Those that this group gave up.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.groups.push(group.into());
        self
    }

    /// The one of this id ([`DeadLetter::id`]).
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.ids.push(id.into());
        self
    }

    /// Those with this header, of this value. Each that is asked for must be there.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Those that were given up before that.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }

    /// Those that were given up since.
    pub fn newer_than(mut self, age: Duration) -> Self {
        self.newer_than = Some(age);
        self
    }

    /// Whether this one is meant. One that does not say when it was given up has no age: neither bound holds of it.
    #[must_use]
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        let any = |wanted: &[String], value: Option<&str>| {
            wanted.is_empty() || value.is_some_and(|value| wanted.iter().any(|one| one == value))
        };
        let age = || SystemTime::now().duration_since(letter.died_at()?).ok().or(Some(Duration::ZERO));
        let header =
            |(name, value): &(String, String)| letter.message().headers().get_all(name).any(|other| other == value.as_bytes());
        (self.reasons.is_empty() || letter.reason().is_some_and(|reason| self.reasons.contains(&reason)))
            && any(&self.handlers, letter.handler())
            && any(&self.groups, letter.group())
            && (self.ids.is_empty() || any(&self.ids, Some(&letter.id())))
            && self.headers.iter().all(header)
            && self.older_than.is_none_or(|bound| age().is_some_and(|age| age > bound))
            && self.newer_than.is_none_or(|bound| age().is_some_and(|age| age <= bound))
    }
}
