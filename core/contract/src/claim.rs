//! Claims: how a message that was handled before is known again.
//!
//! A deduplication layer claims a message in a [`ClaimStore`] before its handler is called, and leaves the [`Claim`] with the
//! handler's [`Claims`]. The runtime does the rest: it extends the claim while it holds the message, commits it after what the
//! handler returned is confirmed and before the message is settled, and releases it when the message was not handled.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use crate::delivery::Delivered;
use crate::error::Error;

/// Remembers which messages were handled. One store may serve many processes.
///
/// An identity is CloudEvents `source` and `id`, and the handler's group and name: each handler handles a message once.
///
/// A call that has not answered within a third of the claim's lease counts as failed.
#[async_trait]
pub trait ClaimStore: Send + Sync + 'static {
    /// Claims an identity for `lease`. Of several holders that claim it at the same time, one gets it. A holder that has it already
    /// has it for another `lease` from now.
    ///
    /// # Cancel safety
    /// If the future is dropped the claim may have been made; it ends with its release or its lease.
    ///
    /// # Errors
    /// If the store cannot be reached: the message then waits, and nothing is handled twice.
    async fn claim(&self, identity: &str, holder: Holder, lease: Duration) -> Result<Claimed, Error>;

    /// The message was handled: it is known from now on, whoever holds it. Idempotent.
    ///
    /// # Cancel safety
    /// If the future is dropped it may have been done.
    ///
    /// # Errors
    /// If the store cannot be reached: the message is then not settled yet.
    async fn commit(&self, identity: &str) -> Result<(), Error>;

    /// The message was not handled: others may claim it, if this holder had it. What was committed stays so. Idempotent.
    ///
    /// # Cancel safety
    /// If the future is dropped it may have been done.
    ///
    /// # Errors
    /// If the store cannot be reached: the claim then ends with its lease.
    async fn release(&self, identity: &str, holder: Holder) -> Result<(), Error>;
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claimed {
    /// It is ours.
    Ours,
    /// The message was handled before.
    Done,
    /// Another holder is handling it: try again later.
    Theirs,
}

/// Who holds a claim: one for each attempt, so that what comes late from an attempt that lost its claim cannot take it from the
/// next holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder(u128);

impl Holder {
    /// Somebody new.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        Self(Uuid::now_v7().as_u128())
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A claim that a layer has made, or is about to make.
#[derive(Clone)]
#[non_exhaustive]
pub struct Claim {
    /// Where.
    pub store: Arc<dyn ClaimStore>,
    /// What is claimed.
    pub identity: Arc<str>,
    /// By whom.
    pub holder: Holder,
    /// For how long, unless it is extended.
    pub lease: Duration,
}

impl Claim {
    /// A claim of `identity` in `store`, by somebody new.
    #[must_use]
    pub fn new(store: Arc<dyn ClaimStore>, identity: impl Into<Arc<str>>, lease: Duration) -> Self {
        Self { store, identity: identity.into(), holder: Holder::new(), lease }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("identity", &self.identity).field("lease", &self.lease).finish_non_exhaustive()
    }
}

/// Where the layers of a handler leave word for the runtime about claims.
///
/// What was left for a message counts when its call is over, however it ends: a claim of a message that is acknowledged is
/// committed, every other one is released.
#[derive(Default)]
pub struct Claims {
    /// Whether anything was ever left: asked for each message, while the rest is for handlers that deduplicate.
    used: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    words: Vec<Word>,
    waker: Option<Waker>,
}

/// What a layer says of a message, which is named by its [`ticket`](Delivered::ticket).
#[derive(Debug)]
#[non_exhaustive]
pub enum Word {
    /// It is claimed, or may be as soon as the store answers.
    Claimed(u64, Claim),
    /// It is not claimed after all: another holder has it.
    Theirs(u64),
    /// It is not claimed after all: it was handled before.
    Known(u64),
}

impl Claims {
    /// A claim is about to be made for this message. To be called before the store is, so that a claim whose answer nobody waits for
    /// any more is released.
    pub fn claim(&self, message: &Delivered, claim: Claim) {
        self.leave(Word::Claimed(message.ticket, claim));
    }

    /// What the store has answered.
    pub fn answered(&self, message: &Delivered, claimed: Claimed) {
        match claimed {
            Claimed::Ours => {}
            Claimed::Done => self.leave(Word::Known(message.ticket)),
            Claimed::Theirs => self.leave(Word::Theirs(message.ticket)),
        }
    }

    fn leave(&self, word: Word) {
        let waker = {
            let mut inner = self.lock();
            inner.words.push(word);
            self.used.store(true, Ordering::Release);
            inner.waker.clone()
        };
        // A claim may be made on another task, while the runtime sleeps: it has to think of the lease.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether anything was ever left. For the runtime.
    #[must_use]
    pub fn used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// Takes what was left, in order. For the runtime.
    #[must_use]
    pub fn take(&self) -> Vec<Word> {
        std::mem::take(&mut self.lock().words)
    }

    /// Whom to wake when something is left. For the runtime.
    pub fn wake(&self, waker: Waker) {
        self.lock().waker = Some(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("used", &self.used()).finish_non_exhaustive()
    }
}
