//! Which members of a group live, by what they say of themselves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The members of a group that were heard of lately.
#[derive(Debug)]
pub(crate) struct Presence {
    me: String,
    term: Duration,
    heard: BTreeMap<String, Instant>,
}

/// What a member says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// It lives.
    Here,
    /// It has just come, and wants to know who else is there.
    Hello,
    /// It goes.
    Bye,
}

impl Word {
    pub(crate) fn write(self, member: &str) -> String {
        let word = match self {
            Self::Here => "here",
            Self::Hello => "hello",
            Self::Bye => "bye",
        };
        format!("{word} {member}")
    }

    pub(crate) fn read(text: &[u8]) -> Option<(Self, &str)> {
        let (word, member) = std::str::from_utf8(text).ok()?.split_once(' ')?;
        let word = match word {
            "here" => Self::Here,
            "hello" => Self::Hello,
            "bye" => Self::Bye,
            _ => return None,
        };
        Some((word, member))
    }
}

impl Presence {
    pub(crate) fn new(me: &str, term: Duration) -> Self {
        Self { me: me.to_owned(), term, heard: BTreeMap::new() }
    }

    /// A member has said something. Whether that changes who is there.
    pub(crate) fn heard(&mut self, word: Word, member: &str, now: Instant) -> bool {
        if member == self.me {
            return false;
        }
        match word {
            Word::Bye => self.heard.remove(member).is_some(),
            Word::Here | Word::Hello => self.heard.insert(member.to_owned(), now).is_none(),
        }
    }

    /// Forgets who was silent for too long. Whether that changes who is there.
    pub(crate) fn pass(&mut self, now: Instant) -> bool {
        let before = self.heard.len();
        let term = self.term;
        self.heard.retain(|_, heard| now.saturating_duration_since(*heard) < term);
        before != self.heard.len()
    }

    /// Who is there, this member included.
    pub(crate) fn members(&self) -> impl Iterator<Item = &str> {
        self.heard.keys().map(String::as_str).chain([&*self.me])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_for_too_long_is_gone() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut presence = Presence::new("me", 2 * second);
        assert!(presence.heard(Word::Hello, "a", start) && !presence.heard(Word::Here, "a", start + second));
        assert!(presence.heard(Word::Here, "b", start) && !presence.heard(Word::Here, "me", start));
        assert!(presence.pass(start + 2 * second), "b said nothing since");
        assert_eq!(presence.members().collect::<Vec<_>>(), ["a", "me"]);
        assert!(presence.heard(Word::Bye, "a", start) && !presence.heard(Word::Bye, "a", start));
    }

    #[test]
    fn what_is_said_is_understood() {
        for word in [Word::Here, Word::Hello, Word::Bye] {
            assert_eq!(Word::read(word.write("m").as_bytes()), Some((word, "m")));
        }
        assert_eq!(Word::read(b"what"), None);
    }
}
