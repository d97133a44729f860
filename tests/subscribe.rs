//! Topics that are named at run time.

mod support;

use std::time::Duration;

use convoke::broker::Start;
use convoke::memory::MemoryBroker;
use convoke::prelude::*;
use convoke::{ErrorKind, RunningSubscription};
use serde::{Deserialize, Serialize};
use support::{Journal, ms, stored};

#[event(topic = "sub.rows", key = number)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    number: u64,
}

#[event(topic = "sub.done", key = number)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Done {
    number: u64,
}

type Seen = Journal<(String, u64)>;

/// 13 never works, 50 and above are slow.
#[handler(concurrency = 4, retry(attempts = 2, backoff = "1s"))]
async fn import(row: Row, meta: Meta<'_>, State(seen): State<Seen>) -> Result<Done, BoxError> {
    match row.number {
        13 => return Err("it never works".into()),
        50.. => tokio::time::sleep(ms(1000)).await,
        _ => {}
    }
    seen.note((meta.topic().as_str().to_owned(), row.number));
    Ok(Done { number: row.number })
}

#[handler]
async fn done(_done: Done) {}

#[handler(lane = "x", group = "lanes")]
async fn in_lane(_row: Row) {}

#[handler]
async fn needs(_row: Row, State(_): State<Duration>) {}

#[handler(broadcast)]
async fn all(row: Row, State(seen): State<Seen>) {
    seen.note(("all".to_owned(), row.number));
}

fn app(seen: &Seen) -> App {
    App::new("sub").state(seen.clone()).only(["done", "import"]).on_demand(["import"])
}

async fn start(url: &str) -> (TestApp, Seen) {
    let seen = Seen::new();
    (TestApp::start_on(app(&seen), url).await.unwrap(), seen)
}

async fn publish(app: &TestApp, topic: &str, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        app.publish(&Row { number }).topic(topic).await.unwrap();
    }
}

fn numbers(seen: &Seen) -> Vec<u64> {
    let mut numbers: Vec<_> = seen.items().into_iter().map(|(_, number)| number).collect();
    numbers.sort_unstable();
    numbers
}

