//! A text, and places in it.

use super::Place;

/// A configuration, for those who must mend it.
pub(super) struct Source<'t> {
    name: &'t str,
    pub(super) text: &'t str,
}

impl<'t> Source<'t> {
    pub(super) const fn new(name: &'t str, text: &'t str) -> Self {
        Self { name, text }
    }

    /// The number of the line at a byte, from 1.
    pub(super) fn line_number(&self, at: usize) -> usize {
        self.before(at).matches('\n').count() + 1
    }

    fn before(&self, at: usize) -> &'t str {
        let at = (0..=at.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        &self.text[..at]
    }

    /// File, line and column, and the line.
    pub(super) fn place(&self, at: usize) -> Place {
        let before = self.before(at);
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[begin..].lines().next().unwrap_or_default();
        let column = before[begin..].chars().count() + 1;
        Place::of_line(format!("{}:{}:{column}", self.name, self.line_number(at)), shown(line))
    }
}

/// A line without what may be secret: what stands behind `://`, and values whose key speaks of a secret.
fn shown(line: &str) -> String {
    let line = line.trim_end();
    let key = line.split('=').next().unwrap_or_default().to_ascii_lowercase();
    let secret = ["pass", "pwd", "secret", "token", "credential", "auth"].iter().any(|word| key.contains(word));
    match (line.find("://"), line.find('=')) {
        (Some(end), _) => format!("{}…", &line[..end + "://".len()]),
        (None, Some(end)) if secret => format!("{}= …", &line[..end]),
        _ => line.to_owned(),
    }
}
