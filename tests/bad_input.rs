//! What comes in broken ends as a dead letter, byte for byte and at once, and nothing else waits for it.
#![allow(clippy::print_stdout, reason = "a child process speaks to its parent by it")]

mod support;

use std::time::Duration;

use convoke::broker::Fault;
use convoke::prelude::*;
use convoke::{ErrorKind, Headers, Message, StopReason, UnknownEvents};
use serde::{Deserialize, Serialize};
use support::{Journal, header, ms, own_headers, status, stored};

#[event(topic = "bad.orders", key = customer)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    customer: String,
    number: u64,
}

impl Order {
    fn of(customer: &str, number: u64) -> Self {
        Self { customer: customer.to_owned(), number }
    }
}

/// Customer, number, id and position of what was handled.
type Seen = Journal<(String, u64, String)>;

#[handler(name = "take")]
async fn take(order: Order, meta: Meta<'_>, State(seen): State<Seen>) {
    tokio::time::sleep(ms(5)).await;
    seen.note((order.customer, order.number, meta.id().into_owned()));
}

async fn start(configure: impl FnOnce(App) -> App) -> (TestApp, Seen) {
    let seen = Seen::new();
    let app = App::new("bad").state(seen.clone()).only(["take"]);
    (TestApp::start(configure(app)).await.unwrap(), seen)
}

fn foreign() -> convoke::MessageBuilder {
    Message::builder("bad.orders").key("ada")
}

const DEAD: &str = "bad.orders.bad.take.dead";

