//! A delivery: what a handler and the layers around it are given.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::broker::Token;
use crate::claim::Claims;
use crate::message::Message;
use crate::outcome::DeadReason;
use crate::pattern::TopicPattern;
use crate::position::Position;
use crate::publish::Publisher;

/// One message as it came from a broker, with what the broker said about it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Incoming {
    /// The message as it came.
    pub message: Message,
    /// What stood in its envelope, if it came in one ([`cloudevents::unwrap`](crate::cloudevents::unwrap)). The runtime fills it
    /// in; adapters leave it empty.
    pub unwrapped: Option<Message>,
    /// The partition's number within its topic.
    pub partition: u32,
    /// Its place within the partition.
    pub position: Position,
    /// What settles it.
    pub token: Token,
    /// How often the broker has delivered it, this time included, where the broker counts; else 1. Rises by reconnects too.
    pub deliveries: u32,
    /// How many attempts of ours have failed, as far as the broker kept it for us.
    pub attempts: u32,
    /// How often the process died while this message was tried alone, as far as the broker kept it for us.
    pub deaths: u32,
    /// When it was published, if the broker knows.
    pub published_at: Option<SystemTime>,
    /// How much longer it is to be held before it is tried: what was left of a delay when it was given back.
    pub due_in: Option<Duration>,
}

impl Incoming {
    /// A first delivery of `message`.
    #[must_use]
    pub fn new(message: Message, partition: u32, position: Position, token: Token) -> Self {
        Self {
            message,
            unwrapped: None,
            partition,
            position,
            token,
            deliveries: 1,
            attempts: 0,
            deaths: 0,
            published_at: None,
            due_in: None,
        }
    }

    /// The message as handlers see it: out of its envelope, if it came in one. A dead letter is made of
    /// [`message`](Self::message) all the same.
    #[must_use]
    pub fn content(&self) -> &Message {
        self.unwrapped.as_ref().unwrap_or(&self.message)
    }
}

/// One message of a [`Delivery`], with the number of this attempt.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivered {
    /// What came from the broker.
    pub incoming: Incoming,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// The runtime's name for the message, by which a layer can tell it something ([`Claims`](crate::Claims)); 0 if made by hand.
    pub ticket: u64,
    /// What it is in order with, in a batch of a handler with `order = key`: messages of equal lanes are handled one after the
    /// other. `None`: with nothing, or it is alone.
    pub lane: Option<u64>,
}

impl Delivered {
    /// A message to be tried for the `attempt`th time.
    #[must_use]
    pub fn new(incoming: Incoming, attempt: u32) -> Self {
        Self { incoming, attempt, ticket: 0, lane: None }
    }

    /// The message, out of its envelope if it came in one.
    #[must_use]
    pub fn message(&self) -> &Message {
        self.incoming.content()
    }

    /// The id that identifies the message: its CloudEvents id, or, for a bare message, one made of its topic, partition and
    /// position, so that a redelivery has the same.
    #[must_use]
    pub fn id(&self) -> std::borrow::Cow<'_, str> {
        crate::cloudevents::identity(&self.incoming)
    }
}

/// What is the same for every delivery of a handler: its names, the application's state, the publisher.
pub struct HandlerContext {
    /// The handler's name.
    pub handler: Box<str>,
    /// Its group.
    pub group: Box<str>,
    /// The application's name.
    pub app: Box<str>,
    /// The topics with parameters of what it handles.
    pub patterns: Box<[TopicPattern]>,
    /// The application's state.
    pub state: Arc<StateMap>,
    /// Publishes to the handler's broker.
    pub publisher: Publisher,
    /// Where layers leave word about claims.
    pub claims: Arc<Claims>,
}

impl fmt::Debug for HandlerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerContext").field("handler", &self.handler).field("group", &self.group).finish_non_exhaustive()
    }
}

/// Values by type: an application's state.
#[derive(Default)]
pub struct StateMap(HashMap<TypeId, (&'static str, Box<dyn Any + Send + Sync>)>);

impl StateMap {
    /// Puts a value in, in place of one of the same type.
    pub fn insert<T: Clone + Send + Sync + 'static>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), (std::any::type_name::<T>(), Box::new(value)));
    }

    /// The value of this type.
    #[must_use]
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>()).and_then(|(_, value)| value.downcast_ref())
    }

    /// Whether there is a value of this type.
    #[must_use]
    pub fn contains(&self, type_id: TypeId) -> bool {
        self.0.contains_key(&type_id)
    }

    /// The names of the types of which there is a value, in no order, for people.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.values().map(|(name, _)| *name)
    }
}

impl fmt::Debug for StateMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateMap({} values)", self.0.len())
    }
}

