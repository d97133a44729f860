//! The story of a case: what happened to each message and around it, told when the case fails.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use convoke_runtime::testkit::Timeline;

use crate::note::Note;

#[derive(Clone)]
pub(crate) struct Story(Arc<Inner>);

struct Inner {
    timeline: Timeline,
    /// The numbers of notes, by the ids of their messages.
    numbers: Mutex<BTreeMap<String, u64>>,
}

impl Story {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner { timeline: Timeline::new(), numbers: Mutex::default() }))
    }

    fn numbers(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened to a message.
    pub(crate) fn message(&self, process: &str, id: &str, payload: &[u8], text: impl Into<String>) {
        if let Some(number) = Note::number_in(payload) {
            self.numbers().entry(id.to_owned()).or_insert(number);
        }
        self.id(process, id, text);
    }

    /// Something happened to a message that was mentioned before.
    pub(crate) fn id(&self, process: &str, id: &str, text: impl Into<String>) {
        let timeline = &self.0.timeline;
        timeline.note(timeline.now(), process, id, text);
    }

    /// Something happened.
    pub(crate) fn event(&self, process: &str, text: impl Into<String>) {
        self.id(process, "", text);
    }

    /// Everything around the messages, then each message: those of these numbers, or all.
    pub(crate) fn tell(&self, about: &[u64]) -> String {
        let numbers = self.numbers();
        let mut ids = self.0.timeline.ids();
        ids.retain(|id| about.is_empty() || numbers.get(id).is_some_and(|number| about.contains(number)));
        let note = |id: &str| numbers.get(id).map(|number| format!("note {number}, ")).unwrap_or_default();
        let text = self.0.timeline.tell(&ids, |id| format!("{}id {id}", note(id)));
        if text.is_empty() { "nothing happened\n".to_owned() } else { text }
    }
}
