//! From joining to the loss of the connection, or the end.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_nats::Message;
use async_nats::jetstream::kv::{Operation, Watch};
use convoke_broker_common::Tenure;
use convoke_core::broker::SubscriptionEvent;
use convoke_core::{BoxFuture, Epoch, Error, ErrorKind, PartId};
use futures_util::stream::{BoxStream, FuturesUnordered, SelectAll, StreamExt};
use tokio::sync::oneshot;
use tokio::time::sleep_until;

use super::apart;
use super::units::{Unit, Won};
use super::{End, Reader, refuse};
use crate::control::Command;
use crate::link::Link;
use crate::part::Part;
use crate::store::{self, About};
use crate::view::View;

/// How many messages are taken in at a time.
const AT_ONCE: usize = 256;

/// What came to a partition; nothing when its subscription has ended.
pub(super) type Answer = (PartId, Epoch, Option<Message>);

/// What was under way, and is done.
pub(super) enum Done {
    Beat {
        sent: Instant,
        result: Result<u64, Error>,
    },
    Taken {
        unit: u32,
        won: Option<Won>,
    },
    Released {
        unit: u32,
    },
    /// Topics that a pattern matches too, with their partitions.
    Appeared(Vec<(convoke_core::Topic, u32)>),
    AtEnd(bool),
    Looked(Vec<super::gaps::Looked>),
    /// There is a second connection.
    Apart(Arc<Link>),
    Mended {
        part: PartId,
        epoch: Epoch,
        mended: Box<super::apart::Mended>,
    },
    Failed(Error),
    Nothing,
}

/// A membership, or the life of a broadcast between two losses of the connection.
pub(super) struct Session<'r> {
    pub(super) reader: &'r mut Reader,
    pub(super) link: Arc<Link>,
    /// What messages are asked for over: the same connection, or a second one.
    pub(super) pulls: Arc<Link>,
    pub(super) connection_apart: u64,
    /// Whether the second one is being opened. Nothing more is asked for meanwhile.
    pub(super) opening: bool,
    pub(super) member: String,
    pub(super) tenure: Option<Tenure>,
    pub(super) view: View,
    /// Whether everything was heard that there was to know when we joined.
    known: bool,
    pub(super) units: Vec<Unit>,
    pub(super) answers: SelectAll<BoxStream<'static, Answer>>,
    /// Ends the stream of answers of a partition.
    pub(super) stops: Vec<Option<oneshot::Sender<()>>>,
    pub(super) under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    beating: bool,
    watch: Option<Watch>,
    /// The connection that this session stands on.
    connection: u64,
    tick: Instant,
    looking: bool,
    pub(super) next_gap_look: Instant,
    pub(super) arrived: Vec<Answer>,
}

impl<'r> Session<'r> {
    pub(super) async fn run(reader: &'r mut Reader) -> Result<End, Error> {
        let link = Arc::clone(&reader.link);
        let pulls = if reader.apart { apart::second(&link).await } else { Arc::clone(&link) };
        let connection_apart = *pulls.up.borrow();
        let mut session = Self {
            link: Arc::clone(&link),
            connection_apart,
            opening: false,
            pulls,
            member: String::new(),
            tenure: None,
            view: View::default(),
            known: false,
            units: Vec::new(),
            answers: SelectAll::new(),
            stops: Vec::new(),
            under_way: FuturesUnordered::new(),
            beating: false,
            watch: None,
            connection: *link.up.borrow(),
            tick: Instant::now(),
            looking: false,
            next_gap_look: Instant::now() + 4 * link.options.lease,
            arrived: Vec::new(),
            reader,
        };
        if !link.is_up() {
            return Err(link.lost());
        }
        session.begin().await?;
        session.go_on().await
    }

    /// How often the server says of an idle pull that it is waiting.
    pub(super) fn heartbeat(&self) -> Duration {
        (self.link.options.lease / 6).min(Duration::from_secs(1))
    }

