//! How names and values are written, as the attributes have it.
//!
//! The macros stand on no crate of ours, so the files of this folder are theirs to the letter; `tests/architecture.rs` holds them
//! equal. Whoever changes one copies it.

#[cfg(feature = "config")]
pub(crate) mod duration;
mod nearest;
#[allow(dead_code, reason = "parameters and patterns are for the attributes")]
mod spelling;

pub(crate) use nearest::nearest;
pub(crate) use spelling::{Extra, problem};

/// What is said of a word that is not known, with the known ones: `` `gruop`; did you mean `group`? ``
pub(crate) fn unknown<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // Compiled once, and not for each iterator.
    fn of(word: &str, known: &[&str]) -> String {
        if let Some(near) = nearest(word, known.iter().copied()) {
            return format!("`{word}`; did you mean `{near}`?");
        }
        let known: Vec<_> = known.iter().map(|known| format!("`{known}`")).collect();
        if known.is_empty() { format!("`{word}`; there are none") } else { format!("`{word}`; there are {}", known.join(", ")) }
    }
    of(word, &known.into_iter().collect::<Vec<_>>())
}
