//! `#[convoke::test]`: with an application and without, with chosen handlers, in virtual time and in real time.

use std::time::Duration;

use convoke::prelude::*;

use crate::support::{OrderPaid, StockReserved, paid};

fn app() -> App {
    App::new("shop").state(3_u64)
}

#[handler]
async fn reserves_later(paid: OrderPaid, State(seconds): State<u64>) -> StockReserved {
    tokio::time::sleep(Duration::from_secs(3600 * seconds)).await;
    StockReserved { order: paid.order }
}

#[convoke::test(app, handlers(reserves_later))]
async fn a_function_makes_the_application_and_waiting_takes_no_time(app: TestApp) -> TestResult {
    app.publish(&paid(7)).await?;
    app.settled().await;
    app.published::<StockReserved>().assert_one(|reserved| reserved.order == 7);
    Ok(())
}

#[convoke::test(App::new("shop").state(0_u64), handlers(reserves_later), time = real)]
async fn an_expression_is_an_application_too(app: TestApp) {
    app.publish(&paid(8)).await.expect("memory takes it");
    app.settled().await;
    app.published::<StockReserved>().assert_count(1);
}

#[convoke::test(handlers(gives_event))]
async fn without_one_it_is_named_after_the_package(app: TestApp) -> TestResult {
    app.publish(&paid(9)).await?;
    app.settled().await;
    app.published::<StockReserved>().assert_one(|reserved| reserved.order == 1);
    Ok(())
}

#[convoke::test(app, handlers(reserves_later))]
#[should_panic(expected = "attributes stay")]
async fn other_attributes_stay(_app: TestApp) {
    panic!("attributes stay");
}
