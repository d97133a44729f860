//! All that is logged in this program, by anybody and at every level.

use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

static ALL: Mutex<String> = Mutex::new(String::new());

fn all() -> MutexGuard<'static, String> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was logged since this was asked for the first time.
pub(crate) fn logs() -> String {
    static BEGUN: OnceLock<()> = OnceLock::new();
    BEGUN.get_or_init(|| tracing::subscriber::set_global_default(Logs).expect("nobody else takes what is logged"));
    all().clone()
}

struct Logs;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Line {
    fn of(metadata: &Metadata<'_>, record: impl FnOnce(&mut Self)) {
        let mut line = Self(format!("{} {}", metadata.level(), metadata.target()));
        record(&mut line);
        line.0.push('\n');
        all().push_str(&line.0);
    }
}

impl Subscriber for Logs {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        Line::of(span.metadata(), |line| span.record(line));
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, values: &Record<'_>) {
        let mut line = Line(String::new());
        values.record(&mut line);
        all().push_str(&line.0);
    }

    fn event(&self, event: &Event<'_>) {
        Line::of(event.metadata(), |line| event.record(line));
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}
