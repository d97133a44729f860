//! Brokers that are broken on purpose.

use std::any::Any;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use convoke_core::broker::{
    Broker, Capabilities, CloseReport, Commit, Durability, EnsureMode, EnsureReport, GroupSpec, Health, Lag, Progress,
    PublishOutcome, Settle, Settled, Settlement, SubscribeSpec, Subscription, SubscriptionControl, SubscriptionEvent, Token,
    Topology,
};
use convoke_core::{BoxFuture, Epoch, Error, Headers, Incoming, Message, Outgoing, PartId, Receipt, Topic, names};
use futures_core::Stream;

/// How it is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    ForgetsPublishes,
    TakesWhatHasNoTopic,
    AcksWhatIsGivenBack,
    IgnoresDelays,
    ForgetsAttempts,
    ForgetsMarks,
    ForgetsAcks,
    ForgetsExtensions,
    StoresOutOfOrder,
    KnowsNoBounds,
    HidesGaps,
    HidesCuts,
    AcceptsOldEpochs,
    LosesRepeatedHeaders,
    ChangesIds,
    HasNoLag,
    EndsSilently,
    AcksEarly,
    CommitsPastGaps,
    ForgetsProgress,
    LosesKeys,
    ForgetsDelays,
    LetsNothingExpire,
    DropsPoison,
    LeaksCredit,
    RetriesForEveryGroup,
    KnowsOneGroup,
    SharesNothing,
    GivesUpAtOnce,
    LosesTheLastAcks,
    /// What is for a group's own place goes to the topic that all groups read.
    SharesPlaces,
    /// A dead letter that is sent back is settled before the broker has it.
    SettlesTooEarly,
    /// What the tools have read is settled when they leave.
    SettlesWhatIsRead,
}
use Sabotage::*;

pub(crate) fn sabotaged(inner: Arc<dyn Broker>, how: Sabotage) -> Arc<dyn Broker> {
    Arc::new(Broken { inner, how, count: AtomicU64::new(0), letters: Letters::default() })
}

struct Broken {
    inner: Arc<dyn Broker>,
    how: Sabotage,
    count: AtomicU64,
    letters: Letters,
}

/// What the tools for dead letters have read, by id, and what settles it.
type Letters = Arc<Mutex<HashMap<String, (Arc<dyn SubscriptionControl>, Token)>>>;

impl Broken {
    fn changed(&self, mut outgoing: Outgoing) -> Outgoing {
        let mut message = outgoing.message.clone().into_builder();
        match self.how {
            LosesRepeatedHeaders => {
                let mut headers = Headers::new();
                for (name, value) in outgoing.message.headers().iter() {
                    headers.set(name.to_owned(), value.clone());
                }
                // Nor does it keep what is empty.
                let empty: Vec<_> =
                    headers.iter().filter(|(_, value)| value.is_empty()).map(|(name, _)| name.to_owned()).collect();
                headers.retain(|name| !empty.iter().any(|other| other == name));
                *message.headers_mut() = headers;
            }
            ChangesIds if outgoing.message.id().is_some() => {
                let id = self.count.fetch_add(1, Ordering::Relaxed);
                message = message.header("ce-id", format!("mine-{id}"));
            }
            LetsNothingExpire => outgoing.expires_at = None,
            SharesPlaces if outgoing.message.topic().as_str().ends_with(".retry") => {
                // `<case>.in.<group>.retry`
                let topic = outgoing.message.topic().as_str().split_once(".in.").map(|(case, _)| format!("{case}.in"));
                message = message.topic(topic.expect("a case's topic is called `in`"));
            }
            _ => return outgoing,
        }
        outgoing.message = message.build();
        outgoing
    }

    /// What it makes of a subscription.
    async fn misread(&self, mut spec: SubscribeSpec) -> Result<SubscribeSpec, Error> {
        match self.how {
            KnowsOneGroup => {
                spec.group = "everybody".to_owned();
                let mut topology = Topology::default();
                topology.groups = vec![GroupSpec::new(spec.group.clone(), spec.topics.clone())];
                self.inner.ensure(&topology, EnsureMode::Create).await?;
            }
            SharesNothing => spec.broadcast = true,
            _ => {}
        }
        Ok(spec)
    }

    fn pretend(&self, outgoing: &Outgoing, outcome: PublishOutcome) -> PublishOutcome {
        let taken =
            || PublishOutcome::Confirmed(Receipt::new(outgoing.message.id().unwrap_or_default(), None, Durability::Memory));
        match (self.how, outcome) {
            (TakesWhatHasNoTopic, PublishOutcome::Rejected { retryable: false, .. }) => taken(),
            (ChangesIds, PublishOutcome::Confirmed(_)) => taken(),
            (_, outcome) => outcome,
        }
    }
}

