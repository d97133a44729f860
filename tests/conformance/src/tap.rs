//! A broker around the broker under test, as the application sees it: it tells the story of what is published and settled, and
//! loses answers when a case says so.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use convoke_core::broker::{
    Broker, Capabilities, CloseReport, Commit, EnsureMode, EnsureReport, Fault, Faults, Health, Lag, Native, PublishOutcome,
    Settle, Settled, Settlement, SubscribeSpec, Subscription, SubscriptionControl, SubscriptionEvent, Topology,
};
use convoke_core::{BoxFuture, Delivered, Epoch, Error, ErrorKind, Outgoing, PartId, Position, Topic};
use futures_core::Stream;
use tokio::time::Instant;

use crate::story::Story;

/// What went over the wire, over all processes of a case.
#[derive(Debug, Clone)]
pub(crate) enum Sent {
    /// A message was published.
    Published { topic: String, confirmed: bool, at: Instant },
    /// A message was settled, by itself.
    Settled { id: String, settle: Settle, applied: bool, at: Instant },
    /// A position was committed, and applied: with it, these messages are done.
    Committed { ids: Vec<String>, at: Instant },
    /// A partition was assigned, or lost; and whether its last owner is taken for dead.
    Owned { process: String, assigned: bool, unclean: bool },
}

/// What a case has in common with all its taps.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Inner>);

struct Inner {
    sent: Mutex<Vec<Sent>>,
    faults: Mutex<Vec<Fault>>,
    /// Ids of messages that the broker knows to be done.
    settled: Mutex<HashSet<String>>,
    /// Ids of messages of which nobody knows how often the broker has them.
    doubtful: Mutex<HashSet<String>>,
}

enum Injected {
    Rejected(bool),
    Unknown { stored: bool },
    Slow(Duration),
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            sent: Mutex::default(),
            faults: Mutex::default(),
            settled: Mutex::default(),
            doubtful: Mutex::default(),
        }))
    }

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything so far.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        Self::lock(&self.0.sent).clone()
    }

    /// Whether the broker has been told that a message is done, and took it.
    pub(crate) fn is_settled(&self, id: &str) -> bool {
        Self::lock(&self.0.settled).contains(id)
    }

    /// Whether a message may be there twice: no answer came to it, and it was published again.
    pub(crate) fn is_doubtful(&self, id: &str) -> bool {
        Self::lock(&self.0.doubtful).contains(id)
    }

    /// Injects a fault that can be made above the broker.
    pub(crate) fn inject(&self, fault: Fault) {
        Self::lock(&self.0.faults).push(fault);
    }

    /// Takes back every fault that was injected.
    pub(crate) fn heal(&self) {
        Self::lock(&self.0.faults).clear();
    }

    fn note(&self, sent: Sent) {
        Self::lock(&self.0.sent).push(sent);
    }

    /// What is to happen to the next message to this topic.
    fn next_publish(&self, to: &Topic) -> Option<Injected> {
        let mut faults = Self::lock(&self.0.faults);
        for index in 0..faults.len() {
            let (left, injected) = match &mut faults[index] {
                Fault::PublishRejected { topic, count, retryable } if topic == to => (count, Injected::Rejected(*retryable)),
                Fault::PublishUnknown { topic, count, stored } if topic == to => (count, Injected::Unknown { stored: *stored }),
                Fault::PublishSlow { topic, count, by } if topic == to => (count, Injected::Slow(*by)),
                _ => continue,
            };
            *left -= 1;
            if *left == 0 {
                faults.remove(index);
            }
            return Some(injected);
        }
        None
    }

    /// Whether the next settlement of this group is lost.
    fn next_settle(&self, of: &str) -> bool {
        let mut faults = Self::lock(&self.0.faults);
        for fault in faults.iter_mut() {
            if let Fault::SettleLost { group, count } = fault
                && group == of
                && *count > 0
            {
                *count -= 1;
                return true;
            }
        }
        false
    }
}

/// See the module's documentation.
pub(crate) struct Tap {
    inner: Arc<dyn Broker>,
    process: String,
    story: Story,
    wire: Wire,
}

impl Tap {
    pub(crate) fn new(inner: Arc<dyn Broker>, process: &str, story: Story, wire: Wire) -> Self {
        Self { inner, process: process.to_owned(), story, wire }
    }

