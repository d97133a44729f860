//! Deliveries made by hand, handlers that remember what they were given, and a subscriber that remembers what it was told.
#![allow(dead_code, reason = "every test binary uses a part of it")]

pub(crate) mod subscriber;

use std::sync::{Arc, Mutex};

use convoke_core::broker::Token;
use convoke_core::{
    BoxError, BoxFuture, BoxHandler, Delivered, Delivery, Error, HandlerContext, Incoming, Message, Outcome, Outgoing, Position,
    PublishSink, Publisher, Receipt, Reply, StateMap, Verdict, handler_fn,
};
use tower::{Service, ServiceExt};

struct Nowhere;

impl PublishSink for Nowhere {
    fn publish(&self, _batch: Vec<Outgoing>) -> BoxFuture<'_, Vec<Result<Receipt, Error>>> {
        Box::pin(async { Vec::new() })
    }
}

fn context() -> Arc<HandlerContext> {
    Arc::new(HandlerContext {
        handler: "reserve".into(),
        group: "warehouse".into(),
        patterns: Box::default(),
        app: "shop".into(),
        state: Arc::new(StateMap::default()),
        publisher: Publisher::new(Arc::new(Nowhere)),
        claims: Arc::default(),
    })
}

/// The message at `offset`, with the payload `payload`, for the second time.
pub(crate) fn message(offset: u64, payload: &'static str) -> Delivered {
    let message = Message::builder("orders.paid").payload(payload);
    delivered(message.header("ce-id", format!("id-{offset}")).build(), offset)
}

pub(crate) fn delivered(message: Message, offset: u64) -> Delivered {
    let position = Position::Offset(offset);
    Delivered::new(Incoming::new(message, 3, position, Token::for_tests(position)), 2)
}

pub(crate) fn one(message: Delivered) -> Delivery {
    Delivery::one(message, context())
}

/// A batch of messages with these payloads, at the offsets 0, 1, 2…
pub(crate) fn batch(payloads: &[&'static str]) -> Delivery {
    let messages = payloads.iter().enumerate().map(|(offset, payload)| message(offset as u64, payload));
    Delivery::batch(messages.collect(), context())
}

pub(crate) type Seen = Arc<Mutex<Vec<Vec<u64>>>>;

/// The offsets of a delivery.
pub(crate) fn offsets(delivery: &Delivery) -> Vec<u64> {
    let offset = |message: &Delivered| match message.incoming.position {
        Position::Offset(offset) => offset,
        other => panic!("an offset, not {other}"),
    };
    delivery.messages().iter().map(offset).collect()
}

/// A handler that answers what `answer` says, and the offsets of what it was called with.
pub(crate) fn handler(
    answer: impl Fn(&Delivery) -> Result<Reply, BoxError> + Clone + Send + Sync + 'static,
) -> (BoxHandler, Seen) {
    let seen = Seen::default();
    let remember = Arc::clone(&seen);
    let service = tower::util::BoxCloneSyncService::new(handler_fn(move |delivery| {
        remember.lock().unwrap().push(offsets(&delivery));
        let answer = answer(&delivery);
        async move {
            tokio::task::yield_now().await;
            answer
        }
    }));
    (BoxHandler::new(service), seen)
}

pub(crate) async fn call(handler: &BoxHandler, delivery: Delivery) -> Result<Reply, BoxError> {
    handler.clone().ready().await?.call(delivery).await
}

/// Verdicts as words, the error's sentence in place of an outcome where there is one.
pub(crate) fn words(verdict: &Verdict) -> Vec<String> {
    let word = |outcome: &Outcome| format!("{outcome:?}");
    match verdict {
        Verdict::All(outcome) => vec![format!("all {}", word(outcome))],
        Verdict::Each(each) => each.iter().map(|one| one.as_ref().map_or_else(ToString::to_string, word)).collect(),
    }
}
