//! Ending: giving everything back, and seeing that a marked end is reached.

use convoke_core::{Error, Topic};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, SelectAll, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::Reader;
use super::session::{Done, Session};
use super::units::Unit;
use crate::link::Link;
use crate::store::Store;
use crate::{consumers, names, numbered, topology};

impl Session<'_> {
    /// Gives everything back and leaves, as far as the server answers in time.
    pub(super) async fn finish(&mut self) {
        let deadline = Instant::now() + self.link.options.timeout;
        self.refuse_all();
        // Without these nothing is sent to us any more; what was on its way comes back to the next owner.
        self.answers = SelectAll::new();
        let mut under_way = std::mem::replace(&mut self.under_way, FuturesUnordered::new());
        while let Ok(Some(done)) = timeout_at(deadline, under_way.next()).await {
            if let Done::Taken { unit, won: Some(won) } = done {
                self.units[unit as usize] = Unit::Ours { epoch: won.epoch() };
            }
        }
        let ours = (0..).zip(&self.units).filter_map(|(unit, state)| match state {
            Unit::Ours { epoch } | Unit::Releasing { epoch } => Some((unit, *epoch)),
            Unit::Free | Unit::Taking { .. } | Unit::Refused { .. } => None,
        });
        for part in &mut self.reader.parts {
            part.let_go();
        }
        let (store, scope, member) = (&self.reader.store, &self.reader.scope, &self.member);
        let seen = self.reader.parts.iter_mut().filter_map(|part| Some((part.place.clone(), part.left_at.take()?)));
        let seen: Vec<_> = seen.collect();
        let given_back = async {
            keep_seen(store, seen).await;
            for released in join_all(ours.map(|(unit, epoch)| store.release(scope, unit, epoch))).await {
                if let Err(error) = released {
                    tracing::debug!(%error, "a partition was not given back; it is free when our lease is over");
                }
            }
            if let Err(error) = store.leave(scope, member).await {
                tracing::debug!(%error, "a member could not say that it leaves");
            }
        };
        if self.reader.spec.alone {
            let _ = timeout_at(deadline, forget(&self.link, self.reader)).await;
        } else if timeout_at(deadline, given_back).await.is_err() {
            tracing::warn!("NATS did not answer in time; what was ours is free when the lease is over");
        }
        // Acknowledgements are words that nobody answers.
        let _ = timeout_at(deadline, self.link.client.flush()).await;
    }

    /// Looks whether the marked end is reached, or topics have appeared.
    pub(super) fn look_around(&mut self) {
        let link = self.link.clone();
        let spec = self.reader.spec.clone();
        if spec.until_end {
            let marks: Vec<_> =
                self.reader.parts.iter().filter_map(|part| Some((part.topic.clone(), part.partition, part.mark?))).collect();
            self.under_way.push(Box::pin(async move {
                for (topic, partition, mark) in marks {
                    match is_done(&link, &spec.group, &topic, partition, mark).await {
                        Ok(true) => {}
                        Ok(false) => return Done::AtEnd(false),
                        Err(error) => return Done::Failed(error),
                    }
                }
                Done::AtEnd(true)
            }));
            return;
        }
        let known: Vec<_> = self.reader.parts.iter().map(|part| part.topic.clone()).collect();
        self.under_way.push(Box::pin(async move {
            match topology::appeared(&link, &spec.group, &spec.written, &known, spec.start, spec.lasts()).await {
                Ok(topics) => Done::Appeared(topics),
                Err(error) => Done::Failed(error),
            }
        }));
    }
}

impl Reader {
    /// Leaves when nothing is ours any more: says up to where we have seen what was, if the connection is there again in time.
    pub(super) async fn farewell(&mut self) {
        let (link, mut up) = (self.link.clone(), self.link.up.clone());
        let seen = self.parts.iter_mut().filter_map(|part| Some((part.place.clone(), part.left_at.take()?)));
        let seen: Vec<_> = seen.collect();
        let said = async {
            while !link.is_up() && up.changed().await.is_ok() {}
            keep_seen(&self.store, seen).await;
            for member in &self.former {
                if let Err(error) = self.store.leave(&self.scope, member).await {
                    tracing::debug!(%error, "a member could not say that it leaves");
                }
            }
        };
        if timeout_at(Instant::now() + link.options.timeout, said).await.is_err() {
            tracing::warn!("NATS did not answer in time; what was ours is free when the lease is over");
        }
    }
}

/// Whether a group has settled everything up to `mark` of a partition.
async fn is_done(link: &Link, group: &str, topic: &Topic, partition: u32, mark: u64) -> Result<bool, Error> {
    let info = consumers::consumer(link, group, topic, partition).await?;
    let settled = info.ack_floor.stream_sequence;
    let nothing_left = info.num_pending == 0 && info.num_ack_pending == 0;
    if settled >= mark || nothing_left {
        return Ok(true);
    }
    // What has expired before it was delivered is not counted as settled: but it is not there.
    let (stream, subject) = (names::stream(topic.as_str()), names::subject(topic.as_str(), partition));
    let next = numbered::next(link, &stream, &subject, settled + 1).await?;
    Ok(next.is_none_or(|next| next.sequence > mark))
}

/// Keeps up to where partitions were seen. If it cannot, a gap may go unseen, or be told where there is none.
pub(super) async fn keep_seen(store: &Store, seen: Vec<(String, (u64, u64))>) {
    let each = seen.into_iter().map(|(place, seen)| async move { store.set_seen(&place, seen).await });
    for kept in join_all(each.collect::<Vec<_>>()).await {
        if let Err(error) = kept {
            tracing::debug!(%error, "it is not kept up to where a partition was seen");
        }
    }
}

/// A broadcast leaves nothing behind.
async fn forget(link: &Link, reader: &Reader) {
    let (group, store) = (&reader.spec.group, &reader.store);
    let each = reader.parts.iter().map(|part| (&part.topic, names::consumer(group, part.partition)));
    let each = each.map(|(topic, consumer)| async move { consumers::forget(link, topic, &consumer).await });
    join_all(each.collect::<Vec<_>>()).await;
    if let Err(error) = store.drop_all(&format!("k.{}", names::undotted(group))).await {
        tracing::debug!(%error, "what was kept for a broadcast was not removed");
    }
}
