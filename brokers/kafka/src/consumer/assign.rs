//! A partition becomes ours.

use std::time::Instant;

use convoke_core::Position;
use convoke_core::broker::{Progress, Resume, Saved};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

use super::context::Context;
use super::state::{Phase, Shared, part_id};
use crate::client::lock;
use crate::starts::{self, PATIENCE, Place};

/// What is known of a place when it becomes ours.
pub(super) struct Begin {
    pub(super) place: Place,
    pub(super) at: u64,
    pub(super) saved: Saved,
    /// What is saved, to the letter: it names the moment at which it was said.
    pub(super) text: String,
}

impl Shared {
    /// The group gives us partitions. Within `poll`.
    pub(super) fn assigned(&self, consumer: &BaseConsumer<Context>, places: &[Place]) {
        let leaving = {
            let mut state = lock(&self.state);
            state.adrift = None;
            state.phase != Phase::Running
        };
        let begins = if leaving { Vec::new() } else { self.look_up(consumer, places) };
        let took = starts_of(&begins).and_then(|list| match self.plan.is_cooperative() {
            true => consumer.incremental_assign(&list),
            false => consumer.assign(&list),
        });
        if let Err(error) = took {
            tracing::warn!(group = self.plan.group, %error, "an assignment of the group could not be taken");
            return self.fail();
        }
        self.own(begins);
    }

    /// A broadcast takes every partition, and asks nobody.
    pub(super) fn take_all(&self, consumer: &BaseConsumer<Context>) -> Result<(), KafkaError> {
        let places = self.plan.places();
        let at = match self.plan.ends.is_empty() {
            true => starts::begin(consumer, &places, self.plan.start)?,
            false => self.plan.ends.clone(),
        };
        let begin = |(place, at)| Begin { place, at, saved: Saved::default(), text: String::new() };
        let begins: Vec<_> = places.into_iter().zip(at).map(begin).collect();
        consumer.assign(&starts_of(&begins)?)?;
        self.own(begins);
        Ok(())
    }

    /// Where the group was. Without an answer the subscription ends, to be opened again: to begin without what is known of done
    /// messages would repeat them.
    fn look_up(&self, consumer: &BaseConsumer<Context>, places: &[Place]) -> Vec<Begin> {
        for attempt in 1.. {
            match self.ask(consumer, places) {
                Ok(begins) => return begins,
                Err(error) if attempt == 3 => {
                    tracing::warn!(group = self.plan.group, %error, "Kafka does not say where the group is; its subscription is opened anew");
                    self.fail();
                    break;
                }
                Err(error) => {
                    tracing::debug!(group = self.plan.group, %error, "Kafka does not say where the group is; asked again")
                }
            }
        }
        Vec::new()
    }

    fn ask(&self, consumer: &BaseConsumer<Context>, places: &[Place]) -> Result<Vec<Begin>, KafkaError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let committed = consumer.committed_offsets(starts::list(places, Offset::Invalid)?, PATIENCE)?;
        let mut begins = Vec::with_capacity(places.len());
        let mut new = Vec::new();
        for place in places {
            let mut begin = Begin { place: place.clone(), at: 0, saved: Saved::default(), text: String::new() };
            let found = starts::find(&committed, place);
            match found.as_ref().and_then(|found| starts::number(found.offset())) {
                Some(at) => {
                    begin.at = at;
                    begin.text = found.as_ref().map_or("", |found| found.metadata()).to_owned();
                    match Progress::decode(&begin.text, Position::Offset(at), starts::clock()) {
                        Some(saved) => begin.saved = saved,
                        None if begin.text.is_empty() => {}
                        None => {
                            tracing::warn!(topic = %place.0, partition = place.1, "the text of a commit is not ours, and says nothing");
                        }
                    }
                }
                None => new.push(begins.len()),
            }
            begins.push(begin);
        }
        let fresh: Vec<Place> = new.iter().map(|index| begins[*index].place.clone()).collect();
        for (index, at) in new.into_iter().zip(starts::begin(consumer, &fresh, self.plan.start)?) {
            begins[index].at = at;
        }
        Ok(begins)
    }

    /// They are ours from here on. What is kept of them is open now.
    pub(super) fn own(&self, begins: Vec<Begin>) {
        let mut state = lock(&self.state);
        for Begin { place, at, saved, text } in begins {
            let end = if self.plan.until_end { self.plan.end_of(&place).unwrap_or(u64::MAX) } else { u64::MAX };
            let topic = self.plan.topic(place.0.as_str()).unwrap_or_default();
            let is_ours = state.said.is_ours(&state.group, &place, &text);
            let index = state.own(topic, &place, at, end, saved.progress.clone());
            let mut resume = Resume::default();
            (resume.unclean, resume.progress) = (saved.open && !is_ours, saved.progress.clone());
            let until = Instant::now() + self.plan.session;
            self.events.assigned(part_id(index), place.0, place.1, state.parts[index].epoch, Some(until), resume);
            if !self.plan.broadcast {
                let opened = state.asked(index, at, saved.progress, true);
                state.queued.extend(opened);
            }
        }
        drop(state);
        self.nudge();
    }

    /// Ends the subscription; the runtime opens another.
    pub(super) fn fail(&self) {
        let mut state = lock(&self.state);
        if state.phase == Phase::Running {
            state.phase = Phase::Dropped;
        }
    }
}

fn starts_of(begins: &[Begin]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(begins.len());
    for begin in begins {
        let partition = i32::try_from(begin.place.1).unwrap_or(i32::MAX);
        list.add_partition_offset(begin.place.0.as_str(), partition, starts::offset(begin.at))?;
    }
    Ok(list)
}
