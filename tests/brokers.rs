//! Several brokers in one application: who reads where, what goes where, and what is said when a name is wrong.

mod support;

use std::time::Duration;

use convoke::broker::{Broker as _, Fault, Health};
use convoke::memory::MemoryBroker;
use convoke::prelude::*;
use convoke::{ErrorKind, Message};
use serde::{Deserialize, Serialize};
use support::{Journal, ms, status};

#[event(topic = "two.orders", key = id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
}

/// What the audit keeps.
#[event(topic = "two.records", key = id, broker = "audit")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    id: u64,
}

#[event(topic = "two.lost", broker = "nowhere")]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lost {
    id: u64,
}

type Seen = Journal<(&'static str, u64)>;

#[handler(name = "two_take", retry(attempts = 1))]
async fn take(order: Order, State(seen): State<Seen>) -> Result<(Record, Option<Order>), BoxError> {
    seen.note(("take", order.id));
    if order.id == 13 {
        return Err("unlucky".into());
    }
    Ok((Record { id: order.id }, (order.id == 1).then_some(Order { id: 2 })))
}

#[handler(name = "two_keep", retry(attempts = 1))]
async fn keep(record: Record, publisher: Publisher, State(seen): State<Seen>) -> Result<(), BoxError> {
    seen.note(("keep", record.id));
    if record.id == 66 {
        return Err("no room".into());
    }
    if record.id == 50 {
        publisher.publish(&Order { id: 51 }).await?;
    }
    Ok(())
}

/// Reads what others write to the audit's broker.
#[handler(name = "two_watch", topic = "two.foreign", broker = "audit")]
async fn watch(message: Message, State(seen): State<Seen>) {
    seen.note(("watch", message.payload().len() as u64));
}

#[handler(name = "two_lost")]
async fn lost(_order: Order) -> Lost {
    Lost { id: 1 }
}

#[handler(name = "two_typo", broker = "audti")]
async fn typo(_order: Order) {}

const ALL: [&str; 3] = ["two_take", "two_keep", "two_watch"];

fn app(seen: &Seen) -> App {
    App::new("two").state(seen.clone()).only(ALL).broker_named("audit", "memory://audit")
}

fn topics(messages: &[Message]) -> Vec<&str> {
    let mut topics: Vec<_> = messages.iter().map(|message| message.topic().as_str()).collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

#[tokio::test(start_paused = true)]
async fn an_event_goes_to_its_broker_and_is_read_there() {
    let seen = Seen::new();
    let app = TestApp::start(app(&seen)).await.unwrap();
    app.publish(&Order { id: 1 }).await.unwrap();
    app.publish(&Record { id: 50 }).await.unwrap();
    app.publish_message(Message::builder("two.foreign").payload("four").build()).await.unwrap();
    app.settled().await;
    let mut calls = seen.items();
    calls.sort_unstable();
    let expected = [("keep", 1), ("keep", 2), ("keep", 50), ("keep", 51), ("take", 1), ("take", 2), ("take", 51), ("watch", 4)];
    assert_eq!(calls, expected);
    app.published::<Record>().assert_count(4);
    let (first, audit) = (app.broker().topics().await.unwrap(), app.broker_named("audit").unwrap().topics().await.unwrap());
    let has = |topics: &[(convoke::Topic, u32)], name: &str| topics.iter().any(|(topic, _)| topic.as_str() == name);
    assert!(has(&first, "two.orders") && has(&first, "two.orders.two.two_take.dead"), "{first:?}");
    assert!(!has(&first, "two.records") && !has(&first, "two.foreign"), "{first:?}");
    assert!(has(&audit, "two.records") && has(&audit, "two.foreign") && !has(&audit, "two.orders"), "{audit:?}");
    assert!(app.broker_named("autid").is_none());
    assert!(app.drain().await.clean);
}

#[tokio::test(start_paused = true)]
async fn an_input_is_acknowledged_only_after_the_other_broker_has_confirmed() {
    let seen = Seen::new();
    let app = TestApp::start(app(&seen)).await.unwrap();
    let audit = app.broker_named("audit").unwrap().faults().unwrap();
    audit.inject(Fault::PublishSlow { topic: "two.records".into(), count: 1, by: Duration::from_secs(20) }).unwrap();
    app.publish(&Order { id: 3 }).await.unwrap();
    app.advance(Duration::from_secs(19)).await;
    let before = status(&app, "two_take").await;
    assert_eq!((before.handled, before.in_flight), (0, 1), "it has returned, and nothing is confirmed: {before:?}");
    app.settled().await;
    assert_eq!(status(&app, "two_take").await.handled, 1);
    // Not answered, and not stored: the same again, under the same id.
    audit.inject(Fault::PublishUnknown { topic: "two.records".into(), count: 2, stored: true }).unwrap();
    app.publish(&Order { id: 4 }).await.unwrap();
    app.settled().await;
    assert_eq!(seen.items().iter().filter(|call| **call == ("take", 4)).count(), 1, "the handler is not called again");
    let ids: Vec<_> =
        app.published::<Record>().messages().map(|message| message.headers().get_str("ce-id").unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 2, "confirmed once each: {ids:?}");
}

#[tokio::test(start_paused = true)]
async fn what_one_broker_refuses_for_good_is_a_dead_letter_on_the_broker_of_the_input() {
    let seen = Seen::new();
    let app = TestApp::start(app(&seen)).await.unwrap();
    let audit = app.broker_named("audit").unwrap().faults().unwrap();
    audit.inject(Fault::PublishRejected { topic: "two.records".into(), count: 1, retryable: false }).unwrap();
    for id in [7, 13] {
        app.publish(&Order { id }).await.unwrap();
    }
    app.settled().await;
    app.publish(&Record { id: 66 }).await.unwrap();
    app.settled().await;
    assert_eq!(topics(&app.dead_letters("two_take")), ["two.orders.two.two_take.dead"]);
    assert_eq!((app.dead_letters("two_take").len(), app.dead_letters("two_keep").len()), (2, 1));
    for (broker, dead) in
        [(app.broker(), "two.orders.two.two_take.dead"), (app.broker_named("audit").unwrap(), "two.records.two.two_keep.dead")]
    {
        let topics = broker.topics().await.unwrap();
        assert!(topics.iter().any(|(topic, _)| topic.as_str() == dead), "{topics:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_holds_up_what_goes_there_and_nothing_else() {
    let seen = Seen::new();
    let app = TestApp::start(app(&seen)).await.unwrap();
    app.broker_named("audit").unwrap().faults().unwrap().inject(Fault::Cut { down: Duration::from_secs(10) }).unwrap();
    app.publish(&Order { id: 13 }).await.unwrap();
    app.advance(ms(500)).await;
    let now = app.status().await;
    assert_eq!(now.broker, Health::Up);
    assert!(!now.ready && now.brokers["audit"] != Health::Up, "{now:?}");
    assert_eq!(status(&app, "two_take").await.dead, 1, "its dead letter stays on the broker that is there");
    assert!(status(&app, "two_take").await.healthy && !status(&app, "two_keep").await.healthy);
    assert_eq!(status(&app, "two_keep").await.broker.as_deref(), Some("audit"));
    app.publish(&Record { id: 5 }).await.unwrap();
    app.settled().await;
    assert!(app.status().await.ready);
    assert!(seen.items().contains(&("keep", 5)));
}

#[tokio::test(start_paused = true)]
async fn the_bound_table_and_the_topology_name_the_broker() {
    let seen = Seen::new();
    let ready = app(&seen).url("memory://").build().await.unwrap();
    let expected = "\
two on memory://, audit: memory://audit
  topic               event           group          handler    options
  ──────────────────  ──────────────  ─────────────  ─────────  ───────
  audit: two.records  two.records v1  two.two_keep   two_keep   concurrency = 16, order = key, retry = 1 × 200ms..30s
  two.orders          two.orders v1   two.two_take   two_take   concurrency = 16, order = key, retry = 1 × 200ms..30s
  audit: two.foreign  (any)           two.two_watch  two_watch  concurrency = 16, order = none
";
    assert_eq!(ready.table(), expected, "it is:\n{}", ready.table());
    let groups =
        |topology: convoke::broker::Topology| topology.groups.iter().filter(|group| group.name.starts_with("two.")).count();
    assert_eq!(groups(ready.topology()), 1);
    assert_eq!(groups(ready.topology_of("audit").unwrap()), 2);
    assert!(ready.topology_of("nowhere").is_none());
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_answered_with_those_that_are_known() {
    let seen = Seen::new();
    let error = app(&seen).only(["two_take", "two_typo", "two_lost"]).url("memory://").build().await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("`two_typo` (tests/brokers.rs:") && text.contains("names the broker `audti`; did you mean `audit`?"),
        "{text}"
    );
    assert!(
        text.contains("returns `two.lost` (tests/brokers.rs:") && text.contains("names the broker `nowhere`; there are `audit`."),
        "{text}"
    );
    assert!(text.contains("`.broker_named(\"nowhere\", …)`, or in the variable CONVOKE_BROKER_NOWHERE"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_broker_that_is_not_there_is_refused_when_it_is_published() {
    // Nobody reads or returns it: a program need not have the broker of every event that is linked into it.
    let all = || App::new("two").state(Seen::new()).registry(registry()).broker_named("audit", "memory://audit");
    let app = TestApp::start(all()).await.unwrap();
    let error = app.publish(&Lost { id: 1 }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(
        error.to_string().contains("`two.lost.v1` is published to the broker `nowhere`, which the application does not have"),
        "{error}"
    );
    app.publish(&Order { id: 5 }).await.unwrap();
}

/// All events, and the handlers that are in order.
fn registry() -> convoke::Registry {
    let mut registry = convoke::Registry::collect();
    registry.handlers.retain(|handler| ALL.contains(&handler.name));
    registry
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_the_program_has_opened_can_have_a_name() {
    let broker = MemoryBroker::named("two-opened");
    let seen = Seen::new();
    let app =
        TestApp::start(app(&seen).broker_named("audit", std::sync::Arc::new(MemoryBroker::named("two-opened")))).await.unwrap();
    app.publish(&Record { id: 9 }).await.unwrap();
    app.settled().await;
    let topics = broker.topics().await.unwrap();
    assert!(topics.iter().any(|(topic, _)| topic.as_str() == "two.records"), "{topics:?}");
    assert_eq!(seen.items(), [("keep", 9)]);
}
