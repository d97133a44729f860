//! How a call ended, in a word.

use tracing::Span;

/// One word for what became of all messages, and the kind of the first error.
#[derive(Debug)]
pub(super) struct Ending {
    outcome: Option<&'static str>,
    error_type: Option<&'static str>,
}

impl Ending {
    pub(super) const fn new() -> Self {
        Self { outcome: None, error_type: None }
    }

    /// This became of a message, or of all.
    pub(super) fn add(&mut self, outcome: &'static str) {
        self.outcome = match self.outcome {
            Some(other) if other != outcome => Some("mixed"),
            _ => Some(outcome),
        };
    }

    /// This became of it, and it was an error.
    pub(super) fn fail(&mut self, outcome: &'static str, error_type: &'static str) {
        self.add(outcome);
        self.error_type.get_or_insert(error_type);
    }

    pub(super) fn record(&self, span: &Span) {
        if let Some(outcome) = self.outcome {
            span.record("convoke.outcome", outcome);
        }
        if let Some(error_type) = self.error_type {
            span.record("error.type", error_type);
            span.record("otel.status_code", "ERROR");
        }
    }
}
