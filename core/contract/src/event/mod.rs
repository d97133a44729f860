//! Events: the types that travel.

mod payload;

use std::any::TypeId;
use std::fmt;

use crate::broker::Native;
use crate::codec::Codec;
use crate::error::Error;
use crate::key::Key;
use crate::message::{Message, Topic};
use crate::pattern::fill;
use crate::registry::Location;
use crate::upcast::Accepted;

pub(crate) use payload::read;
pub use payload::{DecodeError, decode, encode};

/// A type that travels. Written by `#[event]`; by hand where there is no macro.
///
/// # Examples
/// ```
/// use convoke_core::{Event, EventDef, Json, Key, IntoKey, Location};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct OrderPaid { customer: String }
///
/// impl Event for OrderPaid {
///     type Codec = Json;
///     const DEF: &'static EventDef = &EventDef::new::<Self>("orders.paid", Location::here(file!(), line!(), module_path!())).keyed();
///     fn key(&self) -> Option<Key> {
///         self.customer.to_key()
///     }
/// }
/// assert_eq!(OrderPaid::DEF.type_name_on_wire(), "orders.paid.v1");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "not an event",
    note = "put `#[convoke::event(topic = \"…\")]` on `{Self}`"
)]
pub trait Event: Sized + Send + Sync + 'static {
    /// How its payload is written.
    type Codec: Codec<Self>;
    /// What the registry knows of it.
    const DEF: &'static EventDef;

    /// Its key: messages of one key are handled in order.
    fn key(&self) -> Option<Key> {
        None
    }

    /// The topic that it is published to: that of its definition, with the parameters filled in.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTopic`](crate::ErrorKind::InvalidTopic) if a parameter's value cannot be a part of a topic's name, or is not known.
    fn destination(&self) -> Result<Topic, Error> {
        // Known when it is compiled.
        if Self::DEF.open { fill(Self::DEF.topic, &[]) } else { Ok(Self::DEF.topic.into()) }
    }

    /// Reads a message of an older version, or under an older name: the one at `index` of [`EventDef::accepts`]. By hand it is
    /// written with [`decode_older`](crate::decode_older).
    ///
    /// # Errors
    /// If the payload is not what the older version promises, or cannot become this event.
    fn from_accepted(index: usize, _message: &Message) -> Result<Self, DecodeError> {
        Err(DecodeError::new(format!("`{}` accepts no version at place {index}", Self::DEF.name)))
    }
}

/// What the registry knows of an event.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct EventDef {
    /// The stable name. By default that of the topic, never a Rust path.
    pub name: &'static str,
    /// The version of the schema, from 1.
    pub version: u32,
    /// Where it is published to unless the deployment says otherwise.
    pub topic: &'static str,
    /// The broker that its topic is on, where the application has several; `None` is the first.
    pub broker: Option<&'static str>,
    /// Whether its topic has parameters, as in `orders.{region}`, which [`Event::destination`] fills in.
    pub open: bool,
    /// Whether it has a key.
    pub keyed: bool,
    /// The key as the attribute has it, for people and for comparison.
    pub key_text: Option<&'static str>,
    /// Whether it is written as a bare payload, without any header of ours.
    pub bare: bool,
    /// What it says of its topic for one kind of broker or another.
    pub native: &'static [Native],
    /// What it is read from beside its own name and version.
    pub accepts: &'static [Accepted],
    /// The codec's name.
    pub codec: &'static str,
    /// The codec's content type.
    pub content_type: &'static str,
    /// The Rust type.
    pub type_id: fn() -> TypeId,
    /// The Rust type's name, for people.
    pub type_name: fn() -> &'static str,
    /// Computes the key from a payload, for bare messages that came without one.
    pub key_of: fn(&Message) -> Result<Option<Key>, DecodeError>,
    /// The JSON schema of its payload, as one line of JSON without titles and descriptions, if it is known.
    pub schema: fn() -> Option<String>,
    /// Where it was declared.
    pub location: Location,
}

impl EventDef {
    /// An event of version 1 whose name is its topic, without a key.
    #[must_use]
    pub const fn new<T: Event>(topic: &'static str, location: Location) -> Self {
        Self {
            name: topic,
            version: 1,
            topic,
            broker: None,
            open: has_parameters(topic),
            keyed: false,
            key_text: None,
            bare: false,
            native: &[],
            accepts: &[],
            codec: <T::Codec as Codec<T>>::NAME,
            content_type: <T::Codec as Codec<T>>::CONTENT_TYPE,
            type_id: TypeId::of::<T>,
            type_name: std::any::type_name::<T>,
            key_of: |message| decode::<T>(message).map(|event| event.key()),
            schema: || None,
            location,
        }
    }

    /// Sets the stable name.
    #[must_use]
    pub const fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets the version.
    #[must_use]
    pub const fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Says which broker its topic is on, where the application has several.
    #[must_use]
    pub const fn broker(mut self, broker: &'static str) -> Self {
        self.broker = Some(broker);
        self
    }

    /// Says that it has a key.
    #[must_use]
    pub const fn keyed(mut self) -> Self {
        self.keyed = true;
        self
    }

    /// Says that it has a key, and how that is written.
    #[must_use]
    pub const fn keyed_by(mut self, text: &'static str) -> Self {
        self.keyed = true;
        self.key_text = Some(text);
        self
    }

    /// Says how the schema of its payload is found.
    #[must_use]
    pub const fn schema(mut self, schema: fn() -> Option<String>) -> Self {
        self.schema = schema;
        self
    }

