//! What is in hand, for whoever asks how far a group is behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How much of a partition is in the hands of this process.
#[derive(Debug, Default)]
pub(crate) struct Hands(AtomicU64);

impl Hands {
    const NOT_OURS: u64 = u64::MAX;

    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(Self::NOT_OURS)))
    }

    pub(crate) fn set(&self, count: usize) {
        self.0.store(count as u64, Relaxed);
    }

    pub(crate) fn not_ours(&self) {
        self.0.store(Self::NOT_OURS, Relaxed);
    }

    /// Nothing, if the partition is not ours.
    pub(crate) fn count(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|count| *count != Self::NOT_OURS)
    }
}
