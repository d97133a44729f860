//! Shares: what is taken, given back and lost. A unit is a partition's number on all topics that are read together, so that a key
//! that travels on several of them has one owner.

use std::sync::Arc;
use std::time::Instant;

use async_nats::Subscriber;
use convoke_broker_common::share;
use convoke_core::broker::{Resume, SubscriptionEvent};
use convoke_core::{Epoch, Error, ErrorKind, PartId, Position, Topic};
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt};
use tokio::sync::oneshot;

use super::end::keep_seen;
use super::session::{Done, Session};
use crate::aside::Doubt;
use crate::consumers::Durable;
use crate::part::{Held, Part};
use crate::takeover::{self, Recovered};

/// What a unit is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Free,
    /// As it was at this revision.
    Taking {
        at: u64,
    },
    /// It was not so any more. By then the bucket has to tell us how it is.
    Refused {
        by: Instant,
    },
    Ours {
        epoch: u64,
    },
    /// It was given back by us, and the server does not know it yet.
    Releasing {
        epoch: u64,
    },
}

/// A unit that we took.
pub(super) struct Won {
    epoch: u64,
    unclean: bool,
    parts: Vec<(usize, Recovered)>,
}

impl Won {
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Session<'_> {
    pub(super) fn count_units(&mut self) {
        let count = self.reader.parts.iter().map(|part| part.partition as usize + 1).max().unwrap_or(0);
        self.units.resize(count.max(self.units.len()), Unit::Free);
        self.stops.resize_with(self.reader.parts.len(), || None);
    }

    fn parts_of(&self, unit: u32) -> Vec<usize> {
        let parts = self.reader.parts.iter().enumerate();
        parts.filter(|(_, part)| part.partition == unit).map(|(index, _)| index).collect()
    }

    /// Takes what we lack of our share, and gives back what we have beyond it.
    pub(super) fn rebalance(&mut self) {
        let living = self.view.living();
        let me = self.member.as_str();
        let owners: Vec<Option<&str>> = (0..)
            .zip(&self.units)
            .map(|(unit, state)| match state {
                Unit::Free | Unit::Refused { .. } => self.view.owner(unit),
                _ => Some(me),
            })
            .collect();
        let share = share(&living, &me, &owners);
        let buried = self.view.buried();
        for unit in share.give {
            self.revoke(unit);
        }
        for unit in share.take {
            if self.units[unit as usize] == Unit::Free {
                self.take(unit);
            }
        }
        for member in buried {
            self.view.left(&member);
            let (store, scope) = (self.reader.store.clone(), self.reader.scope.clone());
            self.under_way.push(Box::pin(async move {
                if let Err(error) = store.forget(&scope, &member).await {
                    tracing::debug!(%error, "what is left of a member was not removed");
                }
                Done::Nothing
            }));
        }
    }

    /// Begins to take a unit that nobody has.
    fn take(&mut self, unit: u32) {
        let at = self.view.revision(unit);
        self.units[unit as usize] = Unit::Taking { at };
        let (store, scope, member) = (self.reader.store.clone(), self.reader.scope.clone(), self.member.clone());
        if self.view.owner(unit).is_some_and(|before| !self.reader.former.iter().any(|former| former == before)) {
            self.reader.bereft.insert(unit);
        }
        // If the connection is lost before it is said, the bucket knows of us alone, and it is said the next time.
        let unclean = self.reader.bereft.contains(&unit);
        let recover = self.recover(&self.parts_of(unit));
        self.under_way.push(Box::pin(async move {
            let epoch = match store.own(&scope, unit, &member, at).await {
                Ok(Some(epoch)) => epoch,
                Ok(None) => return Done::Taken { unit, won: None },
                Err(error) => return Done::Failed(error),
            };
            match recover.await {
                Ok(parts) => Done::Taken { unit, won: Some(Won { epoch, unclean, parts }) },
                Err(error) => Done::Failed(error),
            }
        }));
    }

    /// Without a group everything is ours.
    pub(super) fn take_everything(&mut self) {
        self.reader.last_epoch += 1;
        let epoch = self.reader.last_epoch;
        for unit in 0..u32::try_from(self.units.len()).unwrap_or(u32::MAX) {
            if self.units[unit as usize] == Unit::Free {
                self.units[unit as usize] = Unit::Taking { at: 0 };
                self.take_parts(unit, epoch, &self.parts_of(unit));
            }
        }
    }

    /// Takes partitions of a unit that is ours.
    fn take_parts(&mut self, unit: u32, epoch: u64, parts: &[usize]) {
        let recover = self.recover(parts);
        self.under_way.push(Box::pin(async move {
            match recover.await {
                Ok(parts) => Done::Taken { unit, won: Some(Won { epoch, unclean: false, parts }) },
                Err(error) => Done::Failed(error),
            }
        }));
    }

