//! The documents name the versions that are tested.

use convoke_servers::Kind;

#[test]
fn the_book_and_the_containers_have_the_versions_that_are_tested() {
    let read = |path: &str| std::fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (book, compose) = (read("book/src/real-servers.md"), read("compose.yaml"));
    for (kind, called, image) in [
        (Kind::Kafka, "Apache Kafka", "apache/kafka"),
        (Kind::Nats, "NATS with JetStream", "nats"),
        (Kind::Redis, "Redis", "redis"),
        (Kind::RabbitMq, "RabbitMQ", "rabbitmq"),
    ] {
        let said = kind.version().unwrap();
        let version = said.strip_prefix(kind.name()).unwrap().trim();
        assert!(
            book.contains(&format!("| {called} | {version} |")),
            "book/src/real-servers.md does not say that {said} is tested"
        );
        assert!(compose.contains(&format!("image: {image}:{version}")), "compose.yaml has another version than {said}");
    }
}
