//! One word to the store, and its answer.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use convoke_core::{BoxFuture, Claim, Claimed, Error, ErrorKind, join_all};
use convoke_engine::Slot;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

/// So many claims of a batch are spoken of at the same time.
const AT_ONCE: usize = 100;
/// The pause before the store is asked again: this, then twice that, and so on.
const AGAIN: Duration = Duration::from_millis(100);

/// A claim, and whose turn it is to speak of it: a release that overtook an extension would be undone by it.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) claim: Claim,
    pub(super) turn: Arc<Mutex<()>>,
}

/// What the store is to be told.
pub(super) enum Ask {
    Extend(Slot, Kept),
    /// These, for the call that the slot names.
    Commit(Slot, Vec<(Slot, Kept)>),
    /// To be remembered, although nobody waits for it.
    Remember(Kept),
    Release(Kept),
}

pub(super) enum Answered {
    Extended(Slot, Result<Claimed, Error>),
    Committed(Slot, Vec<(Slot, Result<(), Error>)>),
    Nothing,
}

/// Tells the store one thing.
pub(super) fn ask(ask: Ask) -> BoxFuture<'static, Answered> {
    Box::pin(async move {
        match ask {
            Ask::Extend(slot, kept) => {
                let Kept { claim: Claim { store, identity, holder, lease, .. }, turn } = &kept;
                let _turn = turn.lock().await;
                Answered::Extended(slot, within(*lease / 3, async { store.claim(identity, *holder, *lease).await }).await)
            }
            Ask::Commit(slot, claims) => {
                let (mut claims, mut answers) = (claims.into_iter(), Vec::new());
                while !claims.as_slice().is_empty() {
                    let some = claims.by_ref().take(AT_ONCE);
                    answers.extend(join_all(some.map(|(one, kept)| async move { (one, tell(&kept.claim, true).await) })).await);
                }
                Answered::Committed(slot, answers)
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
    let mut call = pin!(call);
    let caught = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        Err(_panic) => Poll::Ready(None),
    });
    match timeout(limit, caught).await {
        Ok(Some(answer)) => answer,
        Ok(None) => Err(Error::new(ErrorKind::Internal, "the claim store panicked")),
        Err(_) => Err(Error::new(ErrorKind::Timeout, format!("the claim store has not answered within {limit:?}"))),
    }
}
