//! A timeline: what happened to messages, and around them, to be told when a test fails.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use convoke_core::few::sort_by;
use tokio::time::Instant;

/// Of more messages than this only the first are told of.
const MOST: usize = 12;

/// What happened, in order, with the time since it was begun. The testkit's stories and those of the conformance suite are told by it.
#[derive(Debug)]
pub struct Timeline {
    begun: Instant,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<Line>,
    /// The number of the next moment.
    next: u64,
}

/// When something happened. What is known only later is told of the moment at which it began.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    at: Duration,
    number: u64,
}

#[derive(Debug)]
struct Line {
    moment: Moment,
    /// Who did it, where there are several.
    who: String,
    /// The message's id; empty for what is about no message.
    id: String,
    text: String,
}

impl Default for Timeline {
    fn default() -> Self {
        Self::new()
    }
}

impl Timeline {
    /// Begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { begun: Instant::now(), lines: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        let mut lines = self.lock();
        lines.next += 1;
        Moment { at: self.begun.elapsed(), number: lines.next }
    }

    /// How long ago a moment was.
    #[must_use]
    pub fn since(&self, moment: Moment) -> Duration {
        self.begun.elapsed().saturating_sub(moment.at)
    }

    /// Something happened to the message of this id, or around all messages if it is empty.
    pub fn note(&self, moment: Moment, who: &str, id: &str, text: impl Into<String>) {
        let line = Line { moment, who: who.to_owned(), id: id.to_owned(), text: text.into() };
        self.lock().lines.push(line);
    }

    /// The messages that are spoken of, in the order of their first mention.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        let lines = self.sorted();
        lines.lines.iter().map(|line| &line.id).filter(|id| !id.is_empty() && seen.insert(*id)).cloned().collect()
    }

    fn sorted(&self) -> MutexGuard<'_, Lines> {
        let mut lines = self.lock();
        sort_by(&mut lines.lines, |a, b| a.moment.number.cmp(&b.moment.number));
        lines
    }

    /// Everything around the messages, then each of these messages under its title, the first dozen of them. Empty if there is nothing to
    /// tell.
    pub fn tell(&self, ids: &[String], title: impl Fn(&str) -> String) -> String {
        let lines = &self.sorted().lines;
        let mut text = String::new();
        let of = |id: &str, text: &mut String| lines.iter().filter(|line| line.id == id).for_each(|line| line.write(text));
        of("", &mut text);
        for id in ids.iter().take(MOST) {
            let _ = writeln!(text, "{}", title(id));
            of(id, &mut text);
        }
        if ids.len() > MOST {
            let _ = writeln!(text, "and {} more messages", ids.len() - MOST);
        }
        text
    }
}

impl Line {
    fn write(&self, text: &mut String) {
        let _ = write!(text, "  {:>9.3} s  ", self.moment.at.as_secs_f64());
        if !self.who.is_empty() {
            let _ = write!(text, "{:<8} ", self.who);
        }
        let _ = writeln!(text, "{}", self.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_known_later_is_told_of_the_moment_at_which_it_began() {
        let timeline = Timeline::new();
        let published = timeline.now();
        tokio::time::sleep(Duration::from_secs(2)).await;
        timeline.note(timeline.now(), "", "7", "delivered");
        timeline.note(published, "", "7", "published");
        timeline.note(timeline.now(), "a", "", "killed");
        let told = timeline.tell(&timeline.ids(), |id| format!("message {id}"));
        let lines = ["      2.000 s  a        killed", "message 7", "      0.000 s  published", "      2.000 s  delivered", ""];
        assert_eq!(told, lines.join("\n"));
    }

    #[test]
    fn more_messages_than_one_can_read_are_counted() {
        let timeline = Timeline::new();
        (0..=MOST).for_each(|id| timeline.note(timeline.now(), "", &id.to_string(), "delivered"));
        let told = timeline.tell(&timeline.ids(), str::to_owned);
        assert!(told.ends_with("and 1 more messages\n"), "{told}");
    }
}
