//! How far a group is in one partition.
//!
//! Almost every message is handed out once and acknowledged: for these there is `hand`, a dense ring of small slots that costs
//! no allocation. What comes back even once, or is overtaken by too many, moves to `again`, where it may cost more.
//!
//! Invariants:
//! - `hand[i]` is the offset `next - hand.len() + i`, and its first slot is not settled;
//! - an offset below `next` is either settled, or live in `hand`, or in `again`, never in two of them;
//! - `ready` holds exactly the offsets of `again` that are [`Place::Ready`];
//! - every [`Place::Delayed`] has an entry of its due time in `due` (which may hold more);
//! - no lease of what is in hand ends before `lease_look`.

mod handing;
mod settle;
mod watermark;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use convoke_core::Incoming;

pub(crate) use self::handing::{Credit, Handing};
use self::watermark::Committed;
pub(crate) use self::watermark::Refused;
use crate::clock::{self, Moment, NEVER};
use crate::log::{Log, Stored};

/// How many messages one event brings at most.
const BATCH: usize = 256;

/// A message that was handed out once and is not settled; `until == 0` says that it is settled after all.
#[derive(Debug, Clone, Copy)]
struct Slot {
    until: Moment,
    deaths: u32,
}

/// A message that is out of the ordinary.
#[derive(Debug)]
struct Entry {
    place: Place,
    deliveries: u32,
    attempts: u32,
    deaths: u32,
    /// Not to be tried before; zero if at once.
    due: Moment,
    /// The message itself, once the log has discarded it.
    kept: Option<Box<Stored>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Handed out, with a lease until then.
    Hand(Moment),
    /// To be handed out again. If its last delivery was not settled but its lease ran out, that may still settle it.
    Ready { open: bool },
    /// To be handed out at `due`.
    Delayed,
}

/// How far a group is in one partition.
#[derive(Debug)]
pub(crate) struct Cursor {
    next: u64,
    hand: VecDeque<Slot>,
    live: usize,
    again: BTreeMap<u64, Entry>,
    again_in_hand: usize,
    ready: BTreeSet<u64>,
    delayed: usize,
    due: BinaryHeap<Reverse<(Moment, u64)>>,
    lease_look: Moment,
    /// How many deliveries there were.
    tags: u64,
    /// By watermark: what was committed. Then nothing is in hand, and nothing comes again within an epoch.
    committed: Option<Committed>,
}

impl Cursor {
    /// A group that has read nothing and begins at `next`.
    pub(crate) fn new(next: u64, by_watermark: bool) -> Self {
        Self {
            next,
            hand: VecDeque::new(),
            live: 0,
            again: BTreeMap::new(),
            again_in_hand: 0,
            ready: BTreeSet::new(),
            delayed: 0,
            due: BinaryHeap::new(),
            lease_look: NEVER,
            tags: 0,
            committed: by_watermark.then(|| Committed::new(next)),
        }
    }

    /// The first offset that was never handed out.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The lowest offset that is not settled.
    pub(crate) fn low(&self) -> u64 {
        if let Some(committed) = &self.committed {
            return committed.upto;
        }
        let again = self.again.first_key_value().map_or(self.next, |(offset, _)| *offset);
        again.min(self.base())
    }

    /// How many messages were handed out and are neither settled nor delayed.
    pub(crate) fn unsettled(&self) -> u64 {
        if let Some(committed) = &self.committed {
            return committed.undone(self.next);
        }
        (self.live + self.again.len() - self.delayed) as u64
    }

    /// How many messages are in the owner's hands.
    pub(crate) fn in_hand(&self) -> u64 {
        if self.committed.is_some() {
            return self.unsettled();
        }
        (self.live + self.again_in_hand) as u64
    }

    /// How many messages wait for their time.
    pub(crate) fn delayed(&self) -> u64 {
        self.delayed as u64
    }

    /// Whether messages below `end` that were handed out before are to be handed out now.
    pub(crate) fn has_ready(&self, end: u64) -> bool {
        self.ready.first().is_some_and(|first| *first < end)
    }

    /// When something becomes ready by itself.
    pub(crate) fn next_wake(&self) -> Moment {
        let due = self.due.peek().map_or(NEVER, |Reverse((due, _))| *due);
        due.min(if self.live + self.again_in_hand == 0 { NEVER } else { self.lease_look })
    }

