//! The conformance suite on the memory broker, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use convoke_conformance::{FILLER, Foreign, Harness, Stop, Time};
use convoke_core::broker::{Broker, Fault, Faults as _, PublishOutcome};
use convoke_core::{Error, Headers, Message, MessageBuilder, Outgoing};
use convoke_memory::{Full, MemoryBroker, Options};

struct Memory {
    /// The broker lives as long as this connection.
    broker: MemoryBroker,
    time: Time,
}

impl Memory {
    fn new(time: Time) -> Self {
        // Small, so that messages that nobody has read can be pushed out.
        let options = Options::default().retention_bytes(16 << 20).full(Full::Trim);
        let options = if time == Time::Virtual { options } else { options.lease(Duration::from_secs(2)) };
        Self { broker: MemoryBroker::with(options).expect("options that can be"), time }
    }

    async fn publish(&self, message: Message) -> Result<(), Stop> {
        match self.broker.publish(vec![Outgoing::new(message)]).await.pop() {
            Some(PublishOutcome::Confirmed(_)) => Ok(()),
            other => Err(Stop::failed(format!("the foreign client cannot publish: {other:?}"))),
        }
    }
}

/// What is left out is lacking: nothing outlives this broker, which cannot be killed alone nor be silent.
#[async_trait]
impl Harness for Memory {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn time(&self) -> Time {
        self.time
    }

    async fn open(&self) -> Result<Arc<dyn Broker>, Error> {
        Ok(Arc::new(self.broker.another()))
    }

    async fn kill(&self) -> Result<(), Stop> {
        Err(Stop::lacking("the memory broker lives in this process, and nothing outlives it"))
    }

    async fn cut(&self, down: Duration) -> Result<(), Stop> {
        Ok(self.broker.inject(Fault::Cut { down })?)
    }

    async fn freeze(&self, _down: Duration) -> Result<(), Stop> {
        Err(Stop::lacking("the memory broker answers at once, or is cut off"))
    }

    async fn discard(&self, topic: &str) -> Result<(), Stop> {
        let filler = Message::builder(topic).header("ce-type", FILLER).payload(vec![0; 1_000_000]).build();
        for _ in 0..17 {
            self.publish(filler.clone()).await?;
        }
        Ok(())
    }

    async fn produce_foreign(&self, topic: &str, message: Foreign) -> Result<(), Stop> {
        let mut builder: MessageBuilder = Message::builder(topic).headers(message.headers.into_iter().collect::<Headers>());
        if let Some(key) = message.key {
            builder = builder.key(key);
        }
        self.publish(match message.payload {
            Some(payload) => builder.payload(payload).build(),
            None => builder.tombstone().build(),
        })
        .await
    }

    async fn read_all_foreign(&self, topic: &str) -> Result<Vec<Foreign>, Stop> {
        let foreign = |message: Message| Foreign {
            key: message.key().map(|key| key.as_bytes().to_vec()),
            headers: message.headers().iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            payload: (!message.is_tombstone()).then(|| message.payload().to_vec()),
        };
        Ok(self.broker.messages(topic).into_iter().map(foreign).collect())
    }
}

#[test]
fn the_memory_broker_keeps_the_delivery_contract() {
    convoke_conformance::run(|_| Memory::new(Time::Virtual)).assert();
}

/// As adapters of brokers elsewhere are tried: every process on a thread of its own, killed and frozen there.
#[test]
#[ignore = "takes some minutes: it waits in real time"]
fn the_memory_broker_keeps_the_delivery_contract_in_real_time() {
    convoke_conformance::run(|_| Memory::new(Time::Real { stretch: 1 })).assert();
}
