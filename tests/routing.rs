//! Which handler of a group takes a message: by a header, and by the topic that it came from.

mod support;

use std::sync::Arc;

use convoke::broker::{Broker, EnsureMode, TopicSpec, Topology};
use convoke::memory::MemoryBroker;
use convoke::prelude::*;
use convoke::{ErrorKind, UnknownEvents};
use serde::{Deserialize, Serialize};
use support::{Journal, header, ms, status, stored};

#[event(topic = "routing.orders", key = customer)]
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

/// Which handler has seen which order.
type Seen = Journal<(&'static str, u64)>;

#[handler(name = "eu", group = "regions", match(header = "region", value = "eu"))]
async fn eu(order: Order, State(seen): State<Seen>) {
    tokio::time::sleep(ms(5)).await;
    seen.note(("eu", order.number));
}

#[handler(name = "us", group = "regions", match(header = "region", value = "us"))]
async fn us(orders: Order, State(seen): State<Seen>) -> Result<(), BoxError> {
    seen.note(("us", orders.number));
    if orders.number == 13 { Err(permanent("unlucky").into()) } else { Ok(()) }
}

#[handler(name = "any", group = "regions")]
async fn any(order: Order, State(seen): State<Seen>) {
    seen.note(("any", order.number));
}

#[handler(name = "world", group = "world", topics("routing.eu", "routing.us"))]
async fn world(order: Order, meta: Meta<'_>, State(seen): State<Seen>) -> Result<(), BoxError> {
    tokio::time::sleep(ms(5)).await;
    seen.note((if meta.topic().as_str() == "routing.eu" { "eu" } else { "us" }, order.number));
    if order.number == 13 { Err("unlucky".into()) } else { Ok(()) }
}

#[event(topic = "routing.us", name = "routing.refunds", key = customer)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Refund {
    customer: String,
    number: u64,
}

#[handler(name = "refund", group = "world")]
async fn refund(refund: Refund, State(seen): State<Seen>) {
    seen.note(("refund", refund.number));
}

async fn start(handlers: &[&str], configure: impl FnOnce(App) -> App) -> (TestApp, Seen) {
    let seen = Seen::new();
    let app = App::new("routing").state(seen.clone()).only(handlers.iter().copied());
    (TestApp::start(configure(app)).await.unwrap(), seen)
}

fn sorted(seen: &Seen) -> Vec<(&'static str, u64)> {
    let mut items = seen.items();
    items.sort_unstable();
    items
}

#[tokio::test(start_paused = true)]
async fn a_message_goes_to_the_handler_whose_header_it_has_and_else_to_the_one_that_takes_the_rest() {
    let (app, seen) = start(&["any", "eu", "us"], |app| app).await;
    for (number, region) in [(1, Some("eu")), (2, Some("us")), (3, Some("mars")), (4, None), (5, Some("EU"))] {
        let publish = app.publish(&Order { customer: "ada".to_owned(), number });
        match region {
            Some(region) => publish.header("region", region).await.unwrap(),
            None => publish.await.unwrap(),
        };
    }
    app.settled().await;
    assert_eq!(sorted(&seen), [("any", 3), ("any", 4), ("any", 5), ("eu", 1), ("us", 2)], "{}", app.story());
}

