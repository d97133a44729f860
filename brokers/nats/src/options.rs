//! How the adapter works: from the URL.

use std::path::PathBuf;
use std::time::Duration;

use convoke_broker_common::{Secret, Tls, UrlOptions};
use convoke_core::Error;
use convoke_core::broker::{BrokerUrl, Native, NativeOption, TopicSpec};

const REVOKE: NativeOption = NativeOption::duration("revoke", "10s");
const ACK: NativeOption = NativeOption::word("ack", &["sent", "confirmed"]);

/// What a handler can say in `#[handler(nats(…))]`, as the URL says it for all.
pub const HANDLER_OPTIONS: &[NativeOption] = &[ACK, REVOKE];

const PARTITIONS: NativeOption = NativeOption::number("partitions", "24");
const REPLICAS: NativeOption = NativeOption::number("replicas", "3");
const MAX_AGE: NativeOption = NativeOption::duration("max_age", "7d");
const MAX_BYTES: NativeOption = NativeOption::number("max_bytes", "1000000000");
const DUPLICATES: NativeOption = NativeOption::duration("duplicates", "2m");

/// What an event can say of its topic in `#[event(nats(…))]`, as the URL says it for all. It counts when the stream is created.
pub const TOPIC_OPTIONS: &[NativeOption] = &[PARTITIONS, REPLICAS, MAX_AGE, MAX_BYTES, DUPLICATES];

/// How the adapter works, as the URL says: `nats://[user:password@]host[:port][,host…][?option=value&…]`.
/// A user without a password is a token.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The servers, each `host:port`. The port is 4222 unless said.
    pub servers: Vec<String>,
    /// `partitions`: how many partitions a topic is created with for which nobody says a number. Default 8. A topic keeps what it was
    /// created with.
    pub partitions: u32,
    /// `replicas`: on how many servers of a cluster streams and the bucket are kept. Default 1.
    pub replicas: usize,
    /// `max_age`: after how long a stream that is created discards messages. Default never.
    pub max_age: Duration,
    /// `max_bytes`: how many bytes a stream that is created holds before it discards the oldest. Default without a limit.
    pub max_bytes: i64,
    /// `duplicates`: for how long a stream that is created knows the ids of messages. Default 2 min.
    pub duplicates: Duration,
    /// `lease`: after how long a member that says nothing loses its partitions. Default 6 s.
    pub lease: Duration,
    /// `ack_wait`: after how long a delivery that is neither settled nor extended is delivered again. Default 30 s.
    pub ack_wait: Duration,
    /// `revoke`: how long an owner has to finish with a partition that another member is to have. Default 10 s.
    pub revoke: Duration,
    /// `ack`: `sent` (default) takes an acknowledgement for applied when the connection has it; `confirmed` waits for the server.
    pub confirm_acks: bool,
    /// `timeout`: how long the server may take to answer. Default 5 s.
    pub timeout: Duration,
    /// `bucket`: the key-value bucket of members, owners and attempts. Default `convoke`.
    pub bucket: String,
    /// `tls`: whether TLS is demanded, with `ca`, a file with the authorities to trust (PEM, by default those of the system), and `cert`
    /// and `key`, files with the client's certificate and its key. Default no, unless the server asks for it.
    pub tls: Option<Tls>,
    /// `credentials`: a file with a user's JWT and seed.
    pub credentials: Option<PathBuf>,
    /// `nkey`: the seed of an nkey.
    pub nkey: Option<Secret>,
    /// User and password; without a password, a token.
    pub user: Option<(String, Option<Secret>)>,
}

