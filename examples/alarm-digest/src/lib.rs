//! Gathers what happens to the alarms of users, and tells each user in digests what is new.
//!
//! Changes come in any order and any number of times. Nothing is lost, and nothing is told twice unless it is news again: what
//! is known of an alarm is on disk before its message is acknowledged, and a digest is on disk before it is published.

#![allow(missing_docs, reason = "fields of events are named as what they are")]

mod events;
mod rules;
pub mod scenario;
mod service;
pub mod store;

pub use events::{ActiveAlarm, AlarmDigest, AlarmStatusChanged, SendAlarmDigest, Status};
pub use rules::{Alarm, check};
pub use service::{Desk, remind};
