//! The key-value bucket: who lives, who has what, and what is kept of messages beside their stream.
//!
//! | key | value |
//! |---|---|
//! | `g.<group>.<topics>.m.<member>` | a member's beat; its age is counted by the server's clock |
//! | `g.<group>.<topics>.o.<partition>` | who has the partition; the revision is the epoch |
//! | `k.<group>.<topic>.<partition>.<sequence>` | attempts, deaths and due time of one message; whether it is set aside |
//! | `k.<group>.<topic>.<partition>.seen` | up to where the partition was seen, after how many deliveries |

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::kv::{self, Store as Bucket, UpdateErrorKind, Watch};
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use bytes::Bytes;
use convoke_core::{Error, ErrorKind};
use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::failure;
use crate::link::Link;
use crate::names::undotted;

/// What is kept of a message that was given back or is tried alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// How many attempts of ours have failed.
    #[serde(rename = "a", default)]
    pub(crate) attempts: u32,
    /// How often the process died of it.
    #[serde(rename = "d", default)]
    pub(crate) deaths: u32,
    /// When it is due, in milliseconds since 1970.
    #[serde(rename = "t", default)]
    pub(crate) due: u64,
    /// Whether it keeps its place until then.
    #[serde(rename = "h", default)]
    pub(crate) hold: bool,
    /// Whether it was [set aside](crate::aside): the server takes it for done, and only what stands here says that it is not.
    #[serde(rename = "u", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) aside: bool,
}

impl Kept {
    /// Whether it waits on the server, and lets others pass.
    pub(crate) fn waits(&self) -> bool {
        !self.hold && !self.aside && !self.due_in().is_zero()
    }

    /// How much longer it is to wait.
    pub(crate) fn due_in(&self) -> Duration {
        Duration::from_millis(self.due.saturating_sub(now_millis()))
    }
}

/// The time that members in different processes share, as well as their hosts' clocks agree.
pub(crate) fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The bucket.
#[derive(Debug, Clone)]
pub(crate) struct Store(Bucket);

impl Store {
    /// Opens the bucket; creates it if it may.
    pub(crate) async fn open(link: &Link, create: bool) -> Result<Self, Error> {
        let name = &link.options.bucket;
        let missing = match link.jetstream.get_key_value(name).await {
            Ok(bucket) => return Ok(Self(bucket)),
            Err(error) => error,
        };
        if !create {
            let text =
                format!("the bucket `{name}` cannot be opened; let the application create it, or name another with `bucket`");
            return Err(Error::new(failure::kind_of(&missing, ErrorKind::NotFound), text).with_source(missing));
        }
        // The stream behind a bucket, made directly: purging has to be allowed, so that nothing is left of what is done.
        let config = Config {
            name: format!("KV_{name}"),
            description: Some("convoke: members, owners, and what is kept of messages".to_owned()),
            subjects: vec![format!("$KV.{name}.>")],
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            storage: StorageType::File,
            num_replicas: link.options.replicas,
            max_bytes: -1,
            max_messages: -1,
            ..Config::default()
        };
        let text = || format!("the bucket `{name}` cannot be created");
        link.jetstream.get_or_create_stream(config).await.map_err(|error| failure::of(text(), error))?;
        link.jetstream.get_key_value(name).await.map(Self).map_err(|error| failure::of(text(), error))
    }

    pub(crate) async fn watch(&self, scope: &str) -> Result<Watch, Error> {
        let watch = self.0.watch_with_history(format!("g.{scope}.>")).await;
        watch.map_err(|error| failure::of("the members of a group cannot be watched", error))
    }

    /// Says that a member lives. Returns the revision.
    pub(crate) async fn beat(&self, scope: &str, member: &str, value: Bytes) -> Result<u64, Error> {
        let put = self.0.put(member_key(scope, member), value).await;
        put.map_err(|error| failure::of("a member's beat was not taken", error))
    }

