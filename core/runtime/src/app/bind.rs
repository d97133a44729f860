//! From the builder to a running application: everything is checked, then opened, then bound.

use std::collections::BTreeSet;
use std::sync::Arc;

use convoke_core::broker::{Broker, Capabilities, EnsureMode, GroupSpec, LeaseKind, SubscribeSpec, TopicSpec, Topology};
use convoke_core::{Error, ErrorKind, HandlerContext, HandlerDef, Publisher, Topic, names};
use convoke_engine::{Config, Engine, Route};
use std::time::Duration;
use tokio::sync::watch;

use super::handle::{AppHandle, Bound, Inner};
use super::plan::{self, Plan, PlannedRoute, PlannedSubscription, Problems};
use super::{App, DEFAULT_URL, Scope, Settings, open, table};
use crate::driver::{Core, Counters, Driver, Remote, RouteRunner};
use crate::publisher::Sink;

impl App {
    /// Checks the whole application and opens its broker, without starting anything.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] with everything that is wrong, at once, each with its place and how to mend it; or what
    /// the broker says.
    pub async fn build(mut self) -> Result<ReadyApp, Error> {
        let mut problems = Problems::new();
        problems.extend(self.not_yet.iter().map(|slot| (*slot).to_owned()));
        let handlers = self.chosen(&mut problems);
        if self.only.is_some() {
            // Events of handlers that do not take part are not looked at either.
            let used: Vec<_> =
                handlers.iter().flat_map(|handler| [handler.signature().inputs, handler.signature().outputs].concat()).collect();
            self.registry.events.retain(|event| used.iter().any(|other| (other.type_id)() == (event.type_id)()));
        }
        let plan = plan::plan(&self.name, &self.registry, &handlers, &self.state, &self.starts, &mut problems);
        self.check_layers(&plan, &mut problems);
        let opened = match self.broker.take() {
            Some(broker) => Ok(broker),
            None => open::open(self.url.as_deref().unwrap_or(DEFAULT_URL), &self.name, &self.registry.brokers).await,
        };
        match &opened {
            Ok(broker) => plan::check_capabilities(&plan, broker.capabilities(), &mut problems),
            Err(error) if !problems.is_empty() => problems.push(error.to_string()),
            Err(_) => {}
        }
        if !problems.is_empty() {
            return Err(Error::new(ErrorKind::Configuration, told(&self.name, &problems)));
        }
        let broker = opened?;
        #[cfg(feature = "testkit")]
        let broker = match self.decorate.take() {
            Some(decorate) => decorate(broker),
            None => broker,
        };
        let names = self.url.as_deref().and_then(|url| convoke_core::broker::BrokerUrl::parse(url).ok());
        let shown = names.map_or_else(|| broker.capabilities().name.to_owned(), |url| url.to_string());
        for warning in &plan.warnings {
            tracing::warn!(app = self.name, "{warning}");
        }
        Ok(ReadyApp { table: table::table(&self.name, &shown, &plan), app: self, plan, broker })
    }

    /// The handlers that take part.
    fn chosen(&self, problems: &mut Problems) -> Vec<&'static HandlerDef> {
        let known = &self.registry.handlers;
        if known.is_empty() {
            problems.push(
                "no handler is linked into this program; a crate that is named in Cargo.toml and nowhere else is left out by the linker: \
                 write `use your_crate as _;`"
                    .to_owned(),
            );
        }
        let wanted = self.expected.iter().chain(self.only.iter().flatten()).chain(self.starts.iter().map(|(name, _)| name));
        for name in wanted.filter(|name| !known.iter().any(|handler| handler.name == **name)) {
            let names: Vec<_> = known.iter().map(|handler| handler.name).collect();
            problems.push(format!(
                "no handler is named `{name}`; there are {}. If it is in another crate, write `use that_crate as _;`",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            ));
        }
        let chosen =
            |handler: &&&'static HandlerDef| self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == handler.name));
        known.iter().filter(chosen).copied().collect()
    }

    fn check_layers(&self, plan: &Plan, problems: &mut Problems) {
        for (scope, _) in &self.layers {
            let mut routes = plan.subscriptions.iter().flat_map(|one| one.routes.iter().map(move |route| (one, route)));
            match scope {
                Scope::Group(group) if !routes.any(|(one, _)| one.group == *group) => {
                    problems.push(format!("a layer is for the group `{group}`, which no handler is in"));
                }
                Scope::Handler(name) if !routes.any(|(_, route)| route.handler.name == name) => {
                    problems.push(format!("a layer is for the handler `{name}`, which does not exist"));
                }
                _ => {}
            }
        }
    }

    /// Checks, opens and starts the application, and returns what steers it.
    ///
    /// When this returns, all topics and groups exist.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing has been started; topics and groups may have been created.
    ///
    /// # Errors
    /// As [`App::build`]; and what the broker says while topics and groups are made.
    pub async fn start(self) -> Result<AppHandle, Error> {
        self.build().await?.start().await
    }
}

