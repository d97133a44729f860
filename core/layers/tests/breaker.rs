//! When a breaker opens and closes, and what it makes of what ends meanwhile.

mod support;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use convoke_core::{
    BoxError, BoxHandler, Class, Outcome, Reply, Verdict, after, class_of, handler_fn, permanent, transient, unavailable,
};
use convoke_layers::BreakerLayer;
use convoke_layers::breaker::{Breakers, State};
use support::{batch, call, handler, message, one, words};
use tokio::task::JoinHandle;
use tokio::time::{advance, timeout};
use tower::Service;

/// A handler whose answer the payload says, with a breaker.
fn breaker(layer: &BreakerLayer) -> (BoxHandler, Breakers) {
    let (inner, _) = handler(|delivery| answer(delivery.messages()[0].message().payload()));
    (inner.layered(layer), layer.breakers())
}

fn answer(payload: &[u8]) -> Result<Reply, BoxError> {
    match payload {
        b"ok" => Ok(Reply::ack()),
        b"retry" => Ok(Reply::outcome(Outcome::retry())),
        b"after" => Err(after(Duration::from_secs(1), "busy").into()),
        b"transient" => Err(transient("busy").into()),
        b"permanent" => Err(permanent("wrong").into()),
        b"down" => Err(unavailable("down").into()),
        b"drop" => Ok(Reply::outcome(Outcome::Drop)),
        b"dead" => Ok(Reply::outcome(Outcome::dead("wrong"))),
        _ => Err("plain".into()),
    }
}

async fn say(handler: &BoxHandler, payload: &'static str) -> Result<Reply, BoxError> {
    call(handler, one(message(0, payload))).await
}

/// On a task of its own.
fn spawned(handler: &BoxHandler, payload: &'static str) -> JoinHandle<Result<Reply, BoxError>> {
    let mut handler = handler.clone();
    tokio::spawn(async move {
        poll_fn(|cx| handler.poll_ready(cx)).await?;
        handler.call(one(message(0, payload))).await
    })
}

