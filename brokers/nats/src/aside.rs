//! Setting aside what cannot be sent to us.
//!
//! The server keeps headers that the client cannot read (see [`unreadable`](crate::unreadable)): sent such a message, the client ends
//! its connection, and after `ack_wait` it would be sent again. Of a lost connection nobody says why it was lost. But the server
//! tells how far it has delivered, and so what was sent and did not arrive is known by its numbers; there it is looked for, by
//! reading in a form that the client can read.
//!
//! Invariants:
//! 1. The number of such a message is in the bucket before the server is told that the message is done: at any instant one of the two
//!    knows that it is not.
//! 2. From then on the server never sends it. It stays in the stream, for all other groups too, and is read there by its number.
//! 3. Whoever owns the partition delivers it as any other, in its place, with the bytes of its headers, until its outcome is final.
//!    Then its number leaves the bucket.
//! 4. A message that was done before is not set aside: the server counts one less to be acknowledged when one is, if it was out. Where
//!    the count may have changed for another reason, it is set aside all the same: better twice than never.

use std::collections::BTreeMap;

use async_nats::Subject;
use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use convoke_core::{Error, ErrorKind};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::arrival::Arrived;
use crate::consumers::Durable;
use crate::link::Link;
use crate::numbered::Numbered;
use crate::store::{Kept, Store};
use crate::{failure, names, numbered};

/// What may have been sent to us and not have arrived, when the connection was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Doubt {
    #[default]
    Nothing,
    /// What is new from this number on: all below has arrived.
    From(u64),
    /// All that is out.
    Everything,
}

/// A partition in which something may have to be set aside.
pub(crate) struct Sieve<'s> {
    pub(crate) link: &'s Link,
    pub(crate) store: &'s Store,
    pub(crate) stream: &'s Stream,
    pub(crate) durable: Durable<'s>,
    pub(crate) place: &'s str,
}

