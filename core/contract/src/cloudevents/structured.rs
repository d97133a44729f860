//! Structured mode: the whole event in the payload, in an envelope.

use super::super::event::DecodeError;
use crate::codec::essence;
use crate::error::{Error, ErrorKind};
use crate::message::Message;

/// What the content types of every envelope begin with.
const PREFIX: &str = "application/cloudevents";

/// Takes a message out of its CloudEvents envelope (structured mode, JSON format): attributes become headers, `data` or
/// `data_base64` becomes the payload, `datacontenttype` the content type, and `partitionkey` the key if the message has none of
/// its own. `None`: it is in no envelope, or in one of a format that is not understood, and is taken as it is.
///
/// The runtime does so with every message at intake, before it looks for a handler. Needs the feature `json`; without it, nothing
/// is taken out.
///
/// # Errors
/// If the envelope is broken, or holds a batch of events: these are for one message each.
///
/// # Examples
/// ```
/// use convoke_core::{Message, cloudevents};
///
/// let envelope = r#"{"specversion":"1.0","id":"7","source":"/shop","type":"orders.paid.v1","data":{"order":7}}"#;
/// let message = Message::builder("orders.paid").header("content-type", "application/cloudevents+json").payload(envelope).build();
/// # if cfg!(feature = "json") {
/// let event = cloudevents::unwrap(&message)?.expect("it is in an envelope");
/// assert_eq!((event.id(), event.event_type()), (Some("7"), Some("orders.paid.v1")));
/// assert_eq!(event.payload(), r#"{"order":7}"#);
/// # }
/// # Ok::<(), convoke_core::DecodeError>(())
/// ```
pub fn unwrap(message: &Message) -> Result<Option<Message>, DecodeError> {
    let Some(format) = message.content_type().and_then(format) else { return Ok(None) };
    if message.is_tombstone() {
        return Ok(None);
    }
    if format.starts_with("-batch") {
        let text = "it is a batch of CloudEvents in one message, which is not supported: publish them one by one";
        return Err(DecodeError::new(text));
    }
    #[cfg(feature = "json")]
    if format == "+json" {
        let broken = |why| DecodeError::new(format!("the CloudEvents envelope is broken: {why}"));
        return super::envelope::open(message).map(Some).map_err(broken);
    }
    Ok(None)
}

/// Puts a message into a CloudEvents envelope (structured mode, JSON format), as others publish: its attributes, its content type and
/// its payload become one JSON document; key and other headers stay. The inverse of [`unwrap`].
///
/// # Errors
/// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if the message lacks an attribute that every CloudEvent has;
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) without the feature `json`.
///
/// # Examples
/// ```
/// use convoke_core::{Message, cloudevents, names};
///
/// let event = Message::builder("orders.paid")
///     .header(names::SPEC_VERSION, "1.0")
///     .header(names::ID, "7")
///     .header(names::SOURCE, "/shop")
///     .header(names::TYPE, "orders.paid.v1")
///     .header(names::CONTENT_TYPE, "application/json")
///     .payload(r#"{"order":7}"#)
///     .build();
/// # if cfg!(feature = "json") {
/// let envelope = cloudevents::wrap(&event)?;
/// assert_eq!(envelope.content_type(), Some("application/cloudevents+json"));
/// assert_eq!(cloudevents::unwrap(&envelope)?, Some(event));
/// # }
/// # Ok::<(), convoke_core::BoxError>(())
/// ```
#[cfg_attr(not(feature = "json"), allow(unused_variables, reason = "there is nothing to write it with"))]
pub fn wrap(message: &Message) -> Result<Message, Error> {
    #[cfg(feature = "json")]
    let wrapped = super::envelope::seal(message)
        .map_err(|why| Error::new(ErrorKind::Codec, format!("the message cannot be put into an envelope: {why}")));
    #[cfg(not(feature = "json"))]
    let wrapped = Err(Error::new(ErrorKind::Unsupported, "CloudEvents envelopes need the cargo feature `json`"));
    wrapped
}

/// What follows the prefix, in lower case; `None` if this is no envelope's content type.
fn format(content_type: &str) -> Option<String> {
    let media = essence(content_type);
    let (prefix, format) = media.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then(|| format.to_ascii_lowercase())
}
