//! Members: the subscriptions of a group, and what each is to be told next.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use convoke_core::broker::{AttemptsKept, Commit, Deliveries, HeaderValues, Settle, Settled, Settlement, SubscriptionEvent};
use convoke_core::{Epoch, Error, ErrorKind, PartId, TopicPattern};

use crate::clock::{Moment, NEVER};
use crate::cursor::{Handing, Refused};
use crate::options::{Leases, Options, Positions};
use crate::position;
use crate::state::{MemberId, State};

/// A subscription, as the broker sees it.
#[derive(Debug)]
pub(crate) struct Member {
    /// The connection that it was made on.
    pub(crate) connection: u64,
    pub(crate) group: usize,
    /// The topics that it reads, as indices of the group.
    pub(crate) topics: Vec<usize>,
    /// What else it reads as soon as it is there.
    pub(crate) patterns: Vec<TopicPattern>,
    /// What each `PartId` means: an index of the group's topics, and the partition's number.
    pub(crate) parts: Vec<(usize, usize)>,
    /// What is to be told before any delivery.
    pub(crate) queue: VecDeque<SubscriptionEvent>,
    /// Whom to wake; there is one only while the stream waits.
    pub(crate) waker: Option<Waker>,
    /// Where each partition of each topic ends for it, if it ends: in the order of `topics`.
    pub(crate) marks: Option<Vec<Vec<u64>>>,
    /// Whether it was told that it is at the marked end.
    pub(crate) ended: bool,
    /// How long it has to finish with a partition that another is to have.
    pub(crate) revoke: Duration,
    /// The partition to begin with.
    turn: usize,
}

/// What a stream is to do.
#[derive(Debug)]
pub(crate) enum Step {
    Event(SubscriptionEvent),
    /// Nothing to tell before this moment, unless woken.
    Wait(Moment),
    End,
}

impl Member {
    pub(crate) fn new(connection: u64, group: usize, topics: Vec<usize>, marks: Option<Vec<Vec<u64>>>, revoke: Duration) -> Self {
        Self {
            connection,
            group,
            topics,
            patterns: Vec::new(),
            parts: Vec::new(),
            queue: VecDeque::new(),
            waker: None,
            marks,
            ended: false,
            revoke,
            turn: 0,
        }
    }

    /// The number under which the subscription knows a partition; the next one if it never had it.
    pub(crate) fn part_id(&mut self, k: usize, p: usize) -> PartId {
        let index = self.parts.iter().position(|part| *part == (k, p)).unwrap_or_else(|| {
            self.parts.push((k, p));
            self.parts.len() - 1
        });
        #[allow(clippy::cast_possible_truncation, reason = "partitions are counted in u32")]
        PartId(index as u32)
    }
}

