//! Events: by name first, then by version.

use super::{Compare, Severity, schema};
use crate::lock::contract::{Contract, Event};
use crate::lock::finding::Finding;

/// The codecs that read each other's payloads.
const FAMILY: [&str; 3] = ["json", "msgpack", "cbor"];

/// An event under the old contract, and what it is under the new one.
struct Pair<'a> {
    wire: &'a str,
    old: &'a Event,
    new: &'a Event,
}

impl Compare<'_> {
    pub(super) fn events(&mut self) {
        let (old, new) = (self.old, self.new);
        for (wire, event) in &old.events {
            match new.events.get(wire) {
                Some(now) => self.same_version(&Pair { wire, old: event, new: now }),
                None => self.gone(wire, event),
            }
        }
        for (wire, event) in new.events.iter().filter(|(wire, _)| !old.events.contains_key(*wire)) {
            self.event(
                Severity::Fine,
                "event-added",
                wire,
                "",
                Some(event),
                ["it is new".to_owned(), String::new(), String::new()],
            );
        }
    }

    /// The event has another version, another name, or is no more.
    fn gone(&mut self, wire: &str, old: &Event) {
        let new = self.new;
        let of_name = || new.events.values().filter(|event| event.name == old.name);
        if let Some(now) = of_name().max_by_key(|event| event.version) {
            if now.version < old.version {
                let text = [
                    format!("its version went from {} back to {}", old.version, now.version),
                    self.here(wire),
                    format!("`version = {}`; a version is never used again for another shape", old.version + 1),
                ];
                self.event(Severity::Breaking, "version-lowered", wire, "version", Some(now), text);
            } else if reads(new, wire) {
                let text = [
                    format!("version {} follows, and version {} is still read", now.version, old.version),
                    self.elsewhere(wire),
                    "roll out readers before writers: what does not know the new version makes a dead letter of it".to_owned(),
                ];
                self.event(Severity::Careful, "version-raised", wire, "version", Some(now), text);
            } else {
                let text = [
                    format!(
                        "version {} follows, and nothing reads version {} any more: it becomes a dead letter",
                        now.version, old.version
                    ),
                    self.here(wire),
                    format!(
                        "add `accepts({} = …)` to `version = {}`, with the old shape, or a function that takes it",
                        old.version, now.version
                    ),
                ];
                self.event(Severity::Breaking, "version-not-accepted", wire, "version", Some(now), text);
            }
            self.carriage(&Pair { wire, old, new: now });
            return;
        }
        if let Some(now) = new.events.values().find(|event| event.accepts.iter().any(|accepted| accepted == wire)) {
            let text = [
                format!("it is called `{}` now, and messages of the old name are still read", now.name),
                self.elsewhere(wire),
                "roll out readers before writers: what does not know the new name skips it".to_owned(),
            ];
            self.event(Severity::Careful, "event-renamed", wire, "name", Some(now), text);
            self.carriage(&Pair { wire, old, new: now });
            return;
        }
        let added =
            |event: &&Event| event.topic == old.topic && !self.old.events.values().any(|before| before.name == event.name);
        if let Some(now) = new.events.values().find(added) {
            let text = [
                format!(
                    "it seems to be called `{}` now: messages of the name `{}` are skipped, and the other way round",
                    now.name, old.name
                ),
                self.here(wire),
                format!("keep `name = \"{}\"`, or read both: `accepts(\"{wire}\" = …)`", old.name),
            ];
            return self.event(Severity::Breaking, "event-renamed", wire, "name", Some(now), text);
        }
        let used = !Self::readers(self.old, wire).is_empty()
            || self.old.handlers.values().any(|one| one.returns.iter().any(|event| event == wire));
        let severity = if used { Severity::Breaking } else { Severity::Careful };
        let text = [
            "it is no more: what is stored of it is skipped, and nothing new comes".to_owned(),
            self.both(wire),
            "keep the type until nobody writes or reads it; then `convoke lock` takes it out".to_owned(),
        ];
        self.event(severity, "event-removed", wire, "", None, text);
    }

    fn same_version(&mut self, pair: &Pair<'_>) {
        let Pair { wire, old, new } = *pair;
        self.carriage(pair);
        for dropped in old.accepts.iter().filter(|dropped| !reads(self.new, dropped)) {
            let text = [
                format!("`{dropped}` is not accepted any more: it becomes a dead letter"),
                self.here(wire),
                "keep it in `accepts(…)` for as long as messages of it are stored or written; then `convoke lock` takes it out"
                    .to_owned(),
            ];
            self.event(Severity::Breaking, "accepts-dropped", wire, "accepts", Some(new), text);
        }
        if !new.accepts.iter().all(|accepted| old.accepts.contains(accepted)) {
            let text = ["it accepts more than before".to_owned(), String::new(), String::new()];
            self.event(Severity::Fine, "accepts-added", wire, "accepts", Some(new), text);
        }
        match (&old.schema, &new.schema) {
            (Some(before), Some(now)) if before != now => {
                let changes = schema::compare(before, now);
                if changes.is_empty() {
                    let text =
                        ["its schema is written in another way, and means the same".to_owned(), String::new(), String::new()];
                    self.event(Severity::Fine, "schema-same", wire, "schema", Some(new), text);
                }
                for change in changes {
                    let whom = match change.hits {
                        schema::Hits::Stored => self.here(wire),
                        schema::Hits::Readers => self.elsewhere(wire),
                        schema::Hits::Both => self.both(wire),
                        schema::Hits::Nobody => String::new(),
                    };
                    let version = format!(
                        "raise `version` to {} and add `accepts({} = …)` with the old shape",
                        old.version + 1,
                        old.version
                    );
                    let mend = match (change.severity, change.mend) {
                        (Severity::Breaking, "") => version,
                        (Severity::Breaking, mend) => format!("{mend}; or {version}"),
                        (_, mend) => mend.to_owned(),
                    };
                    self.event(change.severity, change.rule, wire, "schema", Some(new), [change.what, whom, mend]);
                }
            }
            (Some(_), None) => {
                let text = [
                    "its schema is not known any more: changes of the payload are not seen".to_owned(),
                    String::new(),
                    "derive `schemars::JsonSchema` on it, and turn on the feature `schema` of convoke".to_owned(),
                ];
                self.event(Severity::Careful, "schema-gone", wire, "schema", Some(new), text);
            }
            (None, Some(_)) => {
                let text = ["its schema is known from now on".to_owned(), String::new(), String::new()];
                self.event(Severity::Fine, "schema-added", wire, "", Some(new), text);
            }
            _ => {}
        }
    }

    /// Topic, key, codec and form: how a message travels, whatever its version.
    fn carriage(&mut self, pair: &Pair<'_>) {
        let Pair { wire, old, new } = *pair;
        if old.topic != new.topic {
            let text = [
                format!("it moved from the topic `{}` to `{}`", old.topic, new.topic),
                self.both(wire),
                format!(
                    "keep `topic = \"{}\"`; or read both for a time: `#[handler(topics(\"{}\", \"{}\"))]`",
                    old.topic, old.topic, new.topic
                ),
            ];
            self.event(Severity::Breaking, "topic-changed", wire, "topic", Some(new), text);
        }
        if old.broker != new.broker {
            let name = |broker: &Option<String>| {
                broker.as_ref().map_or_else(|| "the first broker".to_owned(), |name| format!("the broker `{name}`"))
            };
            let text = [
                format!("it moved from {} to {}", name(&old.broker), name(&new.broker)),
                self.both(wire),
                "leave it where it is; or read both for a time, with an event of its own for each".to_owned(),
            ];
            self.event(Severity::Breaking, "broker-changed", wire, "broker", Some(new), text);
        }
        match (&old.key, &new.key) {
            (before, now) if before == now => {}
            (Some(before), now) => {
                let what = now.as_ref().map_or_else(
                    || format!("it had the key `{before}` and has none now: order is given up"),
                    |now| format!("its key went from `{before}` to `{now}`: new messages are not in order with stored ones"),
                );
                let text = [
                    what,
                    self.here(wire),
                    format!(
                        "keep `key = {before}`; or drain the groups first; if the value is the same, `convoke lock` takes the new words over"
                    ),
                ];
                self.event(Severity::Breaking, "key-changed", wire, "key", Some(new), text);
            }
            (None, now) => {
                let now = now.as_deref().unwrap_or_default();
                let text = [
                    format!("it has the key `{now}` now; what is stored was placed without it"),
                    self.here(wire),
                    "order counts from the first message that is published with the key".to_owned(),
                ];
                self.event(Severity::Careful, "key-added", wire, "", Some(new), text);
            }
        }
        if old.codec != new.codec || old.content_type != new.content_type {
            let told = FAMILY.contains(&&*old.codec) && FAMILY.contains(&&*new.codec) && !old.bare && !new.bare;
            let what =
                format!("its codec went from `{}` ({}) to `{}` ({})", old.codec, old.content_type, new.codec, new.content_type);
            let whom = self.both(wire);
            let (severity, mend) = if told {
                let mend = format!(
                    "readers need both features, `{}` and `{}`, before anything is written in the new format",
                    old.codec, new.codec
                );
                (Severity::Careful, mend)
            } else {
                (Severity::Breaking, format!("keep `codec = {}`; or make an event of another name and topic", old.codec))
            };
            self.event(severity, "codec-changed", wire, "codec", Some(new), [what, whom, mend]);
        }
        if old.bare != new.bare {
            let what = if new.bare {
                "it is bare now: it has no headers that tell its name and version"
            } else {
                "it is not bare any more: it has headers"
            };
            let text = [
                what.to_owned(),
                self.elsewhere(wire),
                "see to it that readers take it so, before anything is written".to_owned(),
            ];
            self.event(Severity::Careful, "bare-changed", wire, "bare", Some(new), text);
        }
    }

    fn event(&mut self, severity: Severity, rule: &'static str, wire: &str, field: &str, new: Option<&Event>, text: [String; 3]) {
        let mut path = vec!["events".to_owned(), wire.to_owned()];
        path.extend((!field.is_empty()).then(|| field.to_owned()));
        let [what, whom, mend] = text;
        let source = new.and_then(|event| event.at.clone());
        self.findings.push(Finding { severity, rule, subject: format!("event {wire}"), path, source, what, whom, mend });
    }
}

/// Whether messages of this type on the wire are read as some event.
fn reads(contract: &Contract, wire: &str) -> bool {
    contract.events.contains_key(wire) || contract.events.values().any(|event| event.accepts.iter().any(|old| old == wire))
}
