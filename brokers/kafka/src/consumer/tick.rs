//! What is due from time to time, on the polling thread.

use std::time::{Duration, Instant};

use convoke_core::broker::SubscriptionEvent;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::Offset;

use super::context::Context;
use super::plan::Plan;
use super::state::{Shared, part_id};
use crate::client::lock;
use crate::starts;
use crate::stranded::{self, Answer, EVERY, Sight};

const POSITIONS: Duration = Duration::from_secs(1);
/// Brokers forget, after days, what was committed for topics that the group does not name to them: the places that follow others.
const REFRESH: Duration = Duration::from_secs(3600);
/// How much longer than a session a client may take to join again: others may be slow to give back what they have.
const ADRIFT: Duration = Duration::from_secs(45);
const LOOK_FOR_END: Duration = Duration::from_millis(300);

pub(super) struct Tick {
    last: Instant,
    renewed: Instant,
    /// Since when we are suspected of having been asleep.
    asleep: Option<Instant>,
    positions: Instant,
    refreshed: Instant,
    looked: Instant,
    asked: Instant,
    sight: Sight,
    session: Duration,
}

impl Tick {
    pub(super) fn new(plan: &Plan) -> Self {
        let now = Instant::now();
        let sight = Sight::default();
        let (last, renewed, positions, refreshed, looked, asked) = (now, now, now, now, now, now);
        Self { last, renewed, asleep: None, positions, refreshed, looked, asked, sight, session: plan.session }
    }

    pub(super) fn pass(&mut self, shared: &Shared, consumer: &BaseConsumer<Context>) {
        let now = Instant::now();
        lock(&shared.state).expire(now);
        self.renew(shared, now);
        if !shared.plan.broadcast && now.duration_since(self.positions) >= POSITIONS {
            self.positions = now;
            let refresh = now.duration_since(self.refreshed) >= REFRESH;
            if refresh {
                self.refreshed = now;
            }
            shared.commit_idle(consumer, refresh);
        }
        self.look_whether_adrift(shared, consumer, now);
        if !consumer.context().is_connected() {
            self.sight.excuse();
        } else if now.duration_since(self.asked) >= EVERY {
            self.asked = now;
            let answer = stranded::ask(consumer.client(), Duration::from_millis(500));
            self.replace_if_stranded(shared, &answer, now);
        }
        if shared.plan.until_end && now.duration_since(self.looked) >= LOOK_FOR_END {
            shared.look_for_end(consumer);
            self.looked = Instant::now();
        }
    }

    /// Whoever has lost everything joins again at once. A client that has not managed for long, though the brokers are there, hangs
    /// within itself, and another takes its place.
    pub(super) fn look_whether_adrift(&self, shared: &Shared, consumer: &BaseConsumer<Context>, now: Instant) {
        let since = lock(&shared.state).adrift;
        if since.is_some_and(|since| now.duration_since(since) > self.session + ADRIFT) && consumer.context().is_connected() {
            tracing::warn!(
                group = shared.plan.group,
                "the group took back its partitions, and has let nobody in again; another client joins it"
            );
            shared.fail();
        }
    }

    /// A client that does not find the servers, which are there, is replaced.
    pub(super) fn replace_if_stranded(&mut self, shared: &Shared, answer: &Answer, now: Instant) {
        if self.sight.note(answer, now) {
            tracing::warn!(
                group = shared.plan.group,
                "the Kafka consumer has lost sight of the servers, which are there; another takes its place"
            );
            shared.fail();
        }
    }

    /// The local deadline of what we have: while this thread runs, so do librdkafka's heartbeats, and their failing is told by a loss.
    /// Only a process that slept does not know yet what it has lost: nothing starts until that must have come out.
    fn renew(&mut self, shared: &Shared, now: Instant) {
        if now.duration_since(self.last) > shared.plan.revoke_within + self.session / 3 {
            self.asleep = Some(now);
        }
        self.last = now;
        if self.asleep.is_some_and(|since| now.duration_since(since) < self.session / 6) {
            return;
        }
        self.asleep = None;
        if now.duration_since(self.renewed) < self.session / 6 {
            return;
        }
        self.renewed = now;
        let state = lock(&shared.state);
        for (part, index) in state.parts.iter().zip(0..).filter(|(part, _)| part.owned) {
            shared.events.renewed(part_id(index), part.epoch, now + self.session);
        }
    }
}

impl Shared {
    /// What Kafka has not taken yet of a partition that is to be opened is said again.
    ///
    /// Where nothing is in flight, markers of transactions behind the last message are done too: else they would be called a backlog.
    fn commit_idle(&self, consumer: &BaseConsumer<Context>, refresh: bool) {
        let Ok(positions) = consumer.position() else { return };
        let mut state = lock(&self.state);
        let mut asked = Vec::new();
        for index in 0..state.parts.len() {
            let part = &state.parts[index];
            let busy = !state.has_said_all(&[index]);
            if !part.owned || part.revoking || busy {
                continue;
            }
            let position = starts::find(&positions, &part.place).and_then(|one| starts::number(one.offset()));
            let ahead = position.and_then(|position| part.idle_at(position));
            if ahead.is_none() && part.open && !refresh {
                continue;
            }
            asked.extend(state.asked(index, ahead.unwrap_or(part.kept.upto), part.kept.progress(), true));
            if let Some(position) = ahead {
                (state.parts[index].next, state.parts[index].given) = (position, position);
            }
        }
        state.queued.extend(asked);
        drop(state);
        self.nudge();
    }

    /// Whether the group has settled everything below the marks.
    fn look_for_end(&self, consumer: &BaseConsumer<Context>) {
        let places = self.plan.places();
        let committed =
            starts::list(&places, Offset::Invalid).and_then(|list| consumer.committed_offsets(list, Duration::from_secs(2)));
        let Ok(committed) = committed else { return };
        let is_done = |place: &starts::Place| {
            let end = self.plan.end_of(place).unwrap_or(0);
            let found = starts::find(&committed, place).and_then(|one| starts::number(one.offset()));
            end == 0 || found.is_some_and(|upto| upto >= end)
        };
        if places.iter().all(is_done) {
            self.events.tell(SubscriptionEvent::AtEnd);
            self.events.end();
        }
    }
}
