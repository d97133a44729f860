//! What steers a running application.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use convoke_core::broker::{Broker, Faults, Health};
use convoke_core::few::sort_by;
use convoke_core::{Error, ErrorKind, Publisher, Topic, join_all};
use convoke_engine::RouteId;
use tokio::time::Instant;

use super::binder::Binder;
use super::bound::{Bound, Bounds, handlers};
use super::status::AppStatus;
use crate::driver::Command;
use crate::publisher::Sink;
#[cfg(feature = "testkit")]
use crate::words;

/// A running application: publish, pause, resume, resize, look, drain. Cheap to clone.
///
/// Dropping every handle does not stop the application; [`AppHandle::drain`] does.
#[derive(Clone)]
pub struct AppHandle(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) binder: Binder,
    sink: Arc<Sink>,
    pub(super) bounds: Bounds,
    /// Held while something is bound at run time, or a topic deleted: two for the same place would not see each other.
    pub(super) binding: tokio::sync::Mutex<()>,
    /// Whether it ends by itself.
    pub(super) until_end: bool,
    pub(super) aborted: AtomicBool,
}

impl Inner {
    pub(super) fn new(binder: Binder, sink: Arc<Sink>, bound: Vec<Arc<Bound>>, until_end: bool) -> Self {
        Self {
            binder,
            sink,
            bounds: Bounds::new(bound),
            binding: tokio::sync::Mutex::default(),
            until_end,
            aborted: AtomicBool::new(false),
        }
    }
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Whether everything that ran was finished and settled, and everything that was accepted for publishing was confirmed.
    pub clean: bool,
    /// Messages whose handler was cancelled, because its time was over: they were given back, and will be delivered again.
    pub cancelled: u64,
    /// Messages that were given out to this process and are not settled: they will be delivered again.
    pub unsettled: u64,
    /// Messages that were accepted for publishing and are not confirmed.
    pub unconfirmed: u64,
    /// Subscriptions that had stopped before their end, because a policy says so: [`HandlerStatus::stopped`](super::HandlerStatus).
    pub stopped: u64,
    /// How long it took.
    pub took: Duration,
}

impl AppHandle {
    pub(super) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Publishes from outside of handlers.
    #[must_use]
    pub fn publisher(&self) -> &Publisher {
        &self.0.binder.publisher
    }