/// Sends a message between two good ones of the same key: these are handled, and the message is a dead letter, unchanged.
async fn dies(bad: Message, reason: &str) -> Message {
    let (app, seen) = start(|app| app).await;
    app.publish(&Order::of("ada", 1)).await.unwrap();
    app.publish_message(bad.clone()).await.unwrap();
    app.publish(&Order::of("ada", 2)).await.unwrap();
    app.publish(&Order::of("bob", 3)).await.unwrap();
    app.settled().await;
    let mut numbers: Vec<u64> = seen.items().iter().map(|(_, number, _)| *number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3], "the good ones are handled, once each\n{}", app.story());
    let letters = stored(&app, DEAD);
    assert_eq!(letters.len(), 1, "{}", app.story());
    let letter = letters.into_iter().next().unwrap();
    assert_eq!((letter.payload(), letter.is_tombstone(), letter.key()), (bad.payload(), bad.is_tombstone(), bad.key()));
    assert_eq!(own_headers(&letter), own_headers(&bad), "headers are kept, in order");
    assert_eq!(header(&letter, "convoke-dead-reason"), Some(reason), "{letter:?}");
    assert_eq!(header(&letter, "convoke-dead-attempts"), Some("0"), "it was not retried: {letter:?}");
    let status = status(&app, "take").await;
    assert_eq!((status.handled, status.dead, status.failed, status.in_flight), (3, 1, 0, 0), "{status:?}");
    letter
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_does_not_decode_is_a_dead_letter() {
    let letter = dies(foreign().payload("{\"customer\": \"ada\", \"num").build(), "undecodable").await;
    assert_eq!(header(&letter, "convoke-dead-error"), Some("the payload (24 bytes) is no `bad.orders` in json"));
    let chain = header(&letter, "convoke-dead-error-chain").unwrap();
    assert!(chain.contains("EOF while parsing"), "the codec's own words are in the chain: {chain}");
    dies(foreign().payload("[1, 2]").build(), "undecodable").await;
    dies(foreign().payload("{\"customer\":\"ada\",\"number\":1} trailing").build(), "undecodable").await;
    dies(foreign().payload(vec![0, 159, 146, 150, 255]).build(), "undecodable").await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_payload_and_a_tombstone_are_dead_letters_and_stay_apart() {
    let letter = dies(foreign().payload("").build(), "undecodable").await;
    assert!(!letter.is_tombstone());
    let letter = dies(foreign().tombstone().build(), "undecodable").await;
    assert!(letter.is_tombstone());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_version_is_a_dead_letter_and_never_a_skip() {
    let payload = r#"{"customer":"ada","number":9}"#;
    let letter = dies(foreign().header("ce-type", "bad.orders.v9").payload(payload).build(), "undecodable").await;
    let error = header(&letter, "convoke-dead-error").unwrap();
    assert!(error.contains("`bad.orders.v9`") && error.contains("`bad.orders.v1`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn another_content_type_is_a_dead_letter() {
    let payload = r#"{"customer":"ada","number":9}"#;
    let letter = dies(foreign().header("content-type", "application/xml").payload(payload).build(), "undecodable").await;
    assert!(header(&letter, "convoke-dead-error").unwrap().contains("`application/xml`"));
}

#[tokio::test(start_paused = true)]
async fn garbage_in_headers_hurts_nobody_and_is_kept() {
    let garbage: Vec<u8> = vec![0xff, 0xfe, 0, b'\n'];
    let letter = dies(foreign().header("ce-type", garbage.clone()).payload("{}").build(), "undecodable").await;
    assert_eq!(header(&letter, "convoke-dead-error"), Some("the header `ce-type` is not text"));
    let many = |pairs: &[(&'static str, &[u8])]| pairs.iter().map(|(name, value)| (*name, value.to_vec())).collect::<Headers>();
    let repeated = many(&[("x", b"1"), ("y", b"\xff"), ("x", b"2"), ("", b""), ("x", b"1"), ("naïve", "☃".as_bytes())]);
    dies(foreign().headers(repeated).payload("?").build(), "undecodable").await;
    let huge = vec![b'h'; 500_000];
    dies(foreign().header("huge", huge).header("ce-id", garbage).payload("?").build(), "undecodable").await;
    let types = many(&[("ce-type", b"bad.orders.v7"), ("ce-type", b"bad.orders.v1")]);
    dies(foreign().headers(types).payload("{}").build(), "undecodable").await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_comes_back_and_dies_again_has_the_headers_of_its_last_death_only() {
    let headers =
        [("convoke-dead-reason", "panic"), ("convoke-dead-error-chain", "old"), ("convoke-dead-x", "old"), ("keep", "me")];
    let again = foreign().headers(headers.into_iter().collect()).payload("?").build();
    let letter = dies(again, "undecodable").await;
    assert_eq!(letter.headers().get_all("convoke-dead-reason").count(), 1);
    assert_eq!(header(&letter, "convoke-dead-x"), None);
    assert_eq!(header(&letter, "keep"), Some("me"));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_event_is_skipped_and_counted() {
    let (app, seen) = start(|app| app).await;
    for name in ["somebody.elses.v1", "bad.orders.extra.v1", ""] {
        app.publish_message(foreign().header("ce-type", name).payload("?").build()).await.unwrap();
    }
    app.publish(&Order::of("ada", 1)).await.unwrap();
    app.settled().await;
    let status = status(&app, "take").await;
    assert_eq!((seen.len(), status.skipped, status.handled, status.dead), (1, 3, 1, 0), "{}", app.story());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_event_is_a_dead_letter_if_the_policy_says_so() {
    let (app, seen) = start(|app| app.unknown_events(UnknownEvents::DeadLetter)).await;
    app.publish_message(foreign().header("ce-type", "somebody.elses.v1").payload("?").build()).await.unwrap();
    app.publish(&Order::of("ada", 1)).await.unwrap();
    app.settled().await;
    let letters = stored(&app, DEAD);
    assert_eq!((seen.len(), letters.len()), (1, 1), "{}", app.story());
    assert_eq!(header(&letters[0], "convoke-dead-reason"), Some("unknown-event"));
    assert_eq!(letters[0].payload(), "?");
}

#[tokio::test(start_paused = true)]
async fn a_bare_message_decodes_and_its_id_is_its_place_on_every_delivery() {
    let (app, seen) = start(|app| app).await;
    let bare = Message::builder("bad.orders").payload(r#"{"customer":"ada","number":1}"#).build();
    let receipt = app.publish_message(bare).await.unwrap();
    app.advance(ms(1)).await; // The handler has it.
    app.inject(Fault::Cut { down: ms(10) }).unwrap();
    app.settled().await;
    let (partition, position) = receipt.stored.unwrap();
    let id = format!("bad.orders/{partition}/{position}");
    let ids: Vec<_> = seen.items().into_iter().map(|(_, _, id)| id).collect();
    assert_eq!(ids, [id.clone(), id], "{}", app.story());
}

#[tokio::test(start_paused = true)]
async fn bare_messages_keep_the_order_of_the_key_in_their_payload() {
    let seen = Seen::new();
    let app = App::new("bad").state(seen.clone()).only(["take"]);
    let app = TestApp::start_on(app, "memory://bad-bare?partitions=1").await.unwrap();
    for number in 0..60_u64 {
        let payload = format!(r#"{{"customer":"c{}","number":{number}}}"#, number % 3);
        app.publish_message(Message::builder("bad.orders").payload(payload).build()).await.unwrap();
    }
    app.settled().await;
    for customer in ["c0", "c1", "c2"] {
        let numbers: Vec<_> = seen.items().into_iter().filter(|one| one.0 == customer).map(|one| one.1).collect();
        assert!(numbers.len() == 20 && numbers.is_sorted(), "{customer}: {numbers:?}");
    }
    assert!(seen.times().last() < Some(&ms(5 * 40)), "keys run beside each other: {:?}", seen.times().last());
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_too_large_is_refused_when_it_is_published() {
    let (app, seen) = start(|app| app).await;
    let large = Order::of(&"x".repeat(2_000_000), 1);
    let small = Order::of("ada", 1);
    let answers = app.publisher().publish_all([&small, &large, &small]).await;
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().map_err(convoke::Error::kind).err()).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::TooLarge), None]);
    let error = answers[1].as_ref().unwrap_err().to_string();
    assert!(error.contains("`bad.orders`") && error.contains("over the limit"), "{error}");
    app.settled().await;
    assert_eq!((seen.len(), stored(&app, "bad.orders").len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_message_that_is_too_large_is_refused_by_the_broker() {
    let (app, _) = start(|app| app).await;
    let error = app.publish_message(foreign().payload(vec![b'x'; 1 << 20]).build()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_message_of_nearly_the_maximum_size_dies_with_fewer_headers() {
    let letter = dies(foreign().payload(vec![b'x'; (1 << 20) - 600]).build(), "undecodable").await;
    assert_eq!(header(&letter, "convoke-dead-topic"), Some("bad.orders"));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_message_whose_letter_does_not_fit_stays_where_it_is_and_is_seen() {
    let (app, seen) = start(|app| app).await;
    let receipt = app.publish_message(foreign().payload(vec![b'x'; (1 << 20) - 10]).build()).await.unwrap();
    app.publish(&Order::of("ada", 1)).await.unwrap();
    app.publish(&Order::of("bob", 2)).await.unwrap();
    app.advance(Duration::from_secs(1)).await;
    let early = status(&app, "take").await;
    app.advance(Duration::from_secs(599)).await;
    assert_eq!(seen.items().iter().map(|one| one.1).collect::<Vec<_>>(), [2], "its key waits, others do not");
    assert!(stored(&app, DEAD).is_empty(), "{}", app.story());
    let status = status(&app, "take").await;
    assert!(status.in_flight >= 1 && status.oldest >= Some(Duration::from_secs(599)) && !status.healthy, "{status:?}");
    let [stopped] = &early.stopped[..] else { panic!("{early:?}") };
    assert!(!early.healthy && status.stopped == early.stopped, "{early:?}\n{status:?}");
    let place = (stopped.topic.as_str(), Some((stopped.partition, stopped.position)));
    assert_eq!((place, stopped.reason), (("bad.orders", receipt.stored), StopReason::DeadLetterRefused));
    assert!(stopped.error.contains("raise `max_message`"), "{stopped:?}");
}

#[handler(name = "swear", group = "swear")]
async fn swear(_: Order) -> Result<(), convoke::BoxError> {
    Err(permanent("☃".repeat(4000)).into())
}

/// On NATS a header is text, and what is none takes three times as much.
#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_too_large_on_its_way_dies_with_fewer_headers() {
    let app = App::new("bad").only(["swear"]);
    let app = TestApp::start_on(app, "memory://?guise=nats&max_message=20000").await.unwrap();
    let order = serde_json::to_string(&Order::of(&"x".repeat(7_000), 1)).unwrap();
    app.publish_message(foreign().payload(order.clone()).build()).await.unwrap();
    app.settled().await;
    let letters = app.dead_letters("swear");
    assert_eq!(letters.len(), 1, "{}", app.story());
    assert_eq!(letters[0].payload(), &order);
    assert_eq!(header(&letters[0], "convoke-dead-reason"), Some("handler-error"));
    assert_eq!(header(&letters[0], "convoke-dead-error"), None);
    let status = status(&app, "swear").await;
    assert!(status.healthy && status.stopped.is_empty() && status.dead == 1, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn who_was_stopped_by_a_refused_dead_letter_is_healthy_once_it_is_taken() {
    let (app, seen) = start(|app| app).await;
    app.inject(Fault::PublishRejected { topic: DEAD.into(), count: 1, retryable: false }).unwrap();
    app.publish_message(foreign().payload("?").build()).await.unwrap();
    app.publish(&Order::of("ada", 1)).await.unwrap();
    app.advance(Duration::from_secs(1)).await;
    let during = status(&app, "take").await;
    assert!(during.stopped.len() == 1 && !during.healthy && !app.status().await.ready, "{during:?}");
    app.settled().await;
    let after = status(&app, "take").await;
    assert!(after.stopped.is_empty() && after.healthy && app.status().await.ready, "{after:?}");
    assert_eq!((seen.len(), stored(&app, DEAD).len()), (1, 1), "{}", app.story());
}

#[event(topic = "bad.large")]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Large(String);

#[event(topic = "bad.grow")]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Grow(usize);

#[handler(name = "grow")]
async fn grow(Grow(size): Grow) -> (Large, Large) {
    (Large("small".to_owned()), Large("x".repeat(size)))
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_returns_too_large_is_a_dead_letter_at_once_and_nothing_of_it_is_published() {
    let app = TestApp::start(App::new("bad").only(["grow"])).await.unwrap();
    let begun = tokio::time::Instant::now();
    app.publish(&Grow(2_000_000)).await.unwrap();
    app.publish(&Grow(10)).await.unwrap();
    app.settled().await;
    assert_eq!(stored(&app, "bad.large").len(), 2, "those of the second one only\n{}", app.story());
    let letters = app.dead_letters("grow");
    assert_eq!(letters.len(), 1, "{}", app.story());
    assert_eq!(letters[0].payload(), "2000000");
    assert_eq!(header(&letters[0], "convoke-dead-reason"), Some("handler-error"));
    assert!(header(&letters[0], "convoke-dead-error").unwrap().contains("over the limit"), "{:?}", letters[0]);
    assert!(begun.elapsed() < ms(200), "without a retry: {:?}", begun.elapsed());
}

/// The error of an application that cannot be built, with its causes.
async fn refused(url: &str) -> (ErrorKind, String) {
    let error = App::new("bad").state(Seen::new()).only(["take"]).url(url).build().await.unwrap_err();
    (error.kind(), format!("{error:?}"))
}

#[tokio::test]
async fn a_bad_url_is_answered_with_what_would_be_right() {
    for (url, says) in [
        ("localhost", vec!["`memory://`"]),
        ("memory", vec!["`memory://`"]),
        ("carrier-pigeon://loft", vec!["`carrier-pigeon://`", "`memory://`"]),
        (
            "memory://?nonsense=1",
            vec!["`memory://?nonsense=1` cannot be opened", "`nonsense`", "partitions", "lease", "max_message"],
        ),
        ("memory://?lease=1s&lease=2s", vec!["`lease` stands twice"]),
        ("memory://?lease", vec!["`name=value`"]),
        ("memory://?lease=soon", vec!["`lease=30s`"]),
        ("memory://a/b", vec!["`memory://name`"]),
    ] {
        let (kind, text) = refused(url).await;
        assert_eq!(kind, ErrorKind::InvalidUrl, "{url}: {text}");
        assert!(says.iter().all(|part| text.contains(part)), "{url}: {text}");
    }
}

/// Says what `from_env` says; called in a process of its own, since the environment is the whole process's.
#[tokio::test]
async fn the_environment_names_the_broker() {
    const CHILD: &str = "CONVOKE_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let built = match App::new("bad").state(Seen::new()).only(["take"]).from_env() {
            Ok(app) => app.build().await.map(|ready| ready.table().lines().next().unwrap_or_default().to_owned()),
            Err(error) => Err(error),
        };
        println!("said: {}", built.unwrap_or_else(|error| format!("{error:?}")).replace('\n', " | "));
        return;
    }
    let child = |value: Option<&std::ffi::OsStr>| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "the_environment_names_the_broker", "--nocapture"]).env(CHILD, "1").env_remove("CONVOKE_BROKER");
        value.map(|value| child.env("CONVOKE_BROKER", value));
        let output = String::from_utf8(child.output().unwrap().stdout).unwrap();
        output
            .lines()
            .find_map(|line| line.split_once("said: "))
            .unwrap_or_else(|| panic!("it says nothing: {output}"))
            .1
            .to_owned()
    };
    assert_eq!(child(None), "bad on memory://");
    assert_eq!(child(Some("memory://here?partitions=2".as_ref())), "bad on memory://here?partitions=2");
    let text = child(Some("hush".as_ref()));
    assert!(text.contains("CONVOKE_BROKER") && text.contains("begins with its scheme") && !text.contains("hush"), "{text}");
    let text = child(Some("carrier-pigeon://x".as_ref()));
    assert!(text.contains("looks like one of") && text.contains("`memory://`"), "{text}");
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        let text = child(Some(std::ffi::OsStr::from_bytes(b"memory://\xff")));
        assert!(text.contains("CONVOKE_BROKER is not UTF-8"), "{text}");
    }
}