#[async_trait]
impl Broker for Broken {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn ensure(&self, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
        self.inner.ensure(topology, mode).await
    }

    fn check_topology(&self, topology: &Topology) -> Result<(), Error> {
        self.inner.check_topology(topology)
    }

    async fn publish(&self, mut batch: Vec<Outgoing>) -> Vec<PublishOutcome> {
        let mut outcomes = Vec::new();
        if self.how == StoresOutOfOrder {
            batch.reverse();
        }
        for outgoing in batch {
            let to_the_dead = outgoing.message.topic().as_str().ends_with(".dead");
            let forgotten = self.how == ForgetsPublishes && (to_the_dead || self.count.fetch_add(1, Ordering::Relaxed) % 7 == 6);
            if self.how == EndsSilently {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            if self.how == SettlesTooEarly && outgoing.message.topic().as_str().ends_with(".retry") {
                let letter = self.letters.lock().unwrap().remove(outgoing.message.id().unwrap_or_default());
                if let Some((control, token)) = letter {
                    control.settle(vec![Settlement::new(token, Settle::Ack)]).await;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let changed = self.changed(outgoing.clone());
            let outcome = if forgotten || self.how == EndsSilently {
                PublishOutcome::Confirmed(Receipt::new(outgoing.message.id().unwrap_or_default(), None, Durability::Memory))
            } else {
                match self.inner.publish(vec![changed]).await.pop() {
                    Some(outcome) => outcome,
                    None => continue,
                }
            };
            outcomes.push(self.pretend(&outgoing, outcome));
        }
        if self.how == StoresOutOfOrder {
            outcomes.reverse();
        }
        outcomes
    }

    async fn subscribe(&self, spec: SubscribeSpec) -> Result<Subscription, Error> {
        let (how, broker) = (self.how, Arc::clone(&self.inner));
        let letters = (spec.group == names::REDRIVE_GROUP).then(|| Arc::clone(&self.letters));
        let spec = self.misread(spec).await?;
        let Subscription { events, control, .. } = self.inner.subscribe(spec).await?;
        let shared = Arc::new(Shared {
            control: Arc::from(control),
            broker,
            how,
            letters,
            messages: Mutex::default(),
            unsaid: Mutex::default(),
        });
        let events = Events { inner: events, shared: Arc::clone(&shared) };
        Ok(Subscription::new(Box::pin(events), Box::new(Control(shared))))
    }

    async fn topics(&self) -> Result<Vec<(Topic, u32)>, Error> {
        self.inner.topics().await
    }

    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<Lag, Error> {
        let mut lag = self.inner.lag(group, topics).await?;
        if self.how == HasNoLag {
            lag = Lag::default();
            lag.backlog = Some(0);
        }
        Ok(lag)
    }

    fn health(&self) -> Health {
        if self.how == HidesCuts { Health::Up } else { self.inner.health() }
    }

    async fn close(&self, within: Duration) -> CloseReport {
        self.inner.close(within).await
    }

    fn native(&self) -> &(dyn Any + Send + Sync) {
        self.inner.native()
    }
}

/// What both halves of a subscription have in common.
struct Shared {
    control: Arc<dyn SubscriptionControl>,
    broker: Arc<dyn Broker>,
    how: Sabotage,
    letters: Option<Letters>,
    /// What was delivered, for those that publish it again.
    messages: Mutex<Vec<(Token, Message)>>,
    /// Acknowledgements that are kept back until more are there.
    unsaid: Mutex<Vec<Settlement>>,
}

struct Events {
    inner: Pin<Box<dyn Stream<Item = SubscriptionEvent> + Send>>,
    shared: Arc<Shared>,
}

impl Stream for Events {
    type Item = SubscriptionEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        loop {
            let mut event = ready!(self.inner.as_mut().poll_next(cx));
            match (&mut event, self.shared.how) {
                (Some(SubscriptionEvent::Gap { .. }), HidesGaps) => continue,
                (Some(SubscriptionEvent::Interrupted(_)), HidesCuts) => continue,
                (Some(SubscriptionEvent::Revoking { part, epoch, .. }), GivesUpAtOnce) => {
                    self.shared.control.revoked(*part, *epoch);
                    continue;
                }
                (Some(SubscriptionEvent::Deliveries(deliveries)), _) => {
                    self.shared.spoil(&mut deliveries.messages);
                    if deliveries.messages.is_empty() {
                        continue;
                    }
                }
                _ => {}
            }
            return Poll::Ready(event);
        }
    }
}

impl Shared {
    /// What it does to messages on their way in.
    fn spoil(&self, messages: &mut Vec<Incoming>) {
        // What it says of itself is applied at once here; its answer is not waited for.
        let ack = |incoming: &Incoming| drop(self.control.settle(vec![Settlement::new(incoming.token.clone(), Settle::Ack)]));
        if let Some(letters) = &self.letters {
            let letter = |one: &Incoming| {
                (one.message.id().unwrap_or_default().to_owned(), (Arc::clone(&self.control), one.token.clone()))
            };
            letters.lock().unwrap().extend(messages.iter().map(letter));
        }
        match self.how {
            ForgetsAttempts => messages.iter_mut().for_each(|incoming| incoming.attempts = 0),
            ForgetsDelays => messages.iter_mut().for_each(|incoming| incoming.due_in = None),
            AcksEarly => messages.iter().for_each(ack),
            DropsPoison => messages.retain(|incoming| {
                let fine = incoming.message.payload().first() == Some(&b'{') && incoming.message.payload().last() == Some(&b'}');
                if !fine {
                    ack(incoming);
                }
                fine
            }),
            LosesKeys => {
                for incoming in messages {
                    let key = format!("{}", incoming.position);
                    incoming.message = incoming.message.clone().into_builder().key(key).build();
                }
            }
            RetriesForEveryGroup => {
                let delivered = messages.iter().map(|incoming| (incoming.token.clone(), incoming.message.clone()));
                self.messages.lock().unwrap().extend(delivered);
            }
            _ => {}
        }
    }

    /// Has a message come again by publishing it where it came from.
    fn publish_again(&self, token: &Token, delay: Duration) {
        let delivered =
            self.messages.lock().unwrap().iter().find(|(other, _)| other == token).map(|(_, message)| message.clone());
        let Some(message) = delivered else { return };
        let broker = Arc::clone(&self.broker);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            broker.publish(vec![Outgoing::new(message)]).await;
        });
    }

