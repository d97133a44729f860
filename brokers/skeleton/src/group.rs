//! Groups: who owns which partition, what he was given, and what became of it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::task::Waker;
use std::time::Duration;

use convoke_core::broker::{Deliveries, Resume, Settle, Settled, Settlement, SubscribeSpec, SubscriptionEvent, Token};
use convoke_core::{Epoch, Error, ErrorKind, Incoming, PartId, Position, Topic};
use tokio::time::Instant;

use crate::world::State;

/// How long an owner has to finish with a partition that another is to have.
const REVOKE_WITHIN: Duration = Duration::from_secs(5);

/// A group on the topics that it reads together.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) group: String,
    pub(crate) topics: Vec<Topic>,
    /// A partition's index is its [`PartId`].
    pub(crate) parts: Vec<Part>,
    /// In the order in which they joined.
    members: Vec<u64>,
}

#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) topic: Topic,
    pub(crate) number: u32,
    /// What was never given out begins here.
    pub(crate) next: u64,
    pub(crate) back: BTreeMap<u64, Kept>,
    pub(crate) hand: BTreeMap<u64, Kept>,
    owner: Option<Owner>,
    epoch: u64,
    /// Whether the last owner died with it.
    unclean: bool,
}

/// What is kept of a message that was given out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kept {
    deliveries: u32,
    attempts: u32,
    deaths: u32,
    /// When it is to be tried again: it comes earlier, and whoever gets it waits.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Owner {
    member: u64,
    credit: u32,
    /// Until when it has to be given back, if another is to have it.
    revoking: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Member {
    connection: u64,
    reading: usize,
    events: VecDeque<SubscriptionEvent>,
    waker: Option<Waker>,
    closed: bool,
}

/// What a member finds when it looks.
pub(crate) enum Step {
    Event(SubscriptionEvent),
    /// Nothing; a revocation may end at this time.
    Wait(Option<Instant>),
    End,
}

impl Reading {
    pub(crate) fn new(group: &str, topics: &[Topic], places: Vec<(Topic, u32)>) -> Self {
        let part = |(topic, number)| Part {
            topic,
            number,
            next: 0,
            back: BTreeMap::new(),
            hand: BTreeMap::new(),
            owner: None,
            epoch: 0,
            unclean: false,
        };
        let parts = places.into_iter().map(part).collect();
        Self { group: group.to_owned(), topics: topics.to_vec(), parts, members: Vec::new() }
    }

    /// Who has a part of this number, if anybody does.
    fn owner_of(&self, number: u32) -> Option<u64> {
        self.parts.iter().filter(|part| part.number == number).find_map(|part| Some(part.owner.as_ref()?.member))
    }
}

impl Part {
    /// Ends the ownership; what was in hand comes again.
    fn give_up(&mut self, unclean: bool) {
        self.back.append(&mut self.hand);
        self.unclean = unclean;
        self.owner = None;
    }

    fn owned_by(&mut self, member: u64, epoch: Epoch) -> Option<&mut Owner> {
        let current = self.epoch == epoch.0;
        self.owner.as_mut().filter(|owner| current && owner.member == member)
    }

    // ANCHOR: settle
    fn settle(&mut self, settlement: &Settlement) -> Settled {
        let Position::Offset(offset) = settlement.token.position else { return Settled::Stale };
        let Some(mut kept) = self.hand.remove(&offset) else { return Settled::Stale };
        match settlement.settle {
            Settle::Ack => return Settled::Applied,
            Settle::Nack { attempts, delay, .. } => {
                kept.attempts = attempts;
                kept.due = Some(Instant::now() + delay);
                self.back.insert(offset, kept);
                return Settled::Applied;
            }
            Settle::Mark { deaths } => kept.deaths = deaths,
            // There is no lease that could end.
            _ => {}
        }
        self.hand.insert(offset, kept);
        Settled::Applied
    }
    // ANCHOR_END: settle
}

/// Ownership. Its unit is a partition's number, so that a key that travels on several topics has one owner.
impl State {
    pub(crate) fn join(&mut self, spec: &SubscribeSpec, connection: u64) -> Result<u64, Error> {
        let reading = self.reading(&spec.group, &spec.topics)?;
        self.last_member += 1;
        let member = Member { connection, reading, events: VecDeque::new(), waker: None, closed: false };
        self.members.insert(self.last_member, member);
        self.readings[reading].members.push(self.last_member);
        self.balance(reading);
        Ok(self.last_member)
    }

