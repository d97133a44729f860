//! What handlers take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use convoke::prelude::*;
use convoke::{DeadReason, Delivery, FromDelivery, Rejection, TypeInfo, Verdict, class_of};

use crate::support::{OrderPaid, StockReserved, World, assert_outcome, call, handler, message, paid, topics};

trait Stock: Send + Sync {
    fn take(&self, order: u64) -> u64;
}

#[derive(Default)]
struct Shelf(AtomicU64);

impl Stock for Shelf {
    fn take(&self, order: u64) -> u64 {
        self.0.fetch_add(order, Ordering::Relaxed) + order
    }
}

#[handler]
async fn takes_state(paid: OrderPaid, State(stock): State<Arc<dyn Stock>>) -> StockReserved {
    tokio::task::yield_now().await;
    StockReserved { order: stock.take(paid.order) }
}

/// Everything that borrows, across an await.
#[handler(group = "readers")]
async fn takes_meta(meta: Meta<'_>, paid: OrderPaid, hidden: Meta<'_>) -> Outcome {
    tokio::task::yield_now().await;
    let key = meta.key().map(ToString::to_string).unwrap_or_default();
    Outcome::dead(format!(
        "{} {key} {} {} {} {} {} {}",
        meta.topic(),
        meta.partition(),
        meta.position(),
        meta.attempt(),
        hidden.group(),
        hidden.handler(),
        paid.order
    ))
}

#[handler(topic = "anything")]
async fn takes_message(message: Message) -> Outcome {
    Outcome::dead(String::from_utf8_lossy(message.payload()).into_owned())
}

#[handler]
async fn takes_publisher(paid: OrderPaid, publisher: Publisher) -> Result<(), convoke::Error> {
    publisher.publish(&StockReserved { order: paid.order }).await?;
    Ok(())
}

#[handler(batch(size = 100, wait = "50ms"))]
async fn takes_batch(batch: Batch<OrderPaid>) -> Vec<StockReserved> {
    batch.into_iter().map(|paid| StockReserved { order: paid.order }).collect()
}

/// An extractor of the application's own, one that borrows.
struct Tenant<'d>(&'d str);

impl<'d> FromDelivery<'d> for Tenant<'d> {
    fn from_delivery(delivery: &'d Delivery) -> Result<Self, Rejection> {
        let tenant = delivery.first().and_then(|first| first.message().headers().get_str("tenant"));
        tenant.map(Self).ok_or_else(|| Rejection::Failed("no tenant".into()))
    }
}

#[handler]
async fn takes_own_extractor(_paid: OrderPaid, Tenant(tenant): Tenant<'_>) -> Outcome {
    tokio::task::yield_now().await;
    Outcome::dead(tenant.to_owned())
}

mod own {
    use super::*;

    /// An extractor that happens to have the name of one of ours.
    #[derive(Default)]
    pub(super) struct State<T>(pub(super) T);

    impl<'d, T: Default> FromDelivery<'d> for State<T> {
        fn from_delivery(_: &'d Delivery) -> Result<Self, Rejection> {
            Ok(Self::default())
        }
    }
}

#[handler]
async fn takes_namesake(_paid: OrderPaid, own::State(text): own::State<String>) -> Outcome {
    Outcome::dead(text)
}

/// A function and an argument that have the names of what is around the call.
#[handler]
async fn delivery(delivery: OrderPaid) -> Outcome {
    let _ = delivery;
    Outcome::Drop
}

#[handler]
async fn takes_conditional(
    #[cfg(panic = "unwind")] paid: OrderPaid,
    #[cfg(any())] nothing: Nothing,
    #[allow(unused_variables)] meta: Meta<'_>,
) -> Outcome {
    Outcome::dead(paid.customer)
}

#[tokio::test]
async fn state_may_be_a_trait_object() {
    let stock: Arc<dyn Stock> = Arc::new(Shelf::default());
    let reply = World::with(stock).call("takes_state", message(&paid(7))).await.expect("it replies");
    assert_outcome(&reply, &Outcome::Ack);
    assert_eq!(topics(&reply), ["stock.reserved"]);
}

