//! What a server would keep: topics, and how far each group is on them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use convoke_core::broker::{EnsureMode, EnsureReport, Lag, Topology};
use convoke_core::{Error, ErrorKind, Message, Position, Topic};

use crate::group::{Member, Reading};

/// How many partitions a topic has for which nobody says a number.
const PARTITIONS: u32 = 4;

/// Stands for the server: what is in it outlives every connection.
#[derive(Debug, Default)]
pub struct World(Mutex<State>);

impl World {
    /// A world with nothing in it.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// All messages of a topic, partition after partition: for clients that know nothing of groups.
    #[must_use]
    pub fn messages(&self, topic: &str) -> Vec<Message> {
        self.with(|state| state.topics.get(&Topic::from(topic)).into_iter().flatten().flatten().cloned().collect())
    }

    /// Does something with the state. Wakers are called after the lock is gone: they may lead back here.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut state);
        let wakes = std::mem::take(&mut state.wakes);
        drop(state);
        wakes.into_iter().for_each(Waker::wake);
        result
    }
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Partitions of messages; the place in one is the position.
    pub(crate) topics: BTreeMap<Topic, Vec<Vec<Message>>>,
    pub(crate) readings: Vec<Reading>,
    pub(crate) members: HashMap<u64, Member>,
    pub(crate) last_member: u64,
    /// Where the next message without a key goes.
    round: u32,
    pub(crate) wakes: Vec<Waker>,
}

impl State {
    pub(crate) fn ensure(&mut self, topology: &Topology, mode: EnsureMode) -> Result<EnsureReport, Error> {
        let mut report = EnsureReport::default();
        for spec in &topology.topics {
            if !self.topics.contains_key(&spec.name) {
                if mode == EnsureMode::Check {
                    return Err(no_topic(&spec.name));
                }
                let partitions = spec.partitions.unwrap_or(PARTITIONS) as usize;
                self.topics.insert(spec.name.clone(), vec![Vec::new(); partitions]);
                report.created.push(spec.name.to_string());
            }
            report.partitions.push((spec.name.clone(), u32::try_from(self.topics[&spec.name].len()).unwrap_or(u32::MAX)));
        }
        for group in &topology.groups {
            self.reading(&group.name, &group.topics)?;
        }
        Ok(report)
    }

    pub(crate) fn append(&mut self, message: Message) -> Result<(u32, Position), Error> {
        let topic = message.topic().clone();
        let partitions = self.topics.get_mut(&topic).ok_or_else(|| no_topic(&topic))?;
        let count = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
        let number = partition_of(&message, count, &mut self.round);
        let log = &mut partitions[number as usize];
        log.push(message);
        let position = Position::Offset(log.len() as u64 - 1);
        for reading in 0..self.readings.len() {
            if self.readings[reading].topics.contains(&topic) {
                self.wake_all(reading);
            }
        }
        Ok((number, position))
    }

    /// The group on these topics, which begins at the earliest message if it is new.
    pub(crate) fn reading(&mut self, group: &str, topics: &[Topic]) -> Result<usize, Error> {
        if let Some(found) = self.readings.iter().position(|reading| reading.group == group && reading.topics == topics) {
            return Ok(found);
        }
        let mut places = Vec::new();
        for topic in topics {
            let count = self.topics.get(topic).ok_or_else(|| no_topic(topic))?.len();
            places.extend((0..).take(count).map(|number| (topic.clone(), number)));
        }
        self.readings.push(Reading::new(group, topics, places));
        Ok(self.readings.len() - 1)
    }

    pub(crate) fn lag(&self, group: &str, topics: &[Topic]) -> Lag {
        let readings = self.readings.iter().filter(|reading| reading.group == group);
        let parts = readings.flat_map(|reading| &reading.parts).filter(|part| topics.contains(&part.topic));
        let (mut backlog, mut unsettled) = (0, 0);
        for part in parts {
            let end = self.topics[&part.topic][part.number as usize].len() as u64;
            backlog += end - part.next + part.back.len() as u64;
            unsettled += part.hand.len() as u64;
        }
        let mut lag = Lag::default();
        (lag.backlog, lag.unsettled) = (Some(backlog), Some(unsettled));
        lag
    }
}

fn no_topic(name: &Topic) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no topic `{name}`; create it with `Broker::ensure`, or correct the name"))
}

// ANCHOR: partition
fn partition_of(message: &Message, partitions: u32, round: &mut u32) -> u32 {
    match message.key() {
        Some(key) => key.partition(partitions),
        None => {
            *round = round.wrapping_add(1);
            *round % partitions
        }
    }
}
// ANCHOR_END: partition
