//! What a commit says beside the position, and how it is written as text.
//!
//! Brokers that settle by watermark keep a short text with each commit (Kafka: 4 KiB of metadata). What stands in it decides what is
//! repeated and what is not, so that every adapter writes it here. A text that this cannot have written, of whatever origin, says
//! nothing: what it might have meant is delivered again, and nothing is skipped.

use std::fmt::Write as _;
use std::time::Duration;

use crate::position::Position;

/// What a commit says beside the position: by watermark only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is done above the committed position: ranges, first and last included, ascending and apart.
    pub done: Vec<(Position, Position)>,
    /// What is known of messages that are not done: ascending by position.
    pub marks: Vec<Mark>,
}

/// What a commit says of a message that is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mark {
    /// Which one.
    pub position: Position,
    /// How many attempts have failed.
    pub attempts: u32,
    /// How often the process died while it was tried alone.
    pub deaths: u32,
    /// How much longer it is to wait for its next attempt; counted from the commit, and from the assignment when it is handed back.
    pub due_in: Duration,
}

impl Mark {
    /// A message at `position` of which so many attempts failed, and that may be tried at once.
    #[must_use]
    pub const fn new(position: Position, attempts: u32, deaths: u32) -> Self {
        Self { position, attempts, deaths, due_in: Duration::ZERO }
    }
}

/// What was read from the text of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// What was said; due times are counted from now.
    pub progress: Progress,
    /// Whether the owner that wrote it had not given the partition back yet.
    pub open: bool,
}

/// What the text begins with: ours, in the first version.
const MAGIC: &str = "convoke1.";
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Progress {
    /// The text to keep with a commit of `upto`: ASCII, without spaces. `None` if a position is no offset, or out of order.
    ///
    /// `clock` is the time by a clock that all owners share: on a broker, the time since 1970. `open` says that the owner still has
    /// the partition, so that who finds it so knows that it has died.
    #[must_use]
    // Inline, so that it is compiled by who uses it: adapters that commit by watermark.
    #[inline]
    pub fn encode(&self, upto: Position, clock: Duration, open: bool) -> Option<String> {
        let mut text = String::with_capacity(64 + 6 * self.done.len() + 8 * self.marks.len());
        text.push_str(MAGIC);
        text.push(if open { 'o' } else { 'c' });
        let base = offset(upto)?;
        put(&mut text, base);
        put(&mut text, millis(clock));
        put(&mut text, self.done.len() as u64);
        let mut next = base;
        for (first, last) in &self.done {
            let (first, last) = (offset(*first)?, offset(*last)?);
            put(&mut text, first.checked_sub(next)?);
            put(&mut text, last.checked_sub(first)?);
            next = last.checked_add(1)?;
        }
        put(&mut text, self.marks.len() as u64);
        let mut next = base;
        for mark in &self.marks {
            let position = offset(mark.position)?;
            put(&mut text, position.checked_sub(next)?);
            put(&mut text, mark.attempts.into());
            put(&mut text, mark.deaths.into());
            put(&mut text, millis(mark.due_in));
            next = position.checked_add(1)?;
        }
        let sum = checksum(&text);
        let _ = write!(text, ".{sum:08x}");
        Some(text)
    }

    /// What the text of a commit of `upto` says, if it is one of ours, and whole, and of that position.
    #[must_use]
    // Inline, so that it is compiled by who uses it: adapters that commit by watermark.
    #[inline]
    pub fn decode(text: &str, upto: Position, clock: Duration) -> Option<Saved> {
        let body = text.strip_prefix(MAGIC)?;
        let open = match body.as_bytes().first()? {
            b'o' => true,
            b'c' => false,
            _ => return None,
        };
        let (numbers, _) = body.get(1..)?.split_once('.')?;
        let mut numbers = Numbers(numbers.as_bytes());
        (numbers.next()? == offset(upto)?).then_some(())?;
        let (mut next, written) = (offset(upto)?, Duration::from_millis(numbers.next()?));
        let base = next;
        let mut progress = Self::default();
        // Every number takes a character at least, so that no count makes more of them than the text is long.
        for _ in 0..numbers.next()? {
            let first = next.checked_add(numbers.next()?)?;
            let last = first.checked_add(numbers.next()?)?;
            progress.done.push((Position::Offset(first), Position::Offset(last)));
            next = last.checked_add(1)?;
        }
        next = base;
        for _ in 0..numbers.next()? {
            let position = next.checked_add(numbers.next()?)?;
            let (attempts, deaths) = (numbers.next()?.try_into().ok()?, numbers.next()?.try_into().ok()?);
            let mut mark = Mark::new(Position::Offset(position), attempts, deaths);
            mark.due_in = Duration::from_millis(numbers.next()?);
            progress.marks.push(mark);
            next = position.checked_add(1)?;
        }
        // Whatever else is not as we write it: another checksum, something behind the end, a number with idle digits.
        if progress.encode(upto, written, open)? != text {
            return None;
        }
        let since = clock.saturating_sub(written);
        progress.marks.iter_mut().for_each(|mark| mark.due_in = mark.due_in.saturating_sub(since));
        Some(Saved { progress, open })
    }

    /// Leaves out what has no room in a text of `most` characters, from the highest position down: first of what is done, which
    /// is then repeated by the next owner if nobody says it later. Answers whether nothing had to be left out.
    // Inline, so that it is compiled by who uses it: adapters that commit by watermark.
    #[inline]
    pub fn fit(&mut self, upto: Position, most: usize) -> bool {
        // The clock as long as it can be; every range and mark has four characters at least.
        let too_long = |progress: &Self| {
            let text = progress.encode(upto, Duration::from_millis(u64::MAX), true);
            text.map_or(0, |text| text.len()).saturating_sub(most)
        };
        let mut whole = true;
        loop {
            let over = too_long(self);
            if over == 0 {
                return whole;
            }
            whole = false;
            // As many as it takes if each is as long as can be; then looked at again.
            let count = (over / 26).max(1);
            if self.done.is_empty() {
                if self.marks.is_empty() {
                    return false;
                }
                self.marks.truncate(self.marks.len().saturating_sub(count));
            } else {
                self.done.truncate(self.done.len().saturating_sub(count));
            }
        }
    }
}

