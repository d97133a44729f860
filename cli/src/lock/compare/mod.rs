//! The rules of compatibility: what a change of a contract means, for whom, and how it is mended.
//!
//! Two directions are looked at. *What is stored* was written under the old contract and is read under the new one. *Readers of the
//! old contract* read what is written under the new one: other applications, and instances of this one while it is rolled out.
//!
//! | severity | what it means |
//! |---|---|
//! | breaking | stored messages become dead letters or are skipped, every new message is unreadable under the old contract, order is given up, or a group is left or begins again |
//! | careful | it goes well in the right order, readers before writers, or it cannot be judged from here |
//! | fine | nobody is affected |
//!
//! The rules for events are in `events`, those for payloads in `schema`, those for handlers and groups in `handlers`. What is new
//! is always fine.

mod events;
mod handlers;
mod schema;
mod view;

use super::contract::Contract;
use super::finding::{Finding, Severity};

/// Two contracts, and what was found.
pub(super) struct Compare<'a> {
    pub(super) old: &'a Contract,
    pub(super) new: &'a Contract,
    findings: Vec<Finding>,
}

/// What became of the contract, what matters most first.
pub(super) fn compare(old: &Contract, new: &Contract) -> Vec<Finding> {
    let mut compare = Compare { old, new, findings: Vec::new() };
    if old.application != new.application {
        compare.findings.push(Finding {
            severity: Severity::Careful,
            rule: "application-renamed",
            subject: format!("application {}", old.application),
            path: vec!["application".to_owned()],
            source: None,
            what: format!(
                "it is called `{}` now: the CloudEvents `source` of what it publishes, and the first part of default groups",
                new.application
            ),
            whom: "whoever goes by `ce-source`; groups that are new by it are listed by themselves".to_owned(),
            mend: format!("`App::new(\"{}\")`", old.application),
        });
    }
    compare.events();
    compare.handlers();
    compare.findings.sort_by(|a, b| (a.severity, &a.path).cmp(&(b.severity, &b.path)));
    compare.findings
}

impl Compare<'_> {
    /// Whether an application that is built with this contract reads messages of this type in a handler.
    fn readers(contract: &Contract, wire: &str) -> Vec<String> {
        let takes = |event: &String| {
            event == wire || contract.events.get(event).is_some_and(|event| event.accepts.iter().any(|old| old == wire))
        };
        let handlers = contract.handlers.iter().filter(|(_, handler)| handler.event.as_ref().is_some_and(takes));
        handlers.map(|(name, handler)| format!("`{name}` (group `{}`)", handler.group)).collect()
    }

    /// Who reads what is stored.
    fn here(&self, wire: &str) -> String {
        let mut readers = Self::readers(self.new, wire);
        if readers.is_empty() {
            readers = Self::readers(self.old, wire);
        }
        if readers.is_empty() {
            return "no handler here reads it: other applications that take this type over".to_owned();
        }
        format!("{} here, and other applications that take this type over", readers.join(", "))
    }

    /// Who reads under the old contract what is written under the new one.
    fn elsewhere(&self, wire: &str) -> String {
        let readers = Self::readers(self.old, wire);
        let instances = match readers.as_slice() {
            [] => String::new(),
            readers => format!(", and {} in instances of the version before", readers.join(", ")),
        };
        format!("other applications that read it{instances}; {}", self.writers(wire))
    }

    /// Both of them.
    fn both(&self, wire: &str) -> String {
        let mut readers = Self::readers(self.old, wire);
        readers.extend(Self::readers(self.new, wire));
        readers.sort_unstable();
        readers.dedup();
        let here = if readers.is_empty() { String::new() } else { format!("{} here, and ", readers.join(", ")) };
        format!("{here}other applications that read it; {}", self.writers(wire))
    }

    fn writers(&self, wire: &str) -> String {
        let writers = self.new.handlers.iter().filter(|(_, handler)| handler.returns.iter().any(|event| event == wire));
        let writers: String = writers.map(|(name, _)| format!("`{name}`, and ")).collect();
        format!("it is written by {writers}whatever publishes it here")
    }
}

#[cfg(test)]
mod tests;
