//! What a subscription reads, and which topics go together.

use std::time::Duration;

use convoke_core::broker::{Start, SubscribeSpec};
use convoke_core::cloudevents::new_id;
use convoke_core::{Topic, names};

use crate::options::Options;
use crate::starts::Place;

/// Fixed for the life of a subscription.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The group, as the application calls it.
    pub(crate) group: String,
    /// The group that the brokers see: a broadcast has one of its own, which never commits anything.
    pub(crate) group_id: String,
    pub(crate) topics: Vec<(Topic, u32)>,
    /// For each topic: the one whose partitions it follows. The brokers share out the partitions of topics that follow none; the group's
    /// own places follow the topic that they belong to, so that a key has one owner on all of them.
    follows: Vec<Option<usize>>,
    pub(crate) assignor: &'static str,
    pub(crate) start: Start,
    pub(crate) until_end: bool,
    pub(crate) broadcast: bool,
    /// Where the partitions ended when it began, in the order of [`places`](Self::places); empty if that is of no use.
    pub(crate) ends: Vec<u64>,
    pub(crate) revoke_within: Duration,
    pub(crate) session: Duration,
    /// How many characters the text of a commit may have.
    pub(crate) metadata: usize,
}

impl Plan {
    pub(crate) fn new(spec: &SubscribeSpec, topics: Vec<(Topic, u32)>, options: &Options, metadata: usize) -> Self {
        let leader = |topic: &Topic| {
            let follows = |other: &Topic| {
                let own = names::retry_topic(other.as_str(), &spec.group);
                topic != other && topic.as_str().strip_prefix(&own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            topics.iter().position(|(other, _)| follows(other))
        };
        let follows: Vec<_> = topics.iter().map(|(topic, _)| leader(topic)).collect();
        let several = follows.iter().filter(|one| one.is_none()).count() > 1;
        let assignor = match options.assignor {
            Some(assignor) => assignor,
            None if several && spec.ordered => "range",
            None => "cooperative-sticky",
        };
        let group_id = if spec.broadcast { format!("{}.{}", spec.group, new_id()) } else { spec.group.clone() };
        Self {
            group: spec.group.clone(),
            group_id,
            topics,
            follows,
            assignor,
            start: spec.start,
            until_end: spec.until_end,
            broadcast: spec.broadcast,
            ends: Vec::new(),
            revoke_within: options.revoke_within,
            session: options.session,
            metadata,
        }
    }

    /// Every partition of every topic.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.topics.iter().flat_map(|(topic, count)| (0..*count).map(move |number| (topic.clone(), number))).collect()
    }

    /// The topics whose partitions the brokers share out.
    pub(crate) fn leaders(&self) -> Vec<&str> {
        let topics = self.topics.iter().zip(&self.follows);
        topics.filter(|(_, follows)| follows.is_none()).map(|((topic, _), _)| topic.as_str()).collect()
    }

    /// What comes and goes with a partition that the brokers name: itself, and those of equal number that follow it.
    pub(crate) fn with_followers(&self, topic: &str, number: u32) -> Vec<Place> {
        let Some(index) = self.topic(topic) else { return Vec::new() };
        let together = self.topics.iter().zip(&self.follows).zip(0..);
        together
            .filter(|(((_, count), follows), other)| *other == index || (**follows == Some(index) && number < *count))
            .map(|(((topic, _), _), _)| (topic.clone(), number))
            .collect()
    }

    pub(crate) fn topic(&self, name: &str) -> Option<usize> {
        self.topics.iter().position(|(topic, _)| topic.as_str() == name)
    }

    /// Where a place ended when the subscription began.
    pub(crate) fn end_of(&self, place: &Place) -> Option<u64> {
        let mut before = 0;
        for (topic, count) in &self.topics {
            if *topic == place.0 {
                return (place.1 < *count).then(|| self.ends.get(before + place.1 as usize).copied()).flatten();
            }
            before += *count as usize;
        }
        None
    }

    /// Whether partitions come and go one by one.
    pub(crate) fn is_cooperative(&self) -> bool {
        self.assignor == "cooperative-sticky"
    }
}

#[cfg(test)]
mod tests {
    use convoke_core::broker::BrokerUrl;

    use super::*;

    fn plan(topics: &[&str]) -> Plan {
        let options = Options::from_url(&BrokerUrl::parse("kafka://a").unwrap()).unwrap();
        let names: Vec<Topic> = topics.iter().map(|name| Topic::from(*name)).collect();
        let spec = SubscribeSpec::new("g", names.clone());
        Plan::new(&spec, names.into_iter().map(|name| (name, 4)).collect(), &options, 4096)
    }

    #[test]
    fn the_places_of_a_group_follow_their_topic() {
        let plan = plan(&["a", "a.g.retry", "a.g.retry.5s", "a.g.retryx"]);
        assert_eq!(plan.leaders(), ["a", "a.g.retryx"]);
        let together: Vec<_> =
            plan.with_followers("a", 3).into_iter().map(|(topic, number)| format!("{topic}/{number}")).collect();
        assert_eq!(together, ["a/3", "a.g.retry/3", "a.g.retry.5s/3"]);
    }

    #[test]
    fn topics_that_are_read_together_are_shared_out_by_range() {
        assert_eq!(plan(&["a", "a.g.retry"]).assignor, "cooperative-sticky");
        assert_eq!(plan(&["a", "b"]).assignor, "range");
    }
}