async fn state_after(payloads: &[&'static str]) -> State {
    let (handler, breakers) = breaker(&BreakerLayer::new().opens_at(3, 4));
    for payload in payloads {
        let _ = say(&handler, payload).await;
    }
    breakers.all()[0].state
}

#[tokio::test(start_paused = true)]
async fn it_opens_when_so_many_of_the_last_calls_failed() {
    for (payloads, open) in [
        (&["plain", "transient", "after"][..], true),
        (&["plain", "retry", "plain"], true),
        (&["plain", "plain", "ok", "plain"], true),
        (&["plain", "plain", "ok", "ok", "plain", "plain"], false),
        (&["plain", "plain"], false),
        (&["plain", "permanent", "plain", "dead", "drop", "down"], false),
        (&["plain", "permanent", "plain", "dead", "drop", "down", "plain"], true),
    ] {
        assert_eq!(state_after(payloads).await.is_open(), open, "{payloads:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_of_long_ago_are_forgotten() {
    let (handler, breakers) = breaker(&BreakerLayer::new().opens_at(3, 4).within(Duration::from_secs(60)));
    for _ in 0..10 {
        say(&handler, "plain").await.unwrap_err();
        advance(Duration::from_secs(30)).await;
    }
    assert_eq!((breakers.all()[0].state, breakers.all()[0].failures), (State::Closed, 2));
}

#[tokio::test(start_paused = true)]
async fn what_makes_it_open_and_what_comes_after_is_unavailable_and_keeps_its_text() {
    let (handler, _) = breaker(&BreakerLayer::new().opens_at(1, 1));
    let error = say(&handler, "plain").await.unwrap_err();
    assert_eq!((class_of(&*error), error.to_string()), (Class::Unavailable, "plain".into()));
    let error = say(&handler, "ok").await.unwrap_err();
    assert_eq!(class_of(&*error), Class::Unavailable);
    assert!(error.to_string().contains("the breaker is open"), "{error}");
    advance(Duration::from_secs(1)).await;
    assert_eq!(words(&say(&handler, "retry").await.unwrap().verdict), ["all Unavailable"], "one is let through, and fails");
    advance(Duration::from_millis(999)).await;
    say(&handler, "ok").await.unwrap_err();
    advance(Duration::from_millis(1)).await;
    let error = say(&handler, "permanent").await.unwrap_err();
    assert_eq!(class_of(&*error), Class::Permanent, "what is wrong is wrong whatever works");
    say(&handler, "ok").await.unwrap();
    assert_eq!(class_of(&*say(&handler, "permanent").await.unwrap_err()), Class::Permanent);
}

#[tokio::test(start_paused = true)]
async fn one_call_at_a_time_is_let_through_and_none_that_began_before_says_anything() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let inner = BoxHandler::new(handler_fn(move |delivery| {
        let n = counted.fetch_add(1, SeqCst);
        async move {
            tokio::time::sleep(Duration::from_secs([9, 1, 3][n])).await;
            answer(delivery.messages()[0].message().payload())
        }
    }));
    let layer = BreakerLayer::new().opens_at(1, 1);
    let handler = inner.layered(&layer);
    let slow = spawned(&handler, "plain");
    tokio::task::yield_now().await;
    say(&handler, "plain").await.unwrap_err();
    advance(Duration::from_secs(1)).await;
    let probe = spawned(&handler, "ok");
    tokio::task::yield_now().await;
    assert_eq!(layer.breakers().all()[0].state, State::HalfOpen);
    say(&handler, "ok").await.unwrap_err();
    assert_eq!(calls.load(SeqCst), 3);
    probe.await.unwrap().unwrap();
    // It began before the breaker opened: now that it is closed again, its failure is one like any other, and is not counted.
    let error = slow.await.unwrap().unwrap_err();
    assert_eq!((class_of(&*error), layer.breakers().all()[0].state), (Class::Transient, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cancelled_has_failed_and_one_that_panics_has_not() {
    let inner = BoxHandler::new(handler_fn(|delivery| async move {
        match &delivery.messages()[0].message().payload()[..] {
            b"hang" => std::future::pending().await,
            b"panic" => panic!("no such message"),
            _ => Ok(Reply::ack()),
        }
    }));
    let layer = BreakerLayer::new().opens_at(2, 2);
    let handler = inner.layered(&layer);
    for _ in 0..3 {
        spawned(&handler, "panic").await.unwrap_err();
    }
    assert_eq!(layer.breakers().all()[0].state, State::Closed);
    for _ in 0..2 {
        timeout(Duration::from_secs(1), say(&handler, "hang")).await.unwrap_err();
    }
    assert_eq!(layer.breakers().all()[0].state, State::Open);
    // The one that is let through is cancelled too, and panics the next time: neither leaves the breaker half open.
    advance(Duration::from_secs(1)).await;
    timeout(Duration::from_secs(1), say(&handler, "hang")).await.unwrap_err();
    advance(Duration::from_secs(1)).await;
    spawned(&handler, "panic").await.unwrap_err();
    say(&handler, "ok").await.unwrap();
    assert_eq!(layer.breakers().all()[0].state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_batch_fails_if_nothing_of_it_succeeded_and_only_its_failures_are_excused() {
    let (inner, _) = handler(|delivery| {
        let each = delivery.messages().iter().map(|message| {
            let reply = answer(message.message().payload())?;
            let Verdict::All(outcome) = reply.verdict else { unreachable!("one verdict") };
            Ok(outcome)
        });
        let mut reply = Reply::ack();
        reply.verdict = Verdict::Each(each.collect());
        Ok(reply)
    });
    let layer = BreakerLayer::new().opens_at(1, 1);
    let handler = inner.layered(&layer);
    let reply = call(&handler, batch(&["plain", "ok", "retry"])).await.unwrap();
    assert_eq!(words(&reply.verdict), ["plain", "Ack", "Retry(None)"]);
    let reply = call(&handler, batch(&["plain", "permanent", "retry", "drop"])).await.unwrap();
    assert_eq!(words(&reply.verdict), ["plain", "wrong", "Unavailable", "Drop"]);
    let Verdict::Each(each) = reply.verdict else { panic!("a verdict for each") };
    let classes = each[..2].iter().map(|one| class_of(&**one.as_ref().unwrap_err()));
    assert_eq!(classes.collect::<Vec<_>>(), [Class::Unavailable, Class::Permanent]);
    assert_eq!(layer.breakers().all()[0].state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_holds_no_permit_back() {
    let (inner, _) = handler(|delivery| answer(delivery.messages()[0].message().payload()));
    let limit = tower::limit::ConcurrencyLimitLayer::new(1);
    let mut first = inner.layered(&limit).layered(&BreakerLayer::new().opens_at(1, 1));
    say(&first, "plain").await.unwrap_err();
    let mut second = first.clone();
    poll_fn(|cx| first.poll_ready(cx)).await.unwrap();
    assert!(poll_fn(|cx| Poll::Ready(second.poll_ready(cx))).await.is_pending());
    first.call(one(message(0, "ok"))).await.unwrap_err();
    timeout(Duration::from_secs(1), poll_fn(|cx| second.poll_ready(cx))).await.expect("the permit is free again").unwrap();
}
