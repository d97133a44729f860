//! A connection that is made again for as long as it takes.
//!
//! The client's own recovery is off: it keeps whoever waits for a confirmation waiting until the connection is back. Here every
//! connection is a generation; whoever works with one sees it end, says so at once, and begins anew with the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_broker_common::Backoff;
use convoke_core::Error;
use futures_util::{FutureExt, StreamExt};
use lapin::options::BasicQosOptions;
use lapin::{Connection, Event};
use tokio::sync::{Notify, watch};

use crate::options::Options;
use crate::{connect, failure};

const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(2);
/// How often a connection is looked at that says nothing.
const LOOK: Duration = Duration::from_secs(1);

/// How a link is.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// Rises with every connection.
    pub(crate) generation: u64,
    pub(crate) connection: Option<Arc<Connection>>,
    /// Until when the server keeps the connection, whatever happens to this process.
    pub(crate) until: Instant,
    pub(crate) failures: u32,
    pub(crate) reason: Option<String>,
    /// Why the server takes nothing for now.
    pub(crate) blocked: Option<String>,
    pub(crate) closed: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Link {
    options: Arc<Options>,
    app: String,
    role: &'static str,
    /// The number of the server that answered first.
    place: usize,
    state: watch::Sender<State>,
    failed: Notify,
}

