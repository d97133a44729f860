//! What came to a topic without a partition: published again to the partition of its key, and acknowledged when that is confirmed.
//!
//! There is one queue of such messages for a topic, whatever groups it has, and one of all who read the topic works at it at a time: so what one
//! client publishes stays in order.

use std::sync::Arc;
use std::time::Duration;

use convoke_broker_common::Backoff;
use convoke_core::Topic;
use convoke_core::broker::PublishOutcome;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use tokio::sync::{mpsc, oneshot};

use crate::publish::Publisher;
use crate::topology::look;
use crate::{failure, names};

/// How many messages are on their way at once.
const AHEAD: u16 = 128;

/// Who asks how many messages wait, answered over the channel on which they come.
type Asks = mpsc::UnboundedReceiver<oneshot::Sender<u64>>;

/// Works until the connection ends.
pub(crate) async fn run(connection: Arc<Connection>, publisher: Arc<Publisher>, topic: Topic, mut asks: Asks) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    while connection.status().connected() {
        let failed = match begin(&connection, &topic).await {
            Ok((channel, mut consumer)) => {
                let failed = work(&channel, &mut consumer, &mut asks, &publisher, &topic, &mut backoff).await;
                // What is not acknowledged is put back in its order; only then does the consumer go.
                let _ = tokio::time::timeout(Duration::from_secs(5), channel.close(200, "again".into())).await;
                failed
            }
            Err(error) => failure::said(&error),
        };
        if connection.status().connected() {
            tracing::warn!(%topic, why = failed, "messages of other clients wait for their partition; it is tried again");
            tokio::time::sleep(backoff.failed()).await;
        }
    }
}

async fn begin(connection: &Connection, topic: &Topic) -> lapin::Result<(Channel, Consumer)> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(AHEAD, BasicQosOptions::default()).await?;
    let queue = names::foreign_queue(topic.as_str());
    let consumer = channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await?;
    Ok((channel, consumer))
}

/// Returns why it cannot go on.
async fn work(
    channel: &Channel,
    consumer: &mut Consumer,
    asks: &mut Asks,
    publisher: &Publisher,
    topic: &Topic,
    backoff: &mut Backoff,
) -> String {
    let queue = names::foreign_queue(topic.as_str());
    loop {
        let (mut next, asked) = tokio::select! {
            next = consumer.next() => (Some(next), None),
            Some(answer) = asks.recv() => match look(channel, &queue).await {
                // What was sent before the answer is here before it.
                Ok(found) => (consumer.next().now_or_never(), Some((answer, u64::from(found.message_count())))),
                Err(error) => return failure::said(&error),
            },
        };
        let mut batch: Vec<Delivery> = Vec::new();
        while let Some(delivery) = next {
            match delivery {
                Some(Ok(delivery)) => batch.push(delivery),
                Some(Err(error)) => return failure::said(&error),
                None => return "the server cancelled the consumer: was the queue deleted?".to_owned(),
            }
            next = consumer.next().now_or_never();
        }
        if let Some((answer, waiting)) = asked {
            let _ = answer.send(waiting + batch.len() as u64);
        }
        let Some(last) = batch.last().map(|delivery| delivery.delivery_tag) else { continue };
        for outcome in publisher.pass_on(topic, batch).await {
            match outcome {
                PublishOutcome::Rejected { error, .. } | PublishOutcome::Unknown(error) => return error.to_string(),
                _ => {}
            }
        }
        if let Err(error) = channel.basic_ack(last, BasicAckOptions { multiple: true }).await {
            return failure::said(&error);
        }
        backoff.reset();
    }
}
