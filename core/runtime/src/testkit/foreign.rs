//! Publishing as programs do that know nothing of convoke.

use bytes::Bytes;
use convoke_core::{BoxError, Error, ErrorKind, Event, Message, MessageBuilder, Publish, cloudevents, encode, names};

use super::test_app::TestApp;

impl TestApp {
    /// Publishes a message as it is: no header is added or changed.
    pub fn publish_message(&self, message: Message) -> Publish<'_> {
        self.handle().publisher().publish_message(message)
    }

    /// Publishes bytes as a foreign program does, which may be broken: without headers and without a key, unless they are given
    /// with [`Publish::header`] and [`Publish::key`].
    ///
    /// `topic` is a topic of the program, and is renamed as the deployment says.
    pub fn publish_bytes(&self, topic: &str, payload: impl Into<Bytes>) -> Publish<'_> {
        self.publish_message(Message::builder(self.handle().topic(topic)).payload(payload).build())
    }

    /// Publishes an event as a foreign program does that knows only the payload: without headers and without a key, unless they are
    /// given with [`Publish::header`] and [`Publish::key`].
    pub fn publish_bare<E: Event>(&self, event: &E) -> Publish<'_> {
        let bare = |written: Message| {
            let (topic, payload) = (written.topic().clone(), written.payload().clone());
            Message::builder(topic).payload(payload).build()
        };
        self.handle().publisher().publish_made(self.written(event).map(bare))
    }

    /// Publishes an event as other CloudEvents programs may: in structured mode, with everything in one JSON document. Its key is the
    /// attribute `partitionkey` there; the broker's own is given with [`Publish::key`].
    pub fn publish_structured<E: Event>(&self, event: &E) -> Publish<'_> {
        let structured = |written: Message| {
            let key = written.key().cloned();
            let mut event = written
                .into_builder()
                .maybe_key(None)
                .header(names::TYPE, E::DEF.type_name_on_wire())
                .header(names::ID, cloudevents::new_id())
                .header(names::SOURCE, "a-foreign-program")
                .header(names::SPEC_VERSION, names::SPEC_VERSION_1_0)
                .header(names::CONTENT_TYPE, E::DEF.content_type);
            if let Some(key) = key {
                event = event.header(names::PARTITION_KEY, key.into_bytes());
            }
            cloudevents::wrap(&event.build())
        };
        self.handle().publisher().publish_made(self.written(event).and_then(structured))
    }

    /// The event in its codec, for the topic that it has here.
    fn written<E: Event>(&self, event: &E) -> Result<Message, Error> {
        let refused = |error: BoxError| {
            let text = format!("`{}` cannot be written as {}", E::DEF.name, E::DEF.codec);
            Error::new(ErrorKind::Codec, text).with_source(error)
        };
        let written = encode(event).map(MessageBuilder::build).map_err(refused)?;
        let topic = self.handle().topic(written.topic().as_str());
        Ok(written.into_builder().topic(topic).build())
    }
}
