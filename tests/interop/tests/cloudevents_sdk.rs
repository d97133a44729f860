//! The SDK of the CloudEvents project as an independent reader and writer: what we publish is the same event there, and what it
//! writes, in either mode, is handled here.

use std::sync::{Arc, Mutex};

use cloudevents::event::{ExtensionValue, SpecVersion};
use cloudevents::message::{BinaryDeserializer, BinarySerializer, MessageAttributeValue, Result as SdkResult};
use cloudevents::{AttributesReader as _, Data, Event as SdkEvent, EventBuilder as _, EventBuilderV10};
use convoke::cloudevents::Spelling;
use convoke::memory::MemoryBroker;
use convoke::prelude::*;
use convoke::{Message, MessageBuilder};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[event(topic = "interop.paid", key = customer)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Paid {
    customer: String,
    order: u64,
}

#[event(topic = "interop.packed", codec = msgpack)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Packed {
    customer: String,
    order: u64,
}

#[event(topic = "interop.note", codec = raw)]
#[derive(Debug, Clone, PartialEq)]
struct Note(Vec<u8>);

impl AsRef<[u8]> for Note {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<B: Into<Vec<u8>>> From<B> for Note {
    fn from(bytes: B) -> Self {
        Self(bytes.into())
    }
}

/// Topic, id, headers' worth of what is asked for, and the event for people.
type Seen = Arc<Mutex<Vec<(String, String, Option<String>, String)>>>;

fn note(seen: &Seen, meta: &Meta<'_>, event: &dyn std::fmt::Debug) {
    let extension = meta.headers().get_str("ce-tenant").map(str::to_owned);
    seen.lock().unwrap().push((meta.topic().to_string(), meta.id().into_owned(), extension, format!("{event:?}")));
}

#[handler]
async fn pack(paid: Paid, meta: Meta<'_>, State(seen): State<Seen>) -> Packed {
    note(&seen, &meta, &paid);
    Packed { customer: paid.customer, order: paid.order }
}

#[handler]
async fn packed(packed: Packed, meta: Meta<'_>, State(seen): State<Seen>) {
    note(&seen, &meta, &packed);
}

#[handler]
async fn read(text: Note, meta: Meta<'_>, State(seen): State<Seen>) {
    note(&seen, &meta, &String::from_utf8_lossy(&text.0));
}

/// A message of ours, as the SDK reads one of Kafka's.
struct Record(Message);

impl BinaryDeserializer for Record {
    fn deserialize_binary<R: Sized, V: BinarySerializer<R>>(self, mut visitor: V) -> SdkResult<R> {
        let text = |value: &[u8]| MessageAttributeValue::String(String::from_utf8(value.to_vec()).unwrap());
        let headers = self.0.headers();
        let version = SpecVersion::try_from(headers.get_str("ce-specversion").unwrap())?;
        visitor = visitor.set_spec_version(version.clone())?;
        for (name, value) in headers.iter() {
            let on_wire = Spelling::Underscore.write(name);
            visitor = match on_wire.strip_prefix("ce_") {
                Some("specversion") => visitor,
                Some(name) if version.attribute_names().contains(&name) => visitor.set_attribute(name, text(value))?,
                Some(name) => visitor.set_extension(name, text(value))?,
                None if on_wire == "content-type" => visitor.set_attribute("datacontenttype", text(value))?,
                None => visitor,
            };
        }
        visitor.end_with_data(self.0.payload().to_vec())
    }
}

/// What the SDK writes in binary mode, as a message of ours.
struct Writer(MessageBuilder);

impl Writer {
    fn put(self, name: &str, value: &str) -> Self {
        let name = Spelling::Underscore.read(&format!("ce_{name}")).into_owned();
        Self(self.0.header(name, value.to_owned()))
    }
}

impl BinarySerializer<Message> for Writer {
    fn set_spec_version(self, version: SpecVersion) -> SdkResult<Self> {
        Ok(self.put("specversion", version.as_str()))
    }

    fn set_attribute(self, name: &str, value: MessageAttributeValue) -> SdkResult<Self> {
        Ok(self.put(name, &value.to_string()))
    }

    fn set_extension(self, name: &str, value: MessageAttributeValue) -> SdkResult<Self> {
        Ok(self.put(name, &value.to_string()))
    }

    fn end_with_data(self, bytes: Vec<u8>) -> SdkResult<Message> {
        Ok(self.0.payload(bytes).build())
    }

