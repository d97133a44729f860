use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, essence};
use crate::error::BoxError;

/// JSON by `serde_json`: the default codec. Takes `application/json`, `text/json` and every type that ends in `+json`.
#[derive(Debug)]
pub enum Json {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    const NAME: &'static str = "json";
    const CONTENT_TYPE: &'static str = "application/json";

    fn accepts(content_type: &str) -> bool {
        let media = essence(content_type).to_ascii_lowercase();
        media == "application/json" || media == "text/json" || media.ends_with("+json")
    }

    fn encode(value: &T, into: &mut BytesMut) -> Result<(), BoxError> {
        Ok(serde_json::to_writer(into.writer(), value)?)
    }

    fn decode(payload: &Bytes) -> Result<T, BoxError> {
        Ok(serde_json::from_slice(payload)?)
    }
}
