use bytes::{BufMut as _, Bytes, BytesMut};
use rmp_serde::decode::Error;
use serde::{Deserialize as _, Serialize, de::DeserializeOwned};

use super::{Codec, family};
use crate::error::BoxError;

/// MessagePack by `rmp-serde`, structs as maps with names, so that other languages can read them. Takes `application/msgpack`,
/// `application/x-msgpack` and `application/vnd.msgpack`; reads what is declared as JSON or CBOR too, where these features are on.
///
/// Needs the feature `msgpack`.
#[derive(Debug)]
pub enum MsgPack {}

/// As deep as in JSON. What `rmp-serde` allows by itself is more than a thread's stack holds.
const MAX_DEPTH: usize = 128;

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Codec<T> for MsgPack {
    const NAME: &'static str = "msgpack";
    const CONTENT_TYPE: &'static str = "application/msgpack";

    fn accepts(content_type: &str) -> bool {
        takes(content_type)
    }

    fn encode(value: &T, into: &mut BytesMut) -> Result<(), BoxError> {
        Ok(rmp_serde::encode::write_named(&mut into.writer(), value)?)
    }

    fn decode(payload: &Bytes) -> Result<T, BoxError> {
        read(payload)
    }

    fn decode_as(content_type: &str, payload: &Bytes) -> Option<Result<T, BoxError>> {
        family::decode(content_type, payload)
    }
}

pub(super) fn takes(content_type: &str) -> bool {
    family::is_one_of(content_type, &["application/msgpack", "application/x-msgpack", "application/vnd.msgpack"], "+msgpack")
}

pub(super) fn read<T: DeserializeOwned>(payload: &Bytes) -> Result<T, BoxError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(payload);
    deserializer.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut deserializer)?;
    // It does not say how far it has read; but another value cannot begin at the end.
    match <()>::deserialize(&mut deserializer) {
        Err(Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err("trailing bytes after the value".into()),
    }
}
