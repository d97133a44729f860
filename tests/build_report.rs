//! What `build()` says of an application, good or bad, before the first message; and what a publisher can be told.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use convoke::prelude::*;
use convoke::{
    BatchOptions, BoxHandler, ErrorKind, HandlerDef, HandlerOptions, HeaderMatch, Key, Location, Message, Order, Registry, Reply,
    Signature, handler_fn,
};
use serde::{Deserialize, Serialize};
use support::{Journal, header, ms, own_headers, stored};

#[event(topic = "build.asks", key = who)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Ask {
    who: String,
}

#[event(topic = "build.answers", version = 3)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answer {
    text: String,
}

#[derive(Debug, Clone)]
struct Missing;

type Seen = Journal<(Ask, Option<String>)>;

#[handler(name = "answer")]
async fn answer(ask: Ask, meta: Meta<'_>, State(seen): State<Seen>) -> Option<Answer> {
    seen.note((ask, meta.key().map(Key::to_string)));
    None
}

#[handler(
    name = "archive",
    group = "archive",
    concurrency = 2,
    retry(attempts = 9, backoff = "1s..1m"),
    on_retry = pass,
    timeout = "30s",
    batch(size = 100, wait = "50ms")
)]
async fn archive(_asks: Batch<Ask>) {}

#[handler(name = "echo", group = "talk", lane = "talk")]
async fn echo(answer: Answer) -> Ask {
    Ask { who: answer.text }
}

#[handler(name = "reply", group = "talk", lane = "talk")]
async fn reply(_ask: Ask) -> Answer {
    Answer { text: String::new() }
}

#[handler(name = "spy", topic = "build.anything")]
async fn spy(_message: Message) {}

mod broken {
    use super::*;

    #[handler(name = "stateless")]
    async fn stateless(_ask: Ask, _missing: State<Missing>) {}

    #[handler(name = "twin", group = "twins")]
    async fn twin(_ask: Ask) {}

    #[handler(name = "rival", group = "twins")]
    async fn rival(_ask: Ask) {}

    mod other {
        use super::*;

        #[handler(name = "twin")]
        async fn twin(_answer: Answer) {}
    }

    #[handler(name = "keyless", order = key)]
    async fn keyless(_answer: Answer) {}
}

fn app() -> App {
    App::new("build").state(Seen::new()).url("memory://")
}

/// What is to be mended.
async fn report(app: App) -> Vec<String> {
    let error = app.build().await.expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    let text = error.to_string();
    let (first, rest) = text.split_once('\n').expect("a line for each thing");
    let problems: Vec<_> = rest.lines().map(|line| line.trim().split_once(". ").unwrap().1.to_owned()).collect();
    let count = if problems.len() == 1 { "one thing is".to_owned() } else { format!("{} things are", problems.len()) };
    assert_eq!(first, format!("the application `build` cannot start; {count} to be mended:"));
    problems
}

type Describe = fn(&mut Signature);
type Set = fn(&mut HandlerOptions);

