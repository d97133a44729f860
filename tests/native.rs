//! What handlers say for one kind of broker.

use convoke::broker::{Native, NativeValue};
use convoke::prelude::*;
use convoke::{ErrorKind, HandlerDef, HandlerOptions, Registry};
use serde::{Deserialize, Serialize};

#[event(topic = "native.orders", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    id: u64,
}

#[handler(kafka(session = "6s", assignor = "range"), rabbitmq(prefetch = 50), memory(revoke = "1s"))]
async fn tuned(_order: Order) {}

#[handler(group = "shared", topic = "native.all", lane = "all", memory(revoke = "1s"))]
async fn one(_order: Order) {}

#[handler(group = "shared", lane = "all", memory(revoke = "2s"))]
async fn other(_order: Order) {}

#[convoke::test(App::new("shop"), handlers(tuned))]
async fn what_is_said_to_other_brokers_changes_nothing(app: TestApp) -> TestResult {
    app.publish(&Order { id: 7 }).await?;
    app.settled().await;
    app.handled::<Order>("tuned").assert_count(1);
    Ok(())
}

#[tokio::test]
async fn the_table_shows_what_is_said() -> TestResult {
    let ready = App::new("shop").only(["tuned"]).url("memory://").build().await?;
    let shown = "kafka(session = \"6s\"), kafka(assignor = \"range\"), rabbitmq(prefetch = 50), memory(revoke = \"1s\")";
    assert!(ready.table().contains(shown), "{}", ready.table());
    Ok(())
}

#[tokio::test]
async fn handlers_that_share_a_place_say_the_same() {
    let error = App::new("shop").only(["one", "other"]).url("memory://").build().await.unwrap_err().to_string();
    let expected = "says `memory(revoke = \"2s\")`, and `one` (tests/native.rs:18), with which it shares a place in the group `shared`, says \
                    `memory(revoke = \"1s\")`; say the same on both";
    assert!(error.contains(expected), "{error}");
}

/// A handler that was written without the attribute, and says this.
async fn refused(said: &'static [Native]) -> String {
    let tuned = Registry::collect().handlers.into_iter().find(|handler| handler.name == "tuned").unwrap();
    let mut options = HandlerOptions::new();
    options.native = said;
    let handler: &'static HandlerDef =
        Box::leak(Box::new(HandlerDef::new("by_hand", tuned.describe, tuned.service, tuned.location).options(options)));
    let error = App::new("shop").handlers([handler]).url("memory://").build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    error.to_string()
}

#[tokio::test]
async fn what_the_compiler_was_not_asked_is_refused_when_the_application_is_built() {
    const SAID: &[Native] = &[
        Native::new("memory", "revok", NativeValue::Text("1s")),
        Native::new("memory", "revoke", NativeValue::Number(1)),
        Native::new("kafka", "revok", NativeValue::Text("1s")),
    ];
    let text = refused(SAID).await;
    let expected = "handler `by_hand` (tests/native.rs:15): `memory(…)` has no option `revok`; it has `revoke`; did you mean `revoke = \"10s\"`?; \
                    `revoke` is a duration in quotes: `revoke = \"10s\"`";
    assert!(text.contains(expected), "{text}");
    const TOO_LONG: &[Native] = &[Native::new("memory", "revoke", NativeValue::Text("99999999999999999999s"))];
    assert!(refused(TOO_LONG).await.contains("handler `by_hand` (tests/native.rs:15): `revoke=99999999999999999999s`"));
}
