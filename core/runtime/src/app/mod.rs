//! The application: what is put together, checked and run.

mod bind;
mod binder;
mod bound;
mod brokers;
mod build;
mod deploy;
mod describe;
mod handle;
mod handlers;
pub(crate) mod open;
mod plan;
mod run;
mod status;
mod subscribe;
mod table;
#[cfg(feature = "testkit")]
mod tested;
mod topology;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use convoke_core::broker::{Broker, Start};
use convoke_core::few::FewByKey;
use convoke_core::{BoxError, BoxHandler, ClaimStore, Delivery, Registry, Reply, StateMap};
use convoke_layers::DedupLayer;
use tower::{Layer, Service};

use crate::driver::{OnGap, UnknownEvents};
use crate::observe::Observer;

pub use bind::ReadyApp;
pub use brokers::BrokerSource;
use deploy::Bounds;
pub(crate) use deploy::{Deployment, Names};
#[cfg(feature = "config")]
pub(crate) use deploy::{HandlerChange, Place, Said, SaidUrl};
pub use handle::{AppHandle, DrainReport};
pub use handlers::ExpectedHandlers;
pub use status::{AppStatus, HandlerStatus, STALLED};
pub use subscribe::{HandlerRef, RunningSubscription, Subscribe};
#[cfg(feature = "redrive")]
pub(crate) use topology::tools;

/// The environment variable that names the broker's URL.
pub const BROKER_VARIABLE: &str = "CONVOKE_BROKER";
/// The environment variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "CONVOKE_CONFIG";
/// The environment variable that renames topics: `orders.paid=prod.orders.paid,…`.
pub const TOPICS_VARIABLE: &str = "CONVOKE_TOPICS";
/// The environment variable that renames groups: `warehouse=warehouse-blue,…`.
pub const GROUPS_VARIABLE: &str = "CONVOKE_GROUPS";
/// The broker's URL where nothing else is said.
pub const DEFAULT_URL: &str = "memory://";

#[cfg(feature = "testkit")]
type Decorate = Box<dyn Fn(&str, Arc<dyn Broker>) -> Arc<dyn Broker> + Send + Sync>;
type Wrap = Arc<dyn Fn(BoxHandler) -> BoxHandler + Send + Sync>;

/// An application in the making: its name, state, layers and broker. Its events and handlers come from the registry.
///
/// # Examples
/// ```no_run
/// # async fn example() -> Result<(), convoke_core::Error> {
/// use convoke_runtime::App;
///
/// App::new("shop").state(42_u64).from_env()?.run().await
/// # }
/// ```
#[must_use = "an application does nothing until `run` or `start`"]
pub struct App {
    name: String,
    url: Option<String>,
    /// Whether nobody else's broker is to be reached, whatever the deployment says.
    isolated: bool,
    /// What configuration files say, and what the environment says.
    file: Deployment,
    environment: Deployment,
    broker: Option<Arc<dyn Broker>>,
    /// Further brokers, by name.
    named: FewByKey<String, BrokerSource>,
    state: StateMap,
    layers: Vec<(Scope, Wrap)>,
    registry: Registry,
    only: Option<Vec<String>>,
    on_demand: Vec<String>,
    expected: Vec<String>,
    expected_count: Option<usize>,
    starts: Vec<(String, Start)>,
    until_end: bool,
    /// Slots that were asked for and do not work yet.
    not_yet: Vec<&'static str>,
    settings: Settings,
    observers: Vec<Arc<dyn Observer>>,
    #[cfg(feature = "testkit")]
    decorate: Option<Decorate>,
}

/// What a layer wraps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    App,
    Group(String),
    Handler(String),
    #[cfg(feature = "testkit")]
    Innermost,
}

/// Bounds and times, each with a default that is stated where it is set.
#[derive(Debug, Clone)]
struct Settings {
    messages: u32,
    bytes: u64,
    drain_within: Duration,
    publish_within: Duration,
    deaths: u32,
    unknown: UnknownEvents,
    on_gap: OnGap,
    show_table: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            messages: 512,
            bytes: 16 * 1024 * 1024,
            drain_within: Duration::from_secs(25),
            publish_within: Duration::from_secs(30),
            deaths: 3,
            unknown: UnknownEvents::Skip,
            on_gap: OnGap::Earliest,
            show_table: true,
        }
    }
}

