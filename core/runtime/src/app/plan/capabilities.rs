//! What an application asks for, against what the broker offers.

use convoke_core::broker::{Capabilities, LeaseKind, Ordering, Start};

use super::{Plan, Problems, is_plain};

/// What the application asks for and a broker lacks. Brokers that could not be opened are told of elsewhere.
pub(crate) fn check_capabilities(plan: &Plan, brokers: &[Option<&Capabilities>], problems: &mut Problems) {
    let routes =
        plan.subscriptions.iter().flat_map(|subscription| subscription.routes.iter().map(move |route| (subscription, route)));
    for (subscription, route) in routes {
        let Some(capabilities) = brokers[subscription.broker] else { continue };
        let broker = capabilities.name;
        let (name, at) = (route.handler.name, route.handler.location);
        if let Some(open) = route.topics().find(|topic| !is_plain(topic.as_str()))
            && !capabilities.patterns
        {
            problems.push(format!(
                "handler `{name}` ({at}) reads `{open}`, but {broker} cannot read by a pattern; name its topics: `topics(\"…\", \"…\")`"
            ));
        }
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
        if subscription.broadcast && !capabilities.broadcast {
            problems.push(format!(
                "handler `{name}` ({at}) is a `broadcast`, but {broker} cannot give every instance each message; give each instance a \
                 `group` of its own"
            ));
        }
        if subscription.until_end && !capabilities.until_end {
            problems.push(format!(
                "handler `{name}` ({at}) is to read until the end, but {broker} cannot say where that is; start the application, await \
                 `settled`, then `drain`"
            ));
        }
        // What a broker can always do: a group has everything since it was made, a broadcast what comes while it reads.
        let (always, place) =
            if subscription.broadcast { (Start::New, "what is new") } else { (Start::Earliest, "the earliest message") };
        if subscription.start != always && !capabilities.start_positions {
            problems.push(format!("handler `{name}` ({at}) is to start elsewhere, but {broker} can only begin at {place}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use convoke_core::{BoxHandler, HandlerDef, HandlerOptions, Location, Reply, Topic, handler_fn};

    use super::super::{PlannedRoute, PlannedSubscription, Source};
    use super::*;

    fn plan(change: impl FnOnce(&mut PlannedSubscription)) -> Plan {
        let location = Location::here("here.rs", 1, "here");
        let service = || BoxHandler::new(handler_fn(|_| async { Ok(Reply::ack()) }));
        let handler = HandlerDef::new("work", |_| {}, service, location).options(HandlerOptions::new());
        let (handler, topic): (&'static _, Topic) = (Box::leak(Box::new(handler)), "t".into());
        let (group, topics) = ("g".to_owned(), vec![topic.clone()]);
        let route = PlannedRoute {
            handler,
            options: handler.options,
            written_group: group.clone(),
            written_topics: vec!["t".to_owned()],
            event: None,
            broker: 0,
            sources: vec![Source { topic, place: "p".into(), dead: "d".into(), tiers: Vec::new() }],
            start: Start::Earliest,
            ordered: false,
            dead_configured: false,
            start_configured: None,
            outputs: Vec::new(),
        };
        let (start, routes) = (Start::Earliest, vec![route]);
        let mut subscription =
            PlannedSubscription { broker: 0, group, lane: None, topics, start, broadcast: false, until_end: false, routes };
        change(&mut subscription);
        Plan { subscriptions: vec![subscription], ..Plan::default() }
    }

    #[test]
    fn what_a_broker_lacks_is_said_with_what_to_do_instead() {
        type Change = fn(&mut PlannedSubscription);
        let cases: [(Change, &[&str]); 5] = [
            (|_| {}, &[]),
            (
                |one| one.until_end = true,
                &["is to read until the end, but frugal cannot say where that is; start the application"],
            ),
            (|one| (one.broadcast, one.start) = (true, Start::New), &["is a `broadcast`, but frugal cannot give every instance"]),
            (|one| one.start = Start::New, &["frugal can only begin at the earliest message"]),
            (|one| one.broadcast = true, &["is a `broadcast`", "frugal can only begin at what is new"]),
        ];
        for (change, expected) in cases {
            let mut problems = Problems::new();
            check_capabilities(&plan(change), &[Some(&Capabilities::minimal("frugal"))], &mut problems);
            assert_eq!(problems.len(), expected.len(), "{problems:#?}");
            for (problem, text) in problems.iter().zip(expected) {
                assert!(problem.starts_with("handler `work` (here.rs:1) ") && problem.contains(text), "{problem}");
            }
        }
    }
}
