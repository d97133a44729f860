//! Reading, for as much as was granted: first what was given out before, then what is new.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use convoke_core::broker::{Deliveries, SubscriptionEvent, Token};
use convoke_core::{Epoch, Incoming, PartId, Topic};
use redis::{Cmd, Pipeline, Value, cmd};
use tokio::time::Instant;

use super::member::{Member, Stopped, no_script};
use super::part::{Held, Own, Part, Reading, behind};
use crate::entry;
use crate::failure::Failure;
use crate::reply::{Id, bytes, is_fenced, list, text, unsigned};
use crate::script;

/// How many messages are asked for at once, of one partition.
const AT_ONCE: u32 = 128;

/// What is asked for of a partition.
struct Asked {
    part: usize,
    epoch: Epoch,
    what: What,
    count: u32,
}

enum What {
    Pending,
    Again(Vec<(Id, Held)>),
    Due,
    New,
}

impl Member {
    /// Asks for what may be there of what is granted. Returns whether anything was asked for.
    pub(super) async fn read(&mut self) -> Result<bool, Stopped> {
        let (mut pipe, mut asked) = (Pipeline::new(), Vec::new());
        {
            let now = Instant::now();
            for (index, part) in self.desk.parts().iter_mut().enumerate() {
                if let Some((call, ask)) = self.ask(index, part, now) {
                    pipe.add_command(call);
                    asked.push(ask);
                }
            }
        }
        if asked.is_empty() {
            return Ok(false);
        }
        let answers = self.link.ask_all(&mut pipe).await?;
        for (ask, answer) in asked.into_iter().zip(answers) {
            self.take_answer(ask, answer)?;
        }
        Ok(true)
    }

    fn ask(&self, index: usize, part: &mut Part, now: Instant) -> Option<(Cmd, Asked)> {
        let Part { keys, own, .. } = part;
        let own = own.as_mut().filter(|own| own.wants(now))?;
        let count = own.credit.min(AT_ONCE);
        let mut asked = Asked { part: index, epoch: own.epoch, what: What::New, count };
        let Some((token, _)) = &own.lease else {
            return Some((ask_without_group(keys, own, &mut asked), asked));
        };
        let known = [&keys.lease, &keys.stream, &keys.kept, &keys.due];
        let with = |script: &script::Script| {
            let mut call = script.call(&known);
            call.arg(token).arg(&self.desk.group);
            call
        };
        let call = if let Reading::Pending(from) = &own.reading {
            asked.what = What::Pending;
            let mut call = with(&script::PENDING);
            call.arg(from).arg(count);
            call
        } else if !own.again.is_empty() {
            let ids: Vec<_> = std::iter::from_fn(|| own.again.pop_first()).take(count as usize).collect();
            let mut call = with(&script::AGAIN);
            for (id, _) in &ids {
                call.arg(id.to_string());
            }
            asked.what = What::Again(ids);
            call
        } else if own.due.is_some_and(|due| due <= now) {
            asked.what = What::Due;
            let mut call = with(&script::DUE);
            call.arg(count);
            call
        } else {
            let mut call = script::READ.call(&[&keys.lease, &keys.stream]);
            call.arg(token).arg(&self.desk.group).arg(count).arg(own.last.to_string());
            call
        };
        Some((call, asked))
    }

    fn take_answer(&self, ask: Asked, answer: Result<Value, Failure>) -> Result<(), Stopped> {
        let mut parts = self.desk.parts();
        let part = &mut parts[ask.part];
        let number = part.number;
        let (id, epoch) = (PartId(u32::try_from(ask.part).unwrap_or(u32::MAX)), ask.epoch);
        let answer = answer?;
        let end = part.end;
        let Some(own) = part.owned(epoch) else { return Ok(()) };
        if is_fenced(&answer) {
            own.fenced = true;
            return Ok(());
        }
        let topic = &self.desk.topics[part.topic].name;
        let with = With { topic, number, part: id, epoch, end };
        let Some(own) = part.owned(epoch) else { return Ok(()) };
        let mut taken = Taken::default();
        match ask.what {
            What::New if own.lease.is_none() => taken.add_read(own, &with, list(answer), ask.count),
            What::Again(ids) if own.lease.is_none() => taken.add_again(own, &with, list(answer), &ids),
            What::New => {
                let mut answer = list(answer);
                let entries = list(answer.next().unwrap_or_default());
                taken.add_gap(own, &entries, unsigned(answer.next().unwrap_or_default()) == 1);
                taken.add_read(own, &with, entries, ask.count);
            }
            kind => {
                let mut answer = list(answer);
                let mut next = || answer.next().unwrap_or_default();
                let (goon, messages, lost) = (text(next()), list(next()), list(next()));
                taken.add_known(own, &with, messages)?;
                let lost = lost.filter_map(|id| Id::parse(&bytes(id)));
                taken.gaps.extend(lost.map(|id| (id.position(), behind(id))));
                match kind {
                    What::Pending if goon.is_empty() || taken.ended => own.reading = Reading::New,
                    What::Pending => own.reading = Reading::Pending(goon),
                    What::Due => {
                        own.due = None;
                        if let Ok(millis) = goon.parse() {
                            own.wait_for(Duration::from_millis(millis));
                        }
                    }
                    What::Again(_) | What::New => {}
                }
            }
        }
        own.credit = own.credit.saturating_sub(u32::try_from(taken.messages.len()).unwrap_or(u32::MAX));
        for (from, to) in taken.gaps {
            self.desk.events.tell(SubscriptionEvent::Gap { part: id, from, to });
        }
        self.desk.events.deliver(Deliveries::new(id, epoch, taken.messages));
        Ok(())
    }
}

