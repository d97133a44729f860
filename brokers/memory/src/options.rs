//! What a broker can be made with, and how a URL says it.

use std::fmt;
use std::time::Duration;

use convoke_core::broker::BrokerUrl;
use convoke_core::{Error, ErrorKind};

/// What a message costs beside its own bytes, when bytes are counted against [`Options::retention_bytes`].
pub(crate) const OVERHEAD: u64 = 128;

/// What happens to a publish when a topic is full of messages that not every group has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Full {
    /// It is rejected, and may be tried again: nothing is lost.
    #[default]
    Reject,
    /// The oldest messages are discarded. Groups that had not read them are told with
    /// [`SubscriptionEvent::Gap`](convoke_core::broker::SubscriptionEvent::Gap). What a group was given and has not settled is kept for it.
    Trim,
}

/// How a broker in the process works. The same words are the options of its URL.
///
/// # Examples
/// ```
/// use convoke_memory::{MemoryBroker, Options};
///
/// let broker = MemoryBroker::with(Options::default().partitions(2).max_message(64 * 1024))?;
/// # Ok::<(), convoke_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// `partitions`: how many partitions a topic has for which the topology names no number. Default 8.
    pub partitions: u32,
    /// `retention`: how many messages a partition holds at most. Default 1,000,000.
    pub retention: u64,
    /// `retention_bytes`: how many bytes a topic holds at most, with 128 for each message beside its own. Default 512 MiB.
    pub retention_bytes: u64,
    /// `history`: how many messages that every group has settled a partition keeps at least, if there is room, for groups that come
    /// later; some more until they are swept. Default 10,000.
    pub history: u64,
    /// `full`: what happens when there is no room: `reject` (default) or `trim`.
    pub full: Full,
    /// `max_message`: the largest message in bytes. Default 1,048,576.
    pub max_message: usize,
    /// `lease`: after how long a delivery that is neither settled nor extended is delivered again. Default 30 s.
    pub lease: Duration,
    /// `revoke`: how long an owner has to finish with a partition that another member is to have. Default 10 s.
    pub revoke: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            partitions: 8,
            retention: 1_000_000,
            retention_bytes: 512 << 20,
            history: 10_000,
            full: Full::Reject,
            max_message: 1 << 20,
            lease: Duration::from_secs(30),
            revoke: Duration::from_secs(10),
        }
    }
}

macro_rules! setters {
    ($($name:ident: $type:ty),*) => {$(
        #[doc = concat!("Sets [`", stringify!($name), "`](Self#structfield.", stringify!($name), ").")]
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.$name = $name;
            self
        }
    )*};
}

impl Options {
    setters!(
        partitions: u32, retention: u64, retention_bytes: u64, history: u64, full: Full, max_message: usize, lease: Duration,
        revoke: Duration
    );

    /// The options that a URL names, over the default ones.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`] if the URL has parts that mean nothing here, or names an option that there is not, which is
    /// answered with those that there are, or gives one a value that cannot be.
    pub fn from_url(url: &BrokerUrl) -> Result<Self, Error> {
        if url.scheme() != "memory" {
            return Err(invalid(format!("the memory broker's URL begins with `memory://`, not with `{}://`", url.scheme())));
        }
        if url.user_info().is_some() || !url.path().is_empty() {
            return Err(invalid("the memory broker's URL is `memory://` or `memory://name`, without user, password and path"));
        }
        let mut options = Self::default();
        for (name, value) in url.options() {
            match name {
                "partitions" => options.partitions = number(name, value)?,
                "retention" => options.retention = number(name, value)?,
                "retention_bytes" => options.retention_bytes = number(name, value)?,
                "history" => options.history = number(name, value)?,
                "max_message" => options.max_message = number(name, value)?,
                "lease" => options.lease = duration(name, value)?,
                "revoke" => options.revoke = duration(name, value)?,
                "full" => {
                    options.full = match value {
                        "reject" => Full::Reject,
                        "trim" => Full::Trim,
                        _ => return Err(invalid(format!("`full={value}` is not known: it is `full=reject` or `full=trim`"))),
                    }
                }
                _ => {
                    return Err(invalid(format!(
                        "the memory broker has no option `{name}`: it has partitions, retention, retention_bytes, history, full, \
                         max_message, lease and revoke"
                    )));
                }
            }
        }
        options.check()?;
        Ok(options)
    }

    /// Whether a broker can work like this.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let least = self.max_message as u64 + OVERHEAD;
        let problem = if self.partitions == 0 || self.partitions > MAX_PARTITIONS {
            Some(format!("`partitions` is between 1 and {MAX_PARTITIONS}"))
        } else if self.retention == 0 {
            Some("`retention` is at least 1".to_owned())
        } else if self.retention_bytes < least {
            Some(format!("`retention_bytes` is at least {least}, so that the largest message (`max_message`) fits"))
        } else if self.lease < Duration::from_millis(1) {
            Some("`lease` is at least 1ms".to_owned())
        } else {
            None
        };
        problem.map_or(Ok(()), |problem| Err(invalid(problem)))
    }
}

/// More partitions than this are a mistake in this process.
pub(crate) const MAX_PARTITIONS: u32 = 65_536;

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidUrl, message)
}

fn number<T: std::str::FromStr<Err: fmt::Display>>(name: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|why| invalid(format!("`{name}={value}` is not a number that it can have: {why}")))
}

/// `30s`, `500ms`, `2m`, or a bare number of milliseconds.
fn duration(name: &str, value: &str) -> Result<Duration, Error> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = value.split_at(digits);
    let per_unit = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    match count.parse::<u64>().ok().and_then(|count| count.checked_mul(per_unit)) {
        Some(millis) if per_unit > 0 => Ok(Duration::from_millis(millis)),
        _ => Err(invalid(format!("`{name}={value}` is not a duration: write it as in `{name}=30s` or `{name}=500ms`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> Result<Options, Error> {
        Options::from_url(&BrokerUrl::parse(url)?)
    }

    #[test]
    fn options_are_read_from_the_url() {
        let read = options("memory://x?partitions=3&full=trim&lease=500ms&revoke=2m&max_message=10&history=0").unwrap();
        let expected = Options::default().partitions(3).full(Full::Trim).lease(Duration::from_millis(500));
        assert_eq!(read, expected.revoke(Duration::from_secs(120)).max_message(10).history(0));
        assert_eq!(options("memory://").unwrap(), Options::default());
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for (url, says) in [
            ("memory://?partition=8", "has partitions, retention"),
            ("memory://?partitions=0", "between 1 and"),
            ("memory://?partitions=x", "not a number"),
            ("memory://?lease=30x", "30s"),
            ("memory://?lease=", "30s"),
            ("memory://?full=maybe", "full=reject"),
            ("memory://?retention_bytes=5", "at least"),
            ("memory://a/b", "without"),
            ("kafka://a", "memory://"),
        ] {
            let error = options(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidUrl);
            assert!(error.to_string().contains(says), "{url}: {error}");
        }
    }
}
