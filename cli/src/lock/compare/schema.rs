//! Payloads: two JSON schemas, walked side by side.
//!
//! A schema says what a reader needs. What is *narrowed* (a field is needed that was not, a variant is gone) makes stored messages
//! unreadable: that is breaking. What is *widened* (a variant more, null allowed) makes only those new messages unreadable under the
//! old contract that make use of it: that is careful, readers before writers. If every new message is unreadable under the old contract
//! (a field is gone that it needs), that is breaking, too.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use super::Severity::{self, Breaking, Careful, Fine};
use super::view::{Rest, Shape, View, resolve};

/// Who is affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hits {
    /// Whoever reads what is stored.
    Stored,
    /// Readers of the old contract.
    Readers,
    Both,
    Nobody,
}

/// What is different in a payload.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) severity: Severity,
    pub(super) rule: &'static str,
    pub(super) hits: Hits,
    pub(super) what: String,
    /// How it is mended within this version, if that is possible.
    pub(super) mend: &'static str,
}

const READERS_FIRST: &str = "roll out readers before writers";
const WATCH: &str = "see for yourself whether stored messages are still read, and new ones by older readers";

/// What a reader of the new schema makes of the old one's messages, and the other way round.
pub(super) fn compare(old: &Value, new: &Value) -> Vec<Change> {
    let mut walk = Walk { roots: (old, new), seen: HashSet::new(), changes: Vec::new() };
    walk.compare(old, new, "");
    walk.changes
}

struct Walk<'a> {
    roots: (&'a Value, &'a Value),
    /// Pairs that were looked at: types may contain themselves.
    seen: HashSet<(usize, usize)>,
    changes: Vec<Change>,
}

impl<'a> Walk<'a> {
    fn compare(&mut self, old: &'a Value, new: &'a Value, path: &str) {
        let (old, new) = (resolve(self.roots.0, old), resolve(self.roots.1, new));
        let address = |value: &Value| std::ptr::from_ref(value) as usize;
        if !self.seen.insert((address(old), address(new))) {
            return;
        }
        let (before, now) = (View::of(self.roots.0, old), View::of(self.roots.1, new));
        match (before.null, now.null) {
            (true, false) => self.change(
                Breaking,
                "null-refused",
                Hits::Stored,
                format!("{} may not be null any more", the(path)),
                "leave it an `Option`",
            ),
            (false, true) if !matches!(before.shape, Shape::Any) => {
                self.change(Careful, "null-allowed", Hits::Readers, format!("{} may be null now", the(path)), READERS_FIRST);
            }
            _ => {}
        }
        if before.other != now.other {
            let words: BTreeSet<_> =
                before.other.keys().chain(now.other.keys()).filter(|key| before.other.get(*key) != now.other.get(*key)).collect();
            let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            self.unjudged(path, &format!(" ({})", words.join(", ")));
        }
        match (&before.shape, &now.shape) {
            (Shape::Any, Shape::Any) => {}
            (Shape::Any, _) => self.narrowed(path, "was anything"),
            (_, Shape::Any) => self.widened(path, "may be anything"),
            (Shape::Object { .. }, Shape::Object { .. }) => self.objects(&before.shape, &now.shape, path),
            (Shape::List(before), Shape::List(now)) => match (before, now) {
                (Some(before), Some(now)) => self.compare(before, now, &format!("{path}[]")),
                (None, Some(_)) => self.narrowed(&format!("{path}[]"), "was anything"),
                (Some(_), None) => self.widened(&format!("{path}[]"), "may be anything"),
                (None, None) => {}
            },
            (Shape::Tuple(before), Shape::Tuple(now)) => {
                if before.len() != now.len() {
                    self.another_type(path, &format!("{} items", before.len()), &format!("{} items", now.len()));
                }
                for (i, (before, now)) in before.iter().zip(now).enumerate() {
                    self.compare(before, now, &format!("{path}.{i}"));
                }
            }
            (Shape::Choice(before), Shape::Choice(now)) => self.choices(before, now, path),
            (Shape::Choice(before), Shape::Plain { name: "string", .. }) if before.values().all(Option::is_none) => {
                self.widened(path, "may be any string");
            }
            (Shape::Plain { name: "string", .. }, Shape::Choice(now)) if now.values().all(Option::is_none) => {
                self.narrowed(path, "was any string");
            }
            (Shape::OneOf(before), Shape::OneOf(now)) => self.nameless(before, now, path),
            (Shape::Plain { .. }, Shape::Plain { .. }) => self.plain(&before.shape, &now.shape, path),
            (Shape::Unknown | Shape::OneOf(_), _) | (_, Shape::Unknown | Shape::OneOf(_)) => {
                if old != new && before.other == now.other {
                    self.unjudged(path, "");
                }
            }
            (before, now) => self.another_type(path, kind(before), kind(now)),
        }
    }

