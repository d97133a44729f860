//! Tests that run beside each other do not see each other.

use std::time::Duration;

use convoke::ByHand;
use convoke::prelude::*;

use crate::{Bill, Order, app, bill, order, publish};

#[handler]
async fn audit(_bill: Bill) {}

#[test]
fn tests_in_one_process_see_neither_messages_nor_handlers_of_each_other() {
    #[convoke::test(app, handlers(bill))]
    async fn test(app: TestApp) -> TestResult {
        for number in 100..110 {
            publish(&app, [order("ada", number)]).await?;
            app.advance(Duration::from_secs(1)).await;
        }
        app.settled().await;
        app.published::<Order>().assert_values(|order| order.number, 100..110);
        app.published::<Bill>().assert_count(10);
        let handlers: Vec<_> = app.status().await.handlers.into_iter().map(|one| one.handler).collect();
        assert_eq!(handlers, ["bill"]);
        Ok(())
    }
    std::thread::scope(|scope| {
        let tests: Vec<_> = (0..16).map(|_| scope.spawn(test)).collect();
        for test in tests {
            test.join().unwrap().unwrap();
        }
    });
}

#[convoke::test(app, handlers(bill, audit))]
async fn a_test_chooses_which_handlers_take_part(app: TestApp) -> TestResult {
    publish(&app, [order("ada", 1)]).await?;
    app.settled().await;
    app.handled::<Bill>("audit").assert_count(1);
    Ok(())
}

#[tokio::test]
async fn a_handler_can_be_called_as_the_function_that_it_is() {
    let of = |number| (order("ada", number), ByHand::of(&order("ada", number)));
    let (one, made) = of(1);
    assert_eq!(bill(one, made.meta()).await.unwrap(), Bill { who: "ada".into(), number: 1 });
    let (seven, made) = of(7);
    assert_eq!(bill(seven.clone(), made.meta()).await.unwrap_err().to_string(), "not the first time");
    let made = made.attempt(2).header("tenant", "acme");
    assert_eq!(bill(seven, made.meta()).await.unwrap().number, 7);
    let meta = made.meta();
    assert_eq!((meta.attempt(), meta.headers().get_str("tenant")), (2, Some("acme")));
    assert_eq!((meta.topic().as_str(), meta.key().map(ToString::to_string)), ("kit.orders", Some("ada".to_owned())));
}

#[test]
fn the_text_of_a_description_is_the_same_each_time_and_shows_what_changed() {
    let text = |handlers: &[&str]| app().only(handlers.iter().copied()).describe().unwrap().to_string();
    let both = text(&["bill", "audit"]);
    assert_eq!(both, text(&["audit", "bill"]));
    let one = text(&["bill"]);
    let new: Vec<_> = both.lines().filter(|line| !one.contains(line)).collect();
    let changed = [
        "handler audit",
        "  group: kit.audit",
        "  takes: kit.bills.v1",
        "  attempts: 5, after 200ms..30s + 20 %, later ones of the key wait",
        "  read by: kit.audit",
        "topic kit.bills.kit.audit.dead",
        "  dead letters of: kit.audit",
        "topic kit.bills.kit.audit.retry",
        "  retries of: kit.audit",
    ];
    assert_eq!(new, changed, "{both}");
    assert!(!both.contains(".rs"), "places in the source change when nothing else does:\n{both}");
}
