//! What a subscriber is told of a delivery.

mod support;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use convoke_core::{
    BoxError, BoxHandler, DeadReason, Delivery, Error, ErrorKind, Message, Outcome, Reply, Verdict, handler_fn, permanent,
    unavailable,
};
use convoke_layers::TraceLayer;
use support::subscriber::{Capture, Fields, Log};
use support::{batch, call, delivered, handler, message, one};
use tower::Service;
use tower::timeout::{TimeoutLayer, error::Elapsed};
use tracing::{Level, Metadata, Subscriber};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Runs a future on a thread's own runtime with a subscriber of its own.
fn observed<F: Future>(subscriber: impl Subscriber + Send + Sync + 'static, future: F) -> F::Output {
    tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(future)
    })
}

/// What is told, down to `DEBUG`, of a delivery of which becomes what `answer` says.
fn told(delivery: Delivery, answer: impl Fn(&Delivery) -> Result<Reply, BoxError> + Clone + Send + Sync + 'static) -> Arc<Log> {
    let (subscriber, log) = Capture::new(|metadata| *metadata.level() <= Level::DEBUG);
    let (inner, _) = handler(answer);
    observed(subscriber, async { call(&inner.layered(&TraceLayer::new().system("kafka")), delivery).await.ok() });
    log
}

