//! The kinds of broker that a URL may name, those whose feature is off included: so that the answer is the feature's name.

use convoke_core::broker::{BrokerFactory, OpenBroker};
use convoke_core::{__private::inventory, Entry};

#[cfg(feature = "memory")]
const MEMORY: Option<OpenBroker> = Some(convoke_memory::open);
#[cfg(not(feature = "memory"))]
const MEMORY: Option<OpenBroker> = None;

#[cfg(feature = "nats")]
const NATS: Option<OpenBroker> = Some(convoke_nats::open);
#[cfg(not(feature = "nats"))]
const NATS: Option<OpenBroker> = None;

#[cfg(feature = "redis")]
const REDIS: Option<OpenBroker> = Some(convoke_redis::open);
#[cfg(not(feature = "redis"))]
const REDIS: Option<OpenBroker> = None;

#[cfg(feature = "kafka")]
const KAFKA: Option<OpenBroker> = Some(convoke_kafka::open);
#[cfg(not(feature = "kafka"))]
const KAFKA: Option<OpenBroker> = None;

#[cfg(feature = "rabbitmq")]
const RABBITMQ: Option<OpenBroker> = Some(convoke_rabbitmq::open);
#[cfg(not(feature = "rabbitmq"))]
const RABBITMQ: Option<OpenBroker> = None;

static BROKERS: [BrokerFactory; 5] = [
    BrokerFactory::new(&["memory"], "memory", "memory://", MEMORY),
    BrokerFactory::new(&["kafka"], "kafka", "kafka://localhost:9092", KAFKA),
    BrokerFactory::new(&["nats"], "nats", "nats://localhost:4222", NATS),
    BrokerFactory::new(&["redis", "rediss"], "redis", "redis://localhost:6379", REDIS),
    BrokerFactory::new(&["amqp", "amqps"], "rabbitmq", "amqp://localhost:5672", RABBITMQ),
];

inventory::submit! { Entry::Broker(&BROKERS[0]) }
inventory::submit! { Entry::Broker(&BROKERS[1]) }
inventory::submit! { Entry::Broker(&BROKERS[2]) }
inventory::submit! { Entry::Broker(&BROKERS[3]) }
inventory::submit! { Entry::Broker(&BROKERS[4]) }
