//! For how long a membership holds.

use std::time::{Duration, Instant};

/// A membership that the server forgets unless it is renewed, and how long the member itself may believe in it.
///
/// The server counts from when it takes a renewal, which is later than when it was sent: so whoever counts from the sending stops
/// before anybody else may begin. The clock is monotonic, and goes on while the process is frozen, so that a process that comes back
/// late finds its tenure over.
#[derive(Debug, Clone, Copy)]
pub struct Tenure {
    term: Duration,
    until: Instant,
    next: Instant,
}

impl Tenure {
    /// A membership that was asked for at `sent`, and granted.
    #[must_use]
    pub fn new(term: Duration, sent: Instant) -> Self {
        Self { term, until: sent + term, next: sent + term / 4 }
    }

    /// The server has taken the renewal that was sent then. `false` if that comes too late: the membership was over before `now`,
    /// and another may have what was ours.
    pub fn renewed(&mut self, sent: Instant, now: Instant) -> bool {
        if self.is_over(now) {
            return false;
        }
        if sent + self.term > self.until {
            (self.until, self.next) = (sent + self.term, sent + self.term / 4);
        }
        true
    }

    /// No answer came to a renewal: the next is due after this time.
    pub fn missed(&mut self, now: Instant) {
        self.next = now + self.term / 8;
    }

    /// When the next renewal is to be sent: four in a term.
    #[must_use]
    pub const fn next(&self) -> Instant {
        self.next
    }

    /// When it ends.
    #[must_use]
    pub const fn until(&self) -> Instant {
        self.until
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_secs(4);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_term_is_counted_from_when_the_renewal_was_sent() {
        let start = Instant::now();
        let mut tenure = Tenure::new(TERM, start);
        assert_eq!(tenure.next(), start + SECOND);
        assert!(tenure.renewed(start + SECOND, start + 3 * SECOND), "the answer took two seconds");
        assert_eq!(tenure.until(), start + 5 * SECOND);
        assert!(!tenure.is_over(start + 5 * SECOND - Duration::from_nanos(1)));
        assert!(tenure.is_over(start + 5 * SECOND));
    }

    #[test]
    fn an_answer_that_comes_when_it_is_over_brings_nothing_back() {
        let start = Instant::now();
        let mut tenure = Tenure::new(TERM, start);
        assert!(!tenure.renewed(start + SECOND, start + TERM), "frozen between sending and hearing");
        assert!(tenure.is_over(start + TERM));
    }

    #[test]
    fn an_old_answer_does_not_shorten_what_a_newer_one_gave() {
        let start = Instant::now();
        let mut tenure = Tenure::new(TERM, start);
        assert!(tenure.renewed(start + 2 * SECOND, start + 2 * SECOND));
        assert!(tenure.renewed(start + SECOND, start + 3 * SECOND));
        assert_eq!(tenure.until(), start + 6 * SECOND);
        tenure.missed(start + 3 * SECOND);
        assert_eq!(tenure.next(), start + 3 * SECOND + TERM / 8);
    }
}
