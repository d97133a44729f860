//! The same tests on a broker that all of them share, in real time, by setting a variable.

use convoke::TEST_BROKER_VARIABLE;
use convoke::broker::Broker as _;
use convoke::memory::MemoryBroker;
use convoke::prelude::*;

use crate::{again, app, order, publish};

/// The tests as they print when they run on this broker.
fn on(broker: &str, tests: &str) -> String {
    again(tests, &[(TEST_BROKER_VARIABLE, broker)]).unwrap_or_else(|printed| panic!("{printed}"))
}

#[test]
fn the_same_tests_run_beside_each_other_on_a_broker_that_they_share() {
    let said = on("memory://together?partitions=3", "same::");
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