impl Sieve<'_> {
    pub(crate) async fn info(&self) -> Result<Info, Error> {
        let looked = self.stream.consumer_info(self.durable.name()).await;
        looked.map_err(|error| failure::of(format!("topic `{}` cannot be looked at", self.durable.topic), error))
    }

    /// Sets aside what is out and cannot be sent. Returns what the server says when all of it was looked at.
    pub(crate) async fn sift(&self, doubt: Doubt, mut info: Info, kept: &mut BTreeMap<u64, Kept>) -> Result<Info, Error> {
        let above = info.ack_floor.stream_sequence + 1;
        let mut from = match doubt {
            Doubt::Nothing => return Ok(info),
            Doubt::From(from) => from.max(above),
            Doubt::Everything => above,
        };
        let subject = names::subject(self.durable.topic.as_str(), self.durable.partition);
        loop {
            let upto = info.delivered.stream_sequence;
            // What waits for its time has been here before.
            let waiting = kept.values().filter(|kept| kept.waits()).count();
            if upto < from || info.num_ack_pending <= waiting {
                return Ok(info);
            }
            let unreadable = |one: &Numbered| !one.is_readable();
            for one in numbered::range(self.link, &self.durable.stream(), &subject, from..=upto, unreadable).await? {
                if !kept.get(&one.sequence).is_some_and(|kept| kept.aside) {
                    info = self.set_aside(one.sequence, info, kept).await?;
                }
            }
            from = upto + 1;
            info = self.info().await?;
        }
    }

    /// What was delivered from this number on, and has not arrived: what was set aside of it, and the rest as if it had.
    pub(crate) async fn lost(
        &self,
        from: u64,
        mut kept: BTreeMap<u64, Kept>,
    ) -> Result<(BTreeMap<u64, Arrived>, BTreeMap<u64, Kept>, (u64, u64)), Error> {
        let info = self.sift(Doubt::From(from), self.info().await?, &mut kept).await?;
        let (upto, count) = (info.delivered.stream_sequence, info.delivered.consumer_sequence);
        let mut aside = kept.split_off(&from);
        aside.retain(|_, kept| kept.aside);
        let mut lost = BTreeMap::new();
        self.recall(&mut aside, &mut lost).await?;
        if upto >= from {
            let subject = names::subject(self.durable.topic.as_str(), self.durable.partition);
            for one in numbered::range(self.link, &self.durable.stream(), &subject, from..=upto, Numbered::is_readable).await? {
                let reply = Some(self.reply(one.sequence, count).into());
                lost.insert(one.sequence, self.arrived(&one, reply));
            }
        }
        Ok((lost, aside, (from.max(upto + 1), count)))
    }

    fn arrived(&self, one: &Numbered, reply: Option<Subject>) -> Arrived {
        let (sequence, published) = (one.sequence, one.published);
        Arrived { message: one.message(self.durable.topic), reply, sequence, deliveries: 1, count: 0, published }
    }

    /// Where to say what became of a message. Of what the subject holds the server asks for the message's number alone, and that there
    /// were as many deliveries as it says.
    fn reply(&self, sequence: u64, count: u64) -> String {
        format!("$JS.ACK.{}.{}.1.{sequence}.{count}.0.0", self.durable.stream(), self.durable.name())
    }

    async fn set_aside(&self, sequence: u64, before: Info, kept: &mut BTreeMap<u64, Kept>) -> Result<Info, Error> {
        let (topic, group) = (self.durable.topic, self.durable.group);
        if self.stream.cached_info().config.retention != RetentionPolicy::Limits {
            let text = format!(
                "message {sequence} of topic `{topic}` has headers that cannot be read, and its stream deletes what is acknowledged; \
                 delete it (`nats stream rmm`), or let the stream keep messages by its limits"
            );
            return Err(Error::new(ErrorKind::Configuration, text));
        }
        // Perhaps a former owner does the same just now, and does not know yet that he is one.
        if let Some(known) = self.store.one(self.place, sequence).await?.filter(|known| known.aside) {
            kept.insert(sequence, known);
            return Ok(before);
        }
        let aside = Kept { aside: true, ..kept.get(&sequence).copied().unwrap_or_default() };
        self.store.keep(self.place, sequence, aside).await?;
        let done = self.link.client.request(self.reply(sequence, before.delivered.consumer_sequence), "+ACK".into()).await;
        done.map_err(|error| failure::of(format!("message {sequence} of topic `{topic}` cannot be set aside"), error))?;
        let after = self.info().await?;
        let as_before = after.delivered.consumer_sequence == before.delivered.consumer_sequence;
        if as_before && after.num_ack_pending == before.num_ack_pending {
            self.store.drop_kept(self.place, sequence).await?;
        } else {
            tracing::warn!(%topic, group, sequence, "the headers of a message cannot be read; it is taken by its number");
            kept.insert(sequence, aside);
        }
        Ok(after)
    }

    /// What waited for its time and has expired meanwhile does not wait any more.
    pub(crate) async fn forget_expired(&self, kept: &mut BTreeMap<u64, Kept>) -> Result<(), Error> {
        let waiting: Vec<_> = kept.iter().filter(|(_, kept)| kept.waits()).map(|(sequence, _)| *sequence).collect();
        let stream = self.durable.stream();
        let gone = waiting.into_iter().map(async |sequence| {
            let gone = numbered::at(self.link, &stream, sequence).await?.is_none();
            if gone {
                self.store.drop_kept(self.place, sequence).await?;
            }
            Ok::<_, Error>(gone.then_some(sequence))
        });
        let gone: Vec<_> = stream::iter(gone.collect::<Vec<_>>()).buffered(32).try_collect().await?;
        for sequence in gone.into_iter().flatten() {
            kept.remove(&sequence);
        }
        Ok(())
    }

    /// Reads what was set aside, now or by a former owner. Returns the numbers of those that the stream has discarded meanwhile.
    pub(crate) async fn recall(
        &self,
        kept: &mut BTreeMap<u64, Kept>,
        pending: &mut BTreeMap<u64, Arrived>,
    ) -> Result<Vec<u64>, Error> {
        let mut gone = Vec::new();
        for sequence in kept.iter().filter(|(_, kept)| kept.aside).map(|(sequence, _)| *sequence).collect::<Vec<_>>() {
            if let Some(one) = numbered::at(self.link, &self.durable.stream(), sequence).await? {
                pending.insert(sequence, self.arrived(&one, None));
            } else {
                self.store.drop_kept(self.place, sequence).await?;
                kept.remove(&sequence);
                gone.push(sequence);
            }
        }
        Ok(gone)
    }
}