    fn objects(&mut self, before: &Shape<'a>, now: &Shape<'a>, path: &str) {
        let (
            Shape::Object { fields: old, required: needed, rest: before },
            Shape::Object { fields: new, required: needs, rest: now },
        ) = (before, now)
        else {
            return;
        };
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            let field = the(&join(path, name));
            if needed.contains(name) {
                let mend = "write it on, until no reader needs it";
                self.change(
                    Breaking,
                    "field-removed",
                    Hits::Readers,
                    format!("{field} is no more, and readers of the old contract need it"),
                    mend,
                );
            } else if !matches!(now, Rest::Nothing) {
                self.change(Fine, "field-removed", Hits::Nobody, format!("{field} is no more; readers do without it"), "");
            }
            if matches!(now, Rest::Nothing) {
                let mend = "leave `deny_unknown_fields` out";
                self.change(
                    Breaking,
                    "field-refused",
                    Hits::Stored,
                    format!("{field} is refused, and stored messages have it"),
                    mend,
                );
            }
        }
        for (name, schema) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
            let field = the(&join(path, name));
            if needs.contains(name) {
                let was = old.iter().find(|(other, before)| !new.contains_key(*other) && **before == *schema);
                let mend = match was {
                    Some(_) => {
                        "if it has another name only, read the old one too: `#[serde(alias = \"…\")]`; else give it a default: `#[serde(default)]`, or an `Option`"
                    }
                    None => "give it a default: `#[serde(default)]`, or an `Option`",
                };
                self.change(
                    Breaking,
                    "field-added",
                    Hits::Stored,
                    format!("{field} is new and needed, and stored messages do not have it"),
                    mend,
                );
            } else {
                self.change(Fine, "field-added", Hits::Nobody, format!("{field} is new, and may be missing"), "");
            }
            if matches!(before, Rest::Nothing) {
                let what = format!("{field} is new, and readers of the old contract refuse fields that they do not know");
                self.change(Breaking, "field-unknown", Hits::Readers, what, "do not write it before all readers know it");
            }
        }
        for (name, schema) in old {
            let Some(new) = new.get(name) else { continue };
            let field = join(path, name);
            match (needed.contains(name), needs.contains(name)) {
                (false, true) => {
                    let what = format!("{} is needed now, and stored messages may lack it", the(&field));
                    self.change(Breaking, "field-required", Hits::Stored, what, "leave it a default, or an `Option`");
                    self.field(schema, new, &field, "null-refused");
                }
                (true, false) => {
                    let what = format!("{} may be missing now, and readers of the old contract need it", the(&field));
                    self.change(
                        Careful,
                        "field-optional",
                        Hits::Readers,
                        what,
                        "write it always until all readers do without it: no `skip_serializing_if`, no `None`",
                    );
                    self.field(schema, new, &field, "null-allowed");
                }
                _ => self.compare(schema, new, &field),
            }
        }
        match (before, now) {
            (Rest::Each(before), Rest::Each(now)) => self.compare(before, now, &format!("{path}{{}}")),
            (Rest::Each(_), Rest::Anything | Rest::Nothing) | (Rest::Anything | Rest::Nothing, Rest::Each(_)) => {
                self.unjudged(path, " (`additionalProperties`)")
            }
            (Rest::Anything, Rest::Nothing) => {
                let what = format!("{} refuses fields that it does not know", the(path));
                self.change(
                    Careful,
                    "closed",
                    Hits::Stored,
                    what,
                    "leave `deny_unknown_fields` out, so that the next field can be added",
                );
            }
            _ => {}
        }
    }

    /// A field whose being there has changed: what follows from that for null is not said again.
    fn field(&mut self, old: &'a Value, new: &'a Value, path: &str, implied: &str) {
        let before = self.changes.len();
        self.compare(old, new, path);
        let what = format!("{} may", the(path));
        let mut index = 0;
        self.changes.retain(|change| {
            index += 1;
            index <= before || change.rule != implied || !change.what.starts_with(&what)
        });
    }

    fn choices(&mut self, before: &BTreeMap<String, Option<&'a Value>>, now: &BTreeMap<String, Option<&'a Value>>, path: &str) {
        for name in before.keys().filter(|name| !now.contains_key(*name)) {
            let what = format!("{} cannot be `{name}` any more, and stored messages may say so", the(path));
            self.change(
                Breaking,
                "variant-removed",
                Hits::Stored,
                what,
                "keep the variant, or read it as another one: `#[serde(alias = \"…\")]`, `#[serde(other)]`",
            );
        }
        for name in now.keys().filter(|name| !before.contains_key(*name)) {
            self.change(Careful, "variant-added", Hits::Readers, format!("{} can be `{name}` too", the(path)), READERS_FIRST);
        }
        for (name, before) in before {
            match (before, now.get(name)) {
                (Some(before), Some(Some(now))) => self.compare(before, now, &format!("{path}({name})")),
                (None, Some(Some(_))) | (Some(_), Some(None)) => {
                    self.another_type(&format!("{path}({name})"), "another form", "this one")
                }
                _ => {}
            }
        }
    }

    /// Variants without names are tried one after the other: only if each is what it was, nothing has changed.
    fn nameless(&mut self, before: &[&'a Value], now: &[&'a Value], path: &str) {
        let so_far = self.changes.len();
        if before.len() == now.len() {
            before.iter().zip(now).for_each(|(before, now)| self.compare(before, now, path));
        }
        if before.len() != now.len() || self.changes.len() > so_far {
            self.changes.truncate(so_far);
            self.unjudged(path, " (variants without names)");
        }
    }

    fn plain(&mut self, before: &Shape<'a>, now: &Shape<'a>, path: &str) {
        let (Shape::Plain { name: old, range: before, format: was }, Shape::Plain { name: new, range: now, format: is }) =
            (before, now)
        else {
            return;
        };
        match (*old, *new) {
            ("integer", "number") => return self.widened(path, "may have a fraction"),
            ("number", "integer") => return self.narrowed(path, "might have a fraction"),
            (old, new) if old != new => return self.another_type(path, old, new),
            _ => {}
        }
        if let (Some((old_least, old_most)), Some((least, most))) = (before, now) {
            if least > old_least || most < old_most {
                self.narrowed(path, "had a wider range");
            }
            if least < old_least || most > old_most {
                self.widened(path, "has a wider range");
            }
        }
        if was != is {
            self.unjudged(path, " (`format`)");
        }
    }

    fn narrowed(&mut self, path: &str, was: &str) {
        let what = format!("{} {was}, and is not any more", the(path));
        self.change(Breaking, "type-narrowed", Hits::Stored, what, "keep the wider type");
    }

    fn widened(&mut self, path: &str, is: &str) {
        self.change(Careful, "type-widened", Hits::Readers, format!("{} {is} now", the(path)), READERS_FIRST);
    }

    fn another_type(&mut self, path: &str, old: &str, new: &str) {
        let what = format!("{} was {old}, and is {new}", the(path));
        self.change(Breaking, "type-changed", Hits::Both, what, "");
    }

    fn unjudged(&mut self, path: &str, words: &str) {
        let what = format!("{} has changed in a way that this cannot judge{words}", the(path));
        self.change(Careful, "not-judged", Hits::Both, what, WATCH);
    }

    fn change(&mut self, severity: Severity, rule: &'static str, hits: Hits, what: String, mend: &'static str) {
        self.changes.push(Change { severity, rule, hits, what, mend });
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

fn the(path: &str) -> String {
    if path.is_empty() { "the payload".to_owned() } else { format!("`{path}`") }
}

fn kind<'a>(shape: &Shape<'a>) -> &'a str {
    match shape {
        Shape::Object { .. } => "an object",
        Shape::List(_) => "a list",
        Shape::Tuple(_) => "a tuple",
        Shape::Choice(_) => "one of several",
        Shape::Plain { name, .. } => name,
        Shape::Any | Shape::OneOf(_) | Shape::Unknown => "anything",
    }
}
