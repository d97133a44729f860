//! How a message that foreign clients published is written into its partition.

use std::time::SystemTime;

use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use convoke_core::{Error, ErrorKind, Key, Topic};

use crate::link::Link;
use crate::numbered::Numbered;
use crate::{expiry, failure, names, wire};

/// A message on its way to its partition.
pub(crate) struct Moved {
    /// Where it was.
    pub(crate) sequence: u64,
    /// Whether the server knows it again, if it is sent twice.
    pub(crate) known: bool,
    /// Whether it expires.
    pub(crate) expires: bool,
    headers: HeaderMap,
    payload: Bytes,
}

impl Moved {
    /// The message, in the first of these forms that the server takes: as we write it ourselves, so that everybody can read it, or as it
    /// came; each with an id under which the server knows it again, or without. And its key.
    ///
    /// No message if it takes none. What came with spare words takes more when it is written anew, and so does what has to be escaped.
    pub(crate) fn new(link: &Link, topic: &Topic, stream: &str, one: &Numbered) -> Result<(Option<Key>, Option<Self>), Error> {
        let content = one.message(topic);
        let (key, payload) = (content.key().cloned(), content.payload());
        let life = one.expires_at().map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
        let form = |known: bool, mut headers: HeaderMap| {
            if known {
                headers.insert(NATS_MESSAGE_ID, format!("{stream}:{}", one.sequence));
            }
            if let Some(life) = life {
                expiry::write(&mut headers, life, false);
            }
            let moved = Self { sequence: one.sequence, known, expires: life.is_some(), headers, payload: payload.clone() };
            link.takes(wire::size(&moved.headers), payload.len()).then_some(moved)
        };
        let usual = form(true, wire::without_id(&content)?);
        let moved = match (usual, one.headers()) {
            (None, came) => {
                let came = |known| came.clone().and_then(|headers| form(known, headers));
                let bare = form(false, wire::without_id(&content)?);
                came(true).or(bare).or_else(|| came(false))
            }
            (usual, _) => usual,
        };
        Ok((key, moved))
    }

    pub(crate) fn size(&self) -> usize {
        wire::size(&self.headers) + self.payload.len()
    }

    /// Sends it. `false` if the server says that it is too large, whatever it said before.
    pub(crate) async fn send(self, link: &Link, topic: &Topic, partition: u32) -> Result<bool, Error> {
        let mut publish = PublishMessage::build().payload(self.payload);
        if !self.headers.is_empty() {
            publish = publish.headers(self.headers);
        }
        let answer = async {
            let sent = link.jetstream.send_publish(names::subject(topic.as_str(), partition), publish).await?;
            sent.await
        };
        let Err(error) = answer.await else { return Ok(true) };
        let text =
            format!("foreign message {} of topic `{topic}` cannot be moved to its partition; it is tried again", self.sequence);
        let error = failure::of(text, error);
        if error.kind() == ErrorKind::TooLarge { Ok(false) } else { Err(error) }
    }
}
