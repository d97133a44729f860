//! Dead letters: the message as it came, with headers that say why it is here.

use std::sync::OnceLock;
use std::time::SystemTime;

use convoke_core::cloudevents::rfc3339;
use convoke_core::{DeadReason, Incoming, Message, Outgoing, Topic, names};

use super::bodies::Failure;

/// What a dead letter's headers say, beside what is in the message.
pub(crate) struct Death<'a> {
    pub(crate) reason: DeadReason,
    pub(crate) attempts: u32,
    pub(crate) failure: Option<&'a Failure>,
    pub(crate) group: &'a str,
    pub(crate) handler: &'a str,
}

/// Headers that are left out, in this order, when the letter would be larger than the broker takes.
const OPTIONAL: [&str; 6] =
    [names::DEAD_ERROR_CHAIN, names::DEAD_ERROR, names::DEAD_HOST, names::DEAD_FIRST_FAILED_AT, names::DEAD_KEY, names::DEAD_AT];

/// How many bytes of a message of ours are kept free for the headers of a dead letter that are never left out.
pub(crate) const RESERVED: usize = 1024;

/// The dead letter of `incoming`, for `topic`. Payload, key and all other headers are as they came; headers of an earlier death
/// are replaced.
pub(crate) fn letter(incoming: &Incoming, topic: &Topic, death: &Death<'_>, max_message: Option<usize>) -> Outgoing {
    let original = &incoming.message;
    let mut letter = original.clone().into_builder().topic(topic.clone());
    let headers = letter.headers_mut();
    headers.retain(|name| !name.starts_with(names::DEAD_PREFIX));
    let now = SystemTime::now();
    headers.append(names::DEAD_REASON, death.reason.as_str());
    headers.append(names::DEAD_ATTEMPTS, death.attempts.to_string());
    headers.append(names::DEAD_TOPIC, original.topic().as_str().to_owned());
    headers.append(names::DEAD_PARTITION, incoming.partition.to_string());
    headers.append(names::DEAD_OFFSET, incoming.position.to_string());
    headers.append(names::DEAD_GROUP, death.group.to_owned());
    headers.append(names::DEAD_HANDLER, death.handler.to_owned());
    headers.append(names::DEAD_AT, rfc3339(now));
    headers.append(names::DEAD_HOST, host());
    if let Some(key) = incoming.content().key() {
        headers.append(names::DEAD_KEY, key.clone().into_bytes());
    }
    if let Some(failure) = death.failure {
        headers.append(names::DEAD_FIRST_FAILED_AT, rfc3339(failure.first_at));
        headers.append(names::DEAD_ERROR, failure.error.clone());
        headers.append(names::DEAD_ERROR_CHAIN, failure.chain.clone());
    }
    let mut letter = letter.build();
    for name in OPTIONAL {
        if max_message.is_none_or(|max| letter.size() <= max) {
            break;
        }
        letter = without(letter, name);
    }
    let mut outgoing = Outgoing::new(letter);
    outgoing.verbatim = true;
    outgoing
}

/// The same letter without what it can do without. `None` if it has nothing of that.
pub(super) fn spare(letter: &Outgoing) -> Option<Outgoing> {
    let mut spare = letter.clone();
    spare.message = OPTIONAL.into_iter().fold(spare.message, without);
    (spare.message.headers().len() < letter.message.headers().len()).then_some(spare)
}

fn without(letter: Message, name: &str) -> Message {
    let mut letter = letter.into_builder();
    letter.headers_mut().retain(|other| other != name);
    letter.build()
}

/// This machine's name, for people who look for its logs.
fn host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| {
        let from_env = || std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok();
        let from_kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
        from_env().or_else(from_kernel).filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use convoke_core::Position;
    use convoke_core::broker::Token;

    fn incoming(payload: usize) -> Incoming {
        let message = Message::builder("orders").key("ada").header("tenant", "acme").header("convoke-dead-reason", "old");
        let position = Position::Offset(7);
        Incoming::new(message.payload(vec![0xff; payload]).build(), 3, position, Token::for_tests(position))
    }

    fn death<'a>(failure: &'a Failure) -> Death<'a> {
        Death { reason: DeadReason::Panic, attempts: 5, failure: Some(failure), group: "g", handler: "h" }
    }

    fn failure() -> Failure {
        Failure { error: "e".repeat(1024), chain: "c".repeat(8192), first_at: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn a_letter_keeps_the_message_and_replaces_an_earlier_death() {
        let letter = letter(&incoming(10), &"orders.g.dead".into(), &death(&failure()), None).message;
        assert_eq!(letter.payload(), &vec![0xff; 10]);
        assert_eq!(letter.key(), incoming(10).message.key());
        assert_eq!(letter.headers().get_str("tenant"), Some("acme"));
        assert_eq!(letter.headers().get_all(names::DEAD_REASON).collect::<Vec<_>>(), ["panic"]);
        assert_eq!(letter.headers().get_str(names::DEAD_OFFSET), Some("7"));
    }

    #[test]
    fn optional_headers_are_left_out_when_there_is_no_room() {
        let max = 10_000 + RESERVED;
        let letter = letter(&incoming(10_000), &"orders.g.dead".into(), &death(&failure()), Some(max)).message;
        assert!(letter.size() <= max, "{}", letter.size());
        assert_eq!(letter.payload().len(), 10_000);
        assert_eq!(letter.headers().get_str(names::DEAD_TOPIC), Some("orders"));
        assert_eq!(letter.headers().get(names::DEAD_ERROR_CHAIN), None);
    }
}