/// An application that was found in order.
#[must_use = "an application does nothing until `start`"]
pub struct ReadyApp {
    app: App,
    plan: Plan,
    broker: Arc<dyn Broker>,
    table: String,
}

impl std::fmt::Debug for ReadyApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadyApp").field("app", &self.app).finish_non_exhaustive()
    }
}

impl ReadyApp {
    /// The table of what is bound to what.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// What must exist on the broker: also the groups' own places for messages that come again, each with as many partitions as
    /// the topic whose messages they are, and who reads dead letters.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let mut topology = self.topics_and_groups();
        let places = self.places(&[]);
        topology.topics.extend(places.topics);
        topology.groups.extend(places.groups);
        topology
    }

    fn topics_and_groups(&self) -> Topology {
        let mut topology = Topology::default();
        topology.topics = self.plan.topics.iter().map(|topic| TopicSpec::new(topic.clone())).collect();
        // One for each subscription: handlers of one group may start at different places of their topics.
        topology.groups = self
            .plan
            .subscriptions
            .iter()
            .map(|subscription| {
                let mut group = GroupSpec::new(subscription.group.clone(), subscription.topics.clone());
                group.start = subscription.start;
                group.ordered = subscription.routes.iter().any(|route| route.ordered);
                group
            })
            .collect();
        // Where nothing is kept for nobody, somebody must be there for whom dead letters are kept.
        let dead = self.plan.subscriptions.iter().flat_map(|subscription| &subscription.routes).map(|route| route.dead.clone());
        let mut tools = GroupSpec::new(names::REDRIVE_GROUP, dead.collect::<BTreeSet<_>>().into_iter().collect());
        tools.ordered = false;
        topology.groups.push(tools);
        topology
    }

    /// The groups' own places. They begin at their earliest message, wherever the groups begin.
    fn places(&self, partitions: &[(Topic, u32)]) -> Topology {
        let mut topology = Topology::default();
        for subscription in &self.plan.subscriptions {
            let mut group = GroupSpec::new(subscription.group.clone(), Vec::new());
            group.ordered = subscription.routes.iter().any(|route| route.ordered);
            for topic in &subscription.topics {
                let mut spec = TopicSpec::new(place(topic, &subscription.group));
                spec.partitions = partitions.iter().find(|(other, _)| other == topic).map(|(_, count)| *count);
                group.topics.push(spec.name.clone());
                topology.topics.push(spec);
            }
            topology.groups.push(group);
        }
        topology
    }

    /// Starts it.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing has been started; topics and groups may have been created.
    ///
    /// # Errors
    /// What the broker says while topics and groups are made.
    pub async fn start(self) -> Result<AppHandle, Error> {
        let report = self.broker.ensure(&self.topics_and_groups(), EnsureMode::Create).await?;
        self.broker.ensure(&self.places(&report.partitions), EnsureMode::Create).await?;
        if self.app.settings.show_table {
            print_table(&self.table);
        }
        let Self { app, plan, broker, .. } = self;
        let sink = Arc::new(Sink::new(Arc::clone(&broker), &app.name, app.settings.publish_within));
        let publisher = Publisher::new(Arc::<Sink>::clone(&sink));
        let turns = Arc::new(watch::Sender::new(0));
        let ends = Arc::new(watch::Sender::new(0));
        let shared = Shared {
            name: Arc::from(&*app.name),
            state: Arc::new(app.state),
            publisher: publisher.clone(),
            broker: Arc::clone(&broker),
            turns,
            ends,
        };
        let mut bound = Vec::new();
        let mut tasks = Vec::new();
        for subscription in &plan.subscriptions {
            let (one, driver) = bind(subscription, &shared, &app.layers, &app.settings, &app.observers);
            tasks.push(tokio::spawn(crate::driver::run(driver)));
            bound.push(one);
        }
        let inner = Inner {
            broker,
            sink,
            publisher,
            bound,
            tasks: tokio::sync::Mutex::new(tasks),
            turns: shared.turns,
            ends: shared.ends,
            settings: app.settings,
            aborted: std::sync::atomic::AtomicBool::new(false),
        };
        Ok(AppHandle::new(inner))
    }
}

#[allow(clippy::print_stderr, reason = "the table is for whoever starts the program; stdout belongs to the program")]
fn print_table(table: &str) {
    eprint!("{table}");
}

fn told(app: &str, problems: &Problems) -> String {
    let count = problems.len();
    let mut text = format!(
        "the application `{app}` cannot start; {} to be mended:",
        if count == 1 { "one thing is".to_owned() } else { format!("{count} things are") }
    );
    for (i, problem) in problems.iter().enumerate() {
        text.push_str(&format!("\n  {}. {problem}", i + 1));
    }
    text
}

