use bytes::{Bytes, BytesMut};

use super::Codec;
use crate::error::BoxError;

/// The bytes as they are, for types that are made of [`Bytes`] and can be seen as a slice. Takes every content type.
#[derive(Debug)]
pub enum Raw {}

#[diagnostic::do_not_recommend]
impl<T: AsRef<[u8]> + From<Bytes>> Codec<T> for Raw {
    const NAME: &'static str = "raw";
    const CONTENT_TYPE: &'static str = "application/octet-stream";

    fn accepts(_content_type: &str) -> bool {
        true
    }

    fn encode(value: &T, into: &mut BytesMut) -> Result<(), BoxError> {
        into.extend_from_slice(value.as_ref());
        Ok(())
    }

    fn decode(payload: &Bytes) -> Result<T, BoxError> {
        Ok(T::from(payload.clone()))
    }
}