    /// Says that it is written as a bare payload.
    #[must_use]
    pub const fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Says of its topic what one kind of broker or another understands.
    #[must_use]
    pub const fn native(mut self, native: &'static [Native]) -> Self {
        self.native = native;
        self
    }

    /// Says what it is read from beside its own name and version; [`Event::from_accepted`] reads them.
    #[must_use]
    pub const fn accepts(mut self, accepts: &'static [Accepted]) -> Self {
        self.accepts = accepts;
        self
    }

    /// What stands in the CloudEvents attribute `type`: `<name>.v<version>`.
    #[must_use]
    pub fn type_name_on_wire(&self) -> String {
        format!("{}.v{}", self.name, self.version)
    }

    /// How a message's CloudEvents `type` relates to this event.
    #[must_use]
    pub fn recognise(&self, wire_type: &str) -> Recognised {
        let digits = |version: &str| !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
        let versioned = wire_type.rsplit_once(".v").filter(|(_, version)| digits(version));
        let known = |(name, version): (&str, &str)| {
            let version = version.parse().ok();
            let accepted = self.accepts.iter().position(|old| old.name == name && Some(old.version) == version);
            accepted.map_or(Recognised::OtherVersion, Recognised::Accepted)
        };
        match versioned {
            Some((name, version)) if name == self.name && version.parse() == Ok(self.version) => Recognised::Yes,
            Some(it) if it.0 == self.name => known(it),
            // Foreign producers know nothing of our suffix: the bare name means the present version.
            _ if wire_type == self.name => Recognised::Yes,
            Some(it) if self.accepts.iter().any(|old| old.name == it.0) => known(it),
            // An older name without a suffix means its last version.
            _ => {
                let named = self.accepts.iter().enumerate().filter(|(_, old)| old.name == wire_type);
                named.max_by_key(|(_, old)| old.version).map_or(Recognised::No, |(index, _)| Recognised::Accepted(index))
            }
        }
    }

    /// The types on the wire that it is read from, its own first, for people.
    #[must_use]
    pub fn known_on_wire(&self) -> String {
        let older = self.accepts.iter().map(|old| format!(", `{}.v{}`", old.name, old.version));
        format!("`{}`{}", self.type_name_on_wire(), older.collect::<String>())
    }
}

const fn has_parameters(topic: &str) -> bool {
    let (bytes, mut i) = (topic.as_bytes(), 0);
    while i < bytes.len() {
        if bytes[i] == b'{' {
            return true;
        }
        i += 1;
    }
    false
}

impl fmt::Debug for EventDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventDef")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("topic", &self.topic)
            .field("keyed", &self.keyed)
            .field("codec", &self.codec)
            .field("type", &(self.type_name)())
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

/// What [`EventDef::recognise`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognised {
    /// It is this event, in this version.
    Yes,
    /// It is this event in an older version, or under an older name: this one of [`EventDef::accepts`].
    Accepted(usize),
    /// It is this event in a version that this program does not know: a dead letter, never a skip.
    OtherVersion,
    /// It is another event.
    No,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::codec::Raw;

    struct Blob(Bytes);
    impl AsRef<[u8]> for Blob {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl From<Bytes> for Blob {
        fn from(bytes: Bytes) -> Self {
            Self(bytes)
        }
    }
    impl Event for Blob {
        type Codec = Raw;
        const DEF: &'static EventDef =
            &EventDef::new::<Self>("blobs", Location::here(file!(), line!(), module_path!())).version(2);
    }

    #[test]
    fn a_type_is_recognised_with_its_version_or_without_any() {
        assert_eq!(Blob::DEF.recognise("blobs.v2"), Recognised::Yes);
        assert_eq!(Blob::DEF.recognise("blobs"), Recognised::Yes);
        assert_eq!(Blob::DEF.recognise("blobs.v3"), Recognised::OtherVersion);
        assert_eq!(Blob::DEF.recognise("blobs.v99999999999999"), Recognised::OtherVersion);
        assert_eq!(Blob::DEF.recognise("blobs.video"), Recognised::No);
        assert_eq!(Blob::DEF.recognise("other.v2"), Recognised::No);
    }

    #[test]
    fn older_versions_and_names_are_recognised_and_others_of_them_are_not_skipped() {
        const OLD: [Accepted; 3] =
            [Accepted::new::<u8>("blobs", 1), Accepted::new::<u8>("bytes", 1), Accepted::new::<u8>("bytes", 4)];
        let def = Blob::DEF.accepts(&OLD);
        assert_eq!(def.recognise("blobs.v2"), Recognised::Yes);
        assert_eq!(def.recognise("blobs"), Recognised::Yes);
        assert_eq!(def.recognise("blobs.v1"), Recognised::Accepted(0));
        assert_eq!(def.recognise("bytes.v1"), Recognised::Accepted(1));
        assert_eq!(def.recognise("bytes"), Recognised::Accepted(2), "an older name alone is its last version");
        assert_eq!(def.recognise("blobs.v3"), Recognised::OtherVersion);
        assert_eq!(def.recognise("bytes.v2"), Recognised::OtherVersion);
        assert_eq!(def.recognise("bytes.vast"), Recognised::No);
        assert_eq!(def.known_on_wire(), "`blobs.v2`, `blobs.v1`, `bytes.v1`, `bytes.v4`");
    }

    #[test]
    fn raw_bytes_come_back_equal() {
        let message = encode(&Blob(Bytes::from_static(&[0, 159, 146, 150]))).unwrap().build();
        assert_eq!(decode::<Blob>(&message).unwrap().0, [0, 159, 146, 150][..]);
        assert_eq!(message.event_type(), Some("blobs.v2"));
    }
}
