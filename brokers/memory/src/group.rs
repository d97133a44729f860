//! Groups: who has which partition, and how it changes hands.
//!
//! Invariants:
//! - a partition has at most one owner, and the epoch rises with every new one;
//! - nothing is handed out to an owner that is being revoked, and what is in hand is given back when it ends;
//! - while the broker is cut off nobody owns anything.

use std::collections::HashMap;

use convoke_core::broker::SubscriptionEvent;
use convoke_core::few::Few;
use convoke_core::{Epoch, PartId, TopicPattern};

use crate::clock::{self, Moment, NEVER};
use crate::cursor::{Credit, Cursor};
use crate::options::Rebalance;
use crate::share::share;
use crate::state::{MemberId, State};

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// Whether it is of one subscription and ends with it.
    pub(crate) broadcast: bool,
    pub(crate) topics: Vec<GroupTopic>,
    /// What else it reads as soon as it is there.
    pub(crate) patterns: Vec<TopicPattern>,
    /// In the order in which they joined.
    pub(crate) members: Vec<MemberId>,
    /// When the first revocation's time is over.
    pub(crate) deadline: Moment,
    /// How many settlements are still to be lost.
    pub(crate) settle_lost: u32,
    /// How many deliveries are still to be repeated.
    pub(crate) repeat: u32,
    /// How many members end at a mark.
    pub(crate) ending: usize,
}

#[derive(Debug)]
pub(crate) struct GroupTopic {
    pub(crate) topic: usize,
    pub(crate) parts: Vec<GroupPart>,
    /// The members that read it, in the order in which they joined.
    pub(crate) readers: Vec<MemberId>,
}

#[derive(Debug)]
pub(crate) struct GroupPart {
    pub(crate) cursor: Cursor,
    pub(crate) owner: Option<Owner>,
    /// Who is to have it.
    pub(crate) target: Option<MemberId>,
    /// The last epoch, and whether its owner died.
    epoch: u64,
    unclean: bool,
    /// Whether the last owner was cut off from it, and its connection: if another comes, it may have died.
    pub(crate) cut: bool,
    last: u64,
}

#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) member: MemberId,
    pub(crate) part: PartId,
    pub(crate) epoch: Epoch,
    pub(crate) credit: Credit,
    /// When its time is over, if it is being revoked.
    pub(crate) revoking: Option<Moment>,
}

impl GroupPart {
    pub(crate) fn new(next: u64, by_watermark: bool) -> Self {
        Self { cursor: Cursor::new(next, by_watermark), owner: None, target: None, epoch: 0, unclean: false, cut: false, last: 0 }
    }

    /// The owner, if it is this member in this epoch.
    pub(crate) fn owned_by(&mut self, member: MemberId, epoch: Epoch) -> Option<&mut Owner> {
        self.owner.as_mut().filter(|owner| owner.member == member && owner.epoch == epoch)
    }

    /// Ends the epoch; what is in hand is given back.
    fn release(&mut self, unclean: bool) -> Option<Owner> {
        let owner = self.owner.take()?;
        self.cursor.give_back();
        self.unclean = unclean;
        Some(owner)
    }
}

impl Group {
    pub(crate) fn new(name: String, broadcast: bool) -> Self {
        Self {
            name,
            broadcast,
            topics: Vec::new(),
            patterns: Vec::new(),
            members: Vec::new(),
            deadline: NEVER,
            settle_lost: 0,
            repeat: 0,
            ending: 0,
        }
    }

    pub(crate) fn topic_index(&self, topic: usize) -> Option<usize> {
        self.topics.iter().position(|other| other.topic == topic)
    }
}

impl State {
    /// Takes a member, which is known already, into its group, and begins to hand over what it is to have.
    pub(crate) fn join(&mut self, id: MemberId, now: Moment) {
        let Some(member) = self.members.get(&id) else { return };
        let Some(group) = self.groups.get_mut(member.group).and_then(Option::as_mut) else { return };
        group.members.push(id);
        group.ending += usize::from(member.marks.is_some());
        for k in &member.topics {
            group.topics[*k].readers.push(id);
        }
        let (g, topics) = (member.group, member.topics.clone());
        self.rebalance(g, &topics, now);
    }

