//! The part of a driver that others may look at while handlers run: the engine, the messages, and what is to be done.
//!
//! It stands behind a mutex that is never held while a handler is polled. So a handler that blocks its thread keeps nobody from
//! extending leases (see [`keeper`](super::keeper)), reading the status, or asking for a drain.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use convoke_core::broker::{Commit, Deliveries, Settle, Settlement, SubscriptionControl};
use convoke_core::cloudevents::derived_id;
use convoke_core::few::sort_by;
use convoke_core::{Claims, Delivered, Delivery, Epoch, ErrorKind, MessageBuilder, Outgoing, PartId, Topic, names};
use convoke_engine::{Answer, Engine, In, Meta, Note, Out, Published, RouteId, Slot, Time, Verdict};

use super::bodies::{Bodies, Failure, Said as BodySaid};
use super::calls::Ended;
use super::claims::{ClaimTable, ticket};
use super::dead::{Death, letter, spare};
use super::retry::restore;
use super::route::{Counters, RouteRunner, Routed, UnknownEvents, identity, take_in};
use super::stop::{OnGap, Stopped};
use super::verdict::{Said, is_plain, judge};
use crate::observe::{Observer, What};
use crate::publisher::{Outward, too_large};

/// A partition of the present subscription.
#[derive(Debug)]
pub(crate) struct PartInfo {
    pub(crate) epoch: Epoch,
    /// What it is a partition of, and its number.
    pub(super) place: (Topic, u32),
    /// Indices of the handlers that read its topic.
    reading: Arc<[usize]>,
    /// The topic whose messages these are, if it is one of the group's own places.
    origin: Option<Topic>,
    /// Whether it is one where retries wait.
    waiting: bool,
}

/// What a partition has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Messages,
    /// Retries that wait until they are due.
    Waiting,
}

/// What the outputs of the engine have asked for, to be done outside of the lock.
#[derive(Default)]
pub(crate) struct Todo {
    pub(crate) starts: Vec<(Slot, RouteId, Delivery)>,
    pub(crate) cancels: Vec<u32>,
    /// Messages to publish; for each, the slot that waits for it.
    pub(crate) publishes: Vec<(Slot, Outgoing)>,
    pub(crate) settles: Vec<(Slot, Settlement)>,
    pub(crate) commits: Vec<Commit>,
    /// Partitions whose drain is over, to be said once what was settled and committed before is answered.
    pub(crate) revoked: Vec<(PartId, Epoch)>,
    pub(crate) drained: bool,
}

/// See the module's documentation.
pub(crate) struct Core {
    pub(crate) engine: Engine,
    pub(crate) bodies: Bodies,
    pub(crate) routes: Vec<RouteRunner>,
    pub(crate) parts: HashMap<PartId, PartInfo>,
    pub(crate) control: Option<Arc<dyn SubscriptionControl>>,
    pub(crate) outs: Vec<Out>,
    pub(crate) outward: Arc<Outward>,
    /// Which of the application's brokers the subscription is on.
    pub(crate) home: usize,
    pub(crate) unknown: UnknownEvents,
    pub(crate) on_gap: OnGap,
    pub(crate) max_message: Option<usize>,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    /// After how long a delivery expires that can be extended.
    pub(crate) lease: Option<Duration>,
    /// How long a drain may take.
    pub(crate) drain_within: Duration,
    /// Whether everything up to the marked end is settled.
    pub(crate) at_end: bool,
    /// Whether it was told to stop, and of how many messages the handler was cancelled since.
    pub(crate) stopping: bool,
    /// Where it stopped because a policy says so.
    pub(super) halt: Option<Box<Stopped>>,
    /// Until when what came in before that is finished first.
    pub(super) halting: Option<Time>,
    pub(crate) cancelled: u64,
    /// Messages that were handled since, and could not be settled any more.
    pub(super) torn: u64,
    pub(crate) claims: ClaimTable,
    /// Messages that could not be sent to wait.
    pub(super) refusals: Vec<Slot>,
    metas: Vec<Meta>,
    verdicts: Vec<Verdict>,
}

