//! The plan: which handler reads what, for which group, with which options. Made from the registry, checked as a whole.

mod capabilities;
mod cycles;
mod events;
mod handlers;
mod native;
mod shared;
mod subscriptions;
mod waiting;

use convoke_core::broker::Start;
use convoke_core::few::Few;
use convoke_core::{EventDef, GenericDef, HandlerDef, HandlerOptions, Registry, StateMap, Topic, TopicPattern};

use super::brokers::BrokerNames;
use super::deploy::{Deployment, Names};
pub(crate) use capabilities::check_capabilities;
use cycles::cycles;
pub(crate) use events::is_plain;
use events::{check_events, is_readable};
pub(crate) use handlers::group_of;
use handlers::{check_names, not_yet, route};
pub(crate) use native::check_native;
use shared::{check_lanes_apart, check_shared};
pub(crate) use subscriptions::check_partitions;
pub(crate) use waiting::IN_PROCESS;

use crate::driver::Source;

/// One subscription: handlers of one group that share topics, or a lane.
#[derive(Debug)]
pub(crate) struct PlannedSubscription {
    /// The number of the broker that it is on.
    pub(crate) broker: usize,
    pub(crate) group: String,
    pub(crate) lane: Option<&'static str>,
    pub(crate) topics: Vec<Topic>,
    pub(crate) start: Start,
    /// Whether each instance gets every message.
    pub(crate) broadcast: bool,
    /// Whether it ends where its topics end when it begins.
    pub(crate) until_end: bool,
    pub(crate) routes: Vec<PlannedRoute>,
}

/// One handler's part of a subscription.
#[derive(Debug, Clone)]
pub(crate) struct PlannedRoute {
    pub(crate) handler: &'static HandlerDef,
    /// Its options in this deployment: what the attribute says, unless the deployment says otherwise.
    pub(crate) options: HandlerOptions,
    /// The group as the program names it: what layers go by.
    pub(crate) written_group: String,
    /// The topics, likewise, in the order of `sources`.
    pub(crate) written_topics: Vec<String>,
    /// `None` for a handler that takes whole messages, whatever they are.
    pub(crate) event: Option<&'static EventDef>,
    /// The number of the broker that it reads from.
    pub(crate) broker: usize,
    /// What it reads: one topic or several.
    pub(crate) sources: Vec<Source>,
    pub(crate) start: Start,
    pub(crate) ordered: bool,
    /// Whether the deployment names the dead-letter topic, and where it says that a new group begins.
    pub(crate) dead_configured: bool,
    pub(crate) start_configured: Option<&'static str>,
    /// Where what it returns is published.
    pub(crate) outputs: Vec<(usize, Topic)>,
}

impl PlannedRoute {
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.sources.iter().map(|source| &source.topic)
    }

    fn reads(&self, topic: &Topic) -> bool {
        self.topics().any(|other| TopicPattern::overlap(other.as_str(), topic.as_str()))
    }
}

/// The whole application.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) subscriptions: Vec<PlannedSubscription>,
    /// Every topic that is read or written, dead-letter topics included, each with the number of its broker.
    pub(crate) topics: Few<(usize, Topic)>,
    /// The events, each with the number of its broker and its topic, unless that has parameters.
    pub(crate) events: Vec<(usize, Topic, &'static EventDef)>,
    pub(crate) warnings: Vec<String>,
}

impl Plan {
    /// The handlers' parts of all subscriptions.
    pub(crate) fn routes(&self) -> Vec<&PlannedRoute> {
        self.subscriptions.iter().flat_map(|subscription| &subscription.routes).collect()
    }
}

/// What is wrong with an application, each a whole paragraph.
pub(crate) type Problems = Vec<String>;

