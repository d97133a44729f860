//! The same tests on a broker that all of them share, in real time, by setting a variable.

use std::time::{Duration, Instant};

use convoke::TEST_BROKER_VARIABLE;
use convoke::broker::Broker as _;
use convoke::memory::MemoryBroker;
use convoke::prelude::*;

use crate::{Bill, Order, again, app, order, publish};

/// These run like all others, in virtual time, each on a broker of its own; and a second time as the test below has it.
mod same {
    use super::*;

    fn is_shared() -> bool {
        std::env::var_os(TEST_BROKER_VARIABLE).is_some()
    }

    /// Fails once, and is repeated after 300 ms.
    #[handler(group = "kit.bill", retry(attempts = 2, backoff = "300ms", jitter = 0))]
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
        assert_eq!(app.messages().iter().filter(|message| message.topic().as_str() == "kit.orders").count(), 3);
        if is_shared() {
            assert!(really.elapsed() >= Duration::from_millis(300), "a retry is waited for: {:?}", really.elapsed());
            assert!(app.broker().native().downcast_ref::<MemoryBroker>().is_some_and(|broker| broker.name() == Some("together")));
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
        app.published::<Bill>().assert_none();
        app.advance(Duration::from_millis(600)).await;
        app.published::<Bill>().assert_count(1);
        assert_eq!(really.elapsed() >= Duration::from_millis(750), is_shared());
        Ok(())
    }

    #[event(topic = "kit.copies", key = who, broker = "audit")]
    #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
    struct Copy {
        who: String,
    }

    #[handler]
    async fn copies(order: Order) -> Copy {
        Copy { who: order.who }
    }

    #[handler]
    async fn reads_copies(_copy: Copy) {}

    #[convoke::test(App::new("kit").broker_named("audit", "memory://elsewhere"), handlers(copies, reads_copies))]
    async fn further_brokers_are_apart_too(app: TestApp) -> TestResult {
        publish(&app, [order("ada", 1)]).await?;
        app.settled().await;
        app.handled::<Copy>("reads_copies").assert_count(1);
        let topics = app.broker_named("audit").ok_or("it is there")?.topics().await?;
        assert!(topics.iter().all(|(topic, _)| topic.as_str().starts_with("kit.copies")), "{topics:?}");
        Ok(())
    }

    #[convoke::test(app, handlers(bill_soon))]
    async fn faults_are_for_one_test(app: TestApp) -> TestResult {
        app.repeat_next("bill_soon")?;
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
}

/// The tests as they print when they run on this broker.
fn on(broker: &str, tests: &str) -> String {
    again(tests, &[(TEST_BROKER_VARIABLE, broker)]).unwrap_or_else(|printed| panic!("{printed}"))
}

#[test]
fn the_same_tests_run_beside_each_other_on_a_broker_that_they_share() {
    let said = on("memory://together?partitions=3", "shared::same::");
    assert!(said.contains("test result: ok. 6 passed; 0 failed; 0 ignored"), "{said}");
}

/// Topics of a test that has passed are gone, whether or not it had a broker of its own.
#[tokio::test]
async fn a_test_leaves_nothing_on_the_broker() {
    #[convoke::test(app, handlers(bill))]
    async fn test(app: TestApp) -> TestResult {
        publish(&app, [order("ada", 1)]).await?;
        app.settled().await;
        let there = MemoryBroker::named("swept").topics().await?;
        let ours = there.iter().filter(|(topic, _)| topic.as_str().ends_with("kit.orders")).count();
        assert_eq!(ours, usize::from(std::env::var_os(TEST_BROKER_VARIABLE).is_some()));
        Ok(())
    }
    let broker = MemoryBroker::named("swept");
    std::thread::spawn(test).join().unwrap().unwrap();
    assert_eq!(broker.topics().await.unwrap(), []);
}

#[test]
fn a_test_leaves_nothing_on_a_broker_that_it_shares() {
    let said = on("memory://swept", "shared::a_test_leaves_nothing_on_the_broker");
    assert!(said.contains("test result: ok. 1 passed"), "{said}");
}