    /// The topics whose shares may change with the readers of `changed`: those, and what else their readers read. For what is shared
    /// as one with any of them is read by the same members.
    fn concerned(&self, g: usize, changed: &[usize]) -> Vec<usize> {
        let Some(group) = self.groups.get(g).and_then(Option::as_ref) else { return Vec::new() };
        let readers: Few<MemberId> = changed.iter().flat_map(|k| group.topics[*k].readers.iter().copied()).collect();
        let theirs = readers.iter().filter_map(|id| self.members.get(id)).flat_map(|member| member.topics.iter().copied());
        theirs.chain(changed.iter().copied()).collect::<Few<usize>>().into_vec()
    }

    /// Computes anew who is to have what of these topics, whose readers have changed, and begins to hand over.
    pub(crate) fn rebalance(&mut self, g: usize, changed: &[usize], now: Moment) {
        let concerned = self.concerned(g, changed);
        let Some(group) = self.groups.get_mut(g).and_then(Option::as_mut) else { return };
        // Topics that the same members read are shared as one, so that equal numbers go to the same member.
        let mut classes: Vec<Vec<usize>> = Vec::new();
        let mut numbers: HashMap<&[MemberId], usize> = HashMap::new();
        for &k in &concerned {
            let class = *numbers.entry(&group.topics[k].readers).or_insert(classes.len());
            if class == classes.len() {
                classes.push(Vec::new());
            }
            classes[class].push(k);
        }
        for topics in classes {
            let Some(first) = topics.first() else { continue };
            let readers = group.topics[*first].readers.clone();
            let places: HashMap<MemberId, usize> = readers.iter().copied().zip(0..).collect();
            let units = topics.iter().map(|k| group.topics[*k].parts.len()).max().unwrap_or(0);
            let current: Vec<Option<usize>> = (0..units)
                .map(|p| {
                    let target = topics.iter().find_map(|k| group.topics[*k].parts.get(p)?.target)?;
                    places.get(&target).copied()
                })
                .collect();
            for (p, member) in share(&current, readers.len()).into_iter().enumerate() {
                for k in &topics {
                    if let Some(part) = group.topics[*k].parts.get_mut(p) {
                        part.target = member.map(|index| readers[index]);
                    }
                }
            }
        }
        self.hand_over_of(g, &concerned, now);
    }

    /// Assigns what is free to whom it is meant for, and revokes what another has.
    pub(crate) fn hand_over(&mut self, g: usize, now: Moment) {
        let topics = self.groups.get(g).and_then(Option::as_ref).map_or(0, |group| group.topics.len());
        self.hand_over_of(g, &(0..topics).collect::<Vec<_>>(), now);
    }

    fn hand_over_of(&mut self, g: usize, topics: &[usize], now: Moment) {
        if self.options.rebalance == Rebalance::Eager {
            self.take_everything(g, now);
        }
        let mut woken = false;
        for &k in topics {
            let mut p = 0;
            while let Some(part) = self.part(g, k, p) {
                match &part.owner {
                    None => self.assign(g, k, p),
                    Some(owner) if part.target != Some(owner.member) && owner.revoking.is_none() => {
                        self.revoke(g, k, p, None, now);
                        woken = true;
                    }
                    Some(_) => {}
                }
                p += 1;
            }
        }
        if woken {
            // The owners are told, and whoever waits keeps an eye on the deadline.
            self.wake_group(g);
        }
    }

    /// Assigns a partition that is free to whom it is meant for; with eager rebalances, all of them, once all are free.
    fn assign(&mut self, g: usize, k: usize, p: usize) {
        if self.options.rebalance == Rebalance::Cooperative {
            return self.assign_one(g, k, p);
        }
        let parts = self.all_parts(g);
        let waits = |part: &mut GroupPart| part.owner.as_ref().is_some_and(|owner| owner.revoking.is_some());
        if parts.iter().any(|(k, p)| self.part(g, *k, *p).is_some_and(waits)) {
            return;
        }
        for (k, p) in parts {
            self.assign_one(g, k, p);
        }
    }

