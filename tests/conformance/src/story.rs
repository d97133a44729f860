//! The story of a case: what happened to each message and around it, told when the case fails.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::note::Note;

/// More messages than this are not told of.
const MOST: usize = 12;

#[derive(Clone)]
pub(crate) struct Story(Arc<Inner>);

struct Inner {
    begun: Instant,
    lines: Mutex<Vec<Line>>,
}

struct Line {
    at: Duration,
    process: String,
    /// The message's id; empty for what is about no message.
    id: String,
    number: Option<u64>,
    text: String,
}

impl Story {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner { begun: Instant::now(), lines: Mutex::default() }))
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened to a message.
    pub(crate) fn message(&self, process: &str, id: &str, payload: &[u8], text: impl Into<String>) {
        let number = Note::number_in(payload);
        let (at, process, id) = (self.0.begun.elapsed(), process.to_owned(), id.to_owned());
        self.lines().push(Line { at, process, id, number, text: text.into() });
    }

    /// Something happened to a message that was mentioned before.
    pub(crate) fn id(&self, process: &str, id: &str, text: impl Into<String>) {
        self.message(process, id, &[], text);
    }

    /// Something happened.
    pub(crate) fn event(&self, process: &str, text: impl Into<String>) {
        self.message(process, "", &[], text);
    }

    /// Everything around the messages, then each message: those of these numbers, or all.
    pub(crate) fn tell(&self, about: &[u64]) -> String {
        let lines = self.lines();
        let mut text = String::new();
        let wanted: BTreeSet<&str> =
            lines.iter().filter(|line| line.number.is_some_and(|number| about.contains(&number))).map(|line| &*line.id).collect();
        let mut order: Vec<&str> = Vec::new();
        for line in lines.iter().filter(|line| about.is_empty() || wanted.contains(&*line.id)) {
            if !line.id.is_empty() && !order.contains(&&*line.id) {
                order.push(&line.id);
            }
        }
        for line in lines.iter().filter(|line| line.id.is_empty()) {
            line.write(&mut text);
        }
        for id in order.iter().take(MOST) {
            let number = lines.iter().filter(|line| line.id == *id).find_map(|line| line.number);
            let number = number.map(|number| format!("note {number}, ")).unwrap_or_default();
            let _ = writeln!(text, "{number}id {id}");
            lines.iter().filter(|line| line.id == *id).for_each(|line| line.write(&mut text));
        }
        if order.len() > MOST {
            let _ = writeln!(text, "and {} more messages", order.len() - MOST);
        }
        if text.is_empty() { "nothing happened\n".to_owned() } else { text }
    }
}

impl Line {
    fn write(&self, text: &mut String) {
        let _ = writeln!(text, "  {:>9.3} s  {:<8} {}", self.at.as_secs_f64(), self.process, self.text);
    }
}