    /// When the first lease of what is in hand is over; never, if nothing is.
    pub(crate) fn lease_end(&self) -> Moment {
        let hand = self.hand.iter().map(|slot| slot.until).filter(|until| *until != 0);
        let again = self.again.values().filter_map(|entry| match entry.place {
            Place::Hand(until) => Some(until),
            _ => None,
        });
        hand.chain(again).min().unwrap_or(NEVER)
    }

    /// When the oldest message that is not settled was appended.
    pub(crate) fn oldest(&self, log: &Log) -> Option<Moment> {
        let kept = self.again.values().filter_map(|entry| entry.kept.as_ref()).map(|stored| stored.at).min();
        let low = self.low().max(log.start());
        let stored = log.get(low).map(|stored| stored.at);
        [kept, stored].into_iter().flatten().min()
    }

    fn base(&self) -> u64 {
        self.next - self.hand.len() as u64
    }

    /// Goes on at `start`, because nothing before it is there any more.
    pub(crate) fn skip_to(&mut self, start: u64) {
        self.empty_hand();
        self.next = start;
        if let Some(committed) = &mut self.committed {
            *committed = Committed::new(start);
        }
    }

    /// Hands out what credit allows: first what is to be handed out again, then what is new, each ascending. The next `repeat`
    /// messages are handed out twice.
    pub(crate) fn take(&mut self, log: &Log, with: Handing, credit: &mut Credit, repeat: &mut u32) -> Vec<Incoming> {
        let fresh = with.end.min(log.end()).saturating_sub(self.next);
        let most = (self.ready.len() as u64).saturating_add(fresh).min(credit.messages);
        let mut out = Vec::with_capacity(usize::try_from(most).unwrap_or(BATCH).min(BATCH));
        while out.len() < BATCH && credit.any() {
            let Some(&offset) = self.ready.first().filter(|first| **first < with.end) else { break };
            out.extend(self.hand_again(offset, log, with, credit));
            if *repeat > 0 {
                *repeat -= 1;
                self.hand_twice(offset, log, with, credit, &mut out);
            }
        }
        let until = with.until();
        for stored in log.from(self.next).take(usize::try_from(fresh).unwrap_or(usize::MAX)) {
            if !credit.any() || out.len() >= BATCH {
                break;
            }
            if stored.until <= with.now {
                self.pass();
                continue;
            }
            let offset = self.next;
            self.tags += 1;
            out.push(with.incoming(stored, offset, self.tags));
            credit.spend(stored);
            if self.committed.is_some() {
                self.next += 1;
                if *repeat > 0 {
                    *repeat -= 1;
                    out.push(with.incoming(stored, offset, self.tags));
                }
                continue;
            }
            self.hand.push_back(Slot { until, deaths: 0 });
            self.live += 1;
            self.next += 1;
            self.lease_look = self.lease_look.min(until);
            if *repeat > 0 {
                *repeat -= 1;
                self.empty_hand();
                self.hand_twice(offset, log, with, credit, &mut out);
            }
        }
        out
    }

    /// Hands out an offset of `ready`. Takes it off without a message if there is none left to hand out.
    fn hand_again(&mut self, offset: u64, log: &Log, with: Handing, credit: &mut Credit) -> Option<Incoming> {
        self.ready.remove(&offset);
        let entry = self.again.get_mut(&offset)?;
        let Some(stored) = entry.kept.as_deref().or_else(|| log.get(offset)) else {
            debug_assert!(false, "an unsettled message is in the log or kept");
            self.again.remove(&offset);
            return None;
        };
        if stored.until <= with.now {
            self.again.remove(&offset);
            return None;
        }
        let until = with.until();
        entry.place = Place::Hand(until);
        entry.deliveries = entry.deliveries.saturating_add(1);
        self.tags += 1;
        let mut incoming = with.incoming(stored, offset, self.tags);
        incoming.deliveries = entry.deliveries;
        incoming.attempts = entry.attempts;
        incoming.deaths = entry.deaths;
        incoming.due_in = (entry.due > with.now).then(|| clock::until(entry.due, with.now));
        credit.spend(stored);
        self.again_in_hand += 1;
        self.lease_look = self.lease_look.min(until);
        Some(incoming)
    }

    /// Hands out once more what is in hand in `again`: at once, or as soon as there is credit.
    fn hand_twice(&mut self, offset: u64, log: &Log, with: Handing, credit: &mut Credit, out: &mut Vec<Incoming>) {
        let Some(entry) = self.again.get_mut(&offset) else { return };
        if matches!(entry.place, Place::Hand(_)) {
            self.again_in_hand -= 1;
        }
        entry.place = Place::Ready { open: true };
        self.ready.insert(offset);
        if credit.any() && out.len() < BATCH {
            out.extend(self.hand_again(offset, log, with, credit));
        }
    }

