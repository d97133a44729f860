//! The table of what is bound to what, for people.

use std::fmt::Write as _;

use convoke_core::{BatchOptions, EventDef, HandlerOptions, HeaderMatch, OnRetry, RetryOptions};

use super::plan::{Plan, PlannedRoute};

/// The table: one row for each handler.
pub(crate) fn table(app: &str, broker: &str, plan: &Plan) -> String {
    let header = ["topic", "event", "group", "handler", "options"].map(str::to_owned);
    let mut rows = vec![header];
    for subscription in &plan.subscriptions {
        for route in &subscription.routes {
            let event = route.event.map_or_else(|| "(any)".to_owned(), event);
            rows.push([
                route.topic.to_string(),
                event,
                subscription.group.clone(),
                route.handler.name.to_owned(),
                options(route),
            ]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let mut text = format!("{app} on {broker}\n");
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

/// What is not the default, in the attribute's own words.
fn options(route: &PlannedRoute) -> String {
    let HandlerOptions { concurrency, lane, retry, on_retry, timeout, batch, matches, .. } = route.handler.options;
    let mut words =
        vec![format!("concurrency = {concurrency}"), format!("order = {}", if route.ordered { "key" } else { "none" })];
    words.extend(matches.map(|HeaderMatch { header, value, .. }| format!("match {header} = {value}")));
    words.extend(lane.map(|lane| format!("lane = {lane}")));
    if retry != RetryOptions::new() {
        words.push(format!("retry = {} × {:?}..{:?}", retry.attempts, retry.min, retry.max));
    }
    if on_retry != OnRetry::Hold {
        words.push("on_retry = pass".to_owned());
    }
    words.extend(timeout.map(|timeout| format!("timeout = {timeout:?}")));
    words.extend(batch.map(|BatchOptions { size, wait, .. }| format!("batch = {size} or {wait:?}")));
    words.join(", ")
}
