//! tower's own layers, and one from elsewhere, around a handler: what comes out of them, for a message and for a batch.

mod support;

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use convoke_core::{
    BoxError, BoxHandler, Class, Delivery, HandlerFuture, Outcome, Reply, class_of, handler_fn, permanent, unavailable,
};
use support::{batch, call, handler, message, one, words};
use tokio::time::{Instant, sleep};
use tower::buffer::{BufferLayer, error::Closed, error::ServiceError};
use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer};
use tower::load_shed::{LoadShedLayer, error::Overloaded};
use tower::timeout::{TimeoutLayer, error::Elapsed};
use tower::{Layer, Service, ServiceBuilder};
use tower_resilience_circuitbreaker::{CircuitBreakerError, CircuitBreakerLayer};

/// A message and a batch.
fn both() -> [Delivery; 2] {
    [one(message(0, "")), batch(&["a", "b"])]
}

fn slow() -> BoxHandler {
    BoxHandler::new(handler_fn(|_| async {
        sleep(Duration::from_secs(10)).await;
        Ok(Reply::ack())
    }))
}

/// A service that does not get ready, and says why.
#[derive(Clone)]
struct Down;

impl Service<Delivery> for Down {
    type Response = Reply;
    type Error = BoxError;
    type Future = HandlerFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Err(unavailable("the warehouse is offline").into()))
    }

    fn call(&mut self, _delivery: Delivery) -> HandlerFuture {
        unreachable!("it is never ready")
    }
}

