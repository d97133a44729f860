//! Arguments that are written `State<T>` or `Batch<T>`: where they cannot be, `T` is to blame, and the compiler should say so.

use std::fmt;
use std::marker::PhantomData;

use crate::delivery::Delivery;
use crate::event::Event;
use crate::extract::{Batch, FromDelivery, Meta, Rejection, Signature, State};
use crate::publish::Publisher;

/// An argument's type. Its functions are picked by the rules of look-up: those of [`State`] and [`Batch`] first, which
/// blame what is in them, then those of whatever else goes by these names.
pub struct Argument<A>(PhantomData<fn() -> A>);

impl<A> Argument<A> {
    /// The argument of this type.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "named by generated code alone")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<A> fmt::Debug for Argument<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Argument")
    }
}

/// What an argument takes of the message. `Argument::<A>::PART` is that of `A`, picked by the rules of look-up: what is no argument
/// at all is refused elsewhere.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// The event.
    Event,
    /// Events in a batch.
    Batch,
    /// Nothing: it comes with the message, or from the application.
    Aside,
    /// Whatever it likes: an argument of somebody else's making.
    Unknown,
}

impl Part {
    /// Whether it is the event, or several.
    #[must_use]
    pub const fn is_event(self) -> bool {
        matches!(self, Self::Event | Self::Batch)
    }
}

impl<T: Event> Argument<T> {
    /// See [`Part`].
    pub const PART: Part = Part::Event;
}

impl<T> Argument<Batch<T>> {
    /// See [`Part`].
    pub const PART: Part = Part::Batch;
}

impl<T> Argument<State<T>> {
    /// See [`Part`].
    pub const PART: Part = Part::Aside;
}

impl Argument<Meta<'_>> {
    /// See [`Part`].
    pub const PART: Part = Part::Aside;
}

impl Argument<Publisher> {
    /// See [`Part`].
    pub const PART: Part = Part::Aside;
}

/// See [`Part`].
pub trait UnknownPart {
    /// As there.
    const PART: Part = Part::Unknown;
}

impl<A> UnknownPart for Argument<A> {}

/// An argument whose `T` can be an application's state. A trait of the argument and not of `T`, because else the compiler
/// proposes to take a reference.
#[diagnostic::on_unimplemented(
    message = "`{T}` cannot be state: every call of a handler takes a clone of it, on any thread",
    label = "is not `Clone + Send + Sync + 'static`",
    note = "write `#[derive(Clone)]` on it, or share it: `State<Arc<…>>`; what changes goes into a `Mutex` or an atomic"
)]
pub trait StateOf<T> {
    /// As [`FromDelivery::describe`].
    fn describe_state(signature: &mut Signature);
}

#[diagnostic::do_not_recommend]
impl<T: Clone + Send + Sync + 'static> StateOf<T> for State<T> {
    fn describe_state(signature: &mut Signature) {
        <Self as FromDelivery<'_>>::describe(signature);
    }
}

impl<T> Argument<State<T>> {
    /// As [`FromDelivery::describe`].
    pub fn describe(signature: &mut Signature)
    where
        State<T>: StateOf<T>,
    {
        State::<T>::describe_state(signature);
    }
}

impl<T> Argument<Batch<T>> {
    /// As [`FromDelivery::describe`].
    pub fn describe(signature: &mut Signature)
    where
        T: Event,
    {
        <Batch<T> as FromDelivery<'_>>::describe(signature);
    }
}

/// See [`Argument`].
pub trait OtherArgument {
    /// The argument's type.
    type Type;

    /// As [`FromDelivery::describe`].
    fn describe<'d>(signature: &mut Signature)
    where
        Self::Type: FromDelivery<'d>,
    {
        <Self::Type as FromDelivery<'d>>::describe(signature);
    }
}

impl<A> OtherArgument for Argument<A> {
    type Type = A;
}

/// See [`Argument`].
pub trait MadeArgument<'d, A> {
    /// As [`FromDelivery::from_delivery`].
    ///
    /// # Errors
    /// As there.
    fn make(&self, delivery: &'d Delivery) -> Result<A, Rejection>;
}

impl<'d, A: FromDelivery<'d>> MadeArgument<'d, A> for Argument<A> {
    fn make(&self, delivery: &'d Delivery) -> Result<A, Rejection> {
        A::from_delivery(delivery)
    }
}

/// See [`Argument`]: one that `describe` has refused, and that is not to be refused once more.
pub trait RefusedArgument<A> {
    /// An error.
    ///
    /// # Errors
    /// Always.
    fn make(&self, delivery: &Delivery) -> Result<A, Rejection>;
}

impl<A> RefusedArgument<A> for &Argument<A> {
    fn make(&self, _delivery: &Delivery) -> Result<A, Rejection> {
        const { Refused::<A>::NEVER };
        Err(Rejection::Failed("an argument that cannot be made".into()))
    }
}

/// What is refused where it is written is never called; if it should be, the program does not link.
pub(crate) struct Refused<T>(PhantomData<T>);

impl<T> Refused<T> {
    pub(crate) const NEVER: () =
        panic!("convoke has accepted a type that it cannot use; please report it with the handler or event");
}
