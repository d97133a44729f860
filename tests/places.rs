//! A group's own place for messages that come again: what is published there reaches that group and no other.

mod support;

use convoke::memory::MemoryBroker;
use convoke::prelude::*;
use convoke::{Message, names};
use serde::{Deserialize, Serialize};
use support::{Journal, header, ms, stored};

#[event(topic = "places.orders", key = who)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    who: String,
    number: u64,
}

#[derive(Clone)]
struct Seen(Journal<(&'static str, String, u64)>);

/// Fails for good on the number 13, and is slow.
#[handler(group = "places.bills")]
async fn bill(order: Order, meta: Meta<'_>, State(seen): State<Seen>) -> Result<(), BoxError> {
    seen.0.note(("bill", meta.topic().to_string(), order.number));
    tokio::time::sleep(ms(10)).await;
    if order.number == 13 { Err(permanent("unlucky").into()) } else { Ok(()) }
}

#[handler(group = "places.ships")]
async fn ship(order: Order, meta: Meta<'_>, State(seen): State<Seen>) {
    seen.0.note(("ship", meta.topic().to_string(), order.number));
}

async fn start(name: &str) -> (AppHandle, Journal<(&'static str, String, u64)>) {
    let seen = Journal::new();
    let app = App::new("places").only(["bill", "ship"]).state(Seen(seen.clone())).url(format!("memory://{name}")).quiet();
    (app.start().await.unwrap(), seen)
}

fn to_the_place(who: &str, number: u64) -> Message {
    let payload = format!(r#"{{"who":"{who}","number":{number}}}"#);
    Message::builder("places.orders.places.bills.retry")
        .key(who.to_owned())
        .header(names::ORIGIN_ID, "first")
        .payload(payload)
        .build()
}

#[tokio::test(start_paused = true)]
async fn what_is_in_a_groups_place_is_handled_by_that_group_as_a_message_of_its_topic() {
    let (app, seen) = start("places-group").await;
    app.publisher().publish_message(to_the_place("ada", 1)).await.unwrap();
    app.settled().await;
    assert_eq!(seen.items(), [("bill", "places.orders".to_owned(), 1)]);
    assert!(app.drain().await.clean);
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_a_groups_place_is_a_dead_letter_of_its_topic() {
    let (app, _) = start("places-dead").await;
    app.publisher().publish_message(to_the_place("ada", 13)).await.unwrap();
    app.settled().await;
    let dead = stored(&app, "places.orders.places.bills.dead");
    assert_eq!(dead.len(), 1);
    assert_eq!(header(&dead[0], names::DEAD_TOPIC), Some("places.orders"));
    assert_eq!(header(&dead[0], names::ORIGIN_ID), Some("first"), "its id is still that of its first place");
    assert!(app.drain().await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_in_one_lane_wherever_its_messages_are() {
    let (app, seen) = start("places-lane").await;
    for number in 0..20 {
        let order = Order { who: format!("k{}", number % 4), number };
        app.publisher().publish(&order).await.unwrap();
        app.publisher().publish_message(to_the_place(&order.who, 100 + number)).await.unwrap();
    }
    app.settled().await;
    let of_bill = |number: u64| seen.all().iter().find(|(_, (who, _, n))| *who == "bill" && *n == number).unwrap().0;
    for key in 0..4 {
        let mut begun: Vec<_> =
            (0..20).filter(|number| number % 4 == key).flat_map(|number| [of_bill(number), of_bill(100 + number)]).collect();
        begun.sort_unstable();
        assert!(begun.windows(2).all(|pair| pair[1] - pair[0] >= ms(10)), "never two of a key at once: {begun:?}");
    }
    assert!(app.drain().await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_place_has_as_many_partitions_as_its_topic() {
    use convoke::broker::{Broker, EnsureMode, TopicSpec, Topology};
    let broker = MemoryBroker::named("places-partitions");
    let mut topology = Topology::default();
    let mut orders = TopicSpec::new("places.orders");
    orders.partitions = Some(3);
    topology.topics.push(orders);
    broker.ensure(&topology, EnsureMode::Create).await.unwrap();
    let (app, _) = start("places-partitions").await;
    topology.topics = vec![TopicSpec::new("places.orders.places.bills.retry")];
    let report = broker.ensure(&topology, EnsureMode::Check).await.unwrap();
    assert_eq!(report.partitions, [("places.orders.places.bills.retry".into(), 3)]);
    assert!(app.drain().await.clean);
}
