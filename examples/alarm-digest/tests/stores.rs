//! The stores remember the same: whatever is done to one in SQLite and one on a real PostgreSQL.

use std::path::Path;
use std::sync::Arc;

use alarm_digest::store::{self, Sqlite, Store};
use alarm_digest::{AlarmStatusChanged, Status};
use convoke::prelude::*;
use convoke_servers::{Kind, Server};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

#[derive(Debug, Clone)]
enum Step {
    Note {
        user: usize,
        alarm: u8,
        status: Status,
        second: i64,
    },
    Seal(usize),
    /// The oldest digest is sent.
    Sent(usize),
    Waits(usize),
    /// The service starts anew.
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop::sample::select(vec![Status::Cleared, Status::Warning, Status::Critical]);
    prop_oneof![
        6 => (0..3_usize, 0..3_u8, status, 0..9_i64).prop_map(|(user, alarm, status, second)| Step::Note { user, alarm, status, second }),
        3 => (0..3_usize).prop_map(Step::Seal),
        2 => (0..3_usize).prop_map(Step::Sent),
        1 => (0..3_usize).prop_map(Step::Waits),
        1 => Just(Step::Reopen),
    ]
}

/// Does it, at that moment, and says what can be seen of it.
async fn take(store: &dyn Store, step: &Step, users: &[String; 3], now: Timestamp) -> Result<String, BoxError> {
    let answer = match step {
        Step::Note { user, alarm, status, second } => {
            let changed_at = Timestamp::new(1_700_000_000 + second, 120_000_000)?;
            let (alarm_id, user_id) = (format!("a{alarm}"), users[*user].clone());
            format!("{}", store.note(&AlarmStatusChanged { alarm_id, user_id, status: *status, changed_at }, now).await?)
        }
        Step::Seal(user) => format!("{:?}", store.seal(&users[*user]).await?),
        Step::Sent(user) => {
            let unsent = store.seal(&users[*user]).await?;
            if let Some(oldest) = unsent.first() {
                store.sent(oldest).await?;
                // Twice is the same as once.
                store.sent(oldest).await?;
            }
            format!("{unsent:?}")
        }
        Step::Waits(user) => format!("{:?}", store.waits(&users[*user], now).await?),
        Step::Reopen => String::new(),
    };
    // A server has users of others too.
    let mut waiting = store.waiting(now).await?;
    waiting.retain(|user| users.contains(user));
    waiting.sort();
    Ok(format!("{answer}; waiting: {waiting:?}"))
}

#[tokio::test]
async fn a_file_and_a_server_remember_the_same() -> TestResult {
    let server = Server::launch(Kind::Postgres).await?;
    let folder = std::env::temp_dir().join(format!("alarm-digest-stores-{}", std::process::id()));
    let mut runner = TestRunner::deterministic();
    for round in 0..30 {
        let file = folder.join(format!("{round}.db"));
        let steps = prop::collection::vec(step(), 1..40).new_tree(&mut runner).map_err(|reason| reason.to_string())?.current();
        let users: [String; 3] = std::array::from_fn(|user| format!("{}-{round}-{user}", std::process::id()));
        let (mut sqlite, mut postgres) = open(&file, server.url()).await?;
        for (number, step) in steps.iter().enumerate() {
            if let Step::Reopen = step {
                (sqlite, postgres) = open(&file, server.url()).await?;
            }
            let now = Timestamp::new(1_700_001_000, 0)? + SignedDuration::from_secs(i64::try_from(number)?);
            let expected = take(&*sqlite, step, &users, now).await?;
            assert_eq!(take(&*postgres, step, &users, now).await?, expected, "step {number} of round {round}: {steps:?}");
        }
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

#[tokio::test]
async fn of_changes_that_reach_two_replicas_at_once_the_latest_counts() -> TestResult {
    let server = Server::launch(Kind::Postgres).await?;
    let folder = std::env::temp_dir().join(format!("alarm-digest-at-once-{}", std::process::id()));
    let (one, other) = (open(&folder.join("state.db"), server.url()).await?, open(&folder.join("state.db"), server.url()).await?);
    for (one, other) in [(one.0, other.0), (one.1, other.1)] {
        let user = format!("{}", std::process::id());
        for round in 0..50 {
            let note = |store: &Arc<dyn Store>, second: i64| {
                let changed_at = Timestamp::new(1_700_000_000 + second, 0)?;
                let change = AlarmStatusChanged {
                    alarm_id: format!("a{round}"),
                    user_id: user.clone(),
                    status: Status::Warning,
                    changed_at,
                };
                let store = Arc::clone(store);
                Ok::<_, BoxError>(async move { store.note(&change, changed_at).await })
            };
            for noted in [tokio::join!(note(&one, 1)?, note(&other, 2)?), tokio::join!(note(&one, 4)?, note(&other, 3)?)] {
                noted.0?;
                noted.1?;
            }
        }
        let (told, again) = tokio::join!(one.seal(&user), other.seal(&user));
        let (told, again) = (told?, again?);
        assert!([1, 2].contains(&told.len()) && [1, 2].contains(&again.len()), "{told:?} {again:?}");
        let alarms: Vec<_> = one.seal(&user).await?.into_iter().flat_map(|digest| digest.active_alarms).collect();
        assert_eq!(alarms.len(), 50, "each once");
        let stale: Vec<_> = alarms.iter().filter(|alarm| alarm.latest_changed_at.as_second() != 1_700_000_004).collect();
        assert!(stale.is_empty(), "{stale:?}");
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

async fn open(file: &Path, url: &str) -> Result<(Arc<dyn Store>, Arc<dyn Store>), BoxError> {
    Ok((Arc::new(Sqlite::open(file)?), store::open(url).await?))
}
