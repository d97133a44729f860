//! Runtimes that are broken on purpose: a layer around every handler does what they would do wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use convoke_core::{BoxError, BoxFuture, BoxHandler, Delivery, Reply};
use tokio::sync::Mutex;
use tower_layer::Layer;
use tower_service::Service;

/// How it is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meddling {
    TakesPanicsForSuccess,
    TakesErrorsForSuccess,
    AnswersBeforeTheHandler,
    RunsOneHandlerAtATime,
    CountsWhatIsUnavailable,
    RunsEverythingTwice,
}
use Meddling::*;

impl Layer<BoxHandler> for Meddling {
    type Service = Meddler;

    fn layer(&self, inner: BoxHandler) -> Meddler {
        Meddler { inner, how: *self }
    }
}

#[derive(Clone)]
pub(crate) struct Meddler {
    inner: BoxHandler,
    how: Meddling,
}

impl Service<Delivery> for Meddler {
    type Response = Reply;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Reply, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, delivery: Delivery) -> Self::Future {
        static ONE: Mutex<()> = Mutex::const_new(());
        let how = self.how;
        let mut again = self.inner.clone();
        let copy = (how == RunsEverythingTwice && !delivery.is_batch())
            .then(|| Delivery::one(delivery.messages()[0].clone(), delivery.context().clone()));
        let mut call = Box::pin(self.inner.call(delivery));
        Box::pin(async move {
            match how {
                TakesPanicsForSuccess => {
                    let polled = std::future::poll_fn(|cx| {
                        catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))).unwrap_or(Poll::Ready(Ok(Reply::ack())))
                    });
                    polled.await
                }
                TakesErrorsForSuccess => Ok(call.await.unwrap_or_else(|_| Reply::ack())),
                AnswersBeforeTheHandler => {
                    tokio::spawn(call);
                    Ok(Reply::ack())
                }
                RunsOneHandlerAtATime => {
                    let _one = ONE.lock().await;
                    call.await
                }
                CountsWhatIsUnavailable => call.await.map_err(|error| error.to_string().into()),
                RunsEverythingTwice => {
                    if let Some(copy) = copy {
                        std::future::poll_fn(|cx| again.poll_ready(cx)).await?;
                        again.call(copy).await?;
                    }
                    call.await
                }
            }
        })
    }
}
