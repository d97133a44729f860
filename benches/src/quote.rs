//! The event that travels, and the tally of what was seen of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use convoke::{BoxError, Outgoing, cloudevents, event, names};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::plan::Work;

/// A price: about 50 bytes of JSON, and a key.
#[event(topic = "quotes", key = symbol)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// A number that is different for each message.
    pub id: u64,
    /// The key.
    pub symbol: String,
    /// The price.
    pub cents: u64,
}

impl Quote {
    /// The `index`th message, of one of `keys` keys.
    #[must_use]
    pub fn nth(index: u64, keys: u64) -> Self {
        // A step without a common factor with powers of two and ten goes through all keys without any pattern of the partitions.
        let key = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys;
        Self { id: 1_000_000 + index, symbol: format!("k{key:07}"), cents: 10_000 + index % 80_000 }
    }

    /// The message as a publisher of convoke's writes it, with every CloudEvents header; the same in every run.
    pub(crate) fn message(&self, topic: &str, index: u64) -> Result<Outgoing, BoxError> {
        let mut message = convoke::encode(self)?.topic(topic);
        let headers = message.headers_mut();
        headers.append(names::ID, format!("01990000-0000-7000-8000-{index:012}"));
        headers.append(names::SOURCE, "benches");
        headers.append(names::SPEC_VERSION, names::SPEC_VERSION_1_0);
        headers.append(names::TIME, cloudevents::rfc3339(std::time::SystemTime::UNIX_EPOCH));
        Ok(Outgoing::new(message.build()))
    }
}

/// How many messages, and the sum of what they say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// The sum.
    pub sum: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, quote: &Quote) {
        self.count += 1;
        self.sum += quote.id ^ quote.cents;
    }
}

static COUNT: AtomicU64 = AtomicU64::new(0);
static SUM: AtomicU64 = AtomicU64::new(0);
static EXPECTED: AtomicU64 = AtomicU64::new(0);
static WAITS: AtomicBool = AtomicBool::new(false);
static DONE: Notify = Notify::const_new();

/// Forgets what was seen before, and waits for this many.
pub(crate) fn begin(expected: u64, work: Work) {
    COUNT.store(0, Relaxed);
    SUM.store(0, Relaxed);
    EXPECTED.store(expected, Relaxed);
    WAITS.store(work == Work::Yields, Relaxed);
}

/// What a handler of every path does with an event: next to nothing.
pub(crate) fn tally(quote: &Quote) {
    SUM.fetch_add(quote.id ^ quote.cents, Relaxed);
    if COUNT.fetch_add(1, Relaxed) + 1 == EXPECTED.load(Relaxed) {
        DONE.notify_one();
    }
}

/// Whether handlers are to wait once before they are done.
pub(crate) fn waits() -> bool {
    WAITS.load(Relaxed)
}

/// Waits until as many were seen as are expected.
pub(crate) async fn done() {
    DONE.notified().await;
}

/// What was seen.
pub(crate) fn seen() -> Tally {
    Tally { count: COUNT.load(Relaxed), sum: SUM.load(Relaxed) }
}
