//! A connection to Kafka.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use convoke_core::broker::{
    AttemptsKept, Broker, BrokerConfig, Capabilities, CloseReport, Credit, Delay, Durability, EnsureMode, EnsureReport,
    HeaderValues, Health, Lag, LeaseKind, Ordering, PublishDelay, PublishOutcome, SettleBy, SubscribeSpec, Subscription,
    Topology,
};
use convoke_core::{BoxFuture, Error, ErrorKind, Outgoing, Topic};
use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;

use crate::asking::Asking;
use crate::client::{Link, Plain, lock};
use crate::config;
use crate::connect::{self, Cluster};
use crate::consumer::{self, Shared};
use crate::lag::Askers;
use crate::options::Options;
use crate::publish::{Publishing, closed};
use crate::said::Said;
use crate::topology;

/// A connection to a Kafka cluster: one producer, and a consumer for each subscription.
pub struct Kafka {
    pub(crate) options: Options,
    pub(crate) app: String,
    pub(crate) link: Arc<Link>,
    pub(crate) asking: Arc<Asking>,
    pub(crate) brokers: usize,
    /// How many characters the text of a commit may have.
    pub(crate) metadata: usize,
    pub(crate) publishing: Arc<Publishing>,
    pub(crate) subscriptions: Mutex<Vec<Weak<Shared>>>,
    pub(crate) askers: Arc<Askers>,
    pub(crate) said: Arc<Said>,
    native: Native,
    capabilities: Capabilities,
    closed: AtomicBool,
}

/// The way to librdkafka: what [`Broker::native`] gives. Clients of one's own are made of the settings that this connection has.
#[derive(Clone)]
pub struct Native {
    /// The settings of its producer.
    pub producer: ClientConfig,
    /// The settings of its consumers; `group.id` is for whoever makes one to set.
    pub consumer: ClientConfig,
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Native")
    }
}

/// Opens the broker that a URL names, as in `kafka://localhost:9092`.
///
/// # Errors
/// If the URL cannot be read, if no server answers in time, or if they refuse the user.
#[must_use]
pub fn open(config: BrokerConfig) -> BoxFuture<'static, Result<Arc<dyn Broker>, Error>> {
    Box::pin(async move {
        let kafka = Kafka::connect(&config).await?;
        Ok(Arc::new(kafka) as Arc<dyn Broker>)
    })
}

impl Kafka {
    /// Connects to the cluster that a URL names.
    ///
    /// # Errors
    /// If the URL cannot be read, if no server answers in time, or if they refuse the user.
    ///
    /// # Cancel safety
    /// Safe: a connection that is half made is given up.
    pub async fn connect(config: &BrokerConfig) -> Result<Self, Error> {
        let options = Options::from_url(&config.url)?;
        let (link, app, within) = (Arc::<Link>::default(), config.app.clone(), config.connect_within);
        let cluster = {
            let (options, app, link) = (options.clone(), app.clone(), Arc::clone(&link));
            tokio::task::spawn_blocking(move || connect::connect(&options, &app, &link, within)).await
        };
        let Cluster { client, brokers, id } = cluster.map_err(|_| internal())??;
        let asking = Arc::new(Asking::new(options.clone(), app.clone(), Arc::clone(&link), client));
        let publishing = Arc::new(Publishing::new(options.clone(), app.clone(), Arc::clone(&link), Arc::clone(&asking)));
        let askers = Arc::<Askers>::default();
        crate::watch::start(&publishing, &askers, &link).map_err(|error| internal().with_source(error))?;
        let native = Native { producer: config::producer(&options, &app), consumer: config::asking(&options, &app, None) };
        let metadata = connect::metadata_limit(&options, &app, &link, id).await?;
        let capabilities = capabilities(&options, brokers, metadata);
        let (subscriptions, closed) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self {
            options,
            app,
            link,
            asking,
            brokers,
            metadata,
            publishing,
            subscriptions,
            askers,
            said: Arc::default(),
            native,
            capabilities,
            closed,
        })
    }

    pub(crate) fn open(&self) -> Result<(), Error> {
        if self.closed.load(SeqCst) { Err(closed()) } else { Ok(()) }
    }

    /// Asks the cluster something, on a thread that may wait.
    pub(crate) async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer<Plain>) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        let client = self.asking.client();
        tokio::task::spawn_blocking(move || question(&client)).await.map_err(|_| internal())?
    }

    /// Subscriptions that are still there.
    pub(crate) fn live(&self) -> Vec<Arc<Shared>> {
        let mut subscriptions = lock(&self.subscriptions);
        subscriptions.retain(|one| one.strong_count() > 0);
        subscriptions.iter().filter_map(Weak::upgrade).collect()
    }
}

