use std::fmt;

use convoke_core::Delivered;
use tower::Layer;

use super::Filter;

/// Acknowledges the messages that a predicate does not want, without calling the handler. See the [module](super).
#[derive(Clone, Copy)]
pub struct FilterLayer<P> {
    predicate: P,
}

impl<P> FilterLayer<P> {
    /// Lets those messages through for which `predicate` is true.
    pub const fn new(predicate: P) -> Self
    where
        P: Fn(&Delivered) -> bool + Clone,
    {
        Self { predicate }
    }
}

impl<P> fmt::Debug for FilterLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterLayer").finish_non_exhaustive()
    }
}

impl<S, P: Clone> Layer<S> for FilterLayer<P> {
    type Service = Filter<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Filter::new(inner, self.predicate.clone())
    }
}
