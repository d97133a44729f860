//! What librdkafka is told.

use convoke_core::{Error, ErrorKind};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use crate::options::Options;

/// Room for what a record takes beyond payload, key and headers, and for the frame of a batch.
pub(crate) const FRAME: usize = 48_000;

/// The settings that all clients share, least first.
fn common(options: &Options, app: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    let id: String = app.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
    config.set("bootstrap.servers", &options.servers).set("client.id", id);
    // With the default of 10 s, a restart of the brokers costs as much again.
    config.set("reconnect.backoff.ms", "100").set("reconnect.backoff.max.ms", "1000");
    config.set("socket.keepalive.enable", "true").set("socket.nagle.disable", "true");
    config.set("allow.auto.create.topics", "false");
    // What follows from it is seen and told by ourselves.
    config.set("log.connection.close", "false");
    let protocol = match (options.tls.is_some(), options.user.is_some()) {
        (false, false) => "plaintext",
        (false, true) => "sasl_plaintext",
        (true, false) => "ssl",
        (true, true) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some((user, password)) = &options.user {
        config.set("sasl.mechanisms", options.sasl.unwrap_or("PLAIN"));
        config.set("sasl.username", user).set("sasl.password", password.as_ref().map_or("", |password| password.reveal()));
    }
    if let Some(tls) = &options.tls {
        let (cert, key) = tls.identity.clone().unzip();
        let files = [("ssl.ca.location", tls.ca.clone()), ("ssl.certificate.location", cert), ("ssl.key.location", key)];
        for (name, file) in files {
            if let Some(file) = file {
                config.set(name, file.to_string_lossy());
            }
        }
    }
    config
}

fn with(mut config: ClientConfig, options: &Options, kind: usize) -> ClientConfig {
    for (name, value) in options.native[0].iter().chain(&options.native[kind]) {
        config.set(name, value);
    }
    config
}

pub(crate) fn producer(options: &Options, app: &str) -> ClientConfig {
    let mut config = common(options, app);
    config.set("enable.idempotence", "true").set("acks", "all").set("partitioner", "murmur2_random");
    config.set("linger.ms", "2").set("delivery.timeout.ms", "120000");
    config.set("message.max.bytes", (options.max_message + FRAME).to_string());
    config.set("batch.size", options.max_message.clamp(16_384, 1_000_000).to_string());
    with(config, options, 1)
}

/// For questions: about topics, and about what a group has committed.
pub(crate) fn asking(options: &Options, app: &str, group: Option<&str>) -> ClientConfig {
    let mut config = with(common(options, app), options, 2);
    config.set("enable.auto.commit", "false");
    if let Some(group) = group {
        config.set("group.id", group);
    }
    config
}

pub(crate) fn consumer(options: &Options, app: &str, group: &str, assignor: &str) -> ClientConfig {
    let mut config = common(options, app);
    let session = options.session.as_millis();
    config.set("group.id", group).set("partition.assignment.strategy", assignor);
    config
        .set("session.timeout.ms", session.to_string())
        .set("heartbeat.interval.ms", (session / 15).clamp(300, 3000).to_string());
    config.set("max.poll.interval.ms", session.max(300_000).to_string());
    // A position that is not there is our matter: the difference between a new group and discarded messages.
    config.set("auto.offset.reset", "error");
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("isolation.level", "read_committed");
    config.set("fetch.wait.max.ms", "250").set("fetch.queue.backoff.ms", "10");
    config.set("queued.min.messages", "10000").set("queued.max.messages.kbytes", "4096");
    config.set("topic.metadata.refresh.interval.ms", "30000");
    if let Some(instance) = &options.instance {
        config.set("group.instance.id", instance);
    }
    with(config, options, 2)
}

/// Whether librdkafka knows every setting of the URL.
pub(crate) fn check(options: &Options) -> Result<(), Error> {
    for config in [producer(options, "check"), consumer(options, "check", "check", "range")] {
        config.create_native_config().map(drop).map_err(|error| refused(&error))?;
    }
    Ok(())
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidUrl, text)
}

/// Without the value, which may be a secret.
pub(crate) fn refused(error: &KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _) => invalid(format!(
            "librdkafka has no setting `{name}`, or was built without it; its settings stand in its CONFIGURATION.md"
        )),
        KafkaError::ClientConfig(_, _, name, _) => invalid(format!("librdkafka does not take this value for `{name}`")),
        _ => crate::errors::error("the Kafka client cannot be made", error),
    }
}
