//! The conformance suite on the memory broker, in virtual time; and on memory brokers that break a promise each, which it has to
//! notice.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use convoke_conformance::{FILLER, Foreign, Harness, Stop, Time};
use convoke_core::broker::{Broker, Fault, Faults as _, PublishOutcome};
use convoke_core::{Error, Headers, Message, MessageBuilder, Outgoing};
use convoke_memory::{Full, Guise, MemoryBroker, Options};
use convoke_runtime::App;

#[path = "conformance/meddling.rs"]
mod meddling;
#[path = "conformance/mutants.rs"]
mod mutants;
#[path = "conformance/sabotage.rs"]
mod sabotage;

struct Memory {
    /// The broker lives as long as this connection.
    broker: MemoryBroker,
    time: Time,
    guise: Option<Guise>,
    sabotage: Option<sabotage::Sabotage>,
    meddling: Option<meddling::Meddling>,
}

impl Memory {
    fn new(time: Time) -> Self {
        Self::dressed(None, time)
    }

    fn dressed(guise: Option<Guise>, time: Time) -> Self {
        // Small, so that messages that nobody has read can be pushed out.
        let options = Options::default().retention_bytes(16 << 20).full(Full::Trim);
        let options = if time == Time::Virtual { options } else { options.lease(Duration::from_secs(2)) };
        let options = guise.into_iter().fold(options, Options::guise);
        let broker = MemoryBroker::with(options).expect("options that can be");
        Self { broker, time, guise, sabotage: None, meddling: None }
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
        self.broker.capabilities().name.to_owned()
    }

    fn time(&self) -> Time {
        self.time
    }

    async fn open(&self) -> Result<Arc<dyn Broker>, Error> {
        let connection = Arc::new(self.broker.another());
        Ok(match self.sabotage {
            Some(sabotage) => sabotage::sabotaged(connection, sabotage),
            None => connection,
        })
    }

    fn tamper(&self, app: App) -> App {
        match self.meddling {
            Some(meddling) => app.layer(meddling),
            None => app,
        }
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
        if self.guise == Some(Guise::RabbitMq) {
            return Err(Stop::lacking("queues do not tell what they dropped"));
        }
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
            headers: convoke_core::unescape(message.headers().clone())
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
                .collect(),
            payload: (!message.is_tombstone()).then(|| message.payload().to_vec()),
        };
        Ok(self.broker.messages(topic).into_iter().map(foreign).collect())
    }
}

/// What cannot be tried on a broker in the process, which whose leases can be extended, and which commits no positions.
const LACKING: [&str; 5] = [
    "d03_a_restart_of_the_server_loses_nothing",
    "d03_a_frozen_server_loses_nothing",
    "d10_where_no_lease_can_be_extended_a_longer_timeout_is_refused",
    "d12_a_process_that_was_frozen_starts_nothing_that_another_has_taken_over",
    "d14_positions_are_committed_below_what_is_in_flight",
];

/// What cannot be tried in a guise, and nothing else.
fn lacking(guise: Option<Guise>) -> Vec<&'static str> {
    const FIXED: &str = "d10_where_no_lease_can_be_extended_a_longer_timeout_is_refused";
    const POSITIONS: &str = "d14_positions_are_committed_below_what_is_in_flight";
    const BYTES: &str = "d16_bytes_in_flight_are_bounded_too";
    let (but, more): (&[&str], &[&str]) = match guise {
        None => (&[], &[]),
        Some(Guise::Kafka | Guise::KafkaEager) => (&[POSITIONS], &[]),
        Some(Guise::Nats | Guise::Redis) => (&[], &[BYTES]),
        Some(Guise::RabbitMq) => (
            &[FIXED],
            &[
                BYTES,
                "d15_reading_to_a_marked_end_ends_when_everything_before_it_is_settled",
                "d07b_a_message_that_kills_its_process_is_given_up_and_takes_no_others",
                "d07b_what_was_in_flight_at_a_death_is_tried_alone_once",
                "d24_what_the_broker_discarded_before_it_was_read_is_reported",
                "d24_at_a_gap_the_subscription_stops_if_the_policy_says_so",
            ],
        ),
        Some(other) => panic!("nobody has said what {other:?} lacks"),
    };
    // There is no wire.
    let wire = convoke_conformance::cases().into_iter().filter(|case| convoke_conformance::disturbs_the_wire(case));
    LACKING.into_iter().filter(|case| !but.contains(case)).chain(more.iter().copied()).chain(wire).collect()
}

#[test]
fn the_memory_broker_keeps_the_delivery_contract() {
    convoke_conformance::run(|_| Memory::new(Time::Virtual)).assert().assert_lacking(&lacking(None));
}

#[test]
fn every_guise_keeps_the_delivery_contract() {
    let suites = Guise::ALL
        .map(|guise| std::thread::spawn(move || convoke_conformance::run(|_| Memory::dressed(Some(guise), Time::Virtual))));
    let reports = suites.map(|suite| suite.join().expect("a suite that ends"));
    for (report, guise) in reports.iter().zip(Guise::ALL) {
        report.assert().assert_lacking(&lacking(Some(guise)));
    }
}

/// As adapters of brokers elsewhere are tried: every process on a thread of its own, killed and frozen there.
#[test]
#[ignore = "takes some minutes: it waits in real time"]
fn the_memory_broker_keeps_the_delivery_contract_in_real_time() {
    convoke_conformance::run(|_| Memory::new(Time::Real { stretch: 1 })).assert();
}
