//! The driver's part: it tells the store what it is to know, and hears its answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use convoke_core::{BoxFuture, Claims};
use convoke_engine::Time;
use futures_core::Stream;
use futures_util::stream::FuturesUnordered;
use tokio::time::Sleep;

use super::ask::{Answered, ask};
use crate::driver::Driver;

/// How long a drain waits, once everything is settled, for the store to hear of it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The store's side of a driver.
pub(in crate::driver) struct ClaimWork {
    desk: Arc<Claims>,
    asked: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// For the next extension, or the end of a drain.
    sleep: Option<(Time, Pin<Box<Sleep>>)>,
    /// When nobody waits for the store any more.
    ends: Option<Time>,
}

impl ClaimWork {
    pub(in crate::driver) fn new(desk: Arc<Claims>) -> Self {
        Self { desk, asked: FuturesUnordered::new(), sleep: None, ends: None }
    }

    /// Whether the store is still to hear something.
    pub(in crate::driver) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }
}

impl Driver {
    /// Tells the store what it is to know, and hears its answers.
    pub(in crate::driver) fn poll_claims(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.claims.desk.used() {
            return false;
        }
        let mut any = false;
        loop {
            let now = self.now();
            let mut wake = {
                let mut core = self.remote.core();
                core.heed(now);
                let wake = core.extend_claims(now);
                self.claims.asked.extend(core.claims.asks.drain(..).map(ask));
                wake
            };
            if self.todo.drained {
                let ends = *self.claims.ends.get_or_insert(now.after(LAST_WORDS));
                if ends <= now {
                    self.claims.asked.clear();
                }
                wake = Some(ends).filter(|ends| *ends > now);
            }
            match Pin::new(&mut self.claims.asked).poll_next(cx) {
                Poll::Ready(Some(answered)) => {
                    any = true;
                    self.claim_answered(answered);
                }
                Poll::Ready(None) | Poll::Pending => {
                    if !self.wait_for_claims(wake, cx) {
                        return any;
                    }
                }
            }
        }
    }

    /// Sleeps until then. Whether that is now.
    fn wait_for_claims(&mut self, wake: Option<Time>, cx: &mut Context<'_>) -> bool {
        let Some(wake) = wake else {
            self.claims.sleep = None;
            return false;
        };
        let at = self.remote.instant(wake);
        let (until, sleep) = self.claims.sleep.get_or_insert_with(|| (wake, Box::pin(tokio::time::sleep_until(at))));
        if *until != wake {
            *until = wake;
            sleep.as_mut().reset(at);
        }
        let over = sleep.as_mut().poll(cx).is_ready();
        if over {
            self.claims.sleep = None;
        }
        over
    }

    fn claim_answered(&mut self, answered: Answered) {
        let now = self.now();
        let mut core = self.remote.core();
        match answered {
            Answered::Committed(slot, answers) => core.claims_committed(now, slot, answers),
            Answered::Extended(slot, answer) => core.claim_extended(slot, answer),
            Answered::Nothing => {}
        }
    }
}
