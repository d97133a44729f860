//! What several adapters need, below them.
//!
//! Everything here is a state machine without I/O, and without a clock where one would be read: time is passed in. The adapters ask
//! their servers, and tell these what was answered.
//!
//! - Who has which partition: [`share()`] by the members that live, [`Tenure`] for how long a membership holds without an answer.
//! - What goes in and out: [`Events`] to the runtime, with terms counted when they are read; [`Credit`] per partition; [`Epochs`].
//! - What a URL says: [`UrlOptions`], [`Secret`], [`Tls`].
//! - Messages: [`dress`] and [`undress`] for brokers without keys and tombstones of their own, [`Spread`] for the partition of a message.
//! - [`Backoff`] for whoever tries again.

mod backoff;
mod credit;
mod dress;
mod epochs;
mod events;
mod secret;
mod share;
mod spread;
mod tenure;
mod tls;
mod url;

pub use backoff::Backoff;
pub use credit::Credit;
pub use dress::{DEATH_ROOM, dress, undress};
pub use epochs::Epochs;
pub use events::{EventStream, Events, events};
pub use secret::Secret;
pub use share::{Share, share};
pub use spread::Spread;
pub use tenure::Tenure;
pub use tls::{Tls, TlsFiles};
pub use url::UrlOptions;
