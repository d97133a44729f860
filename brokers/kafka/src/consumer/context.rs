//! librdkafka's callbacks, which run within `poll` on the polling thread.

use std::sync::Arc;

use convoke_core::broker::Health;
use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;

use super::state::Shared;
use crate::client::{self, Link};
use crate::starts::Place;

pub(crate) struct Context {
    pub(super) shared: Arc<Shared>,
    link: Arc<Link>,
}

impl Context {
    pub(super) fn is_connected(&self) -> bool {
        self.link.health() == Health::Up
    }

    pub(super) fn new(shared: &Arc<Shared>, link: &Arc<Link>) -> Self {
        Self { shared: Arc::clone(shared), link: Arc::clone(link) }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use rdkafka::error::RDKafkaErrorCode as C;
        // The others speak of a partition or the group, and come out of `poll` as well.
        if matches!(
            error.rdkafka_error_code(),
            Some(
                C::BrokerTransportFailure
                    | C::AllBrokersDown
                    | C::Resolve
                    | C::Authentication
                    | C::SSL
                    | C::SaslAuthenticationFailed
            )
        ) {
            client::went_wrong(&self.link, &error, reason);
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let plan = &self.shared.plan;
        let named = list.elements();
        let places: Vec<Place> = named
            .iter()
            .flat_map(|one| plan.with_followers(one.topic(), u32::try_from(one.partition()).unwrap_or(u32::MAX)))
            .collect();
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.shared.assigned(consumer, &places);
        } else {
            self.shared.revoked_by_group(consumer, &places, consumer.assignment_lost());
        }
    }
}
