//! A subscription that stops because a policy says so: at an unknown event, or at a gap. Nothing is lost by it, and it is seen.

mod support;

use std::time::Duration;

use convoke::memory::MemoryBroker;
use convoke::prelude::*;
use convoke::{ErrorKind, OnGap, StopReason, UnknownEvents};
use serde::{Deserialize, Serialize};
use support::{Journal, ms, status, stored};

#[event(topic = "stops.orders", key = customer)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    customer: String,
    number: u64,
}

/// What only newer programs know.
#[event(topic = "stops.orders", name = "stops.refunds", key = customer)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Refund {
    customer: String,
    number: u64,
}

#[event(topic = "stops.other")]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Other(u64);

type Seen = Journal<u64>;

/// One at a time, so that some of what came in has not begun.
#[handler(name = "take", group = "stops", concurrency = 1)]
async fn take(order: Order, State(seen): State<Seen>) {
    tokio::time::sleep(ms(5)).await;
    seen.note(order.number);
}

#[handler(name = "refund", group = "stops")]
async fn refund(refund: Refund, State(seen): State<Seen>) {
    seen.note(refund.number);
}

#[handler(name = "other")]
async fn other(Other(number): Other, State(seen): State<Seen>) {
    seen.note(number);
}

fn order(number: u64) -> Order {
    Order { customer: format!("c{}", number % 3), number }
}

fn app(seen: &Seen, handlers: &[&str]) -> App {
    App::new("stops").state(seen.clone()).only(handlers.iter().copied()).unknown_events(UnknownEvents::Fail).quiet()
}

async fn start(url: &str, handlers: &[&str]) -> (TestApp, Seen) {
    let seen = Seen::new();
    (TestApp::start_on(app(&seen, handlers), url).await.unwrap(), seen)
}