impl Core {
    pub(crate) fn new(
        engine: Engine,
        routes: Vec<RouteRunner>,
        outward: Arc<Outward>,
        unknown: UnknownEvents,
        max_message: Option<usize>,
        claims: Arc<Claims>,
    ) -> Self {
        Self {
            engine,
            bodies: Bodies::default(),
            routes,
            parts: HashMap::new(),
            control: None,
            outs: Vec::new(),
            outward,
            home: 0,
            unknown,
            on_gap: OnGap::default(),
            max_message,
            observers: Vec::new(),
            lease: None,
            drain_within: Duration::ZERO,
            at_end: false,
            stopping: false,
            halt: None,
            halting: None,
            cancelled: 0,
            torn: 0,
            claims: ClaimTable::new(claims),
            refusals: Vec::new(),
            metas: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    pub(crate) fn step(&mut self, now: Time, input: In<'_>) {
        self.engine.step(now, input, &mut self.outs);
    }

    /// Begins to take in what is [`finished`](Self::finished) or [`settled`](Self::settled) at this moment, one by one. What follows
    /// from all of it, [`follow`](Self::follow) says; the lock is held until then.
    pub(crate) fn elapse(&mut self, now: Time) {
        self.engine.elapse(now, &mut self.outs);
    }

    /// Takes one input in. Within [`elapse`](Self::elapse) and [`follow`](Self::follow).
    pub(crate) fn take(&mut self, now: Time, input: In<'_>) {
        self.engine.take(now, input, &mut self.outs);
    }

    /// See [`elapse`](Self::elapse).
    pub(crate) fn follow(&mut self, now: Time) {
        self.engine.follow(now, &mut self.outs);
    }

    /// A partition is ours. `None` if no handler reads its topic: then nothing may be taken from it, least of all be acknowledged.
    pub(crate) fn assigned(&mut self, part: PartId, epoch: Epoch, place: (Topic, u32)) -> Option<Holds> {
        let topic = &place.0;
        let (read_from, waiting) = self.routes.iter().find_map(|route| route.origin(topic))?;
        let reading = self.routes.iter().enumerate().filter(|(_, route)| route.reads(&read_from));
        let mut reading: Vec<usize> = reading.map(|(index, _)| index).collect();
        // Who takes what has a certain header is asked before who takes the rest.
        sort_by(&mut reading, |a, b| self.routes[*a].matches.is_none().cmp(&self.routes[*b].matches.is_none()));
        let reading: Arc<[usize]> = reading.into();
        let origin = Some(read_from).filter(|origin| origin != topic);
        self.parts.insert(part, PartInfo { epoch, place, reading, origin, waiting });
        Some(if waiting { Holds::Waiting } else { Holds::Messages })
    }

    /// Takes messages in: finds the handler of each, and tells the engine. Within [`elapse`](Self::elapse) and
    /// [`follow`](Self::follow). What is behind one at which a policy says to stop, and it itself, is given back.
    pub(crate) fn delivered(&mut self, now: Time, deliveries: Deliveries) -> Option<Deliveries> {
        let Deliveries { part, epoch, messages, .. } = deliveries;
        let mut metas = std::mem::take(&mut self.metas);
        metas.clear();
        let info = self.parts.get(&part);
        let reading = info.map(|info| Arc::clone(&info.reading)).unwrap_or_default();
        let origin = info.and_then(|info| info.origin.clone());
        let waiting = info.is_some_and(|info| info.waiting);
        let mut messages = messages.into_iter();
        let mut unknown = None;
        for mut incoming in messages.by_ref() {
            let position = incoming.position;
            // As the broker counts it: what is taken off below was in its credit.
            #[allow(clippy::cast_possible_truncation, reason = "a message is below 4 GiB")]
            let bytes = incoming.message.size() as u32;
            let mut waited = None;
            if let Some(origin) = &origin {
                // To handlers and in dead letters it is what it was at first: a message of that topic.
                incoming.message = incoming.message.into_builder().topic(origin.clone()).build();
                waited = if waiting { restore(&mut incoming) } else { None };
            }
            let due_in = waited.as_ref().map(|waited| waited.due_in).max(incoming.due_in).filter(|due| !due.is_zero());
            let routed = take_in(&self.routes, &reading, &mut incoming, self.unknown);
            let (index, dead, skip, error) = match routed {
                Routed::To(index) => (index, None, false, None),
                Routed::Dead(index, reason, error) => (index, Some(reason), false, Some(error)),
                Routed::Skip(index) => (index, None, true, None),
                Routed::Fail(error) => {
                    unknown = Some((incoming, error));
                    break;
                }
            };
            let route = &self.routes[index];
            #[allow(clippy::cast_possible_truncation, reason = "a handler's index is below 65,536")]
            let route_id = RouteId(index as u16);
            let mut meta = Meta {
                slot: Slot { index: 0, generation: 0 },
                position,
                route: route_id,
                lane: route.lane(&incoming),
                bytes,
                identity: identity(&incoming),
                attempts: waited.as_ref().map_or(0, |waited| waited.attempts).max(incoming.attempts),
                deliveries: incoming.deliveries,
                deaths: incoming.deaths,
                due: due_in.map(|due| now.after(due)),
                dead,
                skip,
            };
            self.observe(route_id, &incoming, What::Delivered);
            meta.slot = self.bodies.insert(incoming, route_id);
            if let Some(body) = self.bodies.get_mut(meta.slot) {
                body.failure = waited.and_then(|waited| waited.failure);
                if let Some(error) = error {
                    Failure::record(&mut body.failure, &Said(error));
                }
            }
            metas.push(meta);
        }
        self.take(now, In::Delivered { part, epoch, metas: &metas });
        self.metas = metas;
        let (incoming, error) = unknown?;
        self.stop_at(now, &incoming, error);
        Some(Deliveries::new(part, epoch, std::iter::once(incoming).chain(messages).collect()))
    }

    /// A call of a handler is over. Within [`elapse`](Self::elapse) and [`follow`](Self::follow).
    pub(crate) fn finished(&mut self, now: Time, slot: Slot, ended: Ended) {
        let claims = self.heed(now);
        // What nearly every call comes to; the rest of this says the same of it, in more steps.
        if !claims && matches!(&ended, Ended::Returned(Ok(reply)) if is_plain(reply)) && self.engine.batch(slot).len() <= 1 {
            if let Some(body) = self.bodies.get_mut(slot) {
                (body.call, body.said) = (None, BodySaid::Done);
            }
            self.engine.take(now, In::Finished { slot, verdicts: &[Verdict::Ack], returned: false }, &mut self.outs);
            return;
        }
        let mut verdicts = std::mem::take(&mut self.verdicts);
        // Copied: the engine is told while it is read. A batch is short beside the work that it stood for.
        let single = [slot];
        let batch: Vec<Slot>;
        let slots: &[Slot] = match self.engine.batch(slot) {
            [] | [_] => &single,
            many => {
                batch = many.to_vec();
                &batch
            }
        };
        let bodies = &mut self.bodies;
        let outgoing = judge(ended, slots.len(), &mut verdicts, |index, error| {
            if let Some(body) = slots.get(index).and_then(|slot| bodies.get_mut(*slot)) {
                Failure::record(&mut body.failure, error);
            }
        });
        let mut returned = !outgoing.is_empty();
        if returned {
            let handed_over = self.hand_over(slot, slots, outgoing);
            if let Err(error) = handed_over {
                // What is too large will be too large the next time as well.
                returned = false;
                let done = |verdict: &Verdict| matches!(verdict, Verdict::Ack | Verdict::Drop);
                for (slot, verdict) in slots.iter().zip(&mut verdicts).filter(|(_, verdict)| done(verdict)) {
                    if let Some(body) = self.bodies.get_mut(*slot) {
                        Failure::record(&mut body.failure, &error);
                    }
                    *verdict = Verdict::Dead(convoke_core::DeadReason::HandlerError);
                }
            }
        }
        if let Some(body) = self.bodies.get_mut(slot) {
            body.call = None;
        }
        for (slot, verdict) in slots.iter().zip(&verdicts) {
            let Some(body) = self.bodies.get_mut(*slot) else { continue };
            body.said = match verdict {
                Verdict::Ack | Verdict::Drop => BodySaid::Done,
                Verdict::Dead(convoke_core::DeadReason::HandlerError) => BodySaid::GiveUp,
                _ => BodySaid::Other,
            };
            if matches!(verdict, Verdict::Failed { .. }) || body.said == BodySaid::GiveUp {
                Counters::add(&self.routes[body.route.0 as usize].counters.failed);
            }
        }
        if claims {
            returned |= self.claims_judged(slot, slots, &verdicts, returned);
        }
        self.engine.take(now, In::Finished { slot, verdicts: &verdicts, returned }, &mut self.outs);
        self.verdicts = verdicts;
    }

    /// Keeps what a handler returned with the message that caused it, under identities that a repeat will have too.
    ///
    /// What a batch returned depends on all of its messages, so its identity does: the same batch again has the same, another
    /// composition never has.
    fn hand_over(&mut self, slot: Slot, slots: &[Slot], outgoing: Vec<MessageBuilder>) -> Result<(), convoke_core::Error> {
        // Ids are unique within their source.
        let id_of = |slot: &Slot| {
            let delivered = Delivered::new(self.bodies.get(*slot)?.incoming.clone()?, 1);
            let source = delivered.message().headers().get_str(names::SOURCE).unwrap_or_default();
            Some(format!("{source} {}", delivered.id()))
        };
        let causes = slots.iter().filter_map(id_of).collect::<Vec<_>>().join("\n");
        let Some(body) = self.bodies.get_mut(slot) else { return Ok(()) };
        let Some(incoming) = &body.incoming else { return Ok(()) };
        let context = &self.routes[body.route.0 as usize].context;
        let cause = Delivered::new(incoming.clone(), 1);
        let cause = cause.id();
        let headers = incoming.content().headers();
        body.returned.clear();
        for (index, mut message) in outgoing.into_iter().enumerate() {
            let event = message.headers_mut();
            if event.get(names::TYPE).is_some() {
                event.append(names::ID, derived_id(&causes, &context.group, &context.handler, index));
                event.append(names::CAUSATION_ID, cause.clone().into_owned());
                let origin = headers.get(names::CORRELATION_ID).cloned().unwrap_or_else(|| cause.clone().into_owned().into());
                event.append(names::CORRELATION_ID, origin);
                for name in [names::TRACE_PARENT, names::TRACE_STATE] {
                    if let Some(value) = headers.get(name).filter(|_| event.get(name).is_none()) {
                        event.append(name, value.clone());
                    }
                }
            }
            let outgoing = self.outward.addressed(Outgoing::new(message.build()));
            let broker = self.outward.broker_of(&outgoing);
            let too_large = |broker| too_large(&outgoing, self.outward.capabilities(broker).max_message);
            if let Some(error) = broker.map_or_else(Some, too_large) {
                body.returned.clear();
                return Err(error);
            }
            body.returned.push(outgoing);
        }
        Ok(())
    }

    /// Carries the outputs out as far as that needs no waiting; the rest goes into `todo`.
    pub(crate) fn carry_out(&mut self, now: Time, todo: &mut Todo) {
        let mut outs = std::mem::take(&mut self.outs);
        for out in outs.drain(..) {
            self.carry_out_one(now, out, todo);
        }
        // Nothing above steps the engine, so nothing was added meanwhile.
        self.outs = outs;
        self.refuse_waits(now);
    }

    fn carry_out_one(&mut self, now: Time, out: Out, todo: &mut Todo) {
        match out {
            Out::Start { slot, route, attempt, .. } => {
                let Some(body) = self.bodies.get_mut(slot) else { return };
                let Some(incoming) = body.incoming.clone() else { return };
                (body.attempt, body.said) = (attempt, BodySaid::Other);
                self.observe(route, &incoming, What::Started { attempt });
                let context = Arc::clone(&self.routes[route.0 as usize].context);
                let mut message = Delivered::new(incoming, attempt);
                message.ticket = ticket(slot);
                todo.starts.push((slot, route, Delivery::one(message, context)));
            }
            Out::StartBatch { slot, route, .. } => {
                let (engine, bodies) = (&self.engine, &mut self.bodies);
                let begin = |one: &Slot| {
                    let body = bodies.get_mut(*one)?;
                    (body.attempt, body.said) = (engine.attempt(*one), BodySaid::Other);
                    let mut message = Delivered::new(body.incoming.clone()?, body.attempt);
                    (message.ticket, message.lane) = (ticket(*one), engine.lane(*one));
                    Some(message)
                };
                let messages: Vec<Delivered> = engine.batch(slot).iter().filter_map(begin).collect();
                if let Some(body) = bodies.get_mut(slot) {
                    body.batch.clear();
                    body.batch.extend_from_slice(engine.batch(slot));
                }
                for one in &messages {
                    self.observe(route, &one.incoming, What::Started { attempt: one.attempt });
                }
                let context = Arc::clone(&self.routes[route.0 as usize].context);
                todo.starts.push((slot, route, Delivery::batch(messages, context)));
            }
            Out::Cancel { slot } => self.cut_short(slot, todo),
            Out::PublishReturned { slot } => {
                let Some(body) = self.bodies.get(slot) else { return };
                todo.publishes.extend(body.returned.iter().map(|outgoing| (slot, outgoing.clone())));
                if body.returned.is_empty() {
                    self.commit_claims(slot);
                }
            }
            Out::PublishDead { slot, reason, attempts } => self.bury(slot, reason, attempts, todo),
            Out::PublishRetry { slot, delay, attempts } => self.send_to_wait(slot, delay, attempts, todo),
            Out::Settle { slot, settle } => {
                let Some(incoming) = self.bodies.get(slot).and_then(|body| body.incoming.as_ref()) else { return };
                todo.settles.push((slot, Settlement::new(incoming.token.clone(), settle)));
            }
            Out::Commit { part, .. } => todo.commits.extend(self.engine.commit(now, part)),
            Out::Grant { part, epoch, messages, bytes } => {
                if let Some(control) = &self.control {
                    control.grant(part, epoch, messages, bytes);
                }
            }
            Out::Revoked { part, epoch } => todo.revoked.push((part, epoch)),
            Out::Swap { held, new } => self.swap(held, new),
            Out::Free { slot, end } => self.free(slot, end),
            Out::Drained => todo.drained = true,
            Out::Note(Note::Stuck { slot }) => self.stuck(slot),
            Out::Note(note) => self.note(note),
        }
    }

    /// A redelivery of what is held: its token is the one that settles from now on. Doing it twice does no harm.
    fn swap(&mut self, held: Slot, new: Slot) {
        let newer = self
            .bodies
            .get(new)
            .and_then(|body| body.incoming.as_ref())
            .map(|incoming| (incoming.token.clone(), incoming.deliveries));
        if let (Some((token, deliveries)), Some(held)) =
            (newer, self.bodies.get_mut(held).and_then(|body| body.incoming.as_mut()))
        {
            held.token = token;
            held.deliveries = deliveries;
        }
    }

    /// Extensions that are due, for the keeper.
    pub(crate) fn extensions(&mut self, now: Time) -> Vec<(Slot, Settlement)> {
        // Redeliveries that the driver has not come to yet: the old tokens may be stale.
        let swaps: Vec<_> = self
            .outs
            .iter()
            .filter_map(|out| if let Out::Swap { held, new } = out { Some((*held, *new)) } else { None })
            .collect();
        for (held, new) in swaps {
            self.swap(held, new);
        }
        let mut outs = Vec::new();
        self.engine.extend(now, &mut outs);
        let settlement = |out: Out| {
            let Out::Settle { slot, settle } = out else { return None };
            let token = self.bodies.get(slot)?.incoming.as_ref()?.token.clone();
            Some((slot, Settlement::new(token, settle)))
        };
        outs.into_iter().filter_map(settlement).collect()
    }

    /// A call is cancelled. If its time was over, it has failed; that shows in the engine's count of attempts.
    fn cut_short(&mut self, slot: Slot, todo: &mut Todo) {
        todo.cancels.extend(self.bodies.get_mut(slot).and_then(|body| body.call.take()));
        // It may have been told to start in this very round, and has not been called yet.
        todo.starts.retain(|(other, ..)| *other != slot);
        let members = self.members(slot);
        self.release_claims(&members);
        for one in members {
            let attempt = self.engine.attempt(one);
            let Some(body) = self.bodies.get_mut(one) else { continue };
            if attempt <= body.attempt {
                self.cancelled += u64::from(self.stopping);
                continue;
            }
            let route = &self.routes[body.route.0 as usize];
            let text = format!("the handler took longer than its timeout of {:?}", route.timeout.unwrap_or_default());
            Failure::record(&mut body.failure, &Said(text));
            Counters::add(&route.counters.failed);
        }
    }

    /// The messages of the call that this one names: of the batch, or it alone.
    pub(super) fn members(&self, slot: Slot) -> Vec<Slot> {
        let batch = self.bodies.get(slot).map_or(&[][..], |body| &body.batch);
        if batch.is_empty() { vec![slot] } else { batch.to_vec() }
    }

    fn bury(&mut self, slot: Slot, reason: convoke_core::DeadReason, attempts: u32, todo: &mut Todo) {
        // It was not handled: sent back from there, it has to be.
        self.release_claims(&[slot]);
        let Some(body) = self.bodies.get_mut(slot) else { return };
        let Some(incoming) = &body.incoming else { return };
        let route = &self.routes[body.route.0 as usize];
        let attempts = attempts + u32::from(body.said == BodySaid::GiveUp);
        if body.replacement.is_none() {
            let failure = body.failure.as_deref();
            let context = &route.context;
            let death = Death { reason, attempts, failure, group: &context.group, handler: &context.handler };
            let dead = route.source(incoming.message.topic()).dead;
            body.replacement = Some(letter(incoming, &dead, &death, self.max_message));
            tracing::warn!(
                handler = &*context.handler, topic = %incoming.message.topic(), partition = incoming.partition,
                position = %incoming.position, reason = reason.as_str(), attempts, %dead,
                error = failure.map_or("", |failure| failure.error.as_str()), "a message goes to the dead-letter topic"
            );
        }
        if let Some(outgoing) = &body.replacement {
            todo.publishes.push((slot, outgoing.clone()));
        }
        let (route, incoming) = (body.route, incoming.clone());
        let error = self.bodies.get(slot).and_then(|body| body.failure.as_ref()).map(|failure| failure.error.clone());
        self.observe(route, &incoming, What::Dying { reason, attempts, error: error.as_deref() });
    }

    /// What was published for a slot is answered. What is confirmed is not published again.
    pub(crate) fn published(&mut self, now: Time, slot: Slot, result: Published, confirmed: &[bool]) {
        if let Some(body) = self.bodies.get_mut(slot)
            && body.replacement.is_none()
        {
            let mut confirmed = confirmed.iter();
            body.returned.retain(|_| !confirmed.next().copied().unwrap_or(false));
            if result == Published::Confirmed && self.claims.desk.used() && self.commit_claims(slot) {
                return;
            }
        }
        self.step(now, In::Published { slot, result });
    }

    /// A publish for this slot was refused for good. `Again` if something smaller can be published in its place.
    pub(crate) fn refused(&mut self, slot: Slot, error: &convoke_core::Error) -> Published {
        if self.refused_wait(slot, error) {
            return Published::Refused;
        }
        let Some(body) = self.bodies.get_mut(slot) else { return Published::Refused };
        if let Some(letter) = &body.replacement {
            // On their way headers grow, and brokers have limits that they do not tell.
            if error.kind() == ErrorKind::TooLarge
                && let Some(smaller) = spare(letter)
            {
                tracing::warn!(%error, "a dead letter was too large: it is published without the text of its error");
                body.replacement = Some(smaller);
                return Published::Again;
            }
            Failure::record(&mut body.failure, error);
            tracing::error!(%error, "a dead letter was refused");
            return Published::Refused;
        }
        // The engine turns to the dead letters next, which are made with this error in them.
        body.returned.clear();
        for one in self.members(slot) {
            let Some(body) = self.bodies.get_mut(one).filter(|body| body.said == BodySaid::Done) else { continue };
            body.said = BodySaid::GiveUp;
            Failure::record(&mut body.failure, error);
            Counters::add(&self.routes[body.route.0 as usize].counters.failed);
        }
        Published::Refused
    }

    /// A settlement is answered. Within [`elapse`](Self::elapse) and [`follow`](Self::follow).
    pub(crate) fn settled(&mut self, now: Time, slot: Slot, settle: Settle, answer: Answer) {
        self.engine.take(now, In::Settled { slot, settle, answer }, &mut self.outs);
    }

    /// How many messages are held and not settled, or were lost in a drain after they had been handled.
    pub(crate) fn unsettled(&self) -> u64 {
        self.bodies.len() as u64 + self.torn
    }

    /// How many messages of all handlers are done.
    pub(crate) fn done(&self) -> u64 {
        let of = |counters: &Counters| {
            [&counters.handled, &counters.known, &counters.dead, &counters.dropped, &counters.skipped]
                .iter()
                .map(|c| c.load(Ordering::Relaxed))
                .sum::<u64>()
        };
        self.routes.iter().map(|route| of(&route.counters)).sum()
    }
}
