use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, family};
use crate::error::BoxError;

/// JSON by `serde_json`: the default codec. Takes `application/json`, `text/json` and every type that ends in `+json`; reads what
/// is declared as MessagePack or CBOR too, where these features are on.
#[derive(Debug)]
pub enum Json {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    const NAME: &'static str = "json";
    const CONTENT_TYPE: &'static str = "application/json";

    fn accepts(content_type: &str) -> bool {
        takes(content_type)
    }

    fn encode(value: &T, into: &mut BytesMut) -> Result<(), BoxError> {
        Ok(serde_json::to_writer(into.writer(), value)?)
    }

    fn decode(payload: &Bytes) -> Result<T, BoxError> {
        read(payload)
    }

    fn decode_as(content_type: &str, payload: &Bytes) -> Option<Result<T, BoxError>> {
        family::decode(content_type, payload)
    }
}

pub(super) fn takes(content_type: &str) -> bool {
    family::is_one_of(content_type, &["application/json", "text/json"], "+json")
}

pub(super) fn read<T: DeserializeOwned>(payload: &Bytes) -> Result<T, BoxError> {
    Ok(serde_json::from_slice(payload)?)
}

/// Whether CloudEvents takes this for JSON: a subtype that is `json` or ends in `+json`.
pub(crate) fn is_json(content_type: &str) -> bool {
    family::is_one_of(content_type, &[], "/json") || takes(content_type)
}
