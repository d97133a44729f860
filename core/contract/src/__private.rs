//! What generated code names, beside the public items. Not public API.

pub use inventory;

pub use crate::{__needs_cbor, __needs_json, __needs_msgpack, __needs_protobuf};

pub use crate::broker::sentence::Sentence;
pub use crate::broker::{Native, NativeOption, NativeValue};

pub use crate::argument::{Argument, MadeArgument, OtherArgument, Part, RefusedArgument, StateOf, UnknownPart};
pub use crate::codec::NoCodec;
pub use crate::codec::off::*;
pub use crate::key::join;
pub use crate::pattern::fill;
pub use crate::reply::RefusedReply;
pub use crate::schema::{NoSchema, SchemaOf};
pub use crate::upcast::{DecodeBy, Function, Newer, RefusedBy, Way, WayByNext};

use crate::delivery::Delivery;
use crate::error::BoxError;
use crate::event::Event;
use crate::extract::Rejection;
use crate::registry::Entry;
use crate::reply::HandlerError;
use crate::reply::Reply;

/// The registry's entry for an event.
#[must_use]
pub const fn event<T: Event>() -> Entry {
    Entry::Event(T::DEF)
}

/// Accepts the error type of a handler.
pub fn handler_error<E: HandlerError>() {}

/// The reply for a delivery of which an argument could not be made.
///
/// # Errors
/// If that is a failed attempt.
pub fn rejected(delivery: &Delivery, rejection: Rejection) -> Result<Reply, BoxError> {
    match rejection {
        Rejection::Dead(reason, error) => {
            delivery.reject(0, reason, error);
            finish(delivery, Ok(Reply::ack()))
        }
        Rejection::Failed(error) => Err(error),
    }
}

/// Adds what was given up on the way to the handler's reply.
///
/// # Errors
/// Those of the handler.
pub fn finish(delivery: &Delivery, mut reply: Result<Reply, BoxError>) -> Result<Reply, BoxError> {
    if let Ok(reply) = &mut reply {
        reply.rejected = delivery.take_rejected();
    }
    reply
}
