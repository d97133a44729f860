//! The plan: which handler reads what, for which group, with which options. Made from the registry, checked as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use convoke_core::broker::{Capabilities, LeaseKind, Ordering, Start};
use convoke_core::{EventDef, HandlerDef, Order, Registry, Signature, StateMap, Topic};

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

/// The longest delay that a retry may hold its key for.
const MAX_HOLD: Duration = Duration::from_secs(15 * 60);

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

/// The group's name.
pub(crate) fn group_of(app: &str, handler: &HandlerDef) -> String {
    handler.options.group.map_or_else(|| format!("{app}.{}", handler.name), str::to_owned)
}

fn route(app: &str, handler: &'static HandlerDef, signature: &Signature, problems: &mut Problems) -> Option<PlannedRoute> {
    let at = format!("handler `{}` ({})", handler.name, handler.location);
    let event = match signature.inputs.as_slice() {
        [event] => Some(*event),
        [] if signature.whole => None,
        [] => {
            problems.push(format!("{at} takes no event; give it one by value, or `Message` and a `topic` of its own"));
            return None;
        }
        several => {
            let names: Vec<_> = several.iter().map(|event| (event.type_name)()).collect();
            problems.push(format!("{at} takes {} events ({}); a handler takes one", several.len(), names.join(", ")));
            return None;
        }
    };
    let topic = match (handler.options.topics, event) {
        ([], Some(event)) => event.topic,
        ([topic, ..], _) => topic,
        ([], None) => {
            problems.push(format!("{at} takes `Message`, so it must say what it reads: `#[handler(topic = \"…\")]`"));
            return None;
        }
    };
    if !is_plain(topic) {
        problems
            .push(format!("{at} reads `{topic}`; topics with a parameter and patterns are not supported yet: name one topic"));
        return None;
    }
    if signature.batch && handler.options.batch.is_none() {
        problems.push(format!("{at} takes a `Batch`, but does not say how large; add `batch(size = 100, wait = \"50ms\")`"));
    }
    if !signature.batch && handler.options.batch.is_some() {
        // It would be called with the first message of each batch, and answer for all.
        problems.push(format!("{at} has `batch(…)`, but takes a single message; take `Batch<…>`, or leave `batch` out"));
    }
    if handler.options.batch.is_some_and(|batch| batch.size == 0) {
        problems.push(format!("{at} asks for a batch of 0 messages; it has at least 1"));
    }
    for output in signature.outputs.iter().filter(|output| !is_plain(output.topic)) {
        problems.push(format!(
            "{at} returns `{}` ({}), whose topic `{}` has a parameter: that is not supported yet; publish it with `Publisher` and \
             `.topic(…)`",
            output.name, output.location, output.topic
        ));
    }
    let keyed = event.is_some_and(|event| event.keyed);
    if handler.options.order == Some(Order::Key) && event.is_some() && !keyed {
        let name = event.map_or("", |event| event.name);
        problems.push(format!("{at} has `order = key`, but the event `{name}` has no key; add `key = …` to its `#[event]`"));
    }
    let retry = handler.options.retry;
    if retry.max > MAX_HOLD && handler.options.on_retry == convoke_core::OnRetry::Hold {
        problems.push(format!(
            "{at} would hold a key for up to {:?} between two attempts; at most {MAX_HOLD:?} is allowed: shorten `backoff`, or let others \
             pass with `on_retry = pass`",
            retry.max
        ));
    }
    let group = group_of(app, handler);
    let dead = handler.options.dead_letter.map_or_else(|| Topic::from(format!("{topic}.{group}.dead")), Topic::from);
    if dead.as_str() == topic {
        problems.push(format!(
            "{at} sends its dead letters to `{topic}`, which it reads: they would come back for ever; name another"
        ));
    }
    Some(PlannedRoute {
        handler,
        event,
        topic: topic.into(),
        ordered: handler.options.order.map_or(keyed, |order| order == Order::Key),
        dead,
        outputs: signature.outputs.clone(),
    })
}

/// Slots that exist and do not work yet: refused, never ignored.
fn not_yet(handler: &HandlerDef, problems: &mut Problems) {
    let options = &handler.options;
    let asked = [
        (
            options.topics.len() > 1,
            "several topics on one handler",
            "write one handler for each topic, with a shared `lane` if order matters",
        ),
        (options.matches.is_some(), "`match(…)`", "look at the header in the handler, or use a filter layer"),
        (options.broadcast, "`broadcast`", "give each instance a `group` of its own"),
        (options.transaction, "`transaction`", "make the handler idempotent: what it returns has the same id on every attempt"),
        (options.broker.is_some(), "`broker = …`: several brokers in an application", "run one application for each broker"),
    ];
    for (_, what, instead) in asked.iter().filter(|(asked, ..)| *asked) {
        problems.push(format!(
            "handler `{}` ({}) asks for {what}, which is not supported yet; {instead}",
            handler.name, handler.location
        ));
    }
}

fn is_plain(topic: &str) -> bool {
    !topic.contains(['{', '}', '*', '>', '#'])
}

