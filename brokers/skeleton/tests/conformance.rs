//! The conformance suite on the skeleton, in virtual time.

use std::sync::Arc;

use async_trait::async_trait;
use convoke_conformance::{Foreign, Harness, Stop, Time};
use convoke_core::broker::{Broker, PublishOutcome};
use convoke_core::{Error, Headers, Message, Outgoing};
use convoke_skeleton::{Skeleton, World};

struct Fresh(Arc<World>);

// ANCHOR: harness
#[async_trait]
impl Harness for Fresh {
    fn name(&self) -> String {
        "skeleton".to_owned()
    }

    fn time(&self) -> Time {
        Time::Virtual
    }

    async fn open(&self) -> Result<Arc<dyn Broker>, Error> {
        Ok(Arc::new(Skeleton::connect(&self.0)))
    }

    async fn produce_foreign(&self, topic: &str, message: Foreign) -> Result<(), Stop> {
        let mut builder = Message::builder(topic).headers(message.headers.into_iter().collect::<Headers>());
        if let Some(key) = message.key {
            builder = builder.key(key);
        }
        let message = match message.payload {
            Some(payload) => builder.payload(payload).build(),
            None => builder.tombstone().build(),
        };
        match Skeleton::connect(&self.0).publish(vec![Outgoing::new(message)]).await.pop() {
            Some(PublishOutcome::Confirmed(_)) => Ok(()),
            other => Err(Stop::failed(format!("the foreign client cannot publish: {other:?}"))),
        }
    }

    async fn read_all_foreign(&self, topic: &str) -> Result<Vec<Foreign>, Stop> {
        let foreign = |message: Message| Foreign {
            key: message.key().map(|key| key.as_bytes().to_vec()),
            headers: message.headers().iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            payload: (!message.is_tombstone()).then(|| message.payload().to_vec()),
        };
        Ok(self.0.messages(topic).into_iter().map(foreign).collect())
    }
}
// ANCHOR_END: harness

/// What cannot be tried here: the harness does nothing to the world, and the skeleton declares little.
const LACKING: [&str; 14] = [
    "d03_a_frozen_server_loses_nothing",
    "d03_a_publish_that_finds_no_broker_is_an_error_and_never_silently_gone",
    "d03_a_restart_of_the_server_loses_nothing",
    "d03_after_a_cut_work_goes_on_by_itself_and_readiness_tells",
    "d10_where_no_lease_can_be_extended_a_longer_timeout_is_refused",
    "d12_a_process_that_was_frozen_starts_nothing_that_another_has_taken_over",
    "d14_positions_are_committed_below_what_is_in_flight",
    "d14_what_is_said_of_an_assignment_that_is_over_is_refused",
    "d15_a_broadcast_gives_every_instance_each_message_while_it_runs",
    "d15_reading_to_a_marked_end_ends_when_everything_before_it_is_settled",
    "d15_what_expires_before_its_group_reads_it_is_not_handled_and_all_around_it_is",
    "d16_bytes_in_flight_are_bounded_too",
    "d24_what_the_broker_discarded_before_it_was_read_is_reported",
    "d24_at_a_gap_the_subscription_stops_if_the_policy_says_so",
];

/// There is no wire, either, nor a server.
fn lacking() -> Vec<&'static str> {
    let suffers = |case: &&str| convoke_conformance::disturbs_the_wire(case) || convoke_conformance::fells_the_server(case);
    let wire = convoke_conformance::cases().into_iter().filter(suffers);
    LACKING.into_iter().chain(wire).collect()
}

// ANCHOR: run
#[test]
fn the_skeleton_keeps_the_delivery_contract() {
    convoke_conformance::run(|_case| Fresh(World::new())).assert().assert_lacking(&lacking());
}
// ANCHOR_END: run
