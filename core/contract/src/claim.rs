//! Claims: how a message that was handled before is known again.
//!
//! A deduplication layer places a [`Claim`] beside a delivery; the runtime commits it after what the handler returned is
//! confirmed and before the message is settled, and releases it when the attempt fails. Only the contract is here: an
//! application that asks for it is refused at `build()` until the runtime does so.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Error;

/// Remembers which messages were handled. One store may serve many processes.
///
/// An identity is CloudEvents `source` and `id`, and the handler's group and name: each handler handles a message once.
#[async_trait]
pub trait ClaimStore: Send + Sync + 'static {
    /// Claims an identity for `lease`. Of several that claim it at the same time, one gets it.
    ///
    /// # Cancel safety
    /// If the future is dropped the claim may have been made; it ends with its lease.
    ///
    /// # Errors
    /// If the store cannot be reached: the attempt then fails, and nothing is handled twice.
    async fn claim(&self, identity: &str, lease: Duration) -> Result<Claimed, Error>;

    /// The message was handled: it is known from now on. Idempotent.
    ///
    /// # Cancel safety
    /// If the future is dropped it may have been done.
    ///
    /// # Errors
    /// If the store cannot be reached: the message is then not settled yet.
    async fn commit(&self, identity: &str) -> Result<(), Error>;

    /// The attempt failed: others may claim it again. Idempotent.
    ///
    /// # Cancel safety
    /// If the future is dropped it may have been done.
    ///
    /// # Errors
    /// If the store cannot be reached: the claim then ends with its lease.
    async fn release(&self, identity: &str) -> Result<(), Error>;
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claimed {
    /// It is ours.
    Ours,
    /// The message was handled before.
    Done,
    /// Somebody else is handling it: try again later.
    Theirs,
}

/// A claim that a layer has made for a delivery: an extension of [`Delivery`](crate::Delivery).
#[derive(Clone)]
#[non_exhaustive]
pub struct Claim {
    /// Where it was made.
    pub store: Arc<dyn ClaimStore>,
    /// What was claimed.
    pub identity: Arc<str>,
}

impl Claim {
    /// A claim of `identity` in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn ClaimStore>, identity: impl Into<Arc<str>>) -> Self {
        Self { store, identity: identity.into() }
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("identity", &self.identity).finish_non_exhaustive()
    }
}
