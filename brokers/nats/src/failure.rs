//! Errors of the client, as ours.

use std::error::Error as StdError;

use async_nats::error;
use async_nats::jetstream;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{ConsumerInfoError, ConsumerInfoErrorKind, PublishError, PublishErrorKind};
use convoke_core::{Error, ErrorKind};

/// Something failed on the server, or on the way to it: `text` says what, and the cause says why.
pub(crate) fn of(text: impl Into<String>, cause: impl StdError + Send + Sync + 'static) -> Error {
    let kind = kind_of(&cause, ErrorKind::Connection);
    Error::new(kind, text).with_source(cause)
}

/// What a cause is: by the server's code where it gave one, else `otherwise`.
pub(crate) fn kind_of(cause: &(dyn StdError + 'static), otherwise: ErrorKind) -> ErrorKind {
    let mut next = Some(cause);
    while let Some(cause) = next {
        if let Some(said) = cause.downcast_ref::<jetstream::Error>() {
            if matches!(said.error_code(), ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM) {
                return ErrorKind::TooLarge;
            }
            return match said.code() {
                404 => ErrorKind::NotFound,
                401 | 403 => ErrorKind::Unauthorized,
                408 | 503 => ErrorKind::Connection,
                _ => ErrorKind::Rejected,
            };
        }
        if cause.downcast_ref::<PublishError>().is_some_and(|error| error.kind() == PublishErrorKind::MaxPayloadExceeded) {
            return ErrorKind::TooLarge;
        }
        // Here the client keeps the server's code to itself.
        if cause.downcast_ref::<ConsumerInfoError>().is_some_and(|error| error.kind() == ConsumerInfoErrorKind::NotFound) {
            return ErrorKind::NotFound;
        }
        if cause.downcast_ref::<error::Error<jetstream::context::RequestErrorKind>>().is_some_and(timed_out) {
            return ErrorKind::Timeout;
        }
        next = cause.source();
    }
    otherwise
}

fn timed_out(error: &error::Error<jetstream::context::RequestErrorKind>) -> bool {
    error.kind() == jetstream::context::RequestErrorKind::TimedOut
}
