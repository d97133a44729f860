//! What a broker's URL says, read with all that is wrong with it told at once.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use convoke_core::broker::BrokerUrl;
use convoke_core::{Error, ErrorKind};

use crate::Secret;

/// Reads a URL. What is asked for is known; what the URL has beyond that is refused by [`finish`](Self::finish).
///
/// Values of options are percent-decoded. No text of an error repeats a secret.
#[derive(Debug)]
pub struct UrlOptions<'u> {
    broker: &'static str,
    url: &'u BrokerUrl,
    known: Vec<&'static str>,
    prefixes: Vec<&'static str>,
    problems: Vec<String>,
}

impl<'u> UrlOptions<'u> {
    /// Reads `url` for the adapter of `broker`.
    #[must_use]
    pub const fn new(broker: &'static str, url: &'u BrokerUrl) -> Self {
        Self { broker, url, known: Vec::new(), prefixes: Vec::new(), problems: Vec::new() }
    }

    pub(crate) fn scheme(&self) -> &'u str {
        self.url.scheme()
    }

    fn value(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let (_, value) = self.url.options().find(|(other, _)| *other == name)?;
        let decoded = decode(value);
        if decoded.is_none() {
            self.problems.push(format!("the value of `{name}` is not percent-encoded text: write `%` as `%25`"));
        }
        decoded
    }

    /// Something is wrong that the reader of an option found.
    pub fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// An option that is any text.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.value(name)
    }

    /// Every option whose name begins so, without that: settings of the client's own.
    pub fn behind(&mut self, prefix: &'static str) -> Vec<(String, String)> {
        self.prefixes.push(prefix);
        let mut found = Vec::new();
        for (name, value) in self.url.options() {
            let Some(rest) = name.strip_prefix(prefix) else { continue };
            match decode(value) {
                Some(value) => found.push((rest.to_owned(), value)),
                None => self.problems.push(format!("the value of `{name}` is not percent-encoded text: write `%` as `%25`")),
            }
        }
        found
    }

    /// An option that is not to be shown.
    pub fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.value(name).map(Secret::new)
    }

    /// An option that is a number.
    pub fn number<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        let value = self.value(name)?;
        let read = value.parse();
        read.map_err(|why| self.problem(format!("`{name}={value}` is not a number that it can have: {why}"))).ok()
    }

    /// An option that is one of these words.
    pub fn word<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Option<T> {
        let value = self.value(name)?;
        let found = words.iter().find(|(word, _)| *word == value).map(|(_, meant)| *meant);
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| format!("`{name}={word}`")).collect();
            self.problem(format!("`{name}={value}` is not known: it is {}", known.join(" or ")));
        }
        found
    }

    /// An option that is `yes` or `no`.
    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.word(name, &[("yes", true), ("no", false)])
    }

    /// An option that is a time: `30s`, `500ms`, `2m`, `1h`, `7d`.
    pub fn duration(&mut self, name: &'static str) -> Option<Duration> {
        let value = self.value(name)?;
        let (count, unit) = value.split_at(value.bytes().take_while(u8::is_ascii_digit).count());
        let per_unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => 0,
        };
        match count.parse::<u64>().ok().and_then(|count| count.checked_mul(per_unit)) {
            Some(millis) if per_unit > 0 => Some(Duration::from_millis(millis)),
            _ => {
                self.problem(format!("`{name}={value}` is not a duration: write it as in `{name}=30s` or `{name}=500ms`"));
                None
            }
        }
    }

    /// The servers, each `host:port`; where no port is said, this one.
    pub fn servers(&mut self, port: u16) -> Vec<String> {
        let mut servers = Vec::new();
        for server in self.url.authority().split(',').filter(|server| !server.is_empty()) {
            // An IPv6 address stands in brackets, and has colons of its own.
            let (host, said) = match server.rsplit_once(':') {
                Some((host, said)) if !said.contains(']') => (host, said.parse().ok()),
                _ => (server, Some(port)),
            };
            match said {
                Some(port) if !host.is_empty() => servers.push(format!("{host}:{port}")),
                _ => self.problem(format!("`{server}` is not a server: write `host` or `host:{port}`, several with commas")),
            }
        }
        if servers.is_empty() && self.problems.is_empty() {
            let Self { broker, url, .. } = self;
            let text = format!("the URL names no server of {broker}: write `{}://localhost:{port}`", url.scheme());
            self.problem(text);
        }
        servers
    }

    /// User and password, percent-decoded.
    pub fn user(&mut self) -> Option<(String, Option<Secret>)> {
        let said = self.url.user_info()?;
        let (user, password) = said.split_once(':').map_or((said, None), |(user, password)| (user, Some(password)));
        match (decode(user), password.map(decode)) {
            (Some(user), None) => Some((user, None)),
            (Some(user), Some(Some(password))) => Some((user, Some(Secret::new(password)))),
            _ => {
                self.problem("user and password in the URL are percent-encoded: write `%` as `%25`");
                None
            }
        }
    }

    /// The path, percent-decoded: one name, which may be empty.
    pub fn path(&mut self) -> Option<String> {
        let said = self.url.path();
        let path = decode(said).filter(|_| !said.contains('/'));
        if path.is_none() {
            self.problem("what stands behind the host is one name, percent-encoded: write `/` as `%2F` and `%` as `%25`");
        }
        path
    }

    /// That was all.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`], with everything that is wrong with the URL, options included that nobody asked for.
    pub fn finish(mut self) -> Result<(), Error> {
        self.known.sort_unstable();
        let behind = self.prefixes.iter().map(|prefix| format!("{prefix}…"));
        let known = self.known.iter().map(|name| (*name).to_owned()).chain(behind).collect::<Vec<_>>().join(", ");
        let is_known = |name: &str| self.known.contains(&name) || self.prefixes.iter().any(|prefix| name.starts_with(prefix));
        for (name, _) in self.url.options().filter(|(name, _)| !is_known(name)) {
            self.problems.push(format!("{} has no option `{name}`: it has {known}", self.broker));
        }
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidUrl, self.problems.join("; ")))
    }
}