async fn ended(subscription: &RunningSubscription) {
    let report = tokio::time::timeout(Duration::from_secs(3600), subscription.ended()).await.expect("it ends");
    assert!(report.clean, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_made_for_one_run_is_consumed_and_deleted_and_leaves_nothing_behind() {
    let broker = MemoryBroker::named("sub-run");
    let (app, seen) = start("memory://sub-run").await;
    let before = topics(&app).await;
    for run in 0..3 {
        let topic = format!("runs.{run}");
        app.create_topic(&*topic).await.unwrap();
        publish(&app, &topic, [1, 2, 13, 50]).await;
        let rows = app.subscribe(&*topic, "import").until_end().await.unwrap();
        assert_eq!((rows.topic().as_str(), rows.group()), (&*topic, "sub.import"));
        ended(&rows).await;
        assert_eq!(seen.len(), 3 * (run + 1));
        let dead = rows.dead_letters().clone();
        assert_eq!(stored(&app, dead.as_str()).len(), 1);
        assert!(rows.status().await.at_end);
        rows.delete().await.unwrap();
        app.delete_topic(dead).await.unwrap();
        assert_eq!(topics(&app).await, before);
    }
    let missing = app.publish(&Row { number: 1 }).topic("runs.0").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    app.settled().await;
    assert!(app.status().await.handlers.iter().all(|handler| handler.handler == "done"), "what has ended is forgotten");
    drop(broker);
}

async fn topics(app: &AppHandle) -> Vec<String> {
    let topics = app.broker().topics().await.unwrap();
    topics.into_iter().map(|(topic, _)| topic.as_str().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn unsubscribing_loses_and_repeats_nothing_and_the_group_goes_on_where_it_stopped() {
    let (app, seen) = start("memory://sub-again").await;
    let rows = app.subscribe("rows.a", "import").await.unwrap();
    publish(&app, "rows.a", 50..70).await;
    tokio::time::sleep(ms(2500)).await;
    let report = rows.unsubscribe().await;
    assert!(report.clean && report.took >= ms(400), "what ran is finished: {report:?}");
    let done = numbers(&seen).len();
    assert!((8..20).contains(&done), "{done}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(numbers(&seen).len(), done, "nothing runs any more");
    let rows = app.subscribe("rows.a", "import").await.unwrap();
    app.settled().await;
    assert_eq!(numbers(&seen), (50..70).collect::<Vec<_>>());
    assert_eq!(rows.status().await.handled, 20 - done as u64);
}

#[tokio::test(start_paused = true)]
async fn group_start_and_handler_are_chosen_at_run_time() {
    let (app, seen) = start("memory://sub-start").await;
    app.create_topic("rows.b").await.unwrap();
    publish(&app, "rows.b", 0..5).await;
    let new = app.subscribe("rows.b", "import").group("late").start(Start::New).await.unwrap();
    publish(&app, "rows.b", 5..7).await;
    app.settled().await;
    assert_eq!(numbers(&seen), [5, 6], "from the moment that it was awaited");
    assert_eq!(new.group(), "late");
    let all = app.subscribe("rows.b", "import").group("early").await.unwrap();
    ended(&app.subscribe("rows.b", &ALL_AT_HAND).until_end().await.unwrap()).await;
    app.settled().await;
    assert_eq!(seen.len(), 9, "a group of its own, from the earliest message");
    assert_eq!(all.status().await.handled, 7);
}

/// A handler by hand, which nobody has registered.
static ALL_AT_HAND: convoke::HandlerDef = convoke::HandlerDef::new(
    "at_hand",
    |signature| signature.whole = true,
    || convoke::BoxHandler::new(convoke::handler_fn(|_| async { Ok(convoke::Reply::ack()) })),
    convoke::Location::here(file!(), line!(), module_path!()),
);

#[tokio::test(start_paused = true)]
async fn a_subscription_can_be_paused_and_watched_by_itself() {
    let (app, seen) = start("memory://sub-pause").await;
    let one = app.subscribe("rows.one", "import").await.unwrap();
    let other = app.subscribe("rows.other", "import").await.unwrap();
    one.pause();
    publish(&app, "rows.one", 0..3).await;
    publish(&app, "rows.other", 0..3).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(seen.items().iter().all(|(topic, _)| topic == "rows.other"));
    assert_eq!((one.status().await.paused, other.status().await.paused), (true, false));
    let of_import = app.status().await.handlers.into_iter().filter(|handler| handler.handler == "import").count();
    assert_eq!(of_import, 2, "both are in the status of the application");
    one.resume();
    app.settled().await;
    assert_eq!(seen.len(), 6);
    app.pause("import").unwrap();
    tokio::time::sleep(ms(1)).await;
    assert!(one.status().await.paused && other.status().await.paused, "by its name, a handler is paused wherever it reads");
}

#[tokio::test(start_paused = true)]
async fn a_drain_takes_them_with_it_and_nothing_is_bound_afterwards() {
    let (app, seen) = start("memory://sub-drain").await;
    let rows = app.subscribe("rows.c", "import").await.unwrap();
    publish(&app, "rows.c", 50..60).await;
    tokio::time::sleep(ms(500)).await;
    let report = app.drain().await;
    assert!(report.clean, "{report:?}");
    assert_eq!(numbers(&seen).len(), 4, "what ran is finished");
    ended(&rows).await;
    let error = app.subscribe("rows.d", "import").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_with_what_to_do() {
    let (app, _seen) = start("memory://sub-errors").await;
    let rows = app.subscribe("rows.e", "import").await.unwrap();
    let refused = |error: convoke::Error, kind, parts: &[&str]| {
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    };
    let error = app.subscribe("rows.e", "nobody").await.unwrap_err();
    refused(error, ErrorKind::NotFound, &["no handler is named `nobody`", "import"]);
    let error = app.subscribe("rows.e", "import").await.unwrap_err();
    refused(error, ErrorKind::Configuration, &["`sub.import` reads `rows.e` already, by `import`", "name another `group`"]);
    let error = app.subscribe("sub.done", "done").await.unwrap_err();
    refused(error, ErrorKind::Configuration, &["`sub.done` reads `sub.done` already"]);
    let error = app.subscribe("rows.*", "import").await.unwrap_err();
    refused(error, ErrorKind::Configuration, &["`rows.*`"]);
    let error = app.subscribe("rows.f", "in_lane").await.unwrap_err();
    refused(error, ErrorKind::Configuration, &["has a `lane`"]);
    let error = app.subscribe("rows.f", "needs").await.unwrap_err();
    refused(error, ErrorKind::Configuration, &["`rows.f` cannot be subscribed to", "no such state"]);
    let error = app.subscribe("rows.f", "all").group("mine").await.unwrap_err();
    refused(error, ErrorKind::Configuration, &["is a `broadcast`"]);
    let error = app.delete_topic("rows.e").await.unwrap_err();
    refused(error, ErrorKind::Configuration, &["`rows.e` is being read by `import`", "unsubscribe it"]);
    let elsewhere = app.broker().delete_topic(&"rows.e".into()).await.unwrap_err();
    refused(elsewhere, ErrorKind::Rejected, &["is being read by the group `sub.import`"]);
    rows.unsubscribe().await;
    app.delete_topic("rows.e").await.unwrap();
    let error = app.delete_topic("rows.e").await.unwrap_err();
    refused(error, ErrorKind::NotFound, &["rows.e"]);
}

#[tokio::test(start_paused = true)]
async fn of_two_at_once_for_the_same_place_one_is_refused() {
    let (app, _seen) = start("memory://sub-twice").await;
    let both =
        async { tokio::join!(app.subscribe("rows.g", "import").into_future(), app.subscribe("rows.g", "import").into_future()) };
    let (a, b) = both.await;
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_can_be_bound_at_run_time() {
    let (app, seen) = start("memory://sub-cast").await;
    app.create_topic("rows.h").await.unwrap();
    publish(&app, "rows.h", 0..2).await;
    let all = app.subscribe("rows.h", "all").await.unwrap();
    publish(&app, "rows.h", 2..4).await;
    app.settled().await;
    assert_eq!(numbers(&seen), [2, 3]);
    all.unsubscribe().await;
    app.settled().await;
}

#[tokio::test]
async fn a_handler_that_is_on_demand_must_exist() {
    let error = App::new("sub").url("memory://sub-demand").only(["done"]).on_demand(["nobody"]).build().await.unwrap_err();
    assert!(error.to_string().contains("no handler is named `nobody`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_different_events_goes_to_the_topics_that_each_names() {
    let (app, _seen) = start("memory://sub-each").await;
    app.create_topic("rows.i").await.unwrap();
    let (row, done) = (Row { number: 1 }, Done { number: 2 });
    let publisher = app.publisher();
    let each = [
        publisher.publish(&row).topic("rows.i").key(9_u64).header("kind", "express"),
        publisher.publish(&row).topic("rows.missing"),
        publisher.publish(&done),
    ];
    let answers = publisher.publish_each(each).await;
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().err().map(convoke::Error::kind)).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::NotFound), None], "each has an answer of its own");
    let rows = stored(&app, "rows.i");
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].key().unwrap().to_string(), support::header(&rows[0], "kind")), ("9".to_owned(), Some("express")));
    assert_eq!(stored(&app, "sub.done").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_scheduled_comes_when_it_is_due_also_after_a_restart() {
    let broker = MemoryBroker::named("sub-later");
    let (first, _seen) = start("memory://sub-later").await;
    let rows = first.subscribe("rows.j", "import").await.unwrap();
    first.publish(&Row { number: 1 }).topic("rows.j").key(1_u64).delay(Duration::from_secs(600)).await.unwrap();
    first.publish(&Row { number: 2 }).topic("rows.j").key(1_u64).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rows.status().await.handled, 1, "what is published later with its key does not wait for it");
    first.drain().await;
    let (second, seen) = start("memory://sub-later").await;
    let rows = second.subscribe("rows.j", "import").await.unwrap();
    tokio::time::sleep(Duration::from_secs(530)).await;
    assert_eq!(rows.status().await.handled, 0, "it is not due yet");
    second.settled().await;
    assert_eq!(numbers(&seen), [1]);
    drop(broker);
}
