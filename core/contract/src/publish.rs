//! Publishing: what is sent, and what comes back.

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::broker::Durability;
use crate::error::{BoxError, Error, ErrorKind};
use crate::event::{self, Event};
use crate::headers::HeaderName;
use crate::key::IntoKey;
use crate::message::{Message, MessageBuilder, Topic};
use crate::names;
use crate::position::Position;

/// A future that can be sent, boxed: one a batch, never one a message.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A message on its way out, with how it is to be sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Outgoing {
    /// The message, for [`Message::topic`].
    pub message: Message,
    /// Not to be delivered before. Refused where [`Capabilities::publish_delay`](crate::broker::Capabilities::publish_delay) is
    /// `None`.
    pub deliver_at: Option<SystemTime>,
    /// Worthless after, so that the broker hands it to nobody any more. Refused where
    /// [`Capabilities::expiry`](crate::broker::Capabilities::expiry) is `false`, and if that is over before anybody could have it.
    pub expires_at: Option<SystemTime>,
    /// Where an answer is expected.
    pub reply_to: Option<Topic>,
    /// Whether it is an error if nobody's queue takes it.
    pub require_route: bool,
    /// Whether it is to be sent without any header of ours.
    pub verbatim: bool,
}

impl Outgoing {
    /// A message to be sent at once.
    #[must_use]
    pub fn new(message: Message) -> Self {
        Self { message, deliver_at: None, expires_at: None, reply_to: None, require_route: false, verbatim: false }
    }

    /// For how long it is worth something once it can be delivered: from `now` on, or from when it is due. Nothing, if it does not
    /// expire. For adapters.
    ///
    /// # Errors
    /// [`ErrorKind::Rejected`] if it is worthless before that.
    pub fn lifetime(&self, now: SystemTime) -> Result<Option<Duration>, Error> {
        let Some(expires_at) = self.expires_at else { return Ok(None) };
        let due = self.deliver_at.filter(|due| *due > now);
        if let Some(life) = expires_at.duration_since(due.unwrap_or(now)).ok().filter(|life| !life.is_zero()) {
            return Ok(Some(life));
        }
        let (topic, when) = (self.message.topic(), if due.is_some() { "before it is due" } else { "before it is published" });
        let text =
            format!("the message for `{topic}` expires {when}: nobody would get it; let it expire later, or do not publish it");
        Err(Error::new(ErrorKind::Rejected, text))
    }
}

/// The broker has taken a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The id under which it was published.
    pub id: String,
    /// Where it was stored, if the broker says: partition and position.
    pub stored: Option<(u32, Position)>,
    /// What the broker had done when it confirmed.
    pub durability: Durability,
    /// Whether the broker had it already, from an earlier attempt under the same id.
    pub duplicate: bool,
    /// Whether the broker keeps nothing for nobody, and nobody was there: the message is gone.
    pub unrouted: bool,
}

impl Receipt {
    /// The broker confirmed a message of this id.
    #[must_use]
    pub fn new(id: impl Into<String>, stored: Option<(u32, Position)>, durability: Durability) -> Self {
        Self { id: id.into(), stored, durability, duplicate: false, unrouted: false }
    }
}

/// What a [`Publisher`] hands its messages to: the runtime, which adds identity and waits for the broker's confirmation.
pub trait PublishSink: Send + Sync {
    /// Publishes; the answers are as many as the messages, in the same order.
    fn publish(&self, batch: Vec<Outgoing>) -> BoxFuture<'_, Vec<Result<Receipt, Error>>>;
}

/// Publishes events from anywhere: a handler's argument, or `App::publisher`. Cheap to clone.
///
/// # Delivery
/// `Ok` means that the broker has confirmed the message. What a handler must have published before its input is
/// acknowledged, it had better return.
#[derive(Clone)]
pub struct Publisher(Arc<dyn PublishSink>);

impl Publisher {
    /// A publisher that hands its messages to `sink`.
    #[must_use]
    pub fn new(sink: Arc<dyn PublishSink>) -> Self {
        Self(sink)
    }

