//! `convoke lock`: the contract of an application, in a file that is reviewed with its code.
//!
//! What each change means is in [`compare`].

mod compare;
mod contract;
mod finding;
mod source;

use std::io::ErrorKind;
use std::path::PathBuf;

use clap::Args;

use crate::args::Common;
use crate::{Exit, World};
use contract::Contract;
use finding::{Finding, Severity, line_of};
use source::Source;

/// Writes the contract of an application into a lock file, or compares it with the one that is there.
///
/// The contract is what other programs and stored messages depend on: events with their topics, keys, codecs and schemas; handlers with
/// their groups, topics, order and dead letters. The file belongs into the repository. `--check` says what a change breaks, for whom, and
/// how it is mended; without it, the file is written anew, whatever has changed, and its difference is reviewed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Lock {
    /// Compares, and writes nothing: for continuous integration
    #[arg(long)]
    check: bool,
    /// The lock file
    #[arg(long, value_name = "FILE", default_value = "convoke.lock.json")]
    file: PathBuf,
    #[command(flatten)]
    source: Source,
}

const EXAMPLES: &str = "\
Exit codes of --check, beside those of every command:
  0  the file is up to date
  5  it is out of date, and nothing is broken: `convoke lock` refreshes it
  6  compatibility is broken
  7  the application does not describe itself: it does not build, or something is wrong with it

Examples:
  convoke lock
  convoke lock --check --package shop --bin warehouse
  convoke lock --check --json | jq 'select(.severity == \"breaking\")'
  convoke lock --check -- docker run --rm --env CONVOKE_DESCRIBE=json registry.example/shop";

pub(crate) fn run(lock: &Lock, common: &Common, world: &mut World<'_>) -> Exit {
    lock.run(common, world).unwrap_or_else(|exit| exit)
}

impl Lock {
    fn run(&self, common: &Common, world: &mut World<'_>) -> Result<Exit, Exit> {
        let file = self.file.display();
        let old = self.read(world)?;
        let (new, text) = self.source.read(world)?;
        let Some((old, old_text)) = old else {
            if self.check {
                world.complain(&format!("there is no `{file}`; `convoke lock` writes it"));
                return Ok(Exit::NotFound);
            }
            self.write(&text, world)?;
            world.note(&format!("`{file}` is written: {} events, {} handlers", new.events.len(), new.handlers.len()));
            return Ok(Exit::Done);
        };
        let findings = compare::compare(&old, &new);
        for finding in &findings {
            let line = line_of(&old_text, &finding.path).map(|line| format!("{file}:{line}"));
            let line = line.as_deref();
            world.say(&if common.json { finding.json(line).to_string() } else { finding.text(line) });
        }
        let broken = findings.iter().any(|finding| finding.severity == Severity::Breaking);
        let current = old_text == text;
        if !self.check && !current {
            self.write(&text, world)?;
        }
        world.note(&self.summary(&findings, current));
        let blind = new.events.values().filter(|event| event.is_blind()).count();
        if blind > 0 {
            world.note(&format!(
                "{blind} of {} events have no schema, so changes of their payloads are not seen: derive `schemars::JsonSchema` on them, and \
                 turn on the feature `schema` of convoke",
                new.events.len()
            ));
        }
        Ok(match (self.check, broken, current) {
            (false, ..) | (true, false, true) => Exit::Done,
            (true, true, _) => Exit::Incompatible,
            (true, false, false) => Exit::OutOfDate,
        })
    }

    /// The lock file, if there is one. One that cannot be read is written anew, but never taken for none.
    fn read(&self, world: &mut World<'_>) -> Result<Option<(Contract, String)>, Exit> {
        let file = self.file.display();
        let problem = match std::fs::read_to_string(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => error.to_string(),
            Ok(text) => match Contract::of_lock(&text) {
                Ok(contract) => return Ok(Some((contract, text))),
                Err(problem) => problem,
            },
        };
        if self.check {
            world.complain(&format!("`{file}` cannot be read: {problem}"));
            return Err(Exit::Usage);
        }
        world.note(&format!("`{file}` cannot be read, and is written anew: {problem}"));
        Ok(None)
    }

    fn write(&self, text: &str, world: &mut World<'_>) -> Result<(), Exit> {
        std::fs::write(&self.file, text).map_err(|error| {
            world.complain(&format!("`{}` cannot be written: {error}", self.file.display()));
            Exit::Usage
        })
    }

    fn summary(&self, findings: &[Finding], current: bool) -> String {
        let file = self.file.display();
        if current {
            return format!("`{file}` is up to date");
        }
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let counts = [Severity::Breaking, Severity::Careful, Severity::Fine]
            .map(|one| format!("{} {}", count(one), one.word()))
            .join(", ");
        match (self.check, count(Severity::Breaking)) {
            (false, _) => format!("`{file}` is written anew: {counts}"),
            (true, 0) => format!("`{file}` is out of date, and nothing is broken ({counts}): `convoke lock` refreshes it"),
            (true, _) => format!("compatibility is broken: {counts}; if it is meant so, `convoke lock` takes it over"),
        }
    }
}
