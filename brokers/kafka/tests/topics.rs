//! Topics on a real Kafka.

use convoke_conformance::Stop;
use convoke_core::broker::{BrokerConfig, BrokerUrl, EnsureMode, Native, NativeValue, TopicSpec, Topology};
use convoke_servers::{Kind, Server};
use serde_json::json;

#[tokio::test]
async fn a_topic_is_created_as_is_said_of_it() -> Result<(), Stop> {
    let server = Server::launch(Kind::Kafka).await?;
    let broker = convoke_kafka::open(BrokerConfig::new(BrokerUrl::parse(server.url())?, "topics")).await?;
    let said = |native: &[Native]| {
        let mut topic = TopicSpec::new("said");
        topic.native = native.to_vec();
        let mut topology = Topology::default();
        topology.topics.push(topic);
        topology
    };
    let number = |name, number| Native::new("kafka", name, NativeValue::Number(number));
    let text = |name, text| Native::new("kafka", name, NativeValue::Text(text));
    let all = [number("partitions", 3), number("replication", 1), text("retention", "2h"), text("cleanup", "compact,delete")];
    let report = broker.ensure(&said(&all), EnsureMode::Create).await?;
    assert_eq!(report.partitions, [("said".into(), 3)]);
    let settings = server.client().await?.ask(&json!({ "do": "settings", "topic": "said" })).await?;
    assert_eq!((&settings["retention.ms"], &settings["cleanup.policy"]), (&json!("7200000"), &json!("compact,delete")));
    // What is there stays as it is.
    let error = broker.ensure(&said(&[number("partitions", 4)]), EnsureMode::Create).await.unwrap_err();
    assert!(error.to_string().contains("has 3 partitions, not 4"), "{error}");
    for (native, says) in [
        (number("replication", 0), "cannot have 0 partitions or replicas"),
        (text("cleanup", "never"), "`cleanup` is `delete`, `compact` or `compact,delete`"),
    ] {
        let error = broker.check_topology(&said(&[native])).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    Ok(())
}
