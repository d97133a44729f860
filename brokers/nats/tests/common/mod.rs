//! What tests on a server share.

use std::sync::Arc;

use convoke_core::Error;
use convoke_core::broker::{Broker, BrokerConfig, BrokerUrl, GroupSpec, TopicSpec, Topology};

pub(crate) async fn open(url: &str) -> Result<Arc<dyn Broker>, Error> {
    convoke_nats::open(BrokerConfig::new(BrokerUrl::parse(url)?, "test")).await
}

/// Names of one test are nobody else's.
pub(crate) fn unique(name: &str) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{name}.n{:x}", since.as_nanos())
}

pub(crate) fn topology<'g>(topic: &str, groups: impl IntoIterator<Item = &'g str>) -> Topology {
    let mut topology = Topology::default();
    topology.topics.push(TopicSpec::new(topic));
    topology.groups.extend(groups.into_iter().map(|group| GroupSpec::new(group, vec![topic.into()])));
    topology
}
