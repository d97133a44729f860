//! A connection to Redis.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use convoke_broker_common::Spread;
use convoke_core::broker::{
    AttemptsKept, Broker, BrokerConfig, Capabilities, CloseReport, Delay, EnsureMode, EnsureReport, HeaderValues, Health, Lag,
    Native, Ordering, PublishDelay, PublishOutcome, SubscribeSpec, Subscription, Topology,
};
use convoke_core::{BoxFuture, Error, ErrorKind, Outgoing, Topic};
use redis::aio::MultiplexedConnection;
use tokio::sync::watch;

use crate::link::Link;
use crate::options::Options;
use crate::publish::{Press, Topics};
use crate::subscription::{self, Desk};
use crate::topology;

/// The longest delay of a message that is given back.
const MAX_DELAY: Duration = Duration::from_secs(30 * 86_400);

/// A connection to Redis: one for all that is asked, and one more for each subscription, to wait on.
///
/// Made by [`open`] from a URL, or by [`connect`](Self::connect). Dropping it closes nothing: its subscriptions go on.
pub struct RedisBroker {
    press: Press,
    capabilities: Capabilities,
    version: String,
    /// How many messages are on their way.
    unconfirmed: watch::Sender<u64>,
    subscriptions: Mutex<Vec<Weak<Desk>>>,
}

/// Opens the server that a URL names: see [`Options`].
///
/// # Errors
/// If the URL cannot be read, no server answers in time, or the one that does will not do.
#[must_use]
pub fn open(config: BrokerConfig) -> BoxFuture<'static, Result<Arc<dyn Broker>, Error>> {
    Box::pin(async move {
        let options = Options::from_url(&config.url)?;
        Ok(Arc::new(RedisBroker::connect(options, &config.app, config.connect_within).await?) as Arc<dyn Broker>)
    })
}

impl RedisBroker {
    /// Connects, as `app`.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing is left behind.
    ///
    /// # Errors
    /// If no server answers within that time, or the one that does will not do: too old, a node of a cluster, or one that refuses
    /// who we are.
    pub async fn connect(options: Options, app: &str, within: Duration) -> Result<Self, Error> {
        let (link, server) = Link::open(options, app.to_owned(), within).await?;
        let capabilities = capabilities(&link.options, server.durability);
        let press = Press { link, topics: Topics::new(), spread: Spread::default(), durability: server.durability };
        let (unconfirmed, _) = watch::channel(0);
        Ok(Self { press, capabilities, version: server.version, unconfirmed, subscriptions: Mutex::default() })
    }

    /// The server's version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The connection, for what convoke does not offer; `None` while there is none. Do not block on it: everything waits behind.
    #[must_use]
    pub fn connection(&self) -> Option<MultiplexedConnection> {
        self.link().connection().ok().map(|(_, connection)| connection)
    }

    fn link(&self) -> &Arc<Link> {
        &self.press.link
    }

    fn open(&self) -> Result<(), Error> {
        if self.link().health() == Health::Closed { Err(closed()) } else { Ok(()) }
    }

    fn desks(&self) -> Vec<Arc<Desk>> {
        let mut desks = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        desks.retain(|desk| desk.strong_count() > 0);
        desks.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Counts messages that are on their way, also if whoever waits for them gives up.
struct OnTheWay<'a>(&'a watch::Sender<u64>, u64);

impl Drop for OnTheWay<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= self.1);
    }
}

#[async_trait]
impl Broker for RedisBroker {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn ensure(&self, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
        self.open()?;
        topology::ensure(self.link(), topology, mode).await
    }

    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<PublishOutcome> {
        if self.open().is_err() {
            return batch.iter().map(|_| PublishOutcome::Rejected { retryable: false, error: closed() }).collect();
        }
        let count = batch.len() as u64;
        self.unconfirmed.send_modify(|unconfirmed| *unconfirmed += count);
        let _counted = OnTheWay(&self.unconfirmed, count);
        self.press.publish(batch).await
    }

    async fn subscribe(&self, spec: SubscribeSpec) -> Result<Subscription, Error> {
        self.open()?;
        let (desk, subscription) = subscription::open(self.link(), &self.press.topics, spec).await?;
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&desk));
        Ok(subscription)
    }

    async fn topics(&self) -> Result<Vec<(Topic, u32)>, Error> {
        self.open()?;
        topology::topics(self.link()).await
    }

    async fn delete_topic(&self, topic: &Topic) -> Result<(), Error> {
        self.open()?;
        topology::delete(self.link(), &self.press.topics, topic).await
    }

    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<Lag, Error> {
        self.open()?;
        match self.desks().into_iter().find(|desk| desk.broadcast && desk.group == group) {
            Some(desk) => subscription::lag(self.link(), &desk).await,
            None => topology::lag(self.link(), group, topics).await,
        }
    }

    fn health(&self) -> Health {
        self.link().health()
    }

    /// Waits for what is on its way, ends the subscriptions as if each was closed, and lets go of the connection.
    async fn close(&self, within: Duration) -> CloseReport {
        let mut report = CloseReport::default();
        if self.open().is_err() {
            return report;
        }
        let ends = async {
            for desk in self.desks() {
                report.unsettled += desk.close().await;
            }
            // The sender is ours.
            let _ = self.unconfirmed.subscribe().wait_for(|count| *count == 0).await;
        };
        // Whether it was in time shows in the count.
        let _ = tokio::time::timeout(within, ends).await;
        report.unconfirmed = *self.unconfirmed.borrow();
        self.link().close();
        report
    }

    fn check_topology(&self, topology: &Topology) -> Result<(), Error> {
        topology::check(topology)
    }

    fn check_native(&self, said: &[Native]) -> Result<(), Error> {
        self.link().options.with(said).map(drop)
    }

    /// The [`RedisBroker`] itself: its [`connection`](RedisBroker::connection) is the client's.
    fn native(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBroker")
            .field("options", &self.link().options)
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

fn capabilities(options: &Options, durability: convoke_core::broker::Durability) -> Capabilities {
    let mut capabilities = Capabilities::minimal("Redis Streams");
    capabilities.ordering = Ordering::Partition;
    capabilities.delay = Delay::Native { max: MAX_DELAY };
    capabilities.publish_delay = PublishDelay::Native;
    capabilities.attempts = AttemptsKept::Exact;
    capabilities.marks = true;
    capabilities.durability = durability;
    capabilities.max_message = Some(options.max_message);
    capabilities.header_values = HeaderValues::Binary;
    capabilities.start_positions = true;
    capabilities.broadcast = true;
    capabilities.until_end = true;
    capabilities
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "this connection to Redis is closed; open another")
}
