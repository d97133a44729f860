//! Publishing: finding the partition, making room, appending, and waking who reads it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use convoke_core::broker::{Durability, HeaderValues, PublishOutcome};
use convoke_core::{Error, ErrorKind, Outgoing, Receipt};

use crate::clock::{self, Moment, NEVER};
use crate::faults::Injected;
use crate::log::cost;
use crate::options::{Full, Positions, Unrouted};
use crate::position;
use crate::state::{State, cut_off, no_topic};

/// What became of a batch, and which of it is confirmed later.
pub(crate) struct Published {
    pub(crate) outcomes: Vec<PublishOutcome>,
    pub(crate) slow: Vec<(usize, Duration)>,
    /// How often the connection had been cut.
    pub(crate) cuts: u64,
}

impl State {
    /// Publishes a batch. `ids` has the id of each message.
    pub(crate) fn publish(&mut self, batch: Vec<Outgoing>, ids: Vec<String>, now: Moment) -> Published {
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut slow = Vec::new();
        let mut written = Written::default();
        let time = SystemTime::now();
        let wall = clock::wall(time);
        let mut last: Option<usize> = None;
        for (index, (outgoing, id)) in batch.into_iter().zip(ids).enumerate() {
            let name = outgoing.message.topic();
            let sent = self.cut.is_none() && !self.publish_faults.is_empty();
            let injected = if sent { self.injected(name) } else { None };
            // Most batches go to one topic.
            let known = last.filter(|topic| self.topics[*topic].name == *name).or_else(|| self.names.get(name).copied());
            last = known;
            let outcome = match (known, &injected) {
                _ if self.cut.is_some() => PublishOutcome::Rejected { retryable: true, error: cut_off() },
                (_, Some(Injected::Rejected { retryable })) => {
                    let error = Error::new(ErrorKind::Rejected, "the message was refused, as injected");
                    PublishOutcome::Rejected { retryable: *retryable, error }
                }
                (_, Some(Injected::Unknown { stored: false })) => PublishOutcome::Unknown(no_answer()),
                (None, _) => PublishOutcome::Rejected { retryable: false, error: no_topic(name) },
                (Some(topic), _) => self.publish_one(topic, outgoing, id, now, time, wall, &mut written),
            };
            let confirmed = matches!(outcome, PublishOutcome::Confirmed(_));
            match injected {
                Some(Injected::Slow(by)) if confirmed => slow.push((index, by)),
                Some(Injected::Unknown { stored: true }) if confirmed => {
                    outcomes.push(PublishOutcome::Unknown(no_answer()));
                    continue;
                }
                _ => {}
            }
            outcomes.push(outcome);
        }
        for (topic, partition) in written.places() {
            self.wake_readers(topic, partition);
        }
        Published { outcomes, slow, cuts: self.cuts }
    }

    #[allow(clippy::too_many_arguments, reason = "the last three are the same for a whole batch")]
    fn publish_one(
        &mut self,
        topic: usize,
        mut outgoing: Outgoing,
        id: String,
        now: Moment,
        time: SystemTime,
        wall: u64,
        written: &mut Written,
    ) -> PublishOutcome {
        if self.options.headers == HeaderValues::Text
            && let Cow::Owned(escaped) = convoke_core::escape(outgoing.message.headers())
        {
            outgoing.message = outgoing.message.into_builder().headers(escaped).build();
        }
        let size = outgoing.message.size();
        if let Some(error) = self.refused(&outgoing, size) {
            return PublishOutcome::Rejected { retryable: false, error };
        }
        let unrouted = self.options.unrouted == Unrouted::Drop && self.topics[topic].groups.is_empty();
        if unrouted && outgoing.require_route {
            return PublishOutcome::Unroutable;
        }
        let life = match outgoing.lifetime(time) {
            Ok(life) => life,
            Err(error) => return PublishOutcome::Rejected { retryable: false, error },
        };
        let Outgoing { message, deliver_at, .. } = outgoing;
        let size = size as u64;
        let partition = self.topics[topic].partition_of(&message);
        if !self.make_room(topic, partition as usize, cost(size)) {
            return PublishOutcome::Rejected { retryable: true, error: self.is_full(topic, partition) };
        }
        let wait = deliver_at.and_then(|at| at.duration_since(time).ok()).filter(|wait| !wait.is_zero());
        let due = clock::after(now, wait.unwrap_or_default());
        let until = life.map_or(NEVER, |life| clock::after(due, life));
        let stored = if wait.is_some() {
            let first = due < self.topics[topic].next_due();
            self.topics[topic].schedule(partition, message, size, until, due);
            self.timer = self.timer.min(due);
            if first {
                // Their streams are to sleep no longer than until then.
                for i in 0..self.topics[topic].groups.len() {
                    let (g, _) = self.topics[topic].groups[i];
                    self.wake_group(g);
                }
            }
            None
        } else {
            let offset = self.topics[topic].append(partition, message, size, until, now, wall);
            written.add(topic, partition as usize);
            // A place that no group has is none; and a tag is that of a delivery, which there was not.
            let placed = !unrouted && self.options.positions != Positions::Tag;
            placed.then(|| (partition, position::shown(self.options.positions, offset, 0)))
        };
        let mut receipt = Receipt::new(id, stored, Durability::Memory);
        receipt.unrouted = unrouted;
        PublishOutcome::Confirmed(receipt)
    }