    fn published(&self, outgoing: &Outgoing, outcome: &PublishOutcome) {
        let (id, topic) = (outgoing.message.id().unwrap_or_default().to_owned(), outgoing.message.topic().as_str().to_owned());
        let text = match outcome {
            PublishOutcome::Confirmed(receipt) => match receipt.stored {
                Some((partition, position)) => format!("published to {topic}: confirmed at {partition}/{position}"),
                None => format!("published to {topic}: confirmed"),
            },
            PublishOutcome::Rejected { error, .. } => format!("published to {topic}: rejected: {error}"),
            PublishOutcome::Unknown(error) => format!("published to {topic}: no answer: {error}"),
            _ => format!("published to {topic}: nobody's queue takes it"),
        };
        self.story.message(&self.process, &id, outgoing.message.payload(), text);
        if matches!(outcome, PublishOutcome::Unknown(_)) {
            Wire::lock(&self.wire.0.doubtful).insert(id);
        }
        let confirmed = matches!(outcome, PublishOutcome::Confirmed(_));
        self.wire.note(Sent::Published { topic, confirmed, at: Instant::now() });
    }
}

#[async_trait]
impl Broker for Tap {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn ensure(&self, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
        self.inner.ensure(topology, mode).await
    }

    fn check_topology(&self, topology: &Topology) -> Result<(), Error> {
        self.inner.check_topology(topology)
    }

    fn check_native(&self, said: &[Native]) -> Result<(), Error> {
        self.inner.check_native(said)
    }

    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<PublishOutcome> {
        let injected: Vec<_> = batch.iter().map(|outgoing| self.wire.next_publish(outgoing.message.topic())).collect();
        let is_sent =
            |injected: &Option<Injected>| !matches!(injected, Some(Injected::Rejected(_) | Injected::Unknown { stored: false }));
        let sent = batch.iter().zip(&injected).filter(|(_, injected)| is_sent(injected)).map(|(outgoing, _)| outgoing.clone());
        let mut answers = self.inner.publish(sent.collect()).await.into_iter();
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut slow = Duration::ZERO;
        for injected in &injected {
            let answer = is_sent(injected).then(|| answers.next()).flatten();
            let fault = |kind| Error::new(kind, "as the case has injected");
            outcomes.push(match (answer, injected) {
                (_, Some(Injected::Rejected(retryable))) => {
                    PublishOutcome::Rejected { retryable: *retryable, error: fault(ErrorKind::Rejected) }
                }
                (_, Some(Injected::Unknown { .. })) => PublishOutcome::Unknown(fault(ErrorKind::Unknown)),
                (Some(answer), Some(Injected::Slow(by))) => {
                    slow = slow.max(*by);
                    answer
                }
                (Some(answer), None) => answer,
                (None, _) => PublishOutcome::Unknown(Error::new(ErrorKind::Internal, "the adapter answered too few")),
            });
        }
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        batch.iter().zip(&outcomes).for_each(|(outgoing, outcome)| self.published(outgoing, outcome));
        outcomes
    }

    async fn subscribe(&self, spec: SubscribeSpec) -> Result<Subscription, Error> {
        let group = spec.group.clone();
        let Subscription { events, control, .. } = self.inner.subscribe(spec).await?;
        let seen = Arc::new(Seen {
            process: self.process.clone(),
            group,
            story: self.story.clone(),
            wire: self.wire.clone(),
            places: Mutex::default(),
        });
        let events = Events { inner: events, seen: Arc::clone(&seen) };
        Ok(Subscription::new(Box::pin(events), Box::new(Control { inner: control, seen })))
    }

    async fn delete_topic(&self, topic: &Topic) -> Result<(), Error> {
        self.inner.delete_topic(topic).await
    }

