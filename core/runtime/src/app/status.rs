//! What can be read about a running application.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use convoke_core::broker::{Health, Lag};

use crate::driver::Stopped;

/// An application, as it is now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AppStatus {
    /// Whether every handler is consuming and every connection is up: what a readiness probe asks.
    pub ready: bool,
    /// The connection to the broker; to the first, where there are several.
    pub broker: Health,
    /// The connections to further brokers, by name.
    pub brokers: BTreeMap<String, Health>,
    /// Messages published from outside of handlers that are not confirmed yet.
    pub publishing: u64,
    /// Each handler, by name.
    pub handlers: Vec<HandlerStatus>,
}

/// A handler, as it is now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HandlerStatus {
    /// Its name.
    pub handler: String,
    /// Its group.
    pub group: String,
    /// The broker that it reads from, if that is not the first.
    pub broker: Option<String>,
    /// Whether its subscription is open and makes progress: not connected, or with work for [`STALLED`] without finishing any,
    /// is unhealthy, and so is what has [`stopped`](Self::stopped). What has come to its marked end is healthy.
    pub healthy: bool,
    /// Where it does not go on by itself, and why.
    pub stopped: Vec<Stopped>,
    /// Whether it was told to pause.
    pub paused: bool,
    /// Whether it has paused by itself, because what it depends on is unavailable.
    pub suspended: bool,
    /// Whether everything up to its marked end is settled, so that it has stopped.
    pub at_end: bool,
    /// How many deliveries run at the same time at most.
    pub concurrency: u32,
    /// Messages that this process holds and has not settled.
    pub in_flight: u64,
    /// Of these, how many a handler is running with.
    pub running: u64,
    /// Of these, how many wait for a retry.
    pub waiting: u64,
    /// The age of the oldest of these, from the moment it was handed to this process.
    pub oldest: Option<Duration>,
    /// Handled and acknowledged.
    pub handled: u64,
    /// Messages that were acknowledged without the handler, because it had handled them before (deduplication).
    pub known: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Messages that were given up and are in the dead-letter topic.
    pub dead: u64,
    /// Messages that the code dropped.
    pub dropped: u64,
    /// Messages of unknown events that were skipped.
    pub skipped: u64,
    /// Ranges of messages that the broker discarded before they were read.
    pub gaps: u64,
    /// Partitions that bring nothing more for now, because one key has too many followers waiting, or too much is done above a message
    /// that is not.
    pub full: u64,
    /// How far the group is behind, as the broker says; `None` where it does not answer.
    pub lag: Option<Lag>,
    /// Failures of the connection in a row.
    pub connection_failures: u32,
}

/// How long a handler may have work without finishing any before it is called unhealthy.
pub const STALLED: Duration = Duration::from_secs(60);

pub(crate) fn read(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
