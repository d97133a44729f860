//! What somebody has to do for a topic: moving what came in plainly, publishing what is due, discarding what nobody needs.

use std::time::Duration;

use redis::{Pipeline, cmd};
use tokio::time::Instant;

use super::desk::Desk;
use super::member::{Member, Stopped};
use crate::entry;
use crate::failure::Failure;
use crate::options::Options;
use crate::reply::{Id, bytes, list, text};
use crate::script;

/// How much is moved at once.
const AT_ONCE: usize = 100;
/// How often a partition is looked through for what can go.
const TRIM_AT_LEAST: Duration = Duration::from_secs(60);
const TRIM_AT_MOST: Duration = Duration::from_secs(1);

/// What is known of a topic's chores.
#[derive(Debug, Default)]
pub(super) struct TopicChores {
    /// The last news that was heard.
    pub(super) news: Id,
    /// Plain messages up to here were moved, or cannot be.
    pub(super) foreign: Id,
    pub(super) foreign_ready: bool,
    /// Up to here it is known when what is kept for later is due.
    pub(super) later: Id,
    pub(super) later_ready: bool,
    promote_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Chores {
    topics: Vec<TopicChores>,
    trim_every: Duration,
    trim_at: Option<Instant>,
    /// In turn, for plain messages without a key.
    turn: u32,
}

impl Chores {
    pub(super) fn new(desk: &Desk, options: &Options) -> Self {
        let trim_every = options.keep.map_or(TRIM_AT_LEAST, |keep| (keep / 4).clamp(TRIM_AT_MOST, TRIM_AT_LEAST));
        Self {
            topics: desk.topics.iter().map(|_| TopicChores::default()).collect(),
            trim_every,
            trim_at: options.keep.map(|_| Instant::now() + trim_every),
            turn: 0,
        }
    }

    pub(super) fn of(&self, topic: usize) -> &TopicChores {
        &self.topics[topic]
    }

    pub(super) fn of_mut(&mut self, topic: usize) -> &mut TopicChores {
        &mut self.topics[topic]
    }

    /// When something is to be done.
    pub(super) fn next(&self) -> Instant {
        let now = Instant::now();
        let never = now + Duration::from_secs(3600);
        let of =
            |topic: &TopicChores| if topic.foreign_ready || topic.later_ready { now } else { topic.promote_at.unwrap_or(never) };
        let first = self.topics.iter().map(of).min().unwrap_or(never);
        first.min(self.trim_at.unwrap_or(never))
    }
}

impl Member {
    pub(super) async fn do_chores(&mut self) -> Result<(), Stopped> {
        let now = Instant::now();
        for topic in 0..self.desk.topics.len() {
            let mine = self.desk.parts().iter().any(|part| part.topic == topic && part.number == 0 && part.own.is_some());
            let chores = self.chores.of_mut(topic);
            if !mine {
                (chores.foreign_ready, chores.later_ready, chores.promote_at) = (false, false, None);
                (chores.foreign, chores.later) = (Id::default(), Id::default());
                continue;
            }
            let promotes = chores.later_ready || chores.promote_at.is_some_and(|at| at <= now);
            if chores.foreign_ready {
                self.route(topic).await?;
            }
            if promotes {
                self.promote(topic).await?;
            }
        }
        if self.chores.trim_at.is_some_and(|at| at <= now) {
            self.chores.trim_at = Some(now + self.chores.trim_every);
            self.trim().await?;
        }
        Ok(())
    }

    /// Moves plain messages into the partitions of their keys, in order. Several may do so at once: each is moved once.
    async fn route(&mut self, topic: usize) -> Result<(), Stopped> {
        let desk = std::sync::Arc::clone(&self.desk);
        let read = &desk.topics[topic];
        let from = format!("({}", self.chores.of(topic).foreign);
        let name = read.name.as_str();
        let entries = list(self.link.ask(cmd("XRANGE").arg(name).arg(from).arg("+").arg("COUNT").arg(AT_ONCE)).await?);
        self.chores.of_mut(topic).foreign_ready = entries.len() == AT_ONCE;
        if entries.len() == 0 {
            return Ok(());
        }
        let mut call = script::ROUTE.call(&[name]);
        call.arg(&read.known.keys.prefix);
        let mut last = Id::default();
        for value in entries {
            let mut value = list(value);
            let id = bytes(value.next().unwrap_or_default());
            let message = entry::read(&read.name, value.next().unwrap_or_default());
            self.chores.turn = self.chores.turn.wrapping_add(1);
            let partitions = read.known.partitions;
            let partition = message.key().map_or(self.chores.turn % partitions, |key| key.partition(partitions));
            last = Id::parse(&id).unwrap_or(last);
            call.arg(id).arg(partition);
        }
        let refused: Vec<String> = match self.link.ask(&call).await {
            Ok(refused) => list(refused).map(text).collect(),
            // Out of memory, most likely: it is tried again when the next one comes, or somebody else has the partition.
            Err(Failure::Refused(error)) => {
                tracing::error!(topic = name, %error, "plain messages cannot be moved to their partitions");
                self.chores.of_mut(topic).foreign_ready = false;
                return Ok(());
            }
            Err(failure) => return Err(failure.into()),
        };
        if !refused.is_empty() {
            tracing::error!(topic = name, entries = ?refused, "plain messages with too many fields are left where they are");
        }
        self.chores.of_mut(topic).foreign = last;
        Ok(())
    }

    async fn promote(&mut self, topic: usize) -> Result<(), Stopped> {
        let keys = &self.desk.topics[topic].known.keys;
        let mut call = script::PROMOTE.call(&[&keys.later, &keys.scheduled]);
        let mut answer = list(self.link.ask(call.arg(&keys.prefix).arg(AT_ONCE)).await?);
        let (due, last) = (text(answer.next().unwrap_or_default()), bytes(answer.next().unwrap_or_default()));
        let chores = self.chores.of_mut(topic);
        chores.promote_at = due.parse().ok().map(|millis| Instant::now() + Duration::from_millis(millis));
        chores.later = Id::parse(&last).unwrap_or(chores.later);
        chores.later_ready = false;
        Ok(())
    }

    /// Discards what every group has settled and is older than it is to be kept.
    async fn trim(&mut self) -> Result<(), Stopped> {
        let Some(keep) = self.link.options.keep else { return Ok(()) };
        let mut pipe = Pipeline::new();
        for part in self.desk.parts().iter().filter(|part| part.own.is_some()) {
            let mut call = script::TRIM.call(&[&part.keys.stream]);
            call.arg(keep.as_millis().to_string());
            pipe.add_command(call);
        }
        for answer in self.link.ask_all(&mut pipe).await? {
            if let Err(failure @ (Failure::NotSent(_) | Failure::NoAnswer(_))) = answer {
                return Err(failure.into());
            }
        }
        Ok(())
    }
}
