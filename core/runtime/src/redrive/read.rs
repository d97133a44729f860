//! Reading a dead-letter topic to its end, as the tools' group.
//!
//! A letter is handed out once, in the order of its partition, and then settled, or left: what is left is given back when the
//! reading ends. Where positions are committed, what was settled between letters that are left is kept in the commit.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use convoke_core::broker::{
    Broker, Commit, Deliveries, Settle, SettleBy, Settled, Settlement, SubscribeSpec, Subscription, SubscriptionControl,
    SubscriptionEvent, Token,
};
use convoke_core::{Epoch, Error, ErrorKind, Incoming, PartId, Position, names};
use futures_core::Stream;
use tokio::time::Instant;

use super::DeadTopic;
use super::watermark::Watermark;

/// How many letters of a partition are on their way to us at most.
const WINDOW: u32 = 64;
/// The same in bytes.
const WINDOW_BYTES: u64 = 4 << 20;
/// How long nothing comes before the broker is asked whether there is more.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long nothing comes, although there is more, before others are taken to have it.
const QUIET: Duration = Duration::from_secs(30);
/// How long a letter that was given out may be on its way to us: whoever died with it may have a lease.
const ON_ITS_WAY: Duration = Duration::from_secs(15);
/// How long a settlement that is not answered is repeated.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Reader<'b> {
    broker: &'b dyn Broker,
    spec: SubscribeSpec,
    events: Pin<Box<dyn Stream<Item = SubscriptionEvent> + Send>>,
    control: Box<dyn SubscriptionControl>,
    by: SettleBy,
    parts: HashMap<PartId, Part>,
    waiting: VecDeque<(Epoch, Incoming)>,
    /// Letters that were given to us, by partition and position.
    seen: HashMap<(u32, Position), Seen>,
    /// Partitions that were ever ours, and those that were taken away.
    owned: HashSet<u32>,
    taken: HashSet<u32>,
    partitions: u32,
    /// How many letters there were at the beginning, if the broker could tell.
    expected: Option<u64>,
    /// Letters that are settled and not in `seen` any more.
    known_before: u64,
    interrupted: bool,
    /// Whether everything that was there has been given out, to us or to others.
    exhausted: bool,
    ended: bool,
}

/// What is known of a letter that was given to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It was not handed out yet.
    Waiting,
    /// It is worked on, or was left.
    Open,
    /// It is to be settled.
    Done,
    /// The broker knows that it is.
    Settled,
}

/// A partition that is ours.
struct Part {
    partition: u32,
    epoch: Epoch,
    /// Until when, unless renewed.
    until: Option<Instant>,
    watermark: Watermark,
}

impl<'b> Reader<'b> {
    pub(super) async fn open(broker: &'b dyn Broker, topic: &DeadTopic) -> Result<Self, Error> {
        let mut spec = SubscribeSpec::new(names::REDRIVE_GROUP, vec![topic.topic.clone()]);
        // What comes later is not read where the broker can be told so: it may be what was sent back and died again.
        spec.until_end = broker.capabilities().until_end;
        spec.ordered = false;
        let Subscription { events, control, .. } = broker.subscribe(spec.clone()).await?;
        Ok(Self {
            broker,
            spec,
            events,
            control,
            by: broker.capabilities().settle,
            parts: HashMap::new(),
            waiting: VecDeque::new(),
            seen: HashMap::new(),
            owned: HashSet::new(),
            taken: HashSet::new(),
            partitions: topic.partitions,
            expected: topic.letters,
            known_before: 0,
            interrupted: false,
            exhausted: false,
            ended: false,
        })
    }

