//! One partition: a channel, a consumer on it, and the messages between the server and the runtime.
//!
//! A channel has one consumer, and is closed without cancelling it: only so does the server put everything back in its order.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use convoke_broker_common::Events;
use convoke_core::broker::{Deliveries, Settle, Settled, Token};
use convoke_core::{Epoch, Incoming, PartId, Position, Topic};
use futures_util::future::try_join_all;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::ledger::{Acks, Ledger};
use super::parts::Command;
use crate::topology::look;
use crate::{failure, wire};

/// How many messages are told of in one event.
const AT_ONCE: usize = 256;

/// What a partition's task works with.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) part: PartId,
    pub(crate) epoch: Epoch,
    pub(crate) topic: Topic,
    pub(crate) partition: u32,
    pub(crate) queue: String,
    pub(crate) prefetch: Option<u16>,
    pub(crate) channel: Channel,
    pub(crate) events: Events,
    /// How long the server may take to answer.
    pub(crate) patience: Duration,
}

#[derive(Debug, Default)]
struct State {
    consumer: Option<Consumer>,
    granted: u32,
    /// What the server has sent ahead of what was granted: never more than the prefetch.
    ahead: VecDeque<Incoming>,
    ledger: Ledger,
    /// When it ends at the latest.
    until: Option<Instant>,
}

/// How a partition's task ended.
#[derive(Debug)]
pub(crate) enum End {
    /// As it was told to.
    Told,
    /// The channel is gone, or had to go.
    Lost(String),
}

impl Part {
    /// Works until it is told to end, or the channel does. What is not settled then is back in the queue, in its place.
    pub(crate) async fn run(self, mut commands: mpsc::UnboundedReceiver<Command>) -> (End, usize) {
        let mut state = State::default();
        let end = self.work(&mut state, &mut commands).await;
        // The consumer lives until the channel does not: it would be cancelled first.
        let _ = tokio::time::timeout(self.patience, self.channel.close(200, "given back".into())).await;
        (end, state.ledger.unsettled())
    }

