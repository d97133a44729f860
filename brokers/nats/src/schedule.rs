//! Publishing for later, by the server's message schedules (ADR-51 of NATS, server 2.12).
//!
//! A schedule is a message of the topic's own stream, under a subject of its own, that says when it becomes a message of which
//! partition. It lies where messages lie: as safe, and bound by the same limits.

use std::time::{Duration, SystemTime};

use async_nats::header::{HeaderMap, NATS_SCHEDULE, NATS_SCHEDULE_TARGET};
use convoke_core::cloudevents::rfc3339;
use convoke_core::{Error, ErrorKind, Topic};
use futures_util::TryStreamExt;

use crate::link::Link;
use crate::topology::Found;
use crate::{failure, names};

/// Whether the stream of a topic keeps what is due then.
pub(crate) fn check(topic: &Topic, found: Found, due: SystemTime) -> Result<(), Error> {
    if !found.schedules {
        let text = format!(
            "the stream of topic `{topic}` keeps nothing for later; let the application create what it needs, or give the stream the \
             subject `{}` and allow it message schedules",
            names::schedules(topic.as_str())
        );
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let waits = due.duration_since(SystemTime::now()).unwrap_or_default();
    if !found.max_age.is_zero() && waits >= found.max_age {
        let text = format!(
            "the stream of topic `{topic}` discards what is older than {:?}, and the message is due in {waits:?}; publish it later, or \
             raise the stream's `max_age`",
            found.max_age
        );
        return Err(Error::new(ErrorKind::Rejected, text));
    }
    Ok(())
}

/// Says in the headers of a message when it is due, and where.
pub(crate) fn write(headers: &mut HeaderMap, due: SystemTime, partition: String) {
    // To the millisecond, and never before.
    let due = due + Duration::from_nanos(999_999);
    headers.insert(NATS_SCHEDULE, format!("@at {}", rfc3339(due)));
    headers.insert(NATS_SCHEDULE_TARGET, partition);
}

/// How many messages of a topic are not due yet.
pub(crate) async fn count(link: &Link, topic: &Topic) -> Result<u64, Error> {
    let text = || format!("the schedules of topic `{topic}` cannot be counted");
    let handle =
        link.jetstream.get_stream_no_info(names::stream(topic.as_str())).await.map_err(|error| failure::of(text(), error))?;
    let mut subjects =
        handle.info_with_subjects(names::schedules(topic.as_str())).await.map_err(|error| failure::of(text(), error))?;
    let mut sum = 0;
    while let Some((_, messages)) = subjects.try_next().await.map_err(|error| failure::of(text(), error))? {
        sum += messages as u64;
    }
    Ok(sum)
}
