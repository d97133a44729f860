//! What stands where a codec's feature is off, so that the compiler's error names the feature.

use bytes::{Bytes, BytesMut};

use super::Codec;
use crate::error::BoxError;

macro_rules! off {
    ($feature:literal: $codec:ident, $switch:ident, $message:literal) => {
        #[cfg(not(feature = $feature))]
        #[doc(hidden)]
        #[derive(Debug)]
        pub enum $codec {}

        /// Implemented for nothing.
        #[cfg(not(feature = $feature))]
        #[doc(hidden)]
        #[diagnostic::on_unimplemented(message = $message, label = "this codec's feature is off")]
        pub trait $switch {}

        #[cfg(not(feature = $feature))]
        impl<T: $switch> Codec<T> for $codec {
            const NAME: &'static str = $feature;
            const CONTENT_TYPE: &'static str = "application/octet-stream";

            fn encode(_value: &T, _into: &mut BytesMut) -> Result<(), BoxError> {
                Err(concat!("the feature `", $feature, "` is off").into())
            }

            fn decode(_payload: &Bytes) -> Result<T, BoxError> {
                Err(concat!("the feature `", $feature, "` is off").into())
            }
        }
    };
}

off!("json": Json, JsonFeature, "the codec `json` needs the feature `json` of convoke");
off!("msgpack": MsgPack, MsgPackFeature, "the codec `msgpack` needs the feature `msgpack` of convoke");
off!("cbor": Cbor, CborFeature, "the codec `cbor` needs the feature `cbor` of convoke");
off!("protobuf": Protobuf, ProtobufFeature, "the codec `protobuf` needs the feature `protobuf` of convoke");
