//! What the tests share: an application on a store in memory, and changes written shortly.

#![allow(dead_code, reason = "each test uses some of it")]

pub(crate) mod stops;

use std::path::Path;
use std::sync::Arc;

use alarm_digest::scenario::Ledger;
use alarm_digest::store::{Sqlite, Store};
use alarm_digest::{ActiveAlarm, AlarmDigest, AlarmStatusChanged, Desk, SendAlarmDigest, Status};
use convoke::prelude::*;
use jiff::Timestamp;

pub(crate) const USER: &str = "10baeb6b-199f-4300-8db7-1acbe744e3fc";

pub(crate) fn store() -> Arc<dyn Store> {
    Arc::new(Sqlite::open(Path::new(":memory:")).expect("a database in memory"))
}

pub(crate) fn desk() -> Desk {
    Desk::new(store())
}

pub(crate) fn app(desk: Desk) -> App {
    App::new("alarm-digest").state(desk).state(Ledger::default())
}

/// The time of a change: seconds after some day.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::new(1_700_000_000 + second, 123_456_789).expect("in range")
}

/// `C1`, `W2`, `-3`: critical, warning, cleared at that second; of an alarm, `C1 of b`, by default of `a`.
pub(crate) fn change(text: &str) -> AlarmStatusChanged {
    let (text, alarm_id) = text.split_once(" of ").unwrap_or((text, "a"));
    let (status, second) = text.split_at(1);
    let status = match status {
        "C" => Status::Critical,
        "W" => Status::Warning,
        _ => Status::Cleared,
    };
    let changed_at = at(second.parse().expect("a second"));
    AlarmStatusChanged { alarm_id: alarm_id.to_owned(), user_id: USER.to_owned(), status, changed_at }
}

/// Publishes changes, one after the other, and asks for a digest where the text says `send`.
pub(crate) async fn play(app: &TestApp, script: &str) -> TestResult {
    for step in script.split(',').map(str::trim) {
        if step == "send" {
            app.publish(&SendAlarmDigest { user_id: USER.to_owned() }).await?;
        } else {
            app.publish(&change(step)).await?;
        }
        app.settled().await;
    }
    Ok(())
}

/// The digests so far, as the scripts write them.
pub(crate) fn told(app: &TestApp) -> Vec<String> {
    let show = |alarm: &ActiveAlarm| {
        let status = if alarm.status == Status::Critical { "C" } else { "W" };
        let second = alarm.latest_changed_at.as_second() - at(0).as_second();
        let of = if alarm.alarm_id == "a" { String::new() } else { format!(" of {}", alarm.alarm_id) };
        format!("{status}{second}{of}")
    };
    let digest = |digest: &AlarmDigest| digest.active_alarms.iter().map(show).collect::<Vec<_>>().join(", ");
    app.published::<AlarmDigest>().iter().map(digest).collect()
}
