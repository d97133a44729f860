use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

pub(crate) type Fields = BTreeMap<String, String>;

/// What happened, in order.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) spans: Mutex<Vec<Fields>>,
    /// The level and fields of each event, and in how many spans it happened.
    pub(crate) events: Mutex<Vec<(Level, Fields, usize)>>,
    pub(crate) calls: AtomicUsize,
    pub(crate) entered: AtomicUsize,
    depth: AtomicUsize,
    next: AtomicU64,
}

impl Log {
    pub(crate) fn span(&self) -> Fields {
        let spans = self.spans.lock().unwrap();
        assert_eq!(spans.len(), 1, "one span: {spans:?}");
        spans[0].clone()
    }

    pub(crate) fn messages(&self) -> Vec<(Level, String)> {
        let events = self.events.lock().unwrap();
        events.iter().map(|(level, fields, _)| (*level, fields["message"].clone())).collect()
    }
}

/// Writes down what is wanted by `wants` and has convoke's target.
pub(crate) struct Capture {
    log: Arc<Log>,
    wants: fn(&Metadata<'_>) -> bool,
}

impl Capture {
    pub(crate) fn new(wants: fn(&Metadata<'_>) -> bool) -> (Self, Arc<Log>) {
        let log = Arc::new(Log::default());
        (Self { log: Arc::clone(&log), wants }, log)
    }
}

struct Writer<'f>(&'f mut Fields);

impl Visit for Writer<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl Subscriber for Capture {
    fn register_callsite(&self, _metadata: &'static Metadata<'static>) -> Interest {
        // The worst case: every callsite asks again, each time.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == convoke_layers::trace::TARGET && (self.wants)(metadata)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        self.log.calls.fetch_add(1, Ordering::Relaxed);
        assert!(attributes.is_root(), "it begins a trace of its own");
        let mut fields = Fields::new();
        attributes.record(&mut Writer(&mut fields));
        self.log.spans.lock().unwrap().push(fields);
        Id::from_u64(self.log.next.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.log.calls.fetch_add(1, Ordering::Relaxed);
        let index = usize::try_from(span.into_u64()).unwrap() - 1;
        values.record(&mut Writer(&mut self.log.spans.lock().unwrap()[index]));
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.log.calls.fetch_add(1, Ordering::Relaxed);
        let mut fields = Fields::new();
        event.record(&mut Writer(&mut fields));
        let depth = self.log.depth.load(Ordering::Relaxed);
        self.log.events.lock().unwrap().push((*event.metadata().level(), fields, depth));
    }

    fn enter(&self, _span: &Id) {
        self.log.calls.fetch_add(1, Ordering::Relaxed);
        self.log.entered.fetch_add(1, Ordering::Relaxed);
        self.log.depth.fetch_add(1, Ordering::Relaxed);
    }

    fn exit(&self, _span: &Id) {
        self.log.calls.fetch_add(1, Ordering::Relaxed);
        self.log.depth.fetch_sub(1, Ordering::Relaxed);
    }
}