/// Rounded up, so that nothing is tried before its time.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

const fn offset(position: Position) -> Option<u64> {
    match position {
        Position::Offset(offset) => Some(offset),
        _ => None,
    }
}

/// A number, five bits a digit, the lowest first; all digits but the last have the sixth bit.
fn put(text: &mut String, mut number: u64) {
    loop {
        let digit = (number & 31) as usize;
        number >>= 5;
        text.push(char::from(DIGITS[if number > 0 { digit | 32 } else { digit }]));
        if number == 0 {
            return;
        }
    }
}

struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn next(&mut self) -> Option<u64> {
        let mut number: u64 = 0;
        for shift in (0..64).step_by(5) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            let digit = DIGITS.iter().position(|digit| digit == first)? as u64;
            let bits = digit & 31;
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if digit < 32 {
                return Some(number);
            }
        }
        None
    }
}

/// FNV-1a.
fn checksum(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_secs(1_700_000_000);

    fn progress(done: &[(u64, u64)], marks: &[(u64, u32, u32, u64)]) -> Progress {
        let at = Position::Offset;
        let mark = |&(position, attempts, deaths, due): &(u64, u32, u32, u64)| Mark {
            due_in: Duration::from_millis(due),
            ..Mark::new(at(position), attempts, deaths)
        };
        Progress {
            done: done.iter().map(|&(first, last)| (at(first), at(last))).collect(),
            marks: marks.iter().map(mark).collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_due_times_run_on_meanwhile() {
        let upto = Position::Offset(40);
        let said = progress(&[(41, 41), (50, 4_000_000)], &[(40, 3, 0, 5000), (42, u32::MAX, 2, 0)]);
        let text = said.encode(upto, AT, true).unwrap();
        assert!(text.len() < 70 && text.is_ascii(), "{text}");
        let saved = Progress::decode(&text, upto, AT + Duration::from_secs(2)).unwrap();
        assert!(saved.open);
        let later = progress(&[(41, 41), (50, 4_000_000)], &[(40, 3, 0, 3000), (42, u32::MAX, 2, 0)]);
        assert_eq!(saved.progress, later);
        let closed = Progress::default().encode(upto, AT, false).unwrap();
        assert_eq!(Progress::decode(&closed, upto, Duration::ZERO), Some(Saved::default()));
    }

    #[test]
    fn what_we_have_not_written_says_nothing() {
        let upto = Position::Offset(40);
        let text = progress(&[(41, 41), (50, 60)], &[(40, 3, 0, 5000)]).encode(upto, AT, true).unwrap();
        assert_eq!(Progress::decode(&text, Position::Offset(41), AT), None, "of another position");
        for i in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[i] = if other[i] == b'B' { b'C' } else { b'B' };
            assert_eq!(Progress::decode(std::str::from_utf8(&other).unwrap(), upto, AT), None, "with byte {i} changed");
            assert_eq!(Progress::decode(&text[..i], upto, AT), None, "cut at {i}");
        }
        for other in ["", "convoke1.", "convoke1.o", "convoke2.cAAAA.0", "{\"offset\":3}", "é", &format!("{text} ")] {
            assert_eq!(Progress::decode(other, upto, AT), None, "{other}");
        }
    }

    #[test]
    fn what_has_no_room_is_left_out_from_the_top_and_marks_last() {
        let upto = Position::Offset(0);
        let done: Vec<_> = (1..2000).map(|i| (i * 70, i * 70)).collect();
        let mut said = progress(&done, &[(0, 1, 1, 0), (1, 1, 0, 0)]);
        assert!(!said.fit(upto, 4096));
        assert!(said.encode(upto, AT, true).unwrap().len() <= 4096);
        assert!(said.done.len() > 900, "{} ranges", said.done.len());
        assert_eq!((said.done[0].0, said.marks.len()), (Position::Offset(70), 2));
        assert!(said.fit(upto, 4096), "what fits stays");
        assert!(!said.fit(upto, 42));
        assert!(said.done.is_empty() && said.marks.len() < 2);
    }
}