    /// The next letter; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Incoming> {
        loop {
            // What has happened to our partitions comes first: what is not ours any more is not to be touched.
            while let Some(event) = self.happened(false).await {
                self.take(event).await;
            }
            while let Some((epoch, incoming)) = self.waiting.pop_front() {
                // One that came twice, because its lease ran out, is handed out once.
                let place = (incoming.partition, incoming.position);
                if self.seen.get(&place) != Some(&Seen::Waiting) {
                    continue;
                }
                if self.is_ours(&incoming.token, epoch) {
                    self.seen.insert(place, Seen::Open);
                    return Some(incoming);
                }
                // It comes again, to us or to somebody else.
                self.seen.remove(&place);
            }
            self.exhausted |= self.ended || self.expected.is_some_and(|expected| self.known() >= expected);
            if self.exhausted || !self.more_comes().await {
                return None;
            }
        }
    }

    /// How many letters were given to us.
    fn known(&self) -> u64 {
        self.known_before + self.seen.len() as u64
    }

    /// Waits for what happens next. `false` if nothing does: what is there was given to us, or others have it.
    async fn more_comes(&mut self) -> bool {
        let mut quiet_since = Instant::now();
        loop {
            if let Ok(event) = tokio::time::timeout(LOOK_AGAIN, self.happened(true)).await {
                if let Some(event) = event {
                    self.take(event).await;
                }
                return true;
            }
            if self.interrupted {
                quiet_since = Instant::now();
                continue;
            }
            let lag = self.broker.lag(names::REDRIVE_GROUP, &self.spec.topics).await.unwrap_or_default();
            // What came while the broker was asked is no backlog any more, and ours.
            if let Some(event) = self.happened(false).await {
                self.take(event).await;
                return true;
            }
            // Nor is one that was given out before, and has not reached us yet. Where others have partitions, they have it.
            let ours = self.owned.is_empty() || self.parts.len() == self.partitions as usize;
            let held = self.seen.values().filter(|seen| **seen != Seen::Settled).count() as u64;
            let comes = ours && lag.unsettled.is_some_and(|unsettled| unsettled > held);
            let reached = !comes || quiet_since.elapsed() > ON_ITS_WAY;
            self.exhausted = lag.backlog == Some(0) && reached;
            if self.exhausted || quiet_since.elapsed() > QUIET {
                return false;
            }
        }
    }

    /// What has happened, if anything has; or, if it is to wait, what happens next.
    async fn happened(&mut self, wait: bool) -> Option<SubscriptionEvent> {
        if self.ended {
            return None;
        }
        let events = &mut self.events;
        let polled = poll_fn(|cx| match events.as_mut().poll_next(cx) {
            Poll::Ready(event) => Poll::Ready(Some(event)),
            Poll::Pending if wait => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
        });
        let event = polled.await?;
        self.ended = event.is_none();
        event
    }

    /// Forgets the letters of a partition whose positions mean nothing any more; says how many of them are settled.
    fn forget(&mut self, partition: u32) -> u64 {
        let mut settled = 0;
        self.seen.retain(|(other, position), seen| {
            let keep = *other != partition || position.is_stable();
            settled += u64::from(!keep && *seen == Seen::Settled);
            keep
        });
        settled
    }

    fn is_ours(&self, token: &Token, epoch: Epoch) -> bool {
        let part = self.parts.get(&token.part).filter(|part| part.epoch == epoch);
        part.is_some_and(|part| part.until.is_none_or(|until| Instant::now() < until))
    }

    async fn take(&mut self, event: SubscriptionEvent) {
        match event {
            SubscriptionEvent::Assigned { part, partition, epoch, term, resume, .. } => {
                let until = term.map(|term| Instant::now() + term);
                self.parts.insert(part, Part { partition, epoch, until, watermark: Watermark::new(resume.progress) });
                self.owned.insert(partition);
                self.taken.remove(&partition);
                // A position that means nothing beyond a connection may now be that of another letter.
                self.known_before += self.forget(partition);
                self.control.grant(part, epoch, WINDOW, WINDOW_BYTES);
            }
            SubscriptionEvent::Renewed { part, epoch, term } => {
                if let Some(part) = self.parts.get_mut(&part).filter(|part| part.epoch == epoch) {
                    part.until = Some(Instant::now() + term);
                }
            }
            SubscriptionEvent::Deliveries(deliveries) => self.delivered(deliveries).await,
            SubscriptionEvent::Revoking { part, epoch, .. } => {
                self.lose(part, epoch);
                self.control.revoked(part, epoch);
            }
            SubscriptionEvent::Lost { part, epoch } => self.lose(part, epoch),
            SubscriptionEvent::Interrupted(error) => {
                tracing::warn!(%error, "the connection is interrupted; waiting for it");
                // Nobody has taken anything: who has what is shared out anew when it is back.
                self.parts.clear();
                self.owned.clear();
                self.taken.clear();
                self.interrupted = true;
            }
            SubscriptionEvent::Resumed => self.interrupted = false,
            // Others may be at work still, and what they have is not ours to wait for.
            SubscriptionEvent::AtEnd => self.exhausted = true,
            SubscriptionEvent::Gap { from, to, .. } => {
                tracing::error!(%from, %to, "the broker discarded dead letters before they were read");
            }
            _ => {}
        }
    }

    fn lose(&mut self, part: PartId, epoch: Epoch) {
        if self.parts.get(&part).is_some_and(|part| part.epoch == epoch) {
            self.taken.extend(self.parts.remove(&part).map(|part| part.partition));
        }
    }

    async fn delivered(&mut self, deliveries: Deliveries) {
        let Deliveries { part, epoch, messages, .. } = deliveries;
        for incoming in messages {
            let Some(info) = self.parts.get_mut(&part).filter(|info| info.epoch == epoch) else { return };
            let done_before = info.watermark.delivered(incoming.position);
            let place = (incoming.partition, incoming.position);
            match self.seen.get(&place) {
                // It comes again because its lease ran out, or the connection was lost.
                Some(Seen::Done | Seen::Settled) => {
                    if matches!(self.apply(&incoming.token).await, Settled::Applied) {
                        self.seen.insert(place, Seen::Settled);
                    }
                    self.pay(&incoming.token);
                }
                _ if done_before => {
                    self.seen.insert(place, Seen::Settled);
                    self.pay(&incoming.token);
                }
                // It was left, and still is.
                Some(Seen::Open) => self.pay(&incoming.token),
                Some(Seen::Waiting) | None => {
                    self.seen.insert(place, Seen::Waiting);
                    self.waiting.push_back((epoch, incoming));
                }
            }
        }
    }

    /// One letter more may come.
    fn pay(&self, token: &Token) {
        self.control.grant(token.part, token.epoch, 1, WINDOW_BYTES / u64::from(WINDOW));
    }

    /// Leaves a letter that was handed out: it will be there the next time.
    pub(super) fn leave(&self, incoming: &Incoming) {
        self.pay(&incoming.token);
    }

    /// Whether a letter can be settled before those that are left in front of it: where positions are committed, there is not room for
    /// any number of gaps.
    pub(super) fn has_room(&self, incoming: &Incoming) -> bool {
        let Some(most) = self.broker.capabilities().progress.filter(|_| self.by == SettleBy::Watermark) else { return true };
        self.parts.get(&incoming.token.part).is_none_or(|part| part.watermark.has_room(incoming.position, most))
    }

    /// Settles a letter that was handed out: it is a dead letter no more. If the connection is lost before, that is waited for.
    ///
    /// # Errors
    /// If the broker did not take it: then it still is one.
    pub(super) async fn settle(&mut self, incoming: &Incoming) -> Result<(), Error> {
        let place = (incoming.partition, incoming.position);
        self.seen.insert(place, Seen::Done);
        let deadline = Instant::now() + SETTLE_WITHIN;
        let mut pause = Duration::from_millis(50);
        loop {
            match self.apply(&incoming.token).await {
                Settled::Applied => {
                    self.pay(&incoming.token);
                    self.seen.insert(place, Seen::Settled);
                    return Ok(());
                }
                Settled::Failed(error) if !error.is_retryable() || Instant::now() > deadline => return Err(error),
                Settled::Failed(_) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                _ => break,
            }
        }
        // The partition was lost: with the connection, and the letter comes again and is settled then; or to somebody else.
        if self.ended {
            self.open_again().await?;
        }
        let taken = || {
            Error::new(ErrorKind::Closed, "the partition was taken over before the dead letter was settled; it will come again")
        };
        while self.seen.get(&place) != Some(&Seen::Settled) {
            while let Some(event) = self.happened(false).await {
                self.take(event).await;
            }
            if self.taken.contains(&incoming.partition) {
                return Err(taken());
            }
            if self.seen.get(&place) == Some(&Seen::Settled) {
                break;
            }
            match tokio::time::timeout_at(deadline, self.happened(true)).await {
                Ok(Some(event)) => self.take(event).await,
                Ok(None) | Err(_) => return Err(taken()),
            }
        }
        Ok(())
    }

    async fn open_again(&mut self) -> Result<(), Error> {
        let Subscription { events, control, .. } = self.broker.subscribe(self.spec.clone()).await?;
        (self.events, self.control, self.ended) = (events, control, false);
        self.parts.clear();
        self.waiting.clear();
        Ok(())
    }

    async fn apply(&mut self, token: &Token) -> Settled {
        let answer = match self.by {
            SettleBy::Watermark => {
                let Some(part) = self.parts.get_mut(&token.part).filter(|part| part.epoch == token.epoch) else {
                    return Settled::Stale;
                };
                let (upto, progress) = part.watermark.done(token.position);
                self.control.commit(vec![Commit::new(token.part, token.epoch, upto, progress)]).await.pop()
            }
            _ => self.control.settle(vec![Settlement::new(token.clone(), Settle::Ack)]).await.pop(),
        };
        answer.unwrap_or(Settled::Stale)
    }

    /// Whether everything that was there at the beginning was handed out to us.
    pub(super) fn complete(&self) -> bool {
        self.exhausted && self.elsewhere() == 0
    }

    /// How many partitions somebody else has, or has taken over.
    pub(super) fn elsewhere(&self) -> u32 {
        let all_known = self.expected.is_some_and(|expected| self.known() >= expected);
        let never = (0..self.partitions).filter(|partition| !all_known && !self.owned.contains(partition)).count();
        u32::try_from(never + self.taken.len()).unwrap_or(u32::MAX)
    }

    /// Ends the reading: what was left is given back.
    pub(super) async fn close(self) {
        self.control.close().await;
        drop(self.events);
    }
}