fn fields(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_span_of_a_message_has_the_fields_of_the_conventions() {
    let message = Message::builder("orders.paid").header("ce-id", "a1").header("traceparent", PARENT);
    let message = message.header("authorization", "secret").key("ada").payload("secret").build();
    let log = told(one(delivered(message, 7)), |_| Ok(Reply::ack()));
    let expected = fields(&[
        ("otel.name", "process orders.paid"),
        ("otel.kind", "consumer"),
        ("messaging.system", "kafka"),
        ("messaging.operation.type", "process"),
        ("messaging.operation.name", "process"),
        ("messaging.destination.name", "orders.paid"),
        ("messaging.destination.partition.id", "3"),
        ("messaging.consumer.group.name", "warehouse"),
        ("messaging.message.id", "a1"),
        ("messaging.message.body.size", "6"),
        ("traceparent", PARENT),
        ("convoke.handler", "reserve"),
        ("convoke.attempt", "2"),
        ("convoke.outcome", "ack"),
    ]);
    assert_eq!(log.span(), expected);
    assert!(log.messages().is_empty(), "nothing is said of what went well");
}

#[test]
fn a_bare_message_is_named_by_its_place_and_a_broken_traceparent_is_left_out() {
    let message = Message::builder("orders.paid").header("traceparent", "00-secret").build();
    let span = told(one(delivered(message, 7)), |_| Ok(Reply::ack())).span();
    assert_eq!(span["messaging.message.id"], "orders.paid/3/7");
    assert!(!span.contains_key("traceparent"));
}

#[test]
fn the_span_of_a_batch_counts_its_messages_and_names_what_they_share() {
    let (subscriber, log) = Capture::new(|_| true);
    let (inner, _) = handler(|_| Ok(Reply::ack()));
    observed(subscriber, async { call(&inner.layered(&TraceLayer::new()), batch(&["a", "b", "c"])).await.unwrap() });
    let span = log.span();
    assert_eq!(span["messaging.batch.message_count"], "3");
    assert_eq!(span["messaging.destination.partition.id"], "3");
    assert!(!span.contains_key("messaging.message.id") && !span.contains_key("messaging.system"));
    let events = log.events.lock().unwrap();
    let ids: Vec<_> = events.iter().map(|(level, fields, depth)| (*level, &*fields["messaging.message.id"], *depth)).collect();
    assert_eq!(ids, [(Level::TRACE, "id-0", 1), (Level::TRACE, "id-1", 1), (Level::TRACE, "id-2", 1)]);
}

#[test]
fn the_outcome_is_recorded_at_the_end() {
    let cases = [
        (Outcome::Ack, "ack", None),
        (Outcome::Drop, "drop", None),
        (Outcome::retry(), "retry", None),
        (Outcome::Unavailable, "unavailable", None),
        (Outcome::dead("no such order"), "dead", Some("handler-error")),
    ];
    for (outcome, word, error_type) in cases {
        let span = told(one(message(0, "")), move |_| Ok(Reply::outcome(outcome.clone()))).span();
        assert_eq!(span["convoke.outcome"], word);
        assert_eq!(span.get("error.type").map(String::as_str), error_type);
        assert_eq!(span.contains_key("otel.status_code"), error_type.is_some());
    }
}

#[test]
fn a_failed_attempt_is_a_warning_with_the_error_and_its_type() {
    type Answer = fn(&Delivery) -> Result<Reply, BoxError>;
    let cases: [(Answer, &str); 3] = [
        (|_| Err("lock lost".into()), "transient"),
        (|_| Err(permanent(Error::new(ErrorKind::Timeout, "no such order").with_source(Elapsed::new())).into()), "permanent"),
        (|_| Err(unavailable("offline").into()), "unavailable"),
    ];
    for (answer, error_type) in cases {
        let log = told(one(message(0, "")), answer);
        let span = log.span();
        assert_eq!((&*span["convoke.outcome"], &*span["error.type"], &*span["otel.status_code"]), ("error", error_type, "ERROR"));
        let events = log.events.lock().unwrap();
        let [(level, event, depth)] = &events[..] else { panic!("one event: {events:?}") };
        assert_eq!((*level, &*event["message"], *depth), (Level::WARN, "attempt failed", 1));
        assert_eq!((&*event["messaging.message.id"], &*event["convoke.handler"]), ("id-0", "reserve"));
        assert!(["lock lost", "no such order", "offline"].contains(&&*event["error"]));
    }
}

#[test]
fn a_timeout_of_towers_is_called_one() {
    let (subscriber, log) = Capture::new(|_| true);
    let handler = BoxHandler::new(handler_fn(|_| pending())).layered(&TimeoutLayer::new(Duration::from_secs(1)));
    let result = observed(subscriber, async { call(&handler.layered(&TraceLayer::new()), one(message(0, ""))).await });
    assert!(result.is_err());
    assert_eq!(log.span()["error.type"], "timeout");
}

#[test]
fn verdicts_that_differ_are_mixed_and_each_failure_names_its_message() {
    let log = told(batch(&["a", "b", "c"]), |delivery| {
        delivery.reject(2, DeadReason::Undecodable, "not JSON");
        let mut reply = Reply::ack();
        reply.verdict = Verdict::Each(vec![Ok(Outcome::Ack), Err("lock lost".into()), Ok(Outcome::Ack)]);
        reply.rejected = delivery.take_rejected();
        Ok(reply)
    });
    let span = log.span();
    assert_eq!((&*span["convoke.outcome"], &*span["error.type"]), ("mixed", "undecodable"));
    let events = log.events.lock().unwrap();
    let said: Vec<_> = events.iter().map(|(_, event, _)| (&*event["messaging.message.id"], &*event["error"])).collect();
    assert_eq!(said, [("id-2", "not JSON"), ("id-1", "lock lost")]);
}

#[test]
fn a_message_that_was_given_up_before_the_handler_is_dead_whatever_the_verdict() {
    let log = told(one(message(0, "")), |delivery| {
        delivery.reject(0, DeadReason::Undecodable, "not JSON");
        let mut reply = Reply::ack();
        reply.rejected = delivery.take_rejected();
        Ok(reply)
    });
    assert_eq!(log.span()["convoke.outcome"], "dead");
    assert_eq!(log.messages(), [(Level::WARN, "message given up".to_owned())]);
}

#[test]
fn the_span_is_entered_for_each_poll_and_left_in_between() {
    let (subscriber, log) = Capture::new(|_| true);
    let (inner, _) = handler(|_| Ok(Reply::ack()));
    observed(subscriber, async { call(&inner.layered(&TraceLayer::new()), one(message(0, ""))).await.unwrap() });
    // For the call, and for two polls: the handler waits once.
    assert_eq!(log.entered.load(Relaxed), 3);
}

#[test]
fn a_call_that_is_given_up_says_so() {
    let (subscriber, log) = Capture::new(|_| true);
    let mut handler = BoxHandler::new(handler_fn(|_| pending())).layered(&TraceLayer::new());
    observed(subscriber, async {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(handler.poll_ready(&mut cx).is_ready());
        let mut future = Box::pin(handler.call(one(message(0, ""))));
        assert!(matches!(future.as_mut().poll(&mut cx), Poll::Pending));
    });
    let span = log.span();
    assert_eq!(span["convoke.outcome"], "cancelled");
    assert!(!span.contains_key("error.type"));
}

#[test]
fn a_panic_is_told_from_a_call_that_was_given_up() {
    let (subscriber, log) = Capture::new(|_| true);
    let panics = |_| async { panic!("as every handler may") };
    let mut handler = BoxHandler::new(handler_fn(panics)).layered(&TraceLayer::new());
    let caught = observed(subscriber, async {
        std::future::poll_fn(|cx| handler.poll_ready(cx)).await.unwrap();
        tokio::spawn(handler.call(one(message(0, "")))).await
    });
    assert!(caught.unwrap_err().is_panic());
    let span = log.span();
    assert_eq!((&*span["convoke.outcome"], &*span["error.type"]), ("panic", "panic"));
}

#[test]
fn where_only_warnings_are_wanted_there_is_no_span_and_a_failure_still_names_its_message() {
    let (subscriber, log) = Capture::new(|metadata| *metadata.level() <= Level::WARN);
    let (inner, _) = handler(|_| Err("lock lost".into()));
    observed(subscriber, async { call(&inner.layered(&TraceLayer::new()), one(message(4, ""))).await.unwrap_err() });
    assert!(log.spans.lock().unwrap().is_empty());
    let events = log.events.lock().unwrap();
    assert_eq!((events.len(), &*events[0].1["messaging.message.id"]), (1, "id-4"));
}

#[test]
fn a_subscriber_that_wants_nothing_is_never_called() {
    fn nothing(_: &Metadata<'_>) -> bool {
        false
    }
    let (subscriber, log) = Capture::new(nothing);
    observed(subscriber, async {
        for answer in [|_: &Delivery| Ok(Reply::ack()), |_: &Delivery| Err("lock lost".into())] {
            let (inner, _) = handler(answer);
            let handler = inner.layered(&TraceLayer::new().system("kafka"));
            call(&handler, one(message(0, ""))).await.ok();
            call(&handler, batch(&["a", "b"])).await.ok();
        }
    });
    assert_eq!(log.calls.load(Relaxed), 0);
}
