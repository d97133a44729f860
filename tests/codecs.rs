//! The codecs: what goes out comes back, in whatever format it says it is, and what is not whole does not.

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use convoke::prelude::*;
use convoke::{ErrorKind, Message, MessageBuilder, decode, encode};
use serde::{Deserialize, Serialize};
use support::{Journal, Seeded, header, own_headers, stored};

/// One of everything that serde knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Everything {
    text: String,
    letter: char,
    small: u8,
    large: u64,
    negative: i64,
    real: f64,
    flag: bool,
    unit: (),
    maybe: Option<String>,
    pair: (i8, String),
    list: Vec<u32>,
    blob: Vec<u8>,
    map: BTreeMap<String, i32>,
    kinds: Vec<Kind>,
    within: Option<Box<Everything>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    New(u16),
    Pair(String, bool),
    Named { x: i32 },
}

const TEXTS: [&str; 6] =
    ["", "ada", "naïve ☃ 🚀 \u{0} \n \"", "العربية", "\u{10ffff}", "a long text, longer than what the formats hold in one byte"];

impl Everything {
    fn any(dice: &mut Seeded, depth: u32) -> Self {
        let text = |dice: &mut Seeded| TEXTS[dice.below(6) as usize].to_owned();
        let number = |dice: &mut Seeded| [0, 1, 23, 24, 127, 128, 255, 65_535, 65_536, u64::MAX][dice.below(10) as usize];
        let kind = |dice: &mut Seeded| match dice.below(4) {
            0 => Kind::Unit,
            1 => Kind::New(dice.below(65_536) as u16),
            2 => Kind::Pair(text(dice), dice.below(2) == 0),
            _ => Kind::Named { x: dice.below(1000) as i32 - 500 },
        };
        let many = dice.below(40);
        Self {
            text: text(dice),
            letter: ['x', '☃', '\u{0}'][dice.below(3) as usize],
            small: dice.below(256) as u8,
            large: number(dice),
            negative: [i64::MIN, -1, -24, -25, -129, 5][dice.below(6) as usize],
            // Of few digits, which every format keeps.
            real: [0.0, -0.125, 1.5, 1e300, -65504.0, 3.0][dice.below(6) as usize],
            flag: dice.below(2) == 0,
            unit: (),
            maybe: (dice.below(2) == 0).then(|| text(dice)),
            pair: (dice.below(256) as i8, text(dice)),
            list: (0..many).map(|_| number(dice) as u32).collect(),
            blob: (0..many).map(|_| dice.below(256) as u8).collect(),
            map: (0..dice.below(20)).map(|n| (format!("{}{n}", text(dice)), -(n as i32))).collect(),
            kinds: (0..dice.below(5)).map(|_| kind(dice)).collect(),
            within: (depth > 0).then(|| Box::new(Self::any(dice, depth - 1))),
        }
    }
}

macro_rules! events {
    ($($name:ident $topic:literal $codec:ident;)*) => {$(
        #[event(topic = $topic, codec = $codec)]
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(transparent)]
        struct $name(Everything);

        impl From<Everything> for $name {
            fn from(everything: Everything) -> Self {
                Self(everything)
            }
        }
    )*};
}
events! {
    InJson "codec.json" json;
    InMsgPack "codec.msgpack" msgpack;
    InCbor "codec.cbor" cbor;
}

#[event(topic = "codec.protobuf", key = customer, codec = protobuf)]
#[derive(Clone, PartialEq, prost::Message)]
struct InProtobuf {
    #[prost(string, tag = "1")]
    customer: String,
    #[prost(uint64, tag = "2")]
    number: u64,
    #[prost(bytes = "vec", tag = "3")]
    blob: Vec<u8>,
}

fn payload<E: Event>(event: &E) -> Bytes {
    encode(event).unwrap().build().payload().clone()
}

