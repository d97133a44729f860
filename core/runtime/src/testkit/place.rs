//! Where a test's broker is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use convoke_core::broker::Broker;

use super::prefixed::Prefixed;

/// Where a test's broker is, and what keeps others that are on it apart.
#[derive(Clone)]
pub(super) struct Place {
    url: String,
    /// On a broker that others are on, too: what the names of topics and groups begin with.
    prefix: Option<String>,
    /// Whether what was made is to be deleted when the application ends.
    sweep: Arc<AtomicBool>,
}

impl Place {
    /// The broker at a URL, with the names as they are.
    pub(super) fn at(url: String) -> Self {
        Self { url, prefix: None, sweep: Arc::default() }
    }

    /// A memory broker that nobody else uses.
    pub(super) fn own() -> Self {
        Self::at(format!("memory://test-{}-{}", std::process::id(), number()))
    }

    /// A broker that others use too, where no name is another test's.
    pub(super) fn among_others(url: String) -> Self {
        // Two runs on one broker must not meet either.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = format!("{:x}-{:x}", since.as_millis() & 0xff_ffff_ffff, std::process::id());
        Self { prefix: Some(format!("t{run}-{}.", number())), ..Self::at(url) }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    /// Puts around the broker of this name what keeps others apart.
    pub(super) fn around(&self, name: &str, broker: Arc<dyn Broker>) -> Arc<dyn Broker> {
        let Some(prefix) = &self.prefix else { return broker };
        let prefix = if name.is_empty() { prefix.clone() } else { format!("{prefix}{name}.") };
        Arc::new(Prefixed::new(broker, prefix, Arc::clone(&self.sweep)))
    }

    /// The test is over: what it has made on the broker can go.
    pub(super) fn sweep(&self) {
        self.sweep.store(true, Ordering::Release);
    }
}

fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
