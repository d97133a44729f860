//! Keys: what orders messages, and what places them into partitions.

use std::fmt;

use bytes::Bytes;

/// The key of a message: its canonical text, as bytes.
///
/// Numbers are written in decimal, strings as UTF-8, tuples joined by [`Key::SEPARATOR`], so that two programs in two
/// languages compute the same bytes, and with them the same partition.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Bytes);

impl Key {
    /// What stands between the parts of a tuple: the ASCII unit separator, which no sensible identifier contains.
    pub const SEPARATOR: u8 = 0x1f;

    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, shared.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The partition of this key among `partitions`: murmur2 as Kafka's Java client computes it, so that every broker and
    /// every client agree.
    ///
    /// # Panics
    /// If `partitions` is 0.
    #[must_use]
    pub fn partition(&self, partitions: u32) -> u32 {
        assert!(partitions > 0, "a topic has at least one partition");
        (murmur2(&self.0) & 0x7fff_ffff) % partitions
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&crate::headers::printable(&self.0), f)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::headers::printable(&self.0))
    }
}

/// A value that can be a key. Implemented for strings, integers, `bool`, UUIDs, options and tuples of these.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of an event",
    label = "not a key",
    note = "a key is a string, an integer, a bool, a `uuid::Uuid`, an `Option` or a tuple of these; for another type name a field \
            of it: `#[event(key = self.customer.id)]`, or implement `convoke::IntoKey` for it"
)]
pub trait IntoKey {
    /// Appends the canonical text to `into`; `false` means that there is no key (an `Option` that is `None`).
    fn write_key(&self, into: &mut Vec<u8>) -> bool;

    /// The key, if there is one.
    fn to_key(&self) -> Option<Key> {
        let mut bytes = Vec::new();
        self.write_key(&mut bytes).then(|| Key::new(bytes))
    }
}

#[diagnostic::do_not_recommend]
impl IntoKey for Key {
    fn write_key(&self, into: &mut Vec<u8>) -> bool {
        into.extend_from_slice(&self.0);
        true
    }
}

macro_rules! text_key {
    ($($type:ty),*) => {$(
        #[diagnostic::do_not_recommend]
        impl IntoKey for $type {
            fn write_key(&self, into: &mut Vec<u8>) -> bool {
                into.extend_from_slice(self.as_bytes());
                true
            }
        }
    )*};
}
text_key!(str, String, std::sync::Arc<str>, Box<str>, std::borrow::Cow<'_, str>);

macro_rules! display_key {
    ($($type:ty),*) => {$(
        #[diagnostic::do_not_recommend]
        impl IntoKey for $type {
            fn write_key(&self, into: &mut Vec<u8>) -> bool {
                use std::io::Write as _;
                // Writing to a vector cannot fail.
                let _ = write!(into, "{self}");
                true
            }
        }
    )*};
}
display_key!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, bool, uuid::Uuid);

#[diagnostic::do_not_recommend]
impl<K: IntoKey + ?Sized> IntoKey for &K {
    fn write_key(&self, into: &mut Vec<u8>) -> bool {
        (**self).write_key(into)
    }
}

#[diagnostic::do_not_recommend]
impl<K: IntoKey> IntoKey for Option<K> {
    fn write_key(&self, into: &mut Vec<u8>) -> bool {
        self.as_ref().is_some_and(|key| key.write_key(into))
    }
}

/// The key of a tuple of these.
#[must_use]
pub fn join(parts: &[&dyn IntoKey]) -> Option<Key> {
    let mut bytes = Vec::new();
    write_parts(parts, &mut bytes).then(|| Key::new(bytes))
}

fn write_parts(parts: &[&dyn IntoKey], into: &mut Vec<u8>) -> bool {
    let mut any = false;
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            into.push(Key::SEPARATOR);
        }
        any |= part.write_key(into);
    }
    any
}

macro_rules! tuple_key {
    ($first:ident $($name:ident)*) => {
        #[diagnostic::do_not_recommend]
        impl<$first: IntoKey, $($name: IntoKey),*> IntoKey for ($first, $($name,)*) {
            fn write_key(&self, into: &mut Vec<u8>) -> bool {
                #[allow(non_snake_case, reason = "the type parameters name the bindings")]
                let ($first, $($name,)*) = self;
                write_parts(&[$first, $($name),*], into)
            }
        }
    };
}
tuple_key!(A);
tuple_key!(A B);
tuple_key!(A B C);
tuple_key!(A B C D);

/// 32-bit murmur2 with the seed of Kafka's Java client (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    #[allow(clippy::cast_possible_truncation, reason = "the algorithm is defined on 32-bit lengths")]
    let mut h = SEED ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let tail = chunks.remainder();
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_agrees_with_kafkas_java_client() {
        let cases: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (text, expected) in cases {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), expected, "{text}");
        }
    }

    #[test]
    fn keys_are_canonical_text() {
        assert_eq!(7_u64.to_key(), "7".to_key());
        assert_eq!(("ada", 7).to_key(), Some(Key::new("ada\u{1f}7")));
        assert_eq!(None::<u8>.to_key(), None);
        assert_eq!(true.to_key(), Some(Key::new("true")));
    }
}
