//! Brokers that are broken on purpose.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use convoke_core::broker::{
    Broker, Capabilities, CloseReport, Commit, Durability, EnsureMode, EnsureReport, Health, Lag, PublishOutcome, Settle,
    Settled, Settlement, SubscribeSpec, Subscription, SubscriptionControl, SubscriptionEvent, Topology,
};
use convoke_core::{BoxFuture, Epoch, Error, Headers, Outgoing, PartId, Receipt, Topic};
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
}
use Sabotage::*;

pub(crate) fn sabotaged(inner: Arc<dyn Broker>, how: Sabotage) -> Arc<dyn Broker> {
    Arc::new(Broken { inner, how, count: AtomicU64::new(0) })
}

struct Broken {
    inner: Arc<dyn Broker>,
    how: Sabotage,
    count: AtomicU64,
}

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
            _ => return outgoing,
        }
        outgoing.message = message.build();
        outgoing
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
        let Subscription { events, control, .. } = self.inner.subscribe(spec).await?;
        let how = self.how;
        Ok(Subscription::new(Box::pin(Events { inner: events, how }), Box::new(Control { inner: control, how })))
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

struct Events {
    inner: Pin<Box<dyn Stream<Item = SubscriptionEvent> + Send>>,
    how: Sabotage,
}

impl Stream for Events {
    type Item = SubscriptionEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        loop {
            let mut event = ready!(self.inner.as_mut().poll_next(cx));
            match (&mut event, self.how) {
                (Some(SubscriptionEvent::Gap { .. }), HidesGaps) => continue,
                (Some(SubscriptionEvent::Interrupted(_)), HidesCuts) => continue,
                (Some(SubscriptionEvent::Deliveries(deliveries)), ForgetsAttempts) => {
                    deliveries.messages.iter_mut().for_each(|incoming| incoming.attempts = 0);
                }
                _ => {}
            }
            return Poll::Ready(event);
        }
    }
}

struct Control {
    inner: Box<dyn SubscriptionControl>,
    how: Sabotage,
}

impl SubscriptionControl for Control {
    fn grant(&self, part: PartId, epoch: Epoch, messages: u32, bytes: u64) {
        let times = if self.how == KnowsNoBounds { 100 } else { 1 };
        self.inner.grant(part, epoch, messages * times, bytes * u64::from(times));
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'static, Vec<Settled>> {
        let mut forgotten = Vec::new();
        let mut forward = Vec::new();
        for mut settlement in batch {
            let forget = matches!(
                (self.how, settlement.settle),
                (ForgetsAcks, Settle::Ack) | (ForgetsExtensions, Settle::Extend) | (ForgetsMarks, Settle::Mark { .. })
            );
            match (self.how, &mut settlement.settle) {
                (AcksWhatIsGivenBack, settle @ Settle::Nack { .. }) => *settle = Settle::Ack,
                (IgnoresDelays, Settle::Nack { delay, .. }) => *delay = Duration::ZERO,
                _ => {}
            }
            forgotten.push(forget);
            if !forget {
                forward.push(settlement);
            }
        }
        let answers = self.inner.settle(forward);
        let how = self.how;
        Box::pin(async move {
            let mut answers = answers.await.into_iter();
            let mut answer = |forget| if forget { Settled::Applied } else { answers.next().unwrap_or(Settled::Stale) };
            let answers = forgotten.into_iter().map(&mut answer);
            answers.map(|one| if how == AcceptsOldEpochs { Settled::Applied } else { one }).collect()
        })
    }

    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'static, Vec<Settled>> {
        self.inner.commit(batch)
    }

    fn revoked(&self, part: PartId, epoch: Epoch) {
        self.inner.revoked(part, epoch);
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}
