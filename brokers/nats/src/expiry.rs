//! Messages that expire, by the time to live that the server keeps of each (ADR-43 of NATS, server 2.11).
//!
//! What expires leaves the stream, and every consumer counts it as done. Where it stood at the very beginning, the stream then begins
//! later, as if its limits had discarded something ([`gaps`](crate::reader)). So whoever publishes what expires sees to it that the
//! stream holds a mark before it, that does not: as long as that is there, only limits and purges move the beginning.

use std::time::Duration;

use async_nats::header::{HeaderMap, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_TTL, NATS_SCHEDULE_TTL};
use async_nats::jetstream::message::PublishMessage;
use convoke_core::{Error, ErrorKind, Topic};

use crate::link::Link;
use crate::topology::Found;
use crate::{failure, names};

/// The longest that a message lives; the server's own numbers overflow at three times as much.
const LONGEST: u64 = 3_000_000_000;

/// Whether the stream of a topic lets messages expire.
pub(crate) fn check(topic: &Topic, found: Found) -> Result<(), Error> {
    if found.expiry {
        return Ok(());
    }
    let text = format!(
        "the stream of topic `{topic}` lets no message expire; let the application create what it needs, or give the stream the subject \
         `{}` and allow it per-message TTL",
        names::beginning(topic.as_str())
    );
    Err(Error::new(ErrorKind::Unsupported, text))
}

/// Says in the headers of a message how long it lives: in whole seconds, and never shorter than it should.
pub(crate) fn write(headers: &mut HeaderMap, life: Duration, scheduled: bool) {
    let seconds = life.as_secs() + u64::from(life.subsec_nanos() > 0);
    let name = if scheduled { NATS_SCHEDULE_TTL } else { NATS_MESSAGE_TTL };
    headers.insert(name, seconds.clamp(1, LONGEST).to_string());
}

/// For how long a message lives whose header says this: seconds, or as programs in Go write it. Nothing, if it does not expire.
pub(crate) fn read(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|sign: char| !sign.is_ascii_digit() && sign != '.')?);
        let unit = &after[..after.find(|sign: char| sign.is_ascii_digit()).unwrap_or(after.len())];
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * seconds;
        rest = &after[unit.len()..];
    }
    Duration::try_from_secs_f64(sum).ok().filter(|_| !text.is_empty())
}

/// Puts a mark into the stream of a topic, unless there is one.
pub(crate) async fn mark(link: &Link, topic: &Topic) -> Result<(), Error> {
    let mark = PublishMessage::build().header(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
    let sent = async { link.jetstream.send_publish(names::beginning(topic.as_str()), mark).await?.await };
    let Err(error) = sent.await else { return Ok(()) };
    let error = failure::of(format!("the stream of topic `{topic}` takes no mark before what expires"), error);
    // A server says of it that the last one is another, a cluster that another is being taken.
    if error.kind() == ErrorKind::Rejected { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_written_in_whole_seconds_and_never_shorter() {
        let written = |millis| {
            let mut headers = HeaderMap::new();
            write(&mut headers, Duration::from_millis(millis), false);
            headers.get(NATS_MESSAGE_TTL).unwrap().as_str().to_owned()
        };
        assert_eq!([1, 1000, 1001, u64::MAX].map(written), ["1", "1", "2", "3000000000"]);
    }

    #[test]
    fn what_foreign_clients_say_of_a_life_is_understood() {
        for (text, millis) in [("60", 60_000), ("1m0s", 60_000), ("1500ms", 1500), ("1h2m3.5s", 3_723_500), ("1us", 0)] {
            assert_eq!(read(text).map(|life| life.as_millis()), Some(millis), "{text}");
        }
        for text in ["never", "", "s", "1x", "-5s", "5 s"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
