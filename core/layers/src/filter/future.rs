use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use convoke_core::{BoxError, Reply};
use pin_project_lite::pin_project;

use crate::plan::Plan;

pin_project! {
    /// The future of a [`Filter`](super::Filter)'s call.
    ///
    /// # Cancel safety
    /// Dropping it drops the handler's future where it stands.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<F> {
        Dropped { reply: Option<Result<Reply, BoxError>> },
        Passed { #[pin] inner: F, plan: Option<Plan> },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) const fn dropped(reply: Result<Reply, BoxError>) -> Self {
        Self { kind: Kind::Dropped { reply: Some(reply) } }
    }

    pub(super) const fn passed(inner: F, plan: Option<Plan>) -> Self {
        Self { kind: Kind::Passed { inner, plan } }
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Reply, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Reply, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Dropped { reply } => {
                Poll::Ready(reply.take().unwrap_or_else(|| Err("a filter's future was polled after it was done".into())))
            }
            KindProj::Passed { inner, plan } => {
                let result = ready!(inner.poll(cx)).map_err(Into::into);
                Poll::Ready(match plan.take() {
                    Some(plan) => Ok(plan.widen(result)),
                    None => result,
                })
            }
        }
    }
}
