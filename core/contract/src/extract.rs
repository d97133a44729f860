//! Extractors: what a handler's arguments are made from.

use std::any::TypeId;
use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use crate::delivery::{Delivered, Delivery};
use crate::error::BoxError;
use crate::event::{self, Event, EventDef};
use crate::headers::Headers;
use crate::key::Key;
use crate::message::{Message, Topic};
use crate::outcome::DeadReason;
use crate::position::Position;
use crate::publish::Publisher;

/// A handler's argument: made from a delivery, by reference and without waiting.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler",
    label = "not an argument that convoke can fill in",
    note = "if it is the event, put `#[convoke::event(topic = \"…\")]` on its type and take it by value; for several at once take a `Batch`",
    note = "if it is part of the application, take it as `State<…>`, and give it with `App::state`",
    note = "else it is one of `Message`, `Meta<'_>` and `Publisher`, or implements `convoke::FromDelivery`"
)]
pub trait FromDelivery<'d>: Sized {
    /// Makes the argument.
    ///
    /// # Errors
    /// If the delivery has not what it takes; the rejection says what becomes of the message.
    fn from_delivery(delivery: &'d Delivery) -> Result<Self, Rejection>;

    /// Says what this argument is or needs, so that `build()` can check it before the first message.
    fn describe(_signature: &mut Signature) {}
}

/// Why an argument could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Rejection {
    /// The message itself is at fault: it goes to the dead-letter topic at once.
    Dead(DeadReason, BoxError),
    /// A failed attempt, like an error that the handler returns.
    Failed(BoxError),
}

/// What a handler takes and gives, as far as its types tell.
#[derive(Debug, Default)]
pub struct Signature {
    /// The events that it takes.
    pub inputs: Vec<&'static EventDef>,
    /// Whether it takes them in batches.
    pub batch: bool,
    /// Whether it takes whole messages: with no event beside, it reads whatever is on its topics.
    pub whole: bool,
    /// The types of state that it needs.
    pub states: Vec<TypeInfo>,
    /// The events that it returns.
    pub outputs: Vec<&'static EventDef>,
}

/// A type and its name for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeInfo {
    /// The type.
    pub id: TypeId,
    /// Its name.
    pub name: &'static str,
}

impl TypeInfo {
    /// What there is to know of `T`.
    #[must_use]
    pub fn of<T: 'static>() -> Self {
        Self { id: TypeId::of::<T>(), name: std::any::type_name::<T>() }
    }
}

fn first(delivery: &Delivery) -> Result<&Delivered, Rejection> {
    delivery.first().ok_or_else(|| Rejection::Failed("the delivery has no message".into()))
}

/// The event itself: the payload, decoded.
#[diagnostic::do_not_recommend]
impl<'d, T: Event> FromDelivery<'d> for T {
    fn from_delivery(delivery: &'d Delivery) -> Result<Self, Rejection> {
        event::decode(first(delivery)?.message()).map_err(|error| Rejection::Dead(DeadReason::Undecodable, error.into()))
    }

    fn describe(signature: &mut Signature) {
        signature.inputs.push(T::DEF);
    }
}

/// Part of the application's state, cloned: what was given to `App::state`.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use convoke_core::State;
///
/// trait Clock: Send + Sync { fn now(&self) -> u64; }
/// async fn handler(State(clock): State<Arc<dyn Clock>>) { clock.now(); }
/// # let _ = handler;
/// ```
#[derive(Debug, Clone, Copy)]
pub struct State<T>(pub T);

#[diagnostic::do_not_recommend]
impl<'d, T: Clone + Send + Sync + 'static> FromDelivery<'d> for State<T> {
    fn from_delivery(delivery: &'d Delivery) -> Result<Self, Rejection> {
        let state = delivery.context().state.get::<T>();
        // `build()` has checked it; whoever calls handlers without an App learns it here.
        state.cloned().map(Self).ok_or_else(|| {
            let name = std::any::type_name::<T>();
            Rejection::Failed(format!("no state of type `{name}`; give it to the application with `.state(…)`").into())
        })
    }

    fn describe(signature: &mut Signature) {
        signature.states.push(TypeInfo::of::<T>());
    }
}

/// What is known about a message besides its payload. In a batch handler: about the first one.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'d> {
    delivered: &'d Delivered,
    delivery: &'d Delivery,
}