    /// The broker, for what the common surface does not offer; the first, where there are several.
    #[must_use]
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.0.binder.brokers[0].broker
    }

    /// A further broker, by its name.
    #[must_use]
    pub fn broker_named(&self, name: &str) -> Option<&Arc<dyn Broker>> {
        self.0.binder.brokers.iter().skip(1).find(|one| one.name == name).map(|one| &one.broker)
    }

    /// How to make the broker fail, for tests; `None` if it cannot be told to.
    #[must_use]
    pub fn faults(&self) -> Option<&dyn Faults> {
        self.broker().faults()
    }

    /// Starts nothing more for a handler until it is resumed. What runs goes on; nothing is lost or repeated.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such handler.
    pub fn pause(&self, handler: &str) -> Result<(), Error> {
        self.tell(handler, &Command::Pause)
    }

    /// Lets a handler go on that was paused.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such handler.
    pub fn resume(&self, handler: &str) -> Result<(), Error> {
        self.tell(handler, &Command::Resume)
    }

    /// Changes how many deliveries a handler runs at the same time. Fewer takes effect as what runs finishes.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such handler; [`ErrorKind::Configuration`] if `concurrency` is 0.
    pub fn resize(&self, handler: &str, concurrency: u32) -> Result<(), Error> {
        if concurrency == 0 {
            return Err(Error::new(ErrorKind::Configuration, "a concurrency of 0 would never run; use `pause`"));
        }
        self.tell(handler, &|route| Command::Resize(route, concurrency))
    }

    /// A topic of the program, as it is named in this deployment: where [`Publisher::publish`] publishes to it.
    #[must_use]
    pub fn topic(&self, written: &str) -> Topic {
        self.0.binder.outward.topic(written)
    }

    fn tell(&self, handler: &str, command: &dyn Fn(RouteId) -> Command) -> Result<(), Error> {
        let bound = self.0.bounds.all();
        // One handler may be bound several times.
        if bound.iter().filter(|bound| bound.tell(handler, command)).count() > 0 {
            return Ok(());
        }
        let text = format!("no handler is named `{handler}`; there are {}", handlers(&bound).join(", "));
        Err(Error::new(ErrorKind::NotFound, text))
    }

    /// How the application is now.
    ///
    /// # Cancel safety
    /// Safe: nothing changes.
    pub async fn status(&self) -> AppStatus {
        let brokers = &self.0.binder.brokers;
        let mut handlers = Vec::new();
        for bound in self.0.bounds.all() {
            handlers.extend(bound.status(&brokers[bound.broker]).await);
        }
        sort_by(&mut handlers, |a, b| a.handler.cmp(&b.handler));
        let broker = self.broker().health();
        // Not collected, which would sort them by a sort of their own.
        let mut others = BTreeMap::new();
        for one in brokers.iter().skip(1) {
            others.insert(one.name.clone(), one.broker.health());
        }
        let up = broker == Health::Up && others.values().all(|health| *health == Health::Up);
        let ready = up && handlers.iter().all(|handler| handler.healthy);
        AppStatus { ready, broker, brokers: others, publishing: self.0.sink.in_flight(), handlers }
    }

    /// Waits until there is nothing left to do: every group of this application has handled all that its topics hold, retries,
    /// delayed messages and what handlers returned included.
    ///
    /// It is known, not guessed: the engines are idle, the broker says that nothing is left, and nothing happened between
    /// the first and the last look. While other processes publish, or hold messages of the same groups, it waits for them too.
    /// It never returns if a message can never be finished, a paused handler's for instance.
    ///
    /// # Cancel safety
    /// Safe: nothing changes.
    pub async fn settled(&self) {
        self.settled_unless(|| Some(LOOK_AGAIN)).await;
    }

    /// The same, unless `pause` has had enough; else it says when to look again.
    pub(crate) async fn settled_unless(&self, pause: impl Fn() -> Option<Duration>) -> bool {
        let mut turns = self.0.binder.turns.subscribe();
        loop {
            let before = *turns.borrow_and_update();
            if self.is_settled().await && *turns.borrow() == before {
                return true;
            }
            let Some(pause) = pause() else { return false };
            // Other processes settle without telling us: look again after a while even if nothing happens here.
            let _ = tokio::time::timeout(pause, turns.changed()).await;
        }
    }

    /// The broker and the group of a handler.
    #[cfg(feature = "testkit")]
    pub(crate) fn bound_to(&self, handler: &str) -> Result<(Arc<dyn Broker>, String), Error> {
        let all = self.0.bounds.all();
        let Some(bound) = all.iter().find(|bound| bound.handlers.contains(&handler)) else {
            let text = format!("no handler takes part that is named {}", words::unknown(handler, handlers(&all)));
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        Ok((Arc::clone(&self.0.binder.brokers[bound.broker].broker), bound.group.clone()))
    }

    async fn is_settled(&self) -> bool {
        if self.0.sink.in_flight() > 0 {
            return false;
        }
        for bound in self.0.bounds.all() {
            if !bound.is_settled(&self.0.binder.brokers[bound.broker]).await {
                return false;
            }
        }
        true
    }

    /// Waits for the application's end, and drains it: when everything that is bound has read up to its marked end
    /// ([`App::until_end`](super::App::until_end)), when it is drained, or when one of its drivers has failed.
    ///
    /// # Delivery
    /// At the marked end everything below the mark is settled; the report is that of the drain, which has little left to do.
    ///
    /// # Cancel safety
    /// If the future is dropped the application goes on; call it again.
    pub async fn ended(&self) -> DrainReport {
        self.over().await;
        self.drain().await
    }

    /// Waits until there is nothing more to wait for.
    pub(crate) async fn over(&self) {
        // The sender lives as long as this handle, so that it cannot be gone.
        let _ = self.0.binder.ends.subscribe().wait_for(|_| self.is_over()).await;
    }

    fn is_over(&self) -> bool {
        let bound = self.0.bounds.all();
        let ends = self.0.until_end || self.0.bounds.is_closed();
        bound.iter().any(|bound| bound.has_failed()) || (ends && bound.iter().all(|bound| bound.remote.has_ended()))
    }

    /// Stops: takes nothing more, finishes what runs within the time that the application allows, gives back what has not
    /// started, settles, flushes, closes.
    ///
    /// # Delivery
    /// A clean drain repeats no finished work. What was not finished in time is cancelled and delivered again.
    ///
    /// # Cancel safety
    /// If the future is dropped the drain goes on; call it again to wait for its end.
    pub async fn drain(&self) -> DrainReport {
        let begun = Instant::now();
        let within = self.0.binder.settings.drain_within;
        let bound = self.0.bounds.close();
        for bound in &bound {
            bound.remote.send(Command::Drain(within));
        }
        self.0.binder.ends.send_modify(|_| {});
        // The engines keep the deadline; this is for a driver that a handler holds by blocking its thread.
        let limit = begun + within + GRACE;
        let mut clean = !self.0.aborted.load(Ordering::Acquire);
        for bound in &bound {
            clean &= bound.join(limit).await;
        }
        clean &= tokio::time::timeout_at(limit, self.0.sink.flushed()).await.is_ok();
        let unsettled: u64 = bound.iter().map(|bound| bound.remote.core().unsettled()).sum();
        let cancelled: u64 = bound.iter().map(|bound| bound.remote.core().cancelled).sum();
        let unconfirmed = self.0.sink.in_flight();
        let closed = join_all(self.0.binder.brokers.iter().map(|one| one.broker.close(GRACE))).await;
        let unconfirmed = unconfirmed.max(closed.iter().map(|report| report.unconfirmed).sum());
        let clean = clean && cancelled == 0 && unsettled == 0 && unconfirmed == 0;
        let stopped = bound.iter().filter(|bound| bound.has_stopped()).count() as u64;
        DrainReport { clean, cancelled, unsettled, unconfirmed, stopped, took: begun.elapsed() }
    }

    /// Stops at once: cancels what runs and gives everything back. [`AppHandle::drain`] then returns soon.
    pub fn abort(&self) {
        self.0.aborted.store(true, Ordering::Release);
        for bound in self.0.bounds.all() {
            bound.remote.send(Command::Abort);
        }
    }

    /// Dies where it stands, as a process does that is killed: nothing is finished, settled, given back or said to the broker. Its
    /// tasks are gone when this returns, and its subscriptions with them; the connection is left to whoever opened it.
    ///
    /// # Cancel safety
    /// If the future is dropped, the tasks end all the same, some of them a little later.
    #[cfg(feature = "testkit")]
    pub async fn crash(&self) {
        let bound = self.0.bounds.all();
        // All at once: nobody is to notice the death of another.
        bound.iter().for_each(|bound| bound.abort());
        for bound in bound {
            bound.kill().await;
        }
    }
}

/// How long closing may take beyond the drain.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// How often to look whether other processes have settled what they hold.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

impl fmt::Debug for AppHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppHandle").field("handlers", &handlers(&self.0.bounds.all())).finish_non_exhaustive()
    }
}
