//! The smallest broker that keeps the delivery contract: a few logs in memory, and an adapter for them.
//!
//! It is what the chapter "Writing a broker" of the book explains, and a place to begin: copy the folder, and put your client in
//! place of [`World`]. It declares little, and what it does not declare the runtime does for it.
//!
//! Invariants:
//! 1. A message is in exactly one of four places for a group: not reached yet, given back, in hand, or done.
//! 2. A partition has one owner at most, and every ownership has an epoch of its own. What belongs to an old one changes nothing.
//! 3. Nothing is in hand without an owner: who loses a partition, however, gives back what it had.

mod group;
mod subscription;
mod world;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use convoke_core::broker::{
    AttemptsKept, Broker, Capabilities, CloseReport, Durability, EnsureMode, EnsureReport, Health, Lag, Ordering, PublishOutcome,
    SubscribeSpec, Subscription, Topology,
};
use convoke_core::{Error, ErrorKind, Outgoing, Receipt, Topic};

pub use world::World;

/// The largest message in bytes.
const MAX_MESSAGE: usize = 1 << 20;

/// A connection to a [`World`]. Every process of an application has one of its own.
#[derive(Debug)]
pub struct Skeleton {
    world: Arc<World>,
    id: u64,
    closed: AtomicBool,
    capabilities: Capabilities,
}

impl Skeleton {
    /// Connects to a world.
    #[must_use]
    pub fn connect(world: &Arc<World>) -> Self {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
        Self {
            world: Arc::clone(world),
            id: CONNECTIONS.fetch_add(1, SeqCst),
            closed: AtomicBool::new(false),
            capabilities: capabilities(),
        }
    }

    fn open(&self) -> Result<(), Error> {
        if self.closed.load(SeqCst) {
            return Err(Error::new(ErrorKind::Closed, "this connection is closed; open another"));
        }
        Ok(())
    }

    // ANCHOR: publish
    fn publish_one(&self, outgoing: Outgoing) -> Result<Receipt, Error> {
        self.open()?;
        let size = outgoing.message.size();
        if size > MAX_MESSAGE {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("a message has {MAX_MESSAGE} bytes at most, and this one {size}"),
            ));
        }
        if outgoing.deliver_at.is_some() || outgoing.expires_at.is_some() || outgoing.reply_to.is_some() {
            return Err(group::unsupported("a time or an address for answers"));
        }
        let id = outgoing.message.id().unwrap_or_default().to_owned();
        let stored = self.world.with(|state| state.append(outgoing.message))?;
        Ok(Receipt::new(id, Some(stored), Durability::Memory))
    }
    // ANCHOR_END: publish
}

// ANCHOR: broker
#[async_trait]
impl Broker for Skeleton {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn ensure(&self, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
        self.open()?;
        self.check_topology(topology)?;
        self.world.with(|state| state.ensure(topology, mode))
    }

    fn check_topology(&self, topology: &Topology) -> Result<(), Error> {
        topology.check_names()
    }

    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<PublishOutcome> {
        let outcome = |outgoing| match self.publish_one(outgoing) {
            Ok(receipt) => PublishOutcome::Confirmed(receipt),
            Err(error) => PublishOutcome::Rejected { retryable: false, error },
        };
        batch.into_iter().map(outcome).collect()
    }

    async fn subscribe(&self, spec: SubscribeSpec) -> Result<Subscription, Error> {
        self.open()?;
        if spec.broadcast || spec.until_end || spec.start != convoke_core::broker::Start::Earliest {
            return Err(group::unsupported("a broadcast, an end or a start of one's own: a group reads everything"));
        }
        let member = self.world.with(|state| state.join(&spec, self.id))?;
        Ok(subscription::new(&self.world, member))
    }

    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<Lag, Error> {
        self.open()?;
        Ok(self.world.with(|state| state.lag(group, topics)))
    }

    fn health(&self) -> Health {
        if self.closed.load(SeqCst) { Health::Closed } else { Health::Up }
    }

    async fn close(&self, _within: Duration) -> CloseReport {
        self.closed.store(true, SeqCst);
        let mut report = CloseReport::default();
        report.unsettled = self.world.with(|state| state.disconnect(self.id));
        report
    }

    fn native(&self) -> &(dyn Any + Send + Sync) {
        &self.world
    }
}
// ANCHOR_END: broker

// ANCHOR: capabilities
fn capabilities() -> Capabilities {
    let mut capabilities = Capabilities::minimal("skeleton");
    capabilities.ordering = Ordering::Partition;
    capabilities.attempts = AttemptsKept::Exact;
    capabilities.marks = true;
    capabilities.durability = Durability::Memory;
    capabilities.max_message = Some(MAX_MESSAGE);
    capabilities.header_values = convoke_core::broker::HeaderValues::Binary;
    capabilities
}
// ANCHOR_END: capabilities
