//! What the polling thread and the application's tasks share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use convoke_broker_common::Events;
use convoke_core::broker::{Progress, Settled};
use convoke_core::{Epoch, Incoming, PartId, Position};
use tokio::sync::{oneshot, watch};

use super::plan::Plan;
use crate::client::lock;
use crate::said::Said;
use crate::starts::Place;

/// A subscription.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(super) events: Events,
    pub(crate) state: Mutex<State>,
    /// There is something to do for a thread that waits.
    pub(crate) wake: Condvar,
    /// Whether the thread has ended.
    pub(super) done: watch::Sender<bool>,
}

/// How far a subscription is in a place.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    pub(crate) upto: u64,
    pub(crate) done: u64,
    pub(crate) given: u64,
}

pub(crate) struct State {
    /// A partition's index is its [`PartId`].
    pub(super) parts: Vec<Part>,
    index: HashMap<Place, usize>,
    pub(super) phase: Phase,
    /// It commits nothing.
    broadcast: bool,
    pub(super) group: String,
    /// What the brokers may have of us.
    pub(super) said: Arc<Said>,
    /// Commits that wait for the committing thread.
    pub(super) queued: Vec<Asked>,
    /// Those that it has sent, and that have no answer yet.
    pub(super) sent: Vec<Asked>,
    last_epoch: u64,
    /// When gaps were found last.
    pub(super) repaired: Option<Instant>,
    /// Since when everything is lost, and the group has not let us in again.
    pub(super) adrift: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// It was told to end.
    Closing,
    /// Nobody reads any more: its process is gone.
    Dropped,
    Ended,
}

/// A partition that we have or had.
pub(super) struct Part {
    pub(super) place: Place,
    /// Which of the subscription's topics it belongs to.
    pub(super) topic: usize,
    pub(super) epoch: Epoch,
    pub(super) owned: bool,
    pub(super) revoking: bool,
    /// Kafka knows that it is open, so that a death from here on is found out. Nothing is delivered before: a message that kills its
    /// process at once would do so again and again, and nobody would know.
    pub(super) open: bool,
    /// The runtime is through with it.
    pub(super) through: bool,
    pub(super) credit: u64,
    pub(super) credit_bytes: i64,
    /// Fetched before there was credit.
    pub(super) buffer: VecDeque<Incoming>,
    pub(super) buffer_bytes: usize,
    pub(super) paused: bool,
    /// Since when it has messages and no credit.
    pub(super) stuck: Option<Instant>,
    /// Where fetching goes on.
    pub(super) next: u64,
    /// What was delivered ends here.
    pub(super) given: u64,
    /// What is committed.
    pub(super) kept: Kept,
    /// Nothing is delivered from here on.
    pub(super) end: u64,
}

impl Part {
    /// How far an idle partition is, if that is further than what is committed. What was fetched from behind a marked end is thrown
    /// away, and none of ours.
    pub(super) fn idle_at(&self, position: u64) -> Option<u64> {
        let quiet = self.buffer.is_empty() && self.given == self.kept.upto && self.kept.is_bare();
        Some(position.min(self.end)).filter(|position| quiet && *position > self.kept.upto)
    }
}

/// What a commit says, and when it was said: due times are counted from then.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) upto: u64,
    progress: Progress,
    at: Instant,
}

impl Kept {
    pub(super) fn new(upto: u64, progress: Progress) -> Self {
        Self { upto, progress, at: Instant::now() }
    }

    /// The same as of now.
    pub(super) fn progress(&self) -> Progress {
        let (mut progress, since) = (self.progress.clone(), self.at.elapsed());
        progress.marks.iter_mut().for_each(|mark| mark.due_in = mark.due_in.saturating_sub(since));
        progress
    }

    /// Nothing is known above the position.
    pub(super) fn is_bare(&self) -> bool {
        self.progress.done.is_empty() && self.progress.marks.is_empty()
    }

