//! `convoke dead show`.

use clap::Args;
use convoke::dead::{DeadLetter, DeadLetters, Filter};
use convoke::{Error, ErrorKind, names};
use serde_json::Value;

use super::json;
use crate::args::Common;
use crate::text::{clean, clean_lines, hex, table, time};
use crate::{Exit, World};

pub(super) const EXAMPLES: &str = "\
Values of headers whose names speak of passwords, tokens or other secrets are not shown.

Examples:
  convoke dead show orders.paid.warehouse.dead 0197c1d2-8f3b-7c52-a5a1-6f2d0c9a7e11
  convoke dead show orders.paid.warehouse.dead 0197c1d2-8f3b-7c52-a5a1-6f2d0c9a7e11 --raw > payload";

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The topic of dead letters
    #[arg(value_name = "DEAD_TOPIC")]
    dead: String,
    /// The letter's id, as `convoke dead list` shows it
    id: String,
    /// Writes the payload's bytes, and nothing else
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

impl Show {
    pub(super) async fn run(&self, dead: &DeadLetters, common: &Common, world: &mut World<'_>) -> Result<Exit, Error> {
        let listing = dead.list(self.dead.clone(), &Filter::new().id(&self.id), u64::MAX).await?;
        if listing.letters.is_empty() {
            let (id, dead) = (&self.id, &self.dead);
            let text = format!("there is no dead letter `{id}` in `{dead}`; `convoke dead list {dead}` shows which there are");
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        for (index, letter) in listing.letters.iter().enumerate() {
            if self.raw {
                world.say_bytes(letter.message().payload());
            } else if common.json {
                let mut map = json::letter(letter);
                json::content(letter, &mut map);
                world.say(&Value::Object(map).to_string());
            } else {
                if index > 0 {
                    world.say("");
                }
                show(letter, world);
            }
        }
        Ok(Exit::Done)
    }
}

fn show(letter: &DeadLetter, world: &mut World<'_>) {
    let text = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), clean);
    let place = format!("{}/{}/{}", letter.message().topic(), letter.partition(), letter.position());
    let facts = [
        ("id", clean(&letter.id())),
        ("key", text(letter.key().as_deref())),
        ("reason", text(letter.reason().map(|reason| reason.as_str()))),
        ("attempts", letter.attempts().map_or_else(|| "-".to_owned(), |count| count.to_string())),
        ("sent back", format!("{} times", letter.replays())),
        ("first failed at", time(letter.first_failed_at())),
        ("died at", time(letter.died_at())),
        ("topic", text(letter.topic())),
        ("group", text(letter.group())),
        ("handler", text(letter.handler())),
        ("host", text(letter.host())),
        ("place", place),
    ];
    let mut facts = facts.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    if let Some(first) = facts.next() {
        world.say(&table(&[&first[0], &first[1]], facts));
    }
    world.say("\nerror:");
    world.say(&indented(&clean_lines(letter.error_chain().or(letter.error()).unwrap_or("-"))));
    world.say("\nheaders:");
    for (name, value) in letter.message().headers().iter().filter(|(name, _)| !name.starts_with(names::DEAD_PREFIX)) {
        let shown = match std::str::from_utf8(value) {
            _ if names::is_secret(name) => "…".to_owned(),
            Ok(text) => clean(text),
            Err(_) => format!("0x{}", hex(value)),
        };
        world.say(&format!("  {}: {shown}", clean(name)));
    }
    let payload = letter.message().payload();
    let kind = letter.message().content_type().map(|kind| format!(", {}", clean(kind))).unwrap_or_default();
    world.say(&format!("\npayload ({} bytes{kind}):", payload.len()));
    world.say(&match std::str::from_utf8(payload) {
        _ if letter.message().is_tombstone() => "  none: a tombstone".to_owned(),
        Ok(text) => indented(&clean_lines(text)),
        Err(_) => format!("  0x{}", hex(payload)),
    });
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
