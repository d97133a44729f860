//! A server that suffers, as its clients see it: it stands still, or is gone for a while and comes back with all that it had confirmed.
//! The embedded broker has no server; here every connection leads past a place where its requests wait, or are cut.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use convoke_core::broker::{
    Broker, Capabilities, CloseReport, Commit, EnsureMode, EnsureReport, Faults, Health, Lag, Native, PublishOutcome, Settled,
    Settlement, SubscribeSpec, Subscription, SubscriptionControl, SubscriptionEvent, Topology,
};
use convoke_core::{BoxFuture, Epoch, Error, Outgoing, PartId, Topic};
use futures_core::Stream;
use tokio::sync::watch;

/// Whether the server stands still.
#[derive(Clone)]
pub(crate) struct Still(Arc<watch::Sender<bool>>);

impl Still {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Lets it stand still for so long.
    pub(crate) fn stand(&self, down: Duration) {
        let still = self.clone();
        still.0.send_replace(true);
        tokio::spawn(async move {
            tokio::time::sleep(down).await;
            still.0.send_replace(false);
        });
    }

    /// Waits until it answers.
    fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut seen = self.0.subscribe();
        async move {
            let _ = seen.wait_for(|still| !still).await;
        }
    }

    /// A connection to it.
    pub(crate) fn before(&self, inner: Arc<dyn Broker>) -> Arc<dyn Broker> {
        Arc::new(Connection { inner, still: self.clone() })
    }
}

struct Connection {
    inner: Arc<dyn Broker>,
    still: Still,
}

#[async_trait]
impl Broker for Connection {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn ensure(&self, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
        self.still.over().await;
        self.inner.ensure(topology, mode).await
    }

    fn check_topology(&self, topology: &Topology) -> Result<(), Error> {
        self.inner.check_topology(topology)
    }

    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<PublishOutcome> {
        self.still.over().await;
        self.inner.publish(batch).await
    }

    async fn subscribe(&self, spec: SubscribeSpec) -> Result<Subscription, Error> {
        self.still.over().await;
        let Subscription { events, control, .. } = self.inner.subscribe(spec).await?;
        let events = Events { inner: events, still: self.still.clone(), waits: None };
        Ok(Subscription::new(Box::pin(events), Box::new(Control { inner: control.into(), still: self.still.clone() })))
    }

    fn check_native(&self, said: &[Native]) -> Result<(), Error> {
        self.inner.check_native(said)
    }

    async fn delete_topic(&self, topic: &Topic) -> Result<(), Error> {
        self.still.over().await;
        self.inner.delete_topic(topic).await
    }

    async fn topics(&self) -> Result<Vec<(Topic, u32)>, Error> {
        self.still.over().await;
        self.inner.topics().await
    }

    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<Lag, Error> {
        self.still.over().await;
        self.inner.lag(group, topics).await
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    async fn close(&self, within: Duration) -> CloseReport {
        let _ = tokio::time::timeout(within, self.still.over()).await;
        self.inner.close(within).await
    }

    fn faults(&self) -> Option<&dyn Faults> {
        self.inner.faults()
    }

    fn native(&self) -> &(dyn Any + Send + Sync) {
        self.inner.native()
    }
}

struct Events {
    inner: Pin<Box<dyn Stream<Item = SubscriptionEvent> + Send>>,
    still: Still,
    waits: Option<BoxFuture<'static, ()>>,
}

impl Stream for Events {
    type Item = SubscriptionEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        let this = &mut *self;
        // Whoever waits for events has to be woken when it answers again, and notices here when it does not.
        if this.waits.is_some() || *this.still.0.borrow() {
            let waits = this.waits.get_or_insert_with(|| Box::pin(this.still.over()));
            std::task::ready!(waits.as_mut().poll(cx));
            this.waits = None;
        }
        this.inner.as_mut().poll_next(cx)
    }
}

struct Control {
    inner: Arc<dyn SubscriptionControl>,
    still: Still,
}

impl SubscriptionControl for Control {
    fn grant(&self, part: PartId, epoch: Epoch, messages: u32, bytes: u64) {
        self.inner.grant(part, epoch, messages, bytes);
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'static, Vec<Settled>> {
        if !*self.still.0.borrow() {
            return self.inner.settle(batch);
        }
        let (inner, over) = (Arc::clone(&self.inner), self.still.over());
        Box::pin(async move {
            over.await;
            inner.settle(batch).await
        })
    }

    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'static, Vec<Settled>> {
        if !*self.still.0.borrow() {
            return self.inner.commit(batch);
        }
        let (inner, over) = (Arc::clone(&self.inner), self.still.over());
        Box::pin(async move {
            over.await;
            inner.commit(batch).await
        })
    }

    fn revoked(&self, part: PartId, epoch: Epoch) {
        self.inner.revoked(part, epoch);
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}
