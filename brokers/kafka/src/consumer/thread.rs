//! The polling thread.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use convoke_core::broker::SubscriptionEvent;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::context::Context;
use super::state::{Phase, Shared};
use super::tick::Tick;
use crate::client::lock;
use crate::errors;

/// How long a poll waits.
const POLL: Duration = Duration::from_millis(50);
/// How often is polled while the buffers are full: the group must hear of us, and each poll may bring one message more.
const SELDOM: Duration = Duration::from_millis(250);
/// How many messages are taken before they are delivered.
const BATCH: usize = 256;

pub(super) fn run(shared: &Arc<Shared>, consumer: Arc<BaseConsumer<Context>>) {
    let begun = if shared.plan.broadcast { shared.take_all(&consumer) } else { consumer.subscribe(&shared.plan.leaders()) };
    if let Err(error) = begun {
        tracing::warn!(group = shared.plan.group, %error, "the Kafka consumer cannot begin");
        shared.fail();
    }
    let mut tick = Tick::new(&shared.plan);
    let mut seldom = false;
    while shared.is_running() {
        if seldom {
            // Credit ends the pause.
            let state = lock(&shared.state);
            if state.phase == Phase::Running {
                drop(shared.wake.wait_timeout(state, SELDOM).unwrap_or_else(PoisonError::into_inner));
            }
            seldom = shared.deliver_all(&consumer);
        }
        let mut wait = if seldom { Duration::ZERO } else { POLL };
        let (mut left, mut missing) = (if seldom { 1 } else { BATCH }, false);
        while left > 0 {
            match consumer.poll(wait) {
                // Each partition has one to tell; looking costs as long as a fetch waits, and finds them all.
                Some(Err(error)) if is_gap(&error) => {
                    missing = true;
                    left += 1;
                }
                Some(Err(error)) => shared.trouble(&error),
                Some(Ok(record)) => shared.take_in(&record),
                None => break,
            }
            left -= 1;
            wait = Duration::ZERO;
        }
        if missing {
            shared.find_gaps(&consumer);
        }
        seldom = shared.deliver_all(&consumer);
        tick.pass(shared, &consumer);
    }
    shared.leave(consumer);
}

impl Shared {
    /// Where nobody reads any more, and nobody said so, the process is gone, as far as anybody can tell.
    pub(super) fn is_running(&self) -> bool {
        let mut state = lock(&self.state);
        if state.phase == Phase::Running && self.events.is_gone() {
            state.phase = Phase::Dropped;
        }
        state.phase == Phase::Running
    }

    fn trouble(&self, error: &KafkaError) {
        let code = error.rdkafka_error_code();
        match code {
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
                tracing::warn!(group = self.plan.group, %error, "the Kafka consumer has failed for good; another takes its place");
                self.fail();
            }
            Some(
                Code::GroupAuthorizationFailed
                | Code::TopicAuthorizationFailed
                | Code::InconsistentGroupProtocol
                | Code::InvalidSessionTimeout,
            ) => {
                // Said, and ended: the runtime opens another after a while, and the reason shows meanwhile.
                let text = format!("the group `{}` cannot read; {}", self.plan.group, next_step(code));
                self.events.tell(SubscriptionEvent::Interrupted(errors::error(&text, error)));
                self.fail();
            }
            // It goes on by itself, and the connection's health says so.
            Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::OperationTimedOut | Code::RequestTimedOut) => {}
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                tracing::warn!(group = self.plan.group, %error, "a topic that is read is not there");
            }
            _ => tracing::info!(group = self.plan.group, %error, "the Kafka consumer reports an error, and goes on"),
        }
    }
}

/// Whether a position is not there: librdkafka does not say which.
fn is_gap(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(Code::AutoOffsetReset | Code::OffsetOutOfRange))
}

fn next_step(code: Option<Code>) -> &'static str {
    match code {
        Some(Code::InconsistentGroupProtocol) => {
            "its members ask for different assignors: give them the same `assignor=…` in the URL, or groups of their own"
        }
        Some(Code::InvalidSessionTimeout) => "`session` is not between the brokers' group.min and group.max.session.timeout.ms",
        _ => "give it the rights on its topics and on the group",
    }
}
