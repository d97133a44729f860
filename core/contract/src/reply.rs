//! Replies: what a handler's return value means.

use std::fmt;

use crate::argument::Refused;
use crate::classify::{Classified, Classify, permanent};
use crate::delivery::{Delivery, Rejected};
use crate::error::BoxError;
use crate::event::{self, Event};
use crate::extract::Signature;
use crate::message::MessageBuilder;
use crate::outcome::Outcome;

/// What a handler, and every layer around it, answers to a delivery: a verdict for all or for each message, and what is to be
/// published before anything is acknowledged.
///
/// An `Err` of the service is a failed attempt of every message of the delivery.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reply {
    /// What becomes of the messages.
    pub verdict: Verdict,
    /// What is published, and confirmed, before any of them is acknowledged.
    pub outgoing: Vec<MessageBuilder>,
    /// Messages that were given up before the handler saw them.
    pub rejected: Vec<Rejected>,
}

/// A verdict for all messages of a delivery, or for each.
#[derive(Debug)]
pub enum Verdict {
    /// The same for all.
    All(Outcome),
    /// One for each, in the order of [`Delivery::messages`].
    Each(Vec<Result<Outcome, BoxError>>),
}

impl Reply {
    /// All messages are done, and nothing is published.
    #[must_use]
    pub const fn ack() -> Self {
        Self::outcome(Outcome::Ack)
    }

    /// This becomes of all messages, and nothing is published.
    #[must_use]
    pub const fn outcome(outcome: Outcome) -> Self {
        Self { verdict: Verdict::All(outcome), outgoing: Vec::new(), rejected: Vec::new() }
    }
}

/// A handler's return value: nothing, an event, an `Option`, a `Vec` or a tuple of events, an [`Outcome`], a [`BatchReply`], or a
/// `Result` of any of these.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned by a handler",
    label = "convoke does not know what this means for the message",
    note = "a handler returns nothing, an event (`#[event]` on the type), `Option`, `Vec` or a tuple of events, `Outcome`, or a \
            `Result` of these whose error converts into `Box<dyn Error + Send + Sync>`"
)]
pub trait IntoReply {
    /// The reply.
    ///
    /// # Errors
    /// If it is an error, or if an event cannot be encoded, which is a permanent error.
    fn into_reply(self, delivery: &Delivery) -> Result<Reply, BoxError>;

    /// Says which events this type publishes.
    fn describe(_signature: &mut Signature) {}
}

/// Events to publish: an event, an `Option`, a `Vec` or a tuple of these.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event, and cannot be published",
    label = "not an event",
    note = "put `#[convoke::event(topic = \"…\")]` on `{Self}`; only events can stand in an `Option`, a `Vec` or a tuple that a handler \
            returns"
)]
pub trait IntoOutgoing {
    /// Appends the messages to `into`, in order.
    ///
    /// # Errors
    /// If an event cannot be encoded.
    fn write(self, into: &mut Vec<MessageBuilder>) -> Result<(), BoxError>;

    /// Says which events these are.
    fn describe(signature: &mut Signature);
}

#[diagnostic::do_not_recommend]
impl<T: Event> IntoOutgoing for T {
    fn write(self, into: &mut Vec<MessageBuilder>) -> Result<(), BoxError> {
        into.push(event::encode(&self).map_err(permanent)?);
        Ok(())
    }

    fn describe(signature: &mut Signature) {
        signature.outputs.push(T::DEF);
    }
}

#[diagnostic::do_not_recommend]
impl<T: IntoOutgoing> IntoOutgoing for Option<T> {
    fn write(self, into: &mut Vec<MessageBuilder>) -> Result<(), BoxError> {
        self.map_or(Ok(()), |events| events.write(into))
    }

    fn describe(signature: &mut Signature) {
        T::describe(signature);
    }
}

#[diagnostic::do_not_recommend]
impl<T: IntoOutgoing> IntoOutgoing for Vec<T> {
    fn write(self, into: &mut Vec<MessageBuilder>) -> Result<(), BoxError> {
        self.into_iter().try_for_each(|events| events.write(into))
    }

    fn describe(signature: &mut Signature) {
        T::describe(signature);
    }
}

macro_rules! events_are_replies {
    ($([$($generics:tt)*] $type:ty),* $(,)?) => {$(
        #[diagnostic::do_not_recommend]
        impl<$($generics)*> IntoReply for $type {
            fn into_reply(self, _delivery: &Delivery) -> Result<Reply, BoxError> {
                let mut reply = Reply::ack();
                self.write(&mut reply.outgoing)?;
                Ok(reply)
            }

            fn describe(signature: &mut Signature) {
                <Self as IntoOutgoing>::describe(signature);
            }
        }
    )*};
}
events_are_replies!([T: Event] T, [T: IntoOutgoing] Option<T>, [T: IntoOutgoing] Vec<T>);

macro_rules! tuple_of_events {
    ($($name:ident)+) => {
        #[diagnostic::do_not_recommend]
        impl<$($name: IntoOutgoing),+> IntoOutgoing for ($($name,)+) {
            fn write(self, into: &mut Vec<MessageBuilder>) -> Result<(), BoxError> {
                #[allow(non_snake_case, reason = "the type parameters name the bindings")]
                let ($($name,)+) = self;
                $($name.write(into)?;)+
                Ok(())
            }

            fn describe(signature: &mut Signature) {
                $($name::describe(signature);)+
            }
        }
        events_are_replies!([$($name: IntoOutgoing),+] ($($name,)+));
    };
}
tuple_of_events!(A);
tuple_of_events!(A B);
tuple_of_events!(A B C);
tuple_of_events!(A B C D);
tuple_of_events!(A B C D E);
tuple_of_events!(A B C D E F);

