//! Futures that are running: a slab of as many entries as have run at the same time, each with a waker of its own.
//!
//! An entry's waker puts its index on the woken list and wakes the driver's task, so that a turn polls only what was woken. The
//! wakers are made once and reused; waking allocates nothing in the steady state.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Result;

/// Indices of entries that were woken, and the task that wants to know.
#[derive(Default)]
struct Woken {
    list: Mutex<WokenList>,
}

#[derive(Default)]
struct WokenList {
    indices: Vec<u32>,
    driver: Option<Waker>,
}

impl Woken {
    fn push(&self, index: u32) {
        let driver = {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            list.indices.push(index);
            // The driver leaves its waker again before it sleeps.
            list.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// The waker of one entry.
struct EntryWaker {
    index: u32,
    /// Whether the index is on the list already.
    queued: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for EntryWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.woken.push(self.index);
        }
    }
}

struct Entry<K, F> {
    runs: Option<(K, F)>,
    waker: Waker,
    flag: Arc<EntryWaker>,
}

impl<K, F: Future + Unpin> Entry<K, F> {
    /// Polls it; if it is done, empties it.
    fn poll(&mut self) -> Option<Result<F::Output>> {
        // Before the poll, so that a wake-up during it is not lost.
        self.flag.queued.store(false, Ordering::Release);
        let (_, future) = self.runs.as_mut()?;
        let mut cx = Context::from_waker(&self.waker);
        // What a future shares with others it shares by what withstands a panic; it is itself dropped.
        let ended = match catch_unwind(AssertUnwindSafe(|| Pin::new(future).poll(&mut cx))) {
            Ok(Poll::Pending) => return None,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        self.runs = None;
        Some(ended)
    }
}

/// All that run, each with what it is known by.
pub(crate) struct Running<K, F> {
    entries: Vec<Entry<K, F>>,
    free: Vec<u32>,
    woken: Arc<Woken>,
    scratch: Vec<u32>,
}

impl<K: Copy, F: Future + Unpin> Running<K, F> {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), woken: Arc::default(), scratch: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.entries.len()
    }

    /// Polls a future for the first time; keeps it if it is not done, and says under which index.
    pub(crate) fn start(&mut self, key: K, future: F) -> std::result::Result<u32, Result<F::Output>> {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let entry = &mut self.entries[index as usize];
        entry.runs = Some((key, future));
        match entry.poll() {
            None => Ok(index),
            Some(ended) => {
                self.free.push(index);
                Err(ended)
            }
        }
    }

    fn grow(&mut self) -> u32 {
        #[allow(clippy::cast_possible_truncation, reason = "so many never run at the same time")]
        let index = self.entries.len() as u32;
        let flag = Arc::new(EntryWaker { index, queued: AtomicBool::new(false), woken: Arc::clone(&self.woken) });
        self.entries.push(Entry { runs: None, waker: Waker::from(Arc::clone(&flag)), flag });
        index
    }

    /// Polls what was woken since the last time; hands what is done to `done`. Leaves `driver` to be woken by the next.
    pub(crate) fn poll_woken(&mut self, driver: &Waker, mut done: impl FnMut(K, Result<F::Output>)) {
        {
            let mut list = self.woken.list.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut list.indices, &mut self.scratch);
            if !list.driver.as_ref().is_some_and(|waker| waker.will_wake(driver)) {
                list.driver = Some(driver.clone());
            }
        }
        for index in self.scratch.drain(..) {
            let entry = &mut self.entries[index as usize];
            // Woken after it was done or cancelled, or for the one before: polling once more does no harm.
            let Some(key) = entry.runs.as_ref().map(|(key, _)| *key) else {
                entry.flag.queued.store(false, Ordering::Release);
                continue;
            };
            if let Some(ended) = entry.poll() {
                self.free.push(index);
                done(key, ended);
            }
        }
    }

    /// Drops one where it stands. If it panics while it is dropped, it takes nothing else with it.
    pub(crate) fn cancel(&mut self, index: u32) {
        if let Some(one) = self.entries[index as usize].runs.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(one)));
            self.free.push(index);
        }
    }

    /// Drops all of them.
    pub(crate) fn clear(&mut self) {
        (0..).zip(0..self.entries.len()).for_each(|(index, _)| self.cancel(index));
    }
}