    async fn begin(&mut self) -> Result<(), Error> {
        self.count_units();
        if self.reader.spec.alone {
            self.take_everything();
        } else {
            for member in &self.reader.former {
                // What they left in the bucket is taken over below, and is known as ours: also by the next session, if this one fails here.
                self.reader.store.leave(&self.reader.scope, member).await?;
            }
            let inbox = self.link.client.new_inbox();
            self.member = inbox.rsplit('.').next().unwrap_or_default().to_owned();
            let sent = Instant::now();
            self.reader.store.beat(&self.reader.scope, &self.member, beat(&self.link)).await?;
            self.reader.former.push(self.member.clone());
            self.tenure = Some(Tenure::new(self.link.options.lease, sent));
            self.watch = Some(self.reader.store.watch(&self.reader.scope).await?);
        }
        self.link.well();
        self.reader.events.resumed();
        Ok(())
    }

    async fn go_on(&mut self) -> Result<End, Error> {
        let mut up = self.link.up.clone();
        loop {
            let next = self.next_look();
            let apart = self.reads_apart().then(|| self.pulls.up.clone());
            tokio::select! {
                command = self.reader.commands.recv() => {
                    if let Some(end) = self.commanded(command).await? {
                        return Ok(end);
                    }
                }
                () = arrivals(&mut self.answers, &mut self.arrived) => self.arrived().await?,
                entry = next_entry(&mut self.watch) => self.heard(entry)?,
                Some(done) = self.under_way.next(), if !self.under_way.is_empty() => {
                    if let Some(end) = self.done(done).await? {
                        return Ok(end);
                    }
                }
                () = sleep_until(next.into()) => self.look().await?,
                _ = up.changed() => {}
                () = apart::is_back(apart, self.connection_apart) => {}
                () = self.reader.events.gone() => return Ok(End::Gone),
            }
            if *self.link.up.borrow() != self.connection {
                return Err(self.link.lost());
            }
            self.look_apart();
            self.pump().await?;
        }
    }

    async fn commanded(&mut self, command: Option<Command>) -> Result<Option<End>, Error> {
        let mut next = command;
        for _each in 0..AT_ONCE {
            match next {
                Some(Command::Grant { part, epoch, messages }) => self.granted(part, epoch, messages),
                Some(Command::Settle { batch, answer }) => self.settle(batch, answer).await?,
                Some(Command::Revoked { part, epoch }) => self.revoked(part, epoch),
                Some(Command::Close { done }) => {
                    self.finish().await;
                    return Ok(Some(End::Closed(Some(done))));
                }
                None => return Ok(Some(End::Gone)),
            }
            match self.reader.commands.try_recv() {
                Ok(command) => next = Some(command),
                Err(_) => break,
            }
        }
        Ok(None)
    }

    /// What is in the bucket has changed.
    fn heard(&mut self, entry: Option<Result<async_nats::jetstream::kv::Entry, Error>>) -> Result<(), Error> {
        let entry = entry.ok_or_else(|| Error::new(ErrorKind::Connection, "nothing more is heard of the group's members"))??;
        let at = entry.created.unix_timestamp_nanos();
        self.view.at(at);
        let put = entry.operation == Operation::Put;
        let value = std::str::from_utf8(&entry.value).unwrap_or_default();
        match store::about(&self.reader.scope, &entry) {
            Some(About::Member(name)) if put => {
                self.view.lives(name, at, Duration::from_millis(value.parse().unwrap_or(0)));
            }
            Some(About::Member(name)) => self.view.left(name),
            Some(About::Owner(unit)) => {
                let owner = put.then_some(value);
                self.view.holds(unit, owner, entry.revision);
                self.heard_of(unit, owner, entry.revision);
            }
            None => {}
        }
        self.known |= entry.seen_current;
        if self.known {
            self.rebalance();
        }
        Ok(())
    }

    async fn done(&mut self, done: Done) -> Result<Option<End>, Error> {
        match done {
            Done::Beat { sent, result } => self.beaten(sent, result)?,
            Done::Taken { unit, won } => self.won(unit, won),
            Done::Released { unit } => {
                // That nobody has it, or who has it by now, the bucket tells.
                self.units[unit as usize] = Unit::Free;
                self.rebalance();
            }
            Done::Appeared(topics) => self.appeared(topics),
            Done::AtEnd(at_end) => {
                self.looking = false;
                if at_end && !self.reader.parts.iter().any(Part::is_busy) {
                    self.finish().await;
                    self.reader.events.tell(SubscriptionEvent::AtEnd);
                    return Ok(Some(End::Closed(None)));
                }
            }
            Done::Looked(looked) => self.looked_for_gaps(looked),
            Done::Apart(link) => self.is_apart(link),
            Done::Mended { part, epoch, mended } => self.mended(part, epoch, *mended),
            Done::Failed(error) => return Err(error),
            Done::Nothing => {}
        }
        Ok(None)
    }

