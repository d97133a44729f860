//! What a URL says beside the servers.

use std::fmt;
use std::time::Duration;

use convoke_broker_common::{Secret, Tls, UrlOptions};
use convoke_core::broker::{BrokerUrl, Native, NativeOption, TopicSpec};
use convoke_core::{Error, ErrorKind};

const REVOKE_WITHIN: NativeOption = NativeOption::duration("revoke_within", "10s");
const SESSION: NativeOption = NativeOption::duration("session", "45s");
const ASSIGNOR: NativeOption = NativeOption::word("assignor", &["auto", "range", "cooperative-sticky"]);

/// What a handler can say in `#[handler(kafka(…))]`, as the URL says it for all.
pub const HANDLER_OPTIONS: &[NativeOption] = &[SESSION, REVOKE_WITHIN, ASSIGNOR];

const PARTITIONS: NativeOption = NativeOption::number("partitions", "24");
const REPLICATION: NativeOption = NativeOption::number("replication", "3");
const RETENTION: NativeOption = NativeOption::duration("retention", "7d");
const CLEANUP: NativeOption = NativeOption::word("cleanup", &["delete", "compact", "compact,delete"]);

/// What an event can say of its topic in `#[event(kafka(…))]`: `partitions` and `replication` as the URL says them for all, `retention`
/// for the brokers' `retention.ms` and `cleanup` for their `cleanup.policy`. It counts when the topic is created.
pub const TOPIC_OPTIONS: &[NativeOption] = &[PARTITIONS, REPLICATION, RETENTION, CLEANUP];

/// How a topic is created.
#[derive(Debug)]
pub(crate) struct NewTopic {
    pub(crate) partitions: u32,
    pub(crate) replication: Option<u32>,
    /// Settings of the brokers.
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// The options of a Kafka URL: `kafka://a,b:9093?partitions=12&producer.linger.ms=20`.
///
/// | option | default | what it is |
/// |---|---|---|
/// | `partitions` | 8 | how many partitions a topic is created with for which nobody says a number |
/// | `replication` | as many as there are brokers, 3 at most | how often a topic that is created is kept |
/// | `max_message` | 1000000 | the largest message in bytes: payload, key and headers |
/// | `revoke_within` | `10s` | how long a partition that is revoked is waited for |
/// | `session` | `45s` | after how long without a heartbeat a process is taken for dead |
/// | `instance` | none | the name of this process within its groups (`group.instance.id`), which must be its own: a restart within `session` then moves no partition |
/// | `assignor` | `auto` | `cooperative-sticky`, `range`, or `auto`: `range` for subscriptions of several topics, else the other |
/// | `sasl` | `PLAIN`, with a user | the mechanism: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` |
/// | `tls` | `no` | `yes` encrypts; wants the feature `kafka-tls` |
/// | `ca` | those of the system | with `tls=yes`: a file with the authorities to trust, in PEM |
/// | `cert`, `key` | none | with `tls=yes`: files with the client's certificate and its key, in PEM |
/// | `kafka.…`, `producer.…`, `consumer.…` | | any setting of librdkafka, for all clients, for producers, or for consumers; those that a promise stands on are refused |
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// See the table.
    pub partitions: u32,
    /// See the table.
    pub replication: Option<u32>,
    /// See the table.
    pub max_message: usize,
    /// See the table.
    pub revoke_within: Duration,
    /// See the table.
    pub session: Duration,
    /// See the table.
    pub instance: Option<String>,
    /// See the table; `None` is `auto`.
    pub assignor: Option<&'static str>,
    pub(crate) servers: String,
    pub(crate) user: Option<(String, Option<Secret>)>,
    pub(crate) sasl: Option<&'static str>,
    pub(crate) tls: Option<Tls>,
    /// Settings of librdkafka: for all, for producers, for consumers.
    pub(crate) native: [Vec<(String, String)>; 3],
}

/// Nothing that may hold a secret.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("servers", &self.servers)
            .field("partitions", &self.partitions)
            .field("replication", &self.replication)
            .field("max_message", &self.max_message)
            .field("revoke_within", &self.revoke_within)
            .field("session", &self.session)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// Settings that a promise stands on, with what to do instead.
