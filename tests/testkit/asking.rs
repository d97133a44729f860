//! Assertions on what was published, handled, retried and dead-lettered, and in which order.

use convoke::prelude::*;

use crate::{Bill, Order, app, failure, order, publish};

#[convoke::test(app, handlers(bill))]
async fn a_test_asks_what_was_published_handled_retried_and_dead_lettered(app: TestApp) -> TestResult {
    publish(&app, [order("ada", 1), order("ada", 7), order("bob", 13)]).await?;
    app.settled().await;
    app.published::<Order>().assert_count(3);
    app.published::<Bill>().of_key("ada").assert_values(|bill| bill.number, [1, 7]);
    app.attempted::<Order>("bill").of_key("bob").assert_values(|order| order.number, [13, 13, 13]);
    app.handled::<Order>("bill").of_key("ada").assert_values(|order| order.number, [1, 7]);
    app.handled::<Order>("bill").of_key("bob").assert_none();
    app.retried::<Order>("bill").of_key("ada").assert_one(|order| order.number == 7);
    app.retried::<Order>("bill").of_key("bob").assert_count(2);
    let dead = app.dead_lettered::<Order>("bill");
    assert_eq!(dead.assert_one(|order| order.number == 13), &order("bob", 13));
    assert_eq!(app.dead_letters("bill")[0].headers().get_str("convoke-dead-error"), Some("unlucky"));
    Ok(())
}

#[convoke::test(app, handlers(bill))]
async fn the_order_within_each_key_is_asserted_whatever_the_order_between_keys(app: TestApp) -> TestResult {
    // Ada's second order waits 10 s for its retry, and her third waits for it; Bob's do not.
    publish(&app, [order("ada", 1), order("ada", 7), order("ada", 8), order("bob", 2), order("bob", 9)]).await?;
    app.settled().await;
    let handled = app.handled::<Order>("bill");
    handled.assert_count(5).assert_ordered_by_key(|order| order.number);
    let numbers: Vec<_> = handled.iter().map(|order| order.number).collect();
    assert_eq!(numbers[3..], [7, 8], "{numbers:?}: the retry came last");
    Ok(())
}

#[test]
fn what_is_out_of_order_is_said_with_its_key() {
    #[convoke::test(app, handlers(bill))]
    async fn test(app: TestApp) -> TestResult {
        publish(&app, [order("ada", 2), order("bob", 4), order("ada", 1)]).await?;
        app.settled().await;
        app.handled::<Order>("bill").assert_ordered_by_key(|order| order.number);
        Ok(())
    }
    let text = failure(test).text;
    assert!(text.starts_with("of `kit.orders`, with the key ada, 1 was handled by `bill` after 2\n\nwhat happened:\n"), "{text}");
}

#[test]
fn values_that_are_not_the_expected_ones_are_both_said() {
    #[convoke::test(app, handlers(bill))]
    async fn test(app: TestApp) -> TestResult {
        publish(&app, [order("ada", 2), order("ada", 1)]).await?;
        app.settled().await;
        app.published::<Bill>().of_key("ada").assert_values(|bill| bill.number, [1, 2]);
        Ok(())
    }
    let text = failure(test).text;
    assert!(text.starts_with("of `kit.bills`, [1, 2] were expected, and [2, 1] were published with the key ada\n"), "{text}");
}

#[test]
fn one_that_is_not_as_expected_is_shown() {
    #[convoke::test(app, handlers(bill))]
    async fn test(app: TestApp) -> TestResult {
        publish(&app, [order("ada", 2)]).await?;
        app.settled().await;
        app.published::<Bill>().assert_one(|bill| bill.number == 3);
        Ok(())
    }
    let text = failure(test).text;
    let said = r#"of `kit.bills`, one was published, but it is not as expected: {"who":"ada","number":2}"#;
    assert!(text.starts_with(said), "{text}");
}

#[test]
fn what_cannot_be_read_as_the_event_is_counted() {
    #[convoke::test(app, handlers(bill))]
    async fn test(app: TestApp) -> TestResult {
        app.publish_bytes("kit.orders", "{ broken").key("ada").await?;
        app.settled().await;
        app.dead_lettered::<Order>("bill").assert_count(1);
        Ok(())
    }
    let text = failure(test).text;
    let said = "of `kit.orders`, 1 were expected, and 0 were dead-lettered by `bill`\n1 more cannot be read as this event\n";
    assert!(text.starts_with(said), "{text}");
}

#[test]
fn a_handler_that_does_not_take_part_is_no_answer_of_none() {
    #[convoke::test(app, handlers(bill))]
    async fn test(app: TestApp) {
        app.handled::<Order>("bil").assert_none();
    }
    let failure = failure(test);
    assert_eq!(failure.text, "no handler takes part that is named `bil`; did you mean `bill`?");
    assert_eq!(failure.file, file!());
}