    fn recover(&mut self, parts: &[usize]) -> impl Future<Output = Result<Vec<(usize, Recovered)>, Error>> + Send + 'static {
        let spec = &self.reader.spec;
        let each = parts.iter().map(|index| {
            let part = &mut self.reader.parts[*index];
            part.no_hands();
            // If the connection is lost meanwhile, something of what a former owner left may be the reason.
            let doubt = std::mem::replace(&mut part.doubt, Doubt::Everything);
            let (topic, partition, place, left_at) = (part.topic.clone(), part.partition, part.place.clone(), part.left_at);
            let (link, pulls) = (self.link.clone(), self.pulls.clone());
            let (store, index) = (self.reader.store.clone(), *index);
            let (group, start, lasts) = (spec.group.clone(), spec.start, spec.lasts());
            async move {
                let durable = Durable { group: &group, topic: &topic, partition, start, lasts };
                takeover::recover(&link, &pulls, &store, durable, &place, doubt, left_at)
                    .await
                    .map(|recovered| (index, recovered))
            }
        });
        try_join_all(each.collect::<Vec<_>>())
    }

    pub(super) fn won(&mut self, unit: u32, won: Option<Won>) {
        let (state, known) = (self.units[unit as usize], self.view.revision(unit));
        let Some(Won { epoch, unclean, parts }) = won.filter(|won| known <= won.epoch) else {
            // Another was faster; or has taken it since, to whom we were dead.
            if let Unit::Taking { at } = state {
                let by = Instant::now() + self.link.options.lease;
                self.units[unit as usize] = if known > at { Unit::Free } else { Unit::Refused { by } };
                self.not_won(unit);
            }
            return;
        };
        let first = match state {
            Unit::Taking { .. } => true,
            Unit::Ours { epoch: ours } if ours == epoch => false,
            // It was given back while topics were taken that had appeared.
            _ => return,
        };
        self.units[unit as usize] = Unit::Ours { epoch };
        for (index, recovered) in parts {
            self.assign(index, Epoch(epoch), unclean, recovered);
        }
        self.reader.bereft.remove(&unit);
        if first {
            // What has appeared meanwhile.
            let parts = self.parts_of(unit);
            let new: Vec<_> = parts.into_iter().filter(|index| self.reader.parts[*index].held.is_none()).collect();
            if !new.is_empty() {
                self.take_parts(unit, epoch, &new);
            }
        }
        if !self.reader.spec.alone {
            self.view.holds(unit, Some(&self.member), epoch);
            self.rebalance();
        }
    }

    fn not_won(&mut self, unit: u32) {
        self.reader.bereft.remove(&unit);
        for index in self.parts_of(unit) {
            let part = &mut self.reader.parts[index];
            part.doubt = Doubt::Nothing;
            part.count_hands();
        }
        self.rebalance();
    }

    fn assign(&mut self, index: usize, epoch: Epoch, unclean: bool, recovered: Recovered) {
        let part = &mut self.reader.parts[index];
        let Recovered { inbox, answers, pending, kept, seen, gone, over } = recovered;
        part.doubt = Doubt::Nothing;
        let aside = kept.values().any(|kept| kept.aside);
        let mut held = Held::new(epoch, inbox, kept);
        (held.ready, held.seen) = (pending, (seen.upto.max(seen.first), seen.count));
        part.held = Some(held);
        part.count_hands();
        let id = PartId(u32::try_from(index).unwrap_or(u32::MAX));
        let (topic, partition) = (part.topic.clone(), part.partition);
        self.listen(id, epoch, answers);
        self.reader.epochs.begin(id, epoch);
        let mut resume = Resume::default();
        resume.unclean = unclean;
        let until = self.tenure.map(|tenure| tenure.until());
        self.reader.events.assigned(id, topic, partition, epoch, until, resume);
        if let Some((from, to)) = seen.gap() {
            self.reader.events.tell(SubscriptionEvent::Gap { part: id, from, to });
        }
        for sequence in gone {
            let (from, to) = (Position::Offset(sequence), Position::Offset(sequence + 1));
            self.reader.events.tell(SubscriptionEvent::Gap { part: id, from, to });
        }
        if aside {
            self.go_apart();
        }
        if !Arc::ptr_eq(&over, &self.pulls) {
            self.mend(index);
        }
    }

    /// Takes in what comes to a partition, from now until it is stopped.
    pub(super) fn listen(&mut self, id: PartId, epoch: Epoch, answers: Subscriber) {
        let (stop, stopped) = oneshot::channel::<()>();
        self.stops[id.0 as usize] = Some(stop);
        let answers = answers.take_until(stopped).map(Some).chain(stream::iter([None]));
        self.answers.push(answers.map(move |answer| (id, epoch, answer)).boxed());
    }

    /// Asks for a unit back that another is to have.
    fn revoke(&mut self, unit: u32) {
        if !matches!(self.units[unit as usize], Unit::Ours { .. }) {
            return;
        }
        let within = self.reader.spec.revoke;
        for index in self.parts_of(unit) {
            let Some(held) = self.reader.parts[index].held.as_mut().filter(|held| held.revoking.is_none()) else { continue };
            held.revoking = Some(Instant::now() + within);
            let part = PartId(u32::try_from(index).unwrap_or(u32::MAX));
            self.reader.events.tell(SubscriptionEvent::Revoking { part, epoch: held.epoch, within });
        }
    }

    /// The drain of a partition is over.
    pub(super) fn revoked(&mut self, part: PartId, epoch: Epoch) {
        let held = self.reader.parts.get(part.0 as usize).and_then(|part| part.held.as_ref());
        if held.is_some_and(|held| held.epoch == epoch && held.revoking.is_some()) {
            self.give_back(part, epoch);
        }
    }

    fn give_back(&mut self, part: PartId, epoch: Epoch) {
        let index = part.0 as usize;
        self.reader.parts[index].let_go();
        self.reader.epochs.end(part, epoch);
        // What was under way is not waited for: the next owner brings back all that is not settled.
        drop(self.stops[index].take());
    }

    /// Nothing comes to a partition any more: the server has been told. Once this is so for all of a unit, another may have it.
    pub(super) fn ended(&mut self, part: PartId, epoch: Epoch) {
        let unit = self.reader.parts[part.0 as usize].partition;
        let Unit::Ours { epoch: ours } = self.units[unit as usize] else { return };
        if Epoch(ours) != epoch || self.parts_of(unit).iter().any(|index| self.reader.parts[*index].held.is_some()) {
            return;
        }
        self.units[unit as usize] = Unit::Releasing { epoch: ours };
        let (store, scope) = (self.reader.store.clone(), self.reader.scope.clone());
        let mut seen = Vec::new();
        for index in self.parts_of(unit) {
            let part = &mut self.reader.parts[index];
            seen.extend(part.left_at.take().map(|seen| (part.place.clone(), seen)));
        }
        self.under_way.push(Box::pin(async move {
            keep_seen(&store, seen).await;
            match store.release(&scope, unit, ours).await {
                Ok(()) => Done::Released { unit },
                Err(error) => Done::Failed(error),
            }
        }));
    }

    /// Somebody took a unit, or gave it back. If it was ours, we were dead to him.
    pub(super) fn heard_of(&mut self, unit: u32, owner: Option<&str>, revision: u64) {
        if let Some(state @ Unit::Refused { .. }) = self.units.get_mut(unit as usize) {
            *state = Unit::Free;
        }
        let Some(member) = owner else { return };
        let theirs = !self.reader.former.iter().any(|ours| ours == member);
        for part in self.reader.parts.iter_mut().filter(|part| theirs && part.partition == unit) {
            // What was under way to us is with them.
            if matches!(part.doubt, Doubt::From(_)) {
                part.doubt = Doubt::Nothing;
            }
        }
        let Some(Unit::Ours { epoch }) = self.units.get(unit as usize).copied() else { return };
        if member == self.member || revision < epoch {
            return;
        }
        for index in self.parts_of(unit) {
            let part = PartId(u32::try_from(index).unwrap_or(u32::MAX));
            self.lose(part, Epoch(epoch));
        }
        self.units[unit as usize] = Unit::Free;
    }

    fn lose(&mut self, part: PartId, epoch: Epoch) {
        if self.reader.epochs.is_present(part, epoch) {
            self.give_back(part, epoch);
            self.reader.events.tell(SubscriptionEvent::Lost { part, epoch });
        }
    }

    /// Revocations whose time is over, pulls of which nothing was heard, and what the bucket should have told by now.
    pub(super) fn overdue(&mut self, now: Instant) -> Result<(), Error> {
        if self.units.iter().any(|unit| matches!(unit, Unit::Refused { by } if now >= *by)) {
            let text = "what was heard of the group's members is not what the server knows; it is read anew";
            return Err(Error::new(ErrorKind::Connection, text));
        }
        for index in 0..self.reader.parts.len() {
            let Some(held) = &mut self.reader.parts[index].held else { continue };
            if held.give_up(now) {
                tracing::debug!(partition = index, "nothing was heard of a pull; it is made anew");
            }
            let epoch = held.epoch;
            if held.revoking.is_some_and(|until| now >= until) {
                self.lose(PartId(u32::try_from(index).unwrap_or(u32::MAX)), epoch);
            }
        }
        Ok(())
    }

    /// Topics have appeared that a pattern matches too.
    pub(super) fn appeared(&mut self, topics: Vec<(Topic, u32)>) {
        self.looked();
        for (topic, partitions) in topics {
            if self.reader.parts.iter().any(|part| part.topic == topic) {
                continue;
            }
            self.reader.routers.route(&self.link, &self.reader.places, &topic);
            for partition in 0..partitions {
                self.reader.parts.push(Part::new(&self.reader.spec.group, topic.clone(), partition, None));
            }
            self.count_units();
            let new: Vec<usize> = (self.reader.parts.len() - partitions as usize..self.reader.parts.len()).collect();
            for index in new {
                let unit = self.reader.parts[index].partition;
                if let Unit::Ours { epoch } = self.units[unit as usize] {
                    self.take_parts(unit, epoch, &[index]);
                }
            }
        }
        if self.reader.spec.alone {
            self.take_everything();
        } else {
            self.rebalance();
        }
    }
}
