//! Options in a URL.

use std::fmt;
use std::time::Duration;

use convoke_core::Error;
use convoke_core::broker::{AttemptsKept, BrokerUrl, Credit, Delay, HeaderValues, Native, Ordering, SettleBy};

use super::{Full, Guise, HANDLER_OPTIONS, Leases, MAX_DELAY, Options, Positions, Rebalance, Unrouted, invalid};

const YES: [(&str, bool); 2] = [("yes", true), ("no", false)];

impl Options {
    /// The options that a URL names, over those of its `guise`, over the default ones.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`](convoke_core::ErrorKind::InvalidUrl) if the URL has parts that mean nothing here, or names an
    /// option that there is not, which is answered with those that there are, or gives one a value that cannot be.
    pub fn from_url(url: &BrokerUrl) -> Result<Self, Error> {
        if url.scheme() != "memory" {
            return Err(invalid(format!("the memory broker's URL begins with `memory://`, not with `{}://`", url.scheme())));
        }
        if url.user_info().is_some() || !url.path().is_empty() {
            return Err(invalid("the memory broker's URL is `memory://` or `memory://name`, without user, password and path"));
        }
        let mut options = Self::default();
        if let Some((name, value)) = url.options().find(|(name, _)| *name == "guise") {
            options = options.guise(word(name, value, &Guise::ALL.map(|guise| (guise.word(), guise)))?);
        }
        for (name, value) in url.options() {
            options.set(name, value)?;
        }
        options.check()?;
        Ok(options)
    }

    /// What is asked for of one subscription: what its handlers say, over these.
    pub(crate) fn with(&self, said: &[Native]) -> Result<Self, Error> {
        let mut options = self.clone();
        for (name, value) in BrokerUrl::of_native("memory", HANDLER_OPTIONS, said)?.options() {
            options.set(name, value)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        match name {
            "guise" => {}
            "partitions" => self.partitions = number(name, value)?,
            "retention" => self.retention = number(name, value)?,
            "retention_bytes" => self.retention_bytes = number(name, value)?,
            "history" => self.history = number(name, value)?,
            "max_message" => self.max_message = number(name, value)?,
            "progress" => self.progress = number(name, value)?,
            "lease" => self.lease = duration(name, value)?,
            "revoke" => self.revoke = duration(name, value)?,
            "full" => self.full = word(name, value, &[("reject", Full::Reject), ("trim", Full::Trim)])?,
            "settle" => self.settle = word(name, value, &[("message", SettleBy::Message), ("watermark", SettleBy::Watermark)])?,
            "delay" => {
                let native = Delay::Native { max: MAX_DELAY };
                self.delay =
                    word(name, value, &[("native", native), ("republish", Delay::Republish), ("in-place", Delay::InPlace)])?;
            }
            "schedule" => self.schedule = word(name, value, &YES)?,
            "expiry" => self.expiry = word(name, value, &YES)?,
            "attempts" => {
                self.attempts = word(name, value, &[("exact", AttemptsKept::Exact), ("at-least", AttemptsKept::AtLeast)])?;
            }
            "marks" => self.marks = word(name, value, &YES)?,
            "leases" => {
                self.leases =
                    word(name, value, &[("extendable", Leases::Extendable), ("fixed", Leases::Fixed), ("none", Leases::None)])?;
            }
            "credit" => {
                self.credit = word(name, value, &[("bytes", Credit::MessagesAndBytes), ("messages", Credit::Messages)])?;
            }
            "ordering" => {
                let words =
                    [("partition", Ordering::Partition), ("single-active", Ordering::SingleActive), ("none", Ordering::None)];
                self.ordering = word(name, value, &words)?;
            }
            "rebalance" => {
                self.rebalance = word(name, value, &[("cooperative", Rebalance::Cooperative), ("eager", Rebalance::Eager)])?;
            }
            "positions" => {
                let words = [("offset", Positions::Offset), ("entry", Positions::Entry), ("tag", Positions::Tag)];
                self.positions = word(name, value, &words)?;
            }
            "headers" => self.headers = word(name, value, &[("binary", HeaderValues::Binary), ("text", HeaderValues::Text)])?,
            "unrouted" => self.unrouted = word(name, value, &[("keep", Unrouted::Keep), ("drop", Unrouted::Drop)])?,
            "starts" => self.starts = word(name, value, &YES)?,
            "patterns" => self.patterns = word(name, value, &YES)?,
            "ends" => self.ends = word(name, value, &YES)?,
            _ => {
                return Err(invalid(format!(
                    "the memory broker has no option `{name}`: it has partitions, retention, retention_bytes, history, full, \
                     max_message, lease and revoke; and guise, settle, delay, schedule, expiry, attempts, marks, progress, leases, credit, \
                     ordering, rebalance, positions, headers, unrouted, starts, patterns and ends"
                )));
            }
        }
        Ok(())
    }
}

/// One of these words.
fn word<T: Copy>(name: &str, value: &str, words: &[(&str, T)]) -> Result<T, Error> {
    let found = words.iter().find(|(word, _)| *word == value).map(|(_, meant)| *meant);
    found.ok_or_else(|| not_known(name, value, &mut words.iter().map(|(word, _)| *word)))
}

/// Compiled once, and not for each kind of word.
fn not_known(name: &str, value: &str, words: &mut dyn Iterator<Item = &str>) -> Error {
    let known: Vec<_> = words.map(|word| format!("`{name}={word}`")).collect();
    invalid(format!("`{name}={value}` is not known: it is {}", known.join(" or ")))
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
        "d" => 86_400_000,
        _ => 0,
    };
    match count.parse::<u64>().ok().and_then(|count| count.checked_mul(per_unit)) {
        Some(millis) if per_unit > 0 => Ok(Duration::from_millis(millis)),
        _ => Err(invalid(format!("`{name}={value}` is not a duration: write it as in `{name}=30s` or `{name}=500ms`"))),
    }
}

#[cfg(test)]
mod tests {
    use convoke_core::ErrorKind;

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
    fn a_guise_comes_first_and_single_options_change_it() {
        for guise in Guise::ALL {
            let read = options(&format!("memory://?guise={}", guise.word())).unwrap();
            assert_eq!(read, Options::default().guise(guise));
            assert!(read.check().is_ok());
        }
        let read = options("memory://?delay=in-place&guise=kafka&headers=text&progress=100").unwrap();
        let expected = Options::default().guise(Guise::Kafka).delay(Delay::InPlace).headers(HeaderValues::Text).progress(100);
        assert_eq!(read, expected);
        assert_eq!(
            options("memory://?settle=watermark&leases=none&delay=in-place&credit=messages").unwrap().settle,
            SettleBy::Watermark
        );
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
            ("memory://?guise=sqs", "`guise=kafka` or `guise=kafka-eager` or"),
            ("memory://?marks=true", "`marks=yes` or `marks=no`"),
            ("memory://?settle=watermark", "leases=none"),
            ("memory://?guise=kafka&positions=tag", "leave `positions`"),
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
