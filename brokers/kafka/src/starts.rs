//! Offsets: where partitions begin and end, and where a group is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use convoke_core::broker::{GroupSpec, Start};
use convoke_core::{Error, ErrorKind, Position, Topic};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;

use crate::broker::Kafka;
use crate::config;
use crate::errors;

pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A partition of a topic.
pub(crate) type Place = (Topic, u32);

#[allow(clippy::cast_possible_wrap, reason = "Kafka counts partitions in i32")]
pub(crate) fn list(places: &[Place], offset: Offset) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        list.add_partition_offset(topic.as_str(), *partition as i32, offset)?;
    }
    Ok(list)
}

/// The offsets of places, in their order. Blocks; a topic that was just made has no leader for a moment.
pub(crate) fn at<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    places: &[Place],
    at: Offset,
) -> Result<Vec<Option<u64>>, KafkaError> {
    let begun = Instant::now();
    loop {
        match ask(client, places, at) {
            Err(error) if begun.elapsed() < PATIENCE && is_passing(&error) => std::thread::sleep(Duration::from_millis(50)),
            other => return other,
        }
    }
}

fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as C;
    matches!(error.rdkafka_error_code(), Some(C::NotLeaderForPartition | C::LeaderNotAvailable | C::UnknownTopicOrPartition))
}

fn ask<C: ConsumerContext>(client: &BaseConsumer<C>, places: &[Place], at: Offset) -> Result<Vec<Option<u64>>, KafkaError> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    // In the place of a time, -1 and -2 mean the end and the beginning.
    let answers = client.offsets_for_times(list(places, at)?, PATIENCE)?;
    places
        .iter()
        .map(|place| {
            let found = find(&answers, place).map(|found| found.error().map(|()| number(found.offset()))).transpose()?.flatten();
            // Every partition has an end and a beginning. What comes back without is one that was not asked for: then it is as if it had
            // no leader, and not as if it were empty.
            match (found, at) {
                (None, Offset::End | Offset::Beginning) => Err(KafkaError::OffsetFetch(RDKafkaErrorCode::LeaderNotAvailable)),
                _ => Ok(found),
            }
        })
        .collect()
}

#[allow(clippy::cast_possible_wrap, reason = "Kafka counts partitions in i32")]
pub(crate) fn find<'a>(
    list: &'a TopicPartitionList,
    (topic, partition): &Place,
) -> Option<rdkafka::topic_partition_list::TopicPartitionListElem<'a>> {
    list.find_partition(topic.as_str(), *partition as i32)
}

pub(crate) fn number(offset: Offset) -> Option<u64> {
    match offset {
        Offset::Offset(number) => u64::try_from(number).ok(),
        _ => None,
    }
}

#[allow(clippy::cast_possible_wrap, reason = "an offset is below 2^63")]
pub(crate) fn offset(number: u64) -> Offset {
    Offset::Offset(number as i64)
}

/// Where a group begins in places that it has not committed anything of. Blocks.
pub(crate) fn begin<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    places: &[Place],
    start: Start,
) -> Result<Vec<u64>, KafkaError> {
    let all = |offsets: Vec<Option<u64>>| offsets.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>();
    match start {
        Start::New => at(client, places, Offset::End).map(all),
        Start::At(Position::Offset(number)) => {
            let (low, high) = (all(at(client, places, Offset::Beginning)?), all(at(client, places, Offset::End)?));
            Ok(low.into_iter().zip(high).map(|(low, high)| number.clamp(low, high.max(low))).collect())
        }
        Start::Time(time) => {
            let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let found = at(client, places, Offset::Offset(i64::try_from(millis).unwrap_or(i64::MAX)))?;
            // Nothing is that young.
            let end = at(client, places, Offset::End)?;
            Ok(found.into_iter().zip(all(end)).map(|(found, end)| found.unwrap_or(end)).collect())
        }
        _ => at(client, places, Offset::Beginning).map(all),
    }
}

/// The time of day, by which the texts of commits count.
pub(crate) fn clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Kafka {
    /// Keeps the places of groups that begin elsewhere than at the earliest message: what is published before their first member comes is
    /// theirs.
    pub(crate) async fn begin_groups(&self, groups: &[GroupSpec]) -> Result<(), Error> {
        for group in groups.iter().filter(|group| group.start != Start::Earliest) {
            let mut places = Vec::new();
            for topic in &group.topics {
                if let Some(found) = self.found(topic).await? {
                    places.extend((0..found.partitions).map(|partition| (topic.clone(), partition)));
                }
            }
            let config = config::asking(&self.options, &self.app, Some(&group.name));
            let (link, name, start) = (std::sync::Arc::clone(&self.link), group.name.clone(), group.start);
            let begun = tokio::task::spawn_blocking(move || {
                let client: BaseConsumer<_> = config.create_with_context(crate::client::Plain(link))?;
                let committed = client.committed_offsets(list(&places, Offset::Invalid)?, PATIENCE)?;
                places.retain(|place| find(&committed, place).is_none_or(|found| number(found.offset()).is_none()));
                if places.is_empty() {
                    return Ok(());
                }
                let mut offsets = TopicPartitionList::with_capacity(places.len());
                for ((topic, partition), begin) in places.iter().zip(begin(&client, &places, start)?) {
                    offsets.add_partition_offset(topic.as_str(), i32::try_from(*partition).unwrap_or(i32::MAX), offset(begin))?;
                }
                // With a member there it is refused, and the member sees to it.
                match client.commit(&offsets, CommitMode::Sync) {
                    Err(KafkaError::ConsumerCommit(code)) if fenced(code) => Ok(()),
                    other => other,
                }
            });
            let begun = begun.await.map_err(|_| crate::broker::internal())?;
            begun.map_err(|error| errors::error(&format!("the place of the group `{name}` cannot be kept"), &error))?;
        }
        Ok(())
    }
}

fn fenced(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as C;
    matches!(code, C::UnknownMemberId | C::IllegalGeneration | C::RebalanceInProgress)
}

/// # Errors
/// If it is no place of this broker's.
pub(crate) fn check(start: Start) -> Result<(), Error> {
    match start {
        Start::Earliest | Start::New | Start::Time(_) | Start::At(Position::Offset(_)) => Ok(()),
        other => {
            let text = format!("Kafka cannot begin at {other:?}: its positions are offsets (`Position::Offset`)");
            Err(Error::new(ErrorKind::Unsupported, text))
        }
    }
}
