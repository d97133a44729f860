//! Lanes: what is in order with what.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::engine::Engine;
use crate::list::{LANE, List, NIL};
use crate::slot::State;
use crate::{Out, Time};

/// Lanes are well-mixed hashes already.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, lane: u64) {
        self.0 = lane;
    }
}

/// The lanes that have messages.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    keys: HashMap<u64, u32, BuildHasherDefault<Identity>>,
    table: Vec<Lane>,
    free: Vec<u32>,
}

/// A lane.
#[derive(Debug)]
struct Lane {
    /// `None` for the lane of a fenced message that has none.
    key: Option<u64>,
    list: List<LANE>,
    /// How many of its messages run, publish, are fenced, and so on: nothing starts until there is none.
    active: u32,
    /// The first message beyond the backlog.
    over: u32,
}

impl Lanes {
    /// Whether no message is in a lane.
    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.table.len()
    }

    fn open(&mut self, key: Option<u64>) -> u32 {
        if let Some(key) = key
            && let Some(&lane) = self.keys.get(&key)
        {
            return lane;
        }
        let new = Lane { key, list: List::EMPTY, active: 0, over: NIL };
        let lane = match self.free.pop() {
            Some(lane) => {
                self.table[lane as usize] = new;
                lane
            }
            None => {
                self.table.push(new);
                self.table.len() as u32 - 1
            }
        };
        if let Some(key) = key {
            self.keys.insert(key, lane);
        }
        lane
    }

    fn close(&mut self, lane: u32) {
        if let Some(key) = self.table[lane as usize].key {
            self.keys.remove(&key);
        }
        self.free.push(lane);
    }
}

impl Engine {
    /// A new message takes its place in its lane: the last, unless a later one of its partition has not started yet.
    pub(crate) fn enter(&mut self, now: Time, i: u32, in_order: bool, out: &mut Vec<Out>) {
        let lane = self.lanes.open(self.slots[i as usize].meta.lane);
        self.enter_at(now, i, lane, in_order, out);
    }

    /// A redelivery without a lane waits for the fenced one.
    pub(crate) fn enter_behind(&mut self, now: Time, i: u32, fenced: u32, out: &mut Vec<Out>) {
        self.enter_at(now, i, self.slots[fenced as usize].lane, true, out);
    }

    fn enter_at(&mut self, now: Time, i: u32, lane: u32, in_order: bool, out: &mut Vec<Out>) {
        let mut after = self.lanes.table[lane as usize].list.tail;
        if !in_order {
            let (part, position) = (self.slots[i as usize].part, self.slots[i as usize].meta.position);
            let mut at = after;
            while at != NIL {
                let entry = &self.slots[at as usize];
                let untried = match entry.state {
                    State::Queued | State::Ready | State::Stalled | State::Marking => true,
                    State::Waiting { .. } => entry.attempts == entry.meta.attempts,
                    _ => false,
                };
                if !untried {
                    break;
                }
                if entry.part == part {
                    if entry.meta.position < position {
                        break;
                    }
                    after = entry.links[LANE].prev;
                }
                at = entry.links[LANE].prev;
            }
        }
        self.insert(now, i, lane, after, out);
    }

    /// A message whose wait let others pass comes back: before them, but behind what runs.
    pub(crate) fn enter_first(&mut self, now: Time, i: u32, out: &mut Vec<Out>) {
        let lane = self.lanes.open(self.slots[i as usize].meta.lane);
        let state = &self.lanes.table[lane as usize];
        // What runs stands first: of a batch, that is more than one.
        let (mut after, mut next) = (NIL, state.list.head);
        for _ in 0..state.active {
            (after, next) = (next, self.behind(next));
        }
        self.insert(now, i, lane, after, out);
    }

    fn insert(&mut self, now: Time, i: u32, lane: u32, after: u32, out: &mut Vec<Out>) {
        self.slots[i as usize].lane = lane;
        let state = &mut self.lanes.table[lane as usize];
        let head = state.list.head;
        state.list.insert_after(&mut self.slots, after, i);
        let over = state.over;
        if over == NIL {
            if state.list.len >= self.config.backlog {
                state.over = state.list.tail;
                self.set_over(state_tail(&self.lanes, lane), true);
            }
        } else if after != NIL && self.slots[after as usize].over {
            self.set_over(i, true);
        } else {
            let before = self.slots[over as usize].links[LANE].prev;
            self.lanes.table[lane as usize].over = before;
            self.set_over(before, true);
        }
        if after == NIL {
            if head != NIL {
                self.demote(head);
            }
            self.advance(now, lane, out);
        }
    }