    /// Takes a partition that nobody has, or whose owner is dead: at `revision` it was so, 0 if nobody ever had it. `None` if another
    /// was faster.
    pub(crate) async fn own(&self, scope: &str, unit: u32, member: &str, revision: u64) -> Result<Option<u64>, Error> {
        match self.0.update(owner_key(scope, unit), Bytes::copy_from_slice(member.as_bytes()), revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(failure::of("a partition could not be taken", error)),
        }
    }

    /// Gives a partition back, if it is still ours.
    pub(crate) async fn release(&self, scope: &str, unit: u32, revision: u64) -> Result<(), Error> {
        let deleted = self.0.delete_expect_revision(owner_key(scope, unit), Some(revision)).await;
        deleted.map_err(|error| failure::of("a partition could not be given back", error))
    }

    /// A member is gone. What it had as its own is to be released before.
    pub(crate) async fn leave(&self, scope: &str, member: &str) -> Result<(), Error> {
        let deleted = self.0.delete(member_key(scope, member)).await;
        deleted.map_err(|error| failure::of("a member could not leave", error))
    }

    /// Removes what is left of members that are long gone.
    pub(crate) async fn forget(&self, scope: &str, member: &str) -> Result<(), Error> {
        self.purge(&member_key(scope, member)).await
    }

    /// Whether a partition has an owner, as far as one can tell from outside: by the clock of this host.
    pub(crate) async fn is_owned(&self, scope: &str, unit: u32) -> Result<bool, Error> {
        let text = "the owner of a partition cannot be read";
        let Some(owner) = self.0.get(owner_key(scope, unit)).await.map_err(|error| failure::of(text, error))? else {
            return Ok(false);
        };
        let member = member_key(scope, std::str::from_utf8(&owner).unwrap_or_default());
        let beat = self.0.entry(member).await.map_err(|error| failure::of(text, error))?;
        Ok(beat.filter(|beat| beat.operation == kv::Operation::Put).is_some_and(|beat| {
            let term = std::str::from_utf8(&beat.value).ok().and_then(|term| term.parse().ok()).unwrap_or(0);
            u64::try_from(beat.created.unix_timestamp_nanos() / 1_000_000).unwrap_or(0).saturating_add(term) >= now_millis()
        }))
    }

    pub(crate) async fn keep(&self, place: &str, sequence: u64, kept: Kept) -> Result<(), Error> {
        let value = serde_json::to_vec(&kept).unwrap_or_default();
        let put = self.0.put(format!("{place}.{sequence}"), value.into()).await;
        put.map(drop).map_err(|error| failure::of("what is kept of a message was not taken", error))
    }

    /// What is kept of a message.
    pub(crate) async fn one(&self, place: &str, sequence: u64) -> Result<Option<Kept>, Error> {
        let read = self.0.get(format!("{place}.{sequence}")).await;
        let read = read.map_err(|error| failure::of("what is kept of a message cannot be read", error))?;
        Ok(read.and_then(|value| serde_json::from_slice(&value).ok()))
    }

    /// Nothing is kept of a message any more.
    pub(crate) async fn drop_kept(&self, place: &str, sequence: u64) -> Result<(), Error> {
        self.purge(&format!("{place}.{sequence}")).await
    }

    /// Nothing is kept of anything here any more: `place` may have wildcards.
    pub(crate) async fn drop_all(&self, place: &str) -> Result<(), Error> {
        self.purge(&format!("{place}.>")).await
    }

    /// Up to where a partition was seen, after how many deliveries.
    pub(crate) async fn seen(&self, place: &str) -> Result<Option<(u64, u64)>, Error> {
        let read = self.0.get(format!("{place}.seen")).await;
        let read = read.map_err(|error| failure::of("what was seen of a partition cannot be read", error))?;
        Ok(read.and_then(|value| {
            let (upto, count) = std::str::from_utf8(&value).ok()?.split_once(' ')?;
            Some((upto.parse().ok()?, count.parse().ok()?))
        }))
    }

    pub(crate) async fn set_seen(&self, place: &str, (upto, count): (u64, u64)) -> Result<(), Error> {
        let put = self.0.put(format!("{place}.seen"), format!("{upto} {count}").into()).await;
        put.map(drop).map_err(|error| failure::of("what was seen of a partition was not taken", error))
    }