/// What is handed to a handler, through all layers: one message, or a batch of them.
///
/// A single message and a batch are the same type, so that every layer wraps both. Extractors borrow from it.
pub struct Delivery {
    messages: Messages,
    context: Arc<HandlerContext>,
    extensions: Mutex<Option<Box<Extensions>>>,
    rejected: Mutex<Vec<Rejected>>,
}

enum Messages {
    One(Delivered),
    Many(Vec<Delivered>),
}

/// A message of a batch that was given up before the handler saw it.
#[derive(Debug)]
pub struct Rejected {
    /// Its index in [`Delivery::messages`].
    pub index: usize,
    /// Why.
    pub reason: DeadReason,
    /// What was wrong with it.
    pub error: crate::BoxError,
}

type Extensions = HashMap<TypeId, Box<dyn Any + Send + Sync>>;

impl Delivery {
    /// A delivery of one message.
    #[must_use]
    pub fn one(message: Delivered, context: Arc<HandlerContext>) -> Self {
        Self::new(Messages::One(message), context)
    }

    /// A delivery of a batch.
    #[must_use]
    pub fn batch(messages: Vec<Delivered>, context: Arc<HandlerContext>) -> Self {
        Self::new(Messages::Many(messages), context)
    }

    fn new(messages: Messages, context: Arc<HandlerContext>) -> Self {
        Self { messages, context, extensions: Mutex::new(None), rejected: Mutex::new(Vec::new()) }
    }

    /// The messages: one, or those of the batch in order.
    #[must_use]
    pub fn messages(&self) -> &[Delivered] {
        match &self.messages {
            Messages::One(message) => std::slice::from_ref(message),
            Messages::Many(messages) => messages,
        }
    }

    /// The first message, and the only one unless this is a batch. A batch is never empty.
    #[must_use]
    pub fn first(&self) -> Option<&Delivered> {
        self.messages().first()
    }

    /// Whether it is for a batch handler.
    #[must_use]
    pub fn is_batch(&self) -> bool {
        matches!(self.messages, Messages::Many(_))
    }

    /// What is the same for every delivery of the handler.
    #[must_use]
    pub fn context(&self) -> &Arc<HandlerContext> {
        &self.context
    }

    /// Puts a value beside the delivery, for layers further in and for the handler. Returns the one of the same type that was
    /// there.
    pub fn insert<T: Send + Sync + 'static>(&self, value: T) -> Option<Box<T>> {
        let mut extensions = self.extensions.lock().unwrap_or_else(PoisonError::into_inner);
        let old = extensions.get_or_insert_default().insert(TypeId::of::<T>(), Box::new(value));
        old.and_then(|old| (old as Box<dyn Any>).downcast().ok())
    }

    /// A copy of the value of this type that a layer put beside the delivery.
    #[must_use]
    pub fn extension<T: Clone + 'static>(&self) -> Option<T> {
        let extensions = self.extensions.lock().unwrap_or_else(PoisonError::into_inner);
        extensions.as_ref()?.get(&TypeId::of::<T>())?.downcast_ref().cloned()
    }

    /// Gives one message of a batch up: it goes to the dead-letter topic, whatever the handler says of the others.
    pub fn reject(&self, index: usize, reason: DeadReason, error: impl Into<crate::BoxError>) {
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        if !rejected.iter().any(|other| other.index == index) {
            rejected.push(Rejected { index, reason, error: error.into() });
        }
    }

    /// Takes the messages out of a batch that `keep` does not want, for a layer that settles them itself. The others move up and
    /// keep their order; what was put beside the delivery stays. Returns those of the messages taken out that had been given up,
    /// under their old indices: the layer is to add them to the reply.
    ///
    /// `keep` is called once for each message, in order. A single message is never taken out. A delivery of which nothing is
    /// left is not to be handed on.
    #[must_use = "what was given up must reach the reply"]
    pub fn retain(&mut self, mut keep: impl FnMut(usize, &Delivered) -> bool) -> Vec<Rejected> {
        let Messages::Many(messages) = &mut self.messages else { return Vec::new() };
        let (mut index, mut kept) = (0, Vec::with_capacity(messages.len()));
        messages.retain(|message| {
            let keep = keep(index, message);
            if keep {
                kept.push(index);
            }
            index += 1;
            keep
        });
        let rejected = self.rejected.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut left = Vec::new();
        for mut one in std::mem::take(rejected) {
            match kept.binary_search(&one.index) {
                Ok(index) => {
                    one.index = index;
                    rejected.push(one);
                }
                Err(_) => left.push(one),
            }
        }
        left
    }

    /// What was given up so far, leaving none.
    #[must_use]
    pub fn take_rejected(&self) -> Vec<Rejected> {
        std::mem::take(&mut *self.rejected.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("context", &self.context).field("messages", &self.messages()).finish_non_exhaustive()
    }
}
