//! Binds what was planned to drivers, and lets them run.

use std::sync::Arc;
use std::time::Duration;

use convoke_core::broker::{Capabilities, Delay, LeaseKind, Subscription};
use convoke_core::{
    BoxHandler, Claims, Error, ErrorKind, EventDef, HandlerContext, HandlerDef, Publisher, Registry, StateMap, TopicPattern,
};
use convoke_engine::{Config, Engine, Route};
use tokio::sync::watch;

use super::bound::Bound;
use super::brokers::{BrokerNames, Named};
use super::deploy::Deployment;
use super::plan::{self, AtRunTime, Given, IN_PROCESS, Plan, PlannedRoute, PlannedSubscription, Problems};
use super::{Scope, Settings, Wrap};
use crate::driver::{self, Core, Counters, Driver, Remote, RouteRunner};
use crate::observe::Observer;
use crate::publisher::Outward;

/// What all subscriptions of an application have in common.
pub(super) struct Binder {
    pub(super) app: Arc<str>,
    /// What is known of handlers, for those that are bound at run time.
    pub(super) registry: Registry,
    pub(super) deployment: Deployment,
    pub(super) state: Arc<StateMap>,
    pub(super) outward: Arc<Outward>,
    pub(super) publisher: Publisher,
    pub(super) brokers: Vec<Named>,
    pub(super) layers: Vec<(Scope, Wrap)>,
    pub(super) settings: Settings,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    /// Counts turns of drivers in which something happened.
    pub(super) turns: Arc<watch::Sender<u64>>,
    /// Counts drivers that have ended.
    pub(super) ends: Arc<watch::Sender<usize>>,
}