/// Orders 1 to 3, a refund, and orders 5 and 6, as one batch, so that they come in together.
async fn publish_with_a_refund(app: &TestApp) {
    let publisher = app.publisher();
    let refund = Refund { customer: "c1".to_owned(), number: 4 };
    let each = (1..=6).map(|number| if number == 4 { publisher.publish(&refund) } else { publisher.publish(&order(number)) });
    for answer in publisher.publish_each(each).await {
        answer.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn at_an_unknown_event_a_subscription_stops_and_who_knows_it_goes_on_exactly_there() {
    for (n, options) in ["", "&guise=kafka", "&guise=nats", "&guise=redis", "&guise=rabbitmq"].into_iter().enumerate() {
        let url = format!("memory://stops-unknown-{n}?partitions=1{options}");
        let (first, seen) = start(&url, &["take", "other"]).await;
        let _broker = MemoryBroker::named(&format!("stops-unknown-{n}"));
        publish_with_a_refund(&first).await;
        first.advance(ms(1)).await;
        assert!(
            seen.len() == 0 && !status(&first, "take").await.healthy,
            "{options}: it stops, and works on what came in before"
        );
        first.publish(&order(7)).await.unwrap();
        first.advance(Duration::from_secs(60)).await;
        assert_eq!(seen.items(), [1, 2, 3], "{options}: what is before it is handled, and nothing behind it\n{}", first.story());
        let take = status(&first, "take").await;
        let [stopped] = &take.stopped[..] else { panic!("{options}: {take:?}") };
        let said = (stopped.reason, stopped.topic.as_str(), stopped.partition);
        assert_eq!(said, (StopReason::UnknownEvent, "stops.orders", 0), "{options}");
        assert!(stopped.error.contains("stops.refunds"), "{stopped:?}");
        assert!(!take.healthy && !first.status().await.ready && take.in_flight == 0, "{options}: {take:?}");
        // The rest of the application goes on.
        first.publish(&Other(100)).await.unwrap();
        first.advance(Duration::from_secs(1)).await;
        assert_eq!(seen.items(), [1, 2, 3, 100], "{options}");
        assert!(status(&first, "other").await.healthy, "{options}");
        let report = first.drain().await;
        assert_eq!((report.clean, report.stopped), (true, 1), "{options}: {report:?}");
        let (second, seen) = start(&url, &["take", "refund", "other"]).await;
        second.settled().await;
        let mut items = seen.items();
        items.sort_unstable();
        assert_eq!(items, [4, 5, 6, 7], "{options}: \n{}", second.story());
        assert!(second.status().await.ready && stored(&second, "stops.orders.stops.dead").is_empty(), "{options}");
        second.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_still_does_not_know_the_event_stops_there_again() {
    let url = "memory://stops-again?partitions=1";
    let mut broker = None;
    for round in 0..3 {
        let (app, seen) = start(url, &["take"]).await;
        if round == 0 {
            broker.get_or_insert_with(|| MemoryBroker::named("stops-again"));
            publish_with_a_refund(&app).await;
        }
        app.advance(Duration::from_secs(60)).await;
        assert_eq!(seen.items(), if round == 0 { vec![1, 2, 3] } else { vec![] }, "{}", app.story());
        assert_eq!(status(&app, "take").await.stopped.len(), 1);
        assert!(tokio::time::timeout(Duration::from_secs(600), app.settled()).await.is_err(), "something is left to do");
        assert!(app.drain().await.clean);
    }
}

/// Waits longer for its retry than a subscription that stops waits for it.
#[handler(name = "stubborn", group = "stops", retry(attempts = 3, backoff = "5m"))]
async fn stubborn(order: Order, meta: Meta<'_>, State(seen): State<Seen>) -> Result<(), &'static str> {
    seen.note(order.number * 10 + u64::from(meta.attempt()));
    if meta.attempt() == 1 { Err("not yet") } else { Ok(()) }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_retry_is_given_back_with_its_attempts_when_the_time_is_over() {
    let url = "memory://stops-retry?partitions=1";
    let (first, seen) = start(url, &["stubborn"]).await;
    let _broker = MemoryBroker::named("stops-retry");
    first.publish(&order(1)).await.unwrap();
    first.publish(&Refund { customer: "c1".to_owned(), number: 2 }).await.unwrap();
    first.advance(Duration::from_secs(60)).await;
    let stopped = status(&first, "stubborn").await;
    assert_eq!((stopped.stopped.len(), stopped.in_flight), (1, 0), "{stopped:?}");
    assert!(first.drain().await.clean);
    let (second, later) = start(url, &["stubborn", "refund"]).await;
    second.settled().await;
    let mut later = later.items();
    later.sort_unstable();
    assert_eq!((seen.items(), later), (vec![11], vec![2, 12]), "{}", second.story());
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_what_a_stopped_subscription_waits_for() {
    let (app, _) = start("memory://stops-drain?partitions=1", &["stubborn"]).await;
    app.publish(&order(1)).await.unwrap();
    app.publish(&Refund { customer: "c1".to_owned(), number: 2 }).await.unwrap();
    app.advance(Duration::from_secs(1)).await;
    let report = app.drain().await;
    assert!(report.clean && report.took < Duration::from_secs(1) && report.stopped == 1, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_to_the_end_that_was_stopped_before_it_is_an_error() {
    let url = "memory://stops-end?partitions=1";
    let (first, _) = start(url, &["take"]).await;
    let _broker = MemoryBroker::named("stops-end");
    first.drain().await;
    let (writer, _) = start(url, &["other"]).await;
    publish_with_a_refund(&writer).await;
    let seen = Seen::new();
    let error = app(&seen, &["take"]).url(url).until_end().run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stopped, "{error}");
    assert_eq!(seen.items(), [1, 2, 3]);
    app(&seen, &["take", "refund"]).url(url).until_end().run().await.unwrap();
    assert_eq!(seen.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn what_was_bound_at_run_time_is_seen_until_it_is_unsubscribed() {
    let seen = Seen::new();
    let app = TestApp::start(app(&seen, &["other"]).on_demand(["take"])).await.unwrap();
    let bound = app.subscribe("stops.more", "take").await.unwrap();
    let unknown = convoke::Message::builder("stops.more").header("ce-type", "somebody.elses.v1").payload("?").build();
    app.publish_message(unknown).await.unwrap();
    let report = bound.ended().await;
    assert_eq!((report.clean, report.stopped), (true, 1), "{report:?}");
    assert_eq!(status(&app, "take").await.stopped.len(), 1);
    let error = app.subscribe("stops.more", "take").await.unwrap_err();
    assert!(error.to_string().contains("unsubscribe that first"), "{error}");
    bound.unsubscribe().await;
    assert!(app.status().await.handlers.iter().all(|one| one.handler != "take") && app.status().await.ready);
    app.subscribe("stops.more", "take").await.unwrap();
}

/// A group that has read order 1; then orders 2 to 9, of which the broker discards all but the last three.
async fn with_a_gap(url: &str, name: &str) -> MemoryBroker {
    let (reader, _) = start(url, &["take"]).await;
    let broker = MemoryBroker::named(name);
    reader.publish(&order(1)).await.unwrap();
    reader.settled().await;
    reader.drain().await;
    let (writer, _) = start(url, &["other"]).await;
    for number in 2..=9 {
        writer.publish(&order(number)).await.unwrap();
    }
    writer.drain().await;
    broker
}

#[tokio::test(start_paused = true)]
async fn at_a_gap_a_subscription_stops_if_the_policy_says_so_and_loses_nothing_by_it() {
    for (n, options) in ["", "&guise=kafka", "&guise=nats", "&guise=redis"].into_iter().enumerate() {
        let name = format!("stops-gap-{n}");
        let url = format!("memory://{name}?partitions=1&retention=3&full=trim{options}");
        let _broker = with_a_gap(&url, &name).await;
        let seen = Seen::new();
        let stops = TestApp::start_on(app(&seen, &["take", "other"]).on_gap(OnGap::Stop), &url).await.unwrap();
        stops.advance(Duration::from_secs(60)).await;
        stops.publish(&Other(100)).await.unwrap();
        stops.advance(Duration::from_secs(1)).await;
        assert_eq!(seen.items(), [100], "{options}: {}", stops.story());
        let take = status(&stops, "take").await;
        let [stopped] = &take.stopped[..] else { panic!("{options}: {take:?}") };
        let said = (stopped.reason, stopped.topic.as_str(), stopped.partition);
        assert_eq!(said, (StopReason::Gap, "stops.orders", 0), "{options}");
        assert!(!take.healthy && take.gaps == 1, "{options}: {take:?}");
        assert!(stops.drain().await.clean);
        let (goes_on, seen) = start(&url, &["take"]).await;
        goes_on.settled().await;
        assert_eq!(seen.items(), [7, 8, 9], "{options}: {}", goes_on.story());
        goes_on.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn at_a_gap_a_group_goes_on_at_what_is_there_unless_told_to_stop() {
    let url = "memory://stops-gap-goes-on?partitions=1&retention=3&full=trim";
    let _broker = with_a_gap(url, "stops-gap-goes-on").await;
    let (app, seen) = start(url, &["take"]).await;
    app.settled().await;
    let take = status(&app, "take").await;
    assert!(seen.items() == [7, 8, 9] && take.gaps == 1 && take.healthy && take.stopped.is_empty(), "{take:?}");
}