/// Names are unique per topic, types and codecs too.
fn check_events(events: &[&'static EventDef], problems: &mut Problems) {
    for (i, event) in events.iter().enumerate() {
        for other in &events[..i] {
            let places = || format!("{} and {}", other.location, event.location);
            if (event.name, event.version) == (other.name, other.version) {
                problems.push(format!(
                    "two events are named `{}` in version {} ({}); give one of them another `name` or `version`",
                    event.name,
                    event.version,
                    places()
                ));
            } else if event.topic == other.topic && event.bare && other.bare {
                problems.push(format!(
                    "two bare events share the topic `{}` ({}), where nothing tells them apart; at most one may be `bare`",
                    event.topic,
                    places()
                ));
            } else if event.topic == other.topic && event.codec != other.codec && (event.bare || other.bare) {
                problems.push(format!(
                    "the topic `{}` carries {} and {} ({}), and bare messages say nothing of their format; use one codec",
                    event.topic,
                    other.codec,
                    event.codec,
                    places()
                ));
            }
        }
    }
}

/// Handlers' names are unique: groups, dead-letter topics and controls go by them.
fn check_names(handlers: &[&'static HandlerDef], problems: &mut Problems) {
    for (i, handler) in handlers.iter().enumerate() {
        if let Some(other) = handlers[..i].iter().find(|other| other.name == handler.name) {
            problems.push(format!(
                "two handlers are named `{}` ({} and {}); give one of them another `name`",
                handler.name, other.location, handler.location
            ));
        }
    }
}

/// Handlers that share a subscription must not want the same messages.
fn check_shared(subscription: &PlannedSubscription, route: &PlannedRoute, start: Start, problems: &mut Problems) {
    let handler = route.handler;
    for other in &subscription.routes {
        let places =
            || format!("`{}` ({}) and `{}` ({})", other.handler.name, other.handler.location, handler.name, handler.location);
        let same_event = match (other.event, route.event) {
            (Some(a), Some(b)) => (a.name, a.version) == (b.name, b.version),
            _ => true,
        };
        if other.topic == route.topic && same_event {
            problems.push(format!(
                "handlers {} read the same events of `{}` in the group `{}`, and would each get only some; give each a group of its own",
                places(),
                route.topic,
                subscription.group
            ));
        }
    }
    if subscription.start != start {
        problems.push(format!(
            "handler `{}` ({}) starts elsewhere than the others of its group `{}` on the same place; say the same `start` on all",
            handler.name, handler.location, subscription.group
        ));
    }
}

/// A topic that a group reads by a lane is not read by the same group without it: both would get only some.
fn check_lanes_apart(plan: &Plan, problems: &mut Problems) {
    for (i, a) in plan.subscriptions.iter().enumerate() {
        for b in &plan.subscriptions[..i] {
            if let Some(topic) = a.topics.iter().find(|topic| a.group == b.group && b.topics.contains(topic)) {
                let names = |s: &PlannedSubscription| s.routes.iter().map(|r| r.handler.name).collect::<Vec<_>>().join(", ");
                problems.push(format!(
                    "the group `{}` reads `{topic}` in two ways: by {} and by {}; name the same `lane` on all of them, or none",
                    a.group,
                    names(b),
                    names(a)
                ));
            }
        }
    }
}

/// Events that lead back to themselves can loop for ever: a warning, since a counter in the payload may end it.
fn cycles(plan: &Plan) -> Vec<String> {
    let routes: Vec<_> = plan.subscriptions.iter().flat_map(|subscription| &subscription.routes).collect();
    let next = |topic: &Topic| -> Vec<Topic> {
        let reading = routes.iter().filter(|route| route.topic == *topic);
        reading.flat_map(|route| route.outputs.iter().map(|event| Topic::from(event.topic))).collect()
    };
    let mut warnings = Vec::new();
    for start in routes.iter().map(|route| &route.topic).collect::<BTreeSet<_>>() {
        let mut seen = BTreeSet::new();
        let mut todo = next(start);
        while let Some(topic) = todo.pop() {
            if topic == *start {
                warnings.push(format!("events of `{start}` lead to events of `{start}`: make sure that this ends"));
                break;
            }
            if seen.insert(topic.clone()) {
                todo.extend(next(&topic));
            }
        }
    }
    warnings
}

/// What the application asks for and the broker lacks.
pub(crate) fn check_capabilities(plan: &Plan, capabilities: &Capabilities, problems: &mut Problems) {
    let broker = capabilities.name;
    let routes =
        plan.subscriptions.iter().flat_map(|subscription| subscription.routes.iter().map(move |route| (subscription, route)));
    for (subscription, route) in routes {
        let (name, at) = (route.handler.name, route.handler.location);
        if route.ordered && capabilities.ordering == Ordering::None {
            problems
                .push(format!("handler `{name}` ({at}) needs the order of keys, which {broker} cannot keep; say `order = none`"));
        }
        if let (Some(timeout), LeaseKind::Fixed(limit)) = (route.handler.options.timeout, capabilities.lease)
            && timeout > limit
        {
            problems.push(format!(
                "handler `{name}` ({at}) may take {timeout:?}, but {broker} delivers again after {limit:?}, and cannot be told to wait; \
                 shorten `timeout`"
            ));
        }
        if subscription.start != Start::Earliest && !capabilities.start_positions {
            problems.push(format!(
                "handler `{name}` ({at}) is to start elsewhere, but {broker} can only begin at the earliest message"
            ));
        }
    }
}
