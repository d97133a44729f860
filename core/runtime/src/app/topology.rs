//! What must exist on the broker, and what is asked of it.

use std::collections::BTreeSet;

use convoke_core::broker::{Broker, EnsureMode, GroupSpec, SubscribeSpec, TopicSpec, Topology};
use convoke_core::{Error, Topic, names};

use super::plan::{Plan, PlannedSubscription, check_partitions};

impl Plan {
    /// Makes sure that everything exists.
    pub(crate) async fn ensure(&self, broker: &dyn Broker) -> Result<(), Error> {
        let report = broker.ensure(&self.topics_and_groups(), EnsureMode::Create).await?;
        check_partitions(self, &report.partitions)?;
        broker.ensure(&self.places(&report.partitions), EnsureMode::Create).await?;
        Ok(())
    }

    /// Everything that must exist.
    pub(crate) fn topology(&self) -> Topology {
        let mut topology = self.topics_and_groups();
        let places = self.places(&[]);
        topology.topics.extend(places.topics);
        topology.groups.extend(places.groups);
        topology
    }

    fn topics_and_groups(&self) -> Topology {
        let mut topology = Topology::default();
        topology.topics = self.topics.iter().map(|topic| TopicSpec::new(topic.clone())).collect();
        // One for each subscription: handlers of one group may start at different places of their topics. A broadcast has none.
        let lasting = self.subscriptions.iter().filter(|subscription| !subscription.broadcast);
        let group = |subscription: &PlannedSubscription| {
            let mut group = subscription.group_of(subscription.topics.clone());
            group.start = subscription.start;
            group
        };
        topology.groups = lasting.map(group).collect();
        // Where nothing is kept for nobody, somebody must be there for whom dead letters are kept.
        let routes = self.subscriptions.iter().flat_map(|subscription| &subscription.routes);
        let dead = routes.flat_map(|route| route.sources.iter().map(|source| source.dead.clone()));
        let mut tools = GroupSpec::new(names::REDRIVE_GROUP, dead.collect::<BTreeSet<_>>().into_iter().collect());
        tools.ordered = false;
        topology.groups.push(tools);
        topology
    }

    /// The groups' own places. They begin at their earliest message, wherever the groups begin.
    fn places(&self, partitions: &[(Topic, u32)]) -> Topology {
        let mut topology = Topology::default();
        for subscription in &self.subscriptions {
            for topic in &subscription.topics {
                let mut spec = TopicSpec::new(place(topic, &subscription.group));
                spec.partitions = partitions.iter().find(|(other, _)| other == topic).map(|(_, count)| *count);
                for tier in subscription.tiers(topic) {
                    let mut waits = spec.clone();
                    waits.name = tier.clone();
                    topology.topics.push(waits);
                }
                topology.topics.push(spec);
            }
            if !subscription.broadcast {
                topology.groups.push(subscription.group_of(subscription.places()));
            }
        }
        topology
    }
}

impl PlannedSubscription {
    fn ordered(&self) -> bool {
        self.routes.iter().any(|route| route.ordered)
    }

    fn group_of(&self, topics: Vec<Topic>) -> GroupSpec {
        let mut group = GroupSpec::new(self.group.clone(), topics);
        group.ordered = self.ordered();
        group
    }

    fn places(&self) -> Vec<Topic> {
        let beside = |topic| self.tiers(topic).cloned().chain([place(topic, &self.group)]);
        self.topics.iter().flat_map(beside).collect()
    }

    /// What is asked of the broker. Partitions of a topic and of the group's place for it go to the same owner, so that a key is in
    /// one lane wherever it is.
    pub(crate) fn spec(&self) -> SubscribeSpec {
        let mut spec = SubscribeSpec::new(self.group.clone(), [self.topics.clone(), self.places()].concat());
        spec.start = self.start;
        spec.ordered = self.ordered();
        spec.broadcast = self.broadcast;
        spec.until_end = self.until_end;
        spec
    }
}

/// A group's own place for messages of a topic that come again.
pub(super) fn place(topic: &Topic, group: &str) -> Topic {
    names::retry_topic(topic.as_str(), group).into()
}
