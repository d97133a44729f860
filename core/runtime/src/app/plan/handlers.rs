//! A handler by itself: what it reads and writes, and whether its options make sense.

use std::time::Duration;

use convoke_core::broker::Start;
use convoke_core::{EventDef, HandlerDef, Order, Signature, Topic, TopicPattern, names as topics};

use super::{Given, PlannedRoute, Problems, Source, is_plain, is_readable};
use crate::app::deploy::HandlerChange;
use crate::app::topology::place;

/// The longest delay that a retry may hold its key for.
const MAX_HOLD: Duration = Duration::from_secs(15 * 60);

/// The group's name, as the program knows it.
pub(crate) fn group_of(app: &str, handler: &HandlerDef) -> String {
    handler.options.group.map_or_else(|| format!("{app}.{}", handler.name), str::to_owned)
}

/// Where its group begins, unless the application says otherwise.
pub(super) fn default_start(handler: &HandlerDef) -> Start {
    let default = if handler.options.broadcast { Start::New } else { Start::Earliest };
    handler.options.start.map_or(default, Into::into)
}

/// Handlers' names are unique: groups, dead-letter topics and controls go by them.
pub(super) fn check_names(handlers: &[&'static HandlerDef], problems: &mut Problems) {
    for (i, handler) in handlers.iter().enumerate() {
        if let Some(other) = handlers[..i].iter().find(|other| other.name == handler.name) {
            problems.push(format!(
                "two handlers are named `{}` ({} and {}); give one of them another `name`",
                handler.name, other.location, handler.location
            ));
        }
    }
}

/// What a handler reads and writes, and for which group.
pub(super) fn route(
    given: Given<'_>,
    handler: &'static HandlerDef,
    signature: &Signature,
    problems: &mut Problems,
) -> Option<(String, PlannedRoute)> {
    let Given { app, deployment, names, starts, brokers, at_run_time, .. } = given;
    let unchanged = HandlerChange::default();
    let change = deployment.handlers.get(handler.name).map_or(&unchanged, |said| &said.value);
    let options = change.applied(handler.options);
    let at = format!("handler `{}` ({})", handler.name, handler.location);
    let event = match signature.inputs.as_slice() {
        [event] => Some(*event),
        [] if signature.whole => None,
        [] => {
            problems.push(format!("{at} takes no event; give it one by value, or `Message` and a `topic` of its own"));
            return None;
        }
        several => {
            let names: Vec<_> = several.iter().map(|event| format!("`{}` ({})", (event.type_name)(), event.location)).collect();
            problems.push(format!("{at} takes {} events, {}; write a handler for each", several.len(), names.join(" and ")));
            return None;
        }
    };
    let written_topics: Vec<String> = match (handler.options.topics, event) {
        _ if let Some(named) = at_run_time => vec![named.topic.to_owned()],
        ([], Some(event)) => vec![event.topic.to_owned()],
        ([], None) => {
            problems.push(format!("{at} takes `Message`, so it must say what it reads: `#[handler(topic = \"…\")]`"));
            return None;
        }
        (topics, _) => topics.iter().map(|topic| (*topic).to_owned()).collect(),
    };
    for (i, topic) in written_topics.iter().enumerate() {
        if !is_readable(topic) {
            problems.push(format!(
                "{at} reads `{topic}`, which is neither the name of a topic nor a pattern; an open part stands between dots: \
                 `orders.{{region}}`, `orders.*`"
            ));
            return None;
        }
        if at_run_time.is_some() && !is_plain(topic) {
            problems.push(format!("{at} is to read `{topic}`, a pattern, from now on; at run time, name one topic"));
            return None;
        }
        if written_topics[..i].contains(topic) {
            problems.push(format!("{at} names the topic `{topic}` twice; name each once"));
            return None;
        }
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
    let grouped = handler.options.group.is_some() || at_run_time.is_some_and(|named| named.group.is_some());
    if handler.options.broadcast && (grouped || handler.options.lane.is_some()) {
        problems.push(format!("{at} is a `broadcast`, which every instance reads by itself: drop `group` and `lane`"));
    }
    let keyed = event.is_some_and(|event| event.keyed);
    if let Some(event) = event.filter(|event| handler.options.order == Some(Order::Key) && !event.keyed) {
        problems.push(format!(
            "{at} has `order = key`, but the event `{}` ({}) has no key; write `key = …` in its `#[event]`",
            event.name, event.location
        ));
    }
    let retry = options.retry;
    if retry.max > MAX_HOLD && handler.options.on_retry == convoke_core::OnRetry::Hold {
        problems.push(format!(
            "{at} would hold a key for up to {:?} between two attempts; at most {MAX_HOLD:?} is allowed: shorten `backoff`, or let others \
             pass with `on_retry = pass`",
            retry.max
        ));
    }
    let asked = handler.options.broker.or_else(|| event.and_then(|event| event.broker));
    let broker = brokers.find(asked).unwrap_or_else(|| {
        problems.push(brokers.missing(&at, asked.unwrap_or_default()));
        0
    });
    let mut output = |event: &EventDef| {
        let broker = brokers.of(event).unwrap_or_else(|name| {
            problems.push(brokers.missing(&format!("{at} returns `{}` ({}), which", event.name, event.location), name));
            0
        });
        (broker, names.topic(event.topic))
    };
    let outputs = signature.outputs.iter().map(|event| output(event)).collect();
    let written_group = at_run_time.and_then(|named| named.group).map_or_else(|| group_of(app, handler), str::to_owned);
    let group = names.group(written_group.clone());
    let named = change.dead_letter.as_deref().or(options.dead_letter);
    let source = |written: &String| {
        let topic = names.topic(written);
        let dead = named.map_or_else(|| Topic::from(topics::dead_topic(topic.as_str(), &group)), |dead| names.topic(dead));
        Source { place: place(&topic, &group), topic, dead, tiers: Vec::new() }
    };
    let sources: Vec<Source> = written_topics.iter().map(source).collect();
    let reads = |topic: &Topic| sources.iter().any(|other| TopicPattern::overlap(other.topic.as_str(), topic.as_str()));
    if let Some(back) = sources.iter().find(|source| reads(&source.dead)) {
        problems.push(format!(
            "{at} sends its dead letters to `{}`, which it reads: they would come back for ever; name another",
            back.dead
        ));
    }
    let overridden = starts.iter().rev().find(|(name, _)| name == handler.name);
    let start = overridden.map_or_else(|| default_start(handler), |(_, start)| *start);
    let start = at_run_time.and_then(|named| named.start).or(change.start).unwrap_or(start);
    let route = PlannedRoute {
        handler,
        options,
        written_group,
        written_topics,
        event,
        broker,
        sources,
        start,
        ordered: handler.options.order.map_or(keyed, |order| order == Order::Key),
        dead_configured: change.dead_letter.is_some(),
        start_configured: change.start.map(|start| if start == Start::New { "new" } else { "earliest" }),
        outputs,
    };
    Some((group, route))
}

/// Slots that exist and do not work yet: refused, never ignored.
pub(super) fn not_yet(handler: &HandlerDef, problems: &mut Problems) {
    let options = &handler.options;
    let asked =
        [(options.transaction, "`transaction`", "make the handler idempotent: what it returns has the same id on every attempt")];
    for (_, what, instead) in asked.iter().filter(|(asked, ..)| *asked) {
        problems.push(format!(
            "handler `{}` ({}) asks for {what}, which is not supported yet; {instead}",
            handler.name, handler.location
        ));
    }
}
