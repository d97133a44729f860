//! Who has which partition: leases, which end unless their owner is alive, and shares, which every member computes for itself.

use std::collections::HashMap;
use std::time::Instant as Clock;

use convoke_broker_common::{Tenure, share};
use convoke_core::broker::{Resume, SubscriptionEvent};
use convoke_core::{Epoch, PartId};
use redis::{Pipeline, Value};
use tokio::time::{Duration, Instant};

use super::member::{Member, Stopped, no_script};
use super::part::{Own, Part, Revoking};
use crate::failure::Failure;
use crate::reply::{Id, bytes, list, number, text, unsigned};
use crate::script;

/// However much happens, members do not look more often than this.
const SHORTEST_BEAT: Duration = Duration::from_millis(50);

/// What a topic's group looks like: who lives, and who has each partition.
struct Seen {
    members: Vec<String>,
    holders: Vec<String>,
}

/// Who holds a lease: what stands before the epoch.
fn member_of(holder: &str) -> Option<String> {
    holder.rsplit_once(':').map(|(member, _)| member.to_owned())
}

fn part_id(index: usize) -> PartId {
    PartId(u32::try_from(index).unwrap_or(u32::MAX))
}

impl Member {
    /// A member has come or gone, or something is free: look soon.
    pub(super) fn beat_soon(&mut self) {
        let soon = self.beaten_at.map_or_else(Instant::now, |at| at + SHORTEST_BEAT);
        self.beat_at = self.beat_at.min(soon);
    }

    /// Says that it is alive, renews what it has, looks who else is there, and does what follows.
    pub(super) async fn beat(&mut self) -> Result<(), Stopped> {
        let (sent, term) = (Clock::now(), self.link.options.lease);
        self.beaten_at = Some(Instant::now());
        self.beat_at = Instant::now() + term / 4;
        let mut pipe = Pipeline::new();
        {
            let parts = self.desk.parts();
            for (index, topic) in self.desk.topics.iter().enumerate() {
                let of_topic = || parts.iter().filter(move |part| part.topic == index);
                let mut keys = vec![&topic.keys.members, &topic.keys.news, &topic.keys.open];
                keys.extend(of_topic().map(|part| &part.keys.lease));
                let mut call = script::BEAT.call(&keys);
                call.arg(&self.desk.me).arg(term.as_millis().to_string());
                for part in of_topic() {
                    let token = part.own.as_ref().and_then(|own| own.lease.as_ref());
                    call.arg(token.map_or("", |(token, _)| token));
                }
                pipe.add_command(call);
            }
        }
        let mut seen = Vec::new();
        let asked = tokio::time::timeout(term / 2, self.link.ask_all(&mut pipe)).await;
        let late = |_| Failure::NoAnswer(format!("a sign of life was not answered within {:?}", term / 2));
        for answer in asked.map_err(late)?? {
            let mut answer = list(answer?);
            let mut next = || list(answer.next().unwrap_or_default()).map(text).collect::<Vec<_>>();
            let (mut members, holders) = (next(), next());
            members.sort_unstable();
            seen.push(Seen { members, holders });
        }
        self.renew(&seen, sent);
        self.rebalance(&seen).await
    }

    /// What is still ours holds for another term; what is not is lost.
    fn renew(&self, seen: &[Seen], sent: Clock) {
        let now = Clock::now();
        for (index, part) in self.desk.parts().iter_mut().enumerate() {
            let Some(own) = &mut part.own else { continue };
            let Some((token, tenure)) = &mut own.lease else { continue };
            let holder = seen.get(part.topic).and_then(|seen| seen.holders.get(part.number as usize));
            let (id, epoch) = (part_id(index), own.epoch);
            if holder == Some(token) && tenure.renewed(sent, now) {
                self.desk.events.renewed(id, epoch, tenure.until());
            } else {
                part.own = None;
                self.tell_lost(id, epoch);
            }
        }
    }

