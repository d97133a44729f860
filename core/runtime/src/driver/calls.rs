//! Handlers that are running: a slab of at most as many entries as run at the same time, each with a waker of its own.
//!
//! An entry's waker puts its index on the woken list and wakes the driver's task, so that a turn polls only what was woken. The
//! wakers are made once and reused; waking allocates nothing in the steady state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use convoke_core::{BoxError, BoxHandler, Delivery, HandlerFuture, Reply};
use convoke_engine::Slot;
use tower::Service as _;

/// How a call of a handler ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It returned.
    Returned(Result<Reply, BoxError>),
    /// It panicked with this message.
    Panicked(String),
    /// The layers around it do not take messages at the moment; it was not called.
    NotTaken,
}

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

struct Entry {
    call: Option<(Slot, HandlerFuture)>,
    waker: Waker,
    flag: Arc<EntryWaker>,
}

/// All handlers that are running.
pub(crate) struct Calls {
    entries: Vec<Entry>,
    free: Vec<u32>,
    woken: Arc<Woken>,
    scratch: Vec<u32>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), woken: Arc::default(), scratch: Vec::new() }
    }

    /// Polls a call for the first time; keeps it if it is not done, and says under which index.
    pub(crate) fn start(&mut self, slot: Slot, future: HandlerFuture) -> Result<u32, Ended> {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let entry = &mut self.entries[index as usize];
        entry.call = Some((slot, future));
        match Self::poll(entry) {
            None => Ok(index),
            Some(ended) => {
                self.free.push(index);
                Err(ended)
            }
        }
    }

    fn grow(&mut self) -> u32 {
        #[allow(clippy::cast_possible_truncation, reason = "bounded by the concurrency, which is a u32")]
        let index = self.entries.len() as u32;
        let flag = Arc::new(EntryWaker { index, queued: AtomicBool::new(false), woken: Arc::clone(&self.woken) });
        self.entries.push(Entry { call: None, waker: Waker::from(Arc::clone(&flag)), flag });
        index
    }

    /// Polls an entry; if its call is done, empties it.
    fn poll(entry: &mut Entry) -> Option<Ended> {
        // Before the poll, so that a wake-up during it is not lost.
        entry.flag.queued.store(false, Ordering::Release);
        let (_, future) = entry.call.as_mut()?;
        let mut cx = Context::from_waker(&entry.waker);
        // A panic is a failed attempt. The cell of the future is dropped with it, and nothing else is shared.
        let ended = match catch_unwind(AssertUnwindSafe(|| std::future::Future::poll(Pin::new(future), &mut cx))) {
            Ok(Poll::Pending) => return None,
            Ok(Poll::Ready(result)) => Ended::Returned(result),
            Err(panic) => Ended::Panicked(panic_message(&*panic)),
        };
        entry.call = None;
        Some(ended)
    }

    /// Polls what was woken since the last time; hands what is done to `done`. Leaves `driver` to be woken by the next.
    pub(crate) fn poll_woken(&mut self, driver: &Waker, mut done: impl FnMut(Slot, Ended)) {
        {
            let mut list = self.woken.list.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut list.indices, &mut self.scratch);
            if !list.driver.as_ref().is_some_and(|waker| waker.will_wake(driver)) {
                list.driver = Some(driver.clone());
            }
        }
        for index in self.scratch.drain(..) {
            let entry = &mut self.entries[index as usize];
            // Woken after it was done or cancelled, or for the call before: polling once more does no harm.
            let Some(slot) = entry.call.as_ref().map(|(slot, _)| *slot) else {
                entry.flag.queued.store(false, Ordering::Release);
                continue;
            };
            if let Some(ended) = Self::poll(entry) {
                self.free.push(index);
                done(slot, ended);
            }
        }
    }

    /// Drops a call where it stands. A handler that panics while it is dropped takes nothing else with it.
    pub(crate) fn cancel(&mut self, index: u32) {
        if let Some(call) = self.entries[index as usize].call.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(call)));
            self.free.push(index);
        }
    }
}

/// Whether a service takes a call now; if not at all, or if it panics, what that comes to.
pub(crate) fn ready(service: &mut BoxHandler, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
    match catch_unwind(AssertUnwindSafe(|| service.poll_ready(cx))) {
        Ok(ready) => ready.map_err(|error| Ended::Returned(Err(convoke_core::unavailable(error).into()))),
        Err(panic) => Poll::Ready(Err(Ended::Panicked(panic_message(&*panic)))),
    }
}

/// Calls a service. A layer that panics in its `call`, before there is a future, has failed an attempt like any other.
pub(crate) fn call(service: &mut BoxHandler, delivery: Delivery) -> Result<HandlerFuture, Ended> {
    catch_unwind(AssertUnwindSafe(|| service.call(delivery))).map_err(|panic| Ended::Panicked(panic_message(&*panic)))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a value that is no text".to_owned())
}
