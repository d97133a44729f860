//! What a comparison finds.

use serde_json::{Value, json};

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// Messages are not read, not in order, or handled by nobody.
    Breaking,
    /// All is well if it is done in the right order, or if what cannot be known from here is as it should be.
    Careful,
    /// Nobody is affected.
    Fine,
}

impl Severity {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Breaking => "breaking",
            Self::Careful => "careful",
            Self::Fine => "fine",
        }
    }
}

/// What is different between a lock file and an application.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// The rule's name, for scripts.
    pub(super) rule: &'static str,
    /// `event orders.paid.v1`, `handler reserve`.
    pub(super) subject: String,
    /// Where it stands in the lock file: `["events", "orders.paid.v1", "topic"]`.
    pub(super) path: Vec<String>,
    /// Where it stands in the source, if it is there still.
    pub(super) source: Option<String>,
    pub(super) what: String,
    pub(super) whom: String,
    pub(super) mend: String,
}

impl Finding {
    /// For people; without `lock` it is not in the lock file.
    pub(super) fn text(&self, lock: Option<&str>) -> String {
        let mut text = format!("{:8}  {}: {}", self.severity.word(), self.subject, self.what);
        let lines = [
            ("lock", lock.unwrap_or_default()),
            ("source", self.source.as_deref().unwrap_or_default()),
            ("for", &self.whom),
            ("mend", &self.mend),
        ];
        for (name, line) in lines.iter().filter(|(_, line)| !line.is_empty()) {
            text.push_str(&format!("\n          {name:6}  {line}"));
        }
        text
    }

    /// For scripts.
    pub(super) fn json(&self, lock: Option<&str>) -> Value {
        let there = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
        json!({
            "severity": self.severity.word(),
            "rule": self.rule,
            "subject": self.subject,
            "what": self.what,
            "for": there(&self.whom),
            "mend": there(&self.mend),
            "lock": lock,
            "source": self.source,
        })
    }
}

/// The line of a lock file, from 1, where this path is; or as much of it as there is.
pub(super) fn line_of(lock: &str, path: &[String]) -> Option<usize> {
    let (mut found, mut lines) = (None, lock.lines().enumerate());
    for (depth, part) in path.iter().enumerate() {
        let start = format!("{}{}:", "  ".repeat(depth + 1), Value::from(part.as_str()));
        let end = format!("{}}}", "  ".repeat(depth));
        match lines.by_ref().take_while(|(_, line)| !line.starts_with(&end)).find(|(_, line)| line.starts_with(&start)) {
            Some((line, _)) => found = Some(line + 1),
            None => break,
        }
    }
    found
}
