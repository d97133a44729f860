//! How an error says what should happen to the message that caused it.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::error::BoxError;

/// What an error means for the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// It may pass: try again with the handler's backoff. What every error is that says nothing else.
    Transient,
    /// It will never pass: dead-letter at once.
    Permanent,
    /// Try again after this time, in place of the handler's backoff. Counts as an attempt.
    After(Duration),
    /// What the handler depends on is down: pause the handler, count nothing, try again when a probe succeeds.
    Unavailable,
}

/// An error type that knows its own [`Class`].
///
/// # Examples
/// ```
/// use convoke_core::{Class, Classify};
///
/// #[derive(Debug)]
/// enum StockError { UnknownArticle, WarehouseOffline }
///
/// impl Classify for StockError {
///     fn class(&self) -> Class {
///         match self {
///             Self::UnknownArticle => Class::Permanent,
///             Self::WarehouseOffline => Class::Unavailable,
///         }
///     }
/// }
/// ```
pub trait Classify {
    /// What this error means for the message.
    fn class(&self) -> Class;
}

/// An error with its class beside it. Found anywhere in a chain of sources; the outermost one counts.
pub struct Classified {
    class: Class,
    error: BoxError,
}

impl Classified {
    /// Puts `class` beside `error`.
    #[must_use]
    pub fn new(class: Class, error: impl Into<BoxError>) -> Self {
        Self { class, error: error.into() }
    }
}

/// Prints as the error does, and stands in its place in the chain, so that a report shows it once.
impl fmt::Display for Classified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl fmt::Debug for Classified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classified").field("class", &self.class).field("error", &self.error).finish()
    }
}

impl StdError for Classified {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

/// This will never pass: the message is dead-lettered at once.
///
/// # Examples
/// ```
/// use convoke_core::{permanent, BoxError};
///
/// fn parse(text: &str) -> Result<u64, BoxError> {
///     Ok(text.parse().map_err(permanent)?)
/// }
/// # assert!(parse("x").is_err());
/// ```
#[must_use]
pub fn permanent(error: impl Into<BoxError>) -> Classified {
    Classified::new(Class::Permanent, error)
}

/// This may pass: the message is tried again with the handler's backoff. What plain errors mean too.
#[must_use]
pub fn transient(error: impl Into<BoxError>) -> Classified {
    Classified::new(Class::Transient, error)
}

/// This may pass after `delay`: the message is tried again then.
#[must_use]
pub fn after(delay: Duration, error: impl Into<BoxError>) -> Classified {
    Classified::new(Class::After(delay), error)
}

/// What the handler depends on is down: the handler pauses and nothing is counted as an attempt.
#[must_use]
pub fn unavailable(error: impl Into<BoxError>) -> Classified {
    Classified::new(Class::Unavailable, error)
}

/// The class of an error: that of the outermost [`Classified`] in its chain, else transient.
#[must_use]
pub fn class_of(error: &(dyn StdError + 'static)) -> Class {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(classified) = error.downcast_ref::<Classified>() {
            return classified.class;
        }
        next = error.source();
    }
    Class::Transient
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(Classified);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }
    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_class_is_found_anywhere_in_the_chain() {
        assert_eq!(class_of(&Outer(permanent("no such order"))), Class::Permanent);
        assert_eq!(class_of(&fmt::Error), Class::Transient);
    }
}
