use std::fmt;
use std::task::{Context, Poll};

use convoke_core::{BoxError, Delivered, Delivery, Outcome, Reply};
use tower::Service;

use super::ResponseFuture;
use crate::plan::{Choice, Plan};

/// The service of a [`FilterLayer`](super::FilterLayer).
#[derive(Clone, Copy)]
pub struct Filter<S, P> {
    inner: S,
    predicate: P,
}

impl<S, P> Filter<S, P> {
    /// Lets those messages through to `inner` for which `predicate` is true.
    pub const fn new(inner: S, predicate: P) -> Self {
        Self { inner, predicate }
    }
}

impl<S: fmt::Debug, P> fmt::Debug for Filter<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, P> Service<Delivery> for Filter<S, P>
where
    S: Service<Delivery, Response = Reply> + Clone,
    S::Error: Into<BoxError>,
    P: Fn(&Delivered) -> bool,
{
    type Response = Reply;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // What is not wanted waits for the handler's readiness too: whether it is wanted is known only once it is called.
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut delivery: Delivery) -> Self::Future {
        let predicate = &self.predicate;
        match Plan::choose(&mut delivery, |_, message| (!predicate(message)).then_some(Ok(Outcome::Drop))) {
            Choice::All => ResponseFuture::passed(self.inner.call(delivery), None),
            Choice::Some(plan) => ResponseFuture::passed(self.inner.call(delivery), Some(plan)),
            Choice::None(reply) => {
                // The readiness that was got for this call is not used. It may be a permit, for which others wait: let go of it.
                self.inner = self.inner.clone();
                ResponseFuture::dropped(reply)
            }
        }
    }
}
