//! The codecs over serde read each other's payloads: a producer may write an event in any of these formats, if it says in which.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::essence;
use crate::error::BoxError;

/// Reads a payload of any of these formats that is compiled in. `None`: it is in none of them.
pub(super) fn decode<T: DeserializeOwned>(content_type: &str, payload: &Bytes) -> Option<Result<T, BoxError>> {
    #[cfg(feature = "json")]
    if super::json::takes(content_type) {
        return Some(super::json::read(payload));
    }
    #[cfg(feature = "msgpack")]
    if super::msgpack::takes(content_type) {
        return Some(super::msgpack::read(payload));
    }
    #[cfg(feature = "cbor")]
    if super::cbor::takes(content_type) {
        return Some(super::cbor::read(payload));
    }
    None
}

/// Whether a content type is one of these media types or ends like this, whatever its parameters and case.
pub(super) fn is_one_of(content_type: &str, names: &[&str], suffix: &str) -> bool {
    let media = essence(content_type);
    let ends_so = || {
        media.len().checked_sub(suffix.len()).and_then(|at| media.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    names.iter().any(|name| media.eq_ignore_ascii_case(name)) || ends_so()
}