    async fn purge(&self, key: &str) -> Result<(), Error> {
        let purged = self.0.stream.purge().filter(format!("{}{key}", self.0.prefix)).await;
        purged.map(drop).map_err(|error| failure::of("what was kept of a message was not removed", error))
    }

    /// All that is kept of the messages of a partition.
    pub(crate) async fn kept(&self, place: &str) -> Result<BTreeMap<u64, Kept>, Error> {
        let text = "what is kept of messages cannot be read";
        let (prefix, filter) = (format!("{}{place}.", self.0.prefix), format!("{}{place}.*", self.0.prefix));
        let subjects = self.0.stream.info_with_subjects(filter).await.map_err(|error| failure::of(text, error))?;
        let subjects: Vec<(String, usize)> = subjects.try_collect().await.map_err(|error| failure::of(text, error))?;
        let reads = subjects.into_iter().filter_map(|(subject, _)| {
            let sequence: u64 = subject.strip_prefix(&prefix)?.parse().ok()?;
            Some(async move {
                let entry = self.0.get(format!("{place}.{sequence}")).await.map_err(|error| failure::of(text, error))?;
                Ok::<_, Error>(entry.and_then(|value| Some((sequence, serde_json::from_slice(&value).ok()?))))
            })
        });
        let reads: Vec<_> = reads.collect();
        let kept: Vec<Option<(u64, Kept)>> = futures_util::stream::iter(reads).buffered(32).try_collect().await?;
        Ok(kept.into_iter().flatten().collect())
    }
}

/// Where the members of a group that read these topics together meet.
pub(crate) fn scope(group: &str, topics: &[convoke_core::Topic]) -> String {
    let topics: Vec<_> = topics.iter().map(|topic| token(topic.as_str())).collect();
    format!("{}.{}", undotted(group), topics.join("/"))
}

/// Where a group keeps what it knows of the messages of a partition.
pub(crate) fn place(group: &str, topic: &str, partition: u32) -> String {
    format!("k.{}.{}.{partition}", undotted(group), undotted(topic))
}

/// A topic or a pattern as a part of a key, which has letters, digits and few signs.
fn token(topic: &str) -> String {
    undotted(topic).replace('*', "/all").replace('{', "/(").replace(['(', '}'], "/")
}

fn member_key(scope: &str, member: &str) -> String {
    format!("g.{scope}.m.{member}")
}

fn owner_key(scope: &str, unit: u32) -> String {
    format!("g.{scope}.o.{unit}")
}

/// What the key of an entry is about.
pub(crate) enum About<'k> {
    Member(&'k str),
    Owner(u32),
}

pub(crate) fn about<'k>(scope: &str, entry: &'k kv::Entry) -> Option<About<'k>> {
    let (kind, name) = entry.key.strip_prefix("g.")?.strip_prefix(scope)?.strip_prefix('.')?.split_once('.')?;
    match kind {
        "m" => Some(About::Member(name)),
        "o" => name.parse().ok().map(About::Owner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_such_as_the_server_takes() {
        let scope = scope("shop.audit", &["orders.{region}.*".into(), "stock".into()]);
        let sound = |key: &str| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-/_=.".contains(&byte));
        assert!(sound(&scope) && scope.split('.').count() == 2, "{scope}");
        assert!(sound(&place("shop.audit", "orders.eu", 3)));
    }

    #[test]
    fn what_is_kept_is_short_and_comes_back() {
        let kept = Kept { attempts: 2, deaths: 1, due: 7, hold: true, aside: false };
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(text, r#"{"a":2,"d":1,"t":7,"h":true}"#);
        assert_eq!(serde_json::from_str::<Kept>(&text).unwrap(), kept);
        assert_eq!(serde_json::from_str::<Kept>("{}").unwrap(), Kept::default());
        let aside = Kept { aside: true, ..kept };
        assert_eq!(serde_json::from_str::<Kept>(&serde_json::to_string(&aside).unwrap()).unwrap(), aside);
    }
}
