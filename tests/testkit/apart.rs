//! Tests that run beside each other do not see each other.

use std::time::Duration;

use convoke::prelude::*;

use crate::{Bill, Order, app, order, publish};

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
