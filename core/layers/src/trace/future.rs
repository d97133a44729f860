use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use convoke_core::{BoxError, Reply};
use pin_project_lite::pin_project;

use super::record::Record;

pin_project! {
    /// The future of a [`Trace`](super::Trace)'s call.
    ///
    /// # Cancel safety
    /// Dropping it drops the handler's future where it stands, within the span, and says so in the span.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        // Empty once it is done: what it holds is dropped within the span.
        #[pin]
        inner: Option<F>,
        // Whether a poll has begun and not come back: it panicked, whoever caught that.
        polling: bool,
        record: Record,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.inner.is_none() {
                return;
            }
            this.record.abandoned(*this.polling);
            let _entered = this.record.span.enter();
            this.inner.set(None);
        }
    }
}

impl<F> ResponseFuture<F> {
    pub(super) const fn new(inner: F, record: Record) -> Self {
        Self { inner: Some(inner), polling: false, record }
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Reply, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Reply, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let _entered = this.record.span.enter();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(Err("a traced future was polled after it was done".into()));
        };
        *this.polling = true;
        let polled = inner.poll(cx);
        *this.polling = false;
        let result = ready!(polled).map_err(Into::into);
        this.inner.set(None);
        this.record.done(&result);
        Poll::Ready(result)
    }
}
