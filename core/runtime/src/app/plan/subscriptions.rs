//! Which handlers read through one subscription.

use convoke_core::few::sort_by;
use convoke_core::{Error, ErrorKind, Topic};

use super::{PlannedRoute, PlannedSubscription};

/// Puts a handler's part into the subscription of its group that shares its lane, or, where there is no lane, any of its topics.
/// Subscriptions that it connects become one: a group reads a topic in one way only.
pub(super) fn place_route(subscriptions: &mut Vec<PlannedSubscription>, group: String, route: PlannedRoute) {
    let (lane, broadcast) = (route.handler.options.lane, route.handler.options.broadcast);
    let shares = |other: &PlannedSubscription| {
        let alike = (other.broker, &other.group, other.lane) == (route.broker, &group, lane) && other.broadcast == broadcast;
        alike && (lane.is_some() || other.topics.iter().any(|topic| route.reads(topic)))
    };
    let (connected, apart) = std::mem::take(subscriptions).into_iter().partition(shares);
    *subscriptions = apart;
    let (broker, start, topics, routes) = (route.broker, route.start, Vec::new(), Vec::new());
    let mut one = PlannedSubscription { broker, group, lane, topics, start, broadcast, until_end: false, routes };
    for other in connected {
        one.add(other.topics);
        one.routes.extend(other.routes);
    }
    one.add(route.topics().cloned());
    one.routes.push(route);
    one.start = one.routes[0].start;
    subscriptions.push(one);
}

impl PlannedSubscription {
    fn add(&mut self, topics: impl IntoIterator<Item = Topic>) {
        for topic in topics {
            if !self.topics.contains(&topic) {
                self.topics.push(topic);
            }
        }
    }
}

/// The order in which subscriptions are shown and opened: by group, then by lane or first topic.
pub(super) fn sort(subscriptions: &mut Vec<PlannedSubscription>) {
    sort_by(subscriptions, |a, b| {
        let place = |one: &PlannedSubscription| (one.group.clone(), one.lane.is_none(), one.lane, one.topics.first().cloned());
        place(a).cmp(&place(b))
    });
}

/// Topics that share the order of keys have equal numbers of partitions: else a key would be in partitions of different owners.
///
/// # Errors
/// [`ErrorKind::Configuration`] with each subscription of which that is not true.
pub(crate) fn check_partitions<'p>(
    subscriptions: impl Iterator<Item = &'p PlannedSubscription>,
    partitions: &[(Topic, u32)],
) -> Result<(), Error> {
    let mut problems = Vec::new();
    for subscription in subscriptions.filter(|one| one.routes.iter().any(|route| route.ordered)) {
        let count = |topic: &Topic| partitions.iter().find(|(other, _)| other == topic).map(|(_, count)| *count);
        let mut counts: Vec<_> = subscription.topics.iter().filter_map(|topic| Some((topic, count(topic)?))).collect();
        sort_by(&mut counts, |a, b| a.1.cmp(&b.1));
        let (Some(least), Some(most)) = (counts.first(), counts.last()) else { continue };
        if least.1 != most.1 {
            problems.push(format!(
                "the group `{}` keeps keys in order over `{}` with {} partitions and `{}` with {}, which would have different owners; \
                 give these topics equal numbers of partitions, read them in different groups, or say `order = none`",
                subscription.group, least.0, least.1, most.0, most.1
            ));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Configuration, problems.join("\n"))) }
}
