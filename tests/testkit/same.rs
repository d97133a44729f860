//! Tests that run on every broker, unchanged: in virtual time, each on a broker of its own; and where a variable names one, there.

use std::time::{Duration, Instant};

use convoke::prelude::*;
use convoke::{ErrorKind, TEST_BROKER_VARIABLE};
use serde::{Deserialize, Serialize};

#[event(topic = "same.orders", key = who)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    who: String,
    number: u64,
}

#[event(topic = "same.bills", key = who)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Bill {
    who: String,
    number: u64,
}

fn app() -> App {
    App::new("same")
}

fn order(who: &str, number: u64) -> Order {
    Order { who: who.to_owned(), number }
}

async fn publish(app: &TestApp, orders: impl IntoIterator<Item = Order>) -> TestResult {
    for order in orders {
        app.publish(&order).await?;
    }
    Ok(())
}

fn is_shared() -> bool {
    std::env::var_os(TEST_BROKER_VARIABLE).is_some()
}

/// Fails once, and is repeated after 300 ms.
#[handler(group = "same.bill", retry(attempts = 2, backoff = "300ms", jitter = 0))]
async fn bill_soon(order: Order, meta: Meta<'_>) -> Result<Bill, BoxError> {
    match (order.number, meta.attempt()) {
        (13, _) | (7, 1) => Err("not yet".into()),
        (number, _) => Ok(Bill { who: order.who, number }),
    }
}

/// What several tests do at the same time, with the same topics and the same group.
async fn bills(app: TestApp, who: &str) -> TestResult {
    let really = Instant::now();
    publish(&app, [order(who, 1), order(who, 7), order("nobody", 13)]).await?;
    app.settled().await;
    app.published::<Bill>().assert_values(|bill| (bill.who.clone(), bill.number), [(who.to_owned(), 1), (who.to_owned(), 7)]);
    app.retried::<Order>("bill_soon").assert_count(2);
    app.dead_lettered::<Order>("bill_soon").assert_one(|order| order.who == "nobody");
    assert_eq!(app.messages().iter().filter(|message| message.topic().as_str() == "same.orders").count(), 3);
    if is_shared() {
        assert!(really.elapsed() >= Duration::from_millis(300), "a retry is waited for: {:?}", really.elapsed());
    }
    Ok(())
}

#[convoke::test(app, handlers(bill_soon))]
async fn one(app: TestApp) -> TestResult {
    bills(app, "ada").await
}

#[convoke::test(app, handlers(bill_soon))]
async fn another(app: TestApp) -> TestResult {
    bills(app, "bob").await
}

#[convoke::test(app, handlers(bill_soon))]
async fn a_third(app: TestApp) -> TestResult {
    bills(app, "eve").await
}

#[convoke::test(app, handlers(bill_soon))]
async fn advancing_waits(app: TestApp) -> TestResult {
    let really = Instant::now();
    publish(&app, [order("ada", 7)]).await?;
    app.advance(Duration::from_millis(150)).await;
    if !is_shared() {
        app.published::<Bill>().assert_none();
    }
    app.advance(Duration::from_millis(600)).await;
    assert_eq!(really.elapsed() >= Duration::from_millis(750), is_shared());
    if is_shared() {
        // A server takes the time that it takes, before the first attempt and after it.
        app.settled().await;
    }
    app.published::<Bill>().assert_count(1);
    Ok(())
}

#[event(topic = "same.copies", key = who, broker = "audit")]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Copy {
    who: String,
}

#[handler]
async fn copies(order: Order) -> Copy {
    Copy { who: order.who }
}

#[handler]
async fn reads_copies(_copy: Copy) {}

#[convoke::test(App::new("same").broker_named("audit", "memory://elsewhere"), handlers(copies, reads_copies))]
async fn further_brokers_are_apart_too(app: TestApp) -> TestResult {
    publish(&app, [order("ada", 1)]).await?;
    app.settled().await;
    app.handled::<Copy>("reads_copies").assert_count(1);
    match app.broker_named("audit").ok_or("it is there")?.topics().await {
        Ok(topics) => assert!(topics.iter().all(|(topic, _)| topic.as_str().starts_with("same.copies")), "{topics:?}"),
        // AMQP has no way to list what there is.
        Err(error) => assert_eq!((is_shared(), error.kind()), (true, ErrorKind::Unsupported)),
    }
    Ok(())
}

#[convoke::test(app, handlers(bill_soon))]
async fn faults_are_for_one_test(app: TestApp) -> TestResult {
    if let Err(refused) = app.repeat_next("bill_soon") {
        assert_eq!((is_shared(), refused.kind()), (true, ErrorKind::Unsupported));
        let said = format!("{} cannot be made to fail by `Repeat {{", app.broker().capabilities().name);
        assert!(refused.to_string().starts_with(&said), "{refused}");
    }
    app.fail_next("bill_soon", "on purpose")?;
    publish(&app, [order("kim", 1)]).await?;
    app.settled().await;
    app.retried::<Order>("bill_soon").assert_count(1);
    let app = app.restart().await?;
    publish(&app, [order("kim", 2)]).await?;
    app.settled().await;
    app.handled::<Order>("bill_soon").assert_values(|order| order.number, [1, 2]);
    Ok(())
}
