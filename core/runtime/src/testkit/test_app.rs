//! `TestApp`: a running application and what a test asks of it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use convoke_core::broker::{Broker, Fault};
use convoke_core::{Error, ErrorKind, Event, Message, Publish, TopicPattern, decode, names};

use super::record::{Record, Recorder};
use super::story::Story;
use crate::app::{App, AppHandle};

/// An application under test. It can do what an [`AppHandle`] can, and more.
#[derive(Clone)]
pub struct TestApp {
    handle: AppHandle,
    record: Arc<Record>,
    story: Arc<Story>,
}

impl TestApp {
    /// Starts an application on a memory broker of its own, whatever broker it names. Each further broker is another one of its own.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing has been started.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start(app: App) -> Result<Self, Error> {
        Self::start_on(app, super::unique_url()).await
    }

    /// Starts an application on the memory broker of this URL: a second one over the same broker sees the same topics.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing has been started.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_on(app: App, url: impl Into<String>) -> Result<Self, Error> {
        let record = Arc::<Record>::default();
        let story = Arc::new(Story::new());
        let recorded = Arc::clone(&record);
        let decorate =
            move |inner: Arc<dyn Broker>| -> Arc<dyn Broker> { Arc::new(Recorder { inner, record: Arc::clone(&recorded) }) };
        let app = app.isolated(url).quiet().observe(Arc::<Story>::clone(&story)).decorated(decorate);
        Ok(Self { handle: app.start().await?, record, story })
    }

    /// The application.
    #[must_use]
    pub fn handle(&self) -> &AppHandle {
        &self.handle
    }

    /// Publishes an event, as the application does.
    pub fn publish<E: Event>(&self, event: &E) -> Publish<'_> {
        self.handle.publisher().publish(event)
    }

    /// Publishes a message as it is, as a foreign producer does: bare, broken, or with headers of its own.
    pub fn publish_message(&self, message: Message) -> Publish<'_> {
        self.handle.publisher().publish_message(message)
    }

    /// Lets virtual time pass, and everything that is due in it happen.
    ///
    /// # Cancel safety
    /// If the future is dropped, some of the time has passed.
    pub async fn advance(&self, time: Duration) {
        // Sleeping, not `tokio::time::advance`: what becomes due on the way is done on the way, and not all at the end.
        tokio::time::sleep(time).await;
    }

    /// Makes the broker fail.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if it cannot be made to fail in this way.
    pub fn inject(&self, fault: Fault) -> Result<(), Error> {
        let faults = self.handle.faults();
        faults.ok_or_else(|| Error::new(ErrorKind::Unsupported, "this broker cannot be told to fail"))?.inject(fault)
    }

    /// The events of a type that were published so far, by whomever, through this application, in order. Dead letters do not
    /// count.
    #[track_caller]
    #[must_use]
    pub fn published<E: Event>(&self) -> Published<E> {
        let (wire_type, topic) = (E::DEF.type_name_on_wire(), self.handle.topic(E::DEF.topic));
        let is_there = |message: &Message| TopicPattern::overlap(message.topic().as_str(), topic.as_str());
        let mut events = Vec::new();
        for message in self.record.messages() {
            let is_event = if E::DEF.bare { message.event_type().is_none() } else { message.event_type() == Some(&wire_type) };
            if is_there(&message) && is_event && message.headers().get(names::DEAD_REASON).is_none() {
                match decode::<E>(&message) {
                    Ok(event) => events.push((event, message)),
                    Err(_) => continue,
                }
            }
        }
        Published { events, story: self.story() }
    }

    /// The dead letters of a handler so far, in order.
    #[must_use]
    pub fn dead_letters(&self, handler: &str) -> Vec<Message> {
        let mut messages = self.record.messages();
        messages.retain(|message| message.headers().get_str(names::DEAD_HANDLER) == Some(handler));
        messages
    }

    /// Every message that was published through this application, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.record.messages()
    }

    /// What happened to each message so far, for people.
    #[must_use]
    pub fn story(&self) -> String {
        self.story.tell()
    }
}

impl Deref for TestApp {
    type Target = AppHandle;

    fn deref(&self) -> &AppHandle {
        &self.handle
    }
}

impl fmt::Debug for TestApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestApp").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// Events that were published. Its assertions panic with the story of all messages.
pub struct Published<E> {
    events: Vec<(E, Message)>,
    story: String,
}

impl<E: Event> Published<E> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The events, in order.
    pub fn iter(&self) -> impl Iterator<Item = &E> + '_ {
        self.events.iter().map(|(event, _)| event)
    }

    /// The messages that they travelled in, in order.
    pub fn messages(&self) -> impl Iterator<Item = &Message> + '_ {
        self.events.iter().map(|(_, message)| message)
    }

    /// Exactly one was published, and it is as `expected` says. Returns it.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn assert_one(&self, expected: impl FnOnce(&E) -> bool) -> &E {
        match self.events.as_slice() {
            [(event, _)] if expected(event) => event,
            [_] => self.fail("one was published, but it is not as expected"),
            events => self.fail(&format!("one was expected, and {} were published", events.len())),
        }
    }

    /// This many were published.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn assert_count(&self, count: usize) -> &Self {
        if self.events.len() != count {
            self.fail(&format!("{count} were expected, and {} were published", self.events.len()));
        }
        self
    }

    /// None was published.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn assert_none(&self) {
        self.assert_count(0);
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        panic!("of `{}`, {what}\n\nwhat happened:\n{}", E::DEF.name, self.story)
    }
}

impl<E> fmt::Debug for Published<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Published({})", self.events.len())
    }
}
