//! What handlers of one group must agree on.

use convoke_core::Topic;

use super::events::overlap;
use super::native::check_alike;
use super::{Plan, PlannedRoute, PlannedSubscription, Problems};

/// Handlers that share a subscription must not want the same messages.
pub(super) fn check_shared(subscription: &PlannedSubscription, problems: &mut Problems) {
    for (i, route) in subscription.routes.iter().enumerate() {
        check_route(subscription, route, &subscription.routes[..i], problems);
    }
}

fn check_route(subscription: &PlannedSubscription, route: &PlannedRoute, others: &[PlannedRoute], problems: &mut Problems) {
    let handler = route.handler;
    for other in others {
        let places =
            || format!("`{}` ({}) and `{}` ({})", other.handler.name, other.handler.location, handler.name, handler.location);
        let same_event = match (other.event, route.event) {
            (Some(a), Some(b)) => overlap(a, b),
            _ => true,
        };
        let Some(topic) = route.topics().find(|topic| same_event && other.reads(topic)) else { continue };
        match (other.handler.options.matches, handler.options.matches) {
            // One takes what has the header, the other the rest.
            (Some(_), None) | (None, Some(_)) => {}
            (Some(a), Some(b)) if a.header == b.header && a.value != b.value => {}
            (Some(a), Some(b)) if a.header != b.header => problems.push(format!(
                "handlers {} match on different headers (`{}` and `{}`), and a message of `{}` may have both; match on one of them, with \
                 different values, or give each handler a group of its own",
                places(),
                a.header,
                b.header,
                topic
            )),
            (Some(same), _) => problems.push(format!(
                "handlers {} both match on `{} = {}`, and would each get only some of the messages of `{}`; let them match on different \
                 values, or give each a group of its own",
                places(),
                same.header,
                same.value,
                topic
            )),
            (None, None) => problems.push(format!(
                "handlers {} read the same events of `{}` in the group `{}`, and would each get only some; give each a group of its own, \
                 or let them `match(…)` on a header",
                places(),
                topic,
                subscription.group
            )),
        }
    }
    check_alike(route, others, problems);
    if subscription.start != route.start
        && let Some(other) = others.first()
    {
        let other = other.handler;
        problems.push(format!(
            "handler `{}` ({}) starts elsewhere than `{}` ({}), with which it shares a place in the group `{}`; say the same `start` on both",
            handler.name, handler.location, other.name, other.location, subscription.group
        ));
    }
}

/// A topic that a group reads by a lane is not read by the same group without it: both would get only some.
pub(super) fn check_lanes_apart(plan: &Plan, problems: &mut Problems) {
    let reads = |one: &PlannedSubscription, topic: &Topic| one.routes.iter().any(|route| route.reads(topic));
    let names = |one: &PlannedSubscription| {
        let names = one.routes.iter().map(|route| format!("`{}` ({})", route.handler.name, route.handler.location));
        names.collect::<Vec<_>>().join(", ")
    };
    for (i, a) in plan.subscriptions.iter().enumerate() {
        for b in &plan.subscriptions[..i] {
            if (a.broker, &a.group) != (b.broker, &b.group) {
                continue;
            }
            if a.broadcast != b.broadcast {
                problems.push(format!(
                    "the group `{}` is that of {} and of {}, one of which is a `broadcast`, which has a group of its own; give one of them \
                     another name",
                    a.group,
                    names(b),
                    names(a)
                ));
                continue;
            }
            if let Some(topic) = a.topics.iter().find(|topic| reads(b, topic)) {
                problems.push(format!(
                    "the group `{}` reads `{topic}` in two ways: by {} and by {}; name the same `lane` on all of them, or none",
                    a.group,
                    names(b),
                    names(a)
                ));
            }
        }
    }
}
