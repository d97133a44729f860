//! Messages: from librdkafka into a buffer, and out of it within the credit.

use std::time::{Duration, Instant, UNIX_EPOCH};

use convoke_broker_common::Events;
use convoke_core::broker::{Deliveries, Token};
use convoke_core::{Epoch, Incoming, PartId, Position};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Message as _, Timestamp};

use super::context::Context;
use super::state::{Part, Shared, State, part_id};
use crate::client::lock;
use crate::record;

/// How much all partitions together may have in their buffers.
const MESSAGES: usize = 4096;
const BYTES: usize = 32 << 20;
/// How long a partition may be without credit, before it is paused for the sake of others. A pause throws away what was fetched ahead,
/// and its end costs a second.
const LONG: Duration = Duration::from_secs(1);

impl Shared {
    /// Takes a message in.
    pub(super) fn take_in(&self, record: &BorrowedMessage<'_>) {
        let Some(topic) = self.plan.topic(record.topic()) else { return };
        let topic = &self.plan.topics[topic].0;
        let (Ok(partition), Ok(offset)) = (u32::try_from(record.partition()), u64::try_from(record.offset())) else { return };
        let message = record::message(record, topic);
        let mut state = lock(&self.state);
        let Some(index) = state.part_of(&(topic.clone(), partition)) else { return };
        let part = &mut state.parts[index];
        if !part.owned || part.revoking || offset < part.next || offset >= part.end {
            return;
        }
        part.next = offset + 1;
        let position = Position::Offset(offset);
        let token = Token::new(part_id(index), part.epoch, position);
        part.buffer_bytes += message.size();
        let mut incoming = Incoming::new(message, partition, position, token);
        incoming.published_at = match record.timestamp() {
            Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => {
                u64::try_from(millis).ok().map(|millis| UNIX_EPOCH + Duration::from_millis(millis))
            }
            Timestamp::NotAvailable => None,
        };
        part.buffer.push_back(incoming);
    }

    /// Credit came.
    pub(super) fn grant(&self, part: PartId, epoch: Epoch, messages: u32, bytes: u64) {
        let mut state = lock(&self.state);
        let Some(owned) = state.owned(part, epoch) else { return };
        owned.credit = owned.credit.saturating_add(messages.into());
        owned.credit_bytes = owned.credit_bytes.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
        if !owned.buffer.is_empty() {
            state.deliver(part.0 as usize, &self.events);
            self.nudge();
        }
    }

    /// Delivers what there is credit for, pauses and resumes. Says whether to poll seldom.
    pub(super) fn deliver_all(&self, consumer: &BaseConsumer<Context>) -> bool {
        let mut state = lock(&self.state);
        for index in 0..state.parts.len() {
            if !state.parts[index].buffer.is_empty() {
                state.deliver(index, &self.events);
            }
        }
        state.balance(consumer)
    }
}

impl State {
    /// Delivers what there is credit for.
    pub(super) fn deliver(&mut self, index: usize, events: &Events) {
        let part = &mut self.parts[index];
        let mut messages = Vec::new();
        if part.owned && part.open && !part.revoking {
            while part.credit > 0 && part.credit_bytes > 0 {
                let Some(incoming) = part.buffer.pop_front() else { break };
                let size = incoming.message.size();
                part.credit -= 1;
                // The last message may go over the bytes.
                part.credit_bytes -= i64::try_from(size).unwrap_or(i64::MAX);
                part.buffer_bytes -= size.min(part.buffer_bytes);
                if let Position::Offset(offset) = incoming.position {
                    part.given = offset + 1;
                }
                messages.push(incoming);
            }
        }
        part.stuck =
            if part.buffer.is_empty() { None } else { part.stuck.filter(|_| messages.is_empty()).or(Some(Instant::now())) };
        events.deliver(Deliveries::new(part_id(index), part.epoch, messages));
    }

    /// Pauses partitions whose messages have waited long for credit, while others have credit and nothing to do.
    fn balance(&mut self, consumer: &BaseConsumer<Context>) -> bool {
        let owned = self.parts.iter().filter(|part| part.owned).count().max(1);
        let (most, most_bytes) = ((MESSAGES / owned).max(16), (BYTES / owned).max(1 << 16));
        let is_full = |part: &Part| part.buffer.len() >= most || part.buffer_bytes >= most_bytes;
        let now = Instant::now();
        let (mut pause, mut resume, mut seldom) = (Vec::new(), Vec::new(), false);
        let hungry = self.parts.iter().any(|part| part.owned && !part.revoking && part.buffer.is_empty());
        for (part, index) in self.parts.iter().zip(0..).filter(|(part, _)| part.owned) {
            if part.paused {
                if part.buffer.len() <= most / 2 && part.buffer_bytes <= most_bytes / 2 && part.next < part.end {
                    resume.push(index);
                }
            } else if part.next >= part.end {
                pause.push(index);
            } else if is_full(part) {
                let long = part.stuck.is_some_and(|since| now.duration_since(since) >= LONG);
                let far = part.buffer.len() >= 2 * most || part.buffer_bytes >= 2 * most_bytes;
                if (hungry && long) || far {
                    pause.push(index);
                } else {
                    seldom = true;
                }
            }
        }
        self.set_paused(consumer, &pause, true);
        self.set_paused(consumer, &resume, false);
        seldom
    }

    fn set_paused(&mut self, consumer: &BaseConsumer<Context>, parts: &[usize], paused: bool) {
        if parts.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(parts.len());
        for index in parts {
            let part = &mut self.parts[*index];
            part.paused = paused;
            list.add_partition(part.place.0.as_str(), i32::try_from(part.place.1).unwrap_or(i32::MAX));
        }
        let done = if paused { consumer.pause(&list) } else { consumer.resume(&list) };
        if let Err(error) = done {
            tracing::debug!(%error, paused, "partitions could not be paused or resumed");
        }
    }
}
