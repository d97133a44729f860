//! What comes in and what goes out, as others spell it: JSON with keys that end in `ID`.

use std::str::FromStr;

use convoke::prelude::*;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How bad it is. An alarm is active unless it is cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    Cleared,
    Warning,
    Critical,
}

impl Status {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cleared => "CLEARED",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }
}

impl FromStr for Status {
    type Err = BoxError;

    fn from_str(text: &str) -> Result<Self, BoxError> {
        let known = [Self::Cleared, Self::Warning, Self::Critical].into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is no status").into())
    }
}

// ANCHOR: changed
/// The status of a user's alarm has changed. May come late, twice, and in any order.
#[event(topic = "AlarmStatusChanged", key = user_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmStatusChanged {
    #[serde(rename = "AlarmID", alias = "AlarmId")]
    pub alarm_id: String,
    #[serde(rename = "UserID", alias = "UserId")]
    pub user_id: String,
    #[serde(rename = "Status")]
    pub status: Status,
    #[serde(rename = "ChangedAt")]
    pub changed_at: Timestamp,
}
// ANCHOR_END: changed

/// A user is to be told what is new.
#[event(topic = "SendAlarmDigest", key = user_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendAlarmDigest {
    #[serde(rename = "UserID", alias = "UserId")]
    pub user_id: String,
}

/// The active alarms of a user that no earlier digest has told, oldest first.
#[event(topic = "AlarmDigest", key = user_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmDigest {
    #[serde(rename = "UserID")]
    pub user_id: String,
    #[serde(rename = "ActiveAlarms")]
    pub active_alarms: Vec<ActiveAlarm>,
}

/// An alarm, in a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveAlarm {
    #[serde(rename = "AlarmID")]
    pub alarm_id: String,
    #[serde(rename = "Status")]
    pub status: Status,
    #[serde(rename = "LatestChangedAt")]
    pub latest_changed_at: Timestamp,
}

impl AlarmDigest {
    /// The same for the same news, so that a digest that is published again after a crash is known by its receivers.
    #[must_use]
    pub fn id(&self) -> String {
        let parts = self
            .active_alarms
            .iter()
            .map(|alarm| format!("{}\u{1f}{:?}\u{1f}{}", alarm.alarm_id, alarm.status, alarm.latest_changed_at.as_nanosecond()));
        let text: Vec<String> = std::iter::once(self.user_id.clone()).chain(parts).collect();
        Uuid::new_v5(&Uuid::NAMESPACE_OID, text.join("\u{1e}").as_bytes()).to_string()
    }
}
