//! The event of all cases, written by hand.

use convoke_core::{Event, EventDef, IntoKey, Json, Key, Location};
use serde::{Deserialize, Serialize};

/// A numbered note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) key: String,
    pub(crate) number: u64,
    /// Makes it larger.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) pad: String,
}

impl Note {
    pub(crate) fn new(key: impl Into<String>, number: u64) -> Self {
        Self { key: key.into(), number, pad: String::new() }
    }

    pub(crate) fn padded(mut self, bytes: usize) -> Self {
        self.pad = "x".repeat(bytes);
        self
    }

    /// The number of a note, if the payload is one.
    pub(crate) fn number_in(payload: &[u8]) -> Option<u64> {
        serde_json::from_slice::<Self>(payload).ok().map(|note| note.number)
    }
}

impl Event for Note {
    type Codec = Json;
    const DEF: &'static EventDef = &EventDef::new::<Self>("conformance.notes", Location::here(file!(), line!(), module_path!()))
        .name("conformance.note")
        .keyed();

    fn key(&self) -> Option<Key> {
        self.key.to_key()
    }
}

/// Numbers `0..count` over `keys` keys, in turn.
pub(crate) fn notes(count: u64, keys: u64) -> Vec<Note> {
    (0..count).map(|number| Note::new(format!("k{}", number % keys), number)).collect()
}

/// What is declared of a topic that an application publishes to: it exists before the first message.
pub(crate) fn declared(topic: &'static str) -> &'static EventDef {
    let def = EventDef::new::<Note>(topic, Location::here(file!(), line!(), module_path!())).keyed();
    Box::leak(Box::new(def))
}
