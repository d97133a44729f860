//! From a table of TOML to what a deployment says.

use std::collections::BTreeSet;

use convoke_core::broker::Start;
use convoke_core::few::FewByKey;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::Source;
use super::values::{Value, Variable, Wrong};
use super::vocabulary as v;
use super::vocabulary::Word;
use crate::app::{Deployment, HandlerChange, Said, SaidUrl};
use crate::driver::{OnGap, UnknownEvents};
use crate::words;

/// Reads one text, and gathers what is wrong with it.
pub(super) struct Reader<'t> {
    source: &'t Source<'t>,
    variable: Variable<'t>,
    /// By place.
    problems: Vec<(usize, String)>,
    /// Lines whose form is wrong: what they would say is not judged.
    unread: BTreeSet<usize>,
}

type Key<'t> = Spanned<std::borrow::Cow<'t, str>>;

impl<'t> Reader<'t> {
    pub(super) fn new(source: &'t Source<'t>, variable: Variable<'t>) -> Self {
        Self { source, variable, problems: Vec::new(), unread: BTreeSet::new() }
    }

    pub(super) fn read(mut self) -> Deployment {
        let (table, errors) = DeTable::parse_recoverable(self.source.text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            if self.unread.insert(self.source.line_number(at)) {
                self.problem_at(at, error.message());
            }
        }
        let mut into = Deployment::default();
        self.app(table.get_ref(), &mut into);
        self.problems.sort_by_key(|(at, _)| *at);
        into.problems = self.problems.into_iter().map(|(_, problem)| problem).collect();
        into
    }

    fn problem_at(&mut self, at: usize, what: &str) {
        self.problems.push((at, self.source.place(at).problem(what)));
    }

    fn problem(&mut self, at: usize, what: &str) {
        if !self.unread.contains(&self.source.line_number(at)) {
            self.problem_at(at, what);
        }
    }

    /// Hands each entry of a table whose key is known to `take`; `owner` is the table's name in what is said of the others.
    fn each(
        &mut self,
        owner: &str,
        words: &[Word],
        table: &DeTable<'_>,
        mut take: impl FnMut(&mut Self, &Value<'_>) -> Result<(), Wrong>,
    ) {
        for (key, written) in table {
            let Some(word) = words.iter().copied().find(|word| word.name == key.get_ref()) else {
                let unknown = words::unknown(key.get_ref(), words.iter().map(|word| word.name));
                self.problem(key.span().start, &format!("{owner} has no key {unknown}"));
                continue;
            };
            let value = Value { word, written, variable: self.variable };
            if let Err(wrong) = take(self, &value) {
                self.problem(written.span().start, &wrong);
            }
        }
    }

    fn app(&mut self, table: &DeTable<'_>, into: &mut Deployment) {
        self.each("the configuration", &v::APP, table, |reader, value| {
            let bounds = &mut into.bounds;
            match value.word {
                v::BROKER => into.url = Some(reader.said_url(value)?),
                v::IN_FLIGHT => reader.each("`in_flight`", &v::FLIGHT, table_of(value)?, |_, value| {
                    match value.word {
                        v::MESSAGES => bounds.messages = Some(value.small_number(1..=u32::MAX)?),
                        _ => bounds.bytes = Some(value.bytes()?),
                    }
                    Ok(())
                }),
                v::DRAIN_WITHIN => bounds.drain_within = Some(value.duration()?),
                v::PUBLISH_WITHIN => bounds.publish_within = Some(value.duration()?),
                v::DEATHS => bounds.deaths = Some(value.small_number(1..=u32::MAX)?),
                v::UNKNOWN_EVENTS => {
                    use UnknownEvents::{DeadLetter, Fail, Skip};
                    bounds.unknown = Some(value.choice(&[("skip", Skip), ("dead-letter", DeadLetter), ("fail", Fail)])?);
                }
                v::ON_GAP => bounds.on_gap = Some(value.choice(&[("earliest", OnGap::Earliest), ("stop", OnGap::Stop)])?),
                v::BROKERS => reader.named(value, &mut into.brokers, |reader, value| Ok(reader.said_url(value)?.value))?,
                v::TOPICS => reader.named(value, &mut into.topics, |_, value| value.name("a topic"))?,
                v::GROUPS => reader.named(value, &mut into.groups, |_, value| value.name("a group"))?,
                _ => reader.handlers(value, into)?,
            }
            Ok(())
        });
    }

    fn said_url(&self, value: &Value<'_>) -> Result<Said<SaidUrl>, Wrong> {
        Ok(Said { value: SaidUrl(value.url()?), at: self.source.place(value.written.span().start) })
    }

    /// A table of values by name. Keys with dots, which make tables of tables, are names with dots.
    fn named<T>(
        &mut self,
        table: &Value<'_>,
        into: &mut FewByKey<String, Said<T>>,
        read: impl Fn(&Self, &Value<'_>) -> Result<T, Wrong>,
    ) -> Result<(), Wrong> {
        let mut flat = Vec::new();
        flatten("", table_of(table)?, &mut flat);
        for (name, key, written) in flat {
            let value = Value { word: table.word, written, variable: self.variable };
            match read(self, &value) {
                Ok(value) => {
                    into.insert(name, Said { value, at: self.source.place(key.span().start) });
                }
                Err(wrong) => self.problem(written.span().start, &wrong),
            }
        }
        Ok(())
    }

    fn handlers(&mut self, value: &Value<'_>, into: &mut Deployment) -> Result<(), Wrong> {
        for (name, options) in table_of(value)? {
            let DeValue::Table(table) = options.get_ref() else {
                self.problem(options.span().start, &value.word.rule());
                continue;
            };
            let mut change = HandlerChange::default();
            self.each(&format!("`handlers.{}`", name.get_ref()), &v::HANDLER, table, |reader, value| {
                match value.word {
                    v::CONCURRENCY => change.concurrency = Some(value.small_number(1..=65535)?),
                    v::RETRY => reader.each("`retry`", &v::RETRIES, table_of(value)?, |_, value| {
                        match value.word {
                            v::ATTEMPTS => change.attempts = Some(value.small_number(1..=u32::MAX)?),
                            v::BACKOFF => change.backoff = Some(value.range()?),
                            _ => change.jitter = Some(value.per_cent()?),
                        }
                        Ok(())
                    }),
                    v::TIMEOUT => change.timeout = Some(value.duration()?),
                    v::DEAD_LETTER => change.dead_letter = Some(value.name("a topic")?),
                    _ => change.start = Some(value.choice(&[("earliest", Start::Earliest), ("new", Start::New)])?),
                }
                Ok(())
            });
            let at = self.source.place(name.span().start);
            into.handlers.insert(name.get_ref().clone().into_owned(), Said { value: change, at });
        }
        Ok(())
    }
}

fn table_of<'v>(value: &Value<'v>) -> Result<&'v DeTable<'v>, Wrong> {
    match value.written.get_ref() {
        DeValue::Table(table) => Ok(table),
        _ => Err(value.word.rule()),
    }
}

/// The entries of a table and of the tables in it, each with its whole name.
fn flatten<'v>(before: &str, table: &'v DeTable<'v>, into: &mut Vec<(String, &'v Key<'v>, &'v Spanned<DeValue<'v>>)>) {
    for (key, value) in table {
        let name = if before.is_empty() { key.get_ref().to_string() } else { format!("{before}.{}", key.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner) => flatten(&name, inner, into),
            _ => into.push((name, key, value)),
        }
    }
}
