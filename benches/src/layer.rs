//! A layer that passes on what it is given, with a future of its own, as layers have that do something.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass;

impl<S> Layer<S> for Pass {
    type Service = Passing<S>;

    fn layer(&self, inner: S) -> Passing<S> {
        Passing { inner }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Passing<S> {
    inner: S,
}

impl<S: Service<R>, R> Service<R> for Passing<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = PassingFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> PassingFuture<S::Future> {
        PassingFuture { inner: self.inner.call(request) }
    }
}

pin_project! {
    pub(crate) struct PassingFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F: Future> Future for PassingFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().inner.poll(cx)
    }
}
