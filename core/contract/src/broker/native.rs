//! Options of one kind of broker: what an adapter takes from a handler or from an event, and what these say.
//!
//! An adapter declares each option once. Its URL is read by the same declaration as `#[handler(kafka(session = "30s"))]` and
//! `#[event(kafka(partitions = 24))]`, and the compiler checks the attribute by it where the adapter is there.

use std::collections::BTreeMap;
use std::fmt;

use super::BrokerUrl;
use super::sentence::{Sentence, near, same};
use crate::error::{Error, ErrorKind};

/// What a handler or an event says for one kind of broker. The others ignore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Native {
    /// The kind of broker, as its cargo feature is called.
    pub broker: &'static str,
    /// The option.
    pub name: &'static str,
    /// What it says.
    pub value: NativeValue,
}

/// What is said of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NativeValue {
    /// A text: a duration or a word.
    Text(&'static str),
    /// A number.
    Number(u64),
}

impl Native {
    /// Says `value` of `name` to a kind of broker.
    #[must_use]
    pub const fn new(broker: &'static str, name: &'static str, value: NativeValue) -> Self {
        Self { broker, name, value }
    }
}

/// As the attribute has it.
impl fmt::Display for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { broker, name, value } = self;
        match value {
            NativeValue::Text(text) => write!(f, "{broker}({name} = {text:?})"),
            NativeValue::Number(number) => write!(f, "{broker}({name} = {number})"),
        }
    }
}

/// An option that an adapter takes from a handler, or from an event for its topic.
#[derive(Debug, Clone, Copy)]
pub struct NativeOption {
    /// Its name, which is that of the URL's option.
    pub name: &'static str,
    kind: Kind,
    example: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Duration,
    Number,
    Word(&'static [&'static str]),
}

impl NativeOption {
    /// An option that is a time, as in `30s` or `500ms`; `example` is one.
    #[must_use]
    pub const fn duration(name: &'static str, example: &'static str) -> Self {
        Self { name, kind: Kind::Duration, example }
    }

    /// An option that is a whole number; `example` is one.
    #[must_use]
    pub const fn number(name: &'static str, example: &'static str) -> Self {
        Self { name, kind: Kind::Number, example }
    }

