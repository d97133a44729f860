//! The story of messages: what happened to each, in order, with the time since the test began.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use convoke_core::Delivered;
use tokio::time::Instant;

use crate::observe::{End, Happening, Observer, What};

/// Remembers what happened.
pub(crate) struct Story {
    begun: Instant,
    lines: Mutex<Vec<Line>>,
}

struct Line {
    at: Duration,
    message: String,
    text: String,
}

impl Story {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), lines: Mutex::default() }
    }

    /// Everything, grouped by message, in the order of first mention.
    pub(crate) fn tell(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut order: Vec<&str> = Vec::new();
        for line in lines.iter() {
            if !order.contains(&line.message.as_str()) {
                order.push(&line.message);
            }
        }
        let mut text = String::new();
        for message in order {
            let _ = writeln!(text, "{message}");
            for line in lines.iter().filter(|line| line.message == message) {
                let _ = writeln!(text, "  {:>9.3} s  {}", line.at.as_secs_f64(), line.text);
            }
        }
        if text.is_empty() { "nothing was delivered\n".to_owned() } else { text }
    }
}

impl Observer for Story {
    fn observe(&self, happening: &Happening<'_>) {
        let incoming = happening.incoming;
        let place = format!("{} {}/{}", incoming.message.topic(), incoming.partition, incoming.position);
        let key = incoming.content().key().map(|key| format!(" key {key}")).unwrap_or_default();
        let message = format!("{place}{key}, id {}", Delivered::new(incoming.clone(), 1).id());
        let handler = happening.handler;
        let text = match happening.what {
            What::Delivered => format!("delivered to `{handler}`{}", times(incoming.deliveries)),
            What::Started { attempt } => format!("`{handler}` attempt {attempt}"),
            What::Retrying { attempts, delay, error } => {
                format!("`{handler}` attempt {attempts} failed: {}; again in {delay:?}", error.unwrap_or("no error was given"))
            }
            What::Dying { reason, attempts, error } => {
                let error = error.map(|error| format!(": {error}")).unwrap_or_default();
                format!("`{handler}` gives up ({reason}) after {attempts} failed attempts{error}")
            }
            What::Ended(end) => format!("`{handler}` {}", ended(end)),
        };
        let line = Line { at: self.begun.elapsed(), message, text };
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

fn times(deliveries: u32) -> String {
    if deliveries > 1 { format!(", for the {deliveries}. time") } else { String::new() }
}

fn ended(end: End) -> &'static str {
    match end {
        End::Acked => "acknowledged it",
        End::Known => "acknowledged it without the handler: it was handled before",
        End::Dropped => "dropped it",
        End::Skipped => "skipped it: no handler of the group knows the event",
        End::Dead => "has it in the dead-letter topic",
        End::Retried => "gave it back for a later retry",
        End::Returned => "gave it back",
        End::Lost => "lost it: it is delivered again",
        End::Duplicate => "held it already",
    }
}
