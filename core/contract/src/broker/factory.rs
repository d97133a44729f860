//! How a URL becomes a broker.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Broker;
use crate::error::{Error, ErrorKind};
use crate::publish::BoxFuture;

/// Opens a broker from its URL.
pub type OpenBroker = fn(BrokerConfig) -> BoxFuture<'static, Result<Arc<dyn Broker>, Error>>;

/// A kind of broker that a URL may name. The facade registers those it knows, also those whose feature is off, so that the
/// answer to such a URL is the feature's name.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct BrokerFactory {
    /// The URL schemes that mean this broker.
    pub schemes: &'static [&'static str],
    /// The cargo feature that brings it; empty if there is no adapter yet.
    pub feature: &'static str,
    /// An example of a URL.
    pub example: &'static str,
    /// Opens it; `None` if its feature is off.
    pub open: Option<OpenBroker>,
}

impl BrokerFactory {
    /// A kind of broker whose feature is on or, with `None`, off.
    #[must_use]
    pub const fn new(
        schemes: &'static [&'static str],
        feature: &'static str,
        example: &'static str,
        open: Option<OpenBroker>,
    ) -> Self {
        Self { schemes, feature, example, open }
    }

    /// A kind of broker that this version has no adapter for yet: the answer to its URL says so.
    #[must_use]
    pub const fn planned(schemes: &'static [&'static str], example: &'static str) -> Self {
        Self { schemes, feature: "", example, open: None }
    }

    /// Whether there is no adapter for it yet.
    #[must_use]
    pub const fn is_planned(&self) -> bool {
        self.feature.is_empty()
    }
}

impl fmt::Debug for BrokerFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerFactory")
            .field("schemes", &self.schemes)
            .field("feature", &self.feature)
            .field("enabled", &self.open.is_some())
            .finish_non_exhaustive()
    }
}

/// What a broker is opened with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BrokerConfig {
    /// The URL.
    pub url: BrokerUrl,
    /// The application's name, for the broker's own lists of connections.
    pub app: String,
    /// How long the first connection may take.
    pub connect_within: Duration,
}

impl BrokerConfig {
    /// Opens `url` for `app`, within 10 s.
    #[must_use]
    pub fn new(url: BrokerUrl, app: impl Into<String>) -> Self {
        Self { url, app: app.into(), connect_within: Duration::from_secs(10) }
    }
}

/// A broker's URL: `scheme://[user:password@]host[:port][,host…][/path][?option=value&…]`.
///
/// `Debug` and `Display` leave the password out, and every option whose name speaks of a password, secret, token or key.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    scheme: String,
    user_info: Option<String>,
    authority: String,
    path: String,
    options: BTreeMap<String, String>,
}

impl BrokerUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`] if it has no scheme, or an option that is not `name=value` or stands twice. The text never
    /// repeats the URL, which may hold a password.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let invalid = |what: String| Error::new(ErrorKind::InvalidUrl, what);
        let (scheme, rest) = url.trim().split_once("://").ok_or_else(|| {
            invalid("a broker's URL begins with its scheme, as in `memory://` or `kafka://localhost:9092`".to_owned())
        })?;
        if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')) {
            return Err(invalid("a URL's scheme is made of letters and digits, as in `memory://`".to_owned()));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A `/` or `?` in a password would cut it in two, and show its second half.
        if query.contains('@') || rest.split_once('/').is_some_and(|(_, path)| path.contains('@')) {
            return Err(invalid(
                "there is an `@` behind the host; percent-encode `/`, `?` and `@` in user and password (`%2F`, `%3F`, `%40`)"
                    .to_owned(),
            ));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user_info, authority) = match authority.rsplit_once('@') {
            Some((user_info, authority)) => (Some(user_info.to_owned()), authority),
            None => (None, authority),
        };
        let mut options = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                invalid(format!("an option of a URL is `name=value`; there is no `=` in option {}", options.len() + 1))
            })?;
            if options.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(invalid(format!("the option `{name}` stands twice in the URL")));
            }
        }
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            user_info,
            authority: authority.to_owned(),
            path: path.to_owned(),
            options,
        })
    }

    /// A URL that has options and nothing else.
    pub(super) fn of_options(scheme: &str, options: BTreeMap<String, String>) -> Self {
        Self { scheme: scheme.to_owned(), user_info: None, authority: String::new(), path: String::new(), options }
    }

    /// The scheme, in lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// User and password, as they stand in the URL.
    #[must_use]
    pub fn user_info(&self) -> Option<&str> {
        self.user_info.as_deref()
    }

    /// Hosts and ports, as they stand in the URL; a name for brokers within the process.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path, without its first `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The options. What an adapter does not know it refuses.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> + '_ {
        self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        if let Some(user_info) = &self.user_info {
            // Without a password it may be a token.
            match user_info.split_once(':') {
                Some((user, _)) => write!(f, "{user}:…@")?,
                None => f.write_str("…@")?,
            }
        }
        f.write_str(&self.authority)?;
        if !self.path.is_empty() {
            write!(f, "/{}", self.path)?;
        }
        for (i, (name, value)) in self.options.iter().enumerate() {
            let lower = name.to_ascii_lowercase();
            let secret =
                ["pass", "pwd", "secret", "token", "key", "credential", "auth", "jaas"].iter().any(|word| lower.contains(word));
            write!(f, "{}{name}={}", if i == 0 { '?' } else { '&' }, if secret { "…" } else { value })?;
        }
        Ok(())
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let url = BrokerUrl::parse("NATS://ada:pw@a:4222,b:4222/x?tls=on").unwrap();
        assert_eq!((url.scheme(), url.authority(), url.path()), ("nats", "a:4222,b:4222", "x"));
        assert_eq!(url.user_info(), Some("ada:pw"));
        assert_eq!(url.options().collect::<Vec<_>>(), [("tls", "on")]);
        assert_eq!(BrokerUrl::parse("memory://").unwrap().authority(), "");
    }

    #[test]
    fn secrets_are_not_shown() {
        let url = BrokerUrl::parse("kafka://ada:pw@a:1/?sasl.password=hush&linger=5").unwrap();
        assert_eq!(format!("{url:?}"), "kafka://ada:…@a:1?linger=5&sasl.password=…");
    }

    #[test]
    fn a_token_in_the_place_of_a_user_is_not_shown() {
        assert_eq!(BrokerUrl::parse("nats://hush@a:1").unwrap().to_string(), "nats://…@a:1");
    }

    #[test]
    fn a_bad_url_is_refused_without_repeating_it() {
        for url in [
            "hush",
            "://hush",
            "a b://hush",
            "memory://?hush",
            "memory://?a=hush&a=hush",
            "amqp://u:hush/hush@a",
            "amqp://u:hush?hush=@a",
        ] {
            let error = BrokerUrl::parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidUrl);
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}
