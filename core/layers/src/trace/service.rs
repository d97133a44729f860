use std::borrow::Cow;
use std::task::{Context, Poll};

use convoke_core::{BoxError, Delivery, Reply};
use tower::Service;

use super::ResponseFuture;
use super::record::Record;

/// The service of a [`TraceLayer`](super::TraceLayer).
#[derive(Debug, Clone)]
pub struct Trace<S> {
    inner: S,
    system: Option<Cow<'static, str>>,
}

impl<S> Trace<S> {
    pub(super) const fn new(inner: S, system: Option<Cow<'static, str>>) -> Self {
        Self { inner, system }
    }
}

impl<S> Service<Delivery> for Trace<S>
where
    S: Service<Delivery, Response = Reply>,
    S::Error: Into<BoxError>,
{
    type Response = Reply;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Waiting to get ready belongs to no message.
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, delivery: Delivery) -> Self::Future {
        let record = Record::new(self.system.as_deref(), &delivery);
        let inner = record.span.in_scope(|| self.inner.call(delivery));
        ResponseFuture::new(inner, record)
    }
}