    /// It is no longer the head, so it is not its turn.
    fn demote(&mut self, i: u32) {
        match self.slots[i as usize].state {
            State::Ready => self.unready(i),
            State::Stalled => {}
            _ => return,
        }
        self.slots[i as usize].state = State::Queued;
    }

    fn set_over(&mut self, i: u32, over: bool) {
        self.slots[i as usize].over = over;
        if let Some(p) = self.home(i) {
            let part = &mut self.parts[p as usize];
            part.backlogged = if over { part.backlogged + 1 } else { part.backlogged - 1 };
            self.touch(p);
        }
    }

    /// Takes a message out of its lane, without a turn for the next.
    fn detach(&mut self, i: u32) -> u32 {
        let lane = self.slots[i as usize].lane;
        if lane == NIL {
            return NIL;
        }
        let over = self.lanes.table[lane as usize].over;
        if over != NIL {
            // Behind it, the first one beyond the backlog moves up.
            let moves = if self.slots[i as usize].over { i } else { over };
            self.set_over(moves, false);
            if moves == over {
                self.lanes.table[lane as usize].over = self.slots[over as usize].links[LANE].next;
            }
        }
        self.lanes.table[lane as usize].list.remove(&mut self.slots, i);
        self.slots[i as usize].lane = NIL;
        lane
    }

    /// Takes a message that does not lock its lane out of it.
    pub(crate) fn leave(&mut self, now: Time, i: u32, out: &mut Vec<Out>) {
        let lane = self.detach(i);
        if lane != NIL {
            self.advance(now, lane, out);
        }
    }

    /// Takes a message that locks its lane out of it.
    pub(crate) fn release(&mut self, now: Time, i: u32, out: &mut Vec<Out>) {
        let lane = self.detach(i);
        if lane != NIL {
            self.lanes.table[lane as usize].active -= 1;
            self.advance(now, lane, out);
        }
    }

    /// The message locks its lane.
    pub(crate) fn lock(&mut self, i: u32) {
        let lane = self.slots[i as usize].lane;
        if lane != NIL {
            self.lanes.table[lane as usize].active += 1;
        }
    }

    /// The message, which is queued again, no longer locks its lane.
    pub(crate) fn unlock(&mut self, now: Time, i: u32, out: &mut Vec<Out>) {
        let lane = self.slots[i as usize].lane;
        if lane == NIL {
            self.turn(now, i, out);
        } else {
            self.lanes.table[lane as usize].active -= 1;
            self.advance(now, lane, out);
        }
    }

    /// A fenced message without a lane gets one of its own, in which its redelivery can wait.
    pub(crate) fn isolate(&mut self, i: u32) {
        let lane = self.lanes.open(None);
        let state = &mut self.lanes.table[lane as usize];
        state.active = 1;
        state.list.push_back(&mut self.slots, i);
        self.slots[i as usize].lane = lane;
    }

    /// Gives the first of a lane its turn, if nothing locks it.
    fn advance(&mut self, now: Time, lane: u32, out: &mut Vec<Out>) {
        loop {
            let state = &self.lanes.table[lane as usize];
            if state.active > 0 {
                return;
            }
            let head = state.list.head;
            if head == NIL {
                self.lanes.close(lane);
                return;
            }
            if !matches!(self.slots[head as usize].state, State::Queued) || !self.turn(now, head, out) {
                return;
            }
            self.detach(head);
        }
    }

    /// Whether nothing precedes it in its lane.
    pub(crate) fn heads(&self, i: u32) -> bool {
        self.slots[i as usize].links[LANE].prev == NIL
    }

    /// The next message of a lane.
    pub(crate) fn behind(&self, i: u32) -> u32 {
        self.slots[i as usize].links[LANE].next
    }
}

fn state_tail(lanes: &Lanes, lane: u32) -> u32 {
    lanes.table[lane as usize].list.tail
}
