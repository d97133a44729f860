//! What the adapter can be told, and how a URL says it.

use std::time::Duration;

use convoke_broker_common::{Secret, Tls, UrlOptions};
use convoke_core::broker::{BrokerUrl, Native, NativeOption};
use convoke_core::{Error, ErrorKind};

const PREFETCH: NativeOption = NativeOption::number("prefetch", "100");
const REVOKE: NativeOption = NativeOption::duration("revoke", "10s");

/// What a handler can say in `#[handler(rabbitmq(…))]`, as the URL says it for all.
pub const HANDLER_OPTIONS: &[NativeOption] = &[PREFETCH, REVOKE];

/// What an event can say of its topic in `#[event(rabbitmq(…))]`, as the URL says it for all. It counts when the topic is created.
pub const TOPIC_OPTIONS: &[NativeOption] = &[NativeOption::number("partitions", "24")];

/// How to reach RabbitMQ, and how to use it. The same words are the options of its URL:
/// `amqp://user:password@host:5672,other:5672/vhost?heartbeat=4s`, or `amqps://…` with TLS.
///
/// # Examples
/// ```
/// use convoke_core::broker::BrokerUrl;
/// use convoke_rabbitmq::Options;
///
/// let url = BrokerUrl::parse("amqp://ada:secret@localhost/shop?partitions=4").unwrap();
/// let options = Options::from_url(&url).unwrap();
/// assert_eq!((&*options.vhost, options.partitions), ("shop", 4));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The servers, each `host:port`; the next one is tried where one does not answer.
    pub servers: Vec<String>,
    /// The user. Default `guest`.
    pub user: String,
    /// The password. Default `guest`.
    pub password: Secret,
    /// The virtual host: the URL's path. Default `/`.
    pub vhost: String,
    /// `amqps://`: the connection is encrypted, with `ca`, a file with authorities to trust (PEM) beside those of Mozilla, and `cert` and
    /// `key`, files with the client's certificate and its key.
    pub tls: Option<Tls>,
    /// `partitions`: how many partitions a topic has for which the topology names no number. Default 8. It is locked with the
    /// topic's creation.
    pub partitions: u32,
    /// `heartbeat`: after two to three of them the server gives up on a silent connection, and so do we. Whole seconds, default 4.
    pub heartbeat: Duration,
    /// `member`: after how long without a word a member of a group counts as gone. Default 2.5 s.
    pub member: Duration,
    /// `confirm`: how long a publish waits for its confirmation. Default 15 s.
    pub confirm: Duration,
    /// `revoke`: how long an owner has to finish with a partition that another member is to have. Default 10 s.
    pub revoke: Duration,
    /// `consumer_timeout`: the server's own, after which it closes the channel of a message that nobody acknowledged. Default 30 min,
    /// as the server's. Say here what is set there: AMQP does not tell.
    pub consumer_timeout: Duration,
    /// `prefetch`: how many messages of a partition the server sends ahead. By default as many as the partition's even share of what
    /// the subscription may have in flight.
    pub prefetch: Option<u16>,
    /// `max_message`: the largest message that applications publish, in bytes; a dead letter may be larger. Default 1 MiB; a server of 4.x
    /// takes 16 MiB unless configured, and one before that 128 MiB.
    pub max_message: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            servers: vec!["localhost:5672".to_owned()],
            user: "guest".to_owned(),
            password: Secret::new("guest"),
            vhost: "/".to_owned(),
            tls: None,
            partitions: 8,
            heartbeat: Duration::from_secs(4),
            member: Duration::from_millis(2500),
            confirm: Duration::from_secs(15),
            revoke: Duration::from_secs(10),
            consumer_timeout: Duration::from_secs(30 * 60),
            prefetch: None,
            max_message: 1 << 20,
        }
    }
}