/// A message of `E`'s topic that says what its payload is.
fn said<E: Event>(content_type: &'static str, payload: impl Into<Bytes>) -> Message {
    Message::builder(E::DEF.topic).header("content-type", content_type).payload(payload).build()
}

fn bare<E: Event>(payload: impl Into<Bytes>) -> Message {
    Message::builder(E::DEF.topic).payload(payload).build()
}

const JSON: &[&str] = &["application/json", "text/json", "application/vnd.shop+json", "Application/JSON; charset=utf-8"];
const MSGPACK: &[&str] = &[
    "application/msgpack",
    "application/x-msgpack",
    "application/vnd.msgpack",
    "APPLICATION/MsgPack ; v=1",
    "application/x+msgpack",
];
const CBOR: &[&str] = &["application/cbor", "application/vnd.shop+cbor", "application/CBOR;x=y"];
const PROTOBUF: &[&str] = &[
    "application/protobuf",
    "application/x-protobuf",
    "application/vnd.google.protobuf",
    "Application/X-Protobuf; messageType=\"shop.Order\"",
];

/// Every event of `everything` that is written as `E`, read as itself under every name, and as each of the others.
fn round_trip<E>(everything: &Everything, names: &[&'static str])
where
    E: Event + From<Everything> + PartialEq + std::fmt::Debug,
{
    let event = E::from(everything.clone());
    let message = encode(&event).unwrap().build();
    assert_eq!(message.content_type(), Some(E::DEF.content_type));
    assert_eq!(decode::<E>(&message).unwrap(), event);
    assert_eq!(decode::<E>(&bare::<E>(message.payload().clone())).unwrap(), event);
    for name in names {
        assert_eq!(decode::<InJson>(&said::<InJson>(name, message.payload().clone())).unwrap().0, *everything, "{name}");
        assert_eq!(decode::<InMsgPack>(&said::<InMsgPack>(name, message.payload().clone())).unwrap().0, *everything, "{name}");
        assert_eq!(decode::<InCbor>(&said::<InCbor>(name, message.payload().clone())).unwrap().0, *everything, "{name}");
    }
}

#[test]
fn what_is_written_in_one_format_is_read_by_all_of_the_family() {
    for seed in 0..200 {
        let everything = Everything::any(&mut Seeded(seed), (seed % 3) as u32);
        round_trip::<InJson>(&everything, JSON);
        round_trip::<InMsgPack>(&everything, MSGPACK);
        round_trip::<InCbor>(&everything, CBOR);
    }
}

#[derive(Serialize, Deserialize)]
struct OldInAny(u64);

#[event(topic = "codecs.grown", version = 2, accepts(1 = OldInAny), codec = msgpack)]
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Grown(u64, String);

impl From<OldInAny> for Grown {
    fn from(old: OldInAny) -> Self {
        Self(old.0, "grown".to_owned())
    }
}

#[test]
fn an_older_version_is_read_in_the_format_that_its_content_type_says() {
    let old = |content_type: Option<&'static str>, payload: &'static [u8]| {
        let message = Message::builder("codecs.grown").header("ce-type", "codecs.grown.v1").payload(payload);
        let message = content_type.map_or(message.clone(), |content_type| message.header("content-type", content_type));
        decode::<Grown>(&message.build()).map_err(|error| error.to_string())
    };
    let grown = Ok(Grown(7, "grown".to_owned()));
    assert_eq!(old(Some("application/json"), b"7"), grown);
    assert_eq!(old(Some("application/cbor"), b"\x07"), grown);
    assert_eq!(old(None, b"\x07"), grown, "the event's own codec");
    let error = old(Some("text/csv"), b"7").unwrap_err();
    assert_eq!(error, "`codecs.grown.v1` is written as application/msgpack, but this message says `text/csv`");
}

#[test]
fn protobuf_comes_back_under_every_name() {
    for seed in 0..200 {
        let dice = &mut Seeded(seed);
        let blob = (0..dice.below(300)).map(|_| dice.below(256) as u8).collect();
        let customer = TEXTS[dice.below(6) as usize].to_owned();
        let event = InProtobuf { customer, number: dice.below(u64::MAX), blob };
        let message = encode(&event).unwrap().build();
        assert_eq!(message.content_type(), Some("application/protobuf"));
        assert_eq!(message.key().map(convoke::Key::as_bytes), Some(event.customer.as_bytes()));
        assert_eq!(decode::<InProtobuf>(&message).unwrap(), event);
        for name in PROTOBUF {
            assert_eq!(decode::<InProtobuf>(&said::<InProtobuf>(name, message.payload().clone())).unwrap(), event);
        }
    }
}

#[test]
fn structs_are_maps_with_names_that_other_languages_read() {
    #[event(topic = "codec.small", codec = msgpack)]
    #[derive(Serialize, Deserialize)]
    struct Small {
        a: u8,
        b: Option<bool>,
    }
    #[event(topic = "codec.smaller", codec = cbor)]
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Smaller {
        a: f64,
        b: Option<String>,
    }
    assert_eq!(payload(&Small { a: 7, b: None }), &b"\x82\xa1a\x07\xa1b\xc0"[..]);
    assert_eq!(payload(&Smaller { a: 1.5, b: None }), &b"\xa2\x61a\xf9\x3e\x00\x61b\xf6"[..]);
    // What encoders elsewhere write: wide numbers, indefinite lengths, a tag that says "this is CBOR".
    for foreign in [
        &b"\xa1\x61a\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00"[..],
        b"\xbf\x61a\xfa\x3f\xc0\x00\x00\xff",
        b"\xd9\xd9\xf7\xa2\x61b\xf7\x61a\xf9\x3e\x00",
    ] {
        assert_eq!(decode::<Smaller>(&bare::<Smaller>(foreign)).unwrap(), Smaller { a: 1.5, b: None });
    }
}

/// What is cut off, followed by something, or anything at all. It may be whole by chance, but never a panic.
fn damaged<E: Event>(whole: &Bytes, every_cut: bool) {
    for cut in 0..whole.len() {
        let read = decode::<E>(&bare::<E>(whole.slice(..cut)));
        assert!(!every_cut || read.is_err(), "{} of {} bytes", cut, whole.len());
    }
    for behind in [&[0_u8][..], &[0xff], &[0xc0], &[0xf6], &[0x91], &[0x81, 0x81], b"{}", whole] {
        let longer = [whole, behind].concat();
        let read = decode::<E>(&bare::<E>(longer));
        // Twice the same is, in this format, the same.
        assert!(read.is_err() || (!every_cut && behind == &whole[..]), "{behind:?} behind the whole");
    }
    let dice = &mut Seeded(whole.len() as u64);
    for _ in 0..2_000 {
        let mut garbage = whole.to_vec();
        for _ in 0..=dice.below(4) {
            let at = dice.below(garbage.len() as u64) as usize;
            garbage[at] = dice.below(256) as u8;
        }
        let _ = decode::<E>(&bare::<E>(garbage));
        let garbage: Vec<u8> = (0..dice.below(64)).map(|_| dice.below(256) as u8).collect();
        let _ = decode::<E>(&bare::<E>(garbage));
    }
}

#[test]
fn what_is_not_one_whole_value_does_not_decode() {
    for seed in 0..5 {
        let everything = Everything::any(&mut Seeded(seed), 1);
        damaged::<InJson>(&payload(&InJson(everything.clone())), true);
        damaged::<InMsgPack>(&payload(&InMsgPack(everything.clone())), true);
        damaged::<InCbor>(&payload(&InCbor(everything)), true);
    }
    let event = InProtobuf { customer: "ada".to_owned(), number: 7, blob: vec![1, 2, 3] };
    damaged::<InProtobuf>(&payload(&event), false);
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Tree {
    Node(Vec<Tree>),
    Leaf(u8),
}

#[event(topic = "codec.tree", codec = msgpack)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct InTree {
    #[serde(default)]
    tree: Option<Tree>,
}

/// Neither what is deep nor what says that it is long takes the process down.
#[test]
fn a_small_payload_cannot_ask_for_more_than_there_is() {
    let deep = |one: u8| vec![one; 200_000];
    let field = |map: &[u8], one: u8| [map, &deep(one)].concat();
    for (content_type, payload) in [
        ("application/json", [&b"{\"tree\":"[..], &deep(b'[')].concat()),
        ("application/msgpack", field(b"\x81\xa4tree", 0x91)),
        ("application/msgpack", field(b"\x81\xa4skip", 0x91)),
        ("application/msgpack", deep(0x81)),
        ("application/cbor", field(b"\xa1\x64tree", 0x81)),
        ("application/cbor", field(b"\xa1\x64skip", 0x9f)),
        ("application/cbor", deep(0xd9)),
        ("application/msgpack", b"\x81\xa4tree\xdd\xff\xff\xff\xff".to_vec()),
        ("application/msgpack", b"\x81\xdb\xff\xff\xff\xffx".to_vec()),
        ("application/cbor", b"\xa1\x64tree\x9b\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
        ("application/cbor", b"\xa1\x7b\x7f\xff\xff\xff\xff\xff\xff\xffx".to_vec()),
    ] {
        // The stack of a thread of tokio's.
        let read = move || decode::<InTree>(&said::<InTree>(content_type, payload)).is_err();
        assert!(std::thread::Builder::new().stack_size(2 << 20).spawn(read).unwrap().join().unwrap(), "{content_type}");
    }
}

#[test]
fn what_nobody_reads_is_refused_with_both_names() {
    let json = payload(&InJson(Everything::any(&mut Seeded(1), 0)));
    for content_type in ["application/xml", "application/protobuf", "", "msgpack", "application/msgpackx", "json"] {
        let error = decode::<InMsgPack>(&said::<InMsgPack>(content_type, json.clone())).unwrap_err().to_string();
        let expected = format!("`codec.msgpack` is written as application/msgpack, but this message says `{content_type}`");
        assert_eq!(error, expected);
    }
    for content_type in ["application/json", "application/msgpack", "application/cbor", "application/octet-stream"] {
        let error = decode::<InProtobuf>(&said::<InProtobuf>(content_type, json.clone())).unwrap_err().to_string();
        assert!(error.contains("written as application/protobuf"), "{error}");
    }
    let error = decode::<InMsgPack>(&said::<InMsgPack>("application/json", "?")).unwrap_err().to_string();
    assert_eq!(error, "the payload (1 bytes) is no `codec.msgpack` in application/json", "it names what was tried");
}

type Seen = Journal<(String, Everything)>;

#[handler(name = "msgpack")]
async fn msgpack(event: InMsgPack, meta: Meta<'_>, State(seen): State<Seen>) {
    seen.note((meta.topic().to_string(), event.0));
}

#[handler(name = "cbor")]
async fn cbor(event: InCbor, meta: Meta<'_>, State(seen): State<Seen>) {
    seen.note((meta.topic().to_string(), event.0));
}

#[handler(name = "protobuf")]
async fn protobuf(event: InProtobuf, State(seen): State<Journal<InProtobuf>>) {
    seen.note(event);
}

async fn start() -> (TestApp, Seen, Journal<InProtobuf>) {
    let (seen, orders) = (Seen::new(), Journal::new());
    let app = App::new("codecs").state(seen.clone()).state(orders.clone()).only(["msgpack", "cbor", "protobuf"]);
    (TestApp::start(app).await.unwrap(), seen, orders)
}

#[tokio::test(start_paused = true)]
async fn events_travel_in_every_codec_with_unicode_empty_and_binary_values() {
    let (app, seen, orders) = start().await;
    let mut sent = Vec::new();
    for seed in 0..30 {
        let mut everything = Everything::any(&mut Seeded(seed), 1);
        everything.text = TEXTS[seed as usize % 6].to_owned();
        everything.blob = if seed % 2 == 0 { Vec::new() } else { (0..=255).collect() };
        app.publish(&InMsgPack(everything.clone())).await.unwrap();
        app.publish(&InCbor(everything.clone())).await.unwrap();
        sent.push(everything);
    }
    let empty = InProtobuf::default();
    app.publish(&empty).await.unwrap();
    app.publish_message(Message::builder("codec.protobuf").payload("").build()).await.unwrap();
    app.settled().await;
    for topic in ["codec.msgpack", "codec.cbor"] {
        let of_topic = || seen.items().into_iter().filter(|(of, _)| of == topic).map(|(_, everything)| everything);
        assert_eq!(of_topic().count(), sent.len(), "{}", app.story());
        assert!(sent.iter().all(|one| of_topic().any(|other| other == *one)), "{}", app.story());
    }
    assert_eq!(orders.items(), [empty.clone(), empty], "nothing is a whole message in this format\n{}", app.story());
}

#[tokio::test(start_paused = true)]
async fn events_of_the_maximum_size_travel_and_larger_ones_are_refused() {
    let (app, _, orders) = start().await;
    let of = |size: usize| InProtobuf { customer: "ada".to_owned(), number: 1, blob: vec![0xa5; size] };
    let (mut taken, mut refused) = (1_000_000_usize, 1 << 20);
    while refused - taken > 1 {
        let size = taken.midpoint(refused);
        match app.publish(&of(size)).await {
            Ok(_) => taken = size,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TooLarge);
                refused = size;
            }
        }
    }
    let large = Everything { text: "☃".repeat(330_000), ..Everything::any(&mut Seeded(3), 0) };
    app.publish(&InMsgPack(large.clone())).await.unwrap();
    app.publish(&InCbor(large)).await.unwrap();
    app.settled().await;
    assert!(orders.items().contains(&of(taken)), "{}", app.story());
    let handlers = app.status().await.handlers;
    assert!(handlers.iter().all(|one| one.handled > 0 && one.dead == 0 && one.in_flight == 0), "{}", app.story());
}

/// What is no event of its topic is a dead letter: its reason, and all else unchanged.
async fn dies(bad: MessageBuilder, handler: &str) {
    let (app, _, _) = start().await;
    let bad = bad.header("tenant", "acme").build();
    app.publish_message(bad.clone()).await.unwrap();
    app.settled().await;
    let letters = stored(&app, &format!("{}.codecs.{handler}.dead", bad.topic()));
    assert_eq!(letters.len(), 1, "{}", app.story());
    assert_eq!((letters[0].payload(), own_headers(&letters[0])), (bad.payload(), own_headers(&bad)));
    assert_eq!(header(&letters[0], "convoke-dead-reason"), Some("undecodable"));
    assert_eq!(header(&letters[0], "convoke-dead-attempts"), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn damaged_and_foreign_payloads_are_dead_letters_byte_for_byte() {
    let everything = Everything::any(&mut Seeded(9), 0);
    let order = InProtobuf { customer: "ada".to_owned(), number: 7, blob: vec![1, 2, 3] };
    for (handler, whole) in [
        ("msgpack", payload(&InMsgPack(everything.clone()))),
        ("cbor", payload(&InCbor(everything))),
        ("protobuf", payload(&order)),
    ] {
        let message = || Message::builder(format!("codec.{handler}"));
        dies(message().payload(whole.slice(..whole.len() - 1)), handler).await;
        dies(message().payload([&whole[..], &[0xff]].concat()), handler).await;
        dies(message().payload(vec![0xff; 40]), handler).await;
        dies(message().header("content-type", "application/xml").payload(whole.clone()), handler).await;
        dies(message().header("content-type", "application/json").payload(whole), handler).await;
        dies(message().tombstone(), handler).await;
    }
    for handler in ["msgpack", "cbor"] {
        dies(Message::builder(format!("codec.{handler}")).payload(""), handler).await;
    }
}
