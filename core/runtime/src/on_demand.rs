//! A broker around a broker that makes topics when they are first needed: those of events whose topic has a parameter, when the
//! first event of a new value is published; those of events that no handler names, when one is published; and what a group has beside
//! a topic that it reads by a pattern, when that appears.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use convoke_core::broker::{
    Broker, EnsureMode, EnsureReport, GroupSpec, Native, PublishOutcome, SubscribeSpec, Subscription, SubscriptionEvent,
    TopicSpec, Topology,
};
use convoke_core::{BoxFuture, Error, ErrorKind, Outgoing, Topic, TopicPattern, names};
use futures_core::Stream;

use crate::forward::forward_to_inner;

/// See the module's documentation.
pub(crate) struct OnDemand {
    inner: Arc<dyn Broker>,
    /// The topics of events that have parameters, and what is said of them.
    patterns: Vec<(TopicPattern, Vec<Native>)>,
    /// Topics that nobody has seen to at the start.
    plain: Vec<TopicSpec>,
    /// What is there already, as far as we have seen to it.
    there: Mutex<HashSet<Topic>>,
}

impl OnDemand {
    /// Makes these topics when they are first needed.
    pub(crate) fn new<'t>(inner: Arc<dyn Broker>, topics: impl Iterator<Item = &'t TopicSpec>) -> Self {
        let (mut patterns, mut plain) = (Vec::new(), Vec::new());
        for topic in topics {
            match TopicPattern::new(topic.name.as_str()) {
                Some(pattern) => patterns.push((pattern, topic.native.clone())),
                None => plain.push(topic.clone()),
            }
        }
        Self { inner, patterns, plain, there: Mutex::default() }
    }

    fn there(&self) -> MutexGuard<'_, HashSet<Topic>> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topics of these messages that may have to be made.
    fn missing(&self, batch: &[Outgoing]) -> Vec<TopicSpec> {
        let there = self.there();
        let mut missing: Vec<TopicSpec> = Vec::new();
        for topic in batch.iter().map(|outgoing| outgoing.message.topic()) {
            if !there.contains(topic) && !missing.iter().any(|other| other.name == *topic) {
                missing.extend(self.made_later(topic));
            }
        }
        missing
    }

    /// A topic, if it is one of those.
    fn made_later(&self, topic: &Topic) -> Option<TopicSpec> {
        if let Some(plain) = self.plain.iter().find(|plain| plain.name == *topic) {
            return Some(plain.clone());
        }
        let (_, native) = self.patterns.iter().find(|(pattern, _)| pattern.matches(topic.as_str()))?;
        let mut spec = TopicSpec::new(topic.clone());
        spec.native.clone_from(native);
        Some(spec)
    }

    async fn publish_to_new(&self, batch: Vec<Outgoing>, missing: Vec<TopicSpec>) -> Vec<PublishOutcome> {
        let mut topology = Topology::default();
        topology.topics = missing;
        match self.inner.ensure(&topology, EnsureMode::Create).await {
            Ok(_) => {
                self.there().extend(topology.topics.into_iter().map(|topic| topic.name));
                self.inner.publish(batch).await
            }
            // Nothing was sent. What the others are published for is repeated with them, in their order.
            Err(error) => {
                let retryable = matches!(error.kind(), ErrorKind::Connection | ErrorKind::Timeout | ErrorKind::Unknown);
                let text = format!("a topic that is needed for the first time cannot be made: {error}");
                let outcome = |_| PublishOutcome::Rejected { retryable, error: Error::new(error.kind(), text.clone()) };
                batch.iter().map(outcome).collect()
            }
        }
    }
}