impl Binder {
    /// A handler of the program.
    pub(super) fn handler(&self, name: &str) -> Result<&'static HandlerDef, Error> {
        let known = &self.registry.handlers;
        known.iter().find(|handler| handler.name == name).copied().ok_or_else(|| {
            let names: Vec<_> = known.iter().map(|handler| handler.name).collect();
            Error::new(ErrorKind::NotFound, format!("no handler is named `{name}`; there are {}", names.join(", ")))
        })
    }

    /// The plan of a handler that is bound at run time.
    pub(super) fn plan_one(
        &self,
        handler: &'static HandlerDef,
        at: AtRunTime<'_>,
        until_end: bool,
        problems: &mut Problems,
    ) -> Plan {
        let given = Given {
            app: &self.app,
            registry: &self.registry,
            handlers: &[],
            state: &self.state,
            starts: &[],
            deployment: &self.deployment,
            names: self.outward.names(),
            brokers: &BrokerNames::of_all(&self.brokers),
            at_run_time: Some(at),
        };
        let mut plan = plan::plan_one(given, handler, problems);
        for subscription in &mut plan.subscriptions {
            subscription.until_end = until_end;
            subscription.make_tiers(self.brokers[subscription.broker].broker.capabilities());
        }
        let capabilities: Vec<_> = self.brokers.iter().map(|one| Some(one.broker.capabilities())).collect();
        plan::check_capabilities(&plan, &capabilities, problems);
        plan::check_native(&plan, &self.brokers.iter().map(|one| Some(&*one.broker)).collect::<Vec<_>>(), problems);
        plan
    }

    /// Opens a subscription ahead of its driver, where it counts from which moment it reads.
    pub(super) async fn open(&self, subscription: &PlannedSubscription) -> Result<Subscription, Error> {
        self.brokers[subscription.broker].broker.subscribe(subscription.spec()).await
    }

    /// Makes the driver of a subscription and lets it run.
    pub(super) fn bind(&self, subscription: &PlannedSubscription, opened: Option<Subscription>) -> Bound {
        let broker = &self.brokers[subscription.broker].broker;
        let capabilities = broker.capabilities();
        let services = subscription.routes.iter().map(|route| self.layered(route)).collect();
        let claims: Arc<Claims> = Arc::default();
        let routes = subscription.routes.iter().map(|route| self.runner(route, subscription, &claims)).collect();
        let engine = Engine::new(self.config(subscription));
        let (outward, unknown, max_message) = (Arc::clone(&self.outward), self.settings.unknown, capabilities.max_message);
        let mut core = Core::new(engine, routes, outward, unknown, max_message, Arc::clone(&claims));
        core.observers.clone_from(&self.observers);
        core.lease = lease(capabilities);
        core.home = subscription.broker;
        core.on_gap = self.settings.on_gap;
        core.drain_within = self.settings.drain_within;
        let remote = Arc::new(Remote::new(core, Arc::clone(&self.turns), Arc::clone(&self.ends)));
        claims.wake(remote.waker());
        let spec = subscription.spec();
        let topics = spec.topics.clone();
        let driver = Driver::new(Arc::clone(&remote), Arc::clone(broker), spec, services, opened);
        Bound::new(remote, subscription, topics, tokio::spawn(driver::run(driver)))
    }

    fn runner(&self, route: &PlannedRoute, subscription: &PlannedSubscription, claims: &Arc<Claims>) -> RouteRunner {
        let context = HandlerContext {
            handler: route.handler.name.into(),
            group: subscription.group.as_str().into(),
            app: self.app.as_ref().into(),
            state: Arc::clone(&self.state),
            publisher: self.publisher.clone(),
            claims: Arc::clone(claims),
            patterns: patterns(route),
        };
        RouteRunner {
            context: Arc::new(context),
            event: route.event,
            wire_type: route.event.map(EventDef::type_name_on_wire).unwrap_or_default(),
            matches: route.handler.options.matches,
            sources: route.sources.clone(),
            ordered: route.ordered,
            timeout: route.options.timeout,
            counters: Arc::new(Counters::default()),
        }
    }

    /// The handler with its layers: the application's outermost, then its group's, then its own.
    fn layered(&self, route: &PlannedRoute) -> BoxHandler {
        let scopes = [
            #[cfg(feature = "testkit")]
            Scope::Innermost,
            Scope::Handler(route.handler.name.to_owned()),
            Scope::Group(route.written_group.clone()),
            Scope::App,
        ];
        let inside_out = scopes.iter().flat_map(|scope| self.layers.iter().rev().filter(move |(other, _)| other == scope));
        inside_out.fold((route.handler.service)(), |handler, (_, wrap)| wrap(handler))
    }

    fn config(&self, subscription: &PlannedSubscription) -> Config {
        let (capabilities, settings) = (self.brokers[subscription.broker].broker.capabilities(), &self.settings);
        let route = |route: &PlannedRoute| Route {
            concurrency: route.options.concurrency.max(1),
            retry: route.options.retry,
            on_retry: route.options.on_retry,
            timeout: route.options.timeout,
            batch: route.options.batch,
        };
        let delay = match capabilities.delay {
            // What is published to the group's place lies behind the mark: before the end it is waited for here, on every broker.
            Delay::Republish if subscription.until_end => Delay::InPlace,
            // What is given to a broadcast's place would outlive nothing: it is waited for here.
            _ if subscription.broadcast => Delay::InPlace,
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
            in_process: IN_PROCESS,
            probe: (Duration::from_secs(1), Duration::from_secs(30)),
            repair: (Duration::from_millis(100), Duration::from_secs(10)),
            shards: 1,
            seed: std::process::id().into(),
            routes: subscription.routes.iter().map(route).collect(),
        }
    }
}

/// The topics with parameters that a handler reads, and that of its event.
fn patterns(route: &PlannedRoute) -> Box<[TopicPattern]> {
    let event = route.event.map(|event| event.topic);
    route.written_topics.iter().map(String::as_str).chain(event).filter_map(TopicPattern::new).collect()
}

fn lease(capabilities: &Capabilities) -> Option<Duration> {
    match capabilities.lease {
        LeaseKind::Extendable(term) => Some(term),
        _ => None,
    }
}
