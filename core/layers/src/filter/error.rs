use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use convoke_core::BoxError;

/// The failure of a batch, as each of its messages carries it.
///
/// The handler's own error is the `source()`, so that its class is found, and is not repeated in the sentence.
#[derive(Debug, Clone)]
pub struct BatchError(Arc<BoxError>);

impl BatchError {
    pub(crate) fn new(error: BoxError) -> Self {
        Self(Arc::new(error))
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the batch that this message was part of failed")
    }
}

impl StdError for BatchError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&**self.0)
    }
}
