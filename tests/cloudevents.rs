//! CloudEvents in structured mode: the same event in an envelope, and what is not an envelope after all.

mod support;

use convoke::prelude::*;
use convoke::{ErrorKind, Message, UnknownEvents, cloudevents};
use serde::{Deserialize, Serialize};
use support::{Journal, header, ms, own_headers, status, stored};

/// What stands under `content-type` in the Kafka binding's example of structured mode.
const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

fn enveloped(envelope: impl Into<bytes::Bytes>) -> Message {
    Message::builder("env.orders").header("content-type", STRUCTURED).payload(envelope).build()
}

/// Headers, sorted, and payload of what is in the envelope.
fn opened(envelope: &str) -> (Vec<(String, String)>, String) {
    let event = cloudevents::unwrap(&enveloped(envelope.to_owned())).unwrap().expect("it is an envelope");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut headers: Vec<_> = own_headers(&event).into_iter().map(|(name, value)| (name, text(&value))).collect();
    headers.sort();
    (headers, text(event.payload()))
}

/// The examples of the JSON event format 1.0, section 3.2, with what the specification says that they are in binary mode; where it
/// writes "… base64 encoded string …", a string. White space within data is what was written.
#[test]
fn the_examples_of_the_specification_are_in_binary_mode_what_it_says() {
    let common = [
        ("ce-comexampleextension1", "value"),
        ("ce-comexampleothervalue", "5"),
        ("ce-source", "/mycontext"),
        ("ce-specversion", "1.0"),
        ("ce-time", "2018-04-05T17:31:00Z"),
        ("ce-type", "com.example.someevent"),
    ];
    let envelope = |id: &str, rest: &str| {
        format!(
            r#"{{ "specversion" : "1.0", "type" : "com.example.someevent", "source" : "/mycontext", "subject": null,
                 "id" : "{id}", "time" : "2018-04-05T17:31:00Z", "comexampleextension1" : "value",
                 "comexampleothervalue" : 5, "unsetextension": null, {rest} }}"#
        )
    };
    let object = r#"{ "appinfoA" : "abc", "appinfoB" : 123, "appinfoC" : true }"#;
    let cases = [
        (
            "A234-1234-1234",
            r#""datacontenttype" : "application/vnd.apache.thrift.binary", "data_base64" : "AAEC""#.to_owned(),
            Some("application/vnd.apache.thrift.binary"),
            "\0\u{1}\u{2}",
        ),
        (
            "B234-1234-1234",
            r#""datacontenttype" : "application/xml", "data" : "<much wow=\"xml\"/>""#.to_owned(),
            Some("application/xml"),
            r#"<much wow="xml"/>"#,
        ),
        (
            "C234-1234-1234",
            format!(r#""datacontenttype" : "application/json", "data" : {object}"#),
            Some("application/json"),
            object,
        ),
        ("C234-1234-1234", r#""datacontenttype" : "application/json", "data" : 1.5"#.to_owned(), Some("application/json"), "1.5"),
        ("D234-1234-1234", r#""data" : "I'm just a string""#.to_owned(), Some("application/json"), r#""I'm just a string""#),
        ("D234-1234-1234", r#""data_base64" : "eyAieHl6IjogMTIzIH0=""#.to_owned(), None, r#"{ "xyz": 123 }"#),
        ("D234-1234-1234", r#""data" : null"#.to_owned(), Some("application/json"), "null"),
    ];
    for (id, rest, content_type, payload) in cases {
        let mut expected: Vec<_> = common.into_iter().chain([("ce-id", id)]).collect();
        expected.extend(content_type.map(|content_type| ("content-type", content_type)));
        expected.sort_unstable();
        let expected: Vec<_> = expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(opened(&envelope(id, &rest)), (expected, payload.to_owned()), "{rest}");
    }
}

/// The examples of the Kafka protocol binding 1.0, sections 3.2.5 and 3.3.4: the same event, once in headers, once in an envelope.
#[test]
fn the_two_examples_of_the_kafka_binding_are_the_same_event() {
    let attributes = [
        ("ce_specversion", "1.0"),
        ("ce_type", "com.example.someevent"),
        ("ce_source", "/mycontext/subcontext"),
        ("ce_id", "1234-1234-1234"),
        ("ce_time", "2018-04-05T03:56:24Z"),
        ("content-type", "application/xml"),
    ];
    let mut binary: Vec<_> = attributes
        .into_iter()
        .map(|(name, value)| (cloudevents::Spelling::Underscore.read(name).into_owned(), value.to_owned()))
        .collect();
    binary.sort();
    let envelope = r#"{ "specversion" : "1.0", "type" : "com.example.someevent", "source" : "/mycontext/subcontext",
        "id" : "1234-1234-1234", "time" : "2018-04-05T03:56:24Z", "datacontenttype" : "application/xml", "data" : "<a/>" }"#;
    assert_eq!(opened(envelope), (binary, "<a/>".to_owned()));
}

#[test]
fn data_keeps_every_digit_and_escape() {
    let data = r#"{"n":12345678901234567890123.4500,"e":"\u00e9\n","a":[ ]}"#;
    let envelope = format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t","data":  {data} }}"#);
    assert_eq!(opened(&envelope).1, data);
    let text =
        r#"{"specversion":"1.0","id":"1","source":"s","type":"t","datacontenttype":"text/plain","data":"\u00e9\ud83d\ude80\n"}"#;
    assert_eq!(opened(text).1, "é🚀\n");
}

#[test]
fn headers_around_an_envelope_stay_and_its_own_word_counts() {
    let envelope =
        r#"{"specversion":"1.0","id":"inner","source":"/s","type":"t","flag":true,"datacontenttype":"text/x+json","data":{}}"#;
    let message = enveloped(envelope).into_builder().key("native").header("ce-id", "outer").header("tenant", "acme");
    let event = cloudevents::unwrap(&message.header("ce-extra", "kept").build()).unwrap().unwrap();
    assert_eq!(
        (event.id(), event.content_type(), event.key()),
        (Some("inner"), Some("text/x+json"), Some(&convoke::Key::new("native")))
    );
    let headers = ["tenant", "ce-extra", "ce-flag"].map(|name| header(&event, name));
    assert_eq!(headers, [Some("acme"), Some("kept"), Some("true")]);
}

#[test]
fn only_what_says_so_is_an_envelope() {
    let envelope = r#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#;
    for content_type in
        ["application/json", "application/cloudevent+json", "application/cloudevents+avro", "", "application/cloudevents"]
    {
        let message = Message::builder("t").header("content-type", content_type).payload(envelope).build();
        assert!(cloudevents::unwrap(&message).unwrap().is_none(), "{content_type}");
    }
    for content_type in
        ["application/cloudevents+json", "Application/CloudEvents+JSON", "application/cloudevents+json;charset=utf-8"]
    {
        let message = Message::builder("t").header("content-type", content_type).payload(envelope).build();
        let event = cloudevents::unwrap(&message).unwrap().expect(content_type);
        assert!(
            event.payload().is_empty() && !event.is_tombstone() && event.content_type().is_none(),
            "there is no data: {event:?}"
        );
    }
    assert!(cloudevents::unwrap(&Message::builder("t").payload(envelope).build()).unwrap().is_none());
    assert!(cloudevents::unwrap(&enveloped("").into_builder().tombstone().build()).unwrap().is_none());
}

/// Envelopes that are broken, and what is said of each.
fn broken() -> Vec<(String, &'static str)> {
    let with = |rest: &str| format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"env.orders.v1",{rest}}}"#);
    vec![
        (String::new(), "EOF while parsing"),
        ("[]".to_owned(), "expected a JSON object"),
        ("{\"specversion\":\"1.0\"".to_owned(), "EOF while parsing"),
        (with(r#""data":{}} trailing"#), "trailing characters"),
        (with(r#""data":{"#), "line 1"),
        (r#"{"specversion":"1.0","id":"1","source":"s"}"#.to_owned(), "`type` is missing"),
        (r#"{"specversion":"1.0","id":"","source":"s","type":"t"}"#.to_owned(), "`id` is missing"),
        (r#"{"specversion":"1.0","id":"1","source":null,"type":"t"}"#.to_owned(), "`source` is missing"),
        (r#"{"id":"1","source":"s","type":"t"}"#.to_owned(), "`specversion` is missing"),
        (r#"{"specversion":"0.3","id":"1","source":"s","type":"t"}"#.to_owned(), "`specversion` is `0.3`, and only `1.0`"),
        (with(r#""data":{},"data_base64":"AA==""#), "`data` and `data_base64` exclude each other"),
        (with(r#""data_base64":"A""#), "`data_base64` is not Base64"),
        (with(r#""data_base64":7"#), "`data_base64` is not Base64"),
        (with(r#""datacontenttype":"text/plain","data":{}"#), "`data` of the type `text/plain` is no text"),
        (with(r#""tenant":{"a":1}"#), "`tenant` is neither text, nor a number, nor a boolean"),
        (with(r#""id":"2""#), "`id` stands twice"),
    ]
}

#[event(topic = "env.orders", key = customer)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    customer: String,
    number: u64,
}

#[event(topic = "env.orders", name = "env.refunds")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Refund {
    number: u64,
}

#[event(topic = "env.billed")]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Billed {
    number: u64,
}

/// What a handler saw of each message: handler, id, key, number.
type Seen = Journal<(&'static str, String, Option<String>, u64)>;

fn note(seen: &Seen, handler: &'static str, meta: &Meta<'_>, number: u64) {
    seen.note((handler, meta.id().into_owned(), meta.key().map(ToString::to_string), number));
}

#[handler(name = "bill", group = "env", retry(attempts = 2, backoff = "10ms"))]
async fn bill(order: Order, meta: Meta<'_>, State(seen): State<Seen>) -> Result<Billed, BoxError> {
    tokio::time::sleep(ms(5)).await;
    note(&seen, "bill", &meta, order.number);
    if order.number == 13 { Err("never".into()) } else { Ok(Billed { number: order.number }) }
}

#[handler(name = "refund", group = "env")]
async fn refund(refund: Refund, meta: Meta<'_>, State(seen): State<Seen>) {
    note(&seen, "refund", &meta, refund.number);
}

#[handler(name = "watch", topic = "env.orders")]
async fn watch(message: Message, meta: Meta<'_>, State(seen): State<Seen>) {
    note(&seen, "watch", &meta, message.payload().len() as u64);
}

async fn start(handlers: &[&'static str], configure: impl FnOnce(App) -> App) -> (TestApp, Seen) {
    let seen = Seen::new();
    let app = App::new("env").state(seen.clone()).only(handlers.to_vec());
    (TestApp::start(configure(app)).await.unwrap(), seen)
}

fn order(kind: &str, id: &str, rest: &str, number: u64) -> Message {
    enveloped(format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/till","type":"{kind}"{rest},"data":{{"customer":"ada","number":{number}}}}}"#
    ))
}

const DEAD: &str = "env.orders.env.dead";

/// The one dead letter, which is the message as it came.
fn the_letter(app: &TestApp, original: &Message) -> Message {
    let letters = stored(app, DEAD);
    assert_eq!(letters.len(), 1, "{}", app.story());
    let letter = letters.into_iter().next().unwrap();
    assert_eq!((letter.payload(), letter.key()), (original.payload(), original.key()));
    assert_eq!(own_headers(&letter), own_headers(original), "headers are kept, in order");
    letter
}

#[tokio::test(start_paused = true)]
async fn an_event_in_an_envelope_is_handled_as_one_in_binary_mode_is() {
    let (app, seen) = start(&["bill", "refund"], |app| app).await;
    let chain = r#","partitionkey":"ada","correlationid":"c1""#;
    app.publish_message(order("env.orders.v1", "o1", chain, 1)).await.unwrap();
    app.publish_message(order("env.refunds", "r1", "", 2)).await.unwrap();
    app.publish_message(order("somebody.elses.v1", "x1", "", 3)).await.unwrap();
    app.settled().await;
    let mut items = seen.items();
    items.sort_unstable();
    let expected = [("bill", "o1".to_owned(), Some("ada".to_owned()), 1), ("refund", "r1".to_owned(), None, 2)];
    assert_eq!(items, expected, "{}", app.story());
    let billed = stored(&app, "env.billed");
    assert_eq!(billed.len(), 1);
    assert_eq!(header(&billed[0], "ce-causationid"), Some("o1"));
    assert_eq!(header(&billed[0], "ce-correlationid"), Some("c1"));
    assert!(stored(&app, DEAD).is_empty(), "{}", app.story());
}

#[tokio::test(start_paused = true)]
async fn a_handler_of_whole_messages_sees_what_is_in_the_envelope() {
    let (app, seen) = start(&["watch"], |app| app).await;
    app.publish_message(order("any.thing.v7", "w1", "", 1)).await.unwrap();
    app.settled().await;
    let length = r#"{"customer":"ada","number":1}"#.len() as u64;
    assert_eq!(seen.items(), [("watch", "w1".to_owned(), None, length)], "{}", app.story());
}

#[tokio::test(start_paused = true)]
async fn envelopes_with_a_partition_key_are_in_order_and_others_run_beside_them() {
    let seen = Seen::new();
    let app = App::new("env").state(seen.clone()).only(["bill"]);
    let app = TestApp::start_on(app, "memory://env-order?partitions=1").await.unwrap();
    for number in 20..50_u64 {
        let key = format!(r#","partitionkey":"k{}""#, number % 3);
        app.publish_message(order("env.orders.v1", &number.to_string(), &key, number)).await.unwrap();
    }
    app.settled().await;
    for key in ["k0", "k1", "k2"] {
        let numbers: Vec<_> = seen.items().into_iter().filter(|one| one.2.as_deref() == Some(key)).map(|one| one.3).collect();
        assert!(numbers.len() == 10 && numbers.is_sorted(), "{key}: {numbers:?}");
    }
    assert!(seen.times().last() < Some(&ms(5 * 20)), "keys run beside each other: {:?}", seen.times().last());
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_an_envelope_dies_in_it() {
    let (app, seen) = start(&["bill"], |app| app).await;
    let original = order("env.orders.v1", "o13", r#","partitionkey":"ada","unset":null"#, 13).into_builder();
    let original = original.header("tenant", "acme").build();
    app.publish_message(original.clone()).await.unwrap();
    app.settled().await;
    assert_eq!(seen.len(), 2, "every attempt sees the event\n{}", app.story());
    let letter = the_letter(&app, &original);
    assert_eq!(header(&letter, "convoke-dead-reason"), Some("handler-error"));
    assert_eq!(header(&letter, "convoke-dead-key"), Some("ada"));
}

#[tokio::test(start_paused = true)]
async fn data_and_versions_that_are_not_understood_are_dead_letters_in_their_envelopes() {
    let wrong = enveloped(r#"{"specversion":"1.0","id":"1","source":"s","type":"env.orders.v1","data":[1]}"#);
    let foreign =
        r#"{"specversion":"1.0","id":"1","source":"s","type":"env.orders.v1","datacontenttype":"text/xml","data":"<a/>"}"#;
    let none = r#"{"specversion":"1.0","id":"1","source":"s","type":"env.orders.v1"}"#;
    let version = order("env.orders.v9", "1", "", 1);
    for (original, says) in [
        (wrong, "no `env.orders`"),
        (enveloped(foreign), "`text/xml`"),
        (enveloped(none), "(0 bytes)"),
        (version, "`env.orders.v9`"),
    ] {
        let (app, seen) = start(&["bill"], |app| app).await;
        app.publish_message(original.clone()).await.unwrap();
        app.settled().await;
        let letter = the_letter(&app, &original);
        assert_eq!((header(&letter, "convoke-dead-reason"), seen.len()), (Some("undecodable"), 0), "{}", app.story());
        assert!(header(&letter, "convoke-dead-error").unwrap().contains(says), "{says}: {letter:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_event_in_an_envelope_dies_in_it_if_the_policy_says_so() {
    let (app, _) = start(&["bill"], |app| app.unknown_events(UnknownEvents::DeadLetter)).await;
    let original = order("somebody.elses.v1", "x1", "", 3);
    app.publish_message(original.clone()).await.unwrap();
    app.settled().await;
    assert_eq!(header(&the_letter(&app, &original), "convoke-dead-reason"), Some("unknown-event"));
}

#[tokio::test(start_paused = true)]
async fn a_broken_envelope_is_a_dead_letter_at_once_and_nothing_waits_for_it() {
    for (envelope, says) in broken() {
        let (app, seen) = start(&["bill"], |app| app).await;
        let original = enveloped(envelope.clone()).into_builder().key("ada").build();
        app.publish_message(original.clone()).await.unwrap();
        app.publish(&Order { customer: "ada".to_owned(), number: 1 }).await.unwrap();
        app.settled().await;
        let letter = the_letter(&app, &original);
        let error = header(&letter, "convoke-dead-error").unwrap();
        assert!(error.starts_with("the CloudEvents envelope is broken: ") && error.contains(says), "{envelope}: {error}");
        assert_eq!(header(&letter, "convoke-dead-reason"), Some("undecodable"));
        assert_eq!((seen.len(), status(&app, "bill").await.dead), (1, 1), "{}", app.story());
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_in_one_message_is_a_dead_letter_that_says_why() {
    let (app, _) = start(&["bill"], |app| app).await;
    let batch = Message::builder("env.orders").header("content-type", "application/cloudevents-batch+json; charset=UTF-8");
    let original = batch.payload("[]").build();
    app.publish_message(original.clone()).await.unwrap();
    app.settled().await;
    let error = header(&the_letter(&app, &original), "convoke-dead-error").unwrap().to_owned();
    assert!(error.contains("batch of CloudEvents"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_envelope_of_the_maximum_size_is_opened() {
    let (app, seen) = start(&["bill"], |app| app).await;
    let frame = order("env.orders.v1", "big", r#","padding":"""#, 1).size();
    let padding = format!(r#","padding":"{}""#, "x".repeat((1 << 20) - frame));
    let largest = order("env.orders.v1", "big", &padding, 1);
    app.publish_message(largest).await.unwrap();
    let larger = order("env.orders.v1", "bigger", &padding, 1);
    assert_eq!(app.publish_message(larger).await.unwrap_err().kind(), ErrorKind::TooLarge);
    app.settled().await;
    assert_eq!(seen.items().into_iter().map(|one| one.1).collect::<Vec<_>>(), ["big"], "{}", app.story());
}
