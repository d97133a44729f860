//! Events that lead back to themselves.

use std::collections::BTreeSet;

use convoke_core::Topic;

use super::Plan;

/// Events that lead back to themselves can loop for ever: a warning, since a counter in the payload may end it.
pub(super) fn cycles(plan: &Plan) -> Vec<String> {
    let routes: Vec<_> = plan.subscriptions.iter().flat_map(|subscription| &subscription.routes).collect();
    let next = |(broker, topic): &(usize, Topic)| -> Vec<(usize, Topic)> {
        let reading = routes.iter().filter(|route| route.broker == *broker && route.reads(topic));
        reading.flat_map(|route| route.outputs.iter().cloned()).collect()
    };
    let mut warnings = Vec::new();
    let read = routes.iter().flat_map(|route| route.topics().map(|topic| (route.broker, topic.clone())));
    for start in read.collect::<BTreeSet<_>>() {
        let mut seen = BTreeSet::new();
        let mut todo = next(&start);
        while let Some(topic) = todo.pop() {
            if topic == start {
                let start = &start.1;
                warnings.push(format!("events of `{start}` lead to events of `{start}`: make sure that this ends"));
                break;
            }
            if seen.insert(topic.clone()) {
                todo.extend(next(&topic));
            }
        }
    }
    warnings
}
