//! Events that lead back to themselves.

use std::collections::BTreeSet;

use convoke_core::Topic;

use super::Plan;

/// Events that lead back to themselves can loop for ever: a warning, since a counter in the payload may end it.
pub(super) fn cycles(plan: &Plan) -> Vec<String> {
    let routes: Vec<_> = plan.subscriptions.iter().flat_map(|subscription| &subscription.routes).collect();
    let next = |topic: &Topic| -> Vec<Topic> {
        let reading = routes.iter().filter(|route| route.reads(topic));
        reading.flat_map(|route| route.outputs.iter().cloned()).collect()
    };
    let mut warnings = Vec::new();
    for start in routes.iter().flat_map(|route| route.topics()).collect::<BTreeSet<_>>() {
        let mut seen = BTreeSet::new();
        let mut todo = next(start);
        while let Some(topic) = todo.pop() {
            if topic == *start {
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
