//! How far a group is behind.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use convoke_core::broker::Lag;
use convoke_core::{Error, Topic};
use futures_util::{StreamExt, TryStreamExt};

use crate::hands::Hands;
use crate::link::Link;
use crate::store::Store;
use crate::{consumers, names, numbered, schedule, store, topology};

/// What is known of one partition.
struct Behind {
    backlog: u64,
    unsettled: u64,
    delayed: u64,
    oldest: Option<Duration>,
}

/// What this process has in hand of the partitions of a group.
pub(crate) type InHand = HashMap<(Topic, u32), Arc<Hands>>;

pub(crate) async fn lag(link: &Link, store: &Store, group: &str, topics: &[Topic], mut in_hand: InHand) -> Result<Lag, Error> {
    let mut lag = Lag::default();
    (lag.backlog, lag.unsettled, lag.delayed) = (Some(0), Some(0), Some(0));
    let scope = store::scope(group, topics);
    let mut places = Vec::new();
    for topic in topology::resolve(link, topics).await? {
        let count = topology::partitions(link, &topic).await?.ok_or_else(|| topology::no_topic(&topic))?;
        // First what is not moved yet: it is counted twice rather than not at all.
        let unmoved = consumers::unmoved(link, &topic).await?;
        lag.backlog = lag.backlog.map(|sum| sum + unmoved);
        if link.keeps_schedules() {
            let scheduled = schedule::count(link, &topic).await?;
            lag.delayed = lag.delayed.map(|sum| sum + scheduled);
        }
        places.extend((0..count).map(|partition| (topic.clone(), partition, in_hand.remove(&(topic.clone(), partition)))));
    }
    let scope = scope.as_str();
    let each = places
        .into_iter()
        .map(|(topic, partition, hands)| async move { one(link, store, scope, group, &topic, partition, hands).await });
    let each: Vec<Behind> = futures_util::stream::iter(each).buffered(32).try_collect().await?;
    for Behind { backlog, unsettled, delayed, oldest } in each {
        lag.backlog = lag.backlog.map(|sum| sum + backlog);
        lag.unsettled = lag.unsettled.map(|sum| sum + unsettled);
        lag.delayed = lag.delayed.map(|sum| sum + delayed);
        lag.oldest = lag.oldest.max(oldest);
    }
    Ok(lag)
}

async fn one(
    link: &Link,
    store: &Store,
    scope: &str,
    group: &str,
    topic: &Topic,
    partition: u32,
    hands: Option<Arc<Hands>>,
) -> Result<Behind, Error> {
    let info = consumers::consumer(link, group, topic, partition).await?;
    let out = info.num_ack_pending as u64;
    let mut behind = Behind { backlog: info.num_pending, unsettled: 0, delayed: 0, oldest: None };
    if out > 0 {
        // For the server all of this is out: what waits for its time, what is in somebody's hands, and what nobody has any more.
        let kept = store.kept(&store::place(group, topic.as_str(), partition)).await?;
        let waits = kept.values().filter(|kept| kept.waits()).count() as u64;
        behind.delayed = waits.min(out);
        let rest = out - behind.delayed;
        behind.unsettled = match hands.and_then(|hands| hands.count()) {
            Some(count) => count.min(rest),
            None if store.is_owned(scope, partition).await? => rest,
            None => 0,
        };
        behind.backlog += rest - behind.unsettled;
    }
    if out + info.num_pending > 0 {
        behind.oldest = age(link, topic, partition, info.ack_floor.stream_sequence + 1).await?;
    }
    Ok(behind)
}

/// The age of the first message of a partition from a place on.
async fn age(link: &Link, topic: &Topic, partition: u32, from: u64) -> Result<Option<Duration>, Error> {
    let (stream, subject) = (names::stream(topic.as_str()), names::subject(topic.as_str(), partition));
    let oldest = numbered::next(link, &stream, &subject, from).await?;
    Ok(oldest.and_then(|oldest| SystemTime::now().duration_since(oldest.published).ok()))
}