fn decode(text: &str) -> Option<String> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => u8::try_from(digit(bytes.next())? << 4 | digit(bytes.next())?).ok()?,
            other => *other,
        });
    }
    String::from_utf8(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_url_says_is_read() {
        let url = BrokerUrl::parse("nats://ada:p%40ss@a,b:5,[::1],[::1]:7?lease=3s&n=7&tls=yes&token=x%25y").unwrap();
        let mut options = UrlOptions::new("NATS", &url);
        assert_eq!(options.servers(4222), ["a:4222", "b:5", "[::1]:4222", "[::1]:7"]);
        assert_eq!(options.user(), Some(("ada".to_owned(), Some(Secret::new("p@ss")))));
        assert_eq!(options.duration("lease"), Some(Duration::from_secs(3)));
        assert_eq!((options.number("n"), options.flag("tls")), (Some(7), Some(true)));
        assert_eq!(options.secret("token").unwrap().reveal(), "x%y");
        assert_eq!(options.text("absent"), None);
        assert_eq!(options.path().as_deref(), Some(""));
        options.finish().unwrap();
        for (path, said) in [("my%2Fshop", Some("my/shop")), ("a/b", None), ("%", None)] {
            let url = BrokerUrl::parse(&format!("amqp://a/{path}")).unwrap();
            assert_eq!(UrlOptions::new("RabbitMQ", &url).path().as_deref(), said);
        }
    }

    #[test]
    fn settings_of_the_clients_own_stand_behind_a_prefix() {
        let url = BrokerUrl::parse("kafka://a?kafka.x.y=1&kafka.z=%20&n=2").unwrap();
        let mut options = UrlOptions::new("Kafka", &url);
        let two = [("x.y".to_owned(), "1".to_owned()), ("z".to_owned(), " ".to_owned())];
        assert_eq!(options.behind("kafka."), two);
        assert!(options.finish().unwrap_err().to_string().contains("no option `n`: it has kafka.…"));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_and_no_secret_with_it() {
        let url = BrokerUrl::parse("nats://a:hush%@?lease=soon&n=x&tls=maybe&leese=1s&password=hush%").unwrap();
        let mut options = UrlOptions::new("NATS", &url);
        assert!(options.servers(4222).is_empty() && options.user().is_none());
        assert_eq!((options.duration("lease"), options.number::<u8>("n"), options.flag("tls")), (None, None, None));
        assert!(options.secret("password").is_none());
        let error = options.finish().unwrap_err().to_string();
        for says in ["nats://localhost:4222", "`lease=soon`", "`n=x`", "`tls=yes` or `tls=no`", "no option `leese`", "%25"] {
            assert!(error.contains(says), "{says}: {error}");
        }
        assert!(!error.contains("hush"), "{error}");
    }
}
