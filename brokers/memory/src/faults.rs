//! Faults: failing as brokers and networks do.

use std::time::Duration;

use convoke_core::broker::{Fault, SubscriptionEvent};
use convoke_core::{Error, ErrorKind, Topic};

use crate::clock::{self, Moment};
use crate::state::{State, cut_off};

/// What happens to the next messages to a topic.
#[derive(Debug)]
pub(crate) struct PublishFault {
    topic: Topic,
    left: u32,
    what: Injected,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Injected {
    Rejected { retryable: bool },
    Unknown { stored: bool },
    Slow(Duration),
}

impl State {
    pub(crate) fn inject(&mut self, fault: Fault, now: Moment) -> Result<(), Error> {
        match fault {
            Fault::PublishRejected { topic, count, retryable } => {
                self.fail_publishing(topic, count, Injected::Rejected { retryable });
            }
            Fault::PublishUnknown { topic, count, stored } => {
                self.fail_publishing(topic, count, Injected::Unknown { stored });
            }
            Fault::PublishSlow { topic, count, by } => self.fail_publishing(topic, count, Injected::Slow(by)),
            Fault::Cut { down } => self.cut(down, now),
            Fault::Revoke { group, topic, within } => {
                let topic = self.topic(&topic)?;
                for g in self.groups_named(&group)? {
                    let k = self.groups[g].as_ref().and_then(|group| group.topic_index(topic));
                    for (_, p) in self.all_parts(g).into_iter().filter(|(other, _)| Some(*other) == k) {
                        match (within, k) {
                            (Some(_), Some(k)) => self.revoke(g, k, p, within, now),
                            (None, Some(k)) => self.lose(g, k, p),
                            (_, None) => {}
                        }
                    }
                    self.hand_over(g, now);
                    self.wake_group(g);
                }
            }
            Fault::SettleLost { group, count } => {
                for g in self.groups_named(&group)? {
                    self.groups[g].iter_mut().for_each(|group| group.settle_lost += count);
                }
            }
            Fault::Repeat { group, count } => {
                for g in self.groups_named(&group)? {
                    self.groups[g].iter_mut().for_each(|group| group.repeat += count);
                }
            }
            other => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("the memory broker cannot be made to fail in this way: {other:?}"),
                ));
            }
        }
        Ok(())
    }

    fn fail_publishing(&mut self, topic: Topic, left: u32, what: Injected) {
        if left > 0 {
            self.publish_faults.push(PublishFault { topic, left, what });
        }
    }

    /// What happens to the next message to this topic.
    pub(crate) fn injected(&mut self, topic: &Topic) -> Option<Injected> {
        let index = self.publish_faults.iter().position(|fault| fault.topic == *topic)?;
        let fault = &mut self.publish_faults[index];
        let what = fault.what;
        fault.left -= 1;
        if fault.left == 0 {
            self.publish_faults.remove(index);
        }
        Some(what)
    }

    /// Cuts every connection off.
    fn cut(&mut self, down: Duration, now: Moment) {
        let until = clock::after(now, down);
        self.cuts += 1;
        self.timer = self.timer.min(until);
        if let Some(present) = self.cut {
            self.cut = Some(present.max(until));
            return;
        }
        self.cut = Some(until);
        for g in 0..self.groups.len() {
            for (k, p) in self.all_parts(g) {
                let owned = self.part(g, k, p).is_some_and(|part| part.owner.is_some());
                self.lose(g, k, p);
                self.part(g, k, p).into_iter().for_each(|part| part.cut |= owned);
            }
        }
        for member in self.members.values_mut() {
            member.queue.push_back(SubscriptionEvent::Interrupted(cut_off()));
            self.wakes.extend(member.waker.take());
        }
    }

    /// The groups of this name: one, or those of every broadcast subscription.
    pub(crate) fn groups_named(&self, name: &str) -> Result<Vec<usize>, Error> {
        let named = |group: &Option<crate::group::Group>| group.as_ref().is_some_and(|group| group.name == name);
        let found: Vec<usize> = (0..self.groups.len()).filter(|g| named(&self.groups[*g])).collect();
        if found.is_empty() {
            let message =
                format!("there is no group `{name}` on the memory broker; create it with `Broker::ensure`, or subscribe");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        Ok(found)
    }
}
