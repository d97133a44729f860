//! What does not live where the program says: topics that are named at run time on a further broker, and dead letters there and of
//! topics and groups that the deployment renames.

mod support;

use convoke::dead::{DeadLetters, Options, Report};
use convoke::memory::MemoryBroker;
use convoke::prelude::*;
use convoke::{ErrorKind, Message};
use serde::{Deserialize, Serialize};
use support::Journal;

#[event(topic = "away.orders", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    id: u64,
}

#[event(topic = "away.records", key = id, broker = "audit")]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    id: u64,
}

/// Which handler was given what, from which topic.
type Seen = Journal<(&'static str, String, u64)>;

/// Gives up on 13, the first time.
#[handler(name = "away_keep", group = "keepers", retry(attempts = 1))]
async fn keep(record: Record, meta: Meta<'_>, State(seen): State<Seen>) -> Result<(), BoxError> {
    give_up_once("keep", record.id, meta, &seen)
}

#[handler(name = "away_take", group = "takers", retry(attempts = 1))]
async fn take(order: Order, meta: Meta<'_>, State(seen): State<Seen>) -> Result<(), BoxError> {
    give_up_once("take", order.id, meta, &seen)
}

fn give_up_once(handler: &'static str, id: u64, meta: Meta<'_>, seen: &Seen) -> Result<(), BoxError> {
    let call = (handler, meta.topic().to_string(), id);
    let first = !seen.items().contains(&call);
    seen.note(call);
    if id == 13 && first { Err("unlucky".into()) } else { Ok(()) }
}

/// Reads what others write to the audit's broker.
#[handler(name = "away_watch", topic = "away.foreign", broker = "audit")]
async fn watch(message: Message, State(seen): State<Seen>) {
    seen.note(("watch", message.topic().to_string(), message.payload().len() as u64));
}

#[handler(name = "away_logs", topic = "away.logs.*", broker = "audit")]
async fn logs(message: Message, State(seen): State<Seen>) {
    seen.note(("logs", message.topic().to_string(), message.payload().len() as u64));
}

fn app(seen: &Seen, handlers: &[&str]) -> App {
    App::new("away").state(seen.clone()).only(handlers.iter().copied()).broker_named("audit", "memory://audit")
}

fn message(topic: &str) -> Message {
    Message::builder(topic).payload("four").build()
}

async fn has(broker: &dyn convoke::broker::Broker, topic: &str) -> bool {
    broker.topics().await.unwrap().iter().any(|(other, _)| other.as_str() == topic)
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_named_at_run_time_is_where_its_handler_reads_it() {
    let seen = Seen::new();
    let app = TestApp::start(app(&seen, &["away_watch"]).on_demand(["away_watch"])).await.unwrap();
    let (first, audit) = (app.broker().clone(), app.broker_named("audit").unwrap().clone());
    for topic in ["away.run", "away.both"] {
        app.create_topic_on("audit", topic).await.unwrap();
        assert!(has(&*audit, topic).await && !has(&*first, topic).await);
    }
    let error = app.publish_message(message("away.run")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "nobody reads it yet, so it is looked for on the first: {error}");
    app.create_topic("away.both").await.unwrap();
    let run = app.subscribe("away.run", "away_watch").await.unwrap();
    let both = app.subscribe("away.both", "away_watch").await.unwrap();
    for topic in ["away.run", "away.both"] {
        app.publish_message(message(topic)).await.unwrap();
    }
    app.settled().await;
    let mut calls = seen.items();
    calls.sort_unstable();
    assert_eq!(calls, [("watch", "away.both".to_owned(), 4), ("watch", "away.run".to_owned(), 4)]);
    let error = app.delete_topic("away.run").await.unwrap_err();
    assert!(error.to_string().starts_with("`away.run` is being read by `away_watch`"), "{error}");
    assert!(run.unsubscribe().await.clean && both.unsubscribe().await.clean);
    app.delete_topic("away.run").await.unwrap();
    assert!(!has(&*audit, "away.run").await, "it is deleted where it was read");
    app.delete_topic_on("audit", "away.both").await.unwrap();
    assert!(!has(&*audit, "away.both").await && has(&*first, "away.both").await, "its namesake stays");
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_meant_where_it_is_read_and_a_wrong_name_is_answered() {
    let seen = Seen::new();
    let app = TestApp::start(app(&seen, &["away_watch"])).await.unwrap();
    app.create_topic_on("audit", "away.foreign").await.unwrap();
    let error = app.delete_topic("away.foreign").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "it is the one on `audit` that is meant: {error}");
    let error = app.create_topic_on("audti", "away.foreign").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("the broker `audti`; did you mean `audit`?"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_a_pattern_reads_on_a_further_broker_is_created_published_and_looked_for_there() {
    let seen = Seen::new();
    let app = TestApp::start(app(&seen, &["away_logs"])).await.unwrap();
    let audit = app.broker_named("audit").unwrap().clone();
    for topic in ["away.logs.eu", "away.logs.us"] {
        app.create_topic(topic).await.unwrap();
        assert!(has(&*audit, topic).await && !has(&**app.broker(), topic).await);
        app.publish_message(message(topic)).await.unwrap();
    }
    app.settled().await;
    let mut calls = seen.items();
    calls.sort_unstable();
    assert_eq!(calls, [("logs", "away.logs.eu".to_owned(), 4), ("logs", "away.logs.us".to_owned(), 4)]);
    let error = app.delete_topic("away.logs.us").await.unwrap_err().to_string();
    assert!(
        error.contains("is being read by the group `away.away_logs`"),
        "it is looked for where the pattern reads it: {error}"
    );
}

/// Sends everything back that waits in this topic.
async fn redrive(broker: MemoryBroker, dead: &str) -> Report {
    let letters = DeadLetters::of(std::sync::Arc::new(broker));
    letters.redrive(dead, &Options::new(), |_| ()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn letters_of_a_deployment_that_renames_go_back_to_the_renamed_group_and_topic() {
    let seen = Seen::new();
    let broker = MemoryBroker::new();
    let config = "[topics]\naway.orders = 'prod.orders'\n[groups]\ntakers = 'takers-blue'\n";
    let app = app(&seen, &["away_take"])
        .broker(std::sync::Arc::new(broker.another()))
        .config_str(config)
        .quiet()
        .start()
        .await
        .unwrap();
    for id in [1, 13] {
        app.publisher().publish(&Order { id }).await.unwrap();
    }
    app.settled().await;
    let report = redrive(broker.another(), "prod.orders.takers-blue.dead").await;
    assert_eq!((report.seen, report.done), (1, 1), "{report:?}");
    app.settled().await;
    let thirteen: Vec<_> = seen.items().into_iter().filter(|call| call.2 == 13).collect();
    assert_eq!(thirteen, vec![("take", "prod.orders".to_owned(), 13); 2]);
    assert!(app.drain().await.clean);
}

#[tokio::test(start_paused = true)]
async fn letters_of_a_further_broker_go_back_there() {
    let seen = Seen::new();
    let (first, audit) = (MemoryBroker::new(), MemoryBroker::new());
    let app = App::new("away").state(seen.clone()).only(["away_take", "away_keep"]).broker(std::sync::Arc::new(first.another()));
    let app = app.broker_named("audit", std::sync::Arc::new(audit.another())).quiet().start().await.unwrap();
    app.publisher().publish(&Order { id: 13 }).await.unwrap();
    app.publisher().publish(&Record { id: 13 }).await.unwrap();
    app.settled().await;
    assert_eq!(seen.len(), 2);
    let report = redrive(audit.another(), "away.records.keepers.dead").await;
    assert_eq!((report.seen, report.done), (1, 1), "{report:?}");
    app.settled().await;
    assert_eq!(seen.items().split_off(2), [("keep", "away.records".to_owned(), 13)], "and nothing of the other broker");
    assert_eq!((first.messages("away.orders.takers.dead").len(), audit.messages("away.records.keepers.dead").len()), (1, 1));
    assert!(app.drain().await.clean);
}
