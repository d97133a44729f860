use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tower::Layer;

use super::state::{Rule, Shared};
use super::{Breaker, State};

/// Pauses a handler when too many of its calls fail. See the [module](super).
#[derive(Clone)]
pub struct BreakerLayer {
    rule: Rule,
    breakers: Breakers,
}

impl BreakerLayer {
    /// Opens when 10 of the last 20 calls failed, of those that ended within a minute.
    #[must_use]
    pub fn new() -> Self {
        let rule = Rule { failures: 10, of: 20, within: Duration::from_secs(60), pause: Duration::from_secs(1) };
        Self { rule, breakers: Breakers::default() }
    }

    /// Opens when `failures` of the last `of` calls failed. If these are equal, that many in a row. At least one of one.
    #[must_use]
    pub fn opens_at(mut self, failures: u32, of: u32) -> Self {
        self.rule.failures = failures.max(1) as usize;
        self.rule.of = (of as usize).max(self.rule.failures);
        self
    }

    /// Forgets calls that ended longer ago than this (a minute).
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.rule.within = within;
        self
    }

    /// How long nothing at all is let through once it has opened (a second). How often something is tried after that, the runtime
    /// decides.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.rule.pause = pause;
        self
    }

    /// The breakers that this layer and its clones have made, to look at.
    #[must_use]
    pub fn breakers(&self) -> Breakers {
        self.breakers.clone()
    }
}

impl Default for BreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for BreakerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerLayer").field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Breaker<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let shared = Arc::new(Shared::new(self.rule));
        self.breakers.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&shared));
        Breaker::new(inner, shared)
    }
}

/// The breakers that a layer has made: one for each handler. It keeps none of them alive.
#[derive(Debug, Clone, Default)]
pub struct Breakers(Arc<Mutex<Vec<Weak<Shared>>>>);

impl Breakers {
    /// Each breaker whose handler was called at least once, as it is now.
    #[must_use]
    pub fn all(&self) -> Vec<BreakerStatus> {
        let mut breakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.retain(|one| one.strong_count() > 0);
        let called = breakers.iter().filter_map(Weak::upgrade).filter(|one| one.context.get().is_some());
        called.map(|one| BreakerStatus::of(&one)).collect()
    }

    /// The state of a handler's breaker; `None` if it has none, or was never called.
    #[must_use]
    pub fn of(&self, handler: &str) -> Option<State> {
        self.all().iter().find(|one| one.handler == handler).map(|one| one.state)
    }
}

/// A breaker, as it is now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BreakerStatus {
    /// The handler.
    pub handler: String,
    /// Its group.
    pub group: String,
    /// How it is.
    pub state: State,
    /// How many of the last calls failed, while it is closed.
    pub failures: usize,
    /// For how long it has been open since the last call that failed.
    pub open_for: Option<Duration>,
}

impl BreakerStatus {
    fn of(shared: &Shared) -> Self {
        let ((state, failures, opened), (handler, group)) = (shared.state(), shared.names());
        let open_for = opened.map(|opened| opened.elapsed());
        Self { handler: handler.to_owned(), group: group.to_owned(), state, failures, open_for }
    }
}
