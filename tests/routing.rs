//! Which handler of a group takes a message: by a header, and by the topic that it came from.

mod support;

use convoke::UnknownEvents;
use convoke::prelude::*;
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