    /// An option that is one of these words, of which there is one at least.
    ///
    /// # Panics
    /// Without any word.
    #[must_use]
    pub const fn word(name: &'static str, words: &'static [&'static str]) -> Self {
        Self { name, kind: Kind::Word(words), example: words[0] }
    }

    /// What is wrong with the name of an option, if the adapter is there that knows. `other` is the other attribute, and what the adapter
    /// takes there.
    #[doc(hidden)]
    #[must_use]
    pub const fn unknown(broker: &str, known: Option<&[Self]>, other: (&str, Option<&[Self]>), name: &str) -> Option<Sentence> {
        let Some(known) = known else { return None };
        if find(known, name).is_some() {
            return None;
        }
        if let (attribute, Some(others)) = other
            && let Some(option) = find(others, name)
        {
            let said =
                Sentence::new().say("`").say(name).say("` is an option of `#[").say(attribute).say("]`: `#[").say(attribute);
            return Some(option.code(said.say("(").say(broker).say("(")).say("))]`"));
        }
        let mut said = Sentence::new().say("`").say(broker).say("(…)` has no option `").say(name).say("`; it has ");
        let (mut i, mut nearest, mut least) = (0, None, usize::MAX);
        while i < known.len() {
            let between = if i == 0 { "`" } else { ", `" };
            said = said.say(between).say(known[i].name).say("`");
            if let Some(steps) = near(name, known[i].name)
                && steps < least
            {
                (nearest, least) = (Some(known[i]), steps);
            }
            i += 1;
        }
        if let Some(nearest) = nearest {
            said = nearest.form(said.say("; did you mean ")).say("?");
        }
        Some(said)
    }

    /// What is wrong with what is said of an option that there is, if the adapter is there that knows.
    #[doc(hidden)]
    #[must_use]
    pub const fn misused(known: Option<&[Self]>, name: &str, value: NativeValue) -> Option<Sentence> {
        let Some(known) = known else { return None };
        match find(known, name) {
            Some(option) if !option.takes(value) => Some(option.rule()),
            _ => None,
        }
    }

    const fn takes(&self, value: NativeValue) -> bool {
        match (self.kind, value) {
            (Kind::Duration, NativeValue::Text(text)) => is_duration(text.as_bytes()),
            (Kind::Number, NativeValue::Number(_)) => true,
            (Kind::Word(words), NativeValue::Text(text)) => {
                let mut i = 0;
                while i < words.len() && !same(words[i], text) {
                    i += 1;
                }
                i < words.len()
            }
            _ => false,
        }
    }

    /// The legal form, as code.
    const fn form(&self, said: Sentence) -> Sentence {
        self.code(said.say("`")).say("`")
    }

    const fn code(&self, said: Sentence) -> Sentence {
        let quote = if matches!(self.kind, Kind::Number) { "" } else { "\"" };
        said.say(self.name).say(" = ").say(quote).say(self.example).say(quote)
    }

    const fn rule(&self) -> Sentence {
        let said = Sentence::new().say("`").say(self.name).say("` is ");
        let said = match self.kind {
            Kind::Duration => said.say("a duration in quotes"),
            Kind::Number => said.say("a whole number"),
            Kind::Word(words) => said.list(words, " or ").say(", in quotes"),
        };
        self.form(said.say(": "))
    }
}

/// A whole number with a unit, as in a URL.
const fn is_duration(text: &[u8]) -> bool {
    let mut digits = 0;
    while digits < text.len() && text[digits].is_ascii_digit() {
        digits += 1;
    }
    let (_, unit) = text.split_at(digits);
    digits > 0 && matches!(unit, b"ms" | b"s" | b"m" | b"h" | b"d")
}

const fn find(known: &[NativeOption], name: &str) -> Option<NativeOption> {
    let mut i = 0;
    while i < known.len() {
        if same(known[i].name, name) {
            return Some(known[i]);
        }
        i += 1;
    }
    None
}

impl BrokerUrl {
    /// What is said to this kind of broker, as its URL would say it: for the code that reads both.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] with everything that the adapter does not know.
    pub fn of_native(broker: &str, known: &[NativeOption], said: &[Native]) -> Result<Self, Error> {
        let (mut options, mut problems) = (BTreeMap::new(), Vec::new());
        for Native { name, value, .. } in said.iter().copied().filter(|one| one.broker == broker) {
            let problem = NativeOption::unknown(broker, Some(known), ("", None), name)
                .or_else(|| NativeOption::misused(Some(known), name, value));
            problems.extend(problem.map(|problem| problem.as_str().to_owned()));
            let text = match value {
                NativeValue::Text(text) => text.to_owned(),
                NativeValue::Number(number) => number.to_string(),
            };
            options.insert(name.to_owned(), text);
        }
        if problems.is_empty() {
            return Ok(Self::of_options(broker, options));
        }
        Err(Error::new(ErrorKind::Configuration, problems.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[NativeOption] = &[
        NativeOption::duration("session", "45s"),
        NativeOption::number("prefetch", "100"),
        NativeOption::word("ack", &["sent", "confirmed"]),
    ];

    fn said(name: &'static str, value: NativeValue) -> Result<BrokerUrl, String> {
        let said = [Native::new("kafka", name, value), Native::new("nats", "anything", NativeValue::Number(1))];
        BrokerUrl::of_native("kafka", KNOWN, &said).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_said_becomes_the_options_of_a_url_and_what_is_said_to_others_does_not() {
        let cases = [
            ("session", NativeValue::Text("10s"), "10s"),
            ("prefetch", NativeValue::Number(7), "7"),
            ("ack", NativeValue::Text("confirmed"), "confirmed"),
        ];
        for (name, value, text) in cases {
            assert_eq!(said(name, value).unwrap().options().collect::<Vec<_>>(), [(name, text)]);
        }
    }

    #[test]
    fn an_option_that_there_is_not_is_answered_with_the_nearest_and_with_all() {
        let all = "it has `session`, `prefetch`, `ack`";
        for (name, rest) in
            [("sesion", "; did you mean `session = \"45s\"`?"), ("pre_fetch", "; did you mean `prefetch = 100`?"), ("linger", "")]
        {
            let text = said(name, NativeValue::Number(1)).unwrap_err();
            assert_eq!(text, format!("`kafka(…)` has no option `{name}`; {all}{rest}"));
        }
    }

    #[test]
    fn a_value_of_another_kind_is_answered_with_the_legal_form() {
        let duration = "`session` is a duration in quotes: `session = \"45s\"`";
        let word = "`ack` is `sent` or `confirmed`, in quotes: `ack = \"sent\"`";
        let cases = [
            ("session", NativeValue::Number(45), duration),
            ("session", NativeValue::Text("45"), duration),
            ("session", NativeValue::Text("s"), duration),
            ("session", NativeValue::Text("45 s"), duration),
            ("prefetch", NativeValue::Text("7"), "`prefetch` is a whole number: `prefetch = 100`"),
            ("ack", NativeValue::Text("all"), word),
            ("ack", NativeValue::Number(1), word),
        ];
        for (name, value, rule) in cases {
            assert_eq!(said(name, value).unwrap_err(), rule);
        }
    }

    #[test]
    fn without_the_adapter_nothing_is_wrong() {
        assert!(NativeOption::unknown("kafka", None, ("event", Some(KNOWN)), "session").is_none());
        assert!(NativeOption::misused(None, "session", NativeValue::Number(1)).is_none());
    }
}
