//! Taking a partition over so that its order is kept.
//!
//! What a former owner was given and did not settle comes back from the server after `ack_wait`, behind what is new. So whoever takes
//! over first lets all of it expire: `ack_wait` is set to a millisecond for a moment. What comes then is collected until nothing is
//! out that is not here, and sorted. This may bring back too what waits for a delayed retry; it is sent back for the rest of its time.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use async_nats::header::NATS_MESSAGE_TTL;
use async_nats::jetstream::consumer::{FromConsumer, Info, pull};
use async_nats::jetstream::stream::Stream;
use convoke_core::{Error, ErrorKind, Position};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use crate::arrival::{self, Answer, Arrived};
use crate::aside::{Doubt, Sieve};
use crate::consumers::Durable;
use crate::link::Link;
use crate::store::{Kept, Store};
use crate::{failure, numbered};

/// How long the server takes to see that deliveries have expired: it looks four times a second at least.
const EXPIRY: Duration = Duration::from_millis(250);

/// How often it is tried to collect everything.
const ROUNDS: u32 = 40;

/// The most that one pull asks for.
const BATCH: usize = 1_000;

/// A partition that is ours, with what its former owner left.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) inbox: String,
    pub(crate) answers: Subscriber,
    /// What was given out and not settled, in order.
    pub(crate) pending: BTreeMap<u64, Arrived>,
    pub(crate) kept: BTreeMap<u64, Kept>,
    pub(crate) seen: Seen,
    /// What was set aside, and the stream discarded before it was done.
    pub(crate) gone: Vec<u64>,
    /// The connection to which `inbox` belongs.
    pub(crate) over: Arc<Link>,
}

/// How far a group has seen a partition, whether or not there were messages for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Nothing below was missed.
    pub(crate) upto: u64,
    /// How many deliveries the consumer had made then.
    pub(crate) count: u64,
    /// The stream holds nothing below.
    pub(crate) first: u64,
}

impl Seen {
    /// What was discarded before it was seen: the first that is missing, and the first that is there again.
    pub(crate) fn gap(self) -> Option<(Position, Position)> {
        (self.first > self.upto).then_some((Position::Offset(self.upto), Position::Offset(self.first)))
    }
}

/// A stream holds many partitions, and its sequence numbers do not tell which of them had what was discarded; a consumer is moved along
/// when its stream is purged. So whoever gives a partition back keeps up to where he has seen it.
fn seen(left_at: Option<(u64, u64)>, stream: &Stream, info: &Info) -> Seen {
    let (state, delivered) = (&stream.cached_info().state, &info.delivered);
    let mut seen = Seen { upto: delivered.stream_sequence + 1, count: delivered.consumer_sequence, first: state.first_sequence };
    match left_at {
        // Nothing was delivered since: wherever the consumer stands now, nobody has seen what was between.
        Some((upto, count)) if count == seen.count => seen.upto = upto,
        Some((upto, _)) => seen.upto = seen.upto.max(upto),
        // What was discarded before a group was given anything, nobody has missed: it begins at the oldest that there is.
        None if seen.count == 0 => seen.upto = seen.first,
        None => {}
    }
    if seen.gap().is_none() && info.num_pending == 0 {
        seen.upto = seen.upto.max(state.last_sequence + 1);
    }
    seen
}

/// Recovers a partition that was just won. What is out is asked for over `pulls`. `left_at` is up to where we have seen it ourselves, if
/// we had it before: who loses the connection cannot keep that.
pub(crate) async fn recover(
    link: &Link,
    pulls: &Arc<Link>,
    store: &Store,
    durable: Durable<'_>,
    place: &str,
    doubt: Doubt,
    left_at: Option<(u64, u64)>,
) -> Result<Recovered, Error> {
    let text = || text_of(&durable);
    let name = durable.name();
    let inbox = pulls.client.new_inbox();
    let looked = async {
        let answers = pulls.client.subscribe(format!("{inbox}.*")).await.map_err(|error| failure::of(text(), error))?;
        // First the stream, then the consumer: what the consumer has not reached yet is then newer than what is known of the stream.
        let stream = link.jetstream.get_stream(durable.stream()).await.map_err(|error| failure::of(text(), error))?;
        let info = stream.consumer_info(&name).await.map_err(|error| failure::of(text(), error))?;
        Ok((answers, stream, info))
    };
    let ((answers, stream, info), kept, others) = tokio::try_join!(looked, store.kept(place), store.seen(place))?;
    let left_at = left_at.into_iter().chain(others).max_by_key(|(upto, count)| (*count, *upto));
    let seen = seen(left_at, &stream, &info);
    let mut recovered =
        Recovered { inbox: inbox.clone(), answers, pending: BTreeMap::new(), kept, seen, gone: Vec::new(), over: pulls.clone() };
    // What is settled needs nothing kept; whoever settled it died before it could say so.
    let done = recovered.kept.range(..=info.ack_floor.stream_sequence).filter(|(_, kept)| !kept.aside);
    for done in done.map(|(sequence, _)| *sequence).collect::<Vec<_>>() {
        store.drop_kept(place, done).await?;
        recovered.kept.remove(&done);
    }
    let sieve = Sieve { link, store, stream: &stream, durable, place };
    if stream.cached_info().config.allow_message_ttl {
        sieve.forget_expired(&mut recovered.kept).await?;
    }
    let info = sieve.sift(doubt, info, &mut recovered.kept).await?;
    if info.num_ack_pending > 0 {
        set_ack_wait(&stream, &info, Duration::from_millis(1))
            .await
            .map_err(|error| Error::new(ErrorKind::Connection, text()).with_source(error))?;
        sleep(EXPIRY).await;
    }
    if info.num_ack_pending > 0 || info.config.ack_wait != link.options.ack_wait {
        set_ack_wait(&stream, &info, link.options.ack_wait)
            .await
            .map_err(|error| Error::new(ErrorKind::Connection, text()).with_source(error))?;
    }
    if info.num_ack_pending > 0 {
        collect(link, &stream, &durable, &mut recovered).await?;
        let collected = recovered.pending.values().map(|arrived| arrived.count).max();
        recovered.seen.count = recovered.seen.count.max(collected.unwrap_or_default());
    }
    recovered.gone = sieve.recall(&mut recovered.kept, &mut recovered.pending).await?;
    Ok(recovered)
}

