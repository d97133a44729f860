//! What several test files share.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use convoke::Message;
use convoke::memory::MemoryBroker;
use convoke::prelude::*;
use tokio::time::Instant;

/// What handlers have seen, in order, with the time since the journal was begun. Make it within the runtime of the test.
#[derive(Debug)]
pub(crate) struct Journal<T>(Arc<(Instant, Mutex<Entries<T>>)>);

type Entries<T> = Vec<(Duration, T)>;

impl<T> Clone for Journal<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Journal<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new((Instant::now(), Mutex::default())))
    }

    fn entries(&self) -> MutexGuard<'_, Entries<T>> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, what: T) {
        let at = self.0.0.elapsed();
        self.entries().push((at, what));
    }

    pub(crate) fn all(&self) -> Vec<(Duration, T)> {
        self.entries().clone()
    }

    /// Everything with the moment itself, to be compared with that of other journals.
    pub(crate) fn moments(&self) -> Vec<(Instant, T)> {
        self.entries().iter().map(|(at, what)| (self.0.0 + *at, what.clone())).collect()
    }

    pub(crate) fn items(&self) -> Vec<T> {
        self.entries().iter().map(|(_, what)| what.clone()).collect()
    }

    pub(crate) fn times(&self) -> Vec<Duration> {
        self.entries().iter().map(|(at, _)| *at).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().len()
    }
}

/// Seeded numbers (splitmix64).
#[derive(Debug)]
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % limit
    }
}

/// A number that depends on these and on nothing else.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What a topic holds, as the broker has it: also what nobody confirmed.
pub(crate) fn stored(app: &AppHandle, topic: &str) -> Vec<Message> {
    app.broker().native().downcast_ref::<MemoryBroker>().expect("tests run on the memory broker").messages(topic)
}

/// A header of a message as text.
pub(crate) fn header<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    message.headers().get_str(name)
}

/// The headers of a message but for those of a dead letter, in order.
pub(crate) fn own_headers(message: &Message) -> Vec<(String, Vec<u8>)> {
    let own = message.headers().iter().filter(|(name, _)| !name.starts_with("convoke-dead-"));
    own.map(|(name, value)| (name.to_owned(), value.to_vec())).collect()
}

/// The status of one handler.
pub(crate) async fn status(app: &AppHandle, handler: &str) -> convoke::HandlerStatus {
    let status = app.status().await;
    status.handlers.into_iter().find(|one| one.handler == handler).expect("the handler is bound")
}

pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
