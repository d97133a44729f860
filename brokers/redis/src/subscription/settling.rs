//! Settling: what comes in while an answer is on its way goes out together, one script a partition.

use std::sync::Arc;
use std::time::Duration;

use convoke_core::broker::{Settle, Settled, Settlement};
use convoke_core::{Epoch, PartId};
use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use super::desk::{Desk, Order};
use super::part::{Held, Own, Part};
use crate::failure::Failure;
use crate::link::Link;
use crate::reply::{Id, is_fenced};
use crate::script;

/// A script's stack has room for so many ids at once.
const AT_ONCE: usize = 1000;

/// Settles for as long as the subscription lives.
pub(crate) async fn run(desk: Arc<Desk>, link: Arc<Link>) {
    loop {
        desk.ordered.notified().await;
        loop {
            let orders = desk.take_orders();
            if orders.is_empty() {
                break;
            }
            let count = orders.len();
            flush(&desk, &link, orders.into()).await;
            desk.open_orders.send_modify(|open| *open -= count);
        }
    }
}

/// What is said of one partition in one script.
struct Batch {
    part: PartId,
    epoch: Epoch,
    token: String,
    done: Vec<Id>,
    rest: Vec<String>,
    /// Which settlements these are, with what was known of the message.
    of: Vec<(usize, Id, Settle, Held)>,
}

async fn flush(desk: &Desk, link: &Link, orders: Vec<Order>) {
    let sizes: Vec<usize> = orders.iter().map(|order| order.batch.len()).collect();
    let mut answers: Vec<Option<Settled>> = Vec::new();
    answers.resize_with(sizes.iter().sum(), || None);
    let mut batches: Vec<Batch> = Vec::new();
    {
        let mut parts = desk.parts();
        for (index, settlement) in orders.iter().flat_map(|order| &order.batch).enumerate() {
            answers[index] = take(&mut parts, &mut batches, index, settlement);
        }
    }
    if desk.broadcast {
        // Nothing is asked of anybody, and what was given back is to be delivered again.
        desk.changed.notify_one();
    }
    send(desk, link, batches, &mut answers).await;
    let mut answers = answers.into_iter().map(|answer| answer.unwrap_or(Settled::Stale));
    for (order, size) in orders.into_iter().zip(sizes) {
        // Whoever does not listen any more need not know.
        let _ = order.answer.send(answers.by_ref().take(size).collect());
    }
}

/// What a settlement comes to: an answer at once, or a line of a batch.
fn take(parts: &mut [Part], batches: &mut Vec<Batch>, index: usize, settlement: &Settlement) -> Option<Settled> {
    let Settlement { token, settle, .. } = settlement;
    let stale = Some(Settled::Stale);
    let Some(id) = Id::of(token.position) else { return stale };
    let Some(own) = parts.get_mut(token.part.0 as usize).and_then(|part| part.owned(token.epoch)) else { return stale };
    let Some(held) = own.hand.get_mut(&id) else { return stale };
    if let Settle::Mark { deaths } = settle {
        (held.kept, held.deaths) = (true, *deaths);
    }
    let held = *held;
    if matches!(settle, Settle::Ack | Settle::Nack { .. }) {
        own.hand.remove(&id);
    }
    // The lease is the partition's, and is renewed for all.
    let Some(lease) = own.lease.as_ref().filter(|_| *settle != Settle::Extend).map(|(lease, _)| lease.clone()) else {
        applied(own, id, *settle, held);
        return Some(Settled::Applied);
    };
    let found = batches.iter().position(|batch| batch.part == token.part && batch.epoch == token.epoch);
    let found = found.unwrap_or_else(|| {
        let (part, epoch) = (token.part, token.epoch);
        batches.push(Batch { part, epoch, token: lease, done: Vec::new(), rest: Vec::new(), of: Vec::new() });
        batches.len() - 1
    });
    let batch = &mut batches[found];
    batch.of.push((index, id, *settle, held));
    let mut say = |words: &[&dyn ToString]| batch.rest.extend(words.iter().map(|word| (*word).to_string()));
    match settle {
        Settle::Ack if held.kept => say(&[&"C", &id]),
        Settle::Ack => batch.done.push(id),
        Settle::Nack { delay, attempts, hold } => {
            let stays = *hold || delay.is_zero();
            say(&[&"N", &id, attempts, &millis(*delay), &u8::from(stays)]);
        }
        Settle::Mark { deaths } => say(&[&"M", &id, deaths]),
        _ => {}
    }
    None
}

/// Up, so that nothing comes before its time.
fn millis(delay: Duration) -> u128 {
    delay.as_nanos().div_ceil(1_000_000)
}

impl Batch {
    fn call(&self, part: &Part, group: &str) -> Cmd {
        let keys = &part.keys;
        let mut call = script::SETTLE.call(&[&keys.lease, &keys.stream, &keys.kept, &keys.due]);
        call.arg(&self.token).arg(group);
        for ids in self.done.chunks(AT_ONCE) {
            call.arg("A").arg(ids.len());
            for id in ids {
                call.arg(id.to_string());
            }
        }
        call.arg(&self.rest);
        call
    }
}

async fn send(desk: &Desk, link: &Link, batches: Vec<Batch>, answers: &mut [Option<Settled>]) {
    if batches.is_empty() {
        return;
    }
    let mut pipe = Pipeline::new();
    {
        let parts = desk.parts();
        for batch in &batches {
            pipe.add_command(batch.call(&parts[batch.part.0 as usize], &desk.group));
        }
    }
    let replies = link.ask_all(&mut pipe).await;
    let mut look = false;
    {
        let mut parts = desk.parts();
        for (index, batch) in batches.into_iter().enumerate() {
            let reply = match &replies {
                Ok(replies) => replies.get(index).cloned().unwrap_or(Ok(Value::Nil)),
                Err(failure) => Err(failure.clone()),
            };
            look |= conclude(&mut parts, batch, &reply, answers);
        }
    }
    if look {
        desk.changed.notify_one();
    }
}

/// Takes note of the answer to a batch. Returns whether the member has to look.
fn conclude(parts: &mut [Part], batch: Batch, reply: &Result<Value, Failure>, answers: &mut [Option<Settled>]) -> bool {
    let mut own = parts.get_mut(batch.part.0 as usize).and_then(|part| part.owned(batch.epoch));
    let mut look = false;
    for (index, id, settle, held) in batch.of {
        answers[index] = Some(match (reply, &mut own) {
            (Ok(value), own) if is_fenced(value) => {
                if let Some(own) = own {
                    own.fenced = true;
                }
                look = true;
                Settled::Stale
            }
            (Ok(_), own) => {
                if let Some(own) = own {
                    applied(own, id, settle, held);
                }
                look |= matches!(settle, Settle::Nack { .. });
                Settled::Applied
            }
            (Err(failure), Some(own)) => {
                // It may have been applied; saying it again does no harm.
                own.hand.insert(id, Held { kept: held.kept || settle != Settle::Ack, ..held });
                Settled::Failed(failure.error("a message cannot be settled"))
            }
            (Err(_), None) => Settled::Stale,
        });
    }
    look
}

/// What the owner knows after it.
fn applied(own: &mut Own, id: Id, settle: Settle, held: Held) {
    let Settle::Nack { delay, attempts, hold } = settle else { return };
    if hold || delay.is_zero() {
        let due = Some(Instant::now() + delay);
        own.again.insert(id, Held { kept: true, attempts, due, ..held });
    } else {
        own.wait_for(delay);
    }
}