    /// Says nothing of the last acknowledgements until others come.
    fn keep_back(&self, batch: Vec<Settlement>) -> Vec<Settlement> {
        if self.how != LosesTheLastAcks {
            return batch;
        }
        std::mem::replace(&mut *self.unsaid.lock().unwrap(), batch)
    }
}

struct Control(Arc<Shared>);

impl SubscriptionControl for Control {
    fn grant(&self, part: PartId, epoch: Epoch, messages: u32, bytes: u64) {
        let (messages, bytes) = match self.0.how {
            KnowsNoBounds => (messages * 100, bytes * 100),
            LeaksCredit => (messages - messages.div_ceil(4), bytes),
            _ => (messages, bytes),
        };
        self.0.control.grant(part, epoch, messages, bytes);
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'static, Vec<Settled>> {
        let how = self.0.how;
        let mut forgotten = Vec::new();
        let mut forward = Vec::new();
        for mut settlement in batch {
            let forget = matches!(
                (how, settlement.settle),
                (ForgetsAcks | AcksEarly, Settle::Ack)
                    | (ForgetsExtensions, Settle::Extend)
                    | (ForgetsMarks, Settle::Mark { .. })
                    | (LosesTheLastAcks, _)
            );
            match (how, &mut settlement.settle) {
                (AcksWhatIsGivenBack, settle @ Settle::Nack { .. }) => *settle = Settle::Ack,
                (IgnoresDelays, Settle::Nack { delay, .. }) => *delay = Duration::ZERO,
                (RetriesForEveryGroup, settle @ Settle::Nack { hold: false, .. }) => {
                    if let Settle::Nack { delay, .. } = *settle {
                        self.0.publish_again(&settlement.token, delay);
                    }
                    *settle = Settle::Ack;
                }
                _ => {}
            }
            forgotten.push(forget);
            if !forget || how == LosesTheLastAcks {
                forward.push(settlement);
            }
        }
        let answers = self.0.control.settle(self.0.keep_back(forward));
        Box::pin(async move {
            let mut answers = answers.await.into_iter();
            let mut answer = |forget| if forget { Settled::Applied } else { answers.next().unwrap_or(Settled::Stale) };
            let answers = forgotten.into_iter().map(&mut answer);
            answers.map(|one| if how == AcceptsOldEpochs { Settled::Applied } else { one }).collect()
        })
    }

    fn commit(&self, mut batch: Vec<Commit>) -> BoxFuture<'static, Vec<Settled>> {
        for commit in &mut batch {
            match (self.0.how, commit.progress.done.last()) {
                (CommitsPastGaps, Some((_, last))) => commit.upto = commit.upto.max(last.next()),
                (ForgetsProgress, _) => commit.progress = Progress::default(),
                _ => {}
            }
        }
        self.0.control.commit(batch)
    }

    fn revoked(&self, part: PartId, epoch: Epoch) {
        self.0.control.revoked(part, epoch);
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        if let (SettlesWhatIsRead, Some(letters)) = (self.0.how, &self.0.letters) {
            for (_, (control, token)) in letters.lock().unwrap().drain() {
                drop(control.settle(vec![Settlement::new(token, Settle::Ack)]));
            }
        }
        self.0.control.close()
    }
}
