//! What things are called on the server.

use convoke_core::{Error, ErrorKind, Topic};

/// The server's limit for the names of streams and consumers.
const MAX_BYTES: usize = 255;

/// Dots separate subjects, and names of streams, consumers and members may have none: `=` stands for them. What a name may hold
/// ([`check`]) has none, so that no two names become one.
pub(crate) fn undotted(name: &str) -> String {
    name.replace('.', "=")
}

/// The stream of a topic.
pub(crate) fn stream(topic: &str) -> String {
    undotted(topic)
}

/// The topic of a stream that was named by us, or could have been.
pub(crate) fn topic_of(stream: &str) -> Topic {
    stream.replace('=', ".").into()
}

/// The subject of a partition.
pub(crate) fn subject(topic: &str, partition: u32) -> String {
    format!("{topic}.{partition}")
}

/// Where the schedules of a topic are, one subject each. No topic of ours has a `=`, so that none is in its way.
pub(crate) fn schedules(topic: &str) -> String {
    format!("{topic}.=later.>")
}

/// Where the mark is before which nothing of a stream expires. No topic of ours has a `=`.
pub(crate) fn beginning(topic: &str) -> String {
    format!("{topic}.=begin")
}

/// Where the schedule of one message is. A later one of the same id takes its place.
pub(crate) fn schedule(topic: &str, id: &str) -> String {
    let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    // What cannot stand in a subject is spelt out, with a mark that no plain one has.
    let id = if plain { id.to_owned() } else { id.bytes().fold("=".to_owned(), |text, byte| format!("{text}{byte:02x}")) };
    format!("{topic}.=later.{id}")
}

/// The durable consumer of a group on a partition. The partition comes last and holds no `=`, so that no two are alike.
pub(crate) fn consumer(group: &str, partition: u32) -> String {
    format!("{}={partition}", undotted(group))
}

/// Where a consumer is asked for messages.
pub(crate) fn pull(stream: &str, consumer: &str) -> String {
    format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}")
}

/// The consumer that moves what foreign clients publish to a topic without saying a partition.
pub(crate) const ROUTER: &str = "convoke-router";

/// Whether the server can have a topic of this name.
pub(crate) fn check_topic(name: &str) -> Result<(), Error> {
    check("topic", name)?;
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        let text = format!(
            "the topic `{name}` ends like a partition of `{}`; let its last part hold a letter",
            &name[..name.len() - last.len() - 1]
        );
        return Err(Error::new(ErrorKind::InvalidTopic, text));
    }
    Ok(())
}

/// Whether the server can have a topic or group of this name.
pub(crate) fn check(what: &str, name: &str) -> Result<(), Error> {
    let sound =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    // Some room for the partition's number.
    if name.len() <= MAX_BYTES - 12 && name.split('.').all(sound) {
        return Ok(());
    }
    let text = format!(
        "NATS cannot have a {what} `{name}`: a name has up to {} letters, digits, `_` and `-`, in parts between dots",
        MAX_BYTES - 12
    );
    Err(Error::new(ErrorKind::InvalidTopic, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_names_become_one() {
        assert_ne!(stream("orders.paid"), stream("orders_paid"));
        assert_ne!(consumer("a.1", 0), consumer("a", 10));
        assert_eq!(topic_of(&stream("orders.paid")).as_str(), "orders.paid");
    }

    #[test]
    fn each_id_has_a_schedule_of_its_own() {
        assert_eq!(schedule("orders", "0190-a_b"), "orders.=later.0190-a_b");
        assert_eq!(schedule("orders", "a.*"), "orders.=later.=612e2a");
        assert_ne!(schedule("orders", "a.b"), schedule("orders", "612e62"));
    }

    #[test]
    fn names_that_the_server_cannot_have_are_refused_with_those_that_it_can() {
        for name in ["orders", "orders.paid", "a-b.c_d.9z"] {
            check_topic(name).unwrap();
        }
        for name in ["", "a b", "a..b", ".a", "a.", "a.*", "a.>", "a/b", "ä", "orders.3", &"x".repeat(244)] {
            assert_eq!(check_topic(name).unwrap_err().kind(), ErrorKind::InvalidTopic, "{name}");
        }
        assert!(check_topic("orders.3").unwrap_err().to_string().contains("partition of `orders`"));
    }
}
