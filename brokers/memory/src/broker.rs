//! A connection to a memory broker.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use convoke_core::broker::{
    Broker, BrokerConfig, Capabilities, CloseReport, EnsureMode, EnsureReport, Fault, Faults, Health, Lag, Native,
    PublishOutcome, SubscribeSpec, Subscription, Topology,
};
use convoke_core::few::{Few, sort_by};
use convoke_core::{BoxFuture, Error, ErrorKind, Message, Outgoing, Topic};
use tokio::sync::Notify;

use crate::options::Options;
use crate::state::Shared;
use crate::subscription;
use crate::topology;

/// A connection to a broker in this process.
///
/// Several connections may share one broker: see [`named`](Self::named). Each is closed by itself; dropping one closes nothing,
/// and its subscriptions go on.
///
/// # Examples
/// ```
/// use convoke_core::broker::{Broker, EnsureMode, TopicSpec, Topology};
/// use convoke_core::{Message, Outgoing};
/// use convoke_memory::MemoryBroker;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), convoke_core::Error> {
/// let broker = MemoryBroker::new();
/// let mut topology = Topology::default();
/// topology.topics.push(TopicSpec::new("orders.paid"));
/// broker.ensure(&topology, EnsureMode::Create).await?;
/// broker.publish(vec![Outgoing::new(Message::builder("orders.paid").key("ada").payload("{}").build())]).await;
/// assert_eq!(broker.messages("orders.paid").len(), 1);
/// # Ok(())
/// # }
/// ```
pub struct MemoryBroker {
    shared: Arc<Shared>,
    id: u64,
    capabilities: Capabilities,
    closed: AtomicBool,
    /// Messages that are stored and not confirmed yet.
    unconfirmed: AtomicU64,
    confirmed: Notify,
}

/// Opens the broker that a URL names: `memory://`, or `memory://name`.
///
/// # Errors
/// If the URL cannot be read, names an option that there is not (see [`Options`]), or other options than those with which the
/// broker of this name is open already.
#[must_use]
pub fn open(config: BrokerConfig) -> BoxFuture<'static, Result<Arc<dyn Broker>, Error>> {
    Box::pin(async move {
        let options = Options::from_url(&config.url)?;
        let shared = Shared::named(config.url.authority(), options.clone());
        let present = shared.with(|state, _| state.options.clone());
        if config.url.options().next().is_some() && present != options {
            let message =
                format!("`{}` is open in this process with other options: {present:?}; name the same, or none", config.url);
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        Ok(Arc::new(MemoryBroker::connect(shared)) as Arc<dyn Broker>)
    })
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBroker {
    /// A broker of its own, with the default options.
    #[must_use]
    pub fn new() -> Self {
        Self::connect(Shared::private(Options::default()))
    }

    /// A broker of its own.
    ///
    /// # Errors
    /// If no broker can work with these options.
    pub fn with(options: Options) -> Result<Self, Error> {
        options.check()?;
        Ok(Self::connect(Shared::private(options)))
    }

    /// A connection to the broker of this name, as [`open`] makes one for `memory://name`; the empty name is that of `memory://`.
    ///
    /// The broker is made, with the default options, if there is none, and lives on while any connection or subscription to it
    /// lives.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::connect(Shared::named(name, Options::default()))
    }

    /// Another connection to the same broker.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::connect(self.shared.clone())
    }

    fn connect(shared: Arc<Shared>) -> Self {
        let (id, capabilities) = shared.with(|state, _| (state.new_id(), state.options.capabilities()));
        let (closed, unconfirmed, confirmed) = (AtomicBool::new(false), AtomicU64::new(0), Notify::new());
        Self { shared, id, capabilities, closed, unconfirmed, confirmed }
    }

    /// The messages that a topic holds, in the order in which they were stored, over all partitions; none if there is no such
    /// topic. Reads beside all groups, and through a cut connection too. Headers are as the broker has them.
    #[must_use]
    pub fn messages(&self, topic: &str) -> Vec<Message> {
        self.shared.with(|state, _| {
            let Some(topic) = state.names.get(&Topic::from(topic)) else { return Vec::new() };
            let parts = &state.topics[*topic].parts;
            let mut stored: Vec<_> = parts.iter().flat_map(|log| log.iter()).collect();
            stored.sort_unstable_by_key(|stored| stored.sequence);
            stored.into_iter().map(|stored| stored.message.clone()).collect()
        })
    }

    /// The broker's name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.shared.name()
    }

    fn open(&self) -> Result<(), Error> {
        if self.closed.load(SeqCst) { Err(closed()) } else { Ok(()) }
    }

    /// Waits until each message is confirmed.
    async fn confirm(&self, outcomes: &mut [PublishOutcome], mut slow: Vec<(usize, Duration)>, cuts: u64) {
        sort_by(&mut slow, |a, b| a.1.cmp(&b.1));
        let waiting = Unconfirmed { broker: self, count: slow.len() as u64 };
        self.unconfirmed.fetch_add(waiting.count, SeqCst);
        let start = tokio::time::Instant::now();
        for (index, by) in slow {
            tokio::time::sleep_until(start + by).await;
            if self.shared.with(|state, _| state.cuts != cuts) {
                let message = "the connection to the memory broker was cut before the answer came; the message may be stored";
                outcomes[index] = PublishOutcome::Unknown(Error::new(ErrorKind::Unknown, message));
            }
        }
    }
}

