//! Claims that layers have made for messages: extended while the message is held, committed before it is settled, else released.
//!
//! To the engine, the commit is part of publishing what the handler returned: it is asked for when all of that is confirmed, and
//! what it comes to is said of the whole. So a commit that fails is repeated as a publish is, with backoff, the lease of the
//! delivery is kept meanwhile, and a drain waits for it. Claims are released behind the engine's back, since nothing waits for that.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use convoke_core::{BoxFuture, Claim, Claimed, Claims, Error, ErrorKind, Word};
use convoke_engine::{In, Published, Slot, Time, Verdict};
use futures_core::Stream;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Mutex;
use tokio::time::{Sleep, sleep, timeout};

use super::{Core, Driver};
use crate::driver::bodies::Said;

/// How long a drain waits, once everything is settled, for the store to hear of it.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The pause before the store is asked again: this, then twice that, and so on.
const AGAIN: Duration = Duration::from_millis(100);

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

/// A claim, and whose turn it is to speak of it: a release that overtook an extension would be undone by it.
#[derive(Clone)]
struct Kept {
    claim: Claim,
    turn: Arc<Mutex<()>>,
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

/// What the store is to be told.
enum Ask {
    Extend(Slot, Kept),
    /// These, for the call that the slot names.
    Commit(Slot, Vec<(Slot, Kept)>),
    /// To be remembered, although nobody waits for it.
    Remember(Kept),
    Release(Kept),
}

enum Answered {
    Extended(Slot, Result<Claimed, Error>),
    Committed(Slot, Vec<(Slot, Result<(), Error>)>),
    Nothing,
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

/// The store's side of a driver.
pub(super) struct ClaimWork {
    desk: Arc<Claims>,
    asked: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// For the next extension, or the end of a drain.
    sleep: Option<(Time, Pin<Box<Sleep>>)>,
    /// When nobody waits for the store any more.
    ends: Option<Time>,
}

impl ClaimWork {
    pub(super) fn new(desk: Arc<Claims>) -> Self {
        Self { desk, asked: FuturesUnordered::new(), sleep: None, ends: None }
    }

    /// Whether the store is still to hear something.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }
}

impl Driver {
    /// Tells the store what it is to know, and hears its answers.
    pub(super) fn poll_claims(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.claims.desk.used() {
            return false;
        }
        let mut any = false;
        loop {
            let now = self.now();
            let mut wake = {
                let mut core = self.remote.core();
                core.heed(now);
                let wake = core.extend_claims(now);
                self.claims.asked.extend(core.claims.asks.drain(..).map(ask));
                wake
            };
            if self.todo.drained {
                let ends = *self.claims.ends.get_or_insert(now.after(LAST_WORDS));
                if ends <= now {
                    self.claims.asked.clear();
                }
                wake = Some(ends).filter(|ends| *ends > now);
            }
            match Pin::new(&mut self.claims.asked).poll_next(cx) {
                Poll::Ready(Some(answered)) => {
                    any = true;
                    self.claim_answered(answered);
                }
                Poll::Ready(None) | Poll::Pending => {
                    if !self.wait_for_claims(wake, cx) {
                        return any;
                    }
                }
            }
        }
    }

    /// Sleeps until then. Whether that is now.
    fn wait_for_claims(&mut self, wake: Option<Time>, cx: &mut Context<'_>) -> bool {
        let Some(wake) = wake else {
            self.claims.sleep = None;
            return false;
        };
        let at = self.remote.instant(wake);
        let (until, sleep) = self.claims.sleep.get_or_insert_with(|| (wake, Box::pin(tokio::time::sleep_until(at))));
        if *until != wake {
            *until = wake;
            sleep.as_mut().reset(at);
        }
        let over = sleep.as_mut().poll(cx).is_ready();
        if over {
            self.claims.sleep = None;
        }
        over
    }

    fn claim_answered(&mut self, answered: Answered) {
        let now = self.now();
        let mut core = self.remote.core();
        match answered {
            Answered::Committed(slot, answers) => core.claims_committed(now, slot, answers),
            Answered::Extended(_, Ok(Claimed::Ours)) | Answered::Nothing => {}
            Answered::Extended(slot, Ok(_)) => {
                tracing::warn!("the claim of a message ran out while it was handled: it may be handled twice");
                // There is nothing left to be extended or released; that it was handled is still to be said.
                if let Some(held) = core.claims.held.get_mut(&slot) {
                    held.extend = Time(u64::MAX);
                }
            }
            Answered::Extended(_, Err(error)) => tracing::warn!(%error, "the claim of a message could not be extended"),
        }
    }
}

/// Tells the store one thing.
fn ask(ask: Ask) -> BoxFuture<'static, Answered> {
    Box::pin(async move {
        match ask {
            Ask::Extend(slot, kept) => {
                let Kept { claim: Claim { store, identity, holder, lease, .. }, turn } = &kept;
                let _turn = turn.lock().await;
                Answered::Extended(slot, within(*lease / 3, async { store.claim(identity, *holder, *lease).await }).await)
            }
            Ask::Commit(slot, claims) => {
                let commits = claims.into_iter().map(|(one, kept)| async move { (one, tell(&kept.claim, true).await) });
                Answered::Committed(slot, join_all(commits).await)
            }
            Ask::Remember(kept) => {
                insist(&kept.claim, true).await;
                Answered::Nothing
            }
            Ask::Release(kept) => {
                let _turn = kept.turn.lock().await;
                insist(&kept.claim, false).await;
                Answered::Nothing
            }
        }
    })
}

/// That the message was handled, or was not.
async fn tell(claim: &Claim, handled: bool) -> Result<(), Error> {
    let Claim { store, identity, holder, lease, .. } = claim;
    within(*lease / 3, async { if handled { store.commit(identity).await } else { store.release(identity, *holder).await } })
        .await
}

/// Tries until it is done, or the claim's lease is over: then there is nothing left to say.
async fn insist(claim: &Claim, handled: bool) {
    let again = async {
        let mut pause = AGAIN;
        while let Err(error) = tell(claim, handled).await {
            tracing::debug!(%error, "the claim store could not be told; again");
            sleep(pause).await;
            pause *= 2;
        }
    };
    if timeout(claim.lease, again).await.is_err() {
        tracing::warn!("the claim store could not be told what became of a message; its claim ends with its lease");
    }
}

/// What the store answers, if it does. A store is the user's code: it must not take the driver with it.
async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match timeout(limit, AssertUnwindSafe(call).catch_unwind()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(Error::new(ErrorKind::Internal, "the claim store panicked")),
        Err(_) => Err(Error::new(ErrorKind::Timeout, format!("the claim store has not answered within {limit:?}"))),
    }
}
