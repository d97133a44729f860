//! The connection as the runtime sees it.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use convoke_broker_common::{Epochs, events};
use convoke_core::broker::{
    AttemptsKept, Broker, BrokerConfig, Capabilities, CloseReport, Credit, Delay, Durability, EnsureMode, EnsureReport,
    HeaderValues, Health, Lag, LeaseKind, Native, Ordering, PublishDelay, PublishOutcome, SettleBy, SubscribeSpec, Subscription,
    Topology,
};
use convoke_core::{BoxFuture, Error, ErrorKind, Outgoing, Topic, TopicPattern};
use tokio::sync::{OnceCell, mpsc};
use tokio::task::AbortHandle;

use crate::control::Control;
use crate::link::Link;
use crate::part::Part;
use crate::publish::Places;
use crate::reader::{Reader, Spec};
use crate::router::Routers;
use crate::store::Store;
use crate::{consumers, lag, names, publish, store, topology};

/// The longest delay of a message that is given back.
const MAX_DELAY: Duration = Duration::from_secs(30 * 86_400);

/// A connection to NATS.
///
/// Its [`native`](Broker::native) is an [`async_nats::Client`].
pub struct Nats {
    link: Arc<Link>,
    places: Arc<Places>,
    store: OnceCell<Store>,
    routers: Arc<Routers>,
    readers: Mutex<Vec<Reading>>,
    capabilities: Capabilities,
}

/// A subscription of this process.
struct Reading {
    task: AbortHandle,
    /// The group as it was asked for, and as the server knows it: a broadcast has one of its own.
    group: String,
    own: String,
    hands: lag::InHand,
}

/// Opens a connection from a URL, as [`Options`](crate::Options) describes it.
pub fn open(config: BrokerConfig) -> BoxFuture<'static, Result<Arc<dyn Broker>, Error>> {
    Box::pin(async move { Ok(Arc::new(Nats::connect(&config).await?) as Arc<dyn Broker>) })
}

