//! Quiescence is known: nothing is left of retries, delays, dead letters, batches and what handlers returned.

use std::time::Duration;

use convoke::prelude::*;
use tokio::time::Instant;

use crate::{Bill, Order, app, elapsed, failure, order, publish};

#[event(topic = "kit.letters")]
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Letter {
    number: u64,
}

#[handler]
async fn write(bill: Bill) -> Letter {
    tokio::time::sleep(Duration::from_secs(3600)).await;
    Letter { number: bill.number }
}

#[handler(batch(size = 10, wait = "5s"), order = none)]
async fn post(letters: Batch<Letter>) -> Result<(), BoxError> {
    if letters.iter().any(|letter| letter.number == 66) { Err(permanent("wrong address").into()) } else { Ok(()) }
}

#[convoke::test(app, handlers(bill, write, post))]
async fn it_waits_for_retries_returned_events_batches_and_dead_letters(app: TestApp) -> TestResult {
    let begun = Instant::now();
    publish(&app, [order("ada", 1), order("bob", 7), order("eve", 13), order("kim", 66)]).await?;
    app.settled().await;
    // A retry after 10 s, an hour of writing, 5 s for the batch to fill.
    assert_eq!(elapsed(begun), Duration::from_secs(10 + 3600 + 5));
    app.published::<Letter>().assert_count(3);
    app.dead_lettered::<Order>("bill").assert_one(|order| order.number == 13);
    // The two that came first are one batch, with one verdict.
    app.handled::<Letter>("post").assert_values(|letter| letter.number, [7]);
    app.dead_lettered::<Letter>("post").assert_count(2);
    Ok(())
}

#[convoke::test(app, handlers(bill))]
async fn it_waits_for_what_is_published_for_later(app: TestApp) -> TestResult {
    app.publish(&order("ada", 1)).delay(Duration::from_secs(7200)).await?;
    app.settled().await;
    app.published::<Bill>().assert_count(1);
    Ok(())
}

#[convoke::test(app, handlers(bill))]
async fn advancing_does_what_is_due_on_the_way_and_nothing_that_is_not(app: TestApp) -> TestResult {
    publish(&app, [order("ada", 7)]).await?;
    app.advance(Duration::from_millis(9_999)).await;
    app.retried::<Order>("bill").assert_count(1);
    app.published::<Bill>().assert_none();
    app.advance(Duration::from_millis(2)).await;
    app.published::<Bill>().assert_count(1);
    Ok(())
}

#[convoke::test(app, handlers(bill))]
async fn it_does_not_wait_when_nothing_is_left(app: TestApp) {
    let begun = Instant::now();
    app.settled().await;
    assert_eq!(elapsed(begun), Duration::ZERO);
}

#[test]
fn what_never_settles_is_said_with_what_is_left_and_the_story() {
    #[convoke::test(app, handlers(bill))]
    async fn test(app: TestApp) -> TestResult {
        app.pause("bill")?;
        publish(&app, [order("ada", 1)]).await?;
        app.settled().await;
        Ok(())
    }
    let begun = std::time::Instant::now();
    let text = failure(test).text;
    let said = "the application has not settled within 86400s; what is left:\n  `bill`: 1 held, paused\n\nwhat happened:\nkit.orders.v1,";
    assert!(text.starts_with(said), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(20), "a day of virtual time took {:?}", begun.elapsed());
}

#[test]
fn a_limit_of_ones_own_is_kept() {
    #[convoke::test(app, handlers(bill))]
    async fn test(app: TestApp) -> TestResult {
        publish(&app, [order("ada", 7)]).await?;
        app.settled_within(Duration::from_secs(9)).await;
        Ok(())
    }
    let text = failure(test).text;
    let said = "the application has not settled within 9s; what is left:\n  `bill`: 1 waiting for a retry\n";
    assert!(text.starts_with(said), "{text}");
}
