//! The connection that everything but waiting goes through, and whoever brings it back.

mod hello;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use convoke_broker_common::Backoff;
use convoke_core::Error;
use convoke_core::broker::Health;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

pub(crate) use hello::Server;

use crate::failure::{self, Failure};
use crate::options::Options;

/// How often the server is asked whether it is there, when nothing else is.
const PING_EVERY: Duration = Duration::from_secs(2);
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A connection that is made anew for as long as it takes.
pub(crate) struct Link {
    pub(crate) options: Options,
    app: String,
    /// Which of the servers it is. Another may be silent, and cost time.
    place: AtomicUsize,
    state: watch::Sender<State>,
    generations: AtomicU64,
}

#[derive(Clone)]
pub(crate) enum State {
    Up { generation: u64, connection: MultiplexedConnection },
    Down { failures: u32, reason: String },
    Closed,
}

impl Link {
    /// Connects, and keeps connected from here on. What may pass is tried again until `within` is over.
    pub(crate) async fn open(options: Options, app: String, within: Duration) -> Result<(Arc<Self>, Server), Error> {
        let until = Instant::now() + within;
        let (mut backoff, place) = (Backoff::new(FIRST_WAIT, Duration::from_secs(1)), AtomicUsize::new(0));
        let (connection, server) = loop {
            let attempt = timeout_at(until, hello::connect(&options, &app, &place)).await;
            match attempt {
                Ok(Ok(connected)) => break connected,
                Ok(Err(error)) if !error.is_retryable() => return Err(error),
                Ok(Err(error)) => {
                    let wait = backoff.failed();
                    if Instant::now() + wait >= until {
                        return Err(error);
                    }
                    sleep(wait).await;
                }
                Err(_) => return Err(hello::late(&options, &options.servers.join(", "), within)),
            }
        };
        server.tell(&options);
        let (state, _) = watch::channel(State::Up { generation: 1, connection });
        let link = Arc::new(Self { options, app, place, state, generations: AtomicU64::new(1) });
        tokio::spawn(keep(Arc::downgrade(&link), link.state.subscribe()));
        Ok((link, server))
    }

    /// A connection of its own, for what blocks, with the id by which the server can be asked to unblock it.
    pub(crate) async fn another(&self, response: Duration) -> Result<(MultiplexedConnection, i64), Error> {
        hello::connect_for_waiting(&self.options, &self.app, &self.place, response).await
    }

    /// Tells of every change.
    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(crate) fn health(&self) -> Health {
        match &*self.state.borrow() {
            State::Up { .. } => Health::Up,
            State::Down { failures, reason } => Health::Down { failures: *failures, reason: reason.clone() },
            State::Closed => Health::Closed,
        }
    }

    pub(crate) fn close(&self) {
        self.state.send_replace(State::Closed);
    }

    pub(crate) fn connection(&self) -> Result<(u64, MultiplexedConnection), Failure> {
        match &*self.state.borrow() {
            State::Up { generation, connection } => Ok((*generation, connection.clone())),
            State::Down { reason, .. } => Err(Failure::NotSent(reason.clone())),
            State::Closed => Err(Failure::NotSent("this connection is closed".to_owned())),
        }
    }

    /// The connection of this generation is broken.
    pub(crate) fn lost(&self, generation: u64, error: &dyn std::fmt::Display) {
        self.state.send_if_modified(|state| {
            let broken = matches!(state, State::Up { generation: present, .. } if *present == generation);
            if broken {
                *state = State::Down { failures: 1, reason: error.to_string() };
            }
            broken
        });
    }

    fn failed(&self, generation: u64, error: RedisError) -> Failure {
        if failure::breaks(&error) {
            self.lost(generation, &error);
        }
        if failure::is_said(&error) { Failure::Refused(error) } else { Failure::NoAnswer(error.to_string()) }
    }

    /// Asks one thing.
    pub(crate) async fn ask(&self, question: &Cmd) -> Result<Value, Failure> {
        let (generation, mut connection) = self.connection()?;
        question.query_async(&mut connection).await.map_err(|error| self.failed(generation, error))
    }

    /// Asks many things at once; each has an answer of its own, in the same order.
    pub(crate) async fn ask_all(&self, questions: &mut Pipeline) -> Result<Vec<Result<Value, Failure>>, Failure> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let (generation, mut connection) = self.connection()?;
        let answers: Vec<RedisResult<Value>> =
            questions.ignore_errors().query_async(&mut connection).await.map_err(|error| self.failed(generation, error))?;
        Ok(answers.into_iter().map(|answer| answer.map_err(|error| self.failed(generation, error))).collect())
    }
}

/// Brings the connection back whenever it is lost, for as long as anybody has it.
async fn keep(link: std::sync::Weak<Link>, mut state: watch::Receiver<State>) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let present = state.borrow_and_update().clone();
        match present {
            State::Closed => return,
            State::Up { .. } => {
                backoff.reset();
                let quiet = tokio::time::timeout(PING_EVERY, state.changed()).await.is_err();
                let Some(link) = link.upgrade() else { return };
                if quiet {
                    // Whatever is wrong, `ask` has told it.
                    let _ = link.ask(&redis::cmd("PING")).await;
                }
            }
            State::Down { .. } => {
                sleep(backoff.failed()).await;
                let Some(link) = link.upgrade() else { return };
                let connected = hello::connect(&link.options, &link.app, &link.place).await;
                let next = match connected {
                    Ok((connection, _)) => State::Up { generation: link.generations.fetch_add(1, Relaxed) + 1, connection },
                    Err(error) => State::Down { failures: backoff.failures() + 1, reason: error.to_string() },
                };
                link.state.send_if_modified(|state| {
                    let open = !matches!(state, State::Closed);
                    if open {
                        *state = next;
                    }
                    open
                });
            }
        }
    }
}
