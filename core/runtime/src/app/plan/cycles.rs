//! Events that lead back to themselves.

use std::collections::VecDeque;

use convoke_core::Topic;
use convoke_core::few::{Few, FewByKey};

use super::{Plan, PlannedRoute};

/// A topic and the number of its broker.
type Place = (usize, Topic);

/// Events that lead back to themselves can loop for ever: a warning, since a counter in the payload may end it. Each circle is told
/// of once, with the handlers that it goes through.
pub(super) fn cycles(plan: &Plan) -> Vec<String> {
    let routes = plan.routes();
    let read: Few<Place> = routes.iter().flat_map(|route| route.topics().map(|topic| (route.broker, topic.clone()))).collect();
    let (mut told, mut warnings) = (Vec::new(), Vec::new());
    for start in read.iter() {
        let Some(circle) = back_to(start, &routes) else { continue };
        let handlers: Few<_> = circle.iter().map(|(route, _)| (route.handler.name, route.handler.location)).collect();
        if !told.contains(&handlers) {
            told.push(handlers);
            warnings.push(tell(start, &circle));
        }
    }
    warnings
}

/// The shortest way from a topic back to it: each handler with the topic that it publishes to.
fn back_to<'p>(start: &Place, routes: &[&'p PlannedRoute]) -> Option<Vec<(&'p PlannedRoute, Place)>> {
    let mut came: FewByKey<Place, (&PlannedRoute, Place)> = FewByKey::default();
    let mut next = VecDeque::from([start.clone()]);
    while let Some(here) = next.pop_front() {
        for route in routes.iter().copied().filter(|route| route.broker == here.0 && route.reads(&here.1)) {
            for output in &route.outputs {
                if !came.contains_key(output) {
                    came.insert(output.clone(), (route, here.clone()));
                    next.push_back(output.clone());
                }
            }
        }
    }
    let mut circle = Vec::new();
    let mut at = start.clone();
    loop {
        let (route, from) = came.get(&at)?;
        circle.push((*route, at));
        at = from.clone();
        if at == *start {
            circle.reverse();
            return Some(circle);
        }
    }
}

fn tell(start: &Place, circle: &[(&PlannedRoute, Place)]) -> String {
    let mut way = format!("`{}`", start.1);
    for (route, to) in circle {
        way.push_str(&format!(" → `{}` ({}) → `{}`", route.handler.name, route.handler.location, to.1));
    }
    format!(
        "events lead back to themselves, and can go on for ever: {way}; let one of these handlers end it, as by a counter in the event"
    )
}
