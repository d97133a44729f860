use bytes::{BufMut as _, Bytes, BytesMut};
use cbor2::de::Deserializer;
use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, family};
use crate::error::BoxError;

/// CBOR (RFC 8949) by `cbor2`, structs as maps with names. Takes `application/cbor` and every type that ends in `+cbor`; reads
/// what is declared as JSON or MessagePack too, where these features are on.
///
/// Needs the feature `cbor`.
#[derive(Debug)]
pub enum Cbor {}

/// As deep as in JSON.
const MAX_DEPTH: usize = 128;

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Codec<T> for Cbor {
    const NAME: &'static str = "cbor";
    const CONTENT_TYPE: &'static str = "application/cbor";

    fn accepts(content_type: &str) -> bool {
        takes(content_type)
    }

    fn encode(value: &T, into: &mut BytesMut) -> Result<(), BoxError> {
        Ok(cbor2::to_writer(value, into.writer())?)
    }

    fn decode(payload: &Bytes) -> Result<T, BoxError> {
        read(payload)
    }

    fn decode_as(content_type: &str, payload: &Bytes) -> Option<Result<T, BoxError>> {
        family::decode(content_type, payload)
    }
}

pub(super) fn takes(content_type: &str) -> bool {
    family::is_one_of(content_type, &["application/cbor"], "+cbor")
}

pub(super) fn read<T: DeserializeOwned>(payload: &Bytes) -> Result<T, BoxError> {
    let mut deserializer = Deserializer::from_slice_with_recursion_limit(payload, MAX_DEPTH);
    let value = T::deserialize(&mut deserializer)?;
    if deserializer.offset() == payload.len() { Ok(value) } else { Err("trailing bytes after the value".into()) }
}
