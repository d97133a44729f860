//! A member of a group: from one connection to the next, until it is closed.

use std::sync::Arc;
use std::time::Duration;

use convoke_broker_common::{Backoff, Events};
use convoke_core::{Error, Topic};
use tokio::sync::{mpsc, oneshot};

use super::parts::Parts;
use super::session::Session;
use crate::failure;
use crate::publish::Publisher;
use crate::shared::Shared;

/// What a subscription reads.
#[derive(Debug)]
pub(crate) struct Reads {
    pub(crate) group: String,
    /// With the number of partitions of each.
    pub(crate) topics: Vec<(Topic, u32)>,
    /// The member's name.
    pub(crate) instance: String,
    pub(crate) broadcast: bool,
    /// How many messages of a partition are sent ahead, if that is said.
    pub(crate) prefetch: Option<u16>,
    /// How long there is to finish with a partition that another member is to have.
    pub(crate) revoke: Duration,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) shared: Arc<Shared>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) reads: Reads,
    pub(crate) events: Events,
    pub(crate) parts: Arc<Parts>,
    /// The number of the last assignment.
    pub(crate) epoch: u64,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) enum Over {
    /// The subscription was closed; whoever waits for it is to be told.
    Closed(Option<oneshot::Sender<()>>),
    /// Nobody reads any more, and nobody said so: that is a crash.
    Gone,
    /// The connection is gone, or of no use.
    Down(Error),
}

impl Member {
    pub(crate) fn new(shared: Arc<Shared>, publisher: Arc<Publisher>, reads: Reads, events: Events, parts: Arc<Parts>) -> Self {
        Self { shared, publisher, reads, events, parts, epoch: 0 }
    }

    /// Works over one connection after the other.
    pub(crate) async fn run(mut self, mut closing: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
        let mut backoff = Backoff::new(std::time::Duration::from_millis(200), std::time::Duration::from_secs(5));
        loop {
            let over = match self.connected(&mut closing).await {
                Ok((generation, connection)) => {
                    let mut session = Session::new(&mut self, generation, connection);
                    let over = session.run(&mut closing, &mut backoff).await;
                    session.end(&over).await;
                    over
                }
                Err(over) => over,
            };
            match over {
                Over::Down(error) => {
                    self.events.interrupted(error);
                    tokio::time::sleep(backoff.failed()).await;
                }
                Over::Gone => return,
                Over::Closed(done) => {
                    self.events.end();
                    if let Some(done) = done {
                        let _ = done.send(());
                    }
                    return;
                }
            }
        }
    }

    /// Waits for a connection.
    async fn connected(
        &self,
        closing: &mut mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    ) -> Result<(u64, Arc<lapin::Connection>), Over> {
        let mut state = self.shared.reading.watch();
        let up = async {
            let state = state.wait_for(|state| state.connection.is_some() || state.closed).await.ok()?;
            state.connection.clone().map(|connection| (state.generation, connection))
        };
        tokio::select! {
            // Without a control nobody can close it, and the stream may still be read.
            Some(done) = closing.recv() => Err(Over::Closed(Some(done))),
            () = self.events.gone() => Err(Over::Gone),
            up = up => up.ok_or(Over::Closed(None)),
        }
    }

    /// Everything that has to be there is made again where it is not.
    pub(crate) async fn ensure(&self) -> Result<(), Error> {
        let Reads { group, topics, instance, broadcast, .. } = &self.reads;
        for (topic, _) in topics {
            if *broadcast {
                self.shared.ensure_instance(topic, group, instance).await?;
            } else {
                self.shared.ensure_group(topic, group, convoke_core::broker::EnsureMode::Create).await?;
            }
        }
        Ok(())
    }

    pub(crate) fn down(&self) -> Over {
        Over::Down(failure::down(self.shared.reading.state().reason.as_deref()))
    }
}
