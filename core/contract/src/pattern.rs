//! Topics with a parameter: `orders.{region}`, and patterns: `orders.*`.

use std::fmt;

use crate::error::{Error, ErrorKind};
use crate::message::Topic;

/// The name of a topic some parts of which are open: a parameter, as in `orders.{region}`, or `*`, as in `orders.*`.
///
/// An open part stands for exactly one part between dots, of letters, digits, `_` and `-`. The names that end in `.dead` and
/// `.retry` are those of groups' own places: an open part at the end matches none of them.
///
/// # Examples
/// ```
/// use convoke_core::TopicPattern;
///
/// let orders = TopicPattern::new("orders.{region}").unwrap();
/// assert!(orders.matches("orders.eu") && !orders.matches("orders.eu.west"));
/// assert_eq!(orders.parameter("orders.eu", "region"), Some("eu"));
/// assert!(TopicPattern::new("orders.eu").is_none());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPattern(Topic);

/// The longest name of a topic: Kafka's limit.
const MAX_BYTES: usize = 249;

fn is_open(part: &str) -> bool {
    part == "*" || (part.starts_with('{') && part.ends_with('}'))
}

/// What an open part may stand for.
fn fits(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The last parts of groups' own places.
fn is_reserved(part: &str) -> bool {
    part == "dead" || part == "retry"
}

/// Whether it is one of groups' own places: `….dead`, `….retry`, `….retry.5s`.
fn is_own(name: &str) -> bool {
    let mut parts = name.rsplit('.');
    let (last, before) = (parts.next().unwrap_or_default(), parts.next());
    let waits = || last.strip_suffix('s').is_some_and(|seconds| seconds.bytes().all(|b| b.is_ascii_digit()));
    is_reserved(last) || (before == Some("retry") && waits())
}

impl TopicPattern {
    /// The pattern that is written so, or `None` if it is the name of one topic.
    #[must_use]
    pub fn new(written: &str) -> Option<Self> {
        written.split('.').any(is_open).then(|| Self(written.into()))
    }

    /// Whether it matches this topic.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        overlap(self.as_str(), topic)
    }

    /// What stands in the place of `{name}` in a topic that it matches.
    #[must_use]
    pub fn parameter<'t>(&self, topic: &'t str, name: &str) -> Option<&'t str> {
        let is_it = |part: &str| part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) == Some(name);
        let mut parts = self.as_str().split('.').zip(topic.split('.'));
        self.matches(topic).then(|| parts.find(|(part, _)| is_it(part)).map(|(_, value)| value))?
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether any topic is meant by both, each of which is the name of a topic or a pattern.
    #[must_use]
    pub fn overlap(a: &str, b: &str) -> bool {
        overlap(a, b)
    }
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

fn overlap(a: &str, b: &str) -> bool {
    let (mut left, mut right) = (a.split('.').peekable(), b.split('.').peekable());
    loop {
        let (Some(one), Some(other)) = (left.next(), right.next()) else { return false };
        let ends = (left.peek().is_none(), right.peek().is_none());
        let last = ends == (true, true);
        let same = match (is_open(one), is_open(other)) {
            (true, true) => true,
            (true, false) => fits(other) && !(last && is_own(b)),
            (false, true) => fits(one) && !(last && is_own(a)),
            (false, false) => one == other,
        };
        if !same || ends.0 != ends.1 {
            return false;
        }
        if last {
            return true;
        }
    }
}

/// The topic of a pattern with its parameters filled in.
///
/// # Errors
/// [`ErrorKind::InvalidTopic`] if a value cannot be a part of a topic's name, or if the name would be too long.
pub fn fill(written: &str, values: &[(&str, &dyn fmt::Display)]) -> Result<Topic, Error> {
    let mut name = String::with_capacity(written.len() + 16);
    let mut parts = written.split('.').peekable();
    while let Some(part) = parts.next() {
        if !name.is_empty() {
            name.push('.');
        }
        let parameter = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        let Some(parameter) = parameter else {
            name.push_str(part);
            continue;
        };
        let value = values.iter().find(|(other, _)| *other == parameter).map(|(_, value)| value.to_string());
        let refused = |why: &str| {
            let value = value.as_deref().unwrap_or_default();
            let text = format!("the parameter `{parameter}` of the topic `{written}` is {value:?}, {why}");
            Err(Error::new(ErrorKind::InvalidTopic, text))
        };
        match value.as_deref() {
            None => return refused("which nobody has given; publish to a topic that is named, with `.topic(…)`"),
            Some("") => return refused("but a part of a topic's name is not empty"),
            Some(value) if !fits(value) => {
                return refused("but it may hold letters, digits, `_` and `-` only; encode it, or use another field");
            }
            Some(value) if parts.peek().is_none() && is_reserved(value) => {
                return refused("which is the ending of groups' own topics; use another value");
            }
            Some(value) => name.push_str(value),
        }
    }
    if name.len() > MAX_BYTES {
        let text = format!("a topic made of `{written}` would have {} bytes; the limit is {MAX_BYTES}", name.len());
        return Err(Error::new(ErrorKind::InvalidTopic, text));
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_part_is_one_part_and_never_a_groups_own_place() {
        let pattern = TopicPattern::new("orders.{region}.*").unwrap();
        assert!(pattern.matches("orders.eu.paid"));
        for other in ["orders.eu", "orders.eu.paid.late", "orders..paid", "orders.eu.dead", "orders.eu.retry", "stock.eu.paid"] {
            assert!(!pattern.matches(other), "{other}");
        }
        let place = TopicPattern::new("orders.{region}.shop.audit.retry").unwrap();
        assert!(place.matches("orders.eu.shop.audit.retry"), "an ending that is spelt out");
        let deep = TopicPattern::new("orders.{a}.{b}.{c}.{d}").unwrap();
        assert!(deep.matches("orders.eu.shop.retry.later") && !deep.matches("orders.eu.shop.retry.20s"));
        assert_eq!(pattern.parameter("orders.eu.paid", "region"), Some("eu"));
        assert_eq!(pattern.parameter("orders.eu.paid", "kind"), None);
        assert_eq!(pattern.parameter("stock.eu.paid", "region"), None);
    }

    #[test]
    fn patterns_overlap_where_a_topic_could_be_of_both() {
        assert!(TopicPattern::overlap("orders.{region}", "orders.*"));
        assert!(TopicPattern::overlap("orders.{region}.new", "orders.eu.*"));
        assert!(TopicPattern::overlap("orders.eu", "orders.eu") && !TopicPattern::overlap("orders.eu", "orders.us"));
        assert!(!TopicPattern::overlap("orders.*", "orders.eu.*"));
        assert!(!TopicPattern::overlap("orders.*", "orders.dead"));
    }

    #[test]
    fn a_value_that_is_no_part_of_a_name_is_refused() {
        let fill = |value: &str| fill("orders.{region}", &[("region", &value)]);
        assert_eq!(fill("eu-west_1").unwrap().as_str(), "orders.eu-west_1");
        for bad in ["", "eu.west", "*", ">", "a b", "é", "{region}", "dead", "retry", &"x".repeat(243)] {
            assert_eq!(fill(bad).unwrap_err().kind(), ErrorKind::InvalidTopic, "{bad:?}");
        }
        assert_eq!(super::fill("a.{b}", &[]).unwrap_err().kind(), ErrorKind::InvalidTopic);
    }
}
