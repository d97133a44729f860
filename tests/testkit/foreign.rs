//! Publishing as programs do that know nothing of convoke.

use convoke::names;
use convoke::prelude::*;

use crate::{Bill, app, order};

#[convoke::test(app, handlers(bill))]
async fn a_bare_event_has_no_header_and_is_handled(app: TestApp) -> TestResult {
    app.publish_bare(&order("ada", 1)).await?;
    app.settled().await;
    let sent = &app.messages()[0];
    assert_eq!((sent.headers().len(), sent.key()), (0, None));
    assert_eq!(sent.payload(), r#"{"who":"ada","number":1}"#);
    app.published::<Bill>().assert_one(|bill| bill.number == 1);
    Ok(())
}

#[convoke::test(app, handlers(bill))]
async fn a_structured_event_is_one_document_and_is_handled(app: TestApp) -> TestResult {
    app.publish_structured(&order("ada", 1)).await?;
    app.settled().await;
    let sent = &app.messages()[0];
    let headers: Vec<_> = sent.headers().iter().map(|(name, _)| name).collect();
    assert_eq!((headers, sent.content_type()), (vec![names::CONTENT_TYPE], Some("application/cloudevents+json")));
    let document: serde_json::Value = serde_json::from_slice(sent.payload())?;
    assert_eq!((&document["type"], &document["partitionkey"]), (&"kit.orders.v1".into(), &"ada".into()));
    assert_eq!(document["data"], serde_json::json!({ "who": "ada", "number": 1 }));
    app.published::<Bill>().assert_one(|bill| bill.number == 1);
    Ok(())
}

#[convoke::test(app, handlers(bill))]
async fn bytes_may_be_broken_and_have_a_key_and_headers(app: TestApp) -> TestResult {
    app.publish_bytes("kit.orders", &b"\xff{ broken"[..]).key("ada").header("tenant", "acme").await?;
    app.settled().await;
    let dead = &app.dead_letters("bill")[0];
    assert_eq!(&dead.payload()[..], b"\xff{ broken");
    assert_eq!(dead.headers().get_str("tenant"), Some("acme"));
    assert_eq!(dead.headers().get_str(names::DEAD_REASON), Some("undecodable"));
    assert_eq!(dead.key().map(ToString::to_string).as_deref(), Some("ada"));
    Ok(())
}
