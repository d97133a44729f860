//! How long to wait before trying again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Waits that double up to a limit, each with jitter: between half of it and all of it, so that not everybody comes back at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits that begin at `first` and end at `most`.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// It failed again: how long to wait.
    pub fn failed(&mut self) -> Duration {
        let wait = Self::wait(self.first, self.most, self.failures, random());
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// It succeeded: the next wait is the first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How often it failed in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// The wait after so many failures before this one.
    #[must_use]
    pub fn wait(first: Duration, most: Duration, failures: u32, random: u64) -> Duration {
        let whole = first.saturating_mul(1 << failures.min(20)).min(most);
        let half = whole / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_nanos(random % nanos)
    }
}

/// The keys of a hash map's hasher are the only source of chance in the standard library, and enough for this.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_keep_half_of_it_at_least() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(5));
        for failures in 0..100 {
            let whole = first.saturating_mul(1 << failures.min(20)).min(most);
            for random in [0, 1, u64::MAX / 2, u64::MAX] {
                let wait = Backoff::wait(first, most, failures, random);
                assert!(wait >= whole / 2 && wait <= whole, "{failures}: {wait:?}");
            }
        }
    }

    #[test]
    fn no_two_wait_alike() {
        let waits: Vec<_> = (0..8).map(|_| Backoff::new(Duration::from_secs(60), Duration::from_secs(60)).failed()).collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        assert!(backoff.failed() < backoff.failed() && backoff.failures() == 2);
        backoff.reset();
        assert!(backoff.failed() <= Duration::from_secs(1));
    }
}
