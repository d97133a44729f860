//! Older versions of an event, and events under older names: how they become the present one.

use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;

use crate::argument::Refused;
use crate::codec::Codec;
use crate::error::BoxError;
use crate::event::{self, DecodeError, Event};
use crate::message::Message;

/// A name and a version that an event is read from beside its own.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Accepted {
    /// The name.
    pub name: &'static str,
    /// The version.
    pub version: u32,
    /// The Rust type that its payload is read as.
    pub type_id: fn() -> TypeId,
    /// That type's name, for people.
    pub type_name: fn() -> &'static str,
}

impl Accepted {
    /// This version of this name is read as an `Old`.
    #[must_use]
    pub const fn new<Old: 'static>(name: &'static str, version: u32) -> Self {
        Self { name, version, type_id: TypeId::of::<Old>, type_name: std::any::type_name::<Old> }
    }

    /// The same, where a function takes the `Old`.
    #[must_use]
    #[doc(hidden)]
    pub const fn by<Old: 'static, New, F: Upcast<Old, New, M>, M>(name: &'static str, version: u32, _upcast: &F) -> Self {
        Self::new::<Old>(name, version)
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.v{} as {}", self.name, self.version, (self.type_name)())
    }
}

/// Reads the payload of an older version as an `Old`, by the event's codec, and takes it up to the event.
///
/// # Examples
/// ```
/// use convoke_core::{Accepted, DecodeError, Event, EventDef, Json, Location, Message, decode, decode_older};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct PaidV1 { cents: u64 }
///
/// #[derive(Serialize, Deserialize)]
/// struct Paid { cents: u64, currency: String }
///
/// impl Event for Paid {
///     type Codec = Json;
///     const DEF: &'static EventDef = &EventDef::new::<Self>("paid", Location::here(file!(), line!(), module_path!()))
///         .version(2)
///         .accepts(&[Accepted::new::<PaidV1>("paid", 1)]);
///
///     fn from_accepted(_index: usize, message: &Message) -> Result<Self, DecodeError> {
///         decode_older(message, |old: PaidV1| Ok(Self { cents: old.cents, currency: "EUR".into() }))
///     }
/// }
///
/// let old = Message::builder("paid").header("ce-type", "paid.v1").payload(r#"{"cents":990}"#).build();
/// assert_eq!(decode::<Paid>(&old)?.currency, "EUR");
/// # Ok::<(), DecodeError>(())
/// ```
///
/// # Errors
/// If the payload is no `Old`, or if `up` says that it cannot become the event.
pub fn decode_older<T: Event, Old>(message: &Message, up: impl FnOnce(Old) -> Result<T, BoxError>) -> Result<T, DecodeError>
where
    T::Codec: Codec<Old>,
{
    let name = message.event_type().unwrap_or(T::DEF.name);
    let old = event::read::<T::Codec, Old>(message, name)?;
    up(old).map_err(|source| {
        let text = format!("this `{name}` cannot become `{}`", T::DEF.type_name_on_wire());
        DecodeError::new(text).caused_by(source)
    })
}

/// A function from an older version to the present one.
#[diagnostic::on_unimplemented(
    message = "this function does not take an older version up to `{New}`",
    label = "cannot take an older version up",
    note = "write `fn upcast(old: Old) -> {New}`, or `-> Result<{New}, E>` where `E` converts into `Box<dyn Error + Send + Sync>`"
)]
pub trait Upcast<Old, New, Marker> {
    /// The present version.
    ///
    /// # Errors
    /// Those of the function.
    fn upcast(self, old: Old) -> Result<New, BoxError>;
}

/// Marks functions that always succeed.
#[derive(Debug)]
pub enum Always {}

/// Marks functions that can fail.
pub struct Fallible<E>(PhantomData<fn() -> E>);

impl<E> fmt::Debug for Fallible<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fallible")
    }
}

#[diagnostic::do_not_recommend]
impl<Old, New, F: FnOnce(Old) -> New> Upcast<Old, New, Always> for F {
    fn upcast(self, old: Old) -> Result<New, BoxError> {
        Ok(self(old))
    }
}