    async fn topics(&self) -> Result<Vec<(Topic, u32)>, Error> {
        self.inner.topics().await
    }

    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<Lag, Error> {
        self.inner.lag(group, topics).await
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    async fn close(&self, within: Duration) -> CloseReport {
        self.inner.close(within).await
    }

    fn faults(&self) -> Option<&dyn Faults> {
        self.inner.faults()
    }

    fn native(&self) -> &(dyn Any + Send + Sync) {
        self.inner.native()
    }
}

/// What a subscription has delivered: which message is where, and what is not done of it.
struct Seen {
    process: String,
    group: String,
    story: Story,
    wire: Wire,
    places: Mutex<HashMap<(PartId, Position), String>>,
}

impl Seen {
    fn event(&self, event: &SubscriptionEvent) {
        let owned = |assigned, unclean| Sent::Owned { process: self.process.clone(), assigned, unclean };
        let text = match event {
            SubscriptionEvent::Deliveries(deliveries) => {
                for incoming in &deliveries.messages {
                    let id = Delivered::new(incoming.clone(), 1).id().into_owned();
                    Wire::lock(&self.places).insert((deliveries.part, incoming.position), id);
                }
                return;
            }
            SubscriptionEvent::Renewed { .. } => return,
            SubscriptionEvent::Assigned { topic, partition, epoch, resume, .. } => {
                self.wire.note(owned(true, resume.unclean));
                let unclean = if resume.unclean { ", whose owner died" } else { "" };
                format!("{}: {topic}/{partition} is assigned in epoch {}{unclean}", self.group, epoch.0)
            }
            SubscriptionEvent::Revoking { part, epoch, within } => {
                format!("{}: part {} of epoch {} is to be given up within {within:?}", self.group, part.0, epoch.0)
            }
            SubscriptionEvent::Lost { part, epoch } => {
                self.wire.note(owned(false, false));
                format!("{}: part {} of epoch {} is lost", self.group, part.0, epoch.0)
            }
            other => format!("{}: {other:?}", self.group),
        };
        self.story.event(&self.process, text);
    }

    fn settled(&self, settlement: &Settlement, answer: &Settled) {
        let place = (settlement.token.part, settlement.token.position);
        let Some(id) = Wire::lock(&self.places).get(&place).cloned() else { return };
        let applied = matches!(answer, Settled::Applied);
        if applied && settlement.settle == Settle::Ack {
            Wire::lock(&self.wire.0.settled).insert(id.clone());
        }
        self.story.id(&self.process, &id, format!("{:?}: {answer:?}", settlement.settle));
        self.wire.note(Sent::Settled { id, settle: settlement.settle, applied, at: Instant::now() });
    }

    fn committed(&self, commit: &Commit, answer: &Settled) {
        self.story.event(&self.process, format!("{}: commit {commit:?}: {answer:?}", self.group));
        if !matches!(answer, Settled::Applied) {
            return;
        }
        let places = Wire::lock(&self.places);
        let is_done =
            |at: Position| at < commit.upto || commit.progress.done.iter().any(|(first, last)| *first <= at && at <= *last);
        let done = places.iter().filter(|((part, at), _)| *part == commit.part && is_done(*at)).map(|(_, id)| id.clone());
        let mut settled = Wire::lock(&self.wire.0.settled);
        let ids: Vec<_> = done.filter(|id| settled.insert(id.clone())).collect();
        self.wire.note(Sent::Committed { ids, at: Instant::now() });
    }
}

struct Events {
    inner: Pin<Box<dyn Stream<Item = SubscriptionEvent> + Send>>,
    seen: Arc<Seen>,
}

impl Stream for Events {
    type Item = SubscriptionEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        let event = ready!(self.inner.as_mut().poll_next(cx));
        if let Some(event) = &event {
            self.seen.event(event);
        }
        Poll::Ready(event)
    }
}

struct Control {
    inner: Box<dyn SubscriptionControl>,
    seen: Arc<Seen>,
}

impl SubscriptionControl for Control {
    fn grant(&self, part: PartId, epoch: Epoch, messages: u32, bytes: u64) {
        self.inner.grant(part, epoch, messages, bytes);
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'static, Vec<Settled>> {
        let lost: Vec<bool> = batch.iter().map(|_| self.seen.wire.next_settle(&self.seen.group)).collect();
        let forward = batch.iter().zip(&lost).filter(|(_, lost)| !**lost).map(|(settlement, _)| settlement.clone()).collect();
        // At once, and not when the future is polled: an adapter may count on it.
        let answers = self.inner.settle(forward);
        let seen = Arc::clone(&self.seen);
        Box::pin(async move {
            let mut answers = answers.await.into_iter();
            let failed = || Settled::Failed(Error::new(ErrorKind::Connection, "as the case has injected"));
            let answer = |lost: &bool| if *lost { failed() } else { answers.next().unwrap_or_else(failed) };
            let all: Vec<Settled> = lost.iter().map(answer).collect();
            batch.iter().zip(&all).for_each(|(settlement, answer)| seen.settled(settlement, answer));
            all
        })
    }

    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'static, Vec<Settled>> {
        let answers = self.inner.commit(batch.clone());
        let seen = Arc::clone(&self.seen);
        Box::pin(async move {
            let answers = answers.await;
            batch.iter().zip(&answers).for_each(|(commit, answer)| seen.committed(commit, answer));
            answers
        })
    }

    fn revoked(&self, part: PartId, epoch: Epoch) {
        self.inner.revoked(part, epoch);
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}