struct Shared {
    name: Arc<str>,
    state: Arc<convoke_core::StateMap>,
    publisher: Publisher,
    broker: Arc<dyn Broker>,
    turns: Arc<watch::Sender<u64>>,
    ends: Arc<watch::Sender<usize>>,
}

fn bind(
    subscription: &PlannedSubscription,
    shared: &Shared,
    layers: &[(Scope, super::Wrap)],
    settings: &Settings,
    observers: &[Arc<dyn crate::observe::Observer>],
) -> (Bound, Driver) {
    let capabilities = shared.broker.capabilities();
    let engine = Engine::new(config(subscription, capabilities, settings));
    let mut services = Vec::new();
    let mut routes = Vec::new();
    for route in &subscription.routes {
        services.push(layered(route, &subscription.group, layers));
        let context = HandlerContext {
            handler: route.handler.name.into(),
            group: subscription.group.as_str().into(),
            app: shared.name.as_ref().into(),
            state: Arc::clone(&shared.state),
            publisher: shared.publisher.clone(),
        };
        routes.push(RouteRunner {
            context: Arc::new(context),
            event: route.event,
            wire_type: route.event.map(convoke_core::EventDef::type_name_on_wire).unwrap_or_default(),
            matches: route.handler.options.matches,
            topic: route.topic.clone(),
            place: place(&route.topic, &subscription.group),
            ordered: route.ordered,
            dead: route.dead.clone(),
            timeout: route.handler.options.timeout,
            counters: Arc::new(Counters::default()),
        });
    }
    let mut core = Core::new(engine, routes, Arc::clone(&shared.name), settings.unknown, capabilities.max_message);
    core.observers = observers.to_vec();
    core.lease = lease(capabilities);
    let remote = Arc::new(Remote::new(core, Arc::clone(&shared.turns), Arc::clone(&shared.ends)));
    // Partitions of a topic and of the group's place for it go to the same owner, so that a key is in one lane wherever it is.
    let places = subscription.topics.iter().map(|topic| place(topic, &subscription.group));
    let topics: Vec<Topic> = subscription.topics.iter().cloned().chain(places).collect();
    let mut spec = SubscribeSpec::new(subscription.group.clone(), topics.clone());
    spec.start = subscription.start;
    spec.ordered = subscription.routes.iter().any(|route| route.ordered);
    let driver = Driver::new(Arc::clone(&remote), Arc::clone(&shared.broker), spec, services);
    let names = subscription.routes.iter().map(|route| route.handler.name).collect();
    (Bound { remote, group: subscription.group.clone(), topics, handlers: names }, driver)
}

/// A group's own place for messages of a topic that come again.
fn place(topic: &Topic, group: &str) -> Topic {
    names::retry_topic(topic.as_str(), group).into()
}

/// The handler with its layers: the application's outermost, then its group's, then its own.
fn layered(route: &PlannedRoute, group: &str, layers: &[(Scope, super::Wrap)]) -> convoke_core::BoxHandler {
    let scopes = [Scope::Handler(route.handler.name.to_owned()), Scope::Group(group.to_owned()), Scope::App];
    let inside_out = scopes.iter().flat_map(|scope| layers.iter().rev().filter(move |(other, _)| other == scope));
    inside_out.fold((route.handler.service)(), |handler, (_, wrap)| wrap(handler))
}

fn lease(capabilities: &Capabilities) -> Option<Duration> {
    match capabilities.lease {
        LeaseKind::Extendable(term) => Some(term),
        _ => None,
    }
}

fn config(subscription: &PlannedSubscription, capabilities: &Capabilities, settings: &Settings) -> Config {
    let route = |route: &PlannedRoute| Route {
        concurrency: route.handler.options.concurrency.max(1),
        retry: route.handler.options.retry,
        on_retry: route.handler.options.on_retry,
        timeout: route.handler.options.timeout,
        batch: route.handler.options.batch,
    };
    // A broker that has no delay of its own is waited for in this process, until there is a place for retries.
    let delay = match capabilities.delay {
        convoke_core::broker::Delay::Republish => convoke_core::broker::Delay::InPlace,
        delay => delay,
    };
    Config {
        settle: capabilities.settle,
        delay,
        lease: lease(capabilities),
        marks: capabilities.marks,
        deaths: settings.deaths,
        messages: settings.messages.max(1),
        bytes: settings.bytes.max(1),
        backlog: (settings.messages / 4).max(1),
        ahead: settings.messages.saturating_mul(8).max(1024),
        commit_every: Duration::from_millis(200),
        in_process: Duration::from_secs(5),
        probe: (Duration::from_secs(1), Duration::from_secs(30)),
        repair: (Duration::from_millis(100), Duration::from_secs(10)),
        shards: 1,
        seed: std::process::id().into(),
        routes: subscription.routes.iter().map(route).collect(),
    }
}
