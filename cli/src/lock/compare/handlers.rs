//! Handlers, and the groups that they are in.

use convoke::TopicPattern;

use super::{Compare, Severity};
use crate::lock::contract::{Contract, Handler};
use crate::lock::finding::Finding;

/// A handler under the old contract and under the new one.
struct Pair<'a> {
    name: &'a str,
    old: &'a Handler,
    new: &'a Handler,
}

impl Compare<'_> {
    pub(super) fn handlers(&mut self) {
        let (old, new) = (self.old, self.new);
        for (name, handler) in &old.handlers {
            match new.handlers.get(name) {
                Some(now) => self.same_handler(&Pair { name, old: handler, new: now }),
                None => self.handler_gone(name, handler),
            }
        }
        for (name, handler) in new.handlers.iter().filter(|(name, _)| !old.handlers.contains_key(*name)) {
            let what = format!("it is new, in the group `{}`", handler.group);
            self.fine("handler-added", &Pair { name, old: handler, new: handler }, "", what);
        }
    }

    fn handler_gone(&mut self, name: &str, old: &Handler) {
        let successor = |(_, one): &(&String, &Handler)| {
            takes(self.new, one, old) && one.topics.iter().any(|topic| old.topics.contains(topic))
        };
        if let Some((other, now)) = self.new.handlers.iter().filter(|(_, one)| one.group == old.group).find(successor) {
            let what = format!("`{other}` is in its place, in the same group");
            return self.fine("handler-renamed", &Pair { name, old, new: now }, "", what);
        }
        let added = |(other, _): &(&String, &Handler)| !self.old.handlers.contains_key(*other);
        if let Some((other, now)) = self.new.handlers.iter().filter(added).find(successor) {
            let what = format!(
                "it seems to be called `{other}` now, and its group went from `{}` to `{}`: {}",
                old.group,
                now.group,
                begins(now)
            );
            return self.push(
                Severity::Breaking,
                "group-changed",
                &Pair { name, old, new: now },
                "group",
                [what, group(old), keep_group(old)],
            );
        }
        let text = [
            format!("it is no more: what its group `{}` has not handled yet is handled by nobody", old.group),
            group(old),
            "let it handle what is there before it goes, and delete the group on the broker; then `convoke lock` takes it out"
                .to_owned(),
        ];
        self.push_at(Severity::Breaking, "handler-removed", name, "", None, text);
    }

    fn same_handler(&mut self, pair: &Pair<'_>) {
        let Pair { old, new, .. } = *pair;
        if old.group != new.group {
            let what = format!("its group went from `{}` to `{}`: {}", old.group, new.group, begins(new));
            self.push(Severity::Breaking, "group-changed", pair, "group", [what, group(old), keep_group(old)]);
        }
        self.reading(pair);
        self.order(pair);
        if old.dead_letters != new.dead_letters && old.topics == new.topics && old.group == new.group {
            let text = [
                format!(
                    "its dead letters go to `{}`, no longer to `{}`, where the older ones stay",
                    new.dead_letters.join("`, `"),
                    old.dead_letters.join("`, `")
                ),
                "whoever watches or redrives them".to_owned(),
                "redrive or purge the old place, and point alerts at the new one".to_owned(),
            ];
            self.push(Severity::Careful, "dead-letters-moved", pair, "dead_letters", text);
        }
        for output in old.returns.iter().filter(|output| !new.returns.contains(output) && self.new.events.contains_key(*output)) {
            let others = self.new.handlers.values().any(|handler| handler.returns.contains(output));
            let text = [
                format!("it does not return `{output}` any more{}", if others { ", others do" } else { "" }),
                format!("other applications that wait for it, and {} here", list(&Self::readers(self.new, output))),
                "see to it that nobody waits for it, or that it is published elsewhere".to_owned(),
            ];
            self.push(Severity::Careful, "output-removed", pair, "returns", text);
        }
        for output in new.returns.iter().filter(|output| !old.returns.contains(output)) {
            self.fine("output-added", pair, "returns", format!("it returns `{output}` too"));
        }
        if old.retry != new.retry {
            self.fine("retry-changed", pair, "retry", "its retries go by other numbers".to_owned());
        }
        if old.batch != new.batch {
            self.fine("batch-changed", pair, "batch", "its batches are collected in another way".to_owned());
        }
        if old.start != new.start {
            self.fine(
                "start-changed",
                pair,
                "start",
                format!("a new group begins at `{}`; one that exists goes on where it is", new.start),
            );
        }
    }

    /// What it takes, and from where.
    fn reading(&mut self, pair: &Pair<'_>) {
        let Pair { name, old, new } = *pair;
        for topic in old.topics.iter().filter(|topic| !covers(new, topic)) {
            let others = self
                .new
                .handlers
                .values()
                .find(|other| other.group == old.group && covers(other, topic) && takes(self.new, other, old));
            if others.is_none() {
                let text = [
                    format!("it does not read `{topic}` any more: what its group has not handled there is handled by nobody"),
                    group(old),
                    format!(
                        "read it until it is empty: `topics({})`",
                        quoted(old.topics.iter().chain(new.topics.iter().filter(|one| !old.topics.contains(one))))
                    ),
                ];
                self.push(Severity::Breaking, "topic-left", pair, "topics", text);
            }
        }
        for topic in new.topics.iter().filter(|topic| !old.topics.contains(topic)) {
            self.fine("topic-added", pair, "topics", format!("it reads `{topic}` too; {}", begins(new)));
        }
        if old.event != new.event && !self.new.handlers.values().any(|one| one.group == new.group && takes(self.new, one, old)) {
            let known = old.event.as_ref().is_some_and(|event| self.new.events.contains_key(event));
            // If the event itself has changed, that is said there.
            if known || old.event.is_none() {
                let name_of = |event: &Option<String>| event.clone().unwrap_or_else(|| "whole messages".to_owned());
                let text = [
                    format!(
                        "it takes {} and no longer {}: what is there of that is skipped by its group",
                        name_of(&new.event),
                        name_of(&old.event)
                    ),
                    group(old),
                    format!("keep a handler for it in the group `{}` until none are left", old.group),
                ];
                self.push(Severity::Breaking, "event-left", pair, "event", text);
            }
        }
        if old.broker != new.broker {
            let name = |broker: &Option<String>| {
                broker.as_ref().map_or_else(|| "that of its event".to_owned(), |name| format!("`{name}`"))
            };
            let text = [
                format!("it reads from another broker: {}, and no longer {}", name(&new.broker), name(&old.broker)),
                group(old),
                "let it read what is there before it moves; or keep another handler there for a time".to_owned(),
            ];
            self.push(Severity::Breaking, "broker-changed", pair, "broker", text);
        }
        if old.matches != new.matches {
            let rest = |(other, one): (&String, &Handler)| {
                other != name && one.group == new.group && one.matches.is_none() && takes(self.new, one, old)
            };
            let others = new.matches.is_none() || self.new.handlers.iter().any(rest);
            let told = |matches: &Option<String>| {
                matches.as_ref().map_or_else(|| "every message".to_owned(), |matches| format!("what has `{matches}`"))
            };
            let text = [
                format!("it took {} and takes {} now", told(&old.matches), told(&new.matches)),
                group(old),
                if others {
                    "see to it that what is there is handled as it should be"
                } else {
                    "add a handler without `match` to the group: what nobody takes is skipped"
                }
                .to_owned(),
            ];
            self.push(if others { Severity::Careful } else { Severity::Breaking }, "match-changed", pair, "match", text);
        }
        if old.broadcast != new.broadcast {
            let what = if new.broadcast {
                "every instance gets every message now: the group that shared them is left where it is"
            } else {
                "instances share the messages now"
            };
            let text = [
                format!("{what}; {}", begins(new)),
                group(old),
                "make it a handler of another name, and let both run for a time".to_owned(),
            ];
            self.push(Severity::Breaking, "broadcast-changed", pair, "broadcast", text);
        }
    }

    fn order(&mut self, pair: &Pair<'_>) {
        let Pair { old, new, .. } = *pair;
        if old.order != new.order {
            if old.order == "key" {
                let text = [
                    "messages of a key were handled in order, and are not any more".to_owned(),
                    format!("`{}` itself: it sees them in any order, and at the same time", pair.name),
                    "`order = key`, and a key on the event".to_owned(),
                ];
                self.push(Severity::Breaking, "order-given-up", pair, "order", text);
            } else {
                self.fine("order-kept", pair, "order", "messages of a key are handled in order now".to_owned());
            }
        }
        if old.lane != new.lane {
            let (severity, mend) = match (&old.lane, &new.lane) {
                (Some(lane), None) => (Severity::Breaking, format!("`lane = \"{lane}\"`")),
                _ => (Severity::Careful, "handlers that must keep an order across topics name the same lane".to_owned()),
            };
            let lane =
                |lane: &Option<String>| lane.as_ref().map_or_else(|| "no lane".to_owned(), |lane| format!("the lane `{lane}`"));
            let what = format!(
                "it was in {} and is in {} now: its order with other topics is another",
                lane(&old.lane),
                lane(&new.lane)
            );
            self.push(severity, "lane-changed", pair, "lane", [what, group(old), mend]);
        }
        if old.on_retry != new.on_retry && new.order == "key" {
            if new.on_retry == "pass" {
                let text = [
                    "later messages of a key pass one that waits for a retry: it comes out of order".to_owned(),
                    format!("`{}` itself", pair.name),
                    "`on_retry = hold`".to_owned(),
                ];
                self.push(Severity::Careful, "retries-pass", pair, "on_retry", text);
            } else {
                self.fine(
                    "retries-hold",
                    pair,
                    "on_retry",
                    "later messages of a key wait for one that is tried again".to_owned(),
                );
            }
        }
    }

    fn fine(&mut self, rule: &'static str, pair: &Pair<'_>, field: &str, what: String) {
        self.push(Severity::Fine, rule, pair, field, [what, String::new(), String::new()]);
    }

    fn push(&mut self, severity: Severity, rule: &'static str, pair: &Pair<'_>, field: &str, text: [String; 3]) {
        self.push_at(severity, rule, pair.name, field, pair.new.at.clone(), text);
    }

    fn push_at(
        &mut self,
        severity: Severity,
        rule: &'static str,
        name: &str,
        field: &str,
        source: Option<String>,
        text: [String; 3],
    ) {
        let mut path = vec!["handlers".to_owned(), name.to_owned()];
        path.extend((!field.is_empty()).then(|| field.to_owned()));
        let [what, whom, mend] = text;
        self.findings.push(Finding { severity, rule, subject: format!("handler {name}"), path, source, what, whom, mend });
    }
}

