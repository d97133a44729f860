//! `convoke dead list`.

use clap::Args;
use convoke::Error;
use convoke::dead::{DeadLetter, DeadLetters, DeadTopic};
use serde_json::{Value, json as value};

use super::choice::{Choice, Place};
use super::{elsewhere, json};
use crate::args::Common;
use crate::text::{clean, short, table, time};
use crate::{Exit, World};

pub(super) const EXAMPLES: &str = "\
Listing takes nothing away, and no group of an application notices.

Examples:
  convoke dead list
      the topics whose names end in .dead, and how many letters wait in each
  convoke dead list orders.paid.warehouse.dead
  convoke dead list --topic orders.paid --group warehouse --reason timeout --newer-than 2h
  convoke --json dead list orders.paid.warehouse.dead --max 100000 | jq -r .error | sort | uniq -c";

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    place: Place,
    /// Shows so many at most
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    max: u64,
    #[command(flatten)]
    choice: Choice,
}

impl List {
    pub(super) async fn run(&self, dead: &DeadLetters, common: &Common, world: &mut World<'_>) -> Result<Exit, Error> {
        let Some(topic) = self.place.name(&self.choice)? else { return topics(dead, common, world).await };
        let listing = dead.list(topic.clone(), &self.place.filter(&self.choice), self.max).await?;
        if common.json {
            listing.letters.iter().for_each(|letter| world.say(&Value::Object(json::letter(letter)).to_string()));
        } else if listing.letters.is_empty() {
            world.note(&format!("no dead letter of `{topic}` is meant"));
        } else {
            let head = ["id", "died at", "reason", "attempts", "replays", "handler", "key", "error"];
            world.say(&table(&head, listing.letters.iter().map(row)));
        }
        if listing.elsewhere > 0 {
            world.note(&elsewhere(listing.elsewhere));
            return Ok(Exit::Partly);
        }
        if !listing.complete {
            world.note(&format!("there are more than {}; show more with --max", self.max));
        }
        Ok(Exit::Done)
    }
}

fn row(letter: &DeadLetter) -> Vec<String> {
    let number = |count: Option<u32>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let text = |text: Option<&str>, most| text.map_or_else(|| "-".to_owned(), |text| short(text, most));
    vec![
        clean(&letter.id()),
        time(letter.died_at()),
        text(letter.reason().map(|reason| reason.as_str()), 20),
        number(letter.attempts()),
        letter.replays().to_string(),
        text(letter.handler(), 30),
        text(letter.key().as_deref(), 30),
        text(letter.error(), 80),
    ]
}

async fn topics(dead: &DeadLetters, common: &Common, world: &mut World<'_>) -> Result<Exit, Error> {
    let topics = dead.topics().await?;
    if common.json {
        for DeadTopic { topic, partitions, letters, .. } in &topics {
            world.say(&value!({ "dead_topic": topic.as_str(), "partitions": partitions, "letters": letters }).to_string());
        }
        return Ok(Exit::Done);
    }
    if topics.is_empty() {
        world.note("no topic's name ends in `.dead`; if a handler names its topic of dead letters otherwise, give that name");
        return Ok(Exit::Done);
    }
    let letters = |one: &DeadTopic| one.letters.map_or_else(|| "?".to_owned(), |count| count.to_string());
    world.say(&table(&["letters", "topic"], topics.iter().map(|one| vec![letters(one), one.topic.to_string()])));
    Ok(Exit::Done)
}
