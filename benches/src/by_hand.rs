//! The way through a loop that is written by hand: what a careful user of the broker's own client would write for the same
//! guarantee. A message is settled after it was handled, settlements go in batches, as much is in flight as convoke has by default.

use std::future::poll_fn;
use std::sync::Arc;

use convoke::BoxError;
use convoke::broker::{Broker as _, Settle, Settled, Settlement, SubscribeSpec, Subscription, SubscriptionEvent};
use convoke::memory::MemoryBroker;

use crate::plan::Plan;
use crate::quote::{Quote, tally};

/// How much is in flight: convoke's default.
const MESSAGES: u32 = 512;
const BYTES: u64 = 16 * 1024 * 1024;

pub(crate) struct Ready {
    broker: Arc<MemoryBroker>,
    subscription: Subscription,
    topics: Vec<convoke::Topic>,
    credit: (u32, u64),
    left: u64,
}

pub(crate) async fn prepare(broker: Arc<MemoryBroker>, plan: &Plan) -> Result<Ready, BoxError> {
    let topics: Vec<_> = (0..plan.topics()).map(|index| convoke::Topic::from(plan.topic(index))).collect();
    let subscription = broker.subscribe(SubscribeSpec::new("quotes", topics.clone())).await?;
    let parts = plan.partitions * u32::try_from(topics.len())?;
    let credit = ((MESSAGES / parts).max(1), BYTES / u64::from(parts));
    Ok(Ready { broker, subscription, topics, credit, left: plan.messages })
}

impl Ready {
    pub(crate) async fn drain(&mut self) -> Result<(), BoxError> {
        let Subscription { events, control, .. } = &mut self.subscription;
        while self.left > 0 {
            match poll_fn(|cx| events.as_mut().poll_next(cx)).await.ok_or("the subscription has ended")? {
                SubscriptionEvent::Assigned { part, epoch, .. } => control.grant(part, epoch, self.credit.0, self.credit.1),
                SubscriptionEvent::Deliveries(deliveries) => {
                    let mut batch = Vec::with_capacity(deliveries.messages.len());
                    let mut bytes = 0;
                    for incoming in deliveries.messages {
                        let quote: Quote = serde_json::from_slice(incoming.message.payload())?;
                        tally(&quote);
                        bytes += incoming.message.size() as u64;
                        batch.push(Settlement::new(incoming.token, Settle::Ack));
                    }
                    let count = batch.len();
                    let answers = control.settle(batch).await;
                    if answers.len() != count || !answers.iter().all(|answer| matches!(answer, Settled::Applied)) {
                        return Err("a settlement was not applied".into());
                    }
                    self.left -= count as u64;
                    control.grant(deliveries.part, deliveries.epoch, u32::try_from(count)?, bytes);
                }
                other => return Err(format!("unexpected: {other:?}").into()),
            }
        }
        Ok(())
    }

    pub(crate) async fn finish(self) -> Result<(), BoxError> {
        let lag = self.broker.lag("quotes", &self.topics).await?;
        self.subscription.control.close().await;
        if lag.is_zero() { Ok(()) } else { Err(format!("void: {lag:?} is left on the broker").into()) }
    }
}