fn ask_without_group(keys: &crate::keys::PartKeys, own: &mut Own, asked: &mut Asked) -> Cmd {
    if own.again.is_empty() {
        let mut call = cmd("XRANGE");
        call.arg(&keys.stream).arg(format!("({}", own.last)).arg("+").arg("COUNT").arg(asked.count);
        return call;
    }
    // One at a time: what comes again here has waited already.
    let ids: Vec<_> = own.again.pop_first().into_iter().collect();
    let id = ids.first().map(|(id, _)| id.to_string()).unwrap_or_default();
    asked.what = What::Again(ids);
    let mut call = cmd("XRANGE");
    call.arg(&keys.stream).arg(&id).arg(&id);
    call
}

/// What is the same for all messages of an answer.
struct With<'a> {
    topic: &'a Topic,
    number: u32,
    part: PartId,
    epoch: Epoch,
    end: Option<Id>,
}

/// What an answer comes to.
#[derive(Default)]
struct Taken {
    messages: Vec<Incoming>,
    gaps: Vec<(convoke_core::Position, convoke_core::Position)>,
    /// Something lies beyond the marked end.
    ended: bool,
}

impl Taken {
    fn add(&mut self, own: &mut Own, with: &With<'_>, id: Id, held: Held, fields: Value) {
        if with.end.is_some_and(|end| id > end) {
            self.ended = true;
            return;
        }
        let token = Token::new(with.part, with.epoch, id.position());
        let mut incoming = Incoming::new(entry::read(with.topic, fields), with.number, id.position(), token);
        (incoming.deliveries, incoming.attempts, incoming.deaths) = (held.deliveries, held.attempts, held.deaths);
        incoming.published_at = Some(published_at(id));
        incoming.due_in = held.due.map(|due| due.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero());
        own.hand.insert(id, Held { due: None, ..held });
        self.messages.push(incoming);
    }

    /// Something was discarded before the first entry, and never read.
    fn add_gap(&mut self, own: &Own, entries: &std::vec::IntoIter<Value>, gap: bool) {
        let first = entries.as_slice().first().and_then(id_of);
        self.gaps.extend(first.filter(|_| gap).map(|first| (behind(own.last), first.position())));
    }

    fn add_read(&mut self, own: &mut Own, with: &With<'_>, entries: std::vec::IntoIter<Value>, asked: u32) {
        let more = entries.len() >= asked as usize;
        for value in entries {
            let mut value = list(value);
            let Some(id) = value.next().and_then(|id| Id::parse(&bytes(id))) else { continue };
            self.add(own, with, id, Held { deliveries: 1, ..Held::default() }, value.next().unwrap_or_default());
            own.last = own.last.max(id);
        }
        let ended = self.ended || with.end.is_some_and(|end| own.last >= end);
        own.reading = match (ended, more) {
            (true, _) => Reading::AtEnd,
            (false, true) => Reading::New,
            (false, false) => Reading::Drained,
        };
    }

    fn add_again(&mut self, own: &mut Own, with: &With<'_>, entries: std::vec::IntoIter<Value>, ids: &[(Id, Held)]) {
        let mut found = false;
        for (value, (id, held)) in entries.zip(ids) {
            found = true;
            let fields = list(value).nth(1).unwrap_or_default();
            self.add(own, with, *id, Held { deliveries: held.deliveries + 1, ..*held }, fields);
        }
        if !found {
            self.gaps.extend(ids.iter().map(|(id, _)| (id.position(), behind(*id))));
        }
    }

    /// What was given out before, with what the server kept of it.
    fn add_known(&mut self, own: &mut Own, with: &With<'_>, messages: std::vec::IntoIter<Value>) -> Result<(), Stopped> {
        for value in messages {
            let mut value = list(value);
            let mut next = || value.next().unwrap_or_default();
            let id = Id::parse(&bytes(next())).ok_or_else(no_script)?;
            let mut count = || u32::try_from(unsigned(next())).unwrap_or(u32::MAX);
            let (deliveries, attempts, deaths, wait) = (count(), count(), count(), count());
            let kept = !matches!(next(), Value::Int(0));
            let due = (wait > 0).then(|| Instant::now() + Duration::from_millis(wait.into()));
            let held = Held { kept, deliveries, attempts, deaths, due };
            self.add(own, with, id, held, next());
        }
        Ok(())
    }
}

fn id_of(entry: &Value) -> Option<Id> {
    match entry {
        Value::Array(parts) => match parts.first()? {
            Value::BulkString(id) => Id::parse(id),
            _ => None,
        },
        _ => None,
    }
}

fn published_at(id: Id) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(id.0)
}