    /// How many are done above the position.
    fn done(&self) -> u64 {
        let count = |(first, last): &(Position, Position)| match (first, last) {
            (Position::Offset(first), Position::Offset(last)) => last - first + 1,
            _ => 0,
        };
        self.progress.done.iter().map(count).sum()
    }
}

/// A commit, and who waits for its answer.
pub(super) struct Asked {
    pub(super) part: usize,
    pub(super) epoch: Epoch,
    pub(super) kept: Kept,
    pub(super) text: String,
    pub(super) answer: Option<oneshot::Sender<Settled>>,
    pub(super) by: Instant,
}

impl Asked {
    pub(super) fn answer(self, settled: Settled) {
        if let Some(answer) = self.answer {
            let _ = answer.send(settled);
        }
    }
}

impl Shared {
    pub(super) fn new(plan: Plan, events: Events, said: Arc<Said>) -> Self {
        let state = State {
            parts: Vec::new(),
            index: HashMap::new(),
            phase: Phase::Running,
            broadcast: plan.broadcast,
            group: plan.group.clone(),
            said,
            queued: Vec::new(),
            sent: Vec::new(),
            last_epoch: 0,
            repaired: None,
            adrift: None,
        };
        Self { plan, events, state: Mutex::new(state), wake: Condvar::new(), done: watch::Sender::new(false) }
    }

    pub(crate) fn is_of(&self, group: &str) -> bool {
        self.plan.group == group
    }

    /// For each place that is ours: what is committed, how many are done above it, and where what was delivered ends.
    pub(crate) fn places(&self) -> Vec<(Place, Held)> {
        let state = lock(&self.state);
        let held = |part: &Part| Held { upto: part.kept.upto, done: part.kept.done(), given: part.given };
        state.parts.iter().filter(|part| part.owned).map(|part| (part.place.clone(), held(part))).collect()
    }

    /// How many were delivered and are not committed, as far as it is known here.
    pub(crate) fn unsettled(&self) -> u64 {
        let state = lock(&self.state);
        state
            .parts
            .iter()
            .filter(|part| part.owned)
            .map(|part| part.given.saturating_sub(part.kept.upto).saturating_sub(part.kept.done()))
            .sum()
    }

    /// Whoever waits looks again.
    pub(super) fn nudge(&self) {
        self.wake.notify_all();
    }
}

impl State {
    pub(super) fn part_of(&self, place: &Place) -> Option<usize> {
        self.index.get(place).copied()
    }

    /// A new ownership begins.
    pub(super) fn own(&mut self, topic: usize, place: &Place, begin: u64, end: u64, progress: Progress) -> usize {
        self.last_epoch += 1;
        let part = Part {
            place: place.clone(),
            topic,
            epoch: Epoch(self.last_epoch),
            owned: true,
            revoking: false,
            open: self.broadcast,
            through: false,
            credit: 0,
            credit_bytes: 0,
            buffer: VecDeque::new(),
            buffer_bytes: 0,
            paused: false,
            stuck: None,
            next: begin,
            given: begin,
            kept: Kept::new(begin, progress),
            end,
        };
        if let Some(index) = self.part_of(place) {
            self.parts[index] = part;
            return index;
        }
        self.parts.push(part);
        self.index.insert(place.clone(), self.parts.len() - 1);
        self.parts.len() - 1
    }

    /// An ownership is over.
    pub(super) fn give_up(&mut self, index: usize) {
        let part = &mut self.parts[index];
        (part.owned, part.revoking, part.credit, part.buffer_bytes, part.paused) = (false, false, 0, 0, false);
        part.buffer.clear();
    }

    /// The partition, if that ownership is not over.
    pub(super) fn owned(&mut self, part: PartId, epoch: Epoch) -> Option<&mut Part> {
        self.parts.get_mut(part.0 as usize).filter(|part| part.owned && part.epoch == epoch)
    }
}

pub(super) fn part_id(index: usize) -> PartId {
    PartId(u32::try_from(index).unwrap_or(u32::MAX))
}