/// What fails when a partition cannot be read.
pub(crate) fn text_of(durable: &Durable<'_>) -> String {
    format!("topic `{}` cannot be taken over by group `{}`", durable.topic, durable.group)
}

async fn set_ack_wait(stream: &Stream, info: &Info, ack_wait: Duration) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut config = pull::Config::try_from_consumer_config(info.config.clone())?;
    config.ack_wait = ack_wait;
    stream.update_consumer(config).await?;
    Ok(())
}

/// Pulls until everything that is out is here, but for what waits for longer than `ack_wait`: that does not expire, and comes when it is due.
async fn collect(link: &Link, stream: &Stream, durable: &Durable<'_>, recovered: &mut Recovered) -> Result<(), Error> {
    let text = "what a former owner left cannot be collected";
    let (mut early, mut mortal, mut quiet) = (HashSet::new(), HashSet::new(), false);
    for _round in 0..ROUNDS {
        let info = stream.consumer_info(durable.name()).await.map_err(|error| failure::of(text, error))?;
        let left = info.num_ack_pending.saturating_sub(recovered.pending.len() + early.len());
        let waits = recovered.kept.iter().filter(|(sequence, kept)| kept.waits() && !early.contains(*sequence)).count();
        if left == 0 || (quiet && left <= waits) {
            // What has expired here is not out any more: in its place somebody else's may be.
            if !bury(link, durable, recovered, &mut early, &mut mortal).await? {
                return Ok(());
            }
            continue;
        }
        let before = (recovered.pending.len(), early.len());
        pull(durable, left.min(BATCH), recovered, &mut early, &mut mortal).await?;
        quiet = before == (recovered.pending.len(), early.len());
        if quiet {
            sleep(Duration::from_millis(50)).await;
        }
    }
    let text = format!("{text}: some of it is still out with somebody else; it is tried again");
    Err(Error::new(ErrorKind::Timeout, text))
}

/// Takes away what has expired since it came. `true` if there was something.
async fn bury(
    link: &Link,
    durable: &Durable<'_>,
    recovered: &mut Recovered,
    early: &mut HashSet<u64>,
    mortal: &mut HashSet<u64>,
) -> Result<bool, Error> {
    let mut gone = Vec::new();
    for sequence in mortal.iter().copied() {
        if numbered::at(link, &durable.stream(), sequence).await?.is_none() {
            gone.push(sequence);
        }
    }
    for sequence in &gone {
        mortal.remove(sequence);
        early.remove(sequence);
        recovered.pending.remove(sequence);
    }
    Ok(!gone.is_empty())
}

async fn pull(
    durable: &Durable<'_>,
    batch: usize,
    recovered: &mut Recovered,
    early: &mut HashSet<u64>,
    mortal: &mut HashSet<u64>,
) -> Result<(), Error> {
    let request = format!(r#"{{"batch":{batch},"no_wait":true}}"#);
    let reply = format!("{}.0", recovered.inbox);
    let link = recovered.over.clone();
    let mut up = link.up.clone();
    up.mark_unchanged();
    link.send(durable.pull_subject().into(), Some(reply.into()), request.into()).await?;
    for _each in 0..batch {
        let next = tokio::select! {
            next = timeout(Duration::from_secs(1), recovered.answers.next()) => next,
            _ = up.changed() => return Err(link.lost()),
        };
        let Ok(Some(message)) = next else { break };
        let expires = message.headers.as_ref().is_some_and(|headers| headers.get(NATS_MESSAGE_TTL).is_some());
        let Some(Answer::Message(arrived)) = arrival::read(durable.topic, message) else { break };
        if expires {
            mortal.insert(arrived.sequence);
        }
        match recovered.kept.get(&arrived.sequence).filter(|kept| kept.waits()) {
            Some(kept) => {
                early.insert(arrived.sequence);
                later(&link, &arrived, kept.due_in()).await?;
            }
            None => {
                recovered.pending.insert(arrived.sequence, arrived);
            }
        }
    }
    Ok(())
}

/// Gives a delivery back to the server for a while.
pub(crate) async fn later(link: &Link, arrived: &Arrived, delay: Duration) -> Result<(), Error> {
    let Some(reply) = arrived.reply.clone() else { return Ok(()) };
    let word = format!(r#"-NAK {{"delay":{}}}"#, delay.as_nanos());
    let sent = link.client.publish(reply, word.into()).await;
    sent.map_err(|error| failure::of("a delivery could not be given back", error))
}
