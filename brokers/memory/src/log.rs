//! A topic: its partitions' logs, what is scheduled for them, and how they are kept within their bounds.
//!
//! Invariants:
//! - offsets of a log are dense: the message at index `i` has offset `start + i`;
//! - `sequence` rises with every message appended to the topic, so that it orders messages over partitions;
//! - `bytes` counts what is in the logs and what is scheduled, and a log's `scheduled` what is scheduled for it.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use convoke_core::{Message, Topic};

use crate::clock::{Moment, NEVER};
use crate::options::OVERHEAD;

/// A message in a log.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) message: Message,
    /// Its own bytes, counted once.
    pub(crate) size: u64,
    /// Its place among all messages of the topic.
    pub(crate) sequence: u64,
    /// When it was appended, by the broker's clock: for ages.
    pub(crate) at: Moment,
    /// When it expires.
    pub(crate) until: Moment,
    /// When it was appended, by the time of day. Never falls within a log.
    pub(crate) wall: u64,
}

/// The messages of one partition.
#[derive(Debug, Default)]
pub(crate) struct Log {
    start: u64,
    items: VecDeque<Stored>,
    /// How many scheduled messages will be appended to it.
    pub(crate) scheduled: u64,
    /// How long it may grow before its history is looked at again.
    pub(crate) look_at: u64,
}

impl Log {
    /// The offset of the oldest message there is.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// The offset of the next message that will come.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.items.len() as u64
    }

    pub(crate) fn len(&self) -> u64 {
        self.items.len() as u64
    }

    pub(crate) fn get(&self, offset: u64) -> Option<&Stored> {
        self.items.get(usize::try_from(offset.checked_sub(self.start)?).ok()?)
    }

    pub(crate) fn front(&self) -> Option<&Stored> {
        self.items.front()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stored> {
        self.items.iter()
    }

    /// The messages from `offset` on, which is not below the start.
    pub(crate) fn from(&self, offset: u64) -> impl Iterator<Item = &Stored> {
        let skip = usize::try_from(offset - self.start).unwrap_or(usize::MAX).min(self.items.len());
        self.items.range(skip..)
    }

    /// The offset of the first message appended at this time of day or later.
    pub(crate) fn offset_at(&self, wall: u64) -> u64 {
        self.start + self.items.partition_point(|stored| stored.wall < wall) as u64
    }
}

/// A message that waits for its time.
#[derive(Debug)]
struct Scheduled {
    due: Moment,
    until: Moment,
    order: u64,
    partition: u32,
    message: Message,
    size: u64,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The heap gives the greatest first, so that the earliest is the greatest.
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

/// A topic and everything in it.
#[derive(Debug)]
pub(crate) struct TopicLog {
    pub(crate) name: Topic,
    pub(crate) parts: Vec<Log>,
    /// The groups that read it: group, and the topic's index within the group.
    pub(crate) groups: Vec<(usize, usize)>,
    pub(crate) bytes: u64,
    sequence: u64,
    turn: u32,
    scheduled: BinaryHeap<Scheduled>,
}

/// What a message of this size counts in bytes.
pub(crate) fn cost(size: u64) -> u64 {
    size + OVERHEAD
}

impl TopicLog {
    pub(crate) fn new(name: Topic, partitions: u32) -> Self {
        Self {
            name,
            parts: (0..partitions).map(|_| Log::default()).collect(),
            groups: Vec::new(),
            bytes: 0,
            sequence: 0,
            turn: 0,
            scheduled: BinaryHeap::new(),
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "made from a u32")]
    pub(crate) fn partitions(&self) -> u32 {
        self.parts.len() as u32
    }

    /// The partition of a message: by its key, or the next one in turn.
    pub(crate) fn partition_of(&mut self, message: &Message) -> u32 {
        if let Some(key) = message.key() {
            return key.partition(self.partitions());
        }
        let partition = self.turn;
        self.turn = (partition + 1) % self.partitions();
        partition
    }

    /// Appends to a partition and says the offset.
    pub(crate) fn append(&mut self, partition: u32, message: Message, size: u64, until: Moment, at: Moment, wall: u64) -> u64 {
        self.bytes += cost(size);
        self.sequence += 1;
        let log = &mut self.parts[partition as usize];
        let wall = log.items.back().map_or(wall, |last| last.wall.max(wall));
        let offset = log.end();
        log.items.push_back(Stored { message, size, sequence: self.sequence, at, until, wall });
        offset
    }

    /// Keeps a message aside until it is due.
    pub(crate) fn schedule(&mut self, partition: u32, message: Message, size: u64, until: Moment, due: Moment) {
        self.bytes += cost(size);
        self.sequence += 1;
        self.parts[partition as usize].scheduled += 1;
        self.scheduled.push(Scheduled { due, until, order: self.sequence, partition, message, size });
    }

    /// When the next scheduled message is due.
    pub(crate) fn next_due(&self) -> Moment {
        self.scheduled.peek().map_or(NEVER, |first| first.due)
    }

    pub(crate) fn scheduled(&self) -> u64 {
        self.scheduled.len() as u64
    }

    /// Appends the next scheduled message if it is due, and says to which partition.
    pub(crate) fn append_due(&mut self, now: Moment, wall: u64) -> Option<u32> {
        if self.next_due() > now {
            return None;
        }
        let first = self.scheduled.pop()?;
        self.bytes -= cost(first.size);
        self.parts[first.partition as usize].scheduled -= 1;
        self.append(first.partition, first.message, first.size, first.until, now, wall);
        Some(first.partition)
    }

    /// Takes the oldest message of a partition away.
    pub(crate) fn pop(&mut self, partition: usize) -> Option<Stored> {
        let log = &mut self.parts[partition];
        let stored = log.items.pop_front()?;
        log.start += 1;
        self.bytes -= cost(stored.size);
        Some(stored)
    }

    /// The partition that holds the oldest message.
    pub(crate) fn oldest(&self) -> Option<usize> {
        let fronts = self.parts.iter().enumerate().filter_map(|(p, log)| Some((log.front()?.sequence, p)));
        fronts.min().map(|(_, p)| p)
    }
}
