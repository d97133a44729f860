//! Waiting for something to read, on a connection of its own.
//!
//! It waits by `XREAD`, which takes nothing: whatever becomes of the answer, no message is in it. What it tells is only where to look.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use convoke_core::Error;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult, Value, cmd};
use tokio::time::Instant;

use super::member::{Member, Stopped};
use super::part::Reading;
use crate::failure::Failure;
use crate::link::Link;
use crate::reply::{bytes, list, number};

/// How long the server waits before it says that there is nothing.
const BLOCK: Duration = Duration::from_secs(5);
/// The same where nobody may unblock it.
const BLOCK_SHORT: Duration = Duration::from_millis(250);
/// The question may not have reached the server yet when it is to be unblocked.
const UNBLOCK_AGAIN: Duration = Duration::from_millis(5);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// Something new in a partition.
    Part(usize),
    /// Somebody came to a topic's group, or left it.
    News(usize),
    /// What clients wrote to a topic that know nothing of partitions.
    Foreign(usize),
    /// Something that is to be published later.
    Later(usize),
}

type Answer = Pin<Box<dyn Future<Output = RedisResult<Value>> + Send>>;

pub(super) struct Waiting {
    connection: MultiplexedConnection,
    client: i64,
    block: Duration,
    outstanding: Option<(Answer, Vec<(Watched, String)>)>,
    unblock_at: Option<Instant>,
}

/// What came of waiting.
pub(super) struct Told {
    answer: RedisResult<Value>,
    watched: Vec<(Watched, String)>,
}

impl Waiting {
    pub(super) async fn open(link: &Link) -> Result<Self, Error> {
        let (connection, client) = link.another(BLOCK).await?;
        let block = if client == 0 { BLOCK_SHORT } else { BLOCK };
        Ok(Self { connection, client, block, outstanding: None, unblock_at: None })
    }

    /// Waits until there is something to look at; for ever, if nothing was asked.
    ///
    /// Nothing is lost if the future is dropped: the question stays, and so does its answer.
    pub(super) async fn told(&mut self) -> Told {
        let answer = match &mut self.outstanding {
            Some((answer, _)) => answer.as_mut().await,
            None => std::future::pending().await,
        };
        self.unblock_at = None;
        Told { answer, watched: self.outstanding.take().map(|(_, watched)| watched).unwrap_or_default() }
    }

    /// When the server is to be asked again to unblock.
    pub(super) fn next(&self) -> Option<Instant> {
        self.unblock_at
    }

    fn ask(&mut self, wanted: Vec<(Watched, String, String)>) {
        let mut question = cmd("XREAD");
        question.arg("BLOCK").arg(self.block.as_millis().to_string()).arg("COUNT").arg(1).arg("STREAMS");
        for (_, key, _) in &wanted {
            question.arg(key);
        }
        for (_, _, id) in &wanted {
            question.arg(id);
        }
        let mut connection = self.connection.clone();
        let answer: Answer = Box::pin(async move { question.query_async(&mut connection).await });
        self.outstanding = Some((answer, wanted.into_iter().map(|(watched, key, _)| (watched, key)).collect()));
    }
}

impl Member {
    /// Makes sure that everything is waited for that may bring something.
    pub(super) async fn watch(&mut self) -> Result<(), Stopped> {
        let wanted = self.wanted();
        let Some((_, watched)) = &self.waiting.outstanding else {
            if !wanted.is_empty() {
                self.waiting.ask(wanted);
            }
            return Ok(());
        };
        let covered = wanted.iter().all(|(one, ..)| watched.iter().any(|(other, _)| one == other));
        let now = Instant::now();
        if covered || self.waiting.unblock_at.is_some_and(|at| at > now) || self.waiting.client == 0 {
            return Ok(());
        }
        self.waiting.unblock_at = Some(now + UNBLOCK_AGAIN);
        match self.link.ask(cmd("CLIENT").arg("UNBLOCK").arg(self.waiting.client)).await {
            Ok(answer) => {
                if number(answer) == Some(1) {
                    self.waiting.unblock_at = None;
                }
            }
            Err(Failure::Refused(_)) => (self.waiting.client, self.waiting.block) = (0, BLOCK_SHORT),
            Err(failure) => return Err(failure.into()),
        }
        Ok(())
    }

    /// Everything that may bring something: where nothing is known to be there already.
    fn wanted(&self) -> Vec<(Watched, String, String)> {
        let mut wanted = Vec::new();
        let parts = self.desk.parts();
        for (index, part) in parts.iter().enumerate() {
            let Some(own) = &part.own else { continue };
            if own.reading == Reading::Drained && own.revoking.is_none() && !own.fenced {
                wanted.push((Watched::Part(index), part.keys.stream.clone(), own.last.to_string()));
            }
        }
        for (index, topic) in self.desk.topics.iter().enumerate() {
            if !self.desk.broadcast {
                wanted.push((Watched::News(index), topic.keys.news.clone(), self.chores.of(index).news.to_string()));
            }
            // Whoever has the first partition looks after what belongs to no partition yet.
            if !parts.iter().any(|part| part.topic == index && part.number == 0 && part.own.is_some()) {
                continue;
            }
            let chores = self.chores.of(index);
            if topic.has_foreign && !chores.foreign_ready {
                wanted.push((Watched::Foreign(index), topic.name.as_str().to_owned(), chores.foreign.to_string()));
            }
            if !chores.later_ready {
                wanted.push((Watched::Later(index), topic.known.keys.later.clone(), chores.later.to_string()));
            }
        }
        wanted
    }

    /// Takes note of what waiting has brought.
    pub(super) async fn heard(&mut self, told: Told) -> Result<(), Stopped> {
        let streams = match told.answer {
            Ok(answer) => list(answer),
            Err(error) => return self.wait_anew(error).await,
        };
        for stream in streams {
            let mut stream = list(stream);
            let key = bytes(stream.next().unwrap_or_default());
            let entry = list(stream.next().unwrap_or_default()).next().and_then(|entry| list(entry).next());
            let id = entry.and_then(|id| crate::reply::Id::parse(&bytes(id))).unwrap_or_default();
            let Some((watched, _)) = told.watched.iter().find(|(_, other)| other.as_bytes() == key) else { continue };
            match *watched {
                Watched::Part(index) => {
                    if let Some(own) = self.desk.parts()[index].own.as_mut().filter(|own| own.reading == Reading::Drained) {
                        own.reading = Reading::New;
                    }
                }
                Watched::News(index) => {
                    self.chores.of_mut(index).news = id;
                    self.beat_soon();
                }
                Watched::Foreign(index) => self.chores.of_mut(index).foreign_ready = true,
                Watched::Later(index) => self.chores.of_mut(index).later_ready = true,
            }
        }
        Ok(())
    }

    /// The connection for waiting is gone: if another can be had, nothing is lost.
    async fn wait_anew(&mut self, error: RedisError) -> Result<(), Stopped> {
        match Waiting::open(&self.link).await {
            Ok(waiting) => {
                self.waiting = waiting;
                Ok(())
            }
            Err(_) => Err(Stopped::Interrupted(Failure::NoAnswer(error.to_string()))),
        }
    }
}
