//! What this process has said of the partitions that it has or had.
//!
//! A commit says whether its partition is open. Who finds it open takes the last owner for dead, unless the text is one of its own: each
//! names its millisecond, and nobody else's is the same. Ours may be found after the brokers took a partition from us, and after
//! another client has taken the place of one that hangs.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::client::lock;
use crate::starts::Place;

/// So many texts of a partition are remembered that have no answer. Whoever forgets one may take itself for dead, which costs time and
/// no message.
const MOST: usize = 200;

/// By group and place, the texts that the brokers may have: the last that they took, and those after it that have no answer.
#[derive(Default)]
pub(crate) struct Said(Mutex<HashMap<String, HashMap<Place, Vec<String>>>>);

impl Said {
    /// This is said from here on.
    pub(crate) fn says(&self, group: &str, place: &Place, text: &str) {
        let mut groups = lock(&self.0);
        if !groups.contains_key(group) {
            groups.insert(group.to_owned(), HashMap::new());
        }
        let Some(places) = groups.get_mut(group) else { return };
        match places.get_mut(place) {
            Some(texts) => {
                if texts.len() == MOST {
                    texts.remove(1);
                }
                texts.push(text.to_owned());
            }
            None => drop(places.insert(place.clone(), vec![text.to_owned()])),
        }
    }

    /// The brokers have this, and nothing from before it.
    pub(crate) fn taken(&self, group: &str, place: &Place, text: &str) {
        let mut groups = lock(&self.0);
        if let Some(texts) = groups.get_mut(group).and_then(|places| places.get_mut(place)) {
            let before = texts.iter().position(|one| one == text).unwrap_or_default();
            texts.drain(..before);
        }
    }

    /// Whether we have said this.
    pub(crate) fn is_ours(&self, group: &str, place: &Place, text: &str) -> bool {
        let groups = lock(&self.0);
        let texts = groups.get(group).and_then(|places| places.get(place));
        texts.is_some_and(|texts| texts.iter().any(|one| one == text))
    }
}
