use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use convoke_core::{BoxError, Delivery, Reply, unavailable};
use tower::Service;

use super::ResponseFuture;
use super::future::Guard;
use super::state::Shared;

/// The service of a [`BreakerLayer`](super::BreakerLayer). Clones share its state.
#[derive(Debug, Clone)]
pub struct Breaker<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Breaker<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S> Service<Delivery> for Breaker<S>
where
    S: Service<Delivery, Response = Reply> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Reply;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Whether it is open is asked of a message: to be tried, the handler has to be ready.
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, delivery: Delivery) -> Self::Future {
        self.shared.context.get_or_init(|| Arc::clone(delivery.context()));
        match self.shared.admit() {
            Some(turn) => {
                // Before the call, which may panic.
                let guard = Guard::new(Arc::clone(&self.shared), turn);
                ResponseFuture::passed(self.inner.call(delivery), guard)
            }
            None => {
                // The readiness that was got for this call is not used.
                self.inner = self.inner.clone();
                ResponseFuture::refused(unavailable(BreakerOpen).into())
            }
        }
    }
}

/// The handler was not called: too many calls before have failed. The message waits; that is no attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOpen;

impl fmt::Display for BreakerOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the breaker is open: too many calls of the handler have failed")
    }
}

impl StdError for BreakerOpen {}
