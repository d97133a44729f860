//! `convoke dead topics`, and what every command does with the broker that it is given.

mod support;

use convoke_cli::Exit;
use support::{Shop, convoke};

#[tokio::test(start_paused = true)]
async fn topics_of_dead_letters_are_listed_with_how_many_wait_in_them() {
    let shop = Shop::with_dead_letters(3).await;
    let (exit, out, _) = convoke(&shop.broker(), "dead topics").await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "letters  topic\n3        orders.bills.dead\n"));
    let (exit, out, _) = convoke(&shop.broker(), "--json dead topics").await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "{\"letters\":3,\"partitions\":8,\"topic\":\"orders.bills.dead\"}\n"));
}

#[tokio::test(start_paused = true)]
async fn the_embedded_broker_of_another_process_is_not_there_to_be_seen() {
    let (exit, _, err) = support::alone("dead topics --url memory://shop").await;
    assert_eq!(exit, Exit::Broker);
    assert!(err.contains("lives within the process of the application"), "{err}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_not_named_or_not_known_is_asked_for_without_showing_passwords() {
    let (exit, _, err) = support::alone("dead topics --url kafka://ada:hush@localhost").await;
    assert_eq!(exit, Exit::Broker);
    assert!(err.contains("no adapter for `kafka://` yet") && !err.contains("hush"), "{err}");
    let (exit, _, err) = support::alone("dead topics --url hush").await;
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("begins with its scheme") && !err.contains("hush"), "{err}");
}
