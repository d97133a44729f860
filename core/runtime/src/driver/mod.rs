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
mod core;
mod dead;
mod keeper;
mod remote;
mod route;
mod verdict;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use convoke_core::broker::{
    Broker, Delay, Deliveries, PublishOutcome, Settle, SettleBy, Settled, Settlement, SubscribeSpec, Subscription,
    SubscriptionControl, SubscriptionEvent,
};
use convoke_core::{BoxFuture, BoxHandler, Epoch, Error, ErrorKind, Incoming, PartId};
use convoke_engine::{Answer, In, Published, Slot, Time};
use futures_core::Stream;
use tokio::time::{Instant, Sleep};

pub(crate) use self::core::Core;
use self::core::Todo;
use calls::{Calls, Ended};
pub(crate) use dead::RESERVED;
pub(crate) use remote::{Command, Remote};
pub use route::UnknownEvents;
pub(crate) use route::{Counters, RouteRunner};

/// How often a turn may go round before others get their chance.
const ROUNDS: u32 = 64;
/// How many events are taken from the subscription in one round.
const EVENTS: u32 = 8;
/// The pause before a subscription that failed or ended is opened again: this, then twice that, and so on up to [`REOPEN_MAX`].
const REOPEN_MIN: Duration = Duration::from_millis(100);
const REOPEN_MAX: Duration = Duration::from_secs(10);

