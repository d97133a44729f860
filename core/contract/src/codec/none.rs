use bytes::{Bytes, BytesMut};

use super::Codec;
use crate::error::BoxError;

/// The codec of a type whose `#[event]` was refused: so that what uses the type is not refused too.
#[derive(Debug)]
pub enum NoCodec {}

impl<T> Codec<T> for NoCodec {
    const NAME: &'static str = "none";
    const CONTENT_TYPE: &'static str = "application/octet-stream";

    fn encode(_value: &T, _into: &mut BytesMut) -> Result<(), BoxError> {
        Err("an event without a codec".into())
    }

    fn decode(_payload: &Bytes) -> Result<T, BoxError> {
        Err("an event without a codec".into())
    }
}
