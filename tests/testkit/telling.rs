//! What a failing test says: the story of the messages, in the line of the test.

use std::time::Duration;

use convoke::TEST_BROKER_VARIABLE;
use convoke::prelude::*;

use crate::{Bill, Failure, Order, again, app, failure, order, publish};

/// A test that fails, with the line in which it does.
macro_rules! failing {
    (|$app:ident| { $($before:tt)* } $($fails:tt)*) => {{
        #[convoke::test(app, handlers(bill))]
        async fn test($app: TestApp) -> TestResult {
            $($before)*
            $($fails)*;
            Ok(())
        }
        failure(test)
    }};
}

const LIMIT: Duration = Duration::from_secs(60);

#[track_caller]
fn is_at(failure: &Failure, line: u32) {
    assert_eq!((failure.file.as_str(), failure.line), (file!(), line), "{}", failure.text);
}

#[test]
fn every_assertion_fails_in_the_line_of_the_test() {
    let lines = [
        (line!(), failing!(|app| {} app.published::<Bill>().assert_one(|_| true))),
        (line!(), failing!(|app| {} app.published::<Bill>().assert_count(2))),
        (line!(), failing!(|app| { publish(&app, [order("ada", 1)]).await?; } app.published::<Order>().assert_none())),
        (line!(), failing!(|app| {} app.published::<Bill>().assert_values(|bill| bill.number, [1]))),
        (line!(), failing!(|app| { app.pause("bill")?; publish(&app, [order("a", 1)]).await?; } app.settled_within(LIMIT).await)),
        (line!(), failing!(|app| {} app.retried::<Order>("no such").assert_none())),
    ];
    for (line, failure) in &lines {
        is_at(failure, *line);
    }
}

#[test]
fn a_failing_assertion_tells_the_story_of_the_messages() {
    let failure = failing!(|app| {
        publish(&app, [order("ada", 13)]).await?;
        app.settled().await;
    } app.published::<Bill>().assert_one(|bill| bill.number == 13));
    let said = "\
of `kit.bills`, one was expected, and 0 were published

what happened:
kit.orders.v1, key ada, id ada-13
      0.000 s  published to `kit.orders`
      0.000 s  delivered to `bill`
      0.000 s  `bill` attempt 1
      0.000 s  `bill` attempt 1 failed: unlucky; again in 10s
     10.000 s  `bill` attempt 2
     10.000 s  `bill` attempt 2 failed: unlucky; again in 10s
     20.000 s  `bill` attempt 3
     20.000 s  `bill` gives up (handler-error) after 3 failed attempts: unlucky
     20.000 s  dead-lettered to `kit.orders.kit.bill.dead`
     20.000 s  `bill` acknowledged it: it is in the dead-letter topic
";
    assert_eq!(failure.text, said);
}

#[test]
fn what_a_handler_returned_names_its_cause() {
    let failure = failing!(|app| {
        publish(&app, [order("ada", 1)]).await?;
        app.settled().await;
    } app.published::<Bill>().assert_none());
    let bill = failure.text.find("kit.bills.v1, key ada, id ").unwrap_or_else(|| panic!("{}", failure.text));
    let order = failure.text.find("kit.orders.v1, key ada, id ada-1\n").unwrap_or_else(|| panic!("{}", failure.text));
    assert!(bill < order, "what was asked for is told first:\n{}", failure.text);
    assert!(failure.text[bill..].lines().next().is_some_and(|line| line.ends_with(", because of ada-1")), "{}", failure.text);
}

#[test]
fn faults_and_restarts_are_told_around_the_messages() {
    let failure = failing!(|app| {
        app.publishing_down(Duration::from_secs(3));
        app.fail_next("bill", "as the test says")?;
        publish(&app, [order("ada", 1)]).await?;
        app.settled().await;
        app.disconnect(Duration::from_secs(1))?;
        app.advance(Duration::from_secs(1)).await;
        let app = app.clone().restart().await?;
        app.settled().await;
    } app.published::<Bill>().assert_count(5));
    for line in [
        "      0.000 s  publishing is down for 3s\n",
        "      0.000 s  not published to `kit.orders`: publishing is down, because the test says so\n",
        " attempt 1 failed: as the test says; again in 10s\n",
        " s  the connection was cut for 1s\n",
        " s  the process dies, and is started again\n",
    ] {
        assert!(failure.text.contains(line), "{line}:\n{}", failure.text);
    }
}

#[test]
fn an_application_that_does_not_start_fails_at_the_attribute() {
    #[rustfmt::skip]
    #[convoke::test(app, handlers(wants_state))]
    async fn test(_app: TestApp) {}
    let failure = failure(test);
    is_at(&failure, line!() - 3);
    assert!(failure.text.contains("the application has no such state; add `.state(…)`"), "{}", failure.text);
}

/// Ends as the variable says; the tests below run it in a process of its own.
#[convoke::test(app, handlers(bill))]
async fn ends_as_it_is_told(app: TestApp) -> TestResult {
    publish(&app, [order("ada", 1)]).await?;
    app.settled().await;
    match std::env::var(ENDING).as_deref() {
        Ok("panic") => panic!("a panic of its own"),
        Ok("assertion") => app.published::<Bill>().assert_none(),
        Ok(_) => return Err("an error of its own".into()),
        Err(_) => app.published::<Bill>().assert_count(1).assert_values(|bill| bill.number, [1]).iter().for_each(drop),
    }
    Ok(())
}

const ENDING: &str = "KIT_ENDING";

/// What the test harness prints when the test above ends so.
fn printed(ending: &str, broker: &str) -> String {
    again("telling::ends_as_it_is_told", &[(ENDING, ending), (TEST_BROKER_VARIABLE, broker)]).expect_err("it fails")
}

#[test]
fn a_test_that_fails_in_whatever_way_prints_the_story_once() {
    for (ending, said) in [("panic", "a panic of its own"), ("error", "an error of its own"), ("assertion", "0 were expected")] {
        let printed = printed(ending, "");
        assert!(printed.contains(said), "{printed}");
        assert_eq!(printed.matches("what happened:\n").count(), 1, "{printed}");
        assert_eq!(
            printed.matches("kit.orders.v1, key ada, id ada-1\n      0.000 s  published to `kit.orders`\n").count(),
            1,
            "{printed}"
        );
        assert!(!printed.contains("on the broker"), "{printed}");
    }
}

#[test]
fn a_test_that_fails_on_a_shared_broker_says_what_its_names_begin_with() {
    let printed = printed("panic", "memory://failing");
    let line = printed.lines().find_map(|line| line.strip_prefix("on the broker, the names of this test begin with `t"));
    assert!(line.is_some(), "{printed}");
}

#[test]
fn a_broker_that_cannot_be_opened_is_said_without_its_password() {
    let printed = printed("none", "kafkaesque://ada:hush@localhost");
    assert!(printed.contains("ends_as_it_is_told` does not start"), "{printed}");
    assert!(printed.contains("no broker is called `kafkaesque://`"), "{printed}");
    assert!(!printed.contains("hush"), "{printed}");
}

#[derive(Clone)]
struct Absent;

#[handler]
async fn wants_state(_order: Order, State(_absent): State<Absent>) {}