/// What a batch that was sent to the broker will be answered for.
enum Sent {
    Publish(BoxFuture<'static, Vec<PublishOutcome>>, Vec<Slot>),
    Settle(BoxFuture<'static, Vec<Settled>>, Vec<(Slot, Settle)>),
    Commit(BoxFuture<'static, Vec<Settled>>, Vec<(PartId, Epoch)>, u64),
}

/// The subscription's side of the driver.
enum Intake {
    Opening(BoxFuture<'static, Result<Subscription, Error>>),
    Waiting(Pin<Box<Sleep>>),
    Open(Pin<Box<dyn Stream<Item = SubscriptionEvent> + Send>>),
    Closing(BoxFuture<'static, ()>),
    Closed,
}

/// Runs one subscription until it is drained.
pub(crate) struct Driver {
    remote: Arc<Remote>,
    broker: Arc<dyn Broker>,
    spec: SubscribeSpec,
    intake: Intake,
    reopen: Duration,
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
    /// What came in after it was told to stop, and when.
    late: Vec<(Time, Deliveries)>,
    sleep: Pin<Box<Sleep>>,
    sleeping_until: Option<Time>,
    drained: bool,
}

impl Driver {
    pub(crate) fn new(remote: Arc<Remote>, broker: Arc<dyn Broker>, spec: SubscribeSpec, services: Vec<BoxHandler>) -> Self {
        let sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
        let mut driver = Self {
            remote,
            broker,
            spec,
            intake: Intake::Closed,
            reopen: REOPEN_MIN,
            opened: 0,
            calls: Calls::new(),
            services,
            unready: Vec::new(),
            readied: Vec::new(),
            sent: VecDeque::new(),
            finished: Vec::new(),
            todo: Todo::default(),
            late: Vec::new(),
            sleep,
            sleeping_until: None,
            drained: false,
        };
        driver.open();
        driver
    }

    fn open(&mut self) {
        self.opened += 1;
        let (broker, spec) = (Arc::clone(&self.broker), self.spec.clone());
        self.intake = Intake::Opening(Box::pin(async move { broker.subscribe(spec).await }));
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
            core.stopping |= matches!(command, Command::Drain(_) | Command::Abort);
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

    fn poll_intake(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        for _ in 0..EVENTS {
            match &mut self.intake {
                Intake::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(Subscription { events, control, .. })) => {
                        self.remote.core().control = Some(Arc::from(control));
                        self.remote.connected(Ok(()));
                        self.intake = Intake::Open(events);
                    }
                    Poll::Ready(Err(error)) => self.pause_intake(&error),
                },
                Intake::Waiting(sleep) => {
                    if sleep.as_mut().poll(cx).is_pending() {
                        break;
                    }
                    self.open();
                }
                Intake::Open(events) => match events.as_mut().poll_next(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(event)) => self.take_event(event),
                    Poll::Ready(None) => self.ended(),
                },
                Intake::Closing(closing) => {
                    if closing.as_mut().poll(cx).is_pending() {
                        break;
                    }
                    self.intake = Intake::Closed;
                }
                Intake::Closed => break,
            }
            any = true;
        }
        any
    }

    fn pause_intake(&mut self, error: &Error) {
        tracing::warn!(group = self.spec.group, %error, again_in = ?self.reopen, "the subscription failed and will be opened again");
        self.remote.connected(Err(error));
        self.intake = Intake::Waiting(Box::pin(tokio::time::sleep(self.reopen)));
        self.reopen = (self.reopen * 2).min(REOPEN_MAX);
    }

    /// The stream has ended without being told to: everything is lost, and the subscription is opened anew.
    fn ended(&mut self) {
        self.lose_everything();
        let stopping = {
            let mut core = self.remote.core();
            core.control = None;
            core.stopping
        };
        // Whoever is leaving does not join again.
        if stopping {
            self.intake = Intake::Closed;
        } else {
            self.pause_intake(&Error::new(ErrorKind::Connection, "the broker ended the subscription"));
        }
    }

    fn lose_everything(&mut self) {
        let now = self.now();
        let mut core = self.remote.core();
        let parts: Vec<_> = core.parts.drain().map(|(part, info)| (part, info.epoch)).collect();
        for (part, epoch) in parts {
            core.step(now, In::Lost { part, epoch });
        }
    }

    fn take_event(&mut self, event: SubscriptionEvent) {
        let now = self.now();
        let mut core = self.remote.core();
        match event {
            SubscriptionEvent::Deliveries(deliveries) if core.stopping => self.late.push((now, deliveries)),
            SubscriptionEvent::Deliveries(deliveries) => core.delivered(now, deliveries),
            SubscriptionEvent::Assigned { part, topic, partition, epoch, term, resume } => {
                tracing::debug!(group = self.spec.group, %topic, partition, epoch = epoch.0, "a partition is assigned");
                self.reopen = REOPEN_MIN;
                if core.assigned(part, epoch, &topic) {
                    let until = term.map(|term| now.after(term));
                    core.step(now, In::Assigned { part, epoch, until, resume: &resume });
                } else {
                    // Never granted anything, it delivers nothing.
                    tracing::error!(group = self.spec.group, %topic, "the adapter assigns a topic that no handler reads; it is left alone");
                }
            }
            SubscriptionEvent::Renewed { part, epoch, term } => {
                core.step(now, In::Renewed { part, epoch, until: now.after(term) })
            }
            SubscriptionEvent::Revoking { part, epoch, within } => {
                core.step(now, In::Revoking { part, epoch, by: now.after(within) })
            }
            SubscriptionEvent::Lost { part, epoch } => core.step(now, In::Lost { part, epoch }),
            SubscriptionEvent::Interrupted(error) => {
                tracing::warn!(group = self.spec.group, %error, "the connection is interrupted");
                self.remote.connected(Err(&error));
                drop(core);
                self.lose_everything();
            }
            SubscriptionEvent::Resumed => {
                tracing::info!(group = self.spec.group, "the connection is back");
                self.remote.connected(Ok(()));
            }
            SubscriptionEvent::Gap { part, from, to } => {
                tracing::error!(group = self.spec.group, part = part.0, %from, %to, "the broker discarded messages before they were read");
                self.remote.gap();
            }
            other => tracing::warn!(?other, "the adapter says something that this version does not know"),
        }
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

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        for _ in 0..self.sent.len() {
            let Some(mut sent) = self.sent.pop_front() else { break };
            if self.poll_one_sent(&mut sent, cx).is_pending() {
                self.sent.push_back(sent);
            } else {
                any = true;
            }
        }
        any
    }

    fn poll_one_sent(&mut self, sent: &mut Sent, cx: &mut Context<'_>) -> Poll<()> {
        match sent {
            Sent::Publish(future, slots) => {
                let outcomes = ready!(future.as_mut().poll(cx));
                self.published(slots, outcomes);
            }
            Sent::Settle(future, slots) => {
                let answers = ready!(future.as_mut().poll(cx));
                let now = self.now();
                let mut core = self.remote.core();
                let mut answers = answers.into_iter();
                core.elapse(now);
                for (slot, settle) in slots.drain(..) {
                    core.settled(now, slot, settle, answer(answers.next().as_ref()));
                }
                core.follow(now);
            }
            Sent::Commit(future, parts, opened) => {
                let answers = ready!(future.as_mut().poll(cx));
                if *opened != self.opened {
                    // Of a subscription that is gone: the present one may use the same numbers for its partitions and epochs.
                    return Poll::Ready(());
                }
                let now = self.now();
                let mut core = self.remote.core();
                let mut answers = answers.into_iter();
                for (part, epoch) in parts.drain(..) {
                    core.step(now, In::Committed { part, epoch, answer: answer(answers.next().as_ref()) });
                }
            }
        }
        Poll::Ready(())
    }

    /// Answers for a batch of publishes; messages of one slot stand together.
    fn published(&mut self, slots: &[Slot], outcomes: Vec<PublishOutcome>) {
        let now = self.now();
        let mut core = self.remote.core();
        let mut outcomes = outcomes.into_iter();
        let mut confirmed = Vec::new();
        let mut rest = slots;
        while let [slot, ..] = rest {
            let count = rest.iter().take_while(|other| *other == slot).count();
            let mut result = Published::Confirmed;
            confirmed.clear();
            for _ in 0..count {
                let outcome = outcomes.next();
                confirmed.push(matches!(outcome, Some(PublishOutcome::Confirmed(_))));
                match outcome {
                    Some(PublishOutcome::Confirmed(_)) => {}
                    Some(PublishOutcome::Rejected { retryable: false, error }) => {
                        core.refused(*slot, &error);
                        result = Published::Refused;
                    }
                    Some(PublishOutcome::Unroutable) => {
                        core.refused(*slot, &Error::new(ErrorKind::Rejected, "nobody's queue takes what the handler returned"));
                        result = Published::Refused;
                    }
                    // Refused for now, or not answered: the same again, under the same id.
                    _ if result == Published::Confirmed => result = Published::Again,
                    _ => {}
                }
            }
            core.published(now, *slot, result, &confirmed);
            rest = &rest[count..];
        }
    }

    fn poll_time(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        loop {
            let wake = self.remote.core().engine.next_wake();
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
                core.carry_out(&mut self.todo);
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
        if self.sent.iter().any(|sent| !matches!(sent, Sent::Publish(..))) {
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

    /// Sends what has gathered: one batch of publishes, one of settlements, one of commits.
    fn send(&mut self) -> bool {
        let before = self.sent.len();
        if !self.todo.publishes.is_empty() {
            let (slots, batch): (Vec<_>, Vec<_>) = self.todo.publishes.drain(..).unzip();
            let broker = Arc::clone(&self.broker);
            self.sent.push_back(Sent::Publish(Box::pin(async move { broker.publish(batch).await }), slots));
        }
        let control = || self.remote.core().control.clone();
        if !self.todo.settles.is_empty() {
            let (slots, batch): (Vec<_>, Vec<_>) =
                self.todo.settles.drain(..).map(|(slot, settlement)| ((slot, settlement.settle), settlement)).unzip();
            let future = match control() {
                Some(control) => control.settle(batch),
                None => gone(batch.len()),
            };
            self.sent.push_back(Sent::Settle(future, slots));
        }
        if !self.todo.commits.is_empty() {
            let batch = std::mem::take(&mut self.todo.commits);
            let parts = batch.iter().map(|commit| (commit.part, commit.epoch)).collect();
            let future = match control() {
                Some(control) => control.commit(batch),
                None => gone(batch.len()),
            };
            self.sent.push_back(Sent::Commit(future, parts, self.opened));
        }
        self.sent.len() > before
    }

    /// How to give back what came in after it was told to stop; where positions are committed, by saying nothing of it.
    fn give_back_late(&mut self) -> Vec<Settlement> {
        let capabilities = self.broker.capabilities();
        let now = self.now();
        let late = std::mem::take(&mut self.late);
        if capabilities.settle != SettleBy::Message {
            return Vec::new();
        }
        let native = matches!(capabilities.delay, Delay::Native { .. });
        let nack = |since: Time, incoming: Incoming| {
            // It has waited here too.
            let delay = incoming.due_in.filter(|_| native).unwrap_or_default().saturating_sub(now.since(since));
            Settlement::new(incoming.token, Settle::Nack { delay, attempts: incoming.attempts, hold: true })
        };
        let of_batch = |(since, deliveries): (Time, Deliveries)| deliveries.messages.into_iter().map(move |one| nack(since, one));
        late.into_iter().flat_map(of_batch).collect()
    }

    /// Ends the subscription, once the engine is drained.
    fn close(&mut self) {
        let control = self.remote.core().control.take();
        let late = self.give_back_late();
        self.intake = match control {
            Some(control) => {
                let closing: Arc<dyn SubscriptionControl> = control;
                // The stream is dropped only after the adapter was told: dropping it first would look like a crash.
                let events = std::mem::replace(&mut self.intake, Intake::Closed);
                Intake::Closing(Box::pin(async move {
                    if !late.is_empty() {
                        // What the answers say changes nothing: what is not given back so is when the subscription ends.
                        let _ = closing.settle(late).await;
                    }
                    closing.close().await;
                    drop(events);
                }))
            }
            None => Intake::Closed,
        };
    }
}

/// The answers when there is no subscription to settle with any more.
fn gone(count: usize) -> BoxFuture<'static, Vec<Settled>> {
    Box::pin(async move { (0..count).map(|_| Settled::Stale).collect() })
}

fn answer(settled: Option<&Settled>) -> Answer {
    match settled {
        Some(Settled::Applied) => Answer::Applied,
        Some(Settled::Stale) => Answer::Stale,
        _ => Answer::Failed,
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
