//! A position that is not there: discarded by the brokers, or of a topic that was made anew.

use std::time::{Duration, Instant};

use convoke_core::Position;
use convoke_core::broker::{Progress, Resume, SubscriptionEvent};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

use super::context::Context;
use super::state::{Shared, part_id};
use crate::client::lock;
use crate::starts::{self, Place};

/// So long after a gap was mended, an error without one may still be of it.
const SAME: Duration = Duration::from_secs(5);

impl Shared {
    /// librdkafka has said that positions are out of range, and not which: those partitions are not read until they are told from where.
    pub(super) fn find_gaps(&self, consumer: &BaseConsumer<Context>) {
        let ours: Vec<(usize, Place, u64)> = {
            let state = lock(&self.state);
            let owned = state.parts.iter().zip(0..).filter(|(part, _)| part.owned && !part.revoking);
            owned.map(|(part, index)| (index, part.place.clone(), part.next)).collect()
        };
        let places: Vec<Place> = ours.iter().map(|(_, place, _)| place.clone()).collect();
        let ranges = starts::at(consumer, &places, Offset::Beginning)
            .and_then(|lows| Ok(lows.into_iter().zip(starts::at(consumer, &places, Offset::End)?).collect::<Vec<_>>()));
        let ranges = match ranges {
            Ok(ranges) => ranges,
            Err(error) => {
                tracing::warn!(group = self.plan.group, %error, "a position is not there, and Kafka does not say what is");
                return self.fail();
            }
        };
        let mut found = false;
        for ((index, place, next), range) in ours.iter().zip(ranges) {
            let (Some(low), Some(high)) = range else { continue };
            if (low..=high).contains(next) {
                continue;
            }
            found = true;
            if let Err(error) = self.go_on_at(consumer, *index, place, *next, low) {
                return self.not_read_on(place, &error);
            }
        }
        if found {
            lock(&self.state).repaired = Some(Instant::now());
        } else if lock(&self.state).repaired.is_some_and(|repaired| repaired.elapsed() <= SAME) {
            // Most likely it was of one that was mended before. If not, it is of a partition that is not read until it is told.
            for (index, place, next) in ours.iter().filter(|(index, ..)| !lock(&self.state).parts[*index].paused) {
                if let Err(error) = self.read_from(consumer, *index, place, *next) {
                    return self.not_read_on(place, &error);
                }
            }
        } else {
            // It is there again, and not read: a subscription that is opened anew finds out.
            self.fail();
        }
    }

    fn not_read_on(&self, place: &Place, error: &KafkaError) {
        tracing::warn!(group = self.plan.group, topic = %place.0, %error, "reading cannot go on behind a gap");
        self.fail();
    }

    /// Lets a partition be read from there on, whatever has ended it.
    fn read_from(&self, consumer: &BaseConsumer<Context>, index: usize, place: &Place, from: u64) -> Result<(), KafkaError> {
        let list = starts::list(std::slice::from_ref(place), starts::offset(from))?;
        if !self.plan.is_cooperative() {
            return consumer.seek_partitions(list, Duration::from_secs(5)).map(drop);
        }
        consumer.incremental_unassign(&list)?;
        consumer.incremental_assign(&list)?;
        // Whether a pause outlives that, librdkafka does not promise.
        consumer.resume(&list)?;
        lock(&self.state).parts[index].paused = false;
        Ok(())
    }

    fn go_on_at(
        &self,
        consumer: &BaseConsumer<Context>,
        index: usize,
        place: &Place,
        next: u64,
        low: u64,
    ) -> Result<(), KafkaError> {
        self.read_from(consumer, index, place, low)?;
        let mut state = lock(&self.state);
        if next < low {
            let part = &mut state.parts[index];
            part.next = low;
            let (from, to) = (Position::Offset(next), Position::Offset(low));
            self.events.tell(SubscriptionEvent::Gap { part: part_id(index), from, to });
            return Ok(());
        }
        // The topic was made anew: its positions begin again, and so does everything that is known of it.
        tracing::warn!(topic = %place.0, partition = place.1, next, low, "the topic ends before the position of the group; it is read from its beginning");
        let epoch = state.parts[index].epoch;
        state.give_up(index);
        self.events.tell(SubscriptionEvent::Lost { part: part_id(index), epoch });
        let topic = state.parts[index].topic;
        let index = state.own(topic, place, low, u64::MAX, Progress::default());
        let opened = state.asked(index, low, Progress::default(), true);
        state.queued.extend(opened.filter(|_| !self.plan.broadcast));
        let until = Instant::now() + self.plan.session;
        self.events.assigned(part_id(index), place.0.clone(), place.1, state.parts[index].epoch, Some(until), Resume::default());
        Ok(())
    }
}