    fn end(self) -> SdkResult<Message> {
        Ok(self.0.build())
    }
}

fn in_binary_mode(topic: &str, event: SdkEvent) -> Message {
    event.deserialize_binary(Writer(Message::builder(topic))).unwrap()
}

fn in_structured_mode(topic: &str, event: &SdkEvent) -> Message {
    let envelope = serde_json::to_vec(event).unwrap();
    Message::builder(topic).header("content-type", "application/cloudevents+json; charset=utf-8").payload(envelope).build()
}

async fn start() -> (TestApp, Seen) {
    let seen = Seen::default();
    (TestApp::start(App::new("shop").state(seen.clone()).only(["pack", "packed", "read"])).await.unwrap(), seen)
}

fn stored(app: &TestApp, topic: &str) -> Vec<SdkEvent> {
    let broker = app.broker().native().downcast_ref::<MemoryBroker>().unwrap();
    broker.messages(topic).into_iter().map(|message| BinaryDeserializer::into_event(Record(message)).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_we_publish_is_the_same_event_there() {
    let (app, _) = start().await;
    let paid = Paid { customer: "naïve ☃".to_owned(), order: 7 };
    let receipt = app.publisher().publish(&paid).header("ce-tenant", "acme").await.unwrap();
    app.settled().await;
    let [event] = stored(&app, "interop.paid").try_into().unwrap();
    assert_eq!((event.id(), event.ty(), event.source().as_str()), (&*receipt.id, "interop.paid.v1", "shop"));
    assert_eq!((event.specversion(), event.datacontenttype()), (SpecVersion::V10, Some("application/json")));
    assert!(event.time().is_some(), "its time is one there: {event}");
    assert_eq!(event.extension("tenant"), Some(&ExtensionValue::String("acme".to_owned())));
    let bytes: Vec<u8> = event.data().cloned().unwrap().try_into().unwrap();
    assert_eq!(serde_json::from_slice::<Paid>(&bytes).unwrap(), paid);
    // What the handler returned, in another codec.
    let [packed] = stored(&app, "interop.packed").try_into().unwrap();
    assert_eq!((packed.ty(), packed.datacontenttype()), ("interop.packed.v1", Some("application/msgpack")));
    assert_eq!(packed.extension("causationid"), Some(&ExtensionValue::String(receipt.id)));
}

#[tokio::test(start_paused = true)]
async fn what_it_writes_in_either_mode_is_handled_here() {
    let (app, seen) = start().await;
    let mut sent = 0;
    let mut event = |kind: &str, content_type: &str, data: Data| {
        sent += 1;
        let event =
            EventBuilderV10::new().id(format!("sdk-{sent}")).ty(kind).source("http://localhost/till").extension("tenant", "acme");
        event.time("2026-01-02T03:04:05Z").data(content_type, data).build().unwrap()
    };
    let json = json!({ "customer": "naïve ☃", "order": 7 });
    // A map of two, as any writer of MessagePack writes it.
    let msgpack = b"\x82\xa8customer\xa3ada\xa5order\x08".to_vec();
    for (topic, kind, content_type, data) in [
        ("interop.paid", "interop.paid.v1", "application/json", Data::Json(json.clone())),
        ("interop.paid", "interop.paid", "application/json", Data::Binary(serde_json::to_vec(&json).unwrap())),
        ("interop.paid", "interop.paid.v1", "application/x-msgpack", Data::Binary(msgpack.clone())),
        ("interop.packed", "interop.packed.v1", "application/vnd.shop+json", Data::Json(json)),
        ("interop.packed", "interop.packed.v1", "application/msgpack", Data::Binary(msgpack)),
        ("interop.note", "interop.note.v1", "text/plain", Data::String("☃ \"quoted\"\n".to_owned())),
    ] {
        app.publish_message(in_binary_mode(topic, event(kind, content_type, data.clone()))).await.unwrap();
        app.publish_message(in_structured_mode(topic, &event(kind, content_type, data))).await.unwrap();
    }
    app.settled().await;
    let seen = seen.lock().unwrap().clone();
    let of = |id: &str| seen.iter().filter(|one| one.1 == id).collect::<Vec<_>>();
    for pair in 0..6 {
        let (binary, structured) = (of(&format!("sdk-{}", 2 * pair + 1)), of(&format!("sdk-{}", 2 * pair + 2)));
        let [binary, structured] =
            [binary, structured].map(|found| (found.len(), found.first().map(|one| (&one.0, &one.2, &one.3))));
        assert_eq!(binary, structured, "the mode makes no difference\n{}", app.story());
        assert_eq!((binary.0, binary.1.unwrap().1.as_deref()), (1, Some("acme")), "{}", app.story());
    }
    for (id, says) in [("sdk-2", "naïve ☃"), ("sdk-6", "order: 8"), ("sdk-8", "order: 7"), ("sdk-12", r#"☃ \"quoted\"\n"#)] {
        assert!(of(id)[0].3.contains(says), "{id}: {seen:?}");
    }
}
