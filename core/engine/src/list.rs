//! Doubly linked lists that run through the slot table: joining and leaving one is a few writes, and never an allocation.

use crate::slot::Entry;

/// No slot.
pub(crate) const NIL: u32 = u32::MAX;

/// The messages of a partition that are not settled, by position.
pub(crate) const PART: usize = 0;
/// The messages of a lane, in the order in which they run.
pub(crate) const LANE: usize = 1;
/// The messages of a route that are ready, or those that run; or the suspects that are ready.
pub(crate) const RUN: usize = 2;
/// All messages with a lease, by the time of the next extension.
pub(crate) const LEASE: usize = 3;

/// A slot's neighbours in one list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) prev: u32,
    pub(crate) next: u32,
}

impl Link {
    pub(crate) const NONE: Self = Self { prev: NIL, next: NIL };
}

/// A list through the links of kind `K`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List<const K: usize> {
    pub(crate) head: u32,
    pub(crate) tail: u32,
    pub(crate) len: u32,
}

impl<const K: usize> List<K> {
    pub(crate) const EMPTY: Self = Self { head: NIL, tail: NIL, len: 0 };

    pub(crate) fn push_back(&mut self, slots: &mut [Entry], i: u32) {
        self.insert_after(slots, self.tail, i);
    }

    pub(crate) fn push_front(&mut self, slots: &mut [Entry], i: u32) {
        self.insert_after(slots, NIL, i);
    }

    /// Inserts `i` behind `prev`, or as the first if that is `NIL`.
    pub(crate) fn insert_after(&mut self, slots: &mut [Entry], prev: u32, i: u32) {
        let next = if prev == NIL { self.head } else { slots[prev as usize].links[K].next };
        slots[i as usize].links[K] = Link { prev, next };
        if prev == NIL {
            self.head = i;
        } else {
            slots[prev as usize].links[K].next = i;
        }
        if next == NIL {
            self.tail = i;
        } else {
            slots[next as usize].links[K].prev = i;
        }
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, slots: &mut [Entry], i: u32) {
        let Link { prev, next } = slots[i as usize].links[K];
        if prev == NIL {
            self.head = next;
        } else {
            slots[prev as usize].links[K].next = next;
        }
        if next == NIL {
            self.tail = prev;
        } else {
            slots[next as usize].links[K].prev = prev;
        }
        slots[i as usize].links[K] = Link::NONE;
        self.len -= 1;
    }
}
