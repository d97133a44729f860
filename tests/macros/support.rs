//! Calls registered handlers with deliveries made by hand.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};

use convoke::broker::{Durability, Token};
use convoke::prelude::*;
use convoke::{
    BoxError, BoxFuture, Delivered, Delivery, Error, HandlerContext, HandlerDef, Incoming, Outgoing, Position, PublishSink,
    Receipt, Registry, Reply, StateMap, Verdict, encode,
};
use serde::{Deserialize, Serialize};
use tower::Service as _;

/// What most handlers here take.
#[event(topic = "orders.paid", key = customer)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OrderPaid {
    pub(crate) order: u64,
    pub(crate) customer: String,
}

/// What most handlers here return.
#[event(topic = "stock.reserved", key = order)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StockReserved {
    pub(crate) order: u64,
}

pub(crate) fn paid(order: u64) -> OrderPaid {
    OrderPaid { order, customer: "ada".to_owned() }
}

/// Keeps what is published.
#[derive(Default)]
pub(crate) struct Outbox(pub(crate) Mutex<Vec<Message>>);

impl PublishSink for Outbox {
    fn publish(&self, batch: Vec<Outgoing>) -> BoxFuture<'_, Vec<Result<Receipt, Error>>> {
        let messages = batch.into_iter().map(|outgoing| outgoing.message);
        let messages: Vec<_> = messages.collect();
        let receipts =
            messages.iter().map(|message| Ok(Receipt::new(message.id().unwrap_or_default(), None, Durability::Memory)));
        let receipts = receipts.collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(messages);
        Box::pin(async move { receipts })
    }
}

pub(crate) fn handler(name: &str) -> &'static HandlerDef {
    let registry = Registry::collect();
    let mut found = registry.handlers.iter().filter(|def| def.name == name);
    let def = found.next().unwrap_or_else(|| panic!("no handler `{name}`"));
    assert!(found.next().is_none(), "`{name}` twice");
    def
}

/// A world for one call.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) state: StateMap,
    pub(crate) outbox: Arc<Outbox>,
}

impl World {
    pub(crate) fn with<T: Clone + Send + Sync + 'static>(value: T) -> Self {
        let mut world = Self::default();
        world.state.insert(value);
        world
    }

    fn context(self, def: &HandlerDef) -> Arc<HandlerContext> {
        Arc::new(HandlerContext {
            handler: def.name.into(),
            group: def.options.group.unwrap_or("default").into(),
            patterns: Box::default(),
            app: "tests".into(),
            state: Arc::new(self.state),
            publisher: Publisher::new(self.outbox),
            claims: Arc::default(),
        })
    }

    /// Has the handler of this name called with one message.
    pub(crate) async fn call(self, name: &str, message: Message) -> Result<Reply, BoxError> {
        self.call_def(handler(name), message).await
    }

    /// Has this handler called with one message.
    pub(crate) async fn call_def(self, def: &HandlerDef, message: Message) -> Result<Reply, BoxError> {
        let delivery = Delivery::one(delivered(message, 0), self.context(def));
        serve(def, delivery).await
    }

    /// Has the handler of this name called with a batch.
    pub(crate) async fn call_batch(self, name: &str, messages: Vec<Message>) -> Result<Reply, BoxError> {
        let def = handler(name);
        let messages = messages.into_iter().enumerate().map(|(i, message)| delivered(message, i as u64)).collect();
        let delivery = Delivery::batch(messages, self.context(def));
        serve(def, delivery).await
    }
}

async fn serve(def: &HandlerDef, delivery: Delivery) -> Result<Reply, BoxError> {
    let mut service = (def.service)();
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(delivery).await
}

fn delivered(message: Message, offset: u64) -> Delivered {
    let position = Position::Offset(offset);
    Delivered::new(Incoming::new(message, 3, position, Token::for_tests(position)), 2)
}

pub(crate) fn message<E: Event>(event: &E) -> Message {
    encode(event).expect("tests encode").build()
}

/// Has the handler of this name called with `paid(7)`, and nothing else in the world.
pub(crate) async fn call(name: &str) -> Result<Reply, BoxError> {
    World::default().call(name, message(&paid(7))).await
}

/// The topics of what a reply publishes.
pub(crate) fn topics(reply: &Reply) -> Vec<String> {
    reply.outgoing.iter().map(|message| message.clone().build().topic().to_string()).collect()
}

#[track_caller]
pub(crate) fn assert_outcome(reply: &Reply, expected: &Outcome) {
    assert!(matches!(&reply.verdict, Verdict::All(outcome) if outcome == expected), "{:?}", reply.verdict);
}
