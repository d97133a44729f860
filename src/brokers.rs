//! The kinds of broker that a URL may name, those whose feature is off included: so that the answer is the feature's name.

use convoke_core::broker::{BrokerFactory, OpenBroker};
use convoke_core::{__private::inventory, Entry};

/// What opens a broker, and what handlers and events can say for its kind: nothing where its feature is off.
macro_rules! adapters {
    ($($name:ident = $adapter:ident if $feature:literal;)*) => {
        $(
            #[cfg(feature = $feature)]
            const $name: Option<OpenBroker> = Some($adapter::open);
            #[cfg(not(feature = $feature))]
            const $name: Option<OpenBroker> = None;
        )*

        /// By these the compiler checks `#[handler(kafka(…))]` and `#[event(kafka(…))]`.
        #[allow(missing_docs, reason = "only generated code names it")]
        pub mod native {
            pub mod of_handlers {
                use convoke_core::broker::NativeOption;
                $(
                    #[cfg(feature = $feature)]
                    pub const $name: Option<&[NativeOption]> = Some($adapter::HANDLER_OPTIONS);
                    #[cfg(not(feature = $feature))]
                    pub const $name: Option<&[NativeOption]> = None;
                )*
            }

            pub mod of_topics {
                use convoke_core::broker::NativeOption;
                $(
                    #[cfg(feature = $feature)]
                    pub const $name: Option<&[NativeOption]> = Some($adapter::TOPIC_OPTIONS);
                    #[cfg(not(feature = $feature))]
                    pub const $name: Option<&[NativeOption]> = None;
                )*
            }
        }
    };
}

adapters! {
    MEMORY = convoke_memory if "memory";
    KAFKA = convoke_kafka if "kafka";
    NATS = convoke_nats if "nats";
    REDIS = convoke_redis if "redis";
    RABBITMQ = convoke_rabbitmq if "rabbitmq";
}

/// A scheme of its own wants a feature of its own.
const REDIS_TLS: Option<OpenBroker> = if cfg!(feature = "redis-tls") { REDIS } else { None };

static BROKERS: [BrokerFactory; 6] = [
    BrokerFactory::new(&["memory"], "memory", "memory://", MEMORY),
    BrokerFactory::new(&["kafka"], "kafka", "kafka://localhost:9092", KAFKA),
    BrokerFactory::new(&["nats"], "nats", "nats://localhost:4222", NATS),
    BrokerFactory::new(&["redis"], "redis", "redis://localhost:6379", REDIS),
    BrokerFactory::new(&["rediss"], "redis-tls", "rediss://localhost:6379", REDIS_TLS),
    BrokerFactory::new(&["amqp", "amqps"], "rabbitmq", "amqp://localhost:5672", RABBITMQ),
];

inventory::submit! { Entry::Broker(&BROKERS[0]) }
inventory::submit! { Entry::Broker(&BROKERS[1]) }
inventory::submit! { Entry::Broker(&BROKERS[2]) }
inventory::submit! { Entry::Broker(&BROKERS[3]) }
inventory::submit! { Entry::Broker(&BROKERS[4]) }
inventory::submit! { Entry::Broker(&BROKERS[5]) }
