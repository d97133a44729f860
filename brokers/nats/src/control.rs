//! How the runtime steers a subscription: by words to the task that reads.

use std::future::ready;

use convoke_core::broker::{Commit, Settled, Settlement, SubscriptionControl};
use convoke_core::{BoxFuture, Epoch, Error, ErrorKind, PartId};
use tokio::sync::{mpsc, oneshot};

/// A word to the task that reads.
#[derive(Debug)]
pub(crate) enum Command {
    Grant { part: PartId, epoch: Epoch, messages: u32 },
    Settle { batch: Vec<Settlement>, answer: oneshot::Sender<Vec<Settled>> },
    Revoked { part: PartId, epoch: Epoch },
    Close { done: oneshot::Sender<()> },
}

/// The words are not bounded in number, but by what there is to say: grants and settlements of what was delivered.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
}

impl SubscriptionControl for Control {
    fn grant(&self, part: PartId, epoch: Epoch, messages: u32, _bytes: u64) {
        let _ = self.commands.send(Command::Grant { part, epoch, messages });
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'static, Vec<Settled>> {
        let count = batch.len();
        let (answer, answered) = oneshot::channel();
        let _ = self.commands.send(Command::Settle { batch, answer });
        // Without an answer the subscription is over, or has lost what it had.
        Box::pin(async move { answered.await.unwrap_or_else(|_| (0..count).map(|_| Settled::Stale).collect()) })
    }

    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'static, Vec<Settled>> {
        let refused = |_: &Commit| {
            Settled::Failed(Error::new(ErrorKind::Unsupported, "NATS settles each message by itself; there are no commits"))
        };
        Box::pin(ready(batch.iter().map(refused).collect()))
    }

    fn revoked(&self, part: PartId, epoch: Epoch) {
        let _ = self.commands.send(Command::Revoked { part, epoch });
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let (done, closed) = oneshot::channel();
        let sent = self.commands.send(Command::Close { done });
        Box::pin(async move {
            if sent.is_ok() {
                let _ = closed.await;
            }
        })
    }
}
