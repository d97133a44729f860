use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use convoke_core::ClaimStore;
use tower::Layer;

use super::Dedup;

/// Calls the handler once for each message, as far as a store remembers. See the [module](super).
#[derive(Clone)]
pub struct DedupLayer {
    store: Arc<dyn ClaimStore>,
    lease: Duration,
}

impl DedupLayer {
    /// How long a claim lasts that nobody extends, if nothing else is said.
    pub const LEASE: Duration = Duration::from_secs(30);

    /// Remembers in `store` what was handled.
    #[must_use]
    pub fn new(store: Arc<dyn ClaimStore>) -> Self {
        Self { store, lease: Self::LEASE }
    }

    /// How long a claim lasts that nobody extends: how long the message of a process that died waits. At least a second.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(Duration::from_secs(1));
        self
    }
}

impl fmt::Debug for DedupLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupLayer").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for DedupLayer {
    type Service = Dedup<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Dedup::new(inner, Arc::clone(&self.store), self.lease)
    }
}
