//! What handlers and events say for one kind of broker.

use convoke_core::broker::{Broker, Native};

use super::{Plan, PlannedRoute, PlannedSubscription, Problems};

impl PlannedSubscription {
    /// What its handlers say, each thing once.
    pub(crate) fn native(&self) -> Vec<Native> {
        let mut all: Vec<Native> = Vec::new();
        for said in self.routes.iter().flat_map(|route| route.options.native) {
            if !all.contains(said) {
                all.push(*said);
            }
        }
        all
    }
}

/// What the broker of a handler cannot do of what the handler says for its kind. Brokers that could not be opened are told of elsewhere.
pub(crate) fn check_native(plan: &Plan, brokers: &[Option<&dyn Broker>], problems: &mut Problems) {
    for route in plan.routes() {
        let Some(broker) = brokers[route.broker] else { continue };
        if let Err(error) = broker.check_native(route.options.native) {
            problems.push(format!("handler `{}` ({}): {error}", route.handler.name, route.handler.location));
        }
    }
}

/// Handlers that share a subscription must not say different things of it.
pub(super) fn check_alike(route: &PlannedRoute, others: &[PlannedRoute], problems: &mut Problems) {
    let other = others.iter().find_map(|other| Some((other.handler, differs(route.options.native, other.options.native)?)));
    if let Some((other, (said, differently))) = other {
        let handler = route.handler;
        problems.push(format!(
            "handler `{}` ({}) says `{said}`, and `{}` ({}), with which it shares a place in the group `{}`, says `{differently}`; say \
             the same on both",
            handler.name, handler.location, other.name, other.location, route.written_group
        ));
    }
}

/// Of what two say, the first option of which they say different things.
pub(super) fn differs<'n>(one: &'n [Native], other: &'n [Native]) -> Option<(&'n Native, &'n Native)> {
    let differ =
        |said: &Native, other: &&Native| (other.broker, other.name) == (said.broker, said.name) && other.value != said.value;
    one.iter().find_map(|said| Some((said, other.iter().find(|other| differ(said, other))?)))
}