// Written without `async_trait`, whose shape this is: the runtime needs the macro for nothing else.
impl Broker for OnDemand {
    fn ensure<'a, 'b, 'f>(&'a self, topology: &'b Topology, mode: EnsureMode) -> BoxFuture<'f, Result<EnsureReport, Error>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        self.inner.ensure(topology, mode)
    }

    fn publish<'a, 'f>(&'a self, batch: Vec<Outgoing>) -> BoxFuture<'f, Vec<PublishOutcome>>
    where
        'a: 'f,
        Self: 'f,
    {
        // Most applications have none.
        let missing = if self.patterns.is_empty() && self.plain.is_empty() { Vec::new() } else { self.missing(&batch) };
        if missing.is_empty() { self.inner.publish(batch) } else { Box::pin(self.publish_to_new(batch, missing)) }
    }

    fn subscribe<'a, 'f>(&'a self, spec: SubscribeSpec) -> BoxFuture<'f, Result<Subscription, Error>>
    where
        'a: 'f,
        Self: 'f,
    {
        // The group's own places are named after the topics that are read.
        let own = names::retry_topic("", &spec.group);
        let all = spec.topics.iter().filter_map(|topic| TopicPattern::new(topic.as_str()));
        let (beside, patterns): (Vec<_>, Vec<_>) = all.partition(|pattern| pattern.as_str().contains(&own));
        if patterns.is_empty() {
            return self.inner.subscribe(spec);
        }
        Box::pin(async move {
            let group = spec.group.clone();
            let Subscription { events, control, .. } = self.inner.subscribe(spec).await?;
            let broker = Arc::clone(&self.inner);
            let events = Founding { events, broker, group, patterns, beside, there: HashSet::new(), held: None };
            Ok(Subscription::new(Box::pin(events), control))
        })
    }

    fn delete_topic<'a, 'b, 'f>(&'a self, topic: &'b Topic) -> BoxFuture<'f, Result<(), Error>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        self.there().remove(topic);
        self.inner.delete_topic(topic)
    }

    forward_to_inner!();
}

/// The events of a subscription. An assignment of a topic that is new to it is passed on once what belongs beside the topic is there,
/// and what comes after it waits meanwhile. If that cannot be made, the stream ends, and the driver opens another after a pause.
struct Founding {
    events: Pin<Box<dyn Stream<Item = SubscriptionEvent> + Send>>,
    broker: Arc<dyn Broker>,
    group: String,
    patterns: Vec<TopicPattern>,
    /// The group's places beside what they match.
    beside: Vec<TopicPattern>,
    there: HashSet<Topic>,
    held: Option<(SubscriptionEvent, BoxFuture<'static, Result<(), Error>>)>,
}

impl Stream for Founding {
    type Item = SubscriptionEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        loop {
            if let Some((event, mut founding)) = self.held.take() {
                match founding.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.held = Some((event, founding));
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(())) => return Poll::Ready(Some(event)),
                    Poll::Ready(Err(error)) => {
                        tracing::warn!(group = self.group, %error, "what belongs beside a topic that has appeared cannot be made");
                        return Poll::Ready(None);
                    }
                }
            }
            let event = match self.events.as_mut().poll_next(cx) {
                Poll::Ready(Some(event)) => event,
                other => return other,
            };
            let SubscriptionEvent::Assigned { topic, .. } = &event else { return Poll::Ready(Some(event)) };
            let Some(open) = self.patterns.iter().find(|pattern| pattern.matches(topic.as_str())) else {
                return Poll::Ready(Some(event));
            };
            let topic = topic.clone();
            if self.there.contains(&topic) {
                return Poll::Ready(Some(event));
            }
            let rest = self.beside.iter().filter_map(|place| place.as_str().strip_prefix(open.as_str()));
            let places = rest.map(|rest| format!("{topic}{rest}").into()).collect();
            let dead = names::dead_topic(topic.as_str(), &self.group).into();
            self.there.insert(topic.clone());
            self.held = Some((event, Box::pin(found(Arc::clone(&self.broker), topic, places, dead))));
        }
    }
}

/// Makes a group's places for messages of a topic that come again, as wide as the topic, and the one for its dead letters.
async fn found(broker: Arc<dyn Broker>, topic: Topic, places: Vec<Topic>, dead: Topic) -> Result<(), Error> {
    let mut topology = Topology::default();
    topology.topics.push(TopicSpec::new(topic));
    let report = broker.ensure(&topology, EnsureMode::Create).await?;
    let wide = |name| {
        let mut place = TopicSpec::new(name);
        place.partitions = report.partitions.first().map(|(_, count)| *count);
        place
    };
    let mut tools = GroupSpec::new(names::REDRIVE_GROUP, vec![dead.clone()]);
    tools.ordered = false;
    let mut beside = Topology::default();
    beside.topics = places.into_iter().map(wide).chain([TopicSpec::new(dead)]).collect();
    beside.groups.push(tools);
    broker.ensure(&beside, EnsureMode::Create).await.map(drop)
}