#[tokio::test]
async fn missing_state_is_a_failed_attempt_that_names_the_type() {
    let error = call("takes_state").await.expect_err("there is no state");
    assert!(error.to_string().contains("dyn macros::arguments::Stock"), "{error}");
}

#[tokio::test]
async fn arguments_may_borrow_from_the_delivery() {
    let reply = call("takes_meta").await.expect("it replies");
    assert_outcome(&reply, &Outcome::dead("orders.paid ada 3 0 2 readers takes_meta 7"));
}

#[tokio::test]
async fn a_message_comes_undecoded() {
    let message = Message::builder("anything").payload("{").build();
    let reply = World::default().call("takes_message", message).await.expect("it replies");
    assert_outcome(&reply, &Outcome::dead("{"));
}

#[tokio::test]
async fn a_publisher_publishes_at_once() {
    let world = World::default();
    let outbox = Arc::clone(&world.outbox);
    let reply = world.call("takes_publisher", message(&paid(7))).await.expect("it replies");
    assert!(reply.outgoing.is_empty());
    assert_eq!(outbox.0.lock().expect("unpoisoned").len(), 1);
}

#[tokio::test]
async fn a_batch_leaves_out_what_does_not_decode() {
    let messages = vec![message(&paid(1)), Message::builder("orders.paid").payload("{").build(), message(&paid(3))];
    let reply = World::default().call_batch("takes_batch", messages).await.expect("it replies");
    assert_eq!(reply.outgoing.len(), 2);
    assert_eq!(reply.rejected.len(), 1);
    assert_eq!((reply.rejected[0].index, reply.rejected[0].reason), (1, DeadReason::Undecodable));
}

#[tokio::test]
async fn what_does_not_decode_is_rejected_before_the_function_is_called() {
    let message = Message::builder("orders.paid").payload("{").build();
    let reply = World::default().call("takes_state", message).await.expect("it replies");
    assert!(reply.outgoing.is_empty());
    assert_eq!(reply.rejected[0].reason, DeadReason::Undecodable);
    assert!(matches!(reply.verdict, Verdict::All(Outcome::Ack)));
}

#[tokio::test]
async fn extractors_of_ones_own_work_and_may_fail() {
    let with = message(&paid(7)).into_builder().header("tenant", "acme").build();
    let reply = World::default().call("takes_own_extractor", with).await.expect("it replies");
    assert_outcome(&reply, &Outcome::dead("acme"));
    let error = call("takes_own_extractor").await.expect_err("no header");
    assert_eq!(error.to_string(), "no tenant");
    assert_eq!(class_of(&*error), Class::Transient);
    assert_outcome(&call("takes_namesake").await.expect("it replies"), &Outcome::dead(""));
}

#[tokio::test]
async fn names_of_the_user_and_of_generated_code_do_not_meet() {
    assert_outcome(&call("delivery").await.expect("it replies"), &Outcome::Drop);
}

#[tokio::test]
async fn conditions_on_arguments_hold() {
    assert_outcome(&call("takes_conditional").await.expect("it replies"), &Outcome::dead("ada"));
}

#[tokio::test]
async fn the_function_stays_as_it_was_written() {
    let stock: Arc<dyn Stock> = Arc::new(Shelf::default());
    assert_eq!(takes_state(paid(2), State(stock)).await, StockReserved { order: 2 });
    assert_eq!(takes_batch(Batch::of([paid(1)])).await.len(), 1);
}

#[test]
fn the_signature_says_what_is_taken_and_given() {
    let signature = handler("takes_state").signature();
    assert_eq!(signature.inputs.iter().map(|event| event.name).collect::<Vec<_>>(), ["orders.paid"]);
    assert_eq!(signature.outputs.iter().map(|event| event.name).collect::<Vec<_>>(), ["stock.reserved"]);
    assert_eq!(signature.states, [TypeInfo::of::<Arc<dyn Stock>>()]);
    assert!(handler("takes_batch").signature().batch);
    assert!(handler("takes_message").signature().whole);
}
