//! A partition of a subscription, and what its owner knows of it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use convoke_broker_common::Tenure;
use convoke_core::{Epoch, Position};
use tokio::time::Instant;

use crate::keys::PartKeys;
use crate::reply::Id;

/// A partition; its place among them is its [`PartId`](convoke_core::PartId).
pub(crate) struct Part {
    pub(crate) topic: usize,
    pub(crate) number: u32,
    pub(crate) keys: PartKeys,
    pub(crate) own: Option<Own>,
    /// Nothing beyond this is delivered, if the subscription ends somewhere.
    pub(crate) end: Option<Id>,
    /// Where a subscription without a group is, while it is interrupted.
    pub(crate) place: Id,
}

/// What the owner of a partition knows of it, for as long as it is his.
pub(crate) struct Own {
    pub(crate) epoch: Epoch,
    /// What the lease says while it is ours, and until when we may believe it. Without a group there is none.
    pub(crate) lease: Option<(String, Tenure)>,
    pub(crate) credit: u32,
    pub(crate) reading: Reading,
    /// The last id that was given out for the first time.
    pub(crate) last: Id,
    /// What was delivered and is not settled.
    pub(crate) hand: HashMap<Id, Held>,
    /// What is to be delivered again before anything else.
    pub(crate) again: BTreeMap<Id, Held>,
    /// When the first of what waits is due.
    pub(crate) due: Option<Instant>,
    pub(crate) revoking: Option<Revoking>,
    /// A script has said that another has it.
    pub(crate) fenced: bool,
}

/// What is known of a message that was delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Whether the server keeps something of it, which has to go with it.
    pub(crate) kept: bool,
    pub(crate) deliveries: u32,
    pub(crate) attempts: u32,
    pub(crate) deaths: u32,
    /// When it is to be tried, of those without a group.
    pub(crate) due: Option<Instant>,
}

/// Being taken away.
pub(crate) struct Revoking {
    pub(crate) until: Instant,
    /// The runtime is done with it.
    pub(crate) done: bool,
}

/// What is read next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    /// What was given out before and is not settled, from here on. It comes before everything new.
    Pending(String),
    /// There may be something new.
    New,
    /// There is nothing new; whoever waits will tell.
    Drained,
    /// Everything up to the marked end was read.
    AtEnd,
}

impl Own {
    pub(crate) fn new(epoch: Epoch, lease: Option<(String, Tenure)>, last: Id) -> Self {
        let reading = if lease.is_some() { Reading::Pending("-".to_owned()) } else { Reading::New };
        Self {
            epoch,
            lease,
            credit: 0,
            reading,
            last,
            hand: HashMap::new(),
            again: BTreeMap::new(),
            due: None,
            revoking: None,
            fenced: false,
        }
    }

    /// Something becomes due after this time.
    pub(crate) fn wait_for(&mut self, after: Duration) {
        let at = Instant::now() + after;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Whether there may be something to ask for now.
    pub(crate) fn wants(&self, now: Instant) -> bool {
        let something = !self.again.is_empty()
            || matches!(self.reading, Reading::Pending(_) | Reading::New)
            || self.due.is_some_and(|due| due <= now);
        self.credit > 0 && self.revoking.is_none() && !self.fenced && something
    }

    /// Where whoever comes after begins, without a group.
    pub(crate) fn place(&self) -> Id {
        let open = self.hand.keys().chain(self.again.keys()).min();
        open.map_or(self.last, |id| id.previous())
    }
}

impl Part {
    pub(crate) fn owned(&mut self, epoch: Epoch) -> Option<&mut Own> {
        self.own.as_mut().filter(|own| own.epoch == epoch)
    }

    /// Everything up to here is settled, without a group.
    pub(crate) fn reached(&self) -> Id {
        self.own.as_ref().map_or(self.place, Own::place)
    }
}

/// The position right behind an id.
pub(crate) fn behind(id: Id) -> Position {
    id.position().next()
}
