//! What must exist on the broker, and what is asked of it.

use convoke_core::broker::{Broker, EnsureMode, GroupSpec, Start, SubscribeSpec, TopicSpec, Topology};
use convoke_core::few::Few;
use convoke_core::{Error, Topic, names};

use super::brokers::Named;
use super::plan::{Plan, PlannedRoute, PlannedSubscription, Problems, check_partitions, is_plain};

impl Plan {
    /// Makes sure that everything exists.
    pub(crate) async fn ensure(&self, brokers: &[Named]) -> Result<(), Error> {
        for (index, Named { broker, .. }) in brokers.iter().enumerate() {
            let report = broker.ensure(&self.plain_topics(index), EnsureMode::Create).await?;
            check_partitions(self.on(index), &report.partitions)?;
            broker.ensure(&self.groups_and_places(index, &report.partitions), EnsureMode::Create).await?;
        }
        Ok(())
    }

    /// What brokers cannot have of it, as far as they know without asking their servers. Brokers that could not be opened are told of
    /// elsewhere.
    pub(crate) fn check_topology(&self, brokers: &[Option<&dyn Broker>], problems: &mut Problems) {
        for (index, broker) in brokers.iter().enumerate().filter_map(|(index, broker)| Some((index, (*broker)?))) {
            let mut refused: Vec<String> = Vec::new();
            // Dead letters and places are named after topics and groups: what is wrong with one is told once.
            let is_of = |other: &String, name: &str| {
                name.strip_prefix(&**other).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let is_new = |refused: &[String], name: &str| !refused.iter().any(|other| is_of(other, name));
            for spec in self.plain_topics(index).topics {
                let name = spec.name.clone();
                let mut topology = Topology::default();
                topology.topics.push(spec);
                if let Err(error) = broker.check_topology(&topology)
                    && is_new(&refused, name.as_str())
                {
                    problems.push(format!("{}: {error}", self.whose(index, &name)));
                    refused.push(name.to_string());
                }
            }
            let is_told = |one: &&PlannedSubscription| {
                let of_topics = one.topics.iter().any(|topic| !is_new(&refused, topic.as_str()));
                of_topics || refused.iter().any(|name| name.contains(&format!(".{}.", one.group)))
            };
            for subscription in self.on(index).filter(|one| !is_told(one)) {
                let mut topology = Topology::default();
                topology.topics =
                    subscription.places().into_iter().filter(|one| is_plain(one.as_str())).map(TopicSpec::new).collect();
                topology.groups = if subscription.broadcast { Vec::new() } else { subscription.groups() };
                // A pattern is no name; who cannot read by one is told of by its capabilities.
                topology.groups.iter_mut().for_each(|group| group.topics.retain(|topic| is_plain(topic.as_str())));
                if let (Err(error), Some(route)) = (broker.check_topology(&topology), subscription.routes.first()) {
                    problems.push(format!("handler `{}` ({}): {error}", route.handler.name, route.handler.location));
                }
            }
        }
    }

    /// Who wants a topic.
    fn whose(&self, broker: usize, topic: &Topic) -> String {
        if let Some((.., event)) = self.events.iter().find(|(on, of, _)| (*on, of) == (broker, topic)) {
            return format!("event `{}` ({})", event.name, event.location);
        }
        let names = |route: &&&PlannedRoute| {
            let read =
                route.broker == broker && route.sources.iter().any(|source| source.topic == *topic || source.dead == *topic);
            read || route.outputs.iter().any(|(on, of)| (*on, of) == (broker, topic))
        };
        let routes = self.routes();
        let handler = routes.iter().find(names).map(|route| route.handler);
        handler.map_or_else(|| format!("topic `{topic}`"), |handler| format!("handler `{}` ({})", handler.name, handler.location))
    }

    /// The subscriptions on a broker.
    fn on(&self, broker: usize) -> impl Iterator<Item = &PlannedSubscription> {
        self.subscriptions.iter().filter(move |subscription| subscription.broker == broker)
    }

    /// Everything that must exist on a broker.
    pub(crate) fn topology(&self, broker: usize) -> Topology {
        let mut topology = self.plain_topics(broker);
        let rest = self.groups_and_places(broker, &[]);
        topology.topics.extend(rest.topics);
        topology.groups = rest.groups;
        topology
    }

    fn plain_topics(&self, broker: usize) -> Topology {
        let mut topology = Topology::default();
        let topics = self.topics.iter().filter(|(on, _)| *on == broker).map(|(_, topic)| topic);
        topology.topics = topics.map(|topic| self.topic(broker, topic)).collect();
        topology
    }

    /// A topic, and what its events say of it.
    fn topic(&self, broker: usize, topic: &Topic) -> TopicSpec {
        let mut spec = TopicSpec::new(topic.clone());
        let events = self.events.iter().filter(|(on, of, _)| (*on, of) == (broker, topic));
        for said in events.flat_map(|(.., event)| event.native) {
            if !spec.native.contains(said) {
                spec.native.push(*said);
            }
        }
        spec
    }

    /// The groups, with their own places. How many partitions these have is known once the topics are there.
    fn groups_and_places(&self, broker: usize, partitions: &[(Topic, u32)]) -> Topology {
        let mut topology = Topology::default();
        for subscription in self.on(broker) {
            for topic in &subscription.topics {
                let mut spec = TopicSpec::new(place(topic, &subscription.group));
                spec.partitions = partitions.iter().find(|(other, _)| other == topic).map(|(_, count)| *count);
                // What is beside topics that a pattern matches is made when they appear.
                if !is_plain(topic.as_str()) {
                    continue;
                }
                for tier in subscription.tiers(topic) {
                    let mut waits = spec.clone();
                    waits.name = tier.clone();
                    topology.topics.push(waits);
                }
                topology.topics.push(spec);
            }
            // A broadcast has no group that outlives it.
            if !subscription.broadcast {
                topology.groups.extend(subscription.groups());
            }
        }
        // Where nothing is kept for nobody, somebody must be there for whom dead letters are kept.
        let sources = self.on(broker).flat_map(|subscription| &subscription.routes).flat_map(|route| &route.sources);
        let dead: Few<_> = sources.map(|source| &source.dead).filter(|dead| is_plain(dead.as_str())).collect();
        topology.groups.extend(dead.iter().copied().map(tools));
        topology
    }
}

/// The group under which the tools for dead letters read a topic.
pub(crate) fn tools(dead: &Topic) -> GroupSpec {
    let mut group = GroupSpec::new(names::REDRIVE_GROUP, vec![dead.clone()]);
    group.ordered = false;
    group
}

impl PlannedSubscription {
    fn ordered(&self) -> bool {
        self.routes.iter().any(|route| route.ordered)
    }

