//! What a filter lets through, and what becomes of the rest.

mod support;

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use convoke_core::{
    BoxError, BoxHandler, Class, DeadReason, Delivered, Outcome, Reply, Verdict, class_of, handler_fn, permanent, unavailable,
};
use convoke_layers::FilterLayer;
use convoke_layers::filter::BatchError;
use support::{batch, call, handler, message, one, words};
use tokio::time::timeout;
use tower::Service;
use tower::limit::ConcurrencyLimitLayer;

fn wanted() -> FilterLayer<fn(&Delivered) -> bool> {
    FilterLayer::new(|delivered| delivered.message().payload() == "yes")
}

fn each(verdicts: Vec<Result<Outcome, BoxError>>) -> Reply {
    let mut reply = Reply::ack();
    reply.verdict = Verdict::Each(verdicts);
    reply
}

#[tokio::test]
async fn a_wanted_message_reaches_the_handler() {
    let (inner, seen) = handler(|_| Ok(Reply::outcome(Outcome::retry())));
    let reply = call(&inner.layered(&wanted()), one(message(7, "yes"))).await.unwrap();
    assert_eq!(words(&reply.verdict), ["all Retry(None)"]);
    assert_eq!(*seen.lock().unwrap(), [[7]]);
}

#[tokio::test]
async fn an_unwanted_message_is_dropped_without_the_handler() {
    let (inner, seen) = handler(|_| Ok(Reply::ack()));
    let reply = call(&inner.layered(&wanted()), one(message(7, "no"))).await.unwrap();
    assert_eq!(words(&reply.verdict), ["all Drop"]);
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_batch_of_which_all_is_wanted_passes_as_it_is() {
    let (inner, seen) = handler(|_| Ok(Reply::ack()));
    let reply = call(&inner.layered(&wanted()), batch(&["yes", "yes"])).await.unwrap();
    assert_eq!(words(&reply.verdict), ["all Ack"]);
    assert_eq!(*seen.lock().unwrap(), [[0, 1]]);
}

#[tokio::test]
async fn a_batch_of_which_nothing_is_wanted_is_dropped_as_a_whole() {
    let (inner, seen) = handler(|_| Ok(Reply::ack()));
    let delivery = batch(&["no", "no"]);
    delivery.reject(1, DeadReason::Expired, "too late");
    let reply = call(&inner.layered(&wanted()), delivery).await.unwrap();
    assert_eq!(words(&reply.verdict), ["all Drop"]);
    assert_eq!(reply.rejected.len(), 1, "what an outer layer gave up is given up all the same");
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn one_verdict_for_the_wanted_ones_leaves_the_others_dropped() {
    let (inner, seen) = handler(|_| Ok(Reply::outcome(Outcome::Unavailable)));
    let reply = call(&inner.layered(&wanted()), batch(&["no", "yes", "no", "yes"])).await.unwrap();
    assert_eq!(words(&reply.verdict), ["Drop", "Unavailable", "Drop", "Unavailable"]);
    assert_eq!(*seen.lock().unwrap(), [[1, 3]]);
}

#[tokio::test]
async fn verdicts_come_back_to_the_messages_that_they_are_about() {
    let (inner, _) = handler(|_| Ok(each(vec![Err("first".into()), Ok(Outcome::dead("second")), Ok(Outcome::Ack)])));
    let reply = call(&inner.layered(&wanted()), batch(&["yes", "no", "yes", "no", "yes"])).await.unwrap();
    assert_eq!(words(&reply.verdict), ["first", "Drop", "Dead(\"second\")", "Drop", "Ack"]);
}

#[tokio::test]
async fn a_message_without_a_verdict_is_not_acknowledged() {
    let (inner, _) = handler(|_| Ok(each(vec![Ok(Outcome::Ack)])));
    let reply = call(&inner.layered(&wanted()), batch(&["no", "yes", "yes"])).await.unwrap();
    assert_eq!(words(&reply.verdict), ["Drop", "Ack", "there is no verdict for this message"]);
}

#[tokio::test]
async fn what_was_given_up_keeps_its_message_on_both_sides_of_the_filter() {
    let (inner, _) = handler(|delivery| {
        delivery.reject(0, DeadReason::Undecodable, "inside");
        let mut reply = Reply::ack();
        reply.rejected = delivery.take_rejected();
        Ok(reply)
    });
    let delivery = batch(&["no", "yes", "no", "yes"]);
    delivery.reject(3, DeadReason::Expired, "outside, wanted");
    delivery.reject(2, DeadReason::Expired, "outside, unwanted");
    let reply = call(&inner.layered(&wanted()), delivery).await.unwrap();
    let mut rejected: Vec<_> = reply.rejected.iter().map(|one| (one.index, one.error.to_string())).collect();
    rejected.sort();
    assert_eq!(rejected, [(1, "inside".into()), (2, "outside, unwanted".into()), (3, "outside, wanted".into())]);
}

#[tokio::test]
async fn a_failure_is_that_of_the_wanted_ones_and_keeps_its_class() {
    let (inner, _) = handler(|_| Err(permanent("no such order").into()));
    let reply = call(&inner.layered(&wanted()), batch(&["yes", "no", "yes"])).await.unwrap();
    let Verdict::Each(verdicts) = reply.verdict else { panic!("a verdict for each") };
    assert_eq!(*verdicts[1].as_ref().unwrap(), Outcome::Drop);
    for index in [0, 2] {
        let error = verdicts[index].as_ref().unwrap_err();
        assert!(error.is::<BatchError>());
        assert_eq!(class_of(&**error), Class::Permanent);
        assert_eq!(error.source().unwrap().to_string(), "no such order");
    }
}

#[tokio::test]
async fn a_failure_of_a_whole_delivery_stays_one() {
    let (inner, _) = handler(|_| Err(unavailable("the warehouse is offline").into()));
    let error = call(&inner.layered(&wanted()), batch(&["yes", "yes"])).await.unwrap_err();
    assert_eq!(class_of(&*error), Class::Unavailable);
}

#[tokio::test]
async fn what_was_put_beside_a_batch_goes_on_with_a_part_of_it() {
    let inner = BoxHandler::new(handler_fn(|delivery| async move {
        assert_eq!(delivery.extension::<u8>(), Some(9));
        Ok(Reply::ack())
    }));
    let delivery = batch(&["no", "yes"]);
    delivery.insert(9_u8);
    call(&inner.layered(&wanted()), delivery).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_message_holds_no_permit_back() {
    let (inner, _) = handler(|_| Ok(Reply::ack()));
    let mut first = inner.layered(&ConcurrencyLimitLayer::new(1)).layered(&wanted());
    let mut second = first.clone();
    // The one permit goes to a call that will not need it, and another one waits for it.
    poll_fn(|cx| first.poll_ready(cx)).await.unwrap();
    assert!(poll_fn(|cx| Poll::Ready(second.poll_ready(cx))).await.is_pending());
    first.call(one(message(0, "no"))).await.unwrap();
    let ready = poll_fn(|cx| second.poll_ready(cx));
    timeout(Duration::from_secs(1), ready).await.expect("the permit is free again").unwrap();
}
