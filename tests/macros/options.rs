//! The arguments of `#[handler]` in `HandlerOptions`.

use std::time::Duration;

use convoke::broker::{Native, NativeValue};
use convoke::prelude::*;
use convoke::{BatchOptions, HandlerOptions, HeaderMatch, OnRetry, Order, RetryOptions, StartAt};

use crate::support::{OrderPaid, handler};

#[handler]
async fn options_default(_paid: OrderPaid) {}

#[handler(
    name = "options.full",
    group = "warehouse",
    concurrency = 65535,
    order = key,
    lane = "order",
    retry(attempts = 7, backoff = "100ms..1m30s", jitter = "5%"),
    on_retry = pass,
    timeout = "2m",
    dead_letter = "orders.dead",
    batch(size = 100, wait = "50ms"),
    topics("orders.eu", "orders.{region}", "orders.*"),
    match(header = "kind", value = "express"),
    start = new,
    broker = "analytics",
    kafka(session = "10s"),
    rabbitmq(prefetch = 1_000,),
    nats(),
)]
async fn options_full(_paid: Batch<OrderPaid>) {}

#[handler(order = none, retry(backoff = "1s"), topic = "orders.old", broadcast, start = earliest)]
async fn options_some(_paid: OrderPaid) {}

#[test]
fn without_arguments_a_handler_has_the_defaults() {
    let options = handler("options_default").options;
    assert_eq!(format!("{options:?}"), format!("{:?}", HandlerOptions::new()));
}

#[test]
fn every_argument_reaches_the_options() {
    let options = handler("options.full").options;
    assert_eq!(options.group, Some("warehouse"));
    assert_eq!(options.concurrency, 65535);
    assert_eq!(options.order, Some(Order::Key));
    assert_eq!(options.lane, Some("order"));
    let backoff = (Duration::from_millis(100), Duration::from_secs(90));
    assert_eq!(options.retry, RetryOptions::new().attempts(7).backoff(backoff.0, backoff.1).jitter(5));
    assert_eq!(options.on_retry, OnRetry::Pass);
    assert_eq!(options.timeout, Some(Duration::from_secs(120)));
    assert_eq!(options.dead_letter, Some("orders.dead"));
    assert_eq!(options.batch, Some(BatchOptions::new(100, Duration::from_millis(50))));
    assert_eq!(options.topics, ["orders.eu", "orders.{region}", "orders.*"]);
    assert_eq!(options.matches, Some(HeaderMatch::new("kind", "express")));
    assert_eq!(options.start, Some(StartAt::New));
    assert_eq!(options.broker, Some("analytics"));
    let said = [
        Native::new("kafka", "session", NativeValue::Text("10s")),
        Native::new("rabbitmq", "prefetch", NativeValue::Number(1000)),
    ];
    assert_eq!(options.native, said);
    assert!(!options.broadcast);
}

#[test]
fn what_is_not_said_stays_at_its_default() {
    let options = handler("options_some").options;
    assert_eq!(options.order, Some(Order::None));
    assert_eq!(options.retry, RetryOptions::new().backoff(Duration::from_secs(1), Duration::from_secs(1)));
    assert_eq!(options.topics, ["orders.old"]);
    assert!(options.broadcast);
    assert_eq!(options.start, Some(StartAt::Earliest));
    assert_eq!(options.on_retry, OnRetry::Hold);
}