    fn assign_one(&mut self, g: usize, k: usize, p: usize) {
        if self.cut.is_some() {
            return;
        }
        let now = self.now;
        let Some(group) = self.groups.get_mut(g).and_then(Option::as_mut) else { return };
        let group_topic = &mut group.topics[k];
        let topic = self.topics[group_topic.topic].name.clone();
        let part = &mut group_topic.parts[p];
        if part.owner.is_some() {
            return;
        }
        let Some(member) = part.target else { return };
        let Some(state) = self.members.get_mut(&member) else { return };
        part.epoch += 1;
        let epoch = Epoch(part.epoch);
        let id = state.part_id(k, p);
        part.owner = Some(Owner { member, part: id, epoch, credit: Credit::default(), revoking: None });
        let (mut resume, open) = part.cursor.resume(now);
        let connection = state.connection;
        resume.unclean = part.unclean || ((open | std::mem::take(&mut part.cut)) && part.last != connection);
        part.last = connection;
        #[allow(clippy::cast_possible_truncation, reason = "partitions are counted in u32")]
        let partition = p as u32;
        state.queue.push_back(SubscriptionEvent::Assigned { part: id, topic, partition, epoch, term: None, resume });
        self.wakes.extend(state.waker.take());
    }

    /// Begins to take a partition from its owner, who has as long as it was given unless another time is said.
    pub(crate) fn revoke(&mut self, g: usize, k: usize, p: usize, within: Option<std::time::Duration>, now: Moment) {
        let Some(group) = self.groups.get_mut(g).and_then(Option::as_mut) else { return };
        let Some(owner) = group.topics[k].parts[p].owner.as_mut() else { return };
        if owner.revoking.is_some() {
            return;
        }
        let member = self.members.get_mut(&owner.member);
        let within = within.or(member.as_ref().map(|member| member.revoke)).unwrap_or(self.options.revoke);
        let by = clock::after(now, within);
        owner.revoking = Some(by);
        group.deadline = group.deadline.min(by);
        self.timer = self.timer.min(by);
        if let Some(member) = member {
            member.queue.push_back(SubscriptionEvent::Revoking { part: owner.part, epoch: owner.epoch, within });
            self.wakes.extend(member.waker.take());
        }
    }

    /// Takes a partition from its owner now, and tells it so.
    pub(crate) fn lose(&mut self, g: usize, k: usize, p: usize) {
        let Some(owner) = self.part(g, k, p).and_then(|part| part.release(false)) else { return };
        if let Some(member) = self.members.get_mut(&owner.member) {
            // A revocation that it has not been told of is overtaken.
            let told = |event: &SubscriptionEvent| !matches!(event, SubscriptionEvent::Revoking { part, epoch, .. } if *part == owner.part && *epoch == owner.epoch);
            member.queue.retain(told);
            member.queue.push_back(SubscriptionEvent::Lost { part: owner.part, epoch: owner.epoch });
            self.wakes.extend(member.waker.take());
        }
    }

    /// Ends revocations whose time is over.
    pub(crate) fn end_revocations(&mut self, g: usize, now: Moment) {
        let mut deadline = NEVER;
        for (k, p) in self.all_parts(g) {
            let revoking = self.part(g, k, p).and_then(|part| part.owner.as_ref()?.revoking);
            match revoking {
                Some(by) if by <= now => {
                    self.lose(g, k, p);
                    self.assign(g, k, p);
                }
                Some(by) => deadline = deadline.min(by),
                None => {}
            }
        }
        if let Some(group) = self.groups.get_mut(g).and_then(Option::as_mut) {
            group.deadline = deadline;
        }
    }

    /// The owner says that it is done with a partition that is being revoked.
    pub(crate) fn revoked(&mut self, id: MemberId, part: PartId, epoch: Epoch) {
        let now = self.now;
        let Some((g, k, p)) = self.member_part(id, part) else { return };
        let Some(part) = self.part(g, k, p) else { return };
        if part.owned_by(id, epoch).is_some_and(|owner| owner.revoking.is_some()) {
            part.cursor.close(now);
            part.release(false);
            self.assign(g, k, p);
        }
    }

