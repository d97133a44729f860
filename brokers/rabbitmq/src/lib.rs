//! RabbitMQ under convoke's delivery contract, over AMQP 0-9-1.
//!
//! # On the server
//! | | |
//! |---|---|
//! | a topic | a durable topic exchange of its name; routing key `p.<n>` for partition n, by murmur2 of the key as everywhere |
//! | a group's place on it | one durable quorum queue for each partition, `<topic>:<group>:<n>`, with a single active consumer |
//! | messages of other clients, without a partition | the topic's alternate exchange `<topic>:foreign:<partitions>`, and one queue `<topic>:foreign`; who reads the topic passes them on |
//! | members of a group | a fanout exchange `<first topic>:<group>:members`, on which each says every second that it lives |
//! | an instance of a broadcast | a queue of its own that the server deletes when nobody has read it for half an hour |
//!
//! # Invariants
//! 1. A channel has one consumer, and is closed without cancelling it. Only so does the server put back in order what was not
//!    acknowledged.
//! 2. One task publishes, on a channel of its own, one round after the other. Who came back is known when the round is over.
//! 3. Every connection is a generation. When it ends, everything that waits is answered at once, and everything begins anew on the next.
//! 4. No more than the prefetch is in hand of a partition; and the prefetches together are what the subscription may have in flight.
//! 5. A process that was frozen for longer than the server waits starts nothing of what it had: each partition is its own for a term that is
//!    counted from the last question the server answered.
//!
//! # Delivery
//! Publishing waits for the server's confirmation, which for quorum queues means that a majority has it on disk. Acknowledgements are not
//! confirmed by AMQP: `Applied` means that one was handed to the connection.

mod connect;
mod failure;
mod lag;
mod link;
mod names;
mod options;
mod publish;
mod read;
mod shared;
mod topology;
mod wire;

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use convoke_core::broker::{
    AttemptsKept, Broker, BrokerConfig, Capabilities, CloseReport, Credit, Delay, Durability, EnsureMode, EnsureReport,
    HeaderValues, Health, Lag, LeaseKind, Ordering, PublishOutcome, SubscribeSpec, Subscription, Topology,
};
use convoke_core::{BoxFuture, Error, Outgoing, Topic};
use tokio::sync::oneshot;

pub use convoke_broker_common::{Secret, Tls};
pub use lapin;
pub use options::{HANDLER_OPTIONS, Options, TOPIC_OPTIONS};

use link::Link;
use publish::Publisher;
use shared::Shared;

/// RabbitMQ: two connections to it, one that publishes and one that reads. `native()` is a [`Native`].
#[derive(Debug)]
pub struct RabbitMq {
    shared: Arc<Shared>,
    publisher: Arc<Publisher>,
    capabilities: Capabilities,
    native: Native,
}

/// Opens RabbitMQ for an application: what a URL that begins with `amqp://` or `amqps://` means.
#[must_use]
pub fn open(config: BrokerConfig) -> BoxFuture<'static, Result<Arc<dyn Broker>, Error>> {
    Box::pin(async move {
        let options = Options::from_url(&config.url)?;
        let broker: Arc<dyn Broker> = Arc::new(RabbitMq::connect(options, &config.app, config.connect_within).await?);
        Ok(broker)
    })
}

impl RabbitMq {
    /// Connects. `app` stands in the server's list of connections.
    ///
    /// # Errors
    /// If no server takes the connection within this time, with what the last one said. Once it has succeeded, a connection that is lost
    /// is made again for as long as it takes.
    ///
    /// # Cancel safety
    /// Nothing is left behind if the future is dropped.
    pub async fn connect(options: Options, app: &str, within: Duration) -> Result<Self, Error> {
        options.check()?;
        let options = Arc::new(options);
        let begun = Instant::now();
        let reading = Link::open(&options, app, "reads", 0, within).await?;
        let left = within.saturating_sub(begun.elapsed());
        let publishing = match Link::open(&options, app, "publishes", reading.place(), left).await {
            Ok(publishing) => publishing,
            Err(error) => {
                reading.give_up();
                return Err(error);
            }
        };
        let shared = Arc::new(Shared::new(publishing, reading));
        let publisher = Arc::new(Publisher::new(&shared));
        let native = Native(Arc::clone(&shared.reading));
        Ok(Self { publisher, capabilities: capabilities(&shared.options), native, shared })
    }

