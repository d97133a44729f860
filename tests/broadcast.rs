//! Broadcasts: every instance gets every message, for as long as it runs.

mod support;

use std::time::Duration;

use convoke::broker::{Fault, Start};
use convoke::memory::MemoryBroker;
use convoke::prelude::*;
use serde::{Deserialize, Serialize};
use support::{Journal, header, ms, status, stored};

#[event(topic = "cast.prices", key = article)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Price {
    article: String,
    cents: u64,
}

#[event(topic = "cast.refreshed", key = cents)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Refreshed {
    cents: u64,
}

type Seen = Journal<(u64, u32)>;

/// Articles say how it goes: `fails once`, `never` works, `slow`.
async fn refresh_with(price: &Price, attempt: u32, seen: &Seen) -> Result<(), BoxError> {
    match (price.article.as_str(), attempt) {
        ("fails once", 1) => return Err("the first time never works".into()),
        ("never", _) => return Err("it never works".into()),
        ("slow", _) => tokio::time::sleep(ms(1000)).await,
        _ => {}
    }
    seen.note((price.cents, attempt));
    Ok(())
}

/// Keeps the prices of this instance.
#[handler(broadcast, concurrency = 4, retry(attempts = 3, backoff = "10s"))]
async fn refresh(price: Price, meta: Meta<'_>, State(seen): State<Seen>) -> Result<Refreshed, BoxError> {
    refresh_with(&price, meta.attempt(), &seen).await?;
    Ok(Refreshed { cents: price.cents })
}

/// Reads what there is when it begins, too.
#[handler(broadcast, start = earliest)]
async fn replay(price: Price, meta: Meta<'_>, State(seen): State<Seen>) -> Result<(), BoxError> {
    refresh_with(&price, meta.attempt(), &seen).await
}

/// An ordinary group beside it.
#[handler]
async fn archive(_price: Price) {}

async fn instance(url: &str, handler: &str) -> (TestApp, Seen) {
    let seen = Seen::new();
    (TestApp::start_on(App::new("cast").state(seen.clone()).only([handler]), url).await.unwrap(), seen)
}

async fn publish(app: &TestApp, article: &str, cents: std::ops::Range<u64>) {
    let prices: Vec<_> = cents.map(|cents| Price { article: article.to_owned(), cents }).collect();
    app.publisher().publish_all(&prices).await.into_iter().for_each(|answer| drop(answer.unwrap()));
}

fn cents(seen: &Seen) -> Vec<u64> {
    let mut cents: Vec<_> = seen.items().into_iter().map(|(cents, _)| cents).collect();
    cents.sort_unstable();
    cents
}

fn up_to(end: u64) -> Vec<u64> {
    (0..end).collect()
}

#[tokio::test(start_paused = true)]
async fn every_instance_gets_every_message_from_the_moment_it_has_started() {
    let (url, _broker) = ("memory://cast-each", MemoryBroker::named("cast-each"));
    let (one, of_one) = instance(url, "refresh").await;
    publish(&one, "plain", 0..5).await;
    let (other, of_other) = instance(url, "refresh").await;
    publish(&other, "plain", 5..20).await;
    one.settled().await;
    other.settled().await;
    assert_eq!(cents(&of_one), up_to(20));
    assert_eq!(cents(&of_other), (5..20).collect::<Vec<_>>(), "not what came before it");
    assert_eq!(stored(&one, "cast.refreshed").len(), 35, "what each returned is published");
}

#[tokio::test(start_paused = true)]
async fn an_instance_may_begin_at_the_earliest_message() {
    let (url, _broker) = ("memory://cast-earliest", MemoryBroker::named("cast-earliest"));
    let (archive, _) = instance(url, "archive").await;
    publish(&archive, "plain", 0..7).await;
    for _ in 0..2 {
        let (app, seen) = instance(url, "replay").await;
        app.settled().await;
        assert_eq!(cents(&seen), up_to(7), "each start reads everything");
        app.drain().await;
    }
    let app = App::new("cast").state(Seen::new()).only(["refresh"]).start_at("refresh", Start::Earliest);
    let app = TestApp::start_on(app, url).await.unwrap();
    app.settled().await;
    assert_eq!(status(&app, "refresh").await.handled, 7, "the application can say so as well");
}

