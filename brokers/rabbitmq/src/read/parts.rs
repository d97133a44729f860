//! The partitions that this subscription has now, as its control finds them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use convoke_core::broker::{Settle, Settled};
use convoke_core::{Epoch, PartId};
use tokio::sync::{mpsc, oneshot};

/// What a partition's task is told.
#[derive(Debug)]
pub(crate) enum Command {
    Grant(u32),
    Settle(Vec<(u64, Settle)>, oneshot::Sender<Vec<Settled>>),
    /// Nothing more is delivered; after this time it ends, whatever is left.
    Revoke(Duration),
    /// How many messages wait in the queue and here.
    Backlog(oneshot::Sender<u64>),
    /// The drain is over, or the subscription.
    End,
}

/// A partition that is ours.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) epoch: Epoch,
    pub(crate) queue: String,
    pub(crate) revoking: bool,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
}

/// Whoever is asked how many messages wait.
pub(crate) type Asked = mpsc::UnboundedSender<oneshot::Sender<u64>>;

#[derive(Debug, Default)]
pub(crate) struct Parts {
    held: Mutex<HashMap<PartId, Handle>>,
    /// Who passes on what has no partition yet, by its queue.
    routers: Mutex<HashMap<String, Asked>>,
}

impl Parts {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<PartId, Handle>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who passes on what comes to this queue.
    pub(crate) fn routes(&self, queue: &str, asked: Asked) {
        self.routers.lock().unwrap_or_else(PoisonError::into_inner).insert(queue.to_owned(), asked);
    }

    /// Tells a partition's task, if it is of this epoch.
    pub(crate) fn tell(&self, part: PartId, epoch: Epoch, command: Command) {
        if let Some(handle) = self.lock().get(&part).filter(|handle| handle.epoch == epoch) {
            let _ = handle.commands.send(command);
        }
    }

    /// Takes a partition out that has ended.
    pub(crate) fn end(&self, part: PartId, epoch: Epoch) -> Option<Handle> {
        let mut parts = self.lock();
        let present = parts.get(&part).is_some_and(|handle| handle.epoch == epoch);
        present.then(|| parts.remove(&part)).flatten()
    }

    /// Asks who reads this queue here, if anybody does. Answered over the channel of its deliveries, so that none is on its way
    /// that is not counted.
    pub(crate) fn backlog(&self, queue: &str) -> Option<oneshot::Receiver<u64>> {
        let (answer, answered) = oneshot::channel();
        if let Some(router) = self.routers.lock().unwrap_or_else(PoisonError::into_inner).get(queue) {
            return router.send(answer).ok().map(|()| answered);
        }
        let parts = self.lock();
        let handle = parts.values().find(|handle| handle.queue == queue)?;
        handle.commands.send(Command::Backlog(answer)).ok().map(|()| answered)
    }

    pub(crate) fn all(&self) -> Vec<(PartId, Epoch)> {
        self.lock().iter().map(|(part, handle)| (*part, handle.epoch)).collect()
    }
}
