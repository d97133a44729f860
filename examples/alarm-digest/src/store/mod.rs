//! Where alarms and digests are kept, so that a restart forgets nothing.

#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use convoke::BoxError;
use jiff::Timestamp;

use crate::events::{AlarmDigest, AlarmStatusChanged};

pub use sqlite::Sqlite;

// ANCHOR: store
/// What the service remembers. Each method is one transaction, and is on disk when it returns.
///
/// A replica handles the messages of a user one after the other. Those of producers that set no key can be in two replicas at once: what
/// a transaction reads must still be so when it writes.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Notes a change that became known at `now`. Says whether it is news.
    async fn note(&self, change: &AlarmStatusChanged, now: Timestamp) -> Result<bool, BoxError>;

    /// Puts a user's news into a digest, if there are any, and returns all of his digests that are not sent, oldest first.
    async fn seal(&self, user: &str) -> Result<Vec<AlarmDigest>, BoxError>;

    /// A digest is sent.
    async fn sent(&self, digest: &AlarmDigest) -> Result<(), BoxError>;

    /// Users whose news have waited since before then.
    async fn waiting(&self, before: Timestamp) -> Result<Vec<String>, BoxError>;

    /// A user's news wait anew from `now`.
    async fn waits(&self, user: &str, now: Timestamp) -> Result<(), BoxError>;
}
// ANCHOR_END: store

/// Opens a store: `postgres://…`, or the path of a file.
///
/// # Errors
/// If it cannot be opened.
pub async fn open(place: &str) -> Result<Arc<dyn Store>, BoxError> {
    if place.starts_with("postgres://") || place.starts_with("postgresql://") {
        #[cfg(feature = "postgres")]
        return Ok(Arc::new(postgres::Postgres::open(place).await?));
        #[cfg(not(feature = "postgres"))]
        return Err("PostgreSQL needs the cargo feature `postgres`: cargo run -p alarm-digest --features postgres".into());
    }
    Ok(Arc::new(Sqlite::open(Path::new(place))?))
}

/// As times are kept: text, of which the later one is the greater.
fn text(time: Timestamp) -> String {
    format!("{time:.9}")
}