impl<'d> Meta<'d> {
    /// The id: that of the CloudEvent, or of the place for a bare message.
    #[must_use]
    pub fn id(&self) -> Cow<'d, str> {
        self.delivered.id()
    }

    /// The topic that it was read from.
    #[must_use]
    pub fn topic(&self) -> &'d Topic {
        self.message().topic()
    }

    /// A parameter of the topic: where the event's topic, or what the handler reads, is `orders.{region}`, the region of
    /// `orders.eu` is `eu`.
    #[must_use]
    pub fn topic_param(&self, name: &str) -> Option<&'d str> {
        let topic = self.topic().as_str();
        self.delivery.context().patterns.iter().find_map(|pattern| pattern.parameter(topic, name))
    }

    /// The key, if it has one.
    #[must_use]
    pub fn key(&self) -> Option<&'d Key> {
        self.message().key()
    }

    /// The partition's number.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.delivered.incoming.partition
    }

    /// The place within the partition.
    #[must_use]
    pub fn position(&self) -> Position {
        self.delivered.incoming.position
    }

    /// The number of this attempt, from 1. Counts failures, not deliveries.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.delivered.attempt
    }

    /// How often the broker has delivered it, where it counts.
    #[must_use]
    pub fn deliveries(&self) -> u32 {
        self.delivered.incoming.deliveries
    }

    /// When it was published, if the broker knows.
    #[must_use]
    pub fn published_at(&self) -> Option<SystemTime> {
        self.delivered.incoming.published_at
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &'d Headers {
        self.message().headers()
    }

    /// The whole message.
    #[must_use]
    pub fn message(&self) -> &'d Message {
        self.delivered.message()
    }

    /// The group that handles it.
    #[must_use]
    pub fn group(&self) -> &'d str {
        &self.delivery.context().group
    }

    /// The handler's name.
    #[must_use]
    pub fn handler(&self) -> &'d str {
        &self.delivery.context().handler
    }
}

#[diagnostic::do_not_recommend]
impl<'d> FromDelivery<'d> for Meta<'d> {
    fn from_delivery(delivery: &'d Delivery) -> Result<Self, Rejection> {
        Ok(Self { delivered: first(delivery)?, delivery })
    }
}

/// The message as it came, undecoded. A handler that takes it and no event reads whatever is on its `topic`.
#[diagnostic::do_not_recommend]
impl<'d> FromDelivery<'d> for Message {
    fn from_delivery(delivery: &'d Delivery) -> Result<Self, Rejection> {
        Ok(first(delivery)?.message().clone())
    }

    fn describe(signature: &mut Signature) {
        signature.whole = true;
    }
}

#[diagnostic::do_not_recommend]
impl<'d> FromDelivery<'d> for Publisher {
    fn from_delivery(delivery: &'d Delivery) -> Result<Self, Rejection> {
        Ok(delivery.context().publisher.clone())
    }
}

/// Several events at once, in order; contiguous per key under `order = key`.
///
/// A message that does not decode is not among them: it goes to the dead-letter topic alone.
pub struct Batch<T> {
    items: Vec<BatchItem<T>>,
}

/// One event of a [`Batch`].
#[non_exhaustive]
pub struct BatchItem<T> {
    /// The event.
    pub event: T,
    /// Its place in the delivery, for [`BatchReply`](crate::BatchReply).
    pub index: usize,
    /// What came with it.
    pub delivered: Delivered,
}

impl<T> Batch<T> {
    /// A batch of these events, for tests of a handler as a plain function.
    pub fn of(events: impl IntoIterator<Item = T>) -> Self
    where
        T: Event,
    {
        let items = events.into_iter().enumerate().map(|(index, event)| {
            let message = Message::builder(T::DEF.topic).maybe_key(event.key()).build();
            let position = Position::Offset(index as u64);
            let incoming = crate::Incoming::new(message, 0, position, crate::broker::Token::for_tests(position));
            BatchItem { event, index, delivered: Delivered::new(incoming, 1) }
        });
        Self { items: items.collect() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none, because none could be decoded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The events with what came with each.
    pub fn items(&self) -> impl ExactSizeIterator<Item = &BatchItem<T>> + '_ {
        self.items.iter()
    }

    /// The events.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> + '_ {
        self.items.iter().map(|item| &item.event)
    }

    /// The events with what came with each, by value.
    #[must_use]
    pub fn into_items(self) -> Vec<BatchItem<T>> {
        self.items
    }
}

impl<T: 'static> IntoIterator for Batch<T> {
    type Item = T;
    type IntoIter = std::iter::Map<std::vec::IntoIter<BatchItem<T>>, fn(BatchItem<T>) -> T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter().map(|item| item.event)
    }
}

#[diagnostic::do_not_recommend]
impl<'d, T: Event> FromDelivery<'d> for Batch<T> {
    fn from_delivery(delivery: &'d Delivery) -> Result<Self, Rejection> {
        let mut items = Vec::with_capacity(delivery.messages().len());
        for (index, delivered) in delivery.messages().iter().enumerate() {
            match event::decode(delivered.message()) {
                Ok(event) => items.push(BatchItem { event, index, delivered: delivered.clone() }),
                Err(error) => delivery.reject(index, DeadReason::Undecodable, error),
            }
        }
        Ok(Self { items })
    }

    fn describe(signature: &mut Signature) {
        signature.inputs.push(T::DEF);
        signature.batch = true;
    }
}

impl<T: fmt::Debug> fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.items.iter().map(|item| &item.event)).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for BatchItem<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchItem").field("index", &self.index).field("event", &self.event).finish_non_exhaustive()
    }
}
