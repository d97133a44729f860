//! What a handler is called with when messages are claimed first, and what the store in memory remembers.

mod support;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use convoke_core::broker::Token;
use convoke_core::{
    BoxHandler, ClaimStore, Claimed, Delivered, Holder, Incoming, Message, Position, Reply, Word, handler_fn, names,
};
use convoke_layers::DedupLayer;
use convoke_layers::dedup::{ClaimedElsewhere, MemoryClaims};
use support::{call, handler, one, words};
use tokio::time::{advance, timeout};
use tower::Service;
use tower::limit::ConcurrencyLimitLayer;

const LEASE: Duration = Duration::from_secs(30);

fn job(id: &str, offset: u64) -> Delivered {
    let builder = Message::builder("orders.paid").header(names::SOURCE, "shop").header(names::ID, id.to_owned());
    support::delivered(builder.build(), offset)
}

async fn claim(store: &MemoryClaims, identity: &str) -> Claimed {
    store.claim(identity, Holder::new(), LEASE).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_was_said_of_a_claim_is_left_for_the_runtime() {
    let store = Arc::new(MemoryClaims::new());
    let (inner, seen) = handler(|_| Ok(Reply::ack()));
    let layered = inner.layered(&DedupLayer::new(Arc::<MemoryClaims>::clone(&store)));
    let mut message = job("1", 0);
    message.ticket = 77;
    let delivery = one(message.clone());
    let context = Arc::clone(delivery.context());
    assert!(!context.claims.used());
    call(&layered, delivery).await.unwrap();
    let [Word::Claimed(77, claim)] = &context.claims.take()[..] else { panic!("a claim for the message") };
    assert_eq!(&*claim.identity, "warehouse/reserve/4:shop/1");

    let delivery = one(message.clone());
    let context = Arc::clone(delivery.context());
    let error = call(&layered, delivery).await.unwrap_err();
    assert!(error.is::<ClaimedElsewhere>(), "{error}");
    assert!(matches!(context.claims.take()[..], [Word::Claimed(77, _), Word::Theirs(77)]));

    store.commit(&claim.identity).await.unwrap();
    let delivery = one(message);
    let context = Arc::clone(delivery.context());
    assert_eq!(words(&call(&layered, delivery).await.unwrap().verdict), ["all Ack"]);
    assert!(matches!(context.claims.take()[..], [Word::Claimed(77, _), Word::Known(77)]));
    assert_eq!(*seen.lock().unwrap(), [[0]]);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_claimed_by_its_place_or_not_at_all_if_its_id_says_nothing() {
    let inner = BoxHandler::new(handler_fn(|_| async { Ok(Reply::ack()) }));
    let layered = inner.layered(&DedupLayer::new(Arc::new(MemoryClaims::new())));
    for (position, identity) in [(Position::Tag(1), None), (Position::Offset(1), Some("warehouse/reserve/@orders.paid/3/1"))] {
        // An id without a source may be another producer's too.
        let message = Message::builder("orders.paid").header(names::ID, "1").build();
        let delivery = one(Delivered::new(Incoming::new(message, 3, position, Token::for_tests(position)), 1));
        let context = Arc::clone(delivery.context());
        call(&layered, delivery).await.unwrap();
        let claimed = context.claims.take().into_iter().map(|word| match word {
            Word::Claimed(_, claim) => claim.identity.to_string(),
            other => panic!("{other:?}"),
        });
        assert_eq!(claimed.collect::<Vec<_>>(), Vec::from_iter(identity));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_known_holds_no_permit_back() {
    let store = Arc::new(MemoryClaims::new());
    store.commit("warehouse/reserve/4:shop/1").await.unwrap();
    let (inner, _) = handler(|_| Ok(Reply::ack()));
    let mut first = inner.layered(&ConcurrencyLimitLayer::new(1)).layered(&DedupLayer::new(store));
    let mut second = first.clone();
    poll_fn(|cx| first.poll_ready(cx)).await.unwrap();
    assert!(poll_fn(|cx| Poll::Ready(second.poll_ready(cx))).await.is_pending());
    first.call(one(job("1", 0))).await.unwrap();
    timeout(Duration::from_secs(1), poll_fn(|cx| second.poll_ready(cx))).await.expect("the permit is free again").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_its_holders_until_its_lease_ends_or_it_is_released() {
    let store = MemoryClaims::new();
    let (one, other) = (Holder::new(), Holder::new());
    assert_eq!(store.claim("a", one, LEASE).await.unwrap(), Claimed::Ours);
    advance(LEASE - Duration::from_secs(1)).await;
    assert_eq!(store.claim("a", one, LEASE).await.unwrap(), Claimed::Ours, "that extends it");
    advance(LEASE - Duration::from_secs(1)).await;
    assert_eq!(store.claim("a", other, LEASE).await.unwrap(), Claimed::Theirs);
    advance(Duration::from_secs(1)).await;
    assert_eq!(store.claim("a", other, LEASE).await.unwrap(), Claimed::Ours, "the lease is over");
    store.release("a", one).await.unwrap();
    assert_eq!(claim(&store, "a").await, Claimed::Theirs, "who lost it cannot release it");
    store.release("a", other).await.unwrap();
    assert_eq!(store.claim("a", one, LEASE).await.unwrap(), Claimed::Ours);
    store.commit("a").await.unwrap();
    store.release("a", one).await.unwrap();
    assert_eq!(claim(&store, "a").await, Claimed::Done, "what was committed stays so");
}

#[tokio::test(start_paused = true)]
async fn the_store_in_memory_forgets_with_time_and_the_oldest_when_it_is_full() {
    let store = MemoryClaims::new().capacity(3).retention(Duration::from_secs(60));
    for identity in ["a", "b", "a", "c", "d"] {
        store.commit(identity).await.unwrap();
        advance(Duration::from_secs(10)).await;
    }
    assert_eq!(store.len(), 3);
    assert_eq!((claim(&store, "a").await, claim(&store, "b").await), (Claimed::Ours, Claimed::Done));
    advance(Duration::from_secs(25)).await;
    assert_eq!((claim(&store, "b").await, claim(&store, "c").await), (Claimed::Ours, Claimed::Done));
    advance(Duration::from_secs(60)).await;
    assert!(store.is_empty());
}

#[tokio::test(start_paused = true)]
async fn claims_that_nobody_ended_do_not_gather_in_the_store() {
    let store = MemoryClaims::new();
    for number in 0..10_000 {
        claim(&store, &number.to_string()).await;
        advance(Duration::from_secs(1)).await;
    }
    let held = format!("{store:?}").matches("Claimed(").count();
    assert!(held < 2_000, "{held}");
}
