//! A server, which replicas on any machine can share.

use async_trait::async_trait;
use convoke::BoxError;
use deadpool_postgres::{Config, Pool, Runtime};
use jiff::Timestamp;
use tokio_postgres::NoTls;

use super::{Store, text};
use crate::events::{ActiveAlarm, AlarmDigest, AlarmStatusChanged};
use crate::rules::Alarm;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS alarms (
        \"user\" TEXT NOT NULL, alarm TEXT NOT NULL,
        status TEXT NOT NULL, changed_at TEXT NOT NULL, news_since TEXT,
        PRIMARY KEY (\"user\", alarm));
    CREATE INDEX IF NOT EXISTS news ON alarms (\"user\", changed_at) WHERE news_since IS NOT NULL;
    CREATE TABLE IF NOT EXISTS digests (
        number BIGSERIAL PRIMARY KEY, id TEXT NOT NULL UNIQUE, \"user\" TEXT NOT NULL, body TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS unsent ON digests (\"user\");";
/// Replicas that start together must not make the tables at once: a number of ours for the server's own lock.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7207206412)";
/// What is read here is still so when it is written.
const LOCK_USER: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";

/// A store in PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct Postgres(Pool);

impl Postgres {
    /// Connects, and makes the tables.
    pub(super) async fn open(url: &str) -> Result<Self, BoxError> {
        let config = Config { url: Some(url.to_owned()), ..Config::default() };
        let pool = config.create_pool(Some(Runtime::Tokio1), NoTls)?;
        let mut client = pool.get().await?;
        let db = client.transaction().await?;
        db.batch_execute(LOCK).await?;
        db.batch_execute(TABLES).await?;
        db.commit().await?;
        Ok(Self(pool))
    }
}

#[async_trait]
impl Store for Postgres {
    async fn note(&self, change: &AlarmStatusChanged, now: Timestamp) -> Result<bool, BoxError> {
        let mut client = self.0.get().await?;
        let db = client.transaction().await?;
        db.execute(&db.prepare(LOCK_USER).await?, &[&change.user_id]).await?;
        let known = "SELECT status, changed_at, news_since IS NOT NULL FROM alarms WHERE \"user\" = $1 AND alarm = $2";
        let row = db.query_opt(&db.prepare(known).await?, &[&change.user_id, &change.alarm_id]).await?;
        let known = row
            .map(|row| {
                let (status, changed_at): (&str, &str) = (row.get(0), row.get(1));
                Ok::<_, BoxError>(Alarm { status: status.parse()?, changed_at: changed_at.parse()?, news: row.get(2) })
            })
            .transpose()?;
        let Some(alarm) = Alarm::after(known, change.status, change.changed_at) else { return Ok(false) };
        let note = "INSERT INTO alarms VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN $6 END)
             ON CONFLICT (\"user\", alarm) DO UPDATE SET status = $3, changed_at = $4,
                 news_since = CASE WHEN $5 THEN coalesce(alarms.news_since, $6) END";
        let (status, changed_at, now) = (alarm.status.as_str(), text(alarm.changed_at), text(now));
        let ids = (&change.user_id, &change.alarm_id);
        db.execute(&db.prepare(note).await?, &[ids.0, ids.1, &status, &changed_at, &alarm.news, &now]).await?;
        db.commit().await?;
        Ok(alarm.news)
    }

    async fn seal(&self, user: &str) -> Result<Vec<AlarmDigest>, BoxError> {
        let mut client = self.0.get().await?;
        let db = client.transaction().await?;
        db.execute(&db.prepare(LOCK_USER).await?, &[&user]).await?;
        let news = "UPDATE alarms SET news_since = NULL WHERE \"user\" = $1 AND news_since IS NOT NULL
                    RETURNING alarm, status, changed_at";
        let mut digest = AlarmDigest { user_id: user.to_owned(), active_alarms: Vec::new() };
        for row in db.query(&db.prepare(news).await?, &[&user]).await? {
            let (status, time): (&str, &str) = (row.get(1), row.get(2));
            digest.active_alarms.push(ActiveAlarm {
                alarm_id: row.get(0),
                status: status.parse()?,
                latest_changed_at: time.parse()?,
            });
        }
        if !digest.active_alarms.is_empty() {
            digest.active_alarms.sort_by(|a, b| (a.latest_changed_at, &a.alarm_id).cmp(&(b.latest_changed_at, &b.alarm_id)));
            let insert = db.prepare("INSERT INTO digests (id, \"user\", body) VALUES ($1, $2, $3)").await?;
            db.execute(&insert, &[&digest.id(), &user, &serde_json::to_string(&digest)?]).await?;
        }
        let unsent = db.prepare("SELECT body FROM digests WHERE \"user\" = $1 ORDER BY number").await?;
        let bodies = db.query(&unsent, &[&user]).await?;
        db.commit().await?;
        bodies.iter().map(|row| Ok(serde_json::from_str(row.get(0))?)).collect()
    }

    async fn sent(&self, digest: &AlarmDigest) -> Result<(), BoxError> {
        let client = self.0.get().await?;
        Ok(client.execute("DELETE FROM digests WHERE id = $1", &[&digest.id()]).await.map(drop)?)
    }

    async fn waiting(&self, before: Timestamp) -> Result<Vec<String>, BoxError> {
        let client = self.0.get().await?;
        let users = "SELECT \"user\" FROM alarms WHERE news_since IS NOT NULL GROUP BY \"user\" HAVING min(news_since) < $1";
        Ok(client.query(users, &[&text(before)]).await?.iter().map(|row| row.get(0)).collect())
    }

    async fn waits(&self, user: &str, now: Timestamp) -> Result<(), BoxError> {
        let client = self.0.get().await?;
        let anew = "UPDATE alarms SET news_since = $1 WHERE \"user\" = $2 AND news_since IS NOT NULL";
        Ok(client.execute(anew, &[&text(now), &user]).await.map(drop)?)
    }
}
