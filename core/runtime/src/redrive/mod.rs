//! Dead letters: what the groups of an application have given up, to be looked at, sent back and thrown away.

mod filter;
mod letter;
mod read;
mod report;
mod topics;
mod watermark;
mod work;

use std::fmt;
use std::sync::Arc;

use convoke_core::broker::Broker;
use convoke_core::{Error, Registry};

pub use filter::Filter;
pub use letter::DeadLetter;
pub use report::{Fate, Handled, MAX_REPLAYS, Options, Refusal, Report};
pub use topics::DeadTopic;
pub use work::Listing;

use crate::app::open;

/// The dead letters of a broker. It needs nothing of the application that gave them up.
///
/// It reads in a group of its own, [`names::REDRIVE_GROUP`](convoke_core::names::REDRIVE_GROUP), so that no group of an application
/// notices.
#[derive(Clone)]
pub struct DeadLetters {
    broker: Arc<dyn Broker>,
}

impl DeadLetters {
    /// Those of a broker that is open, whatever it is.
    #[must_use]
    pub fn of(broker: Arc<dyn Broker>) -> Self {
        Self { broker }
    }

    /// Those of the broker that a URL names.
    ///
    /// # Cancel safety
    /// Safe: nothing was changed.
    ///
    /// # Errors
    /// If the URL cannot be read, its cargo feature is off, or the broker cannot be reached.
    pub async fn open(url: &str) -> Result<Self, Error> {
        open::open(url, "convoke", &Registry::collect().brokers).await.map(Self::of)
    }

    /// The broker.
    #[must_use]
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").field("broker", &self.broker.capabilities().name).finish_non_exhaustive()
    }
}