    /// Why a message is not taken, whatever there is room for.
    fn refused(&self, outgoing: &Outgoing, size: usize) -> Option<Error> {
        let max = self.options.max_message;
        if size > max {
            let message =
                format!("the message has {size} bytes and the memory broker takes {max}; raise `max_message`, or send less");
            return Some(Error::new(ErrorKind::TooLarge, message));
        }
        let what = match outgoing {
            Outgoing { expires_at: Some(_), .. } if !self.options.expires() => "an expiry (`expiry=no`)",
            Outgoing { reply_to: Some(_), .. } => "a reply-to",
            Outgoing { deliver_at: Some(_), .. } if !self.options.schedule => "delayed publishing (`schedule=no`)",
            _ => return None,
        };
        Some(Error::new(ErrorKind::Unsupported, format!("the memory broker does not offer {what}; publish without it")))
    }

    fn is_full(&self, topic: usize, partition: u32) -> Error {
        let name = &self.topics[topic].name;
        let Self { options, .. } = self;
        Error::new(
            ErrorKind::Rejected,
            format!(
                "partition {partition} of topic `{name}` is full of messages that not every group has settled (retention={}, \
                 retention_bytes={}); read faster, raise the bound, or choose `full=trim`",
                options.retention, options.retention_bytes
            ),
        )
    }

    /// Makes room for one message: first of what every group has settled, then, if so chosen, of the oldest.
    fn make_room(&mut self, t: usize, p: usize, cost: u64) -> bool {
        if self.topics[t].parts[p].len() >= self.topics[t].parts[p].look_at {
            self.trim_history(t, p);
        }
        if self.fits(t, p, cost) {
            return true;
        }
        let others = (0..self.topics[t].parts.len()).filter(|other| *other != p);
        for q in std::iter::once(p).chain(others) {
            let settled = self.settled_below(t, q);
            while self.topics[t].parts[q].start() < settled && !self.fits(t, p, cost) {
                self.trash.extend(self.topics[t].pop(q));
            }
        }
        if self.options.full == Full::Trim {
            while self.over_count(t, p) && self.discard(t, p) {}
            while !self.fits(t, p, cost) {
                if !self.topics[t].oldest().is_some_and(|oldest| self.discard(t, oldest)) {
                    break;
                }
            }
        }
        self.fits(t, p, cost)
    }

    fn over_count(&self, t: usize, p: usize) -> bool {
        let log = &self.topics[t].parts[p];
        log.len() + log.scheduled >= self.options.retention
    }

    fn fits(&self, t: usize, p: usize, cost: u64) -> bool {
        !self.over_count(t, p) && self.topics[t].bytes + cost <= self.options.retention_bytes
    }

    /// Discards the oldest message of a partition; groups keep what they were given of it.
    fn discard(&mut self, t: usize, p: usize) -> bool {
        let offset = self.topics[t].parts[p].start();
        let Some(stored) = self.topics[t].pop(p) else { return false };
        for (g, k) in &self.topics[t].groups {
            if let Some(group) = self.groups.get_mut(*g).and_then(Option::as_mut) {
                group.topics[*k].parts[p].cursor.keep(offset, &stored);
            }
        }
        self.trash.push(stored);
        true
    }

    /// The offset below which every group has settled everything. Where nobody reads, nothing is settled.
    fn settled_below(&self, t: usize, p: usize) -> u64 {
        let topic = &self.topics[t];
        let lows = topic.groups.iter().filter_map(|(g, k)| Some(self.groups.get(*g)?.as_ref()?.topics[*k].parts[p].cursor.low()));
        lows.min().unwrap_or(0).min(topic.parts[p].end())
    }

    /// Discards what every group has settled, but for the last of it.
    fn trim_history(&mut self, t: usize, p: usize) {
        let history = self.options.history;
        let keep_from = self.settled_below(t, p).saturating_sub(history);
        while self.topics[t].parts[p].start() < keep_from {
            self.trash.extend(self.topics[t].pop(p));
        }
        let log = &mut self.topics[t].parts[p];
        log.look_at = log.len() + history / 4 + 256;
    }
}

/// The places that a batch was written to, each once.
#[derive(Default)]
struct Written {
    last: Option<(usize, usize)>,
    few: Vec<(usize, usize)>,
    many: HashSet<(usize, usize)>,
}

impl Written {
    fn add(&mut self, topic: usize, partition: usize) {
        let place = (topic, partition);
        if self.last == Some(place) {
            return;
        }
        self.last = Some(place);
        if self.few.len() < 16 {
            if !self.few.contains(&place) {
                self.few.push(place);
            }
        } else if !self.few.contains(&place) {
            self.many.insert(place);
        }
    }

    fn places(self) -> impl Iterator<Item = (usize, usize)> {
        self.few.into_iter().chain(self.many)
    }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Unknown, "no answer came from the memory broker, as injected; it may have stored the message")
}
