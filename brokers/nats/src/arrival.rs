//! What comes in answer to a pull: messages, and words about the pull.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::Subject;
use convoke_core::{Message, Topic};

use crate::wire;

/// A message, and what its reply subject says of it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) message: Message,
    /// Where to say what became of it; nowhere, if it was [set aside](crate::aside).
    pub(crate) reply: Option<Subject>,
    /// Its place in the stream.
    pub(crate) sequence: u64,
    /// How often the server has delivered it.
    pub(crate) deliveries: u32,
    /// How many deliveries the consumer has made, this one included.
    pub(crate) count: u64,
    pub(crate) published: SystemTime,
}

/// What was said of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// It is waiting.
    Alive,
    /// It is over; what it did not bring is to be asked for anew.
    Over,
    /// The consumer is gone, or nobody knows of it.
    Gone,
}

/// An answer to a pull.
#[derive(Debug)]
pub(crate) enum Answer {
    Message(Arrived),
    Word { pull: u64, word: Word },
}

/// What an answer is. A word comes to the subject of its pull, whose last part is its number; a message keeps the subject under which
/// it was published, and can be acknowledged. A status tells nothing: whoever publishes can write one.
pub(crate) fn read(topic: &Topic, message: async_nats::Message) -> Option<Answer> {
    if let Some(About { sequence, deliveries, count, published }) = message.reply.as_deref().and_then(about) {
        let reply = message.reply;
        let message = wire::message(topic, message.headers.as_ref(), message.payload);
        return Some(Answer::Message(Arrived { message, reply, sequence, deliveries, count, published }));
    }
    let status = message.status?;
    let pull = message.subject.rsplit('.').next()?.parse().ok()?;
    let gone = |text: &str| text.contains("Deleted") || text.contains("Shutdown");
    let word = match status.as_u16() {
        100 => Word::Alive,
        409 if message.description.as_deref().is_some_and(gone) => Word::Gone,
        503 => Word::Gone,
        _ => Word::Over,
    };
    Some(Answer::Word { pull, word })
}

/// What a reply subject says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) sequence: u64,
    deliveries: u32,
    count: u64,
    published: SystemTime,
}

/// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<nanoseconds>.<pending>`.
pub(crate) fn about(reply: &str) -> Option<About> {
    let rest = reply.strip_prefix("$JS.ACK.")?;
    let count = rest.split('.').count();
    let mut parts = rest.split('.').skip(if count > 8 { 4 } else { 2 });
    let deliveries = parts.next()?.parse().ok()?;
    let sequence = parts.next()?.parse().ok()?;
    let count = parts.next()?.parse().ok()?;
    let nanos = parts.next()?.parse().ok()?;
    Some(About { sequence, deliveries, count, published: UNIX_EPOCH + Duration::from_nanos(nanos) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_reply_subject_are_read() {
        let at = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_001);
        for reply in [
            "$JS.ACK.orders.g=3.2.17.40.1700000000000000001.5",
            "$JS.ACK._.hash.orders.g=3.2.17.40.1700000000000000001.5",
            "$JS.ACK.hub.hash.orders.g=3.2.17.40.1700000000000000001.5.token",
        ] {
            let expected = About { sequence: 17, deliveries: 2, count: 40, published: at };
            assert_eq!(about(reply), Some(expected), "{reply}");
        }
        assert_eq!(about("$JS.ACK.orders.g=3.x.17.40.1.5"), None);
        assert_eq!(about("_INBOX.x"), None);
    }
}