#[diagnostic::do_not_recommend]
impl IntoReply for () {
    fn into_reply(self, _delivery: &Delivery) -> Result<Reply, BoxError> {
        Ok(Reply::ack())
    }
}

#[diagnostic::do_not_recommend]
impl IntoReply for Outcome {
    fn into_reply(self, _delivery: &Delivery) -> Result<Reply, BoxError> {
        Ok(Reply::outcome(self))
    }
}

#[diagnostic::do_not_recommend]
impl IntoReply for Reply {
    fn into_reply(self, _delivery: &Delivery) -> Result<Reply, BoxError> {
        Ok(self)
    }
}

/// An error that a handler may return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a handler",
    label = "does not convert into `Box<dyn Error + Send + Sync>`",
    note = "implement `std::error::Error` for `{Self}` (and `Debug` and `Display` with it), and let it be `Send`, `Sync` and `'static`",
    note = "any error in a box is `Box<dyn Error + Send + Sync>`, which is `convoke::BoxError`"
)]
pub trait HandlerError: Into<BoxError> {}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError>> HandlerError for E {}

#[diagnostic::do_not_recommend]
impl<T: IntoReply, E: HandlerError> IntoReply for Result<T, E> {
    fn into_reply(self, delivery: &Delivery) -> Result<Reply, BoxError> {
        self.map_err(Into::into)?.into_reply(delivery)
    }

    fn describe(signature: &mut Signature) {
        T::describe(signature);
    }
}

/// A verdict for each message of a batch. What is not mentioned is done.
///
/// # Examples
/// ```
/// use convoke_core::BatchReply;
///
/// let mut reply = BatchReply::new();
/// reply.fail(3, "no such article");
/// # let _ = reply;
/// ```
#[derive(Debug, Default)]
pub struct BatchReply {
    verdicts: Vec<(usize, Result<Outcome, BoxError>)>,
    outgoing: Vec<MessageBuilder>,
}

impl BatchReply {
    /// All are done.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The attempt of the message at `index` ([`BatchItem::index`](crate::BatchItem::index)) failed.
    pub fn fail(&mut self, index: usize, error: impl Into<BoxError>) {
        self.verdicts.push((index, Err(error.into())));
    }

    /// This becomes of the message at `index`.
    pub fn set(&mut self, index: usize, outcome: Outcome) {
        self.verdicts.push((index, Ok(outcome)));
    }

    /// Publishes these events before anything of the batch is acknowledged.
    ///
    /// # Errors
    /// If an event cannot be encoded.
    pub fn publish(&mut self, events: impl IntoOutgoing) -> Result<(), BoxError> {
        events.write(&mut self.outgoing)
    }
}

#[diagnostic::do_not_recommend]
impl IntoReply for BatchReply {
    fn into_reply(self, delivery: &Delivery) -> Result<Reply, BoxError> {
        let count = delivery.messages().len();
        let mut each: Vec<_> = (0..count).map(|_| Ok(Outcome::Ack)).collect();
        for (index, verdict) in self.verdicts {
            let place = each.get_mut(index);
            *place.ok_or_else(|| permanent(format!("a verdict for message {index} of a batch of {count}")))? = verdict;
        }
        Ok(Reply { verdict: Verdict::Each(each), outgoing: self.outgoing, rejected: Vec::new() })
    }
}

/// Turns a return value into a reply, letting an error that implements [`Classify`] say its class.
///
/// `Probe(value).reply(delivery)` picks, by the rules of method look-up, the first of these that fits: [`ClassifiedReply`] for
/// a `Result` whose error implements [`Classify`], else [`PlainReply`]. It works without naming the error type, so that
/// type aliases of `Result` are seen through.
pub struct Probe<R>(pub Option<R>);

impl<R> fmt::Debug for Probe<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

/// See [`Probe`].
pub trait ClassifiedReply {
    /// The reply.
    ///
    /// # Errors
    /// As [`IntoReply::into_reply`].
    fn reply(&mut self, delivery: &Delivery) -> Result<Reply, BoxError>;
}

/// See [`Probe`].
pub trait PlainReply {
    /// The reply.
    ///
    /// # Errors
    /// As [`IntoReply::into_reply`].
    fn reply(&mut self, delivery: &Delivery) -> Result<Reply, BoxError>;
}

const TAKEN: &str = "a reply is taken once";

impl<T: IntoReply, E: Classify + Into<BoxError>> ClassifiedReply for Probe<Result<T, E>> {
    fn reply(&mut self, delivery: &Delivery) -> Result<Reply, BoxError> {
        match self.0.take().ok_or(TAKEN)? {
            Ok(value) => value.into_reply(delivery),
            Err(error) => {
                let class = error.class();
                Err(Classified::new(class, error).into())
            }
        }
    }
}

/// See [`Probe`]: what cannot be returned. The return type was refused already, and is not to be refused once more here.
pub trait RefusedReply {
    /// An error.
    ///
    /// # Errors
    /// Always.
    fn reply(&self, delivery: &Delivery) -> Result<Reply, BoxError>;
}

impl<R> RefusedReply for Probe<R> {
    fn reply(&self, _delivery: &Delivery) -> Result<Reply, BoxError> {
        const { Refused::<R>::NEVER };
        Err("a return type that is no reply".into())
    }
}

impl<R: IntoReply> PlainReply for &mut Probe<R> {
    fn reply(&mut self, delivery: &Delivery) -> Result<Reply, BoxError> {
        self.0.take().ok_or(TAKEN)?.into_reply(delivery)
    }
}
