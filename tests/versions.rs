//! Messages of older versions and older names, in a running application: handled as the present one, in order with it, or a
//! dead letter that says why.

mod support;

use convoke::prelude::*;
use convoke::{ErrorKind, Registry};
use serde::{Deserialize, Serialize};
use support::{Journal, header, ms, status, stored};

#[derive(Debug, Serialize, Deserialize)]
struct PaidV1 {
    customer: String,
}

#[event(topic = "versions.paid", version = 2, key = customer, accepts("versions.settled" = Paid, 1 = PaidV1))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Paid {
    customer: String,
    cents: u64,
}

impl TryFrom<PaidV1> for Paid {
    type Error = String;

    fn try_from(old: PaidV1) -> Result<Self, Self::Error> {
        let (customer, cents) = old.customer.split_once(' ').ok_or_else(|| format!("no cents in `{}`", old.customer))?;
        Ok(Self { customer: customer.to_owned(), cents: cents.parse().map_err(|_| "cents are a number")? })
    }
}

type Seen = Journal<(String, u64, Option<String>)>;

#[handler(name = "book", group = "books")]
async fn book(paid: Paid, meta: Meta<'_>, State(seen): State<Seen>) {
    tokio::time::sleep(ms(5)).await;
    seen.note((paid.customer, paid.cents, meta.message().event_type().map(str::to_owned)));
}

#[handler(name = "pile", group = "pile", batch(size = 10, wait = "10ms"))]
async fn pile(paid: Batch<Paid>, State(seen): State<Seen>) {
    paid.into_items().into_iter().for_each(|one| seen.note((one.event.customer, one.event.cents, None)));
}

fn of_type(wire_type: &'static str, payload: &'static str) -> Message {
    Message::builder("versions.paid").header("ce-type", wire_type).payload(payload).build()
}

async fn start(handler: &str) -> (TestApp, Seen) {
    let seen = Seen::new();
    (TestApp::start(App::new("shop").state(seen.clone()).only([handler])).await.unwrap(), seen)
}

