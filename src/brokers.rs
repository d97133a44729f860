//! The kinds of broker that a URL may name, those whose feature is off included: so that the answer is the feature's name.

use convoke_core::broker::{BrokerFactory, OpenBroker};
use convoke_core::{__private::inventory, Entry};

#[cfg(feature = "memory")]
const MEMORY: Option<OpenBroker> = Some(convoke_memory::open);
#[cfg(not(feature = "memory"))]
const MEMORY: Option<OpenBroker> = None;

static BROKERS: [BrokerFactory; 1] = [BrokerFactory::new(&["memory"], "memory", "memory://", MEMORY)];

inventory::submit! { Entry::Broker(&BROKERS[0]) }
