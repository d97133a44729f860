//! Calls of handlers: how they begin, run and end.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

use convoke_core::{BoxError, BoxHandler, Delivery, HandlerFuture, Reply};
use convoke_engine::Slot;
use tower::Service as _;

use super::running::Running;

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

impl Ended {
    /// What a call has come to. A panic is a failed attempt.
    fn of(ended: Result<Result<Reply, BoxError>, Box<dyn Any + Send>>) -> Self {
        match ended {
            Ok(result) => Self::Returned(result),
            Err(panic) => Self::Panicked(panic_message(&*panic)),
        }
    }
}

/// All handlers that are running.
pub(crate) struct Calls(Running<Slot, HandlerFuture>);

impl Calls {
    pub(crate) fn new() -> Self {
        Self(Running::new())
    }

    /// Polls a call for the first time; keeps it if it is not done, and says under which index.
    pub(crate) fn start(&mut self, slot: Slot, future: HandlerFuture) -> Result<u32, Ended> {
        self.0.start(slot, future).map_err(Ended::of)
    }

    /// Polls what was woken since the last time; hands what is done to `done`. Leaves `driver` to be woken by the next.
    pub(crate) fn poll_woken(&mut self, driver: &Waker, mut done: impl FnMut(Slot, Ended)) {
        self.0.poll_woken(driver, |slot, ended| done(slot, Ended::of(ended)));
    }

    /// Drops a call where it stands.
    pub(crate) fn cancel(&mut self, index: u32) {
        self.0.cancel(index);
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

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a value that is no text".to_owned())
}
