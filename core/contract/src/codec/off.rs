//! What stands where a codec's feature is off, so that the compiler's error names the feature and nothing else.

use bytes::{Bytes, BytesMut};

use super::Codec;
use crate::error::BoxError;

/// A codec whose feature is off. It carries everything, as far as the compiler can tell: what is wrong was said already.
#[doc(hidden)]
#[derive(Debug)]
pub enum Off {}

impl<T> Codec<T> for Off {
    const NAME: &'static str = "off";
    const CONTENT_TYPE: &'static str = "application/octet-stream";

    fn encode(_value: &T, _into: &mut BytesMut) -> Result<(), BoxError> {
        Err("the feature of this codec is off".into())
    }

    fn decode(_payload: &Bytes) -> Result<T, BoxError> {
        Err("the feature of this codec is off".into())
    }
}

#[cfg(not(feature = "json"))]
#[doc(hidden)]
pub type Json = Off;
#[cfg(not(feature = "msgpack"))]
#[doc(hidden)]
pub type MsgPack = Off;
#[cfg(not(feature = "cbor"))]
#[doc(hidden)]
pub type Cbor = Off;
#[cfg(not(feature = "protobuf"))]
#[doc(hidden)]
pub type Protobuf = Off;

/// What is said of a codec whose feature is off.
#[doc(hidden)]
#[macro_export]
macro_rules! __codec_is_off {
    ($feature:literal) => {
        ::core::compile_error!(::core::concat!(
            "the codec `",
            $feature,
            "` needs the feature `",
            $feature,
            "` of convoke: `features = [\"",
            $feature,
            "\"]` in Cargo.toml"
        ));
    };
}

// What generated code calls for each codec that it names. They are not made by a macro, because such macros cannot be re-exported.

#[cfg(feature = "json")]
#[doc(hidden)]
#[macro_export]
macro_rules! __needs_json {
    () => {};
}

#[cfg(not(feature = "json"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __needs_json {
    () => {
        $crate::__codec_is_off!("json");
    };
}

#[cfg(feature = "msgpack")]
#[doc(hidden)]
#[macro_export]
macro_rules! __needs_msgpack {
    () => {};
}

#[cfg(not(feature = "msgpack"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __needs_msgpack {
    () => {
        $crate::__codec_is_off!("msgpack");
    };
}

#[cfg(feature = "cbor")]
#[doc(hidden)]
#[macro_export]
macro_rules! __needs_cbor {
    () => {};
}

#[cfg(not(feature = "cbor"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __needs_cbor {
    () => {
        $crate::__codec_is_off!("cbor");
    };
}

#[cfg(feature = "protobuf")]
#[doc(hidden)]
#[macro_export]
macro_rules! __needs_protobuf {
    () => {};
}

#[cfg(not(feature = "protobuf"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __needs_protobuf {
    () => {
        $crate::__codec_is_off!("protobuf");
    };
}
