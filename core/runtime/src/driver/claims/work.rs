//! The driver's part: it tells the store what it is to know, and hears its answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use convoke_core::{BoxFuture, Claims};
use convoke_engine::Time;
use tokio::time::Sleep;

use super::ask::{Answered, Ask, ask};
use crate::driver::Driver;
use crate::driver::running::Running;

/// How long a drain waits, once everything is settled, for the store to hear of it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The store's side of a driver.
pub(in crate::driver) struct ClaimWork {
    desk: Arc<Claims>,
    /// What is to be said next.
    asks: Vec<Ask>,
    asked: Running<(), BoxFuture<'static, Answered>>,
    /// What has been answered, and is to be told.
    answered: Vec<Answered>,
    /// For the next extension, or the end of a drain.
    sleep: Option<(Time, Pin<Box<Sleep>>)>,
    /// When nobody waits for the store any more.
    ends: Option<Time>,
}

impl ClaimWork {
    pub(in crate::driver) fn new(desk: Arc<Claims>) -> Self {
        Self { desk, asks: Vec::new(), asked: Running::new(), answered: Vec::new(), sleep: None, ends: None }
    }

    /// Whether the store is still to hear something.
    pub(in crate::driver) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }
}

/// What was answered. The user's code was kept from taking the driver with it, and panics of ours go on.
fn said(ended: std::thread::Result<Answered>) -> Answered {
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
                self.claims.asks.append(&mut core.claims.asks);
                wake
            };
            // A store is the user's code, and runs when nobody else waits for what the lock keeps.
            let ClaimWork { asks, asked, answered, .. } = &mut self.claims;
            answered.extend(asks.drain(..).filter_map(|one| asked.start((), ask(one)).err()).map(said));
            if self.todo.drained {
                let ends = *self.claims.ends.get_or_insert(now.after(LAST_WORDS));
                if ends <= now {
                    self.claims.asked.clear();
                }
                wake = Some(ends).filter(|ends| *ends > now);
            }
            let ClaimWork { asked, answered, .. } = &mut self.claims;
            asked.poll_woken(cx.waker(), |(), ended| answered.push(said(ended)));
            if answered.is_empty() {
                if !self.wait_for_claims(wake, cx) {
                    return any;
                }
                continue;
            }
            any = true;
            let mut answered = std::mem::take(answered);
            answered.drain(..).for_each(|one| self.claim_answered(one));
            // Its room is used again.
            self.claims.answered = answered;
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