/// What a plan is made from.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) app: &'a str,
    pub(crate) registry: &'a Registry,
    /// The handlers that take part.
    pub(crate) handlers: &'a [&'static HandlerDef],
    pub(crate) state: &'a StateMap,
    /// Where groups begin, by the program's own word.
    pub(crate) starts: &'a [(String, Start)],
    pub(crate) deployment: &'a Deployment,
    pub(crate) names: &'a Names,
    pub(crate) brokers: &'a BrokerNames,
    /// What is named at run time, in place of what the handler says.
    pub(crate) at_run_time: Option<AtRunTime<'a>>,
}

/// Where a handler is to read that is bound at run time.
#[derive(Clone, Copy)]
pub(crate) struct AtRunTime<'a> {
    pub(crate) topic: &'a str,
    pub(crate) group: Option<&'a str>,
    pub(crate) start: Option<Start>,
}

/// Binds handlers to groups and topics. What is wrong is added to `problems`; the plan is then only good for reading.
pub(crate) fn plan(given: Given<'_>, problems: &mut Problems) -> Plan {
    let Given { registry, handlers, names, brokers, .. } = given;
    let mut plan = Plan::default();
    check_events(&registry.events, names, brokers, problems);
    check_names(handlers, problems);
    for handler in handlers {
        add(&mut plan, given, handler, problems);
    }
    subscriptions::sort(&mut plan.subscriptions);
    plan.subscriptions.iter().for_each(|subscription| check_shared(subscription, problems));
    let plain = registry.events.iter().filter(|event| is_plain(event.topic));
    plan.events = plain.filter_map(|event| Some((brokers.of(event).ok()?, names.topic(event.topic), *event))).collect();
    plan.topics.extend(plan.events.iter().map(|(broker, topic, _)| (*broker, topic.clone())));
    check_lanes_apart(&plan, problems);
    plan.warnings = cycles(&plan);
    plan.warnings.extend(without_types(registry));
    plan
}

/// Handlers with type parameters that are not registered with any types.
fn without_types(registry: &Registry) -> impl Iterator<Item = String> + '_ {
    let registered = |generic: &GenericDef| registry.handlers.iter().any(|handler| handler.location == generic.location);
    registry.generics.iter().filter(move |generic| !registered(generic)).map(|GenericDef { name, location, .. }| {
        format!(
            "the handler `{name}` ({location}) has type parameters and is not called: `.register_all(handlers![{name}::<…>])`"
        )
    })
}

/// The state that there is: the type may have been meant that is in an `Arc`, or not.
fn there_is(state: &StateMap) -> String {
    let names: Few<_> = state.names().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { String::new() } else { format!(" (it has {})", names.join(", ")) }
}

/// Adds one handler.
fn add(plan: &mut Plan, given: Given<'_>, handler: &'static HandlerDef, problems: &mut Problems) {
    let signature = handler.signature();
    not_yet(handler, problems);
    for missing in signature.states.iter().filter(|state_type| !given.state.contains(state_type.id)) {
        problems.push(format!(
            "handler `{}` ({}) takes `State<{}>`, but the application has no such state{}; add `.state(…)` with a value of that type",
            handler.name,
            handler.location,
            missing.name,
            there_is(given.state)
        ));
    }
    let Some((group, route)) = route(given, handler, &signature, problems) else { return };
    let read = route.sources.iter().flat_map(|source| [source.topic.clone(), source.dead.clone()]);
    plan.topics.extend(read.map(|topic| (route.broker, topic)));
    plan.topics.extend(route.outputs.iter().cloned());
    plan.topics.retain(|(_, topic)| is_plain(topic.as_str()));
    subscriptions::place_route(&mut plan.subscriptions, group, route);
}

/// The plan of one handler that is bound at run time.
pub(crate) fn plan_one(given: Given<'_>, handler: &'static HandlerDef, problems: &mut Problems) -> Plan {
    let mut plan = Plan::default();
    if handler.options.lane.is_some() {
        problems.push(format!(
            "handler `{}` ({}) has a `lane`, which is shared by handlers that are bound when the application starts; drop it",
            handler.name, handler.location
        ));
    }
    add(&mut plan, given, handler, problems);
    plan
}
