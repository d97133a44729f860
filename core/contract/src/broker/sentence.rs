//! Sentences that a constant can make, so that the compiler says them.

const ROOM: usize = 512;
/// Longer words are not compared.
const LONGEST: usize = 32;

/// A sentence, put together while an application is compiled.
#[derive(Debug, Clone, Copy)]
pub struct Sentence {
    bytes: [u8; ROOM],
    len: usize,
}

impl Sentence {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; ROOM], len: 0 }
    }

    /// Adds a part. What finds no room is left out.
    pub(super) const fn say(mut self, part: &str) -> Self {
        let part = part.as_bytes();
        if self.len + part.len() <= ROOM {
            let mut i = 0;
            while i < part.len() {
                self.bytes[self.len + i] = part[i];
                i += 1;
            }
            self.len += part.len();
        }
        self
    }

    /// Adds words as code, with something else before the last.
    pub(super) const fn list(mut self, words: &[&str], last: &str) -> Self {
        let mut i = 0;
        while i < words.len() {
            let between = match i {
                0 => "",
                _ if i + 1 == words.len() => last,
                _ => ", ",
            };
            self = self.say(between).say("`").say(words[i]).say("`");
            i += 1;
        }
        self
    }

    /// The sentence.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        let (said, _) = self.bytes.split_at(self.len);
        match std::str::from_utf8(said) {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}

pub(super) const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len()
}

/// How many letters must be added, removed or changed to make the one of the other, if few enough that it may have been meant.
pub(super) const fn near(written: &str, known: &str) -> Option<usize> {
    let (a, b) = (written.as_bytes(), known.as_bytes());
    if a.len() > LONGEST || b.len() > LONGEST {
        return None;
    }
    let mut row = [0; LONGEST + 1];
    let mut j = 0;
    while j <= b.len() {
        row[j] = j;
        j += 1;
    }
    let mut i = 0;
    while i < a.len() {
        let (mut diagonal, mut j) = (row[0], 0);
        row[0] = i + 1;
        while j < b.len() {
            let changed = diagonal + if a[i] == b[j] { 0 } else { 1 };
            let added = if row[j] < row[j + 1] { row[j] + 1 } else { row[j + 1] + 1 };
            diagonal = row[j + 1];
            row[j + 1] = if changed < added { changed } else { added };
            j += 1;
        }
        i += 1;
    }
    let limit = if a.len() < 6 { 1 } else { a.len() / 3 };
    if row[b.len()] <= limit { Some(row[b.len()]) } else { None }
}

#[cfg(test)]
mod tests {
    use super::{Sentence, near};

    #[test]
    fn words_are_near_that_differ_by_a_slip() {
        for (written, known, steps) in [("sesion", "session", Some(1)), ("session", "session", Some(0)), ("ack", "acks", Some(1))]
        {
            assert_eq!(near(written, known), steps, "{written}");
        }
        for (written, known) in [("linger", "session"), ("ab", "cd"), ("", "session")] {
            assert_eq!(near(written, known), None, "{written}");
        }
    }

    #[test]
    fn a_sentence_that_is_too_long_ends_with_a_whole_part() {
        let long = "ü".repeat(200);
        let sentence = Sentence::new().say(&long).say(&long).say("!");
        assert_eq!(sentence.as_str(), format!("{long}!"));
    }
}