#[diagnostic::do_not_recommend]
impl<Old, New, E: Into<BoxError>, F: FnOnce(Old) -> Result<New, E>> Upcast<Old, New, Fallible<E>> for F {
    fn upcast(self, old: Old) -> Result<New, BoxError> {
        self(old).map_err(Into::into)
    }
}

/// A function of which an event is made. Its functions are picked by the rules of look-up.
pub struct Function<T, F>(F, PhantomData<fn() -> T>);

impl<T, F: Copy> Function<T, F> {
    /// This function, for this event.
    #[must_use]
    pub const fn new(function: F) -> Self {
        Self(function, PhantomData)
    }
}

impl<T, F> fmt::Debug for Function<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

/// See [`Function`].
pub trait DecodeBy<T, Old, M> {
    /// As [`decode_older`].
    ///
    /// # Errors
    /// As there.
    fn decode(&self, message: &Message) -> Result<T, DecodeError>
    where
        T: Event<Codec: Codec<Old>>;
}

impl<T, Old, M, F: Upcast<Old, T, M> + Copy> DecodeBy<T, Old, M> for Function<T, F> {
    fn decode(&self, message: &Message) -> Result<T, DecodeError>
    where
        T: Event<Codec: Codec<Old>>,
    {
        decode_older(message, |old| self.0.upcast(old))
    }
}

/// See [`Function`]: one that [`Accepted::by`] has refused, and that is not to be refused once more.
pub trait RefusedBy<T> {
    /// An error.
    ///
    /// # Errors
    /// Always.
    fn decode(&self, message: &Message) -> Result<T, DecodeError>;
}

impl<T, F> RefusedBy<T> for &Function<T, F> {
    fn decode(&self, _message: &Message) -> Result<T, DecodeError> {
        const { Refused::<F>::NEVER };
        Err(DecodeError::new("a function that takes nothing up"))
    }
}

/// What an older version can become.
#[diagnostic::on_unimplemented(
    message = "`{Old}` cannot become `{Self}`",
    label = "there is no way from this to a newer version",
    note = "write `impl From<{Old}> for {Self}`, or `TryFrom` with an error that converts into `Box<dyn Error + Send + Sync>`",
    note = "or name a function in its place: `accepts(1 = upcast_v1)`"
)]
pub trait Newer<Old>: Sized {
    /// The newer version.
    ///
    /// # Errors
    /// Those of the conversion.
    fn newer(old: Old) -> Result<Self, BoxError>;
}

#[diagnostic::do_not_recommend]
impl<Old, New: TryFrom<Old, Error: Into<BoxError>>> Newer<Old> for New {
    fn newer(old: Old) -> Result<Self, BoxError> {
        old.try_into().map_err(Into::into)
    }
}

/// The way from `Old` to `New`: straight if there is a conversion, else by way of `Next`. Its functions are picked by the rules of
/// look-up.
pub struct Way<Old, Next, New>(PhantomData<fn(Old, Next) -> New>);

impl<Old, Next, New> Way<Old, Next, New> {
    /// The way between these types.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "named by generated code alone")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<Old, Next, New> fmt::Debug for Way<Old, Next, New> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Way")
    }
}

impl<Old, Next, New: TryFrom<Old, Error: Into<BoxError>>> Way<Old, Next, New> {
    /// Straight.
    ///
    /// # Errors
    /// Those of the conversion.
    pub fn up(self, old: Old, _onward: fn(Next) -> Result<New, BoxError>) -> Result<New, BoxError> {
        New::newer(old)
    }
}

/// See [`Way`].
pub trait WayByNext<Old, Next, New> {
    /// By way of the next version, and onward from there.
    ///
    /// # Errors
    /// Those of the conversions.
    fn up(self, old: Old, onward: fn(Next) -> Result<New, BoxError>) -> Result<New, BoxError>
    where
        Next: Newer<Old>;
}

impl<Old, Next, New> WayByNext<Old, Next, New> for Way<Old, Next, New> {
    fn up(self, old: Old, onward: fn(Next) -> Result<New, BoxError>) -> Result<New, BoxError>
    where
        Next: Newer<Old>,
    {
        onward(Next::newer(old)?)
    }
}
