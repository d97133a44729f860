use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use convoke_core::{ClaimStore, Claimed, Error, Holder};
use tokio::time::Instant;

/// A [`ClaimStore`] in the process's memory: it knows what this process has handled, until it ends.
///
/// That is enough against what the broker delivers twice to a living process, after a cut or a rebalance, and against a producer that
/// repeats itself. It does not outlive a restart, and other processes do not see it.
///
/// It forgets what was handled longer ago than its retention (an hour), and the oldest where there is no room (a million
/// messages, of some 200 bytes each). A message that comes again after that is handled again.
///
/// Time is tokio's, so that virtual time moves it.
#[derive(Debug)]
pub struct MemoryClaims {
    capacity: usize,
    retention: Duration,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Arc<str>, Entry>,
    /// What was handled, and until when it is remembered: the oldest first.
    done: VecDeque<(Instant, Arc<str>)>,
    /// How many entries there may be before claims are looked through that nobody will end: twice as many as were left the last time.
    sweep: usize,
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    Claimed(Holder, Instant),
    Done,
}

impl MemoryClaims {
    /// How long it remembers, if nothing else is said.
    pub const RETENTION: Duration = Duration::from_secs(60 * 60);
    /// How many it remembers, if nothing else is said.
    pub const CAPACITY: usize = 1_000_000;

    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { capacity: Self::CAPACITY, retention: Self::RETENTION, inner: Mutex::default() }
    }

    /// How long it remembers what was handled.
    #[must_use]
    pub const fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// How many handled messages it remembers.
    #[must_use]
    pub const fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// How many handled messages it remembers now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|inner, _| inner.done.len())
    }

    /// Whether it remembers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Does something, after what is over was forgotten.
    fn with<T>(&self, act: impl FnOnce(&mut Inner, Instant) -> T) -> T {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while inner.done.front().is_some_and(|(until, _)| *until <= now) || inner.done.len() > self.capacity {
            let Some((_, oldest)) = inner.done.pop_front() else { break };
            inner.entries.remove(&oldest);
        }
        act(&mut inner, now)
    }
}

impl Default for MemoryClaims {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    /// Forgets claims whose lease is over, now and then: nobody may ever ask for them again.
    fn sweep(&mut self, now: Instant) {
        if self.entries.len() - self.done.len() > self.sweep {
            self.entries.retain(|_, entry| !matches!(entry, Entry::Claimed(_, until) if *until <= now));
            self.sweep = (2 * (self.entries.len() - self.done.len())).max(1024);
        }
    }
}

#[async_trait]
impl ClaimStore for MemoryClaims {
    async fn claim(&self, identity: &str, holder: Holder, lease: Duration) -> Result<Claimed, Error> {
        Ok(self.with(|inner, now| {
            match inner.entries.get_mut(identity) {
                Some(Entry::Done) => return Claimed::Done,
                Some(Entry::Claimed(other, until)) if *other != holder && *until > now => return Claimed::Theirs,
                Some(entry) => *entry = Entry::Claimed(holder, now + lease),
                None => {
                    inner.sweep(now);
                    inner.entries.insert(identity.into(), Entry::Claimed(holder, now + lease));
                }
            }
            Claimed::Ours
        }))
    }

    async fn commit(&self, identity: &str) -> Result<(), Error> {
        self.with(|inner, now| {
            if !matches!(inner.entries.get(identity), Some(Entry::Done)) {
                let identity: Arc<str> = identity.into();
                inner.done.push_back((now + self.retention, Arc::clone(&identity)));
                inner.entries.insert(identity, Entry::Done);
            }
        });
        Ok(())
    }

    async fn release(&self, identity: &str, holder: Holder) -> Result<(), Error> {
        self.with(|inner, _| {
            if matches!(inner.entries.get(identity), Some(Entry::Claimed(other, _)) if *other == holder) {
                inner.entries.remove(identity);
            }
        });
        Ok(())
    }
}
