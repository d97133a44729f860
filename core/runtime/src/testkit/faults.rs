//! Failing on purpose.

use std::collections::{HashMap, VecDeque};
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use convoke_core::broker::{Broker, Fault};
use convoke_core::{BoxError, BoxFuture, BoxHandler, Delivery, Error, ErrorKind, Reply};
use tower::{Layer, Service};

use super::test_app::TestApp;

impl TestApp {
    /// Has the next attempt of a handler fail with this error, without calling it. Said twice, two attempts fail, and so on. An
    /// error from [`permanent`](convoke_core::permanent) and its like is classified as if the handler had returned it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such handler.
    pub fn fail_next(&self, handler: &str, error: impl Into<BoxError>) -> Result<(), Error> {
        self.handle().bound_to(handler)?;
        self.kit.failing.add(handler, error.into());
        Ok(())
    }

    /// Has every publish be refused for this long, by handlers, of dead letters, and from outside, on every broker. They are
    /// repeated, as they are when a broker refuses.
    pub fn publishing_down(&self, time: Duration) {
        self.kit.story.say(format!("publishing is down for {time:?}"));
        self.kit.outage.begin(time);
    }

    /// Cuts the connection to the broker, which comes back after this time.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the broker cannot be made to.
    pub fn disconnect(&self, time: Duration) -> Result<(), Error> {
        self.inject(Fault::Cut { down: time })?;
        self.kit.story.say(format!("the connection was cut for {time:?}"));
        Ok(())
    }

    /// Has the next delivery to a handler's group come twice.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the broker cannot be made to; [`ErrorKind::NotFound`] if there is no such handler.
    pub fn repeat_next(&self, handler: &str) -> Result<(), Error> {
        let (broker, group) = self.handle().bound_to(handler)?;
        inject(&*broker, Fault::Repeat { group, count: 1 })
    }

    /// Makes the broker fail in whatever way it can, the first where there are several.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if it cannot be made to fail in this way.
    pub fn inject(&self, fault: Fault) -> Result<(), Error> {
        inject(&**self.handle().broker(), fault)
    }
}

fn inject(broker: &dyn Broker, fault: Fault) -> Result<(), Error> {
    let name = broker.capabilities().name;
    // Whatever the adapter says, the answer names the fault and the broker.
    let text = format!("{name} cannot be made to fail by `{fault:?}`; run this test on memory://, or do it to the server itself");
    let refused = || Error::new(ErrorKind::Unsupported, text);
    let Some(faults) = broker.faults() else { return Err(refused()) };
    let injected = faults.inject(fault);
    injected.map_err(|error| if error.kind() == ErrorKind::Unsupported { refused().with_source(error) } else { error })
}

/// The errors with which the next attempts fail, by handler.
#[derive(Default)]
pub(super) struct Failing(Mutex<HashMap<String, VecDeque<BoxError>>>);

impl Failing {
    fn add(&self, handler: &str, error: BoxError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(handler.to_owned()).or_default().push_back(error);
    }

    fn take(&self, handler: &str) -> Option<BoxError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(handler)?.pop_front()
    }
}

/// A layer around the handler itself, inside all others, which are to see the failure.
pub(super) struct FailingLayer(pub(super) Arc<Failing>);

impl Layer<BoxHandler> for FailingLayer {
    type Service = MayFail;

    fn layer(&self, inner: BoxHandler) -> MayFail {
        MayFail { inner, failing: Arc::clone(&self.0) }
    }
}

#[derive(Clone)]
pub(super) struct MayFail {
    inner: BoxHandler,
    failing: Arc<Failing>,
}

impl Service<Delivery> for MayFail {
    type Response = Reply;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Reply, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, delivery: Delivery) -> Self::Future {
        match self.failing.take(&delivery.context().handler) {
            Some(error) => Box::pin(ready(Err(error))),
            None => Box::pin(self.inner.call(delivery)),
        }
    }
}