impl State {
    /// What a subscription is to be told next. If there is nothing, the waker is kept.
    pub(crate) fn step(&mut self, id: MemberId, now: Moment, waker: &Waker) -> Step {
        if self.options.leases == Leases::Fixed {
            self.close_overdue(id, now);
        }
        let (lease, fixed) = (self.options.term(), self.options.leases == Leases::Fixed);
        let (positions, text) = (self.options.positions, self.options.headers == HeaderValues::Text);
        let Some(member) = self.members.get_mut(&id) else { return Step::End };
        if let Some(event) = member.queue.pop_front() {
            return Step::Event(event);
        }
        if member.ended {
            return Step::End;
        }
        let Some(group) = self.groups.get_mut(member.group).and_then(Option::as_mut) else { return Step::End };
        let (mut wake, mut passed) = (group.deadline, false);
        for i in 0..member.parts.len() {
            let index = (member.turn + i) % member.parts.len();
            let (k, p) = member.parts[index];
            let group_topic = &mut group.topics[k];
            let part = &mut group_topic.parts[p];
            let Some(owner) = part.owner.as_mut().filter(|owner| owner.member == id && owner.revoking.is_none()) else {
                continue;
            };
            let log = &self.topics[group_topic.topic].parts[p];
            if part.cursor.next() < log.start() {
                let shown = |offset| position::shown(positions, offset, 0);
                let (from, to) = (shown(part.cursor.next()), shown(log.start()));
                part.cursor.skip_to(log.start());
                let gap = SubscriptionEvent::Gap { part: owner.part, from, to };
                if group.ending > 0 {
                    let g = member.group;
                    self.wake_group(g);
                }
                if positions == Positions::Tag {
                    // A queue does not tell what it dropped: what is behind it comes next.
                    return self.step(id, now, waker);
                }
                return Step::Event(gap);
            }
            if fixed {
                wake = wake.min(part.cursor.lease_end());
            }
            if !owner.credit.any() {
                continue;
            }
            part.cursor.advance(now, lease);
            let mark = |marks: &Vec<Vec<u64>>| {
                let topic = member.topics.iter().position(|topic| *topic == k)?;
                marks.get(topic)?.get(p).copied()
            };
            let end = member.marks.as_ref().and_then(mark).unwrap_or(u64::MAX);
            if part.cursor.has_ready(end) || part.cursor.next() < log.end().min(end) {
                #[allow(clippy::cast_possible_truncation, reason = "partitions are counted in u32")]
                let partition = p as u32;
                let with = Handing { part: owner.part, partition, epoch: owner.epoch, now, lease, positions, text, end };
                let before = part.cursor.next();
                let messages = part.cursor.take(log, with, &mut owner.credit, &mut group.repeat);
                passed |= part.cursor.next() > before;
                if !messages.is_empty() {
                    member.turn = index + 1;
                    return Step::Event(SubscriptionEvent::Deliveries(Deliveries::new(owner.part, owner.epoch, messages)));
                }
            }
            wake = wake.min(part.cursor.next_wake());
        }
        if passed && group.ending > 0 {
            // What had expired is as good as settled: whoever waits for the end looks again.
            let g = member.group;
            self.wake_group(g);
        }
        if self.at_end(id) {
            if let Some(member) = self.members.get_mut(&id) {
                member.ended = true;
            }
            return Step::Event(SubscriptionEvent::AtEnd);
        }
        let Some(member) = self.members.get_mut(&id) else { return Step::End };
        wake = wake.min(self.cut.map_or(NEVER, |until| until));
        if let Some(group) = self.groups.get(member.group).and_then(Option::as_ref) {
            for k in &member.topics {
                wake = wake.min(self.topics[group.topics[*k].topic].next_due());
            }
        }
        if !member.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            self.retired.extend(member.waker.replace(waker.clone()));
        }
        Step::Wait(wake)
    }

    /// Takes partitions away that have a delivery whose lease is over, as a broker closes the channel: with it, everything is lost
    /// that was delivered there.
    fn close_overdue(&mut self, id: MemberId, now: Moment) {
        let Some(member) = self.members.get(&id) else { return };
        let g = member.group;
        for (k, p) in member.parts.clone() {
            let overdue = |part: &mut crate::group::GroupPart| {
                part.owner.as_ref().is_some_and(|owner| owner.member == id) && part.cursor.lease_end() <= now
            };
            if self.part(g, k, p).is_some_and(overdue) {
                self.lose(g, k, p);
                self.hand_over(g, now);
            }
        }
    }

    /// Whether everything below the marks of a subscription is settled, by it or by other members.
    fn at_end(&self, id: MemberId) -> bool {
        let Some(member) = self.members.get(&id) else { return false };
        let Some(marks) = &member.marks else { return false };
        let Some(group) = self.groups.get(member.group).and_then(Option::as_ref) else { return false };
        member.topics.iter().zip(marks).all(|(k, marks)| {
            let parts = group.topics[*k].parts.iter();
            parts.zip(marks).all(|(part, mark)| part.cursor.low() >= *mark)
        })
    }

    /// Where a `PartId` of a subscription is.
    pub(crate) fn member_part(&self, id: MemberId, part: PartId) -> Option<(usize, usize, usize)> {
        let member = self.members.get(&id)?;
        let (k, p) = member.parts.get(usize::try_from(part.0).ok()?)?;
        Some((member.group, *k, *p))
    }

    pub(crate) fn grant(&mut self, id: MemberId, part: PartId, epoch: Epoch, messages: u32, bytes: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let Some((k, p)) = member.parts.get(part.0 as usize).copied() else { return };
        let Some(group) = self.groups.get_mut(member.group).and_then(Option::as_mut) else { return };
        let group_topic = &mut group.topics[k];
        let part = &mut group_topic.parts[p];
        let Some(owner) = part.owned_by(id, epoch) else { return };
        let had = owner.credit.any();
        let counts_bytes = self.options.credit == convoke_core::broker::Credit::MessagesAndBytes;
        owner.credit.add(messages, if counts_bytes { bytes } else { u64::MAX });
        let cursor = &part.cursor;
        let log = &self.topics[group_topic.topic].parts[p];
        // A stream that had credit waits for this partition already.
        if !had && (cursor.has_ready(u64::MAX) || cursor.next() < log.end() || cursor.next_wake() < NEVER) {
            self.wakes.extend(member.waker.take());
        }
    }

    pub(crate) fn settle(&mut self, id: MemberId, batch: Vec<Settlement>, now: Moment) -> Vec<Settled> {
        let (lease, options) = (self.options.term(), &self.options);
        let Some(member) = self.members.get_mut(&id) else { return batch.iter().map(|_| Settled::Stale).collect() };
        let Some(group) = self.groups.get_mut(member.group).and_then(Option::as_mut) else {
            return batch.iter().map(|_| Settled::Stale).collect();
        };
        let (mut returned, mut done) = (false, false);
        let answers = batch
            .into_iter()
            .map(|Settlement { token, settle, .. }| {
                if group.settle_lost > 0 {
                    group.settle_lost -= 1;
                    return Settled::Failed(Error::new(ErrorKind::Connection, "the settlement was lost, as injected; repeat it"));
                }
                let settle = match offered(options, settle) {
                    Ok(settle) => settle,
                    Err(error) => return Settled::Failed(error),
                };
                let Some((k, p)) = member.parts.get(token.part.0 as usize) else { return Settled::Stale };
                let part = &mut group.topics[*k].parts[*p];
                let Some(offset) = position::of_token(options.positions, &token) else { return Settled::Stale };
                if part.owned_by(id, token.epoch).is_none() || !part.cursor.settle(offset, settle, now, lease) {
                    return Settled::Stale;
                }
                returned |= matches!(settle, Settle::Nack { .. });
                done |= settle == Settle::Ack;
                Settled::Applied
            })
            .collect();
        if returned {
            self.wakes.extend(member.waker.take());
        }
        if done && group.ending > 0 {
            // Whoever waits for the end looks again.
            let g = member.group;
            self.wake_group(g);
        }
        answers
    }
    pub(crate) fn commit(&mut self, id: MemberId, batch: &[Commit], now: Moment) -> Vec<Settled> {
        batch.iter().map(|commit| self.commit_one(id, commit, now)).collect()
    }

    fn commit_one(&mut self, id: MemberId, commit: &Commit, now: Moment) -> Settled {
        if !self.options.by_watermark() {
            return Settled::Failed(unsupported("settles each message by itself (`SettleBy::Message`); use `settle`"));
        }
        let most = self.options.progress;
        let Some((g, k, p)) = self.member_part(id, commit.part) else { return Settled::Stale };
        let Some(group) = self.groups.get_mut(g).and_then(Option::as_mut) else { return Settled::Stale };
        if group.settle_lost > 0 {
            group.settle_lost -= 1;
            return Settled::Failed(Error::new(ErrorKind::Connection, "the commit was lost, as injected; repeat it"));
        }
        let part = &mut group.topics[k].parts[p];
        if part.owned_by(id, commit.epoch).is_none() {
            return Settled::Stale;
        }
        match part.cursor.commit(commit, now, most) {
            Ok(()) => {
                if group.ending > 0 {
                    self.wake_group(g);
                }
                Settled::Applied
            }
            Err(Refused::TooLong(length)) => {
                let text = format!("the text of the commit has {length} characters and the memory broker takes {most}; say less");
                Settled::Failed(Error::new(ErrorKind::TooLarge, text))
            }
            Err(Refused::Disorder) => {
                let text = "the positions of a commit are offsets, in rising order; this one is refused";
                Settled::Failed(Error::new(ErrorKind::Rejected, text))
            }
        }
    }
}

/// What is done with a delivery where the broker can do no better.
///
/// # Errors
/// If it can do nothing of the kind.
fn offered(options: &Options, settle: Settle) -> Result<Settle, Error> {
    let exact = options.attempts == AttemptsKept::Exact;
    match settle {
        _ if options.by_watermark() => Err(unsupported("settles by position (`SettleBy::Watermark`); use `commit`")),
        Settle::Mark { .. } if !options.marks => Err(unsupported("keeps no marks; do not ask for them")),
        Settle::Extend if options.leases != Leases::Extendable => Err(unsupported("extends no leases; do not ask for it")),
        Settle::Nack { delay, attempts, hold } => Ok(Settle::Nack {
            // What is held elsewhere than in the broker is kept as attempts are.
            delay: if options.delays() || (hold && exact) { delay } else { std::time::Duration::ZERO },
            attempts: if exact { attempts } else { 0 },
            hold,
        }),
        settle => Ok(settle),
    }
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the memory broker {what}"))
}
