//! What a message costs on its way through convoke, counted and timed beside a hand-written loop over the same broker.
//!
//! A [`Plan`] says how many messages of how many keys go to how many handlers. [`Path`] is one way to consume them; every way
//! tallies what it saw, and a run that lost, repeated or damaged a message ends with an error. See `benches/README.md`.

mod by_hand;
mod decode;
mod framework;
mod layer;
mod plan;
mod quote;

pub use plan::{Arrangement, Path, Plan, Work};
pub use quote::{Quote, Tally};

use std::sync::Arc;

use convoke::BoxError;
use convoke::broker::{Broker, EnsureMode, TopicSpec, Topology};
use convoke::memory::{MemoryBroker, Options};
use tokio::runtime::{Builder, Runtime};

/// A broker with the messages of a plan in it, and whoever is to consume them, ready to go.
pub struct Prepared {
    runtime: Runtime,
    path: Ready,
    expected: Tally,
}

enum Ready {
    Convoke(framework::Ready),
    Loop(by_hand::Ready),
    Decode(decode::Ready),
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl Prepared {
    /// Publishes the messages of the plan to a broker of its own, and gets the consumer ready. Nothing is consumed yet.
    ///
    /// # Errors
    /// If the plan cannot be carried out.
    pub fn new(plan: &Plan) -> Result<Self, BoxError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (path, expected) = runtime.block_on(async {
            let broker = Arc::new(MemoryBroker::with(
                Options::default().partitions(plan.partitions).retention(u64::MAX).retention_bytes(u64::MAX),
            )?);
            let expected = fill(&broker, plan).await?;
            let path = match plan.path {
                Path::Convoke => Ready::Convoke(framework::prepare(broker, plan).await?),
                Path::Loop => Ready::Loop(by_hand::prepare(broker, plan).await?),
                Path::Decode => Ready::Decode(decode::prepare(&broker, plan)),
            };
            Ok::<_, BoxError>((path, expected))
        })?;
        quote::begin(expected.count, plan.work);
        Ok(Self { runtime, path, expected })
    }

    /// Consumes the backlog, until the last message is settled: what is counted and timed.
    ///
    /// # Errors
    /// If the broker fails.
    #[inline(never)]
    pub fn drain(&mut self) -> Result<(), BoxError> {
        match &mut self.path {
            Ready::Convoke(ready) => self.runtime.block_on(ready.drain()),
            Ready::Loop(ready) => self.runtime.block_on(ready.drain())?,
            Ready::Decode(ready) => ready.drain()?,
        }
        Ok(())
    }

    /// Compares what was seen with what was published: as many messages, with the same sum.
    ///
    /// # Errors
    /// If they are not the same, or something is left on the broker.
    pub fn verify(self) -> Result<Tally, BoxError> {
        let seen = quote::seen();
        if seen != self.expected {
            return Err(format!("void: {seen:?} was seen, {:?} was published", self.expected).into());
        }
        self.runtime.block_on(async {
            match self.path {
                Ready::Convoke(ready) => ready.finish().await,
                Ready::Loop(ready) => ready.finish().await,
                Ready::Decode(_) => Ok(()),
            }
        })?;
        Ok(seen)
    }
}

/// Makes the topics and publishes the messages, in batches.
async fn fill(broker: &MemoryBroker, plan: &Plan) -> Result<Tally, BoxError> {
    let mut topology = Topology::default();
    topology.topics = (0..plan.topics()).map(|index| TopicSpec::new(plan.topic(index))).collect();
    broker.ensure(&topology, EnsureMode::Create).await?;
    let mut expected = Tally::default();
    let mut batch = Vec::with_capacity(1024);
    for index in 0..plan.messages {
        let quote = Quote::nth(index, plan.keys);
        expected.add(&quote);
        batch.push(quote.message(plan.topic(index % plan.topics()), index)?);
        if batch.len() == batch.capacity() || index + 1 == plan.messages {
            let outcomes = broker.publish(std::mem::replace(&mut batch, Vec::with_capacity(1024))).await;
            if let Some(other) = outcomes.iter().find(|outcome| !matches!(outcome, convoke::broker::PublishOutcome::Confirmed(_)))
            {
                return Err(format!("a message was not confirmed: {other:?}").into());
            }
        }
    }
    Ok(expected)
}
