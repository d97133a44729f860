//! The plan: which handler reads what, for which group, with which options. Made from the registry, checked as a whole.

mod capabilities;
mod cycles;
mod events;
mod handlers;
mod shared;

use std::collections::{BTreeMap, BTreeSet};

use convoke_core::broker::Start;
use convoke_core::{EventDef, HandlerDef, Registry, StateMap, Topic};

pub(crate) use capabilities::check_capabilities;
use cycles::cycles;
use events::{check_events, is_plain};
use handlers::{check_names, group_of, not_yet, route};
use shared::{check_lanes_apart, check_shared};

/// One subscription: handlers of one group that read one topic, or that share a lane.
#[derive(Debug)]
pub(crate) struct PlannedSubscription {
    pub(crate) group: String,
    pub(crate) topics: Vec<Topic>,
    pub(crate) start: Start,
    pub(crate) routes: Vec<PlannedRoute>,
}

/// One handler's part of a subscription.
#[derive(Debug, Clone)]
pub(crate) struct PlannedRoute {
    pub(crate) handler: &'static HandlerDef,
    /// `None` for a handler that takes whole messages, whatever they are.
    pub(crate) event: Option<&'static EventDef>,
    pub(crate) topic: Topic,
    pub(crate) ordered: bool,
    pub(crate) dead: Topic,
    pub(crate) outputs: Vec<&'static EventDef>,
}

/// The whole application.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) subscriptions: Vec<PlannedSubscription>,
    /// Every topic that is read or written, dead-letter topics included.
    pub(crate) topics: BTreeSet<Topic>,
    pub(crate) warnings: Vec<String>,
}

/// What is wrong with an application, each a whole paragraph.
pub(crate) type Problems = Vec<String>;

/// Binds handlers to groups and topics. What is wrong is added to `problems`; the plan is then only good for reading.
pub(crate) fn plan(
    app: &str,
    registry: &Registry,
    handlers: &[&'static HandlerDef],
    state: &StateMap,
    starts: &[(String, Start)],
    problems: &mut Problems,
) -> Plan {
    let mut plan = Plan::default();
    check_events(&registry.events, problems);
    check_names(handlers, problems);
    let mut subscriptions: BTreeMap<(String, String), PlannedSubscription> = BTreeMap::new();
    for handler in handlers {
        let signature = handler.signature();
        not_yet(handler, problems);
        for missing in signature.states.iter().filter(|state_type| !state.contains(state_type.id)) {
            problems.push(format!(
                "handler `{}` ({}) takes `State<{}>`, but the application has no such state; add `.state(…)` with a value of that type",
                handler.name, handler.location, missing.name
            ));
        }
        let Some(route) = route(app, handler, &signature, problems) else { continue };
        let group = group_of(app, handler);
        let overridden = starts.iter().rev().find(|(name, _)| name == handler.name);
        let start = overridden.map_or_else(|| handler.options.start.into(), |(_, start)| *start);
        plan.topics.insert(route.topic.clone());
        plan.topics.insert(route.dead.clone());
        plan.topics.extend(route.outputs.iter().map(|event| Topic::from(event.topic)));
        let place = handler.options.lane.map_or_else(|| format!("topic {}", route.topic), |lane| format!("lane {lane}"));
        let subscription = subscriptions.entry((group.clone(), place)).or_insert_with(|| PlannedSubscription {
            group,
            topics: Vec::new(),
            start,
            routes: Vec::new(),
        });
        if !subscription.topics.contains(&route.topic) {
            subscription.topics.push(route.topic.clone());
        }
        check_shared(subscription, &route, start, problems);
        subscription.routes.push(route);
    }
    plan.topics.extend(registry.events.iter().filter(|event| is_plain(event.topic)).map(|event| Topic::from(event.topic)));
    plan.subscriptions = subscriptions.into_values().collect();
    check_lanes_apart(&plan, problems);
    plan.warnings = cycles(&plan);
    plan
}
