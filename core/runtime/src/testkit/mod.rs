//! Testing an application: in one process, on a broker of its own, in virtual time.
//!
//! Every test gets a fresh application over a memory broker that nobody else sees, so that tests run beside each other. Time
//! is virtual: it stands still while anything can be done, and jumps to the next moment at which something is due when nothing
//! can. A retry after 30 s takes no time at all.
//!
//! With the variable `CONVOKE_TEST_BROKER` the same tests run on the broker that it names, in real time. What a test makes there has
//! names that no other test has.

mod ask;
mod by_hand;
mod events;
mod faults;
mod foreign;
mod place;
mod prefixed;
mod record;
mod run;
mod settled;
mod story;
mod test_app;
mod timeline;

use convoke_core::BoxError;

pub use by_hand::ByHand;
pub use events::Events;
pub use run::{Options, TEST_BROKER_VARIABLE, run};
pub use settled::Settled;
pub use test_app::{MakeApp, TestApp};
pub use timeline::{Moment, Timeline};

/// What a test returns, so that `?` works in it.
pub type TestResult = Result<(), BoxError>;
