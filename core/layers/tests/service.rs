//! What a handler whose type is forgotten promises to the layers around it.

mod support;

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use convoke_core::{BoxError, BoxFuture, BoxHandler, Delivery, Reply, handler_fn};
use support::{batch, call, message, one};
use tower::limit::ConcurrencyLimitLayer;
use tower::load_shed::{LoadShedLayer, error::Overloaded};
use tower::{Service, ServiceBuilder};

/// Counts how often it was cloned, and does what the payload says.
struct Counted(Arc<AtomicUsize>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Service<Delivery> for Counted {
    type Response = Reply;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Reply, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, delivery: Delivery) -> Self::Future {
        Box::pin(async move {
            match &**delivery.messages()[0].message().payload() {
                b"panic" => panic!("as the payload says"),
                b"hang" => pending().await,
                b"fail" => Err("as the payload says".into()),
                _ => Ok(Reply::ack()),
            }
        })
    }
}

fn counted() -> (BoxHandler, Arc<AtomicUsize>) {
    let clones = Arc::default();
    (BoxHandler::new(Counted(Arc::clone(&clones))), clones)
}

fn is_ready(handler: &mut BoxHandler) -> bool {
    handler.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_clone_does_not_share_readiness() {
    let (inner, _) = counted();
    let mut first = inner.layered(&ConcurrencyLimitLayer::new(1));
    assert!(is_ready(&mut first));
    let mut second = first.clone();
    assert!(!is_ready(&mut second), "the permit is the first one's");
    drop(first);
    poll_fn(|cx| second.poll_ready(cx)).await.unwrap();
}

#[tokio::test]
#[should_panic(expected = "`poll_ready` must return ready before `call`")]
async fn a_call_uses_its_readiness_up() {
    let (mut handler, _) = counted();
    assert!(is_ready(&mut handler));
    let first = handler.call(one(message(0, "ok")));
    let _second = handler.call(one(message(1, "ok")));
    drop(first);
}

#[tokio::test]
async fn calls_one_after_the_other_share_a_cell() {
    let (handler, clones) = counted();
    for offset in 0..5 {
        call(&handler, one(message(offset, "ok"))).await.unwrap();
    }
    call(&handler, batch(&["ok", "ok"])).await.unwrap();
    assert_eq!(clones.load(Relaxed), 1);
}

#[tokio::test]
async fn calls_at_the_same_time_have_a_cell_each() {
    let (mut handler, clones) = counted();
    let mut running = Vec::new();
    for offset in 0..3 {
        assert!(is_ready(&mut handler));
        running.push(Box::pin(handler.call(one(message(offset, "hang")))));
    }
    assert!(running.iter_mut().all(|future| poll(future.as_mut()).is_pending()));
    assert_eq!(clones.load(Relaxed), 3);
    // Two of the three are free again, and enough for two more.
    running.truncate(1);
    for offset in 3..5 {
        assert!(is_ready(&mut handler));
        running.push(Box::pin(handler.call(one(message(offset, "hang")))));
    }
    assert_eq!(clones.load(Relaxed), 3);
}

#[tokio::test]
async fn dropping_a_call_drops_the_handlers_future_at_once() {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let mut handler = BoxHandler::new(handler_fn(move |_delivery| {
        let held = Arc::clone(&held);
        async move {
            pending::<()>().await;
            drop(held);
            Ok(Reply::ack())
        }
    }));
    assert!(is_ready(&mut handler));
    let idle = Arc::strong_count(&alive);
    let mut future = Box::pin(handler.call(one(message(0, "ok"))));
    assert!(poll(future.as_mut()).is_pending());
    assert_eq!(Arc::strong_count(&alive), idle + 1);
    drop(future);
    assert_eq!(Arc::strong_count(&alive), idle);
}

#[tokio::test]
async fn a_cell_in_which_the_handler_panicked_is_not_used_again() {
    let (mut handler, clones) = counted();
    assert!(is_ready(&mut handler));
    let mut future = Box::pin(handler.call(one(message(0, "panic"))));
    // The future outlives the panic, as in a driver that catches it: only the panic tells, not the drop.
    catch_unwind(AssertUnwindSafe(|| poll(future.as_mut()))).unwrap_err();
    drop(future);
    call(&handler, one(message(1, "ok"))).await.unwrap();
    assert_eq!(clones.load(Relaxed), 2);
}

#[tokio::test]
async fn a_future_that_is_done_says_so_and_does_not_hang() {
    let (mut handler, _) = counted();
    assert!(is_ready(&mut handler));
    let mut future = pin!(handler.call(one(message(0, "ok"))));
    assert!(matches!(poll(future.as_mut()), Poll::Ready(Ok(_))));
    assert!(matches!(poll(future.as_mut()), Poll::Ready(Err(_))));
}

#[tokio::test]
async fn a_call_that_was_shed_leaves_nobody_in_the_queue() {
    let (inner, _) = counted();
    let layers = ServiceBuilder::new().layer(LoadShedLayer::new()).concurrency_limit(1);
    let handler = inner.layered(&layers.into_inner());
    let mut first = handler.clone();
    assert!(is_ready(&mut first));
    let running = first.call(one(message(0, "hang")));
    for offset in 1..4 {
        let error = call(&handler, one(message(offset, "ok"))).await.unwrap_err();
        assert!(error.is::<Overloaded>());
    }
    drop(running);
    call(&handler, one(message(4, "ok"))).await.expect("the permit is free again");
}
