//! From an application that was found in order to a running one: its handlers are bound to drivers.

use std::sync::Arc;

use convoke_core::broker::{Broker, Capabilities, EnsureMode, LeaseKind, SubscribeSpec};
use convoke_core::{Claims, Error, HandlerContext, Publisher, Topic};
use convoke_engine::{Config, Engine, Route};
use std::time::Duration;
use tokio::sync::watch;

use super::deploy::Names;
use super::handle::{AppHandle, Bound, Inner};
use super::plan::{self, Plan, PlannedRoute, PlannedSubscription};
use super::topology::place;
use super::{App, Scope, Settings};
use crate::driver::{Core, Counters, Driver, Remote, RouteRunner};
use crate::publisher::{Outward, Sink};

/// An application that was found in order.
#[must_use = "an application does nothing until `start`"]
pub struct ReadyApp {
    pub(super) app: App,
    pub(super) plan: Plan,
    pub(super) names: Names,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) table: String,
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

    /// Starts it.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing has been started; topics and groups may have been created.
    ///
    /// # Errors
    /// What the broker says while topics and groups are made.
    pub async fn start(self) -> Result<AppHandle, Error> {
        let report = self.broker.ensure(&self.topics_and_groups(), EnsureMode::Create).await?;
        plan::check_partitions(&self.plan, &report.partitions)?;
        self.broker.ensure(&self.places(&report.partitions), EnsureMode::Create).await?;
        if self.app.settings.show_table {
            print_table(&self.table);
        }
        let Self { app, plan, broker, names, .. } = self;
        let outward = Arc::new(Outward::new(&app.name, names));
        let sink = Arc::new(Sink::new(Arc::clone(&broker), Arc::clone(&outward), app.settings.publish_within));
        let publisher = Publisher::new(Arc::<Sink>::clone(&sink));
        let turns = Arc::new(watch::Sender::new(0));
        let ends = Arc::new(watch::Sender::new(0));
        let shared = Shared {
            name: Arc::from(&*app.name),
            state: Arc::new(app.state),
            outward: Arc::clone(&outward),
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
            outward,
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

struct Shared {
    name: Arc<str>,
    state: Arc<convoke_core::StateMap>,
    outward: Arc<Outward>,
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
    let claims: Arc<Claims> = Arc::default();
    let mut routes = Vec::new();
    for route in &subscription.routes {
        services.push(layered(route, layers));
        let context = HandlerContext {
            handler: route.handler.name.into(),
            group: subscription.group.as_str().into(),
            app: shared.name.as_ref().into(),
            state: Arc::clone(&shared.state),
            publisher: shared.publisher.clone(),
            claims: Arc::clone(&claims),
        };
        routes.push(RouteRunner {
            context: Arc::new(context),
            event: route.event,
            wire_type: route.event.map(convoke_core::EventDef::type_name_on_wire).unwrap_or_default(),
            matches: route.handler.options.matches,
            sources: route.sources.clone(),
            ordered: route.ordered,
            timeout: route.options.timeout,
            counters: Arc::new(Counters::default()),
        });
    }
    let mut core =
        Core::new(engine, routes, Arc::clone(&shared.outward), settings.unknown, capabilities.max_message, Arc::clone(&claims));
    core.observers = observers.to_vec();
    core.lease = lease(capabilities);
    let remote = Arc::new(Remote::new(core, Arc::clone(&shared.turns), Arc::clone(&shared.ends)));
    claims.wake(remote.waker());
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

/// The handler with its layers: the application's outermost, then its group's, then its own.
fn layered(route: &PlannedRoute, layers: &[(Scope, super::Wrap)]) -> convoke_core::BoxHandler {
    let scopes = [Scope::Handler(route.handler.name.to_owned()), Scope::Group(route.written_group.clone()), Scope::App];
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
        concurrency: route.options.concurrency.max(1),
        retry: route.options.retry,
        on_retry: route.options.on_retry,
        timeout: route.options.timeout,
        batch: route.options.batch,
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
        progress: capabilities.progress,
        commit_every: Duration::from_millis(200),
        in_process: Duration::from_secs(5),
        probe: (Duration::from_secs(1), Duration::from_secs(30)),
        repair: (Duration::from_millis(100), Duration::from_secs(10)),
        shards: 1,
        seed: std::process::id().into(),
        routes: subscription.routes.iter().map(route).collect(),
    }
}