    /// Makes ready what has waited long enough and what was in hand for too long.
    pub(crate) fn advance(&mut self, now: Moment, lease: Duration) {
        while let Some(&Reverse((due, offset))) = self.due.peek() {
            if due > now {
                break;
            }
            self.due.pop();
            if let Some(entry) = self.again.get_mut(&offset)
                && entry.place == Place::Delayed
                && entry.due <= now
            {
                entry.place = Place::Ready { open: false };
                self.delayed -= 1;
                self.ready.insert(offset);
            }
        }
        if now >= self.lease_look {
            self.expire(now, lease);
        }
    }

    fn expire(&mut self, now: Moment, lease: Duration) {
        if self.hand.iter().any(|slot| slot.until != 0 && slot.until <= now) {
            self.empty_hand();
        }
        let mut look = self.hand.iter().map(|slot| slot.until).filter(|until| *until != 0).min().unwrap_or(NEVER);
        for (offset, entry) in &mut self.again {
            let Place::Hand(until) = entry.place else { continue };
            if until <= now {
                entry.place = Place::Ready { open: true };
                self.again_in_hand -= 1;
                self.ready.insert(*offset);
            } else {
                look = look.min(until);
            }
        }
        // Looking once for all that run out within a short time keeps the looking cheap.
        self.lease_look = if look == NEVER { NEVER } else { look.max(clock::after(now, lease / 64)) };
    }

    /// Moves what is live in `hand` to `again`, still in hand.
    fn empty_hand(&mut self) {
        let base = self.base();
        for (offset, slot) in (base..).zip(self.hand.drain(..)) {
            if slot.until != 0 {
                let place = Place::Hand(slot.until);
                let entry = Entry { place, deliveries: 1, attempts: 0, deaths: slot.deaths, due: 0, kept: None };
                self.again.insert(offset, entry);
                self.again_in_hand += 1;
            }
        }
        self.live = 0;
    }

    /// Gives back everything that is in hand: its owner is gone.
    pub(crate) fn give_back(&mut self) {
        if let Some(committed) = &self.committed {
            self.next = committed.upto;
            return;
        }
        self.empty_hand();
        for (offset, entry) in &mut self.again {
            match entry.place {
                Place::Hand(_) => {
                    self.ready.insert(*offset);
                    entry.place = Place::Ready { open: false };
                }
                Place::Ready { .. } => entry.place = Place::Ready { open: false },
                Place::Delayed => {}
            }
        }
        self.again_in_hand = 0;
        self.lease_look = NEVER;
    }

    /// Keeps a message that the log is about to discard, if it was handed out and is not settled.
    pub(crate) fn keep(&mut self, offset: u64, stored: &Stored) {
        if self.committed.is_some() {
            return;
        }
        if offset >= self.base() && offset < self.next {
            self.empty_hand();
        }
        if let Some(entry) = self.again.get_mut(&offset) {
            entry.kept = Some(Box::new(stored.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use convoke_core::broker::Settle;
    use convoke_core::{Epoch, Message, PartId};

    use super::*;
    use crate::log::TopicLog;
    use crate::options::Positions;

    #[test]
    fn one_slow_message_keeps_no_slots_behind_it() {
        let mut topic = TopicLog::new("t".into(), 1);
        let (mut cursor, mut credit) = (Cursor::new(0, false), Credit::default());
        credit.add(u32::MAX, u64::MAX);
        let lease = Duration::from_secs(30);
        let (part, epoch) = (PartId(0), Epoch(1));
        let with = Handing { part, partition: 0, epoch, now: 1, lease, positions: Positions::Offset, text: false, end: u64::MAX };
        for offset in 0..10_000 {
            topic.append(0, Message::builder("t").build(), 0, NEVER, 1, 1);
            assert_eq!(cursor.take(&topic.parts[0], with, &mut credit, &mut 0).len(), 1);
            assert!(offset == 0 || cursor.settle(offset, Settle::Ack, 1, lease));
            assert!(cursor.hand.len() <= 1025);
            assert_eq!((cursor.unsettled(), cursor.low()), (1, 0));
        }
        assert!(cursor.settle(0, Settle::Ack, 1, lease));
        assert_eq!((cursor.unsettled(), cursor.low(), cursor.next_wake()), (0, 10_000, NEVER));
    }
}
