//! A broker around a broker that remembers what was published.

use std::sync::{Arc, Mutex, PoisonError};

use convoke_core::broker::{Broker, EnsureMode, EnsureReport, PublishOutcome, SubscribeSpec, Subscription, Topology};
use convoke_core::{BoxFuture, Error, Message, Outgoing, Topic};

use crate::forward::forward_to_inner;

/// What was confirmed, in order.
#[derive(Default)]
pub(crate) struct Record(Mutex<Vec<Message>>);

impl Record {
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, batch: Vec<Message>, outcomes: &[PublishOutcome]) {
        let confirmed = batch.into_iter().zip(outcomes).filter(|(_, outcome)| matches!(outcome, PublishOutcome::Confirmed(_)));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(confirmed.map(|(message, _)| message));
    }
}

/// See the module's documentation.
pub(crate) struct Recorder {
    pub(crate) inner: Arc<dyn Broker>,
    pub(crate) record: Arc<Record>,
}

// Written without `async_trait`, whose shape this is: the runtime needs the macro for nothing else.
impl Broker for Recorder {
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
        Box::pin(async move {
            let messages = batch.iter().map(|outgoing| outgoing.message.clone()).collect();
            let outcomes = self.inner.publish(batch).await;
            self.record.add(messages, &outcomes);
            outcomes
        })
    }

    fn subscribe<'a, 'f>(&'a self, spec: SubscribeSpec) -> BoxFuture<'f, Result<Subscription, Error>>
    where
        'a: 'f,
        Self: 'f,
    {
        self.inner.subscribe(spec)
    }

    fn delete_topic<'a, 'b, 'f>(&'a self, topic: &'b Topic) -> BoxFuture<'f, Result<(), Error>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        self.inner.delete_topic(topic)
    }

    forward_to_inner!();
}
