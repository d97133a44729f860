//! What a URL says of a connection.

use std::fmt;
use std::time::Duration;

use convoke_broker_common::{Secret, Tls, UrlOptions};
use convoke_core::broker::{BrokerUrl, Native, NativeOption};
use convoke_core::{Error, ErrorKind};

const REVOKE: NativeOption = NativeOption::duration("revoke", "30s");

/// What a handler can say in `#[handler(redis(…))]`, as the URL says it for all.
pub const HANDLER_OPTIONS: &[NativeOption] = &[REVOKE];

/// What an event can say of its topic in `#[event(redis(…))]`, as the URL says it for all. It counts when the topic is created.
pub const TOPIC_OPTIONS: &[NativeOption] = &[NativeOption::number("partitions", "24")];

/// How to reach Redis, and how its streams are used: the words are the options of the URL.
///
/// `redis://[user:password@]host[:port][,host…][/database][?option=value&…]`; `rediss://` with TLS (feature `tls`), and then `ca`, `cert`
/// and `key`: files in PEM with the authorities to trust (by default Mozilla's), the client's certificate and its key. Of several servers the
/// first is used that answers and is no replica. What means something in a URL is percent-encoded.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// The servers, each `host:port`.
    pub servers: Vec<String>,
    /// The number of the database. Default 0.
    pub database: i64,
    /// `partitions`: how many partitions a topic is made with for which nobody says a number. Default 8. What a topic was made with
    /// is kept on the server, and stays.
    pub partitions: u32,
    /// `lease`: after how long without a sign of life a member's partitions go to others. Default 10 s.
    pub lease: Duration,
    /// `revoke`: how long an owner has to finish with a partition that another member is to have. Default 30 s.
    pub revoke: Duration,
    /// `timeout`: how long the server may take to answer. Default 5 s. A sign of life has half of `lease` at most.
    pub timeout: Duration,
    /// `keep`: how long messages are kept that every group has settled, for groups that come later; `keep=forever` discards
    /// nothing. Default 1 h. What a group has not read, or not settled, is never discarded.
    pub keep: Option<Duration>,
    /// `max_message`: the largest message that applications publish, in bytes; a dead letter may be larger. Default 1,048,576.
    pub max_message: usize,
    user: Option<(String, Option<Secret>)>,
    tls: Option<Tls>,
}

impl Options {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`], with everything that is wrong with it; [`ErrorKind::Unsupported`] for TLS without the feature.
    pub fn from_url(url: &BrokerUrl) -> Result<Self, Error> {
        let mut said = UrlOptions::new("Redis", url);
        let servers = said.servers(6379);
        let user = said.user();
        let database = match url.path() {
            "" => Ok(0),
            path => path.parse(),
        };
        let database = database.unwrap_or_else(|_| {
            said.problem("the path of the URL is the number of a database, as in `redis://localhost:6379/0`");
            0
        });
        let lease = said.duration("lease").unwrap_or(Duration::from_secs(10));
        let timeout = said.duration("timeout").unwrap_or(Duration::from_secs(5));
        let keep = match said.text("keep").as_deref() {
            Some("forever") => None,
            Some(_) => said.duration("keep"),
            None => Some(Duration::from_secs(3600)),
        };
        let mut options = Self {
            servers,
            database,
            partitions: said.number("partitions").unwrap_or(8),
            lease,
            revoke: Duration::from_secs(30),
            timeout,
            keep,
            max_message: said.number("max_message").unwrap_or(1 << 20),
            user,
            tls: said.tls(Some("rediss"), "`rediss://`"),
        };
        options.read_of_handlers(&mut said);
        if options.partitions == 0 || options.partitions > MAX_PARTITIONS {
            said.problem(format!("`partitions` is between 1 and {MAX_PARTITIONS}"));
        }
        if options.lease < Duration::from_secs(1) {
            said.problem("`lease` is at least 1s: it is renewed four times in that time");
        }
        if options.max_message == 0 || options.max_message > MAX_MESSAGE {
            said.problem(format!("`max_message` is between 1 and {MAX_MESSAGE}"));
        }
        said.finish()?;
        if options.tls.is_some() && !cfg!(feature = "tls") {
            let text = "`rediss://` needs the cargo feature `redis-tls` (`tls` of convoke-redis); turn it on where this program is built";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        Ok(options)
    }

    /// Those of one subscription: what its handlers say, over these.
    pub(crate) fn with(&self, said: &[Native]) -> Result<Self, Error> {
        let url = BrokerUrl::of_native("redis", HANDLER_OPTIONS, said)?;
        let (mut read, mut options) = (UrlOptions::new("Redis", &url), self.clone());
        options.read_of_handlers(&mut read);
        read.finish()?;
        Ok(options)
    }

    fn read_of_handlers(&mut self, said: &mut UrlOptions<'_>) {
        self.revoke = said.duration(REVOKE.name).unwrap_or(self.revoke);
    }

    pub(crate) fn user(&self) -> Option<(&str, Option<&str>)> {
        self.user.as_ref().map(|(user, password)| (user.as_str(), password.as_ref().map(Secret::reveal)))
    }

    /// What may be wrong where a server hangs up or says nothing: it speaks no other language to say so.
    pub(crate) fn perhaps(&self) -> String {
        self.tls.as_ref().map_or_else(|| "perhaps it speaks TLS: write `rediss://`".to_owned(), Tls::perhaps)
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }
}