impl Settings {
    fn change(&mut self, bounds: Bounds) {
        self.messages = bounds.messages.unwrap_or(self.messages);
        self.bytes = bounds.bytes.unwrap_or(self.bytes);
        self.drain_within = bounds.drain_within.unwrap_or(self.drain_within);
        self.publish_within = bounds.publish_within.unwrap_or(self.publish_within);
        self.deaths = bounds.deaths.unwrap_or(self.deaths);
        self.unknown = bounds.unknown.unwrap_or(self.unknown);
        self.on_gap = bounds.on_gap.unwrap_or(self.on_gap);
    }
}

impl App {
    /// An application of this name, with every event and handler that is linked into the program.
    ///
    /// The name is the CloudEvents `source` of what it publishes and the first part of its groups' names: keep it.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: None,
            isolated: false,
            file: Deployment::default(),
            environment: Deployment::default(),
            broker: None,
            named: FewByKey::default(),
            state: StateMap::default(),
            layers: Vec::new(),
            registry: Registry::collect(),
            only: None,
            on_demand: Vec::new(),
            expected: Vec::new(),
            expected_count: None,
            starts: Vec::new(),
            until_end: false,
            not_yet: Vec::new(),
            settings: Settings::default(),
            observers: Vec::new(),
            #[cfg(feature = "testkit")]
            decorate: None,
        }
    }

    /// Gives handlers a value that they take as `State<T>`. One of each type.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.state.insert(value);
        self
    }

    /// Puts a tower layer around every handler. The first one is outermost.
    ///
    /// # Delivery
    /// An error of the layer is a failed attempt of the message. See `convoke::layers` for what tower's own layers do.
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: Layer<BoxHandler> + Send + Sync + 'static,
        L::Service: Service<Delivery, Response = Reply> + Clone + Send + 'static,
        <L::Service as Service<Delivery>>::Error: Into<BoxError>,
        <L::Service as Service<Delivery>>::Future: Send,
    {
        self.wrap(Scope::App, layer)
    }

    /// Puts a tower layer around every handler of a group, inside the application's layers.
    pub fn group_layer<L>(self, group: impl Into<String>, layer: L) -> Self
    where
        L: Layer<BoxHandler> + Send + Sync + 'static,
        L::Service: Service<Delivery, Response = Reply> + Clone + Send + 'static,
        <L::Service as Service<Delivery>>::Error: Into<BoxError>,
        <L::Service as Service<Delivery>>::Future: Send,
    {
        self.wrap(Scope::Group(group.into()), layer)
    }

    /// Puts a tower layer around one handler, inside the layers of its group.
    pub fn handler_layer<L>(self, handler: impl Into<String>, layer: L) -> Self
    where
        L: Layer<BoxHandler> + Send + Sync + 'static,
        L::Service: Service<Delivery, Response = Reply> + Clone + Send + 'static,
        <L::Service as Service<Delivery>>::Error: Into<BoxError>,
        <L::Service as Service<Delivery>>::Future: Send,
    {
        self.wrap(Scope::Handler(handler.into()), layer)
    }

    fn wrap<L>(mut self, scope: Scope, layer: L) -> Self
    where
        L: Layer<BoxHandler> + Send + Sync + 'static,
        L::Service: Service<Delivery, Response = Reply> + Clone + Send + 'static,
        <L::Service as Service<Delivery>>::Error: Into<BoxError>,
        <L::Service as Service<Delivery>>::Future: Send,
    {
        self.layers.push((scope, Arc::new(move |handler: BoxHandler| handler.layered(&layer))));
        self
    }

    /// Uses the broker at this URL.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// Uses a broker that the program has opened by itself.
    pub fn broker(mut self, broker: Arc<dyn Broker>) -> Self {
        self.broker = Some(broker);
        self
    }

    /// Has a handler's group begin here if the broker does not know it yet, in place of what its attribute says.
    ///
    /// A position counts in every partition. What the broker cannot do is refused at [`App::build`].
    pub fn start_at(mut self, handler: impl Into<String>, start: Start) -> Self {
        self.starts.push((handler.into(), start));
        self
    }

    /// Has each handler called once for each message, as far as `store` remembers: a [`DedupLayer`] around every handler.
    ///
    /// For some handlers only, put that layer around these with [`App::handler_layer`] or [`App::group_layer`].
    ///
    /// # Delivery
    /// A message that was handled before is acknowledged without the handler. While the store cannot be reached, handlers pause.
    // Inline, so that the layer and all around it is compiled by who uses it.
    #[inline]
    pub fn deduplicate(self, store: Arc<dyn ClaimStore>) -> Self {
        self.layer(DedupLayer::new(store))
    }

    /// Adds a further broker, by a URL or opened by the program: for events and handlers that say `broker = "name"`.
    ///
    /// An event that names a broker is published there and read there; a handler that names one reads there, whatever its event
    /// says. The deployment may say another URL: `[brokers]` in a file, or the variable `CONVOKE_BROKER_<NAME>`.
    ///
    /// # Delivery
    /// What a handler returns is confirmed by the broker that it goes to before its input is acknowledged at the broker that it came
    /// from. A dead letter stays on the broker of its message.
    pub fn broker_named(mut self, name: impl Into<String>, broker: impl Into<BrokerSource>) -> Self {
        self.named.insert(name.into(), broker.into());
        self
    }

    /// How much each subscription has in flight at most: messages (512) and bytes (16 MiB).
    pub fn in_flight(mut self, messages: u32, bytes: u64) -> Self {
        self.settings.messages = messages;
        self.settings.bytes = bytes;
        self
    }

    /// How long a drain may take (25 s) before what still runs is cancelled.
    pub fn drain_within(mut self, within: Duration) -> Self {
        self.settings.drain_within = within;
        self
    }

    /// How long a publish that is refused for now, or not answered, is repeated under the same id (30 s) before it is an error.
    pub fn publish_within(mut self, within: Duration) -> Self {
        self.settings.publish_within = within;
        self
    }

    /// After how many deaths of the process a message that was tried alone is given up (3).
    pub fn deaths(mut self, deaths: u32) -> Self {
        self.settings.deaths = deaths;
        self
    }

    /// What messages of an unknown event name come to on a topic that a group reads for other names (skipped, and counted).
    ///
    /// # Delivery
    /// Under [`UnknownEvents::Fail`] the subscription stops at the message: what came in before is finished, in the time that a drain
    /// may take, and the message and what is behind it in its partition stay unsettled. A program that knows the event goes on there,
    /// in the same group. Other subscriptions of the application go on. Other members of the group stop there in their turn. A
    /// broadcast has no place that outlives it: what it missed is not delivered later.
    pub fn unknown_events(mut self, policy: UnknownEvents) -> Self {
        self.settings.unknown = policy;
        self
    }

    /// What is done where the broker discarded messages before they were read (goes on at the first that is there). The gap is
    /// logged and counted in any case.
    ///
    /// # Delivery
    /// Under [`OnGap::Stop`] the subscription stops there: what came in before is finished, in the time that a drain may take, and what is
    /// behind the gap stays unsettled. Whether the broker tells of the gap again, to whoever reads next, is its own affair; where it does
    /// not, as the embedded broker, a restart goes on behind it. A broadcast that misses something because its connection was gone has no
    /// place to stop at: it goes on.
    pub fn on_gap(mut self, policy: OnGap) -> Self {
        self.settings.on_gap = policy;
        self
    }

    /// Does not print the table of what is bound at start.
    pub fn quiet(mut self) -> Self {
        self.settings.show_table = false;
        self
    }

    /// Tells somebody what happens to messages.
    pub fn observe(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("name", &self.name)
            .field("handlers", &self.registry.handlers.iter().map(|handler| handler.name).collect::<Vec<_>>())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
