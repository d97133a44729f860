//! The end of a subscription.

use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_core::broker::Settled;
use rdkafka::consumer::BaseConsumer;

use super::context::Context;
use super::state::{Phase, Shared};
use crate::client::lock;

/// How long the last commits may take. Then the brokers are away, and whoever comes next repeats what they would have said.
const LAST_WORDS: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

impl Shared {
    /// Has the polling thread end, and give everything back.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        if state.phase == Phase::Running {
            state.phase = Phase::Closing;
        }
        drop(state);
        self.nudge();
    }

    /// Waits for the end; librdkafka may take as long as a session, where the brokers are away.
    pub(crate) async fn ended(&self, within: Duration) {
        let mut done = self.done.subscribe();
        let _ = tokio::time::timeout(within, done.wait_for(|done| *done)).await;
    }

    /// Ends, on the polling thread.
    pub(super) fn leave(&self, consumer: Arc<BaseConsumer<Context>>) {
        if lock(&self.state).phase == Phase::Closing && !self.plan.broadcast {
            self.say_last_words(&consumer);
        }
        let mut state = lock(&self.state);
        state.phase = Phase::Ended;
        let open = std::mem::take(&mut state.queued);
        drop(state);
        self.events.end();
        self.nudge();
        open.into_iter().for_each(|one| one.answer(Settled::Stale));
        // Leaves the group, here or where the last commit ends; its callbacks run there.
        drop(consumer);
        self.done.send_replace(true);
    }

    /// Says of what we have that we give it back.
    fn say_last_words(&self, consumer: &BaseConsumer<Context>) {
        let parts: Vec<usize> = {
            let mut state = lock(&self.state);
            let parts = (0..state.parts.len()).filter(|index| state.parts[*index].owned).collect::<Vec<_>>();
            state.say_closed(&parts);
            parts
        };
        self.nudge();
        let deadline = Instant::now() + LAST_WORDS;
        while !lock(&self.state).has_said_all(&parts) && Instant::now() < deadline {
            // Messages that come now are not ours any more.
            drop(consumer.poll(POLL));
        }
    }
}
