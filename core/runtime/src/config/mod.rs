//! Configuration files: TOML, read into what a deployment says.
//!
//! Everything that is wrong with a file is found in one reading, and said with its place and the line. What a value stands for after
//! `${…}` was replaced is never said: it may be a secret.

mod read;
mod source;
mod values;
mod vocabulary;

use std::path::Path;

use crate::app::{Deployment, Place};
use read::Reader;
use source::Source;

/// Reads a file over what was said before.
pub(crate) fn read_file(path: &Path, into: &mut Deployment) {
    match std::fs::read_to_string(path) {
        Ok(text) => read_text(&path.display().to_string(), &text, into),
        Err(error) => into.problems.push(format!("the configuration file `{}` cannot be read: {error}", path.display())),
    }
}

/// Reads a text over what was said before; `name` stands for it in what is said of it.
pub(crate) fn read_text(name: &str, text: &str, into: &mut Deployment) {
    let source = Source::new(name, text);
    into.overlay(Reader::new(&source, &|variable| std::env::var(variable).ok()).read());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a text, where `${SECRET}` is `hush` and `${WORKERS}` is 32.
    fn problems(text: &str) -> Vec<String> {
        read(text).problems
    }

    fn read(text: &str) -> Deployment {
        let variable = |name: &str| match name {
            "SECRET" => Some("hush".to_owned()),
            "WORKERS" => Some("32".to_owned()),
            _ => None,
        };
        let source = Source::new("shop.toml", text);
        Reader::new(&source, &variable).read()
    }

    #[test]
    fn a_variable_stands_for_its_value_and_is_never_shown() {
        let said = read(
            "broker = \"kafka://shop:${SECRET}@kafka\"\n[handlers.reserve]\nconcurrency = \"${WORKERS}\"\ndead_letter = '$${x'",
        );
        assert_eq!(said.url.unwrap().value.0, "kafka://shop:hush@kafka");
        assert_eq!(said.handlers.get("reserve").unwrap().value.concurrency, Some(32));
        assert!(said.problems[0].starts_with("shop.toml:4:15: a topic must not contain '$'"), "{:?}", said.problems);
        let wrong = "broker = '${NOWHERE}'\nin_flight = { bytes = '${SECRET}' }\ndrain_within = '${SECRET}'\ndeaths = '${SECRET}'\n\
                     unknown_events = '${SECRET}'\n[brokers]\na = '${SECRET'\nb = '${SECRET}'\n[topics]\na = '${SECRET} x'\n\
                     [handlers.a.retry]\nbackoff = '1s..${SECRET}'";
        let problems = problems(wrong);
        assert_eq!(problems.len(), 9, "{problems:#?}");
        assert!(problems.iter().all(|problem| !problem.contains("hush")), "{problems:#?}");
        assert!(problems[0].starts_with("shop.toml:1:10: the variable `NOWHERE` is not set"), "{problems:#?}");
        let line = "shop.toml:3:16: `drain_within` is a duration in quotes: `drain_within = \"25s\"`; what the variables in it stand \
                    for is not that\n       | drain_within = '${SECRET}'";
        assert_eq!(problems[2], line);
    }

    #[test]
    fn a_line_is_shown_without_what_may_be_secret() {
        for (line, shown) in [
            ("broker = 'kafka://ada:hush@kafka' x", "broker = 'kafka://…"),
            ("password = 'hush'", "password = …"),
            ("concurency = 'hush'", "concurency = 'hush'"),
        ] {
            let problem = problems(line).concat();
            assert_eq!(problem.split_once("| ").unwrap().1, shown);
        }
    }

    #[test]
    fn mistakes_in_the_form_are_all_found_with_their_lines() {
        let problems = problems("deaths = \ndrain_within = 25s\n[handlers.a\nconcurrency = 1\n");
        let places: Vec<_> = problems.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
        assert!(places.iter().any(|place| place.starts_with("shop.toml:1:")), "{problems:#?}");
        assert!(places.iter().any(|place| place.starts_with("shop.toml:2:")), "{problems:#?}");
        assert!(places.iter().any(|place| place.starts_with("shop.toml:3:")), "{problems:#?}");
    }
}
