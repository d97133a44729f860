//! Topics with a parameter, `regions.{region}`: published by a field, read all together, one by one, or by a pattern.

mod support;

use std::sync::Arc;

use convoke::broker::{Broker, EnsureMode, TopicSpec, Topology};
use convoke::memory::{Guise, MemoryBroker, Options};
use convoke::prelude::*;
use convoke::{ErrorKind, Outgoing};
use serde::{Deserialize, Serialize};
use support::{Journal, header, ms, status, stored};

#[event(topic = "regions.{region}", name = "regions.paid", key = customer)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Paid {
    region: String,
    customer: String,
    number: u64,
}

impl Paid {
    fn of(region: &str, number: u64) -> Self {
        Self { region: region.to_owned(), customer: "ada".to_owned(), number }
    }
}

#[event(topic = "booked.{region}.{year}", name = "regions.booked")]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Booked {
    region: String,
    year: u16,
}

/// Which handler has seen which number, from which region.
type Seen = Journal<(&'static str, String, u64)>;

#[handler(name = "all", group = "all")]
async fn all(paid: Paid, meta: Meta<'_>, State(seen): State<Seen>) -> Result<Option<Booked>, BoxError> {
    tokio::time::sleep(ms(5)).await;
    seen.note(("all", meta.topic_param("region").unwrap_or("?").to_owned(), paid.number));
    match paid.number {
        13 => Err("unlucky".into()),
        99 => Ok(Some(Booked { region: String::new(), year: 2024 })),
        _ => Ok(Some(Booked { region: paid.region, year: 2024 })),
    }
}

#[handler(name = "eu", group = "eu", topic = "regions.eu")]
async fn eu(paid: Paid, meta: Meta<'_>, State(seen): State<Seen>) {
    seen.note(("eu", meta.topic_param("region").unwrap_or("?").to_owned(), paid.number));
}

#[handler(name = "star", group = "star", topic = "regions.*")]
async fn star(message: Message, State(seen): State<Seen>) {
    seen.note(("star", message.topic().to_string(), 0));
}

#[handler(name = "late", group = "late", on_retry = pass, retry(attempts = 2, backoff = "30s", jitter = 0))]
async fn late(paid: Paid, meta: Meta<'_>, State(seen): State<Seen>) -> Result<(), BoxError> {
    seen.note(("late", meta.topic().to_string(), paid.number));
    if meta.attempt() == 1 { Err("too early".into()) } else { Ok(()) }
}

async fn start(handlers: &[&str]) -> (TestApp, Seen) {
    let seen = Seen::new();
    let app = App::new("regions").state(seen.clone()).only(handlers.iter().copied());
    (TestApp::start(app).await.unwrap(), seen)
}

fn sorted(seen: &Seen) -> Vec<(&'static str, String, u64)> {
    let mut items = seen.items();
    items.sort();
    items
}

#[tokio::test(start_paused = true)]
async fn an_event_goes_to_the_topic_of_its_field_and_is_read_by_all_who_read_that() {
    let (app, seen) = start(&["all", "eu", "star"]).await;
    for (number, region) in [(1, "eu"), (2, "us"), (3, "eu")] {
        app.publish(&Paid::of(region, number)).await.unwrap();
    }
    app.settled().await;
    let of = |handler, place: &str, number| (handler, place.to_owned(), number);
    let expected = [
        of("all", "eu", 1),
        of("all", "eu", 3),
        of("all", "us", 2),
        of("eu", "eu", 1),
        of("eu", "eu", 3),
        of("star", "regions.eu", 0),
        of("star", "regions.eu", 0),
        of("star", "regions.us", 0),
    ];
    assert_eq!(sorted(&seen), expected, "{}", app.story());
    assert_eq!(stored(&app, "regions.us").len(), 1);
    app.published::<Paid>().assert_count(3);
    app.published::<Booked>().assert_count(3);
    assert_eq!(stored(&app, "booked.us.2024").len(), 1, "what a handler returns makes its topics too");
    assert_eq!(status(&app, "all").await.handled, 3);
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_key_stay_in_order_within_each_topic() {
    let (app, seen) = start(&["all"]).await;
    let paid: Vec<_> = (20..40).map(|number| Paid::of(if number % 2 == 0 { "eu" } else { "us" }, number)).collect();
    assert!(app.publisher().publish_all(&paid).await.iter().all(Result::is_ok));
    app.settled().await;
    for region in ["eu", "us"] {
        let numbers: Vec<_> = seen.items().into_iter().filter(|one| one.1 == region).map(|one| one.2).collect();
        assert!(numbers.len() == 10 && numbers.is_sorted(), "{region}: {numbers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letters_and_retries_are_those_of_the_topic_that_was_meant() {
    let (app, seen) = start(&["all"]).await;
    app.publish(&Paid::of("mars", 13)).await.unwrap();
    let bare = Message::builder("regions.mars").payload("?").build();
    app.publish_message(bare).await.unwrap();
    app.settled().await;
    assert_eq!(seen.len(), 5, "{}", app.story());
    let letters = stored(&app, "regions.mars.all.dead");
    assert_eq!(letters.len(), 2, "{}", app.story());
    assert!(letters.iter().all(|letter| header(letter, "convoke-dead-topic") == Some("regions.mars")));

    // What is sent back to the group's own place is of the topic too.
    let again = Message::builder("regions.mars.all.retry").payload(r#"{"region":"mars","customer":"ada","number":7}"#).build();
    app.publish_message(again).await.unwrap();
    app.settled().await;
    assert_eq!(seen.items().last().unwrap(), &("all", "mars".to_owned(), 7), "{}", app.story());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_a_part_of_a_name_is_refused_by_kind_and_not_sent() {
    let (app, seen) = start(&["all"]).await;
    for region in ["", "eu.west", "*", ">", "a b", "dead", "retry", &"x".repeat(300)] {
        let error = app.publish(&Paid::of(region, 1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTopic, "{region}: {error}");
        assert!(error.to_string().contains("`regions.{region}`"), "{error}");
    }
    assert!(app.messages().is_empty());
    // A handler that returns such an event has failed for good.
    app.publish(&Paid::of("eu", 99)).await.unwrap();
    app.settled().await;
    let letters = app.dead_letters("all");
    assert_eq!((seen.len(), letters.len()), (1, 1), "{}", app.story());
    assert!(header(&letters[0], "convoke-dead-error").unwrap().contains("a part of a topic's name is not empty"));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_begins_later_reads_what_was_published_to_topics_that_it_never_saw() {
    let broker = Arc::new(MemoryBroker::new());
    let mut topology = Topology::default();
    topology.topics.push(TopicSpec::new("regions.asia"));
    broker.ensure(&topology, EnsureMode::Create).await.unwrap();
    let payload = r#"{"region":"asia","customer":"ada","number":1}"#;
    broker.publish(vec![Outgoing::new(Message::builder("regions.asia").payload(payload).build())]).await;
    let seen = Seen::new();
    let app = App::new("regions").state(seen.clone()).only(["all"]).quiet().broker(broker);
    let app = app.start().await.unwrap();
    app.settled().await;
    assert_eq!(seen.items(), [("all", "asia".to_owned(), 1)]);
    assert!(app.drain().await.clean);
}

/// Reads the same as `all`, in its group.
#[handler(name = "greedy", group = "all", topics("regions.eu", "elsewhere"))]
async fn greedy(_paid: Paid) {}

#[handler(name = "circle", group = "circle", topic = "circle.*", dead_letter = "circle.broken")]
async fn circle(_paid: Paid) {}

#[tokio::test]
async fn what_overlaps_in_a_group_or_comes_back_to_it_is_refused() {
    let app = App::new("regions").state(Seen::new()).url("memory://regions").only(["all", "greedy", "circle"]);
    let text = app.build().await.unwrap_err().to_string();
    assert!(text.contains("2 things are to be mended"), "{text}");
    assert!(text.contains("handlers `all` (tests/regions.rs:"), "{text}");
    assert!(text.contains("`greedy` (tests/regions.rs:") && text.contains("in the group `all`"), "{text}");
    assert!(
        text.contains("`circle` (tests/regions.rs:") && text.contains("dead letters to `circle.broken`, which it reads"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_beside_the_topic_that_appeared_in_every_guise() {
    for guise in Guise::ALL {
        // Also where the broker itself has no patterns yet.
        let broker = Arc::new(MemoryBroker::with(Options::default().guise(guise).patterns(true)).unwrap());
        let seen = Seen::new();
        let app = App::new("regions").state(seen.clone()).only(["late"]).quiet().broker(Arc::new(broker.another()));
        let app = app.start().await.unwrap();
        // Where nothing is kept for nobody, the topic must be there before anything is published to it.
        app.publisher().publish(&Paid::of("mars", 1)).await.unwrap();
        app.settled().await;
        let expected = [("late", "regions.mars".to_owned(), 1), ("late", "regions.mars".to_owned(), 1)];
        assert_eq!(seen.items(), expected, "{guise:?}");
        assert!(seen.times()[1] >= ms(30_000), "{guise:?}: {:?}", seen.times());
        let waited = broker.messages("regions.mars.late.retry.20s").len();
        assert_eq!(waited, usize::from(!matches!(guise, Guise::Nats | Guise::Redis)), "{guise:?}");
        assert!(app.drain().await.clean);
    }
}

#[event(topic = "regions-audit", name = "regions.audited")]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Audited {
    number: u64,
}

#[handler(name = "audits", group = "audits")]
async fn audits(paid: Paid, publisher: Publisher) -> Result<(), BoxError> {
    publisher.publish(&Audited { number: paid.number }).await?;
    Ok(())
}

/// Somewhere else, in another program.
#[handler(name = "auditor", group = "auditor")]
async fn auditor(audited: Audited, State(seen): State<Seen>) {
    seen.note(("auditor", "regions-audit".to_owned(), audited.number));
}

#[tokio::test(start_paused = true)]
async fn what_no_handler_that_takes_part_names_can_be_published_all_the_same() {
    let (broker, seen) = (MemoryBroker::with(Options::default()).unwrap(), Seen::new());
    let app = App::new("regions").only(["audits"]).state(seen).quiet().broker(Arc::new(broker.another())).start().await.unwrap();
    assert!(
        !broker.topics().await.unwrap().iter().any(|(topic, _)| topic.as_str() == "regions-audit"),
        "not before it is needed"
    );
    for number in 0..10 {
        app.publisher().publish(&Paid::of("eu", number)).await.unwrap();
    }
    app.settled().await;
    assert_eq!(broker.messages("regions-audit").len(), 10);
    assert_eq!(status(&app, "audits").await.failed, 0);
    assert!(app.drain().await.clean);
}
