//! How a subscription is steered.

use std::collections::BTreeMap;
use std::sync::Arc;

use convoke_core::broker::{Commit, Settled, Settlement, SubscriptionControl};
use convoke_core::{BoxFuture, Epoch, PartId, Position};
use tokio::sync::{mpsc, oneshot};

use super::parts::{Command, Parts};
use crate::failure;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) parts: Arc<Parts>,
    pub(crate) close: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

impl SubscriptionControl for Control {
    fn grant(&self, part: PartId, epoch: Epoch, messages: u32, _bytes: u64) {
        self.parts.tell(part, epoch, Command::Grant(messages));
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'static, Vec<Settled>> {
        let count = batch.len();
        let mut by_part = BTreeMap::<(PartId, Epoch), (Vec<usize>, Vec<_>)>::new();
        for (place, Settlement { token, settle, .. }) in batch.into_iter().enumerate() {
            let Position::Tag(tag) = token.position else { continue };
            let (places, settlements) = by_part.entry((token.part, token.epoch)).or_default();
            places.push(place);
            settlements.push((tag, settle));
        }
        let mut waits = Vec::with_capacity(by_part.len());
        for ((part, epoch), (places, settlements)) in by_part {
            let (answer, answered) = oneshot::channel();
            self.parts.tell(part, epoch, Command::Settle(settlements, answer));
            waits.push((places, answered));
        }
        Box::pin(async move {
            let mut all: Vec<Settled> = (0..count).map(|_| Settled::Stale).collect();
            for (places, answered) in waits {
                // Of a partition that is not ours any more nobody answers.
                for (place, answer) in places.into_iter().zip(answered.await.unwrap_or_default()) {
                    all[place] = answer;
                }
            }
            all
        })
    }

    fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'static, Vec<Settled>> {
        let refused =
            batch.iter().map(|_| Settled::Failed(failure::unsupported("commits: each message is settled by itself"))).collect();
        Box::pin(std::future::ready(refused))
    }

    fn revoked(&self, part: PartId, epoch: Epoch) {
        self.parts.tell(part, epoch, Command::End);
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let (done, closed) = oneshot::channel();
        let _ = self.close.send(done);
        Box::pin(async move {
            let _ = closed.await;
        })
    }
}