    /// Takes a member out of its group; its partitions go to others. Returns how many deliveries it had not settled.
    pub(crate) fn leave(&mut self, id: MemberId, unclean: bool, now: Moment) -> u64 {
        let Some(member) = self.members.remove(&id) else { return 0 };
        self.wakes.extend(member.waker);
        let g = member.group;
        let mut unsettled = 0;
        for &(k, p) in &member.parts {
            let Some(part) = self.part(g, k, p) else { continue };
            part.cut &= unclean || part.last != member.connection;
            if part.owner.as_ref().is_some_and(|owner| owner.member == id) {
                unsettled += part.cursor.in_hand();
                if !unclean {
                    part.cursor.close(now);
                }
                part.release(unclean);
            }
        }
        let Some(group) = self.groups.get_mut(g).and_then(Option::as_mut) else { return unsettled };
        group.members.retain(|other| *other != id);
        group.ending -= usize::from(member.marks.is_some());
        if group.broadcast {
            self.groups[g] = None;
            for topic in &mut self.topics {
                topic.groups.retain(|(other, _)| *other != g);
            }
        } else {
            for k in &member.topics {
                group.topics[*k].readers.retain(|other| *other != id);
            }
            self.rebalance(g, &member.topics, now);
        }
        unsettled
    }

    /// Every partition of a group: the topic's index within the group, and the number.
    pub(crate) fn all_parts(&self, g: usize) -> Vec<(usize, usize)> {
        let topics = self.groups.get(g).and_then(Option::as_ref).map_or(&[][..], |group| &group.topics);
        topics.iter().enumerate().flat_map(|(k, topic)| (0..topic.parts.len()).map(move |p| (k, p))).collect()
    }

    pub(crate) fn part(&mut self, g: usize, k: usize, p: usize) -> Option<&mut GroupPart> {
        self.groups.get_mut(g)?.as_mut()?.topics.get_mut(k)?.parts.get_mut(p)
    }

    pub(crate) fn wake_group(&mut self, g: usize) {
        let Some(group) = self.groups.get(g).and_then(Option::as_ref) else { return };
        for id in &group.members {
            self.wakes.extend(self.members.get_mut(id).and_then(|member| member.waker.take()));
        }
    }
}

#[cfg(test)]
mod tests {
    use convoke_core::Topic;
    use convoke_core::broker::{EnsureMode, SubscribeSpec, TopicSpec, Topology};

    use crate::options::Options;
    use crate::state::Shared;

    #[test]
    fn who_joins_or_leaves_concerns_only_the_topics_of_those_who_read_its_own() {
        const MEMBERS: usize = 500;
        let shared = Shared::private(Options::default());
        shared.with(|state, now| {
            let topics: Vec<Topic> = (0..MEMBERS).map(|number| Topic::from(format!("topic-{number}"))).collect();
            let mut topology = Topology::default();
            topology.topics.extend(topics.iter().map(|topic| TopicSpec::new(topic.clone())));
            state.ensure(&topology, EnsureMode::Create).unwrap();
            let subscribe = |topics: &[Topic]| SubscribeSpec::new("warehouse", topics.to_vec());
            let members: Vec<_> =
                topics.iter().map(|topic| state.subscribe(&subscribe(std::slice::from_ref(topic)), 1, now).unwrap()).collect();
            let concerned: usize = (0..MEMBERS).map(|k| state.concerned(0, &[k]).len()).sum();
            assert_eq!(concerned, MEMBERS, "each concerns its own topic");
            let both = state.subscribe(&subscribe(&topics[..2]), 1, now).unwrap();
            assert_eq!(state.concerned(0, &[0]), [0, 1], "its reader reads another topic too");
            assert_eq!(state.concerned(0, &[2]), [2]);
            state.leave(both, false, now);
            assert_eq!(state.concerned(0, &[0]), [0]);
            for (k, member) in members.into_iter().enumerate() {
                let owns = |state: &mut super::State, k| {
                    let part = state.part(0, k, 0)?;
                    Some(part.target == Some(member) && part.owner.is_some())
                };
                assert_eq!(owns(state, k), Some(true));
                state.leave(member, false, now);
                assert_eq!(owns(state, k), Some(false));
            }
        });
    }
}