    /// Takes a member out. Returns how much it had in hand.
    pub(crate) fn leave(&mut self, id: u64, unclean: bool) -> u64 {
        let Some(member) = self.members.get_mut(&id).filter(|member| !member.closed) else { return 0 };
        member.closed = true;
        self.wakes.extend(member.waker.take());
        let (index, mut unsettled) = (member.reading, 0);
        let reading = &mut self.readings[index];
        reading.members.retain(|other| *other != id);
        for part in &mut reading.parts {
            if part.owner.as_ref().is_some_and(|owner| owner.member == id) {
                unsettled += part.hand.len() as u64;
                part.give_up(unclean);
            }
        }
        self.balance(index);
        unsettled
    }

    /// The process of a member is gone, or has seen the end.
    pub(crate) fn forget(&mut self, id: u64) {
        self.leave(id, true);
        self.members.remove(&id);
    }

    pub(crate) fn disconnect(&mut self, connection: u64) -> u64 {
        let ours: Vec<_> = self.members.iter().filter(|(_, one)| one.connection == connection).map(|(id, _)| *id).collect();
        ours.into_iter().map(|id| self.leave(id, false)).sum()
    }

    // ANCHOR: balance
    /// Gives what is free to those who have less than their share, and asks back what anybody has beyond it.
    fn balance(&mut self, index: usize) {
        let reading = &self.readings[index];
        let units = reading.parts.iter().map(|part| part.number + 1).max().unwrap_or(0);
        let members = reading.members.clone();
        let count = u32::try_from(members.len()).unwrap_or(u32::MAX).max(1);
        let mut left: Vec<u32> = (0..count).map(|place| units / count + u32::from(place < units % count)).collect();
        let mut free = Vec::new();
        for unit in 0..units {
            match self.readings[index].owner_of(unit) {
                None => free.push(unit),
                Some(owner) => match members.iter().position(|id| *id == owner) {
                    Some(place) if left[place] > 0 => left[place] -= 1,
                    _ => self.revoke(index, unit),
                },
            }
        }
        for unit in free {
            if let Some(place) = (0..members.len()).find(|place| left[*place] > 0) {
                left[place] -= 1;
                self.assign(index, unit, members[place]);
            }
        }
    }
    // ANCHOR_END: balance

    fn assign(&mut self, index: usize, unit: u32, member: u64) {
        for (part, id) in self.readings[index].parts.iter_mut().zip(0..).filter(|(part, _)| part.number == unit) {
            part.epoch += 1;
            part.owner = Some(Owner { member, credit: 0, revoking: None });
            let mut resume = Resume::default();
            resume.unclean = part.unclean;
            let event = SubscriptionEvent::Assigned {
                part: PartId(id),
                topic: part.topic.clone(),
                partition: unit,
                epoch: Epoch(part.epoch),
                term: None,
                resume,
            };
            tell(&mut self.members, &mut self.wakes, member, event);
        }
    }

    fn revoke(&mut self, index: usize, unit: u32) {
        for (part, id) in self.readings[index].parts.iter_mut().zip(0..).filter(|(part, _)| part.number == unit) {
            let Some(owner) = part.owner.as_mut().filter(|owner| owner.revoking.is_none()) else { continue };
            owner.revoking = Some(Instant::now() + REVOKE_WITHIN);
            let (part, epoch) = (PartId(id), Epoch(part.epoch));
            let event = SubscriptionEvent::Revoking { part, epoch, within: REVOKE_WITHIN };
            tell(&mut self.members, &mut self.wakes, owner.member, event);
        }
        // Whoever waits for it keeps an eye on the time: the owner may be frozen.
        self.wake_all(index);
    }

    /// Ends revocations whose time is over. Returns when the next one is.
    fn expire(&mut self, index: usize) -> Option<Instant> {
        let (now, mut next, mut any) = (Instant::now(), None, false);
        for (part, id) in self.readings[index].parts.iter_mut().zip(0..) {
            let Some((member, until)) = part.owner.as_ref().and_then(|owner| Some((owner.member, owner.revoking?))) else {
                continue;
            };
            if until > now {
                next = Some(next.map_or(until, |next: Instant| next.min(until)));
                continue;
            }
            any = true;
            part.give_up(false);
            let event = SubscriptionEvent::Lost { part: PartId(id), epoch: Epoch(part.epoch) };
            tell(&mut self.members, &mut self.wakes, member, event);
        }
        if any {
            self.balance(index);
        }
        next
    }