    /// Publishes an event. Nothing happens until the answer is awaited.
    pub fn publish<E: Event>(&self, event: &E) -> Publish<'_> {
        let encoded = event::encode(event).map_err(|source| match source.downcast::<Error>() {
            // The topic's name is at fault, and says so itself.
            Ok(error) if error.kind() == ErrorKind::InvalidTopic => *error,
            Ok(error) => cannot_be_written::<E>(error),
            Err(source) => cannot_be_written::<E>(source),
        });
        Publish { publisher: self, message: encoded, options: PublishOptions::default() }
    }

    /// Publishes a message as it is, to the topic that it names, without adding or changing a header: what a foreign producer
    /// does.
    pub fn publish_message(&self, message: Message) -> Publish<'_> {
        self.publish_made(Ok(message))
    }

    /// The same, of a message that perhaps could not be made.
    #[doc(hidden)]
    pub fn publish_made(&self, message: Result<Message, Error>) -> Publish<'_> {
        let options = PublishOptions { verbatim: true, ..PublishOptions::default() };
        Publish { publisher: self, message: message.map(Message::into_builder), options }
    }

    /// Publishes many events together; the answers are as many as the events, in the same order.
    ///
    /// # Delivery
    /// They are stored in this order, unless the broker refuses one for a while or does not answer for it: that one is repeated by
    /// itself, and may come behind later ones of its key. Where that must not happen, await each before the next.
    ///
    /// # Cancel safety
    /// If the future is dropped, any number of the events may have been published.
    pub async fn publish_all<'a, E: Event>(&self, events: impl IntoIterator<Item = &'a E>) -> Vec<Result<Receipt, Error>> {
        self.publish_each(events.into_iter().map(|event| self.publish(event))).await
    }

    /// Publishes together what may be of different events, each with a topic, key, headers or time of its own; the answers are as
    /// many, in the same order. One that cannot be encoded, or is refused, keeps no other back.
    ///
    /// # Delivery
    /// As [`publish_all`](Self::publish_all).
    ///
    /// # Cancel safety
    /// If the future is dropped, any number of the events may have been published.
    ///
    /// # Examples
    /// ```
    /// # async fn example<A: convoke_core::Event, B: convoke_core::Event>(publisher: convoke_core::Publisher, paid: A, stock: B) {
    /// let each = [publisher.publish(&paid).topic("orders.eu"), publisher.publish(&stock).key(7_u64).header("kind", "express")];
    /// for answer in publisher.publish_each(each).await {
    ///     println!("{answer:?}");
    /// }
    /// # }
    /// ```
    pub async fn publish_each<'p>(&self, each: impl IntoIterator<Item = Publish<'p>>) -> Vec<Result<Receipt, Error>> {
        let mut answers = Vec::new();
        let mut batch = Vec::new();
        for publish in each {
            match publish.outgoing() {
                Ok(outgoing) => {
                    batch.push(outgoing);
                    answers.push(None);
                }
                Err(error) => answers.push(Some(Err(error))),
            }
        }
        let mut confirmed = self.0.publish(batch).await.into_iter();
        let missing = || Err(Error::new(ErrorKind::Internal, "the broker's adapter answered fewer messages than it was given"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| confirmed.next().unwrap_or_else(missing))).collect()
    }
}

fn cannot_be_written<E: Event>(source: impl Into<BoxError>) -> Error {
    Error::new(ErrorKind::Codec, format!("`{}` cannot be written as {}", E::DEF.name, E::DEF.codec)).with_source(source)
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Publisher")
    }
}

#[derive(Default)]
struct PublishOptions {
    verbatim: bool,
    delay: Option<Duration>,
    deliver_at: Option<SystemTime>,
    expires_at: Option<SystemTime>,
    reply_to: Option<Topic>,
    require_route: bool,
}

/// An event about to be published: set what is special about it, then `.await` it.
///
/// # Cancel safety
/// If the future is dropped, the event may have been published, or not.
#[must_use = "nothing is published until this is awaited"]
pub struct Publish<'p> {
    publisher: &'p Publisher,
    message: Result<MessageBuilder, Error>,
    options: PublishOptions,
}