    /// Topics that the same members read are shared as one: whoever has a number of the first of them has it of all.
    async fn rebalance(&mut self, seen: &[Seen]) -> Result<(), Stopped> {
        let mut classes: Vec<Vec<usize>> = Vec::new();
        for (topic, one) in seen.iter().enumerate() {
            match classes.iter_mut().find(|class| seen[class[0]].members == one.members) {
                Some(class) => class.push(topic),
                None => classes.push(vec![topic]),
            }
        }
        let mut wanted = Vec::new();
        for class in &classes {
            let units = class.iter().map(|topic| seen[*topic].holders.len()).max().unwrap_or(0);
            // The first topic that has a partition of the number says whose it is.
            let holder = |unit: usize| class.iter().find_map(|topic| seen[*topic].holders.get(unit)).map_or("", String::as_str);
            let owners: Vec<Option<String>> = (0..units).map(|unit| member_of(holder(unit))).collect();
            let share = share(&seen[class[0]].members, &self.desk.me, &owners);
            let revoke: Vec<u32> = share.give;
            self.revoke(class, &revoke);
            // What follows the first topic, and was not free when that was taken.
            let ours = (0..).zip(&owners).filter(|(_, owner)| owner.as_ref() == Some(&self.desk.me)).map(|(unit, _)| unit);
            let units: Vec<u32> = share.take.iter().copied().chain(ours.filter(|unit| !revoke.contains(unit))).collect();
            wanted.push((class.clone(), units));
        }
        for (class, units) in wanted {
            self.acquire(&class, &units).await?;
        }
        Ok(())
    }

    fn revoke(&self, class: &[usize], units: &[u32]) {
        let within = self.desk.revoke;
        for (index, part) in self.desk.parts().iter_mut().enumerate() {
            if !class.contains(&part.topic) || !units.contains(&part.number) {
                continue;
            }
            let Some(own) = part.own.as_mut().filter(|own| own.revoking.is_none()) else { continue };
            own.revoking = Some(Revoking { until: Instant::now() + within, done: false });
            let (part, epoch) = (part_id(index), own.epoch);
            self.desk.events.tell(SubscriptionEvent::Revoking { part, epoch, within });
        }
    }

    /// Takes the partitions of these numbers, the first topic's before the others: who has that one keeps others from the rest.
    async fn acquire(&mut self, class: &[usize], units: &[u32]) -> Result<(), Stopped> {
        let mut free = units.to_vec();
        for topic in class {
            let wanted: Vec<usize> = {
                let parts = self.desk.parts();
                let wanted = |part: &Part| part.topic == *topic && free.contains(&part.number);
                // A number that is being given back is not taken at the same time.
                let leaves = |number: u32| {
                    let of_number = parts.iter().filter(|part| part.number == number && class.contains(&part.topic));
                    of_number.filter_map(|part| part.own.as_ref()).any(|own| own.revoking.is_some())
                };
                let all = parts.iter().enumerate().filter(|(_, part)| wanted(part) && !leaves(part.number));
                all.filter(|(_, part)| part.own.is_none()).map(|(index, _)| index).collect()
            };
            let refused = self.take(&wanted).await?;
            free.retain(|unit| !refused.contains(unit));
        }
        Ok(())
    }

    /// Takes partitions. Returns the numbers of those that another has.
    async fn take(&mut self, wanted: &[usize]) -> Result<Vec<u32>, Stopped> {
        let (sent, term) = (Clock::now(), self.link.options.lease);
        let mut pipe = Pipeline::new();
        {
            let parts = self.desk.parts();
            for part in wanted.iter().map(|index| &parts[*index]) {
                let topic = &self.desk.topics[part.topic].keys;
                let keys = &part.keys;
                let mut call = script::ACQUIRE.call(&[&keys.lease, &topic.epoch, &topic.open, &keys.stream, &keys.due]);
                call.arg(&self.desk.me).arg(term.as_millis().to_string()).arg(part.number).arg(&self.desk.group);
                pipe.add_command(call);
            }
        }
        let mut refused = Vec::new();
        let answers = self.link.ask_all(&mut pipe).await?;
        for (index, answer) in wanted.iter().zip(answers) {
            let mut answer = list(answer?);
            let mut next = || answer.next().unwrap_or_default();
            let (epoch, dead, last, due) = (unsigned(next()), text(next()), bytes(next()), text(next()));
            let parts = &mut *self.desk.parts();
            let part = &mut parts[*index];
            if epoch == 0 {
                refused.push(part.number);
                continue;
            }
            let last = Id::parse(&last).ok_or_else(no_script)?;
            let token = format!("{}:{epoch}", self.desk.me);
            let tenure = Tenure::new(term, sent);
            let mut own = Own::new(Epoch(epoch), Some((token, tenure)), last);
            if let Ok(due) = due.parse() {
                own.wait_for(Duration::from_millis(due));
            }
            part.own = Some(own);
            let mut resume = Resume::default();
            resume.unclean = !dead.is_empty();
            let name = self.desk.topics[part.topic].name.clone();
            self.desk.events.assigned(part_id(*index), name, part.number, Epoch(epoch), Some(tenure.until()), resume);
        }
        Ok(refused)
    }

