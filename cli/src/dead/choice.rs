//! Which topic, and which of its dead letters.

use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use convoke::dead::Filter;
use convoke::{DeadReason, Error, ErrorKind, names};

/// Which topic of dead letters.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The topic of dead letters; or give --topic and --group
    #[arg(value_name = "DEAD_TOPIC")]
    dead: Option<String>,
    /// The topic that the letters were read from, with --group: means <TOPIC>.<GROUP>.dead
    #[arg(long, value_name = "TOPIC", conflicts_with = "dead", requires = "groups")]
    topic: Option<String>,
}

/// Which dead letters; without any of these, all.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which letters (all of these must hold; any of several --reason, --handler, --group, --id)")]
pub(crate) struct Choice {
    /// Given up for this reason
    #[arg(long = "reason", value_name = "REASON", value_parser = reasons())]
    reasons: Vec<String>,
    /// Given up by this handler
    #[arg(long = "handler", value_name = "HANDLER")]
    handlers: Vec<String>,
    /// Given up by this group
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Given up longer ago than this: 90s, 30m, 2h, 7d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Given up no longer ago than this: 90s, 30m, 2h, 7d
    #[arg(long, value_name = "AGE", value_parser = age)]
    newer_than: Option<Duration>,
    /// With this header: `tenant=blue`; may be given several times
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// With this id
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
}

impl Place {
    /// The topic's name, if one is given.
    pub(super) fn name(&self, choice: &Choice) -> Result<Option<String>, Error> {
        match (&self.topic, choice.groups.as_slice()) {
            (None, _) => Ok(self.dead.clone()),
            (Some(topic), [group]) => Ok(Some(names::dead_topic(topic, group))),
            (Some(_), _) => Err(Error::new(
                ErrorKind::Configuration,
                "with --topic there is one --group; or name the topic of dead letters itself",
            )),
        }
    }

    /// The topic's name, which must be given.
    pub(super) fn required(&self, choice: &Choice) -> Result<String, Error> {
        self.name(choice)?.ok_or_else(|| {
            let text = "no topic of dead letters is named; `convoke dead list` shows which there are. Name one, or give --topic and --group";
            Error::new(ErrorKind::Configuration, text)
        })
    }

    /// The filter. A group that was given to name the topic is none.
    pub(super) fn filter(&self, choice: &Choice) -> Filter {
        let Choice { reasons, handlers, groups, older_than, newer_than, headers, ids } = choice;
        let mut filter = Filter::new();
        filter = reasons.iter().filter_map(|reason| DeadReason::parse(reason)).fold(filter, Filter::reason);
        filter = handlers.iter().fold(filter, |filter, handler| filter.handler(handler));
        if self.topic.is_none() {
            filter = groups.iter().fold(filter, |filter, group| filter.group(group));
        }
        filter = older_than.iter().fold(filter, |filter, age| filter.older_than(*age));
        filter = newer_than.iter().fold(filter, |filter, age| filter.newer_than(*age));
        filter = headers.iter().fold(filter, |filter, (name, value)| filter.header(name, value));
        ids.iter().fold(filter, |filter, id| filter.id(id))
    }
}

impl Choice {
    /// Whether it leaves any out, for a topic that was named so.
    pub(super) fn is_all(&self, place: &Place) -> bool {
        let Self { reasons, handlers, groups, older_than, newer_than, headers, ids } = self;
        let no_group = groups.is_empty() || place.topic.is_some();
        no_group
            && reasons.is_empty()
            && handlers.is_empty()
            && headers.is_empty()
            && ids.is_empty()
            && older_than.is_none()
            && newer_than.is_none()
    }
}

fn reasons() -> PossibleValuesParser {
    PossibleValuesParser::new(DeadReason::ALL.map(DeadReason::as_str))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a header is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn age(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    match count.parse::<u64>().ok().and_then(|count| count.checked_mul(seconds)) {
        Some(total) if seconds > 0 => Ok(Duration::from_secs(total)),
        _ => Err("an age is a number and s, m, h or d: 90s, 30m, 2h, 7d".to_owned()),
    }
}
