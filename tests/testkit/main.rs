//! The testkit: what a test asks and makes fail, what it says when it fails itself, and what keeps tests apart.
#![allow(unnameable_test_items, reason = "tests that have to fail, or to run many times, are called by others")]

mod apart;
mod asking;
mod failing;
mod foreign;
mod same;
mod settling;
mod shared;
mod telling;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "kit.orders", key = who)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    who: String,
    number: u64,
}

fn order(who: &str, number: u64) -> Order {
    Order { who: who.to_owned(), number }
}

#[event(topic = "kit.bills", key = who)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Bill {
    who: String,
    number: u64,
}

/// Refuses the number 13 whenever it comes, and the number 7 the first time.
#[handler(group = "kit.bill", retry(attempts = 3, backoff = "10s", jitter = 0))]
async fn bill(order: Order, meta: Meta<'_>) -> Result<Bill, BoxError> {
    match order.number {
        13 => Err("unlucky".into()),
        7 if meta.attempt() == 1 => Err("not the first time".into()),
        number => Ok(Bill { who: order.who, number }),
    }
}

fn app() -> App {
    App::new("kit")
}

async fn publish(app: &TestApp, orders: impl IntoIterator<Item = Order>) -> TestResult {
    for order in orders {
        app.publish(&order).id(format!("{}-{}", order.who, order.number)).await?;
    }
    Ok(())
}

fn elapsed(since: tokio::time::Instant) -> Duration {
    since.elapsed()
}

/// Runs a test of this file again, or some, in a process of their own, with these variables; what was printed.
fn again(tests: &str, variables: &[(&str, &str)]) -> Result<String, String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([tests, "--test-threads", "8"]).envs(variables.iter().copied()).env("RUST_BACKTRACE", "0");
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(printed) } else { Err(printed) }
}

/// How a test has failed: what it said, and where.
#[derive(Debug, Clone, Default)]
struct Failure {
    text: String,
    file: String,
    line: u32,
}

thread_local! {
    /// The last panic of this thread, while somebody waits for one.
    static LAST: RefCell<Option<Failure>> = const { RefCell::new(None) };
}

/// Runs a test that has to fail.
fn failure<R>(test: impl FnOnce() -> R) -> Failure {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let waited = LAST.with_borrow_mut(|last| {
                let place = panic.location().zip(last.as_mut());
                place.map(|(place, last)| (last.file, last.line) = (place.file().to_owned(), place.line())).is_some()
            });
            if !waited {
                before(panic);
            }
        }));
    });
    LAST.set(Some(Failure::default()));
    let panic = catch_unwind(AssertUnwindSafe(test)).map(drop).expect_err("the test has not failed");
    let text = panic.downcast::<String>().map_or_else(|_| "no text".to_owned(), |text| *text);
    Failure { text, ..LAST.take().unwrap_or_default() }
}
