//! A broker around a broker that remembers what was published, and refuses to publish while a test says so.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use convoke_core::broker::{Broker, EnsureMode, EnsureReport, PublishOutcome, SubscribeSpec, Subscription, Topology};
use convoke_core::{BoxFuture, Error, ErrorKind, Outgoing, Topic};
use tokio::time::Instant;

use super::story::Story;
use crate::forward::forward_to_inner;

/// When publishing works again, if it does not.
#[derive(Default)]
pub(super) struct Outage(Mutex<Option<Instant>>);

impl Outage {
    pub(super) fn begin(&self, time: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + time);
    }

    fn is_on(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
    }
}

/// See the module's documentation.
pub(super) struct Recorder {
    pub(super) inner: Arc<dyn Broker>,
    pub(super) story: Arc<Story>,
    pub(super) outage: Arc<Outage>,
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
            let asked: Vec<_> = batch.iter().map(|outgoing| (self.story.timeline.now(), outgoing.message.clone())).collect();
            let outcomes = if self.outage.is_on() {
                batch.iter().map(|_| PublishOutcome::Rejected { retryable: true, error: down() }).collect()
            } else {
                self.inner.publish(batch).await
            };
            for ((moment, message), outcome) in asked.into_iter().zip(&outcomes) {
                self.story.answered(moment, message, outcome);
            }
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

fn down() -> Error {
    Error::new(ErrorKind::Connection, "publishing is down, because the test says so")
}
