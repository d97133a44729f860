//! The way out: what a message is given before it is sent, and which broker takes it.

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, PoisonError, RwLock};

use convoke_core::broker::{Broker, Capabilities, PublishOutcome};
use convoke_core::{BoxFuture, Error, ErrorKind, EventDef, Outgoing, Topic, TopicPattern, join_all, names};

use super::{identified, no_answer};
use crate::app::Names;

/// The application's brokers, and which messages go to which of them.
///
/// An event goes to the broker that its `#[event]` names, whatever topic it is published to. What is no event of the program goes
/// where its topic is, and to the first broker if no further one has such a topic.
pub(crate) struct Outward {
    app: Box<str>,
    names: Names,
    brokers: Vec<Arc<dyn Broker>>,
    /// By an event's `type` on the wire; the name of a broker that the application does not have. Empty if there is one broker, and
    /// no event speaks of another.
    events: HashMap<String, Result<usize, &'static str>>,
    /// Topics of further brokers, as they are named here. Those that are named at run time are added to them.
    places: RwLock<Places>,
}

/// Which further broker has which topics.
#[derive(Default)]
struct Places {
    topics: HashMap<Topic, usize>,
    patterns: Vec<(TopicPattern, usize)>,
}

impl Outward {
    /// One broker, and nothing is renamed.
    #[cfg(feature = "redrive")]
    pub(crate) fn to(broker: Arc<dyn Broker>, app: &str) -> Self {
        Self::new(app, Names::default(), vec![broker])
    }

    pub(crate) fn new(app: &str, names: Names, brokers: Vec<Arc<dyn Broker>>) -> Self {
        Self { app: app.into(), names, brokers, events: HashMap::new(), places: RwLock::default() }
    }

    /// Tells the events that are known, each with its broker.
    pub(crate) fn events(&mut self, events: &[&'static EventDef], broker: impl Fn(&EventDef) -> Result<usize, &'static str>) {
        if events.iter().all(|event| broker(event) == Ok(0)) {
            return;
        }
        for event in events {
            self.events.insert(event.type_name_on_wire(), broker(event));
            if let Ok(index @ 1..) = broker(event) {
                self.place(index, self.names.topic(event.topic));
            }
        }
    }

    fn place(&self, broker: usize, topic: Topic) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        match TopicPattern::new(topic.as_str()) {
            Some(pattern) => places.patterns.push((pattern, broker)),
            None => drop(places.topics.insert(topic, broker)),
        }
    }

    /// Tells of a topic of a further broker that is read there; an event's own counts more.
    pub(crate) fn read(&self, broker: usize, topic: &Topic, events: &[&'static EventDef]) {
        let of_event = |event: &&EventDef| TopicPattern::overlap(self.names.topic(event.topic).as_str(), topic.as_str());
        if broker > 0 && !events.iter().any(of_event) {
            self.place(broker, topic.clone());
        }
    }

    /// The broker that a topic, as it is named here, is at.
    pub(crate) fn home_of(&self, topic: &Topic) -> usize {
        if !self.several() {
            return 0;
        }
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        let by_pattern = || places.patterns.iter().find(|(pattern, _)| pattern.matches(topic.as_str())).map(|one| one.1);
        places.topics.get(topic).copied().or_else(by_pattern).unwrap_or(0)
    }

    /// The names of this deployment.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// A topic of the program, as it is named here.
    pub(crate) fn topic(&self, written: &str) -> Topic {
        self.names.topic(written)
    }

    /// The message as it is sent. Verbatim messages, which name their place themselves, stay as they are.
    pub(crate) fn addressed(&self, outgoing: Outgoing) -> Outgoing {
        if outgoing.verbatim {
            return outgoing;
        }
        let mut outgoing = identified(outgoing, &self.app);
        if let Some(topic) = self.names.renamed(outgoing.message.topic()) {
            outgoing.message = outgoing.message.into_builder().topic(topic.clone()).build();
        }
        outgoing
    }

    /// Which broker takes a message that was [addressed](Self::addressed).
    ///
    /// # Errors
    /// If that broker is none of the application's.
    pub(crate) fn broker_of(&self, outgoing: &Outgoing) -> Result<usize, Error> {
        let message = &outgoing.message;
        if !self.events.is_empty()
            && let Some(wire_type) = message.headers().get_str(names::TYPE)
            && let Some(broker) = self.events.get(wire_type)
        {
            return broker.map_err(|name| {
                let text = format!(
                    "`{wire_type}` is published to the broker `{name}`, which the application does not have; add \
                     `.broker_named(\"{name}\", …)`"
                );
                Error::new(ErrorKind::Configuration, text)
            });
        }
        Ok(self.home_of(message.topic()))
    }

    pub(crate) fn capabilities(&self, broker: usize) -> &Capabilities {
        self.brokers[broker].capabilities()
    }

    /// Whether there is more than one broker.
    pub(crate) fn several(&self) -> bool {
        self.brokers.len() > 1
    }

    /// Publishes each message to its broker; the answers are as many as the messages, in the same order.
    pub(crate) async fn publish(&self, batch: Vec<(usize, Outgoing)>) -> Vec<PublishOutcome> {
        if !self.several() {
            return self.brokers[0].publish(batch.into_iter().map(|(_, outgoing)| outgoing).collect()).await;
        }
        let order: Vec<usize> = batch.iter().map(|(broker, _)| *broker).collect();
        let mut parts: Vec<Vec<Outgoing>> = self.brokers.iter().map(|_| Vec::new()).collect();
        for (broker, outgoing) in batch {
            parts[broker].push(outgoing);
        }
        let mut calls: Vec<BoxFuture<'_, Vec<PublishOutcome>>> = Vec::new();
        for (broker, part) in self.brokers.iter().zip(parts) {
            calls.push(if part.is_empty() { Box::pin(ready(Vec::new())) } else { broker.publish(part) });
        }
        let mut answers: Vec<_> = join_all(calls).await.into_iter().map(Vec::into_iter).collect();
        order.into_iter().map(|broker| answers[broker].next().unwrap_or_else(|| PublishOutcome::Unknown(no_answer()))).collect()
    }
}
