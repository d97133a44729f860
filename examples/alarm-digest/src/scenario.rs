//! Users whose alarms come and go, as their agents tell it: late, twice, in any order. And a ledger of what they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use convoke::prelude::*;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::events::{AlarmDigest, AlarmStatusChanged, SendAlarmDigest, Status};

/// What happens in a run.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Every change, repeated and shuffled.
    pub changes: Vec<AlarmStatusChanged>,
    pub users: Vec<String>,
}

impl Scenario {
    /// So many users with so many alarms each. Every run has users of its own.
    #[must_use]
    pub fn new(run: &str, seed: u64, users: usize, alarms: usize) -> Self {
        let mut dice = Dice(seed);
        let name = |what: &str, number: usize| Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{run} {what} {number}").as_bytes());
        let begun = Timestamp::now();
        let user_ids: Vec<_> = (0..users).map(|user| name("user", user).to_string()).collect();
        let mut changes = Vec::new();
        for (number, user_id) in user_ids.iter().enumerate() {
            for alarm in 0..alarms {
                let alarm_id = name("alarm", number * alarms + alarm).to_string();
                let mut changed_at = begun;
                for _ in 0..=dice.below(4) {
                    changed_at += SignedDuration::from_micros(1 + dice.below(1_000_000) as i64);
                    let status = [Status::Cleared, Status::Warning, Status::Critical][dice.below(3)];
                    let change = AlarmStatusChanged { alarm_id: alarm_id.clone(), user_id: user_id.clone(), status, changed_at };
                    changes.extend(std::iter::repeat_n(change, 1 + dice.below(3)));
                }
            }
        }
        for last in (1..changes.len()).rev() {
            changes.swap(last, dice.below(last + 1));
        }
        Self { changes, users: user_ids }
    }

    /// The alarms that are active at the end, by user and alarm.
    #[must_use]
    pub fn active(&self) -> BTreeMap<(String, String), Status> {
        let mut last = BTreeMap::new();
        for change in &self.changes {
            let state = (change.changed_at, change.status);
            let known = last.entry((change.user_id.clone(), change.alarm_id.clone())).or_insert(state);
            *known = state.max(*known);
        }
        let active = last.into_iter().map(|(alarm, (_, status))| (alarm, status));
        active.filter(|(_, status)| *status != Status::Cleared).collect()
    }

    /// Publishes everything as foreign clients do, bare and without an id, and now and then asks for a digest.
    ///
    /// # Errors
    /// If the broker does not take it.
    pub async fn play(&self, publisher: &Publisher, seed: u64, mut done: impl FnMut(usize)) -> Result<(), BoxError> {
        let mut dice = Dice(seed);
        for some in self.changes.chunks(100) {
            let bare = |change: &AlarmStatusChanged| {
                let payload = serde_json::to_vec(change)?;
                Ok(Message::builder("AlarmStatusChanged").key(change.user_id.clone()).payload(payload).build())
            };
            let messages = some.iter().map(bare).collect::<Result<Vec<_>, BoxError>>()?;
            let answers = publisher.publish_each(messages.into_iter().map(|message| publisher.publish_message(message))).await;
            answers.into_iter().collect::<Result<Vec<_>, _>>()?;
            self.ask(publisher, [&self.users[dice.below(self.users.len())]]).await?;
            done(some.len());
        }
        Ok(())
    }

    /// Asks for the digests of these users.
    ///
    /// # Errors
    /// If the broker does not take it.
    pub async fn ask<'a>(&self, publisher: &Publisher, users: impl IntoIterator<Item = &'a String>) -> Result<(), BoxError> {
        let requests: Vec<_> = users.into_iter().map(|user_id| SendAlarmDigest { user_id: user_id.clone() }).collect();
        publisher.publish_all(&requests).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(())
    }
}

/// What users were told. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    ids: BTreeSet<String>,
    digests: Vec<AlarmDigest>,
}

/// Plays the notification service, which knows a digest by its id.
#[handler(group = "ledger")]
async fn enter(digest: AlarmDigest, meta: Meta<'_>, State(ledger): State<Ledger>) {
    let mut told = ledger.book();
    if told.ids.insert(meta.id().into_owned()) {
        told.digests.push(digest);
    }
}

/// What a ledger says of a scenario. All but the first two should be zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    pub digests: usize,
    pub told: usize,
    /// Active alarms of which the last that was told is not their status.
    pub lost: usize,
    /// Alarms that were told again with nothing new.
    pub repeated: usize,
    /// Alarms in a digest behind a younger one.
    pub disordered: usize,
}

impl Ledger {
    /// The digests, in the order of their arrival.
    #[must_use]
    pub fn told(&self) -> Vec<AlarmDigest> {
        self.book().digests.clone()
    }

    fn book(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds what was told against what happened.
    #[must_use]
    pub fn judge(&self, scenario: &Scenario) -> Verdict {
        let told = self.book();
        let mut verdict = Verdict { digests: told.digests.len(), ..Verdict::default() };
        let (mut last, mut seen) = (BTreeMap::new(), BTreeSet::new());
        for digest in &told.digests {
            verdict.told += digest.active_alarms.len();
            verdict.disordered += digest
                .active_alarms
                .iter()
                .zip(digest.active_alarms.iter().skip(1))
                .filter(|(a, b)| a.latest_changed_at > b.latest_changed_at)
                .count();
            for alarm in &digest.active_alarms {
                let name = (digest.user_id.clone(), alarm.alarm_id.clone());
                verdict.repeated += usize::from(!seen.insert((name.clone(), alarm.status, alarm.latest_changed_at)));
                last.insert(name, alarm.status);
            }
        }
        verdict.lost = scenario.active().into_iter().filter(|(name, status)| last.get(name) != Some(status)).count();
        verdict
    }
}

/// Numbers that look like chance, and are the same for the same seed (splitmix64).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((number ^ (number >> 31)) % limit.max(1) as u64) as usize
    }
}
