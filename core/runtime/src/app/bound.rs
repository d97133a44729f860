//! A subscription and the driver that it is bound to.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use convoke_core::Topic;
use convoke_engine::RouteId;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::brokers::Named;
use super::plan::PlannedSubscription;
use super::status::{HandlerStatus, STALLED, read};
use crate::driver::{Command, Remote};

/// A subscription that is bound to a driver.
pub(super) struct Bound {
    pub(super) remote: Arc<Remote>,
    /// The number of the broker that it is on.
    pub(super) broker: usize,
    pub(super) group: String,
    /// What it reads: topics, and the group's own places for them.
    pub(super) topics: Vec<Topic>,
    pub(super) handlers: Vec<&'static str>,
    /// Whether it was bound when the application ran already: then it is forgotten once it has ended.
    pub(super) at_run_time: bool,
    /// Whether it was unsubscribed: then it is forgotten even if it had stopped before its end.
    pub(super) dismissed: AtomicBool,
    task: tokio::sync::Mutex<Task>,
}

struct Task {
    /// `None` once it was awaited.
    handle: Option<JoinHandle<()>>,
    /// Whether it ended by itself and in time.
    clean: bool,
}

impl Bound {
    pub(super) fn new(
        remote: Arc<Remote>,
        subscription: &PlannedSubscription,
        topics: Vec<Topic>,
        handle: JoinHandle<()>,
    ) -> Self {
        Self {
            remote,
            broker: subscription.broker,
            group: subscription.group.clone(),
            topics,
            handlers: subscription.routes.iter().map(|route| route.handler.name).collect(),
            at_run_time: false,
            dismissed: AtomicBool::new(false),
            task: tokio::sync::Mutex::new(Task { handle: Some(handle), clean: true }),
        }
    }

    /// Tells the driver something about a handler, if it has it.
    pub(super) fn tell(&self, handler: &str, command: &dyn Fn(RouteId) -> Command) -> bool {
        let index = self.handlers.iter().position(|name| *name == handler);
        if let Some(index) = index {
            self.remote.send(command(route_id(index)));
        }
        index.is_some()
    }

    /// Whether the driver has ended by a panic or because it was killed.
    pub(super) fn has_failed(&self) -> bool {
        self.remote.has_ended() && !self.remote.has_drained()
    }

    /// Whether it has stopped before its end, because a policy says so.
    pub(super) fn has_stopped(&self) -> bool {
        self.remote.core().halted()
    }

    /// Whether there is nothing left to be told of it.
    fn is_over(&self) -> bool {
        self.at_run_time && self.remote.has_drained() && (self.dismissed.load(Ordering::Acquire) || !self.has_stopped())
    }

    /// Waits until the driver has ended, but not beyond `limit`, when it is killed. Whether it ended well.
    pub(super) async fn join(&self, limit: Instant) -> bool {
        let mut task = self.task.lock().await;
        // Taken out only when it is over: whoever drops this future may call again.
        if let Some(handle) = task.handle.as_mut() {
            let clean = matches!(tokio::time::timeout_at(limit, &mut *handle).await, Ok(Ok(())));
            handle.abort();
            *task = Task { handle: None, clean };
        }
        task.clean
    }

    /// Has the driver end where it stands, the next time that it would run.
    #[cfg(feature = "testkit")]
    pub(super) fn abort(&self) {
        // Whoever holds the lock awaits the end already.
        if let Ok(task) = self.task.try_lock()
            && let Some(handle) = &task.handle
        {
            handle.abort();
        }
    }

    /// Ends the driver where it stands.
    #[cfg(feature = "testkit")]
    pub(super) async fn kill(&self) {
        let handle = self.task.lock().await.handle.take();
        if let Some(handle) = handle {
            handle.abort();
            // Cancelled is what it is meant to be.
            let _ = handle.await;
        }
        let control = self.remote.core().control.take();
        drop(control);
    }