    /// Ends the subscriptions that are still open.
    async fn end_readers(&self) {
        let mut waits = Vec::new();
        for reader in self.shared.readers().iter() {
            let (done, ended) = oneshot::channel();
            let _ = reader.close.send(done);
            waits.push(ended);
        }
        for ended in waits {
            let _ = ended.await;
        }
    }
}

/// The client behind [`RabbitMq`], for what the contract does not offer.
#[derive(Debug)]
pub struct Native(Arc<Link>);

impl Native {
    /// The present connection; `None` while there is none. Open a channel of your own on it: the adapter's are not to be shared. What you
    /// publish on it may have the server block it, and with it the acknowledgements.
    #[must_use]
    pub fn connection(&self) -> Option<Arc<lapin::Connection>> {
        self.0.state().connection
    }
}

#[async_trait]
impl Broker for RabbitMq {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn ensure(&self, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
        self.shared.open()?;
        self.shared.ensure(topology, mode).await
    }

    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<PublishOutcome> {
        self.publisher.publish(batch).await
    }

    async fn subscribe(&self, spec: SubscribeSpec) -> Result<Subscription, Error> {
        self.shared.open()?;
        read::subscribe(&self.shared, &self.publisher, spec).await
    }

    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<Lag, Error> {
        self.shared.open()?;
        self.shared.lag(group, topics).await
    }

    fn health(&self) -> Health {
        let states = [self.shared.reading.state(), self.shared.publishing.state()];
        if states.iter().any(|state| state.closed) {
            return Health::Closed;
        }
        for state in states {
            let reason = match (&state.connection, state.blocked) {
                (None, _) => state.reason.unwrap_or_else(|| "the connection was lost".to_owned()),
                (Some(_), Some(why)) => format!("the server takes nothing for now: {why}"),
                (Some(_), None) => continue,
            };
            return Health::Down { failures: state.failures.max(1), reason };
        }
        Health::Up
    }

    async fn close(&self, within: Duration) -> CloseReport {
        let mut report = CloseReport::default();
        let begun = Instant::now();
        let left = || within.saturating_sub(begun.elapsed());
        if self.shared.begin_to_close() {
            let before = self.shared.unsettled();
            let _ = tokio::time::timeout(left(), self.publisher.flush()).await;
            let _ = tokio::time::timeout(left(), self.end_readers()).await;
            report.unsettled = self.shared.unsettled() - before;
            report.unconfirmed = self.publisher.waiting();
        }
        tokio::join!(self.shared.publishing.close(left()), self.shared.reading.close(left()));
        report
    }

    fn check_topology(&self, topology: &Topology) -> Result<(), Error> {
        topology::check(topology)
    }

    fn check_native(&self, said: &[convoke_core::broker::Native]) -> Result<(), Error> {
        self.shared.options.with(said).map(drop)
    }

    fn native(&self) -> &(dyn Any + Send + Sync) {
        &self.native
    }
}

/// Without it nobody publishes or begins to read any more; what still reads ends with its connection.
impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.shared.publishing.give_up();
        self.shared.reading.give_up();
    }
}

fn capabilities(options: &Options) -> Capabilities {
    let mut capabilities = Capabilities::minimal("RabbitMQ");
    capabilities.expiry = true;
    capabilities.ordering = Ordering::SingleActive;
    capabilities.delay = Delay::Republish;
    capabilities.attempts = AttemptsKept::AtLeast;
    capabilities.stable_positions = false;
    capabilities.lease = LeaseKind::Fixed(options.consumer_timeout);
    capabilities.credit = Credit::Messages;
    capabilities.durability = Durability::Stored;
    capabilities.max_message = Some(options.max_message);
    capabilities.header_values = HeaderValues::Binary;
    capabilities.broadcast = true;
    capabilities.drops_unrouted = true;
    capabilities
}
