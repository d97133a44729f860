//! Streams of ours that were made when the server, or this adapter, could less.

use convoke_core::{Error, Topic};

use crate::link::Link;
use crate::topology::{self, Found};
use crate::{failure, names};

/// Allows the stream of a topic what the server can by now, if it is one of ours. Others are left as they are.
pub(crate) async fn allow(link: &Link, topic: &Topic, found: Found) -> Result<(), Error> {
    let (schedules, expiry) = (link.keeps_schedules() && !found.schedules, link.lets_expire() && !found.expiry);
    if !schedules && !expiry {
        return Ok(());
    }
    let text =
        || format!("the stream of topic `{topic}` cannot be allowed to keep messages until they are due, or to let them expire");
    let stream = link.jetstream.get_stream(names::stream(topic.as_str())).await.map_err(|error| failure::of(text(), error))?;
    let mut config = stream.cached_info().config.clone();
    if config.description.as_deref() != Some(topology::description(topic).as_str()) {
        return Ok(());
    }
    config.allow_message_schedules |= schedules;
    config.allow_message_ttl |= expiry;
    let subjects = [schedules.then(|| names::schedules(topic.as_str())), expiry.then(|| names::beginning(topic.as_str()))];
    for subject in subjects.into_iter().flatten().filter(|subject| !config.subjects.contains(subject)).collect::<Vec<_>>() {
        config.subjects.push(subject);
    }
    link.jetstream.update_stream(config).await.map(drop).map_err(|error| failure::of(text(), error))
}
