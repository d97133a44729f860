//! `convoke dead redrive` and `convoke dead purge`.

use clap::Args;
use convoke::dead::{DeadLetters, Fate, Handled, MAX_REPLAYS, Options, Report};
use convoke::{Error, ErrorKind};
use serde_json::Value;

use super::choice::{Choice, Place};
use super::{elsewhere, json};
use crate::args::Common;
use crate::text::clean;
use crate::{Exit, World};

pub(super) const REDRIVE: &str = "\
Sends dead letters back to the group that gave up on them, and to no other.

Each goes into the group's own place, <TOPIC>.<GROUP>.retry, as it was: payload, key, id and headers. The broker has confirmed it \
there before it ceases to be a dead letter. If this is stopped in between, call it again: it goes on where it was, and at most one \
letter is sent twice, under the same id.";

pub(super) const REDRIVE_EXAMPLES: &str = "\
Examples:
  convoke dead redrive orders.paid.warehouse.dead --dry-run
  convoke dead redrive orders.paid.warehouse.dead --reason timeout --newer-than 2h --max 10
      a few first, to see whether they succeed now
  convoke dead redrive --topic orders.paid --group warehouse --yes";

pub(super) const PURGE: &str = "\
Throws dead letters away.

They cannot be sent back any more. A broker that keeps a log keeps their bytes for as long as it keeps any.";

pub(super) const PURGE_EXAMPLES: &str = "\
Examples:
  convoke dead purge orders.paid.warehouse.dead --older-than 30d --dry-run
  convoke dead purge orders.paid.warehouse.dead --id 0197c1d2-8f3b-7c52-a5a1-6f2d0c9a7e11
  convoke dead purge --topic orders.paid --group warehouse --reason undecodable --yes";

#[derive(Debug, Args)]
pub(crate) struct Redrive {
    #[command(flatten)]
    work: Work,
    /// Refuses letters that were sent back so often already, lest they go in a circle for ever
    #[arg(long, value_name = "COUNT", default_value_t = MAX_REPLAYS)]
    max_replays: u32,
    #[command(flatten)]
    choice: Choice,
}

#[derive(Debug, Args)]
pub(crate) struct Purge {
    #[command(flatten)]
    work: Work,
    #[command(flatten)]
    choice: Choice,
}

/// What both take.
#[derive(Debug, Args)]
struct Work {
    #[command(flatten)]
    place: Place,
    /// Says what would be done, and changes nothing
    #[arg(long)]
    dry_run: bool,
    /// Stops after so many; without it, takes all
    #[arg(long, value_name = "COUNT")]
    max: Option<u64>,
    /// Does not ask whether you mean it: for scripts
    #[arg(long, short)]
    yes: bool,
}

impl Redrive {
    pub(super) async fn run(&self, dead: &DeadLetters, common: &Common, world: &mut World<'_>) -> Result<Exit, Error> {
        let topic = self.work.place.required(&self.choice)?;
        if let Some(exit) = self.work.confirm(dead, &topic, &self.choice, "Send", "back", world).await? {
            return Ok(exit);
        }
        let options = self.work.options(&self.choice).max_replays(self.max_replays);
        let report = dead.redrive(topic, &options, |one| self.work.tell(one, common, world)).await?;
        Ok(self.work.sum_up(&report, "sent back", common, world))
    }
}

impl Purge {
    pub(super) async fn run(&self, dead: &DeadLetters, common: &Common, world: &mut World<'_>) -> Result<Exit, Error> {
        let topic = self.work.place.required(&self.choice)?;
        if let Some(exit) = self.work.confirm(dead, &topic, &self.choice, "Throw", "away", world).await? {
            return Ok(exit);
        }
        let report = dead.purge(topic, &self.work.options(&self.choice), |one| self.work.tell(one, common, world)).await?;
        Ok(self.work.sum_up(&report, "thrown away", common, world))
    }
}

impl Work {
    fn options(&self, choice: &Choice) -> Options {
        let options = Options::new().filter(self.place.filter(choice)).limit(self.max.unwrap_or(u64::MAX));
        if self.dry_run { options.dry_run() } else { options }
    }

    /// Asks whether it is meant; how to end if it is not.
    async fn confirm(
        &self,
        dead: &DeadLetters,
        topic: &str,
        choice: &Choice,
        verb: &str,
        how: &str,
        world: &mut World<'_>,
    ) -> Result<Option<Exit>, Error> {
        if self.yes || self.dry_run {
            return Ok(None);
        }
        let waiting = dead.topic(topic).await?.letters.map_or_else(|| "the".to_owned(), |count| count.to_string());
        let most = self.max.map(|max| format!(", {max} at most,")).unwrap_or_default();
        let what = if choice.is_all(&self.place) {
            format!("{waiting} dead letters of `{topic}`{most}")
        } else {
            format!("those of the {waiting} dead letters of `{topic}` that are meant{most}")
        };
        match world.ask(&format!("{verb} {what} {how}?")) {
            Some(true) => Ok(None),
            Some(false) => {
                world.note("nothing was done");
                Ok(Some(Exit::Usage))
            }
            None => {
                let text = "there is no terminal to ask whether you mean it; say --yes, or look first with --dry-run";
                Err(Error::new(ErrorKind::Configuration, text))
            }
        }
    }

    /// Tells of a letter.
    fn tell(&self, one: &Handled, common: &Common, world: &mut World<'_>) {
        let (word, why) = match &one.fate {
            Fate::SentBack { to } => ("sent-back", Some(format!("to {to}"))),
            Fate::Purged => ("thrown-away", None),
            Fate::Refused(why) => ("refused", Some(why.to_string())),
            Fate::Failed(error) => ("failed", Some(format!("{error:?}"))),
            Fate::SentBackAndKept { to } => {
                ("sent-back-and-kept", Some(format!("to {to}, and will be once more: somebody else took the partition over")))
            }
            _ => ("unknown", None),
        };
        if common.json {
            let mut map = json::letter(&one.letter);
            map.insert("fate".to_owned(), word.into());
            map.insert("detail".to_owned(), why.into());
            map.insert("dry_run".to_owned(), self.dry_run.into());
            world.say(&Value::Object(map).to_string());
            return;
        }
        let would = if self.dry_run && matches!(one.fate, Fate::SentBack { .. } | Fate::Purged) { "would be " } else { "" };
        let why = why.map(|why| format!(": {}", clean(&why))).unwrap_or_default();
        world.say(&format!("{would}{}  {}{why}", word.replace('-', " "), clean(&one.letter.id())));
    }

    fn sum_up(&self, report: &Report, done: &str, common: &Common, world: &mut World<'_>) -> Exit {
        if common.json {
            world.say(&json::report(report, self.dry_run).to_string());
        } else {
            let would = if self.dry_run { "would be " } else { "" };
            let mut text = format!("{} {would}{done}", report.done);
            for (count, what) in [(report.refused, "refused"), (report.failed, "failed"), (report.left, "not meant")] {
                if count > 0 {
                    text.push_str(&format!(", {count} {what}"));
                }
            }
            world.note(&text);
        }
        if let Some(error) = &report.stopped {
            world.complain(&format!("stopped before the end, call it again to go on: {error:?}"));
        }
        if report.elsewhere > 0 {
            world.note(&elsewhere(report.elsewhere));
        }
        let whole = report.refused == 0 && report.failed == 0 && report.elsewhere == 0 && report.stopped.is_none();
        if whole { Exit::Done } else { Exit::Partly }
    }
}