#[tokio::test(start_paused = true)]
async fn a_bare_message_is_told_apart_too_and_only_the_first_header_counts() {
    let (app, seen) = start(&["any", "eu", "us"], |app| app).await;
    let bare = |number: u64| Message::builder("routing.orders").payload(format!(r#"{{"customer":"ada","number":{number}}}"#));
    app.publish_message(bare(1).header("region", "us").build()).await.unwrap();
    app.publish_message(bare(2).build()).await.unwrap();
    let twice = [("region", "eu"), ("region", "us")].into_iter().collect();
    app.publish_message(bare(3).headers(twice).build()).await.unwrap();
    app.settled().await;
    assert_eq!(sorted(&seen), [("any", 2), ("eu", 3), ("us", 1)], "{}", app.story());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_matches_is_skipped_and_counted_or_a_dead_letter_by_policy() {
    let (app, seen) = start(&["eu", "us"], |app| app).await;
    app.publish(&Order::of("ada", 1)).header("region", "mars").await.unwrap();
    app.publish_message(Message::builder("routing.orders").payload("{}").build()).await.unwrap();
    app.publish(&Order::of("ada", 2)).header("region", "eu").await.unwrap();
    app.settled().await;
    let skipped = status(&app, "eu").await.skipped + status(&app, "us").await.skipped;
    assert_eq!((seen.items(), skipped), (vec![("eu", 2)], 2), "{}", app.story());

    let (app, seen) = start(&["eu", "us"], |app| app.unknown_events(UnknownEvents::DeadLetter)).await;
    app.publish(&Order::of("ada", 1)).header("region", "mars").await.unwrap();
    app.settled().await;
    let letters = stored(&app, "routing.orders.regions.dead");
    assert_eq!((seen.len(), letters.len()), (0, 1));
    assert_eq!(header(&letters[0], "convoke-dead-reason"), Some("unknown-event"));
    let error = "no handler of the group takes `routing.orders.v1` with these headers";
    assert_eq!(header(&letters[0], "convoke-dead-error"), Some(error));
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_key_stay_in_order_whichever_handler_takes_them() {
    let (app, seen) = start(&["any", "eu"], |app| app).await;
    for number in 0..20 {
        let publish = app.publish(&Order::of("ada", number));
        if number % 2 == 0 {
            publish.header("region", "eu").await.unwrap()
        } else {
            publish.await.unwrap()
        };
    }
    app.settled().await;
    let numbers: Vec<_> = seen.items().iter().map(|one| one.1).collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>(), "the slow one is waited for");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_that_of_the_handler_that_matched() {
    let (app, _) = start(&["any", "us"], |app| app).await;
    app.publish(&Order::of("ada", 13)).header("region", "us").await.unwrap();
    app.settled().await;
    let letters = app.dead_letters("us");
    assert_eq!((letters.len(), letters[0].topic().as_str()), (1, "routing.orders.regions.dead"));
    assert_eq!(header(&letters[0], "region"), Some("us"), "it would match again");
}

#[tokio::test(start_paused = true)]
async fn a_handler_reads_several_topics_in_one_order_and_is_told_which() {
    let (app, seen) = start(&["world"], |app| app).await;
    for number in 0..10 {
        let topic = if number % 2 == 0 { "routing.eu" } else { "routing.us" };
        app.publish(&Order::of("ada", number)).topic(topic).await.unwrap();
        app.publish(&Order::of("bob", 100 + number)).topic(topic).await.unwrap();
    }
    app.settled().await;
    let of = |customer: u64| seen.all().into_iter().filter(move |(_, (_, number))| number / 100 == customer);
    assert!(of(0).all(|(_, (topic, number))| (topic == "eu") == (number % 2 == 0)), "{:?}", seen.items());
    for customer in [0, 1] {
        let times: Vec<_> = of(customer).map(|(at, _)| at).collect();
        assert_eq!(times.len(), 10, "{}", app.story());
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "one after the other, whatever the topic: {times:?}");
    }
    let times = seen.times();
    assert_eq!(times.last().unwrap().as_millis(), 50, "of different keys at the same time");
}

#[tokio::test(start_paused = true)]
async fn dead_letters_of_several_topics_go_to_the_place_of_their_own_topic() {
    let (app, seen) = start(&["world"], |app| app).await;
    app.publish(&Order::of("ada", 13)).topic("routing.us").await.unwrap();
    app.publish_message(Message::builder("routing.eu").payload("?").build()).await.unwrap();
    app.settled().await;
    assert_eq!(seen.len(), 5, "tried again, within the order");
    for (topic, attempts) in [("routing.us", "5"), ("routing.eu", "0")] {
        let letters = stored(&app, &format!("{topic}.world.dead"));
        assert_eq!(letters.len(), 1, "{topic}: {}", app.story());
        assert_eq!(header(&letters[0], "convoke-dead-topic"), Some(topic));
        assert_eq!(header(&letters[0], "convoke-dead-attempts"), Some(attempts));
    }
}

#[tokio::test(start_paused = true)]
async fn handlers_of_a_group_share_the_topics_that_one_of_them_reads_beside_others() {
    let (app, seen) = start(&["world", "refund"], |app| app).await;
    app.publish(&Order::of("ada", 1)).topic("routing.us").await.unwrap();
    app.publish(&Refund { customer: "ada".to_owned(), number: 2 }).await.unwrap();
    app.publish(&Order::of("ada", 3)).topic("routing.eu").await.unwrap();
    app.publish(&Refund { customer: "ada".to_owned(), number: 4 }).topic("routing.eu").await.unwrap();
    app.settled().await;
    assert_eq!(sorted(&seen), [("eu", 3), ("refund", 2), ("us", 1)], "{}", app.story());
    assert_eq!(status(&app, "world").await.skipped, 1, "nobody reads refunds from there");
}

#[tokio::test(start_paused = true)]
async fn topics_that_share_an_order_have_equal_numbers_of_partitions() {
    let broker = MemoryBroker::new();
    let mut topology = Topology::default();
    let mut spec = TopicSpec::new("routing.us");
    spec.partitions = Some(3);
    topology.topics.push(spec);
    broker.ensure(&topology, EnsureMode::Create).await.unwrap();
    let app = App::new("routing").state(Seen::new()).only(["world"]).quiet().broker(Arc::new(broker));
    let error = app.start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let text = error.to_string();
    assert!(
        text.contains("the group `world` keeps keys in order over `routing.us` with 3 partitions and `routing.eu`"),
        "{text}"
    );
}
