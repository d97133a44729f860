//! Faults, each in a line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use convoke::broker::Fault;
use convoke::prelude::*;
use convoke::{ErrorKind, Topic};
use tokio::time::Instant;

use crate::{Bill, Order, app, elapsed, order, publish};

#[convoke::test(app, handlers(bill))]
async fn the_next_attempts_of_a_handler_fail_with_an_error(app: TestApp) -> TestResult {
    app.fail_next("bill", "the printer is out of paper")?;
    app.fail_next("bill", "and of ink")?;
    publish(&app, [order("ada", 1)]).await?;
    app.settled().await;
    app.retried::<Order>("bill").assert_count(2);
    app.published::<Bill>().assert_count(1);
    let story = app.story();
    assert!(story.contains("attempt 1 failed: the printer is out of paper; again in 10s"), "{story}");
    assert!(story.contains("attempt 2 failed: and of ink; again in 10s"), "{story}");
    Ok(())
}

#[convoke::test(app, handlers(bill))]
async fn an_error_that_is_injected_is_classified_as_a_handlers_own(app: TestApp) -> TestResult {
    app.fail_next("bill", permanent("no such customer"))?;
    publish(&app, [order("ada", 1)]).await?;
    app.settled().await;
    app.attempted::<Order>("bill").assert_count(1);
    app.dead_lettered::<Order>("bill").assert_count(1);
    Ok(())
}

#[convoke::test(app, handlers(bill))]
async fn publishing_is_down_for_as_long_as_the_test_says(app: TestApp) -> TestResult {
    let begun = Instant::now();
    app.publishing_down(Duration::from_secs(3));
    publish(&app, [order("ada", 1)]).await?;
    let took = elapsed(begun);
    assert!((3.0..6.0).contains(&took.as_secs_f64()), "it was repeated until it worked: {took:?}");
    // What a handler returns and what it gives up wait as well, and the input is not acknowledged before.
    publish(&app, [order("bob", 2)]).await?;
    app.publishing_down(Duration::from_secs(3));
    app.advance(Duration::from_secs(2)).await;
    app.published::<Bill>().of_key("bob").assert_none();
    app.handled::<Order>("bill").of_key("bob").assert_none();
    app.settled().await;
    app.published::<Bill>().assert_values(|bill| bill.number, [1, 2]);
    Ok(())
}

#[convoke::test(app, handlers(bill))]
async fn the_connection_drops_and_comes_back(app: TestApp) -> TestResult {
    app.disconnect(Duration::from_secs(3))?;
    assert!(!app.status().await.ready);
    let begun = Instant::now();
    publish(&app, [order("ada", 1)]).await?;
    assert!(elapsed(begun) >= Duration::from_secs(3));
    app.settled().await;
    app.published::<Bill>().assert_count(1);
    assert!(app.status().await.ready);
    Ok(())
}

#[handler(group = "kit.slow")]
async fn slow(_order: Order) {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[convoke::test(app, handlers(slow))]
async fn a_delivery_repeats(app: TestApp) -> TestResult {
    app.repeat_next("slow")?;
    publish(&app, [order("ada", 1)]).await?;
    app.settled().await;
    let story = app.story();
    assert!(story.contains("delivered to `slow`, for the 2. time"), "{story}");
    app.handled::<Order>("slow").assert_count(1);
    Ok(())
}

/// How often the handlers of one life of the process were called: state in memory.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicU64>);

#[handler(group = "kit.count")]
async fn count(order: Order, State(calls): State<Calls>) -> Bill {
    if calls.0.fetch_add(1, Ordering::Relaxed) == 1 {
        // The second call of each life never ends.
        std::future::pending::<()>().await;
    }
    Bill { who: order.who, number: order.number }
}

fn counting() -> App {
    App::new("kit").state(Calls::default())
}

#[convoke::test(counting, handlers(count))]
async fn the_process_dies_and_starts_again_over_the_same_broker_with_new_state(app: TestApp) -> TestResult {
    publish(&app, [order("ada", 1), order("ada", 2)]).await?;
    app.advance(Duration::from_secs(1)).await;
    app.published::<Bill>().assert_values(|bill| bill.number, [1]);
    let app = app.restart().await?;
    app.settled().await;
    // The first was settled, the second is delivered again; its call is the first of this life, so it ends.
    app.published::<Bill>().assert_values(|bill| bill.number, [1, 2]);
    app.attempted::<Order>("count").assert_values(|order| order.number, [1, 2, 2]);
    assert!(app.drain().await.clean);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_application_that_cannot_be_made_anew_is_not_restarted() {
    let app = TestApp::start(app().only(["bill"])).await.unwrap();
    let error = app.restart().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("give `TestApp::start` the function that makes it"), "{error}");
}

#[convoke::test(app, handlers(bill))]
async fn faults_of_handlers_that_do_not_take_part_are_refused(app: TestApp) {
    for error in [app.fail_next("bll", "x").unwrap_err(), app.repeat_next("bll").unwrap_err()] {
        assert_eq!(error.to_string(), "no handler takes part that is named `bll`; did you mean `bill`?");
    }
}

#[convoke::test(app, handlers(bill))]
async fn every_other_fault_of_the_broker_can_be_injected_too(app: TestApp) -> TestResult {
    app.inject(Fault::PublishUnknown { topic: Topic::from("kit.bills"), count: 1, stored: true })?;
    publish(&app, [order("ada", 1)]).await?;
    app.settled().await;
    let story = app.story();
    assert!(story.contains("perhaps published to `kit.bills`"), "{story}");
    app.published::<Bill>().assert_count(1);
    Ok(())
}