/// More partitions than this are a mistake: each is a stream, and a lease for every group.
pub(crate) const MAX_PARTITIONS: u32 = 1024;
/// Redis takes no larger value by default (`proto-max-bulk-len`), and the rest of a message wants room too.
const MAX_MESSAGE: usize = 500 << 20;

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("servers", &self.servers)
            .field("database", &self.database)
            .field("partitions", &self.partitions)
            .field("lease", &self.lease)
            .field("keep", &self.keep)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
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
        let said = |name| [Native::new("redis", name, NativeValue::Text("1s"))];
        let url = read("redis://a?revoke=3s").unwrap();
        assert_eq!(url.with(&said("revoke")).unwrap().revoke, Duration::from_secs(1));
        assert_eq!(url.with(&[]).unwrap().revoke, Duration::from_secs(3));
        assert!(url.with(&said("lease")).unwrap_err().to_string().contains("it has `revoke`"));
    }

    #[test]
    fn what_the_url_says_is_read() {
        let options = read("redis://ada:hush@a,b:7/3?partitions=2&lease=4s&keep=forever&max_message=64").unwrap();
        assert_eq!((&*options.servers, options.database), (&["a:6379".to_owned(), "b:7".to_owned()][..], 3));
        assert_eq!((options.partitions, options.lease, options.keep), (2, Duration::from_secs(4), None));
        assert_eq!((options.timeout, options.max_message), (Duration::from_secs(5), 64));
        assert_eq!(options.user(), Some(("ada", Some("hush"))));
        assert!(!format!("{options:?}").contains("hush"));
        let options = read("redis://localhost").unwrap();
        assert_eq!((options.partitions, options.keep), (8, Some(Duration::from_secs(3600))));
    }

    #[test]
    fn all_that_is_wrong_with_a_url_is_told_at_once() {
        let error = read("redis://?partitions=0&lease=1ms&max_message=0&leese=1s").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidUrl);
        for says in ["names no server", "`partitions`", "`lease` is at least", "`max_message`", "`leese`"] {
            assert!(error.to_string().contains(says), "{says}: {error}");
        }
        assert!(read("redis://a/orders").unwrap_err().to_string().contains("number of a database"));
        if !cfg!(feature = "tls") {
            let error = read("rediss://a").unwrap_err();
            assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("`redis-tls`"), "{error}");
        }
    }
}