impl Options {
    /// What a URL says, over the defaults.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`], with everything that is wrong with it.
    pub fn from_url(url: &BrokerUrl) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut said = UrlOptions::new("RabbitMQ", url);
        if !matches!(url.scheme(), "amqp" | "amqps") {
            said.problem(format!("RabbitMQ's URL begins with `amqp://` or `amqps://`, not with `{}://`", url.scheme()));
        }
        options.tls = said.tls(Some("amqps"), "`amqps://`");
        options.servers = said.servers(if options.tls.is_some() { 5671 } else { 5672 });
        if let Some((user, password)) = said.user() {
            options.user = user;
            options.password = password.unwrap_or_else(|| Secret::new(""));
        }
        if let Some(vhost) = said.path().filter(|path| !path.is_empty()) {
            options.vhost = vhost;
        }
        options.partitions = said.number("partitions").unwrap_or(options.partitions);
        options.heartbeat = said.duration("heartbeat").unwrap_or(options.heartbeat);
        options.member = said.duration("member").unwrap_or(options.member);
        options.confirm = said.duration("confirm").unwrap_or(options.confirm);
        options.consumer_timeout = said.duration("consumer_timeout").unwrap_or(options.consumer_timeout);
        options.read_of_handlers(&mut said);
        options.max_message = said.number("max_message").unwrap_or(options.max_message);
        options.problems().into_iter().for_each(|problem| said.problem(problem));
        said.finish()?;
        Ok(options)
    }

    /// Those of one subscription: what its handlers say, over these.
    pub(crate) fn with(&self, native: &[Native]) -> Result<Self, Error> {
        let url = BrokerUrl::of_native("rabbitmq", HANDLER_OPTIONS, native)?;
        let (mut said, mut options) = (UrlOptions::new("RabbitMQ", &url), self.clone());
        options.read_of_handlers(&mut said);
        options.problems().into_iter().for_each(|problem| said.problem(problem));
        said.finish()?;
        Ok(options)
    }

    fn read_of_handlers(&mut self, said: &mut UrlOptions<'_>) {
        self.prefetch = said.number(PREFETCH.name).or(self.prefetch);
        self.revoke = said.duration(REVOKE.name).unwrap_or(self.revoke);
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, text: &str| {
            if !holds {
                problems.push(text.to_owned());
            }
        };
        check((1..=1024).contains(&self.partitions), "`partitions` is between 1 and 1024");
        let whole = self.heartbeat.subsec_nanos() == 0 && (1..=300).contains(&self.heartbeat.as_secs());
        check(whole, "`heartbeat` is a whole number of seconds between 1 and 300: that is AMQP's unit");
        check(self.member >= Duration::from_millis(300), "`member` is `300ms` at least");
        check(self.confirm >= Duration::from_millis(100), "`confirm` is `100ms` at least");
        check(self.prefetch != Some(0), "`prefetch` is at least 1: 0 means without any bound to RabbitMQ");
        check(self.max_message >= 1024, "`max_message` is 1024 at least");
        problems
    }

    /// Whether what did not come from a URL can be.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut problems = self.problems();
        if self.servers.is_empty() {
            problems.push("there is no server: name one in `servers`".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Configuration, problems.join("; "))) }
    }

    /// For how long the server keeps a connection that says nothing, at least.
    pub(crate) fn term(&self) -> Duration {
        self.heartbeat * 2
    }
}

#[cfg(test)]
mod tests {
    use convoke_core::broker::NativeValue;

    use super::*;

    fn read(url: &str) -> Result<Options, Error> {
        Options::from_url(&BrokerUrl::parse(url).unwrap())
    }

    #[test]
    fn what_a_handler_says_counts_more_than_the_url() {
        let said = |name, value| Native::new("rabbitmq", name, NativeValue::Number(value));
        let url = read("amqp://a?prefetch=50&revoke=3s").unwrap();
        let options = url.with(&[said("prefetch", 7)]).unwrap();
        assert_eq!((options.prefetch, options.revoke), (Some(7), Duration::from_secs(3)));
        assert_eq!(url.with(&[]).unwrap().prefetch, Some(50));
        for (value, says) in [(0, "`prefetch` is at least 1"), (1 << 20, "`prefetch=1048576`")] {
            assert!(url.with(&[said("prefetch", value)]).unwrap_err().to_string().contains(says));
        }
        assert!(url.with(&[said("revoke", 3)]).unwrap_err().to_string().contains("a duration in quotes"));
    }

    #[test]
    fn user_password_hosts_and_virtual_host_come_from_the_url() {
        let options = read("amqps://ada:p%40ss@a,b:7/my%2Fshop?heartbeat=3s&ca=/etc/ca.pem&prefetch=50").unwrap();
        assert_eq!(options.servers, ["a:5671", "b:7"]);
        assert_eq!((&*options.user, options.password.reveal(), &*options.vhost), ("ada", "p@ss", "my/shop"));
        assert_eq!((options.heartbeat, options.prefetch), (Duration::from_secs(3), Some(50)));
        assert_eq!(read("amqp://localhost").unwrap().vhost, "/");
        assert!(!format!("{options:?}").contains("p@ss"));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let error = read("amqp://a/b/c?heartbeat=500ms&prefetch=0&cert=x&qos=1").unwrap_err().to_string();
        for says in ["behind the host", "`heartbeat`", "`prefetch`", "`cert` and `key`", "no option `qos`"] {
            assert!(error.contains(says), "{says}: {error}");
        }
        assert!(read("amqp://a?ca=x").unwrap_err().to_string().contains("amqps://"));
    }
}
