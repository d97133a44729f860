//! `convoke dead topics`.

use convoke::Error;
use convoke::dead::{DeadLetters, DeadTopic};
use serde_json::json;

use crate::args::Common;
use crate::table::table;
use crate::{Exit, World};

pub(super) async fn run(dead: &DeadLetters, common: &Common, world: &mut World<'_>) -> Result<Exit, Error> {
    let topics = dead.topics().await?;
    if common.json {
        for DeadTopic { topic, partitions, letters, .. } in &topics {
            world.say(&json!({ "topic": topic.as_str(), "partitions": partitions, "letters": letters }).to_string());
        }
        return Ok(Exit::Done);
    }
    if topics.is_empty() {
        world.note("no topic holds dead letters");
        return Ok(Exit::Done);
    }
    let row = |one: &DeadTopic| {
        let letters = one.letters.map_or_else(|| "?".to_owned(), |count| count.to_string());
        vec![letters, one.topic.to_string()]
    };
    world.say(&table(&["letters", "topic"], topics.iter().map(row)));
    Ok(Exit::Done)
}