impl Options {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`](convoke_core::ErrorKind::InvalidUrl), with everything that is wrong with it.
    pub fn from_url(url: &BrokerUrl) -> Result<Self, Error> {
        let mut read = UrlOptions::new("NATS", url);
        if url.scheme() != "nats" {
            read.problem(format!("a URL of NATS begins with `nats://`, not with `{}://`", url.scheme()));
        }
        if !url.path().is_empty() {
            read.problem("a URL of NATS has no path: leave out what stands behind the `/`");
        }
        let seconds = Duration::from_secs;
        let mut options = Self {
            servers: read.servers(4222),
            partitions: 8,
            replicas: 1,
            max_age: Duration::ZERO,
            max_bytes: -1,
            duplicates: seconds(120),
            lease: read.duration("lease").unwrap_or(seconds(6)),
            ack_wait: read.duration("ack_wait").unwrap_or(seconds(30)),
            revoke: seconds(10),
            confirm_acks: false,
            timeout: read.duration("timeout").unwrap_or(seconds(5)),
            bucket: read.text("bucket").unwrap_or_else(|| "convoke".to_owned()),
            tls: read.tls(None, "`tls=yes`"),
            credentials: read.text("credentials").map(PathBuf::from),
            nkey: read.secret("nkey"),
            user: read.user(),
        };
        options.read_of_handlers(&mut read);
        options.read_of_topics(&mut read);
        options.check(&mut read);
        read.finish()?;
        Ok(options)
    }

    /// Those of one subscription: what its handlers say, over these.
    pub(crate) fn with(&self, said: &[Native]) -> Result<Self, Error> {
        let url = BrokerUrl::of_native("nats", HANDLER_OPTIONS, said)?;
        let (mut read, mut options) = (UrlOptions::new("NATS", &url), self.clone());
        options.read_of_handlers(&mut read);
        read.finish()?;
        Ok(options)
    }

    /// Those of one topic: what its events say, over these.
    pub(crate) fn of_topic(&self, spec: &TopicSpec) -> Result<Self, Error> {
        let url = spec.native_url("nats", TOPIC_OPTIONS)?;
        let (mut read, mut options) = (UrlOptions::new("NATS", &url), self.clone());
        options.read_of_topics(&mut read);
        options.partitions = spec.partitions.unwrap_or(options.partitions);
        options.check(&mut read);
        read.finish()?;
        Ok(options)
    }

    fn read_of_topics(&mut self, read: &mut UrlOptions<'_>) {
        self.partitions = read.number(PARTITIONS.name).unwrap_or(self.partitions);
        self.replicas = read.number(REPLICAS.name).unwrap_or(self.replicas);
        self.max_age = read.duration(MAX_AGE.name).unwrap_or(self.max_age);
        self.max_bytes = read.number(MAX_BYTES.name).unwrap_or(self.max_bytes);
        self.duplicates = read.duration(DUPLICATES.name).unwrap_or(self.duplicates);
    }

    fn read_of_handlers(&mut self, read: &mut UrlOptions<'_>) {
        self.revoke = read.duration(REVOKE.name).unwrap_or(self.revoke);
        self.confirm_acks = read.word(ACK.name, &[("sent", false), ("confirmed", true)]).unwrap_or(self.confirm_acks);
    }

    fn check(&self, read: &mut UrlOptions<'_>) {
        if !(1..=256).contains(&self.partitions) {
            read.problem("`partitions` is between 1 and 256");
        }
        if !(1..=5).contains(&self.replicas) {
            read.problem("`replicas` is between 1 and 5");
        }
        if self.lease < Duration::from_secs(1) {
            read.problem("`lease` is at least 1s: a member says four times in it that it lives");
        }
        if self.ack_wait < Duration::from_secs(1) {
            read.problem("`ack_wait` is at least 1s");
        }
        if self.timeout.is_zero() {
            read.problem("`timeout` is more than nothing");
        }
        if self.bucket.is_empty() || !self.bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        {
            read.problem("`bucket` is made of letters, digits, `_` and `-`");
        }
    }
}

#[cfg(test)]
mod tests {
    use convoke_core::broker::NativeValue;

    use super::*;

    fn read(url: &str) -> Result<Options, Error> {
        Options::from_url(&BrokerUrl::parse(url)?)
    }

    #[test]
    fn what_a_handler_says_counts_more_than_the_url() {
        let said = |name, value| Native::new("nats", name, NativeValue::Text(value));
        let url = read("nats://a?revoke=3s").unwrap();
        let options = url.with(&[said("ack", "confirmed")]).unwrap();
        assert_eq!((options.confirm_acks, options.revoke), (true, Duration::from_secs(3)));
        assert_eq!(url.with(&[said("revoke", "1s"), said("ack", "sent")]).unwrap().revoke, Duration::from_secs(1));
        assert!(url.with(&[said("lease", "1s")]).unwrap_err().to_string().contains("it has `ack`, `revoke`"));
    }

    #[test]
    fn a_url_says_what_differs_from_the_defaults() {
        let options = read("nats://ada:pw@a,b:5?tls=yes&partitions=3&lease=2s&ack=confirmed&cert=c.pem&key=k.pem").unwrap();
        assert_eq!(options.servers, ["a:4222", "b:5"]);
        assert_eq!((options.partitions, options.lease, options.confirm_acks), (3, Duration::from_secs(2), true));
        assert_eq!(options.tls.unwrap().identity, Some(("c.pem".into(), "k.pem".into())));
        assert_eq!(read("nats://localhost").unwrap().ack_wait, Duration::from_secs(30));
    }

    #[test]
    fn what_cannot_be_is_refused_and_secrets_are_not_shown() {
        let url = "nats://a/x?partitions=0&lease=1ms&bucket=a.b&cert=c&nkey=hush&replica=3";
        let error = read(url).unwrap_err().to_string();
        for says in ["no path", "between 1 and 256", "`lease` is at least", "`bucket`", "`cert` and `key`", "no option `replica`"]
        {
            assert!(error.contains(says), "{says}: {error}");
        }
        let shown = format!("{:?} {error}", read("nats://ada:hush@a?nkey=hush").unwrap());
        assert!(!shown.contains("hush"), "{shown}");
    }
}