pub(crate) fn internal() -> Error {
    Error::new(ErrorKind::Internal, "a thread of the Kafka adapter could not do its work; please report it")
}

fn capabilities(options: &Options, brokers: usize, metadata: usize) -> Capabilities {
    let mut capabilities = Capabilities::minimal("Kafka");
    capabilities.ordering = Ordering::Partition;
    capabilities.settle = SettleBy::Watermark;
    capabilities.delay = Delay::Republish;
    capabilities.publish_delay = PublishDelay::None;
    capabilities.attempts = AttemptsKept::Exact;
    capabilities.marks = false;
    capabilities.progress = Some(metadata);
    capabilities.lease = LeaseKind::None;
    capabilities.credit = Credit::MessagesAndBytes;
    capabilities.durability = if brokers > 1 { Durability::Replicated } else { Durability::Accepted };
    capabilities.max_message = Some(options.max_message);
    capabilities.header_values = HeaderValues::Binary;
    capabilities.start_positions = true;
    capabilities.broadcast = true;
    capabilities.until_end = true;
    capabilities
}

#[async_trait]
impl Broker for Kafka {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn ensure(&self, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
        self.open()?;
        let report = self.ensure_topics(topology, mode).await?;
        if mode == EnsureMode::Create {
            self.begin_groups(&topology.groups).await?;
        }
        Ok(report)
    }

    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<PublishOutcome> {
        if self.open().is_err() {
            return batch.iter().map(|_| PublishOutcome::Rejected { retryable: false, error: closed() }).collect();
        }
        self.publishing.publish(batch).await
    }

    async fn subscribe(&self, spec: SubscribeSpec) -> Result<Subscription, Error> {
        self.open()?;
        consumer::subscribe(self, spec).await
    }

    async fn delete_topic(&self, topic: &Topic) -> Result<(), Error> {
        self.open()?;
        self.delete(topic).await
    }

    async fn topics(&self) -> Result<Vec<(Topic, u32)>, Error> {
        self.open()?;
        self.all_topics().await
    }

    async fn lag(&self, group: &str, topics: &[Topic]) -> Result<Lag, Error> {
        self.open()?;
        self.lag_of(group, topics).await
    }

    fn health(&self) -> Health {
        self.link.health()
    }

    async fn close(&self, within: Duration) -> CloseReport {
        self.closed.store(true, SeqCst);
        let mut report = CloseReport::default();
        let subscriptions = self.live();
        report.unsettled = subscriptions.iter().map(|one| one.unsettled()).sum();
        for one in &subscriptions {
            one.close();
        }
        for one in &subscriptions {
            one.ended(within).await;
        }
        report.unconfirmed = self.publishing.close(within).await;
        self.link.close();
        report
    }

    fn check_topology(&self, topology: &Topology) -> Result<(), Error> {
        topology::check(&self.options, topology)
    }

    fn check_native(&self, said: &[convoke_core::broker::Native]) -> Result<(), Error> {
        self.options.with(said).map(drop)
    }

    /// A [`Native`].
    fn native(&self) -> &(dyn Any + Send + Sync) {
        &self.native
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("options", &self.options).field("health", &self.health()).finish_non_exhaustive()
    }
}

/// What librdkafka waits for when a client ends is not waited for here.
impl Drop for Kafka {
    fn drop(&mut self) {
        self.link.close();
        let (askers, asking) = (self.askers.take(), self.asking.client());
        drop(std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop((askers, asking))));
    }
}