    fn beaten(&mut self, sent: Instant, result: Result<u64, Error>) -> Result<(), Error> {
        self.beating = false;
        let (now, Some(tenure)) = (Instant::now(), &mut self.tenure) else { return Ok(()) };
        match result {
            Ok(_) if tenure.renewed(sent, now) => {
                let until = tenure.until();
                for (part, epoch) in self.reader.epochs.all() {
                    self.reader.events.renewed(part, epoch, until);
                }
                self.link.well();
                Ok(())
            }
            Ok(_) => Err(silent(&self.link)),
            Err(error) => {
                tracing::debug!(%error, "a member's beat was not taken; it is repeated");
                tenure.missed(now);
                Ok(())
            }
        }
    }

    fn next_look(&self) -> Instant {
        let tick = self.tick;
        match &self.tenure {
            Some(tenure) if self.beating => tick.min(tenure.until()),
            Some(tenure) => tick.min(tenure.until()).min(tenure.next()),
            None => tick,
        }
    }

    /// Looks at everything that has a time.
    async fn look(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if let Some(tenure) = self.tenure {
            if tenure.is_over(now) {
                self.link.unwell("the server does not answer");
                return Err(silent(&self.link));
            }
            if !self.beating && now >= tenure.next() {
                self.beating = true;
                let (store, scope, member) = (self.reader.store.clone(), self.reader.scope.clone(), self.member.clone());
                let (value, within) = (beat(&self.link), self.link.options.lease / 3);
                self.under_way.push(Box::pin(async move {
                    let result = tokio::time::timeout(within, store.beat(&scope, &member, value)).await;
                    let late = |_| Error::new(ErrorKind::Timeout, "no answer came to a member's beat");
                    Done::Beat { sent: now, result: result.map_err(late).and_then(|result| result) }
                }));
            }
        }
        if now >= self.tick {
            self.tick = now + self.heartbeat() / 2;
            self.overdue(now)?;
            self.look_for_gaps(now);
            if self.reader.spec.until_end {
                self.ask_again().await?;
            }
            if !self.looking && (self.reader.spec.until_end || self.reader.spec.patterns) {
                self.looking = true;
                self.look_around();
            }
        }
        Ok(())
    }

    pub(super) fn looked(&mut self) {
        self.looking = false;
    }

    /// What the runtime says while nothing is ours.
    pub(super) fn refuse_all(&mut self) {
        while let Ok(command) = self.reader.commands.try_recv() {
            refuse(command);
        }
    }
}

/// The text of a beat: for how long it holds, in milliseconds.
fn beat(link: &Link) -> bytes::Bytes {
    link.options.lease.as_millis().to_string().into()
}

fn silent(link: &Link) -> Error {
    let text = format!("NATS has not answered for {:?}: what was ours is another's by now", link.options.lease);
    Error::new(ErrorKind::Timeout, text)
}

async fn next_entry(watch: &mut Option<Watch>) -> Option<Result<async_nats::jetstream::kv::Entry, Error>> {
    match watch {
        Some(watch) => {
            let entry = watch.next().await?;
            Some(entry.map_err(|error| crate::failure::of("the members of a group cannot be watched", error)))
        }
        None => std::future::pending().await,
    }
}

/// Waits for answers, and takes all that are there.
///
/// # Cancel safety
/// What was taken stands in `into`.
async fn arrivals(answers: &mut SelectAll<BoxStream<'static, Answer>>, into: &mut Vec<Answer>) {
    std::future::poll_fn(|cx| {
        while into.len() < AT_ONCE {
            match answers.poll_next_unpin(cx) {
                Poll::Ready(Some(answer)) => into.push(answer),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if into.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}