/// Counts messages that are not confirmed, also if whoever waits for them gives up.
struct Unconfirmed<'a> {
    broker: &'a MemoryBroker,
    count: u64,
}

impl Drop for Unconfirmed<'_> {
    fn drop(&mut self) {
        self.broker.unconfirmed.fetch_sub(self.count, SeqCst);
        self.broker.confirmed.notify_waiters();
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn ensure(&self, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
        self.open()?;
        self.shared.with(|state, _| state.ensure(topology, mode))
    }

    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<PublishOutcome> {
        // What allocates is done before the lock is taken.
        let ids: Vec<_> = batch.iter().map(|outgoing| outgoing.message.id().unwrap_or_default().to_owned()).collect();
        let count = ids.len();
        let Ok(mut published) = self.shared.with(|state, now| self.open().map(|()| state.publish(batch, ids, now))) else {
            return (0..count).map(|_| PublishOutcome::Rejected { retryable: false, error: closed() }).collect();
        };
        if !published.slow.is_empty() {
            self.confirm(&mut published.outcomes, published.slow, published.cuts).await;
        }
        published.outcomes
    }

    async fn subscribe(&self, spec: SubscribeSpec) -> Result<Subscription, Error> {
        let member = self.shared.with(|state, now| {
            self.open()?;
            state.subscribe(&spec, self.id, now)
        })?;
        Ok(subscription::new(&self.shared, member))
    }

    async fn topics(&self) -> Result<Vec<(Topic, u32)>, Error> {
        self.open()?;
        self.shared.with(|state, _| {
            state.connected()?;
            let topics = state.names.iter().map(|(name, topic)| (name.clone(), state.topics[*topic].partitions()));
            Ok(topics.collect::<Few<_>>().into_vec())
        })
    }

    async fn delete_topic(&self, topic: &Topic) -> Result<(), Error> {
        self.open()?;
        self.shared.with(|state, _| state.delete_topic(topic))
    }

    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<Lag, Error> {
        self.open()?;
        self.shared.with(|state, now| state.lag(group, topics, now))
    }

    fn health(&self) -> Health {
        if self.closed.load(SeqCst) {
            return Health::Closed;
        }
        match self.shared.with(|state, _| state.connected()) {
            Ok(()) => Health::Up,
            Err(error) => Health::Down { failures: 1, reason: error.to_string() },
        }
    }

    /// Closes this connection: its subscriptions end as if each was closed. Others to the same broker go on.
    async fn close(&self, within: Duration) -> CloseReport {
        let unsettled = self.shared.with(|state, now| {
            self.closed.store(true, SeqCst);
            let ours: Few<_> =
                state.members.iter().filter(|(_, member)| member.connection == self.id).map(|(id, _)| *id).collect();
            ours.into_vec().into_iter().map(|id| state.leave(id, false, now)).sum()
        });
        let confirmed = async {
            loop {
                let notified = self.confirmed.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if self.unconfirmed.load(SeqCst) == 0 {
                    break;
                }
                notified.await;
            }
        };
        if self.unconfirmed.load(SeqCst) > 0 {
            // Whether it was in time shows in the count.
            let _ = tokio::time::timeout(within, confirmed).await;
        }
        let mut report = CloseReport::default();
        report.unsettled = unsettled;
        report.unconfirmed = self.unconfirmed.load(SeqCst);
        report
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }

    fn check_topology(&self, topology: &Topology) -> Result<(), Error> {
        topology::check(topology)
    }

    fn check_native(&self, said: &[Native]) -> Result<(), Error> {
        self.shared.with(|state, _| state.options.with(said)).map(drop)
    }

    /// The [`MemoryBroker`] itself.
    fn native(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

/// Faults are the broker's: those of one connection happen to all. A cut cuts every connection, as if the broker were away.
impl Faults for MemoryBroker {
    fn inject(&self, fault: Fault) -> Result<(), Error> {
        self.shared.with(|state, now| state.inject(fault, now))
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker").field("name", &self.name()).field("health", &self.health()).finish_non_exhaustive()
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "this connection to the memory broker is closed; open another")
}