    /// Without a group everything is ours, and nobody else's business.
    pub(super) fn take_all(&self) {
        let epoch = Epoch(Clock::now().duration_since(*STARTED).as_nanos().try_into().unwrap_or(u64::MAX));
        for (index, part) in self.desk.parts().iter_mut().enumerate() {
            part.own = Some(Own::new(epoch, None, part.place));
            let topic = self.desk.topics[part.topic].name.clone();
            let (partition, resume) = (part.number, Resume::default());
            let assigned = SubscriptionEvent::Assigned { part: part_id(index), topic, partition, epoch, term: None, resume };
            self.desk.events.tell(assigned);
        }
    }

    /// Gives back what the runtime is done with, and takes note of what was lost.
    pub(super) async fn look_after_parts(&mut self) -> Result<(), Stopped> {
        let (now, clock) = (Instant::now(), Clock::now());
        // By number: whether everything of it that is leaving may go.
        let mut leaving: HashMap<u32, bool> = HashMap::new();
        {
            let mut parts = self.desk.parts();
            for (index, part) in parts.iter_mut().enumerate() {
                let Some(own) = &part.own else { continue };
                let over = own.lease.as_ref().is_some_and(|(_, tenure)| tenure.is_over(clock));
                if own.fenced || over {
                    let epoch = own.epoch;
                    part.own = None;
                    self.tell_lost(part_id(index), epoch);
                    continue;
                }
                if let Some(revoking) = &own.revoking {
                    let may = leaving.entry(part.number).or_insert(true);
                    *may &= revoking.done || revoking.until <= now;
                }
            }
        }
        leaving.retain(|_, may| *may);
        if leaving.is_empty() {
            return Ok(());
        }
        self.release(|part| leaving.contains_key(&part.number) && part.own.as_ref().is_some_and(|own| own.revoking.is_some()))
            .await?;
        self.beat_soon();
        Ok(())
    }

    /// Gives partitions back, the first topic's last.
    async fn release(&mut self, which: impl Fn(&Part) -> bool + Send) -> Result<(), Stopped> {
        let mut pipe = Pipeline::new();
        {
            let mut parts = self.desk.parts();
            for (index, part) in parts.iter_mut().enumerate().rev() {
                if !which(part) {
                    continue;
                }
                let Some(own) = part.own.take() else { continue };
                let topic = &self.desk.topics[part.topic].keys;
                if let Some((token, _)) = &own.lease {
                    let mut call = script::RELEASE.call(&[&part.keys.lease, &topic.open, &topic.news]);
                    call.arg(token).arg(part.number);
                    pipe.add_command(call);
                }
                part.place = own.place();
                if own.revoking.is_some_and(|revoking| !revoking.done) {
                    self.tell_lost(part_id(index), own.epoch);
                }
            }
        }
        for answer in self.link.ask_all(&mut pipe).await? {
            answer?;
        }
        Ok(())
    }

    /// Gives everything back, and is no member any more.
    pub(super) async fn give_everything_back(&mut self) -> Result<(), Stopped> {
        self.release(|_| true).await?;
        if self.desk.broadcast {
            return Ok(());
        }
        let mut pipe = Pipeline::new();
        for topic in &self.desk.topics {
            let mut call = script::LEAVE.call(&[&topic.keys.members, &topic.keys.news]);
            call.arg(&self.desk.me);
            pipe.add_command(call);
        }
        self.link.ask_all(&mut pipe).await?;
        Ok(())
    }

    /// Whether the group has settled everything up to these ids.
    pub(super) async fn all_settled(&mut self, marks: &[(String, Id)]) -> Result<bool, Stopped> {
        let mut pipe = Pipeline::new();
        for (stream, end) in marks {
            let mut call = script::IS_DONE.call(&[stream]);
            call.arg(&self.desk.group).arg(end.to_string());
            pipe.add_command(call);
        }
        let mut all = true;
        for answer in self.link.ask_all(&mut pipe).await? {
            let answer: Value = answer?;
            all &= number(answer) == Some(1);
        }
        Ok(all)
    }
}

/// Epochs without a group are counted from here.
static STARTED: std::sync::LazyLock<Clock> = std::sync::LazyLock::new(Clock::now);
