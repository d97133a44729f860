//! What must exist on the broker: topics, groups, and the groups' own places.

use std::collections::BTreeSet;

use convoke_core::broker::{GroupSpec, TopicSpec, Topology};
use convoke_core::{Topic, names};

use super::bind::ReadyApp;

impl ReadyApp {
    /// What must exist on the broker: also the groups' own places for messages that come again, each with as many partitions as
    /// the topic whose messages they are, and who reads dead letters.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let mut topology = self.topics_and_groups();
        let places = self.places(&[]);
        topology.topics.extend(places.topics);
        topology.groups.extend(places.groups);
        topology
    }

    pub(super) fn topics_and_groups(&self) -> Topology {
        let mut topology = Topology::default();
        topology.topics = self.plan.topics.iter().map(|topic| TopicSpec::new(topic.clone())).collect();
        // One for each subscription: handlers of one group may start at different places of their topics.
        topology.groups = self
            .plan
            .subscriptions
            .iter()
            .map(|subscription| {
                let mut group = GroupSpec::new(subscription.group.clone(), subscription.topics.clone());
                group.start = subscription.start;
                group.ordered = subscription.routes.iter().any(|route| route.ordered);
                group
            })
            .collect();
        // Where nothing is kept for nobody, somebody must be there for whom dead letters are kept.
        let routes = self.plan.subscriptions.iter().flat_map(|subscription| &subscription.routes);
        let dead = routes.flat_map(|route| route.sources.iter().map(|source| source.dead.clone()));
        let mut tools = GroupSpec::new(names::REDRIVE_GROUP, dead.collect::<BTreeSet<_>>().into_iter().collect());
        tools.ordered = false;
        topology.groups.push(tools);
        topology
    }

    /// The groups' own places. They begin at their earliest message, wherever the groups begin.
    pub(super) fn places(&self, partitions: &[(Topic, u32)]) -> Topology {
        let mut topology = Topology::default();
        for subscription in &self.plan.subscriptions {
            let mut group = GroupSpec::new(subscription.group.clone(), Vec::new());
            group.ordered = subscription.routes.iter().any(|route| route.ordered);
            for topic in &subscription.topics {
                let mut spec = TopicSpec::new(place(topic, &subscription.group));
                spec.partitions = partitions.iter().find(|(other, _)| other == topic).map(|(_, count)| *count);
                group.topics.push(spec.name.clone());
                topology.topics.push(spec);
            }
            topology.groups.push(group);
        }
        topology
    }
}

/// A group's own place for messages of a topic that come again.
pub(super) fn place(topic: &Topic, group: &str) -> Topic {
    names::retry_topic(topic.as_str(), group).into()
}
