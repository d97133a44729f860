//! A breaker's state, which all clones of its service share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use convoke_core::HandlerContext;
use tokio::time::Instant;

use super::heard::Heard;

/// How a breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// The handler is called.
    Closed,
    /// It is not, but for one message at a time that is let through to see.
    Open,
    /// One was let through, and is not done.
    HalfOpen,
}

impl State {
    /// Whether messages wait.
    #[must_use]
    pub const fn is_open(self) -> bool {
        !matches!(self, Self::Closed)
    }
}

/// When a breaker opens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// With so many failures
    pub(super) failures: usize,
    /// of so many calls,
    pub(super) of: usize,
    /// which ended so recently.
    pub(super) within: Duration,
    /// For how long nothing is let through.
    pub(super) pause: Duration,
}

#[derive(Debug)]
pub(super) struct Shared {
    rule: Rule,
    /// Known with the first call.
    pub(super) context: OnceLock<Arc<HandlerContext>>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// How the last calls ended, and whether they failed: the oldest first. Empty unless closed.
    calls: VecDeque<(Instant, bool)>,
    /// How many of these failed.
    failures: usize,
    /// When it opened, or stayed open, the last time.
    opened: Option<Instant>,
    /// Counts the times that it opened or closed, so that a call which began before says nothing of what came since.
    turn: u64,
}

impl Shared {
    pub(super) fn new(rule: Rule) -> Self {
        let inner = Inner { state: State::Closed, calls: VecDeque::new(), failures: 0, opened: None, turn: 0 };
        Self { rule, context: OnceLock::new(), inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> (State, usize, Option<Instant>) {
        let inner = self.lock();
        (inner.state, inner.failures, inner.opened)
    }

    /// Whether a call may be made, and if so in which turn.
    pub(super) fn admit(&self) -> Option<u64> {
        let mut inner = self.lock();
        match inner.state {
            State::Closed => {}
            State::HalfOpen => return None,
            State::Open => {
                if inner.opened.is_some_and(|opened| opened.elapsed() < self.rule.pause) {
                    return None;
                }
                inner.state = State::HalfOpen;
                inner.turn += 1;
            }
        }
        Some(inner.turn)
    }

    /// A call of this turn has ended. Whether its failures are excused: the breaker is open.
    pub(super) fn heard(&self, turn: u64, heard: Heard) -> bool {
        let mut inner = self.lock();
        let now = Instant::now();
        match inner.state {
            State::Closed if turn == inner.turn => self.count(&mut inner, now, heard),
            State::HalfOpen if turn == inner.turn => self.probed(&mut inner, now, heard),
            // It began before the breaker opened, or closed.
            _ => {}
        }
        inner.state.is_open()
    }

    fn count(&self, inner: &mut Inner, now: Instant, heard: Heard) {
        let failed = match heard {
            Heard::Works => false,
            Heard::Fails => true,
            Heard::Down | Heard::Nothing => return,
        };
        inner.calls.push_back((now, failed));
        inner.failures += usize::from(failed);
        while inner.calls.len() > self.rule.of || inner.calls.front().is_some_and(|(at, _)| *at + self.rule.within <= now) {
            let forgotten = inner.calls.pop_front();
            inner.failures -= usize::from(forgotten.is_some_and(|(_, failed)| failed));
        }
        if failed && inner.failures >= self.rule.failures {
            let (failures, of) = (inner.failures, inner.calls.len());
            self.turn_to(inner, State::Open, Some(now));
            let (handler, group) = self.names();
            tracing::warn!(handler, group, failures, of, "the breaker opens: too many calls failed, and messages wait");
        }
    }

    fn probed(&self, inner: &mut Inner, now: Instant, heard: Heard) {
        let (handler, group) = self.names();
        match heard {
            Heard::Works => {
                self.turn_to(inner, State::Closed, None);
                tracing::info!(handler, group, "the breaker closes: a call was let through and worked");
            }
            Heard::Fails | Heard::Down => {
                self.turn_to(inner, State::Open, Some(now));
                tracing::debug!(handler, group, "the breaker stays open: a call was let through and failed");
            }
            // The next one may be let through at once.
            Heard::Nothing => inner.state = State::Open,
        }
    }

    fn turn_to(&self, inner: &mut Inner, state: State, opened: Option<Instant>) {
        inner.state = state;
        inner.opened = opened;
        inner.turn += 1;
        inner.calls.clear();
        inner.failures = 0;
    }

    pub(super) fn names(&self) -> (&str, &str) {
        self.context.get().map_or(("", ""), |context| (&context.handler, &context.group))
    }
}