/// Whether a handler takes what another one took.
fn takes(contract: &Contract, handler: &Handler, other: &Handler) -> bool {
    match (&handler.event, &other.event) {
        (None, _) => true,
        (Some(now), Some(before)) => {
            let accepts = |event: &String| contract.events.get(event).is_some_and(|event| event.accepts.contains(before));
            now == before || accepts(now)
        }
        (Some(_), None) => false,
    }
}

fn group(handler: &Handler) -> String {
    format!("the group `{}` on `{}`", handler.group, handler.topics.join("`, `"))
}

fn keep_group(old: &Handler) -> String {
    format!("keep it: `#[handler(group = \"{}\")]`", old.group)
}

/// Whether a handler reads this topic, by its name or by a pattern.
fn covers(handler: &Handler, topic: &String) -> bool {
    handler.topics.contains(topic)
        || handler.topics.iter().any(|one| TopicPattern::new(one).is_some_and(|one| one.matches(topic)))
}

/// What a group does that the broker does not know yet.
fn begins(handler: &Handler) -> &'static str {
    if handler.start == "new" {
        "a group that is new there begins at what comes from now on, and what the old one has left is skipped"
    } else {
        "a group that is new there begins at the earliest message"
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "no handler".to_owned() } else { names.join(", ") }
}

fn quoted<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