impl Publish<'_> {
    fn change(mut self, change: impl FnOnce(MessageBuilder) -> MessageBuilder) -> Self {
        self.message = self.message.map(change);
        self
    }

    /// Sets the id in place of a new one.
    pub fn id(self, id: impl Into<String>) -> Self {
        let id = Bytes::from(id.into());
        self.change(|message| message.header(names::ID, id))
    }

    /// Sets the key in place of the event's own.
    pub fn key(self, key: impl IntoKey) -> Self {
        self.change(|message| message.maybe_key(key.to_key()))
    }

    /// Sets a header.
    pub fn header(self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        let name = match name.into() {
            Cow::Borrowed(name) => HeaderName::from_static(name),
            Cow::Owned(name) => HeaderName::from(name),
        };
        self.change(|message| message.header(name, value))
    }

    /// Publishes to a topic that is named at run time, in place of the event's own.
    pub fn topic(self, topic: impl Into<Topic>) -> Self {
        self.change(|message| message.topic(topic))
    }

    /// Has it delivered no earlier than after `delay`.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.delay = Some(delay);
        self
    }

    /// Has it delivered no earlier than at `time`.
    pub fn deliver_at(mut self, time: SystemTime) -> Self {
        self.options.deliver_at = Some(time);
        self
    }

    /// Lets the broker throw it away after `time`: who has not been given it by then will not be.
    ///
    /// # Delivery
    /// What is thrown away is not handled, is no dead letter and no [gap](crate::broker::SubscriptionEvent::Gap), and counts as
    /// settled. What a process was given in time, it may handle later: it waits for those before it, and its retries may go on. A
    /// dead letter does not expire, nor does what is sent back from one. NATS counts in whole seconds: there a message may live up to
    /// a second longer.
    ///
    /// # Errors
    /// When it is awaited: where the broker cannot do this, and if nobody could get the message in time.
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.options.expires_at = Some(time);
        self
    }

    /// Says where an answer is expected.
    pub fn reply_to(mut self, topic: impl Into<Topic>) -> Self {
        self.options.reply_to = Some(topic.into());
        self
    }

    /// Makes it an error if nobody's queue takes it.
    pub fn require_route(mut self) -> Self {
        self.options.require_route = true;
        self
    }

    fn outgoing(self) -> Result<Outgoing, Error> {
        let mut message = self.message?;
        if !self.options.verbatim
            && message.headers_mut().get(names::TYPE).is_some()
            && message.headers_mut().get(names::ID).is_none()
        {
            let id = crate::cloudevents::new_id();
            message = message.header(names::ID, id);
        }
        let mut outgoing = Outgoing::new(message.build());
        outgoing.deliver_at = self.options.deliver_at.or_else(|| Some(SystemTime::now() + self.options.delay?));
        outgoing.expires_at = self.options.expires_at;
        outgoing.reply_to = self.options.reply_to;
        outgoing.require_route = self.options.require_route;
        outgoing.verbatim = self.options.verbatim;
        Ok(outgoing)
    }
}

impl fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish").field("message", &self.message).finish_non_exhaustive()
    }
}

impl<'p> IntoFuture for Publish<'p> {
    type Output = Result<Receipt, Error>;
    type IntoFuture = BoxFuture<'p, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let publisher = self.publisher;
            let outgoing = self.outgoing()?;
            let mut answers = publisher.0.publish(vec![outgoing]).await;
            answers.pop().unwrap_or_else(|| Err(Error::new(ErrorKind::Internal, "the broker's adapter gave no answer")))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn what_expires_lives_from_when_it_can_be_had_and_is_refused_if_that_is_too_late() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let lives = |deliver_at: Option<u64>, expires_at: Option<u64>| {
            let mut outgoing = Outgoing::new(Message::builder("t").build());
            (outgoing.deliver_at, outgoing.expires_at) = (deliver_at.map(at), expires_at.map(at));
            outgoing.lifetime(at(100)).map_err(|error| (error.kind(), error.to_string().contains("it is due")))
        };
        let seconds = |seconds| Ok(Some(Duration::from_secs(seconds)));
        assert_eq!(lives(Some(150), None), Ok(None), "it does not expire");
        assert_eq!((lives(None, Some(130)), lives(Some(90), Some(130))), (seconds(30), seconds(30)), "due is over");
        assert_eq!(lives(Some(110), Some(130)), seconds(20));
        assert_eq!(
            (lives(None, Some(100)), lives(Some(90), Some(99))),
            (Err((ErrorKind::Rejected, false)), Err((ErrorKind::Rejected, false)))
        );
        assert_eq!(lives(Some(110), Some(110)), Err((ErrorKind::Rejected, true)));
    }
}