    /// The group, once for each subscription, since those of one group may start at different places.
    fn groups(&self) -> Vec<GroupSpec> {
        let of = |topics, start| {
            let mut group = GroupSpec::new(self.group.clone(), topics);
            (group.start, group.ordered) = (start, self.ordered());
            group
        };
        // What is in a place came after the group did, and has other positions than its topic: places are read from the beginning.
        let places = (self.start != Start::Earliest).then(|| of(self.places(), Start::Earliest));
        places.into_iter().chain([of(self.all_topics(), self.start)]).collect()
    }

    fn all_topics(&self) -> Vec<Topic> {
        [self.topics.clone(), self.places()].concat()
    }

    fn places(&self) -> Vec<Topic> {
        let mut places = Vec::new();
        for topic in &self.topics {
            places.extend(self.tiers(topic).cloned());
            places.push(place(topic, &self.group));
        }
        places
    }

    /// What is asked of the broker. Partitions of a topic and of the group's place for it go to the same owner, so that a key is in
    /// one lane wherever it is.
    pub(crate) fn spec(&self) -> SubscribeSpec {
        let mut spec = SubscribeSpec::new(self.group.clone(), self.all_topics());
        spec.start = self.start;
        spec.ordered = self.ordered();
        spec.broadcast = self.broadcast;
        spec.until_end = self.until_end;
        spec.native = self.native();
        spec
    }
}

/// A group's own place for messages of a topic that come again.
pub(super) fn place(topic: &Topic, group: &str) -> Topic {
    names::retry_topic(topic.as_str(), group).into()
}