    /// How its handlers are now.
    pub(super) async fn status(&self, on: &Named) -> Vec<HandlerStatus> {
        let lag = on.broker.lag(&self.group, &self.topics).await.ok();
        let (remote, connection) = (&self.remote, self.remote.connection());
        let now = remote.now();
        let core = remote.core();
        let status = |(index, route): (usize, &crate::driver::RouteRunner)| {
            let status = core.engine.status(route_id(index));
            // What only waits for its retry is no work; nor is what came in a moment ago after a quiet hour.
            let working = status.in_flight > status.waiting && !status.paused && !status.suspended;
            let old = status.oldest.is_some_and(|since| now.since(since) > STALLED);
            let stalled = working && old && remote.since_done() > STALLED;
            let stopped = core.stopped(route_id(index));
            HandlerStatus {
                handler: route.context.handler.to_string(),
                group: self.group.clone(),
                broker: Some(on.name.clone()).filter(|name| !name.is_empty()),
                healthy: connection.up && !stalled && stopped.is_empty() && (core.at_end || !remote.has_ended()),
                stopped,
                paused: status.paused,
                suspended: status.suspended,
                at_end: core.at_end,
                concurrency: status.concurrency,
                in_flight: u64::from(status.in_flight),
                running: u64::from(status.running),
                waiting: u64::from(status.waiting),
                oldest: status.oldest.map(|since| now.since(since)),
                known: read(&route.counters.known),
                handled: read(&route.counters.handled),
                failed: read(&route.counters.failed),
                dead: read(&route.counters.dead),
                dropped: read(&route.counters.dropped),
                skipped: read(&route.counters.skipped),
                gaps: remote.gaps(),
                full: u64::from(core.engine.full()),
                lag,
                connection_failures: connection.failures,
            }
        };
        core.routes.iter().enumerate().map(status).collect()
    }

    /// Whether nothing is left to do: the engine is idle, and the broker has nothing.
    pub(super) async fn is_settled(&self, on: &Named) -> bool {
        if self.remote.has_drained() {
            return !self.has_stopped();
        }
        let idle = self.remote.core().engine.idle();
        idle && on.broker.lag(&self.group, &self.topics).await.is_ok_and(|lag| lag.is_zero())
    }
}

/// What is bound, and whether more may be.
#[derive(Default)]
pub(super) struct Bounds(Mutex<List>);

#[derive(Default)]
struct List {
    bound: Vec<Arc<Bound>>,
    closed: bool,
}

/// The handlers of all of them.
pub(super) fn handlers(bound: &[Arc<Bound>]) -> Vec<&'static str> {
    bound.iter().flat_map(|bound| &bound.handlers).copied().collect()
}

impl Bounds {
    pub(super) fn new(bound: Vec<Arc<Bound>>) -> Self {
        Self(Mutex::new(List { bound, closed: false }))
    }

    fn list(&self) -> std::sync::MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is now. What was bound at run time and has come to its end is forgotten.
    pub(super) fn all(&self) -> Vec<Arc<Bound>> {
        let mut list = self.list();
        list.bound.retain(|bound| !bound.is_over());
        list.bound.clone()
    }

    /// Adds what `bind` makes, unless nothing is added any more.
    pub(super) fn add(&self, bind: impl FnOnce() -> Bound) -> Option<Arc<Bound>> {
        let mut list = self.list();
        if list.closed {
            return None;
        }
        let bound = Arc::new(Bound { at_run_time: true, ..bind() });
        list.bound.push(Arc::clone(&bound));
        Some(bound)
    }

    /// What there is now; nothing is added any more.
    pub(super) fn close(&self) -> Vec<Arc<Bound>> {
        let mut list = self.list();
        list.closed = true;
        list.bound.clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.list().closed
    }
}

#[allow(clippy::cast_possible_truncation, reason = "an application has fewer than 65,536 handlers")]
fn route_id(index: usize) -> RouteId {
    RouteId(index as u16)
}