    pub(crate) fn revoked(&mut self, id: u64, part: PartId, epoch: Epoch) {
        let Some(index) = self.members.get(&id).map(|member| member.reading) else { return };
        let Some(part) = self.readings[index].parts.get_mut(part.0 as usize) else { return };
        if part.owned_by(id, epoch).is_some_and(|owner| owner.revoking.is_some()) {
            part.give_up(false);
            self.balance(index);
        }
    }

    pub(crate) fn wake_all(&mut self, index: usize) {
        for id in &self.readings[index].members {
            self.wakes.extend(self.members.get_mut(id).and_then(|member| member.waker.take()));
        }
    }
}

/// Messages out, settlements in.
impl State {
    pub(crate) fn grant(&mut self, id: u64, part: PartId, epoch: Epoch, messages: u32) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let Some(part) = self.readings[member.reading].parts.get_mut(part.0 as usize) else { return };
        if let Some(owner) = part.owned_by(id, epoch) {
            owner.credit = owner.credit.saturating_add(messages);
            self.wakes.extend(member.waker.take());
        }
    }

    pub(crate) fn step(&mut self, id: u64, waker: &Waker) -> Step {
        let Some(index) = self.members.get(&id).filter(|member| !member.closed).map(|member| member.reading) else {
            return Step::End;
        };
        let next = self.expire(index);
        if let Some(event) = self.members.get_mut(&id).and_then(|member| member.events.pop_front()) {
            return Step::Event(event);
        }
        if let Some(deliveries) = self.take(id, index) {
            return Step::Event(SubscriptionEvent::Deliveries(deliveries));
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.waker = Some(waker.clone());
        }
        Step::Wait(next)
    }

    // ANCHOR: take
    /// What there is for a member within its credit: what comes again first, so that nothing overtakes it.
    fn take(&mut self, id: u64, index: usize) -> Option<Deliveries> {
        for (part, part_id) in self.readings[index].parts.iter_mut().zip(0..) {
            let (number, epoch) = (part.number, Epoch(part.epoch));
            let Some(owner) = part.owner.as_mut().filter(|owner| owner.member == id && owner.revoking.is_none()) else {
                continue;
            };
            let log = &self.topics[&part.topic][number as usize];
            let mut messages = Vec::new();
            while owner.credit > 0 {
                let (offset, mut kept) = match part.back.pop_first() {
                    Some(back) => back,
                    None if part.next < log.len() as u64 => (part.next, Kept::default()),
                    None => break,
                };
                part.next = part.next.max(offset + 1);
                owner.credit -= 1;
                kept.deliveries += 1;
                part.hand.insert(offset, kept);
                let position = Position::Offset(offset);
                let token = Token::new(PartId(part_id), epoch, position);
                let message = log[usize::try_from(offset).unwrap_or(usize::MAX)].clone();
                let mut incoming = Incoming::new(message, number, position, token);
                (incoming.deliveries, incoming.attempts, incoming.deaths) = (kept.deliveries, kept.attempts, kept.deaths);
                incoming.due_in = kept.due.map(|due| due.saturating_duration_since(Instant::now()));
                messages.push(incoming);
            }
            if !messages.is_empty() {
                return Some(Deliveries::new(PartId(part_id), epoch, messages));
            }
        }
        None
    }
    // ANCHOR_END: take

    pub(crate) fn settle(&mut self, id: u64, settlement: &Settlement) -> Settled {
        let Some(member) = self.members.get_mut(&id) else { return Settled::Stale };
        let Token { part, epoch, .. } = settlement.token;
        let Some(part) = self.readings[member.reading].parts.get_mut(part.0 as usize) else { return Settled::Stale };
        if part.owned_by(id, epoch).is_none() {
            return Settled::Stale;
        }
        self.wakes.extend(member.waker.take());
        part.settle(settlement)
    }
}

fn tell(members: &mut HashMap<u64, Member>, wakes: &mut Vec<Waker>, id: u64, event: SubscriptionEvent) {
    if let Some(member) = members.get_mut(&id) {
        member.events.push_back(event);
        wakes.extend(member.waker.take());
    }
}

/// What this broker has no idea of.
pub(crate) fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the skeleton does not offer {what}; leave it out"))
}
