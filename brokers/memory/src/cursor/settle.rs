//! What settling does to a [`Cursor`].

use std::cmp::Reverse;
use std::time::Duration;

use convoke_core::broker::Settle;

use super::{Cursor, Entry, Place, Slot};
use crate::clock::{self, Moment};

impl Cursor {
    /// Settles a delivery; `false` if there is none to settle.
    pub(crate) fn settle(&mut self, offset: u64, settle: Settle, now: Moment, lease: Duration) -> bool {
        let index = offset.checked_sub(self.base()).and_then(|index| usize::try_from(index).ok());
        let Some(slot) = index.and_then(|index| self.hand.get_mut(index)).filter(|slot| slot.until != 0) else {
            return self.settle_again(offset, settle, now, lease);
        };
        match settle {
            Settle::Ack => self.clear(index),
            Settle::Extend => slot.until = clock::after(now, lease),
            Settle::Mark { deaths } => slot.deaths = deaths,
            Settle::Nack { delay, attempts, hold } => {
                let deaths = slot.deaths;
                self.clear(index);
                let entry = Entry { place: Place::Delayed, deliveries: 1, attempts, deaths, due: 0, kept: None };
                self.again.insert(offset, entry);
                self.put_back(offset, clock::after(now, delay), hold || delay.is_zero());
            }
            // A settlement that came after this adapter was written.
            _ => return false,
        }
        true
    }

    fn settle_again(&mut self, offset: u64, settle: Settle, now: Moment, lease: Duration) -> bool {
        let Some(entry) = self.again.get_mut(&offset) else { return false };
        let in_hand = match entry.place {
            Place::Hand(_) => true,
            Place::Ready { open: true } => false,
            Place::Ready { open: false } | Place::Delayed => return false,
        };
        match settle {
            Settle::Mark { deaths } => {
                entry.deaths = deaths;
                return true;
            }
            Settle::Extend => {
                let until = clock::after(now, lease);
                entry.place = Place::Hand(until);
                self.lease_look = self.lease_look.min(until);
                if !in_hand {
                    self.again_in_hand += 1;
                    self.ready.remove(&offset);
                }
                return true;
            }
            Settle::Ack | Settle::Nack { .. } => {}
            _ => return false,
        }
        if in_hand {
            self.again_in_hand -= 1;
        } else {
            self.ready.remove(&offset);
        }
        if let Settle::Nack { delay, attempts, hold } = settle {
            entry.attempts = attempts;
            self.put_back(offset, clock::after(now, delay), hold || delay.is_zero());
        } else {
            self.again.remove(&offset);
        }
        true
    }

    /// Places an entry of `again` that is neither in hand nor in `ready`.
    fn put_back(&mut self, offset: u64, due: Moment, at_once: bool) {
        let Some(entry) = self.again.get_mut(&offset) else { return };
        entry.due = due;
        if at_once {
            entry.place = Place::Ready { open: false };
            self.ready.insert(offset);
        } else {
            entry.place = Place::Delayed;
            self.delayed += 1;
            self.due.push(Reverse((due, offset)));
        }
    }

    /// Goes by the next message, which has expired: it is as good as settled.
    pub(super) fn pass(&mut self) {
        self.next += 1;
        if !self.hand.is_empty() {
            self.hand.push_back(Slot { until: 0, deaths: 0 });
        }
    }

    /// Takes a live slot out of `hand`.
    fn clear(&mut self, index: Option<usize>) {
        if let Some(slot) = index.and_then(|index| self.hand.get_mut(index)) {
            slot.until = 0;
            self.live -= 1;
        }
        while self.hand.front().is_some_and(|slot| slot.until == 0) {
            self.hand.pop_front();
        }
        // One slow message must not keep the slots of millions behind it.
        if self.hand.len() > 1024 && self.live < self.hand.len() / 8 {
            self.empty_hand();
        }
    }
}