    async fn work(&self, state: &mut State, commands: &mut mpsc::UnboundedReceiver<Command>) -> End {
        loop {
            let deadline = state.until;
            let step = tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::End) | None => return End::Told,
                    Some(command) => self.command(state, command).await,
                },
                delivery = next(&mut state.consumer) => self.deliveries(state, delivery),
                () = sleep_until(deadline) => Err("its owner took too long to give it back".to_owned()),
            };
            if let Err(why) = step {
                return End::Lost(why);
            }
        }
    }

    async fn command(&self, state: &mut State, command: Command) -> Result<(), String> {
        match command {
            Command::Grant(_) if state.ledger.given_back() > 0 && state.until.is_none() => {
                return Err("what was given back comes again in its place".to_owned());
            }
            Command::Grant(messages) => {
                state.granted = state.granted.saturating_add(messages);
                if state.consumer.is_none() && state.granted > 0 {
                    state.consumer = Some(self.consume(messages).await?);
                }
                self.flush(state);
            }
            Command::Settle(settlements, answer) => self.settle(state, settlements, answer).await?,
            Command::Backlog(answer) => {
                let asked = tokio::time::timeout(self.patience, look(&self.channel, &self.queue)).await;
                let queue = asked.map_err(|_| "the server does not answer".to_owned())?.map_err(|error| failure::said(&error))?;
                // What was sent before the answer is here before it.
                let arrived = state.consumer.as_mut().and_then(|consumer| consumer.next().now_or_never());
                if let Some(first) = arrived {
                    self.deliveries(state, first)?;
                }
                let _ = answer.send(u64::from(queue.message_count()) + state.ahead.len() as u64);
            }
            Command::Revoke(within) => state.until = Some(Instant::now() + within),
            Command::End => {}
        }
        Ok(())
    }

    /// The first grant is half of the partition's even share of what may be in flight: that share is what the server sends at most
    /// without an acknowledgement. It cannot be changed for a consumer.
    async fn consume(&self, granted: u32) -> Result<Consumer, String> {
        let share = u16::try_from(granted.saturating_mul(2)).unwrap_or(u16::MAX);
        let begun = async {
            self.channel.basic_qos(self.prefetch.unwrap_or(share), BasicQosOptions::default()).await?;
            let options = BasicConsumeOptions::default();
            self.channel.basic_consume(self.queue.as_str().into(), "".into(), options, FieldTable::default()).await
        };
        match tokio::time::timeout(self.patience, begun).await {
            Ok(Ok(consumer)) => Ok(consumer),
            Ok(Err(error)) => Err(failure::said(&error)),
            Err(_) => Err("the server does not answer".to_owned()),
        }
    }

    /// Takes this delivery and those behind it that have come already.
    fn deliveries(&self, state: &mut State, first: Option<lapin::Result<Delivery>>) -> Result<(), String> {
        let mut next = Some(first);
        let mut count = 0;
        while let Some(delivery) = next {
            let delivery = delivery.ok_or("the server cancelled the consumer: was the queue deleted?")?;
            let delivery = delivery.map_err(|error| failure::said(&error))?;
            let tag = delivery.delivery_tag;
            if !state.ledger.delivered(tag) {
                return Err(format!("the delivery tag {tag} came out of turn"));
            }
            state.ahead.push_back(self.incoming(delivery));
            count += 1;
            let consumer = state.consumer.as_mut().filter(|_| count < AT_ONCE);
            next = consumer.and_then(|consumer| consumer.next().now_or_never());
        }
        self.flush(state);
        Ok(())
    }

    fn incoming(&self, delivery: Delivery) -> Incoming {
        let position = Position::Tag(delivery.delivery_tag);
        let received = wire::received(&self.topic, &delivery.properties, delivery.data, delivery.redelivered);
        let token = Token::new(self.part, self.epoch, position);
        let mut incoming = Incoming::new(received.message, self.partition, position, token);
        incoming.deliveries = received.deliveries;
        incoming.published_at = received.published_at;
        incoming
    }

    /// Tells of what was granted, unless the partition is wanted elsewhere.
    fn flush(&self, state: &mut State) {
        let count = state.ahead.len().min(usize::try_from(state.granted).unwrap_or(usize::MAX));
        if count > 0 && state.until.is_none() {
            state.granted -= u32::try_from(count).unwrap_or(u32::MAX);
            let messages = state.ahead.drain(..count).collect();
            self.events.deliver(Deliveries::new(self.part, self.epoch, messages));
        }
    }

    async fn settle(
        &self,
        state: &mut State,
        settlements: Vec<(u64, Settle)>,
        answer: oneshot::Sender<Vec<Settled>>,
    ) -> Result<(), String> {
        let mut acks = Acks::default();
        let ledger = &mut state.ledger;
        let mut one = |(tag, settle)| match settle {
            Settle::Ack => ledger.done(tag, &mut acks),
            Settle::Nack { .. } => ledger.back(tag),
            _ => ledger.is_open(tag),
        };
        let taken: Vec<bool> = settlements.into_iter().map(&mut one).collect();
        ledger.settle(&mut acks);
        let said = tokio::time::timeout(self.patience, self.acknowledge(acks)).await;
        let said = said.unwrap_or_else(|_| Err("the server takes no acknowledgements".to_owned()));
        let settled = |taken| if taken && said.is_ok() { Settled::Applied } else { Settled::Stale };
        let _ = answer.send(taken.into_iter().map(settled).collect());
        said
    }

    async fn acknowledge(&self, acks: Acks) -> Result<(), String> {
        let upto = acks.upto.map(|tag| self.channel.basic_ack(tag, BasicAckOptions { multiple: true }));
        let single = acks.single.into_iter().map(|tag| self.channel.basic_ack(tag, BasicAckOptions { multiple: false }));
        let all = try_join_all(single.map(FutureExt::boxed).chain(upto.map(FutureExt::boxed)));
        all.await.map(drop).map_err(|error| failure::said(&error))
    }
}

async fn next(consumer: &mut Option<Consumer>) -> Option<lapin::Result<Delivery>> {
    match consumer {
        Some(consumer) => consumer.next().await,
        None => pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => pending().await,
    }
}