#[tokio::test(start_paused = true)]
async fn older_versions_and_names_are_handled_as_the_present_one() {
    let (app, seen) = start("book").await;
    app.publish_message(of_type("versions.paid.v1", r#"{"customer":"ada 1"}"#)).await.unwrap();
    app.settled().await;
    app.publish_message(of_type("versions.settled.v1", r#"{"customer":"ada","cents":2}"#)).await.unwrap();
    app.settled().await;
    app.publish(&Paid { customer: "ada".to_owned(), cents: 3 }).await.unwrap();
    app.settled().await;
    let of = |cents, wire_type: &str| ("ada".to_owned(), cents, Some(wire_type.to_owned()));
    assert_eq!(seen.items(), [of(1, "versions.paid.v1"), of(2, "versions.settled.v1"), of(3, "versions.paid.v2")]);
}

#[tokio::test(start_paused = true)]
async fn an_older_version_without_a_key_is_in_order_with_those_of_its_payloads_key() {
    let (app, seen) = start("book").await;
    for payload in [r#"{"customer":"ada 1"}"#, r#"{"customer":"ada 2"}"#, r#"{"customer":"bob 3"}"#] {
        let message = of_type("versions.paid.v1", payload).into_builder().build();
        app.publish_message(message).await.unwrap();
    }
    app.settled().await;
    let mut at: Vec<_> = seen.all().into_iter().map(|(at, (_, cents, _))| (cents, at.as_millis())).collect();
    at.sort_unstable();
    assert_eq!((at[0].1, at[2].1), (5, 5), "of different keys at the same time: {at:?}");
}

#[tokio::test(start_paused = true)]
async fn a_structured_envelope_may_hold_an_older_version() {
    let (app, seen) = start("book").await;
    let envelope = r#"{"specversion":"1.0","id":"1","source":"till","type":"versions.paid.v1","data":{"customer":"ada 7"}}"#;
    let message = Message::builder("versions.paid").header("content-type", "application/cloudevents+json").payload(envelope);
    app.publish_message(message.build()).await.unwrap();
    app.settled().await;
    assert_eq!(seen.items(), [("ada".to_owned(), 7, Some("versions.paid.v1".to_owned()))], "{}", app.story());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_taken_up_is_undecodable_and_not_tried_again() {
    for (wire_type, payload, error, cause) in [
        ("versions.paid.v1", r#"{"customer":"ada"}"#, "this `versions.paid.v1` cannot become `versions.paid.v2`", "no cents in"),
        ("versions.paid.v1", r#"{"who":"ada"}"#, "the payload (13 bytes) is no `versions.paid.v1` in json", "missing field"),
        ("versions.paid.v9", "{}", "it knows `versions.paid.v2`, `versions.settled.v1`, `versions.paid.v1`", ""),
        ("versions.settled.v2", "{}", "`versions.settled.v2` is a version that this program does not know", ""),
    ] {
        let (app, seen) = start("book").await;
        app.publish_message(of_type(wire_type, payload)).await.unwrap();
        app.settled().await;
        let letters = stored(&app, "versions.paid.books.dead");
        assert_eq!((seen.len(), letters.len()), (0, 1), "{wire_type}\n{}", app.story());
        assert_eq!(letters[0].payload().as_ref(), payload.as_bytes());
        assert_eq!(header(&letters[0], "convoke-dead-reason"), Some("undecodable"));
        assert_eq!(header(&letters[0], "convoke-dead-attempts"), Some("0"));
        assert!(header(&letters[0], "convoke-dead-error").unwrap().contains(error), "{:?}", letters[0]);
        assert!(header(&letters[0], "convoke-dead-error-chain").unwrap().contains(cause), "{:?}", letters[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_holds_older_versions_and_leaves_out_what_cannot_be_taken_up() {
    let (app, seen) = start("pile").await;
    for payload in [r#"{"customer":"ada 1"}"#, r#"{"customer":"ada"}"#, r#"{"customer":"ada 3"}"#] {
        app.publish_message(of_type("versions.paid.v1", payload).into_builder().key("ada").build()).await.unwrap();
    }
    app.settled().await;
    assert_eq!(seen.items().iter().map(|one| one.1).collect::<Vec<_>>(), [1, 3]);
    let status = status(&app, "pile").await;
    assert_eq!((status.handled, status.dead, app.dead_letters("pile").len()), (2, 1, 1), "{status:?}");
}

mod clash {
    use super::*;

    #[event(topic = "clash.paid", accepts("clash.settled" = Paid))]
    #[derive(Serialize, Deserialize)]
    pub(super) struct Paid;

    #[event(topic = "clash.paid", name = "clash.settled")]
    #[derive(Serialize, Deserialize)]
    pub(super) struct Settled;

    #[event(topic = "clash.elsewhere", name = "clash.open", version = 2, accepts(1 = Open))]
    #[derive(Serialize, Deserialize)]
    pub(super) struct Reopened;

    #[event(topic = "clash.elsewhere", name = "clash.open")]
    #[derive(Serialize, Deserialize)]
    pub(super) struct Open;

    impl From<Open> for Reopened {
        fn from(_old: Open) -> Self {
            Self
        }
    }

    #[handler(name = "clash-open", group = "clash")]
    async fn open(_open: Open) {}

    #[handler(name = "clash-reopened", group = "clash")]
    async fn reopened(_open: Reopened) {}

    #[handler(name = "clash-paid")]
    async fn paid(_paid: Paid) {}

    #[handler(name = "clash-settled")]
    async fn settled(_settled: Settled) {}
}

async fn refused(handlers: [&str; 2]) -> String {
    let error = App::new("shop").url("memory://versions").only(handlers).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    error.to_string()
}

#[tokio::test]
async fn one_name_in_one_version_means_one_type_on_a_topic() {
    let text = refused(["clash-paid", "clash-settled"]).await;
    assert!(text.contains("`clash.paid.v1` (tests/versions.rs:"), "{text}");
    assert!(text.contains("accepts `clash.settled.v1` as `versions::clash::Paid`"), "{text}");
    assert!(text.contains("on the topic `clash.paid` that is `versions::clash::Settled` (tests/versions.rs:"), "{text}");
    assert!(text.contains("one thing is to be mended"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_older_version_that_is_an_event_itself_may_be_accepted_by_another_group_but_not_by_its_own() {
    let text = refused(["clash-open", "clash-reopened"]).await;
    assert!(text.contains("read the same events of `clash.elsewhere` in the group `clash`"), "{text}");
    let app = TestApp::start(App::new("shop").only(["clash-reopened"])).await.unwrap();
    app.publish(&clash::Open).topic("clash.elsewhere").await.unwrap();
    app.settled().await;
    assert_eq!(status(&app, "clash-reopened").await.handled, 1);
}

#[tokio::test]
async fn the_table_shows_what_is_accepted() {
    let table = App::new("shop").url("memory://versions").state(Seen::new()).only(["book"]).build().await.unwrap();
    assert!(table.table().contains("versions.paid v2 ← versions.settled v1, v1"), "{}", table.table());
    assert!(Registry::collect().events.iter().any(|event| event.name == "versions.paid" && event.accepts.len() == 2));
}
