//! Claims that layers have made for messages: extended while the message is held, committed before it is settled, else released.
//!
//! To the engine, the commit is part of publishing what the handler returned: it is asked for when all of that is confirmed, and
//! what it comes to is said of the whole. So a commit that fails is repeated as a publish is, with backoff, the lease of the
//! delivery is kept meanwhile, and a drain waits for it. Claims are released behind the engine's back, since nothing waits for that.

mod ask;
mod work;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use convoke_core::{Claimed, Claims, Error, Word};
use convoke_engine::{In, Published, Slot, Time, Verdict};

use self::ask::{Ask, Kept};
pub(super) use self::work::ClaimWork;
use super::Core;
use super::bodies::Said;

/// What the layers call a message.
pub(super) const fn ticket(slot: Slot) -> u64 {
    (slot.generation as u64) << 32 | slot.index as u64
}

#[allow(clippy::cast_possible_truncation, reason = "the halves of a ticket")]
const fn slot(ticket: u64) -> Slot {
    Slot { index: ticket as u32, generation: (ticket >> 32) as u32 }
}

/// A claim that is held for a message.
struct Held {
    kept: Kept,
    extend: Time,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The handler has the message.
    Open,
    /// It has done its work, and what it returned is not confirmed yet.
    Publishing,
    /// It has done its work, and nothing is left to be published.
    Done,
    /// The store is being told.
    Committing,
}

/// The claims of all messages that are held.
pub(crate) struct ClaimTable {
    pub(crate) desk: Arc<Claims>,
    held: HashMap<Slot, Held>,
    /// Messages that were handled before, and whose call is not over.
    known: HashSet<Slot>,
    asks: Vec<Ask>,
}

impl ClaimTable {
    pub(super) fn new(desk: Arc<Claims>) -> Self {
        Self { desk, held: HashMap::new(), known: HashSet::new(), asks: Vec::new() }
    }

    fn release(&mut self, slot: Slot) {
        if let Some(held) = self.held.remove(&slot) {
            self.asks.push(Ask::Release(held.kept));
        }
    }
}

impl Core {
    /// Takes up what layers have said. Whether any deduplicates at all: else there is nothing to be done about claims.
    pub(super) fn heed(&mut self, now: Time) -> bool {
        if !self.claims.desk.used() {
            return false;
        }
        for word in self.claims.desk.take() {
            match word {
                Word::Claimed(ticket, claim) => {
                    let (slot, extend) = (slot(ticket), now.after(claim.lease / 3));
                    let kept = Kept { claim, turn: Arc::default() };
                    self.claims.release(slot);
                    if self.bodies.get(slot).is_some() {
                        self.claims.held.insert(slot, Held { kept, extend, stage: Stage::Open });
                    } else {
                        self.claims.asks.push(Ask::Release(kept));
                    }
                }
                Word::Theirs(ticket) => drop(self.claims.held.remove(&slot(ticket))),
                Word::Known(ticket) => {
                    self.claims.held.remove(&slot(ticket));
                    self.claims.known.insert(slot(ticket));
                }
                other => tracing::warn!(?other, "a layer says something of a claim that this version does not know"),
            }
        }
        true
    }

    /// A call is over. Claims of what is not done are released; whether there are others, which are committed before it is settled.
    pub(super) fn claims_judged(&mut self, slot: Slot, slots: &[Slot], verdicts: &[Verdict], returned: bool) -> bool {
        let mut any = false;
        let done = self.engine.done_by(slot, verdicts);
        for ((slot, verdict), done) in slots.iter().zip(verdicts).zip(done) {
            if self.claims.known.remove(slot)
                && let Some(body) = self.bodies.get_mut(*slot).filter(|body| body.said == Said::Done)
            {
                body.said = Said::Known;
            }
            // What is dropped was not handled.
            if !done || *verdict != Verdict::Ack {
                self.claims.release(*slot);
            } else if let Some(held) = self.claims.held.get_mut(slot) {
                held.stage = if returned { Stage::Publishing } else { Stage::Done };
                any = true;
            }
        }
        any
    }

    /// What the call returned is confirmed. Whether claims are to be committed; the engine is told when they are.
    pub(super) fn commit_claims(&mut self, slot: Slot) -> bool {
        let mut claims = Vec::new();
        for one in self.members(slot) {
            if let Some(held) = self.claims.held.get_mut(&one).filter(|held| held.stage != Stage::Open) {
                held.stage = Stage::Committing;
                claims.push((one, held.kept.clone()));
            }
        }
        if claims.is_empty() {
            return false;
        }
        self.claims.asks.push(Ask::Commit(slot, claims));
        true
    }

    /// Nothing of these messages counts any more, or they are given up.
    pub(super) fn release_claims(&mut self, slots: &[Slot]) {
        if self.claims.desk.used() {
            for slot in slots {
                self.claims.known.remove(slot);
                self.claims.release(*slot);
            }
        }
    }

    /// The engine has forgotten a message. Work that was done is remembered even if it could not be settled: it comes again.
    pub(super) fn claim_freed(&mut self, slot: Slot) {
        if !self.claims.desk.used() {
            return;
        }
        self.claims.known.remove(&slot);
        match self.claims.held.remove(&slot) {
            Some(Held { stage: Stage::Done, kept, .. }) => self.claims.asks.push(Ask::Remember(kept)),
            Some(Held { stage: Stage::Open | Stage::Publishing, kept, .. }) => self.claims.asks.push(Ask::Release(kept)),
            Some(Held { stage: Stage::Committing, .. }) | None => {}
        }
    }

    /// Asks for the extensions that are due. When the next one is.
    fn extend_claims(&mut self, now: Time) -> Option<Time> {
        let ClaimTable { held, asks, .. } = &mut self.claims;
        for (slot, held) in held.iter_mut().filter(|(_, held)| held.extend <= now) {
            held.extend = now.after(held.kept.claim.lease / 3);
            asks.push(Ask::Extend(*slot, held.kept.clone()));
        }
        held.values().map(|held| held.extend).min()
    }

    fn claim_extended(&mut self, slot: Slot, answer: Result<Claimed, Error>) {
        match answer {
            Ok(Claimed::Ours) => {}
            Ok(_) => {
                tracing::warn!("the claim of a message ran out while it was handled: it may be handled twice");
                // There is nothing left to be extended or released; that it was handled is still to be said.
                if let Some(held) = self.claims.held.get_mut(&slot) {
                    held.extend = Time(u64::MAX);
                }
            }
            Err(error) => tracing::warn!(%error, "the claim of a message could not be extended"),
        }
    }

    fn claims_committed(&mut self, now: Time, slot: Slot, answers: Vec<(Slot, Result<(), Error>)>) {
        let mut result = Published::Confirmed;
        for (one, answer) in answers {
            match answer {
                Ok(()) => drop(self.claims.held.remove(&one)),
                Err(error) => {
                    tracing::warn!(%error, "that a message was handled could not be remembered; it is tried again before it is settled");
                    if let Some(held) = self.claims.held.get_mut(&one) {
                        held.stage = Stage::Done;
                    }
                    result = Published::Again;
                }
            }
        }
        self.step(now, In::Published { slot, result });
    }
}