const OURS: [(&str, &str); 16] = [
    ("bootstrap.servers", "name the servers in the URL: `kafka://a:9092,b:9092`"),
    ("metadata.broker.list", "name the servers in the URL: `kafka://a:9092,b:9092`"),
    ("group.id", "a group's name is given with the handler"),
    ("group.instance.id", "say `instance=…`"),
    ("group.protocol", "leave it out: only the classic protocol is supported"),
    ("session.timeout.ms", "say `session=45s`"),
    ("partition.assignment.strategy", "say `assignor=range`"),
    ("enable.auto.commit", "leave it out: positions are committed when messages are done"),
    ("enable.auto.offset.store", "leave it out: positions are committed when messages are done"),
    ("auto.offset.reset", "say where the handler starts"),
    ("enable.partition.eof", "leave it out"),
    ("acks", "leave it out: a publish is confirmed by all replicas in sync"),
    ("request.required.acks", "leave it out: a publish is confirmed by all replicas in sync"),
    ("enable.idempotence", "leave it out: it is on"),
    ("partitioner", "leave it out: keys go to partitions as Kafka's Java client places them"),
    ("message.max.bytes", "say `max_message=…`"),
];

impl Options {
    /// Reads a URL.
    ///
    /// # Errors
    /// If it names no server, or an option that there is not: with everything that is wrong.
    pub fn from_url(url: &BrokerUrl) -> Result<Self, Error> {
        let mut read = UrlOptions::new("Kafka", url);
        if !url.path().is_empty() {
            read.problem("a Kafka URL has no path: topics are named by events and handlers");
        }
        let second = Duration::from_secs(1);
        let mut options = Self {
            servers: read.servers(9092).join(","),
            user: read.user(),
            partitions: read.number("partitions").unwrap_or(8),
            replication: read.number("replication"),
            max_message: read.number("max_message").unwrap_or(1_000_000),
            revoke_within: 10 * second,
            session: 45 * second,
            instance: read.text("instance"),
            assignor: None,
            sasl: read.word("sasl", &MECHANISMS),
            tls: read.tls(None, "`tls=yes`"),
            native: ["kafka.", "producer.", "consumer."].map(|prefix| read.behind(prefix)),
        };
        options.read_of_handlers(&mut read);
        options.finish(read)?;
        if options.wants_tls() && !cfg!(feature = "tls") {
            let text = "TLS and SCRAM need the cargo feature `kafka-tls` (`tls` of convoke-kafka); turn it on where this program is built";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        Ok(options)
    }

    /// Those of one subscription: what its handlers say, over these.
    pub(crate) fn with(&self, said: &[Native]) -> Result<Self, Error> {
        let url = BrokerUrl::of_native("kafka", HANDLER_OPTIONS, said)?;
        let (mut read, mut options) = (UrlOptions::new("Kafka", &url), self.clone());
        options.read_of_handlers(&mut read);
        options.finish(read)?;
        Ok(options)
    }

    /// How a topic is created of which this is said.
    pub(crate) fn of_topic(&self, spec: &TopicSpec) -> Result<NewTopic, Error> {
        let url = spec.native_url("kafka", TOPIC_OPTIONS)?;
        let mut read = UrlOptions::new("Kafka", &url);
        let said = read.number(PARTITIONS.name);
        let topic = NewTopic {
            partitions: spec.partitions.or(said).unwrap_or(self.partitions),
            replication: read.number(REPLICATION.name).or(self.replication),
            settings: [
                read.duration(RETENTION.name).map(|kept| ("retention.ms", kept.as_millis().to_string())),
                read.text(CLEANUP.name).map(|policy| ("cleanup.policy", policy)),
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
        read.finish()?;
        if topic.partitions == 0 || topic.replication == Some(0) {
            let text = format!("topic `{}` cannot have 0 partitions or replicas; say 1 or more", spec.name);
            return Err(Error::new(ErrorKind::Configuration, text));
        }
        Ok(topic)
    }

    fn read_of_handlers(&mut self, read: &mut UrlOptions<'_>) {
        self.revoke_within = read.duration(REVOKE_WITHIN.name).unwrap_or(self.revoke_within);
        self.session = read.duration(SESSION.name).unwrap_or(self.session);
        self.assignor = read.word(ASSIGNOR.name, &ASSIGNORS).unwrap_or(self.assignor);
    }

    fn finish(&self, mut read: UrlOptions<'_>) -> Result<(), Error> {
        for problem in self.problems() {
            read.problem(problem);
        }
        read.finish()
    }

    fn wants_tls(&self) -> bool {
        self.tls.is_some() || self.sasl.is_some_and(|mechanism| mechanism != "PLAIN")
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.partitions == 0 || self.replication == Some(0) {
            problems.push("`partitions` and `replication` are 1 at least".to_owned());
        }
        if self.max_message < 1000 {
            problems.push("`max_message` is 1000 at least".to_owned());
        }
        if self.session < Duration::from_secs(1) {
            problems.push("`session` is `1s` at least, and the brokers may want more".to_owned());
        }
        if self.user.as_ref().is_some_and(|(_, password)| password.is_none()) {
            problems.push("a user has a password: `kafka://user:password@host`".to_owned());
        }
        if self.sasl.is_some() && self.user.is_none() {
            problems.push("`sasl` wants a user: `kafka://user:password@host`".to_owned());
        }
        for (name, _) in self.native.iter().flatten() {
            if let Some((_, instead)) = OURS.iter().find(|(ours, _)| ours == name) {
                problems.push(format!("librdkafka's `{name}` cannot be set: {instead}"));
            }
        }
        problems
    }
}

const ASSIGNORS: [(&str, Option<&str>); 3] =
    [("auto", None), ("range", Some("range")), ("cooperative-sticky", Some("cooperative-sticky"))];
const MECHANISMS: [(&str, &str); 3] =
    [("PLAIN", "PLAIN"), ("SCRAM-SHA-256", "SCRAM-SHA-256"), ("SCRAM-SHA-512", "SCRAM-SHA-512")];

#[cfg(test)]
mod tests {
    use convoke_core::broker::NativeValue;

    use super::*;

    fn read(url: &str) -> Result<Options, Error> {
        Options::from_url(&BrokerUrl::parse(url).unwrap())
    }

    #[test]
    fn servers_user_and_options_are_read() {
        let options = read("kafka://ada:p%40w@a,b:9093?partitions=3&session=6s&consumer.fetch.wait.max.ms=10").unwrap();
        assert_eq!((options.servers.as_str(), options.partitions), ("a:9092,b:9093", 3));
        assert_eq!(options.user, Some(("ada".to_owned(), Some(Secret::new("p@w")))));
        assert_eq!(options.native[2], [("fetch.wait.max.ms".to_owned(), "10".to_owned())]);
        assert!(!format!("{options:?}").contains("p@w"));
    }

    #[test]
    fn what_a_handler_says_counts_more_than_the_url() {
        let said = |name, value| Native::new("kafka", name, NativeValue::Text(value));
        let url = read("kafka://a?session=6s&assignor=range").unwrap();
        let options = url.with(&[said("session", "2s"), said("revoke_within", "3s"), said("assignor", "auto")]).unwrap();
        assert_eq!((options.session, options.revoke_within), (Duration::from_secs(2), Duration::from_secs(3)));
        assert_eq!((options.assignor, url.assignor), (None, Some("range")));
        assert_eq!(url.with(&[]).unwrap().session, Duration::from_secs(6));
        let error = url.with(&[said("session", "5ms"), said("revoke_within", "99999999999999999999s")]).unwrap_err().to_string();
        assert!(error.contains("`session` is `1s` at least") && error.contains("`revoke_within="), "{error}");
        assert!(url.with(&[said("partitions", "5s")]).unwrap_err().to_string().contains("it has `session`"));
        // Each word of the declaration is one of the URL's.
        assert!(ASSIGNORS.iter().all(|(word, _)| url.with(&[said("assignor", word)]).is_ok()));
    }

    #[test]
    fn what_a_promise_stands_on_cannot_be_set() {
        let text = read("kafka://a?producer.acks=1").unwrap_err().to_string();
        assert!(text.contains("`acks` cannot be set"), "{text}");
        for wrong in
            ["kafka://", "kafka://a/b", "kafka://a?x=1", "kafka://a?partitions=0", "kafka://ada@a", "kafka://a?session=5"]
        {
            assert_eq!(read(wrong).unwrap_err().kind(), ErrorKind::InvalidUrl, "{wrong}");
        }
    }

    #[test]
    #[cfg(not(feature = "tls"))]
    fn encryption_without_its_feature_is_refused_with_its_name() {
        assert!(read("kafka://a?tls=yes").unwrap_err().to_string().contains("kafka-tls"));
    }
}
