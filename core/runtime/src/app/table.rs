//! The table of what is bound to what, for people.

use std::fmt::Write as _;

use convoke_core::{BatchOptions, EventDef, HandlerOptions, HeaderMatch, OnRetry, RetryOptions};

use super::brokers::Named;
use super::plan::{Plan, PlannedRoute};

/// The table: one row for each handler. What is on a further broker has that one's name before its topic.
pub(crate) fn table(app: &str, brokers: &[Named], plan: &Plan) -> String {
    let header = ["topic", "event", "group", "handler", "options"].map(str::to_owned);
    let mut rows = vec![header];
    for subscription in &plan.subscriptions {
        for route in &subscription.routes {
            let event = route.event.map_or_else(|| "(any)".to_owned(), event);
            rows.push([
                format!("{}{}", on(&brokers[route.broker].name), topics(route)),
                event,
                named(&subscription.group, &route.written_group),
                route.handler.name.to_owned(),
                options(route),
            ]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let shown: Vec<_> = brokers.iter().map(|one| format!("{}{}", on(&one.name), one.shown)).collect();
    let mut text = format!("{app} on {}\n", shown.join(", "));
    for (i, row) in rows.iter().enumerate() {
        text.push_str("  ");
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        text.push_str(&row[4]);
        text.truncate(text.trim_end().len());
        text.push('\n');
        if i == 0 {
            let line = widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().join("  ");
            let _ = writeln!(text, "  {line}  ───────");
        }
    }
    text
}

/// The event, and what it is read from beside.
fn event(event: &EventDef) -> String {
    let mut text = format!("{} v{}", event.name, event.version);
    for (i, old) in event.accepts.iter().enumerate() {
        let name = if old.name == event.name { String::new() } else { format!("{} ", old.name) };
        let _ = write!(text, "{}{name}v{}", if i == 0 { " ← " } else { ", " }, old.version);
    }
    text
}

fn topics(route: &PlannedRoute) -> String {
    let names = route.topics().zip(&route.written_topics).map(|(topic, written)| named(topic.as_str(), written));
    names.collect::<Vec<_>>().join(", ")
}

/// What stands before what is on a further broker.
fn on(broker: &str) -> String {
    if broker.is_empty() { String::new() } else { format!("{broker}: ") }
}

/// A name as it is here, and what the program calls it if that is another.
fn named(here: &str, written: &str) -> String {
    if here == written { here.to_owned() } else { format!("{here} (for {written})") }
}

/// What is not the default, in the attribute's own words. What the deployment has changed is marked.
fn options(route: &PlannedRoute) -> String {
    let HandlerOptions { concurrency, lane, retry, on_retry, timeout, batch, matches, broadcast, .. } = route.options;
    let written = route.handler.options;
    let marked = |word: String, changed: bool| if changed { format!("{word} (configured)") } else { word };
    let mut words = vec![
        marked(format!("concurrency = {concurrency}"), concurrency != written.concurrency),
        format!("order = {}", if route.ordered { "key" } else { "none" }),
    ];
    if broadcast {
        words.push("broadcast".to_owned());
    }
    words.extend(matches.map(|HeaderMatch { header, value, .. }| format!("match {header} = {value}")));
    words.extend(lane.map(|lane| format!("lane = {lane}")));
    if retry != RetryOptions::new() || retry != written.retry {
        words.push(marked(format!("retry = {} × {:?}..{:?}", retry.attempts, retry.min, retry.max), retry != written.retry));
    }
    if on_retry != OnRetry::Hold {
        words.push("on_retry = pass".to_owned());
    }
    words.extend(timeout.map(|limit| marked(format!("timeout = {limit:?}"), timeout != written.timeout)));
    words.extend(batch.map(|BatchOptions { size, wait, .. }| format!("batch = {size} or {wait:?}")));
    words.extend(route.options.native.iter().map(ToString::to_string));
    words.extend(route.dead_configured.then(|| format!("dead_letter = {} (configured)", route.sources[0].dead)));
    words.extend(route.start_configured.map(|start| format!("start = {start} (configured)")));
    words.join(", ")
}