fn is_ready(handler: &mut BoxHandler) -> bool {
    handler.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[tokio::test(start_paused = true)]
async fn a_timeout_fails_the_call_with_elapsed() {
    let handler = slow().layered(&TimeoutLayer::new(Duration::from_secs(2)));
    for delivery in both() {
        let begin = Instant::now();
        let error = call(&handler, delivery).await.unwrap_err();
        assert!(error.is::<Elapsed>());
        assert_eq!(begin.elapsed(), Duration::from_secs(2));
    }
}

#[tokio::test]
async fn a_timeout_leaves_the_handlers_own_error_and_its_class() {
    let (inner, _) = handler(|_| Err(permanent("no such order").into()));
    let error = call(&inner.layered(&TimeoutLayer::new(Duration::from_secs(2))), one(message(0, ""))).await.unwrap_err();
    assert_eq!(class_of(&*error), Class::Permanent);
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_makes_deliveries_wait_and_counts_a_batch_once() {
    let handler = slow().layered(&ConcurrencyLimitLayer::new(2));
    let begin = Instant::now();
    let calls = [batch(&["a", "b", "c"]), one(message(0, "")), one(message(1, ""))].map(|delivery| call(&handler, delivery));
    let [a, b, c] = calls;
    let (a, b, c) = tokio::join!(a, b, c);
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(begin.elapsed(), Duration::from_secs(20), "two together, then the third");
}

#[tokio::test]
async fn a_shed_load_fails_the_call_with_overloaded() {
    let handler = BoxHandler::new(handler_fn(|_| pending()));
    let mut handler = handler.layered(&ConcurrencyLimitLayer::new(1)).layered(&LoadShedLayer::new());
    assert!(is_ready(&mut handler));
    let _running = handler.call(one(message(0, "")));
    for delivery in both() {
        assert!(call(&handler, delivery).await.unwrap_err().is::<Overloaded>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_buffer_hands_deliveries_on_and_makes_them_wait_when_it_is_full() {
    let layers = ServiceBuilder::new().layer(BufferLayer::new(1)).layer(ConcurrencyLimitLayer::new(1)).into_inner();
    let mut handler = slow().layered(&layers);
    let [message, batch] = both();
    let begin = Instant::now();
    poll_fn(|cx| handler.poll_ready(cx)).await.unwrap();
    let first = handler.call(batch);
    tokio::task::yield_now().await;
    poll_fn(|cx| handler.poll_ready(cx)).await.unwrap();
    let second = handler.call(message);
    tokio::task::yield_now().await;
    // One runs, one is in the worker's hands, one is in the buffer.
    poll_fn(|cx| handler.poll_ready(cx)).await.unwrap();
    let third = handler.call(one(support::message(9, "")));
    assert!(!is_ready(&mut handler));
    let (first, second, third) = tokio::join!(first, second, third);
    assert_eq!(words(&first.unwrap().verdict), ["all Ack"]);
    assert!(second.is_ok() && third.is_ok());
    assert_eq!(begin.elapsed(), Duration::from_secs(30));
}

#[tokio::test]
async fn a_buffer_fails_to_get_ready_for_ever_once_what_is_inside_failed_to() {
    let handler = BoxHandler::new(BufferLayer::<Delivery>::new(4).layer(Down));
    // The first call finds out.
    let error = call(&handler, one(message(0, ""))).await.unwrap_err();
    assert!(error.is::<ServiceError>());
    assert_eq!(class_of(&*error), Class::Unavailable, "the reason is in the chain");
    let error = poll_fn(|cx| handler.clone().poll_ready(cx)).await.unwrap_err();
    assert!(error.is::<ServiceError>());
}

#[tokio::test]
async fn a_buffer_whose_worker_is_gone_fails_to_get_ready() {
    let (buffer, worker) = tower::buffer::Buffer::pair(slow(), 4);
    drop(worker);
    let error = poll_fn(|cx| BoxHandler::new(buffer.clone()).poll_ready(cx)).await.unwrap_err();
    assert!(error.is::<Closed>());
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_fits_within_a_buffer() {
    let limit = ServiceBuilder::new().layer(BufferLayer::new(8)).layer(RateLimitLayer::new(2, Duration::from_secs(1)));
    let (inner, seen) = handler(|_| Ok(Reply::ack()));
    let handler = inner.layered(&limit.into_inner());
    let begin = Instant::now();
    for _ in 0..2 {
        for delivery in both() {
            call(&handler, delivery).await.unwrap();
        }
    }
    assert_eq!((seen.lock().unwrap().len(), begin.elapsed().as_secs()), (4, 1));
}

#[tokio::test]
async fn a_service_that_fails_to_get_ready_says_so_before_it_has_a_message() {
    let handler = BoxHandler::new(Down).layered(&TimeoutLayer::new(Duration::from_secs(1)));
    for _ in 0..2 {
        let error = poll_fn(|cx| handler.clone().poll_ready(cx)).await.unwrap_err();
        assert_eq!(class_of(&*error), Class::Unavailable);
    }
}

#[tokio::test]
async fn a_breaker_from_elsewhere_fits_and_its_error_can_be_mapped_back() {
    fn mapped(error: CircuitBreakerError<BoxError>) -> BoxError {
        match error {
            CircuitBreakerError::Inner(error) => error,
            open @ CircuitBreakerError::OpenCircuit => unavailable(open.to_string()).into(),
        }
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let (inner, _) = handler(move |_| match count.fetch_add(1, Relaxed) {
        0 => Ok(Reply::outcome(Outcome::retry())),
        _ => Err(permanent("no such order").into()),
    });
    let breaker = CircuitBreakerLayer::builder().consecutive_failures(2).build().unwrap();
    let plain = inner.layered(&breaker);
    let handler = plain.clone().layered(&tower::util::MapErrLayer::new(|error: BoxError| {
        error.downcast::<CircuitBreakerError<BoxError>>().map_or_else(|error| error, |error| mapped(*error))
    }));

    assert_eq!(words(&call(&handler, batch(&["a", "b"])).await.unwrap().verdict), ["all Retry(None)"]);
    let hidden = call(&plain, one(message(0, ""))).await.unwrap_err();
    assert_eq!((class_of(&*hidden), hidden.source().is_none()), (Class::Transient, true), "it hides what is inside");
    let shown = call(&handler, one(message(0, ""))).await.unwrap_err();
    assert_eq!(class_of(&*shown), Class::Permanent);
    // Two failures in a row: the circuit is open, and the handler is not called.
    for delivery in both() {
        assert_eq!(class_of(&*call(&handler, delivery).await.unwrap_err()), Class::Unavailable);
    }
    assert_eq!(calls.load(Relaxed), 3);
}

#[tokio::test]
async fn a_batch_passes_through_a_whole_stack() {
    let layers = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(BufferLayer::new(4))
        .layer(ConcurrencyLimitLayer::new(4))
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .into_inner();
    let (inner, seen) = handler(|delivery| match delivery.messages().len() {
        2 => Ok(Reply::outcome(Outcome::Drop)),
        _ => Err("a batch of two".into()),
    });
    let reply = call(&inner.layered(&layers), batch(&["a", "b"])).await.unwrap();
    assert_eq!(words(&reply.verdict), ["all Drop"]);
    assert_eq!(*seen.lock().unwrap(), [[0, 1]]);
}
