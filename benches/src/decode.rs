//! The decoding of the payloads, and nothing else: what every way has to do.

use convoke::memory::MemoryBroker;
use convoke::{BoxError, Message};

use crate::plan::Plan;
use crate::quote::{Quote, tally};

pub(crate) struct Ready(Vec<Message>);

pub(crate) fn prepare(broker: &MemoryBroker, plan: &Plan) -> Ready {
    Ready((0..plan.topics()).flat_map(|index| broker.messages(plan.topic(index))).collect())
}

impl Ready {
    pub(crate) fn drain(&self) -> Result<(), BoxError> {
        for message in &self.0 {
            let quote: Quote = serde_json::from_slice(message.payload())?;
            tally(&quote);
        }
        Ok(())
    }
}
