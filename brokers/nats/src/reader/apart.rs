//! Reading over a connection of its own, once there was something that cannot be sent to us.
//!
//! Who writes such messages does so again. So from the first one on, messages are asked for over a second connection, and what ends
//! that one disturbs nobody: leases, acknowledgements and publishing go on. What was sent and did not arrive is read by its numbers.
//!
//! Each delivery has a number of its own, without gaps. So a delivery that went to a subscription that had ended is missed when the next
//! one comes, and nothing is delivered before it was read too.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_nats::Subscriber;
use convoke_core::{Epoch, Error, PartId};
use tokio::sync::watch;

use super::session::{Done, Session};
use crate::arrival::Arrived;
use crate::aside::Sieve;
use crate::consumers::Durable;
use crate::failure;
use crate::link::Link;
use crate::part::Mending;
use crate::store::Kept;
use crate::takeover::text_of;

/// A partition that is asked for anew, with what was sent and did not arrive.
pub(super) struct Mended {
    inbox: String,
    answers: Subscriber,
    lost: BTreeMap<u64, Arrived>,
    aside: BTreeMap<u64, Kept>,
    seen: (u64, u64),
}

impl Session<'_> {
    /// From here on nothing that is sent to this subscription ends the common connection.
    pub(super) fn go_apart(&mut self) {
        if std::mem::replace(&mut self.reader.apart, true) {
            return;
        }
        let link = self.link.clone();
        self.opening = true;
        self.under_way.push(Box::pin(async move { Done::Apart(second(&link).await) }));
    }

    pub(super) fn is_apart(&mut self, link: Arc<Link>) {
        (self.opening, self.connection_apart) = (false, *link.up.borrow());
        self.pulls = link;
        (0..self.reader.parts.len()).for_each(|index| self.mend(index));
    }

    /// Whether messages are asked for over a connection of their own.
    pub(super) fn reads_apart(&self) -> bool {
        !Arc::ptr_eq(&self.pulls, &self.link)
    }

    /// The connection may be another by now.
    pub(super) fn look_apart(&mut self) {
        let connection = *self.pulls.up.borrow();
        if self.reads_apart() && self.pulls.is_up() && connection != self.connection_apart {
            self.connection_apart = connection;
            (0..self.reader.parts.len()).for_each(|index| self.mend(index));
        }
    }

    /// Whether this delivery is read by its number, since another was missed that has to come first.
    pub(super) fn misses(&mut self, index: usize, arrived: &Arrived) -> bool {
        let held = |session: &Self| session.reader.parts[index].held.as_ref().map(|held| (held.mending, held.seen));
        let Some((mending, (next, count))) = held(self) else { return false };
        let mut mending = mending != Mending::Not;
        if !mending && self.reads_apart() && arrived.count > count + 1 {
            self.mend(index);
            mending = true;
        }
        mending && arrived.sequence >= next
    }

    /// Asks anew for a partition of ours, and reads what did not arrive.
    pub(super) fn mend(&mut self, index: usize) {
        let spec = &self.reader.spec;
        let part = &mut self.reader.parts[index];
        let Some(held) = &mut part.held else { return };
        if held.mending != Mending::Not {
            held.mending = Mending::Again;
            return;
        }
        held.mending = Mending::Once;
        held.forget_pulls();
        // Nothing more is heard of what was asked for before.
        drop(self.stops[index].take());
        let (epoch, from, kept) = (held.epoch, held.seen.0, held.kept.clone());
        let (link, pulls, store) = (self.link.clone(), self.pulls.clone(), self.reader.store.clone());
        let (topic, partition, place) = (part.topic.clone(), part.partition, part.place.clone());
        let (group, start, lasts) = (spec.group.clone(), spec.start, spec.lasts());
        let part = PartId(u32::try_from(index).unwrap_or(u32::MAX));
        self.under_way.push(Box::pin(async move {
            let durable = Durable { group: &group, topic: &topic, partition, start, lasts };
            let text = || text_of(&durable);
            let mended = async {
                let inbox = pulls.client.new_inbox();
                let answers = pulls.client.subscribe(format!("{inbox}.*")).await.map_err(|error| failure::of(text(), error))?;
                // Once the server has answered it sends nothing to where we listened before.
                pulls.client.flush().await.map_err(|error| failure::of(text(), error))?;
                let stream = link.jetstream.get_stream(durable.stream()).await.map_err(|error| failure::of(text(), error))?;
                let sieve = Sieve { link: &link, store: &store, stream: &stream, durable, place: &place };
                let (lost, aside, seen) = sieve.lost(from, kept).await?;
                Ok::<_, Error>(Mended { inbox, answers, lost, aside, seen })
            };
            match mended.await {
                Ok(mended) => Done::Mended { part, epoch, mended: Box::new(mended) },
                Err(error) => Done::Failed(error),
            }
        }));
    }

    pub(super) fn mended(&mut self, part: PartId, epoch: Epoch, mended: Mended) {
        let index = part.0 as usize;
        let Some(held) = self.reader.parts[index].held.as_mut().filter(|held| held.epoch == epoch) else {
            // It was given back meanwhile. Whoever has it next finds what was set aside, and what is out.
            return self.ended(part, epoch);
        };
        let Mended { inbox, answers, lost, aside, seen } = mended;
        held.inbox = inbox;
        held.kept.extend(aside);
        held.ready.extend(lost.into_iter().filter(|(sequence, _)| !held.hand.contains_key(sequence)));
        held.seen = (held.seen.0.max(seen.0), held.seen.1.max(seen.1));
        let again = std::mem::replace(&mut held.mending, Mending::Not) == Mending::Again;
        self.listen(part, epoch, answers);
        if again {
            self.mend(index);
        }
    }
}

/// Waits until there is a second connection that is not this one; for ever, if there is none at all.
///
/// # Cancel safety
/// Nothing is changed by it.
pub(super) async fn is_back(up: Option<watch::Receiver<u64>>, than: u64) {
    if let Some(mut up) = up
        && up.wait_for(|now| *now != than && *now % 2 == 1).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// The second connection; the common one, if there can be no other.
pub(super) async fn second(link: &Arc<Link>) -> Arc<Link> {
    match link.second().await {
        Ok(second) => second,
        Err(error) => {
            tracing::warn!(%error, "there is no second connection: headers that cannot be read end the common one");
            Arc::clone(link)
        }
    }
}
