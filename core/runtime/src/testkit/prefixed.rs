//! A broker around a broker on which others are, too: every topic and group begins with a prefix there, and nobody here knows.

use std::any::Any;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use convoke_core::broker::{
    Broker, Capabilities, CloseReport, EnsureMode, EnsureReport, Fault, Faults, Health, Lag, Native, PublishOutcome,
    SubscribeSpec, Subscription, SubscriptionEvent, Topology,
};
use convoke_core::few::Few;
use convoke_core::{BoxFuture, Error, Outgoing, Topic};
use futures_core::Stream;

/// See the module's documentation.
pub(super) struct Prefixed {
    inner: Arc<dyn Broker>,
    names: Names,
    /// Whether what was made is deleted when it is closed.
    sweep: Arc<AtomicBool>,
    made: Mutex<Few<Topic>>,
}

/// Names here and there.
#[derive(Clone)]
struct Names(Arc<str>);

impl Names {
    fn there(&self, topic: &Topic) -> Topic {
        format!("{}{topic}", self.0).into()
    }

    fn group_there(&self, group: &str) -> String {
        format!("{}{group}", self.0)
    }

    fn all_there(&self, topics: &[Topic]) -> Vec<Topic> {
        topics.iter().map(|topic| self.there(topic)).collect()
    }

    /// The name here, if it is one of ours.
    fn ours(&self, topic: &Topic) -> Option<Topic> {
        topic.as_str().strip_prefix(&*self.0).map(Topic::from)
    }

    fn here(&self, topic: &Topic) -> Topic {
        self.ours(topic).unwrap_or_else(|| topic.clone())
    }

    fn topology(&self, topology: &Topology) -> Topology {
        let mut there = topology.clone();
        there.topics.iter_mut().for_each(|topic| topic.name = self.there(&topic.name));
        for group in &mut there.groups {
            group.name = self.group_there(&group.name);
            group.topics = self.all_there(&group.topics);
        }
        there
    }

    fn outgoing(&self, mut outgoing: Outgoing) -> Outgoing {
        let topic = self.there(outgoing.message.topic());
        outgoing.message = outgoing.message.into_builder().topic(topic).build();
        outgoing.reply_to = outgoing.reply_to.map(|topic| self.there(&topic));
        outgoing
    }

    fn event(&self, mut event: SubscriptionEvent) -> SubscriptionEvent {
        match &mut event {
            SubscriptionEvent::Assigned { topic, .. } => *topic = self.here(topic),
            SubscriptionEvent::Deliveries(deliveries) => {
                for incoming in &mut deliveries.messages {
                    let topic = self.here(incoming.message.topic());
                    incoming.message = incoming.message.clone().into_builder().topic(topic).build();
                }
            }
            _ => {}
        }
        event
    }

    fn fault(&self, mut fault: Fault) -> Fault {
        match &mut fault {
            Fault::PublishRejected { topic, .. } | Fault::PublishUnknown { topic, .. } | Fault::PublishSlow { topic, .. } => {
                *topic = self.there(topic);
            }
            Fault::Revoke { group, topic, .. } => (*group, *topic) = (self.group_there(group), self.there(topic)),
            Fault::SettleLost { group, .. } | Fault::Repeat { group, .. } => *group = self.group_there(group),
            _ => {}
        }
        fault
    }
}

impl Prefixed {
    pub(super) fn new(inner: Arc<dyn Broker>, prefix: String, sweep: Arc<AtomicBool>) -> Self {
        Self { inner, names: Names(prefix.into()), sweep, made: Mutex::default() }
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Few<Topic>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// Written without `async_trait`, whose shape this is: the runtime needs the macro for nothing else.
impl Broker for Prefixed {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn check_native(&self, said: &[Native]) -> Result<(), Error> {
        self.inner.check_native(said)
    }

    fn check_topology(&self, topology: &Topology) -> Result<(), Error> {
        self.inner.check_topology(&self.names.topology(topology))
    }

    fn ensure<'a, 'b, 'f>(&'a self, topology: &'b Topology, mode: EnsureMode) -> BoxFuture<'f, Result<EnsureReport, Error>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let there = self.names.topology(topology);
            let of_topics = there.topics.iter().map(|topic| &topic.name);
            let of_groups = there.groups.iter().flat_map(|group| &group.topics);
            self.made().extend(of_topics.chain(of_groups).cloned());
            let mut report = self.inner.ensure(&there, mode).await?;
            report.partitions.iter_mut().for_each(|(topic, _)| *topic = self.names.here(topic));
            report.created.iter_mut().for_each(|name| *name = name.replacen(&*self.names.0, "", 1));
            Ok(report)
        })
    }

    fn publish<'a, 'f>(&'a self, batch: Vec<Outgoing>) -> BoxFuture<'f, Vec<PublishOutcome>>
    where
        'a: 'f,
        Self: 'f,
    {
        self.inner.publish(batch.into_iter().map(|outgoing| self.names.outgoing(outgoing)).collect())
    }

    fn subscribe<'a, 'f>(&'a self, mut spec: SubscribeSpec) -> BoxFuture<'f, Result<Subscription, Error>>
    where
        'a: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            spec.group = self.names.group_there(&spec.group);
            spec.topics = self.names.all_there(&spec.topics);
            let Subscription { events, control, .. } = self.inner.subscribe(spec).await?;
            Ok(Subscription::new(Box::pin(Events { events, names: self.names.clone() }), control))
        })
    }

    fn delete_topic<'a, 'b, 'f>(&'a self, topic: &'b Topic) -> BoxFuture<'f, Result<(), Error>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(async move { self.inner.delete_topic(&self.names.there(topic)).await })
    }

    fn topics<'a, 'f>(&'a self) -> BoxFuture<'f, Result<Vec<(Topic, u32)>, Error>>
    where
        'a: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let all = self.inner.topics().await?;
            Ok(all.into_iter().filter_map(|(topic, partitions)| Some((self.names.ours(&topic)?, partitions))).collect())
        })
    }

    fn lag<'a, 'b, 'c, 'f>(&'a self, group: &'b str, topics: &'c [Topic]) -> BoxFuture<'f, Result<Lag, Error>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        Self: 'f,
    {
        Box::pin(async move { self.inner.lag(&self.names.group_there(group), &self.names.all_there(topics)).await })
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn close<'a, 'f>(&'a self, within: Duration) -> BoxFuture<'f, CloseReport>
    where
        'a: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            if self.sweep.load(Ordering::Acquire) {
                let made = std::mem::take(&mut *self.made());
                for topic in made.into_vec() {
                    // A broker that cannot delete keeps what nobody will look for again.
                    if let Err(error) = self.inner.delete_topic(&topic).await {
                        tracing::debug!(%topic, %error, "a test's topic stays");
                    }
                }
            }
            self.inner.close(within).await
        })
    }

    fn faults(&self) -> Option<&dyn Faults> {
        self.inner.faults().map(|_| self as &dyn Faults)
    }

    fn native(&self) -> &(dyn Any + Send + Sync) {
        self.inner.native()
    }
}

impl Faults for Prefixed {
    fn inject(&self, fault: Fault) -> Result<(), Error> {
        let fault = self.names.fault(fault);
        self.inner.faults().map_or(Ok(()), |faults| faults.inject(fault))
    }
}

struct Events {
    events: Pin<Box<dyn Stream<Item = SubscriptionEvent> + Send>>,
    names: Names,
}

impl Stream for Events {
    type Item = SubscriptionEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        let event = ready!(self.events.as_mut().poll_next(cx));
        Poll::Ready(event.map(|event| self.names.event(event)))
    }
}