impl Link {
    /// Connects for the first time, to the first server that answers, beginning with that of this number. One that says nothing leaves
    /// time for the others.
    pub(crate) async fn open(
        options: &Arc<Options>,
        app: &str,
        role: &'static str,
        from: usize,
        within: Duration,
    ) -> Result<Arc<Self>, Error> {
        let (begun, count) = (Instant::now(), options.servers.len());
        let mut last = None;
        for number in from..from + count {
            let others = u32::try_from(from + count - number).unwrap_or(u32::MAX);
            let left = within.saturating_sub(begun.elapsed()).max(FIRST) / others;
            let sent = Instant::now();
            match connect::connect(options, app, role, number, left).await {
                Ok(connection) => return Ok(Self::start(options, app, role, number, connection, sent)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| failure::down(None)))
    }

    fn start(
        options: &Arc<Options>,
        app: &str,
        role: &'static str,
        place: usize,
        connection: Connection,
        sent: Instant,
    ) -> Arc<Self> {
        let connection = Arc::new(connection);
        let state = State {
            generation: 1,
            connection: Some(Arc::clone(&connection)),
            until: sent + options.term(),
            failures: 0,
            reason: None,
            blocked: None,
            closed: false,
        };
        let link = Arc::new(Self {
            options: Arc::clone(options),
            app: app.to_owned(),
            role,
            place,
            state: watch::Sender::new(state),
            failed: Notify::new(),
        });
        tokio::spawn(Arc::clone(&link).supervise(connection, sent));
        link
    }

    pub(crate) const fn place(&self) -> usize {
        self.place
    }

    pub(crate) fn options(&self) -> &Arc<Options> {
        &self.options
    }

    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// The connection, if there is one now.
    pub(crate) fn connection(&self) -> Result<(u64, Arc<Connection>), Error> {
        let state = self.state.borrow();
        match &state.connection {
            Some(connection) => Ok((state.generation, Arc::clone(connection))),
            None if state.closed => Err(failure::closed()),
            None => Err(failure::down(state.reason.as_deref())),
        }
    }

    /// Something is wrong with the connection of this generation: it is given up for the next one.
    pub(crate) fn fail(&self, generation: u64, reason: &str) {
        let failed = self.state.send_if_modified(|state| {
            let present = state.generation == generation && state.connection.is_some();
            if present {
                state.connection = None;
                state.reason = Some(reason.to_owned());
            }
            present
        });
        if failed {
            self.failed.notify_one();
        }
    }

    /// Ends it for good, and says so to the server if that is possible within this time.
    pub(crate) async fn close(&self, within: Duration) {
        let connection = self.state.borrow().connection.clone();
        self.give_up();
        if let Some(connection) = connection {
            // The client would wait for the answer of a server that is gone.
            tokio::select! {
                _ = connection.close(200, "closed".into()) => {}
                () = is_lost(&connection) => {}
                () = tokio::time::sleep(within.min(self.options.term())) => {}
            }
        }
    }

    /// Ends it for good, without a word.
    pub(crate) fn give_up(&self) {
        self.state.send_modify(|state| (state.closed, state.connection) = (true, None));
        self.failed.notify_one();
    }

    async fn supervise(self: Arc<Self>, first: Arc<Connection>, sent: Instant) {
        let mut next = Some((first, sent));
        let mut backoff = Backoff::new(FIRST, MOST);
        while let Some((connection, sent)) = next.take() {
            let reason = tokio::select! {
                reason = self.listen(&connection) => reason,
                reason = self.keep(&connection, sent) => reason,
                () = self.failed.notified() => "it was given up".to_owned(),
            };
            self.state.send_modify(|state| {
                state.connection = None;
                state.blocked = None;
                state.reason.get_or_insert(reason);
            });
            part_with(connection);
            next = self.reconnect(&mut backoff).await;
        }
    }

    /// Tries until it succeeds, or the link is closed.
    async fn reconnect(&self, backoff: &mut Backoff) -> Option<(Arc<Connection>, Instant)> {
        backoff.reset();
        for number in 1.. {
            let wait = backoff.failed();
            if self.state.borrow().closed {
                return None;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.failed.notified() => continue,
            }
            if self.state.borrow().closed {
                return None;
            }
            let sent = Instant::now();
            match connect::connect(&self.options, &self.app, self.role, number, self.options.term()).await {
                Ok(connection) => {
                    let connection = Arc::new(connection);
                    let taken = self.state.send_if_modified(|state| {
                        if !state.closed {
                            state.generation += 1;
                            (state.failures, state.reason, state.blocked) = (0, None, None);
                            (state.until, state.connection) = (sent + self.options.term(), Some(Arc::clone(&connection)));
                        }
                        !state.closed
                    });
                    return taken.then_some((connection, sent));
                }
                Err(error) => {
                    tracing::warn!(%error, role = self.role, "RabbitMQ cannot be reached; it is tried again");
                    self.state.send_modify(|state| {
                        state.failures += 1;
                        state.reason = Some(error.to_string());
                    });
                }
            }
        }
        None
    }

    /// Ends when the connection does, and says why.
    async fn listen(&self, connection: &Connection) -> String {
        let mut events = connection.events_listener();
        loop {
            // Not every end of a connection is an event.
            let event = match tokio::time::timeout(LOOK, events.next()).await {
                Ok(Some(event)) => event,
                Err(_) if connection.status().connected() => continue,
                _ => return "the connection was lost".to_owned(),
            };
            match event {
                Event::ConnectionBlocked(why) => {
                    tracing::warn!(%why, role = self.role, "RabbitMQ is short of memory or disk, and takes nothing for now");
                    self.state.send_modify(|state| state.blocked = Some(why));
                }
                Event::ConnectionUnblocked => self.state.send_modify(|state| state.blocked = None),
                // Errors of channels come here too; those are the matter of who has the channel.
                Event::Error(error) if !connection.status().connected() => return failure::said(&error),
                _ => {}
            }
        }
    }

    /// Asks for an answer four times in the term for which the server keeps a silent connection. An answer says that the connection
    /// lived when it was asked for, and so for a term from then on: a process that was frozen meanwhile finds the term over, and starts
    /// nothing unless it hears that it still has what it had.
    async fn keep(&self, connection: &Connection, mut sent: Instant) -> String {
        let term = self.options.term();
        let Ok(Ok(channel)) = tokio::time::timeout(term, connection.create_channel()).await else {
            return "no channel could be opened".to_owned();
        };
        loop {
            tokio::time::sleep_until((sent + term / 4).into()).await;
            sent = Instant::now();
            match tokio::time::timeout(term * 2, channel.basic_qos(1, BasicQosOptions::default())).await {
                Ok(Ok(())) => self.state.send_modify(|state| state.until = sent + term),
                Ok(Err(error)) => return failure::said(&error),
                Err(_) => return format!("nothing was heard for {:?}", term * 2),
            }
        }
    }
}

/// Ends when the connection has ended otherwise than by being closed.
async fn is_lost(connection: &Connection) {
    while !connection.status().errored() {
        tokio::time::sleep(FIRST).await;
    }
}

/// A connection that is done with is closed without waiting, whatever state it is in.
fn part_with(connection: Arc<Connection>) {
    tokio::spawn(
        tokio::time::timeout(MOST, async move {
            let _ = connection.close(200, "given up".into()).await;
        })
        .map(drop),
    );
}
