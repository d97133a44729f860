//! The driver: carries the engine's orders out, on tokio.
//!
//! One long-lived task for each subscription. A turn takes what has happened (events of the subscription, handlers that were
//! woken, answers of the broker, commands, time), tells the engine, and carries its outputs out; it goes on until nothing
//! happens any more. Handlers are polled once in place when they start, and again only when they were woken. Everything that is
//! to be published or settled in a turn goes to the broker as one batch each.
//!
//! Invariants:
//! 1. Outputs are carried out in the order in which the engine gives them.
//! 2. The lock on [`Core`](core::Core) is never held while a handler, or any future, is polled.
//! 3. After a turn, either a waker is registered with everything that may happen next, or the task wakes itself.
//! 4. The engine decides; the driver never settles, repeats or drops a message by itself. What comes in while it stops the engine
//!    never sees: it is kept, and given back at the end, since what is given back earlier comes again at once.

mod bodies;
mod calls;
mod claims;
mod core;
mod dead;
mod intake;
mod keeper;
mod remote;
mod retry;
mod route;
mod running;
mod sent;
mod stop;
mod tell;
mod verdict;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use convoke_core::BoxHandler;
use convoke_core::broker::{Broker, Deliveries, SubscribeSpec, Subscription, SubscriptionEvent};
use convoke_engine::{In, Slot, Time};
use tokio::time::{Instant, Sleep};

pub(crate) use self::core::Core;
use self::core::Todo;
use calls::{Calls, Ended};
use claims::ClaimWork;
pub(crate) use dead::RESERVED;
use intake::{Intake, REOPEN_MIN};
pub(crate) use remote::{Command, Remote};
pub use route::UnknownEvents;
pub(crate) use route::{Counters, RouteRunner, Source};
use sent::Sent;
pub use stop::{OnGap, StopReason, Stopped};

/// How often a turn may go round before others get their chance.
const ROUNDS: u32 = 64;

/// Runs one subscription until it is drained.
pub(crate) struct Driver {
    remote: Arc<Remote>,
    broker: Arc<dyn Broker>,
    spec: SubscribeSpec,
    intake: Intake,
    /// What has happened to the subscription and was not told to the engine yet. Empty between rounds.
    events: Vec<SubscriptionEvent>,
    reopen: Duration,
    /// Whether the subscription has come to its marked end.
    at_end: bool,
    /// How often the subscription was opened.
    opened: u64,
    calls: Calls,
    /// The handlers with their layers, by index.
    services: Vec<BoxHandler>,
    /// Handlers whose layers do not take messages at the moment, by index.
    unready: Vec<usize>,
    /// Handlers that have become ready and were not called since: a readiness may hold a permit that others wait for.
    readied: Vec<usize>,
    sent: VecDeque<Sent>,
    finished: Vec<(Slot, Ended)>,
    todo: Todo,
    claims: ClaimWork,
    /// What came in after it was told to stop, and when.
    late: Vec<(Time, Deliveries)>,
    sleep: Pin<Box<Sleep>>,
    sleeping_until: Option<Time>,
    drained: bool,
}

impl Driver {
    /// A driver of a subscription that is open already, or that it opens itself.
    pub(crate) fn new(
        remote: Arc<Remote>,
        broker: Arc<dyn Broker>,
        spec: SubscribeSpec,
        services: Vec<BoxHandler>,
        opened: Option<Subscription>,
    ) -> Self {
        let sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
        let claims = ClaimWork::new(Arc::clone(&remote.core().claims.desk));
        let mut driver = Self {
            remote,
            broker,
            spec,
            intake: Intake::Closed,
            events: Vec::new(),
            reopen: REOPEN_MIN,
            at_end: false,
            opened: 0,
            calls: Calls::new(),
            services,
            unready: Vec::new(),
            readied: Vec::new(),
            sent: VecDeque::new(),
            finished: Vec::new(),
            todo: Todo::default(),
            claims,
            late: Vec::new(),
            sleep,
            sleeping_until: None,
            drained: false,
        };
        match opened {
            Some(subscription) => {
                driver.opened = 1;
                driver.opened(subscription);
            }
            None => driver.open(),
        }
        driver
    }

    fn now(&self) -> Time {
        self.remote.now()
    }