#[tokio::test(start_paused = true)]
async fn an_instance_retries_by_itself_and_gives_up_by_itself() {
    let (url, _broker) = ("memory://cast-retry", MemoryBroker::named("cast-retry"));
    let (one, of_one) = instance(url, "refresh").await;
    let (other, of_other) = instance(url, "refresh").await;
    publish(&one, "fails once", 0..1).await;
    publish(&one, "never", 1..2).await;
    publish(&one, "plain", 2..3).await;
    one.settled().await;
    other.settled().await;
    for seen in [of_one, of_other] {
        let mut items = seen.items();
        items.sort_unstable();
        assert_eq!(items, [(0, 2), (2, 1)]);
    }
    let dead = stored(&one, "cast.prices.cast.refresh.dead");
    assert_eq!(dead.len(), 2, "one dead letter for each instance");
    assert!(dead.iter().all(|letter| header(letter, "convoke-dead-attempts") == Some("3")));
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_runs_and_leaves_nothing_behind() {
    let (url, _broker) = ("memory://cast-drain", MemoryBroker::named("cast-drain"));
    let (app, seen) = instance(url, "refresh").await;
    let (other, of_other) = instance(url, "refresh").await;
    publish(&app, "slow", 0..10).await;
    tokio::time::sleep(ms(1500)).await;
    let report = app.drain().await;
    assert!(report.clean, "{report:?}");
    assert_eq!(cents(&seen), [0, 1], "it has finished what ran, one key after the other");
    other.settled().await;
    assert_eq!(cents(&of_other), up_to(10), "nobody else is concerned");
    let (next, of_next) = instance(url, "refresh").await;
    next.settled().await;
    assert!(cents(&of_next).is_empty(), "what the first had not handled is gone with it");
}

#[tokio::test(start_paused = true)]
async fn a_cut_loses_nothing_of_a_broadcast() {
    let (url, _broker) = ("memory://cast-cut", MemoryBroker::named("cast-cut"));
    let (app, seen) = instance(url, "refresh").await;
    let (archive, _) = instance(url, "archive").await;
    publish(&app, "plain", 0..3).await;
    app.inject(Fault::Cut { down: Duration::from_secs(5) }).unwrap();
    publish(&archive, "plain", 3..6).await;
    app.settled().await;
    let all: std::collections::BTreeSet<_> = cents(&seen).into_iter().collect();
    assert_eq!(all, (0..6).collect());
    assert_eq!(status(&app, "refresh").await.gaps, 0);
}

#[tokio::test(start_paused = true)]
async fn pause_and_resume_work_and_the_status_tells() {
    let (url, _broker) = ("memory://cast-pause", MemoryBroker::named("cast-pause"));
    let (app, seen) = instance(url, "refresh").await;
    app.pause("refresh").unwrap();
    publish(&app, "plain", 0..3).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let paused = status(&app, "refresh").await;
    assert!(paused.paused && paused.healthy && cents(&seen).is_empty(), "{paused:?}");
    app.resume("refresh").unwrap();
    app.settled().await;
    assert_eq!(cents(&seen), up_to(3));
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_from_the_earliest_message_can_read_to_the_end() {
    let (url, _broker) = ("memory://cast-end", MemoryBroker::named("cast-end"));
    let (archive, _) = instance(url, "archive").await;
    publish(&archive, "plain", 0..9).await;
    let seen = Seen::new();
    let app = App::new("cast").url(url).quiet().state(seen.clone()).only(["replay"]).until_end();
    tokio::time::timeout(Duration::from_secs(60), app.run()).await.expect("it ends").unwrap();
    assert_eq!(cents(&seen), up_to(9));
}

#[tokio::test]
async fn the_table_says_what_is_a_broadcast_and_no_group_is_made_for_it() {
    let app = App::new("cast").url("memory://cast-table").state(Seen::new()).only(["refresh", "archive"]);
    let ready = app.build().await.unwrap();
    let row = |name: &str| ready.table().lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(row("refresh").contains("broadcast"), "{}", ready.table());
    assert!(!row("archive").contains("broadcast"), "{}", ready.table());
    let groups: Vec<_> = ready.topology().groups.into_iter().map(|group| group.name).collect();
    assert!(
        groups.iter().any(|group| group == "cast.archive") && !groups.iter().any(|group| group == "cast.refresh"),
        "{groups:?}"
    );
}
