//! The task that reads for one subscription: it joins the group, takes its share, delivers and settles, and begins anew after every
//! loss of the connection.

mod apart;
mod deliver;
mod end;
mod gaps;
mod session;
mod settle;
mod units;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_broker_common::{Backoff, Epochs, Events};
use convoke_core::broker::{Settled, Start, SubscriptionEvent};
use convoke_core::{Error, Topic};
use tokio::sync::{mpsc, oneshot};

use crate::aside::Doubt;
use crate::control::Command;
use crate::link::Link;
use crate::part::Part;
use crate::publish::Places;
use crate::router::Routers;
use crate::store::Store;
use session::Session;

/// What is read, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) group: String,
    /// The topics and patterns, as they were written.
    pub(crate) written: Vec<Topic>,
    pub(crate) start: Start,
    pub(crate) until_end: bool,
    /// Whether this subscription has all partitions by itself, and shares none.
    pub(crate) alone: bool,
    pub(crate) patterns: bool,
    /// How long there is to finish with a partition that another member is to have.
    pub(crate) revoke: Duration,
    /// Whether acknowledgements are waited for.
    pub(crate) confirm_acks: bool,
}

impl Spec {
    /// For how long the server keeps consumers that nobody reads: those of a group for ever.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        self.alone.then_some(Duration::from_secs(300))
    }
}

/// What outlives an interruption.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) link: Arc<Link>,
    pub(crate) places: Arc<Places>,
    pub(crate) routers: Arc<Routers>,
    pub(crate) store: Store,
    pub(crate) spec: Spec,
    pub(crate) scope: String,
    pub(crate) events: Events,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    /// A partition's index is its number for the runtime.
    pub(crate) parts: Vec<Part>,
    pub(crate) epochs: Epochs,
    /// The memberships that we had before: what they left is ours, and nobody died of it.
    pub(crate) former: Vec<String>,
    /// The units that we took of somebody who died, when the runtime has not heard of it yet.
    pub(crate) bereft: BTreeSet<u32>,
    /// Without a group there are no owners whose revisions could count.
    pub(crate) last_epoch: u64,
    /// Whether messages are asked for over a connection of their own.
    pub(crate) apart: bool,
}

/// Why a session ended in peace.
enum End {
    /// It was closed, by whoever waits for this, or has reached its end.
    Closed(Option<oneshot::Sender<()>>),
    /// Nobody reads any more.
    Gone,
}

impl Reader {
    /// Reads until it is closed, or nobody listens.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let closed = loop {
            let (begun, connection) = (Instant::now(), *self.link.up.borrow());
            match Session::run(&mut self).await {
                Ok(End::Closed(done)) => break done,
                Ok(End::Gone) => break None,
                Err(error) => {
                    let broken = *self.link.up.borrow() != connection;
                    self.interrupted(error, broken);
                }
            }
            if begun.elapsed() > Duration::from_secs(10) {
                backoff.reset();
            }
            if let Some(done) = self.wait(backoff.failed()).await {
                if done.is_some() && !self.spec.alone {
                    self.farewell().await;
                }
                break done;
            }
        };
        self.events.end();
        if let Some(done) = closed {
            let _ = done.send(());
        }
    }

    /// Everything is lost; it is said once until we are back.
    fn interrupted(&mut self, error: Error, broken: bool) {
        tracing::warn!(group = self.spec.group, error = %error, "reading is interrupted");
        for part in &mut self.parts {
            if broken || self.apart {
                part.interrupted();
            } else {
                part.let_go();
                part.doubt = Doubt::Nothing;
            }
        }
        for (part, epoch) in std::mem::take(&mut self.epochs).all() {
            self.events.tell(SubscriptionEvent::Lost { part, epoch });
        }
        self.events.interrupted(error);
    }

    /// Waits until it is time to try again and there is a connection. Something, if it is over in the meantime.
    async fn wait(&mut self, time: Duration) -> Option<Option<oneshot::Sender<()>>> {
        let (pause, link) = (tokio::time::sleep(time), Arc::clone(&self.link));
        let connected = async move {
            pause.await;
            let mut up = link.up.clone();
            while !link.is_up() && up.changed().await.is_ok() {}
        };
        tokio::pin!(connected);
        loop {
            tokio::select! {
                () = &mut connected => return None,
                () = self.events.gone() => return Some(None),
                command = self.commands.recv() => match command {
                    Some(Command::Close { done }) => return Some(Some(done)),
                    Some(command) => refuse(command),
                    None => return Some(None),
                },
            }
        }
    }
}

/// Nothing is ours: there is nothing that could be settled.
fn refuse(command: Command) {
    if let Command::Settle { batch, answer } = command {
        let _ = answer.send(batch.iter().map(|_| Settled::Stale).collect());
    }
}
