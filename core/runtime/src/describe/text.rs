//! A description as text for people, and for snapshots: sorted, with a line for each fact, and without places in the source, which
//! change when nothing else does.

use std::fmt::{Display, Formatter, Result};

use convoke_core::few::FewByKey;
use convoke_core::{BatchOptions, OnRetry, StartAt, names};

use super::{Description, EventDescription, HandlerDescription};

/// The events, the handlers, and the topics with who reads them. How many places for delayed retries a topic has is the broker's
/// affair, and is not in it. A snapshot of this text, as by the crate `insta`, shows in a pull request what changed.
impl Display for Description {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "application {}", self.application)?;
        for event in &self.events {
            writeln!(f, "\nevent {}", event.wire_type())?;
            fact(f, "topic", &on(event.broker.as_deref(), &event.topic))?;
            fact(f, "key", event.key.as_deref().unwrap_or("none"))?;
            fact(f, "payload", &payload(event))?;
            facts(f, "accepts", &event.accepts)?;
        }
        for handler in &self.handlers {
            writeln!(f, "\nhandler {}", handler.name)?;
            written(f, handler)?;
        }
        for (topic, uses) in self.topics() {
            writeln!(f, "\ntopic {topic}")?;
            uses.iter().try_for_each(|(what, name)| fact(f, what, name))?;
        }
        Ok(())
    }
}

fn fact(f: &mut Formatter<'_>, what: &str, value: &str) -> Result {
    writeln!(f, "  {what}: {value}")
}

fn facts(f: &mut Formatter<'_>, what: &str, values: &[String]) -> Result {
    if values.is_empty() { Ok(()) } else { fact(f, what, &values.join(", ")) }
}

/// A topic, with its broker if that is not the first.
fn on(broker: Option<&str>, topic: &str) -> String {
    broker.map_or_else(|| topic.to_owned(), |broker| format!("{topic} on {broker}"))
}

fn payload(event: &EventDescription) -> String {
    let EventDescription { codec, content_type, .. } = event;
    if event.bare { format!("{codec}, bare") } else { format!("{codec}, {content_type}") }
}

fn written(f: &mut Formatter<'_>, handler: &HandlerDescription) -> Result {
    fact(f, "group", &handler.group)?;
    fact(f, "takes", handler.event.as_deref().unwrap_or("whole messages"))?;
    facts(f, "returns", &handler.returns)?;
    fact(f, "order", if handler.ordered { "key" } else { "none" })?;
    let flags = [
        ("lane", handler.lane.clone()),
        ("match", handler.matches.clone()),
        ("batch", handler.batch.map(|BatchOptions { size, wait, .. }| format!("{size} or {wait:?}"))),
        ("start", (handler.start == StartAt::New).then(|| "new".to_owned())),
        ("broadcast", handler.broadcast.then(|| "every instance gets every message".to_owned())),
    ];
    for (what, value) in flags {
        value.map_or(Ok(()), |value| fact(f, what, &value))?;
    }
    let retry = handler.retry;
    let others = if handler.on_retry == OnRetry::Pass { "later ones of the key pass" } else { "later ones of the key wait" };
    fact(f, "attempts", &format!("{}, after {:?}..{:?} + {} %, {others}", retry.attempts, retry.min, retry.max, retry.jitter))
}

impl Description {
    /// What each topic is for: which events are published there, and which groups read it and for what.
    fn topics(&self) -> FewByKey<String, Vec<(&'static str, String)>> {
        let mut topics: FewByKey<String, Vec<(&'static str, String)>> = FewByKey::default();
        let mut add = |topic: String, what, name: &str| {
            let uses = topics.get_or_insert_with(topic, Vec::new);
            if !uses.iter().any(|known| *known == (what, name.to_owned())) {
                uses.push((what, name.to_owned()));
            }
        };
        for event in &self.events {
            add(on(event.broker.as_deref(), &event.topic), "event", &event.wire_type());
        }
        for handler in &self.handlers {
            let named = handler.event.as_ref().and_then(|name| self.events.iter().find(|event| event.wire_type() == *name));
            let broker = handler.broker.as_deref().or_else(|| named.and_then(|event| event.broker.as_deref()));
            for topic in &handler.topics {
                add(on(broker, topic), "read by", &handler.group);
                add(on(broker, &names::retry_topic(topic, &handler.group)), "retries of", &handler.group);
            }
            for topic in &handler.dead_letters {
                add(on(broker, topic), "dead letters of", &handler.group);
            }
        }
        topics
    }
}
