//! Structured mode: the whole event in the payload, in an envelope.

use super::super::event::DecodeError;
use crate::codec::essence;
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

/// What follows the prefix, in lower case; `None` if this is no envelope's content type.
fn format(content_type: &str) -> Option<String> {
    let media = essence(content_type);
    let (prefix, format) = media.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then(|| format.to_ascii_lowercase())
}
