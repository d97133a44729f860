//! The driver's table of messages: what the engine's slots stand for.

use std::time::SystemTime;

use convoke_core::{Incoming, Outgoing};
use convoke_engine::{RouteId, Slot};

/// A message that the engine knows by its slot.
#[derive(Debug)]
pub(crate) struct Body {
    generation: u32,
    /// `None` while the place is free.
    pub(crate) incoming: Option<Incoming>,
    pub(crate) route: RouteId,
    /// What the handler returned and is not confirmed yet, with identities, so that a repeat is the same message.
    pub(crate) returned: Vec<Outgoing>,
    /// What is to be published in its stead: a dead letter.
    pub(crate) replacement: Option<Outgoing>,
    /// What went wrong, if anything did.
    pub(crate) failure: Option<Box<Failure>>,
    /// The call of the handler that runs with it.
    pub(crate) call: Option<u32>,
    /// The number of the last attempt that began.
    pub(crate) attempt: u32,
    /// Of the first message of a batch: all of its messages, this one included.
    pub(crate) batch: Vec<Slot>,
    /// What its last attempt said of it.
    pub(crate) said: Said,
    /// Whether it is being sent to wait in its group's place.
    pub(crate) waits: bool,
    /// Whether it can neither be handled nor be dead-lettered.
    pub(crate) stuck: bool,
}

/// What an attempt said of its message, as far as its dead letter has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Said {
    /// Something else, or nothing yet.
    #[default]
    Other,
    /// It is done.
    Done,
    /// It is done since an earlier delivery; the handler was not called.
    Known,
    /// It is to be given up: an attempt that failed, although the engine counts only those that may be repeated.
    GiveUp,
}

/// What went wrong with a message so far.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: String,
    pub(crate) chain: String,
    pub(crate) first_at: SystemTime,
}

/// The longest error text in a dead letter's header, in bytes.
const MAX_ERROR: usize = 1024;
/// The longest chain of errors in a dead letter's header, in bytes.
const MAX_CHAIN: usize = 8 * 1024;

impl Failure {
    /// What `error` says now, and when the first one was seen.
    pub(crate) fn record(place: &mut Option<Box<Self>>, error: &(dyn std::error::Error + 'static)) {
        // `Display` of an error is the user's code: if it panics, the failure is recorded all the same.
        let texts = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Self::texts(error)));
        let (error, chain) = texts.unwrap_or_else(|_| ("an error whose text could not be written".to_owned(), String::new()));
        let first_at = place.as_ref().map_or_else(SystemTime::now, |failure| failure.first_at);
        *place = Some(Box::new(Self { error, chain, first_at }));
    }

    fn texts(error: &(dyn std::error::Error + 'static)) -> (String, String) {
        let mut chain = error.to_string();
        let text = truncated(chain.clone(), MAX_ERROR);
        let mut source = error.source();
        while let Some(cause) = source {
            chain.push('\n');
            chain.push_str(&cause.to_string());
            source = cause.source();
        }
        (text, truncated(chain, MAX_CHAIN))
    }
}

fn truncated(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// All messages in flight. Places are reused; the generation tells the old message from the new.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    places: Vec<Body>,
    free: Vec<u32>,
}

impl Bodies {
    pub(crate) fn insert(&mut self, incoming: Incoming, route: RouteId) -> Slot {
        if let Some(index) = self.free.pop() {
            let body = &mut self.places[index as usize];
            body.incoming = Some(incoming);
            body.route = route;
            return Slot { index, generation: body.generation };
        }
        #[allow(clippy::cast_possible_truncation, reason = "bounded by the credit, which is a u32")]
        let index = self.places.len() as u32;
        self.places.push(Body {
            generation: 0,
            incoming: Some(incoming),
            route,
            returned: Vec::new(),
            replacement: None,
            failure: None,
            call: None,
            attempt: 0,
            batch: Vec::new(),
            said: Said::Other,
            waits: false,
            stuck: false,
        });
        Slot { index, generation: 0 }
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Body> {
        self.places.get(slot.index as usize).filter(|body| body.generation == slot.generation && body.incoming.is_some())
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Body> {
        self.places.get_mut(slot.index as usize).filter(|body| body.generation == slot.generation && body.incoming.is_some())
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        if let Some(body) = self.get_mut(slot) {
            body.incoming = None;
            body.generation = body.generation.wrapping_add(1);
            body.returned.clear();
            body.replacement = None;
            body.failure = None;
            body.call = None;
            body.batch.clear();
            body.said = Said::Other;
            (body.waits, body.stuck) = (false, false);
            self.free.push(slot.index);
        }
    }

    /// All messages in flight.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Body, &Incoming)> {
        self.places.iter().filter_map(|body| Some((body, body.incoming.as_ref()?)))
    }

    /// How many messages are in flight.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(truncated("aé".to_owned(), 2), "a");
        assert_eq!(truncated("aé".to_owned(), 3), "aé");
    }
}
