//! Whatever order messages arrive in, and however often.

mod common;

use std::collections::BTreeMap;

use alarm_digest::{ActiveAlarm, AlarmDigest, AlarmStatusChanged, SendAlarmDigest, Status};
use common::{USER, app, at, desk};
use convoke::prelude::*;
use proptest::prelude::*;
use proptest::sample::subsequence;

const STATUSES: [Status; 3] = [Status::Cleared, Status::Warning, Status::Critical];

fn changes() -> impl Strategy<Value = Vec<AlarmStatusChanged>> {
    let change = (0..4_u8, 0..8_i64, 0..3_usize).prop_map(|(alarm, second, status)| AlarmStatusChanged {
        alarm_id: alarm.to_string(),
        user_id: USER.to_owned(),
        status: STATUSES[status],
        changed_at: at(second),
    });
    // Some of them come twice; then all are shuffled.
    let doubled = |changes: Vec<AlarmStatusChanged>| {
        let all = changes.len();
        subsequence(changes.clone(), 0..=all).prop_map(move |again| [changes.clone(), again].concat())
    };
    prop::collection::vec(change, 1..16).prop_flat_map(doubled).prop_shuffle()
}

/// The last status of each alarm; of two at one time, the worse.
fn last(changes: &[AlarmStatusChanged]) -> BTreeMap<String, ActiveAlarm> {
    let mut last: BTreeMap<String, ActiveAlarm> = BTreeMap::new();
    for AlarmStatusChanged { alarm_id, status, changed_at, .. } in changes {
        let alarm = ActiveAlarm { alarm_id: alarm_id.clone(), status: *status, latest_changed_at: *changed_at };
        let known = last.entry(alarm_id.clone()).or_insert_with(|| alarm.clone());
        if (alarm.latest_changed_at, alarm.status) > (known.latest_changed_at, known.status) {
            *known = alarm;
        }
    }
    last
}

/// Plays the changes, with a request after each that is marked, and at the end; returns the digests.
fn digests(changes: &[AlarmStatusChanged], asked: &[bool]) -> Vec<AlarmDigest> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let app = TestApp::start(app(desk())).await.expect("it starts");
        let request = SendAlarmDigest { user_id: USER.to_owned() };
        for (change, asked) in changes.iter().zip(asked) {
            app.publish(change).await.expect("published");
            app.settled().await;
            if *asked {
                app.publish(&request).await.expect("published");
                app.settled().await;
            }
        }
        app.publish(&request).await.expect("published");
        app.settled().await;
        app.published::<AlarmDigest>().iter().cloned().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_digest_at_the_end_tells_what_is_active_then(changes in changes()) {
        let told = digests(&changes, &vec![false; changes.len()]);
        let mut active: Vec<_> = last(&changes).into_values().filter(|alarm| alarm.status != Status::Cleared).collect();
        active.sort_by(|a, b| (a.latest_changed_at, &a.alarm_id).cmp(&(b.latest_changed_at, &b.alarm_id)));
        let expected: Vec<_> = if active.is_empty() { vec![] } else { vec![AlarmDigest { user_id: USER.to_owned(), active_alarms: active }] };
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn whenever_somebody_asks_nothing_is_lost_or_told_twice(changes in changes(), seed in prop::collection::vec(any::<bool>(), 32)) {
        let told = digests(&changes, &seed);
        let mut known: BTreeMap<String, ActiveAlarm> = BTreeMap::new();
        for digest in &told {
            prop_assert!(!digest.active_alarms.is_empty());
            prop_assert!(digest.active_alarms.is_sorted_by_key(|alarm| (alarm.latest_changed_at, alarm.alarm_id.clone())));
            for alarm in &digest.active_alarms {
                let before = known.insert(alarm.alarm_id.clone(), alarm.clone());
                prop_assert!(before.is_none_or(|before| (before.latest_changed_at, before.status) < (alarm.latest_changed_at, alarm.status)));
            }
        }
        for (alarm_id, alarm) in last(&changes) {
            if alarm.status != Status::Cleared {
                prop_assert_eq!(known.get(&alarm_id).map(|told| told.status), Some(alarm.status), "lost");
            }
        }
    }
}
