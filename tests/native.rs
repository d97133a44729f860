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

/// A handler that was written without the attribute, with these options.
fn by_hand(options: HandlerOptions) -> &'static HandlerDef {
    let tuned = Registry::collect().handlers.into_iter().find(|handler| handler.name == "tuned").unwrap();
    Box::leak(Box::new(HandlerDef::new("by_hand", tuned.describe, tuned.service, tuned.location).options(options)))
}

/// What is said of one that says this.
async fn refused(said: &'static [Native]) -> String {
    let mut options = HandlerOptions::new();
    options.native = said;
    let error = App::new("shop").handlers([by_hand(options)]).url("memory://").build().await.unwrap_err();
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

#[event(topic = "native.wide", key = id, memory(partitions = 3), kafka(partitions = 24, retention = "7d"))]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Wide {
    id: u64,
}

#[event(topic = "native.wide", name = "narrow", memory(partitions = 2))]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Narrow;

#[event(topic = "native.in.{place}", name = "placed", memory(partitions = 5))]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Placed {
    place: String,
}

#[event(topic = "native.none", memory(partitions = 0))]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Nowhere;

#[handler(group = "wide")]
async fn wide(_wide: Wide) {}

#[handler(group = "narrow")]
async fn narrow(_narrow: Narrow) {}

#[handler(group = "nowhere")]
async fn nowhere(_nowhere: Nowhere) {}

#[event(topic = "native.none2", memory(partitions = 65537))]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TooWide;

#[handler(group = "too_wide")]
async fn too_wide(_too_wide: TooWide) {}

#[tokio::test]
async fn a_topic_is_created_as_its_event_says() -> TestResult {
    let app = App::new("shop").only(["wide"]).url("memory://").quiet().start().await?;
    app.publisher().publish(&Placed { place: "asia".to_owned() }).await?;
    let topics = app.broker().topics().await?;
    for (name, partitions) in [("native.wide", 3), ("native.in.asia", 5), ("native.wide.wide.retry", 3)] {
        assert!(topics.contains(&(name.into(), partitions)), "{name}: {topics:?}");
    }
    app.drain().await;
    Ok(())
}

#[tokio::test]
async fn events_of_one_topic_say_the_same_of_it() {
    let error = App::new("shop").only(["wide", "narrow"]).url("memory://").build().await.unwrap_err().to_string();
    let (wide, narrow) = ("`native.wide` (tests/native.rs:79)", "`narrow` (tests/native.rs:85)");
    let either = |one, other, said, differently| {
        format!(
            "the events {one} and {other} share the topic `native.wide`, and one says `{said}` of it, the other `{differently}`"
        )
    };
    let (three, two) = ("memory(partitions = 3)", "memory(partitions = 2)");
    assert!(error.contains(&either(wide, narrow, three, two)) || error.contains(&either(narrow, wide, two, three)), "{error}");
}

#[tokio::test]
async fn what_a_broker_cannot_have_is_refused_when_the_application_is_built_with_the_place_of_each() {
    let mut options = HandlerOptions::new();
    options.dead_letter = Some("two\nlines");
    let app = App::new("shop").register_all([by_hand(options)]).only(["nowhere", "too_wide", "by_hand"]).url("memory://");
    let error = app.build().await.unwrap_err().to_string();
    assert!(error.contains("3 things are to be mended"), "{error}");
    for says in [
        "event `native.none` (tests/native.rs:95): topic `native.none` cannot have 0 partitions: 1 to 65536 are possible",
        "event `native.none2` (tests/native.rs:108): topic `native.none2` cannot have 65537 partitions: 1 to 65536 are possible",
        "handler `by_hand` (tests/native.rs:15): \"two\\nlines\" cannot be the name of a topic or group; use letters, digits, `.`, `_` and `-`",
    ] {
        assert!(error.contains(says), "{says}: {error}");
    }
}
