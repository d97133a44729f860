//! A file, which replicas on one machine can share.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use convoke::BoxError;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{Store, text};
use crate::events::{ActiveAlarm, AlarmDigest, AlarmStatusChanged, Status};
use crate::rules::Alarm;

const TABLES: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS alarms (
        user TEXT NOT NULL, alarm TEXT NOT NULL,
        status TEXT NOT NULL, changed_at TEXT NOT NULL, news_since TEXT,
        PRIMARY KEY (user, alarm)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS news ON alarms (user, changed_at) WHERE news_since IS NOT NULL;
    CREATE TABLE IF NOT EXISTS digests (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, user TEXT NOT NULL, body TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS unsent ON digests (user);";

/// A store in a file of SQLite.
#[derive(Debug, Clone)]
pub struct Sqlite(Arc<Mutex<Connection>>);

impl Sqlite {
    /// Opens a file, or makes it.
    ///
    /// # Errors
    /// If the file cannot be written, or is something else.
    pub fn open(path: &Path) -> Result<Self, BoxError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        let connection = Connection::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.execute_batch(TABLES)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Runs one transaction on a thread that may block.
    async fn within<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, BoxError> {
        let connection = Arc::clone(&self.0);
        let work = move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        tokio::task::spawn_blocking(work).await?
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn note(&self, change: &AlarmStatusChanged, now: Timestamp) -> Result<bool, BoxError> {
        let change = change.clone();
        self.within(move |db| {
            let ids = params![change.user_id, change.alarm_id];
            let known = "SELECT status, changed_at, news_since IS NOT NULL FROM alarms WHERE user = ? AND alarm = ?";
            let row = db
                .query_row(known, ids, |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?)))
                .optional()?;
            let known = row
                .map(|(status, changed_at, news)| {
                    Ok::<_, BoxError>(Alarm { status: status.parse()?, changed_at: changed_at.parse()?, news })
                })
                .transpose()?;
            let Some(alarm) = Alarm::after(known, change.status, change.changed_at) else { return Ok(false) };
            db.execute(
                "INSERT INTO alarms VALUES (?1, ?2, ?3, ?4, CASE WHEN ?5 THEN ?6 END)
                 ON CONFLICT DO UPDATE SET status = ?3, changed_at = ?4,
                     news_since = CASE WHEN ?5 THEN coalesce(news_since, ?6) END",
                params![change.user_id, change.alarm_id, alarm.status.as_str(), text(alarm.changed_at), alarm.news, text(now)],
            )?;
            Ok(alarm.news)
        })
        .await
    }

    async fn seal(&self, user: &str) -> Result<Vec<AlarmDigest>, BoxError> {
        let user = user.to_owned();
        self.within(move |db| {
            let news = "SELECT alarm, status, changed_at FROM alarms WHERE user = ? AND news_since IS NOT NULL
                        ORDER BY changed_at, alarm";
            let mut digest = AlarmDigest { user_id: user, active_alarms: Vec::new() };
            let mut news = db.prepare_cached(news)?;
            let mut rows = news.query([&digest.user_id])?;
            while let Some(row) = rows.next()? {
                let (alarm_id, status, time): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let (status, latest_changed_at): (Status, Timestamp) = (status.parse()?, time.parse()?);
                digest.active_alarms.push(ActiveAlarm { alarm_id, status, latest_changed_at });
            }
            if !digest.active_alarms.is_empty() {
                let body = serde_json::to_string(&digest)?;
                db.execute("INSERT INTO digests (id, user, body) VALUES (?, ?, ?)", params![digest.id(), digest.user_id, body])?;
                db.execute("UPDATE alarms SET news_since = NULL WHERE user = ? AND news_since IS NOT NULL", [&digest.user_id])?;
            }
            let mut unsent = db.prepare_cached("SELECT body FROM digests WHERE user = ? ORDER BY number")?;
            let bodies = unsent.query_map([&digest.user_id], |row| row.get::<_, String>(0))?;
            bodies.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
        })
        .await
    }

    async fn sent(&self, digest: &AlarmDigest) -> Result<(), BoxError> {
        let id = digest.id();
        self.within(move |db| Ok(db.execute("DELETE FROM digests WHERE id = ?", [id]).map(drop)?)).await
    }

    async fn waiting(&self, before: Timestamp) -> Result<Vec<String>, BoxError> {
        self.within(move |db| {
            let mut users = db.prepare_cached(
                "SELECT user FROM alarms WHERE news_since IS NOT NULL GROUP BY user HAVING min(news_since) < ?",
            )?;
            let users = users.query_map([text(before)], |row| row.get(0))?;
            Ok(users.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn waits(&self, user: &str, now: Timestamp) -> Result<(), BoxError> {
        let (user, now) = (user.to_owned(), text(now));
        let anew = "UPDATE alarms SET news_since = ? WHERE user = ? AND news_since IS NOT NULL";
        self.within(move |db| Ok(db.execute(anew, [now, user]).map(drop)?)).await
    }
}
