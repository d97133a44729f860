//! What `#[event]` makes of a type.

use bytes::{Bytes, BytesMut};
use convoke::prelude::*;
use convoke::{BoxError, Codec, Key, decode, encode};
use serde::{Deserialize, Serialize};

use crate::support::{OrderPaid, message, paid};

#[event(topic = "events.full", name = "shop.full", version = 3, codec = json, bare, key = self.customer.id)]
#[derive(Serialize, Deserialize)]
struct Full {
    customer: Customer,
}

#[derive(Serialize, Deserialize)]
struct Customer {
    id: u32,
}

#[event(topic = "events.plain")]
#[derive(Serialize, Deserialize)]
struct Plain;

#[event(topic = "events.tuple_key", key = (tenant, self.order.id, region.as_deref()))]
#[derive(Serialize, Deserialize)]
struct TupleKey {
    tenant: String,
    order: Customer,
    region: Option<String>,
}

#[event(topic = "events.newtype", key = self.0)]
#[derive(Serialize, Deserialize)]
struct Newtype(u64);

#[event(topic = "events.sum", key = self.low + (self.high << 8))]
#[derive(Serialize, Deserialize)]
struct Sum {
    low: u64,
    high: u64,
}

#[event(topic = "events.five", key = (a, a, a, a, self.a + 1))]
#[derive(Serialize, Deserialize)]
struct Five {
    a: u8,
}

#[event(topic = "events.optional", key = parent)]
#[derive(Serialize, Deserialize)]
struct Optional {
    parent: Option<u64>,
}

#[event(topic = "events.change", key = self.order())]
#[derive(Serialize, Deserialize)]
enum Change {
    Opened { order: u64 },
    Closed(u64),
}

impl Change {
    fn order(&self) -> u64 {
        match self {
            Self::Opened { order } | Self::Closed(order) => *order,
        }
    }
}

#[event(topic = "events.match", key = r#type)]
#[derive(Serialize, Deserialize)]
struct RawName {
    r#type: String,
}

/// An event whose names are those that generated code might be tempted to use.
#[event(topic = "events.shadow", key = key)]
#[derive(Serialize, Deserialize)]
struct Option_ {
    key: u8,
}

#[event(topic = "events.blob", codec = raw)]
struct Blob(Bytes);

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

mod text {
    use super::*;

    pub(super) enum Text {}

    impl<T: std::fmt::Display + std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>> Codec<T> for Text {
        const NAME: &'static str = "text";
        const CONTENT_TYPE: &'static str = "text/plain";

        fn encode(value: &T, into: &mut BytesMut) -> Result<(), BoxError> {
            into.extend_from_slice(value.to_string().as_bytes());
            Ok(())
        }

        fn decode(payload: &Bytes) -> Result<T, BoxError> {
            Ok(std::str::from_utf8(payload)?.parse()?)
        }
    }
}

#[event(topic = "events.line", codec = text::Text)]
struct Line(i32);

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Line {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

macro_rules! keyed {
    ($name:ident, $topic:literal, $field:ident: $type:ty) => {
        #[event(topic = $topic, key = $field)]
        #[derive(Serialize, Deserialize)]
        struct $name {
            $field: $type,
        }
    };
}
keyed!(FromMacro, "events.macro", id: u16);

#[event(topic = "events.never")]
#[cfg(any())]
struct Never;

#[test]
fn every_option_reaches_the_registry() {
    let def = Full::DEF;
    assert_eq!((def.topic, def.name, def.version), ("events.full", "shop.full", 3));
    assert_eq!((def.codec, def.content_type), ("json", "application/json"));
    assert!(def.keyed && def.bare);
    assert_eq!((def.type_name)(), "macros::events::Full");
    assert_eq!(Full { customer: Customer { id: 7 } }.key(), Some(Key::new("7")));
}

#[test]
fn without_options_the_name_is_the_topic_and_there_is_no_key() {
    let def = Plain::DEF;
    assert_eq!((def.name, def.version, def.keyed, def.bare), ("events.plain", 1, false, false));
    assert_eq!(Plain.key(), None);
}

#[test]
fn an_event_knows_where_it_stands() {
    let location = OrderPaid::DEF.location;
    assert!(location.file.ends_with("tests/macros/support.rs"), "{location}");
    assert_eq!(location.module, "macros::support");
    let line = include_str!("support.rs").lines().nth(location.line as usize - 1);
    assert_eq!(line, Some("pub(crate) struct OrderPaid {"));
}

#[test]
fn keys_are_fields_tuples_or_expressions() {
    let order = Customer { id: 7 };
    let tuple = TupleKey { tenant: "acme".to_owned(), order, region: None };
    assert_eq!(tuple.key(), Some(Key::new("acme\u{1f}7\u{1f}")));
    assert_eq!(Newtype(9).key(), Some(Key::new("9")));
    assert_eq!(Sum { low: 1, high: 2 }.key(), Some(Key::new("513")), "an expression is one, whatever its operators");
    assert_eq!(Five { a: 1 }.key(), Some(Key::new("1\u{1f}1\u{1f}1\u{1f}1\u{1f}2")));
    assert_eq!(Optional { parent: None }.key(), None);
    assert_eq!(Optional { parent: Some(1) }.key(), Some(Key::new("1")));
    assert_eq!(Change::Closed(4).key(), Some(Key::new("4")));
    assert_eq!(Change::Opened { order: 5 }.key(), Some(Key::new("5")));
    assert_eq!(RawName { r#type: "a".to_owned() }.key(), Some(Key::new("a")));
    assert_eq!(FromMacro { id: 2 }.key(), Some(Key::new("2")));
    assert_eq!(FromMacro::DEF.topic, "events.macro");
    assert_eq!(Option_ { key: 1 }.key(), Some(Key::new("1")));
}

#[test]
fn a_bare_message_gets_its_key_from_the_payload() {
    let bare = Message::builder("orders.paid").payload(r#"{"order":7,"customer":"ada"}"#).build();
    assert_eq!((OrderPaid::DEF.key_of)(&bare).expect("it decodes"), Some(Key::new("ada")));
}

#[test]
fn events_travel_by_their_codec() {
    assert_eq!(decode::<OrderPaid>(&message(&paid(7))).expect("json"), paid(7));
    let blob = encode(&Blob(Bytes::from_static(b"\0\xff"))).expect("raw").build();
    assert_eq!(blob.payload(), &b"\0\xff"[..]);
    let line = message(&Line(-3));
    assert_eq!((line.payload().as_ref(), line.content_type()), (&b"-3"[..], Some("text/plain")));
    assert_eq!(decode::<Line>(&line).expect("text").0, -3);
}