impl Nats {
    /// Connects.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`] if the URL is wrong; [`ErrorKind::Connection`], [`ErrorKind::Timeout`] or
    /// [`ErrorKind::Unauthorized`] if there is no connection within the bounds of `config`; [`ErrorKind::Unsupported`] if the server
    /// is too old, or without JetStream.
    ///
    /// # Cancel safety
    /// If the future is dropped, there is no connection.
    pub async fn connect(config: &BrokerConfig) -> Result<Self, Error> {
        let link = Link::open(config).await?;
        let capabilities = capabilities(&link);
        Ok(Self {
            link: Arc::new(link),
            places: Arc::default(),
            store: OnceCell::new(),
            routers: Arc::default(),
            readers: Mutex::default(),
            capabilities,
        })
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.link.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "this connection is closed; open another"));
        }
        Ok(())
    }

    async fn store(&self) -> Result<&Store, Error> {
        self.store.get_or_try_init(|| Store::open(&self.link, true)).await
    }

    /// Waits until what foreign clients have published is in its partitions.
    async fn all_moved(&self, topic: &Topic) -> Result<(), Error> {
        let begun = Instant::now();
        while consumers::unmoved(&self.link, topic).await? > 0 {
            if begun.elapsed() > 4 * self.link.options.timeout {
                let text = format!(
                    "what foreign clients publish to `{topic}` comes faster than it is moved to its partitions; try again"
                );
                return Err(Error::new(ErrorKind::Timeout, text));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The names under which the server knows a group: those of this process's broadcasts, or its own.
    fn own_groups(&self, group: &str) -> Vec<String> {
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let broadcasts = readers.iter().filter(|one| one.group == group && one.own != group && !one.task.is_finished());
        let own: Vec<_> = broadcasts.map(|one| one.own.clone()).collect();
        if own.is_empty() { vec![group.to_owned()] } else { own }
    }

    fn in_hand(&self, own: &str) -> lag::InHand {
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = lag::InHand::new();
        for (place, hands) in readers.iter().filter(|one| one.own == own && !one.task.is_finished()).flat_map(|one| &one.hands) {
            // Of several subscriptions of one group here, the owner's counts.
            let known = all.entry(place.clone()).or_insert_with(|| Arc::clone(hands));
            if known.count().is_none() {
                *known = Arc::clone(hands);
            }
        }
        all
    }

    async fn lag_of_all(&self, group: &str, topics: &[Topic]) -> Result<Lag, Error> {
        let store = self.store().await?;
        let mut sum = Lag::default();
        for group in self.own_groups(group) {
            let lag = lag::lag(&self.link, store, &group, topics, self.in_hand(&group)).await?;
            let add = |one: Option<u64>, other: Option<u64>| one.map(|one| one + other.unwrap_or(0)).or(other);
            sum.backlog = add(sum.backlog, lag.backlog);
            sum.unsettled = add(sum.unsettled, lag.unsettled);
            sum.delayed = add(sum.delayed, lag.delayed);
            sum.oldest = sum.oldest.max(lag.oldest);
        }
        Ok(sum)
    }

    async fn parts(&self, spec: &SubscribeSpec, group: &str, lasts: Option<Duration>) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::new();
        for topic in topology::resolve(&self.link, &spec.topics).await? {
            let count = topology::partitions(&self.link, &topic).await?.ok_or_else(|| topology::no_topic(&topic))?;
            consumers::join(&self.link, group, &topic, count, spec.start, lasts, true).await?;
            self.routers.route(&self.link, &self.places, &topic);
            if spec.until_end {
                self.all_moved(&topic).await?;
            }
            for partition in 0..count {
                let mark = if spec.until_end { Some(topology::last(&self.link, &topic, partition).await?) } else { None };
                parts.push(Part::new(group, topic.clone(), partition, mark));
            }
        }
        Ok(parts)
    }
}

#[async_trait]
impl Broker for Nats {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn ensure(&self, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
        self.check_open()?;
        topology::ensure(&self.link, topology, mode).await
    }

    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<PublishOutcome> {
        publish::publish(&self.link, &self.places, batch).await
    }

    async fn subscribe(&self, spec: SubscribeSpec) -> Result<Subscription, Error> {
        self.check_open()?;
        names::check("group", &spec.group)?;
        let options = self.link.options.with(&spec.native)?;
        let unique = self.link.client.new_inbox();
        let instance = || format!("{}-{}", spec.group, unique.rsplit('.').next().unwrap_or_default());
        let group = if spec.broadcast { instance() } else { spec.group.clone() };
        let patterns = spec.topics.iter().any(|topic| TopicPattern::new(topic.as_str()).is_some());
        let read = Spec {
            group,
            written: spec.topics.clone(),
            start: spec.start,
            until_end: spec.until_end,
            alone: spec.broadcast,
            patterns,
            revoke: options.revoke,
            confirm_acks: options.confirm_acks,
        };
        let store = self.store().await?.clone();
        let parts = self.parts(&spec, &read.group, read.lasts()).await?;
        let (own, hands) =
            (read.group.clone(), parts.iter().map(|part| ((part.topic.clone(), part.partition), Arc::clone(&part.hands))));
        let hands = hands.collect();
        let (events, stream) = events();
        let (commands, commanded) = mpsc::unbounded_channel();
        let reader = Reader {
            link: Arc::clone(&self.link),
            places: Arc::clone(&self.places),
            routers: Arc::clone(&self.routers),
            store,
            scope: store::scope(&read.group, &read.written),
            spec: read,
            events,
            commands: commanded,
            parts,
            epochs: Epochs::default(),
            former: Vec::new(),
            bereft: BTreeSet::new(),
            last_epoch: 0,
            apart: false,
        };
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| !reader.task.is_finished());
        readers.push(Reading { task: tokio::spawn(reader.run()).abort_handle(), group: spec.group, own, hands });
        Ok(Subscription::new(Box::pin(stream), Box::new(Control { commands })))
    }

    async fn delete_topic(&self, topic: &Topic) -> Result<(), Error> {
        self.check_open()?;
        topology::delete(&self.link, topic).await?;
        self.places.forget(topic);
        self.routers.stop(topic);
        Ok(())
    }

    async fn topics(&self) -> Result<Vec<(Topic, u32)>, Error> {
        self.check_open()?;
        topology::list(&self.link).await
    }

    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<Lag, Error> {
        self.check_open()?;
        // Whoever asks how things are does not wait for a connection.
        let mut up = self.link.up.clone();
        up.mark_unchanged();
        if !self.link.is_up() {
            return Err(self.link.lost());
        }
        tokio::select! {
            lag = self.lag_of_all(group, topics) => lag,
            _ = up.changed() => Err(self.link.lost()),
        }
    }

    fn health(&self) -> Health {
        self.link.health()
    }

    async fn close(&self, within: Duration) -> CloseReport {
        if self.link.closed() {
            self.routers.stop_all();
            let readers = std::mem::take(&mut *self.readers.lock().unwrap_or_else(PoisonError::into_inner));
            for reader in readers {
                reader.task.abort();
            }
            // What was accepted has its answer, or is given up by who waits for it: only words are left.
            let _ = tokio::time::timeout(within, self.link.drain()).await;
        }
        CloseReport::default()
    }

    fn check_topology(&self, topology: &Topology) -> Result<(), Error> {
        topology::check(&self.link.options, topology)
    }

    fn check_native(&self, said: &[Native]) -> Result<(), Error> {
        self.link.options.with(said).map(drop)
    }

    fn native(&self) -> &(dyn Any + Send + Sync) {
        &self.link.client
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats").field("servers", &self.link.options.servers).finish_non_exhaustive()
    }
}

fn capabilities(link: &Link) -> Capabilities {
    let options = &link.options;
    let mut capabilities = Capabilities::minimal("NATS JetStream");
    capabilities.ordering = Ordering::Partition;
    capabilities.settle = SettleBy::Message;
    capabilities.delay = Delay::Native { max: MAX_DELAY };
    capabilities.publish_delay = if link.keeps_schedules() { PublishDelay::Native } else { PublishDelay::None };
    capabilities.expiry = link.lets_expire();
    capabilities.attempts = AttemptsKept::Exact;
    capabilities.marks = true;
    capabilities.lease = LeaseKind::Extendable(options.ack_wait);
    capabilities.credit = Credit::Messages;
    capabilities.durability = if options.replicas > 1 { Durability::Replicated } else { Durability::Accepted };
    capabilities.max_message = Some(link.max_message());
    capabilities.header_values = HeaderValues::Text;
    capabilities.deduplication = Some(options.duplicates);
    capabilities.start_positions = true;
    capabilities.patterns = true;
    capabilities.broadcast = true;
    capabilities.until_end = true;
    capabilities
}
