//! A delivery made by hand, for handlers that are called as the functions that they are.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use convoke_core::broker::Token;
use convoke_core::{
    BoxFuture, Delivered, Delivery, Error, ErrorKind, Event, FromDelivery as _, HandlerContext, HeaderName, Incoming, Message,
    Meta, Outgoing, Position, PublishSink, Publisher, Receipt, StateMap, TopicPattern, cloudevents, encode, names,
};

/// A delivery of an event that no broker has made: what gives a handler its [`Meta`] when a test calls it as a function:
/// `reserve(paid, ByHand::of(&event).attempt(2).meta()).await`.
pub struct ByHand {
    message: Message,
    attempt: u32,
    context: Arc<HandlerContext>,
    delivery: Delivery,
}

impl ByHand {
    /// The first attempt of an event, as the application itself would have published it.
    ///
    /// # Panics
    /// If the event cannot be written.
    #[track_caller]
    #[must_use]
    pub fn of<E: Event>(event: &E) -> Self {
        let message = match encode(event) {
            Ok(message) => message.header(names::ID, cloudevents::new_id()).build(),
            Err(error) => panic!("`{}` cannot be written as {}: {error}", E::DEF.name, E::DEF.codec),
        };
        let context = HandlerContext {
            handler: "by-hand".into(),
            group: "by-hand".into(),
            app: "by-hand".into(),
            patterns: TopicPattern::new(E::DEF.topic).into_iter().collect(),
            state: Arc::new(StateMap::default()),
            publisher: Publisher::new(Arc::new(Nowhere)),
            claims: Arc::default(),
        };
        let context = Arc::new(context);
        Self { delivery: delivery(&message, 1, &context), message, attempt: 1, context }
    }

    /// Sets the number of the attempt.
    #[must_use]
    pub fn attempt(self, attempt: u32) -> Self {
        Self { attempt, ..self }.renewed()
    }

    /// Sets a header.
    #[must_use]
    pub fn header(self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        let message = self.message.into_builder().header(HeaderName::from(name.into().into_owned()), value).build();
        Self { message, ..self }.renewed()
    }

    /// What the handler takes as its `Meta`.
    ///
    /// # Panics
    /// Never: there is a message.
    #[must_use]
    pub fn meta(&self) -> Meta<'_> {
        Meta::from_delivery(&self.delivery).unwrap_or_else(|_| panic!("a delivery made by hand has a message"))
    }

    fn renewed(self) -> Self {
        Self { delivery: delivery(&self.message, self.attempt, &self.context), ..self }
    }
}

fn delivery(message: &Message, attempt: u32, context: &Arc<HandlerContext>) -> Delivery {
    let position = Position::Offset(0);
    let incoming = Incoming::new(message.clone(), 0, position, Token::for_tests(position));
    Delivery::one(Delivered::new(incoming, attempt), Arc::clone(context))
}

impl fmt::Debug for ByHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByHand").field("message", &self.message).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

/// Where a delivery made by hand publishes to.
struct Nowhere;

impl PublishSink for Nowhere {
    fn publish(&self, batch: Vec<Outgoing>) -> BoxFuture<'_, Vec<Result<Receipt, Error>>> {
        let refused = |_| Err(Error::new(ErrorKind::Unsupported, "a delivery made by hand publishes nothing; use a `TestApp`"));
        Box::pin(std::future::ready(batch.iter().map(refused).collect()))
    }
}
