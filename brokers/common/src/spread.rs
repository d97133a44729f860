//! The partition of a message, where the broker has none of its own.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use convoke_core::Key;

/// Chooses partitions: by the key as Kafka's Java client does, so that all clients agree; without a key in turn.
#[derive(Debug, Default)]
pub struct Spread(AtomicU32);

impl Spread {
    /// The partition of a message with this key, of `partitions`.
    ///
    /// # Panics
    /// If there are no partitions.
    #[must_use]
    pub fn partition(&self, key: Option<&Key>, partitions: u32) -> u32 {
        assert!(partitions > 0, "a topic has one partition at least");
        key.map_or_else(|| self.0.fetch_add(1, Relaxed) % partitions, |key| key.partition(partitions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_partition_and_what_has_none_goes_everywhere() {
        let spread = Spread::default();
        let key = Key::new("foobar");
        assert!((0..9).all(|_| spread.partition(Some(&key), 8) == key.partition(8)));
        let turn: Vec<_> = (0..8).map(|_| spread.partition(None, 8)).collect();
        assert_eq!(turn, (0..8).collect::<Vec<_>>());
    }
}