    /// Everything that has happened, until nothing happens any more.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS {
            let mut progress = self.take_commands(cx);
            progress |= self.poll_intake(cx);
            progress |= self.poll_calls(cx);
            progress |= self.poll_unready(cx);
            progress |= self.poll_sent(cx);
            progress |= self.poll_time(cx);
            progress |= self.pump(cx);
            progress |= self.poll_claims(cx);
            progress |= self.conclude();
            if progress {
                self.remote.progressed();
            }
            if self.drained && matches!(self.intake, Intake::Closed) {
                return Poll::Ready(());
            }
            if !progress {
                // A clone has no readiness of its own: what the old one held is given back.
                for index in self.readied.drain(..) {
                    self.services[index] = self.services[index].clone();
                }
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take_commands(&mut self, cx: &mut Context<'_>) -> bool {
        let commands = self.remote.take_commands(cx.waker());
        let any = !commands.is_empty();
        let now = self.now();
        let mut core = self.remote.core();
        for command in commands {
            if matches!(command, Command::Drain(_) | Command::Abort) {
                (core.stopping, core.halting) = (true, None);
            }
            match command {
                Command::Pause(route) => core.step(now, In::Pause { route }),
                Command::Resume(route) => core.step(now, In::Resume { route }),
                Command::Resize(route, concurrency) => core.step(now, In::Resize { route, concurrency }),
                Command::Drain(within) => core.step(now, In::Drain { by: now.after(within) }),
                Command::Abort => core.step(now, In::Abort),
            }
        }
        any
    }

    fn poll_calls(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.finished.len();
        let finished = &mut self.finished;
        self.calls.poll_woken(cx.waker(), |slot, ended| finished.push((slot, ended)));
        self.finished.len() > before
    }

    /// Asks handlers that did not take messages whether they do now.
    fn poll_unready(&mut self, cx: &mut Context<'_>) -> bool {
        if self.unready.is_empty() {
            return false;
        }
        let now = self.now();
        let before = self.unready.len();
        let (services, readied, remote) = (&mut self.services, &mut self.readied, &self.remote);
        self.unready.retain(|index| {
            if calls::ready(&mut services[*index], cx).is_pending() {
                return true;
            }
            #[allow(clippy::cast_possible_truncation, reason = "a handler's index is below 65,536")]
            let route = convoke_engine::RouteId(*index as u16);
            remote.core().step(now, In::Ready { route });
            readied.push(*index);
            false
        });
        self.unready.len() < before
    }

    fn poll_time(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        loop {
            let wake = {
                let mut core = self.remote.core();
                any |= core.halting.is_some() && core.drain_if_finished(self.now());
                core.next_wake()
            };
            if wake != self.sleeping_until {
                self.sleeping_until = wake;
                if let Some(at) = wake {
                    self.sleep.as_mut().reset(self.remote.instant(at));
                }
            }
            if wake.is_none() || self.sleep.as_mut().poll(cx).is_pending() {
                return any;
            }
            self.sleeping_until = None;
            let now = self.now();
            self.remote.core().step(now, In::Tick);
            if self.remote.core().engine.next_wake().is_some_and(|next| next <= now) {
                // The engine wants to be woken again at once; others first.
                cx.waker().wake_by_ref();
                return true;
            }
            any = true;
        }
    }

    /// Tells the engine what is over and carries out what it wants, until it wants nothing more.
    fn pump(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        loop {
            {
                let now = self.now();
                let mut core = self.remote.core();
                if !self.finished.is_empty() {
                    core.elapse(now);
                    for (slot, ended) in self.finished.drain(..) {
                        core.finished(now, slot, ended);
                    }
                    core.follow(now);
                }
                if core.outs.is_empty() {
                    break;
                }
                core.carry_out(now, &mut self.todo);
            }
            any = true;
            for call in std::mem::take(&mut self.todo.cancels) {
                self.calls.cancel(call);
            }
            self.start_all(cx);
        }
        any | self.send()
    }

    /// What must come after everything that was settled and committed before it: telling the adapter that a revoked partition is
    /// drained, and closing when everything is. A publish that is not answered holds neither up: it is answered for by nobody.
    fn conclude(&mut self) -> bool {
        if self.todo.revoked.is_empty() && (!self.todo.drained || self.drained) {
            return false;
        }
        if self.sent.iter().any(|sent| !matches!(sent, Sent::Publish(..))) || (self.todo.drained && !self.claims.is_idle()) {
            return false;
        }
        let control = self.remote.core().control.clone();
        for (part, epoch) in self.todo.revoked.drain(..) {
            if let Some(control) = &control {
                control.revoked(part, epoch);
            }
        }
        if self.todo.drained && !self.drained {
            self.drained = true;
            self.close();
        }
        true
    }

    fn start_all(&mut self, cx: &mut Context<'_>) {
        let mut starts = std::mem::take(&mut self.todo.starts);
        for (slot, route, delivery) in starts.drain(..) {
            let index = route.0 as usize;
            // tower: the clone that was ready is the one that is called; it is ready again only when it says so again.
            let service = &mut self.services[index];
            self.readied.retain(|other| *other != index);
            let ended = match calls::ready(service, cx) {
                Poll::Ready(Ok(())) => calls::call(service, delivery).and_then(|future| self.calls.start(slot, future)),
                Poll::Ready(Err(ended)) => Err(ended),
                Poll::Pending => {
                    if !self.unready.contains(&index) {
                        self.unready.push(index);
                    }
                    Err(Ended::NotTaken)
                }
            };
            match ended {
                Ok(call) => {
                    if let Some(body) = self.remote.core().bodies.get_mut(slot) {
                        body.call = Some(call);
                    }
                }
                Err(ended) => self.finished.push((slot, ended)),
            }
        }
        self.todo.starts = starts;
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.remote.turn_begins();
        let poll = self.turn(cx);
        self.remote.turn_ends();
        poll
    }
}

/// Runs a driver to its end.
pub(crate) async fn run(driver: Driver) {
    let mut ended = EndGuard { remote: Arc::clone(&driver.remote), drained: false };
    let _keeper = keeper::keep(Arc::clone(&driver.remote));
    driver.await;
    ended.drained = true;
}

/// Says that the driver has ended, also when it ends by a panic or is cancelled.
struct EndGuard {
    remote: Arc<Remote>,
    drained: bool,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a driver has panicked: its handlers are gone, which is a defect of convoke; please report it");
        }
        self.remote.ended(self.drained);
    }
}

/// The instant that a moment of an engine stands for.
pub(crate) fn instant(origin: Instant, time: Time) -> Instant {
    origin + Duration::from_nanos(time.0)
}
