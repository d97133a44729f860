//! The conformance suite on the memory broker, in virtual time; and on memory brokers that break a promise each, which it has to
//! notice.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use convoke_conformance::{FILLER, Foreign, Harness, Stop, Time};
use convoke_core::broker::{Broker, Fault, Faults as _, PublishOutcome};
use convoke_core::{Error, Headers, Message, MessageBuilder, Outgoing};
use convoke_memory::{Full, Guise, MemoryBroker, Options};
use convoke_runtime::App;
use tokio::time::Instant;

#[path = "conformance/meddling.rs"]
mod meddling;
#[path = "conformance/mutants.rs"]
mod mutants;
#[path = "conformance/sabotage.rs"]
mod sabotage;
#[path = "conformance/suffering.rs"]
mod suffering;

struct Memory {
    /// The broker lives as long as this connection.
    broker: MemoryBroker,
    time: Time,
    guise: Option<Guise>,
    sabotage: Option<sabotage::Sabotage>,
    meddling: Option<meddling::Meddling>,
    /// Where the server is to fall: what stands between it and its clients, and until when it is down.
    still: Option<suffering::Still>,
    down: Mutex<Option<Instant>>,
}

/// For how long nobody gets through to a server that was killed.
const DOWN: Duration = Duration::from_secs(1);

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
        Self { broker, time, guise, sabotage: None, meddling: None, still: None, down: Mutex::default() }
    }

    /// For the case of this name.
    fn of(self, case: &str) -> Self {
        let falls = convoke_conformance::fells_the_server(case);
        Self { still: falls.then(suffering::Still::new), ..self }
    }

    async fn publish(&self, message: Message) -> Result<(), Stop> {
        match self.broker.publish(vec![Outgoing::new(message)]).await.pop() {
            Some(PublishOutcome::Confirmed(_)) => Ok(()),
            other => Err(Stop::failed(format!("the foreign client cannot publish: {other:?}"))),
        }
    }
}

/// What is left out is lacking: nothing outlives this broker, which cannot be killed alone nor be silent. While its server is to fall, it is
/// what its clients see of that: their connections are gone for a while, with all that they had in hand; and what was confirmed is there.
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
        let connection: Arc<dyn Broker> = match self.sabotage {
            Some(sabotage) => sabotage::sabotaged(connection, sabotage),
            None => connection,
        };
        Ok(match &self.still {
            Some(still) => still.before(connection),
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
        if self.still.is_none() {
            return Err(Stop::lacking("the memory broker lives in this process, and nothing outlives it"));
        }
        *self.down.lock().unwrap() = Some(Instant::now() + DOWN);
        Ok(self.broker.inject(Fault::Cut { down: DOWN })?)
    }

    async fn start(&self) -> Result<(), Stop> {
        let until = self.down.lock().unwrap().take();
        let until = until.ok_or_else(|| Stop::lacking("the memory broker lives in this process, and was not killed"))?;
        tokio::time::sleep_until(until).await;
        Ok(())
    }

    async fn cut(&self, down: Duration) -> Result<(), Stop> {
        Ok(self.broker.inject(Fault::Cut { down })?)
    }

    async fn freeze(&self, down: Duration) -> Result<(), Stop> {
        let still = self.still.as_ref();
        still.ok_or_else(|| Stop::lacking("the memory broker answers at once, or is cut off"))?.stand(down);
        Ok(())
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
    const EXPIRY: &str = "d15_what_expires_before_its_group_reads_it_is_not_handled_and_all_around_it_is";
    const BYTES: &str = "d16_bytes_in_flight_are_bounded_too";
    let (but, more): (&[&str], &[&str]) = match guise {
        None => (&[], &[]),
        Some(Guise::Kafka | Guise::KafkaEager) => (&[POSITIONS], &[EXPIRY]),
        Some(Guise::Nats) => (&[], &[BYTES]),
        Some(Guise::Redis) => (&[], &[BYTES, EXPIRY]),
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
    let calm = || LACKING.into_iter().filter(|case| !but.contains(case)).chain(more.iter().copied());
    // What is lacking while the server is well is so when it falls.
    let again = |case: &&str| convoke_conformance::fells_the_server(case) && calm().any(|calm| case.starts_with(calm));
    let falls = convoke_conformance::cases().into_iter().filter(again);
    calm().chain(wire).chain(falls).collect()
}

#[test]
fn the_memory_broker_keeps_the_delivery_contract() {
    convoke_conformance::run(|case| Memory::new(Time::Virtual).of(case)).assert().assert_lacking(&lacking(None));
}

#[test]
fn every_guise_keeps_the_delivery_contract() {
    let suites = Guise::ALL.map(|guise| {
        std::thread::spawn(move || convoke_conformance::run(|case| Memory::dressed(Some(guise), Time::Virtual).of(case)))
    });
    let reports = suites.map(|suite| suite.join().expect("a suite that ends"));
    for (report, guise) in reports.iter().zip(Guise::ALL) {
        report.assert().assert_lacking(&lacking(Some(guise)));
    }
}

/// As adapters of brokers elsewhere are tried: every process on a thread of its own, killed and frozen there.
#[test]
#[ignore = "takes some minutes: it waits in real time"]
fn the_memory_broker_keeps_the_delivery_contract_in_real_time() {
    convoke_conformance::run(|case| Memory::new(Time::Real { stretch: 1 }).of(case)).assert();
}
