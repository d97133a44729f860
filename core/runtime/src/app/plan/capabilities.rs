//! What an application asks for, against what the broker offers.

use convoke_core::broker::{Capabilities, LeaseKind, Ordering, Start};

use super::{Plan, Problems};

/// What the application asks for and the broker lacks.
pub(crate) fn check_capabilities(plan: &Plan, capabilities: &Capabilities, problems: &mut Problems) {
    let broker = capabilities.name;
    let routes =
        plan.subscriptions.iter().flat_map(|subscription| subscription.routes.iter().map(move |route| (subscription, route)));
    for (subscription, route) in routes {
        let (name, at) = (route.handler.name, route.handler.location);
        if route.ordered && capabilities.ordering == Ordering::None {
            problems
                .push(format!("handler `{name}` ({at}) needs the order of keys, which {broker} cannot keep; say `order = none`"));
        }
        if let (Some(timeout), LeaseKind::Fixed(limit)) = (route.options.timeout, capabilities.lease)
            && timeout > limit
        {
            problems.push(format!(
                "handler `{name}` ({at}) may take {timeout:?}, but {broker} delivers again after {limit:?}, and cannot be told to wait; \
                 shorten `timeout`"
            ));
        }
        if subscription.start != Start::Earliest && !capabilities.start_positions {
            problems.push(format!(
                "handler `{name}` ({at}) is to start elsewhere, but {broker} can only begin at the earliest message"
            ));
        }
    }
}
