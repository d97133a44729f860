//! The names of exchanges and queues.
//!
//! `:` separates what is joined, since it can stand neither in a topic nor, by [`check`], in a group: so no two groups meet in a queue.

use convoke_core::{Error, ErrorKind, Topic};

/// The longest name of AMQP.
const MAX: usize = 255;

/// The exchange through which nobody is reached. What is bound to it counts as routed to no queue, so that the alternate exchange of a
/// topic gets only what has no partition yet.
pub(crate) const NOBODY: &str = "convoke:nobody";

/// The exchange of messages that came without a partition. It states how many partitions the topic has, since an exchange's
/// arguments cannot be read and this one the server compares.
pub(crate) fn foreign_exchange(topic: &str, partitions: u32) -> String {
    format!("{topic}:foreign:{partitions}")
}

/// How many partitions the topic has whose alternate exchange is called so.
pub(crate) fn partitions_in(exchange: &str, topic: &str) -> Option<u32> {
    exchange.strip_prefix(topic)?.strip_prefix(":foreign:")?.parse().ok()
}

/// The queue of messages that came without a partition.
pub(crate) fn foreign_queue(topic: &str) -> String {
    format!("{topic}:foreign")
}

/// The routing key of a partition.
pub(crate) fn routing_key(partition: u32) -> String {
    format!("p.{partition}")
}

/// A partition's queue of a group.
pub(crate) fn queue(topic: &str, group: &str, partition: u32) -> String {
    format!("{topic}:{group}:{partition}")
}

/// The queue of one instance of a broadcast.
pub(crate) fn instance_queue(topic: &str, group: &str, instance: &str) -> String {
    format!("{topic}:{group}:{instance}")
}

/// The exchange on which the members of a group tell each other that they live.
pub(crate) fn members(topic: &str, group: &str) -> String {
    format!("{topic}:{group}:members")
}

/// What is wrong with these names, if anything: everything at once.
pub(crate) fn check<'n>(
    topics: impl Iterator<Item = &'n Topic>,
    groups: impl Iterator<Item = (&'n str, &'n Topic)>,
) -> Result<(), Error> {
    let mut problems = Vec::new();
    let mut fits = |what: &str, name: &str, room: usize| {
        let problem = if name.is_empty() {
            Some("is empty".to_owned())
        } else if name.starts_with("amq.") {
            Some("begins with `amq.`, which RabbitMQ keeps for itself".to_owned())
        } else if name.contains(':') || name.contains(|c: char| c.is_control()) {
            Some("contains `:` or a control character; use letters, digits, `.`, `_` and `-`".to_owned())
        } else if name.len() > room {
            Some(format!("has {} bytes; {room} are possible here", name.len()))
        } else {
            None
        };
        problems.extend(problem.map(|problem| format!("the {what} `{name}` {problem}")));
    };
    // The longest that is made of a name: `:foreign:1024`, and `:<uuid>` behind a group.
    topics.for_each(|topic| fits("topic", topic.as_str(), MAX - 13));
    groups.for_each(|(group, topic)| fits("group", group, (MAX - 38).saturating_sub(topic.as_str().len())));
    problems.sort();
    problems.dedup();
    if problems.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Configuration, problems.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_partitions_stands_in_the_name_of_the_alternate_exchange() {
        assert_eq!(partitions_in(&foreign_exchange("a.b", 12), "a.b"), Some(12));
        assert_eq!(partitions_in("a.b:foreign:x", "a.b"), None);
        assert_eq!(partitions_in("elsewhere", "a.b"), None);
    }

    #[test]
    fn no_two_groups_meet_in_a_queue() {
        assert_ne!(queue("orders", "eu.shop", 1), queue("orders.eu", "shop", 1));
    }

    #[test]
    fn names_that_rabbitmq_does_not_have_are_refused_with_the_allowed_form() {
        let topics = [Topic::from("amq.x"), Topic::from("fine"), Topic::from("a:b")];
        let long = "g".repeat(250);
        let error = check(topics.iter(), [(&*long, &topics[1])].into_iter()).unwrap_err().to_string();
        for says in ["`amq.x`", "`a:b`", "letters, digits", "250 bytes"] {
            assert!(error.contains(says), "{says}: {error}");
        }
        check(topics[1..2].iter(), [("billing", &topics[1])].into_iter()).unwrap();
    }
}
