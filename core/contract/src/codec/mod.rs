//! Codecs: how an event becomes a payload and back. The set is open: implement [`Codec`] for a type of your own and name it
//! in `#[event(codec = MyCodec)]`.

#[cfg(feature = "cbor")]
mod cbor;
#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor"))]
mod family;
#[cfg(feature = "json")]
pub(crate) mod json;
#[cfg(feature = "msgpack")]
mod msgpack;
mod none;
pub(crate) mod off;
#[cfg(feature = "protobuf")]
mod protobuf;
mod raw;

use bytes::{Bytes, BytesMut};

use crate::error::BoxError;

#[cfg(feature = "cbor")]
pub use cbor::Cbor;
#[cfg(feature = "json")]
pub use json::Json;
#[cfg(feature = "msgpack")]
pub use msgpack::MsgPack;
pub use none::NoCodec;
#[cfg(feature = "protobuf")]
pub use protobuf::Protobuf;
pub use raw::Raw;

/// Turns values of `T` into payloads and back.
///
/// # Examples
/// A codec of one's own, for events that are one line of text:
/// ```
/// use bytes::{Bytes, BytesMut};
/// use convoke_core::{BoxError, Codec};
///
/// struct Line(String);
/// enum Text {}
///
/// impl Codec<Line> for Text {
///     const NAME: &'static str = "text";
///     const CONTENT_TYPE: &'static str = "text/plain";
///
///     fn encode(value: &Line, into: &mut BytesMut) -> Result<(), BoxError> {
///         into.extend_from_slice(value.0.as_bytes());
///         Ok(())
///     }
///
///     fn decode(payload: &Bytes) -> Result<Line, BoxError> {
///         Ok(Line(String::from_utf8(payload.to_vec())?))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the codec `{Self}` cannot carry `{T}`",
    label = "`{Self}` cannot write and read this",
    note = "for `Json`, the default, `MsgPack` and `Cbor`, write `#[derive(serde::Serialize, serde::Deserialize)]` on `{T}`",
    note = "`Protobuf` takes what is `prost::Message + Default`, `Raw` what is `AsRef<[u8]> + From<Bytes>`; for all else \
            implement `convoke::Codec<{T}>` and name it: `#[event(codec = MyCodec)]`"
)]
pub trait Codec<T>: 'static {
    /// A short name for tables and error texts.
    const NAME: &'static str;
    /// What is written into the `content-type` header.
    const CONTENT_TYPE: &'static str;

    /// Whether a payload that is declared as `content_type` is for this codec. By default: the same media type, whatever its
    /// parameters and case.
    #[must_use]
    fn accepts(content_type: &str) -> bool {
        essence(content_type).eq_ignore_ascii_case(essence(Self::CONTENT_TYPE))
    }

    /// Appends the payload of `value` to `into`.
    ///
    /// # Errors
    /// If `value` has no representation in this format.
    fn encode(value: &T, into: &mut BytesMut) -> Result<(), BoxError>;

    /// Reads a value from the whole of `payload`.
    ///
    /// # Errors
    /// If the payload is anything but one whole value.
    fn decode(payload: &Bytes) -> Result<T, BoxError>;

    /// Reads a value from a payload that is declared as `content_type`. `None`: that is a type that this codec cannot read.
    ///
    /// By default [`decode`](Self::decode), if it [`accepts`](Self::accepts) that type. `Json`, `MsgPack` and `Cbor` read each
    /// other's types too, as far as their features are on.
    #[must_use]
    fn decode_as(content_type: &str, payload: &Bytes) -> Option<Result<T, BoxError>> {
        Self::accepts(content_type).then(|| Self::decode(payload))
    }
}

/// A media type without its parameters.
#[must_use]
pub fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}