/// A handler that was made by hand, with these options and arguments.
fn by_hand(name: &'static str, describe: Describe, set: impl FnOnce(&mut HandlerOptions)) -> &'static HandlerDef {
    let mut options = HandlerOptions::new();
    set(&mut options);
    let service = || BoxHandler::new(handler_fn(|_| async { Ok(Reply::ack()) }));
    let place = Location::here("by_hand.rs", 1, "by_hand");
    Box::leak(Box::new(HandlerDef::new(name, describe, service, place).options(options)))
}

fn asks(signature: &mut Signature) {
    signature.inputs.push(Ask::DEF);
}

fn whole(signature: &mut Signature) {
    signature.whole = true;
}

fn batches(signature: &mut Signature) {
    asks(signature);
    signature.batch = true;
}

#[track_caller]
fn says(problems: &[String], parts: &[&str]) {
    assert!(problems.iter().any(|problem| parts.iter().all(|part| problem.contains(part))), "no {parts:?} in {problems:#?}");
}

#[tokio::test]
async fn everything_that_is_wrong_is_reported_at_once_with_its_place() {
    let app = App::new("build").url("memory://?nonsense=1").state(7_u64);
    let app = app.only(["answer", "stateless", "twin", "rival", "keyless"]).expect_handlers(["nobody"]);
    let app = app.register(by_hand("boundless", batches, |_| {})).register(by_hand("topicless", whole, |_| {}));
    let app = app.only(["answer", "stateless", "twin", "rival", "keyless", "boundless", "topicless"]);
    let problems = report(app.handler_layer("ghost", tower::layer::util::Identity::new())).await;
    for parts in [
        &["no handler is named `nobody`", "`answer`, `archive`", "use that_crate as _;"][..],
        &["`answer` (tests/build_report.rs:", "no such state (it has `u64`)", "add `.state(…)`"],
        &["`stateless` (tests/build_report.rs:", "Missing>`"],
        &["two handlers are named `twin` (tests/build_report.rs:", "and tests/build_report.rs:"],
        &["`rival` (tests/", "`twin` (tests/", "read the same events of `build.asks` in the group `twins`"],
        &["`keyless` (tests/", "`order = key`, but the event `build.answers` (tests/build_report.rs:", "has no key"],
        &["`boundless` (by_hand.rs:1) takes a `Batch`", "add `batch(size = 100, wait = \"50ms\")`"],
        &["`topicless` (by_hand.rs:1) takes `Message`", "`#[handler(topic = \"…\")]`"],
        &["a layer is for the handler `ghost`"],
        &["`memory://?nonsense=1` cannot be opened"],
    ] {
        says(&problems, parts);
    }
    assert_eq!(problems.len(), 10, "{problems:#?}");
}

#[tokio::test]
async fn what_does_not_work_yet_is_refused_and_never_ignored() {
    let cases: [(&str, Set); 4] = [
        ("`build.eu-{region}`, which is neither the name of a topic nor a pattern", |options| {
            options.topics = &["build.eu-{region}"]
        }),
        ("`build.>`, which is neither the name", |options| options.topics = &["build.>"]),
        ("`transaction`", |options| options.transaction = true),
        ("hold a key for up to 3600s", |options| options.retry = options.retry.backoff(ms(1), Duration::from_secs(3600))),
    ];
    for (what, set) in cases {
        let problems = report(app().register(by_hand("early", asks, set)).only(["early"])).await;
        assert_eq!(problems.len(), 1, "{problems:#?}");
        says(&problems, &["`early` (by_hand.rs:1)", what]);
    }
}

#[tokio::test]
async fn options_that_would_lose_or_stop_messages_are_refused() {
    let cases: [(Describe, Set, &[&str]); 7] = [
        (batches, |options| options.batch = Some(BatchOptions::new(0, ms(1))), &["a batch of 0"]),
        (asks, |options| options.batch = Some(BatchOptions::new(5, ms(1))), &["has `batch(…)`", "a single message"]),
        (
            whole,
            |options| (options.topics, options.batch) = (&["build.anything"], Some(BatchOptions::new(5, ms(1)))),
            &["has `batch(…)`", "a single message"],
        ),
        (asks, |options| (options.broadcast, options.group) = (true, Some("mine")), &["is a `broadcast`", "drop `group`"]),
        (asks, |options| options.dead_letter = Some("build.asks"), &["dead letters to `build.asks`, which it reads"]),
        (
            asks,
            |options| (options.topics, options.dead_letter) = (&["build.eu", "build.us"], Some("build.us")),
            &["dead letters to `build.us`, which it reads"],
        ),
        (asks, |options| options.topics = &["build.eu", "build.us", "build.eu"], &["names the topic `build.eu` twice"]),
    ];
    for (describe, set, parts) in cases {
        let problems = report(app().register(by_hand("odd", describe, set)).only(["odd"])).await;
        assert_eq!(problems.len(), 1, "{problems:#?}");
        says(&problems, parts);
    }
    let keyed = by_hand("keyed", whole, |options| (options.topics, options.order) = (&["build.anything"], Some(Order::Key)));
    assert!(app().register(keyed).only(["keyed"]).build().await.is_ok(), "a message has a key without an event");
}

#[tokio::test]
async fn handlers_of_one_event_in_a_group_are_told_apart_by_one_header_or_refused() {
    let matching = |name, wanted: Option<(&'static str, &'static str)>| {
        by_hand(name, asks, |options| {
            options.group = Some("shared");
            options.matches = wanted.map(|(header, value)| HeaderMatch::new(header, value));
        })
    };
    let apart = app().register(matching("eu", Some(("region", "eu")))).register(matching("us", Some(("region", "us"))));
    assert!(apart.register(matching("rest", None)).only(["eu", "us", "rest"]).build().await.is_ok());
    for (other, part) in [
        (Some(("region", "eu")), "both match on `region = eu`"),
        (Some(("kind", "express")), "match on different headers (`region` and `kind`)"),
    ] {
        let clash = app().register(matching("eu", Some(("region", "eu")))).register(matching("other", other));
        let problems = report(clash.only(["eu", "other"])).await;
        assert_eq!(problems.len(), 1, "{problems:#?}");
        says(&problems, &["`eu` (by_hand.rs:1) and `other` (by_hand.rs:1)", part, "`build.asks`"]);
    }
    let rest = app().register(matching("rest", None)).register(matching("others", None)).only(["rest", "others"]);
    says(&report(rest).await, &["`rest` (by_hand.rs:1) and `others`", "or let them `match(…)` on a header"]);
}

#[tokio::test]
async fn a_handler_of_several_topics_shares_each_with_its_group_or_is_refused() {
    let reading =
        |name, describe, topics| by_hand(name, describe, |options| (options.group, options.topics) = (Some("shared"), topics));
    let answers: Describe = |signature| signature.inputs.push(Answer::DEF);
    let fine =
        app().register(reading("wide", asks, &["build.eu", "build.us"])).register(reading("narrow", answers, &["build.us"]));
    let ready = fine.register(reading("other", asks, &["build.asia"])).only(["wide", "narrow", "other"]).build().await.unwrap();
    assert!(ready.table().contains("build.eu, build.us  build.asks v1"), "{}", ready.table());
    let topology = ready.topology();
    let read: Vec<_> = topology.groups.iter().filter(|group| group.name == "shared").map(|group| group.topics.len()).collect();
    assert_eq!(read, [2, 4], "what is connected is one subscription, with a place for each topic: {:?}", topology.groups);
    for dead in ["build.eu.shared.dead", "build.us.shared.dead"] {
        assert!(topology.topics.iter().any(|topic| topic.name.as_str() == dead), "{dead}");
    }

    let clash = app().register(reading("wide", asks, &["build.eu", "build.us"])).register(reading("narrow", asks, &["build.us"]));
    let problems = report(clash.only(["wide", "narrow"])).await;
    assert_eq!(problems.len(), 1, "{problems:#?}");
    says(&problems, &["`wide` (by_hand.rs:1)", "`narrow` (by_hand.rs:1)", "the same events of `build.us` in the group `shared`"]);
}

#[tokio::test]
async fn a_broker_that_cannot_read_by_a_pattern_refuses_topics_with_parameters() {
    let wide = || by_hand("wide", asks, |options| options.topics = &["build.{region}", "build.other"]);
    assert!(app().register(wide()).only(["wide"]).build().await.is_ok());
    let problems = report(app().register(wide()).only(["wide"]).url("memory://narrow?patterns=no")).await;
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let parts = ["`wide` (by_hand.rs:1) reads `build.{region}`, but memory cannot read by a pattern", "`topics(\"…\", \"…\")`"];
    says(&problems, &parts);
}

#[tokio::test]
async fn a_program_into_which_nothing_is_linked_says_how_to_link_it() {
    let problems = report(app().registry(Registry::default()).expect_handlers(["answer"])).await;
    says(&problems, &["no handler is linked into this program", "`use your_crate as _;`"]);
    says(&problems, &["no handler is named `answer`; there are none."]);
    says(&problems, &["no broker is linked into this program"]);
}

#[tokio::test]
async fn expected_handlers_that_are_there_are_fine() {
    assert!(app().only(["answer", "spy"]).expect_handlers(["answer", "spy"]).build().await.is_ok());
    let linked = Registry::collect().handlers.len();
    assert!(app().only(["answer"]).expect_handlers(linked).build().await.is_ok());
}

#[tokio::test]
async fn a_handler_that_is_missing_by_its_number_or_nearly_by_its_name_is_said_with_those_that_are_there() {
    let mut registry = Registry::default();
    registry.handlers = vec![by_hand("lone", asks, |_| {})];
    registry.brokers = Registry::collect().brokers;
    let app = || app().registry(registry.clone());
    assert!(app().expect_handlers(1).build().await.is_ok());
    let error = app().expect_handlers(2).build().await.unwrap_err().to_string();
    for part in ["2 handlers are expected, and 1 is linked", "`use that_crate as _;`", "\n     `lone` (by_hand.rs:1)"] {
        assert!(error.contains(part), "{error}");
    }
    let problems = report(app().expect_handlers(["alone"]).handler_layer("lome", tower::layer::util::Identity::new())).await;
    says(&problems, &["no handler is named `alone`; did you mean `lone`?"]);
    says(&problems, &["a layer is for the handler `lome`; did you mean `lone`?"]);
}

#[tokio::test]
async fn an_event_that_is_taken_twice_and_what_handlers_of_a_group_do_not_agree_on_is_said_with_both_places() {
    let two: Describe = |signature| signature.inputs.extend([Ask::DEF, Answer::DEF]);
    let problems = report(app().register(by_hand("two", two, |_| {})).only(["two"])).await;
    says(&problems, &["`two` (by_hand.rs:1) takes 2 events", "Ask` (tests/build_report.rs:", "Answer` (tests/build_report.rs:"]);

    let answers: Describe = |signature| signature.inputs.push(Answer::DEF);
    let grouped = |name, describe, start| {
        by_hand(name, describe, |options| {
            (options.group, options.topics, options.start) = (Some("shared"), &["build.both"], start)
        })
    };
    let new = Some(convoke::StartAt::New);
    let apart = app().register(grouped("early", asks, None)).register(grouped("late", answers, new)).only(["early", "late"]);
    says(&report(apart).await, &["`late` (by_hand.rs:1) starts elsewhere than `early` (by_hand.rs:1)", "the group `shared`"]);

    let lane = |name, describe, lane| {
        by_hand(name, describe, |options| (options.group, options.topics, options.lane) = (Some("shared"), &["build.both"], lane))
    };
    let ways = app().register(lane("in", asks, Some("lane"))).register(lane("out", answers, None)).only(["in", "out"]);
    says(
        &report(ways).await,
        &["reads `build.both` in two ways", "`in` (by_hand.rs:1)", "`out` (by_hand.rs:1)", "the same `lane`"],
    );
}

#[tokio::test]
async fn the_table_shows_what_is_bound() {
    let ready = app().only(["answer", "archive", "echo", "reply", "spy"]).build().await.unwrap();
    let expected = "\
build on memory://
  topic           event             group         handler  options
  ──────────────  ────────────────  ────────────  ───────  ───────
  build.asks      build.asks v1     archive       archive  concurrency = 2, order = key, retry = 9 × 1s..60s, on_retry = pass, timeout = 30s, batch = 100 or 50ms
  build.asks      build.asks v1     build.answer  answer   concurrency = 16, order = key
  build.anything  (any)             build.spy     spy      concurrency = 16, order = none
  build.answers   build.answers v3  talk          echo     concurrency = 16, order = none, lane = talk
  build.asks      build.asks v1     talk          reply    concurrency = 16, order = key, lane = talk
";
    assert_eq!(ready.table(), expected, "it is:\n{}", ready.table());
    let topology = ready.topology();
    let topics: Vec<_> = topology.topics.iter().map(|topic| topic.name.as_str()).collect();
    assert!(topics.contains(&"build.asks.archive.dead") && topics.contains(&"build.answers"), "{topics:?}");
    assert!(topics.contains(&"build.asks.archive.retry"), "every group has a place of its own: {topics:?}");
    let groups: BTreeSet<_> = topology.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(groups, BTreeSet::from(["archive", "build.answer", "build.spy", "convoke.redrive", "talk"]));
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

impl tracing::field::Visit for Lines {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let _ = writeln!(self.0.lock().unwrap_or_else(PoisonError::into_inner), "{}={value:?}", field.name());
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _span: &tracing::span::Id) {}
    fn exit(&self, _span: &tracing::span::Id) {}
}

#[tokio::test]
async fn events_that_lead_back_to_themselves_are_a_warning() {
    let lines = Lines::default();
    let guard = tracing::subscriber::set_default(lines.clone());
    let _ = app().only(["echo", "reply"]).build().await.unwrap();
    drop(guard);
    let text = lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let warnings: Vec<_> = text.lines().filter(|line| line.contains("lead back to themselves")).collect();
    assert_eq!(warnings.len(), 1, "a circle is told of once: {text}");
    let way = [
        "`build.answers` → `echo` (tests/build_report.rs:",
        "→ `build.asks` → `reply` (tests/build_report.rs:",
        "→ `build.answers`; let one",
    ];
    for part in way {
        assert!(warnings[0].contains(part), "no {part:?} in {text}");
    }
}

async fn publishing() -> (TestApp, Seen) {
    let seen = Seen::new();
    (TestApp::start(App::new("build").state(seen.clone()).only(["answer"])).await.unwrap(), seen)
}

fn ask(who: &str) -> Ask {
    Ask { who: who.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn an_event_is_published_with_what_identifies_it() {
    let (app, seen) = publishing().await;
    let receipt = app.publish(&ask("ada")).await.unwrap();
    assert!(receipt.stored.is_some() && !receipt.duplicate && !receipt.unrouted, "{receipt:?}");
    let message = stored(&app, "build.asks").remove(0);
    let says = ["ce-id", "ce-source", "ce-specversion", "ce-type", "content-type"].map(|name| header(&message, name).unwrap());
    assert_eq!(says, [receipt.id.as_str(), "build", "1.0", "build.asks.v1", "application/json"]);
    assert_eq!((message.payload().as_ref(), message.headers().len()), (&br#"{"who":"ada"}"#[..], 6), "{message:?}");
    app.settled().await;
    assert_eq!(seen.items(), [(ask("ada"), Some("ada".to_owned()))]);
}

#[tokio::test(start_paused = true)]
async fn id_key_headers_and_topic_can_be_chosen() {
    let (app, seen) = publishing().await;
    let publish =
        app.publish(&ask("ada")).id("my id ☃").key(("bob", 7_u8)).header("tenant", "acme").header("bytes", vec![0, 255]);
    assert_eq!(publish.await.unwrap().id, "my id ☃");
    app.settled().await;
    assert_eq!(seen.items(), [(ask("ada"), Some("bob\u{1f}7".to_owned()))]);
    let message = stored(&app, "build.asks").remove(0);
    assert_eq!(header(&message, "tenant"), Some("acme"));
    assert_eq!(message.headers().get("bytes").unwrap().as_ref(), [0, 255]);
    app.publish(&ask("eve")).topic("build.asks.build.answer.dead").await.unwrap();
    assert_eq!(stored(&app, "build.asks.build.answer.dead").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_are_published_together_and_answered_one_by_one() {
    let (app, seen) = publishing().await;
    let asks: Vec<_> = (0..500).map(|i| ask(&i.to_string())).collect();
    let answers = app.publisher().publish_all(&asks).await;
    assert!(answers.len() == 500 && answers.iter().all(Result::is_ok));
    app.settled().await;
    assert_eq!(seen.len(), 500);
    assert!(app.publisher().publish_all::<Ask>([]).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_is_published_as_it_is() {
    let (app, _) = publishing().await;
    let message = Message::builder("build.asks").header("x", "1").payload(r#"{"who":"me"}"#).build();
    app.publish_message(message.clone()).await.unwrap();
    let there = stored(&app, "build.asks").remove(0);
    assert_eq!((own_headers(&there), there.payload(), there.key()), (own_headers(&message), message.payload(), None));
}

#[tokio::test(start_paused = true)]
async fn a_delayed_event_comes_after_its_delay() {
    let (app, seen) = publishing().await;
    app.publish(&ask("later")).delay(Duration::from_secs(60)).await.unwrap();
    app.publish(&ask("last")).deliver_at(SystemTime::now() + Duration::from_secs(90)).await.unwrap();
    app.publish(&ask("now")).await.unwrap();
    app.publish(&ask("overdue")).deliver_at(SystemTime::now() - Duration::from_secs(90)).await.unwrap();
    app.settled().await;
    let order: Vec<_> = seen.all().into_iter().map(|(at, (ask, _))| (ask.who, at.as_secs_f64().round())).collect();
    let mut soon: Vec<_> = order[..2].iter().map(|one| one.0.as_str()).collect();
    soon.sort_unstable();
    assert_eq!((soon, order[1].1), (vec!["now", "overdue"], 0.0));
    assert_eq!(order[2..], [("later".to_owned(), 60.0), ("last".to_owned(), 90.0)]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_may_expire_is_handled_in_time_and_one_that_nobody_could_get_is_refused() {
    let (app, seen) = publishing().await;
    let soon = SystemTime::now() + Duration::from_secs(60);
    app.publish(&ask("ada")).expires_at(soon).await.unwrap();
    for late in
        [app.publish(&ask("bob")).deliver_at(soon).expires_at(soon), app.publish(&ask("eve")).expires_at(SystemTime::now())]
    {
        let refused = late.await.unwrap_err();
        assert!(refused.kind() == ErrorKind::Rejected && refused.to_string().contains("nobody would get it"), "{refused}");
    }
    app.settled().await;
    assert_eq!(seen.items(), [(ask("ada"), Some("ada".to_owned()))]);
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_does_not_offer_is_refused_by_kind_and_not_sent() {
    let (app, _) = publishing().await;
    let kind = |answer: Result<convoke::Receipt, convoke::Error>| answer.map_err(|error| error.kind()).unwrap_err();
    assert_eq!(kind(app.publish(&ask("ada")).reply_to("build.answers").await), ErrorKind::Unsupported);
    assert_eq!(kind(app.publish(&ask("ada")).topic("build.nowhere").await), ErrorKind::NotFound);
    assert_eq!(kind(app.publish(&ask("ada")).topic("build.nowhere").require_route().await), ErrorKind::NotFound);
    assert!(stored(&app, "build.asks").is_empty());
    let routed = app.publish(&ask("ada")).require_route().await.unwrap();
    assert!(!routed.unrouted && routed.stored.is_some());
}
