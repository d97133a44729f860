//! Where retries wait that the broker cannot delay by itself.

use std::time::Duration;

use convoke_core::broker::{Capabilities, Delay};
use convoke_core::{OnRetry, Topic, names};

use super::{PlannedRoute, PlannedSubscription};

/// The longest delay that is waited out in the process where a message need not hold its key.
pub(crate) const IN_PROCESS: Duration = Duration::from_secs(5);

/// How many places there are at most; the last begins with 22 hours.
const MOST: usize = 8;

impl PlannedSubscription {
    /// Gives each topic places for its retries, if the broker needs any, and some handler of the topic lets others pass.
    pub(crate) fn make_tiers(&mut self, capabilities: &Capabilities) {
        // What is published there lies behind the mark; and what a broadcast published would outlive it.
        if capabilities.delay != Delay::Republish || self.until_end || self.broadcast {
            return;
        }
        for topic in self.topics.clone() {
            let reads = |route: &PlannedRoute| route.sources.iter().any(|source| source.topic == topic);
            let passes = |route: &&PlannedRoute| reads(route) && (!route.ordered || route.options.on_retry == OnRetry::Pass);
            let longest = self.routes.iter().filter(passes).map(|route| {
                let retry = route.options.retry;
                retry.max.saturating_add(retry.max.saturating_mul(retry.jitter) / 100)
            });
            let Some(longest) = longest.max() else { continue };
            let tiers = tiers(&topic, &self.group, longest);
            for source in self.routes.iter_mut().flat_map(|route| &mut route.sources).filter(|source| source.topic == topic) {
                source.tiers.clone_from(&tiers);
            }
        }
    }

    /// The places where retries of a topic wait.
    pub(crate) fn tiers<'a>(&'a self, topic: &'a Topic) -> impl Iterator<Item = &'a Topic> + 'a {
        let source = self.routes.iter().flat_map(|route| &route.sources).find(move |source| source.topic == *topic);
        source.into_iter().flat_map(|source| source.tiers.iter().map(|(_, tier)| tier))
    }
}

/// Places by the shortest delay of each, ascending: the waits in one place are alike, so that what is first in it is due first.
///
/// Each goes up to four times its shortest delay, the last without end. There are as many as the backoffs need, and one more for
/// what a handler asks for beyond that.
fn tiers(topic: &Topic, group: &str, longest: Duration) -> Vec<(Duration, Topic)> {
    let mut tiers = Vec::new();
    let mut least = IN_PROCESS;
    loop {
        tiers.push((least, names::retry_tier(topic.as_str(), group, least.as_secs()).into()));
        if least > longest || tiers.len() == MOST {
            return tiers;
        }
        least *= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_the_backoff_needs_and_one_for_what_is_longer() {
        let names = |longest| tiers(&"t".into(), "g", longest).into_iter().map(|(_, tier)| tier.to_string()).collect::<Vec<_>>();
        assert_eq!(names(Duration::ZERO), ["t.g.retry.5s"]);
        assert_eq!(names(Duration::from_secs(36)), ["t.g.retry.5s", "t.g.retry.20s", "t.g.retry.80s"]);
        assert_eq!(names(Duration::MAX).len(), MOST);
    }
}
